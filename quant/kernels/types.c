/* The one traits table, and the sizes that follow from it. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/codebooks.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/numeric.h"

#include <float.h>

#define F16_AT(...) .n_f16 = sizeof((uint8_t[]){__VA_ARGS__}), .f16_off = {__VA_ARGS__}

#define ROW(number, rank, other) \
    .file_type = (number), .candidate = (rank), .fallback = GGUF_TYPE_##other

/* One row per type: everything that differs between types stands here, but for names and blocks
 * (libgguf) and the levels of their codes (lattice.c).
 * max_abs: the largest finite f16 as d (or m, dmin) times the largest factors that may follow it.
 */
static const quant_traits traits[QUANT_N_TYPES] = {
    [GGUF_TYPE_F32] = {ROW(0, 0, F32), .max_abs = FLT_MAX},
    [GGUF_TYPE_F16] = {ROW(1, 19, F16), .max_abs = 65519.996f, .exponent16 = 0x7C00},
    [GGUF_TYPE_BF16] = {ROW(32, 0, BF16), .max_abs = 0x1.fefffep127f, .exponent16 = 0x7F80},
    [GGUF_TYPE_Q4_0] = {ROW(2, 0, F16), .max_abs = QUANT_F16_MAX * 8, .act = QUANT_ACT_Q8,
                        F16_AT(0)},
    [GGUF_TYPE_Q4_1] = {ROW(3, 13, F16), .max_abs = QUANT_F16_MAX, .act = QUANT_ACT_Q8,
                        F16_AT(0, 2)},
    [GGUF_TYPE_Q5_0] = {ROW(8, 14, F16), .max_abs = QUANT_F16_MAX * 16, .act = QUANT_ACT_Q8,
                        F16_AT(0)},
    [GGUF_TYPE_Q5_1] = {ROW(9, 16, F16), .max_abs = QUANT_F16_MAX, .act = QUANT_ACT_Q8,
                        F16_AT(0, 2)},
    [GGUF_TYPE_Q8_0] = {ROW(7, 18, F16), .max_abs = QUANT_F16_MAX * 127, .act = QUANT_ACT_Q8,
                        F16_AT(0)},
    [GGUF_TYPE_Q2_K] = {ROW(10, 6, Q4_0), .max_abs = QUANT_F16_MAX * 15, .spread = 2.0f,
                        .act = QUANT_ACT_Q8_K, F16_AT(80, 82)},
    [GGUF_TYPE_Q3_K] = {ROW(11, 8, Q4_0), .max_abs = QUANT_F16_MAX * 32 * 3, .spread = 3.0f,
                        .act = QUANT_ACT_Q8_K, F16_AT(108)},
    [GGUF_TYPE_Q4_K] = {ROW(14, 12, Q5_0), .max_abs = QUANT_F16_MAX * 63, .act = QUANT_ACT_Q8_K,
                        F16_AT(0, 2)},
    [GGUF_TYPE_Q5_K] = {ROW(16, 15, Q5_1), .max_abs = QUANT_F16_MAX * 63, .act = QUANT_ACT_Q8_K,
                        F16_AT(0, 2)},
    [GGUF_TYPE_Q6_K] = {ROW(18, 17, Q8_0), .max_abs = QUANT_F16_MAX * 128 * 31,
                        .act = QUANT_ACT_Q8_K, F16_AT(208)},
    [GGUF_TYPE_IQ4_NL] = {ROW(25, 11, F16), .max_abs = QUANT_F16_MAX * 113, .act = QUANT_ACT_Q8,
                          F16_AT(0)},
    [GGUF_TYPE_IQ4_XS] = {ROW(30, 10, IQ4_NL), .max_abs = QUANT_F16_MAX * 32 * 113,
                          .act = QUANT_ACT_Q8_K, F16_AT(0)},
    [GGUF_TYPE_MXFP4] = {ROW(38, 0, F16), .max_abs = 0x1.8p127f, .act = QUANT_ACT_Q8,
                         .has_e8m0 = true},
    [GGUF_TYPE_NVFP4] = {ROW(39, 0, MXFP4), .max_abs = 224.0f * 12.0f, .act = QUANT_ACT_Q8},
    [GGUF_TYPE_Q1_0] = {ROW(40, 0, Q4_0), .max_abs = QUANT_F16_MAX, F16_AT(0)},
    [GGUF_TYPE_Q2_0] = {ROW(41, 0, Q4_0), .max_abs = QUANT_F16_MAX, F16_AT(0)},
    [GGUF_TYPE_IQ2_XXS] = {ROW(19, 3, IQ4_NL), .act = QUANT_ACT_Q8_K, .demands_imp = true,
                           .spread = 1.0f, .max_abs = QUANT_F16_MAX * 3.875f * 43, F16_AT(0)},
    [GGUF_TYPE_IQ2_XS] = {ROW(20, 4, IQ4_NL), .act = QUANT_ACT_Q8_K, .demands_imp = true,
                          .spread = 1.0f, .max_abs = QUANT_F16_MAX * 3.875f * 43, F16_AT(0)},
    [GGUF_TYPE_IQ2_S] = {ROW(28, 5, IQ4_NL), .act = QUANT_ACT_Q8_K, .demands_imp = true,
                         .spread = 1.0f, .max_abs = QUANT_F16_MAX * 3.875f * 43, F16_AT(0)},
    [GGUF_TYPE_IQ3_XXS] = {ROW(23, 7, IQ4_NL), .act = QUANT_ACT_Q8_K, .demands_imp = true,
                           .spread = 2.0f, .max_abs = QUANT_F16_MAX * 7.75f * 62, F16_AT(0)},
    [GGUF_TYPE_IQ3_S] = {ROW(26, 9, IQ4_NL), .act = QUANT_ACT_Q8_K, .spread = 2.0f,
                         .max_abs = QUANT_F16_MAX * 31 * 15, F16_AT(0)},
    [GGUF_TYPE_IQ1_S] = {ROW(24, 1, IQ4_NL), .act = QUANT_ACT_Q8_K, .demands_imp = true,
                         .spread = 1.0f, .max_abs = QUANT_F16_MAX * 15, F16_AT(0)},
    [GGUF_TYPE_IQ1_M] = {ROW(31, 2, IQ4_NL), .act = QUANT_ACT_Q8_K, .demands_imp = true,
                         .spread = 1.0f, .max_abs = QUANT_F16_MAX * 15, .has_spread_f16 = true},
    [GGUF_TYPE_TQ1_0] = {ROW(36, 0, Q4_0), .act = QUANT_ACT_Q8_K, .max_abs = QUANT_F16_MAX,
                         F16_AT(52)},
    [GGUF_TYPE_TQ2_0] = {ROW(37, 0, Q4_0), .act = QUANT_ACT_Q8_K, .max_abs = QUANT_F16_MAX,
                         F16_AT(64)},
    /* Of ik_llama.cpp: read only. Where rows have a head, that is their scale. */
    [GGUF_TYPE_Q6_0] = {ROW(135, 0, F16), .max_abs = FLT_MAX, F16_AT(0)},
    [GGUF_TYPE_IQ1_BN] = {ROW(136, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ2_BN] = {ROW(137, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ2_K] = {ROW(138, 0, F16), .max_abs = FLT_MAX, F16_AT(0)},
    [GGUF_TYPE_IQ3_K] = {ROW(139, 0, F16), .max_abs = FLT_MAX, F16_AT(0)},
    [GGUF_TYPE_IQ4_K] = {ROW(140, 0, F16), .max_abs = FLT_MAX, F16_AT(0)},
    [GGUF_TYPE_IQ5_K] = {ROW(141, 0, F16), .max_abs = FLT_MAX, F16_AT(0)},
    [GGUF_TYPE_IQ6_K] = {ROW(142, 0, F16), .max_abs = FLT_MAX, F16_AT(0)},
    [GGUF_TYPE_IQ4_KS] = {ROW(145, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ2_KS] = {ROW(147, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ4_KSS] = {ROW(148, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_Q8_KV] = {ROW(149, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ5_KS] = {ROW(150, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ2_KT] = {ROW(151, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ3_KT] = {ROW(152, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ4_KT] = {ROW(153, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ3_KS] = {ROW(154, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ2_KL] = {ROW(155, 0, F16), .max_abs = FLT_MAX},
    [GGUF_TYPE_IQ1_KT] = {ROW(156, 0, F16), .max_abs = FLT_MAX},
};

const quant_traits *quant_traits_of(uint32_t type) {
    return type < QUANT_N_TYPES && traits[type].max_abs > 0 ? &traits[type] : NULL;
}

bool quant_can_encode(uint32_t type) {
    return type < QUANT_N_TYPES && quant_kernels_active()->encode[type];
}

bool quant_can_decode(uint32_t type) {
    return type < QUANT_N_TYPES && quant_kernels_active()->decode[type];
}

size_t quant_row_bytes(uint32_t type, size_t n_cols) {
    return gguf_type_row_bytes(type, n_cols);
}

int32_t quant_type_file_type(uint32_t type) {
    const quant_traits *t = quant_traits_of(type);
    return t ? t->file_type : -1;
}

uint32_t quant_type_fallback(uint32_t type) {
    const quant_traits *t = quant_traits_of(type);
    return t ? t->fallback : GGUF_TYPE_F16;
}

unsigned quant_type_candidate(uint32_t type) {
    const quant_traits *t = quant_traits_of(type);
    return t ? t->candidate : 0;
}

bool quant_type_demands_importance(uint32_t type) {
    const quant_traits *t = quant_traits_of(type);
    return t && t->demands_imp;
}

quant_act quant_act_of(uint32_t type) {
    const quant_traits *t = quant_traits_of(type);
    return t ? t->act : QUANT_ACT_NONE;
}

size_t quant_act_row_bytes(quant_act act, size_t n_cols) {
    switch (act) {
    case QUANT_ACT_Q8:
        return (n_cols + QUANT_SUPER - 1) / QUANT_SUPER * sizeof(block_act_q8);
    case QUANT_ACT_Q8_K:
        return n_cols / QUANT_SUPER * sizeof(block_act_q8_k);
    case QUANT_ACT_BF16:
        return n_cols * sizeof(uint16_t);
    default:
        return n_cols * sizeof(float);
    }
}

const uint16_t *quant_codebook(uint32_t type, size_t *n_bytes) {
    static const struct {
        uint32_t type;
        const uint16_t *book;
        size_t n_bytes;
    } books[] = {
        {GGUF_TYPE_IQ1_S, quant_book_iq1, sizeof quant_book_iq1},
        {GGUF_TYPE_IQ1_M, quant_book_iq1, sizeof quant_book_iq1},
        {GGUF_TYPE_IQ2_XXS, quant_book_iq2_xxs, sizeof quant_book_iq2_xxs},
        {GGUF_TYPE_IQ2_XS, quant_book_iq2_xs, sizeof quant_book_iq2_xs},
        {GGUF_TYPE_IQ2_S, quant_book_iq2_s, sizeof quant_book_iq2_s},
        {GGUF_TYPE_IQ3_XXS, quant_book_iq3_xxs, sizeof quant_book_iq3_xxs},
        {GGUF_TYPE_IQ3_S, quant_book_iq3_s, sizeof quant_book_iq3_s},
    };
    for (size_t i = 0; i < sizeof books / sizeof books[0]; i++)
        if (books[i].type == type) {
            *n_bytes = books[i].n_bytes;
            return books[i].book;
        }
    return NULL;
}
