/* Values of the types without a fixture: the formula of each, written down plainly, element by
 * element, against the decoders. */
#include "quant/kernels/numeric.h"
#include "tests/kernels/kernel_data.h"

#include <math.h>
#include <stdlib.h>
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

/* ---- ik_llama.cpp: b[] are the bytes of a block, i the element in it ---------------------------
 */

static float f32_at(const uint8_t *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return x;
}

static unsigned u16_at(const uint8_t *p) {
    return p[0] | (unsigned)p[1] << 8;
}

static unsigned bit(unsigned x, size_t n) {
    return x >> n & 1;
}

/* Nibble n of packed ones, the low one of a byte first. */
static int nibble(const uint8_t *p, size_t n) {
    return p[n / 2] >> n % 2 * 4 & 15;
}

/* Code i of 256 in two bits: bytes of 32 elements, four times 32 to a run. */
static unsigned pair_of(const uint8_t *qs, size_t i) {
    return qs[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3u;
}

/* Differences between levels, from the lowest on; the other set of each is that much higher. */
static int level(unsigned n_bits, unsigned set, unsigned code) {
    static const uint8_t two[] = {18, 14, 16}, three[] = {23, 17, 13, 11, 12, 15, 19};
    static const uint8_t four[] = {23, 21, 18, 16, 14, 13, 12, 11, 12, 12, 13, 15, 16, 20, 24};
    static const uint8_t five[] = {12, 11, 11, 9, 9, 9, 8, 7, 7, 7, 6, 6,  6,  6,  6, 5,
                                   6,  6,  6,  6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 12, 12};
    static const uint8_t *const steps[] = {two, three, four, five};
    static const int lowest[] = {-31, -63, -127, -126}, higher[] = {5, 4, 4, 2};
    int x = lowest[n_bits - 2] + (set ? higher[n_bits - 2] : 0);
    for (unsigned k = 0; k < code; k++) x += steps[n_bits - 2][k];
    return x;
}

static double q6_0(const uint8_t *row, size_t i) {
    const uint8_t *b = row + i / 32 * 26;
    unsigned low = b[10 + i % 16] >> i % 32 / 16 * 4 & 15u,
             place = i % 16 / 8 * 4 + i % 32 / 16 * 2;
    return f16_at(b) * ((int)(low | (b[2 + i % 8] >> place & 3u) << 4) - 32);
}

static double iq2_k(const uint8_t *row, size_t i) {
    const uint8_t *b = row + i / 256 * 76;
    size_t e = i % 256, j = e / 16;
    int s = nibble(b + 4, j) - 8;
    return f16_at(b) * s * level(2, bit(u16_at(b + 2), j), pair_of(b + 12, e));
}

static double iq3_k(const uint8_t *row, size_t i) {
    const uint8_t *b = row + i / 256 * 110;
    size_t e = i % 256, j = e / 16;
    int s = 2 * nibble(b + 6, j) + 1;
    unsigned code = pair_of(b + 14, e) | bit(b[78 + e % 32], e / 32) << 2;
    return f16_at(b) * (bit(u16_at(b + 4), j) ? -s : s) * level(3, bit(u16_at(b + 2), j), code);
}

static int six_bits(const uint8_t *low, const uint8_t *high, size_t j) {
    return (nibble(low, j) | (high[j / 4] >> j % 4 * 2 & 3) << 4) - 32;
}

static double iq4_k(const uint8_t *row, size_t i) {
    const uint8_t *b = row + i / 256 * 144;
    size_t e = i % 256, j = e / 16;
    unsigned code = b[16 + e / 32 * 16 + e % 16] >> e % 32 / 16 * 4 & 15u;
    return f16_at(b) * six_bits(b + 8, b + 4, j) * level(4, bit(u16_at(b + 2), j), code);
}

static double iq5_k(const uint8_t *row, size_t i) {
    const uint8_t *b = row + i / 256 * 176;
    size_t e = i % 256, j = e / 16;
    unsigned code = b[16 + e / 64 * 32 + e % 32] >> e % 64 / 32 * 4 & 15u;
    code |= bit(b[144 + e % 32], e / 32) << 4;
    return f16_at(b) * six_bits(b + 8, b + 4, j) * level(5, bit(u16_at(b + 2), j), code);
}

/* A cubic in f32; the processor must not fuse its steps. */
static double iq6_k(const uint8_t *row, size_t i) {
    const uint8_t *b = row + i / 256 * 212;
    size_t e = i % 256, j = e / 16;
    unsigned code = b[20 + e / 64 * 32 + e % 32] >> e % 64 / 32 * 4 & 15u;
    code |= (b[148 + e / 128 * 32 + e % 32] >> e % 128 / 32 * 2 & 3u) << 4;
    volatile float x = (float)code * 0.0011972f;
    x = x - 0.11218f;
    x = x * (float)code;
    x = x + 6.2568f;
    x = x * (float)code;
    x = x - 127.0f;
    x = x + (float)bit(u16_at(b + 2), j);
    volatile float step = (float)f16_at(b) * (float)(int8_t)b[4 + j];
    x = x * step;
    return (double)x;
}

/* d, a scale and a level, rounded after each product. */
static double twice_rounded(float d, int scale, int number) {
    volatile float step = d * (float)scale;
    volatile float y = step * (float)number;
    return (double)y;
}

static double iq2_ks(const uint8_t *row, size_t i) {
    const uint8_t *b = row + 2 + i / 256 * 70;
    size_t e = i % 256, j = e / 32;
    int s = (nibble(b + 2, j) | (int)bit(u16_at(b), 8 + j) << 4) - 16;
    return f16_at(row) * s * level(2, bit(u16_at(b), j), pair_of(b + 6, e));
}

static double iq3_ks(const uint8_t *row, size_t i) {
    const uint8_t *b = row + 2 + i / 256 * 102;
    size_t e = i % 256, j = e / 32;
    int s = ((b[2 + j % 4] >> j / 4 * 4 & 15) | (int)bit(u16_at(b), j) << 4) - 16;
    unsigned code = pair_of(b + 6, e) | bit(b[70 + e % 32], j) << 2;
    return f16_at(row) * s * level(3, bit(u16_at(b), 8 + j), code);
}

static double iq4_ks(const uint8_t *row, size_t i) {
    const uint8_t *b = row + 4 + i / 256 * 136;
    size_t e = i % 256, j = e / 32;
    unsigned code = b[8 + j * 16 + e % 16] >> e % 32 / 16 * 4 & 15u;
    return twice_rounded(f32_at(row), b[j] / 2 * 2 - 127, level(4, b[j] % 2, code));
}

static double iq5_ks(const uint8_t *row, size_t i) {
    const uint8_t *b = row + 4 + i / 256 * 168;
    size_t e = i % 256, j = e / 32;
    unsigned code = b[8 + e / 64 * 32 + e % 32] >> e % 64 / 32 * 4 & 15u;
    code |= bit(b[136 + e % 32], j) << 4;
    return twice_rounded(f32_at(row), b[j] / 2 * 2 - 127, level(5, b[j] % 2, code));
}

/* The Gray code of each 15 bits is undone by what writes them: x and its half differ. */
static double iq4_kss(const uint8_t *row, size_t i) {
    const uint8_t *b = row + 4 + i / 256 * 128 + i % 256 / 32 * 16;
    size_t byte = i % 16;
    int s = 0;
    for (size_t k = 0; k < 8; k++) s |= (b[2 * k] & 1) << k;
    unsigned word = u16_at(b + byte / 2 * 2) / 2 * 2, plain = word ^ word / 2;
    unsigned code = plain >> byte % 2 * 8 >> i % 32 / 16 * 4 & 15;
    return twice_rounded(f32_at(row), s / 2 * 2 - 127, level(4, (unsigned)s % 2, code));
}

static double iq2_kl(const uint8_t *row, size_t i) {
    static const int8_t pairs[] = {-63, -23, -63, 13,  -40, -63, -40, -10, -40, 13,  -40, 47,  -23,
                                   -40, -23, -23, -23, 1,   -23, 13,  -23, 28,  -10, -63, -10, 1,
                                   -10, 13,  -10, 47,  1,   -23, 1,   -10, 1,   1,   1,   13,  1,
                                   28,  13,  -40, 13,  -23, 13,  -10, 13,  1,   13,  13,  28,  -63,
                                   28,  -23, 28,  1,   28,  28,  28,  47,  47,  -23, 47,  13};
    const uint8_t *b = row + 2 + i / 256 * 86;
    size_t e = i % 256, j = e / 32, k = e % 32 / 2;
    int s = ((b[2 + j % 4] >> j / 4 * 4 & 15) | (int)(u16_at(b) >> 2 * j & 3) << 4) - 32;
    unsigned code = (b[6 + j / 2 * 16 + k] >> j % 2 * 4 & 15u) | bit(b[70 + k], j) << 4;
    return f16_at(row) * s * pairs[2 * code + e % 2];
}

/* Number n from a seed: the state n + 1 steps on, its 24 lower bits of bytes added up. */
static int walked(uint32_t seed, size_t n) {
    uint32_t state = seed;
    int sum = -126;
    for (size_t k = 0; k <= n; k++) state = (uint32_t)(state * UINT64_C(3417055213) & 0xFFFFFFFF);
    for (int k = 0; k < 4; k++) sum += state >> 8 * k & 63;
    return sum;
}

static double iq1_kt(const uint8_t *row, size_t i) {
    const uint8_t *b = row + 4 + i / 256 * 56;
    size_t g = i % 256 / 8, j = g / 4;
    uint32_t seed =
        b[8 + g] + 256u * (b[40 + g % 16] >> g / 16 * 4 & 15) + 4096u * bit(b[j], 4 + g % 4);
    return twice_rounded(f32_at(row), level(4, 0, b[j] & 15), walked(4096 + seed, i % 8));
}

static double iq2_kt(const uint8_t *row, size_t i) {
    const uint8_t *b = row + 4 + i / 256 * 68;
    size_t g = i % 256 / 8, j = g / 4;
    unsigned s = b[j % 4] >> j / 4 * 4 & 15;
    return twice_rounded(f32_at(row), level(4, 0, s), walked(4096 + u16_at(b + 4 + 2 * g), i % 8));
}

static double iq3_kt(const uint8_t *row, size_t i) {
    const uint8_t *b = row + 4 + i / 256 * 100;
    size_t e = i % 256, g = e / 8, j = e / 32;
    int s = b[j % 4] >> j / 4 * 4 & 15, x = abs(walked(4096 + u16_at(b + 4 + 2 * g), i % 8));
    return twice_rounded(f32_at(row), s, bit(b[68 + e % 32], j) ? -x : x);
}

static double iq4_kt(const uint8_t *row, size_t i) {
    const uint8_t *b = row + 4 + i / 256 * 128;
    size_t g = i % 256 / 4, j = g / 8;
    uint32_t head = u16_at(b + 4 * j) | (uint32_t)u16_at(b + 4 * j + 2) << 16;
    uint32_t seed = b[32 + g] + 256u * (b[96 + g % 32] >> g / 32 * 4 & 15);
    seed += 4096u * (head >> 8 >> 3 * (g % 8) & 7) + (head & 1 ? 32768 + 4096 : 4096);
    return twice_rounded(f32_at(row), (int)(head & 255) / 2 - 64, walked(seed, i % 4));
}

/* The ternary digits of byte / 256; of the whole part of the product with a power of three the
 * last one. */
static double iq1_bn(const uint8_t *row, size_t i) {
    static const unsigned powers[] = {243, 81, 27, 9, 3};
    const uint8_t *b = row + 2 + i / 64 * 13;
    size_t e = i % 64, k = e % 16 == 15 ? e / 16 : e % 16 % 5;
    unsigned byte = e % 16 == 15 ? b[12] : b[e / 16 * 3 + e % 16 / 5];
    return f16_at(row) * ((int)(byte * powers[k] / 256 % 3) - 1);
}

static double iq2_bn(const uint8_t *row, size_t i) {
    const uint8_t *b = row + 4 + i / 64 * 16;
    return twice_rounded(f32_at(row), 1, (b[i % 16] >> i % 64 / 16 * 2 & 3) - 1);
}

static double q8_kv(const uint8_t *row, size_t i) {
    return twice_rounded(f32_at(row), 1, (int8_t)row[8 + i]);
}

static const struct {
    uint32_t type;
    formula *value;
} formulas[] = {
    {GGUF_TYPE_NVFP4, nvfp4},   {GGUF_TYPE_Q1_0, q1_0},       {GGUF_TYPE_Q2_0, q2_0},
    {GGUF_TYPE_Q6_0, q6_0},     {GGUF_TYPE_IQ2_K, iq2_k},     {GGUF_TYPE_IQ3_K, iq3_k},
    {GGUF_TYPE_IQ4_K, iq4_k},   {GGUF_TYPE_IQ5_K, iq5_k},     {GGUF_TYPE_IQ6_K, iq6_k},
    {GGUF_TYPE_IQ2_KS, iq2_ks}, {GGUF_TYPE_IQ3_KS, iq3_ks},   {GGUF_TYPE_IQ4_KS, iq4_ks},
    {GGUF_TYPE_IQ5_KS, iq5_ks}, {GGUF_TYPE_IQ4_KSS, iq4_kss}, {GGUF_TYPE_IQ2_KL, iq2_kl},
    {GGUF_TYPE_IQ1_KT, iq1_kt}, {GGUF_TYPE_IQ2_KT, iq2_kt},   {GGUF_TYPE_IQ3_KT, iq3_kt},
    {GGUF_TYPE_IQ4_KT, iq4_kt}, {GGUF_TYPE_IQ1_BN, iq1_bn},   {GGUF_TYPE_IQ2_BN, iq2_bn},
    {GGUF_TYPE_Q8_KV, q8_kv},
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
        fill_blocks(&r, type, row, 1, N_COLS);
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

/* Bytes of a row of 1024 columns, from the formats' bits per weight. */
START_TEST(rows_have_their_sizes) {
    static const struct {
        uint32_t type;
        double bpw;
        size_t head_bytes;
    } sizes[] = {
        {GGUF_TYPE_NVFP4, 4.5, 0},     {GGUF_TYPE_Q1_0, 1.125, 0},    {GGUF_TYPE_Q2_0, 2.25, 0},
        {GGUF_TYPE_Q6_0, 6.5, 0},      {GGUF_TYPE_IQ2_K, 2.375, 0},   {GGUF_TYPE_IQ3_K, 3.4375, 0},
        {GGUF_TYPE_IQ4_K, 4.5, 0},     {GGUF_TYPE_IQ5_K, 5.5, 0},     {GGUF_TYPE_IQ6_K, 6.625, 0},
        {GGUF_TYPE_IQ2_KS, 2.1875, 2}, {GGUF_TYPE_IQ3_KS, 3.1875, 2}, {GGUF_TYPE_IQ4_KS, 4.25, 4},
        {GGUF_TYPE_IQ5_KS, 5.25, 4},   {GGUF_TYPE_IQ4_KSS, 4, 4},     {GGUF_TYPE_IQ2_KL, 2.6875, 2},
        {GGUF_TYPE_IQ1_KT, 1.75, 4},   {GGUF_TYPE_IQ2_KT, 2.125, 4},  {GGUF_TYPE_IQ3_KT, 3.125, 4},
        {GGUF_TYPE_IQ4_KT, 4, 4},      {GGUF_TYPE_IQ1_BN, 1.625, 2},  {GGUF_TYPE_IQ2_BN, 2, 4},
        {GGUF_TYPE_Q8_KV, 8, 8}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        ck_assert_msg((double)quant_row_bytes(sizes[i].type, 1024) ==
                          sizes[i].bpw * 128 + (double)sizes[i].head_bytes,
                      "%s", gguf_type_name(sizes[i].type));
}
END_TEST

TCase *formula_tests(void) {
    TCase *tests = tcase_create("formulas");
    tcase_set_timeout(tests, 0);
    tcase_add_loop_test(tests, values_are_those_of_the_formula, 0, (int)N_FORMULAS);
    tcase_add_test(tests, scales_of_nvfp4_are_found_again);
    tcase_add_test(tests, rows_have_their_sizes);
    return tests;
}
