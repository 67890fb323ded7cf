#version 460
#extension GL_GOOGLE_include_directive : require
// Rows of a table.
#include "common.glsl"
#include "decode.glsl"
layout(local_size_x = 64) in;
OPERAND(0, , float, y)
layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t table, book, ids;
    uint n, n_cols, row_bytes;
};

void main() {
    for (uint t = gl_WorkGroupID.x; t < n; t += gl_NumWorkGroups.x) {
        uint64_t from = table + uint64_t(U32(ids).v[t]) * row_bytes;
        for (uint i = 4u * gl_LocalInvocationIndex; i < n_cols; i += 256u) {
#ifdef ANY_COLS
            for (uint k = i; k < min(i + 4u, n_cols); k++) y[at[0] + t * n_cols + k] = decode1(from, k);
#else
            vec4 w = decode4(from, book, i);
            for (uint k = 0u; k < 4u; k++) y[at[0] + t * n_cols + i + k] = w[k];
#endif
        }
    }
}
