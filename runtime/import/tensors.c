/* Tensors of a checkpoint, as the description names, checks and transforms them. */
#include "quant/quant.h"
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME   512
#define MAX_LAYERS 1024

/* `pattern` with {layer} and {expert} replaced. */
void rt_import_expand(const char *pattern, uint64_t layer, uint64_t expert, char *out, size_t n) {
    size_t len = 0;
    while (*pattern && len + 24 < n) {
        bool is_layer = strncmp(pattern, "{layer}", 7) == 0;
        if (is_layer || strncmp(pattern, "{expert}", 8) == 0) {
            len += (size_t)snprintf(out + len, n - len, "%" PRIu64, is_layer ? layer : expert);
            pattern += is_layer ? 7 : 8;
        } else {
            out[len++] = *pattern++;
        }
    }
    out[len] = '\0';
}

gguf_code rt_import_add(rt_import *import, quant_plan_tensor *t, uint32_t natural_type,
                        gguf_error *err) {
    gguf_code code = rt_tag_tensor(&import->plan, &t->out, &t->tags, err);
    if (code) return code;
    const gguf_type_layout *layout = gguf_type_layout_of(t->source_type);
    /* Blocks that arrive quantised stay as they are. */
    bool blocks = layout && layout->block_elems > 1;
    t->out.type = t->tags.keep && !blocks ? GGUF_TYPE_F32 : natural_type;
    t->tags.keep = t->tags.keep || blocks;
    return quant_plan_add(&import->plan, t, err);
}

gguf_code rt_import_add_vector(rt_import *import, const char *name, const float *values, size_t n,
                               gguf_error *err) {
    float *copy = quant_plan_alloc(&import->plan, n * sizeof *copy);
    if (!copy) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
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

static gguf_code describe(rt_import *import, const gguf_yaml *node, const gguf_checkpoint_tensor *t,
                          rt_stored *out, gguf_error *err) {
    bool mxfp4 = false, packed = false;
    *out = (rt_stored){
        .t = t, .path = gguf_checkpoint_file_path(import->ckpt, t->file), .n_dims = t->n_dims};
    memcpy(out->dims, t->dims, sizeof t->dims);
    gguf_code code = rt_quantised_describe(import, t, out, &packed, err);
    if (code || packed) return code;
    gguf_yaml_bool(gguf_yaml_get(node, "mxfp4"), &mxfp4);
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

static gguf_code check_shape(const rt_import *import, const gguf_yaml *node, const rt_stored *s,
                             gguf_error *err) {
    const gguf_yaml *shape = gguf_yaml_get(node, "shape");
    if (!shape) return GGUF_OK;
    if (shape->n_children != s->n_dims)
        return gguf_fail(err, GGUF_E_SHAPE, s->path, (int64_t)s->t->off,
                         "tensor '%s' has %" PRIu32 " dimensions, the config asks for %zu",
                         s->t->name.ptr, s->n_dims, shape->n_children);
    uint32_t i = 0;
    for (const gguf_yaml *dim = shape->first; dim; dim = dim->next, i++) {
        uint64_t expected = 0;
        gguf_code code = rt_import_eval(import, dim, &expected, err);
        if (code) return code;
        if (s->dims[i] != expected)
            return gguf_fail(err, GGUF_E_SHAPE, s->path, (int64_t)s->t->off,
                             "tensor '%s' has %" PRIu64 " in dimension %" PRIu32
                             ", the config asks for %" PRIu64 " (%s)",
                             s->t->name.ptr, s->dims[i], i, expected, dim->text);
    }
    return GGUF_OK;
}

/* ---- steps ------------------------------------------------------------------------------- */

static gguf_code plan_permutation(const rt_import *import, const gguf_yaml *heads,
                                  quant_plan_tensor *t, gguf_error *err) {
    uint64_t n_heads = 0;
    gguf_code code = rt_import_eval(import, heads, &n_heads, err);
    if (code) return code;
    if (t->out.n_dims == 1) {
        t->n_rows = t->n_cols;
        t->n_cols = 1;
    }
    if (n_heads == 0 || n_heads > t->n_rows || t->n_rows % (2 * n_heads))
        return gguf_fail(err, GGUF_E_SHAPE, t->source.path, (int64_t)t->source.off,
                         "%" PRIu64 " rows of '%.*s' are not %" PRIu64 " heads of even size",
                         t->n_rows, (int)t->out.name.len, t->out.name.ptr, n_heads);
    t->steps[t->n_steps++] = (quant_step){QUANT_STEP_PERMUTE_HEADS, n_heads};
    return GGUF_OK;
}

gguf_code rt_import_plan_steps(const rt_import *import, const gguf_yaml *node, quant_plan_tensor *t,
                               gguf_error *err) {
    const gguf_yaml *heads = gguf_yaml_get(node, "permute_heads");
    const gguf_yaml *add = gguf_yaml_get(node, "add");
    uint64_t constant = 0;
    gguf_code code = heads ? plan_permutation(import, heads, t, err) : GGUF_OK;
    if (!code && add) code = rt_import_eval(import, add, &constant, err);
    if (!code && add) t->steps[t->n_steps++] = (quant_step){QUANT_STEP_ADD, constant};
    return code;
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

/* ---- parts of fused tensors -------------------------------------------------------------- */

/* Rows or columns first, first + step ... of the stored matrix. */
typedef struct range {
    uint64_t first, n, step;
} range;

static gguf_code read_range(const rt_import *import, const gguf_yaml *node, uint64_t whole,
                            range *out, gguf_error *err) {
    uint64_t values[3] = {0, whole, 1}, last;
    size_t i = 0;
    gguf_code code = GGUF_OK;
    for (const gguf_yaml *v = node ? node->first : NULL; v && i < 3 && !code; v = v->next)
        code = rt_import_eval(import, v, &values[i++], err);
    *out = (range){values[0], values[1], values[2]};
    if (code || (out->n && out->step && !__builtin_mul_overflow(out->n - 1, out->step, &last) &&
                 out->first < whole && last < whole - out->first))
        return code;
    return gguf_fail(err, GGUF_E_SHAPE, import->config_path, GGUF_NO_OFFSET,
                     "the part from %" PRIu64 " is not inside %" PRIu64 " rows or columns",
                     out->first, whole);
}

/* The matrices of one source: how many, where each starts, what part of each is taken. */
typedef struct parts {
    uint64_t n_mats, n_rows, n_cols; /* as stored */
    bool split;                      /* by `matrices`, not by a leading dimension */
    bool transpose;
    range rows, cols;
} parts;

static gguf_code read_parts(const rt_import *import, const gguf_yaml *node, const rt_stored *s,
                            parts *p, gguf_error *err) {
    const gguf_yaml *matrices = gguf_yaml_get(node, "matrices");
    gguf_code code = GGUF_OK;
    *p = (parts){.n_mats = s->n_dims > 2 ? s->dims[0] : 1,
                 .n_rows = s->n_dims > 1 ? s->dims[s->n_dims - 2] : 1,
                 .n_cols = s->n_dims ? s->dims[s->n_dims - 1] : 1,
                 .split = matrices != NULL};
    if (matrices) code = rt_import_eval(import, matrices, &p->n_mats, err);
    if (!code && matrices) {
        if (p->n_mats == 0 || p->n_rows % p->n_mats || s->n_dims != 2)
            return gguf_fail(err, GGUF_E_SHAPE, s->path, (int64_t)s->t->off,
                             "tensor '%s' is not %" PRIu64 " matrices", s->t->name.ptr, p->n_mats);
        p->n_rows /= p->n_mats;
    }
    gguf_yaml_bool(gguf_yaml_get(node, "transpose"), &p->transpose);
    if (!code) code = read_range(import, gguf_yaml_get(node, "rows"), p->n_rows, &p->rows, err);
    if (!code) code = read_range(import, gguf_yaml_get(node, "columns"), p->n_cols, &p->cols, err);
    return code;
}

static bool takes_parts(const gguf_yaml *node) {
    return gguf_yaml_get(node, "rows") || gguf_yaml_get(node, "columns") ||
           gguf_yaml_get(node, "matrices") || gguf_yaml_get(node, "transpose");
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

static gguf_code plan_view(rt_import *import, const rt_stored *s, const parts *p,
                           quant_plan_tensor *t, gguf_error *err) {
    uint64_t row_stride = p->n_cols * p->rows.step, col_stride = p->cols.step;
    uint64_t n_rows = p->rows.n, n_cols = p->cols.n;
    bool stacked = p->split || s->n_dims > 2;
    quant_source whole = t->source;
    whole.first = p->rows.first * p->n_cols + p->cols.first;
    t->view =
        p->transpose ? (quant_view){col_stride, row_stride} : (quant_view){row_stride, col_stride};
    t->n_cols = p->transpose ? n_rows : n_cols;
    n_rows = p->transpose ? n_cols : n_rows;
    t->n_rows = n_rows * p->n_mats;
    t->out.n_dims = stacked ? 3 : s->n_dims;
    t->out.dims[0] = t->n_cols;
    t->out.dims[1] = n_rows;
    t->out.dims[2] = p->n_mats;
    t->source = whole;
    if (!stacked) return GGUF_OK;
    quant_source *stack = quant_plan_alloc(&import->plan, p->n_mats * sizeof *stack);
    if (!stack) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    for (uint64_t m = 0; m < p->n_mats; m++) {
        stack[m] = whole;
        if (p->split) {
            stack[m].first += m * p->n_rows * p->n_cols;
            continue;
        }
        take_matrix(&whole, m, p->n_mats, &stack[m]);
    }
    t->stack = stack;
    return GGUF_OK;
}

/* ---- one tensor -------------------------------------------------------------------------- */

static gguf_code plan_source(rt_import *import, const gguf_yaml *node,
                             const gguf_checkpoint_tensor *src, quant_plan_tensor *t,
                             uint32_t *natural_type, gguf_error *err) {
    rt_stored s;
    parts p;
    gguf_code code = describe(import, node, src, &s, err);
    if (!code) code = check_shape(import, node, &s, err);
    if (code) return code;
    t->source = rt_import_source(import, src);
    t->source.affine = s.affine;
    t->source_type = s.type;
    t->coding = s.coding;
    *natural_type = s.natural_type;
    t->out.n_dims = s.n_dims;
    for (uint32_t i = 0; i < s.n_dims; i++) t->out.dims[i] = s.dims[s.n_dims - 1 - i];
    t->n_cols = t->out.dims[0];
    t->n_rows = gguf_tensor_n_rows(&t->out);
    bool blocks = s.coding == QUANT_CODING_E4M3 || s.coding == QUANT_CODING_E5M2 ||
                  s.coding == QUANT_CODING_MXFP4;
    if (s.coding == QUANT_CODING_NUMBER) t->scaling.type = (uint32_t)src->dtype->gguf_type;
    if (blocks) code = plan_scaling(import, &s, t, err);
    if (!code && takes_parts(node) && n_elems_of(src) == 0)
        code = gguf_fail(err, GGUF_E_SHAPE, s.path, (int64_t)src->off, "tensor '%s' is empty",
                         src->name.ptr);
    if (code || (!takes_parts(node) && (!blocks || s.n_dims < 3))) return code;
    code = read_parts(import, node, &s, &p, err);
    return code ? code : plan_view(import, &s, &p, t, err);
}

static quant_plan_tensor empty_tensor(const char *gguf_name) {
    return (quant_plan_tensor){
        .out = {.name = gguf_str_of(gguf_name), .n_dims = 1, .dims = {1, 1, 1, 1}}};
}

static gguf_code plan_tensor(rt_import *import, const gguf_yaml *node, const char *gguf_name,
                             const gguf_checkpoint_tensor *src, gguf_error *err) {
    quant_plan_tensor t = empty_tensor(gguf_name);
    uint32_t natural_type = GGUF_TYPE_F32;
    gguf_code code = plan_source(import, node, src, &t, &natural_type, err);
    if (!code) code = rt_import_plan_steps(import, node, &t, err);
    return code ? code : rt_import_add(import, &t, natural_type, err);
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
static gguf_code plan_experts(rt_import *import, const gguf_yaml *node, uint64_t layer,
                              const char *gguf_name, uint64_t n_experts, gguf_error *err) {
    quant_plan_tensor t = empty_tensor(gguf_name), one;
    uint32_t natural_type = GGUF_TYPE_F32;
    quant_source *stack = quant_plan_alloc(&import->plan, n_experts * sizeof *stack);
    gguf_code code = GGUF_OK;
    if (!stack) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    for (uint64_t e = 0; e < n_experts && !code; e++) {
        char name[MAX_NAME];
        rt_import_expand(gguf_yaml_text(node, "hf", ""), layer, e, name, sizeof name);
        const gguf_checkpoint_tensor *src = find_source(import, name);
        one = empty_tensor(gguf_name);
        code = src ? plan_source(import, node, src, &one, &natural_type, err)
                   : fail_missing(import, name, err);
        if (code) break;
        if (e == 0) t = one;
        if (one.source_type != t.source_type || one.coding != t.coding || one.stack ||
            one.out.n_dims < 1 || one.out.n_dims > 2 || one.out.n_dims != t.out.n_dims ||
            one.n_rows != t.n_rows || one.n_cols != t.n_cols ||
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

static bool has_alternative(const rt_import *import, const gguf_yaml *node) {
    const char *name = gguf_yaml_text(node, "gguf", "");
    for (const gguf_yaml *next = node->next; next; next = next->next)
        if (strcmp(gguf_yaml_text(next, "gguf", ""), name) == 0 && rt_import_applies(import, next))
            return true;
    return false;
}

static gguf_code import_tensor(rt_import *import, const gguf_yaml *node, uint64_t layer,
                               gguf_error *err) {
    const char *pattern = gguf_yaml_text(node, "hf", "");
    char hf[MAX_NAME], gguf[MAX_NAME];
    bool optional = false;
    uint64_t n_experts = 0;
    rt_import_expand(pattern, layer, 0, hf, sizeof hf);
    rt_import_expand(gguf_yaml_text(node, "gguf", ""), layer, 0, gguf, sizeof gguf);
    if (is_planned(import, gguf)) return GGUF_OK;
    const gguf_checkpoint_tensor *src = import->ckpt ? find_source(import, hf) : NULL;
    bool tied = false;
    gguf_code code = rt_import_is_tied(import, node, src, &tied, err);
    if (code || tied) return code;
    if (!import->ckpt) return rt_import_shape(import, node, gguf, err);
    bool stacked = strstr(pattern, "{expert}") != NULL;
    const gguf_yaml *count = gguf_yaml_get(node, "count");
    if (count) code = rt_import_eval(import, count, &n_experts, err);
    if (code) return code;
    if (stacked && !count) stacked = rt_import_key_u64(import, "expert_count", &n_experts);
    if (stacked && n_experts > gguf_checkpoint_n_tensors(import->ckpt))
        return gguf_fail(err, GGUF_E_LIMIT, import->config_path, GGUF_NO_OFFSET,
                         "%" PRIu64 " experts are more than the checkpoint has tensors", n_experts);
    if (src && stacked && n_experts) return plan_experts(import, node, layer, gguf, n_experts, err);
    if (src) return plan_tensor(import, node, gguf, src, err);
    gguf_yaml_bool(gguf_yaml_get(node, "optional"), &optional);
    if (optional || has_alternative(import, node)) return GGUF_OK;
    return fail_missing(import, hf, err);
}

/* The layers that an entry speaks of: all, or `layers: [first, end]`; one if it has no {layer}. */
static gguf_code layers_of(const rt_import *import, const gguf_yaml *node, uint64_t n_layers,
                           uint64_t *first, uint64_t *end, gguf_error *err) {
    const gguf_yaml *layers = gguf_yaml_get(node, "layers");
    *first = 0;
    *end = strstr(gguf_yaml_text(node, "hf", ""), "{layer}") ? n_layers : 1;
    if (!rt_import_applies(import, node)) *end = 0;
    if (!layers || layers->n_children != 2) return GGUF_OK;
    gguf_code code = rt_import_eval(import, layers->first, first, err);
    uint64_t limit = *end;
    if (!code) code = rt_import_eval(import, layers->first->next, &limit, err);
    *end = limit < *end ? limit : *end;
    return code;
}

gguf_code rt_import_each(rt_import *import, rt_import_visit visit, gguf_error *err) {
    uint64_t n_layers = 0;
    if (!rt_import_key_u64(import, "block_count", &n_layers) || n_layers > MAX_LAYERS)
        return gguf_fail(err, GGUF_E_LIMIT, import->config_path, GGUF_NO_OFFSET,
                         "the number of layers is missing or over %d", MAX_LAYERS);
    const gguf_yaml *list = gguf_yaml_get(gguf_yaml_root(rt_arch_doc(import->arch)), "tensors");
    gguf_code code = GGUF_OK;
    for (const gguf_yaml *node = list ? list->first : NULL; node && !code; node = node->next) {
        uint64_t first, end;
        code = layers_of(import, node, n_layers, &first, &end, err);
        for (uint64_t layer = first; layer < end && !code; layer++)
            code = visit(import, node, layer, err);
    }
    return code;
}

gguf_code rt_import_tensors(rt_import *import, gguf_error *err) {
    uint64_t n_layers = 0;
    gguf_code code = import->ckpt ? rt_import_index_names(import, err) : GGUF_OK;
    if (!code) code = rt_quantised_check(import, err);
    if (!code) code = rt_import_each(import, import_tensor, err);
    if (!code && import->ckpt) code = rt_foreign_check_unread(import, err);
    if (!code && import->ckpt && rt_import_key_u64(import, "block_count", &n_layers))
        rt_import_report_unused(import, n_layers);
    return code;
}
