/* The public functions of quant.h: argument checks, messages, scans, the choice of a set. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/numeric.h"
#include "tests/kernels/kernel_data.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float rows[3][512];
static uint8_t out[5 * 1536 * 4];

START_TEST(sizes_follow_the_layout) {
    ck_assert_uint_eq(quant_row_bytes(GGUF_TYPE_Q4_K, 512), 288);
    ck_assert_uint_eq(quant_row_bytes(GGUF_TYPE_Q4_K, 500), 0);
    ck_assert_uint_eq(quant_row_bytes(9999, 256), 0);
    ck_assert_uint_eq(quant_act_row_bytes(QUANT_ACT_Q8, 64), 384);
    ck_assert_uint_eq(quant_act_row_bytes(QUANT_ACT_Q8_K, 512), 640);
    ck_assert_uint_eq(quant_act_row_bytes(QUANT_ACT_NONE, 3), 12);
    ck_assert(quant_can_encode(GGUF_TYPE_Q4_K) && !quant_can_encode(9999));
    ck_assert(quant_can_decode(GGUF_TYPE_Q4_K) && !quant_can_decode(9999));
}
END_TEST

static void expect_failure(gguf_code code, gguf_code expected, const gguf_error *err,
                           const char *text) {
    ck_assert_int_eq(code, expected);
    ck_assert_msg(strstr(err->message, text) != NULL, "'%s' is not in '%s'", text, err->message);
}

START_TEST(shapes_and_types_are_checked) {
    gguf_error err = {0};
    gguf_code code = quant_encode(GGUF_TYPE_Q4_K, rows[0], 1, 500, NULL, out, &err);
    expect_failure(code, GGUF_E_SHAPE, &err, "500 columns");
    err = (gguf_error){0};
    code = quant_decode(9999, out, 1, 256, rows[0], &err);
    expect_failure(code, GGUF_E_UNSUPPORTED, &err, "9999");
    ck_assert_int_eq(quant_encode(GGUF_TYPE_Q4_K, rows[0], 0, 256, NULL, out, NULL), GGUF_OK);
}
END_TEST

static const struct {
    uint32_t type;
    float value;
} refused_values[] = {
    {GGUF_TYPE_F32, NAN},       {GGUF_TYPE_F32, INFINITY},   {GGUF_TYPE_F16, 65520.0f},
    {GGUF_TYPE_F16, -65520.0f}, {GGUF_TYPE_BF16, 3.4e38f},   {GGUF_TYPE_Q8_0, -INFINITY},
    {GGUF_TYPE_Q8_0, 8.4e6f},   {GGUF_TYPE_Q4_0, NAN},       {GGUF_TYPE_Q4_1, 65600.0f},
    {GGUF_TYPE_Q4_K, NAN},      {GGUF_TYPE_Q6_K, -INFINITY},
};

START_TEST(numbers_that_cannot_be_stored_are_named) {
    for (size_t c = 0; c < 512; c += 37) {
        gguf_error err = {0};
        char text[64];
        memset(rows, 0, sizeof rows);
        rows[2][c] = refused_values[_i].value;
        gguf_code code = quant_encode(refused_values[_i].type, rows[0], 3, 512, NULL, out, &err);
        snprintf(text, sizeof text, "row 2, column %zu:", c);
        expect_failure(code, GGUF_E_NONFINITE, &err, text);
    }
}
END_TEST

START_TEST(greatest_numbers_are_stored) {
    memset(rows, 0, sizeof rows);
    for (size_t i = 0; i < n_all_types; i++) {
        rows[0][77] = quant_traits_of(all_types[i])->max_abs;
        rows[1][78] = -rows[0][77];
        ck_assert_int_eq(quant_encode(all_types[i], rows[0], 3, 512, NULL, out, NULL), GGUF_OK);
        ck_assert_uint_eq(quant_find_nonfinite(all_types[i], out, 3, 512), 3 * 512);
    }
}
END_TEST

START_TEST(importances_are_checked) {
    static float imp[512];
    gguf_error err = {0};
    memset(rows, 0, sizeof rows);
    imp[300] = NAN;
    gguf_code code = quant_encode(GGUF_TYPE_Q4_K, rows[0], 3, 512, imp, out, &err);
    expect_failure(code, GGUF_E_NONFINITE, &err, "column 300");
}
END_TEST

START_TEST(importances_of_zero_count_as_none) {
    static uint8_t plain[3 * 512 * 4];
    static const float zeros[512];
    rng r = {test_seed};
    fill_pattern(&r, PATTERN_NORMAL, 0, rows[0], 3 * 512);
    for (size_t i = 0; i < n_all_types; i++) {
        uint32_t type = all_types[i];
        ck_assert_int_eq(quant_encode(type, rows[0], 3, 512, NULL, plain, NULL), GGUF_OK);
        ck_assert_int_eq(quant_encode(type, rows[0], 3, 512, zeros, out, NULL), GGUF_OK);
        ck_assert_mem_eq(plain, out, 3 * quant_row_bytes(type, 512));
    }
}
END_TEST

/* Put an infinite f16 or f32 at each stored number in turn. */
static void spoil_and_find(uint32_t type, size_t offset, size_t n_bytes, const void *infinite) {
    size_t block_bytes = gguf_type_layout_of(type)->block_bytes;
    size_t block_elems = gguf_type_layout_of(type)->block_elems;
    size_t n_blocks = 3 * 512 / block_elems;
    for (size_t b = 0; b < n_blocks; b += 1 + n_blocks / 7) {
        memset(out, 0, sizeof out);
        memcpy(out + b * block_bytes + offset, infinite, n_bytes);
        ck_assert_uint_eq(quant_find_nonfinite(type, out, 3, 512), b * block_elems);
    }
}

/* The head of a row counts for the row. */
static void spoil_heads(uint32_t type) {
    static const float infinite = INFINITY;
    static const uint16_t half = 0xFC00;
    uint32_t head_bytes = gguf_type_layout_of(type)->head_bytes;
    for (size_t row = 0; row < 3 && head_bytes; row++) {
        uint8_t *at = out + row * quant_row_bytes(type, 512);
        memset(out, 0, sizeof out);
        ck_assert_uint_eq(quant_find_nonfinite(type, out, 3, 512), 3 * 512);
        if (head_bytes == sizeof half)
            memcpy(at, &half, sizeof half);
        else
            memcpy(at, &infinite, sizeof infinite);
        ck_assert_uint_eq(quant_find_nonfinite(type, out, 3, 512), row * 512);
    }
}

START_TEST(scans_find_the_first_bad_number) {
    static const uint16_t f16 = 0x7C00, bf16 = 0xFF80;
    static const float f32 = -INFINITY;
    spoil_and_find(GGUF_TYPE_F32, 0, 4, &f32);
    spoil_and_find(GGUF_TYPE_F16, 0, 2, &f16);
    spoil_and_find(GGUF_TYPE_BF16, 0, 2, &bf16);
    static const uint16_t iq1_m[] = {0xC000, 0x7000};
    spoil_and_find(GGUF_TYPE_IQ1_M, offsetof(block_iq1_m, scales) + 4, sizeof iq1_m, iq1_m);
    for (size_t i = 0; i < n_read_types; i++) spoil_heads(all_types[i]);
    for (size_t i = 0; i < n_read_types; i++)
        for (unsigned k = 0; k < quant_traits_of(all_types[i])->n_f16; k++)
            spoil_and_find(all_types[i], quant_traits_of(all_types[i])->f16_off[k], 2, &f16);
}
END_TEST

/* Without a kernel of its own a type is decoded and multiplied with f32 activations. */
START_TEST(types_without_products_multiply) {
    enum { N_ROWS = 5, N_COLS = 1536, N_ACTS = 3 }; /* more columns than are decoded at once */
    static float w[N_ROWS * N_COLS], a[N_ACTS * N_COLS], y[N_ROWS * N_ACTS];
    rng r = {test_seed};
    for (size_t i = 0; i < n_read_types; i++) {
        uint32_t type = all_types[i];
        if (quant_act_of(type) != QUANT_ACT_NONE || gguf_type_layout_of(type)->block_elems == 1)
            continue;
        fill_blocks(&r, type, out, N_ROWS, N_COLS);
        if (quant_find_nonfinite(type, out, N_ROWS, N_COLS) < N_ROWS * N_COLS) continue;
        fill_pattern(&r, PATTERN_NORMAL, 0, a, N_ACTS * N_COLS);
        quant_decode(type, out, N_ROWS, N_COLS, w, NULL);
        quant_matmul(type, QUANT_ACT_NONE, out, N_ROWS, N_COLS, a, N_ACTS, y, N_ROWS,
                     matmul_scratch);
        for (size_t k = 0; k < N_ROWS * N_ACTS; k++) {
            double sum = 0, size = 0;
            for (size_t c = 0; c < N_COLS; c++) {
                double p = (double)w[k % N_ROWS * N_COLS + c] * (double)a[k / N_ROWS * N_COLS + c];
                sum += p;
                size += fabs(p);
            }
            ck_assert_double_le(fabs((double)y[k] - sum), 1e-6 * size);
        }
    }
}
END_TEST

/* Each set's scan on every position of odd sizes, up to the guard page. */
START_TEST(scans_agree_in_every_set) {
    quant_kernels k;
    FOR_EACH_ISA(isa, k) {
        for (size_t n = 1; n < 140; n += 3) {
            guarded g = guarded_new(n * sizeof(float), true);
            memset(g.data, 0, g.n_bytes);
            ck_assert_uint_eq(k.beyond(g.data, n, 1.0f), n);
            ck_assert_uint_eq(k.masked(g.data, 2 * n, 0x7C00), 2 * n);
            for (size_t i = 0; i < n; i++) {
                float nan = NAN, zero = 0;
                memcpy(g.data + 4 * i, &nan, 4);
                ck_assert_uint_eq(k.beyond(g.data, n, 1.0f), i);
                ck_assert_uint_eq(k.masked(g.data, 2 * n, 0x7C00), 2 * i + 1);
                memcpy(g.data + 4 * i, &zero, 4);
            }
            guarded_free(&g);
        }
    }
}
END_TEST

/* All f16 numbers survive f16 -> f32 -> f16; halves between them go to the even neighbour. */
START_TEST(f16_rounds_to_nearest_even) {
    unsigned n_wrong = 0;
    for (unsigned h = 0; h < 0x7BFF; h++) {
        float x = quant_f16_to_f32((uint16_t)h), next = quant_f16_to_f32((uint16_t)(h + 1));
        n_wrong += quant_f32_to_f16(x) != h;
        n_wrong += quant_f32_to_f16(-x) != (h | 0x8000);
        n_wrong += quant_f32_to_f16(0.5f * (x + next)) != ((h + 1) & ~1u);
    }
    ck_assert_uint_eq(n_wrong, 0);
    ck_assert_uint_eq(quant_f32_to_f16(65519.996f), 0x7BFF);
    ck_assert_uint_eq(quant_f32_to_f16(65520.0f), 0x7C00);
    ck_assert_uint_eq(quant_f32_to_bf16(quant_f32_of_bits(0x3F808000)), 0x3F80);
    ck_assert_uint_eq(quant_f32_to_bf16(quant_f32_of_bits(0x3F818000)), 0x3F82);
}
END_TEST

START_TEST(environment_chooses_the_set) {
    const char *before = getenv("GGUF_ISA");
    char *kept = before ? strdup(before) : NULL;
    quant_isa best = QUANT_ISA_SCALAR;
    for (unsigned i = 0; i < QUANT_N_ISAS; i++)
        if (quant_isa_supported((quant_isa)i)) best = (quant_isa)i;
    setenv("GGUF_ISA", "scalar", 1);
    ck_assert_int_eq(quant_isa_choose(), QUANT_ISA_SCALAR);
    ck_assert_int_eq(quant_isa_check(NULL), GGUF_OK);
    setenv("GGUF_ISA", "sse9", 1);
    ck_assert_int_eq(quant_isa_choose(), best);
    ck_assert_int_eq(quant_isa_check(NULL), GGUF_E_USAGE);
    setenv("GGUF_ISA", best == QUANT_ISA_NEON ? "avx2" : "neon", 1);
    ck_assert_int_eq(quant_isa_check(NULL), GGUF_E_UNSUPPORTED);
    unsetenv("GGUF_ISA");
    ck_assert_int_eq(quant_isa_choose(), best);
    ck_assert_int_eq(quant_isa_check(NULL), GGUF_OK);
    if (kept) setenv("GGUF_ISA", kept, 1);
    free(kept);
}
END_TEST

TCase *public_tests(void) {
    TCase *tests = tcase_create("public");
    tcase_set_timeout(tests, 0);
    tcase_add_test(tests, sizes_follow_the_layout);
    tcase_add_test(tests, shapes_and_types_are_checked);
    tcase_add_loop_test(tests, numbers_that_cannot_be_stored_are_named, 0,
                        (int)(sizeof refused_values / sizeof refused_values[0]));
    tcase_add_test(tests, greatest_numbers_are_stored);
    tcase_add_test(tests, importances_are_checked);
    tcase_add_test(tests, importances_of_zero_count_as_none);
    tcase_add_test(tests, scans_find_the_first_bad_number);
    tcase_add_test(tests, types_without_products_multiply);
    tcase_add_test(tests, scans_agree_in_every_set);
    tcase_add_test(tests, f16_rounds_to_nearest_even);
    tcase_add_test(tests, environment_chooses_the_set);
    return tests;
}
