/* Scalar encoders: they define the bytes. */
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "quant/lanes_scalar.h"

#include <float.h>

#include "quant/encode.inc"
