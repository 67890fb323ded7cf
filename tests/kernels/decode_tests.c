/* Decoders: the values of another implementation (fixtures), the same bits in every set. */
#include "tests/kernels/kernel_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Equal bits, or both NaN. */
static void compare_floats(const float *expected, const float *got, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&expected[i], &got[i], sizeof(float)) == 0) continue;
        ck_assert_msg(isnan(expected[i]) && isnan(got[i]), "%s, element %zu: %a, expected %a", what,
                      i, (double)got[i], (double)expected[i]);
    }
}

static void decode_guarded(const quant_kernels *k, uint32_t type, const uint8_t *row, size_t n_cols,
                           float *out) {
    for (int at_end = 0; at_end < 2; at_end++) {
        guarded src = guarded_new(quant_row_bytes(type, n_cols), at_end);
        guarded dst = guarded_new(n_cols * sizeof(float), at_end);
        memcpy(src.data, row, src.n_bytes);
        k->decode[type](src.data, n_cols, (float *)(void *)dst.data);
        guarded_check(&dst);
        memcpy(out, dst.data, dst.n_bytes);
        guarded_free(&src);
        guarded_free(&dst);
    }
}

START_TEST(every_set_gives_the_same_bits) {
    uint32_t type = all_types[_i];
    static uint8_t row[16384];
    static float expected[4096], got[4096];
    quant_kernels k;
    rng r = {test_seed + (uint64_t)_i};
    for (int round = 0; round < 20; round++) {
        size_t n_cols = gguf_type_layout_of(type)->block_elems * (1 + rng_next(&r) % 9);
        size_t n_bytes = quant_row_bytes(type, n_cols);
        if (round % 2 == 0)
            fill_blocks(&r, type, row, 1, n_cols);
        else
            for (size_t i = 0; i < n_bytes; i++) row[i] = (uint8_t)rng_next(&r);
        FOR_EACH_ISA(isa, k) {
            decode_guarded(&k, type, row, n_cols, isa == QUANT_ISA_SCALAR ? expected : got);
            if (isa != QUANT_ISA_SCALAR) compare_floats(expected, got, n_cols, quant_isa_text(isa));
        }
    }
}
END_TEST

/* The whole file; the test fails if it cannot be read. */
static uint8_t *read_golden(uint32_t type, const char *suffix, size_t *n_bytes) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.%s", TEST_GOLDEN, gguf_type_name(type), suffix);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s cannot be opened", path);
    uint8_t *bytes = malloc(65536);
    ck_assert_ptr_nonnull(bytes);
    *n_bytes = fread(bytes, 1, 65536, f);
    fclose(f);
    return bytes;
}

START_TEST(values_are_those_of_the_fixture) {
    uint32_t type = all_types[_i];
    size_t n_bytes, n_value_bytes;
    if (has_formula(type)) return;
    uint8_t *blocks = read_golden(type, "blocks", &n_bytes);
    uint8_t *values = read_golden(type, "f32", &n_value_bytes);
    size_t n = n_value_bytes / sizeof(float);
    ck_assert_uint_eq(quant_row_bytes(type, n), n_bytes);
    float *got = malloc(n_value_bytes);
    ck_assert_ptr_nonnull(got);
    quant_kernels k;
    FOR_EACH_ISA(isa, k) {
        k.decode[type](blocks, n, got);
        compare_floats((const float *)(const void *)values, got, n, gguf_type_name(type));
    }
    free(got);
    free(values);
    free(blocks);
}
END_TEST

TCase *decode_tests(void) {
    TCase *tests = tcase_create("decode");
    tcase_set_timeout(tests, 0);
    tcase_add_loop_test(tests, every_set_gives_the_same_bits, 0, (int)n_read_types);
    tcase_add_loop_test(tests, values_are_those_of_the_fixture, 0, (int)n_read_types);
    return tests;
}
