/* Output files of a plan, and what is taken over from an interrupted run. */
#include "quant/outputs.h"

#include "libgguf/hash.h"
#include "libgguf/outfile.h"
#include "libgguf/split.h"
#include "quant/quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PATH_BYTES 4096

struct quant_outputs {
    const quant_plan *plan;
    const quant_execute_opts *opts;
    char *path, *journal_path;
    gguf_outfile **files; /* [n_shards] */
    quant_journal *journal;
    bool resumed;
};

static gguf_code no_memory(gguf_error *err) {
    return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
}

gguf_code quant_shard_path(const char *path, uint32_t n_shards, uint32_t no, char *out, size_t room,
                           gguf_error *err) {
    size_t n = strlen(path), cut = n > 5 && strcmp(path + n - 5, ".gguf") == 0 ? n - 5 : n;
    char *prefix = strndup(path, n_shards == 1 ? n : cut);
    bool fits = prefix && n < room;
    if (fits && n_shards == 1)
        memcpy(out, path, n + 1);
    else if (fits)
        fits = gguf_shard_name(prefix, n_shards, no, out, room);
    free(prefix);
    if (fits) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET, "the name is too long");
}

static gguf_code shard_path(const quant_outputs *o, uint32_t no, char out[MAX_PATH_BYTES],
                            gguf_error *err) {
    return quant_shard_path(o->path, o->plan->n_shards, no, out, MAX_PATH_BYTES, err);
}

/* ---- what decides the bytes -------------------------------------------------------------- */

static uint64_t mix(uint64_t seed, uint64_t value) {
    return gguf_xxh3(&value, sizeof value, seed);
}

static uint64_t mix_file(uint64_t seed, int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) return seed;
    seed = mix(seed, (uint64_t)st.st_size);
    seed = mix(seed, (uint64_t)st.st_mtim.tv_sec);
    return mix(seed, (uint64_t)st.st_mtim.tv_nsec);
}

static uint64_t mix_bytes(uint64_t seed, const quant_bytes *b) {
    seed = mix(mix(seed, b->off), b->n_bytes);
    if (b->memory) return gguf_xxh3(b->memory, b->n_bytes, seed);
    return b->n_bytes ? mix_file(seed, b->fd) : seed;
}

static uint64_t mix_source(uint64_t seed, const quant_source *s) {
    const quant_bytes bytes = {s->fd, s->off, s->memory, s->n_bytes};
    return mix_bytes(mix(mix_bytes(seed, &bytes), s->first), &s->scales);
}

static uint64_t mix_order(uint64_t h, const quant_order *order) {
    return order->n_parts ? gguf_xxh3(order->parts, order->n_parts * sizeof *order->parts, h) : h;
}

static uint64_t mix_tensor(uint64_t h, const quant_plan_tensor *t) {
    uint64_t rows = t->out.n_dims > 2 ? t->out.dims[1] : t->n_rows;
    uint64_t n_mats = rows ? t->n_rows / rows : 0;
    h = mix(mix(mix(h, (uint64_t)t->coding), t->view.row_stride), t->view.col_stride);
    h = mix_order(mix_order(mix(h, t->n_stored_rows), &t->row_order), &t->col_order);
    h = mix(mix(h, t->scaling.n_cols), t->scaling.block_rows);
    h = mix(mix(mix(h, t->stage), t->calibrated), t->compensate);
    h = mix(mix(mix(h, t->scaling.block_cols), t->scaling.type), t->source_type);
    for (uint32_t i = 0; i < t->n_steps; i++)
        h = mix(mix(h, (uint64_t)t->steps[i].op), t->steps[i].arg);
    if (t->imp) h = gguf_xxh3(t->imp, n_mats * t->n_cols * sizeof *t->imp, h);
    if (!t->stack) return mix_source(h, &t->source);
    for (uint64_t i = 0; i < n_mats; i++) h = mix_source(h, &t->stack[i]);
    return h;
}

static uint64_t fingerprint(const quant_plan *plan, const quant_execute_opts *opts) {
    uint64_t h = gguf_xxh3(GGUFKIT_VERSION, strlen(GGUFKIT_VERSION), opts->loss != NULL);
    h = mix(mix(h, opts->output_error != NULL), opts->compensate.n_passes);
    for (uint32_t i = 0; i < plan->n_shards; i++)
        h = gguf_xxh3(plan->shards[i].header, plan->shards[i].header_bytes, h);
    for (size_t i = 0; i < plan->n_tensors; i++) h = mix_tensor(h, &plan->tensors[i]);
    return h;
}

/* ---- opening ----------------------------------------------------------------------------- */

/* A run that was killed between its renames left the first shards under their final names. */
static void take_back(const char *path, uint64_t n_bytes) {
    char part[MAX_PATH_BYTES + 8];
    struct stat st;
    int n = snprintf(part, sizeof part, "%s.part", path);
    if (n < 0 || (size_t)n >= sizeof part || access(part, F_OK) == 0) return;
    if (stat(path, &st) == 0 && (uint64_t)st.st_size == n_bytes) rename(path, part);
}

static gguf_code open_file(quant_outputs *o, uint32_t no, gguf_error *err) {
    char path[MAX_PATH_BYTES];
    const quant_shard *shard = &o->plan->shards[no];
    uint64_t n_bytes = shard->header_bytes + shard->data_bytes;
    gguf_code code = shard_path(o, no, path, err);
    if (code) return code;
    if (!o->resumed) return gguf_outfile_open(path, n_bytes, o->opts->replace, &o->files[no], err);
    take_back(path, n_bytes);
    gguf_error none = {0};
    code = gguf_outfile_reopen(path, n_bytes, o->opts->replace, &o->files[no], &none);
    if (code == GGUF_E_MISSING) /* killed before it was created */
        return gguf_outfile_open(path, n_bytes, o->opts->replace, &o->files[no], err);
    if (code && err) *err = none;
    return code;
}

/* The journal comes first when resuming, and last when starting: it vouches for the files. */
static gguf_code open_all(quant_outputs *o, gguf_error *err) {
    uint64_t print = fingerprint(o->plan, o->opts);
    gguf_code code = GGUF_OK;
    if (o->opts->resume) {
        gguf_error none = {0};
        code = quant_journal_open(o->journal_path, print, &o->journal, &none);
        o->resumed = code == GGUF_OK;
        if (code && code != GGUF_E_MISSING) {
            if (err) *err = none;
            return code;
        }
        code = GGUF_OK;
    }
    for (uint32_t no = 0; no < o->plan->n_shards && !code; no++) code = open_file(o, no, err);
    if (!code && !o->resumed) code = quant_journal_create(o->journal_path, print, &o->journal, err);
    return code;
}

gguf_code quant_outputs_open(const quant_plan *plan, const char *path,
                             const quant_execute_opts *opts, quant_outputs **out, gguf_error *err) {
    quant_outputs *o = calloc(1, sizeof *o);
    *out = NULL;
    if (!o) return no_memory(err);
    *o = (quant_outputs){.plan = plan, .opts = opts, .path = strdup(path)};
    o->files = calloc(plan->n_shards, sizeof(gguf_outfile *));
    if (asprintf(&o->journal_path, "%s.part.journal", path) < 0) o->journal_path = NULL;
    gguf_code code = o->path && o->files && o->journal_path ? open_all(o, err) : no_memory(err);
    if (code) {
        quant_outputs_discard(o);
        return code;
    }
    *out = o;
    return GGUF_OK;
}

/* ---- pieces ------------------------------------------------------------------------------ */

static uint64_t piece_off(const quant_outputs *o, const quant_piece *piece) {
    const quant_plan_tensor *t = &o->plan->tensors[piece->tensor];
    return o->plan->shards[t->out.shard].header_bytes + t->out.data_off +
           piece->row * quant_row_bytes(t->out.type, t->n_cols);
}

static gguf_outfile *piece_file(const quant_outputs *o, const quant_piece *piece) {
    return o->files[o->plan->tensors[piece->tensor].out.shard];
}

bool quant_outputs_has(const quant_outputs *o, const quant_piece *piece, uint8_t *scratch,
                       size_t n_bytes, quant_loss_sums *loss) {
    const quant_journal_entry *entry = o->resumed ? quant_journal_find(o->journal, piece) : NULL;
    gguf_error none = {0};
    if (!entry ||
        gguf_outfile_read(piece_file(o, piece), scratch, n_bytes, piece_off(o, piece), &none) ||
        gguf_xxh3(scratch, n_bytes, 0) != entry->hash)
        return false;
    *loss = entry->loss;
    return true;
}

gguf_code quant_outputs_write(quant_outputs *o, const quant_piece *piece, const uint8_t *bytes,
                              size_t n_bytes, const quant_loss_sums *loss, gguf_error *err) {
    const quant_journal_entry entry = {*piece, gguf_xxh3(bytes, n_bytes, 0), *loss};
    gguf_code code =
        gguf_outfile_write(piece_file(o, piece), bytes, n_bytes, piece_off(o, piece), err);
    return code ? code : quant_journal_add(o->journal, &entry, err);
}

/* ---- closing ----------------------------------------------------------------------------- */

static void free_outputs(quant_outputs *o) {
    free(o->files);
    free(o->path);
    free(o->journal_path);
    free(o);
}

/* Shards that were renamed before one of them failed. */
static void remove_committed(const quant_outputs *o, uint32_t n) {
    char path[MAX_PATH_BYTES];
    for (uint32_t no = 0; no < n && !o->opts->replace; no++)
        if (!shard_path(o, no, path, NULL)) unlink(path);
}

gguf_code quant_outputs_commit(quant_outputs *o, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (uint32_t no = 0; no < o->plan->n_shards && !code; no++)
        code = gguf_outfile_write(o->files[no], o->plan->shards[no].header,
                                  o->plan->shards[no].header_bytes, 0, err);
    for (uint32_t no = 0; no < o->plan->n_shards && !code; no++) {
        code = gguf_outfile_commit(o->files[no], err);
        o->files[no] = NULL;
        if (code) remove_committed(o, no);
    }
    if (code) {
        quant_outputs_discard(o);
        return code;
    }
    quant_journal_close(o->journal, true);
    free_outputs(o);
    return GGUF_OK;
}

void quant_outputs_discard(quant_outputs *o) {
    if (!o) return;
    /* What another run left is not ours to remove before its journal was understood. */
    bool keep = o->opts->resume && o->journal;
    for (uint32_t no = 0; o->files && no < o->plan->n_shards; no++)
        if (keep)
            gguf_outfile_keep(o->files[no]);
        else
            gguf_outfile_discard(o->files[no]);
    quant_journal_close(o->journal, !keep);
    free_outputs(o);
}
