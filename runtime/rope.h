/* Rotary positions. */
#ifndef RUNTIME_ROPE_H
#define RUNTIME_ROPE_H

#include "runtime/model_internal.h"

/* Cosine and sine of every pair at positions pos .. pos + n.
 *   table  [n][n_rot / 2][2] */
void rt_rope_table(const rt_model *model, rt_turn turn, uint32_t pos, size_t n, float *table);

#endif
