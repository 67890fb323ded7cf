/* Values of the types without a fixture: the formula of each, written down plainly, element by
 * element, against the decoders. */
#include "quant/kernels/numeric.h"
#include "tests/kernels/kernel_data.h"

#include <math.h>
#include <string.h>

/* Element i of a row. */
typedef double formula(const uint8_t *row, size_t i);

static double f16_at(const uint8_t *p) {
    unsigned h = p[0] | (unsigned)p[1] << 8, exponent = h >> 10 & 31, fraction = h & 1023;
    double size = exponent ? ldexp(1024 + fraction, (int)exponent - 25) : ldexp(fraction, -24);
    return h >> 15 ? -size : size;
}

/* E2M1: a sign, two bits of exponent, one of fraction. */
static double e2m1(unsigned code) {
    static const double sizes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    return code & 8 ? -sizes[code & 7] : sizes[code & 7];
}

/* E4M3 without its sign. */
static double e4m3(unsigned code) {
    unsigned exponent = code >> 3 & 15, fraction = code & 7;
    if ((code & 127) == 127 && !(code >> 7)) return 0;
    return exponent ? ldexp(8 + fraction, (int)exponent - 10) : ldexp(fraction, -9);
}

static double nvfp4(const uint8_t *row, size_t i) {
    const uint8_t *block = row + i / 64 * 36;
    size_t s = i % 64 / 16, k = i % 16;
    return e4m3(block[s]) * e2m1(block[4 + 8 * s + k % 8] >> 4 * (k / 8) & 15);
}

static double q1_0(const uint8_t *row, size_t i) {
    const uint8_t *block = row + i / 128 * 18;
    return block[2 + i % 128 / 8] >> i % 8 & 1 ? f16_at(block) : -f16_at(block);
}

static double q2_0(const uint8_t *row, size_t i) {
    const uint8_t *block = row + i / 64 * 18;
    return f16_at(block) * ((block[2 + i % 64 / 4] >> i % 4 * 2 & 3) - 1);
}

static const struct {
    uint32_t type;
    formula *value;
} formulas[] = {
    {GGUF_TYPE_NVFP4, nvfp4},
    {GGUF_TYPE_Q1_0, q1_0},
    {GGUF_TYPE_Q2_0, q2_0},
};
#define N_FORMULAS (sizeof formulas / sizeof formulas[0])

bool has_formula(uint32_t type) {
    for (size_t i = 0; i < N_FORMULAS; i++)
        if (formulas[i].type == type) return true;
    return false;
}

START_TEST(values_are_those_of_the_formula) {
    enum { N_COLS = 1024 };
    static uint8_t row[8 * N_COLS];
    static float got[N_COLS];
    uint32_t type = formulas[_i].type;
    quant_kernels k;
    rng r = {test_seed + (uint64_t)_i};
    for (int round = 0; round < 20; round++) {
        fill_blocks(&r, type, row, quant_row_bytes(type, N_COLS));
        FOR_EACH_ISA(isa, k) {
            k.decode[type](row, N_COLS, got);
            for (size_t i = 0; i < N_COLS; i++)
                ck_assert_msg((double)got[i] == formulas[_i].value(row, i),
                              "%s, %s, element %zu: %a, expected %a", gguf_type_name(type),
                              quant_isa_text(isa), i, (double)got[i], formulas[_i].value(row, i));
        }
    }
}
END_TEST

/* A code, its bits, what it stands for; halves between two numbers go to the even code. */
START_TEST(scales_of_nvfp4_are_found_again) {
    for (unsigned code = 0; code < 127; code++) {
        float x = quant_ue4m3_to_f32((uint8_t)code);
        ck_assert((double)x == e4m3(code) / 2);
        ck_assert_uint_eq(quant_ue4m3_code(x), code);
        ck_assert(quant_ue4m3_nearest(x) == x);
        if (code == 126) continue;
        float next = quant_ue4m3_to_f32((uint8_t)(code + 1)), middle = 0.5f * (x + next);
        ck_assert(quant_ue4m3_nearest(middle) == (code % 2 ? next : x));
        ck_assert(quant_ue4m3_nearest(nextafterf(middle, 0)) == x);
        ck_assert(quant_ue4m3_nearest(nextafterf(middle, 999)) == next);
    }
    ck_assert(quant_ue4m3_nearest(1e30f) == 224 && quant_ue4m3_nearest(-1) == 0);
}
END_TEST

TCase *formula_tests(void) {
    TCase *tests = tcase_create("formulas");
    tcase_set_timeout(tests, 0);
    tcase_add_loop_test(tests, values_are_those_of_the_formula, 0, (int)N_FORMULAS);
    tcase_add_test(tests, scales_of_nvfp4_are_found_again);
    return tests;
}
