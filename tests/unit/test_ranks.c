/* What ranks do together has the bytes of one process; one that fails ends all. */
#include "runtime/calibrate/hessians.h"
#include "runtime/measure/quality.h"
#include "unit_model.h"
#include "unit_ranks.h"

enum { N_TOKENS = 192, N_CTX = 16 };

/* One rank's work and what came of it. */
typedef struct work {
    const char *model, *out;
    rt_model *opened; /* for all but pipelines */
    const int32_t *tokens;
    uint32_t fails_at; /* stage at which `provide` fails; UINT32_MAX: never */
    uint64_t hessian_bytes;
    gguf_code code;
    gguf_error err;
    quant_imatrix *im;
    double sum; /* of Hessians and factors */
    uint64_t n_samples;
    unsigned n_passes;
    rt_quality quality;
    float *logits; /* [N_TOKENS][n_vocab] */
} work;

static const uint32_t counts[] = {1, 2, 3, 5, 7};
#define N_COUNTS (sizeof counts / sizeof *counts)

static int32_t tokens[N_TOKENS];

static void fill_tokens(const rt_model *model) {
    int n_vocab = (int)rt_model_hparams(model)->n_vocab;
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = (i * 37 + 11) % n_vocab;
}

static void start_works(work *works, const char *path, rt_model *model) {
    for (uint32_t i = 0; i < UNIT_MAX_RANKS; i++)
        works[i] = (work){.model = path, .opened = model, .tokens = tokens, .fails_at = UINT32_MAX};
}

/* ---- executing plans --------------------------------------------------------------------- */

static gguf_code provide(void *ctx, uint32_t stage, bool needed, gguf_pool *pool, bool *more,
                         gguf_error *err) {
    const work *w = ctx;
    (void)needed, (void)pool, (void)more;
    if (stage != w->fails_at) return GGUF_OK;
    return gguf_fail(err, GGUF_E_IO, w->model, GGUF_NO_OFFSET, "cannot read");
}

static void execute_plan(gguf_ranks *ranks, void *ctx) {
    work *w = ctx;
    char path[512];
    rt_import *import = NULL;
    gguf_pool *pool = NULL;
    quant_execute_opts opts = quant_execute_defaults();
    snprintf(path, sizeof path, "%s/%s", TEST_DATA, w->model);
    w->code = rt_import_open(path, &(rt_import_opts){0}, &import, &w->err);
    if (!w->code) w->code = gguf_pool_new(2, &pool, &w->err);
    if (!w->code) {
        quant_plan *plan = rt_import_plan(import);
        for (size_t i = 0; i < plan->n_tensors; i++) plan->tensors[i].stage = i % 2;
        w->code = quant_plan_finish(plan, &w->err);
        opts.ranks = ranks;
        opts.replace = true;
        opts.provide = provide;
        opts.provide_ctx = w;
        if (!w->code) w->code = quant_execute(plan, w->out, pool, &opts, &w->err);
    }
    gguf_pool_free(pool);
    rt_import_close(import);
}

START_TEST(plans_of_any_number_of_ranks) {
    work works[UNIT_MAX_RANKS];
    unsigned char *expected = NULL;
    size_t n_expected = 0;
    for (size_t k = 0; k < N_COUNTS; k++) {
        size_t n_bytes;
        start_works(works, "models/qwen3_moe_wide", NULL);
        const char *out = unit_temp("ranks.gguf");
        for (uint32_t i = 0; i < counts[k]; i++) works[i].out = out;
        unit_ranks_run(counts[k], execute_plan, works, sizeof *works);
        for (uint32_t i = 0; i < counts[k]; i++) unit_ok(works[i].code, works[i].err);
        unsigned char *bytes = unit_read(out, &n_bytes);
        unlink(out);
        if (!expected) {
            expected = bytes;
            n_expected = n_bytes;
            continue;
        }
        ck_assert_uint_eq(n_bytes, n_expected);
        ck_assert_mem_eq(bytes, expected, n_bytes);
        free(bytes);
    }
    free(expected);
}
END_TEST

START_TEST(one_that_fails_ends_all) {
    work works[UNIT_MAX_RANKS];
    for (uint32_t failing = 0; failing < 3; failing++) {
        char part[600];
        const char *out = unit_temp("ranks.gguf");
        start_works(works, "models/llama", NULL);
        for (uint32_t i = 0; i < 3; i++) works[i].out = out;
        works[failing].fails_at = 1;
        unit_ranks_run(3, execute_plan, works, sizeof *works);
        for (uint32_t i = 0; i < 3; i++)
            unit_fails(works[i].code, GGUF_E_IO, "cannot read", works[i].err);
        for (int i = -2; i < 3; i++) {
            snprintf(part, sizeof part,
                     i == -2 ? "%s"
                     : i < 1 ? "%s.part%s"
                             : "%s.part%s-%d",
                     out, i == -1 ? "" : ".journal", i);
            ck_assert_msg(access(part, F_OK) != 0, "%s is left", part);
        }
    }
}
END_TEST

/* ---- calibration ------------------------------------------------------------------------- */

static rt_calibrate_opts calibrate_opts(gguf_ranks *ranks) {
    rt_calibrate_opts opts = rt_calibrate_defaults();
    opts.n_ctx = N_CTX;
    opts.n_threads = 1;
    opts.ranks = ranks;
    return opts;
}

static void collect_importance(gguf_ranks *ranks, void *ctx) {
    work *w = ctx;
    const rt_calibrate_opts opts = calibrate_opts(ranks);
    uint32_t n_done = 0;
    w->im = quant_imatrix_new();
    w->code =
        rt_calibrate_importance(w->opened, w->tokens, N_TOKENS, &opts, w->im, &n_done, &w->err);
    ck_assert_uint_eq(n_done, N_TOKENS / N_CTX);
}

START_TEST(importance_of_any_number_of_ranks) {
    work works[UNIT_MAX_RANKS];
    rt_model *model = unit_model("models/qwen3_moe_wide", GGUF_TYPE_BF16);
    quant_imatrix *first = NULL;
    fill_tokens(model);
    for (size_t k = 0; k < N_COUNTS; k++) {
        start_works(works, NULL, model);
        unit_ranks_run(counts[k], collect_importance, works, sizeof *works);
        for (uint32_t i = 0; i < counts[k]; i++) unit_ok(works[i].code, works[i].err);
        if (!first) first = quant_imatrix_new();
        if (k == 0) unit_ok(quant_imatrix_merge(first, works[0].im, &works[0].err), works[0].err);
        ck_assert_uint_eq(quant_imatrix_count(works[0].im), quant_imatrix_count(first));
        for (size_t i = 0; i < quant_imatrix_count(first); i++) {
            const quant_imatrix_entry *a = quant_imatrix_at(first, i);
            const quant_imatrix_entry *b = quant_imatrix_find(works[0].im, a->name);
            ck_assert_ptr_nonnull(b);
            ck_assert_mem_eq(a->sums, b->sums, a->n_mats * a->n_cols * sizeof *a->sums);
            ck_assert_mem_eq(a->counts, b->counts, a->n_mats * sizeof *a->counts);
        }
        for (uint32_t i = 0; i < counts[k]; i++) quant_imatrix_free(works[i].im);
    }
    quant_imatrix_free(first);
    rt_model_close(model);
}
END_TEST

static const char *const weights[] = {"attn_q.weight", "attn_output.weight", "ffn_gate_exps.weight",
                                      "ffn_down_exps.weight"};

/* Sums of bits tell other bytes. */
static void add_bits(work *w, const float *values, size_t n) {
    for (size_t i = 0; i < n; i++) w->sum = w->sum * 0.999 + values[i];
}

#define N_WEIGHTS (sizeof weights / sizeof *weights)

/* Of the weights that have a Hessian in this pass. */
static void add_weights(const rt_hessians *h, work *w, uint32_t layer, double *sums) {
    for (size_t k = 0; k < N_WEIGHTS; k++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s", layer, weights[k]);
        const quant_hessian *hessian = rt_hessians_find(h, name, 0);
        if (!hessian) continue;
        w->n_samples += hessian->n_samples;
        w->sum = 0;
        add_bits(w, hessian->h, hessian->n * hessian->n);
        if (hessian->u) add_bits(w, hessian->u, hessian->n * hessian->n);
        sums[k] = w->sum;
    }
}

static void walk_layers(gguf_ranks *ranks, void *ctx) {
    work *w = ctx;
    rt_calibrate_opts opts = calibrate_opts(ranks);
    rt_hessians *h = NULL;
    gguf_pool *pool = NULL;
    double sums[2][N_WEIGHTS] = {{0}}, sum = 0;
    opts.hessian_bytes = w->hessian_bytes;
    w->code = gguf_pool_new(1, &pool, &w->err);
    if (!w->code)
        w->code = rt_hessians_new(w->opened, w->tokens, N_TOKENS, &opts, "/tmp", 0.05, &h, &w->err);
    for (uint32_t layer = 0; layer < 2 && !w->code; layer++) {
        for (bool more = true; more && !w->code; w->n_passes++) {
            w->code = rt_hessians_next_layer(h, true, pool, &more, &w->err);
            if (!w->code) add_weights(h, w, layer, sums[layer]);
        }
        for (size_t k = 0; k < N_WEIGHTS; k++) sum += sums[layer][k] * (double)(k + 1);
    }
    w->sum = sum;
    rt_hessians_free(h);
    gguf_pool_free(pool);
}

/* All at once, or one after the other: the same. */
START_TEST(hessians_of_any_number_of_ranks) {
    static const uint64_t bytes[] = {0, 1};
    work works[UNIT_MAX_RANKS];
    rt_model *model = unit_model("models/qwen3_moe_wide", GGUF_TYPE_BF16);
    double sum = 0;
    uint64_t n_samples = 0;
    fill_tokens(model);
    for (size_t k = 0; k < 2 * N_COUNTS; k++) {
        uint32_t n = counts[k / 2];
        start_works(works, NULL, model);
        for (uint32_t i = 0; i < n; i++) works[i].hessian_bytes = bytes[k % 2];
        unit_ranks_run(n, walk_layers, works, sizeof *works);
        if (k == 0) {
            sum = works[0].sum;
            n_samples = works[0].n_samples;
            ck_assert_double_ne(sum, 0);
        }
        for (uint32_t i = 0; i < n; i++) {
            unit_ok(works[i].code, works[i].err);
            ck_assert_double_eq(works[i].sum, sum);
            ck_assert_uint_eq(works[i].n_samples, n_samples);
            if (bytes[k % 2])
                ck_assert_uint_gt(works[i].n_passes, 8);
            else
                ck_assert_uint_eq(works[i].n_passes, 2);
        }
    }
    rt_model_close(model);
}
END_TEST

/* ---- quality and pipelines --------------------------------------------------------------- */

static void measure_quality(gguf_ranks *ranks, void *ctx) {
    work *w = ctx;
    rt_quality_opts opts = rt_quality_defaults();
    opts.ranks = ranks;
    opts.session.n_ctx = N_CTX;
    opts.session.n_threads = 1;
    w->code = rt_quality_measure(w->opened, NULL, w->tokens, N_TOKENS, &opts, &w->quality, &w->err);
}

START_TEST(quality_of_any_number_of_ranks) {
    work works[UNIT_MAX_RANKS];
    rt_model *model = unit_model("models/llama", GGUF_TYPE_BF16);
    rt_quality first = {0};
    fill_tokens(model);
    for (size_t k = 0; k < N_COUNTS; k++) {
        start_works(works, NULL, model);
        unit_ranks_run(counts[k], measure_quality, works, sizeof *works);
        if (k == 0) first = works[0].quality;
        ck_assert_uint_eq(first.n_chunks, N_TOKENS / N_CTX);
        for (uint32_t i = 0; i < counts[k]; i++) {
            unit_ok(works[i].code, works[i].err);
            ck_assert_double_eq(works[i].quality.ppl, first.ppl);
            ck_assert_double_eq(works[i].quality.ppl_stderr, first.ppl_stderr);
        }
    }
    rt_model_close(model);
}
END_TEST

/* A text in batches, then one token. */
static void run_pipeline(gguf_ranks *ranks, void *ctx) {
    work *w = ctx;
    rt_model *model = NULL;
    rt_session *session = NULL;
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = N_TOKENS;
    opts.n_batch = 64;
    opts.n_threads = 1;
    w->code = rt_model_open(w->model, &model, &w->err);
    if (!w->code) w->code = rt_model_share(model, ranks, &w->err);
    size_t n_out = w->code ? 0 : rt_model_hparams(model)->n_out;
    w->logits = calloc(N_TOKENS * n_out + 1, sizeof *w->logits);
    if (!w->code) w->code = rt_session_new(model, &opts, &session, &w->err);
    if (!w->code)
        w->code =
            rt_session_eval(session, w->tokens, N_TOKENS - 1, RT_LOGITS_ALL, w->logits, &w->err);
    if (!w->code)
        w->code = rt_session_eval(session, w->tokens + N_TOKENS - 1, 1, RT_LOGITS_LAST,
                                  w->logits + (N_TOKENS - 1) * n_out, &w->err);
    rt_session_free(session);
    rt_model_close(model);
}

static void check_pipeline(const char *folder) {
    work works[UNIT_MAX_RANKS];
    rt_model *model = unit_model(folder, GGUF_TYPE_BF16);
    size_t n = N_TOKENS * (size_t)rt_model_hparams(model)->n_out;
    fill_tokens(model);
    rt_model_close(model);
    const char *path = unit_convert(folder, GGUF_TYPE_BF16);
    float *first = NULL;
    for (uint32_t n_ranks = 1; n_ranks < 4; n_ranks++) {
        start_works(works, path, NULL);
        unit_ranks_run(n_ranks, run_pipeline, works, sizeof *works);
        for (uint32_t i = 0; i < n_ranks; i++) {
            unit_ok(works[i].code, works[i].err);
            if (!first) {
                first = works[i].logits;
                continue;
            }
            ck_assert_mem_eq(works[i].logits, first, n * sizeof *first);
            free(works[i].logits);
        }
    }
    free(first);
    unlink(path);
}

START_TEST(layers_of_any_number_of_ranks) {
    check_pipeline("models/llama");
    check_pipeline("models/gemma3");
    check_pipeline("models/qwen3_next");
    check_pipeline("models/falcon_h1");
}
END_TEST

START_TEST(more_ranks_than_layers_are_refused) {
    work works[UNIT_MAX_RANKS];
    const char *path = unit_convert("models/llama", GGUF_TYPE_BF16);
    start_works(works, path, NULL);
    unit_ranks_run(7, run_pipeline, works, sizeof *works);
    for (uint32_t i = 0; i < 7; i++) {
        unit_fails(works[i].code, GGUF_E_USAGE, "layers cannot be shared by 7 ranks", works[i].err);
        free(works[i].logits);
    }
    unlink(path);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ranks");
    TCase *tc = tcase_create("ranks");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, plans_of_any_number_of_ranks);
    tcase_add_test(tc, one_that_fails_ends_all);
    tcase_add_test(tc, importance_of_any_number_of_ranks);
    tcase_add_test(tc, hessians_of_any_number_of_ranks);
    tcase_add_test(tc, quality_of_any_number_of_ranks);
    tcase_add_test(tc, layers_of_any_number_of_ranks);
    tcase_add_test(tc, more_ranks_than_layers_are_refused);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
