/* Steps and codes of every block format. */
#include "quant/kernels/lattice.h"

#include "libgguf/gguf.h"
#include "quant/kernels/blocks.h"
#include "quant/kernels/unpack.h"

#include <string.h>

static const quant_lattice lattices[] = {
    [GGUF_TYPE_Q4_0] = {QUANT_LATTICE_FLAT, 32, 1, false, -8, 7, NULL, 1, 1},
    [GGUF_TYPE_Q4_1] = {QUANT_LATTICE_FLAT, 32, 1, true, 0, 15, NULL, 1, 1},
    [GGUF_TYPE_Q5_0] = {QUANT_LATTICE_FLAT, 32, 1, false, -16, 15, NULL, 1, 1},
    [GGUF_TYPE_Q5_1] = {QUANT_LATTICE_FLAT, 32, 1, true, 0, 31, NULL, 1, 1},
    [GGUF_TYPE_Q8_0] = {QUANT_LATTICE_FLAT, 32, 1, false, -127, 127, NULL, 1, 1},
    [GGUF_TYPE_IQ4_NL] = {QUANT_LATTICE_FLAT, 32, 1, false, -127, 113, &quant_iq4_levels, 1, 1},
    [GGUF_TYPE_MXFP4] = {QUANT_LATTICE_POWER, 32, 1, false, -12, 12, &quant_mxfp4_levels, 1, 1},
    [GGUF_TYPE_NVFP4] = {QUANT_LATTICE_UE4M3, 64, 4, false, -12, 12, &quant_mxfp4_levels, 1, 1},
    [GGUF_TYPE_Q1_0] = {QUANT_LATTICE_FLAT, 128, 1, false, -1, 1, &quant_sign_levels, 1, 1},
    [GGUF_TYPE_Q2_0] = {QUANT_LATTICE_FLAT, 64, 1, false, -1, 2, NULL, 1, 1},
    [GGUF_TYPE_Q2_K] = {QUANT_LATTICE_SUPER_BLOCK, 256, 16, true, 0, 3, NULL, 0, 15},
    [GGUF_TYPE_Q3_K] = {QUANT_LATTICE_SUPER_BLOCK, 256, 16, false, -4, 3, NULL, -32, 31},
    [GGUF_TYPE_Q4_K] = {QUANT_LATTICE_SUPER_BLOCK, 256, 8, true, 0, 15, NULL, 0, 63},
    [GGUF_TYPE_Q5_K] = {QUANT_LATTICE_SUPER_BLOCK, 256, 8, true, 0, 31, NULL, 0, 63},
    [GGUF_TYPE_Q6_K] = {QUANT_LATTICE_SUPER_BLOCK, 256, 16, false, -32, 31, NULL, -128, 127},
    [GGUF_TYPE_IQ4_XS] = {QUANT_LATTICE_SUPER_BLOCK, 256, 8, false, -127, 113, &quant_iq4_levels,
                          -32, 31},
};

const quant_lattice *quant_lattice_of(uint32_t type) {
    if (type >= sizeof lattices / sizeof lattices[0] || !lattices[type].n_elems) return NULL;
    return &lattices[type];
}

/* ---- reading ----------------------------------------------------------------------------- */

static float f16_at(const void *block, size_t off) {
    uint16_t h;
    memcpy(&h, (const uint8_t *)block + off, sizeof h);
    return quant_f16_to_f32(h);
}

static void read_scales_k(const uint8_t packed[12], quant_steps *t) {
    uint8_t s[8], m[8];
    unpack_scales_k(packed, s, m);
    for (int j = 0; j < 8; j++) {
        t->s[j] = s[j];
        t->m[j] = m[j];
    }
}

static void read_q3_k(const block_q3_k *b, quant_steps *t) {
    for (int j = 0; j < 16; j++) {
        unsigned low = j < 8 ? b->scales[j] & 15 : b->scales[j - 8] >> 4;
        unsigned high = b->scales[8 + j % 4] >> 2 * (j / 4) & 3;
        t->s[j] = (float)(low | high << 4) - 32;
    }
}

static void read_iq4_xs(const block_iq4_xs *b, quant_steps *t) {
    for (int j = 0; j < 8; j++) {
        unsigned low = b->scales_l[j / 2] >> 4 * (j % 2) & 15, high = b->scales_h >> 2 * j & 3;
        t->s[j] = (float)(low | high << 4) - 32;
    }
}

static void read_super(uint32_t type, const void *block, quant_steps *t) {
    switch (type) {
    case GGUF_TYPE_Q2_K: {
        const block_q2_k *b = block;
        t->d = f16_at(b, offsetof(block_q2_k, d));
        t->dmin = f16_at(b, offsetof(block_q2_k, dmin));
        for (int j = 0; j < 16; j++) {
            t->s[j] = (float)(b->scales[j] & 15);
            t->m[j] = (float)(b->scales[j] >> 4);
        }
        break;
    }
    case GGUF_TYPE_Q3_K:
        t->d = f16_at(block, offsetof(block_q3_k, d));
        read_q3_k(block, t);
        break;
    case GGUF_TYPE_Q4_K:
    case GGUF_TYPE_Q5_K: /* the same head */
        t->d = f16_at(block, offsetof(block_q4_k, d));
        t->dmin = f16_at(block, offsetof(block_q4_k, dmin));
        read_scales_k(((const block_q4_k *)block)->scales, t);
        break;
    case GGUF_TYPE_Q6_K: {
        const block_q6_k *b = block;
        t->d = f16_at(b, offsetof(block_q6_k, d));
        for (int j = 0; j < 16; j++) t->s[j] = b->scales[j];
        break;
    }
    default:
        t->d = f16_at(block, offsetof(block_iq4_xs, d));
        read_iq4_xs(block, t);
        break;
    }
}

void quant_lattice_read(uint32_t type, const void *block, quant_steps *t) {
    const quant_lattice *l = quant_lattice_of(type);
    *t = (quant_steps){.s = {1}, .m = {l->has_min}};
    switch (l->kind) {
    case QUANT_LATTICE_FLAT:
        t->d = f16_at(block, 0);
        if (l->has_min) t->dmin = -f16_at(block, 2);
        break;
    case QUANT_LATTICE_POWER:
        t->d = quant_power_of_two(((const block_mxfp4 *)block)->e - 128);
        break;
    case QUANT_LATTICE_UE4M3:
        t->d = 1;
        for (int j = 0; j < l->n_subs; j++)
            t->s[j] = quant_ue4m3_to_f32(((const block_nvfp4 *)block)->d[j]);
        break;
    case QUANT_LATTICE_SUPER_BLOCK:
        read_super(type, block, t);
        break;
    }
}

/* ---- writing ----------------------------------------------------------------------------- */

/* Codes as they are stored: from 0 on, or the index of the level. */
static void codes_of(const quant_lattice *l, const float *numbers, int stride, uint8_t *codes) {
    for (int i = 0; i < l->n_elems; i++) {
        float v = numbers[(size_t)i * (size_t)stride];
        int code = (int)(v - l->lo);
        if (l->levels)
            for (code = 15; code > 0 && l->levels->level[code] > v; code--) continue;
        codes[i] = (uint8_t)code;
    }
}

static void put_f16(void *block, size_t off, float value) {
    uint16_t h = quant_f16_saturated(value);
    memcpy((uint8_t *)block + off, &h, sizeof h);
}

/* One or two bits, one element after the other. */
static void write_few(uint32_t type, int n, const uint8_t *codes, uint8_t *qs) {
    memset(qs, 0, 16);
    for (int i = 0; i < n; i++) {
        int code = type == GGUF_TYPE_Q1_0 ? (codes[i] == 15) << i % 8 : codes[i] << i % 4 * 2;
        qs[i * 16 / n] = (uint8_t)(qs[i * 16 / n] | code);
    }
}

static void write_flat(uint32_t type, const quant_lattice *l, const quant_steps *t,
                       const uint8_t *codes, uint8_t *block) {
    size_t at = l->has_min ? 4 : 2;
    put_f16(block, 0, t->d);
    if (l->has_min) put_f16(block, 2, -t->dmin);
    if (type == GGUF_TYPE_Q8_0) {
        for (int i = 0; i < 32; i++) block[at + (size_t)i] = (uint8_t)(codes[i] - 127);
        return;
    }
    if (type == GGUF_TYPE_Q1_0 || type == GGUF_TYPE_Q2_0) {
        write_few(type, l->n_elems, codes, block + at);
        return;
    }
    if (type == GGUF_TYPE_Q5_0 || type == GGUF_TYPE_Q5_1) {
        uint32_t qh = pack_fifth_bits(codes);
        memcpy(block + at, &qh, sizeof qh);
        at += sizeof qh;
    }
    pack_nibbles(codes, 16, block + at);
}

static void write_mxfp4(const quant_steps *t, uint8_t *codes, block_mxfp4 *b) {
    for (int i = 0; i < 32; i++) codes[i] = quant_mxfp4_codes[codes[i]];
    pack_nibbles(codes, 16, b->qs);
    /* d = 2^(e - 128); its exponent field is e - 1, and below that d is a denormal. */
    unsigned field = quant_f32_bits(t->d) >> 23;
    b->e = (uint8_t)(field ? field + 1 : t->d == 0x1p-127f);
}

static void write_nvfp4(const quant_steps *t, uint8_t *codes, uint8_t *block) {
    uint8_t *qs = block + offsetof(block_nvfp4, qs);
    for (int i = 0; i < 64; i++) codes[i] = quant_mxfp4_codes[codes[i]];
    for (int j = 0; j < 4; j++) block[j] = quant_ue4m3_code(t->s[j]);
    for (int i = 0; i < 32; i++) {
        const uint8_t *pair = codes + i / 8 * 16 + i % 8;
        qs[i] = (uint8_t)(pair[0] | pair[8] << 4);
    }
}

static void write_iq4_xs(const quant_steps *t, const uint8_t *codes, block_iq4_xs *b) {
    unsigned high = 0;
    b->d = quant_f16_saturated(t->d);
    memset(b->scales_l, 0, sizeof b->scales_l);
    for (int j = 0; j < 8; j++) {
        unsigned s = (unsigned)(int)(t->s[j] + 32);
        b->scales_l[j / 2] = (uint8_t)(b->scales_l[j / 2] | (s & 15) << 4 * (j % 2));
        high |= s >> 4 << 2 * j;
        pack_nibbles(codes + 32 * j, 16, b->qs + 16 * j);
    }
    b->scales_h = (uint16_t)high;
}

static void write_q6_k(const quant_steps *t, const uint8_t *codes, block_q6_k *b) {
    b->d = quant_f16_saturated(t->d);
    for (int j = 0; j < 16; j++) b->scales[j] = (int8_t)(int)t->s[j];
    for (int half = 0; half < 2; half++) {
        pack_nibbles(codes + 128 * half, 64, b->ql + 64 * half);
        pack_two_bits(codes + 128 * half, 4, b->qh + 32 * half);
    }
}

static void write_q3_k(const quant_steps *t, const uint8_t *codes, block_q3_k *b) {
    uint8_t scales[16];
    b->d = quant_f16_saturated(t->d);
    for (int j = 0; j < 16; j++) scales[j] = (uint8_t)(int)(t->s[j] + 32);
    pack_scales_q3_k(scales, b->scales);
    pack_one_bits(codes, 2, b->hmask);
    for (int half = 0; half < 2; half++) pack_two_bits(codes + 128 * half, 0, b->qs + 32 * half);
}

static void write_q2_k(const quant_steps *t, const uint8_t *codes, block_q2_k *b) {
    b->d = quant_f16_saturated(t->d);
    b->dmin = quant_f16_saturated(t->dmin);
    for (int j = 0; j < 16; j++) b->scales[j] = (uint8_t)((int)t->s[j] | (int)t->m[j] << 4);
    for (int half = 0; half < 2; half++) pack_two_bits(codes + 128 * half, 0, b->qs + 32 * half);
}

static void write_nibbles_k(const uint8_t *codes, uint8_t *qs) {
    for (int j = 0; j < 4; j++) pack_nibbles(codes + 64 * j, 32, qs + 32 * j);
}

static void write_super(uint32_t type, const quant_steps *t, const uint8_t *codes, void *block) {
    switch (type) {
    case GGUF_TYPE_Q2_K:
        write_q2_k(t, codes, block);
        return;
    case GGUF_TYPE_Q3_K:
        write_q3_k(t, codes, block);
        return;
    case GGUF_TYPE_Q6_K:
        write_q6_k(t, codes, block);
        return;
    case GGUF_TYPE_IQ4_XS:
        write_iq4_xs(t, codes, block);
        return;
    default:
        break;
    }
    put_f16(block, offsetof(block_q4_k, d), t->d);
    put_f16(block, offsetof(block_q4_k, dmin), t->dmin);
    pack_scales_k(t->s, t->m, ((block_q4_k *)block)->scales);
    if (type == GGUF_TYPE_Q5_K) {
        pack_one_bits(codes, 4, ((block_q5_k *)block)->qh);
        write_nibbles_k(codes, ((block_q5_k *)block)->qs);
    } else {
        write_nibbles_k(codes, ((block_q4_k *)block)->qs);
    }
}

void quant_lattice_write(uint32_t type, const quant_steps *t, const float *numbers,
                         int numbers_stride, void *block) {
    const quant_lattice *l = quant_lattice_of(type);
    uint8_t codes[QUANT_SUPER];
    codes_of(l, numbers, numbers_stride, codes);
    switch (l->kind) {
    case QUANT_LATTICE_FLAT:
        write_flat(type, l, t, codes, block);
        break;
    case QUANT_LATTICE_POWER:
        write_mxfp4(t, codes, block);
        break;
    case QUANT_LATTICE_UE4M3:
        write_nvfp4(t, codes, block);
        break;
    case QUANT_LATTICE_SUPER_BLOCK:
        write_super(type, t, codes, block);
        break;
    }
}
