/* AVX2 encoders: the scalar ones with more lanes. */
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "quant/x86/lanes_avx2.h"

#include <float.h>

#include "quant/encode.inc"
