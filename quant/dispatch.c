/* Fills the kernel table from kernels.inc: scalar first, then what the instruction set adds. */
#include "quant/kernels.h"

#include <pthread.h>

#define ISA_scalar QUANT_ISA_SCALAR
#define ISA_avx2   QUANT_ISA_AVX2
#define ISA_avx512 QUANT_ISA_AVX512
#define ISA_neon   QUANT_ISA_NEON

#define ENCODE(type, name, isa) \
    if (ISA_##isa <= limit) table->encode[GGUF_TYPE_##type] = quant_encode_##name##_##isa;
#define WEIGH(isa) \
    if (ISA_##isa <= limit) table->weigh = quant_weigh_super_##isa;
#define DECODE(type, name, isa) \
    if (ISA_##isa <= limit) table->decode[GGUF_TYPE_##type] = quant_decode_##name##_##isa;
#define DOT(type, name, isa) \
    if (ISA_##isa <= limit) table->dot[GGUF_TYPE_##type] = quant_dot_##name##_##isa;
#define HAS_avx512bf16 quant_bf16_supported()
#define HAS_avx512     true
#define ISA_avx512bf16 QUANT_ISA_AVX512
#define STRIP(type, name, isa)                                       \
    if (ISA_##isa <= limit)                                          \
        table->strip[GGUF_TYPE_##type] = quant_strip_##name##_##isa, \
        table->strip_mul[GGUF_TYPE_##type] = quant_strip_mul_##name##_##isa;
#define FLOATS(type, name, isa) \
    if (ISA_##isa <= limit) table->floats[GGUF_TYPE_##type] = quant_floats_##name##_##isa;
#define ACT(kind, name, isa) \
    if (ISA_##isa <= limit) table->act[QUANT_ACT_##kind] = quant_act_##name##_##isa;
#define SCAN(isa) \
    if (ISA_##isa <= limit) table->beyond = quant_beyond_##isa, table->masked = quant_masked_##isa;
#define PANEL(isa)          \
    if (ISA_##isa <= limit) \
        table->feedback = quant_feedback_panel_##isa, table->descent = quant_descent_panel_##isa;

void quant_kernels_fill(quant_isa limit, quant_kernels *table) {
    *table = (quant_kernels){.isa = limit};
#include "quant/kernels.inc"
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
