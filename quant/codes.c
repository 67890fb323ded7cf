/* Which codes a block type uses. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/unpack.h"
#include "quant/stats.h"

#include <stddef.h>

unsigned quant_code_count(uint32_t type) {
    switch (type) {
    case GGUF_TYPE_Q1_0:
        return 2;
    case GGUF_TYPE_Q2_0:
    case GGUF_TYPE_Q2_K:
        return 4;
    case GGUF_TYPE_Q3_K:
        return 8;
    case GGUF_TYPE_Q4_0:
    case GGUF_TYPE_Q4_1:
    case GGUF_TYPE_Q4_K:
    case GGUF_TYPE_IQ4_NL:
    case GGUF_TYPE_IQ4_XS:
    case GGUF_TYPE_MXFP4:
    case GGUF_TYPE_NVFP4:
        return 16;
    case GGUF_TYPE_Q5_0:
    case GGUF_TYPE_Q5_1:
    case GGUF_TYPE_Q5_K:
        return 32;
    case GGUF_TYPE_Q6_K:
        return 64;
    case GGUF_TYPE_Q8_0:
        return 256;
    default:
        return 0;
    }
}

static size_t copy_nibbles(const uint8_t *qs, size_t n_bytes, uint8_t *codes) {
    for (size_t i = 0; i < n_bytes; i++) {
        codes[i] = qs[i] & 15;
        codes[i + n_bytes] = qs[i] >> 4;
    }
    return 2 * n_bytes;
}

/* Two bits each; the order within the block does not matter here. */
static size_t copy_pairs(const uint8_t qs[64], uint8_t codes[256]) {
    for (int i = 0; i < 256; i++)
        codes[i] = (uint8_t)(qs[32 * (i / 128) + i % 32] >> 2 * (i % 128 / 32) & 3);
    return 256;
}

/* Codes of n_bits, 16 bytes of them. */
static size_t copy_bits(const uint8_t qs[16], unsigned n_bits, uint8_t codes[256]) {
    size_t n = 128 / n_bits;
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)(qs[i * n_bits / 8] >> i * n_bits % 8 & ((1u << n_bits) - 1));
    return n;
}

static size_t unpack_q3(const block_q3_k *b, uint8_t codes[256]) {
    copy_pairs(b->qs, codes);
    for (int i = 0; i < 256; i++)
        codes[i] = (uint8_t)(codes[i] | (b->hmask[i % 32] >> i / 32 & 1) << 2);
    return 256;
}

static size_t unpack_q8(const block_q8_0 *b, uint8_t codes[256]) {
    for (int i = 0; i < 32; i++) codes[i] = (uint8_t)(b->qs[i] + 128);
    return 32;
}

static uint32_t load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static size_t unpack_q5(const uint8_t *qh, const uint8_t *qs, uint8_t codes[256]) {
    unpack_five_bits(qs, load_u32(qh), codes);
    return 32;
}

/* The codes of one block; how many. */
static size_t unpack_block(uint32_t type, const uint8_t *block, uint8_t codes[256]) {
    switch (type) {
    case GGUF_TYPE_Q2_K:
        return copy_pairs(block + offsetof(block_q2_k, qs), codes);
    case GGUF_TYPE_Q3_K:
        return unpack_q3((const block_q3_k *)block, codes);
    case GGUF_TYPE_Q4_0:
    case GGUF_TYPE_IQ4_NL:
        return copy_nibbles(block + offsetof(block_q4_0, qs), 16, codes);
    case GGUF_TYPE_Q4_1:
        return copy_nibbles(block + offsetof(block_q4_1, qs), 16, codes);
    case GGUF_TYPE_Q5_0:
        return unpack_q5(block + offsetof(block_q5_0, qh), block + offsetof(block_q5_0, qs), codes);
    case GGUF_TYPE_Q5_1:
        return unpack_q5(block + offsetof(block_q5_1, qh), block + offsetof(block_q5_1, qs), codes);
    case GGUF_TYPE_MXFP4:
        return copy_nibbles(block + offsetof(block_mxfp4, qs), 16, codes);
    case GGUF_TYPE_NVFP4:
        return copy_nibbles(block + offsetof(block_nvfp4, qs), 32, codes);
    case GGUF_TYPE_Q1_0:
        return copy_bits(block + offsetof(block_q1_0, qs), 1, codes);
    case GGUF_TYPE_Q2_0:
        return copy_bits(block + offsetof(block_q2_0, qs), 2, codes);
    case GGUF_TYPE_Q4_K:
        return copy_nibbles(block + offsetof(block_q4_k, qs), 128, codes);
    case GGUF_TYPE_IQ4_XS:
        return copy_nibbles(block + offsetof(block_iq4_xs, qs), 128, codes);
    case GGUF_TYPE_Q5_K:
        unpack_q5_k((const block_q5_k *)block, codes);
        return 256;
    case GGUF_TYPE_Q6_K:
        unpack_q6_k((const block_q6_k *)block, codes);
        return 256;
    case GGUF_TYPE_Q8_0:
        return unpack_q8((const block_q8_0 *)block, codes);
    default:
        return 0;
    }
}

void quant_code_histogram(uint32_t type, const void *blocks, size_t n_blocks, uint64_t *counts) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    const uint8_t *block = blocks;
    uint8_t codes[256];
    if (!quant_code_count(type)) return;
    for (size_t b = 0; b < n_blocks; b++, block += layout->block_bytes) {
        size_t n = unpack_block(type, block, codes);
        for (size_t i = 0; i < n; i++) counts[codes[i]]++;
    }
}
