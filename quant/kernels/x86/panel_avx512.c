/* Error compensation, compiled for AVX-512. */
#include "quant/kernels/kernels.h"

#define KERNEL_NAME(operation, name) quant_##operation##_##name##_avx512

#include "quant/kernels/panel.inc"
