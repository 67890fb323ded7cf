/* Single numbers: conversions to and from f16 and bf16, rounding, clamping. Defines the bytes. */
#ifndef QUANT_KERNELS_NUMERIC_H
#define QUANT_KERNELS_NUMERIC_H

#include <stdint.h>
#include <string.h>
#ifdef __F16C__
#include <immintrin.h>
#endif

#define QUANT_F16_MAX 65504.0f

static inline uint32_t quant_f32_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float quant_f32_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Exact; a signalling NaN becomes quiet. */
static inline float quant_f16_to_f32(uint16_t h) {
#ifdef __F16C__
    return _cvtsh_ss(h);
#elif defined(__aarch64__)
    __fp16 x;
    memcpy(&x, &h, sizeof x);
    return x;
#else
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7FFF;
    if (rest < 0x400) return quant_f32_of_bits(sign | quant_f32_bits((float)rest * 0x1p-24f));
    if (rest < 0x7C00) return quant_f32_of_bits(sign | ((rest << 13) + (112u << 23)));
    uint32_t quiet = rest > 0x7C00 ? 0x400000 : 0;
    return quant_f32_of_bits(sign | 0x7F800000 | quiet | (rest & 0x3FF) << 13);
#endif
}

/* Round to nearest even; 65520 and more become infinite. */
static inline uint16_t quant_f32_to_f16(float x) {
    uint32_t bits = quant_f32_bits(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7FFFFFFF;
    if (rest > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (rest >> 13 & 0x3FF));
    if (rest >= 0x477FF000) return (uint16_t)(sign | 0x7C00);
    if (rest < 0x38800000) { /* subnormal: a sum with 0.5 rounds at 2^-24 */
        float shifted = quant_f32_of_bits(rest) + 0.5f;
        return (uint16_t)(sign | (quant_f32_bits(shifted) - 0x3F000000));
    }
    rest += 0xFFF + (rest >> 13 & 1);
    return (uint16_t)(sign | ((rest - (112u << 23)) >> 13));
}

static inline float quant_bf16_to_f32(uint16_t h) {
    return quant_f32_of_bits((uint32_t)h << 16);
}

/* Round to nearest even; a NaN stays a quiet NaN. */
static inline uint16_t quant_f32_to_bf16(float x) {
    uint32_t bits = quant_f32_bits(x);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* 2^n for n in [-149, 127]. */
static inline float quant_power_of_two(int n) {
    return quant_f32_of_bits(n >= -126 ? (uint32_t)(n + 127) << 23 : 1u << (n + 149));
}

/* NVFP4's scales: half the number that E4M3 without a sign stands for. Bit 7 does not count, and
 * 0x7F, no number, is 0. */
static inline float quant_ue4m3_to_f32(uint8_t code) {
    uint32_t magnitude = code & 127u;
    if (code == 127) return 0.0f;
    if (magnitude < 8) return (float)magnitude * 0x1p-10f;
    return quant_f32_of_bits(((magnitude >> 3) + 119) << 23 | (magnitude & 7) << 20);
}

/* The nearest of them, at most 224; 0 for what is not above 0. */
static inline float quant_ue4m3_nearest(float x) {
    float y = x > 0.0f ? x : 0.0f;
    y = y < 224.0f ? y : 224.0f;
    uint32_t bits = quant_f32_bits(y);
    float normal = quant_f32_of_bits((bits + 0x7FFFF + (bits >> 20 & 1)) & 0xFFF00000);
    float small = ((y * 1024.0f + 12582912.0f) - 12582912.0f) * 0x1p-10f;
    return y < 0x1p-7f ? small : normal;
}

/* The code of one of them. */
static inline uint8_t quant_ue4m3_code(float x) {
    uint32_t bits = quant_f32_bits(x);
    return (uint8_t)(x < 0x1p-7f ? (uint32_t)(x * 1024.0f) : (bits >> 20) - (119u << 3));
}

/* A NaN becomes lo. */
static inline float quant_clamp(float x, float lo, float hi) {
    x = x > lo ? x : lo;
    return x < hi ? x : hi;
}

/* Round to nearest even, |x| < 2^22. */
static inline float quant_round(float x) {
    return (x + 12582912.0f) - 12582912.0f;
}

/* The f16 next to x that is finite. */
static inline uint16_t quant_f16_saturated(float x) {
    return quant_f32_to_f16(quant_clamp(x, -QUANT_F16_MAX, QUANT_F16_MAX));
}

/* 1 / x, and 0 where that would be too great or x is 0. */
static inline float quant_inverse(float x) {
    return x > 0x1p-126f || x < -0x1p-126f ? 1.0f / x : 0.0f;
}

#endif
