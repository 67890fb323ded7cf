#version 460
#extension GL_GOOGLE_include_directive : require
// A causal convolution of channels, each with an invocation of its own.
#include "common.glsl"
layout(local_size_x = 64) in;
#include "runs.glsl"
OPERAND(0, , float, x)
OPERAND(1, readonly, float, before)
OPERAND(2, readonly, float, after)
layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t runs, state, slot_bytes, weight, bias; // bias: 0, there is none
    uint n_runs, n_channels, n_kernel, stride, flags; // 1 plain, 2 before, 4 after
};

void main() {
    uint c = gl_GlobalInvocationID.x, last = n_kernel - 1u;
    if (c >= n_channels) return;
    float seen[64];
    for (uint r = 0u; r < n_runs; r++) {
        Run run = Runs(runs).v[r];
        uint64_t from = state + uint64_t(run.from) * slot_bytes, to = state + uint64_t(run.to) * slot_bytes;
        for (uint j = 0u; j < last; j++) seen[j] = run.from == NO_SLOT ? 0.0 : f32_at(from, j * n_channels + c);
        for (uint t = 0u; t < run.n; t++) {
            uint i = (run.row + t) * stride + c;
            float v = x[at[0] + i];
            if ((flags & 2u) != 0u) v *= before[at[1] + i];
            float sum = 0.0;
            for (uint j = 0u; j < last; j++) sum += f32_at(weight, c * n_kernel + j) * seen[j];
            sum += f32_at(weight, c * n_kernel + last) * v;
            if (bias != 0ul) sum += f32_at(bias, c);
            if ((flags & 1u) == 0u) sum *= sigmoid(sum);
            if ((flags & 4u) != 0u) sum *= after[at[2] + i];
            x[at[0] + i] = sum;
            for (uint j = 0u; j + 1u < last; j++) seen[j] = seen[j + 1u];
            if (last > 0u) seen[last - 1u] = v;
        }
        for (uint j = 0u; j < last; j++) F32(to).v[j * n_channels + c] = seen[j];
    }
}
