/* NEON encoders: the scalar ones with more lanes. */
#include "quant/kernels/arm/lanes_neon.h"
#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"

#include <float.h>

#include "quant/kernels/encode.inc"
