/* Scalar decoders. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/lanes_scalar.h"
#include "quant/kernels/unpack.h"

#include "quant/kernels/decode.inc"
