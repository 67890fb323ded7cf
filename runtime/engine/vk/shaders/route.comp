#version 460
#extension GL_GOOGLE_include_directive : require
// The experts of every token: runtime/engine/route.h. One invocation for each token.
#include "common.glsl"
layout(local_size_x = 1) in;
OPERAND(0, , float, logits)
OPERAND(1, , uint, experts)
OPERAND(2, , float, weights)
layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t bias, scales; // 0: none
    uint n, n_expert, n_used, n_group, n_group_used, gating, normed;
    float scale;
};

uint p, e, w; // where the token's rows begin
float score_of(uint i) { return logits[p + i] + (bias != 0ul ? f32_at(bias, i) : 0.0); }

void soften_logits() {
    float top = -INFINITE, sum = 0.0;
    for (uint i = 0u; i < n_expert; i++) top = max(top, logits[p + i]);
    for (uint i = 0u; i < n_expert; i++) sum += logits[p + i] = exp(logits[p + i] - top);
    for (uint i = 0u; i < n_expert; i++) logits[p + i] /= sum;
}

float group_score(uint group) {
    uint size = n_expert / n_group;
    float best = -INFINITE, second = -INFINITE;
    for (uint i = group * size; i < (group + 1u) * size; i++) {
        float score = score_of(i);
        second = max(second, min(score, best));
        best = max(score, best);
    }
    return bias != 0ul && size > 1u ? best + second : best;
}

// Whether fewer than n_group_used groups come before this one.
bool group_is_open(uint group) {
    if (n_group_used >= n_group) return true;
    float own = group_score(group);
    uint n_before = 0u;
    for (uint g = 0u; g < n_group; g++) {
        float other = group_score(g);
        if (other > own || (other == own && g < group)) n_before++;
    }
    return n_before < n_group_used;
}

// The sorted list of the best so far; weights serve as the scores meanwhile.
uint insert(uint expert, float score, uint count) {
    if (count == n_used && !(score > weights[w + count - 1u])) return count;
    uint place = count < n_used ? count++ : count - 1u;
    for (; place > 0u && score > weights[w + place - 1u]; place--) {
        experts[e + place] = experts[e + place - 1u];
        weights[w + place] = weights[w + place - 1u];
    }
    experts[e + place] = expert;
    weights[w + place] = score;
    return count;
}

void choose() {
    uint size = n_expert / n_group, count = 0u;
    for (uint g = 0u; g < n_group; g++) {
        if (!group_is_open(g)) continue;
        for (uint i = g * size; i < (g + 1u) * size; i++) count = insert(i, score_of(i), count);
    }
}

void weigh() {
    float top = -INFINITE, sum = 0.0;
    for (uint i = 0u; i < n_used; i++) weights[w + i] = logits[p + experts[e + i]];
    if (gating == 3u) {
        for (uint i = 0u; i < n_used; i++) top = max(top, weights[w + i]);
        for (uint i = 0u; i < n_used; i++) sum += weights[w + i] = exp(weights[w + i] - top);
        for (uint i = 0u; i < n_used; i++) weights[w + i] /= sum;
        sum = 0.0;
    }
    for (uint i = 0u; i < n_used; i++) sum += weights[w + i];
    float factor = normed != 0u ? scale / max(sum, 6.1e-5) : scale;
    for (uint i = 0u; i < n_used; i++)
        weights[w + i] *= scales != 0ul ? factor * f32_at(scales, experts[e + i]) : factor;
}

void main() {
    for (uint t = gl_WorkGroupID.x; t < n; t += gl_NumWorkGroups.x) {
        p = at[0] + t * n_expert;
        e = at[1] + t * n_used;
        w = at[2] + t * n_used;
        if (gating == 1u) soften_logits();
        for (uint i = 0u; i < n_expert && gating == 2u; i++) logits[p + i] = 1.0 / (1.0 + exp(-logits[p + i]));
        // Not a number would leave places empty.
        for (uint i = 0u; i < n_expert; i++)
            if (isnan(logits[p + i])) logits[p + i] = -INFINITE;
        choose();
        weigh();
    }
}
