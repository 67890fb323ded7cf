/* AVX-512 encoders: the scalar ones with more lanes. */
#include "quant/blocks.h"
#include "quant/kernels.h"
#include "quant/x86/lanes_avx512.h"

#include <float.h>

#include "quant/encode.inc"
