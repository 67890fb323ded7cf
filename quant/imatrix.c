/* Importance matrices: collecting, loading, saving. */
#include "quant/imatrix.h"
#include "libgguf/ends.h"
#include "libgguf/index.h"
#include "libgguf/map.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUMS_SUFFIX   ".in_sum2"
#define COUNTS_SUFFIX ".counts"

#define INPUTS_HASH_KEY "ggufkit.imatrix.inputs_hash"

struct quant_imatrix {
    quant_imatrix_entry *entries;
    size_t n_entries, room;
    gguf_index index;
    quant_imatrix_info info;
};

quant_imatrix *quant_imatrix_new(void) {
    return calloc(1, sizeof(quant_imatrix));
}

static void free_entry(quant_imatrix_entry *entry) {
    free(entry->name);
    free(entry->sums);
    free(entry->counts);
}

void quant_imatrix_free(quant_imatrix *im) {
    if (!im) return;
    for (size_t i = 0; i < im->n_entries; i++) free_entry(&im->entries[i]);
    free(im->entries);
    gguf_index_clear(&im->index);
    free(im->info.dataset);
    free(im);
}

static quant_imatrix_entry *add_entry(quant_imatrix *im, const char *name, size_t n_cols,
                                      size_t n_mats) {
    if (im->n_entries == im->room) {
        size_t room = im->room ? im->room * 2 : 64;
        void *grown = realloc(im->entries, room * sizeof *im->entries);
        if (!grown) return NULL;
        im->entries = grown;
        im->room = room;
    }
    quant_imatrix_entry e = {.name = strdup(name),
                             .n_cols = n_cols,
                             .n_mats = n_mats,
                             .sums = calloc(n_cols * n_mats + 1, sizeof(double)),
                             .counts = calloc(n_mats + 1, sizeof(double))};
    if (!e.name || !e.sums || !e.counts ||
        gguf_index_put(&im->index, gguf_str_of(e.name), (uint32_t)im->n_entries, NULL) !=
            GGUF_INDEX_ADDED) {
        free_entry(&e);
        return NULL;
    }
    im->entries[im->n_entries] = e;
    return &im->entries[im->n_entries++];
}

quant_imatrix_entry *quant_imatrix_entry_of(quant_imatrix *im, const char *name, size_t n_cols,
                                            size_t n_mats) {
    uint32_t i;
    if (!gguf_index_get(&im->index, gguf_str_of(name), &i))
        return add_entry(im, name, n_cols, n_mats);
    quant_imatrix_entry *entry = &im->entries[i];
    return entry->n_cols == n_cols && entry->n_mats == n_mats ? entry : NULL;
}

size_t quant_imatrix_count(const quant_imatrix *im) {
    return im->n_entries;
}

const quant_imatrix_entry *quant_imatrix_at(const quant_imatrix *im, size_t i) {
    return &im->entries[i];
}

const quant_imatrix_entry *quant_imatrix_find(const quant_imatrix *im, const char *name) {
    uint32_t i;
    return gguf_index_get(&im->index, gguf_str_of(name), &i) ? &im->entries[i] : NULL;
}

static bool holds_one(const char *name, const char *const *texts, size_t n, bool *used) {
    bool held = false;
    for (size_t i = 0; i < n; i++) {
        if (!strstr(name, texts[i])) continue;
        used[i] = held = true;
    }
    return held;
}

static gguf_code index_again(quant_imatrix *im, gguf_error *err) {
    gguf_index_clear(&im->index);
    for (size_t i = 0; i < im->n_entries; i++)
        if (gguf_index_put(&im->index, gguf_str_of(im->entries[i].name), (uint32_t)i, NULL) !=
            GGUF_INDEX_ADDED)
            return gguf_fail_memory(err);
    return GGUF_OK;
}

gguf_code quant_imatrix_select(quant_imatrix *im, const char *const *texts, size_t n, bool drop,
                               gguf_error *err) {
    bool *used = calloc(n + 1, sizeof *used);
    size_t n_kept = 0;
    if (!used) return gguf_fail_memory(err);
    for (size_t i = 0; i < im->n_entries; i++) {
        if (holds_one(im->entries[i].name, texts, n, used) != drop)
            im->entries[n_kept++] = im->entries[i];
        else
            free_entry(&im->entries[i]);
    }
    im->n_entries = n_kept;
    gguf_code code = index_again(im, err);
    for (size_t i = 0; i < n && !code; i++)
        if (!used[i])
            code = gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "no name in the importance matrix holds '%s'", texts[i]);
    free(used);
    return code;
}

void quant_imatrix_means(const quant_imatrix_entry *entry, float *means) {
    for (size_t m = 0; m < entry->n_mats; m++) {
        double count = entry->counts[m];
        for (size_t c = 0; c < entry->n_cols; c++) {
            size_t i = m * entry->n_cols + c;
            means[i] = count > 0 ? (float)(entry->sums[i] / count) : 1.0f;
        }
    }
}

void quant_imatrix_round(quant_imatrix *im) {
    for (size_t k = 0; k < im->n_entries; k++) {
        quant_imatrix_entry *e = &im->entries[k];
        for (size_t i = 0; i < e->n_cols * e->n_mats; i++) e->sums[i] = (float)e->sums[i];
    }
}

const quant_imatrix_info *quant_imatrix_info_of(const quant_imatrix *im) {
    return &im->info;
}

gguf_code quant_imatrix_set_info(quant_imatrix *im, const char *dataset, uint32_t n_chunks,
                                 uint32_t chunk_tokens, gguf_error *err) {
    char *copy = strdup(dataset);
    if (!copy) return gguf_fail_memory(err);
    free(im->info.dataset);
    im->info = (quant_imatrix_info){copy, n_chunks, chunk_tokens, 0};
    return GGUF_OK;
}

void quant_imatrix_set_inputs_hash(quant_imatrix *im, uint64_t inputs_hash) {
    im->info.inputs_hash = inputs_hash;
}

/* ---- loading ----------------------------------------------------------------------------- */

static gguf_code read_info(quant_imatrix *im, const gguf_file *f, gguf_error *err) {
    const gguf_meta *meta = gguf_file_meta(f);
    const char *path = gguf_file_path(f);
    gguf_str type, dataset = {"", 0};
    uint64_t n_chunks, chunk_tokens;
    if (!gguf_kv_str(gguf_meta_find(meta, "general.type"), &type) || !gguf_str_eq(type, "imatrix"))
        return gguf_fail(err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET,
                         "not an importance matrix: general.type is not 'imatrix'");
    const gguf_kv *datasets = gguf_meta_find(meta, "imatrix.datasets");
    if (!datasets || datasets->elem_type != GGUF_VALUE_STRING ||
        !gguf_kv_u64(gguf_meta_find(meta, "imatrix.chunk_count"), &n_chunks) ||
        !gguf_kv_u64(gguf_meta_find(meta, "imatrix.chunk_size"), &chunk_tokens))
        return gguf_fail(err, GGUF_E_MISSING, path, GGUF_NO_OFFSET,
                         "imatrix.datasets, imatrix.chunk_count or imatrix.chunk_size is missing");
    gguf_kv_iter it = {.kv = datasets};
    gguf_kv_next_str(&it, &dataset);
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)(dataset.len < 255 ? dataset.len : 255), dataset.ptr);
    gguf_code code =
        quant_imatrix_set_info(im, name, (uint32_t)n_chunks, (uint32_t)chunk_tokens, err);
    if (!code) gguf_kv_u64(gguf_meta_find(meta, INPUTS_HASH_KEY), &im->info.inputs_hash);
    return code;
}

static gguf_code fail_entry(const gguf_file *f, const gguf_tensor *t, gguf_code code,
                            const char *what, gguf_error *err) {
    return gguf_fail(err, code, gguf_file_path(f), (int64_t)t->file_off, "tensor '%.*s': %s",
                     (int)t->name.len, t->name.ptr, what);
}

static gguf_code read_values(const gguf_file *f, const gguf_tensor *t, double *out,
                             gguf_error *err) {
    size_t n = (size_t)gguf_tensor_n_elems(t);
    const uint8_t *data = gguf_file_data(f, t);
    for (size_t i = 0; i < n; i++) {
        float v;
        memcpy(&v, data + i * sizeof v, sizeof v);
        if (!isfinite(v) || v < 0)
            return fail_entry(f, t, GGUF_E_NONFINITE, "a sum or count is negative or not finite",
                              err);
        out[i] = v;
    }
    return GGUF_OK;
}

/* Means that overflow would weigh a column infinitely. */
static bool means_are_finite(const quant_imatrix_entry *entry) {
    for (size_t m = 0; m < entry->n_mats; m++)
        for (size_t c = 0; c < entry->n_cols && entry->counts[m] > 0; c++)
            if (entry->sums[m * entry->n_cols + c] / entry->counts[m] > FLT_MAX) return false;
    return true;
}

static gguf_code read_entry(quant_imatrix *im, const gguf_file *f, const gguf_tensor *sums,
                            gguf_error *err) {
    char name[GGUF_MAX_TENSOR_NAME + 8];
    size_t len = sums->name.len - strlen(SUMS_SUFFIX);
    snprintf(name, sizeof name, "%.*s%s", (int)len, sums->name.ptr, COUNTS_SUFFIX);
    const gguf_tensor *counts = gguf_file_find_tensor(f, name);
    if (!counts) return fail_entry(f, sums, GGUF_E_MISSING, "there are no .counts beside it", err);
    size_t n_cols = (size_t)sums->dims[0], n_mats = (size_t)gguf_tensor_n_rows(sums);
    if (sums->type != GGUF_TYPE_F32 || counts->type != GGUF_TYPE_F32 ||
        gguf_tensor_n_elems(counts) != n_mats || n_cols == 0)
        return fail_entry(f, sums, GGUF_E_SHAPE, "sums and counts do not fit together", err);
    name[len] = '\0';
    quant_imatrix_entry *entry = quant_imatrix_entry_of(im, name, n_cols, n_mats);
    if (!entry) return gguf_fail_memory_of(err, gguf_file_path(f));
    gguf_code code = read_values(f, sums, entry->sums, err);
    if (!code) code = read_values(f, counts, entry->counts, err);
    if (!code && !means_are_finite(entry))
        code = fail_entry(f, sums, GGUF_E_NONFINITE, "a mean is not finite", err);
    return code;
}

gguf_code quant_imatrix_read(const gguf_file *f, quant_imatrix **out, gguf_error *err) {
    *out = NULL;
    quant_imatrix *im = quant_imatrix_new();
    gguf_code code = im ? read_info(im, f, err) : gguf_fail_memory_of(err, gguf_file_path(f));
    for (size_t i = 0; i < gguf_file_n_tensors(f) && !code; i++) {
        const gguf_tensor *t = gguf_file_tensor(f, i);
        if (t->name.len > strlen(SUMS_SUFFIX) && gguf_str_ends(t->name, SUMS_SUFFIX))
            code = read_entry(im, f, t, err);
    }
    if (code)
        quant_imatrix_free(im);
    else
        *out = im;
    return code;
}

/* The legacy format has no magic: it starts with the number of entries. */
static bool starts_like_gguf(const char *path) {
    char magic[4] = {0};
    return gguf_file_start(path, magic, 4) < 4 || memcmp(magic, "GGUF", 4) == 0;
}

gguf_code quant_imatrix_load(const char *path, quant_imatrix **out, gguf_error *err) {
    gguf_file *f;
    *out = NULL;
    if (!starts_like_gguf(path)) return quant_imatrix_load_dat(path, out, err);
    gguf_code code = gguf_file_open(path, GGUF_OPEN_DEFAULT, &f, err);
    if (code) return code;
    code = quant_imatrix_read(f, out, err);
    gguf_file_close(f);
    return code;
}

/* ---- saving ------------------------------------------------------------------------------ */

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const quant_imatrix_entry *const *)a)->name,
                  (*(const quant_imatrix_entry *const *)b)->name);
}

/* Two tensors per entry; dense entries have one dimension, as existing readers expect. */
static void describe_entry(const quant_imatrix_entry *e, char (*names)[GGUF_MAX_TENSOR_NAME + 16],
                           gguf_tensor *tensors) {
    uint32_t n_dims = e->n_mats > 1 ? 2 : 1;
    snprintf(names[0], sizeof names[0], "%s%s", e->name, SUMS_SUFFIX);
    snprintf(names[1], sizeof names[1], "%s%s", e->name, COUNTS_SUFFIX);
    tensors[0] = (gguf_tensor){
        .name = gguf_str_of(names[0]), .n_dims = n_dims, .dims = {e->n_cols, e->n_mats, 1, 1}};
    tensors[1] = (gguf_tensor){
        .name = gguf_str_of(names[1]), .n_dims = n_dims, .dims = {1, e->n_mats, 1, 1}};
}

static gguf_code write_values(gguf_writer *writer, size_t tensor, const double *values, size_t n,
                              gguf_error *err) {
    float *packed = malloc((n + 1) * sizeof *packed);
    if (!packed) return gguf_fail_memory(err);
    for (size_t i = 0; i < n; i++) packed[i] = (float)values[i];
    gguf_code code = gguf_writer_write(writer, tensor, 0, packed, n * sizeof *packed, err);
    free(packed);
    return code;
}

static gguf_code save_file(const char *path, bool replace, const gguf_meta *meta,
                           gguf_tensor *tensors, const quant_imatrix_entry *const *sorted, size_t n,
                           gguf_error *err) {
    gguf_writer *writer;
    unsigned how = GGUF_WRITE_STREAM | (replace ? GGUF_WRITE_REPLACE : 0);
    gguf_code code =
        gguf_writer_open(path, meta, tensors, 2 * n, GGUF_DEFAULT_ALIGNMENT, how, &writer, err);
    if (code) return code;
    for (size_t i = 0; i < n && !code; i++) {
        const quant_imatrix_entry *e = sorted[i];
        code = write_values(writer, 2 * i, e->sums, e->n_cols * e->n_mats, err);
        if (!code) code = write_values(writer, 2 * i + 1, e->counts, e->n_mats, err);
    }
    if (!code) return gguf_writer_commit(writer, err);
    gguf_writer_discard(writer);
    return code;
}

gguf_code quant_imatrix_save(const quant_imatrix *im, const char *path, bool replace,
                             gguf_error *err) {
    size_t n = im->n_entries;
    const quant_imatrix_entry **sorted = calloc(n + 1, sizeof *sorted);
    gguf_tensor *tensors = calloc(2 * n + 1, sizeof *tensors);
    char(*names)[GGUF_MAX_TENSOR_NAME + 16] = calloc(2 * n + 1, sizeof *names);
    gguf_meta *meta = gguf_meta_new();
    gguf_code code = GGUF_OK;
    if (!sorted || !tensors || !names || !meta) {
        code = gguf_fail_memory_of(err, path);
        goto done;
    }
    for (size_t i = 0; i < n; i++) sorted[i] = &im->entries[i];
    qsort(sorted, n, sizeof *sorted, compare_names);
    for (size_t i = 0; i < n; i++) describe_entry(sorted[i], names + 2 * i, tensors + 2 * i);
    gguf_str dataset = gguf_str_of(im->info.dataset ? im->info.dataset : "");
    gguf_meta_set_str(meta, "general.type", gguf_str_of("imatrix"));
    gguf_meta_set_str_array(meta, "imatrix.datasets", 1, &dataset);
    gguf_meta_set_u32(meta, "imatrix.chunk_count", im->info.n_chunks);
    gguf_meta_set_u32(meta, "imatrix.chunk_size", im->info.chunk_tokens);
    if (im->info.inputs_hash) gguf_meta_set_u64(meta, INPUTS_HASH_KEY, im->info.inputs_hash);
    code = save_file(path, replace, meta, tensors, sorted, n, err);
done:
    gguf_meta_free(meta);
    free(names);
    free(tensors);
    free(sorted);
    return code;
}
