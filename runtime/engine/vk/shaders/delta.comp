#version 460
#extension GL_GOOGLE_include_directive : require
// The delta rules: a workgroup for each head, whose rows of the state its invocations divide. KDA
// has a decay of each key channel.
#include "common.glsl"
#define LANES 64
layout(local_size_x = LANES) in;
layout(constant_id = 0) const uint KDA = 0;
#include "runs.glsl"
#include "reduce.glsl"
OPERAND(0, readonly, float, q)
OPERAND(1, readonly, float, k)
OPERAND(2, readonly, float, v)
OPERAND(3, readonly, float, gate)
OPERAND(4, readonly, float, f)
OPERAND(5, , float, y)
layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t runs, state, slot_bytes, a, dt_bias;
    uint n_runs, n_head, n_head_k, n_state, stride, tiled;
    float bound;
};

const uint MOST_STATE = 1024;
shared float query[MOST_STATE], key[MOST_STATE], decays[MOST_STATE];

// Decay and beta of the head.
vec2 gates_of(uint t, uint head) {
    if (KDA != 0u) return vec2(0.0, sigmoid(gate[at[3] + t * n_head + head]));
    uint group = tiled != 0u ? n_head : n_head / n_head_k;
    uint ba = at[3] + t * 2u * n_head + head / group * 2u * group;
    float alpha = gate[ba + group + head % group] + f32_at(dt_bias, head);
    return vec2(exp(f32_at(a, head) * softplus(alpha)), sigmoid(gate[ba + head % group]));
}

float channel_decay(uint t, uint head, uint i) {
    float x = f[at[4] + t * n_head * n_state + head * n_state + i] + f32_at(dt_bias, head * n_state + i);
    float own = f32_at(a, head);
    return bound == 0.0 ? exp(own * softplus(x)) : exp(bound * sigmoid(own * x));
}

// Queries and keys of length 1, and decays.
void load(uint t, uint head, uint head_k, float decay) {
    uint lane = gl_LocalInvocationIndex, from = t * stride + head_k * n_state;
    float qq = 0.0, kk = 0.0;
    for (uint i = lane; i < n_state; i += LANES) {
        query[i] = q[at[0] + from + i];
        key[i] = k[at[1] + from + i];
        decays[i] = KDA != 0u ? channel_decay(t, head, i) : decay;
        qq += query[i] * query[i];
        kk += key[i] * key[i];
    }
    float q_scale = 1.0 / sqrt(sum_lanes(qq) + 1e-6) / sqrt(float(n_state));
    float k_scale = 1.0 / sqrt(sum_lanes(kk) + 1e-6);
    for (uint i = lane; i < n_state; i += LANES) {
        query[i] *= q_scale;
        key[i] *= k_scale;
    }
    barrier();
}

void main() {
    uint lane = gl_LocalInvocationIndex, head = gl_WorkGroupID.x;
    uint head_k = tiled != 0u ? head % n_head_k : head / (n_head / n_head_k);
    for (uint r = 0u; r < n_runs; r++) {
        Run run = Runs(runs).v[r];
        uint64_t to = state + uint64_t(run.to) * slot_bytes + head * n_state * n_state * 4u;
        uint64_t from = state + uint64_t(run.from) * slot_bytes + head * n_state * n_state * 4u;
        for (uint row = lane; row < n_state; row += LANES)
            for (uint i = row * n_state; i < (row + 1u) * n_state; i++)
                F32(to).v[i] = run.from == NO_SLOT ? 0.0 : f32_at(from, i);
        for (uint t = run.row; t < run.row + run.n; t++) {
            vec2 gates = gates_of(t, head);
            barrier();
            load(t, head, head_k, gates.x);
            for (uint row = lane; row < n_state; row += LANES) {
                uint s = row * n_state;
                float held = 0.0, sum = 0.0;
                for (uint i = 0u; i < n_state; i++) held += decays[i] * f32_at(to, s + i) * key[i];
                float step = gates.y * (v[at[2] + t * stride + head * n_state + row] - held);
                for (uint i = 0u; i < n_state; i++) {
                    float h = f32_at(to, s + i) * decays[i] + step * key[i];
                    F32(to).v[s + i] = h;
                    sum += h * query[i];
                }
                y[at[5] + (t * n_head + head) * n_state + row] = sum;
            }
        }
    }
}
