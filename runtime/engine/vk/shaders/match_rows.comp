#version 460
#extension GL_GOOGLE_include_directive : require
// Rows to the root mean square of others.
#include "common.glsl"
#define LANES 64
layout(local_size_x = LANES) in;
#include "reduce.glsl"
OPERAND(0, , float, x)
OPERAND(1, readonly, float, y)
layout(push_constant, scalar) uniform P { uint at[6]; uint n, n_cols; };

void main() {
    uint lane = gl_LocalInvocationIndex;
    for (uint row = gl_WorkGroupID.x; row < n; row += gl_NumWorkGroups.x) {
        uint from = row * n_cols;
        float has = 0.0, wanted = 0.0;
        for (uint i = lane; i < n_cols; i += LANES) {
            has += x[at[0] + from + i] * x[at[0] + from + i];
            wanted += y[at[1] + from + i] * y[at[1] + from + i];
        }
        has = sum_lanes(has) / float(n_cols);
        wanted = sum_lanes(wanted) / float(n_cols);
        float factor = sqrt(wanted) / sqrt(max(has, 1e-5));
        for (uint i = lane; i < n_cols; i += LANES) x[at[0] + from + i] *= factor;
    }
}
