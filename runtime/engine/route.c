/* The choice of experts. */
#include "runtime/engine/route.h"

#include <math.h>
#include <string.h>

static void softmax(float *x, uint32_t n) {
    float max = x[0], sum = 0;
    for (uint32_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (uint32_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - max);
    for (uint32_t i = 0; i < n; i++) x[i] /= sum;
}

static float selection_score(const rt_route_rule *rule, const float *p, uint32_t expert) {
    return rule->bias ? p[expert] + rule->bias[expert] : p[expert];
}

static float group_score(const rt_route_rule *rule, const float *p, uint32_t group) {
    uint32_t size = rule->n_expert / rule->n_group;
    float best = -INFINITY, second = -INFINITY;
    for (uint32_t i = group * size; i < (group + 1) * size; i++) {
        float score = selection_score(rule, p, i);
        if (score > best) {
            second = best;
            best = score;
        } else if (score > second) {
            second = score;
        }
    }
    return rule->bias && size > 1 ? best + second : best;
}

/* Whether fewer than n_group_used groups come before this one. */
static bool group_is_open(const rt_route_rule *rule, const float *p, uint32_t group) {
    float own = group_score(rule, p, group);
    uint32_t n_before = 0;
    if (rule->n_group_used >= rule->n_group) return true;
    for (uint32_t g = 0; g < rule->n_group; g++) {
        float other = group_score(rule, p, g);
        n_before += other > own || (other == own && g < group);
    }
    return n_before < rule->n_group_used;
}

/* Put an expert into the sorted list of the best so far; scores [n_used]. */
static uint32_t insert(uint32_t expert, float score, uint32_t n_used, uint32_t n, uint32_t *experts,
                       float *scores) {
    if (n == n_used && !(score > scores[n - 1])) return n;
    uint32_t place = n < n_used ? n++ : n - 1;
    for (; place > 0 && score > scores[place - 1]; place--) {
        experts[place] = experts[place - 1];
        scores[place] = scores[place - 1];
    }
    experts[place] = expert;
    scores[place] = score;
    return n;
}

/* weights serve as the scores meanwhile. */
static void select_experts(const rt_route_rule *rule, const float *p, uint32_t *experts,
                           float *weights) {
    uint32_t size = rule->n_expert / rule->n_group, n = 0;
    for (uint32_t g = 0; g < rule->n_group; g++) {
        if (!group_is_open(rule, p, g)) continue;
        for (uint32_t i = g * size; i < (g + 1) * size; i++)
            n = insert(i, selection_score(rule, p, i), rule->n_used, n, experts, weights);
    }
}

void rt_route(const rt_route_rule *rule, float *logits, uint32_t *experts, float *weights) {
    uint32_t n = rule->n_used;
    float sum = 0;
    if (rule->gating == RT_GATING_SOFTMAX) softmax(logits, rule->n_expert);
    for (uint32_t i = 0; i < rule->n_expert && rule->gating == RT_GATING_SIGMOID; i++)
        logits[i] = 1 / (1 + expf(-logits[i]));
    for (uint32_t i = 0; i < rule->n_expert && rule->gating == RT_GATING_SQRT_SOFTPLUS; i++)
        logits[i] = sqrtf(logits[i] > 20 ? logits[i] : log1pf(expf(logits[i])));
    /* Not a number would leave places empty. */
    for (uint32_t i = 0; i < rule->n_expert; i++)
        if (isnan(logits[i])) logits[i] = -INFINITY;
    if (!rule->chosen) select_experts(rule, logits, experts, weights);
    for (uint32_t i = 0; i < n; i++) weights[i] = logits[experts[i]];
    if (rule->gating == RT_GATING_SOFTMAX_SELECTED) softmax(weights, n);
    for (uint32_t i = 0; i < n; i++) sum += weights[i];
    float factor = rule->norm ? rule->scale / fmaxf(sum, 6.1e-5f) : rule->scale;
    for (uint32_t i = 0; i < n; i++)
        weights[i] *= rule->scales ? factor * rule->scales[experts[i]] : factor;
}

void rt_groups_sort(const uint32_t *mats, size_t n, uint32_t n_mats, uint32_t *first,
                    uint32_t *rows) {
    memset(first, 0, (n_mats + (size_t)1) * sizeof *first);
    for (size_t i = 0; i < n; i++) first[mats[i]]++;
    for (uint32_t m = 0, end = 0; m <= n_mats; m++) {
        uint32_t count = first[m];
        first[m] = end;
        end += count;
    }
    for (size_t i = 0; i < n; i++) rows[first[mats[i]]++] = (uint32_t)i;
    for (uint32_t m = n_mats; m > 0; m--) first[m] = first[m - 1];
    first[0] = 0;
}
