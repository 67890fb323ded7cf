#version 460
#extension GL_GOOGLE_include_directive : require
// Streams from weighted sums of streams, with weights of each token.
#include "common.glsl"
#include "each.glsl"
OPERAND(0, readonly, float, x)
OPERAND(1, readonly, float, weights)
OPERAND(2, , float, y)
layout(push_constant, scalar) uniform P { uint at[6]; uint n, n_cols, n_in, n_out, x_stride, y_stride; };

void main() {
    for (EACH(i, n * n_cols)) {
        for (uint o = 0u; o < n_out; o++) {
            float sum = 0.0;
            for (uint j = 0u; j < n_in; j++)
                sum += weights[at[1] + (i / n_cols * n_out + o) * n_in + j] * x[at[0] + j * x_stride + i];
            y[at[2] + o * y_stride + i] = sum;
        }
    }
}
