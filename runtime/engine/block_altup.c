/* Several streams (AltUp, arXiv 2301.13310): a layer computes on the first of them. All are
 * predicted before it from one another, and corrected behind it by how far the first was off. */
#include "runtime/engine/ops.h"

#include <math.h>

static rt_off stream_at(const rt_session *session, uint32_t i) {
    const rt_layout *at = &session->layout;
    return at->stream_parts[i].off;
}

static rt_off mixed_at(const rt_session *session, uint32_t i) {
    uint64_t n_embd = session->model->hparams.n_embd;
    return rt_op_at(session->layout.mixed, i * n_embd * session->layout.n_batch);
}

static void add(rt_session *session, rt_off x, rt_off y, float factor, size_t n) {
    session->backend->ops->add(session->backend, x, y, factor, RT_NO_OFF, n,
                               session->model->hparams.n_embd);
}

static void copy(rt_session *session, rt_off from, rt_off to, size_t n) {
    size_t n_embd = session->model->hparams.n_embd;
    rt_op_copy(session, from, n_embd, n, n_embd, to, n_embd);
}

/* What the router makes of the first stream, and a product of that, into layout.coefs. */
static void coefficients(rt_session *session, const rt_layer *l, const rt_weight *weight) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    rt_op_norm(session, &l->altup_router_norm, at->x, n, at->h);
    rt_op_input(session, at->h, n, hp->n_embd);
    rt_op_multiply(session, &l->altup_router, at->modes);
    rt_op_scale_softcap(session, at->modes, 1 / (float)hp->n_embd, 1, 0, n, hp->n_stream);
    rt_op_input(session, at->modes, n, hp->n_stream);
    rt_op_multiply(session, weight, at->coefs);
}

/* Streams i += mixed i, those of n_in streams at x by the coefficients. */
static void mix_in(rt_session *session, rt_off x, uint32_t n_in) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    uint64_t stride = (uint64_t)hp->n_embd * at->n_batch;
    session->backend->ops->mix(session->backend, x, at->stream_stride, n_in, at->coefs,
                               hp->n_stream, session->batch.n, hp->n_embd, at->mixed, stride);
    for (uint32_t i = 0; i < hp->n_stream; i++)
        add(session, stream_at(session, i), mixed_at(session, i), 1, session->batch.n);
}

void rt_altup_predict(rt_session *session, uint32_t layer) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layout *at = &session->layout;
    coefficients(session, l, &l->altup_predict);
    mix_in(session, at->x, session->model->hparams.n_stream);
    copy(session, at->x, at->predicted, session->batch.n);
}

void rt_altup_correct(rt_session *session, uint32_t layer) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    coefficients(session, l, &l->altup_correct);
    copy(session, at->x, at->h, n);
    add(session, at->h, at->predicted, -1, n);
    copy(session, at->predicted, at->x, n);
    mix_in(session, at->h, 1);
}

/* Where the layer's embedding reads the stream: a copy by a factor of each column. */
rt_off rt_altup_scaled(rt_session *session, uint32_t layer) {
    const rt_weight *scale = &session->model->layers[layer].altup_scale;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    size_t n = session->batch.n;
    if (!scale->data) return at->x;
    for (size_t i = 0; i < n; i++) session->ids[i] = 0;
    ops->embed(session->backend, scale, session->ids, n, at->mixed);
    copy(session, at->x, at->h, n);
    ops->activate(session->backend, RT_ACT_IDENTITY, at->h, at->mixed, n, scale->n_cols);
    return at->h;
}

/* What is in layout.out counts for all streams but the first. */
void rt_altup_add(rt_session *session) {
    for (uint32_t i = 1; i < session->model->hparams.n_stream; i++)
        add(session, stream_at(session, i), session->layout.out, 1, session->batch.n);
}

/* A short cut of low rank beside attention, into layout.laurel: in + norm(r(l(in))). */
void rt_altup_laurel(rt_session *session, uint32_t layer, rt_off in) {
    const rt_layer *l = &session->model->layers[layer];
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n;
    rt_op_input(session, in, n, session->model->hparams.n_embd);
    rt_op_multiply(session, &l->laurel_l, at->laurel_low);
    rt_op_input(session, at->laurel_low, n, l->laurel_l.n_rows);
    rt_op_multiply(session, &l->laurel_r, at->laurel);
    rt_op_norm(session, &l->laurel_post_norm, at->laurel, n, at->laurel);
    add(session, at->laurel, in, 1, n);
}

/* The other streams begin as projections of the first, at its size. */
void rt_altup_start(rt_session *session) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n, d = hp->n_embd, others = hp->n_stream - 1;
    for (size_t i = 0; i < others; i++)
        rt_op_copy(session, at->x, d, n, d, rt_op_at(at->side_by_side, i * d), others * d);
    rt_op_input(session, at->side_by_side, n * others, d);
    rt_op_multiply_heads(session, &session->model->altup_proj, at->mixed, d);
    for (uint32_t i = 0; i < others; i++) {
        rt_off to = stream_at(session, i + 1);
        rt_op_copy(session, rt_op_at(at->mixed, i * d), others * d, n, d, to, d);
        session->backend->ops->match_rows(session->backend, to, at->x, n, d);
    }
}

/* The mean of the first stream and of projections of the others at its size, for n_out rows, into
 * layout.out. */
void rt_altup_end(rt_session *session, size_t n_out) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    size_t d = hp->n_embd, others = hp->n_stream - 1;
    for (uint32_t i = 0; i < others; i++) {
        ops->gather(session->backend, stream_at(session, i + 1), session->out_rows, n_out, d,
                    at->h);
        rt_op_copy(session, at->h, d, n_out, d, rt_op_at(at->side_by_side, i * d), others * d);
    }
    ops->gather(session->backend, at->x, session->out_rows, n_out, d, at->predicted);
    copy(session, at->predicted, at->out, n_out);
    rt_op_input(session, at->side_by_side, n_out * others, d);
    rt_op_multiply_heads(session, &session->model->altup_unembd, at->mixed, d);
    for (uint32_t i = 0; i < others; i++) {
        rt_op_copy(session, rt_op_at(at->mixed, i * d), others * d, n_out, d, at->h, d);
        ops->match_rows(session->backend, at->h, at->predicted, n_out, d);
        add(session, at->out, at->h, 1, n_out);
    }
    rt_op_scale_softcap(session, at->out, 1 / (float)hp->n_stream, 0, 0, n_out, d);
}
