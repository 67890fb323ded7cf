/* How much memory a model and a session need. The session allocates exactly kv_bytes and
 * compute_bytes; weights are pages of the file's mapping. */
#ifndef RUNTIME_SIZING_FOOTPRINT_H
#define RUNTIME_SIZING_FOOTPRINT_H

#include "quant/plan.h"
#include "runtime/runtime.h"

typedef struct rt_footprint {
    uint64_t weights_bytes;    /* as given, or of all tensors in the file */
    uint64_t resident_bytes;   /* of the weights, the part that running the model touches */
    uint64_t kv_bytes;         /* the KV cache of n_ctx tokens, in whole pages */
    uint64_t full_tokens;      /* of all sequences, room in a layer that sees the whole context */
    uint64_t window_tokens;    /* the same of a layer with a window; 0 if there is none */
    uint32_t n_batch;          /* tokens computed at once, at most what the context holds */
    uint64_t compute_bytes;    /* activations and working memory */
    uint64_t activation_bytes; /* of them what any backend needs, without the CPU's work space */
    uint64_t device_bytes;     /* of kv and compute, what lies where opts->device says */
    uint64_t overhead_bytes; /* estimate: code, libraries, tokenizer, thread stacks, small copies */
    uint64_t total_bytes;    /* resident + kv + compute + overhead: the peak with a full context */
} rt_footprint;

/* Compute the footprint of numbers alone, for instance of a plan: all weights count as resident.
 * Nothing is allocated.
 *   opts           as for rt_session_new; NULL = the defaults
 *   weights_bytes  rt_model_weights_bytes, or what a plan says
 *   n_meta_bytes   size of the file's metadata, from which the tokenizer is built; 0 = no tokenizer
 * Errors: GGUF_E_USAGE, GGUF_E_SHAPE (as rt_session_new), GGUF_E_LIMIT (the sum overflows). */
gguf_code rt_footprint_of(const rt_hparams *hp, const rt_session_opts *opts, uint64_t weights_bytes,
                          uint64_t n_meta_bytes, rt_footprint *out, gguf_error *err);

/* Of a table of table_bytes in a mapped file, what n lookups at random places make resident.
 *   around_bytes  what one does: rt_mapped_around, or RT_MAPPED_USUALLY for a file that is not
 * there */
uint64_t rt_footprint_looked_up(uint64_t table_bytes, uint64_t around_bytes, uint32_t n);

/* The footprint of a session of an open model: the peak resident memory that a process will reach.
 * Rows of an embedding that is not the output too are mapped as tokens ask for them; the part that
 * n_ctx different tokens will touch is expected, after a look at some rows of the table.
 *   tokenizer  the process builds the tokenizer as well
 * Errors: as rt_footprint_of. */
gguf_code rt_footprint_of_model(const rt_model *model, const rt_session_opts *opts, bool tokenizer,
                                rt_footprint *out, gguf_error *err);

#endif
