/* Scalar dot products, activation encoders and scans. Integer sums are exact within a block (plain
 * types) or super-block; the blocks of a row are then added in order. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/books.h"
#include "quant/kernels/dot_args.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/levels.h"
#include "quant/kernels/unpack.h"

/* ---- activations ------------------------------------------------------------------------- */

static float greatest_abs(const float *x, size_t n) {
    float most = 0.0f;
    for (size_t i = 0; i < n; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        most = a > most ? a : most;
    }
    return most;
}

/* Codes round(x / d) of n numbers and their scale d. */
static float encode_codes(const float *x, size_t n, int8_t *codes) {
    float d = greatest_abs(x, n) / 127.0f;
    float inv = quant_inverse(d);
    for (size_t i = 0; i < n; i++)
        codes[i] = (int8_t)(int)quant_clamp(quant_round(x[i] * inv), -127.0f, 127.0f);
    return d;
}

static int sum_codes(const int8_t *codes, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++) sum += codes[i];
    return sum;
}

void quant_act_q8_scalar(const float *src, size_t n_cols, void *dst) {
    block_act_q8 *chunk = dst;
    memset(chunk, 0, quant_act_row_bytes(QUANT_ACT_Q8, n_cols));
    for (size_t i = 0; i < n_cols / QUANT_BLOCK; i++) {
        block_act_q8 *b = chunk + i / 8;
        size_t k = i % 8;
        b->d[k] = encode_codes(src + i * QUANT_BLOCK, QUANT_BLOCK, b->qs[k]);
        int sum = sum_codes(b->qs[k], QUANT_BLOCK);
        b->s[k] = b->d[k] * (float)sum;
        b->shift[k] = -128 * sum;
    }
}

void quant_act_q8_k_scalar(const float *src, size_t n_cols, void *dst) {
    block_act_q8_k *b = dst;
    for (size_t i = 0; i < n_cols; i += QUANT_SUPER, b++) {
        memset(b, 0, sizeof *b);
        b->d = encode_codes(src + i, QUANT_SUPER, b->qs);
        for (int j = 0; j < 16; j++) b->sums[j] = (int16_t)sum_codes(b->qs + 16 * j, 16);
        for (int j = 0; j < 8; j++) b->sums32[j] = (int16_t)(b->sums[2 * j] + b->sums[2 * j + 1]);
    }
}

/* ---- floats ------------------------------------------------------------------------------ */

static float load_f32(const uint8_t *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return x;
}

void quant_floats_f32_scalar(const quant_floats *m) {
    for (size_t t = 0; t < m->n_acts; t++)
        for (size_t r = 0; r < m->n_rows; r++) {
            const uint8_t *row = m->rows + r * m->row_bytes, *act = m->acts + t * m->act_bytes;
            float sum = 0.0f, *out = m->out + t * m->out_stride + r;
            for (size_t i = 0; i < m->n_cols; i++)
                sum += load_f32(row + sizeof sum * i) * load_f32(act + sizeof sum * i);
            *out = sum + (m->add ? *out : 0.0f);
        }
}

/* ---- plain blocks ------------------------------------------------------------------------ */

/* A weight block as numbers: y = d q + m. */
typedef struct plain {
    int8_t q[QUANT_BLOCK];
    float d, m;
} plain;

typedef void plain_fn(const void *block, plain *out);

static inline void dot_plain(const uint8_t *w, size_t block_bytes, plain_fn *unpack, size_t n_cols,
                             const uint8_t *acts, size_t act_bytes, size_t n_acts, float *out) {
    for (size_t t = 0; t < n_acts; t++) out[t] = 0.0f;
    for (size_t i = 0; i < n_cols / QUANT_BLOCK; i++) {
        plain p;
        unpack(w + i * block_bytes, &p);
        for (size_t t = 0; t < n_acts; t++) {
            const block_act_q8 *a = (const block_act_q8 *)(acts + t * act_bytes) + i / 8;
            int sum = 0;
            for (int l = 0; l < QUANT_BLOCK; l++) sum += p.q[l] * a->qs[i % 8][l];
            out[t] += p.d * a->d[i % 8] * (float)sum + p.m * a->s[i % 8];
        }
    }
}

static void codes_minus(const uint8_t *codes, int zero, int8_t *q) {
    for (int i = 0; i < QUANT_BLOCK; i++) q[i] = (int8_t)(codes[i] - zero);
}

static void plain_q4_0(const void *block, plain *out) {
    const block_q4_0 *b = block;
    uint8_t codes[QUANT_BLOCK];
    unpack_nibbles(b->qs, 16, codes);
    codes_minus(codes, 8, out->q);
    out->d = quant_f16_to_f32(b->d);
    out->m = 0.0f;
}

static void plain_q4_1(const void *block, plain *out) {
    const block_q4_1 *b = block;
    uint8_t codes[QUANT_BLOCK];
    unpack_nibbles(b->qs, 16, codes);
    codes_minus(codes, 0, out->q);
    out->d = quant_f16_to_f32(b->d);
    out->m = quant_f16_to_f32(b->m);
}

static void plain_q5_0(const void *block, plain *out) {
    const block_q5_0 *b = block;
    uint8_t codes[QUANT_BLOCK];
    unpack_five_bits(b->qs, b->qh, codes);
    codes_minus(codes, 16, out->q);
    out->d = quant_f16_to_f32(b->d);
    out->m = 0.0f;
}

static void plain_q5_1(const void *block, plain *out) {
    const block_q5_1 *b = block;
    uint8_t codes[QUANT_BLOCK];
    unpack_five_bits(b->qs, b->qh, codes);
    codes_minus(codes, 0, out->q);
    out->d = quant_f16_to_f32(b->d);
    out->m = quant_f16_to_f32(b->m);
}

static void plain_q8_0(const void *block, plain *out) {
    const block_q8_0 *b = block;
    memcpy(out->q, b->qs, sizeof b->qs);
    out->d = quant_f16_to_f32(b->d);
    out->m = 0.0f;
}

static void plain_levels(const uint8_t qs[16], const int8_t values[16], float d, plain *out) {
    uint8_t codes[QUANT_BLOCK];
    unpack_nibbles(qs, 16, codes);
    for (int i = 0; i < QUANT_BLOCK; i++) out->q[i] = values[codes[i]];
    out->d = d;
    out->m = 0.0f;
}

static void plain_iq4_nl(const void *block, plain *out) {
    const block_iq4_nl *b = block;
    plain_levels(b->qs, quant_iq4_values, quant_f16_to_f32(b->d), out);
}

static void plain_mxfp4(const void *block, plain *out) {
    const block_mxfp4 *b = block;
    plain_levels(b->qs, quant_mxfp4_values, quant_power_of_two(b->e - 128), out);
}

#define PLAIN_DOT(type)                                                                        \
    void quant_dot_##type##_scalar(DOT_ARGS) {                                                 \
        dot_plain(weight, sizeof(block_##type), plain_##type, n_cols, acts, act_bytes, n_acts, \
                  out);                                                                        \
    }

PLAIN_DOT(q4_0)
PLAIN_DOT(q4_1)
PLAIN_DOT(q5_0)
PLAIN_DOT(q5_1)
PLAIN_DOT(q8_0)
PLAIN_DOT(iq4_nl)
PLAIN_DOT(mxfp4)

/* Two scales to a block of activations. */
void quant_dot_nvfp4_scalar(DOT_ARGS) {
    for (size_t t = 0; t < n_acts; t++) out[t] = 0.0f;
    for (size_t i = 0; i < n_cols / QUANT_BLOCK; i++) {
        const block_nvfp4 *b = (const block_nvfp4 *)weight + i / 2;
        const uint8_t *d = b->d + i % 2 * 2;
        uint8_t codes[QUANT_BLOCK];
        unpack_nibbles(b->qs + i % 2 * 16, 8, codes);
        unpack_nibbles(b->qs + i % 2 * 16 + 8, 8, codes + 16);
        for (size_t t = 0; t < n_acts; t++) {
            const block_act_q8 *a =
                (const block_act_q8 *)((const uint8_t *)acts + t * act_bytes) + i / 8;
            int sums[2] = {0};
            for (int l = 0; l < QUANT_BLOCK; l++)
                sums[l / 16] += quant_mxfp4_values[codes[l]] * a->qs[i % 8][l];
            float sum = quant_ue4m3_to_f32(d[0]) * (float)sums[0] +
                        quant_ue4m3_to_f32(d[1]) * (float)sums[1];
            out[t] += a->d[i % 8] * sum;
        }
    }
}

/* ---- super-blocks ------------------------------------------------------------------------ */

/* A weight super-block as numbers, in 16 sub-blocks of 16: y = d s q - dmin m. */
typedef struct super {
    int16_t q[QUANT_SUPER], s[16], m[16];
    float d, dmin;
} super;

typedef void super_fn(const void *block, super *out);

static float dot_super_block(const super *p, const block_act_q8_k *a) {
    int sum = 0, mins = 0;
    for (int j = 0; j < 16; j++) {
        int part = 0;
        for (int i = 16 * j; i < 16 * j + 16; i++) part += p->q[i] * a->qs[i];
        sum += p->s[j] * part;
        mins += p->m[j] * a->sums[j];
    }
    return p->d * a->d * (float)sum - p->dmin * a->d * (float)mins;
}

static inline void dot_super(const uint8_t *w, size_t block_bytes, super_fn *unpack, size_t n_cols,
                             const uint8_t *acts, size_t act_bytes, size_t n_acts, float *out) {
    for (size_t t = 0; t < n_acts; t++) out[t] = 0.0f;
    for (size_t i = 0; i < n_cols / QUANT_SUPER; i++) {
        super p;
        unpack(w + i * block_bytes, &p);
        for (size_t t = 0; t < n_acts; t++)
            out[t] += dot_super_block(&p, (const block_act_q8_k *)(acts + t * act_bytes) + i);
    }
}

static void super_codes(const uint8_t codes[QUANT_SUPER], super *out) {
    for (int i = 0; i < QUANT_SUPER; i++) out->q[i] = codes[i];
}

/* y = d s (q - zero) */
static void super_shifted(const int8_t s[16], int zero, float d, super *out) {
    for (int j = 0; j < 16; j++) {
        out->s[j] = s[j];
        out->m[j] = (int16_t)(zero * s[j]);
    }
    out->d = out->dmin = d;
}

/* Six-bit scales and minimums of sub-blocks of 32, each for two sub-blocks of 16. */
static void super_scales(const uint8_t packed[12], super *out) {
    uint8_t s[8], m[8];
    unpack_scales_k(packed, s, m);
    for (int j = 0; j < 16; j++) {
        out->s[j] = s[j / 2];
        out->m[j] = m[j / 2];
    }
}

static void super_q4_k(const void *block, super *out) {
    const block_q4_k *b = block;
    uint8_t codes[QUANT_SUPER];
    unpack_q4_k(b, codes);
    super_codes(codes, out);
    super_scales(b->scales, out);
    out->d = quant_f16_to_f32(b->d);
    out->dmin = quant_f16_to_f32(b->dmin);
}

static void super_q5_k(const void *block, super *out) {
    const block_q5_k *b = block;
    uint8_t codes[QUANT_SUPER];
    unpack_q5_k(b, codes);
    super_codes(codes, out);
    super_scales(b->scales, out);
    out->d = quant_f16_to_f32(b->d);
    out->dmin = quant_f16_to_f32(b->dmin);
}

static void super_q6_k(const void *block, super *out) {
    const block_q6_k *b = block;
    uint8_t codes[QUANT_SUPER];
    unpack_q6_k(b, codes);
    super_codes(codes, out);
    super_shifted(b->scales, 32, quant_f16_to_f32(b->d), out);
}

static void super_q3_k(const void *block, super *out) {
    const block_q3_k *b = block;
    uint8_t codes[QUANT_SUPER];
    int8_t s[16];
    unpack_q3_k(b, codes);
    unpack_scales_q3_k(b->scales, s);
    super_codes(codes, out);
    super_shifted(s, 4, quant_f16_to_f32(b->d), out);
}

static void super_q2_k(const void *block, super *out) {
    const block_q2_k *b = block;
    uint8_t codes[QUANT_SUPER];
    unpack_two_bits(b->qs, codes);
    super_codes(codes, out);
    for (int j = 0; j < 16; j++) {
        out->s[j] = b->scales[j] & 15;
        out->m[j] = b->scales[j] >> 4;
    }
    out->d = quant_f16_to_f32(b->d);
    out->dmin = quant_f16_to_f32(b->dmin);
}

static void super_iq4_xs(const void *block, super *out) {
    const block_iq4_xs *b = block;
    int8_t s[8];
    unpack_scales_iq4_xs(b, s);
    for (int j = 0; j < 8; j++) {
        plain p;
        plain_levels(b->qs + 16 * j, quant_iq4_values, 0.0f, &p);
        for (int i = 0; i < 32; i++) out->q[32 * j + i] = p.q[i];
    }
    for (int j = 0; j < 16; j++) {
        out->s[j] = s[j / 2];
        out->m[j] = 0;
    }
    out->d = quant_f16_to_f32(b->d);
    out->dmin = 0.0f;
}

#define SUPER_DOT(type)                                                                        \
    void quant_dot_##type##_scalar(DOT_ARGS) {                                                 \
        dot_super(weight, sizeof(block_##type), super_##type, n_cols, acts, act_bytes, n_acts, \
                  out);                                                                        \
    }

SUPER_DOT(q4_k)
SUPER_DOT(q5_k)
SUPER_DOT(q6_k)
SUPER_DOT(q3_k)
SUPER_DOT(q2_k)
SUPER_DOT(iq4_xs)

#define BOOK_DOT(type)                                        \
    static void super_##type(const void *block, super *out) { \
        quant_codes b;                                        \
        quant_codes_##type(block, &b);                        \
        super_codes(b.q, out);                                \
        super_shifted(b.s, b.zero, b.d, out);                 \
    }                                                         \
    SUPER_DOT(type)
FOR_EACH_BOOK(BOOK_DOT)

/* ---- scans ------------------------------------------------------------------------------- */

size_t quant_beyond_scalar(const void *x, size_t n, float limit) {
    size_t i = 0;
    for (; i < n; i++) {
        float a = load_f32((const uint8_t *)x + sizeof(float) * i);
        if (!(a <= limit && a >= -limit)) break;
    }
    return i;
}

size_t quant_masked_scalar(const void *x, size_t n, uint16_t mask) {
    size_t i = 0;
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const uint8_t *)x + sizeof h * i, sizeof h);
        if ((h & mask) == mask) break;
    }
    return i;
}
