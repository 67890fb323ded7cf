/* The inner loops. Included once per instruction set with RT_KERNELS naming the table; sums run in
 * eight lanes in a fixed order and nothing is contracted, so all variants agree bit for bit. */
#include "runtime/cpu/kernels.h"

#include <math.h>
#include <string.h>

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));
typedef uint16_t v8h __attribute__((vector_size(16)));

#define SPLAT(value) ((v8f){0} + (value))

static inline v8f load8(const float *p) {
    v8f v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store8(float *p, v8f v) {
    memcpy(p, &v, sizeof v);
}

/* The first n < 8 lanes; the others are 0. */
static inline v8f load_part(const float *p, size_t n) {
    v8f v = {0};
    memcpy(&v, p, n * sizeof *p);
    return v;
}

static inline void store_part(float *p, v8f v, size_t n) {
    memcpy(p, &v, n * sizeof *p);
}

static inline v8f select8(v8i mask, v8f yes, v8f no) {
    return (v8f)((mask & (v8i)yes) | (~mask & (v8i)no));
}

static inline v8f max8(v8f a, v8f b) {
    return select8(a > b, a, b);
}

/* Sum of the lanes, as a tree. */
static inline float sum_lanes(v8f v) {
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

static inline float max_lanes(v8f v) {
    float m = v[0];
    for (int i = 1; i < RT_LANES; i++) m = v[i] > m ? v[i] : m;
    return m;
}

/* out[i] = sum of the lanes of a[i]. */
static inline v8f sum_each(const v8f a[RT_LANES]) {
    v8f pair[4], quad[2];
    for (int i = 0; i < 4; i++)
        pair[i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
                  __builtin_shufflevector(a[2 * i], a[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    for (int i = 0; i < 2; i++)
        quad[i] = __builtin_shufflevector(pair[2 * i], pair[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
                  __builtin_shufflevector(pair[2 * i], pair[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
    return __builtin_shufflevector(quad[0], quad[1], 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(quad[0], quad[1], 4, 5, 6, 7, 12, 13, 14, 15);
}

/* e^x within 2 units in the last place; 0 below -87.3, e^88 above 88. x = n ln 2 + r with
 * |r| <= ln(2)/2, and e^r by its Taylor series, whose next term is below 6e-9. */
static inline v8f exp8(v8f x) {
    const v8f round = SPLAT(12582912.0f); /* 1.5 * 2^23: adding it leaves an integer's bits */
    v8i tiny = x < SPLAT(-87.3f);
    x = select8(tiny, SPLAT(-87.3f), x);
    x = select8(x > SPLAT(88.0f), SPLAT(88.0f), x);
    v8f shifted = x * SPLAT(1.44269504f) + round;
    v8f n = shifted - round;
    v8f r = x - n * SPLAT(0.693359375f); /* ln 2 in nine bits: exact product */
    r = r + n * SPLAT(2.12194440e-4f);   /* the rest of ln 2 */
    v8f sum = SPLAT(1.0f / 5040);
    sum = sum * r + SPLAT(1.0f / 720);
    sum = sum * r + SPLAT(1.0f / 120);
    sum = sum * r + SPLAT(1.0f / 24);
    sum = sum * r + SPLAT(1.0f / 6);
    sum = sum * r + SPLAT(0.5f);
    sum = sum * r + SPLAT(1.0f);
    sum = sum * r + SPLAT(1.0f);
    v8i exponent = ((v8i)shifted - (v8i)round + 127) << 23;
    return select8(tiny, SPLAT(0.0f), sum * (v8f)exponent);
}

static void norm_rms(const float *x, const float *weight, float eps, size_t n, float *out) {
    v8f sum = {0};
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) sum += load8(x + i) * load8(x + i);
    v8f rest = load_part(x + i, n - i);
    sum += rest * rest;
    float scale = 1.0f / sqrtf(sum_lanes(sum) / (float)n + eps);
    for (i = 0; i < n; i++) out[i] = x[i] * scale * weight[i];
}

static void norm_layer(const float *x, const float *weight, float eps, size_t n, float *out) {
    v8f sum = {0}, squares = {0};
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) sum += load8(x + i);
    float mean = sum_lanes(sum + load_part(x + i, n - i)) / (float)n;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) {
        v8f d = load8(x + i) - SPLAT(mean);
        squares += d * d;
    }
    v8f rest = {0};
    for (size_t j = 0; i + j < n; j++) rest[j] = x[i + j] - mean;
    squares += rest * rest;
    float scale = 1.0f / sqrtf(sum_lanes(squares) / (float)n + eps);
    for (i = 0; i < n; i++) out[i] = (x[i] - mean) * scale * weight[i];
}

static void add(float *x, const float *y, float factor, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] += factor * y[i];
}

/* ---- activations --------------------------------------------------------------------------------
 */

/* 1 - 2 / (e^2x + 1): exact to 1e-7, not in relation to small results. */
static inline v8f tanh8(v8f x) {
    return SPLAT(1.0f) - SPLAT(2.0f) / (exp8(x + x) + SPLAT(1.0f));
}

static inline v8f silu8(v8f x) {
    return x / (SPLAT(1.0f) + exp8(-x));
}

/* x (1 + tanh u) / 2 = x / (1 + e^-2u) */
static inline v8f gelu_tanh8(v8f x) {
    v8f u = SPLAT(0.79788456f) * (x + SPLAT(0.044715f) * x * x * x);
    return x / (SPLAT(1.0f) + exp8(-(u + u)));
}

/* x (1 + erf(x / sqrt 2)) / 2 by Abramowitz and Stegun 7.1.26, off by 1.5e-7 at most. */
static inline v8f gelu_erf8(v8f x) {
    v8f z = x * SPLAT(0.70710678f), size = select8(z < SPLAT(0.0f), -z, z);
    v8f t = SPLAT(1.0f) / (SPLAT(1.0f) + SPLAT(0.3275911f) * size);
    v8f sum = SPLAT(1.061405429f);
    sum = sum * t + SPLAT(-1.453152027f);
    sum = sum * t + SPLAT(1.421413741f);
    sum = sum * t + SPLAT(-0.284496736f);
    sum = sum * t + SPLAT(0.254829592f);
    v8f erf = SPLAT(1.0f) - sum * t * exp8(-(size * size));
    erf = select8(z < SPLAT(0.0f), -erf, erf);
    return SPLAT(0.5f) * x * (SPLAT(1.0f) + erf);
}

static inline v8f relu_squared8(v8f x) {
    v8f positive = max8(x, SPLAT(0.0f));
    return positive * positive;
}

/* gpt-oss: min(g, 7) sigmoid(1.702 g); `up` gets its part from clamp_up8. */
static inline v8f swiglu_clamped8(v8f x) {
    v8f g = select8(x < SPLAT(7.0f), x, SPLAT(7.0f));
    return g / (SPLAT(1.0f) + exp8(SPLAT(-1.702f) * g));
}

static inline v8f clamp_up8(v8f up) {
    up = select8(up < SPLAT(7.0f), up, SPLAT(7.0f));
    return max8(up, SPLAT(-7.0f)) + SPLAT(1.0f);
}

static inline v8f same8(v8f up) {
    return up;
}

#define ACTIVATE(name, fn, fn_up)                                             \
    static void name(float *gate, const float *up, size_t n) {                \
        size_t i;                                                             \
        for (i = 0; i + RT_LANES <= n; i += RT_LANES) {                       \
            v8f factor = up ? fn_up(load8(up + i)) : SPLAT(1.0f);             \
            store8(gate + i, fn(load8(gate + i)) * factor);                   \
        }                                                                     \
        v8f factor = up ? fn_up(load_part(up + i, n - i)) : SPLAT(1.0f);      \
        store_part(gate + i, fn(load_part(gate + i, n - i)) * factor, n - i); \
    }

ACTIVATE(activate_silu, silu8, same8)
ACTIVATE(activate_gelu_tanh, gelu_tanh8, same8)
ACTIVATE(activate_gelu_erf, gelu_erf8, same8)
ACTIVATE(activate_relu_squared, relu_squared8, same8)
ACTIVATE(activate_swiglu_clamped, swiglu_clamped8, clamp_up8)

static void activate(rt_activation activation, float *gate, const float *up, size_t n) {
    static void (*const kinds[])(float *, const float *, size_t) = {
        [RT_ACT_SILU] = activate_silu,
        [RT_ACT_GELU_TANH] = activate_gelu_tanh,
        [RT_ACT_GELU_ERF] = activate_gelu_erf,
        [RT_ACT_RELU_SQUARED] = activate_relu_squared,
        [RT_ACT_SWIGLU_CLAMPED] = activate_swiglu_clamped,
    };
    kinds[activation](gate, up, n);
}

static void soft_cap(float *x, float cap, size_t n) {
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES)
        store8(x + i, tanh8(load8(x + i) / SPLAT(cap)) * SPLAT(cap));
    store_part(x + i, tanh8(load_part(x + i, n - i) / SPLAT(cap)) * SPLAT(cap), n - i);
}

/* ---- attention ----------------------------------------------------------------------------------
 */

/* Shifting the half's bits under the float's exponent leaves a value that is 2^-112 of it. */
static inline v8f halves_to_floats(v8h half) {
    v8i bits = __builtin_convertvector(half, v8i);
    v8f magnitude = (v8f)((bits & 0x7fff) << 13) * SPLAT(0x1p112f);
    return (v8f)((v8i)magnitude | ((bits & 0x8000) << 16));
}

static void load_f16(const void *src, size_t n, float *out) {
    const uint8_t *p = src;
    size_t i;
    v8h half;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES, p += sizeof half) {
        memcpy(&half, p, sizeof half);
        store8(out + i, halves_to_floats(half));
    }
    half = (v8h){0};
    memcpy(&half, p, (n - i) * sizeof(uint16_t));
    store_part(out + i, halves_to_floats(half), n - i);
}

/* Scores of eight neighbouring keys. */
static inline v8f score8(const rt_kv_page *page, const float *q, const float *k) {
    v8f sums[RT_LANES] = {{0}};
    for (uint32_t d = 0; d < page->n_k; d += RT_LANES) {
        v8f qd = load8(q + d);
        for (int i = 0; i < RT_LANES; i++) sums[i] += qd * load8(k + (size_t)i * page->n_k + d);
    }
    v8f scores = sum_each(sums) * SPLAT(page->scale);
    return page->cap == 0 ? scores : tanh8(scores / SPLAT(page->cap)) * SPLAT(page->cap);
}

/* -infinity outside the visible rows; `key` is the row of lane 0. */
static inline v8f hide(const rt_kv_page *page, v8f scores, uint32_t key) {
    const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7};
    v8i row = lane + (int32_t)key;
    v8i visible = (row >= (int32_t)page->first) & (row < (int32_t)page->end);
    return select8(visible, scores, SPLAT(-INFINITY));
}

/* acc[d .. d + 8 * N] = acc * keep + sum over keys of weight * value */
#define ACCUMULATE(N)                                                                        \
    do {                                                                                     \
        v8f sums[N];                                                                         \
        for (int i = 0; i < (N); i++) sums[i] = load8(acc + d + i * RT_LANES) * SPLAT(keep); \
        for (uint32_t key = page->first; key < page->end; key++) {                           \
            const float *v = page->v + (size_t)key * page->n_v + d;                          \
            v8f w = SPLAT(weights[key]);                                                     \
            for (int i = 0; i < (N); i++) sums[i] += w * load8(v + i * RT_LANES);            \
        }                                                                                    \
        for (int i = 0; i < (N); i++) store8(acc + d + i * RT_LANES, sums[i]);               \
    } while (0)

static void accumulate(const rt_kv_page *page, const float *weights, float keep, float *acc) {
    uint32_t d = 0;
    for (; d + 4 * RT_LANES <= page->n_v; d += 4 * RT_LANES) ACCUMULATE(4);
    for (; d < page->n_v; d += RT_LANES) ACCUMULATE(1);
}

static void attend(const rt_kv_page *page, const float *q, rt_softmax *state, float *acc) {
    float weights[RT_KV_PAGE_TOKENS];
    uint32_t first = page->first / RT_LANES * RT_LANES;
    v8f max = SPLAT(state->max), sum = {0};
    for (uint32_t key = first; key < page->end; key += RT_LANES) {
        v8f scores = hide(page, score8(page, q, page->k + (size_t)key * page->n_k), key);
        max = max8(scores, max);
        store8(weights + key, scores);
    }
    float top = max_lanes(max);
    for (uint32_t key = first; key < page->end; key += RT_LANES) {
        v8f w = exp8(load8(weights + key) - SPLAT(top));
        sum += w;
        store8(weights + key, w);
    }
    float keep = exp8(SPLAT(state->max - top))[0];
    state->sum = state->sum * keep + sum_lanes(sum);
    state->max = top;
    accumulate(page, weights, keep, acc);
}

const rt_cpu_kernels RT_KERNELS = {norm_rms, norm_layer, add, activate, soft_cap, load_f16, attend};
