#version 460
#extension GL_GOOGLE_include_directive : require
// Rows by number.
#include "common.glsl"
#include "each.glsl"
OPERAND(0, readonly, float, x)
OPERAND(1, , float, y)
layout(push_constant, scalar) uniform P { uint at[6]; uint64_t rows; uint n, n_cols; };

void main() {
    for (EACH(i, n * n_cols)) y[at[1] + i] = x[at[0] + U32(rows).v[i / n_cols] * n_cols + i % n_cols];
}
