/* What measuring, scoring and saved bases share. */
#ifndef RUNTIME_MEASURE_QUALITY_INTERNAL_H
#define RUNTIME_MEASURE_QUALITY_INTERNAL_H

#include "libgguf/map.h"
#include "runtime/measure/quality.h"

/* What turns logits into ln p: ln p[i] = logits[i] - offset. */
typedef struct rt_distribution {
    const float *logits; /* [n] */
    double offset;
    uint32_t n, top;
} rt_distribution;

rt_distribution rt_distribution_of(const float *logits, uint32_t n);

static inline double rt_ln_p(const rt_distribution *d, uint32_t i) {
    return d->logits[i] - d->offset;
}

/* sum p ln(p / q) >= 0; rounding may leave a little less. */
double rt_divergence(const rt_distribution *p, const rt_distribution *q);

typedef struct rt_token_score {
    double nll, base_nll; /* -ln p of the token */
    double kld;
    double same_top; /* 0 or 1 */
} rt_token_score;

/* Fill in the statistics of n scores; score i belongs to the i % per_chunk th scored position, and
 * the first of them is position n_context + 1 of its chunk. Sorts the scores. */
void rt_quality_summarise(rt_token_score *scores, uint64_t n, uint32_t per_chunk,
                          uint32_t n_context, bool has_base, rt_quality *out);

/* ---- saved bases --------------------------------------------------------------------------------
 */

typedef struct rt_base_layout {
    uint64_t tokens_hash; /* of the tokens of all chunks */
    uint64_t n_rows;      /* scored tokens */
    uint32_t n_vocab, n_ctx;
    int32_t bos;
    uint32_t n_entries; /* room for entries in a row */
    uint32_t id_bits, row_bytes;
} rt_base_layout;

/* The header holds a hash of all bytes from RT_BASE_HASHED_FROM on. */
enum { RT_BASE_HEADER_BYTES = 64, RT_BASE_HASHED_FROM = 16 };

struct rt_quality_base {
    rt_base_layout layout;
    const uint8_t *rows;
    gguf_map map; /* owns the bytes */
};

rt_base_layout rt_base_layout_of(uint32_t n_vocab);
void rt_base_put_header(const rt_base_layout *layout, uint64_t hash, uint8_t *out);

/* One row: the distribution p of the token numbered `row`, and the token itself.
 *   p_room  [n_vocab], scratch
 *   out     [row_bytes] */
void rt_base_put_row(const rt_base_layout *layout, const rt_distribution *p, int32_t target,
                     uint64_t row, double *p_room, uint8_t *out);

/* Score a token by a row and the model's distribution. */
void rt_base_score(const rt_base_layout *layout, const uint8_t *row, const rt_distribution *q,
                   rt_token_score *score);

#endif
