/* Kernels with 512-bit vectors where lanes do not matter, and more registers. */
#define RT_KERNELS rt_cpu_kernels_avx512
#define RT_WIDTH   16
#include "runtime/engine/cpu/cpu_kernels_impl.h"
