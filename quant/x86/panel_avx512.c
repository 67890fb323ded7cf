/* Error compensation, compiled for AVX-512. */
#include "quant/kernels.h"

#define KERNEL_NAME(operation, name) quant_##operation##_##name##_avx512

#include "quant/panel.inc"
