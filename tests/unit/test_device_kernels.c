/* Kernels of a device: weights of every type against sums in double precision, everything else
 * against the CPU's operations on the same numbers. */
#include "quant/quant.h"
#include "unit_device.h"

#include <math.h>

enum { ARENA = 1 << 22, CACHE = 1 << 20, MAX_CONSTANTS = 40 };

/* Both backends, with the same arena. */
typedef struct pair {
    gguf_pool *pool;
    rt_backend *device, *cpu;
} pair;

static int by_address(const void *a, const void *b) {
    const rt_constant *x = a, *y = b;
    return ((uintptr_t)x->data > (uintptr_t)y->data) - ((uintptr_t)x->data < (uintptr_t)y->data);
}

static pair open_pair(rt_constant *constants, size_t n) {
    static rt_hparams hp;
    gguf_error err = {0};
    pair p;
    hp.n_embd = hp.n_ff = 4096;
    hp.n_layer = 1;
    hp.n_head = hp.n_head_kv = 1;
    hp.head_dim_k = hp.head_dim_v = 64;
    hp.ssm_d_state = 64;
    qsort(constants, n, sizeof *constants, by_address);
    unit_ok(gguf_pool_new(1, &p.pool, &err), err);
    const rt_backend_setup setup = {.hparams = &hp,
                                    .n_batch = 64,
                                    .arena_bytes = ARENA,
                                    .cache_bytes = CACHE,
                                    .precision = RT_PRECISION_F32,
                                    .pool = p.pool,
                                    .constants = constants,
                                    .n_constants = n};
    unit_ok(rt_device_backend()->open(&setup, &p.device, &err), err);
    unit_ok(rt_backend_cpu.open(&setup, &p.cpu, &err), err);
    return p;
}

static void close_pair(pair *p) {
    p->device->ops->free(p->device);
    p->cpu->ops->free(p->cpu);
    gguf_pool_free(p->pool);
}

static float noise(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(*seed >> 32) / 2147483648.0f;
}

/* The same n numbers at both; returns them. */
static float *fill(const pair *p, rt_off off, size_t n, uint64_t seed, float scale) {
    float *x = malloc(n * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < n; i++) x[i] = scale * noise(&seed);
    p->device->ops->write(p->device, x, n * sizeof *x, off);
    p->cpu->ops->write(p->cpu, x, n * sizeof *x, off);
    return x;
}

static float *fetch(rt_backend *b, rt_off off, size_t n) {
    gguf_error err = {0};
    float *x = malloc(n * sizeof *x);
    ck_assert_ptr_nonnull(x);
    b->ops->read(b, off, n * sizeof *x, x);
    unit_ok(b->ops->sync(b, &err), err);
    return x;
}

static void check_equal(const pair *p, rt_off off, size_t n, double bound, const char *what) {
    float *a = fetch(p->device, off, n), *b = fetch(p->cpu, off, n);
    double most = 0, size = 1e-30;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        ck_assert_msg(!isnan(a[i]) || isnan(b[i]), "%s: NaN at %zu", what, i);
        size = fmax(size, fabs((double)b[i]));
    }
    ck_assert_msg(most <= bound * size, "%s: off by %g of %g", what, most, size);
    free(a);
    free(b);
}

/* ---- weights ----------------------------------------------------------------------------------
 */

static const uint32_t types[] = {
    GGUF_TYPE_F32,   GGUF_TYPE_F16,     GGUF_TYPE_BF16,   GGUF_TYPE_Q4_0,   GGUF_TYPE_Q4_1,
    GGUF_TYPE_Q5_0,  GGUF_TYPE_Q5_1,    GGUF_TYPE_Q8_0,   GGUF_TYPE_Q2_K,   GGUF_TYPE_Q3_K,
    GGUF_TYPE_Q4_K,  GGUF_TYPE_Q5_K,    GGUF_TYPE_Q6_K,   GGUF_TYPE_IQ4_NL, GGUF_TYPE_IQ4_XS,
    GGUF_TYPE_MXFP4, GGUF_TYPE_IQ2_XXS, GGUF_TYPE_IQ2_XS, GGUF_TYPE_IQ2_S,  GGUF_TYPE_IQ3_XXS,
    GGUF_TYPE_IQ3_S, GGUF_TYPE_IQ1_S,   GGUF_TYPE_IQ1_M,  GGUF_TYPE_TQ1_0,  GGUF_TYPE_TQ2_0,
};
#define N_TYPES (int)(sizeof types / sizeof types[0])

/* Any bytes are a block, but for scales that are not finite, which are made small. Of types that
 * can be as large as f32, sums would overflow: they hold usual numbers. */
static uint8_t *random_rows(uint32_t type, size_t n_rows, size_t n_cols, uint64_t seed) {
    size_t n = n_rows * quant_row_bytes(type, n_cols);
    uint8_t *rows = malloc(n);
    float *usual = malloc(n_rows * n_cols * sizeof *usual);
    ck_assert(rows && usual);
    for (size_t i = 0; i < n_rows * n_cols; i++) usual[i] = noise(&seed);
    for (size_t i = 0; i < n; i++) {
        noise(&seed);
        rows[i] = (uint8_t)(seed >> 33);
    }
    bool large = type == GGUF_TYPE_F32 || type == GGUF_TYPE_BF16 || type == GGUF_TYPE_MXFP4;
    if (type == GGUF_TYPE_F32)
        memcpy(rows, usual, n);
    else if (large)
        ck_assert_int_eq(quant_encode(type, usual, n_rows, n_cols, NULL, rows, NULL), GGUF_OK);
    free(usual);
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    for (size_t at; (at = quant_find_nonfinite(type, rows, n_rows, n_cols)) < n_rows * n_cols;)
        memset(rows + at / layout->block_elems * layout->block_bytes, 0x21, layout->block_bytes);
    return rows;
}

typedef struct sum {
    double value, size; /* of the products, and of their magnitudes */
} sum;

static sum exact(const float *w, const float *x, size_t n) {
    sum s = {0};
    for (size_t i = 0; i < n; i++) {
        s.value += (double)w[i] * (double)x[i];
        s.size += fabs((double)w[i] * (double)x[i]);
    }
    return s;
}

/* n tokens; the output of token t has the input of token t. */
static void check_product(const pair *p, const rt_weight *w, const float *decoded, size_t n) {
    const rt_off x_off = 64, y_off = ARENA / 2 + 4; /* not where operands like to begin */
    float *x = fill(p, x_off, n * w->n_cols, n + w->n_cols, 1);
    p->device->ops->set_input(p->device, x_off, n, w->n_cols);
    p->device->ops->matmul(p->device, w, y_off);
    float *y = fetch(p->device, y_off, n * w->n_rows);
    for (size_t t = 0; t < n; t++)
        for (size_t r = 0; r < w->n_rows; r++) {
            sum s = exact(decoded + r * w->n_cols, x + t * w->n_cols, w->n_cols);
            double expected = s.value + (double)w->bias[r];
            ck_assert_msg(fabs((double)y[t * w->n_rows + r] - expected) <=
                              2e-6 * (s.size + fabs((double)w->bias[r])),
                          "%s, %zu tokens, %u columns: row %zu of token %zu is %g, not %g",
                          gguf_type_name(w->type), n, w->n_cols, r, t, (double)y[t * w->n_rows + r],
                          expected);
        }
    free(x);
    free(y);
}

static void check_lookup(const pair *p, const rt_weight *w, const float *decoded) {
    const int32_t ids[3] = {(int32_t)w->n_rows - 1, 0, 2};
    p->device->ops->embed(p->device, w, ids, 3, 64);
    float *y = fetch(p->device, 64, 3 * w->n_cols);
    for (size_t t = 0; t < 3; t++)
        for (size_t i = 0; i < w->n_cols; i++) {
            double expected = (double)decoded[(size_t)ids[t] * w->n_cols + i];
            ck_assert_msg(fabs((double)y[t * w->n_cols + i] - expected) <= 2e-6 * fabs(expected),
                          "%s: element %zu of row %d", gguf_type_name(w->type), i, ids[t]);
        }
    free(y);
}

START_TEST(products) {
    static const size_t tokens[] = {1, 2, 8, 13};
    uint32_t type = types[_i], n_rows = 37;
    bool blocks = gguf_type_layout_of(type)->block_elems > 1;
    for (int wide = 0; wide < 2; wide++) {
        uint32_t n_cols = blocks ? (wide ? 768 : 256) : (wide ? 515 : 3);
        size_t n_bytes = 0;
        uint8_t *rows = random_rows(type, n_rows, n_cols, 7 + type);
        float *decoded = malloc(n_rows * n_cols * sizeof *decoded), bias[37];
        ck_assert_ptr_nonnull(decoded);
        uint64_t seed = 3;
        for (uint32_t r = 0; r < n_rows; r++) bias[r] = 0.01f * noise(&seed);
        ck_assert_int_eq(quant_decode(type, rows, n_rows, n_cols, decoded, NULL), GGUF_OK);
        const rt_weight w = {.data = rows,
                             .bias = bias,
                             .type = type,
                             .n_mats = 1,
                             .n_rows = n_rows,
                             .n_cols = n_cols,
                             .row_bytes = quant_row_bytes(type, n_cols),
                             .mat_bytes = n_rows * quant_row_bytes(type, n_cols)};
        rt_constant constants[3] = {{rows, w.mat_bytes}, {bias, sizeof bias}};
        constants[2].data = quant_codebook(type, &n_bytes);
        constants[2].n_bytes = n_bytes;
        pair p = open_pair(constants, constants[2].data ? 3 : 2);
        for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
            check_product(&p, &w, decoded, tokens[i]);
        check_lookup(&p, &w, decoded);
        close_pair(&p);
        free(decoded);
        free(rows);
    }
}
END_TEST

/* ---- the rest, against the CPU ----------------------------------------------------------------
 */

#define BOTH(p, name, ...)                              \
    do {                                                \
        (p).device->ops->name((p).device, __VA_ARGS__); \
        (p).cpu->ops->name((p).cpu, __VA_ARGS__);       \
    } while (0)

START_TEST(rows_as_on_the_cpu) {
    static float weights[2 * 131];
    static const size_t n = 7, n_cols = 131;
    const rt_off x = 64, y = 64 + 40000, z = 64 + 80000;
    uint64_t seed = 5;
    for (size_t i = 0; i < 2 * n_cols; i++) weights[i] = noise(&seed);
    rt_constant constants[1] = {{weights, sizeof weights}};
    pair p = open_pair(constants, 1);
    const rt_norm_weights norm = {weights, weights + n_cols, 1, (uint32_t)n_cols};
    for (int kind = RT_NORM_RMS; kind <= RT_NORM_LAYER; kind++) {
        free(fill(&p, x, n * n_cols, 1, 3));
        BOTH(p, norm, (rt_norm)kind, &norm, 1e-5f, x, n, n_cols, y);
        check_equal(&p, y, n * n_cols, 1e-6, "norm");
        BOTH(p, norm, (rt_norm)kind, &norm, 1e-5f, x, n, n_cols, x);
        check_equal(&p, x, n * n_cols, 1e-6, "norm in place");
    }
    for (int act = RT_ACT_SILU; act < RT_ACT_XIELU; act++) {
        free(fill(&p, x, n * n_cols, 2, 20));
        free(fill(&p, y, n * n_cols, 3, 9));
        BOTH(p, activate, (rt_activation)act, x, y, n, n_cols);
        check_equal(&p, x, n * n_cols, 2e-6, "activate");
    }
    const rt_xielu xielu = {0.8f, 0.6f, 0.5f, -1e-6f};
    free(fill(&p, x, n * n_cols, 2, 5));
    BOTH(p, xielu, &xielu, x, n, n_cols);
    check_equal(&p, x, n * n_cols, 2e-6, "xielu");
    BOTH(p, add, x, y, 0.7f, RT_NO_OFF, n, n_cols);
    BOTH(p, add, x, y, 0.7f, y, n, n_cols);
    check_equal(&p, x, n * n_cols, 2e-6, "add");
    BOTH(p, scale_softcap, x, 1.5f, 4, 3, n, n_cols);
    check_equal(&p, x, n * n_cols, 2e-6, "scale_softcap");
    BOTH(p, clamp, x, -INFINITY, 1, n, n_cols);
    BOTH(p, scale_rows, x, y, n, n_cols);
    check_equal(&p, x, n * n_cols, 2e-6, "scale_rows");
    BOTH(p, match_rows, x, y, n, n_cols);
    check_equal(&p, x, n * n_cols, 3e-6, "match_rows");
    BOTH(p, cut_rows, x, 0.3f, n, n_cols);
    check_equal(&p, x, n * n_cols, 5e-6, "cut_rows");
    free(fill(&p, x, 3 * n * n_cols, 6, 1));
    BOTH(p, mix, x, n * n_cols, 3, y, 2, n, n_cols, z, n * n_cols);
    check_equal(&p, z, 2 * n * n_cols, 2e-6, "mix");
    BOTH(p, combine, x, y, 3, n, n_cols, z);
    check_equal(&p, z, n * n_cols, 2e-6, "combine");
    for (int kind = RT_ROPE_ADJACENT; kind <= RT_ROPE_HALVES; kind++) {
        BOTH(p, rope, (rt_rope)kind, y, 10, x, n, 5, 26);
        check_equal(&p, x, n * 130, 2e-6, "rope");
    }
    close_pair(&p);
}
END_TEST

START_TEST(experts_as_on_the_cpu) {
    static float bias[24];
    const rt_off logits = 64, experts = 64 + 8192, weights = 64 + 16384, first = 64 + 32768;
    const rt_off rows = 64 + 40960;
    const size_t n = 33;
    rt_constant constants[1] = {{bias, sizeof bias}};
    uint64_t seed = 5;
    for (int i = 0; i < 24; i++) bias[i] = noise(&seed);
    pair p = open_pair(constants, 1);
    for (int gating = RT_GATING_SOFTMAX; gating <= RT_GATING_SOFTMAX_SELECTED; gating++)
        for (int grouped = 0; grouped < 2; grouped++) {
            const rt_route_rule rule = {.n_expert = 24,
                                        .n_used = 5,
                                        .n_group = grouped ? 4 : 1,
                                        .n_group_used = grouped ? 2 : 1,
                                        .gating = (rt_gating)gating,
                                        .bias = grouped ? bias : NULL,
                                        .norm = !grouped,
                                        .scale = 2.5f,
                                        .scales = grouped ? NULL : bias};
            const rt_grouping grouping = {24, first, rows, 5};
            free(fill(&p, logits, n * 24, (uint64_t)gating, 4));
            BOTH(p, route, &rule, logits, n, experts, weights);
            BOTH(p, group, experts, n * 5, &grouping);
            check_equal(&p, weights, n * 5, 2e-6, "weights of experts");
            check_equal(&p, experts, n * 5, 0, "experts");
            check_equal(&p, first, 25, 0, "first rows of experts");
            check_equal(&p, rows, n * 5, 0, "rows of experts");
        }
    close_pair(&p);
}
END_TEST

START_TEST(attention_as_on_the_cpu) {
    static const uint32_t kv_types[] = {GGUF_TYPE_F32, GGUF_TYPE_F16, GGUF_TYPE_Q8_0,
                                        GGUF_TYPE_Q4_0};
    static const uint32_t pages[3] = {2, 0, 1};
    static float vectors[8];
    uint32_t type = kv_types[_i / 6], variant = (uint32_t)_i % 6, n_before = 70, n = 16;
    /* Q4_0 searches for its scale in another way here. */
    double bound = type == GGUF_TYPE_Q4_0 ? 0.15 : type == GGUF_TYPE_Q8_0 ? 1e-4 : 3e-6;
    rt_constant constants[1] = {{vectors, sizeof vectors}};
    for (int i = 0; i < 8; i++) vectors[i] = 0.1f * (float)(i + 1);
    pair p = open_pair(constants, 1);
    uint64_t row_bytes = quant_row_bytes(type, 64);
    const rt_kv_layer kv = {.page_bytes = 2 * 64 * row_bytes,
                            .v_off = 64 * row_bytes,
                            .type = type,
                            .n_cols_k = 64,
                            .n_cols_v = 64,
                            .row_bytes_k = row_bytes,
                            .row_bytes_v = row_bytes};
    const rt_attention attention = {.n_head = 8,
                                    .n_head_kv = 2,
                                    .head_dim_k = 32,
                                    .head_dim_v = 32,
                                    .n_window = variant == 1 || variant == 5 ? 40 : 0,
                                    .chunked = variant == 5,
                                    .causal = variant != 2,
                                    .scale = 0.4f,
                                    .cap = variant == 3 ? 1.5f : 0,
                                    .sinks = variant == 4 ? vectors : NULL,
                                    .slopes = variant == 3 ? vectors : NULL,
                                    .selection = RT_NO_OFF};
    const rt_off q = 64, k = 64 + 65536, v = 64 + 131072, out = 64 + 196608;
    for (uint32_t pos = 0; pos < n_before + n; pos += 16) {
        uint32_t here = n_before + n - pos < 16 ? n_before + n - pos : 16;
        rt_tile tile = {.pages = {pages, pages}, .n = here, .pos = pos, .n_seen = n_before + n};
        if (attention.causal) tile.n_seen = pos + here;
        const rt_batch batch = {.tiles = &tile, .n_tiles = 1, .n = here};
        free(fill(&p, k, here * 64, pos + 1, 2));
        free(fill(&p, v, here * 64, pos + 2, 1));
        free(fill(&p, q, here * 256, pos + 3, 1));
        BOTH(p, kv_store, &kv, &batch, k, v);
        if (pos < n_before && !attention.causal) continue; /* what comes is not there yet */
        BOTH(p, attention, &attention, &kv, &batch, q, out);
        check_equal(&p, out, here * 256, bound, gguf_type_name(type));
        BOTH(p, kv_load, &kv, &batch, k);
        check_equal(&p, k, here * 64, type == GGUF_TYPE_Q4_0 ? 0.15 : 1e-3, "kv_load");
    }
    close_pair(&p);
}
END_TEST

START_TEST(a_value_that_does_not_fit) {
    static const uint32_t pages[1] = {0};
    static float one[1];
    gguf_error err = {0};
    rt_constant constants[1] = {{one, sizeof one}};
    pair p = open_pair(constants, 1);
    const rt_kv_layer kv = {
        .page_bytes = 64 * 64, .type = GGUF_TYPE_F16, .n_cols_k = 32, .row_bytes_k = 64};
    rt_tile tile = {.pages = {pages, pages}, .n = 2, .pos = 3, .n_seen = 5};
    const rt_batch batch = {.tiles = &tile, .n_tiles = 1, .n = 2};
    float *k = fill(&p, 0, 64, 1, 1);
    k[40] = 70000;
    p.device->ops->write(p.device, k, 64 * sizeof *k, 0);
    p.device->ops->kv_store(p.device, &kv, &batch, 0, RT_NO_OFF);
    ck_assert_int_eq(p.device->ops->sync(p.device, &err), GGUF_E_NONFINITE);
    ck_assert_ptr_nonnull(strstr(err.message, "position 4"));
    ck_assert_int_eq(p.device->ops->sync(p.device, &err), GGUF_OK);
    free(k);
    close_pair(&p);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("device_kernels");
    TCase *tc = tcase_create("kernels");
    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, products, 0, N_TYPES);
    tcase_add_test(tc, rows_as_on_the_cpu);
    tcase_add_test(tc, experts_as_on_the_cpu);
    tcase_add_loop_test(tc, attention_as_on_the_cpu, 0, 24);
    tcase_add_test(tc, a_value_that_does_not_fit);
    suite_add_tcase(suite, tc);
    return unit_run_on_device(suite);
}
