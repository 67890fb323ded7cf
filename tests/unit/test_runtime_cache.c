/* Several sequences in one session: batches that mix them, pages that they share, windows that
 * release what they passed. Each sequence must get the bits of a session of its own. */
#include "runtime/engine/ops.h"
#include "unit_model.h"

static rt_session_opts cache_opts(uint32_t n_seqs) {
    rt_session_opts opts = rt_session_defaults();
    opts.n_threads = 2;
    opts.n_seqs = n_seqs;
    return opts;
}

typedef struct fixture {
    unit_reference ref;
    rt_model *model;
    rt_session *session;
    float *alone; /* logits of ref.tokens in a session of their own */
    size_t n_row;
} fixture;

static fixture open_fixture(const char *folder, const rt_session_opts *opts) {
    gguf_error err = {0};
    fixture f = {.ref = unit_reference_of(folder), .model = unit_model(folder, GGUF_TYPE_Q8_0)};
    rt_session_opts own = *opts;
    own.n_seqs = 1;
    own.n_kv_tokens = 0;
    f.alone = unit_logits(f.model, &own, f.ref.tokens, f.ref.n);
    f.n_row = rt_model_hparams(f.model)->n_out;
    unit_ok(rt_session_new(f.model, opts, &f.session, &err), err);
    return f;
}

static void close_fixture(fixture *f) {
    rt_session_free(f->session);
    rt_model_close(f->model);
    unit_reference_clear(&f->ref);
    free(f->alone);
}

static void check_rows(const fixture *f, const float *logits, size_t first, size_t n) {
    ck_assert_mem_eq(logits, f->alone + first * f->n_row, n * f->n_row * sizeof *logits);
}

/* Append tokens that the reference has at the sequence's position. */
static void extend(const fixture *f, uint32_t seq, size_t n) {
    gguf_error err = {0};
    uint32_t pos = rt_seq_n_past(f->session, seq);
    float *logits = malloc(n * f->n_row * sizeof *logits);
    const rt_span span = {seq, f->ref.tokens + pos, n, RT_LOGITS_ALL};
    unit_ok(rt_session_eval_spans(f->session, &span, 1, logits, &err), err);
    check_rows(f, logits, pos, n);
    free(logits);
}

/* ---- mixed batches ------------------------------------------------------------------------------
 */

static const char *const families[] = {
    "models/llama", "models/gemma3", "models/deepseek_v3", "models/gpt_oss",
    "models/phi3",  "models/mamba2", "models/nemotron_h",  "models/qwen3_next"};

/* Three sequences at different positions, with all, the last and no logits. */
START_TEST(sequences_do_not_see_each_other) {
    gguf_error err = {0};
    rt_session_opts opts = cache_opts(3);
    opts.n_batch = 13;
    fixture f = open_fixture(families[_i], &opts);
    float *logits = malloc(f.ref.n * f.n_row * sizeof *logits);
    extend(&f, 2, 7);
    const rt_span spans[] = {{0, f.ref.tokens, 20, RT_LOGITS_ALL},
                             {1, f.ref.tokens, 9, RT_LOGITS_NONE},
                             {2, f.ref.tokens + 7, 30, RT_LOGITS_LAST}};
    unit_ok(rt_session_eval_spans(f.session, spans, 3, logits, &err), err);
    check_rows(&f, logits, 0, 20);
    check_rows(&f, logits + 20 * f.n_row, 36, 1);
    ck_assert_uint_eq(rt_seq_n_past(f.session, 0), 20);
    ck_assert_uint_eq(rt_seq_n_past(f.session, 1), 9);
    ck_assert_uint_eq(rt_seq_n_past(f.session, 2), 37);
    extend(&f, 1, 30);
    extend(&f, 0, 1);
    extend(&f, 2, 3);
    free(logits);
    close_fixture(&f);
}
END_TEST

/* Two whole sequences of an encoder in one batch. */
START_TEST(encoder_sequences) {
    gguf_error err = {0};
    rt_session_opts opts = cache_opts(2);
    fixture f = open_fixture("models/bert", &opts);
    size_t n = f.ref.n;
    float *rows = malloc(2 * n * f.n_row * sizeof *rows);
    const rt_span spans[] = {{0, f.ref.tokens, n, RT_LOGITS_ALL},
                             {1, f.ref.tokens, n, RT_LOGITS_ALL}};
    unit_ok(rt_session_eval_spans(f.session, spans, 2, rows, &err), err);
    check_rows(&f, rows, 0, n);
    check_rows(&f, rows + n * f.n_row, 0, n);
    unit_fails(rt_session_eval(f.session, f.ref.tokens, 1, RT_LOGITS_LAST, rows, &err),
               GGUF_E_USAGE, "cannot be continued", err);
    free(rows);
    close_fixture(&f);
}
END_TEST

/* Behind the first separator tokens have the second token type. The rows are what transformers 5
 * gives for BertModel with those types; these weights are rounded to 8 bits. With the first type
 * alone the last row begins with -.81, 1.2. */
START_TEST(second_texts_have_their_token_type) {
    enum { N = 7 };
    static const int32_t pair[N] = {2, 878, 934, 3, 853, 1103, 3};
    static const struct {
        size_t row;
        float values[6];
    } known[] = {
        {1, {-0.0931581f, 0.3917522f, -0.1154644f, 0.1727362f, 0.6828542f, -0.8758769f}},
        {5, {-0.2624960f, 0.4217627f, -0.1349286f, 0.1742633f, 0.8854170f, -0.7501926f}},
    };
    gguf_error err = {0};
    rt_session_opts opts = cache_opts(3);
    fixture f = open_fixture("models/bert", &opts);
    float *rows = malloc((N + 4 + N) * f.n_row * sizeof *rows);
    const rt_span spans[] = {
        {0, pair, N, RT_LOGITS_ALL}, {1, pair, 4, RT_LOGITS_ALL}, {2, pair, N, RT_LOGITS_ALL}};
    unit_ok(rt_session_eval_spans(f.session, spans, 3, rows, &err), err);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < 6; i++)
            ck_assert_float_eq_tol(rows[known[k].row * f.n_row + i], known[k].values[i], 0.1f);
    ck_assert_mem_eq(rows, rows + (N + 4) * f.n_row, N * f.n_row * sizeof *rows);
    free(rows);
    close_fixture(&f);
}
END_TEST

START_TEST(refused_spans) {
    gguf_error err = {0};
    rt_session_opts opts = cache_opts(2);
    fixture f = open_fixture("models/llama", &opts);
    const rt_span twice[] = {{1, f.ref.tokens, 1, RT_LOGITS_NONE},
                             {1, f.ref.tokens, 1, RT_LOGITS_NONE}};
    unit_fails(rt_session_eval_spans(f.session, twice, 2, NULL, &err), GGUF_E_USAGE, "occurs twice",
               err);
    const rt_span unknown = {2, f.ref.tokens, 1, RT_LOGITS_NONE};
    err = (gguf_error){0};
    unit_fails(rt_session_eval_spans(f.session, &unknown, 1, NULL, &err), GGUF_E_USAGE,
               "no sequence 2", err);
    err = (gguf_error){0};
    unit_fails(rt_seq_truncate(f.session, 0, 1, NULL, &err), GGUF_E_USAGE, "has 0 tokens, not 1",
               err);
    close_fixture(&f);
}
END_TEST

/* ---- shared pages -------------------------------------------------------------------------------
 */

static uint32_t n_free(const fixture *f, rt_kv_class kv_class) {
    return f->session->kv.pools[kv_class].n_free;
}

/* A text long enough for several pages, from the reference's tokens over and over. */
static void lengthen(fixture *f, size_t n) {
    int32_t *tokens = malloc(n * sizeof *tokens);
    rt_session_opts own = f->session->opts;
    for (size_t i = 0; i < n; i++) tokens[i] = f->ref.tokens[i % f->ref.n];
    own.n_seqs = 1;
    own.n_kv_tokens = 0;
    free(f->ref.tokens);
    free(f->alone);
    f->ref.tokens = tokens;
    f->ref.n = n;
    f->alone = unit_logits(f->model, &own, tokens, n);
}

START_TEST(prefix_is_shared_until_written) {
    gguf_error err = {0};
    rt_session_opts opts = cache_opts(3);
    opts.n_ctx = 256;
    fixture f = open_fixture("models/llama", &opts);
    lengthen(&f, 200);
    extend(&f, 0, 150); /* pages 0, 1 and part of 2 */
    uint32_t before = n_free(&f, RT_KV_FULL);
    unit_ok(rt_seq_share(f.session, 0, 1, 150, NULL, &err), err);
    unit_ok(rt_seq_share(f.session, 0, 2, 70, NULL, &err), err);
    ck_assert_uint_eq(n_free(&f, RT_KV_FULL), before);
    extend(&f, 1, 20); /* page 2 is copied */
    ck_assert_uint_eq(n_free(&f, RT_KV_FULL), before - 1);
    extend(&f, 2, 10); /* page 1 is copied */
    ck_assert_uint_eq(n_free(&f, RT_KV_FULL), before - 2);
    extend(&f, 0, 50); /* page 2 is its own again; page 3 */
    ck_assert_uint_eq(n_free(&f, RT_KV_FULL), before - 3);
    extend(&f, 1, 5);
    unit_ok(rt_seq_truncate(f.session, 0, 0, NULL, &err), err);
    extend(&f, 2, 60);
    unit_ok(rt_seq_truncate(f.session, 2, 65, NULL, &err), err);
    extend(&f, 2, 30);
    rt_session_reset(f.session);
    ck_assert_uint_eq(n_free(&f, RT_KV_FULL), f.session->kv.pools[RT_KV_FULL].n_pages);
    close_fixture(&f);
}
END_TEST

START_TEST(full_cache) {
    gguf_error err = {0};
    rt_session_opts opts = cache_opts(2);
    opts.n_ctx = 256;
    opts.n_kv_tokens = 192;
    fixture f = open_fixture("models/llama", &opts);
    lengthen(&f, 200);
    extend(&f, 0, 100);
    const rt_span span = {1, f.ref.tokens, 100, RT_LOGITS_NONE};
    unit_fails(rt_session_eval_spans(f.session, &span, 1, NULL, &err), GGUF_E_LIMIT,
               "all 3 pages of 64 tokens", err);
    ck_assert_uint_eq(rt_seq_n_past(f.session, 1), 0);
    extend(&f, 1, 64);
    unit_ok(rt_seq_truncate(f.session, 0, 64, NULL, &err), err);
    extend(&f, 1, 64);
    close_fixture(&f);
}
END_TEST

/* ---- windows ------------------------------------------------------------------------------------
 */

/* gemma3's fixture: two layers with a window of 16, one without. */
START_TEST(windows_release_pages) {
    gguf_error err = {0};
    rt_session_opts opts = cache_opts(2);
    opts.n_ctx = 512;
    opts.n_batch = 64;
    fixture f = open_fixture("models/gemma3", &opts);
    lengthen(&f, 400);
    const rt_seq *seq = &f.session->kv.seqs[0];
    for (int i = 0; i < 6; i++) extend(&f, 0, 60);
    ck_assert_uint_eq(seq->first[RT_KV_FULL], 0);
    ck_assert_uint_ge(seq->first[RT_KV_WINDOW], 4);
    unit_ok(rt_seq_share(f.session, 0, 1, 360, NULL, &err), err);
    extend(&f, 1, 40);
    extend(&f, 0, 40);
    unit_fails(rt_seq_truncate(f.session, 0, 100, NULL, &err), GGUF_E_LIMIT, "no longer hold", err);
    ck_assert_uint_eq(rt_seq_n_past(f.session, 0), 400);
    unit_ok(rt_seq_truncate(f.session, 0, 390, NULL, &err), err);
    extend(&f, 0, 10);
    unit_ok(rt_seq_truncate(f.session, 0, 0, NULL, &err), err);
    extend(&f, 0, 100);
    close_fixture(&f);
}
END_TEST

/* Token by token, far beyond what the layers with a window keep. */
START_TEST(windows_never_run_out) {
    rt_session_opts opts = cache_opts(3);
    opts.n_ctx = 512;
    opts.n_batch = 32;
    fixture f = open_fixture("models/gpt_oss", &opts);
    lengthen(&f, 512);
    ck_assert_uint_lt(f.session->kv.pools[RT_KV_WINDOW].n_pages, 3 * 512 / 64);
    for (int i = 0; i < 512; i += 32)
        for (uint32_t seq = 0; seq < 3; seq++) extend(&f, seq, 32);
    close_fixture(&f);
}
END_TEST

/* Sequences in turn, each fed a whole batch, and all in one batch: what one of them no longer needs
 * is there for the others. */
START_TEST(windows_of_idle_sequences_are_given_back) {
    gguf_error err = {0};
    rt_session_opts opts = cache_opts(4);
    opts.n_ctx = 512;
    opts.n_batch = 256;
    fixture f = open_fixture("models/gemma3", &opts);
    lengthen(&f, 512);
    ck_assert_uint_lt(f.session->kv.pools[RT_KV_WINDOW].n_pages, 4 * 512 / RT_KV_PAGE_TOKENS);
    for (int round = 0; round < 4; round++) {
        for (uint32_t seq = 0; seq < 4; seq++)
            unit_ok(rt_seq_truncate(f.session, seq, 0, NULL, &err), err);
        for (int half = 0; half < 2; half++)
            for (uint32_t seq = 0; seq < 4; seq++) extend(&f, seq, 256);
        unit_ok(rt_seq_truncate(f.session, 3, 257, NULL, &err), err);
        extend(&f, 3, 255);
    }
    rt_session_reset(f.session);
    rt_span spans[4];
    for (size_t done = 0; done < 512; done += 128) {
        for (uint32_t seq = 0; seq < 4; seq++)
            spans[seq] = (rt_span){seq, f.ref.tokens + done, 128, RT_LOGITS_NONE};
        unit_ok(rt_session_eval_spans(f.session, spans, 4, NULL, &err), err);
    }
    close_fixture(&f);
}
END_TEST

/* ---- context shift ------------------------------------------------------------------------------
 */

/* Keys of the first layer, which depend on nothing but token and position. */
static void first_keys(rt_session *session, uint32_t seq, uint32_t from, uint32_t n, float *keys) {
    rt_kv_layer kv = rt_op_kv(session, 0);
    for (uint32_t i = 0; i < n; i += 4) {
        rt_tile tile = {.pages[RT_KV_FULL] = rt_kv_table(&session->kv, RT_KV_FULL, seq),
                        .pages[RT_KV_WINDOW] = rt_kv_table(&session->kv, RT_KV_WINDOW, seq),
                        .n = 4,
                        .pos = from + i};
        rt_batch batch = {.tiles = &tile, .n_tiles = 1, .n = 4};
        rt_backend *backend = session->places[0];
        backend->ops->kv_load(backend, &kv, &batch, session->layout.k);
        backend->ops->read(backend, session->layout.k, 4 * kv.n_cols_k * sizeof *keys,
                           keys + i * kv.n_cols_k);
    }
}

static const char *const shifted[] = {"models/llama", "models/gemma3", "models/deepseek_v3",
                                      "models/qwen3"};

/* Tokens 0 .. 63 and 192 .. 255 of a text, by way of a shift and without one. */
START_TEST(shift_moves_keys) {
    gguf_error err = {0};
    rt_session_opts opts = cache_opts(3);
    opts.n_ctx = 512;
    opts.kv_type = GGUF_TYPE_F32;
    fixture f = open_fixture(shifted[_i], &opts);
    lengthen(&f, 256);
    uint32_t n_cols = rt_op_kv(f.session, 0).n_cols_k;
    float *keys = malloc(2 * 64 * n_cols * sizeof *keys);
    const rt_span direct[] = {{1, f.ref.tokens, 64, RT_LOGITS_NONE}};
    const rt_span rest[] = {{1, f.ref.tokens + 192, 64, RT_LOGITS_NONE}};
    extend(&f, 0, 256);
    unit_ok(rt_seq_share(f.session, 0, 2, 256, NULL, &err), err);
    unit_ok(rt_seq_shift(f.session, 0, 64, 128, &err), err);
    ck_assert_uint_eq(rt_seq_n_past(f.session, 0), 128);
    unit_ok(rt_session_eval_spans(f.session, direct, 1, NULL, &err), err);
    unit_ok(rt_session_eval_spans(f.session, rest, 1, NULL, &err), err);
    /* The window of 16 keeps the last of the tokens only. */
    uint32_t from = f.session->kv.seqs[0].first[RT_KV_WINDOW] ? 112 : 64;
    first_keys(f.session, 0, from, 128 - from, keys);
    first_keys(f.session, 1, from, 128 - from, keys + 64 * n_cols);
    ck_assert_double_le(unit_distance(keys, keys + 64 * n_cols, (128 - from) * n_cols), 1e-5);
    /* The sequence that shared the pages is as it was, and the shifted one goes on. */
    unit_ok(rt_seq_truncate(f.session, 2, 255, NULL, &err), err);
    extend(&f, 2, 1);
    const rt_span more[] = {{0, f.ref.tokens, 200, RT_LOGITS_NONE}};
    unit_ok(rt_session_eval_spans(f.session, more, 1, NULL, &err), err);
    ck_assert_uint_eq(rt_seq_n_past(f.session, 0), 328);
    free(keys);
    close_fixture(&f);
}
END_TEST

START_TEST(refused_shifts) {
    gguf_error err = {0};
    rt_session_opts opts = cache_opts(1);
    fixture f = open_fixture("models/gemma3", &opts);
    lengthen(&f, 256);
    extend(&f, 0, 256);
    unit_fails(rt_seq_shift(f.session, 0, 10, 64, &err), GGUF_E_USAGE, "not whole pages", err);
    err = (gguf_error){0};
    unit_fails(rt_seq_shift(f.session, 0, 192, 128, &err), GGUF_E_USAGE, "not whole pages", err);
    extend(&f, 0, 0);
    err = (gguf_error){0};
    close_fixture(&f);
    f = open_fixture("models/bert", &opts);
    unit_ok(rt_session_eval(f.session, f.ref.tokens, 0, RT_LOGITS_NONE, NULL, &err), err);
    unit_fails(rt_seq_shift(f.session, 0, 0, 0, &err), GGUF_E_UNSUPPORTED, "cannot be shifted",
               err);
    close_fixture(&f);
}
END_TEST

/* ---- cancelling ---------------------------------------------------------------------------- */

/* A cancelled evaluation leaves the sequence before its batch, and does no harm to the next one. */
START_TEST(cancelled) {
    gguf_error err = {0};
    atomic_bool cancel = false;
    rt_session_opts opts = cache_opts(1);
    opts.cancel = &cancel;
    fixture f = open_fixture(families[_i], &opts);
    extend(&f, 0, 9);
    atomic_store(&cancel, true);
    unit_fails(rt_session_eval(f.session, f.ref.tokens + 9, 20, RT_LOGITS_NONE, NULL, &err),
               GGUF_E_CANCELLED, "interrupted", err);
    ck_assert_uint_eq(rt_session_n_past(f.session), 9);
    atomic_store(&cancel, false);
    extend(&f, 0, f.ref.n - 9);
    close_fixture(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_cache");
    TCase *tc = tcase_create("cache");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, sequences_do_not_see_each_other, 0,
                        sizeof families / sizeof families[0]);
    tcase_add_test(tc, encoder_sequences);
    tcase_add_test(tc, second_texts_have_their_token_type);
    tcase_add_test(tc, refused_spans);
    tcase_add_test(tc, prefix_is_shared_until_written);
    tcase_add_test(tc, full_cache);
    tcase_add_test(tc, windows_release_pages);
    tcase_add_test(tc, windows_never_run_out);
    tcase_add_test(tc, windows_of_idle_sequences_are_given_back);
    tcase_add_loop_test(tc, shift_moves_keys, 0, 4);
    tcase_add_test(tc, refused_shifts);
    tcase_add_loop_test(tc, cancelled, 0, 5);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
