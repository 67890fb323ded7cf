/* The inner loops. Included once per instruction set with RT_KERNELS naming the table and RT_WIDTH
 * the lanes of its vectors; sums run in a fixed order and nothing is contracted, so all
 * variants agree bit for bit. */
#include "runtime/engine/cpu/cpu_kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>
#ifdef __F16C__
#include <immintrin.h>
#endif

enum { RT_LANES = 8 }; /* of most vectors here, whatever the processor has */

typedef float v8f __attribute__((vector_size(32)));
typedef float vwf __attribute__((vector_size(RT_WIDTH * 4)));
typedef int32_t v8i __attribute__((vector_size(32)));
typedef uint16_t v8h __attribute__((vector_size(16)));

#define SPLAT(value) ((value) - (v8f){0}) /* unlike a sum with 0 this needs no instruction */
#define INLINE       static inline __attribute__((always_inline)) /* counts become constants */

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

/* e^x within 2 units in the last place; 0 below -87.3, e^88 above 88. x = n ln 2 + r with
 * |r| <= ln(2)/2, and e^r by its Taylor series, whose next term is below 6e-9. */
static inline v8f exp_upto88(v8f x) {
    const v8f round = SPLAT(12582912.0f); /* 1.5 * 2^23: adding it leaves an integer's bits */
    v8i tiny = x < SPLAT(-87.3f);
    x = select8(tiny, SPLAT(-87.3f), x);
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

static inline v8f exp8(v8f x) {
    return exp_upto88(select8(x > SPLAT(88.0f), SPLAT(88.0f), x));
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

static float mean_square(const float *x, size_t n) {
    v8f sum = {0};
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) sum += load8(x + i) * load8(x + i);
    v8f rest = load_part(x + i, n - i);
    return sum_lanes(sum + rest * rest) / (float)n;
}

/* Sum of the squares of x - mean. */
static inline float squares_around(const float *x, float mean, size_t n) {
    v8f squares = {0};
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) {
        v8f d = load8(x + i) - SPLAT(mean);
        squares += d * d;
    }
    v8f rest = {0};
    for (size_t j = 0; i + j < n; j++) rest[j] = x[i + j] - mean;
    return sum_lanes(squares + rest * rest);
}

static inline float mean_of(const float *x, size_t n) {
    v8f sum = {0};
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) sum += load8(x + i);
    return sum_lanes(sum + load_part(x + i, n - i)) / (float)n;
}

static void cut(float *x, float factor, size_t n) {
    float mean = mean_of(x, n);
    float floor = mean + factor * sqrtf(squares_around(x, mean, n) / (float)n);
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES)
        store8(x + i, max8(load8(x + i) - SPLAT(floor), SPLAT(0.0f)));
    store_part(x + i, max8(load_part(x + i, n - i) - SPLAT(floor), SPLAT(0.0f)), n - i);
}

static void mix(const float *x, size_t x_stride, const float *weights, uint32_t n_in, size_t n,
                float *out) {
    for (size_t i = 0; i < n; i++) out[i] = weights[0] * x[i];
    for (uint32_t j = 1; j < n_in; j++)
        for (size_t i = 0; i < n; i++) out[i] += weights[j] * x[j * x_stride + i];
}

static void norm_layer(const float *x, const float *weight, float eps, size_t n, float *out) {
    float mean = mean_of(x, n);
    float scale = 1.0f / sqrtf(squares_around(x, mean, n) / (float)n + eps);
    for (size_t i = 0; i < n; i++) out[i] = (x[i] - mean) * scale * weight[i];
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

static inline v8f sigmoid8(v8f x) {
    return SPLAT(1.0f) / (SPLAT(1.0f) + exp8(-x));
}

/* ln(1 + e^x) = max(x, 0) + ln(1 + y) with y = e^-|x|, and ln(1 + y) = 2 artanh(y / (2 + y)). */
static inline v8f softplus8(v8f x) {
    v8f size = max8(x, -x), y = exp8(-size);
    v8f s = y / (SPLAT(2.0f) + y), square = s * s;
    v8f sum = SPLAT(1.0f / 15);
    sum = sum * square + SPLAT(1.0f / 13);
    sum = sum * square + SPLAT(1.0f / 11);
    sum = sum * square + SPLAT(1.0f / 9);
    sum = sum * square + SPLAT(1.0f / 7);
    sum = sum * square + SPLAT(1.0f / 5);
    sum = sum * square + SPLAT(1.0f / 3);
    sum = sum * square + SPLAT(1.0f);
    return max8(x, SPLAT(0.0f)) + SPLAT(2.0f) * s * sum;
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

static inline v8f relu8(v8f x) {
    return max8(x, SPLAT(0.0f));
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
ACTIVATE(activate_sigmoid, sigmoid8, same8)
ACTIVATE(activate_softplus, softplus8, same8)
ACTIVATE(activate_identity, same8, same8)
ACTIVATE(activate_gelu_tanh, gelu_tanh8, same8)
ACTIVATE(activate_gelu_erf, gelu_erf8, same8)
ACTIVATE(activate_relu_squared, relu_squared8, same8)
ACTIVATE(activate_relu, relu8, same8)
ACTIVATE(activate_swiglu_clamped, swiglu_clamped8, clamp_up8)

static void activate(rt_activation activation, float *gate, const float *up, size_t n) {
    static void (*const kinds[])(float *, const float *, size_t) = {
        [RT_ACT_SILU] = activate_silu,
        [RT_ACT_SIGMOID] = activate_sigmoid,
        [RT_ACT_SOFTPLUS] = activate_softplus,
        [RT_ACT_IDENTITY] = activate_identity,
        [RT_ACT_GELU_TANH] = activate_gelu_tanh,
        [RT_ACT_GELU_ERF] = activate_gelu_erf,
        [RT_ACT_RELU_SQUARED] = activate_relu_squared,
        [RT_ACT_RELU] = activate_relu,
        [RT_ACT_SWIGLU_CLAMPED] = activate_swiglu_clamped,
    };
    kinds[activation](gate, up, n);
}

/* e^x - 1 - x for x <= 0: near zero by its series, where the difference would be lost. */
static inline v8f exp_beyond8(v8f x) {
    v8f sum = SPLAT(1.0f / 362880);
    sum = sum * x + SPLAT(1.0f / 40320);
    sum = sum * x + SPLAT(1.0f / 5040);
    sum = sum * x + SPLAT(1.0f / 720);
    sum = sum * x + SPLAT(1.0f / 120);
    sum = sum * x + SPLAT(1.0f / 24);
    sum = sum * x + SPLAT(1.0f / 6);
    sum = sum * x + SPLAT(0.5f);
    return select8(x > SPLAT(-0.5f), sum * x * x, exp8(x) - SPLAT(1.0f) - x);
}

static inline v8f xielu8(const rt_xielu *p, v8f x) {
    v8f low = select8(x < SPLAT(p->eps), x, SPLAT(p->eps));
    v8f below = SPLAT(p->n) * (exp_beyond8(low) + (low - x));
    return select8(x > SPLAT(0.0f), SPLAT(p->p) * x * x, below) + SPLAT(p->beta) * x;
}

static void xielu(const rt_xielu *p, float *x, size_t n) {
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) store8(x + i, xielu8(p, load8(x + i)));
    store_part(x + i, xielu8(p, load_part(x + i, n - i)), n - i);
}

static inline v8f clamp8(v8f x, v8f low, v8f high) {
    x = select8(x < low, low, x);
    return select8(x > high, high, x);
}

static void clamp(float *x, float low, float high, size_t n) {
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES)
        store8(x + i, clamp8(load8(x + i), SPLAT(low), SPLAT(high)));
    store_part(x + i, clamp8(load_part(x + i, n - i), SPLAT(low), SPLAT(high)), n - i);
}

static void scale(float *x, float factor, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] *= factor;
}

static void soft_cap(float *x, float cap, size_t n) {
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES)
        store8(x + i, tanh8(load8(x + i) / SPLAT(cap)) * SPLAT(cap));
    store_part(x + i, tanh8(load_part(x + i, n - i) / SPLAT(cap)) * SPLAT(cap), n - i);
}

/* ---- recurrent layers ---------------------------------------------------------------------------
 */

/* Eight channels (the first n of them) through all tokens of a run. */
INLINE void conv_part(const rt_conv *conv, uint32_t taps, uint32_t channel, size_t n, float *state,
                      const rt_conv_rows *rows) {
    uint32_t last = taps - 1;
    v8f weight[RT_MAX_TAPS], seen[RT_MAX_TAPS];
    v8f bias = conv->bias ? load_part(conv->bias + channel, n) : SPLAT(0.0f);
    for (uint32_t j = 0; j < taps; j++) {
        weight[j] = SPLAT(0.0f);
        for (size_t i = 0; i < n; i++) weight[j][i] = conv->weight[(channel + i) * taps + j];
    }
    for (uint32_t j = 0; j < last; j++) seen[j] = load_part(state + j * conv->n_channels, n);
    for (size_t t = 0, at = channel; t < rows->n; t++, at += rows->stride) {
        seen[last] = load_part(rows->x + at, n);
        if (rows->before) seen[last] *= load_part(rows->before + at, n);
        v8f sum = weight[0] * seen[0];
        for (uint32_t j = 1; j < taps; j++) sum += weight[j] * seen[j];
        sum += bias;
        if (!conv->plain) sum = silu8(sum);
        if (rows->after) sum *= load_part(rows->after + at, n);
        store_part(rows->x + at, sum, n);
        for (uint32_t j = 0; j < last; j++) seen[j] = seen[j + 1];
    }
    for (uint32_t j = 0; j < last; j++) store_part(state + j * conv->n_channels, seen[j], n);
}

static void conv_channels(const rt_conv *conv, uint32_t first, uint32_t n, float *state,
                          const rt_conv_rows *rows) {
    uint32_t taps = conv->n_kernel, c = first;
    for (; taps == 4 && c + RT_LANES <= first + n; c += RT_LANES) /* nearly all models */
        conv_part(conv, 4, c, RT_LANES, state + c, rows);
    for (; c < first + n; c += RT_LANES) {
        size_t left = first + n - c;
        conv_part(conv, taps, c, left < RT_LANES ? left : RT_LANES, state + c, rows);
    }
}

enum { ROWS_AT_ONCE = 4 }; /* of a state: the sums of one row wait for each other */

/* Rows of a head's state through some tokens. */
INLINE void scan_rows(const rt_scan *s, uint32_t n_rows, float *state, const float *u, float *y) {
    size_t n = s->n_state, i;
    for (size_t t = 0; t < s->n_tokens; t++) {
        const float *b = s->b + t * s->x_stride, *c = s->c + t * s->x_stride;
        const float *x = u + t * s->x_stride;
        v8f decay = SPLAT(s->decay[t]), in[ROWS_AT_ONCE], sum[ROWS_AT_ONCE];
        for (uint32_t r = 0; r < n_rows; r++) {
            in[r] = SPLAT(s->dt[t] * x[r]);
            sum[r] = SPLAT(0.0f);
        }
        for (i = 0; i + RT_LANES <= n; i += RT_LANES) {
            v8f b8 = load8(b + i), c8 = load8(c + i);
            for (uint32_t r = 0; r < n_rows; r++) {
                v8f h = load8(state + r * n + i) * decay + in[r] * b8;
                store8(state + r * n + i, h);
                sum[r] += h * c8;
            }
        }
        for (uint32_t r = 0; i < n && r < n_rows; r++) {
            float *rest = state + r * n + i;
            v8f h = load_part(rest, n - i) * decay + in[r] * load_part(b + i, n - i);
            store_part(rest, h, n - i);
            sum[r] += h * load_part(c + i, n - i);
        }
        for (uint32_t r = 0; r < n_rows; r++)
            y[t * s->y_stride + r] = sum_lanes(sum[r]) + s->d * x[r];
    }
}

static void scan(const rt_scan *s, float *state, const float *u, uint32_t n_rows, float *y) {
    uint32_t r = 0;
    for (; r + ROWS_AT_ONCE <= n_rows; r += ROWS_AT_ONCE)
        scan_rows(s, ROWS_AT_ONCE, state + (size_t)r * s->n_state, u + r, y + r);
    for (; r < n_rows; r++) scan_rows(s, 1, state + (size_t)r * s->n_state, u + r, y + r);
}

/* One channel of one token. */
static inline float scan_channel(const float *a, const float *b, const float *c, float dt, float u,
                                 size_t n, float *state) {
    v8f step = SPLAT(dt), in = SPLAT(dt * u), sum = {0};
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) {
        v8f h = load8(state + i) * exp8(step * load8(a + i)) + in * load8(b + i);
        store8(state + i, h);
        sum += h * load8(c + i);
    }
    if (i < n) {
        v8f h = load_part(state + i, n - i) * exp8(step * load_part(a + i, n - i)) +
                in * load_part(b + i, n - i);
        store_part(state + i, h, n - i);
        sum += h * load_part(c + i, n - i);
    }
    return sum_lanes(sum);
}

static void scan_channels(const rt_channel_scan *s, float *state, float *y) {
    float dt[RT_SCAN_CHANNELS];
    size_t n = s->n_channels;
    for (size_t t = 0; t < s->n_tokens; t++) {
        const float *u = s->u + t * s->u_stride, *of = s->dt + t * s->dt_stride;
        const float *b = s->b + t * s->bc_stride, *c = s->c + t * s->bc_stride;
        for (size_t i = 0; i < n; i += RT_LANES) {
            size_t left = n - i < RT_LANES ? n - i : RT_LANES;
            store_part(dt + i, softplus8(load_part(of + i, left)), left);
        }
        for (size_t i = 0; i < n; i++)
            y[t * s->dt_stride + i] = scan_channel(s->a + i * s->n_state, b, c, dt[i], u[i],
                                                   s->n_state, state + i * s->n_state) +
                                      s->d[i] * u[i];
    }
}

static inline float dot_row(const float *a, const float *b, size_t n) {
    v8f sum = {0};
    size_t i;
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) sum += load8(a + i) * load8(b + i);
    if (i < n) sum += load_part(a + i, n - i) * load_part(b + i, n - i);
    return sum_lanes(sum);
}

/* The products of rows with k; of decayed ones where every column has a decay of its own. */
INLINE void dot_rows(const float *rows, uint32_t n_rows, const float *decay, const float *k,
                     size_t n, float *out) {
    v8f sum[ROWS_AT_ONCE];
    size_t i;
    for (uint32_t r = 0; r < n_rows; r++) sum[r] = SPLAT(0.0f);
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) {
        v8f k8 = load8(k + i);
        for (uint32_t r = 0; r < n_rows; r++) {
            v8f row = load8(rows + r * n + i);
            sum[r] += (decay ? row * load8(decay + i) : row) * k8;
        }
    }
    for (uint32_t r = 0; i < n && r < n_rows; r++) {
        v8f row = load_part(rows + r * n + i, n - i);
        sum[r] += (decay ? row * load_part(decay + i, n - i) : row) * load_part(k + i, n - i);
    }
    for (uint32_t r = 0; r < n_rows; r++) out[r] = sum_lanes(sum[r]);
}

/* A token's part in rows: row = decay row + step k. */
typedef struct delta_step {
    const float *k, *q;
    float decay;         /* of whole rows, or */
    const float *decays; /* of columns; NULL: of whole rows */
    float step[ROWS_AT_ONCE];
} delta_step;

/* out: the products of the rows with q. */
INLINE void move_rows(float *rows, uint32_t n_rows, const delta_step *s, bool columns, size_t n,
                      float *out) {
    v8f sum[ROWS_AT_ONCE], decay = SPLAT(s->decay);
    size_t i;
    for (uint32_t r = 0; r < n_rows; r++) sum[r] = SPLAT(0.0f);
    for (i = 0; i + RT_LANES <= n; i += RT_LANES) {
        v8f k = load8(s->k + i), q = load8(s->q + i);
        if (columns) decay = load8(s->decays + i);
        for (uint32_t r = 0; r < n_rows; r++) {
            v8f h = load8(rows + r * n + i) * decay + SPLAT(s->step[r]) * k;
            store8(rows + r * n + i, h);
            sum[r] += h * q;
        }
    }
    size_t left = n - i;
    if (left && columns) decay = load_part(s->decays + i, left);
    for (uint32_t r = 0; left && r < n_rows; r++) {
        float *rest = rows + r * n + i;
        v8f h = load_part(rest, left) * decay + SPLAT(s->step[r]) * load_part(s->k + i, left);
        store_part(rest, h, left);
        sum[r] += h * load_part(s->q + i, left);
    }
    for (uint32_t r = 0; r < n_rows; r++) out[r] = sum_lanes(sum[r]);
}

/* Rows of the state, each of which belongs to one value, through some tokens. */
INLINE void delta_rows(const rt_delta_scan *s, bool columns, float *rows, uint32_t n_rows,
                       const float *v, float *y) {
    size_t n = s->n_state;
    for (size_t t = 0; t < s->n_tokens; t++) {
        delta_step step = {.k = s->k + t * n, .q = s->q + t * n};
        if (columns)
            step.decays = s->decay + t * n;
        else
            step.decay = s->decay[t];
        float held[ROWS_AT_ONCE];
        dot_rows(rows, n_rows, columns ? step.decays : NULL, step.k, n, held);
        for (uint32_t r = 0; r < n_rows; r++) {
            float before = columns ? held[r] : step.decay * held[r];
            step.step[r] = s->beta[t] * (v[t * s->v_stride + r] - before);
        }
        move_rows(rows, n_rows, &step, columns, n, y + t * s->y_stride);
    }
}

INLINE void delta_all(const rt_delta_scan *s, bool columns, float *state, const float *v,
                      uint32_t n_rows, float *y) {
    uint32_t r = 0;
    for (; r + ROWS_AT_ONCE <= n_rows; r += ROWS_AT_ONCE)
        delta_rows(s, columns, state + (size_t)r * s->n_state, ROWS_AT_ONCE, v + r, y + r);
    for (; r < n_rows; r++) delta_rows(s, columns, state + (size_t)r * s->n_state, 1, v + r, y + r);
}

static void delta(const rt_delta_scan *s, float *state, const float *v, uint32_t n_rows, float *y) {
    delta_all(s, false, state, v, n_rows, y);
}

static void channel_delta(const rt_delta_scan *s, float *state, const float *v, uint32_t n_rows,
                          float *y) {
    delta_all(s, true, state, v, n_rows, y);
}

static inline v8f channel_decay8(v8f x, float a, float bound) {
    if (bound == 0) return exp8(SPLAT(a) * softplus8(x));
    return exp8(SPLAT(bound) * sigmoid8(SPLAT(a) * x));
}

static void channel_decay(const float *f, const float *bias, float a, float bound, size_t n,
                          float *out) {
    for (size_t i = 0; i < n; i += RT_LANES) {
        size_t left = n - i < RT_LANES ? n - i : RT_LANES;
        v8f x = load_part(f + i, left) + load_part(bias + i, left);
        store_part(out + i, channel_decay8(x, a, bound), left);
    }
}

/* out = x / sqrt(sum x^2 + 1e-6) * factor */
static void norm_l2(const float *x, float factor, size_t n, float *out) {
    float scale = factor / sqrtf(dot_row(x, x, n) + 1e-6f);
    for (size_t i = 0; i < n; i++) out[i] = x[i] * scale;
}

/* ---- attention ----------------------------------------------------------------------------------
 */

/* Shifting the half's bits under the float's exponent leaves a value that is 2^-112 of it. */
static inline v8f halves_to_floats(v8h half) {
#ifdef __F16C__
    return (v8f)_mm256_cvtph_ps((__m128i)half);
#else
    v8i bits = __builtin_convertvector(half, v8i);
    v8f magnitude = (v8f)((bits & 0x7fff) << 13) * SPLAT(0x1p112f);
    return (v8f)((v8i)magnitude | ((bits & 0x8000) << 16));
#endif
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

/* Eight columns of eight rows that lie `stride` apart. */
static inline void transpose8(const float *rows, uint32_t stride, float *out) {
    v8f a[8], b[8];
    for (int i = 0; i < 8; i++) a[i] = load8(rows + (size_t)i * stride);
    for (int i = 0; i < 8; i += 2) {
        b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            v8f lo = b[i + j], hi = b[i + j + 2];
            a[i + 2 * j] = __builtin_shufflevector(lo, hi, 0, 1, 8, 9, 4, 5, 12, 13);
            a[i + 2 * j + 1] = __builtin_shufflevector(lo, hi, 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        store8(out + i * RT_STRIP,
               __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11));
        store8(out + (i + 4) * RT_STRIP,
               __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15));
    }
}

static void transpose(const float *rows, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i += 8)
        for (uint32_t row = 0; row < RT_STRIP; row += 8)
            transpose8(rows + (size_t)row * n + i, n, out + (size_t)i * RT_STRIP + row);
}

enum { STRIP_VECTORS = RT_STRIP / RT_WIDTH, PAGE_STRIPS = RT_KV_PAGE_TOKENS / RT_STRIP };

static inline vwf load_wide(const float *p) {
    vwf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store_wide(float *p, vwf v) {
    memcpy(p, &v, sizeof v);
}

/* sums[i][j] += factors[i * stride + r] * row r of strip j, for all rows first .. end; strips lie
 * strip_floats apart. What both halves of attention do: rows are dimensions and lanes keys, then
 * rows are keys and lanes columns. */
INLINE void add_products(const float *strips, size_t strip_floats, uint32_t first, uint32_t end,
                         const float *factors, size_t stride, uint32_t n_factors, uint32_t n_strips,
                         vwf sums[RT_QUERIES][PAGE_STRIPS * STRIP_VECTORS]) {
    for (uint32_t r = first; r < end; r++) {
        vwf row[PAGE_STRIPS * STRIP_VECTORS];
#pragma GCC unroll 16
        for (uint32_t j = 0; j < n_strips * STRIP_VECTORS; j++)
            row[j] = load_wide(strips + j / STRIP_VECTORS * strip_floats + (size_t)r * RT_STRIP +
                               j % STRIP_VECTORS * RT_WIDTH);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < n_factors; i++) {
            vwf factor = factors[i * stride + r] - (vwf){0};
#pragma GCC unroll 16
            for (uint32_t j = 0; j < n_strips * STRIP_VECTORS; j++) sums[i][j] += factor * row[j];
        }
    }
}

typedef float page_scores[RT_QUERIES][RT_KV_PAGE_TOKENS];

INLINE void score_strips(const rt_kv_page *page, const float *q, uint32_t n_q, uint32_t strip,
                         uint32_t n_strips, page_scores scores) {
    vwf sums[RT_QUERIES][PAGE_STRIPS * STRIP_VECTORS];
    size_t strip_floats = (size_t)page->n_k * RT_STRIP;
#pragma GCC unroll 4
    for (uint32_t i = 0; i < n_q; i++)
#pragma GCC unroll 16
        for (uint32_t j = 0; j < n_strips * STRIP_VECTORS; j++) sums[i][j] = (vwf){0};
    add_products(page->k + strip * strip_floats, strip_floats, 0, page->n_k, q, page->n_k, n_q,
                 n_strips, sums);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < n_q; i++)
#pragma GCC unroll 16
        for (uint32_t j = 0; j < n_strips * STRIP_VECTORS; j++)
            store_wide(scores[i] + strip * RT_STRIP + j * RT_WIDTH, sums[i][j]);
}

/* Products of the queries with the keys of strips first .. end. One query alone needs many strips
 * to keep the processor busy. */
static void score(const rt_kv_page *page, const rt_queries *qs, uint32_t first, uint32_t end,
                  page_scores scores) {
    if (qs->n == RT_QUERIES) {
        for (uint32_t s = first; s < end; s++) score_strips(page, qs->q, RT_QUERIES, s, 1, scores);
        return;
    }
    for (uint32_t i = 0; i < qs->n; i++) {
        const float *q = qs->q + (size_t)i * page->n_k;
        if (end - first == PAGE_STRIPS)
            score_strips(page, q, 1, 0, PAGE_STRIPS, scores + i);
        else
            for (uint32_t s = first; s < end; s++) score_strips(page, q, 1, s, 1, scores + i);
    }
}

INLINE void accumulate_strips(const rt_kv_page *page, const page_scores weights, uint32_t first,
                              uint32_t end, const float *keep, uint32_t n_q, uint32_t strip,
                              uint32_t n_strips, float *acc) {
    vwf sums[RT_QUERIES][PAGE_STRIPS * STRIP_VECTORS];
    size_t strip_floats = RT_KV_PAGE_TOKENS * RT_STRIP;
    acc += strip * RT_STRIP;
#pragma GCC unroll 4
    for (uint32_t i = 0; i < n_q; i++)
#pragma GCC unroll 16
        for (uint32_t j = 0; j < n_strips * STRIP_VECTORS; j++)
            sums[i][j] = load_wide(acc + (size_t)i * page->n_v + j * RT_WIDTH) * keep[i];
    add_products(page->v + strip * strip_floats, strip_floats, first, end, weights[0],
                 RT_KV_PAGE_TOKENS, n_q, n_strips, sums);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < n_q; i++)
#pragma GCC unroll 16
        for (uint32_t j = 0; j < n_strips * STRIP_VECTORS; j++)
            store_wide(acc + (size_t)i * page->n_v + j * RT_WIDTH, sums[i][j]);
}

/* acc = acc * keep + sum over rows first .. end of weight * value */
static void accumulate(const rt_kv_page *page, const rt_queries *qs, const page_scores weights,
                       uint32_t first, uint32_t end, const float *keep) {
    uint32_t n_strips = page->n_v / RT_STRIP;
    for (uint32_t s = 0; qs->n == RT_QUERIES && s < n_strips; s++)
        accumulate_strips(page, weights, first, end, keep, RT_QUERIES, s, 1, qs->acc);
    for (uint32_t i = 0; qs->n < RT_QUERIES && i < qs->n; i++) {
        float *acc = qs->acc + (size_t)i * page->n_v;
        uint32_t s = 0;
        for (; s + PAGE_STRIPS <= n_strips; s += PAGE_STRIPS)
            accumulate_strips(page, weights + i, first, end, keep + i, 1, s, PAGE_STRIPS, acc);
        for (; s < n_strips; s++)
            accumulate_strips(page, weights + i, first, end, keep + i, 1, s, 1, acc);
    }
}

/* -infinity outside the rows first .. end; `key` is the row of lane 0. */
static inline v8f hide(v8f scores, uint32_t key, uint32_t first, uint32_t end) {
    const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7};
    v8i row = lane + (int32_t)key;
    v8i visible = (row >= (int32_t)first) & (row < (int32_t)end);
    return select8(visible, scores, SPLAT(-INFINITY));
}

/* -infinity where the bit of a row is not set. */
static inline v8f hide_unseen(v8f scores, uint32_t key, uint64_t seen) {
    const v8i bit = {1, 2, 4, 8, 16, 32, 64, 128};
    v8i bits = ((v8i){0} + (int32_t)(seen >> key & 255)) & bit;
    return select8(bits != 0, scores, SPLAT(-INFINITY));
}

static void index_scores(const float *q, const float *weights, uint32_t n, uint32_t dim,
                         const float *keys, uint32_t n_rows, float *out) {
    for (uint32_t r = 0; r < n_rows; r++) {
        float sum = weights ? 0 : dot_row(q, keys + (size_t)r * dim, dim);
        for (uint32_t h = 0; weights && h < n; h++) {
            float score = dot_row(q + (size_t)h * dim, keys + (size_t)r * dim, dim);
            if (score > 0) sum += weights[h] * score;
        }
        out[r] = sum;
    }
}

static inline v8f lanes8(void) {
    return (v8f){0, 1, 2, 3, 4, 5, 6, 7};
}

/* Products of query i with keys from .. to become scores. Returns the largest so far. */
static float finish_scores(const rt_kv_page *page, const rt_queries *qs, uint32_t i, uint32_t from,
                           uint32_t to, float *scores) {
    uint32_t first = qs->first[i], end = qs->end[i];
    v8f max = SPLAT(qs->state[i].max);
    for (uint32_t key = from; key < to; key += RT_LANES) {
        v8f s = load8(scores + key) * SPLAT(page->scale);
        if (page->cap != 0) s = tanh8(s / SPLAT(page->cap)) * SPLAT(page->cap);
        if (qs->slope[i] != 0)
            s += SPLAT(qs->slope[i]) * (lanes8() + SPLAT(qs->before[i] + (float)key));
        if (qs->bias[i]) s += load8(qs->bias[i] + key);
        if (key < first || key + RT_LANES > end) s = hide(s, key, first, end);
        if (qs->seen[i] != UINT64_MAX) s = hide_unseen(s, key, qs->seen[i]);
        max = max8(s, max);
        store8(scores + key, s);
    }
    return max_lanes(max);
}

/* Scores become weights; returns their sum. */
static float weigh(float top, uint32_t from, uint32_t to, float *scores) {
    v8f sum = {0};
    for (uint32_t key = from; key < to; key += RT_LANES) {
        v8f w = exp_upto88(load8(scores + key) - SPLAT(top));
        sum += w;
        store8(scores + key, w);
    }
    return sum_lanes(sum);
}

/* keep[i] is what is left of what query i summed before. Step by step for all queries, as a step
 * waits for the one before. */
static void soften(const rt_kv_page *page, const rt_queries *qs, uint32_t from, uint32_t to,
                   page_scores scores, float keep[RT_LANES]) {
    float top[RT_QUERIES];
    v8f change = {0};
    for (uint32_t i = 0; i < qs->n; i++) {
        float max = finish_scores(page, qs, i, from, to, scores[i]);
        top[i] = max == -INFINITY ? 0 : max; /* nothing was seen yet: every weight is 0 */
        change[i] = qs->state[i].max - top[i];
        qs->state[i].max = max;
    }
    store8(keep, exp_upto88(change));
    for (uint32_t i = 0; i < qs->n; i++)
        qs->state[i].sum = qs->state[i].sum * keep[i] + weigh(top[i], from, to, scores[i]);
}

static void attend(const rt_kv_page *page, const rt_queries *qs) {
    page_scores scores;
    float keep[RT_LANES];
    uint32_t first = RT_KV_PAGE_TOKENS, end = 0;
    for (uint32_t i = 0; i < qs->n; i++) {
        if (qs->end[i] <= qs->first[i]) continue;
        if (qs->first[i] < first) first = qs->first[i];
        if (qs->end[i] > end) end = qs->end[i];
    }
    if (end <= first) return;
    uint32_t from = first / RT_STRIP, to = (end + RT_STRIP - 1) / RT_STRIP;
    score(page, qs, from, to, scores);
    soften(page, qs, from * RT_STRIP, to * RT_STRIP, scores, keep);
    accumulate(page, qs, scores, first, end, keep);
}

/* ---- blocks -------------------------------------------------------------------------------------
 */

/* A largest score before the first one is -infinity, and leaves nothing of the sums, which are 0.
 */
static void pool(const float *values, const float *scores, const float *ape, size_t n,
                 float *state) {
    float *maxima = state, *sums = state + n, *accs = state + 2 * n;
    for (size_t i = 0; i < n; i += RT_LANES) {
        size_t left = n - i < RT_LANES ? n - i : RT_LANES;
        v8f sum = load_part(sums + i, left), max = load_part(maxima + i, left);
        v8f score = load_part(scores + i, left) + load_part(ape + i, left);
        max = select8(sum == 0, SPLAT(-INFINITY), max);
        v8f top = max8(score, max);
        v8f keep = exp_upto88(max - top), weight = exp_upto88(score - top);
        store_part(maxima + i, top, left);
        store_part(sums + i, sum * keep + weight, left);
        store_part(accs + i,
                   load_part(accs + i, left) * keep + load_part(values + i, left) * weight, left);
    }
}

/* ---- sampling -----------------------------------------------------------------------------------
 */

static inline v8f finite8(v8f x) {
    return select8(x <= SPLAT(FLT_MAX), x, SPLAT(-INFINITY));
}

static float max_finite(const float *x, size_t n) {
    v8f a = SPLAT(-INFINITY), b = a;
    size_t i = 0;
    for (; i + 2 * RT_LANES <= n; i += 2 * RT_LANES) {
        a = max8(finite8(load8(x + i)), a);
        b = max8(finite8(load8(x + i + RT_LANES)), b);
    }
    float max = max_lanes(max8(a, b));
    for (; i < n; i++) max = x[i] <= FLT_MAX && x[i] > max ? x[i] : max;
    return max;
}

static void weights_of(const float *x, float max, float scale, size_t n, float *out) {
    size_t i = 0;
    for (; i + RT_LANES <= n; i += RT_LANES)
        store8(out + i, exp_upto88((finite8(load8(x + i)) - SPLAT(max)) * SPLAT(scale)));
    v8f rest = exp_upto88((finite8(load_part(x + i, n - i)) - SPLAT(max)) * SPLAT(scale));
    store_part(out + i, rest, n - i);
}

const rt_cpu_kernels RT_KERNELS = {
    .norm_rms = norm_rms,
    .norm_layer = norm_layer,
    .add = add,
    .activate = activate,
    .clamp = clamp,
    .scale = scale,
    .mix = mix,
    .mean_square = mean_square,
    .cut = cut,
    .soft_cap = soft_cap,
    .conv = conv_channels,
    .scan = scan,
    .scan_channels = scan_channels,
    .delta = delta,
    .xielu = xielu,
    .channel_delta = channel_delta,
    .channel_decay = channel_decay,
    .norm_l2 = norm_l2,
    .load_f16 = load_f16,
    .index_scores = index_scores,
    .transpose = transpose,
    .attend = attend,
    .pool = pool,
    .max_finite = max_finite,
    .weights_of = weights_of,
};
