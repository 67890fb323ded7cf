/* Error compensation: lattices of every type, Hessians, and less loss than rounding. */
#include "quant/blas.h"
#include "quant/compensate.h"
#include "quant/hessian_factor.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/lattice.h"
#include "quant/output_error.h"
#include "quant/plan.h"
#include "quant/quant.h"
#include "tests/unit/unit.h"

#include <math.h>

#define N_ROWS 70 /* one panel and a part of one */
#define N_COLS 512
#define N_DATA 2000

static const uint32_t types[] = {
    GGUF_TYPE_Q4_0,  GGUF_TYPE_Q4_1,  GGUF_TYPE_Q5_0,   GGUF_TYPE_Q5_1,
    GGUF_TYPE_Q8_0,  GGUF_TYPE_Q2_K,  GGUF_TYPE_Q3_K,   GGUF_TYPE_Q4_K,
    GGUF_TYPE_Q5_K,  GGUF_TYPE_Q6_K,  GGUF_TYPE_IQ4_NL, GGUF_TYPE_IQ4_XS,
    GGUF_TYPE_MXFP4, GGUF_TYPE_NVFP4, GGUF_TYPE_Q1_0,   GGUF_TYPE_Q2_0};
#define N_TYPES (sizeof types / sizeof types[0])
static const uint32_t word_types[] = {GGUF_TYPE_IQ1_S,  GGUF_TYPE_IQ1_M, GGUF_TYPE_IQ2_XXS,
                                      GGUF_TYPE_IQ2_XS, GGUF_TYPE_IQ2_S, GGUF_TYPE_IQ3_XXS,
                                      GGUF_TYPE_IQ3_S};
#define N_WORD_TYPES (sizeof word_types / sizeof word_types[0])

static uint32_t state = 7;
static float weights[N_ROWS * N_COLS], inputs[N_DATA * N_COLS];

static float next_normal(void) {
    float sum = 0;
    for (int i = 0; i < 12; i++) {
        state = state * 1664525u + 1013904223u;
        sum += (float)(state >> 8) / (float)(1 << 24);
    }
    return sum - 6;
}

/* Inputs whose columns are correlated and of different size, as activations are. */
static void fill_data(void) {
    for (size_t i = 0; i < N_ROWS * N_COLS; i++) weights[i] = 0.05f * next_normal();
    for (size_t t = 0; t < N_DATA; t++) {
        float common = next_normal(), *x = inputs + t * N_COLS;
        for (size_t c = 0; c < N_COLS; c++) {
            x[c] = next_normal() * (c % 37 == 0 ? 4 : 1) + common;
            if (c) x[c] += 0.7f * x[c - 1];
        }
    }
}

static quant_hessian *make_hessian(size_t n_threads) {
    quant_hessian *hessian;
    gguf_pool *pool;
    gguf_error err = {0};
    unit_ok(gguf_pool_new((unsigned)n_threads, &pool, &err), err);
    unit_ok(quant_hessian_new(N_COLS, &hessian, &err), err);
    quant_hessian_add(hessian, inputs, N_DATA / 2, pool);
    quant_hessian_add(hessian, inputs + N_DATA / 2 * N_COLS, N_DATA / 2, pool);
    unit_ok(quant_hessian_factor(hessian, 0.01, NULL, &err), err);
    gguf_pool_free(pool);
    return hessian;
}

/* Whatever the processor is called: an old library does not know the newest ones. */
START_TEST(products_use_what_the_processor_has) {
    const char *wanted[QUANT_N_ISAS] = {
        [QUANT_ISA_AVX2] = "Haswell", [QUANT_ISA_AVX512] = "SkylakeX"};
    quant_blas_prepare();
    if (wanted[quant_isa_choose()] && !getenv("OPENBLAS_CORETYPE"))
        ck_assert_str_eq(quant_blas_kernels(), wanted[quant_isa_choose()]);
    ck_assert_str_ne(quant_blas_kernels(), "");
}
END_TEST

/* What a type's encoder wrote is taken apart and put together again. */
START_TEST(blocks_survive_their_lattice) {
    gguf_error err = {0};
    static float values[N_COLS], numbers[N_COLS];
    for (size_t k = 0; k < N_TYPES; k++) {
        const quant_lattice *l = quant_lattice_of(types[k]);
        size_t n_elems = (size_t)l->n_elems, row_bytes = quant_row_bytes(types[k], N_COLS);
        uint8_t row[1024], again[1024];
        unit_ok(quant_encode(types[k], weights, 1, N_COLS, NULL, row, &err), err);
        unit_ok(quant_decode(types[k], row, 1, N_COLS, values, &err), err);
        for (size_t b = 0; b < N_COLS / n_elems; b++) {
            quant_steps t;
            size_t block_bytes = quant_row_bytes(types[k], n_elems);
            quant_lattice_read(types[k], row + b * block_bytes, &t);
            for (size_t i = 0; i < n_elems; i++) {
                size_t sub = i / (n_elems / (size_t)l->n_subs);
                float step = t.d * t.s[sub], off = t.dmin * t.m[sub];
                numbers[i] = step != 0 ? roundf((values[b * n_elems + i] + off) / step) : 0;
            }
            quant_lattice_write(types[k], &t, numbers, 1, again + b * block_bytes);
        }
        ck_assert_msg(memcmp(row, again, row_bytes) == 0, "%s", gguf_type_name(types[k]));
    }
}
END_TEST

/* A block of columns through feedback and descent; what changed is copied into out. */
static void run_kernels(const quant_kernels *kernels, const quant_hessian *hessian,
                        const quant_lattice *l, float *out) {
    enum { N = 128 };
    static float w[N * QUANT_PANEL], y[N * QUANT_PANEL], v[N * QUANT_PANEL], r[N * QUANT_PANEL];
    static float e[N * QUANT_PANEL], sub[6][N / 16 * QUANT_PANEL];
    quant_panel p = {l,      N,     l->n_elems / l->n_subs, w, y, v, sub[0], sub[1], sub[2], sub[3],
                     sub[4], sub[5]};
    for (size_t i = 0; i < sizeof w / sizeof *w; i++) {
        w[i] = weights[i];
        r[i] = 0.01f * weights[i + 1];
    }
    for (size_t i = 0; i < N / 16 * QUANT_PANEL; i++) {
        sub[4][i] = 0.002f;
        sub[5][i] = l->has_min ? 0.01f : 0;
        sub[2][i] = 1 + (float)(i % 7);
        sub[3][i] = (float)(i % 5);
        sub[0][i] = sub[2][i] * sub[4][i];
        sub[1][i] = sub[3][i] * sub[5][i];
    }
    kernels->feedback(&p, hessian->u, N_COLS, e);
    memcpy(out, y, sizeof y);
    kernels->descent(&p, hessian->h, N_COLS, r, e);
    memcpy(out + sizeof y / sizeof *y, r, sizeof r);
    memcpy(out + 2 * sizeof y / sizeof *y, sub[0], sizeof sub[0]);
}

START_TEST(every_instruction_set_gives_the_same) {
    static float expected[3 * 128 * QUANT_PANEL], found[3 * 128 * QUANT_PANEL];
    quant_hessian *hessian = make_hessian(1);
    quant_kernels kernels;
    for (size_t k = 0; k < N_TYPES; k++) {
        const quant_lattice *l = quant_lattice_of(types[k]);
        quant_kernels_fill(QUANT_ISA_SCALAR, &kernels);
        run_kernels(&kernels, hessian, l, expected);
        for (int isa = QUANT_ISA_SCALAR + 1; isa < QUANT_N_ISAS; isa++) {
            if (!quant_isa_supported((quant_isa)isa)) continue;
            quant_kernels_fill((quant_isa)isa, &kernels);
            run_kernels(&kernels, hessian, l, found);
            ck_assert_msg(memcmp(found, expected, sizeof found) == 0, "%s, %s",
                          gguf_type_name(types[k]), quant_isa_text((quant_isa)isa));
        }
    }
    quant_hessian_free(hessian);
}
END_TEST

/* A block of one row of words through its feedback. */
typedef struct fed_block {
    float w[256], e[256];
    uint8_t block[256];
} fed_block;

static void feed_words(const quant_kernels *kernels, uint32_t type, const quant_hessian *hessian,
                       fed_block *out) {
    static float imp[256];
    memset(out, 0, sizeof *out);
    memcpy(out->w, weights, sizeof out->w);
    for (size_t c = 0; c < 256; c++) imp[c] = hessian->h[c * (N_COLS + 1)];
    const quant_words q = {out->w, imp, hessian->u, N_COLS, out->e, out->block};
    kernels->words[type](&q);
}

START_TEST(words_are_the_same_in_every_set) {
    static fed_block expected, found;
    quant_hessian *hessian = make_hessian(1);
    quant_kernels kernels;
    for (size_t k = 0; k < N_WORD_TYPES; k++) {
        quant_kernels_fill(QUANT_ISA_SCALAR, &kernels);
        feed_words(&kernels, word_types[k], hessian, &expected);
        for (int isa = QUANT_ISA_SCALAR + 1; isa < QUANT_N_ISAS; isa++) {
            if (!quant_isa_supported((quant_isa)isa)) continue;
            quant_kernels_fill((quant_isa)isa, &kernels);
            feed_words(&kernels, word_types[k], hessian, &found);
            ck_assert_msg(memcmp(&found, &expected, sizeof found) == 0, "%s, %s",
                          gguf_type_name(word_types[k]), quant_isa_text((quant_isa)isa));
        }
    }
    quant_hessian_free(hessian);
}
END_TEST

static double loss_of(uint32_t type, const quant_hessian *hessian, const void *rows) {
    static float decoded[N_ROWS * N_COLS];
    gguf_error err = {0};
    unit_ok(quant_decode(type, rows, N_ROWS, N_COLS, decoded, &err), err);
    return quant_hessian_loss(hessian, decoded, weights, N_ROWS);
}

START_TEST(compensation_loses_less) {
    static uint8_t rounded[N_ROWS * N_COLS * 2], fed[N_ROWS * N_COLS * 2],
        best[N_ROWS * N_COLS * 2];
    float imp[N_COLS];
    gguf_error err = {0};
    quant_hessian *hessian = make_hessian(2);
    void *scratch = malloc(quant_compensate_bytes(N_COLS));
    ck_assert_ptr_nonnull(scratch);
    for (size_t c = 0; c < N_COLS; c++) imp[c] = hessian->h[c * (N_COLS + 1)];
    for (size_t k = 0; k < N_TYPES; k++) {
        const char *name = gguf_type_name(types[k]);
        ck_assert(quant_can_compensate(types[k], N_COLS));
        unit_ok(quant_encode(types[k], weights, N_ROWS, N_COLS, imp, rounded, &err), err);
        quant_compensate_opts opts = {.n_passes = 0};
        quant_compensate(types[k], weights, N_ROWS, N_COLS, hessian, &opts, fed, scratch);
        opts.n_passes = 4;
        quant_compensate(types[k], weights, N_ROWS, N_COLS, hessian, &opts, best, scratch);
        double plain = loss_of(types[k], hessian, rounded), once = loss_of(types[k], hessian, fed);
        double often = loss_of(types[k], hessian, best);
        ck_assert_msg(once < 0.9 * plain, "%s: %g of %g", name, once, plain);
        ck_assert_msg(often < once, "%s: %g of %g", name, often, once);
        if (getenv("VERBOSE"))
            printf("%-7s feedback %.3f descent %.3f\n", name, once / plain, often / plain);
    }
    free(scratch);
    quant_hessian_free(hessian);
}
END_TEST

START_TEST(words_lose_less_too) {
    static uint8_t rounded[N_ROWS * N_COLS], fed[N_ROWS * N_COLS];
    float imp[N_COLS];
    gguf_error err = {0};
    quant_hessian *hessian = make_hessian(2);
    void *scratch = malloc(quant_compensate_bytes(N_COLS));
    const quant_compensate_opts opts = {.n_passes = 2};
    ck_assert_ptr_nonnull(scratch);
    for (size_t c = 0; c < N_COLS; c++) imp[c] = hessian->h[c * (N_COLS + 1)];
    for (size_t k = 0; k < N_WORD_TYPES; k++) {
        uint32_t type = word_types[k];
        ck_assert(quant_can_compensate(type, N_COLS) && !quant_can_compensate(type, N_COLS - 32));
        unit_ok(quant_encode(type, weights, N_ROWS, N_COLS, imp, rounded, &err), err);
        quant_compensate(type, weights, N_ROWS, N_COLS, hessian, &opts, fed, scratch);
        double plain = loss_of(type, hessian, rounded), once = loss_of(type, hessian, fed);
        ck_assert_msg(once < 0.8 * plain, "%s: %g of %g", gguf_type_name(type), once, plain);
        if (getenv("VERBOSE")) printf("%-7s feedback %.3f\n", gguf_type_name(type), once / plain);
    }
    free(scratch);
    quant_hessian_free(hessian);
}
END_TEST

START_TEST(rows_do_not_depend_on_their_company) {
    static uint8_t together[N_ROWS * N_COLS], apart[N_ROWS * N_COLS];
    quant_hessian *hessian = make_hessian(1), *other = make_hessian(3);
    void *scratch = malloc(quant_compensate_bytes(N_COLS));
    quant_compensate_opts opts = {.n_passes = 2};
    ck_assert_ptr_nonnull(scratch);
    ck_assert_mem_eq(hessian->h, other->h, N_COLS * N_COLS * sizeof(float));
    ck_assert_mem_eq(hessian->u, other->u, N_COLS * N_COLS * sizeof(float));
    size_t row_bytes = quant_row_bytes(GGUF_TYPE_Q4_K, N_COLS);
    quant_compensate(GGUF_TYPE_Q4_K, weights, N_ROWS, N_COLS, hessian, &opts, together, scratch);
    for (size_t first = 0; first < N_ROWS; first += 33) {
        size_t n = N_ROWS - first < 33 ? N_ROWS - first : 33;
        quant_compensate(GGUF_TYPE_Q4_K, weights + first * N_COLS, n, N_COLS, other, &opts,
                         apart + first * row_bytes, scratch);
    }
    ck_assert_mem_eq(together, apart, N_ROWS * row_bytes);
    free(scratch);
    quant_hessian_free(hessian);
    quant_hessian_free(other);
}
END_TEST

/* Fewer samples than columns, columns that are always 0: the factors exist all the same. */
START_TEST(singular_hessians_are_factored) {
    gguf_error err = {0};
    gguf_pool *pool;
    quant_hessian *hessian;
    static float few[3 * N_COLS];
    for (size_t i = 0; i < 3 * N_COLS; i++) few[i] = i % N_COLS % 5 == 0 ? 0 : inputs[i];
    unit_ok(gguf_pool_new(1, &pool, &err), err);
    unit_ok(quant_hessian_new(N_COLS, &hessian, &err), err);
    quant_hessian_add(hessian, few, 3, pool);
    unit_ok(quant_hessian_factor(hessian, 0, NULL, &err), err);
    for (size_t i = 0; i < N_COLS; i++) ck_assert(hessian->u[i * (N_COLS + 1)] > 0);
    quant_hessian_free(hessian);
    unit_ok(quant_hessian_new(N_COLS, &hessian, &err), err);
    few[7] = NAN;
    quant_hessian_add(hessian, few, 3, pool);
    unit_fails(quant_hessian_factor(hessian, 0.01, NULL, &err), GGUF_E_NONFINITE, "not finite",
               err);
    quant_hessian_free(hessian);
    gguf_pool_free(pool);
}
END_TEST

#define N_RAGGED 600 /* two tiles of a factor and a part of one */

/* uᵀ u h is the identity, with any number of threads. */
START_TEST(factors_are_those_of_the_inverse) {
    static float h[N_RAGGED * N_RAGGED], one[N_RAGGED * N_RAGGED], u[N_RAGGED * N_RAGGED];
    static double uh[N_RAGGED * N_RAGGED];
    const size_t n = N_RAGGED;
    gguf_error err = {0};
    gguf_pool *pool;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            h[i * n + j] = expf(-fabsf((float)i - (float)j) / 9) + (i == j ? 0.1f : 0);
    quant_blas_prepare();
    unit_ok(gguf_pool_new(3, &pool, &err), err);
    ck_assert_int_eq(quant_factor_inverse(h, n, NULL, one), QUANT_FACTORED);
    ck_assert_int_eq(quant_factor_inverse(h, n, pool, u), QUANT_FACTORED);
    gguf_pool_free(pool);
    for (size_t i = 0; i < n; i++) {
        ck_assert_mem_eq(u + i * n + i, one + i * n + i, (n - i) * sizeof *u);
        for (size_t j = 0; j < n; j++)
            for (size_t k = i; k < n; k++)
                uh[i * n + j] += (double)u[i * n + k] * (double)h[k * n + j];
    }
    double worst = 0;
    for (size_t i = 0; i < n; i += 7)
        for (size_t j = 0; j < n; j++) {
            double sum = i == j ? -1 : 0;
            for (size_t k = 0; k <= i; k++) sum += (double)u[k * n + i] * uh[k * n + j];
            worst = fmax(worst, fabs(sum));
        }
    ck_assert_double_lt(worst, 1e-4);
    h[n * n - 1] = -1;
    ck_assert_int_eq(quant_factor_inverse(h, n, NULL, u), QUANT_FACTOR_NONE);
    h[n * n - 1] = 1;
    h[0] = 0;
    ck_assert_int_eq(quant_factor_inverse(h, n, NULL, u), QUANT_FACTOR_NONE);
}
END_TEST

/* ---- what is reported -------------------------------------------------------------------- */

/* dᵀ M d of every measured row, M the mean that the inputs have. */
static double plain_form(const quant_hessian *hessian, const float *d) {
    double sum = 0;
    for (size_t row = 0; row < N_ROWS; row += QUANT_OUTPUT_STRIDE)
        for (size_t i = 0; i < N_COLS; i++)
            for (size_t j = 0; j < N_COLS; j++) {
                double h = (double)hessian->h[i * N_COLS + j];
                h = i == j ? h - hessian->damp * hessian->mean : h / (double)QUANT_HESSIAN_TRUST;
                sum += (double)d[row * N_COLS + i] * h * (double)d[row * N_COLS + j];
            }
    return sum;
}

static double plain_error(const quant_hessian *hessian, const void *rows) {
    static float d[N_ROWS * N_COLS];
    gguf_error err = {0};
    unit_ok(quant_decode(GGUF_TYPE_Q4_K, rows, N_ROWS, N_COLS, d, &err), err);
    for (size_t i = 0; i < N_ROWS * N_COLS; i++) d[i] -= weights[i];
    return plain_form(hessian, d);
}

START_TEST(output_errors_are_those_of_plain_sums) {
    static uint8_t rounded[N_ROWS * N_COLS], fed[N_ROWS * N_COLS];
    gguf_error err = {0};
    quant_hessian *hessian = make_hessian(1);
    void *scratch = malloc(quant_compensate_bytes(N_COLS));
    void *room = malloc(quant_output_scratch_bytes(N_ROWS, N_COLS));
    const quant_compensate_opts opts = {.n_passes = 2};
    quant_output_sums sums = {0}, alone = {0};
    ck_assert(scratch && room);
    unit_ok(quant_encode(GGUF_TYPE_Q4_K, weights, N_ROWS, N_COLS, NULL, rounded, &err), err);
    quant_compensate(GGUF_TYPE_Q4_K, weights, N_ROWS, N_COLS, hessian, &opts, fed, scratch);
    unit_ok(quant_output_measure(GGUF_TYPE_Q4_K, QUANT_EFFORT_NORMAL, weights, fed, true, N_ROWS,
                                 N_COLS, hessian, NULL, room, &sums, &err),
            err);
    unit_ok(quant_output_measure(GGUF_TYPE_Q4_K, QUANT_EFFORT_NORMAL, weights, rounded, false,
                                 N_ROWS, N_COLS, hessian, NULL, room, &alone, &err),
            err);
    double signal = plain_form(hessian, weights);
    ck_assert_double_eq_tol(sums.signal / signal, 1, 1e-3);
    ck_assert_double_eq_tol(sums.rounded / plain_error(hessian, rounded), 1, 1e-3);
    ck_assert_double_eq_tol(sums.kept / plain_error(hessian, fed), 1, 1e-3);
    ck_assert(alone.kept == alone.rounded);
    ck_assert_double_eq_tol(alone.kept / sums.rounded, 1, 1e-3);
    free(scratch);
    free(room);
    quant_hessian_free(hessian);
}
END_TEST

typedef struct report_run {
    quant_plan plan;
    const quant_hessian *hessians[2];
    bool ready[2];
    unsigned n_passes;   /* of the stage: 2 for one matrix after the other */
    unsigned n_provided; /* passes whose Hessians were needed */
    quant_output_error error;
    atomic_bool cancel;
    uint64_t cancel_bytes;
} report_run;

static gguf_code provide(void *ctx, uint32_t stage, bool needed, gguf_pool *pool, bool *more,
                         gguf_error *err) {
    report_run *r = ctx;
    quant_plan_tensor *t = &r->plan.tensors[0];
    (void)pool, (void)err, (void)stage;
    if (needed) t->hessians = r->hessians;
    if (needed && r->n_passes == 2) {
        *more = !t->ready;
        r->ready[0] = *more;
        r->ready[1] = !*more;
        t->ready = r->ready;
    }
    r->n_provided += needed;
    return GGUF_OK;
}

static void cancel_late(void *ctx, uint64_t done_bytes, uint64_t total_bytes) {
    report_run *r = ctx;
    (void)total_bytes;
    if (done_bytes >= r->cancel_bytes) atomic_store(&r->cancel, true);
}

/* A stack of two matrices, of which the second has too few samples to be compensated. */
static void start_report(report_run *r, const quant_hessian *hessian, const quant_hessian *few) {
    gguf_error err = {0};
    quant_plan_tensor t = {.out = {.name = gguf_str_of("stack"),
                                   .type = GGUF_TYPE_Q4_K,
                                   .n_dims = 3,
                                   .dims = {N_COLS, N_ROWS / 2, 2, 1}},
                           .tags = {.role = "", .layer = -1},
                           .source = {.memory = weights, .n_bytes = sizeof weights},
                           .source_type = GGUF_TYPE_F32,
                           .n_rows = N_ROWS,
                           .n_cols = N_COLS,
                           .calibrated = true,
                           .compensate = true};
    *r = (report_run){.hessians = {hessian, few}, .cancel_bytes = UINT64_MAX};
    unit_ok(quant_plan_init(&r->plan, &err), err);
    unit_ok(quant_plan_add(&r->plan, &t, &err), err);
    unit_ok(quant_plan_finish(&r->plan, &err), err);
}

static gguf_code execute_report(report_run *r, const char *path, unsigned n_threads) {
    gguf_pool *pool;
    gguf_error err = {0};
    quant_execute_opts opts = quant_execute_defaults();
    opts.max_memory_bytes = 1;
    opts.compensate.n_passes = 2;
    opts.output_error = &r->error;
    opts.provide = provide;
    opts.provide_ctx = r;
    opts.resume = true;
    opts.cancel = &r->cancel;
    opts.progress = cancel_late;
    opts.progress_ctx = r;
    atomic_store(&r->cancel, false);
    unit_ok(gguf_pool_new(n_threads, &pool, &err), err);
    gguf_code code = quant_execute(&r->plan, path, pool, &opts, &err);
    gguf_pool_free(pool);
    return code;
}

START_TEST(reports_do_not_depend_on_threads_or_interruptions) {
    static float few_inputs[3 * N_COLS];
    gguf_error err = {0};
    gguf_pool *pool;
    quant_hessian *hessian = make_hessian(1), *few;
    const char *path = unit_temp("report.gguf");
    report_run first, other, passes;
    memcpy(few_inputs, inputs, sizeof few_inputs);
    unit_ok(gguf_pool_new(1, &pool, &err), err);
    unit_ok(quant_hessian_new(N_COLS, &few, &err), err);
    quant_hessian_add(few, few_inputs, 3, pool);
    unit_ok(quant_hessian_mean(few, 0.05, &err), err);
    start_report(&first, hessian, few);
    start_report(&other, hessian, few);
    start_report(&passes, hessian, few);
    passes.n_passes = 2;
    unit_ok(execute_report(&first, path, 1), err);
    unlink(path);
    ck_assert_uint_eq(first.error.n_samples, 3);
    ck_assert_uint_eq(first.error.n_unfed, 1);
    ck_assert(first.error.kept > 0 && first.error.kept < first.error.rounded);
    other.cancel_bytes = 1;
    ck_assert_int_eq(execute_report(&other, path, 1), GGUF_E_CANCELLED);
    other.cancel_bytes = UINT64_MAX;
    unit_ok(execute_report(&other, path, 3), err);
    ck_assert_mem_eq(&first.error, &other.error, sizeof first.error);
    unlink(path);
    unit_ok(execute_report(&passes, path, 2), err);
    ck_assert_uint_eq(passes.n_provided, 2);
    ck_assert_mem_eq(&first.error, &passes.error, sizeof first.error);
    unlink(path);
    gguf_pool_free(pool);
    quant_plan_clear(&first.plan);
    quant_plan_clear(&other.plan);
    quant_plan_clear(&passes.plan);
    quant_hessian_free(hessian);
    quant_hessian_free(few);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("compensate");
    TCase *tests = tcase_create("compensate");
    fill_data();
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, products_use_what_the_processor_has);
    tcase_add_test(tests, blocks_survive_their_lattice);
    tcase_add_test(tests, every_instruction_set_gives_the_same);
    tcase_add_test(tests, compensation_loses_less);
    tcase_add_test(tests, words_are_the_same_in_every_set);
    tcase_add_test(tests, words_lose_less_too);
    tcase_add_test(tests, rows_do_not_depend_on_their_company);
    tcase_add_test(tests, singular_hessians_are_factored);
    tcase_add_test(tests, factors_are_those_of_the_inverse);
    tcase_add_test(tests, output_errors_are_those_of_plain_sums);
    tcase_add_test(tests, reports_do_not_depend_on_threads_or_interruptions);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
