/* Split models: names of shards, splitting and merging. */
#ifndef LIBGGUF_SPLIT_H
#define LIBGGUF_SPLIT_H

#include "libgguf/gguf.h"

#include <stdatomic.h>

/* PREFIX-00001-of-00003.gguf for shard 0 of 3. False if it does not fit. */
bool gguf_shard_name(const char *prefix, uint32_t count, uint32_t no, char *out, size_t room);
/* The name of shard `no` from that of the first; false if it is not named like one of `count`. */
bool gguf_shard_sibling(const char *first, uint32_t count, uint32_t no, char *out, size_t room);
/* How many shards a model has whose first one is named so; 0 if the name is not of that form. */
uint32_t gguf_shard_count(const char *first);
/* How much of an output's name is the prefix of its shards: all but an ending .gguf. */
size_t gguf_shard_prefix_bytes(const char *path);

/* Another set of shards under the same prefix, with another number of them, would stay beside a new
 * one and be taken for it. Whether it may go: GGUF_E_EXISTS without `replace`, GGUF_E_USAGE where
 * this process reads one of its files, GGUF_E_IO where one is no regular file. */
gguf_code gguf_shard_sets_check(const char *prefix, uint32_t count, bool replace, gguf_error *err);
/* Remove it, once the new one is there. Errors: as above, GGUF_E_IO. */
gguf_code gguf_shard_sets_clean(const char *prefix, uint32_t count, gguf_error *err);

/* Keys that belong to one file and not to its model: split.* and the padding of edits. */
bool gguf_is_file_key(gguf_str key);

typedef struct gguf_split_opts {
    uint64_t max_bytes;   /* of tensor data in a shard; 0 = no limit */
    uint32_t max_tensors; /* in a shard; 0 = no limit */
    bool replace, dry_run;
    const atomic_bool *cancel; /* may be NULL */
    /* Called for each shard once all are written, or planned (dry_run); may be NULL. */
    void (*on_shard)(void *ctx, const char *path, size_t n_tensors, uint64_t n_bytes);
    void *ctx;
} gguf_split_opts;

/* Whether a shard of n tensors and n_bytes is closed before a tensor of size bytes. */
bool gguf_shard_is_full(const gguf_split_opts *opts, size_t n, uint64_t n_bytes, uint64_t size);

/* The metadata of shard `no` of a model with n_tensors: all keys in the first, then split.*.
 * Freed by the caller. Errors: GGUF_E_NOMEM, GGUF_E_LIMIT too many shards or tensors. */
gguf_code gguf_shard_meta(const gguf_meta *model, uint32_t alignment, size_t n_tensors,
                          uint32_t count, uint32_t no, gguf_meta **out, gguf_error *err);

/* Write the tensors of a model to PREFIX-0000N-of-0000M.gguf, in order. Shard 0 gets all metadata.
 *   path  the prefix; an ending .gguf of it is left away. Sets of another number of shards under it
 *         are replaced like the files themselves
 * Errors: GGUF_E_USAGE neither limit is set, GGUF_E_LIMIT, those of outputs. On failure no shard is
 * left behind. */
gguf_code gguf_split(const gguf_file *file, const char *path, const gguf_split_opts *opts,
                     gguf_error *err);

/* Write all tensors of a (split) model into one file. */
gguf_code gguf_merge(const gguf_file *file, const char *path, bool replace,
                     const atomic_bool *cancel, gguf_error *err);

#endif
