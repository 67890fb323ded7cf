/* Scalar decoders. */
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "quant/lanes_scalar.h"
#include "quant/unpack.h"

#include "quant/decode.inc"
