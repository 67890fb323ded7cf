#version 460
#extension GL_GOOGLE_include_directive : require
// Rows to f32.
#include "common.glsl"
layout(local_size_x = 64) in;
#include "cache.glsl"
OPERAND(0, , float, y)
layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t tiles, base, page_bytes;
    uint n_tiles, row_bytes, n_cols;
};

void main() {
    for (uint k = gl_WorkGroupID.x; k < n_tiles * 16u; k += gl_NumWorkGroups.x) {
        Tile tile = Tiles(tiles).v[k / 16u];
        uint t = k % 16u;
        if (t >= tile.n) continue;
        uint64_t row = row_at(base, tile.pages, page_bytes, tile.pos + t, row_bytes);
        for (uint i = gl_LocalInvocationIndex; i < n_cols; i += 64u) y[at[0] + (tile.row + t) * n_cols + i] = kv_at(row, i);
    }
}
