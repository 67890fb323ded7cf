#version 460
#extension GL_GOOGLE_include_directive : require
// Sort rows by their matrices, equal ones in order: each invocation takes some matrices.
#include "common.glsl"
#define LANES 64
layout(local_size_x = LANES) in;
OPERAND(0, readonly, uint, mats)
OPERAND(1, , uint, first)
OPERAND(2, , uint, rows)
layout(push_constant, scalar) uniform P { uint at[6]; uint n, n_mats; };
shared uint counts[LANES + 1];

void main() {
    uint lane = gl_LocalInvocationIndex, start = n_mats * lane / LANES, end = n_mats * (lane + 1u) / LANES;
    uint count = 0u;
    for (uint i = 0u; i < n; i++) {
        uint mat = mats[at[0] + i];
        if (mat >= start && mat < end) count++;
    }
    counts[lane] = count;
    barrier();
    uint place = 0u;
    for (uint i = 0u; i < lane; i++) place += counts[i];
    for (uint mat = start; mat < end; mat++) {
        first[at[1] + mat] = place;
        for (uint i = 0u; i < n; i++)
            if (mats[at[0] + i] == mat) rows[at[2] + place++] = i;
    }
    if (lane == LANES - 1u) first[at[1] + n_mats] = n;
}
