/* A model with an encoder and a decoder: against the original, and what must not matter. */
#include "runtime/model/model_internal.h"
#include "unit_model.h"
#include "unit_shadow.h"

enum { N_TARGET_MAX = 64 };

/* The fixture: a text, what the encoder makes of it, and a decoder's tokens and logits. */
typedef struct fixture {
    unit_reference ref;
    int32_t target[N_TARGET_MAX];
    float *hidden;
    size_t n_target, n_hidden;
} fixture;

static fixture read_fixture(void) {
    fixture f = {.ref = unit_reference_of("models/t5")};
    gguf_error err = {0};
    gguf_checkpoint *ckpt;
    uint64_t n_bytes;
    unit_ok(gguf_checkpoint_open(TEST_DATA "/models/t5/reference.safetensors", &ckpt, &err), err);
    int64_t *ids = unit_read_tensor(ckpt, "decoder_tokens", &n_bytes);
    f.n_target = n_bytes / sizeof *ids;
    ck_assert(f.n_target <= N_TARGET_MAX);
    for (size_t i = 0; i < f.n_target; i++) f.target[i] = (int32_t)ids[i];
    f.hidden = unit_read_tensor(ckpt, "hidden", &n_bytes);
    f.n_hidden = n_bytes / sizeof *f.hidden;
    free(ids);
    gguf_checkpoint_close(ckpt);
    return f;
}

static void clear_fixture(fixture *f) {
    unit_reference_clear(&f->ref);
    free(f->hidden);
}

static rt_session_opts opts_of(uint32_t n_seqs, unsigned n_threads) {
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = 192;
    opts.n_seqs = n_seqs;
    opts.n_threads = n_threads;
    opts.kv_type = GGUF_TYPE_F32;
    opts.precision = RT_PRECISION_F32;
    return opts;
}

static rt_session *session_of(const rt_model *model, const rt_session_opts *opts) {
    gguf_error err = {0};
    rt_session *session;
    unit_ok(rt_session_new(model, opts, &session, &err), err);
    return session;
}

static float *room_for(size_t n) {
    float *x = calloc(n, sizeof *x);
    ck_assert_ptr_nonnull(x);
    return x;
}

/* The text into sequence 0, then all of the decoder's tokens. */
static void run(const rt_model *model, const rt_session_opts *opts, const fixture *f, float *hidden,
                float *logits) {
    gguf_error err = {0};
    rt_session *session = session_of(model, opts);
    unit_ok(rt_session_encode(session, 0, f->ref.tokens, f->ref.n, hidden, &err), err);
    unit_ok(rt_session_eval(session, f->target, f->n_target, RT_LOGITS_ALL, logits, &err), err);
    rt_session_free(session);
}

START_TEST(original) {
    static const uint32_t types[] = {GGUF_TYPE_F32, GGUF_TYPE_BF16};
    fixture f = read_fixture();
    float *hidden = room_for(f.n_hidden), *logits = room_for(f.ref.n_logits);
    rt_model *model = unit_model("models/t5", types[_i]);
    rt_session_opts opts = opts_of(1, 2);
    run(model, &opts, &f, hidden, logits);
    ck_assert(unit_distance(hidden, f.hidden, f.n_hidden) < 1e-5);
    ck_assert(unit_distance(logits, f.ref.logits, f.ref.n_logits) < 1e-5);
    free(hidden);
    free(logits);
    rt_model_close(model);
    clear_fixture(&f);
}
END_TEST

/* Threads, and every place where the layers may be divided. */
START_TEST(threads_and_places) {
    fixture f = read_fixture();
    rt_model *model = unit_model("models/t5", GGUF_TYPE_BF16);
    float *wanted = room_for(f.ref.n_logits), *logits = room_for(f.ref.n_logits);
    rt_session_opts opts = opts_of(1, 1);
    run(model, &opts, &f, NULL, wanted);
    opts.n_threads = 3;
    opts.device = &unit_shadow_type;
    for (uint32_t n = 0; n <= model->hparams.n_layer; n++) {
        opts.n_device_layers = n;
        run(model, &opts, &f, NULL, logits);
        ck_assert_mem_eq(logits, wanted, f.ref.n_logits * sizeof *logits);
    }
    free(wanted);
    free(logits);
    rt_model_close(model);
    clear_fixture(&f);
}
END_TEST

/* Token by token, beside another text, and in a sequence that shares the text of another one. */
START_TEST(alone_and_beside) {
    fixture f = read_fixture();
    gguf_error err = {0};
    rt_model *model = unit_model("models/t5", GGUF_TYPE_BF16);
    size_t n_vocab = model->hparams.n_vocab;
    float *wanted = room_for(f.ref.n_logits), *row = room_for(3 * n_vocab);
    rt_session_opts opts = opts_of(3, 2);
    run(model, &opts, &f, NULL, wanted);
    rt_session *session = session_of(model, &opts);
    unit_ok(rt_session_encode(session, 0, f.ref.tokens, 20, NULL, &err), err);
    unit_ok(rt_session_encode(session, 1, f.ref.tokens, f.ref.n, NULL, &err), err);
    unit_ok(rt_seq_share(session, 1, 2, (uint32_t)f.ref.n, NULL, &err), err);
    for (size_t i = 0; i < f.n_target; i++) {
        const rt_span spans[] = {{0, &f.target[f.n_target - 1 - i], 1, RT_LOGITS_LAST},
                                 {1, &f.target[i], 1, RT_LOGITS_LAST},
                                 {2, &f.target[i], 1, RT_LOGITS_LAST}};
        unit_ok(rt_session_eval_spans(session, spans, 3, row, &err), err);
        ck_assert_mem_eq(row + n_vocab, wanted + i * n_vocab, n_vocab * sizeof *row);
        ck_assert_mem_eq(row + 2 * n_vocab, wanted + i * n_vocab, n_vocab * sizeof *row);
    }
    rt_session_free(session);
    free(wanted);
    free(row);
    rt_model_close(model);
    clear_fixture(&f);
}
END_TEST

START_TEST(encoder_alone) {
    fixture f = read_fixture();
    gguf_error err = {0};
    rt_model *model, *whole;
    const char *path = unit_convert("models/t5", GGUF_TYPE_BF16);
    rt_session_opts opts = opts_of(1, 2);
    float *wanted = room_for(f.n_hidden), *logits = room_for(f.ref.n_logits);
    unit_ok(rt_model_open(path, &whole, &err), err);
    unit_ok(rt_model_open_encoder(path, &model, &err), err);
    unlink(path);
    run(whole, &opts, &f, wanted, logits);
    float *hidden = unit_logits(model, &opts, f.ref.tokens, f.ref.n);
    ck_assert(rt_model_is_embedder(model));
    ck_assert(rt_model_weights_bytes(model) < rt_model_weights_bytes(whole));
    ck_assert_mem_eq(hidden, wanted, f.n_hidden * sizeof *hidden);
    ck_assert_int_eq(rt_pool(model, hidden, f.ref.n, wanted, &err), GGUF_E_UNSUPPORTED);
    rt_model_set_pooling(model, RT_POOLING_CLS);
    err = (gguf_error){0};
    unit_ok(rt_pool(model, hidden, f.ref.n, wanted, &err), err);
    ck_assert_mem_eq(hidden, wanted, model->hparams.n_embd * sizeof *hidden);
    free(hidden);
    free(wanted);
    free(logits);
    rt_model_close(model);
    rt_model_close(whole);
    clear_fixture(&f);
}
END_TEST

static void expect(gguf_code got, gguf_code wanted, gguf_error *err) {
    ck_assert_int_eq(got, wanted);
    ck_assert(err->message[0] != 0);
    *err = (gguf_error){0};
}

/* A text comes first, once, and is kept as a whole. */
START_TEST(order_is_checked) {
    gguf_error err = {0};
    const int32_t tokens[] = {5, 6, 7, 8};
    uint32_t n_kept;
    float row[96];
    rt_model *model = unit_model("models/t5", GGUF_TYPE_BF16);
    rt_session_opts opts = opts_of(1, 1);
    rt_session *session = session_of(model, &opts);
    expect(rt_session_eval(session, tokens, 1, RT_LOGITS_LAST, row, &err), GGUF_E_UNSUPPORTED,
           &err);
    expect(rt_session_embed(session, tokens, 1, row, &err), GGUF_E_UNSUPPORTED, &err);
    unit_ok(rt_session_encode(session, 0, tokens, 4, NULL, &err), err);
    expect(rt_session_encode(session, 0, tokens, 4, NULL, &err), GGUF_E_USAGE, &err);
    unit_ok(rt_session_eval(session, tokens, 3, RT_LOGITS_LAST, row, &err), err);
    expect(rt_seq_truncate(session, 0, 2, NULL, &err), GGUF_E_LIMIT, &err);
    unit_ok(rt_seq_truncate(session, 0, 5, &n_kept, &err), err);
    ck_assert_uint_eq(n_kept, 5);
    unit_ok(rt_seq_truncate(session, 0, 3, &n_kept, &err), err);
    ck_assert_uint_eq(n_kept, 0);
    unit_ok(rt_session_encode(session, 0, tokens, 4, NULL, &err), err);
    rt_session_free(session);
    rt_model_close(model);
    model = unit_model("models/llama", GGUF_TYPE_BF16);
    session = session_of(model, &opts);
    expect(rt_session_encode(session, 0, tokens, 4, NULL, &err), GGUF_E_UNSUPPORTED, &err);
    rt_session_free(session);
    rt_model_close(model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_encoder");
    TCase *tc = tcase_create("encoder");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, original, 0, 2);
    tcase_add_test(tc, threads_and_places);
    tcase_add_test(tc, alone_and_beside);
    tcase_add_test(tc, encoder_alone);
    tcase_add_test(tc, order_is_checked);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
