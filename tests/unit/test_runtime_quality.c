/* Perplexity and divergence: against sums over plain logits, and of a model against itself. */
#include "runtime/measure/choices.h"
#include "runtime/measure/quality.h"
#include "unit_model.h"

enum { N_TOKENS = 70, N_CTX = 32, N_SCORED = 2 * (N_CTX - 1 - N_CTX / 2) };

static rt_quality_opts small_opts(void) {
    rt_quality_opts opts = rt_quality_defaults();
    opts.session.n_ctx = N_CTX;
    opts.session.n_threads = 2;
    opts.bos = 1;
    return opts;
}

/* Tokens of the reference, repeated. */
static void fill_tokens(int32_t *tokens) {
    unit_reference ref = unit_reference_of("models/llama");
    for (size_t i = 0; i < N_TOKENS; i++) tokens[i] = ref.tokens[i * 5 % ref.n];
    unit_reference_clear(&ref);
}

static double ln_p(const float *logits, uint32_t n_vocab, int32_t id) {
    double sum = 0;
    for (uint32_t i = 0; i < n_vocab; i++) sum += exp((double)logits[i]);
    return logits[id] - log(sum);
}

/* The definition, from the logits of whole chunks. */
static double plain_ppl(const rt_model *model, const rt_quality_opts *opts, const int32_t *tokens) {
    uint32_t n_vocab = rt_model_hparams(model)->n_vocab;
    double sum = 0;
    for (int chunk = 0; chunk < 2; chunk++) {
        int32_t ids[N_CTX];
        memcpy(ids, tokens + chunk * N_CTX, sizeof ids);
        ids[0] = opts->bos;
        float *logits = unit_logits(model, &opts->session, ids, N_CTX);
        for (int pos = N_CTX / 2; pos + 1 < N_CTX; pos++)
            sum -= ln_p(logits + (size_t)pos * n_vocab, n_vocab, ids[pos + 1]);
        free(logits);
    }
    return exp(sum / N_SCORED);
}

START_TEST(perplexity) {
    gguf_error err = {0};
    int32_t tokens[N_TOKENS];
    rt_quality quality;
    rt_quality_opts opts = small_opts();
    rt_model *model = unit_model("models/llama", GGUF_TYPE_BF16);
    fill_tokens(tokens);
    unit_ok(rt_quality_measure(model, NULL, tokens, N_TOKENS, &opts, &quality, &err), err);
    ck_assert_uint_eq(quality.n_chunks, 2);
    ck_assert_uint_eq(quality.n_tokens, N_SCORED);
    ck_assert_double_eq_tol(quality.ppl / plain_ppl(model, &opts, tokens), 1, 1e-12);
    ck_assert_double_gt(quality.ppl_stderr, 0);
    ck_assert_double_eq(quality.base_ppl, 0);
    opts.n_chunks = 1;
    unit_ok(rt_quality_measure(model, NULL, tokens, N_TOKENS, &opts, &quality, &err), err);
    ck_assert_uint_eq(quality.n_tokens, N_SCORED / 2);
    rt_model_close(model);
}
END_TEST

START_TEST(model_against_itself) {
    gguf_error err = {0};
    int32_t tokens[N_TOKENS];
    rt_quality quality;
    rt_quality_opts opts = small_opts();
    rt_model *model = unit_model("models/llama", GGUF_TYPE_Q8_0);
    fill_tokens(tokens);
    unit_ok(rt_quality_measure(model, model, tokens, N_TOKENS, &opts, &quality, &err), err);
    ck_assert_double_eq(quality.kld_mean, 0);
    ck_assert_double_eq(quality.kld_stderr, 0);
    ck_assert_double_eq(quality.kld_max, 0);
    ck_assert_double_eq(quality.delta_p_rms, 0);
    ck_assert_double_eq(quality.top1_agreement, 1);
    ck_assert_double_eq(quality.ppl, quality.base_ppl);
    rt_model_close(model);
}
END_TEST

static void check_divergence(const rt_quality *q) {
    ck_assert_double_gt(q->kld_mean, 0);
    ck_assert_double_gt(q->kld_stderr, 0);
    ck_assert_double_gt(q->kld_median, 0);
    ck_assert_double_ge(q->kld_p99, q->kld_median);
    ck_assert_double_ge(q->kld_p999, q->kld_p99);
    ck_assert_double_ge(q->kld_max, q->kld_p999);
    ck_assert_double_lt(q->kld_mean, 0.1);
    ck_assert_double_gt(q->top1_agreement, 0.5);
    ck_assert_double_gt(q->delta_p_rms, 0);
    ck_assert_double_ne(q->ppl, q->base_ppl);
}

/* A coarser model diverges; the result does not depend on threads and batches. */
START_TEST(divergence_of_a_coarser_model) {
    gguf_error err = {0};
    int32_t tokens[N_TOKENS];
    rt_quality quality, again;
    rt_quality_opts opts = small_opts();
    rt_model *base = unit_model("models/llama", GGUF_TYPE_BF16);
    rt_model *model = unit_model("models/llama", GGUF_TYPE_Q8_0);
    fill_tokens(tokens);
    unit_ok(rt_quality_measure(model, base, tokens, N_TOKENS, &opts, &quality, &err), err);
    check_divergence(&quality);
    opts.session.n_threads = 1;
    opts.session.n_batch = 3;
    unit_ok(rt_quality_measure(model, base, tokens, N_TOKENS, &opts, &again, &err), err);
    ck_assert_mem_eq(&quality, &again, sizeof quality);
    rt_model_close(base);
    rt_model_close(model);
}
END_TEST

/* Choices that share five tokens, of different lengths, one of which starts late. */
START_TEST(choices) {
    gguf_error err = {0};
    int32_t tokens[N_TOKENS], rows[3][60];
    static const size_t lengths[] = {8, 60, 9}, first[] = {5, 5, 7};
    rt_choice list[3];
    double ln_ps[3];
    rt_quality_opts opts = small_opts();
    rt_session *session;
    opts.session.n_ctx = 64;
    rt_session_opts two = opts.session;
    two.n_seqs = 2;
    fill_tokens(tokens);
    rt_model *model = unit_model("models/llama", GGUF_TYPE_BF16);
    uint32_t n_vocab = rt_model_hparams(model)->n_vocab;
    for (size_t c = 0; c < 3; c++) {
        for (size_t i = 0; i < lengths[c]; i++) rows[c][i] = tokens[i < 5 ? i : i + c + 1];
        list[c] = (rt_choice){rows[c], lengths[c], first[c]};
    }
    unit_ok(rt_session_new(model, &two, &session, &err), err);
    unit_ok(rt_choices_score(session, list, 3, ln_ps, &err), err);
    for (size_t c = 0; c < 3; c++) {
        double sum = 0;
        float *logits = unit_logits(model, &opts.session, rows[c], lengths[c]);
        for (size_t i = first[c]; i < lengths[c]; i++)
            sum += ln_p(logits + (i - 1) * n_vocab, n_vocab, rows[c][i]);
        ck_assert_double_eq_tol(ln_ps[c] / sum, 1, 1e-9);
        free(logits);
    }
    list[1].first = lengths[1];
    unit_fails(rt_choices_score(session, list, 3, ln_ps, &err), GGUF_E_USAGE,
               "choice 1 of 60 tokens cannot start at 60", err);
    rt_session_free(session);
    rt_model_close(model);
}
END_TEST

static void count_and_cancel(void *ctx, uint64_t done, uint64_t total, double ppl) {
    ck_assert_uint_le(done, total);
    ck_assert_uint_eq(total, 2 * N_CTX);
    ck_assert_double_gt(ppl, 1);
    atomic_store((atomic_bool *)ctx, true);
}

/* The last token of a chunk and of a choice is never evaluated, only scored. */
START_TEST(unknown_tokens) {
    gguf_error err = {0};
    int32_t tokens[N_TOKENS];
    double ln_ps[1];
    rt_quality quality;
    rt_quality_opts opts = small_opts();
    rt_session *session;
    rt_session_opts two = opts.session;
    two.n_seqs = 2;
    rt_model *model = unit_model("models/llama", GGUF_TYPE_F32);
    int32_t n_vocab = (int32_t)rt_model_hparams(model)->n_vocab;
    unit_ok(rt_session_new(model, &two, &session, &err), err);
    const int32_t wrong[] = {n_vocab, INT32_MAX, -1, INT32_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        fill_tokens(tokens);
        tokens[N_CTX - 1] = wrong[i];
        err = (gguf_error){0};
        unit_fails(rt_quality_measure(model, NULL, tokens, N_TOKENS, &opts, &quality, &err),
                   GGUF_E_USAGE, "token 31 has the id", err);
        const rt_choice choice = {tokens, N_CTX, 5};
        err = (gguf_error){0};
        unit_fails(rt_choices_score(session, &choice, 1, ln_ps, &err), GGUF_E_USAGE,
                   "token 31 has the id", err);
    }
    rt_session_free(session);
    rt_model_close(model);
}
END_TEST

START_TEST(errors) {
    gguf_error err = {0};
    int32_t tokens[N_TOKENS];
    rt_quality quality;
    rt_quality_opts opts = small_opts();
    rt_model *model = unit_model("models/llama", GGUF_TYPE_F32);
    fill_tokens(tokens);
    unit_fails(rt_quality_measure(model, NULL, tokens, N_CTX - 1, &opts, &quality, &err),
               GGUF_E_USAGE, "31 tokens do not fill one chunk of 32", err);
    atomic_bool cancel = false;
    opts.cancel = &cancel;
    opts.progress = count_and_cancel;
    opts.progress_ctx = &cancel;
    err = (gguf_error){0};
    unit_fails(rt_quality_measure(model, NULL, tokens, N_TOKENS, &opts, &quality, &err),
               GGUF_E_CANCELLED, "cancelled", err);
    rt_model_close(model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_quality");
    TCase *tc = tcase_create("quality");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, perplexity);
    tcase_add_test(tc, model_against_itself);
    tcase_add_test(tc, divergence_of_a_coarser_model);
    tcase_add_test(tc, choices);
    tcase_add_test(tc, unknown_tokens);
    tcase_add_test(tc, errors);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
