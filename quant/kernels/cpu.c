/* Detection of instruction sets: the processor's features and the registers that the system saves.
 */
#include "quant/kernels/cpu.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

const char *quant_isa_text(quant_isa isa) {
    static const char *const names[QUANT_N_ISAS] = {"scalar", "avx2", "avx512", "neon"};
    return names[isa];
}

#if defined(__x86_64__)
#include <cpuid.h>

/* Bits of XCR0: SSE and AVX registers; with AVX-512 also masks and both upper halves. */
#define SAVED_AVX    0x06u
#define SAVED_AVX512 0xE6u

#define LEAF1_ECX_AVX2   (1u << 12 | 1u << 27 | 1u << 28 | 1u << 29) /* FMA OSXSAVE AVX F16C */
#define LEAF7_EBX_AVX2   (1u << 5)
#define LEAF7_EBX_AVX512 (1u << 16 | 1u << 17 | 1u << 30 | 1u << 31) /* F DQ BW VL */
#define LEAF7_ECX_AVX512 (1u << 11)                                  /* VNNI */

#define LEAF7_1_EAX_BF16 (1u << 5)

static bool has(uint32_t value, uint32_t bits) {
    return (value & bits) == bits;
}

static uint32_t saved_registers(void) {
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

static quant_isa best_x86(void) {
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has(ecx, LEAF1_ECX_AVX2))
        return QUANT_ISA_SCALAR;
    uint32_t saved = saved_registers();
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return QUANT_ISA_SCALAR;
    if (!has(saved, SAVED_AVX) || !has(ebx, LEAF7_EBX_AVX2)) return QUANT_ISA_SCALAR;
    bool wide =
        has(saved, SAVED_AVX512) && has(ebx, LEAF7_EBX_AVX512) && has(ecx, LEAF7_ECX_AVX512);
    return wide ? QUANT_ISA_AVX512 : QUANT_ISA_AVX2;
}

bool quant_isa_supported(quant_isa isa) {
    return isa <= best_x86();
}

bool quant_bf16_supported(void) {
    uint32_t eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && has(eax, LEAF7_1_EAX_BF16);
}

#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

bool quant_isa_supported(quant_isa isa) {
    return isa == QUANT_ISA_SCALAR || isa == QUANT_ISA_NEON;
}

bool quant_dotprod_supported(void) {
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
}

bool quant_i8mm_supported(void) {
    return getauxval(AT_HWCAP2) & HWCAP2_I8MM;
}

#else
bool quant_isa_supported(quant_isa isa) {
    return isa == QUANT_ISA_SCALAR;
}
#endif

static quant_isa best_isa(void) {
    quant_isa best = QUANT_ISA_SCALAR;
    for (unsigned i = 0; i < QUANT_N_ISAS; i++)
        if (quant_isa_supported((quant_isa)i)) best = (quant_isa)i;
    return best;
}

quant_isa quant_isa_choose(void) {
    const char *wish = getenv("GGUF_ISA");
    for (unsigned i = 0; wish && i < QUANT_N_ISAS; i++)
        if (quant_isa_supported((quant_isa)i) && strcmp(wish, quant_isa_text((quant_isa)i)) == 0)
            return (quant_isa)i;
    return best_isa();
}

gguf_code quant_isa_check(gguf_error *err) {
    const char *wish = getenv("GGUF_ISA");
    if (!wish || !*wish) return GGUF_OK;
    for (unsigned i = 0; i < QUANT_N_ISAS; i++) {
        if (strcmp(wish, quant_isa_text((quant_isa)i)) != 0) continue;
        if (quant_isa_supported((quant_isa)i)) return GGUF_OK;
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "GGUF_ISA is '%s', which this machine does not have (it has %s)", wish,
                         quant_isa_text(best_isa()));
    }
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "GGUF_ISA is '%s', not scalar, avx2, avx512 or neon", wish);
}
