/* Tensors of a checkpoint, as the description names, checks and transforms them. */
#include "quant/quant.h"
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 512
#define MAX_FILL (1 << 20)

gguf_code rt_import_add(rt_import *import, quant_plan_tensor *t, uint32_t natural_type,
                        gguf_error *err) {
    gguf_code code = rt_tag_tensor(&import->plan, &t->out, &t->tags, err);
    if (code) return code;
    const gguf_type_layout *layout = gguf_type_layout_of(t->source_type);
    /* Blocks that arrive quantised stay as they are, and so do whole numbers. */
    bool blocks = (layout && layout->block_elems > 1) || t->source_type == GGUF_TYPE_I32;
    t->out.type = t->tags.keep && !blocks ? GGUF_TYPE_F32 : natural_type;
    t->tags.keep = t->tags.keep || blocks;
    return quant_plan_add(&import->plan, t, err);
}

gguf_code rt_import_add_vector(rt_import *import, const char *name, const float *values, size_t n,
                               gguf_error *err) {
    float *copy = quant_plan_alloc(&import->plan, n * sizeof *copy);
    if (!copy) return gguf_fail_memory(err);
    memcpy(copy, values, n * sizeof *copy);
    quant_plan_tensor t = {.out = {.name = gguf_str_of(name), .n_dims = 1, .dims = {n, 1, 1, 1}},
                           .source = {.memory = copy, .n_bytes = n * sizeof *copy},
                           .source_type = GGUF_TYPE_F32,
                           .n_rows = 1,
                           .n_cols = n};
    return rt_import_add(import, &t, GGUF_TYPE_F32, err);
}

/* Codes of a matrix are no values. */
static gguf_code refuse_codes(const rt_import *import, const rt_stored *s, gguf_error *err) {
    const char *dtype = s->t->dtype->name, *companion = rt_foreign_companion(import, s->t);
    if (*dtype != 'I' && *dtype != 'U')
        return gguf_fail(err, GGUF_E_UNSUPPORTED, s->path, (int64_t)s->t->off,
                         "tensor '%s' has the dtype %s, which is not supported", s->t->name.ptr,
                         dtype);
    return gguf_fail(
        err, GGUF_E_UNSUPPORTED, s->path, (int64_t)s->t->off,
        "tensor '%s' holds integers (%s) %s%s: the model is quantised in a way that is "
        "not known",
        s->t->name.ptr, dtype, companion ? "with the companion " : "without a scale",
        companion ? companion : "");
}

static gguf_code describe(rt_import *import, const rt_arch_tensor *entry,
                          const gguf_checkpoint_tensor *t, rt_stored *out, gguf_error *err) {
    bool mxfp4 = rt_tensor_has(entry, RT_TRANSFORM_mxfp4), packed = false;
    *out = (rt_stored){
        .t = t, .path = gguf_checkpoint_file_path(import->ckpt, t->file), .n_dims = t->n_dims};
    memcpy(out->dims, t->dims, sizeof t->dims);
    gguf_code code = rt_quantised_describe(import, t, out, &packed, err);
    if (code || packed) return code;
    if (mxfp4 && strcmp(t->dtype->name, "U8") == 0 && t->n_dims > 2 &&
        t->dims[t->n_dims - 1] == 16) {
        out->n_dims--;
        out->dims[out->n_dims - 1] *= 32;
        out->coding = QUANT_CODING_MXFP4;
        out->type = out->natural_type = GGUF_TYPE_MXFP4;
    } else if (strcmp(t->dtype->name, "F8_E4M3") == 0 || strcmp(t->dtype->name, "F8_E5M2") == 0) {
        out->coding = t->dtype->name[4] == '4' ? QUANT_CODING_E4M3 : QUANT_CODING_E5M2;
        out->type = GGUF_TYPE_F32;
        out->natural_type = GGUF_TYPE_BF16;
    } else if (t->dtype->gguf_type >= 0 && quant_can_decode((uint32_t)t->dtype->gguf_type)) {
        out->type = out->natural_type = (uint32_t)t->dtype->gguf_type;
    } else if (t->dtype->gguf_type >= 0 &&
               (t->dtype->gguf_type == GGUF_TYPE_F64 || t->n_dims < 2)) {
        out->coding = QUANT_CODING_NUMBER;
        out->type = out->natural_type = GGUF_TYPE_F32;
    } else {
        return refuse_codes(import, out, err);
    }
    if (out->n_dims <= GGUF_MAX_DIMS) return GGUF_OK;
    return gguf_fail(err, GGUF_E_LIMIT, out->path, (int64_t)t->off,
                     "tensor '%s' has more than %d dimensions", t->name.ptr, GGUF_MAX_DIMS);
}

/* What the padding of rows, if any, makes of a stored dimension. */
static gguf_code padded(const rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                        uint64_t *n, gguf_error *err) {
    uint64_t unit = 1;
    for (size_t i = 0; i < entry->n_transforms; i++) {
        const rt_transform *t = &entry->transforms[i];
        if (t->kind != RT_TRANSFORM_pad_rows) continue;
        gguf_code code = rt_import_eval(import, t->args.list, layer, &unit, err);
        if (code) return code;
        if (unit && *n % unit && *n <= UINT64_MAX - unit) *n += unit - *n % unit;
    }
    return GGUF_OK;
}

static gguf_code check_shape(const rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                             const rt_stored *s, gguf_error *err) {
    const rt_scalars *shape = &entry->shape;
    if (!shape->n) return GGUF_OK;
    if (shape->n != s->n_dims)
        return gguf_fail(err, GGUF_E_SHAPE, s->path, (int64_t)s->t->off,
                         "tensor '%s' has %" PRIu32 " dimensions, the config asks for %zu",
                         s->t->name.ptr, s->n_dims, shape->n);
    for (uint32_t i = 0; i < s->n_dims; i++) {
        uint64_t expected = 0, has = s->dims[i];
        gguf_code code = rt_import_eval(import, &shape->list[i], layer, &expected, err);
        if (!code && i == 0) code = padded(import, entry, layer, &has, err);
        if (code) return code;
        if (has != expected)
            return gguf_fail(err, GGUF_E_SHAPE, s->path, (int64_t)s->t->off,
                             "tensor '%s' has %" PRIu64 " in dimension %" PRIu32
                             ", the config asks for %" PRIu64 " (%s)",
                             s->t->name.ptr, s->dims[i], i, expected, shape->list[i].text);
    }
    return GGUF_OK;
}

/* ---- scales ------------------------------------------------------------------------------ */

quant_source rt_import_source(const rt_import *import, const gguf_checkpoint_tensor *src) {
    const gguf_memory_file *memory = gguf_checkpoint_file_memory(import->ckpt, src->file);
    return (quant_source){.path = gguf_checkpoint_file_path(import->ckpt, src->file),
                          .fd = gguf_checkpoint_file_fd(import->ckpt, src->file),
                          .off = src->off,
                          .memory = memory ? (const char *)memory->bytes + src->off : NULL,
                          .n_bytes = src->n_bytes};
}

static const gguf_checkpoint_tensor *find_scales(rt_import *import, const rt_stored *s) {
    static const char *const suffixes[] = {"_scale_inv", "_scale"};
    char name[MAX_NAME];
    const char *own = s->t->name.ptr, *blocks = strstr(own, "_blocks");
    const gguf_checkpoint_tensor *found = NULL;
    if (s->coding == QUANT_CODING_MXFP4 && blocks) {
        snprintf(name, sizeof name, "%.*s_scales", (int)(blocks - own), own);
        return rt_import_find(import, name);
    }
    for (size_t i = 0; i < 2 && !found && s->coding != QUANT_CODING_PLAIN; i++) {
        snprintf(name, sizeof name, "%s%s", own, suffixes[i]);
        found = rt_import_find(import, name);
    }
    return found;
}

static uint64_t n_elems_of(const gguf_checkpoint_tensor *t) {
    uint64_t n = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) n *= t->dims[i];
    return n;
}

/* The block of a scale: what the config says, a whole row, or the whole matrix. */
static void scale_block(const rt_import *import, const rt_stored *s, uint64_t n_scales,
                        quant_scaling *scaling) {
    uint64_t block_rows, block_cols;
    uint64_t n_rows = s->dims[s->n_dims - 2], n_cols = s->dims[s->n_dims - 1];
    scaling->n_cols = n_cols;
    scaling->block_rows = n_scales == n_rows ? 1 : n_rows;
    scaling->block_cols = n_cols;
    if (s->coding == QUANT_CODING_MXFP4) {
        scaling->block_rows = 1;
        scaling->block_cols = 32;
    } else if (n_scales > 1 && n_scales != n_rows &&
               rt_quantised_block(import, &block_rows, &block_cols)) {
        scaling->block_rows = block_rows;
        scaling->block_cols = block_cols;
    }
}

static gguf_code plan_scaling(rt_import *import, const rt_stored *s, quant_plan_tensor *t,
                              gguf_error *err) {
    const gguf_checkpoint_tensor *scales = find_scales(import, s);
    if (!scales && s->coding != QUANT_CODING_MXFP4 && !rt_quantised_says_so(import)) return GGUF_OK;
    if (!scales || s->n_dims < 2 || n_elems_of(s->t) == 0)
        return gguf_fail(err, GGUF_E_MISSING, s->path, (int64_t)s->t->off,
                         "the scales of tensor '%s' are missing", s->t->name.ptr);
    uint64_t n_mats = s->n_dims > 2 ? s->dims[0] : 1, n = n_elems_of(scales);
    quant_scaling *q = &t->scaling;
    scale_block(import, s, n / n_mats, q);
    q->type = scales->dtype->gguf_type < 0 ? GGUF_TYPE_F32 : (uint32_t)scales->dtype->gguf_type;
    bool known = s->coding == QUANT_CODING_MXFP4
                     ? strcmp(scales->dtype->name, "U8") == 0
                     : scales->dtype->gguf_type >= 0 && quant_can_decode(q->type);
    uint64_t n_rows = s->dims[s->n_dims - 2];
    if (!known || !q->block_rows || !q->block_cols ||
        n != n_mats * ((n_rows - 1) / q->block_rows + 1) * ((q->n_cols - 1) / q->block_cols + 1))
        return gguf_fail(err, GGUF_E_SHAPE, gguf_checkpoint_file_path(import->ckpt, scales->file),
                         (int64_t)scales->off, "'%s' does not fit the shape of tensor '%s'",
                         scales->name.ptr, s->t->name.ptr);
    quant_source stored_scales = rt_import_source(import, scales);
    t->source.scales = (quant_bytes){stored_scales.fd, stored_scales.off, stored_scales.memory,
                                     stored_scales.n_bytes, stored_scales.path};
    return GGUF_OK;
}

/* ---- transforms -------------------------------------------------------------------------- */

typedef struct evaluation {
    const rt_import *import;
    uint64_t layer;
} evaluation;

static gguf_code evaluate(void *ctx, const rt_scalar *expression, uint64_t *out, gguf_error *err) {
    const evaluation *e = ctx;
    return rt_import_eval(e->import, expression, e->layer, out, err);
}

static gguf_code find_number(void *ctx, const rt_scalar *path, double *out, gguf_error *err) {
    const rt_import *import = ((const evaluation *)ctx)->import;
    const json_t *value = rt_config_get(import, path->text);
    if (!json_is_number(value))
        return gguf_fail(err, value ? GGUF_E_TYPE : GGUF_E_MISSING, import->config_path,
                         GGUF_NO_OFFSET, "'%s' is %s", path->text, value ? "no number" : "missing");
    *out = json_number_value(value);
    return GGUF_OK;
}

gguf_code rt_import_transform(const rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                              rt_tensor_layout *layout, gguf_error *err) {
    evaluation e = {import, layer};
    const rt_transform_values values = {evaluate, find_number, &e};
    return rt_tensor_layout_transform(layout, entry, &values, err);
}

gguf_code rt_import_n_stacked(const rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                              uint64_t *n, gguf_error *err) {
    *n = 0;
    if (!strstr(entry->hf, "{expert}")) return GGUF_OK;
    if (entry->count.text) return rt_import_eval(import, &entry->count, layer, n, err);
    rt_import_key_u64(import, "expert_count", n);
    return GGUF_OK;
}

/* Matrix m of n equal ones. */
static void take_matrix(const quant_source *whole, uint64_t m, uint64_t n, quant_source *out) {
    out->n_bytes = whole->n_bytes / n;
    out->scales.n_bytes = whole->scales.n_bytes / n;
    uint64_t skip = m * out->n_bytes, skip_scales = m * out->scales.n_bytes;
    out->off += skip;
    out->scales.off += skip_scales;
    if (whole->memory) out->memory = (const char *)whole->memory + skip;
    if (whole->scales.memory) out->scales.memory = (const char *)whole->scales.memory + skip_scales;
}

/* The matrices of a tensor of which parts are taken. */
static gguf_code plan_stack(rt_import *import, const rt_tensor_layout *l, quant_plan_tensor *t,
                            gguf_error *err) {
    quant_source whole = t->source;
    quant_source *stack = quant_plan_alloc(&import->plan, l->mats * sizeof *stack);
    if (!stack) return gguf_fail_memory(err);
    for (uint64_t m = 0; m < l->mats; m++) {
        stack[m] = whole;
        if (l->is_split)
            stack[m].first += m * l->stored_rows * l->stored_cols;
        else
            take_matrix(&whole, m, l->mats, &stack[m]);
    }
    t->stack = stack;
    return GGUF_OK;
}

/* One factor for each row. */
static gguf_code plan_factors(rt_import *import, const rt_tensor_layout *l, quant_plan_tensor *t,
                              gguf_error *err) {
    if (!l->n_row_scales) return GGUF_OK;
    float *factors = quant_plan_alloc(&import->plan, t->n_rows * sizeof *factors);
    if (!factors) return gguf_fail_memory(err);
    t->row_factors = factors;
    rt_tensor_layout_factors(l, factors);
    return GGUF_OK;
}

static gguf_code plan_layout(rt_import *import, const rt_tensor_layout *l, quant_plan_tensor *t,
                             gguf_error *err) {
    t->n_cols = l->cols;
    t->n_rows = l->rows * l->mats;
    t->out.n_dims = l->n_dims + l->n_outer;
    rt_tensor_layout_dims(l, t->out.dims);
    t->row_order = l->row_order;
    t->col_order = l->col_order;
    t->n_stored_rows = l->n_stored_rows;
    memcpy(t->steps, l->steps, sizeof t->steps);
    t->n_steps = l->n_steps;
    gguf_code code = plan_factors(import, l, t, err);
    if (code || !l->is_part) return code;
    t->view = l->view;
    t->source.first = l->first;
    return l->n_dims > 2 ? plan_stack(import, l, t, err) : GGUF_OK;
}

/* ---- one tensor -------------------------------------------------------------------------- */

static bool has_scale_blocks(const rt_stored *s) {
    return s->coding == QUANT_CODING_E4M3 || s->coding == QUANT_CODING_E5M2 ||
           s->coding == QUANT_CODING_MXFP4;
}

static gguf_code plan_stored(rt_import *import, const rt_stored *s, quant_plan_tensor *t,
                             gguf_error *err) {
    t->source = rt_import_source(import, s->t);
    t->source.affine = s->affine;
    t->source_type = s->type;
    t->coding = s->coding;
    t->out.n_dims = s->n_dims;
    for (uint32_t i = 0; i < s->n_dims; i++) t->out.dims[i] = s->dims[s->n_dims - 1 - i];
    t->n_cols = t->out.dims[0];
    t->n_rows = gguf_tensor_n_rows(&t->out);
    if (s->coding == QUANT_CODING_NUMBER) t->scaling.type = (uint32_t)s->t->dtype->gguf_type;
    return has_scale_blocks(s) ? plan_scaling(import, s, t, err) : GGUF_OK;
}

/* Each matrix of a tensor with scales has scales of its own. */
static void take_apart(const rt_stored *s, rt_tensor_layout *l) {
    if (!has_scale_blocks(s) || s->n_dims < 3) return;
    l->is_part = true;
    l->view = (quant_view){l->cols, 1};
}

static gguf_code plan_source(rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                             const gguf_checkpoint_tensor *src, quant_plan_tensor *t,
                             uint32_t *natural_type, gguf_error *err) {
    rt_stored s;
    gguf_code code = describe(import, entry, src, &s, err);
    if (!code) code = check_shape(import, entry, layer, &s, err);
    if (!code) code = plan_stored(import, &s, t, err);
    if (code) return code;
    *natural_type = s.natural_type;
    if (rt_tensor_takes_parts(entry) && n_elems_of(src) == 0)
        return gguf_fail(err, GGUF_E_SHAPE, s.path, (int64_t)src->off, "tensor '%s' is empty",
                         src->name.ptr);
    rt_tensor_layout l = rt_tensor_layout_of(s.dims, s.n_dims);
    l.name = src->name.ptr;
    l.file = s.path;
    l.off = (int64_t)src->off;
    take_apart(&s, &l);
    code = rt_import_transform(import, entry, layer, &l, err);
    if (code || (!entry->n_transforms && !l.is_part)) return code;
    return plan_layout(import, &l, t, err);
}

static quant_plan_tensor empty_tensor(const char *gguf_name) {
    return (quant_plan_tensor){
        .out = {.name = gguf_str_of(gguf_name), .n_dims = 1, .dims = {1, 1, 1, 1}}};
}

static gguf_code plan_tensor(rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                             const char *gguf_name, const gguf_checkpoint_tensor *src,
                             gguf_error *err) {
    quant_plan_tensor t = empty_tensor(gguf_name);
    uint32_t natural_type = GGUF_TYPE_F32;
    gguf_code code = plan_source(import, entry, layer, src, &t, &natural_type, err);
    return code ? code : rt_import_add(import, &t, natural_type, err);
}

enum { MAX_TABLE_BYTES = 1 << 28 };

/* The numbers of a stored table, each as I32. */
static gguf_code read_integers(const rt_import *import, const gguf_checkpoint_tensor *src, size_t n,
                               int32_t *out, gguf_error *err) {
    size_t size = src->dtype->n_bits / 8;
    quant_source s = rt_import_source(import, src);
    char *raw = malloc(n * size + 1);
    gguf_code code = raw ? GGUF_OK : gguf_fail_memory(err);
    if (!code && s.memory)
        memcpy(raw, s.memory, n * size);
    else if (!code)
        code = gguf_read_at(s.fd, s.path, raw, n * size, s.off, err);
    for (size_t i = 0; i < n && !code; i++) {
        int64_t wide = 0;
        int32_t narrow = 0;
        memcpy(size == sizeof wide ? (void *)&wide : (void *)&narrow, raw + i * size, size);
        if (size != sizeof wide) wide = narrow;
        if (wide < INT32_MIN || wide > INT32_MAX)
            code = gguf_fail(err, GGUF_E_LIMIT, s.path, (int64_t)(s.off + i * size),
                             "tensor '%s': element %zu does not fit 32 bits", src->name.ptr, i);
        out[i] = (int32_t)wide;
    }
    free(raw);
    return code;
}

/* A table of whole numbers, in memory. */
static gguf_code plan_integers(rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                               const char *gguf_name, const gguf_checkpoint_tensor *src,
                               gguf_error *err) {
    quant_plan_tensor t = empty_tensor(gguf_name);
    rt_stored s = {.t = src,
                   .path = gguf_checkpoint_file_path(import->ckpt, src->file),
                   .n_dims = src->n_dims};
    memcpy(s.dims, src->dims, sizeof src->dims);
    int type = src->dtype->gguf_type;
    uint64_t n = n_elems_of(src);
    gguf_code code = check_shape(import, entry, layer, &s, err);
    if (!code && ((type != GGUF_TYPE_I64 && type != GGUF_TYPE_I32) || n == 0 ||
                  n > MAX_TABLE_BYTES / sizeof(int64_t)))
        code = gguf_fail(err, GGUF_E_UNSUPPORTED, s.path, (int64_t)src->off,
                         "tensor '%s' is no table of whole numbers, or too large", src->name.ptr);
    int32_t *numbers = code ? NULL : quant_plan_alloc(&import->plan, n * sizeof *numbers);
    if (code) return code;
    if (!numbers) return gguf_fail_memory(err);
    code = read_integers(import, src, n, numbers, err);
    if (code) return code;
    t.source = (quant_source){.memory = numbers, .n_bytes = n * sizeof *numbers};
    t.source_type = GGUF_TYPE_I32;
    t.out.n_dims = s.n_dims;
    for (uint32_t i = 0; i < s.n_dims; i++) t.out.dims[i] = s.dims[s.n_dims - 1 - i];
    t.n_cols = t.out.dims[0];
    t.n_rows = gguf_tensor_n_rows(&t.out);
    return rt_import_add(import, &t, GGUF_TYPE_I32, err);
}

/* The weight itself or its packed form. */
static const gguf_checkpoint_tensor *find_source(rt_import *import, const char *name) {
    const gguf_checkpoint_tensor *src = rt_import_find(import, name);
    return src ? src : rt_quantised_find(import, name);
}

static gguf_code fail_missing(const rt_import *import, const char *name, gguf_error *err) {
    const char *file = gguf_checkpoint_absent_file(import->ckpt, name);
    if (file)
        return gguf_fail(err, GGUF_E_MISSING, import->folder, GGUF_NO_OFFSET,
                         "tensor '%s' is missing: it should be in '%s', which is not here", name,
                         file);
    if (import->plan.n_tensors > 0)
        return gguf_fail(err, GGUF_E_MISSING, import->folder, GGUF_NO_OFFSET,
                         "tensor '%s' is missing from the checkpoint", name);
    char names[200];
    rt_import_list_names(import, names, sizeof names);
    return gguf_fail(err, GGUF_E_MISSING, import->folder, GGUF_NO_OFFSET,
                     "tensor '%s' is missing from the checkpoint, whose names are %s", name, names);
}

/* A stack of one tensor per expert. */
static gguf_code plan_experts(rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                              const char *gguf_name, uint64_t n_experts, gguf_error *err) {
    quant_plan_tensor t = empty_tensor(gguf_name), one;
    uint32_t natural_type = GGUF_TYPE_F32;
    quant_source *stack = quant_plan_alloc(&import->plan, n_experts * sizeof *stack);
    gguf_code code = GGUF_OK;
    if (!stack) return gguf_fail_memory(err);
    for (uint64_t e = 0; e < n_experts && !code; e++) {
        char name[MAX_NAME];
        rt_expand_name(entry->hf, layer, e, name, sizeof name);
        const gguf_checkpoint_tensor *src = find_source(import, name);
        one = empty_tensor(gguf_name);
        code = src ? plan_source(import, entry, layer, src, &one, &natural_type, err)
                   : fail_missing(import, name, err);
        if (code) break;
        if (e == 0) t = one;
        if (one.source_type != t.source_type || one.coding != t.coding || one.stack ||
            one.n_stored_rows || one.row_factors || one.out.n_dims < 1 || one.out.n_dims > 2 ||
            one.out.n_dims != t.out.n_dims || one.n_rows != t.n_rows || one.n_cols != t.n_cols ||
            memcmp(&one.scaling, &t.scaling, sizeof t.scaling) != 0)
            code = gguf_fail(err, GGUF_E_SHAPE, one.source.path, (int64_t)one.source.off,
                             "tensor '%s' has another type or shape than that of expert 0", name);
        stack[e] = one.source;
    }
    if (code) return code;
    t.stack = stack;
    t.out.dims[t.out.n_dims++] = n_experts;
    t.n_rows *= n_experts;
    return rt_import_add(import, &t, natural_type, err);
}

/* Entries with one GGUF name are alternatives: the first whose source is there counts. */
static bool is_planned(const rt_import *import, const char *gguf_name) {
    for (size_t i = 0; i < import->plan.n_tensors; i++)
        if (strcmp(import->plan.tensors[i].out.name.ptr, gguf_name) == 0) return true;
    return false;
}

static bool has_alternative(const rt_import *import, const rt_arch_tensor *entry) {
    for (const rt_arch_entry *next = entry->entry.next; next; next = next->next)
        if (strcmp(next->name, entry->entry.name) == 0 && rt_import_applies(import, next))
            return true;
    return false;
}

/* A vector of one number. */
static gguf_code plan_fill(rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                           const char *gguf_name, gguf_error *err) {
    uint64_t n = 0;
    char *end;
    double value = strtod(entry->fill, &end);
    const json_t *stated = *end ? rt_config_get(import, entry->fill) : NULL;
    if (entry->shape.n != 1 || entry->n_transforms)
        return rt_place_fail(&entry->entry.at, err, "what is filled has one dimension");
    gguf_code code = rt_import_eval(import, entry->shape.list, layer, &n, err);
    if (code) return code;
    if (*end && !json_is_number(stated))
        return gguf_fail(err, GGUF_E_MISSING, import->config_path, GGUF_NO_OFFSET,
                         "there is no number '%s'", entry->fill);
    if (*end) value = json_number_value(stated);
    if (n == 0 || n > MAX_FILL)
        return gguf_fail(err, GGUF_E_LIMIT, import->config_path, GGUF_NO_OFFSET,
                         "tensor '%s' cannot have %" PRIu64 " elements", gguf_name, n);
    float *values = malloc(n * sizeof *values);
    if (!values) return gguf_fail_memory(err);
    for (uint64_t i = 0; i < n; i++) values[i] = (float)value;
    code = rt_import_add_vector(import, gguf_name, values, n, err);
    free(values);
    return code;
}

static gguf_code import_tensor(rt_import *import, void *ctx, const rt_arch_tensor *entry,
                               uint64_t layer, gguf_error *err) {
    (void)ctx;
    char hf[MAX_NAME], gguf[MAX_NAME];
    uint64_t n_stacked = 0;
    rt_expand_name(entry->hf, layer, 0, hf, sizeof hf);
    rt_expand_name(entry->entry.name, layer, 0, gguf, sizeof gguf);
    if (is_planned(import, gguf)) return GGUF_OK;
    if (entry->fill) return plan_fill(import, entry, layer, gguf, err);
    const gguf_checkpoint_tensor *src = import->ckpt ? find_source(import, hf) : NULL;
    bool tied = false;
    gguf_code code = rt_import_is_tied(import, entry, src, &tied, err);
    if (code || tied) return code;
    if (!import->ckpt) return rt_import_shape(import, entry, layer, gguf, err);
    code = rt_import_n_stacked(import, entry, layer, &n_stacked, err);
    if (code) return code;
    if (n_stacked > gguf_checkpoint_n_tensors(import->ckpt))
        return gguf_fail(err, GGUF_E_LIMIT, import->config_path, GGUF_NO_OFFSET,
                         "%" PRIu64 " experts are more than the checkpoint has tensors", n_stacked);
    if (src && n_stacked) return plan_experts(import, entry, layer, gguf, n_stacked, err);
    if (src && entry->integers) return plan_integers(import, entry, layer, gguf, src, err);
    if (src) return plan_tensor(import, entry, layer, gguf, src, err);
    if (entry->entry.optional || has_alternative(import, entry)) return GGUF_OK;
    return fail_missing(import, hf, err);
}

/* Layers first, first + step, ... below end. */
typedef struct layer_range {
    uint64_t first, end, step;
} layer_range;

static gguf_code read_range(const rt_import *import, const rt_arch_tensor *entry,
                            const rt_scalars *range, layer_range *out, gguf_error *err) {
    gguf_code code = rt_import_eval(import, &range->list[0], 0, &out->first, err);
    if (!code) code = rt_import_eval(import, &range->list[1], 0, &out->end, err);
    out->step = 1;
    if (!code && range->n == 3) code = rt_import_eval(import, &range->list[2], 0, &out->step, err);
    if (!code && out->step == 0)
        code = rt_place_fail(&entry->entry.at, err, "a step of layers is 0");
    return code;
}

static bool is_in(const layer_range *range, uint64_t layer) {
    return layer >= range->first && layer < range->end && (layer - range->first) % range->step == 0;
}

/* The layers that an entry speaks of, of all n; the first one if it has no {layer}. */
static gguf_code layers_of(const rt_import *import, const rt_arch_tensor *entry, uint64_t n_layers,
                           layer_range *layers, layer_range *except, gguf_error *err) {
    uint64_t n = strstr(entry->hf, "{layer}") ? n_layers : 1;
    *layers = (layer_range){0, rt_import_applies(import, &entry->entry) ? n : 0, 1};
    *except = (layer_range){0, 0, 1};
    gguf_code code = GGUF_OK;
    if (entry->layers.n && layers->end)
        code = read_range(import, entry, &entry->layers, layers, err);
    if (!code && entry->except.n) code = read_range(import, entry, &entry->except, except, err);
    /* A decoder may have more layers than its encoder. */
    if (rt_arch_compute_of(import->arch)->stacks == RT_STACKS_BOTH) n = RT_IMPORT_MAX_LAYERS;
    if (layers->end > n) layers->end = n;
    return code;
}

gguf_code rt_import_each(rt_import *import, rt_import_visit visit, void *ctx, gguf_error *err) {
    uint64_t n_layers = 0;
    layer_range layers, except;
    if (!rt_import_key_u64(import, "block_count", &n_layers) || n_layers > RT_IMPORT_MAX_LAYERS)
        return gguf_fail(err, GGUF_E_LIMIT, import->config_path, GGUF_NO_OFFSET,
                         "the number of layers is missing or over %d", RT_IMPORT_MAX_LAYERS);
    gguf_code code = GGUF_OK;
    for (const rt_arch_tensor *entry = rt_arch_first_tensor(import->arch); entry && !code;
         entry = rt_arch_next_tensor(entry)) {
        code = layers_of(import, entry, n_layers, &layers, &except, err);
        for (uint64_t layer = layers.first; layer < layers.end && !code; layer += layers.step)
            if (!is_in(&except, layer) && rt_import_layer_is(import, layer, entry->entry.kinds))
                code = visit(import, ctx, entry, layer, err);
    }
    return code;
}

gguf_code rt_import_tensors(rt_import *import, gguf_error *err) {
    uint64_t n_layers = 0;
    gguf_code code = import->ckpt ? rt_import_index_names(import, err) : GGUF_OK;
    if (!code) code = rt_quantised_check(import, err);
    if (!code && import->ckpt) code = rt_import_tensor_keys(import, err);
    if (!code) code = rt_import_each(import, import_tensor, NULL, err);
    if (!code && import->ckpt) code = rt_foreign_check_unread(import, err);
    if (!code && import->ckpt && rt_import_key_u64(import, "block_count", &n_layers))
        rt_import_report_unused(import, n_layers);
    return code;
}
