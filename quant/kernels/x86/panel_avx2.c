/* Error compensation, compiled for AVX2. */
#include "quant/kernels/kernels.h"

#define KERNEL_NAME(operation, name) quant_##operation##_##name##_avx2

#include "quant/kernels/panel.inc"
