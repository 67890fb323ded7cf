/* The choice of experts, and the order in which their matrices are multiplied. */
#ifndef RUNTIME_ENGINE_ROUTE_H
#define RUNTIME_ENGINE_ROUTE_H

#include "runtime/runtime.h"

typedef struct rt_route_rule {
    uint32_t n_expert, n_used;
    uint32_t n_group, n_group_used; /* only experts of the best groups may be chosen */
    rt_gating gating;
    bool chosen;         /* the experts are given: only their weights are computed */
    const float *bias;   /* [n_expert] added for the selection, not for the weight; or NULL */
    bool norm;           /* the weights' sum becomes 1 */
    float scale;         /* of the weights */
    const float *scales; /* [n_expert] of each one's weight, or NULL */
} rt_route_rule;

/* Choose the experts of one token, in falling order of their selection scores (ties: the lower
 * number). A group's score is the sum of its two best experts' where there is a selection bias
 * (DeepSeek-V3), otherwise its best expert's (DeepSeek-V2).
 *   logits   [n_expert], overwritten
 *   experts, weights  [n_used]; experts are read where they are chosen already */
void rt_route(const rt_route_rule *rule, float *logits, uint32_t *experts, float *weights);

/* Output rows, sorted by the matrix that makes them: matrix m makes rows[i] from input row
 * rows[i] / n_share, for first[m] <= i < first[m + 1]. */
typedef struct rt_groups {
    uint32_t n_mats;
    const uint32_t *first; /* [n_mats + 1] */
    const uint32_t *rows;
    uint32_t n_share;
} rt_groups;

/* Sort n rows by their matrices; equal ones keep their order.
 *   mats   [n] the matrix of each row
 *   first  [n_mats + 1], rows [n]: filled */
void rt_groups_sort(const uint32_t *mats, size_t n, uint32_t n_mats, uint32_t *first,
                    uint32_t *rows);

#endif
