/* NEON decoders: the scalar ones with more lanes. */
#include "quant/kernels/arm/lanes_neon.h"
#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/unpack.h"

#include "quant/kernels/decode.inc"
