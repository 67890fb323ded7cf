/* The two passes of sampling, with the kernels of this processor. */
#include "runtime/engine/cpu/cpu_kernels.h"
#include "runtime/engine/logits.h"

float rt_logits_max(const float *logits, size_t n) {
    return rt_cpu_kernels_get()->max_finite(logits, n);
}

void rt_logits_weights(const float *logits, float max, float scale, size_t n, float *out) {
    rt_cpu_kernels_get()->weights_of(logits, max, scale, n, out);
}
