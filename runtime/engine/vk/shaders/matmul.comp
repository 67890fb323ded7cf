#version 460
#extension GL_GOOGLE_include_directive : require
// Products of a weight's rows with rows of the input: a workgroup for each row of the weight and
// TILE rows of the input.
#include "common.glsl"
#include "decode.glsl"
#define LANES 32
layout(local_size_x = LANES) in;
layout(constant_id = 0) const uint TILE = 1;
#include "reduce.glsl"

OPERAND(0, readonly, float, x)
OPERAND(1, , float, y)
OPERAND(2, readonly, uint, first)
OPERAND(3, readonly, uint, rows)

layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t weight, bias, book;  // bias: 0, there is none
    uint n_rows, n_cols, row_bytes, stride;
    uint64_t mat_bytes;
    uint n_mats, bias_stride;
    uint n;        // rows of the input of each matrix; grouped: of the output
    uint n_share;  // grouped: rows of the output for each of the input; otherwise 0
    uint n_tiles;
};

const uint MOST = 8;
uint inputs[MOST], outputs[MOST], n_used, mat;

// Row i of a matrix's own: where its input and its output lie.
void take(uint k, uint i) {
    if (n_share > 0u) {
        outputs[k] = rows[at[3] + i];
        inputs[k] = outputs[k] / n_share;
    } else {
        inputs[k] = outputs[k] = i * n_mats + mat;
    }
}

bool find_tile(uint tile) {
    uint start, end;
    if (n_share == 0u) {
        uint of_mat = (n + TILE - 1u) / TILE;
        mat = tile / of_mat;
        start = tile % of_mat * TILE;
        end = n;
    } else if (TILE == 1u) {
        uint low = 0u, high = n_mats;
        while (high - low > 1u) {
            uint middle = (low + high) / 2u;
            if (first[at[2] + middle] <= tile) low = middle; else high = middle;
        }
        mat = low;
        start = tile;
        end = n;
    } else {
        uint left = tile;
        for (mat = 0u; mat < n_mats; mat++) {
            start = first[at[2] + mat];
            end = first[at[2] + mat + 1u];
            uint tiles = (end - start + TILE - 1u) / TILE;
            if (left < tiles) break;
            left -= tiles;
        }
        if (mat == n_mats) return false;
        start += left * TILE;
    }
    n_used = min(end - start, TILE);
    for (uint k = 0u; k < TILE; k++) take(k, start + min(k, n_used - 1u));
    return true;
}

void main() {
    uint tile = gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y, lane = gl_LocalInvocationIndex;
    if (tile >= n_tiles || !find_tile(tile)) return;
    for (uint row = gl_WorkGroupID.x; row < n_rows; row += gl_NumWorkGroups.x) {
        uint64_t from = weight + mat * mat_bytes + uint64_t(row) * row_bytes;
        float sums[MOST];
        for (uint k = 0u; k < TILE; k++) sums[k] = 0.0;
        for (uint i = 4u * lane; i + 3u < n_cols; i += 4u * LANES) {
            vec4 w = decode4(from, book, i);
            for (uint k = 0u; k < TILE; k++) {
                uint p = at[0] + inputs[k] * n_cols + i;
                sums[k] += dot(w, vec4(x[p], x[p + 1u], x[p + 2u], x[p + 3u]));
            }
        }
#ifdef ANY_COLS
        uint i = n_cols / 4u * 4u + lane;
        if (i < n_cols)
            for (uint k = 0u; k < TILE; k++) sums[k] += decode1(from, i) * x[at[0] + inputs[k] * n_cols + i];
#endif
        float more = bias != 0ul ? f32_at(bias, mat * bias_stride + row) : 0.0;
        for (uint k = 0u; k < TILE; k++) {
            float sum = sum_lanes(sums[k]);
            if (lane == 0u && k < n_used) y[at[1] + outputs[k] * stride + row] = sum + more;
        }
    }
}
