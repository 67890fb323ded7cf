#version 460
#extension GL_GOOGLE_include_directive : require
// Rotate pairs of dimensions of every head.
#include "common.glsl"
#include "each.glsl"
OPERAND(0, , float, x)
OPERAND(1, readonly, float, table)
layout(push_constant, scalar) uniform P { uint at[6]; uint n, n_head, head_dim, n_rot, apart; };

void main() {
    uint n_pairs = n_rot / 2u;
    for (EACH(i, n * n_head * n_pairs)) {
        uint pair = i % n_pairs, head = i / n_pairs, t = head / n_head;
        uint a = at[0] + head * head_dim + (apart == 1u ? 2u * pair : pair), b = a + apart;
        float c = table[at[1] + t * n_rot + 2u * pair], s = table[at[1] + t * n_rot + 2u * pair + 1u];
        float xa = x[a], xb = x[b];
        x[a] = xa * c - xb * s;
        x[b] = xa * s + xb * c;
    }
}
