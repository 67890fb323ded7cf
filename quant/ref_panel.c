/* Error compensation, compiled for any processor. */
#include "quant/kernels.h"

#define KERNEL_NAME(operation, name) quant_##operation##_##name##_scalar

#include "quant/panel.inc"
