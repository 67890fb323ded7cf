#version 460
#extension GL_GOOGLE_include_directive : require
// What is above the mean and so many deviations.
#include "common.glsl"
#define LANES 64
layout(local_size_x = LANES) in;
#include "reduce.glsl"
OPERAND(0, , float, x)
layout(push_constant, scalar) uniform P { uint at[6]; uint n, n_cols; float factor; };

void main() {
    uint lane = gl_LocalInvocationIndex;
    for (uint row = gl_WorkGroupID.x; row < n; row += gl_NumWorkGroups.x) {
        uint from = at[0] + row * n_cols;
        float sum = 0.0, squares = 0.0;
        for (uint i = lane; i < n_cols; i += LANES) sum += x[from + i];
        float mean = sum_lanes(sum) / float(n_cols);
        for (uint i = lane; i < n_cols; i += LANES) squares += (x[from + i] - mean) * (x[from + i] - mean);
        float least = mean + factor * sqrt(sum_lanes(squares) / float(n_cols));
        for (uint i = lane; i < n_cols; i += LANES) x[from + i] = max(x[from + i] - least, 0.0);
    }
}
