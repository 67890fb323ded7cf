/* NEON decoders: the scalar ones with more lanes. */
#include "quant/arm/lanes_neon.h"
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "quant/unpack.h"

#include "quant/decode.inc"
