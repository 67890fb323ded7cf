#version 460
#extension GL_GOOGLE_include_directive : require
// Rows times a factor each.
#include "common.glsl"
#include "each.glsl"
OPERAND(0, , float, x)
OPERAND(1, readonly, float, factors)
layout(push_constant, scalar) uniform P { uint at[6]; uint n, n_cols; };

void main() {
    for (EACH(i, n * n_cols)) x[at[0] + i] *= factors[at[1] + i / n_cols];
}
