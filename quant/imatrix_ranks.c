/* Importance matrices from rank to rank. */
#include "quant/imatrix.h"

#include <string.h>

/* What comes before an entry's numbers. */
typedef struct entry_head {
    char name[GGUF_MAX_TENSOR_NAME + 1];
    uint64_t n_cols, n_mats;
} entry_head;

void quant_imatrix_zero(quant_imatrix *im) {
    for (size_t k = 0; k < quant_imatrix_count(im); k++) {
        const quant_imatrix_entry *e = quant_imatrix_at(im, k);
        memset(e->sums, 0, e->n_cols * e->n_mats * sizeof *e->sums);
        memset(e->counts, 0, e->n_mats * sizeof *e->counts);
    }
}

gguf_code quant_imatrix_send(const quant_imatrix *im, gguf_ranks *ranks, uint32_t to,
                             gguf_error *err) {
    const uint64_t n = quant_imatrix_count(im);
    gguf_code code = gguf_ranks_send(ranks, to, &n, sizeof n, err);
    for (size_t k = 0; k < n && !code; k++) {
        const quant_imatrix_entry *e = quant_imatrix_at(im, k);
        entry_head head = {.n_cols = e->n_cols, .n_mats = e->n_mats};
        memcpy(head.name, e->name, strnlen(e->name, sizeof head.name - 1));
        code = gguf_ranks_send(ranks, to, &head, sizeof head, err);
        if (!code)
            code =
                gguf_ranks_send(ranks, to, e->sums, e->n_cols * e->n_mats * sizeof *e->sums, err);
        if (!code) code = gguf_ranks_send(ranks, to, e->counts, e->n_mats * sizeof *e->counts, err);
    }
    return code;
}

static gguf_code receive_entry(quant_imatrix *im, gguf_ranks *ranks, uint32_t from,
                               gguf_error *err) {
    entry_head head;
    gguf_code code = gguf_ranks_receive(ranks, from, &head, sizeof head, err);
    if (code) return code;
    quant_imatrix_entry *e =
        quant_imatrix_entry_of(im, head.name, (size_t)head.n_cols, (size_t)head.n_mats);
    if (!e)
        return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                         "rank %u has another model: its '%s' does not fit", from, head.name);
    code = gguf_ranks_receive(ranks, from, e->sums, e->n_cols * e->n_mats * sizeof *e->sums, err);
    if (code) return code;
    return gguf_ranks_receive(ranks, from, e->counts, e->n_mats * sizeof *e->counts, err);
}

gguf_code quant_imatrix_receive(quant_imatrix *im, gguf_ranks *ranks, uint32_t from,
                                gguf_error *err) {
    uint64_t n;
    quant_imatrix_zero(im);
    gguf_code code = gguf_ranks_receive(ranks, from, &n, sizeof n, err);
    for (uint64_t k = 0; k < n && !code; k++) code = receive_entry(im, ranks, from, err);
    return code;
}
