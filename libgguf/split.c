/* Split models. Keys: split.no (u16, from 0), split.count (u16), split.tensors.count (i32, of all).
 */
#include "libgguf/split.h"
#include "libgguf/checked.h"
#include "libgguf/edit.h"
#include "libgguf/outfile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_PATH_BYTES 4096

bool gguf_is_file_key(gguf_str key) {
    return (key.len > 6 && memcmp(key.ptr, "split.", 6) == 0) || gguf_str_eq(key, GGUF_PADDING_KEY);
}

static void copy_keys(gguf_meta *to, const gguf_meta *from) {
    for (size_t i = 0; i < gguf_meta_count(from); i++) {
        const gguf_kv *kv = gguf_meta_at(from, i);
        if (!gguf_is_file_key(kv->key)) gguf_meta_set_kv(to, kv);
    }
}

/* ---- one output file from a range of tensors --------------------------------------------- */

typedef struct range {
    size_t first, n;
    uint64_t tensor_bytes;
} range;

typedef struct writer {
    const gguf_file *source;
    unsigned how; /* GGUF_OUT_ flags */
    bool stage;   /* leave the temporary, to be committed with others */
    const atomic_bool *cancel;
} writer;

/* What comes in front of the tensors, and where each of them lies behind it. */
typedef struct front {
    gguf_tensor *placed; /* [n of the range] */
    uint8_t *header;
    size_t header_bytes;
    uint64_t data_bytes;
} front;

static void front_clear(front *f) {
    free(f->header);
    free(f->placed);
}

static gguf_code front_make(const gguf_file *source, const gguf_meta *meta, const range *r,
                            front *out, gguf_error *err) {
    uint32_t alignment = gguf_file_alignment(source);
    *out = (front){.placed = calloc(r->n + 1, sizeof *out->placed)};
    if (!out->placed) return gguf_fail_memory(err);
    for (size_t i = 0; i < r->n; i++) out->placed[i] = *gguf_file_tensor(source, r->first + i);
    gguf_code code = gguf_layout(out->placed, r->n, alignment, &out->data_bytes, err);
    return code ? code
                : gguf_header_encode(meta, out->placed, r->n, alignment, &out->header,
                                     &out->header_bytes, err);
}

static gguf_code copy_tensors(const writer *w, const front *f, const range *r, gguf_outfile *out,
                              gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < r->n && !code; i++) {
        const gguf_tensor *t = gguf_file_tensor(w->source, r->first + i);
        code = gguf_outfile_copy(out, gguf_file_fd(w->source, t->shard),
                                 gguf_file_shard_path(w->source, t->shard), t->file_off, t->n_bytes,
                                 f->header_bytes + f->placed[i].data_off, w->cancel, err);
    }
    return code;
}

static gguf_code write_file(const writer *w, const gguf_meta *meta, const range *r,
                            const char *path, gguf_error *err) {
    gguf_outfile *out = NULL;
    front f;
    gguf_code code = front_make(w->source, meta, r, &f, err);
    if (!code) code = gguf_outfile_open(path, f.header_bytes + f.data_bytes, w->how, &out, err);
    if (!code) code = gguf_outfile_write(out, f.header, f.header_bytes, 0, err);
    if (!code) code = copy_tensors(w, &f, r, out, err);
    front_clear(&f);
    if (!code && !w->stage) return gguf_outfile_commit(out, err);
    if (!code)
        gguf_outfile_keep(out);
    else
        gguf_outfile_discard(out);
    return code;
}

gguf_code gguf_merge(const gguf_file *file, const char *path, bool replace,
                     const atomic_bool *cancel, gguf_error *err) {
    const writer w = {file, GGUF_OUT_STREAM | (replace ? GGUF_OUT_REPLACE : 0), false, cancel};
    gguf_meta *meta = gguf_meta_new();
    if (!meta) return gguf_fail_memory(err);
    copy_keys(meta, gguf_file_meta(file));
    gguf_code code = write_file(&w, meta, &(range){.n = gguf_file_n_tensors(file)}, path, err);
    gguf_meta_free(meta);
    return code;
}

/* ---- splitting --------------------------------------------------------------------------- */

bool gguf_shard_is_full(const gguf_split_opts *opts, size_t n, uint64_t n_bytes, uint64_t size) {
    return n && ((opts->max_tensors && n >= opts->max_tensors) ||
                 (opts->max_bytes && n_bytes + size > opts->max_bytes));
}

static gguf_code check_counts(size_t n_tensors, uint32_t count, gguf_error *err) {
    if (count <= GGUF_MAX_SHARDS && n_tensors <= INT32_MAX) return GGUF_OK;
    return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "more than %d shards",
                     GGUF_MAX_SHARDS);
}

gguf_code gguf_shard_meta(const gguf_meta *model, uint32_t alignment, size_t n_tensors,
                          uint32_t count, uint32_t no, gguf_meta **out, gguf_error *err) {
    *out = NULL;
    gguf_code code = check_counts(n_tensors, count, err);
    if (code) return code;
    gguf_meta *meta = gguf_meta_new();
    *out = meta;
    if (!meta) return gguf_fail_memory(err);
    if (no == 0)
        copy_keys(meta, model);
    else if (alignment != GGUF_DEFAULT_ALIGNMENT)
        gguf_meta_set_u32(meta, "general.alignment", alignment);
    gguf_meta_set_u16(meta, "split.no", (uint16_t)no);
    gguf_meta_set_u16(meta, "split.count", (uint16_t)count);
    gguf_meta_set_i32(meta, "split.tensors.count", (int32_t)n_tensors);
    return GGUF_OK;
}

/* Number of tensors from `first` on that fit into one shard: at least one. */
static size_t shard_length(const gguf_file *file, size_t first, const gguf_split_opts *opts,
                           uint64_t *n_bytes) {
    size_t n = 0;
    *n_bytes = 0;
    for (size_t i = first; i < gguf_file_n_tensors(file); i++, n++) {
        uint64_t size = gguf_file_tensor(file, i)->n_bytes;
        gguf_align_u64(size, gguf_file_alignment(file), &size);
        if (gguf_shard_is_full(opts, n, *n_bytes, size)) break;
        *n_bytes += size;
    }
    return n;
}

static uint32_t count_shards(const gguf_file *file, const gguf_split_opts *opts) {
    uint32_t count = 0;
    uint64_t n_bytes;
    for (size_t first = 0; first < gguf_file_n_tensors(file) && count <= GGUF_MAX_SHARDS; count++)
        first += shard_length(file, first, opts, &n_bytes);
    return count ? count : 1;
}

static unsigned how_of(const gguf_split_opts *opts) {
    return opts->replace ? GGUF_OUT_REPLACE : 0;
}

static gguf_code meta_of(const gguf_file *file, uint32_t count, uint32_t no, gguf_meta **out,
                         gguf_error *err) {
    return gguf_shard_meta(gguf_file_meta(file), gguf_file_alignment(file),
                           gguf_file_n_tensors(file), count, no, out, err);
}

static gguf_code write_shard(const gguf_file *file, const char *path, uint32_t count, uint32_t no,
                             const range *r, const gguf_split_opts *opts, gguf_error *err) {
    const writer w = {file, how_of(opts), true, opts->cancel};
    gguf_meta *meta = NULL;
    gguf_code code = meta_of(file, count, no, &meta, err);
    if (!code) code = write_file(&w, meta, r, path, err);
    gguf_meta_free(meta);
    return code;
}

/* Which tensors go where, and how large the files will be. */
static gguf_code plan_shards(const gguf_file *file, const gguf_split_opts *opts, uint32_t count,
                             range *shards, uint64_t *n_bytes, gguf_error *err) {
    gguf_code code = GGUF_OK;
    size_t first = 0;
    *n_bytes = 0;
    for (uint32_t no = 0; no < count && !code; no++) {
        range *r = &shards[no];
        gguf_meta *meta = NULL;
        front f = {0};
        *r = (range){.first = first};
        r->n = shard_length(file, first, opts, &r->tensor_bytes);
        first += r->n;
        code = meta_of(file, count, no, &meta, err);
        if (!code) code = front_make(file, meta, r, &f, err);
        *n_bytes += f.header_bytes + f.data_bytes;
        front_clear(&f);
        gguf_meta_free(meta);
    }
    return code;
}

/* All temporaries get their names. On failure those that had theirs are removed again, unless
 * others were there before. */
static gguf_code commit_shards(const char *prefix, uint32_t count, const gguf_split_opts *opts,
                               uint32_t *n_committed, gguf_error *err) {
    char path[MAX_PATH_BYTES];
    gguf_outfile *out;
    gguf_code code = GGUF_OK;
    for (*n_committed = 0; *n_committed < count; ++*n_committed) {
        gguf_shard_name(prefix, count, *n_committed, path, sizeof path);
        code = gguf_outfile_reopen(path, 0, how_of(opts), &out, err);
        if (!code) code = gguf_outfile_commit(out, err);
        if (code) break;
    }
    for (uint32_t no = 0; code && no < *n_committed && !opts->replace; no++)
        if (gguf_shard_name(prefix, count, no, path, sizeof path)) unlink(path);
    return code;
}

static void discard_shards(const char *prefix, uint32_t count, const gguf_split_opts *opts,
                           uint32_t first, uint32_t end) {
    char path[MAX_PATH_BYTES];
    gguf_outfile *out;
    for (uint32_t no = first; no < end; no++)
        if (gguf_shard_name(prefix, count, no, path, sizeof path) &&
            gguf_outfile_reopen(path, 0, how_of(opts), &out, NULL) == GGUF_OK)
            gguf_outfile_discard(out);
}

/* Every name, before the first byte. */
static gguf_code check_names(const char *prefix, uint32_t count, const gguf_split_opts *opts,
                             gguf_error *err) {
    char path[MAX_PATH_BYTES];
    bool written = !opts->dry_run;
    gguf_code code = written ? gguf_shard_sets_check(prefix, count, opts->replace, err) : GGUF_OK;
    for (uint32_t no = 0; no < count && !code; no++)
        if (!gguf_shard_name(prefix, count, no, path, sizeof path))
            code = gguf_fail(err, GGUF_E_USAGE, prefix, GGUF_NO_OFFSET, "the name is too long");
        else if (written)
            code = gguf_outfile_check(path, how_of(opts), err);
    return code;
}

static void report(const char *prefix, const range *shards, uint32_t count,
                   const gguf_split_opts *opts) {
    char path[MAX_PATH_BYTES];
    for (uint32_t no = 0; no < count && opts->on_shard; no++)
        if (gguf_shard_name(prefix, count, no, path, sizeof path))
            opts->on_shard(opts->ctx, path, shards[no].n, shards[no].tensor_bytes);
}

static gguf_code write_shards(const gguf_file *file, const char *prefix, const range *shards,
                              uint32_t count, const gguf_split_opts *opts, gguf_error *err) {
    char path[MAX_PATH_BYTES];
    uint32_t no = 0, n_committed = 0;
    gguf_code code = GGUF_OK;
    for (; no < count && !code; no++)
        if (gguf_shard_name(prefix, count, no, path, sizeof path))
            code = write_shard(file, path, count, no, &shards[no], opts, err);
    if (!code) code = commit_shards(prefix, count, opts, &n_committed, err);
    if (code) discard_shards(prefix, count, opts, n_committed, no);
    return code ? code : gguf_shard_sets_clean(prefix, count, err);
}

/* Names and space are checked for all shards before the first byte; what is reported is there. */
static gguf_code split(const gguf_file *file, const char *prefix, const gguf_split_opts *opts,
                       gguf_error *err) {
    uint32_t count = count_shards(file, opts);
    uint64_t n_bytes = 0;
    gguf_code code = check_counts(gguf_file_n_tensors(file), count, err);
    if (code) return code;
    range *shards = calloc(count, sizeof *shards);
    if (!shards) return gguf_fail_memory(err);
    code = check_names(prefix, count, opts, err);
    if (!code) code = plan_shards(file, opts, count, shards, &n_bytes, err);
    if (!code && !opts->dry_run) {
        code = gguf_outfile_check_space(prefix, n_bytes, err);
        if (!code) code = write_shards(file, prefix, shards, count, opts, err);
    }
    if (!code) report(prefix, shards, count, opts);
    free(shards);
    return code;
}

gguf_code gguf_split(const gguf_file *file, const char *path, const gguf_split_opts *opts,
                     gguf_error *err) {
    if (!opts->max_bytes && !opts->max_tensors)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--max-size or --max-tensors is missing");
    char *prefix = strndup(path, gguf_shard_prefix_bytes(path));
    if (!prefix) return gguf_fail_memory(err);
    gguf_code code = split(file, prefix, opts, err);
    free(prefix);
    return code;
}
