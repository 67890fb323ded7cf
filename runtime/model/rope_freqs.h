/* Rotary positions. */
#ifndef RUNTIME_MODEL_ROPE_FREQS_H
#define RUNTIME_MODEL_ROPE_FREQS_H

#include "runtime/model/model_internal.h"

/* Dimensions of a head that rotate. */
uint32_t rt_rope_dims(const rt_hparams *hp, rt_rope_kind turn);

/* Cosine and sine of every pair at positions pos .. pos + n.
 *   table  [n][n_rot / 2][2] */
void rt_rope_table(const rt_model *model, rt_rope_kind turn, uint32_t pos, size_t n, float *table);

/* The turn back by n positions, without a magnitude, for every row of a table. */
void rt_rope_back(const rt_model *model, rt_rope_kind turn, uint32_t n, size_t n_rows,
                  float *table);

/* The angles of layers that see all, in a session of n_ctx positions. */
rt_rope_kind rt_rope_usual(const rt_model *model, uint32_t n_ctx);

#endif
