/* The choice of kernels follows the one that quant made. */
#include "quant/quant.h"
#include "runtime/engine/cpu/cpu_kernels.h"

#include <string.h>

const rt_cpu_kernels *rt_cpu_kernels_get(void) {
#ifdef __x86_64__
    const char *isa = quant_isa_name();
    if (strncmp(isa, "avx512", 6) == 0) return &rt_cpu_kernels_avx512;
    if (strncmp(isa, "avx", 3) == 0) return &rt_cpu_kernels_avx2;
#endif
    return &rt_cpu_kernels_generic;
}
