/* Error compensation, compiled for any processor. */
#include "quant/kernels/kernels.h"

#define KERNEL_NAME(operation, name) quant_##operation##_##name##_scalar

#include "quant/kernels/panel.inc"
