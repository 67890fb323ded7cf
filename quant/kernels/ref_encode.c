/* Scalar encoders: they define the bytes. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/lanes_scalar.h"

#include <float.h>

#include "quant/kernels/encode.inc"
