/* Hyper-connections: a model has several streams, all of which begin as the embedding. A block
 * reads a mixture of them, and what it makes goes to all of them, which are mixed with one another.
 */
#include "runtime/engine/ops.h"

static rt_off stream_at(const rt_session *session, uint32_t i) {
    const rt_layout *at = &session->layout;
    return rt_op_at(at->streams, i * at->stream_stride);
}

/* All streams of n rows side by side, normed as a whole, times the weights; then coefficients. */
static void coefficients(rt_session *session, const rt_hyper_weights *weights, uint32_t n_steps) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    const rt_backend_ops *ops = session->backend->ops;
    size_t n = session->batch.n, d = hp->n_embd, wide = hp->n_hyper * d;
    const rt_hyper hyper = {hp->n_hyper, n_steps, hp->hyper_eps, weights->scale, weights->base};
    for (uint32_t i = 0; i < hp->n_hyper; i++)
        rt_op_copy(session, stream_at(session, i), d, n, d, rt_op_at(at->hyper_wide, i * d), wide);
    ops->norm(session->backend, RT_NORM_RMS, &session->model->hyper_norm, hp->norm_eps,
              at->hyper_wide, n, wide, at->hyper_wide);
    rt_op_input(session, at->hyper_wide, n, wide);
    rt_op_multiply(session, &weights->fn, at->hyper_mix);
    ops->hyper(session->backend, &hyper, at->hyper_mix, n, at->hyper_read, at->hyper_write);
}

static void read_streams(rt_session *session) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    session->backend->ops->mix(session->backend, at->streams, at->stream_stride, hp->n_hyper,
                               at->hyper_read, 1, session->batch.n, hp->n_embd, at->x, 0);
}

void rt_hyper_start(rt_session *session) {
    const rt_hparams *hp = &session->model->hparams;
    for (uint32_t i = 0; i < hp->n_hyper; i++)
        rt_op_copy(session, session->layout.x, hp->n_embd, session->batch.n, hp->n_embd,
                   stream_at(session, i), hp->n_embd);
}

void rt_hyper_enter(rt_session *session, const rt_hyper_weights *weights) {
    coefficients(session, weights, session->model->hparams.hyper_steps);
    read_streams(session);
}

/* What the block made lies in front of the streams, as one more of them. */
void rt_hyper_leave(rt_session *session) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n, d = hp->n_embd;
    session->backend->ops->mix(session->backend, at->out, at->stream_stride, hp->n_hyper + 1,
                               at->hyper_write, hp->n_hyper, n, d, at->hyper_next,
                               at->stream_stride);
    for (uint32_t i = 0; i < hp->n_hyper; i++)
        rt_op_copy(session, rt_op_at(at->hyper_next, i * at->stream_stride), d, n, d,
                   stream_at(session, i), d);
}

/* Without weights for it: the mean. */
static void average_streams(rt_session *session) {
    const rt_hparams *hp = &session->model->hparams;
    const rt_layout *at = &session->layout;
    size_t n = session->batch.n, d = hp->n_embd;
    rt_op_copy(session, at->streams, d, n, d, at->x, d);
    for (uint32_t i = 1; i < hp->n_hyper; i++)
        session->backend->ops->add(session->backend, at->x, stream_at(session, i), 1, RT_NO_OFF, n,
                                   d);
    rt_op_scale_softcap(session, at->x, 1 / (float)hp->n_hyper, 0, 0, n, d);
}

/* A mixture by weights of its own. */
void rt_hyper_end(rt_session *session, size_t n_out) {
    const rt_layout *at = &session->layout;
    if (session->model->hyper_head.fn.data) {
        coefficients(session, &session->model->hyper_head, 0);
        read_streams(session);
    } else {
        average_streams(session);
    }
    session->backend->ops->gather(session->backend, at->x, session->out_rows, n_out,
                                  session->model->hparams.n_embd, at->out);
}
