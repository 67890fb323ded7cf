#version 460
#extension GL_GOOGLE_include_directive : require
// The keys of every token that attention counts: runtime/engine/cpu/cpu_select.c. Each workgroup
// has a stretch of scores, and takes tokens in turn.
#include "common.glsl"
#define LANES 64
layout(local_size_x = LANES) in;
#include "cache.glsl"
#include "reduce.glsl"
OPERAND(0, readonly, float, q)
OPERAND(1, readonly, float, weights)
OPERAND(2, , uint, selection)
OPERAND(3, , float, scores)
layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t tiles, keys, page_bytes;
    uint n_tiles, row_bytes, n_head, head_dim, n_best, n_block, n_local, n_words, n_scores, together;
};

float dot_key(uint64_t row, uint from) {
    float sum = 0.0;
    for (uint d = 0u; d < head_dim; d++) sum += q[from + d] * kv_at(row, d);
    return sum;
}

float score(uint64_t key, uint row, uint head) {
    float sum = 0.0;
    if (together == 0u) return dot_key(key, at[0] + (row * n_head + head) * head_dim);
    for (uint h = 0u; h < n_head; h++) {
        float s = dot_key(key, at[0] + (row * n_head + h) * head_dim);
        if (s > 0.0) sum += weights[at[1] + row * n_head + h] * s;
    }
    return sum;
}

// In the order of numbers.
uint rank_of(float x) {
    uint bits = floatBitsToUint(x);
    return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
}

uint count_from(uint from, uint n, uint least) {
    uint count = 0u;
    for (uint i = gl_LocalInvocationIndex; i < n; i += LANES) count += rank_of(scores[from + i]) >= least ? 1u : 0u;
    return uint(sum_lanes(float(count)));
}

void mark(uint to, uint first, uint end) {
    for (uint i = first; i < end; i++) selection[to + i / 32u] |= 1u << i % 32u;
}

// The best blocks, of equal ones the first, and always the last n_local.
void choose(uint from, uint n_seen, uint to) {
    uint n = (n_seen + n_block - 1u) / n_block, local = min(n_local, n), left = n_best - local, least = 0u;
    uint n_free = n - local;
    if (n > n_best && left > 0u)
        for (uint bit = 31u; bit < 32u; bit--) {
            uint higher = least | 1u << bit;
            if (count_from(from, n_free, higher) >= left) least = higher;
        }
    uint n_above = n > n_best && left > 0u && least != 0xFFFFFFFFu ? count_from(from, n_free, least + 1u) : 0u;
    if (gl_LocalInvocationIndex != 0u) return;
    for (uint i = 0u; i < n_words * 2u; i++) selection[to + i] = 0u;
    if (n <= n_best) {
        mark(to, 0u, n_seen);
        return;
    }
    mark(to, n_free * n_block, n_seen);
    if (left == 0u) return;
    left -= n_above;
    for (uint i = 0u; i < n_free; i++) {
        uint rank = rank_of(scores[from + i]);
        bool tie = rank == least && left > 0u;
        if (tie) left--;
        if (tie || rank > least) mark(to, i * n_block, (i + 1u) * n_block);
    }
}

void score_blocks(Tile tile, uint row, uint head, uint n_seen, uint from) {
    uint n = (n_seen + n_block - 1u) / n_block;
    for (uint block = gl_LocalInvocationIndex; block < n; block += LANES) {
        float best = -INFINITE;
        for (uint key = block * n_block; key < min(n_seen, (block + 1u) * n_block); key++)
            best = max(best, score(row_at(keys, tile.pages, page_bytes, key, row_bytes), row, head));
        scores[from + block] = best;
    }
}

void main() {
    uint n_choices = together != 0u ? 1u : n_head, from = at[3] + gl_WorkGroupID.x * 2u * n_scores;
    for (uint k = gl_WorkGroupID.x; k < n_tiles * 16u * n_choices; k += gl_NumWorkGroups.x) {
        Tile tile = Tiles(tiles).v[k / n_choices / 16u];
        uint t = k / n_choices % 16u, head = k % n_choices, n_seen = tile.pos + t + 1u;
        if (t >= tile.n) continue;
        score_blocks(tile, tile.row + t, head, n_seen, from);
        barrier();
        choose(from, n_seen, at[2] + ((tile.row + t) * n_choices + head) * n_words * 2u);
        barrier();
    }
}
