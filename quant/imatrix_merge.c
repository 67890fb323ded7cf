/* Adding importance matrices up, and describing them. */
#include "quant/imatrix.h"

#include <math.h>
#include <stdio.h>

#define ACTIVE_SHARE 1e-5
#define RARE_SHARE   0.1

gguf_code quant_imatrix_merge(quant_imatrix *into, const quant_imatrix *from, gguf_error *err) {
    for (size_t k = 0; k < quant_imatrix_count(from); k++) {
        const quant_imatrix_entry *e = quant_imatrix_at(from, k);
        bool known = quant_imatrix_find(into, e->name) != NULL;
        quant_imatrix_entry *sum = quant_imatrix_entry_of(into, e->name, e->n_cols, e->n_mats);
        if (!sum)
            return gguf_fail(err, known ? GGUF_E_SHAPE : GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET,
                             "entry '%s' of %zu x %zu values cannot be added", e->name, e->n_mats,
                             e->n_cols);
        for (size_t i = 0; i < e->n_cols * e->n_mats; i++) sum->sums[i] += e->sums[i];
        for (size_t m = 0; m < e->n_mats; m++) sum->counts[m] += e->counts[m];
    }
    const quant_imatrix_info *a = quant_imatrix_info_of(into), *b = quant_imatrix_info_of(from);
    return quant_imatrix_set_info(into,
                                  a->dataset   ? a->dataset
                                  : b->dataset ? b->dataset
                                               : "",
                                  a->n_chunks + b->n_chunks,
                                  a->chunk_tokens ? a->chunk_tokens : b->chunk_tokens, err);
}

static double column_mean(const quant_imatrix_entry *e, size_t i) {
    double count = e->counts[i / e->n_cols];
    return count > 0 ? e->sums[i] / count : 0;
}

quant_imatrix_samples quant_imatrix_samples_of(const quant_imatrix_entry *e, size_t mat) {
    double total = 0;
    for (size_t m = 0; m < e->n_mats; m++) total += e->counts[m];
    if (e->counts[mat] <= 0) return QUANT_IMATRIX_UNSEEN;
    return e->counts[mat] * (double)e->n_mats < RARE_SHARE * total ? QUANT_IMATRIX_RARE
                                                                   : QUANT_IMATRIX_ENOUGH;
}

const quant_imatrix_entry *quant_imatrix_layer_before(const quant_imatrix *im,
                                                      const quant_imatrix_entry *e) {
    char name[GGUF_MAX_TENSOR_NAME + 1];
    unsigned layer;
    int rest = 0;
    if (sscanf(e->name, "blk.%9u.%n", &layer, &rest) != 1 || rest == 0 || layer == 0) return NULL;
    int n = snprintf(name, sizeof name, "blk.%u.%s", layer - 1, e->name + rest);
    return n > 0 && (size_t)n < sizeof name ? quant_imatrix_find(im, name) : NULL;
}

double quant_imatrix_cosine(const quant_imatrix_entry *a, const quant_imatrix_entry *b) {
    double ab = 0, aa = 0, bb = 0;
    if (a->n_cols != b->n_cols || a->n_mats != b->n_mats) return NAN;
    for (size_t i = 0; i < a->n_cols * a->n_mats; i++) {
        double x = column_mean(a, i), y = column_mean(b, i);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

quant_imatrix_stats quant_imatrix_stats_of(const quant_imatrix_entry *e) {
    quant_imatrix_stats s = {0};
    size_t n = 0, n_active = 0, n_far = 0;
    double squares = 0;
    for (size_t m = 0; m < e->n_mats; m++) {
        quant_imatrix_samples samples = quant_imatrix_samples_of(e, m);
        s.n_unseen_mats += samples == QUANT_IMATRIX_UNSEEN;
        s.n_rare_mats += samples == QUANT_IMATRIX_RARE;
    }
    for (size_t i = 0; i < e->n_cols * e->n_mats; i++) {
        double v = column_mean(e, i);
        n += e->counts[i / e->n_cols] > 0;
        s.energy += v;
        squares += v * v;
        s.max = fmax(s.max, v);
    }
    if (n == 0 || s.energy <= 0) return s;
    s.mean = s.energy / (double)n;
    s.deviation = sqrt(fmax(0, squares / (double)n - s.mean * s.mean));
    for (size_t i = 0; i < e->n_cols * e->n_mats; i++) {
        double share = column_mean(e, i) / s.energy;
        if (share > 0) s.entropy -= share * log2(share);
        n_active += column_mean(e, i) >= ACTIVE_SHARE * s.mean;
        n_far += e->counts[i / e->n_cols] > 0 && fabs(column_mean(e, i) - s.mean) > s.deviation;
    }
    s.z_density = (double)n_far / (double)n;
    s.active_share = (double)n_active / (double)n;
    return s;
}
