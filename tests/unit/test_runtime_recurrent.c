/* Models with recurrent layers: the same bits however a text is cut, going back by snapshots,
 * sharing, and batches that fail. */
#include "runtime/engine/session_internal.h"
#include "unit_random.h"

enum { N_TOKENS = 200, N_FAMILIES = 10 };

static const char *const families[] = {
    "models/mamba2",       "models/nemotron_h", "models/qwen3_next", "models/qwen3_5",
    "models/lfm2",         "models/jamba",      "models/falcon_h1",  "models/kimi_linear",
    UNIT_DEEPSEEK4("200"), UNIT_GLM5_NEXT};

typedef struct fixture {
    rt_model *model;
    rt_session *session;
    int32_t tokens[N_TOKENS];
    float *fresh; /* [N_TOKENS][n_vocab] of one evaluation */
    size_t n_row;
} fixture;

static rt_session_opts recurrent_opts(void) {
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = 256;
    opts.n_seqs = 3;
    opts.n_batch = 96;
    opts.n_threads = 2;
    opts.n_snapshots = 3;
    return opts;
}

/* A folder with weights, or a config whose weights are drawn. */
static fixture open_model(const char *family) {
    fixture f = {0};
    if (*family == '{') {
        f.model = unit_random_model(family);
        for (size_t i = 0; i < N_TOKENS; i++)
            f.tokens[i] = (int32_t)((i * 37 + i * i) % rt_model_hparams(f.model)->n_vocab);
        return f;
    }
    unit_reference ref = unit_reference_of(family);
    f.model = unit_model(family, GGUF_TYPE_Q8_0);
    for (size_t i = 0; i < N_TOKENS; i++) f.tokens[i] = ref.tokens[(i * 7 + i / 50) % ref.n];
    unit_reference_clear(&ref);
    return f;
}

static fixture open_fixture(int family, const rt_session_opts *opts) {
    gguf_error err = {0};
    fixture f = open_model(families[family]);
    rt_session_opts alone = *opts;
    alone.n_seqs = 1;
    alone.n_snapshots = 0;
    alone.n_batch = N_TOKENS;
    f.fresh = unit_logits(f.model, &alone, f.tokens, N_TOKENS);
    f.n_row = rt_model_hparams(f.model)->n_out;
    unit_ok(rt_session_new(f.model, opts, &f.session, &err), err);
    return f;
}

static void close_fixture(fixture *f) {
    rt_session_free(f->session);
    rt_model_close(f->model);
    free(f->fresh);
}

/* Append the text's tokens up to `end`, `step` at a time. */
static void go_on(const fixture *f, uint32_t seq, uint32_t end, uint32_t step) {
    gguf_error err = {0};
    float *logits = malloc(step * f->n_row * sizeof *logits);
    for (uint32_t pos; (pos = rt_seq_n_past(f->session, seq)) < end;) {
        size_t n = end - pos < step ? end - pos : step;
        const rt_span span = {seq, f->tokens + pos, n, RT_LOGITS_ALL};
        unit_ok(rt_session_eval_spans(f->session, &span, 1, logits, &err), err);
        ck_assert_mem_eq(logits, f->fresh + pos * f->n_row, n * f->n_row * sizeof *logits);
    }
    free(logits);
}

START_TEST(the_same_however_it_is_cut) {
    static const uint32_t steps[] = {1, 7, 64, 65, N_TOKENS};
    rt_session_opts opts = recurrent_opts();
    fixture f = open_fixture(_i, &opts);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        rt_session_reset(f.session);
        go_on(&f, 1, N_TOKENS, steps[i]);
    }
    close_fixture(&f);
}
END_TEST

START_TEST(going_back) {
    gguf_error err = {0};
    uint32_t kept = 0;
    rt_session_opts opts = recurrent_opts();
    fixture f = open_fixture(_i, &opts);
    go_on(&f, 0, N_TOKENS, 70);
    unit_fails(rt_seq_truncate(f.session, 0, 150, NULL, &err), GGUF_E_LIMIT,
               "is held after 128 tokens, not after 150", err);
    ck_assert_uint_eq(rt_seq_n_past(f.session, 0), N_TOKENS);
    err = (gguf_error){0};
    unit_ok(rt_seq_truncate(f.session, 0, 150, &kept, &err), err);
    ck_assert_uint_eq(kept, 128);
    ck_assert_uint_eq(rt_seq_n_past(f.session, 0), 128);
    go_on(&f, 0, 190, 7);
    unit_ok(rt_seq_truncate(f.session, 0, 64, NULL, &err), err);
    go_on(&f, 0, N_TOKENS, 50);
    unit_ok(rt_seq_truncate(f.session, 0, 63, &kept, &err), err);
    ck_assert_uint_eq(kept, 0);
    go_on(&f, 0, 10, 3);
    close_fixture(&f);
}
END_TEST

START_TEST(sharing) {
    gguf_error err = {0};
    uint32_t kept = 0;
    rt_session_opts opts = recurrent_opts();
    fixture f = open_fixture(_i, &opts);
    go_on(&f, 0, 100, 96);
    unit_ok(rt_seq_share(f.session, 0, 1, 100, NULL, &err), err);
    unit_ok(rt_seq_share(f.session, 0, 2, 99, &kept, &err), err);
    ck_assert_uint_eq(kept, 64);
    go_on(&f, 1, 130, 11);
    go_on(&f, 2, 140, 40);
    go_on(&f, 0, N_TOKENS, 96);
    unit_ok(rt_seq_truncate(f.session, 0, 0, NULL, &err), err);
    go_on(&f, 1, N_TOKENS, 1);
    go_on(&f, 2, N_TOKENS, 96);
    go_on(&f, 0, 20, 20);
    close_fixture(&f);
}
END_TEST

/* Sequences that are fed together, at different places of the text. */
START_TEST(beside_others) {
    gguf_error err = {0};
    rt_session_opts opts = recurrent_opts();
    fixture f = open_fixture(_i, &opts);
    float *logits = malloc(3 * f.n_row * sizeof *logits);
    go_on(&f, 0, 5, 5);
    go_on(&f, 1, 61, 61);
    for (int round = 0; round < 20; round++) {
        uint32_t at[3];
        for (uint32_t s = 0; s < 3; s++) at[s] = rt_seq_n_past(f.session, s);
        const rt_span spans[3] = {{2, f.tokens + at[2], 3, RT_LOGITS_LAST},
                                  {0, f.tokens + at[0], 1, RT_LOGITS_LAST},
                                  {1, f.tokens + at[1], 2, RT_LOGITS_LAST}};
        unit_ok(rt_session_eval_spans(f.session, spans, 3, logits, &err), err);
        for (size_t i = 0; i < 3; i++)
            ck_assert_mem_eq(logits + i * f.n_row,
                             f.fresh + (at[spans[i].seq] + spans[i].n - 1) * f.n_row,
                             f.n_row * sizeof *logits);
    }
    free(logits);
    close_fixture(&f);
}
END_TEST

/* ---- a batch that fails ------------------------------------------------------------------------
 */

typedef struct stopper {
    atomic_bool cancel;
    int n_left; /* products until the flag is set */
} stopper;

static void stop_later(void *ctx, const rt_product *product) {
    stopper *s = ctx;
    (void)product;
    if (s->n_left-- == 0) atomic_store(&s->cancel, true);
}

START_TEST(a_failed_batch_leaves_the_state) {
    gguf_error err = {0};
    static stopper s;
    rt_session_opts opts = recurrent_opts();
    opts.cancel = &s.cancel;
    atomic_store(&s.cancel, false);
    fixture f = open_fixture(_i, &opts);
    go_on(&f, 0, 50, 50);
    for (int products = 0; products < 4; products++) {
        const rt_span spans[2] = {{0, f.tokens + 50, 40, RT_LOGITS_NONE},
                                  {1, f.tokens, 30, RT_LOGITS_NONE}};
        s.n_left = products;
        unit_ok(rt_session_set_hook(f.session, stop_later, &s, &err), err);
        unit_fails(rt_session_eval_spans(f.session, spans, 2, NULL, &err), GGUF_E_CANCELLED,
                   "interrupted", err);
        err = (gguf_error){0};
        atomic_store(&s.cancel, false);
        unit_ok(rt_session_set_hook(f.session, NULL, NULL, &err), err);
        ck_assert_uint_eq(rt_seq_n_past(f.session, 0), 50);
        ck_assert_uint_eq(rt_seq_n_past(f.session, 1), 0);
        ck_assert_uint_eq(f.session->state.n_free, f.session->state.n_slots - 1);
    }
    go_on(&f, 0, N_TOKENS, 33);
    go_on(&f, 1, 90, 90);
    close_fixture(&f);
}
END_TEST

START_TEST(states_are_not_shifted) {
    gguf_error err = {0};
    rt_session_opts opts = recurrent_opts();
    fixture f = open_fixture(_i, &opts);
    go_on(&f, 0, N_TOKENS, 96);
    unit_fails(rt_seq_shift(f.session, 0, 64, 64, &err), GGUF_E_UNSUPPORTED, "cannot be shifted",
               err);
    close_fixture(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_recurrent");
    TCase *tc = tcase_create("recurrent");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, the_same_however_it_is_cut, 0, N_FAMILIES);
    tcase_add_loop_test(tc, going_back, 0, N_FAMILIES);
    tcase_add_loop_test(tc, sharing, 0, N_FAMILIES);
    tcase_add_loop_test(tc, beside_others, 0, N_FAMILIES);
    tcase_add_loop_test(tc, a_failed_batch_leaves_the_state, 0, N_FAMILIES);
    tcase_add_loop_test(tc, states_are_not_shifted, 0, N_FAMILIES);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
