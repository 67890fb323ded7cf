/* Kernels with 256-bit vectors; compiled with -mavx2. */
#define RT_KERNELS rt_cpu_kernels_avx2
#define RT_WIDTH   8
#include "runtime/engine/cpu/cpu_kernels_impl.h"
