#version 460
#extension GL_GOOGLE_include_directive : require
// RMS or layer norm of rows, in place or not.
#include "common.glsl"
#define LANES 64
layout(local_size_x = LANES) in;
#include "reduce.glsl"
OPERAND(0, readonly, float, x)
OPERAND(1, , float, y)
layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t weight, bias; // bias: 0, there is none
    uint n, n_cols, stride, n_weights, centred, in_place;
    float eps;
};

float value(uint i) { return in_place != 0u ? y[at[1] + i] : x[at[0] + i]; }

void main() {
    uint lane = gl_LocalInvocationIndex;
    for (uint row = gl_WorkGroupID.x; row < n; row += gl_NumWorkGroups.x) {
        uint from = row * stride, w = row % n_weights * n_cols;
        float mean = 0.0, sum = 0.0;
        if (centred != 0u) {
            for (uint i = lane; i < n_cols; i += LANES) sum += value(from + i);
            mean = sum_lanes(sum) / float(n_cols);
            sum = 0.0;
        }
        for (uint i = lane; i < n_cols; i += LANES) {
            float d = value(from + i) - mean;
            sum += d * d;
        }
        float scale = 1.0 / sqrt(sum_lanes(sum) / float(n_cols) + eps);
        for (uint i = lane; i < n_cols; i += LANES) {
            float v = (value(from + i) - mean) * scale * f32_at(weight, w + i);
            y[at[1] + from + i] = bias != 0ul ? v + f32_at(bias, w + i) : v;
        }
        barrier();
    }
}
