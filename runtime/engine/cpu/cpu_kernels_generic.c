/* Kernels for any processor: the compiler splits the vectors as it must. */
#define RT_KERNELS rt_cpu_kernels_generic
#define RT_WIDTH   4
#include "runtime/engine/cpu/cpu_kernels_impl.h"
