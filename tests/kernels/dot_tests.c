/* Activations and products: equal codes in every set; products within a bound that follows from the
 * sum of |x y|, those of NEON equal to the scalar ones; the same result however the rows are
 * grouped. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/numeric.h"
#include "tests/kernels/kernel_data.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_COLS 2304
#define MAX_ACTS 27

static uint8_t weight_row[MAX_COLS * 4], act_rows[MAX_ACTS * MAX_COLS * 4];
static float weights[MAX_COLS], inputs[MAX_ACTS][MAX_COLS], acts[MAX_ACTS][MAX_COLS];

/* ---- activations ------------------------------------------------------------------------- */

static void compare_act(quant_act act, const float *x, size_t n_cols) {
    static uint8_t expected[MAX_COLS * 4];
    quant_kernels k;
    FOR_EACH_ISA(isa, k) {
        guarded src = guarded_new(n_cols * sizeof(float), isa % 2);
        guarded dst = guarded_new(quant_act_row_bytes(act, n_cols), isa % 2);
        memcpy(src.data, x, src.n_bytes);
        k.act[act]((float *)(void *)src.data, n_cols, dst.data);
        guarded_check(&dst);
        if (isa == QUANT_ISA_SCALAR) memcpy(expected, dst.data, dst.n_bytes);
        ck_assert_mem_eq(expected, dst.data, dst.n_bytes);
        guarded_free(&src);
        guarded_free(&dst);
    }
}

START_TEST(activations_are_the_same_in_every_set) {
    rng r = {test_seed};
    for (int p = 0; p < N_PATTERNS; p++)
        for (size_t n_cols = 256; n_cols <= 1024; n_cols += 256) {
            fill_pattern(&r, (pattern)p, 3e38f, inputs[0], n_cols);
            compare_act(QUANT_ACT_Q8, inputs[0], n_cols - 32 * (n_cols / 256));
            compare_act(QUANT_ACT_Q8_K, inputs[0], n_cols);
        }
}
END_TEST

START_TEST(activations_without_numbers_do_no_harm) {
    static float x[256];
    for (int i = 0; i < 256; i++) x[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -INFINITY;
    compare_act(QUANT_ACT_Q8, x, 256);
    compare_act(QUANT_ACT_Q8_K, x, 256);
}
END_TEST

/* What the encoded activations stand for. */
static void decode_act(quant_act act, const uint8_t *row, size_t n_cols, float *out) {
    for (size_t i = 0; i < n_cols; i++) {
        if (act == QUANT_ACT_Q8) {
            const block_act_q8 *b = (const block_act_q8 *)row + i / 256;
            out[i] = b->d[i % 256 / 32] * (float)b->qs[i % 256 / 32][i % 32];
        } else if (act == QUANT_ACT_Q8_K) {
            const block_act_q8_k *b = (const block_act_q8_k *)row + i / 256;
            out[i] = b->d * (float)b->qs[i % 256];
        } else
            memcpy(&out[i], row + i * sizeof(float), sizeof(float));
    }
}

/* ---- products ---------------------------------------------------------------------------- */

typedef struct product {
    double value, magnitude;
} product;

/* The exact product, and a sum of |x y| in which every weight counts as the greatest of its 32: the
 * terms of types with minimums are that large. */
static product exact_product(const float *w, const float *a, size_t n_cols) {
    product p = {0, 0};
    for (size_t at = 0; at < n_cols; at += 32) {
        double most = 0, sum = 0;
        size_t end = at + 32 < n_cols ? at + 32 : n_cols;
        for (size_t i = at; i < end; i++) {
            p.value += (double)w[i] * (double)a[i];
            most = fmax(most, fabs((double)w[i]));
            sum += fabs((double)a[i]);
        }
        p.magnitude += most * sum;
    }
    return p;
}

/* Codes of ternary numbers are one more, which is taken away in floats: their terms are as large as
 * their scale, also where all numbers are zero. */
static double ternary_magnitude(uint32_t type, const float *a, size_t n_cols) {
    double magnitude = 0;
    if (type != GGUF_TYPE_TQ1_0 && type != GGUF_TYPE_TQ2_0) return 0;
    for (size_t i = 0; i < n_cols; i++) {
        const uint8_t *block =
            weight_row + i / QUANT_SUPER * gguf_type_layout_of(type)->block_bytes;
        uint16_t d;
        memcpy(&d, block + quant_traits_of(type)->f16_off[0], sizeof d);
        magnitude += fabs((double)quant_f16_to_f32(d) * (double)a[i]);
    }
    return magnitude;
}

/* Rounding of some n_cols / 8 additions and a few products, and of minimums not seen in a block. */
static double product_bound(product p, size_t n_cols) {
    return p.magnitude * 4 * 0x1p-24 * ((double)n_cols / 8 + 16) + 1e-37;
}

static void make_rows(rng *r, uint32_t type, size_t n_cols) {
    quant_act act = quant_act_of(type);
    size_t act_bytes = quant_act_row_bytes(act, n_cols);
    float *x = inputs[0];
    fill_pattern(r, rng_next(r) % 2 ? PATTERN_NORMAL : PATTERN_HEAVY, 0, x, n_cols);
    ck_assert_int_eq(quant_encode(type, x, 1, n_cols, NULL, weight_row, NULL), GGUF_OK);
    ck_assert_int_eq(quant_decode(type, weight_row, 1, n_cols, weights, NULL), GGUF_OK);
    for (size_t t = 0; t < MAX_ACTS; t++) {
        fill_pattern(r, rng_next(r) % 4 ? PATTERN_NORMAL : PATTERN_OUTLIER, 0, inputs[t], n_cols);
        uint8_t *row = act_rows + t * act_bytes;
        if (act == QUANT_ACT_NONE)
            memcpy(row, inputs[t], act_bytes);
        else
            quant_act_encode(act, inputs[t], n_cols, row);
        decode_act(act, row, n_cols, acts[t]);
    }
}

/* One call for n_acts activations, all memory guarded. */
static void dot_guarded(const quant_kernels *k, uint32_t type, size_t n_cols, size_t n_acts,
                        bool at_end, float *out) {
    size_t act_bytes = quant_act_row_bytes(quant_act_of(type), n_cols);
    guarded w = guarded_new(quant_row_bytes(type, n_cols), at_end);
    guarded a = guarded_new(n_acts * act_bytes, at_end);
    guarded o = guarded_new(n_acts * sizeof(float), at_end);
    memcpy(w.data, weight_row, w.n_bytes);
    memcpy(a.data, act_rows, a.n_bytes);
    k->dot[type](w.data, n_cols, a.data, act_bytes, n_acts, (float *)(void *)o.data);
    guarded_check(&o);
    memcpy(out, o.data, o.n_bytes);
    guarded_free(&w);
    guarded_free(&a);
    guarded_free(&o);
}

static void check_near(uint32_t type, quant_isa isa, size_t n_cols, const float *x, float y) {
    product p = exact_product(weights, x, n_cols);
    p.magnitude += ternary_magnitude(type, x, n_cols);
    double error = fabs((double)y - p.value), bound = product_bound(p, n_cols);
    ck_assert_msg(error <= bound, "%s %s, %zu columns: %g, expected %g; error %g > %g",
                  gguf_type_name(type), quant_isa_text(isa), n_cols, (double)y, p.value, error,
                  bound);
}

static void check_dots(uint32_t type, size_t n_cols) {
    quant_kernels k;
    float scalar[QUANT_DOT_ACTS];
    FOR_EACH_ISA(isa, k) {
        float all[QUANT_DOT_ACTS];
        dot_guarded(&k, type, n_cols, QUANT_DOT_ACTS, true, all);
        if (isa == QUANT_ISA_SCALAR) memcpy(scalar, all, sizeof all);
        if (isa == QUANT_ISA_NEON) ck_assert_mem_eq(scalar, all, sizeof all);
        for (size_t t = 0; t < QUANT_DOT_ACTS; t++) check_near(type, isa, n_cols, acts[t], all[t]);
        for (size_t n_acts = 1; n_acts < QUANT_DOT_ACTS; n_acts++) {
            float some[QUANT_DOT_ACTS];
            dot_guarded(&k, type, n_cols, n_acts, n_acts % 2, some);
            ck_assert_mem_eq(all, some, n_acts * sizeof(float));
        }
    }
}

START_TEST(products_are_near_the_exact_ones) {
    uint32_t type = all_types[_i];
    if (quant_act_of(type) == QUANT_ACT_NONE) return;
    rng r = {test_seed + (uint64_t)_i};
    size_t block = gguf_type_layout_of(type)->block_elems;
    for (int round = 0; round < 30; round++) {
        size_t n_cols = block * (1 + rng_next(&r) % (MAX_COLS / block));
        make_rows(&r, type, n_cols);
        check_dots(type, n_cols);
    }
}
END_TEST

/* ---- strips ------------------------------------------------------------------------------ */

/* n_rows rows from `matrix` times n_acts activations, strip after strip, all memory guarded. */
static void strips_guarded(const quant_kernels *k, uint32_t type, const uint8_t *matrix,
                           size_t n_rows, size_t n_cols, size_t n_acts,
                           float out[QUANT_STRIP_ACTS][QUANT_STRIP_ROWS]) {
    static quant_strip strip;
    size_t row_bytes = quant_row_bytes(type, n_cols);
    size_t act_bytes = quant_act_row_bytes(quant_act_of(type), n_cols);
    guarded w = guarded_new(n_rows * row_bytes, n_rows % 2);
    guarded a = guarded_new(n_acts * act_bytes, n_rows % 2);
    guarded o = guarded_new(n_acts * sizeof out[0], n_rows % 2);
    memcpy(w.data, matrix, w.n_bytes);
    memcpy(a.data, act_rows, a.n_bytes);
    for (size_t c = 0; c < n_cols; c += QUANT_STRIP_COLS) {
        size_t n = n_cols - c < QUANT_STRIP_COLS ? n_cols - c : QUANT_STRIP_COLS;
        memset(&strip, 0xFF, sizeof strip);
        k->strip[type](w.data + quant_row_bytes(type, c), row_bytes, n_rows, n, &strip);
        k->strip_mul[type](&strip, n, a.data + quant_act_row_bytes(quant_act_of(type), c),
                           act_bytes, n_acts, (float *)(void *)o.data, QUANT_STRIP_ROWS, c > 0);
    }
    guarded_check(&o);
    memcpy(out, o.data, o.n_bytes);
    guarded_free(&w);
    guarded_free(&a);
    guarded_free(&o);
}

/* In NEON those of the scalar ones too. */
START_TEST(strips_give_the_results_of_dots) {
    static uint8_t matrix[QUANT_STRIP_ROWS * MAX_COLS * 4];
    uint32_t type = all_types[_i];
    rng r = {test_seed + (uint64_t)_i};
    quant_kernels k, scalar;
    quant_kernels_fill(QUANT_ISA_SCALAR, &scalar);
    for (size_t n_acts = 1; n_acts <= QUANT_STRIP_ACTS; n_acts++) {
        size_t block = gguf_type_layout_of(type)->block_elems, n_rows = 2 * n_acts;
        size_t n_cols = block * (1 + rng_next(&r) % (MAX_COLS / block));
        size_t row_bytes = quant_row_bytes(type, n_cols);
        size_t act_bytes = quant_act_row_bytes(quant_act_of(type), n_cols);
        for (size_t row = 0; row < n_rows; row++) {
            make_rows(&r, type, n_cols);
            memcpy(matrix + row * row_bytes, weight_row, row_bytes);
        }
        FOR_EACH_ISA(isa, k) {
            float out[QUANT_STRIP_ACTS][QUANT_STRIP_ROWS], expected;
            quant_dot_fn *dot = (isa == QUANT_ISA_NEON ? &scalar : &k)->dot[type];
            if (!k.strip[type] || !dot) continue;
            strips_guarded(&k, type, matrix, n_rows, n_cols, n_acts, out);
            for (size_t t = 0; t < n_acts; t++)
                for (size_t row = 0; row < n_rows; row++) {
                    dot(matrix + row * row_bytes, n_cols, act_rows + t * act_bytes, act_bytes, 1,
                        &expected);
                    ck_assert_mem_eq(&expected, &out[t][row], sizeof expected);
                }
        }
    }
}
END_TEST

/* ---- repacked rows ----------------------------------------------------------------------- */

/* Two times 16 rows times n_acts activations, all memory guarded. */
static void repacked_guarded(uint32_t type, const uint8_t *matrix, size_t n_cols, size_t n_acts,
                             float out[MAX_ACTS][2 * QUANT_STRIP_ROWS]) {
    enum { N_ROWS = 2 * QUANT_STRIP_ROWS };
    size_t n_bytes = N_ROWS * quant_repacked_row_bytes(type, n_cols);
    size_t act_bytes = quant_act_row_bytes(quant_act_of(type), n_cols);
    guarded w = guarded_new(n_bytes, n_acts % 2), a = guarded_new(n_acts * act_bytes, n_acts % 2);
    guarded o = guarded_new(n_acts * sizeof out[0], n_acts % 2);
    quant_repack(type, matrix, N_ROWS, n_cols, w.data);
    guarded_check(&w);
    memcpy(a.data, act_rows, a.n_bytes);
    quant_matmul_repacked(type, w.data, N_ROWS, n_cols, a.data, n_acts, (float *)(void *)o.data,
                          N_ROWS, matmul_scratch);
    guarded_check(&o);
    memcpy(out, o.data, o.n_bytes);
    guarded_free(&w);
    guarded_free(&a);
    guarded_free(&o);
}

START_TEST(repacked_rows_give_the_same_results) {
    enum { N_ROWS = 2 * QUANT_STRIP_ROWS };
    static uint8_t matrix[N_ROWS * MAX_COLS * 4];
    uint32_t type = all_types[_i];
    rng r = {test_seed + (uint64_t)_i};
    if (!quant_can_repack(type, N_ROWS)) {
        printf("skipped: repacked %s, not supported here\n", gguf_type_name(type));
        return;
    }
    ck_assert(!quant_can_repack(type, N_ROWS - 1));
    for (size_t n_acts = 1; n_acts <= MAX_ACTS; n_acts++) {
        float out[MAX_ACTS][N_ROWS], expected[MAX_ACTS][N_ROWS];
        size_t block = gguf_type_layout_of(type)->block_elems;
        size_t n_cols = block * (1 + rng_next(&r) % (MAX_COLS / block));
        size_t row_bytes = quant_row_bytes(type, n_cols);
        for (size_t row = 0; row < N_ROWS; row++) {
            make_rows(&r, type, n_cols);
            memcpy(matrix + row * row_bytes, weight_row, row_bytes);
        }
        repacked_guarded(type, matrix, n_cols, n_acts, out);
        quant_matmul(type, quant_act_of(type), matrix, N_ROWS, n_cols, act_rows, n_acts,
                     expected[0], N_ROWS, matmul_scratch);
        for (size_t t = 0; t < n_acts; t++) ck_assert_mem_eq(expected[t], out[t], sizeof out[t]);
    }
}
END_TEST

/* ---- stored numbers that are not finite -------------------------------------------------- */

/* A matrix one stored number of which is infinite or NaN; the row that has it. */
static size_t spoil_matrix(rng *r, uint32_t type, uint8_t *matrix, size_t n_rows, size_t n_cols) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    const quant_traits *t = quant_traits_of(type);
    static const float f32[2] = {NAN, -INFINITY};
    static const uint16_t f16[2] = {0x7D55, 0x7C00}, bf16[2] = {0xFFC0, 0x7F80};
    size_t n_blocks = n_rows * n_cols / layout->block_elems, block = rng_next(r) % n_blocks;
    uint8_t *at = matrix + block * layout->block_bytes;
    unsigned kind = rng_next(r) % 2;
    if (type == GGUF_TYPE_F32)
        memcpy(at, &f32[kind], sizeof f32[0]);
    else if (type == GGUF_TYPE_BF16)
        memcpy(at, &bf16[kind], sizeof bf16[0]);
    else if (t->has_spread_f16) {
        static const uint16_t words[2] = {0xD000, 0x7000}; /* the upper halves of 0x7D.. */
        memcpy(at + offsetof(block_iq1_m, scales) + 4, words, sizeof words);
    } else
        memcpy(at + (t->n_f16 ? t->f16_off[rng_next(r) % t->n_f16] : 0), &f16[kind], sizeof f16[0]);
    return block * layout->block_elems / n_cols;
}

static void check_shown(const char *what, uint32_t type, const float *out, size_t n_acts,
                        size_t n_rows, size_t bad) {
    for (size_t t = 0; t < n_acts; t++)
        for (size_t row = 0; row < n_rows; row++)
            ck_assert_msg(!isfinite(out[t * n_rows + row]) == (row == bad),
                          "%s %s: row %zu of %zu, spoiled %zu: %g", what, gguf_type_name(type), row,
                          n_rows, bad, (double)out[t * n_rows + row]);
}

/* What quant_product_shows_nonfinite promises, with zeros as activations too, however products are
 * computed. */
START_TEST(products_show_what_is_not_finite) {
    enum { N_ROWS = 2 * QUANT_STRIP_ROWS, N_COLS = 1536, N_MADE = 5 };
    static uint8_t matrix[N_ROWS * N_COLS * 4], repacked[N_ROWS * N_COLS * 4];
    static uint8_t made[N_MADE * N_COLS * 4]; /* few rows: codebooks take long to encode */
    static float plain[MAX_ACTS * N_COLS], out[MAX_ACTS * N_ROWS];
    static _Alignas(64) uint8_t coded[MAX_ACTS * N_COLS * 4];
    uint32_t type = all_types[_i];
    rng r = {test_seed + (uint64_t)_i};
    if (type == GGUF_TYPE_NVFP4) return; /* every byte of it is a number */
    static const quant_act forms[] = {QUANT_ACT_NONE, QUANT_ACT_Q8, QUANT_ACT_Q8_K, QUANT_ACT_BF16};
    size_t row_bytes = quant_row_bytes(type, N_COLS);
    for (size_t i = 0; i < N_MADE; i++) {
        make_rows(&r, type, N_COLS);
        memcpy(made + i * row_bytes, weight_row, row_bytes);
    }
    for (int round = 0; round < 10; round++) {
        size_t n_acts = 1 + rng_next(&r) % MAX_ACTS;
        for (size_t row = 0; row < N_ROWS; row++)
            memcpy(matrix + row * row_bytes, made + rng_next(&r) % N_MADE * row_bytes, row_bytes);
        size_t bad = spoil_matrix(&r, type, matrix, N_ROWS, N_COLS);
        fill_pattern(&r, PATTERN_NORMAL, 0, plain, n_acts * N_COLS);
        if (round % 4 == 0) memset(plain, 0, sizeof plain);
        for (size_t a = 0; a < sizeof forms / sizeof forms[0]; a++) {
            if (!quant_can_multiply(type, forms[a], N_COLS) ||
                !quant_product_shows_nonfinite(type, forms[a]))
                continue;
            size_t act_bytes = quant_act_row_bytes(forms[a], N_COLS);
            for (size_t t = 0; t < n_acts && forms[a]; t++)
                quant_act_encode(forms[a], plain + t * N_COLS, N_COLS, coded + t * act_bytes);
            quant_matmul(type, forms[a], matrix, N_ROWS, N_COLS,
                         forms[a] ? (const void *)coded : plain, n_acts, out, N_ROWS,
                         matmul_scratch);
            check_shown("product", type, out, n_acts, N_ROWS, bad);
            if (forms[a] != quant_act_of(type) || !quant_can_repack(type, N_ROWS)) continue;
            quant_repack(type, matrix, N_ROWS, N_COLS, repacked);
            quant_matmul_repacked(type, repacked, N_ROWS, N_COLS, coded, n_acts, out, N_ROWS,
                                  matmul_scratch);
            check_shown("repacked product", type, out, n_acts, N_ROWS, bad);
        }
    }
}
END_TEST

/* ---- floats ------------------------------------------------------------------------------ */

/* All rows of a float product are the same row here. */
static void check_floats(quant_isa isa, const quant_kernels *k, size_t n_cols, size_t n_rows,
                         size_t n_acts) {
    static float rows[QUANT_FLOAT_ROWS][MAX_COLS + 3];
    float out[QUANT_FLOAT_ACTS][QUANT_FLOAT_ROWS], alone;
    for (size_t r = 0; r < n_rows; r++) memcpy(rows[r], weights, n_cols * sizeof(float));
    quant_floats m = {.rows = (const uint8_t *)rows, .acts = act_rows, .row_bytes = sizeof rows[0]};
    m.act_bytes = n_cols * sizeof(float);
    m.n_rows = n_rows;
    m.n_acts = n_acts;
    m.n_cols = n_cols;
    m.ahead = m.rows;
    m.out = out[0];
    m.out_stride = QUANT_FLOAT_ROWS;
    for (int pass = 0; pass < 2; pass++, m.add = true) k->floats[GGUF_TYPE_F32](&m);
    for (size_t t = 0; t < n_acts; t++) {
        quant_floats one = {.rows = m.rows, .acts = m.acts + t * m.act_bytes, .n_cols = n_cols};
        one.n_rows = one.n_acts = 1;
        one.ahead = one.rows;
        one.out = &alone;
        k->floats[GGUF_TYPE_F32](&one);
        check_near(GGUF_TYPE_F32, isa, n_cols, acts[t], alone);
        alone += alone;
        for (size_t r = 0; r < n_rows; r++) ck_assert_mem_eq(&alone, &out[t][r], sizeof alone);
    }
}

START_TEST(float_products_are_near_the_exact_ones) {
    rng r = {test_seed};
    quant_kernels k;
    for (int round = 0; round < 30; round++) {
        size_t n_cols = 1 + rng_next(&r) % (MAX_COLS / 8);
        make_rows(&r, GGUF_TYPE_F32, n_cols);
        FOR_EACH_ISA(isa, k)
        for (size_t n = 1; n <= QUANT_FLOAT_ROWS; n++)
            check_floats(isa, &k, n_cols, n, 1 + rng_next(&r) % QUANT_FLOAT_ACTS);
    }
}
END_TEST

/* ---- public functions -------------------------------------------------------------------- */

START_TEST(matmul_does_not_depend_on_grouping) {
    enum { N_COLS = 2304, N_ROWS = 23 };
    uint32_t type = all_types[_i];
    rng r = {test_seed};
    static uint8_t matrix[N_ROWS * N_COLS * 4];
    float one[MAX_ACTS][N_ROWS], many[MAX_ACTS][N_ROWS + 2];
    size_t row_bytes = quant_row_bytes(type, N_COLS);
    size_t act_bytes = quant_act_row_bytes(quant_act_of(type), N_COLS);
    for (int row = 0; row < N_ROWS; row++) {
        make_rows(&r, type, N_COLS);
        memcpy(matrix + (size_t)row * row_bytes, weight_row, row_bytes);
    }
    for (size_t row = 0; row < N_ROWS; row++)
        for (size_t t = 0; t < MAX_ACTS; t++)
            quant_matmul(type, quant_act_of(type), matrix + row * row_bytes, 1, N_COLS,
                         act_rows + t * act_bytes, 1, &one[t][row], 1, matmul_scratch);
    quant_matmul(type, quant_act_of(type), matrix, N_ROWS, N_COLS, act_rows, MAX_ACTS, many[0],
                 N_ROWS + 2, matmul_scratch);
    for (size_t t = 0; t < MAX_ACTS; t++) ck_assert_mem_eq(one[t], many[t], sizeof one[t]);
}
END_TEST

/* BF16 activations are rounded; what then is summed is exact but for the additions. */
START_TEST(bf16_products_are_near_the_exact_ones) {
    enum { N_ROWS = 19, N_ACTS = 11 };
    static uint8_t matrix[N_ROWS * MAX_COLS * 2], coded[N_ACTS * MAX_COLS * 2];
    static float out[N_ACTS][N_ROWS + 1], alone;
    rng r = {test_seed};
    if (!quant_can_multiply(GGUF_TYPE_BF16, QUANT_ACT_BF16, MAX_COLS)) {
        printf("skipped: products of BF16, not supported here\n");
        return;
    }
    for (size_t n_cols = 1; n_cols <= MAX_COLS; n_cols = n_cols * 3 + 1) {
        make_rows(&r, GGUF_TYPE_BF16, n_cols);
        for (size_t k = 0; k < N_ROWS; k++) memcpy(matrix + k * n_cols * 2, weight_row, n_cols * 2);
        for (size_t t = 0; t < N_ACTS; t++)
            quant_act_encode(QUANT_ACT_BF16, inputs[t], n_cols, coded + t * n_cols * 2);
        quant_matmul(GGUF_TYPE_BF16, QUANT_ACT_BF16, matrix, N_ROWS, n_cols, coded, N_ACTS, out[0],
                     N_ROWS + 1, matmul_scratch);
        for (size_t t = 0; t < N_ACTS; t++) {
            quant_decode(GGUF_TYPE_BF16, coded + t * n_cols * 2, 1, n_cols, acts[t], NULL);
            product p = exact_product(weights, acts[t], n_cols);
            ck_assert(fabs((double)out[t][0] - p.value) <= product_bound(p, n_cols));
            quant_matmul(GGUF_TYPE_BF16, QUANT_ACT_BF16, matrix, 1, n_cols, coded + t * n_cols * 2,
                         1, &alone, 1, matmul_scratch);
            for (size_t k = 0; k < N_ROWS; k++) ck_assert_mem_eq(&out[t][k], &alone, sizeof alone);
        }
    }
}
END_TEST

/* Both factors are rounded to 8 bits: an error of at most half a step each, of 127 that the
 * greatest of 32 has. */
START_TEST(floats_in_8_bits_are_near) {
    enum { N_ROWS = 19, N_ACTS = 11, N_COLS = 1056 };
    static uint8_t coded[N_ACTS * N_COLS * 2];
    static float matrix[N_ROWS][N_COLS], out[N_ACTS][N_ROWS + 1], alone;
    rng r = {test_seed};
    if (!quant_can_multiply(GGUF_TYPE_F32, QUANT_ACT_Q8, N_COLS)) {
        printf("skipped: floats in 8 bits, not supported here\n");
        return;
    }
    fill_pattern(&r, PATTERN_NORMAL, 0, matrix[0], (size_t)N_ROWS * N_COLS);
    size_t act_bytes = quant_act_row_bytes(QUANT_ACT_Q8, N_COLS);
    for (size_t t = 0; t < N_ACTS; t++) {
        fill_pattern(&r, PATTERN_NORMAL, 0, inputs[t], N_COLS);
        quant_act_encode(QUANT_ACT_Q8, inputs[t], N_COLS, coded + t * act_bytes);
    }
    quant_matmul(GGUF_TYPE_F32, QUANT_ACT_Q8, matrix, N_ROWS, N_COLS, coded, N_ACTS, out[0],
                 N_ROWS + 1, matmul_scratch);
    for (size_t t = 0; t < N_ACTS; t++)
        for (size_t k = 0; k < N_ROWS; k++) {
            double value = 0, bound = 0;
            for (size_t at = 0; at < N_COLS; at += 32) {
                double w = 0, x = 0;
                for (size_t i = at; i < at + 32; i++) {
                    value += (double)matrix[k][i] * (double)inputs[t][i];
                    w = fmax(w, fabs((double)matrix[k][i]));
                    x = fmax(x, fabs((double)inputs[t][i]));
                }
                bound += 32 * w * x / 120; /* 1/127 and the rounding of the scale */
            }
            ck_assert_double_le(fabs((double)out[t][k] - value), bound);
            quant_matmul(GGUF_TYPE_F32, QUANT_ACT_Q8, matrix[k], 1, N_COLS, coded + t * act_bytes,
                         1, &alone, 1, matmul_scratch);
            ck_assert_mem_eq(&out[t][k], &alone, sizeof alone);
        }
    ck_assert(!quant_can_multiply(GGUF_TYPE_F32, QUANT_ACT_Q8, N_COLS + 1));
}
END_TEST

START_TEST(reference_products_are_near_the_exact_ones) {
    uint32_t type = all_types[_i];
    rng r = {test_seed};
    for (size_t n_cols = 256; n_cols <= MAX_COLS; n_cols += 1024) {
        float out[MAX_ACTS], again;
        make_rows(&r, type, n_cols);
        static float rows[MAX_ACTS * MAX_COLS];
        for (size_t t = 0; t < MAX_ACTS; t++)
            memcpy(rows + t * n_cols, inputs[t], n_cols * sizeof(float));
        quant_matmul(type, QUANT_ACT_NONE, weight_row, 1, n_cols, rows, MAX_ACTS, out, 1,
                     matmul_scratch);
        for (size_t t = 0; t < MAX_ACTS; t++) {
            product p = exact_product(weights, inputs[t], n_cols);
            ck_assert(fabs((double)out[t] - p.value) <= product_bound(p, n_cols));
            quant_matmul(type, QUANT_ACT_NONE, weight_row, 1, n_cols, rows + t * n_cols, 1, &again,
                         1, matmul_scratch);
            ck_assert_mem_eq(&again, &out[t], sizeof again);
        }
    }
}
END_TEST

TCase *dot_tests(void) {
    TCase *tests = tcase_create("products");
    tcase_set_timeout(tests, 0);
    tcase_add_test(tests, activations_are_the_same_in_every_set);
    tcase_add_test(tests, activations_without_numbers_do_no_harm);
    tcase_add_loop_test(tests, products_are_near_the_exact_ones, 0, (int)n_all_types);
    tcase_add_loop_test(tests, strips_give_the_results_of_dots, 0, (int)n_all_types);
    tcase_add_loop_test(tests, repacked_rows_give_the_same_results, 0, (int)n_all_types);
    tcase_add_loop_test(tests, products_show_what_is_not_finite, 0, (int)n_all_types);
    tcase_add_test(tests, float_products_are_near_the_exact_ones);
    tcase_add_loop_test(tests, matmul_does_not_depend_on_grouping, 0, (int)n_all_types);
    tcase_add_test(tests, floats_in_8_bits_are_near);
    tcase_add_test(tests, bf16_products_are_near_the_exact_ones);
    tcase_add_loop_test(tests, reference_products_are_near_the_exact_ones, 0, (int)n_all_types);
    return tests;
}
