/* Heads that share the embedding's matrix: the config says so, but the checkpoint decides. */
#include "quant/quant.h"
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_ELEMS 65536

typedef const gguf_checkpoint_tensor tensor;

/* The first elements where two tensors differ, if any. */
typedef struct comparison {
    bool differ;
    uint64_t at; /* element */
    float values[2];
} comparison;

typedef struct piece {
    char raw[2][PIECE_ELEMS * sizeof(float)];
    float values[2][PIECE_ELEMS];
} piece;

/* ---- values ------------------------------------------------------------------------------ */

static bool is_plain(tensor *t) {
    return t->dtype->gguf_type >= 0 && quant_can_decode((uint32_t)t->dtype->gguf_type);
}

static bool same_shape(tensor *a, tensor *b) {
    return a->n_dims == b->n_dims && memcmp(a->dims, b->dims, a->n_dims * sizeof *a->dims) == 0;
}

/* Elements [first, first + n) of one of the two. */
static gguf_code read_piece(const rt_import *import, tensor *t, uint64_t first, size_t n, char *raw,
                            float *values, gguf_error *err) {
    quant_source s = rt_import_source(import, t);
    size_t size = t->dtype->n_bits / 8;
    gguf_code code = GGUF_OK;
    if (s.memory)
        memcpy(raw, (const char *)s.memory + first * size, n * size);
    else
        code = gguf_read_at(s.fd, s.path, raw, n * size, s.off + first * size, err);
    return code ? code : quant_decode((uint32_t)t->dtype->gguf_type, raw, 1, n, values, err);
}

static void find_difference(const piece *p, uint64_t first, size_t n, comparison *out) {
    for (size_t i = 0; i < n && !out->differ; i++) {
        out->differ = memcmp(&p->values[0][i], &p->values[1][i], sizeof(float)) != 0;
        out->at = first + i;
        out->values[0] = p->values[0][i];
        out->values[1] = p->values[1][i];
    }
}

static gguf_code compare_values(const rt_import *import, tensor *a, tensor *b, comparison *out,
                                gguf_error *err) {
    uint64_t n = a->n_bytes / (a->dtype->n_bits / 8);
    piece *p = malloc(sizeof *p);
    if (!p) return gguf_fail_memory(err);
    gguf_code code = GGUF_OK;
    for (uint64_t first = 0; first < n && !code && !out->differ; first += PIECE_ELEMS) {
        size_t count = n - first < PIECE_ELEMS ? (size_t)(n - first) : PIECE_ELEMS;
        code = read_piece(import, a, first, count, p->raw[0], p->values[0], err);
        if (!code) code = read_piece(import, b, first, count, p->raw[1], p->values[1], err);
        if (!code) find_difference(p, first, count, out);
    }
    free(p);
    return code;
}

/* ---- the head ---------------------------------------------------------------------------- */

static tensor *find_embedding(const rt_import *import, const char *gguf_name) {
    for (const rt_arch_tensor *entry = rt_arch_first_tensor(import->arch); entry;
         entry = rt_arch_next_tensor(entry))
        if (strcmp(entry->entry.name, gguf_name) == 0) return rt_import_look_up(import, entry->hf);
    return NULL;
}

/* A head that is stored and tied by the config: *tied if it is the embedding once more. */
static gguf_code compare_head(rt_import *import, const char *tied_to, tensor *head, bool *tied,
                              gguf_error *err) {
    tensor *embedding = find_embedding(import, tied_to);
    const char *other = embedding ? embedding->name.ptr : tied_to;
    comparison found = {0};
    gguf_code code = GGUF_OK;
    bool known = embedding && is_plain(head) && is_plain(embedding) && same_shape(head, embedding);
    bool same_bytes = embedding && head->file == embedding->file && head->off == embedding->off;
    if (known && !same_bytes) code = compare_values(import, head, embedding, &found, err);
    *tied = known && !found.differ;
    if (code) return code;
    if (*tied)
        rt_import_add_warning(import,
                              "'%s' is left out: it is equal to '%s', to which the config "
                              "ties it",
                              head->name.ptr, other);
    else if (known)
        rt_import_add_warning(import,
                              "the config ties '%s' to '%s', but they differ (element %" PRIu64
                              " is %g there and %g here): the stored head counts",
                              head->name.ptr, other, found.at, found.values[1], found.values[0]);
    else
        rt_import_add_warning(import,
                              "the config ties '%s' to '%s', but they have another shape or type: "
                              "the stored head counts",
                              head->name.ptr, other);
    return GGUF_OK;
}

gguf_code rt_import_is_tied(rt_import *import, const rt_arch_tensor *entry,
                            const gguf_checkpoint_tensor *src, bool *tied, gguf_error *err) {
    const char *tied_to = entry->tied_to;
    const json_t *flag = rt_config_get(import, "tie_word_embeddings");
    *tied = false;
    if (!tied_to) return GGUF_OK;
    rt_import_compare_inner(import, "tie_word_embeddings");
    if (json_is_true(flag) && src) return compare_head(import, tied_to, src, tied, err);
    *tied = json_is_true(flag) || (!src && import->is_embedding);
    if (*tied || src || json_is_false(flag)) return GGUF_OK;
    rt_import_add_warning(import, "there is no '%s': it is taken as tied to %s", entry->hf,
                          tied_to);
    *tied = true;
    return GGUF_OK;
}
