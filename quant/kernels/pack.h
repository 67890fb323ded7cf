/* Codes into packed fields, eight at a time in 64-bit words. The counterpart of unpack.h. */
#ifndef QUANT_KERNELS_PACK_H
#define QUANT_KERNELS_PACK_H

#include <stdint.h>
#include <string.h>

#define BYTES_OF(byte) (0x0101010101010101u * (byte))

static inline uint64_t load_u64(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline void store_u64(uint8_t *p, uint64_t word) {
    memcpy(p, &word, sizeof word);
}

/* The low nibbles of n codes, then those of the n codes after them, in n bytes; n % 8 == 0. */
static inline void pack_nibbles(const uint8_t *codes, int n, uint8_t *qs) {
    for (int i = 0; i < n; i += 8) {
        uint64_t low = load_u64(codes + i) & BYTES_OF(15);
        uint64_t high = load_u64(codes + n + i) & BYTES_OF(15);
        store_u64(qs + i, low | high << 4);
    }
}

/* Bit i = the fifth bit of code i, for 32 codes. The product moves bit 0 of byte j to bit 56 + j.
 */
static inline uint32_t pack_fifth_bits(const uint8_t *codes) {
    uint32_t bits = 0;
    for (int i = 0; i < 32; i += 8) {
        uint64_t fifth = load_u64(codes + i) >> 4 & BYTES_OF(1);
        bits |= (uint32_t)(fifth * 0x0102040810204080u >> 56) << i;
    }
    return bits;
}

/* Bit j of byte i = the given bit of code 32 j + i, for 256 codes. */
static inline void pack_one_bits(const uint8_t *codes, int bit, uint8_t out[32]) {
    for (int i = 0; i < 32; i += 8) {
        uint64_t bits = 0;
        for (int j = 0; j < 8; j++)
            bits |= (load_u64(codes + 32 * j + i) >> bit & BYTES_OF(1)) << j;
        store_u64(out + i, bits);
    }
}

/* Bits 2 j and 2 j + 1 of byte i = two bits of code 32 j + i from `bit` on, for 128 codes. */
static inline void pack_two_bits(const uint8_t *codes, int bit, uint8_t out[32]) {
    for (int i = 0; i < 32; i += 8) {
        uint64_t bits = 0;
        for (int j = 0; j < 4; j++)
            bits |= (load_u64(codes + 32 * j + i) >> bit & BYTES_OF(3)) << 2 * j;
        store_u64(out + i, bits);
    }
}

/* S and M of 8 sub-blocks, 6 bits each: the first four whole, the upper two bits of the others in
 * the upper bits of the first. */
static inline void pack_scales_k(const float *s, const float *m, uint8_t packed[12]) {
    for (int j = 0; j < 4; j++) {
        uint8_t s0 = (uint8_t)(int)s[j], s1 = (uint8_t)(int)s[j + 4];
        uint8_t m0 = (uint8_t)(int)m[j], m1 = (uint8_t)(int)m[j + 4];
        packed[j] = (uint8_t)(s0 | (s1 >> 4) << 6);
        packed[j + 4] = (uint8_t)(m0 | (m1 >> 4) << 6);
        packed[j + 8] = (uint8_t)((s1 & 15) | (m1 & 15) << 4);
    }
}

/* 16 six-bit numbers: low nibbles of the first eight and of the others, then upper bit pairs. */
static inline void pack_scales_q3_k(const uint8_t s[16], uint8_t packed[12]) {
    pack_nibbles(s, 8, packed);
    for (int j = 0; j < 4; j++)
        packed[8 + j] =
            (uint8_t)(s[j] >> 4 | s[j + 4] >> 4 << 2 | s[j + 8] >> 4 << 4 | s[j + 12] >> 4 << 6);
}

#endif
