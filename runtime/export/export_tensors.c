/* Tensors of a checkpoint from those of a file: each entry of the description read backwards. */
#include "libgguf/index.h"
#include "quant/patches.h"
#include "quant/quant.h"
#include "runtime/export/export_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME RT_IMPORT_MAX_NAME

/* A tensor of the checkpoint on its way. */
typedef struct target {
    char *name;
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* rows first */
    quant_patch *patches;
    size_t n, room;
    const gguf_tensor *first; /* of the file, for errors */
} target;

typedef struct targets {
    rt_export *e;
    target *list;
    size_t n, room;
    gguf_index by_name;
    bool *used; /* [tensors of the file] */
} targets;

static void clear(targets *all) {
    for (size_t i = 0; i < all->n; i++) {
        free(all->list[i].name);
        free(all->list[i].patches);
    }
    free(all->list);
    free(all->used);
    gguf_index_clear(&all->by_name);
}

static gguf_code fail(const rt_export *e, gguf_code code, const char *name, const char *what,
                      gguf_error *err) {
    return gguf_fail(err, code, gguf_file_path(e->source->gguf), GGUF_NO_OFFSET,
                     "tensor '%s' cannot be inverted: %s", name, what);
}

/* ---- targets ----------------------------------------------------------------------------- */

static target *find_target(const targets *all, const char *name) {
    uint32_t i;
    return gguf_index_get(&all->by_name, gguf_str_of(name), &i) ? &all->list[i] : NULL;
}

static target *add_target(targets *all, const char *name) {
    uint32_t old;
    if (all->n == all->room) {
        size_t room = all->room ? 2 * all->room : 256;
        void *grown = realloc(all->list, room * sizeof *all->list);
        if (!grown) return NULL;
        all->list = grown;
        all->room = room;
    }
    target *t = &all->list[all->n];
    *t = (target){.name = strdup(name)};
    if (!t->name || gguf_index_put(&all->by_name, gguf_str_of(t->name), (uint32_t)all->n, &old) ==
                        GGUF_INDEX_NOMEM) {
        free(t->name);
        return NULL;
    }
    all->n++;
    return t;
}

static gguf_code add_patch(target *t, const quant_patch *patch, gguf_error *err) {
    if (t->n == t->room) {
        size_t room = t->room ? 2 * t->room : 4;
        void *grown = realloc(t->patches, room * sizeof *t->patches);
        if (!grown) return gguf_fail_memory(err);
        t->patches = grown;
        t->room = room;
    }
    t->patches[t->n++] = *patch;
    return GGUF_OK;
}

/* ---- one entry --------------------------------------------------------------------------- */

/* Where a description says no shape, nothing changes it. */
static gguf_code stored_layout(const rt_export *e, const rt_arch_tensor *entry, uint64_t layer,
                               const gguf_tensor *src, const char *name, uint64_t n_stacked,
                               target *t, rt_tensor_layout *out, gguf_error *err) {
    gguf_code code = GGUF_OK;
    t->n_dims = 0;
    for (size_t i = 0; i < entry->shape.n && !code; i++)
        code = rt_import_eval(e->folder, &entry->shape.list[i], layer, &t->dims[t->n_dims++], err);
    uint32_t n_dims = src->n_dims - (n_stacked ? 1 : 0);
    for (uint32_t i = 0; i < n_dims && !entry->shape.n; i++)
        t->dims[t->n_dims++] = src->dims[n_dims - 1 - i];
    *out = rt_tensor_layout_of(t->dims, t->n_dims);
    out->name = name;
    out->file = gguf_file_path(e->source->gguf);
    out->off = (int64_t)src->file_off;
    return code;
}

/* One factor for each row. */
static gguf_code row_factors(rt_export *e, const rt_tensor_layout *l, quant_patch *patch,
                             gguf_error *err) {
    if (!l->n_row_scales) return GGUF_OK;
    float *factors = quant_plan_alloc(&e->plan, l->rows * sizeof *factors);
    if (!factors) return gguf_fail_memory(err);
    patch->row_factors = factors;
    rt_tensor_layout_factors(l, factors);
    return GGUF_OK;
}

/* The whole file's tensor, or matrix `expert` of it. */
static void patch_of(const rt_export *e, const gguf_tensor *src, const rt_tensor_layout *l,
                     uint64_t expert, quant_patch *out) {
    const gguf_file *file = e->source->gguf;
    uint64_t n_bytes = l->mats * l->rows * quant_row_bytes(src->type, l->cols);
    *out = (quant_patch){.bytes = {gguf_file_fd(file, src->shard), src->file_off + expert * n_bytes,
                                   NULL, n_bytes, gguf_file_shard_path(file, src->shard)},
                         .type = src->type,
                         .n_mats = l->mats,
                         .n_rows = l->rows,
                         .n_cols = l->cols,
                         .n_used_rows = l->n_stored_rows,
                         .first = l->first,
                         .mat_stride = l->stored_rows * l->stored_cols,
                         .view = l->view,
                         .row_order = l->row_order,
                         .col_order = l->col_order};
    if (!out->view.row_stride) out->view = (quant_view){l->stored_cols, 1};
    for (uint32_t i = 0; i < l->n_steps; i++)
        if (l->steps[i].op == QUANT_STEP_PERMUTE_HEADS)
            out->head_rows = l->mats * l->rows / l->steps[i].arg;
        else
            out->steps[out->n_steps++] = l->steps[i];
}

static bool same_shape(const gguf_tensor *src, const rt_tensor_layout *layout, uint64_t n_stacked) {
    rt_tensor_layout l = *layout;
    uint64_t dims[GGUF_MAX_DIMS], n = 1;
    if (n_stacked) rt_tensor_layout_stack(&l, n_stacked);
    rt_tensor_layout_dims(&l, dims);
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++)
        n = n && dims[i] == (i < src->n_dims ? src->dims[i] : 1);
    return n;
}

/* Rows of zeros that fill a stored tensor up are no part of it. */
static void shorten(const rt_tensor_layout *l, target *t) {
    if (l->n_stored_rows) t->dims[0] = l->n_stored_rows;
}

static gguf_code add_part(targets *all, const rt_arch_tensor *entry, uint64_t layer,
                          const gguf_tensor *src, const char *gguf_name, uint64_t n_stacked,
                          uint64_t expert, gguf_error *err) {
    char name[MAX_NAME];
    rt_export *e = all->e;
    target shape = {0};
    rt_tensor_layout l;
    quant_patch patch;
    rt_expand_name(entry->hf, layer, expert, name, sizeof name);
    gguf_code code = stored_layout(e, entry, layer, src, gguf_name, n_stacked, &shape, &l, err);
    if (!code) code = rt_import_transform(e->folder, entry, layer, &l, err);
    if (code) return code;
    if (!same_shape(src, &l, n_stacked))
        return fail(e, GGUF_E_SHAPE, gguf_name, "it has another shape than its keys imply", err);
    shorten(&l, &shape);
    for (size_t i = 0; i < e->hf_class->names.n; i++)
        rt_import_rename(&e->hf_class->names.list[i], name);
    target *t = find_target(all, name);
    if (!t && !(t = add_target(all, name))) return gguf_fail_memory(err);
    if (!t->first) {
        t->first = src;
        t->n_dims = shape.n_dims;
        memcpy(t->dims, shape.dims, sizeof t->dims);
    }
    patch_of(e, src, &l, expert, &patch);
    code = row_factors(e, &l, &patch, err);
    return code ? code : add_patch(t, &patch, err);
}

static bool same_layers(const rt_arch_tensor *a, const rt_arch_tensor *b) {
    bool same = a->layers.n == b->layers.n;
    for (size_t i = 0; same && i < a->layers.n; i++)
        same = strcmp(a->layers.list[i].text, b->layers.list[i].text) == 0;
    return same;
}

/* Of several entries that make the same tensor: one tensor per expert, as most families are
 * published, and otherwise the first. */
static bool is_chosen(const targets *all, const rt_arch_tensor *entry) {
    bool experts = strstr(entry->hf, "{expert}") != NULL;
    const rt_arch_tensor *t = rt_arch_first_tensor(all->e->arch);
    for (; t; t = rt_arch_next_tensor(t)) {
        if (t == entry || strcmp(t->entry.name, entry->entry.name) != 0 ||
            t->entry.kinds != entry->entry.kinds || !same_layers(t, entry) ||
            rt_tensor_has(t, RT_TRANSFORM_mxfp4) || !rt_import_applies(all->e->folder, &t->entry))
            continue;
        bool theirs = strstr(t->hf, "{expert}") != NULL;
        if (theirs != experts ? theirs != all->e->hf_class->fused_experts
                              : t->entry.at.off < entry->entry.at.off)
            return false;
    }
    return true;
}

/* Where no entry of the name has to be there. */
static bool may_be_absent(const targets *all, const rt_arch_tensor *entry) {
    return entry->entry.optional || entry->tied_to || entry->fill || !is_chosen(all, entry);
}

static gguf_code visit(rt_import *folder, void *ctx, const rt_arch_tensor *entry, uint64_t layer,
                       gguf_error *err) {
    targets *all = ctx;
    char name[MAX_NAME];
    uint64_t n_stacked = 0;
    rt_expand_name(entry->entry.name, layer, 0, name, sizeof name);
    const gguf_tensor *src = rt_export_tensor(all->e, name);
    if (rt_tensor_has(entry, RT_TRANSFORM_mxfp4)) return GGUF_OK;
    if (!src && may_be_absent(all, entry)) return GGUF_OK;
    if (!src)
        return gguf_fail(err, GGUF_E_MISSING, gguf_file_path(all->e->source->gguf), GGUF_NO_OFFSET,
                         "tensor '%s' is missing", name);
    size_t index = (size_t)(src - gguf_file_tensor(all->e->source->gguf, 0));
    if (!is_chosen(all, entry)) return GGUF_OK;
    all->used[index] = true;
    if (entry->fill) return GGUF_OK;
    gguf_code code = rt_import_n_stacked(folder, entry, layer, &n_stacked, err);
    for (uint64_t i = 0; i < (n_stacked ? n_stacked : 1) && !code; i++)
        code = add_part(all, entry, layer, src, name, n_stacked, i, err);
    return code;
}

/* ---- numbers that are keys here and tensors there ----------------------------------------- */

static gguf_code add_number(rt_export *e, const char *name, bool scalar, float value,
                            gguf_error *err) {
    float *copy = quant_plan_alloc(&e->plan, sizeof *copy);
    if (!copy) return gguf_fail_memory(err);
    *copy = value;
    quant_plan_tensor t = {.out = {.name = gguf_str_of(name),
                                   .type = e->opts.type,
                                   .n_dims = scalar ? 0 : 1,
                                   .dims = {1, 1, 1, 1}},
                           .source = {.memory = copy, .n_bytes = sizeof *copy, .fd = -1},
                           .source_type = GGUF_TYPE_F32,
                           .n_rows = 1,
                           .n_cols = 1};
    return quant_plan_add(&e->plan, &t, err);
}

static gguf_code add_numbers(rt_export *e, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (const rt_arch_key *key = rt_arch_first_key(e->arch); key; key = rt_arch_next_key(key)) {
        gguf_kv_iter it = {.kv = rt_export_key(e, key->entry.name)};
        double number;
        char name[MAX_NAME];
        for (uint64_t i = 0; key->tensor && it.kv && !code && gguf_kv_next_f64(&it, &number); i++) {
            rt_expand_name(key->tensor, i, 0, name, sizeof name);
            code = add_number(e, name, key->scalar, (float)number, err);
        }
    }
    return code;
}

/* ---- the plan ---------------------------------------------------------------------------- */

static int compare_targets(const void *a, const void *b) {
    return strcmp(((const target *)a)->name, ((const target *)b)->name);
}

static gguf_code plan_target(rt_export *e, const target *from, gguf_error *err) {
    quant_patches *patches = quant_plan_alloc(&e->plan, sizeof *patches);
    quant_patch *list = quant_plan_alloc(&e->plan, from->n * sizeof *list);
    if (!patches || !list) return gguf_fail_memory(err);
    memcpy(list, from->patches, from->n * sizeof *list);
    *patches = (quant_patches){list, from->n};
    quant_plan_tensor t = {.out = {.name = gguf_str_of(from->name),
                                   .type = e->opts.type,
                                   .n_dims = from->n_dims,
                                   .dims = {1, 1, 1, 1}},
                           .source = {.path = list->bytes.path, .fd = list->bytes.fd},
                           .coding = QUANT_CODING_PATCHES,
                           .patches = patches,
                           .source_type = GGUF_TYPE_F32};
    for (uint32_t i = 0; i < from->n_dims; i++) t.out.dims[i] = from->dims[from->n_dims - 1 - i];
    t.n_cols = t.out.dims[0];
    t.n_rows = gguf_tensor_n_rows(&t.out);
    uint64_t has = quant_patches_elems(patches), all = t.n_rows * t.n_cols;
    if (has < all)
        rt_export_warn(e,
                       "tensor '%s': %" PRIu64 " of %" PRIu64 " numbers are not in the file, which "
                       "its model does not use: they are zeros",
                       from->name, all - has, all);
    return quant_plan_add(&e->plan, &t, err);
}

static bool is_rope_tensor(const char *name) {
    return strncmp(name, "rope_f", 6) == 0;
}

/* Tensors that no entry took: layers of multi-token prediction stand behind the last one. */
static gguf_code check_unused(const targets *all, gguf_error *err) {
    const gguf_file *file = all->e->source->gguf;
    uint64_t n_layers = 0, layer;
    size_t n_further = 0;
    rt_import_key_u64(all->e->folder, "block_count", &n_layers);
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        char name[MAX_NAME];
        const gguf_tensor *t = gguf_file_tensor(file, i);
        snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.ptr);
        if (all->used[i] || is_rope_tensor(name)) continue;
        bool further = strstr(name, ".nextn.") ||
                       (sscanf(name, "blk.%" SCNu64 ".", &layer) == 1 && layer >= n_layers);
        if (!further)
            return fail(all->e, GGUF_E_UNSUPPORTED, name, "its family has no place for it", err);
        n_further++;
    }
    if (n_further)
        rt_export_warn(all->e, "%zu tensor%s left out: multi-token prediction", n_further,
                       n_further == 1 ? " is" : "s are");
    return GGUF_OK;
}

gguf_code rt_export_tensors(rt_export *e, gguf_error *err) {
    targets all = {.e = e};
    all.used = calloc(gguf_file_n_tensors(e->source->gguf) + 1, sizeof *all.used);
    gguf_code code = all.used ? rt_import_each(e->folder, visit, &all, err) : gguf_fail_memory(err);
    if (!code) code = check_unused(&all, err);
    if (!code && all.n) qsort(all.list, all.n, sizeof *all.list, compare_targets);
    for (size_t i = 0; i < all.n && !code; i++) code = plan_target(e, &all.list[i], err);
    if (!code) code = add_numbers(e, err);
    clear(&all);
    return code;
}
