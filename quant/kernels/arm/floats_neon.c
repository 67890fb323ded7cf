/* NEON products of floats. */
#include "quant/kernels/kernels.h"

#include <arm_neon.h>
#include <string.h>

typedef float32x4_t load4_fn(const uint8_t *p); /* 4 weights */

static inline float32x4_t load4_f32(const uint8_t *p) {
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

static inline float32x4_t load4_f16(const uint8_t *p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

static inline float32x4_t load4_bf16(const uint8_t *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

/* The last columns, fewer than 4, as a vector filled up with zeros. */
static inline float32x4_t load_tail(const uint8_t *p, size_t n_bytes, size_t n, load4_fn *load) {
    uint8_t buffer[16] = {0};
    memcpy(buffer, p, n * n_bytes);
    return load(buffer);
}

/* One activation times n_rows rows: column c goes to lane c % 4 of each sum. */
static inline void multiply(const quant_floats *m, size_t n_bytes, load4_fn *load,
                            const uint8_t *act, size_t n_rows, float *out) {
    float32x4_t sum[QUANT_FLOAT_ROWS];
    size_t i = 0, rest = m->n_cols % 4;
    for (size_t r = 0; r < n_rows; r++) sum[r] = vdupq_n_f32(0.0f);
    for (; i + 4 <= m->n_cols; i += 4) {
        float32x4_t a = load4_f32(act + i * sizeof(float));
        for (size_t r = 0; r < n_rows; r++)
            sum[r] = vfmaq_f32(sum[r], load(m->rows + r * m->row_bytes + i * n_bytes), a);
    }
    for (size_t r = 0; r < n_rows && rest; r++)
        sum[r] = vfmaq_f32(sum[r],
                           load_tail(m->rows + r * m->row_bytes + i * n_bytes, n_bytes, rest, load),
                           load_tail(act + i * sizeof(float), sizeof(float), rest, load4_f32));
    for (size_t r = 0; r < n_rows; r++) out[r] = vaddvq_f32(sum[r]) + (m->add ? out[r] : 0.0f);
}

#define FLOATS(name, n_bytes)                                                   \
    void quant_floats_##name##_neon(const quant_floats *m) {                    \
        for (size_t t = 0; t < m->n_acts; t++) {                                \
            const uint8_t *act = m->acts + t * m->act_bytes;                    \
            float *out = m->out + t * m->out_stride;                            \
            if (m->n_rows == QUANT_FLOAT_ROWS)                                  \
                multiply(m, n_bytes, load4_##name, act, QUANT_FLOAT_ROWS, out); \
            else                                                                \
                multiply(m, n_bytes, load4_##name, act, m->n_rows, out);        \
        }                                                                       \
    }

FLOATS(f32, 4)
FLOATS(f16, 2)
FLOATS(bf16, 2)
