#version 460
#extension GL_GOOGLE_include_directive : require
// x += factor y, of rows with gates factor sigmoid(gate) y.
#include "common.glsl"
#include "each.glsl"
OPERAND(0, , float, x)
OPERAND(1, readonly, float, y)
OPERAND(2, readonly, float, gates)
layout(push_constant, scalar) uniform P { uint at[6]; uint n, n_cols, has_gates; float factor; };

void main() {
    for (EACH(i, n * n_cols)) {
        float f = has_gates != 0u ? factor * sigmoid(gates[at[2] + i / n_cols]) : factor;
        x[at[0] + i] += f * y[at[1] + i];
    }
}
