/* Lanes of the scalar encoders: one number. Each lane of the wider sets does the same operations in
 * the same order, which makes the bytes equal by construction. Besides these functions the
 * operators
 * + - * / work on lanes; contraction to fused operations is off. */
#ifndef QUANT_KERNELS_LANES_SCALAR_H
#define QUANT_KERNELS_LANES_SCALAR_H

#include "quant/kernels/levels.h"
#include "quant/kernels/numeric.h"

#include <math.h>

#define LANES                 1
#define KERNEL_NAME(op, type) quant_##op##_##type##_scalar

typedef float lanes;

static inline lanes lanes_load(const float *p) {
    return *p;
}
static inline void lanes_store(float *p, lanes a) {
    *p = a;
}
static inline lanes lanes_set(float a) {
    return a;
}
/* a > b ? a : b, so the second of two equal or unordered numbers */
static inline lanes lanes_max(lanes a, lanes b) {
    return a > b ? a : b;
}
static inline lanes lanes_min(lanes a, lanes b) {
    return a < b ? a : b;
}
static inline lanes lanes_abs(lanes a) {
    return quant_f32_of_bits(quant_f32_bits(a) & 0x7FFFFFFF);
}
/* a >= 0; rounded to nearest */
static inline lanes lanes_sqrt(lanes a) {
    return sqrtf(a);
}
/* To the nearest integer, ties to even; |a| < 2^22. */
static inline lanes lanes_round(lanes a) {
    return quant_round(a);
}
/* a > b ? yes : no */
static inline lanes lanes_if_greater(lanes a, lanes b, lanes yes, lanes no) {
    return a > b ? yes : no;
}
/* The greatest lane. */
static inline float lanes_greatest(lanes a) {
    return a;
}
/* LANES codes, integers in [-128, 127], as bytes. */
static inline void lanes_store_codes(void *dst, lanes a) {
    int8_t code = (int8_t)(int)a;
    memcpy(dst, &code, 1);
}
/* LANES unsigned bytes. */
static inline lanes lanes_load_codes(const uint8_t *src) {
    return (lanes)*src;
}
/* LANES f16 numbers, rounded to nearest even. */
static inline void lanes_store_f16(void *dst, lanes a) {
    uint16_t h = quant_f32_to_f16(a);
    memcpy(dst, &h, sizeof h);
}
static inline lanes lanes_load_f16(const void *src) {
    uint16_t h;
    memcpy(&h, src, sizeof h);
    return quant_f16_to_f32(h);
}
/* Index of the level next to each lane; of two at the same distance the lower. */
static inline lanes lanes_nearest_level(const quant_levels *levels, lanes a) {
    int node = 1;
    while (node < 16) node = 2 * node + (a > levels->tree[node]);
    return (lanes)(node - 16);
}
static inline lanes lanes_level(const quant_levels *levels, lanes index) {
    return levels->level[(int)index];
}
/* A table's numbers at four bits, from `shift` on, of each of LANES words. */
static inline lanes lanes_lookup(const float table[16], const uint16_t *words, int shift) {
    return table[*words >> shift & 15];
}
/* first, first + 1 .. */
static inline lanes lanes_indices(int first) {
    return (lanes)first;
}
/* Columns of a matrix: LANES rows of n numbers, one after another, to n vectors; n % 8 == 0. */
static inline void lanes_load_columns(const float *src, int n, lanes *columns) {
    for (int i = 0; i < n; i++) columns[i] = src[i];
}

#endif
