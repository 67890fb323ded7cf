/* Kernels of error compensation on a panel: QUANT_PANEL rows of a weight matrix, stored column
 * after column, so that one column is a vector. Internal to quant. */
#ifndef QUANT_KERNELS_PANEL_H
#define QUANT_KERNELS_PANEL_H

#include "quant/kernels/lattice.h"

#include <stddef.h>

#define QUANT_PANEL 64

/* A range of columns of a panel. Arrays named [n][QUANT_PANEL] have a column per row. */
typedef struct quant_panel {
    const quant_lattice *lattice;
    int n_cols, sub;       /* columns; columns of a sub-block */
    float *w;              /* [n_cols][QUANT_PANEL] weights still to be rounded */
    float *y;              /* values of the codes */
    float *v;              /* code numbers */
    float *step, *off;     /* [n_cols / sub][QUANT_PANEL]: y = step v - off */
    float *s, *m;          /* the integers behind them */
    const float *d, *dmin; /* [n_cols / sub][QUANT_PANEL] f16 steps of a super-block */
} quant_panel;

/* Round column after column; the error of each, divided by u[j][j], goes into e and, times u[j][t],
 * is taken from the columns t > j that are left. GPTQ (arXiv 2210.17323), equation 2 and its block
 * form.
 *   u  upper Cholesky factor of the inverse Hessian at these columns, rows u_stride apart
 *   e  [n_cols][QUANT_PANEL] */
typedef void quant_feedback_fn(quant_panel *p, const float *u, size_t u_stride, float *e);

/* 256 columns of one row of a type with words: feedback from eight columns to those behind, within
 * them and to e. */
typedef struct quant_words {
    float *w;         /* [256] still to be rounded */
    const float *imp; /* [256] for the choice of steps */
    const float *u;   /* as below, rows u_stride apart */
    size_t u_stride;
    float *e;    /* [256] */
    void *block; /* is written */
} quant_words;

typedef void quant_words_fn(const quant_words *q);

/* One pass of coordinate descent on E = (y - w)ᵀ H (y - w): first the steps of each sub-block by
 * least squares, kept where E falls, then each column's code given all others.
 *   h  Hessian at these columns, rows h_stride apart
 *   r  [n_cols][QUANT_PANEL] H (y - w) at these columns, kept up to date
 *   change  [n_cols][QUANT_PANEL] new y minus old y */
typedef void quant_descent_fn(quant_panel *p, const float *h, size_t h_stride, float *r,
                              float *change);

#endif
