#version 460
#extension GL_GOOGLE_include_directive : require
// Weighted sums of k rows each.
#include "common.glsl"
#include "each.glsl"
OPERAND(0, readonly, float, x)
OPERAND(1, readonly, float, weights)
OPERAND(2, , float, y)
layout(push_constant, scalar) uniform P { uint at[6]; uint n, n_cols, k; };

void main() {
    for (EACH(i, n * n_cols)) {
        uint row = i / n_cols * k;
        float sum = 0.0;
        for (uint j = row; j < row + k; j++) sum += weights[at[1] + j] * x[at[0] + j * n_cols + i % n_cols];
        y[at[2] + i] = sum;
    }
}
