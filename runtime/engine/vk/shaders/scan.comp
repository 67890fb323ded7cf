#version 460
#extension GL_GOOGLE_include_directive : require
// The scans of Mamba and Mamba 2: a row of the state for each invocation.
#include "common.glsl"
layout(local_size_x = 64) in;
#include "runs.glsl"
// Mamba 2 has u, B and C in one row, and decays and steps of heads.
OPERAND(0, readonly, float, x)
OPERAND(1, readonly, float, bc)
OPERAND(2, readonly, float, dt)
OPERAND(3, , float, y)
layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t runs, state, slot_bytes, a, d, dt_bias; // dt_bias: 0, Mamba
    uint n_runs, n_rows, n_state, head_dim, group_heads; // of Mamba head_dim is 1
    uint x_stride, bc_stride, dt_stride, c_off;
};

void main() {
    uint row = gl_GlobalInvocationID.x, head = row / head_dim;
    if (row >= n_rows) return;
    uint b_at = at[1] + head / group_heads * n_state;
    for (uint r = 0u; r < n_runs; r++) {
        Run run = Runs(runs).v[r];
        uint64_t to = state + uint64_t(run.to) * slot_bytes + row * n_state * 4u;
        uint64_t from = state + uint64_t(run.from) * slot_bytes + row * n_state * 4u;
        for (uint i = 0u; i < n_state; i++) F32(to).v[i] = run.from == NO_SLOT ? 0.0 : f32_at(from, i);
        for (uint t = run.row; t < run.row + run.n; t++) {
            float u = x[at[0] + t * x_stride + row], step = dt[at[2] + t * dt_stride + head], sum = 0.0;
            step = softplus(dt_bias != 0ul ? step + f32_at(dt_bias, head) : step);
            float decay = dt_bias != 0ul ? exp(step * f32_at(a, head)) : 0.0;
            for (uint i = 0u; i < n_state; i++) {
                float keep = dt_bias != 0ul ? decay : exp(step * f32_at(a, row * n_state + i));
                float h = f32_at(to, i) * keep + step * u * bc[b_at + t * bc_stride + i];
                F32(to).v[i] = h;
                sum += h * bc[b_at + c_off + t * bc_stride + i];
            }
            y[at[3] + t * n_rows + row] = sum + f32_at(d, dt_bias != 0ul ? head : row) * u;
        }
    }
}
