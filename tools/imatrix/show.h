/* Statistics of an importance matrix: table, JSON, drawing. */
#ifndef TOOLS_IMATRIX_SHOW_H
#define TOOLS_IMATRIX_SHOW_H

#include "quant/imatrix.h"
#include "tools/common/tool.h"

/* Print the statistics of the matrix in `path`; draw them into `plot` unless that is NULL.
 * Errors: of quant_imatrix_load and of writing. */
gguf_code show_matrix(tool *t, const char *path, const char *plot, gguf_error *err);

/* Cosine of an entry's mean squares and those of the layer before; NaN where there is no such layer
 * or no angle. */
double show_similarity(const quant_imatrix *im, const quant_imatrix_entry *e);

/* An SVG image: for each kind of weight a curve over the layers, of the energy (logarithmic) and of
 * the similarity to the layer before. */
void show_plot(FILE *f, const quant_imatrix *im);

#endif
