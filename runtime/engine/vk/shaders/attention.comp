#version 460
#extension GL_GOOGLE_include_directive : require
// Attention of one query head of one token: page by page, a key for each invocation, then the
// values, columns divided among them.
#include "common.glsl"
#define LANES 64
layout(local_size_x = LANES) in;
#include "cache.glsl"
OPERAND(0, readonly, float, q)
OPERAND(1, , float, y)
OPERAND(2, readonly, uint, selection)
layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t tiles, keys, values, page_bytes, sinks, slopes; // 0: none of the last two
    uint row_bytes_k, row_bytes_v;
    uint heads;   // query heads, and how many share keys, in 16 bits each
    uint dims;    // of a key and of a value, in 16 bits each
    uint window;  // 0: all
    uint flags;   // 1 causal, 2 chunked, 4 only selected keys
    uint choices; // and words of each, in 8 and 24 bits
    float scale, cap;
};

const uint MOST_COLS = 16; // of a value for each invocation
shared float query[LANES * 16], scores[LANES];

uint dim_k = dims & 0xFFFFu, dim_v = dims >> 16;
bool causal = (flags & 1u) != 0u, chunked = (flags & 2u) != 0u, selected = (flags & 4u) != 0u;

uint first_seen(uint pos) {
    uint w = causal || window == 0u ? window : window / 2u + 1u;
    if (chunked && w != 0u) return pos / w * w;
    return w == 0u || pos < w ? 0u : pos - w + 1u;
}

uint end_seen(uint pos, uint n_seen) {
    uint end = pos + 1u, apart = window / 2u;
    if (causal) return end;
    return window != 0u && apart < n_seen - end ? end + apart : n_seen;
}

bool is_selected(uint row, uint head_kv, uint key) {
    uint n_choices = choices >> 24, n_words = choices & 0xFFFFFFu;
    uint choice = row * n_choices + (n_choices > 1u ? head_kv : 0u);
    return (selection[at[2] + choice * n_words * 2u + key / 32u] >> key % 32u & 1u) != 0u;
}

float score(uint64_t row, uint head_kv) {
    float sum = 0.0;
    for (uint d = 0u; d < dim_k; d++) sum += query[d] * kv_at(row, head_kv * dim_k + d);
    sum *= scale;
    return cap != 0.0 ? tanh_of(sum / cap) * cap : sum;
}

void main() {
    uint lane = gl_LocalInvocationIndex, head = gl_WorkGroupID.x, n_head = heads & 0xFFFFu;
    uint head_kv = head / (heads >> 16);
    Tile tile = Tiles(tiles).v[gl_WorkGroupID.y / 16u];
    uint t = gl_WorkGroupID.y % 16u;
    if (t >= tile.n) return;
    uint row = tile.row + t, pos = tile.pos + t, first = first_seen(pos), end = end_seen(pos, tile.n_seen);
    float slope = slopes != 0ul ? f32_at(slopes, head) : 0.0;
    float top = sinks != 0ul ? f32_at(sinks, head) : -INFINITE, total = sinks != 0ul ? 1.0 : 0.0;
    float sums[MOST_COLS];
    for (uint c = 0u; c < MOST_COLS; c++) sums[c] = 0.0;
    for (uint d = lane; d < dim_k; d += LANES) query[d] = q[at[0] + (row * n_head + head) * dim_k + d];
    for (uint start = first / PAGE * PAGE; start < end; start += PAGE) {
        uint key = start + lane;
        bool seen = key >= first && key < end && (!selected || is_selected(row, head_kv, key));
        barrier();
        scores[lane] = -INFINITE;
        if (seen)
            scores[lane] = score(row_at(keys, tile.pages, page_bytes, key, row_bytes_k), head_kv) +
                           slope * (float(key) - float(pos));
        barrier();
        float best = top;
        for (uint i = 0u; i < LANES; i++) best = max(best, scores[i]);
        if (best == -INFINITE) continue;
        float keep = exp(top - best), own = exp(scores[lane] - best);
        barrier();
        scores[lane] = own;
        barrier();
        top = best;
        total *= keep;
        for (uint i = 0u; i < LANES; i++) total += scores[i];
        for (uint c = 0u; c * LANES < dim_v; c++) sums[c] *= keep;
        for (uint i = max(first, start) - start; i < min(end - start, PAGE); i++) {
            if (scores[i] == 0.0) continue;
            uint64_t from = row_at(values, tile.pages, page_bytes, start + i, row_bytes_v);
            for (uint c = 0u; c * LANES + lane < dim_v; c++)
                sums[c] += scores[i] * kv_at(from, head_kv * dim_v + c * LANES + lane);
        }
    }
    for (uint c = 0u; c * LANES + lane < dim_v; c++)
        y[at[1] + (row * n_head + head) * dim_v + c * LANES + lane] = sums[c] / total;
}
