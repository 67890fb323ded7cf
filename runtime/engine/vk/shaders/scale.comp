#version 460
#extension GL_GOOGLE_include_directive : require
// x times a factor, capped softly, within limits.
#include "common.glsl"
#include "each.glsl"
OPERAND(0, , float, x)
layout(push_constant, scalar) uniform P { uint at[6]; uint n; float factor, cap, low, high; };

void main() {
    for (EACH(i, n)) {
        float v = x[at[0] + i] * factor;
        if (cap != 0.0) v = tanh_of(v / cap) * cap;
        x[at[0] + i] = v < low ? low : v > high ? high : v;
    }
}
