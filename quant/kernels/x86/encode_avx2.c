/* AVX2 encoders: the scalar ones with more lanes. */
#include "quant/kernels/blocks.h"
#include "quant/kernels/kernels.h"
#include "quant/kernels/x86/lanes_avx2.h"

#include <float.h>

#include "quant/kernels/encode.inc"
