/* NEON encoders: the scalar ones with more lanes. */
#include "quant/arm/lanes_neon.h"
#include "quant/blocks.h"
#include "quant/kernels.h"

#include <float.h>

#include "quant/encode.inc"
