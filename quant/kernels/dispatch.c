/* Fills the kernel table from kernels.inc: scalar first, then what the instruction set adds. */
#include "quant/kernels/books.h"
#include "quant/kernels/kernels.h"

#include <pthread.h>

/* Whether to take a kernel of a set, or of a part of one that not every processor has. */
#define USE_scalar     true
#define USE_avx2       (limit >= QUANT_ISA_AVX2)
#define USE_avx2alone  (limit == QUANT_ISA_AVX2)
#define USE_avx512     (limit >= QUANT_ISA_AVX512)
#define USE_avx512bf16 (limit >= QUANT_ISA_AVX512 && quant_bf16_supported())
#define USE_neon       (limit >= QUANT_ISA_NEON)
#define USE_neondot    (limit >= QUANT_ISA_NEON && quant_dotprod_supported())
#define USE_neoni8mm   (limit >= QUANT_ISA_NEON && quant_i8mm_supported())

#define ENCODE(type, name, isa) \
    if (USE_##isa) table->encode[GGUF_TYPE_##type] = quant_encode_##name##_##isa;
#define WORDS(type, name, isa) \
    if (USE_##isa) table->words[GGUF_TYPE_##type] = quant_words_##name##_##isa;
#define WEIGH(isa) \
    if (USE_##isa) table->weigh = quant_weigh_super_##isa;
#define DECODE(type, name, isa) \
    if (USE_##isa) table->decode[GGUF_TYPE_##type] = quant_decode_##name##_##isa;
#define DOT(type, name, isa) \
    if (USE_##isa) table->dot[GGUF_TYPE_##type] = quant_dot_##name##_##isa;
#define STRIP(type, name, isa)                                       \
    if (USE_##isa)                                                   \
        table->strip[GGUF_TYPE_##type] = quant_strip_##name##_##isa, \
        table->strip_mul[GGUF_TYPE_##type] = quant_strip_mul_##name##_##isa;
#define REPACKED(type, name, isa) \
    if (USE_##isa) table->repacked[GGUF_TYPE_##type] = quant_repacked_##name##_##isa;
#define UNPACK(type, name, isa) \
    if (USE_##isa) table->unpack[GGUF_TYPE_##type] = quant_unpack_##name##_##isa;
#define FLOATS(type, name, isa) \
    if (USE_##isa) table->floats[GGUF_TYPE_##type] = quant_floats_##name##_##isa;
#define ACT(kind, name, isa) \
    if (USE_##isa) table->act[QUANT_ACT_##kind] = quant_act_##name##_##isa;
#define SCAN(isa) \
    if (USE_##isa) table->beyond = quant_beyond_##isa, table->masked = quant_masked_##isa;
#define PANEL(isa) \
    if (USE_##isa) \
        table->feedback = quant_feedback_panel_##isa, table->descent = quant_descent_panel_##isa;

static pthread_once_t books_once = PTHREAD_ONCE_INIT;

void quant_kernels_fill(quant_isa limit, quant_kernels *table) {
    pthread_once(&books_once, quant_books_spread);
    *table = (quant_kernels){.isa = limit};
#include "quant/kernels/kernels.inc"
}

static quant_kernels active;
static pthread_once_t active_once = PTHREAD_ONCE_INIT;

static void fill_active(void) {
    quant_kernels_fill(quant_isa_choose(), &active);
}

const quant_kernels *quant_kernels_active(void) {
    pthread_once(&active_once, fill_active);
    return &active;
}

const char *quant_isa_name(void) {
    return quant_isa_text(quant_kernels_active()->isa);
}
