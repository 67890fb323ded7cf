/* Hessians of a text's parts, which are added in a fixed order: any number of ranks gives the same
 * bytes. A rank adds up one share of every matrix's elements. */
#include "quant/hessian.h"

#include <stdlib.h>
#include <string.h>

/* Elements [first, end) that a rank adds up. */
typedef struct share {
    size_t first, end;
} share;

static share share_of(const quant_hessian *h, const gguf_ranks *ranks, uint32_t rank) {
    uint64_t n_elems = (uint64_t)h->n * h->n, n = gguf_ranks_n(ranks);
    return (share){(size_t)(n_elems * rank / n), (size_t)(n_elems * (rank + 1) / n)};
}

static void add(float *restrict sums, const float *restrict values, size_t n) {
    for (size_t i = 0; i < n; i++) sums[i] += values[i];
}

/* Its number of samples, and if there are any each rank's share. */
static gguf_code send_part(const quant_hessian *h, gguf_ranks *ranks, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (uint32_t to = 0; to < gguf_ranks_n(ranks) && !code; to++) {
        share s = share_of(h, ranks, to);
        if (to == gguf_ranks_own(ranks)) continue;
        code = gguf_ranks_send(ranks, to, &h->n_part_samples, sizeof h->n_part_samples, err);
        if (!code && h->n_part_samples)
            code =
                gguf_ranks_send(ranks, to, h->h + s.first, (s.end - s.first) * sizeof *h->h, err);
    }
    return code;
}

/* Of the rank's own share.
 *   room  a share */
static gguf_code add_part(quant_hessian *h, gguf_ranks *ranks, uint32_t from, float *room,
                          gguf_error *err) {
    share s = share_of(h, ranks, gguf_ranks_own(ranks));
    uint64_t n_samples = h->n_part_samples;
    const float *values = h->h + s.first;
    gguf_code code = GGUF_OK;
    if (from != gguf_ranks_own(ranks)) {
        values = room;
        code = gguf_ranks_receive(ranks, from, &n_samples, sizeof n_samples, err);
        if (!code && n_samples)
            code = gguf_ranks_receive(ranks, from, room, (s.end - s.first) * sizeof *room, err);
        h->n_samples += n_samples;
    }
    if (!code && n_samples) add(h->total + s.first, values, s.end - s.first);
    return code;
}

gguf_code quant_hessian_end_part(quant_hessian *h, gguf_ranks *ranks, uint32_t n_parts,
                                 gguf_error *err) {
    uint32_t own = gguf_ranks_own(ranks);
    size_t n_elems = h->n * h->n;
    share s = share_of(h, ranks, own);
    float *room = ranks ? malloc((s.end - s.first + 1) * sizeof *room) : NULL;
    if (!h->total) h->total = calloc(n_elems, sizeof *h->total);
    gguf_code code = h->total && (room || !ranks) ? GGUF_OK : gguf_fail_memory(err);
    if (!code && own < n_parts) code = send_part(h, ranks, err);
    for (uint32_t from = 0; from < n_parts && !code; from++)
        code = add_part(h, ranks, from, room, err);
    if (h->n_part_samples) memset(h->h, 0, n_elems * sizeof *h->h);
    h->n_part_samples = 0;
    free(room);
    return code;
}

gguf_code quant_hessian_end_parts(quant_hessian *h, gguf_ranks *ranks, gguf_error *err) {
    uint32_t own = gguf_ranks_own(ranks), n = gguf_ranks_n(ranks);
    gguf_code code = GGUF_OK;
    if (!h->total) return GGUF_OK;
    free(h->h);
    h->h = h->total;
    h->total = NULL;
    for (uint32_t to = 0; to < n && !code; to++) {
        share s = share_of(h, ranks, own);
        if (to != own)
            code =
                gguf_ranks_send(ranks, to, h->h + s.first, (s.end - s.first) * sizeof *h->h, err);
    }
    for (uint32_t from = 0; from < n && !code; from++) {
        share s = share_of(h, ranks, from);
        if (from != own)
            code = gguf_ranks_receive(ranks, from, h->h + s.first, (s.end - s.first) * sizeof *h->h,
                                      err);
    }
    return code;
}

gguf_code quant_hessian_spread(quant_hessian *h, gguf_ranks *ranks, uint32_t from,
                               gguf_error *err) {
    size_t n_bytes = h->n * h->n * sizeof *h->u;
    double damp = h->damp;
    gguf_code code = gguf_ranks_spread(ranks, GGUF_OK, from, &damp, sizeof damp, err);
    if (code || !ranks) return code;
    while (h->damp < damp) quant_hessian_raise_damp(h);
    if (!h->u && !(h->u = malloc(n_bytes))) code = gguf_fail_memory(err);
    return gguf_ranks_spread(ranks, code, from, h->u, n_bytes, err);
}
