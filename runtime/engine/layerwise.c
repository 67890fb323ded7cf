/* Layer by layer, for calibration: the stream of one sequence goes through one layer at a time. */
#include "runtime/engine/session_internal.h"

/* The parts that layers carry on lie one behind the other in x. */
size_t rt_session_stream_cols(const rt_session *session) {
    size_t n = 0;
    for (size_t i = 0; i < session->layout.n_carried; i++)
        n += session->layout.stream_parts[i].n_cols;
    return n;
}

static void write_stream(rt_session *session, const float *x) {
    for (size_t i = 0; i < session->layout.n_carried; i++) {
        const rt_stream_part *part = &session->layout.stream_parts[i];
        size_t n = session->batch.n * part->n_cols;
        session->backend->ops->write(session->backend, x, n * sizeof *x, part->off);
        x += n;
    }
}

static void read_stream(rt_session *session, float *x) {
    for (size_t i = 0; i < session->layout.n_carried; i++) {
        const rt_stream_part *part = &session->layout.stream_parts[i];
        size_t n = session->batch.n * part->n_cols;
        session->backend->ops->read(session->backend, part->off, n * sizeof *x, x);
        x += n;
    }
}

/* What the layer is given of each token, without showing how it is made again. */
static void give_input(rt_session *session, uint32_t layer) {
    rt_hook_fn hook = session->hook;
    session->hook = NULL;
    rt_forward_input(session);
    session->hook = hook;
    rt_session_move(session, session->layout.layers[layer].place);
}

/* What was computed is no sequence. */
static gguf_code finish(rt_session *session, gguf_error *err) {
    gguf_code code = rt_session_sync(session, err);
    session->alone = false;
    rt_session_reset(session);
    return code;
}

/* Where the output is computed: with the last layer. */
static uint32_t last_place(const rt_session *session) {
    return session->layout.layers[session->model->hparams.n_layer - 1].place;
}

gguf_code rt_session_embed(rt_session *session, const int32_t *tokens, size_t n, float *x,
                           gguf_error *err) {
    gguf_code code = rt_session_begin(session, tokens, n, err);
    if (code) return code;
    rt_forward_input(session);
    read_stream(session, x);
    return finish(session, err);
}

gguf_code rt_session_layer(rt_session *session, uint32_t layer, const int32_t *tokens, float *x,
                           size_t n, gguf_error *err) {
    gguf_code code = rt_session_begin(session, tokens, n, err);
    if (code) return code;
    session->alone = true;
    rt_session_enter(session, session->layout.layers[layer].place);
    if (session->layout.n_stream_parts > session->layout.n_carried) give_input(session, layer);
    write_stream(session, x);
    rt_forward_angles(session);
    rt_forward_layer(session, layer);
    read_stream(session, x);
    return finish(session, err);
}

gguf_code rt_session_head(rt_session *session, const float *x, size_t n, float *logits,
                          gguf_error *err) {
    gguf_code code = rt_session_begin(session, NULL, n, err);
    if (code) return code;
    rt_session_enter(session, last_place(session));
    write_stream(session, x);
    for (size_t i = 0; i < n; i++) session->out_rows[i] = (uint32_t)i;
    rt_forward_output(session, n, logits);
    return finish(session, err);
}
