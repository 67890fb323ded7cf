/* Layer by layer, for calibration: the stream of one sequence goes through one layer at a time. */
#include "runtime/engine/session_internal.h"

static uint64_t stream_bytes(const rt_session *session) {
    return session->batch.n * session->model->hparams.n_embd * sizeof(float);
}

static void write_stream(rt_session *session, const float *x) {
    session->backend->ops->write(session->backend, x, stream_bytes(session), session->layout.x);
}

static void read_stream(rt_session *session, float *x) {
    session->backend->ops->read(session->backend, session->layout.x, stream_bytes(session), x);
}

/* What was computed is no sequence. */
static gguf_code finish(rt_session *session, gguf_error *err) {
    gguf_code code = rt_session_sync(session, err);
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

gguf_code rt_session_layer(rt_session *session, uint32_t layer, float *x, size_t n,
                           gguf_error *err) {
    gguf_code code = rt_session_begin(session, NULL, n, err);
    if (code) return code;
    rt_session_enter(session, session->layout.layers[layer].place);
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
