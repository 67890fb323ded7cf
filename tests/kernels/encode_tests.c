/* Encoders: the same bytes in every instruction set, finite results, no access outside the rows. */
#include "quant/kernels/blocks.h"
#include "tests/kernels/kernel_data.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const size_t column_counts[] = {256, 512, 768, 1280, 2304};
#define N_COLUMN_COUNTS (sizeof column_counts / sizeof column_counts[0])

/* n_cols for a type: whole blocks; plain blocks also get counts that leave lanes unused. */
static size_t columns_for(uint32_t type, size_t index) {
    size_t block = gguf_type_layout_of(type)->block_elems;
    size_t n = column_counts[index];
    return block == 256 ? n : n / 8 / block * block + block * (index + 1);
}

static void encode_guarded(const quant_kernels *k, uint32_t type, const float *x, size_t n_cols,
                           const float *imp, quant_effort effort, uint8_t *out) {
    size_t n_bytes = quant_row_bytes(type, n_cols);
    for (int at_end = 0; at_end < 2; at_end++) {
        guarded src = guarded_new(n_cols * sizeof(float), at_end);
        guarded weights = guarded_new(n_cols * sizeof(float), at_end);
        guarded dst = guarded_new(n_bytes, at_end);
        memcpy(src.data, x, src.n_bytes);
        if (imp) memcpy(weights.data, imp, weights.n_bytes);
        k->encode[type]((float *)(void *)src.data, n_cols,
                        imp ? (float *)(void *)weights.data : NULL, effort, dst.data);
        guarded_check(&dst);
        if (at_end) ck_assert_mem_eq(out, dst.data, n_bytes);
        memcpy(out, dst.data, n_bytes);
        guarded_free(&src);
        guarded_free(&weights);
        guarded_free(&dst);
    }
}

static void compare_row(uint32_t type, const float *x, size_t n_cols, const float *imp,
                        quant_effort effort, const char *what) {
    static uint8_t expected[16384], got[16384];
    quant_kernels k, before = {0};
    FOR_EACH_ISA(isa, k) {
        uint8_t *out = isa == QUANT_ISA_SCALAR ? expected : got;
        if (k.encode[type] == before.encode[type]) continue; /* the smaller set's */
        before = k;
        encode_guarded(&k, type, x, n_cols, imp, effort, out);
        if (out == got)
            ck_assert_msg(memcmp(expected, got, quant_row_bytes(type, n_cols)) == 0,
                          "%s %s, %zu columns, %s: other bytes than scalar", gguf_type_name(type),
                          quant_isa_text(isa), n_cols, what);
    }
    ck_assert_msg(quant_find_nonfinite(type, expected, 1, n_cols) == n_cols, "%s %s: not finite",
                  gguf_type_name(type), what);
}

START_TEST(every_set_gives_the_same_bytes) {
    uint32_t type = all_types[_i];
    static float x[4096], imp[4096];
    size_t n_bytes;
    rng r = {test_seed + (uint64_t)_i};
    bool slow = quant_codebook(type, &n_bytes) != NULL; /* one lane tries thousands of words */
    for (size_t i = 0; i < (slow ? 2 : N_COLUMN_COUNTS); i += slow ? 2 : 1)
        for (int p = 0; p < N_PATTERNS; p++)
            for (int kind = slow ? p % N_IMPORTANCES : 0; kind < N_IMPORTANCES;
                 kind += slow ? N_IMPORTANCES : 1) {
                char what[64];
                size_t n_cols = columns_for(type, i);
                fill_pattern(&r, (pattern)p, quant_traits_of(type)->max_abs, x, n_cols);
                const float *w = fill_importance(&r, kind, imp, n_cols);
                snprintf(what, sizeof what, "pattern %d, importance %d", p, kind);
                int last = slow && p > 0 ? QUANT_EFFORT_NORMAL : QUANT_EFFORT_BEST;
                for (int effort = 0; effort <= last; effort++)
                    compare_row(type, x, n_cols, w, (quant_effort)effort, what);
            }
}
END_TEST

/* Weighted squared error of a row, relative to that of all zeros. */
static double relative_error(uint32_t type, quant_effort effort, const float *x, size_t n,
                             const float *imp) {
    static uint8_t row[16384];
    static float y[4096];
    double error = 0, whole = 0;
    ck_assert_int_eq(quant_encode_effort(type, effort, x, 1, n, imp, row, NULL), GGUF_OK);
    ck_assert_int_eq(quant_decode(type, row, 1, n, y, NULL), GGUF_OK);
    for (size_t i = 0; i < n; i++) {
        double w = imp ? (double)imp[i] : 1.0, e = (double)x[i] - (double)y[i];
        error += w * e * e;
        whole += w * (double)x[i] * (double)x[i];
    }
    return error / whole;
}

/* Relative errors on normal numbers must stay below these; a search gone astray shows here. */
static const struct {
    uint32_t type;
    double plain, weighted;
} error_limits[] = {
    {GGUF_TYPE_F32, 0, 0},
    {GGUF_TYPE_F16, 4.7e-08, 4.8e-08},
    {GGUF_TYPE_BF16, 3.1e-06, 3.1e-06},
    {GGUF_TYPE_Q8_0, 2.8e-05, 2.9e-05},
    {GGUF_TYPE_Q4_0, 0.0063, 0.0056},
    {GGUF_TYPE_Q4_1, 0.0048, 0.004},
    {GGUF_TYPE_Q5_0, 0.0016, 0.0014},
    {GGUF_TYPE_Q5_1, 0.0011, 0.00095},
    {GGUF_TYPE_Q4_K, 0.0049, 0.004},
    {GGUF_TYPE_Q5_K, 0.0012, 0.0011},
    {GGUF_TYPE_Q6_K, 0.00027, 0.00023},
    {GGUF_TYPE_Q2_K, 0.07, 0.053},
    {GGUF_TYPE_Q3_K, 0.021, 0.018},
    {GGUF_TYPE_IQ4_NL, 0.0053, 0.0045},
    {GGUF_TYPE_IQ4_XS, 0.0054, 0.0046},
    {GGUF_TYPE_MXFP4, 0.013, 0.013},
    {GGUF_TYPE_NVFP4, 0.0095, 0.009},
    {GGUF_TYPE_Q1_0, 0.37, 0.37},
    {GGUF_TYPE_Q2_0, 0.15, 0.15},
    {GGUF_TYPE_IQ1_S, 0.21, 0.17},
    {GGUF_TYPE_IQ1_M, 0.178, 0.137},
    {GGUF_TYPE_IQ2_XXS, 0.116, 0.082},
    {GGUF_TYPE_IQ2_XS, 0.087, 0.06},
    {GGUF_TYPE_IQ2_S, 0.06, 0.047},
    {GGUF_TYPE_IQ3_XXS, 0.0325, 0.0217},
    {GGUF_TYPE_IQ3_S, 0.0168, 0.0122},
    {GGUF_TYPE_TQ1_0, 0.181, 0.173},
    {GGUF_TYPE_TQ2_0, 0.181, 0.173},
};

START_TEST(errors_stay_small) {
    static float x[4096], imp[4096];
    rng r = {1}; /* the limits are for this seed */
    fill_pattern(&r, PATTERN_NORMAL, 0, x, 4096);
    fill_importance(&r, 1, imp, 4096);
    for (size_t i = 0; i < sizeof error_limits / sizeof error_limits[0]; i++) {
        uint32_t type = error_limits[i].type;
        double plain = relative_error(type, QUANT_EFFORT_NORMAL, x, 4096, NULL);
        double weighted = relative_error(type, QUANT_EFFORT_NORMAL, x, 4096, imp);
        ck_assert_msg(plain <= error_limits[i].plain && weighted <= error_limits[i].weighted,
                      "%s: relative errors %g, %g", gguf_type_name(type), plain, weighted);
    }
}
END_TEST

static const uint32_t searched_types[] = {
    GGUF_TYPE_Q4_0,   GGUF_TYPE_Q4_1,   GGUF_TYPE_Q5_0,    GGUF_TYPE_Q5_1,
    GGUF_TYPE_Q2_K,   GGUF_TYPE_Q3_K,   GGUF_TYPE_Q4_K,    GGUF_TYPE_Q5_K,
    GGUF_TYPE_Q6_K,   GGUF_TYPE_IQ4_NL, GGUF_TYPE_IQ4_XS,  GGUF_TYPE_IQ2_XXS,
    GGUF_TYPE_IQ2_XS, GGUF_TYPE_IQ2_S,  GGUF_TYPE_IQ3_XXS, GGUF_TYPE_IQ3_S};

START_TEST(more_effort_leaves_less_error) {
    static float x[4096], imp[4096];
    uint32_t type = searched_types[_i];
    rng r = {1};
    fill_pattern(&r, PATTERN_NORMAL, 0, x, 4096);
    fill_importance(&r, 1, imp, 4096);
    double fast = relative_error(type, QUANT_EFFORT_FAST, x, 4096, imp);
    double normal = relative_error(type, QUANT_EFFORT_NORMAL, x, 4096, imp);
    double best = relative_error(type, QUANT_EFFORT_BEST, x, 4096, imp);
    ck_assert_msg(best < normal && normal < fast, "%s: errors %g, %g, %g", gguf_type_name(type),
                  fast, normal, best);
}
END_TEST

/* Large numbers count more; every set gives the same weights, finite ones. */
START_TEST(weights_are_the_same_in_every_set) {
    static float x[256], imp[256], expected[256], got[256];
    quant_kernels k;
    rng r = {test_seed};
    for (int p = 0; p < N_PATTERNS; p++) {
        fill_pattern(&r, (pattern)p, quant_traits_of(GGUF_TYPE_Q3_K)->max_abs, x, 256);
        for (size_t i = 0; i < 256; i++) imp[i] = p % 2 ? 3e38f : rng_uniform(&r);
        FOR_EACH_ISA(isa, k) {
            k.weigh(x, imp, 2.0f, isa == QUANT_ISA_SCALAR ? expected : got);
            if (isa != QUANT_ISA_SCALAR) ck_assert_mem_eq(expected, got, sizeof got);
        }
        for (size_t i = 0; i < 256; i++) ck_assert(expected[i] >= 0 && expected[i] < INFINITY);
    }
    for (size_t i = 0; i < 256; i++) x[i] = i % 2 ? 3.0f : 1.0f; /* mean square 5 */
    k = *quant_kernels_active();
    k.weigh(x, NULL, 2.0f, got);
    ck_assert(fabsf(got[0] - 3.3166248f) < 1e-6f);
    ck_assert(fabsf(got[1] - 4.3588989f) < 1e-6f);
}
END_TEST

/* FNV-1a of the encoded rows below: every compiler and processor must give these bytes. A change of
 * a search changes them; the message has the new ones. */
static const struct {
    uint32_t type;
    uint64_t hash;
} recorded[] = {
    {GGUF_TYPE_F32, 0x6CE278CBD0C2D631},     {GGUF_TYPE_F16, 0x6BF7822D55A1BF75},
    {GGUF_TYPE_BF16, 0x70D7CBA591AA7E05},    {GGUF_TYPE_Q8_0, 0xF7CB55AFA76A4265},
    {GGUF_TYPE_Q4_0, 0xBF4E7E242D3B9EE9},    {GGUF_TYPE_Q4_1, 0xAE6F14D255AAE3A8},
    {GGUF_TYPE_Q5_0, 0x62C7D84DAAADE937},    {GGUF_TYPE_Q5_1, 0x3DC4B2949A82DA53},
    {GGUF_TYPE_Q4_K, 0xDD4320E2E89E4A2D},    {GGUF_TYPE_Q5_K, 0xD387C20E6556C808},
    {GGUF_TYPE_Q6_K, 0x47C60A0AE7A64B06},    {GGUF_TYPE_Q2_K, 0xEC9F34FA0E7F6413},
    {GGUF_TYPE_Q3_K, 0xE021990872C1F885},    {GGUF_TYPE_IQ4_NL, 0xA506EC2E1EED57B5},
    {GGUF_TYPE_IQ4_XS, 0x464070AD2FE2BDCB},  {GGUF_TYPE_MXFP4, 0xACC0ECFD83CF94E5},
    {GGUF_TYPE_NVFP4, 0x10AE67C31BD205BF},   {GGUF_TYPE_Q1_0, 0xDEB51410A8990DD0},
    {GGUF_TYPE_Q2_0, 0x507E2A21F1A818D7},    {GGUF_TYPE_IQ1_S, 0x02BE8E7558B87E56},
    {GGUF_TYPE_IQ1_M, 0xE07E7061FE7A4A28},   {GGUF_TYPE_IQ2_XXS, 0x35244767D31744DF},
    {GGUF_TYPE_IQ2_XS, 0x274D9851373BD99A},  {GGUF_TYPE_IQ2_S, 0x4FBA09ACE3362BCA},
    {GGUF_TYPE_IQ3_XXS, 0x1BEDC958A68BB612}, {GGUF_TYPE_IQ3_S, 0xE12C8EF21C3ED9B6},
    {GGUF_TYPE_TQ1_0, 0x0012A50E89DAFDD5},   {GGUF_TYPE_TQ2_0, 0x8F681AE54473F854},
};

static uint64_t hash_bytes(const uint8_t *bytes, size_t n, uint64_t hash) {
    for (size_t i = 0; i < n; i++) hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

START_TEST(bytes_are_those_recorded) {
    static float x[4096], imp[4096];
    static uint8_t row[16384];
    uint32_t type = recorded[_i].type;
    size_t n_bytes, n_cols = quant_codebook(type, &n_bytes) ? 512 : 4096;
    n_bytes = quant_row_bytes(type, n_cols);
    uint64_t hash = 0xCBF29CE484222325u;
    rng r = {1};
    for (int p = 0; p < N_PATTERNS; p++) {
        fill_pattern(&r, (pattern)p, quant_traits_of(type)->max_abs, x, n_cols);
        for (size_t i = 0; i < n_cols; i++) imp[i] = rng_uniform(&r);
        ck_assert_int_eq(quant_encode(type, x, 1, n_cols, NULL, row, NULL), GGUF_OK);
        hash = hash_bytes(row, n_bytes, hash);
        ck_assert_int_eq(quant_encode(type, x, 1, n_cols, imp, row, NULL), GGUF_OK);
        hash = hash_bytes(row, n_bytes, hash);
    }
    ck_assert_msg(hash == recorded[_i].hash, "%s: 0x%016llX", gguf_type_name(type),
                  (unsigned long long)hash);
}
END_TEST

/* What was trained to be ternary comes back as it was. */
START_TEST(ternary_numbers_are_kept) {
    static const uint32_t types[] = {GGUF_TYPE_TQ1_0, GGUF_TYPE_TQ2_0, GGUF_TYPE_Q2_0};
    static float x[1024], y[1024];
    static uint8_t row[1024];
    rng r = {test_seed};
    for (size_t i = 0; i < 1024; i++)
        x[i] = (float)((int)(rng_next(&r) % 3) - 1) * (i < 512 ? 0.375f : 0.01171875f);
    ck_assert_int_eq(quant_encode(types[_i], x, 1, 1024, NULL, row, NULL), GGUF_OK);
    ck_assert_int_eq(quant_decode(types[_i], row, 1, 1024, y, NULL), GGUF_OK);
    for (size_t i = 0; i < 1024; i++) ck_assert(x[i] == y[i]);
}
END_TEST

TCase *encode_tests(void) {
    TCase *tests = tcase_create("encode");
    tcase_set_timeout(tests, 0);
    tcase_add_loop_test(tests, every_set_gives_the_same_bytes, 0, (int)n_all_types);
    tcase_add_test(tests, errors_stay_small);
    tcase_add_loop_test(tests, ternary_numbers_are_kept, 0, 3);
    tcase_add_test(tests, weights_are_the_same_in_every_set);
    tcase_add_loop_test(tests, more_effort_leaves_less_error, 0,
                        (int)(sizeof searched_types / sizeof searched_types[0]));
    tcase_add_loop_test(tests, bytes_are_those_recorded, 0,
                        (int)(sizeof recorded / sizeof recorded[0]));
    return tests;
}
