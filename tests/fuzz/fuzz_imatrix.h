/* Importance matrices: every mean is a number that is not negative. */
#ifndef TESTS_FUZZ_FUZZ_IMATRIX_H
#define TESTS_FUZZ_FUZZ_IMATRIX_H

#include "quant/imatrix.h"
#include "tests/fuzz/fuzz.h"

#include <math.h>

static inline void fuzz_walk_imatrix(const quant_imatrix *im) {
    for (size_t i = 0; i < quant_imatrix_count(im); i++) {
        const quant_imatrix_entry *e = quant_imatrix_at(im, i);
        size_t n = e->n_cols * e->n_mats;
        float *means = malloc(n * sizeof *means + 1);
        fuzz_check(quant_imatrix_find(im, e->name) == e);
        if (!means) return;
        quant_imatrix_means(e, means);
        for (size_t k = 0; k < n; k++) fuzz_check(isfinite(means[k]) && means[k] >= 0);
        free(means);
        quant_imatrix_stats stats = quant_imatrix_stats_of(e);
        fuzz_check(stats.max >= 0 && stats.active_share <= 1 && stats.n_unseen_mats <= e->n_mats);
    }
    const quant_imatrix_info *info = quant_imatrix_info_of(im);
    if (info->dataset) fuzz_read(info->dataset, strlen(info->dataset));
}

#endif
