/* Which instruction sets this machine can run. */
#ifndef QUANT_KERNELS_CPU_H
#define QUANT_KERNELS_CPU_H

#include "libgguf/error.h"

#include <stdbool.h>

typedef enum quant_isa {
    QUANT_ISA_SCALAR = 0,
    QUANT_ISA_AVX2 = 1,   /* AVX2, FMA, F16C */
    QUANT_ISA_AVX512 = 2, /* F, BW, VL, DQ, VNNI, and all of AVX2 */
    QUANT_ISA_NEON = 3,   /* aarch64 */
    QUANT_N_ISAS = 4
} quant_isa;

const char *quant_isa_text(quant_isa isa); /* "scalar", "avx2", "avx512", "neon" */

/* Processor and operating system (saved registers) support it. */
bool quant_isa_supported(quant_isa isa);

/* The processor multiplies pairs of BF16 (AVX512_BF16); asked for only where QUANT_ISA_AVX512 is
 * supported. */
bool quant_bf16_supported(void);

/* The processor sums products of four bytes (dotprod); asked for only where QUANT_ISA_NEON is
 * supported. */
bool quant_dotprod_supported(void);

/* The processor multiplies two rows by two columns of eight bytes (i8mm); asked for as dotprod is.
 */
bool quant_i8mm_supported(void);

/* The set to use: the one that GGUF_ISA names in the environment if it is supported here; otherwise
 * (unset, unknown or unsupported) the best supported one. */
quant_isa quant_isa_choose(void);

/* What GGUF_ISA says. Errors: GGUF_E_USAGE if it names no set, GGUF_E_UNSUPPORTED if it names one
 * that is not supported here. */
gguf_code quant_isa_check(gguf_error *err);

#endif
