#version 460
#extension GL_GOOGLE_include_directive : require
// Columns of rows to rows of another width.
#include "common.glsl"
#include "each.glsl"
OPERAND(0, readonly, float, x)
OPERAND(1, , float, y)
layout(push_constant, scalar) uniform P { uint at[6]; uint n, n_cols, x_stride, y_stride; };

void main() {
    for (EACH(i, n * n_cols)) y[at[1] + i / n_cols * y_stride + i % n_cols] = x[at[0] + i / n_cols * x_stride + i % n_cols];
}
