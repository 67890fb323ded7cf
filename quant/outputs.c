/* Output files of a plan, and what is taken over from an interrupted run. */
#include "quant/outputs.h"

#include "libgguf/ends.h"
#include "libgguf/hash.h"
#include "libgguf/inputs.h"
#include "libgguf/outfile.h"
#include "libgguf/split.h"
#include "quant/patches.h"
#include "quant/quant.h"
#include "quant/source.h"

#include <dirent.h>
#include <inttypes.h>
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
    uint64_t print;
    uint32_t part, n_parts;
    bool resumed;
};

/* Of more files, only so many stay open. */
#define KEEP_OPEN 128

static const char safetensors_ending[] = ".safetensors";

/* As the shards of checkpoints are named; false if it does not fit. */
static bool checkpoint_shard_name(const char *path, uint32_t n_shards, uint32_t no, char *out,
                                  size_t room) {
    int n =
        snprintf(out, room, "%.*s-%05u-of-%05u%s", (int)(strlen(path) - strlen(safetensors_ending)),
                 path, no + 1, n_shards, safetensors_ending);
    return n > 0 && (size_t)n < room;
}

gguf_code quant_shard_path(const char *path, uint32_t n_shards, uint32_t no, char *out, size_t room,
                           gguf_error *err) {
    size_t n = strlen(path);
    if (n_shards > 1 && gguf_text_ends(path, safetensors_ending)) {
        if (checkpoint_shard_name(path, n_shards, no, out, room)) return GGUF_OK;
        return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET, "the name is too long");
    }
    char *prefix = strndup(path, n_shards == 1 ? n : gguf_shard_prefix_bytes(path));
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

static uint64_t mix_file(uint64_t seed, int fd, const char *path) {
    struct stat st;
    if (fd >= 0 ? fstat(fd, &st) != 0 : !path || stat(path, &st) != 0) return seed;
    seed = gguf_mix(seed, (uint64_t)st.st_size);
    seed = gguf_mix(seed, (uint64_t)st.st_mtim.tv_sec);
    return gguf_mix(seed, (uint64_t)st.st_mtim.tv_nsec);
}

static uint64_t mix_bytes(uint64_t seed, const quant_bytes *b) {
    seed = gguf_mix(gguf_mix(seed, b->off), b->n_bytes);
    if (b->memory) return gguf_xxh3(b->memory, b->n_bytes, seed);
    return b->n_bytes ? mix_file(seed, b->fd, b->path) : seed;
}

/* How codes become numbers. */
static uint64_t mix_affine(uint64_t h, const quant_affine *a) {
    const quant_packed *packed[] = {&a->codes, &a->zeros};
    for (size_t i = 0; i < 2; i++) {
        h = gguf_mix(gguf_mix(gguf_mix(h, packed[i]->grid.n_inner), packed[i]->n_bits),
                     packed[i]->unit_bytes);
        h = gguf_mix(gguf_mix(h, packed[i]->along_rows), packed[i]->stream_is_inner);
        h = gguf_mix(gguf_mix(h, packed[i]->pairs_interleaved), packed[i]->flip);
    }
    h = gguf_mix(gguf_mix(gguf_mix(h, a->zero), a->scales.n_inner), a->scale_type);
    h = gguf_mix(gguf_mix(gguf_mix(h, a->groups_inner), a->one_scale), a->group_cols);
    return gguf_mix(gguf_mix(gguf_mix(h, a->n_groups), a->n_rows), a->n_cols);
}

static uint64_t mix_source(uint64_t seed, const quant_source *s) {
    quant_bytes parts[QUANT_MAX_SOURCE_PARTS];
    size_t n = quant_source_parts(s, parts);
    seed = gguf_mix(gguf_mix(seed, s->first), n);
    if (s->affine) seed = mix_affine(seed, s->affine);
    for (size_t i = 0; i < n; i++) seed = mix_bytes(seed, &parts[i]);
    return seed;
}

static uint64_t mix_order(uint64_t h, const quant_order *order) {
    return order->n_parts ? gguf_xxh3(order->parts, order->n_parts * sizeof *order->parts, h) : h;
}

static uint64_t mix_patches(uint64_t h, const quant_patches *patches) {
    for (size_t i = 0; i < patches->n; i++) {
        const quant_patch *p = &patches->list[i];
        h = gguf_mix(mix_bytes(h, &p->bytes), p->type);
        h = gguf_mix(gguf_mix(gguf_mix(gguf_mix(h, p->n_mats), p->n_rows), p->n_cols),
                     p->n_used_rows);
        h = gguf_mix(gguf_mix(gguf_mix(gguf_mix(h, p->first), p->mat_stride), p->view.row_stride),
                     p->view.col_stride);
        h = gguf_mix(mix_order(mix_order(h, &p->row_order), &p->col_order), p->head_rows);
        for (uint32_t k = 0; k < p->n_steps; k++)
            h = gguf_mix(gguf_mix(h, (uint64_t)p->steps[k].op), p->steps[k].arg);
        if (p->row_factors) h = gguf_xxh3(p->row_factors, p->n_rows * sizeof(float), h);
    }
    return h;
}

static uint64_t mix_tensor(uint64_t h, const quant_plan_tensor *t) {
    uint64_t rows = t->out.n_dims > 2 ? t->out.dims[1] : t->n_rows;
    uint64_t n_mats = rows ? t->n_rows / rows : 0;
    h = gguf_mix(gguf_mix(gguf_mix(h, (uint64_t)t->coding), t->view.row_stride),
                 t->view.col_stride);
    h = mix_order(mix_order(gguf_mix(h, t->n_stored_rows), &t->row_order), &t->col_order);
    h = gguf_mix(gguf_mix(h, t->scaling.n_cols), t->scaling.block_rows);
    h = gguf_mix(gguf_mix(gguf_mix(h, t->stage), t->calibrated), t->compensate);
    h = gguf_mix(gguf_mix(gguf_mix(h, (uint64_t)t->effort), t->n_rows), t->n_cols);
    h = gguf_mix(gguf_mix(gguf_mix(h, t->scaling.block_cols), t->scaling.type), t->source_type);
    for (uint32_t i = 0; i < t->n_steps; i++)
        h = gguf_mix(gguf_mix(h, (uint64_t)t->steps[i].op), t->steps[i].arg);
    if (t->row_factors) h = gguf_xxh3(t->row_factors, t->n_rows * sizeof *t->row_factors, h);
    if (t->imp) h = gguf_xxh3(t->imp, n_mats * t->n_cols * sizeof *t->imp, h);
    if (t->patches) h = mix_patches(h, t->patches);
    if (!t->stack) return mix_source(h, &t->source);
    for (uint64_t i = 0; i < n_mats; i++) h = mix_source(h, &t->stack[i]);
    return h;
}

static uint64_t fingerprint(const quant_plan *plan, const quant_execute_opts *opts) {
    uint64_t h = gguf_xxh3(GGUFKIT_VERSION, strlen(GGUFKIT_VERSION), opts->loss != NULL);
    h = gguf_mix(gguf_mix(h, opts->output_error != NULL), opts->compensate.n_passes);
    h = gguf_mix(h, opts->inputs_hash);
    for (uint32_t i = 0; i < plan->n_shards; i++)
        h = gguf_xxh3(plan->shards[i].header, plan->shards[i].header_bytes, h);
    for (size_t i = 0; i < plan->n_tensors; i++) h = mix_tensor(h, &plan->tensors[i]);
    return h;
}

/* ---- opening ----------------------------------------------------------------------------- */

/* What is done with sets of another number of shards under the same name. */
typedef enum sets_step { SETS_CHECK, SETS_CLEAN } sets_step;

static gguf_code other_sets(const quant_outputs *o, sets_step step, gguf_error *err) {
    uint32_t count = o->plan->n_shards;
    if (count == 1 || o->plan->format != QUANT_FORMAT_GGUF) return GGUF_OK;
    char *prefix = strndup(o->path, gguf_shard_prefix_bytes(o->path));
    if (!prefix) return gguf_fail_memory(err);
    gguf_code code = step == SETS_CHECK
                         ? gguf_shard_sets_check(prefix, count, o->opts->replace, err)
                         : gguf_shard_sets_clean(prefix, count, err);
    free(prefix);
    return code;
}

/* A run that was killed between its renames left the first shards under their final names. */
static void take_back(const char *path, uint64_t n_bytes) {
    char part[MAX_PATH_BYTES + 8];
    struct stat st;
    int n = snprintf(part, sizeof part, "%s.part", path);
    if (n < 0 || (size_t)n >= sizeof part || access(part, F_OK) == 0) return;
    bool is_ours = lstat(path, &st) == 0 && S_ISREG(st.st_mode) &&
                   (uint64_t)st.st_size == n_bytes && !gguf_inputs_have(&st);
    if (is_ours) rename(path, part);
}

/* The file stays absent if the run was killed before it was created. */
static gguf_code take_over(quant_outputs *o, uint32_t no, const char *path, uint64_t n_bytes,
                           gguf_error *err) {
    gguf_error why = {0};
    take_back(path, n_bytes);
    gguf_code code = gguf_outfile_reopen(path, n_bytes, o->opts->replace ? GGUF_OUT_REPLACE : 0,
                                         &o->files[no], &why);
    if (code == GGUF_E_MISSING) return GGUF_OK;
    if (code && err) *err = why;
    return code;
}

static gguf_code open_file(quant_outputs *o, uint32_t no, gguf_error *err) {
    char path[MAX_PATH_BYTES];
    const quant_shard *shard = &o->plan->shards[no];
    uint64_t n_bytes = shard->header_bytes + shard->data_bytes;
    gguf_code code = shard_path(o, no, path, err);
    if (code) return code;
    if (o->resumed) code = take_over(o, no, path, n_bytes, err);
    if (!code && !o->files[no])
        code = gguf_outfile_open(path, n_bytes, o->opts->replace ? GGUF_OUT_REPLACE : 0,
                                 &o->files[no], err);
    return code;
}

/* One process creates a file, the others join it. */
static gguf_code open_shared(quant_outputs *o, uint32_t no, gguf_error *err) {
    char path[MAX_PATH_BYTES];
    gguf_code code = shard_path(o, no, path, err);
    if (code) return code;
    code = o->part > 0 ? gguf_outfile_join(path, &o->files[no], err) : open_file(o, no, err);
    if (!code && o->part == 0 && o->n_parts > 1) code = gguf_outfile_share(o->files[no], err);
    if (!code && no >= KEEP_OPEN) gguf_outfile_park(o->files[no]);
    return code;
}

/* ---- journals of the other parts --------------------------------------------------------- */

typedef gguf_code (*journal_fn)(quant_outputs *o, const char *path, gguf_error *err);

/* The number of a part whose journal has this name, or -1. */
static long part_of_journal(const char *name, const char *first) {
    size_t n = strlen(first);
    char *end;
    if (strncmp(name, first, n) != 0) return -1;
    if (!name[n]) return 0;
    if (name[n] != '-' || name[n + 1] < '1' || name[n + 1] > '9') return -1;
    long part = strtol(name + n + 1, &end, 10);
    return *end ? -1 : part;
}

/* Every journal that lies beside the output, this process's own aside: also those of an earlier run
 * with more parts. */
static gguf_code each_other_journal(quant_outputs *o, journal_fn fn, gguf_error *err) {
    const char *slash = strrchr(o->path, '/');
    int n_folder = slash ? (int)(slash - o->path) + 1 : 0;
    char folder[MAX_PATH_BYTES], first[MAX_PATH_BYTES], path[2 * MAX_PATH_BYTES];
    snprintf(folder, sizeof folder, "%.*s.", n_folder, o->path);
    snprintf(first, sizeof first, "%.4000s.part.journal", o->path + n_folder);
    DIR *d = opendir(folder);
    gguf_code code = GGUF_OK;
    for (const struct dirent *e; d && !code && (e = readdir(d));) {
        long part = part_of_journal(e->d_name, first);
        if (part < 0 || part == (long)o->part) continue;
        snprintf(path, sizeof path, "%.*s%s", n_folder, o->path, e->d_name);
        code = fn(o, path, err);
    }
    if (d) closedir(d);
    return code;
}

static gguf_code take_journal(quant_outputs *o, const char *path, gguf_error *err) {
    gguf_error own = {0};
    gguf_code code = quant_journal_take(o->journal, path, o->print, &own);
    if (code == GGUF_E_MISSING) return GGUF_OK; /* begun, and nothing in it yet */
    if (code && err) *err = own;
    return code;
}

static gguf_code remove_journal(quant_outputs *o, const char *path, gguf_error *err) {
    (void)o, (void)err;
    unlink(path);
    return GGUF_OK;
}

/* What this part noted before it was interrupted; none is no failure. */
static gguf_code open_own_journal(quant_outputs *o, gguf_error *err) {
    gguf_error none = {0};
    gguf_code code = quant_journal_open(o->journal_path, o->print, &o->journal, &none);
    o->resumed = code == GGUF_OK;
    if (!code || code == GGUF_E_MISSING) return GGUF_OK;
    if (err) *err = none;
    return code;
}

/* All files together, before the first is reserved. */
static gguf_code check_space(const quant_outputs *o, gguf_error *err) {
    uint64_t n_bytes = 0;
    for (uint32_t no = 0; no < o->plan->n_shards; no++)
        n_bytes += o->plan->shards[no].header_bytes + o->plan->shards[no].data_bytes;
    return gguf_outfile_check_space(o->path, n_bytes, err);
}

/* The journal comes first when resuming, and last when starting: it vouches for the files. Where
 * part 0 starts afresh, so do all: it removes what others noted before they come. */
static gguf_code open_all(quant_outputs *o, gguf_error *err) {
    o->print = fingerprint(o->plan, o->opts);
    gguf_code code = o->part == 0 ? other_sets(o, SETS_CHECK, err) : GGUF_OK;
    if (!code && o->opts->resume) code = open_own_journal(o, err);
    bool fresh = o->part == 0 && !o->resumed;
    if (!code && fresh) code = check_space(o, err);
    for (uint32_t no = 0; no < o->plan->n_shards && !code; no++) code = open_shared(o, no, err);
    if (!code && fresh) code = each_other_journal(o, remove_journal, err);
    if (!code && !o->resumed)
        code = quant_journal_create(o->journal_path, o->print, &o->journal, err);
    if (!code && o->opts->resume && !fresh) {
        o->resumed = true;
        code = each_other_journal(o, take_journal, err);
    }
    return code;
}

gguf_code quant_outputs_open(const quant_plan *plan, const char *path, uint32_t part,
                             uint32_t n_parts, const quant_execute_opts *opts, quant_outputs **out,
                             gguf_error *err) {
    quant_outputs *o = calloc(1, sizeof *o);
    char number[16] = "";
    *out = NULL;
    if (!o) return gguf_fail_memory(err);
    *o = (quant_outputs){.plan = plan, .opts = opts, .path = strdup(path)};
    o->part = part;
    o->n_parts = n_parts;
    o->files = calloc(plan->n_shards, sizeof(gguf_outfile *));
    if (part) snprintf(number, sizeof number, "-%" PRIu32, part);
    if (asprintf(&o->journal_path, "%s.part.journal%s", path, number) < 0) o->journal_path = NULL;
    gguf_code code =
        o->path && o->files && o->journal_path ? open_all(o, err) : gguf_fail_memory(err);
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

/* The hash of what the file has in a piece's place; false if it cannot be read. */
static bool hash_piece(const quant_outputs *o, const quant_piece *piece, uint8_t *scratch,
                       size_t room, uint64_t *hash) {
    const quant_plan_tensor *t = &o->plan->tensors[piece->tensor];
    uint64_t n_bytes = piece->n_rows * quant_row_bytes(t->out.type, t->n_cols);
    gguf_error none = {0};
    gguf_hasher *hasher;
    gguf_code code = gguf_hasher_new(GGUF_HASH_XXH3, &hasher, &none);
    if (code) return false;
    for (uint64_t off = 0; off < n_bytes && !code; off += room) {
        size_t n = n_bytes - off < room ? (size_t)(n_bytes - off) : room;
        code =
            gguf_outfile_read(piece_file(o, piece), scratch, n, piece_off(o, piece) + off, &none);
        if (!code) gguf_hasher_add(hasher, scratch, n);
    }
    *hash = strtoull(gguf_hasher_end(hasher).hex, NULL, 16);
    return !code;
}

bool quant_outputs_has(const quant_outputs *o, const quant_piece *piece, uint8_t *scratch,
                       size_t room, quant_loss_sums *loss) {
    const quant_journal_entry *entry = o->resumed ? quant_journal_find(o->journal, piece) : NULL;
    uint64_t hash;
    if (!entry || !hash_piece(o, piece, scratch, room, &hash) || hash != entry->hash) return false;
    *loss = entry->loss;
    return true;
}

gguf_code quant_outputs_write(quant_outputs *o, const quant_piece *rows, const uint8_t *bytes,
                              size_t n_bytes, gguf_error *err) {
    return gguf_outfile_write(piece_file(o, rows), bytes, n_bytes, piece_off(o, rows), err);
}

gguf_code quant_outputs_note(quant_outputs *o, const quant_journal_entry *entry, gguf_error *err) {
    return quant_journal_add(o->journal, entry, err);
}

gguf_code quant_outputs_sync(const quant_outputs *o, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (uint32_t no = 0; no < o->plan->n_shards && !code; no++)
        code = gguf_outfile_sync(o->files[no], err);
    return code;
}

gguf_code quant_outputs_collect(quant_outputs *o, gguf_error *err) {
    return each_other_journal(o, take_journal, err);
}

bool quant_outputs_noted(const quant_outputs *o, const quant_piece *piece, quant_loss_sums *loss) {
    const quant_journal_entry *entry = quant_journal_find(o->journal, piece);
    if (entry) *loss = entry->loss;
    return entry;
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
    code = other_sets(o, SETS_CLEAN, err);
    quant_journal_close(o->journal, true);
    each_other_journal(o, remove_journal, NULL);
    free_outputs(o);
    return code;
}

void quant_outputs_leave(quant_outputs *o) {
    for (uint32_t no = 0; no < o->plan->n_shards; no++) gguf_outfile_keep(o->files[no]);
    quant_journal_close(o->journal, false);
    free_outputs(o);
}

void quant_outputs_discard(quant_outputs *o) {
    if (!o) return;
    /* What another run left is not ours to remove before its journal was understood. */
    bool keep = o->opts->resume && o->journal;
    for (uint32_t no = 0; o->files && no < o->plan->n_shards; no++)
        if (keep || o->part > 0)
            gguf_outfile_keep(o->files[no]);
        else
            gguf_outfile_discard(o->files[no]);
    quant_journal_close(o->journal, !keep);
    free_outputs(o);
}
