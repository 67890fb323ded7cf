/* Codes of codebook types: eight elements at a time in the bytes of a 64-bit word. */
#include "quant/kernels/books.h"
#include "quant/kernels/codebooks.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/unpack.h"

quant_books quant_spread_books;

static void spread_twos(const uint16_t *book, size_t n, const uint8_t levels[4], uint64_t *out) {
    for (size_t k = 0; k < n; k++) {
        uint8_t word[8];
        for (int i = 0; i < 8; i++) word[i] = levels[book[k] >> 2 * i & 3];
        memcpy(&out[k], word, sizeof word);
    }
}

static void spread_threes(const uint16_t *book, size_t n, const uint8_t levels[8], uint32_t *out) {
    for (size_t k = 0; k < n; k++) {
        uint8_t word[4];
        for (int i = 0; i < 4; i++) word[i] = levels[book[k] >> 3 * i & 7];
        memcpy(&out[k], word, sizeof word);
    }
}

static void spread_signs(void) {
    for (size_t k = 0; k < 256; k++) {
        uint8_t bytes[8];
        for (int i = 0; i < 8; i++) bytes[i] = k >> i & 1 ? 255 : 0;
        memcpy(&quant_spread_books.signs[k], bytes, sizeof bytes);
    }
    /* The eighth sign makes their number even. */
    for (size_t k = 0; k < 128; k++)
        quant_spread_books.even_signs[k] =
            quant_spread_books.signs[k | (size_t)(__builtin_popcount((unsigned)k) & 1) << 7];
}

void quant_books_spread(void) {
    /* Eighths: 8 more than -1, 0 and 1 have. */
    static const uint8_t levels_iq1[4] = {0, 8, 16, 0};
    static const uint8_t levels_iq2[4] = {8, 25, 43, 0};
    static const uint8_t levels_iq3_xxs[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    static const uint8_t levels_iq3_s[8] = {1, 3, 5, 7, 9, 11, 13, 15};
    spread_twos(quant_book_iq1, 2048, levels_iq1, quant_spread_books.iq1);
    spread_twos(quant_book_iq2_xxs, 256, levels_iq2, quant_spread_books.iq2_xxs);
    spread_twos(quant_book_iq2_xs, 512, levels_iq2, quant_spread_books.iq2_xs);
    spread_twos(quant_book_iq2_s, 1024, levels_iq2, quant_spread_books.iq2_s);
    spread_threes(quant_book_iq3_xxs, 256, levels_iq3_xxs, quant_spread_books.iq3_xxs);
    spread_threes(quant_book_iq3_s, 512, levels_iq3_s, quant_spread_books.iq3_s);
    spread_signs();
}

/* ---- codes ------------------------------------------------------------------------------- */

/* zero + or - each magnitude, which is at most zero: no byte borrows from the next. */
static inline void store_codes(uint8_t out[8], uint64_t magnitudes, uint64_t signs, int zero) {
    uint64_t twice = (magnitudes & signs) << 1;
    store_u64(out, BYTES_OF((uint64_t)zero) + magnitudes - twice);
}

static inline int8_t odd(uint32_t s) {
    return (int8_t)(2 * s + 1);
}

/* The scale of group g of 8, in nibbles for every second. */
static inline uint32_t nibble_of(const uint8_t *scales, int j) {
    return scales[j / 2] >> 4 * (j % 2) & 15;
}

void quant_codes_iq2_xxs(const void *block, quant_codes *out) {
    const block_iq2_xxs *b = block;
    for (int j = 0; j < 8; j++) {
        uint32_t words = b->qs[2 * j], signs = b->qs[2 * j + 1];
        for (int g = 0; g < 4; g++)
            store_codes(out->q + 32 * j + 8 * g, quant_spread_books.iq2_xxs[words >> 8 * g & 255],
                        quant_spread_books.even_signs[signs >> 7 * g & 127], QUANT_ZERO_IQ2);
        out->s[2 * j] = out->s[2 * j + 1] = odd(signs >> 28);
    }
    out->d = quant_f16_to_f32(b->d) * 0.125f;
    out->zero = QUANT_ZERO_IQ2;
}

void quant_codes_iq2_xs(const void *block, quant_codes *out) {
    const block_iq2_xs *b = block;
    for (int g = 0; g < 32; g++)
        store_codes(out->q + 8 * g, quant_spread_books.iq2_xs[b->qs[g] & 511],
                    quant_spread_books.even_signs[b->qs[g] >> 9], QUANT_ZERO_IQ2);
    for (int j = 0; j < 16; j++) out->s[j] = odd(nibble_of(b->scales, j));
    out->d = quant_f16_to_f32(b->d) * 0.125f;
    out->zero = QUANT_ZERO_IQ2;
}

void quant_codes_iq2_s(const void *block, quant_codes *out) {
    const block_iq2_s *b = block;
    for (int g = 0; g < 32; g++) {
        int word = b->qs[g] | (b->qh[g / 4] >> g % 4 * 2 & 3) << 8;
        store_codes(out->q + 8 * g, quant_spread_books.iq2_s[word],
                    quant_spread_books.signs[b->signs[g]], QUANT_ZERO_IQ2);
    }
    for (int j = 0; j < 16; j++) out->s[j] = odd(nibble_of(b->scales, j));
    out->d = quant_f16_to_f32(b->d) * 0.125f;
    out->zero = QUANT_ZERO_IQ2;
}

static inline uint64_t two_words(uint32_t first, uint32_t second) {
    uint32_t both[2] = {first, second};
    return load_u64((const uint8_t *)both);
}

void quant_codes_iq3_xxs(const void *block, quant_codes *out) {
    const block_iq3_xxs *b = block;
    for (int j = 0; j < 8; j++) {
        const uint8_t *qs = b->qs + 8 * j;
        uint32_t signs = b->signs[j];
        for (int g = 0; g < 4; g++)
            store_codes(out->q + 32 * j + 8 * g,
                        two_words(quant_spread_books.iq3_xxs[qs[2 * g]],
                                  quant_spread_books.iq3_xxs[qs[2 * g + 1]]),
                        quant_spread_books.even_signs[signs >> 7 * g & 127], QUANT_ZERO_IQ3_XXS);
        out->s[2 * j] = out->s[2 * j + 1] = odd(signs >> 28);
    }
    out->d = quant_f16_to_f32(b->d) * 0.25f;
    out->zero = QUANT_ZERO_IQ3_XXS;
}

void quant_codes_iq3_s(const void *block, quant_codes *out) {
    const block_iq3_s *b = block;
    for (int j = 0; j < 8; j++) {
        const uint8_t *qs = b->qs + 8 * j;
        uint32_t upper = (uint32_t)b->qh[j] << 8;
        for (int g = 0; g < 4; g++) {
            uint32_t first = qs[2 * g] | (upper >> 2 * g & 256);
            uint32_t second = qs[2 * g + 1] | (upper >> (2 * g + 1) & 256);
            store_codes(
                out->q + 32 * j + 8 * g,
                two_words(quant_spread_books.iq3_s[first], quant_spread_books.iq3_s[second]),
                quant_spread_books.signs[b->signs[4 * j + g]], QUANT_ZERO_IQ3_S);
        }
        out->s[2 * j] = out->s[2 * j + 1] = odd(nibble_of(b->scales, j));
    }
    out->d = quant_f16_to_f32(b->d);
    out->zero = QUANT_ZERO_IQ3_S;
}

/* Group g of 8: the word, and an eighth up or down. */
static inline void store_shifted(uint8_t out[8], uint32_t word, bool down) {
    store_u64(out, quant_spread_books.iq1[word] + (down ? 0 : BYTES_OF(2)));
}

void quant_codes_iq1_s(const void *block, quant_codes *out) {
    const block_iq1_s *b = block;
    for (int j = 0; j < 8; j++) {
        uint32_t qh = b->qh[j];
        for (int g = 0; g < 4; g++)
            store_shifted(out->q + 32 * j + 8 * g, b->qs[4 * j + g] | (qh >> 3 * g & 7) << 8,
                          qh >> 15);
        out->s[2 * j] = out->s[2 * j + 1] = odd(qh >> 12 & 7);
    }
    out->d = quant_f16_to_f32(b->d) * 0.125f;
    out->zero = QUANT_ZERO_IQ1;
}

void quant_codes_iq1_m(const void *block, quant_codes *out) {
    const block_iq1_m *b = block;
    for (int g = 0; g < 32; g++) {
        uint32_t upper = b->qh[g / 2] >> 4 * (g % 2) & 15;
        store_shifted(out->q + 8 * g, b->qs[g] | (upper & 7) << 8, upper & 8);
    }
    for (int j = 0; j < 16; j++) out->s[j] = odd(b->scales[j / 4] >> j % 4 * 3 & 7);
    out->d = quant_iq1_m_scale(b) * 0.125f;
    out->zero = QUANT_ZERO_IQ1;
}

/* ---- ternary ----------------------------------------------------------------------------- */

/* n_digits ternary digits of each of n bytes, the first of all before the second of all. The digit
 * is the whole part of three times the fraction that is left. */
static inline void store_digits(const uint8_t *bytes, int n, int n_digits, uint8_t *out) {
    uint8_t left[32];
    memcpy(left, bytes, (size_t)n);
    for (int k = 0; k < n_digits; k++, out += n)
        for (int i = 0; i < n; i++) {
            int tripled = 3 * left[i];
            out[i] = (uint8_t)(tripled >> 8);
            left[i] = (uint8_t)tripled;
        }
}

static inline void ternary(uint16_t d, quant_codes *out) {
    memset(out->s, 1, sizeof out->s);
    out->d = quant_f16_to_f32(d);
    out->zero = QUANT_ZERO_TERNARY;
}

void quant_codes_tq1_0(const void *block, quant_codes *out) {
    const block_tq1_0 *b = block;
    store_digits(b->qs, 32, 5, out->q);
    store_digits(b->qs + 32, 16, 5, out->q + 160);
    store_digits(b->qh, 4, 4, out->q + 240);
    ternary(b->d, out);
}

void quant_codes_tq2_0(const void *block, quant_codes *out) {
    const block_tq2_0 *b = block;
    unpack_two_bits(b->qs, out->q);
    ternary(b->d, out);
}

/* ---- nibbles ----------------------------------------------------------------------------- */

const uint8_t quant_levels_iq1[16] = {0, 2, 8, 10, 16, 18};
const uint8_t quant_levels_iq2[16] = {0, 18, 35, 51, 68, 86};
const uint8_t quant_levels_iq3_xxs[16] = {0,  10, 18, 26, 34, 42,  50,  58,
                                          66, 74, 82, 90, 98, 106, 114, 124};
const uint8_t quant_levels_iq3_s[16] = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
const uint8_t quant_levels_ternary[16] = {0, 1, 2};

static const struct book {
    uint32_t type;
    quant_codes_fn *codes;
    const uint8_t *levels;
} books[] = {
    {GGUF_TYPE_IQ1_S, quant_codes_iq1_s, quant_levels_iq1},
    {GGUF_TYPE_IQ1_M, quant_codes_iq1_m, quant_levels_iq1},
    {GGUF_TYPE_IQ2_XXS, quant_codes_iq2_xxs, quant_levels_iq2},
    {GGUF_TYPE_IQ2_XS, quant_codes_iq2_xs, quant_levels_iq2},
    {GGUF_TYPE_IQ2_S, quant_codes_iq2_s, quant_levels_iq2},
    {GGUF_TYPE_IQ3_XXS, quant_codes_iq3_xxs, quant_levels_iq3_xxs},
    {GGUF_TYPE_IQ3_S, quant_codes_iq3_s, quant_levels_iq3_s},
    {GGUF_TYPE_TQ1_0, quant_codes_tq1_0, quant_levels_ternary},
    {GGUF_TYPE_TQ2_0, quant_codes_tq2_0, quant_levels_ternary},
};

static const struct book *book_of(uint32_t type) {
    for (size_t i = 0; i < sizeof books / sizeof books[0]; i++)
        if (books[i].type == type) return &books[i];
    return NULL;
}

bool quant_is_book(uint32_t type) {
    return book_of(type);
}

void quant_nibbles_of(uint32_t type, const void *block, quant_nibbles *out) {
    const struct book *book = book_of(type);
    uint8_t number[128] = {0};
    quant_codes b;
    book->codes(block, &b);
    for (uint8_t i = 1; i < 16; i++)
        if (book->levels[i]) number[book->levels[i]] = i;
    for (int i = 0; i < QUANT_SUPER; i++) b.q[i] = number[b.q[i]];
    for (int j = 0; j < 8; j++) pack_nibbles(b.q + 32 * j, 16, out->qs + 16 * j);
    memcpy(out->s, b.s, sizeof b.s);
    out->d = b.d;
}
