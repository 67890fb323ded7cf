/* Quantised checkpoints of methods that are known by name only, told by the names of their tensors:
 * a config may be absent or left over from another state of the weights. */
#include "runtime/import/import_internal.h"

#include <stdio.h>
#include <string.h>

#define MAX_NAME 512

typedef const gguf_checkpoint_tensor tensor;

/* A tensor whose name ends so belongs to the method, if there is also another of the same stem, or
 * if no other is asked for. */
typedef struct trace {
    const char *suffix, *beside;
    const char *beside_dtype; /* or NULL */
    const char *method;
} trace;

static const trace traces[] = {
    {".SCB", NULL, NULL, "bitsandbytes (8 bits)"},
    {".weight.absmax", NULL, NULL, "bitsandbytes (4 bits)"},
    {".weight.quant_state.bitsandbytes__nf4", NULL, NULL, "bitsandbytes (4 bits)"},
    {".weight.quant_state.bitsandbytes__fp4", NULL, NULL, "bitsandbytes (4 bits)"},
    {".scales", ".weight", "U32", "MLX"},
    {".q_weight", NULL, NULL, "EXL2"},
    {".trellis", NULL, NULL, "EXL3"},
    {".W_q", NULL, NULL, "HQQ"},
    {".weight._data", NULL, NULL, "quanto"},
    {".codebooks", ".codes", NULL, "AQLM"},
    {".Qidxs", NULL, NULL, "QuIP#"},
    {".centroids.weight", NULL, NULL, "VPTQ"},
    {".centroids", ".indices", NULL, "VPTQ"},
    {".lookup_table", ".qweight", NULL, "SqueezeLLM"},
    {".weight_scale_2", NULL, NULL, "ModelOpt NVFP4"},
    {".weight_global_scale", NULL, NULL, "NVFP4"},
    {".weight_scales", ".weight", "I8", "EETQ"},
    {".B", ".s", NULL, "Marlin"},
    {".weight:qdata", NULL, NULL, "torchao"},
    {".weight:_data", NULL, NULL, "torchao"},
    {".weight:int_data", NULL, NULL, "torchao"},
    {"_weight_qdata", NULL, NULL, "torchao"},
};
#define N_TRACES (sizeof traces / sizeof traces[0])

/* How much of a name is left without the suffix; 0 if it does not end so. */
static size_t stem_of(const char *name, const char *suffix) {
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && n < MAX_NAME && strcmp(name + n - m, suffix) == 0 ? n - m : 0;
}

static tensor *beside(const rt_import *import, const char *name, size_t n_stem,
                      const char *suffix) {
    char full[MAX_NAME + 48];
    snprintf(full, sizeof full, "%.*s%s", (int)n_stem, name, suffix);
    return rt_import_look_up(import, full);
}

static bool matches(const rt_import *import, const trace *row, const char *name) {
    size_t n_stem = stem_of(name, row->suffix);
    if (!n_stem || !row->beside) return n_stem != 0;
    tensor *other = beside(import, name, n_stem, row->beside);
    return other && (!row->beside_dtype || strcmp(other->dtype->name, row->beside_dtype) == 0);
}

const char *rt_foreign_method(const rt_import *import, const char **name) {
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(import->ckpt); i++)
        for (size_t k = 0; k < N_TRACES; k++)
            if (matches(import, &traces[k], import->names[i])) {
                *name = gguf_checkpoint_tensor_at(import->ckpt, i)->name.ptr;
                return traces[k].method;
            }
    return NULL;
}

/* ---- codes ------------------------------------------------------------------------------- */

static bool is_float(tensor *t) {
    static const char *const names[] = {"F32", "F16", "BF16", "F64"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], t->dtype->name) == 0) return true;
    return false;
}

/* Position ids, masks and counters are integers too, but nothing's weights. */
bool rt_foreign_has_codes(const rt_import *import) {
    static const char *const suffixes[] = {".weight", ".qweight", "_packed", "_blocks", "_proj"};
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(import->ckpt); i++) {
        if (is_float(gguf_checkpoint_tensor_at(import->ckpt, i))) continue;
        for (size_t k = 0; k < sizeof suffixes / sizeof suffixes[0]; k++)
            if (stem_of(import->names[i], suffixes[k])) return true;
    }
    return false;
}

/* ---- companions -------------------------------------------------------------------------- */

static const char *const companions[] = {
    ".SCB",       ".absmax", ".quant_map", ".scales",     ".biases",  ".qzeros", ".g_idx",
    "_scale_inv", "_scale",  "_scales",    "_zero_point", "_scale_2", "_g_idx",  "_quant_scale"};
#define N_COMPANIONS (sizeof companions / sizeof companions[0])

/* The weight that a name of the checkpoint belongs to as a scale or the like; NULL: none. */
static tensor *companion_of(const rt_import *import, const char *name) {
    static const char *const weights[] = {"", ".weight", ".qweight", "_packed", "_blocks"};
    tensor *found = NULL;
    for (size_t i = 0; i < N_COMPANIONS && !found; i++) {
        size_t n_stem = stem_of(name, companions[i]);
        for (size_t k = 0; k < sizeof weights / sizeof weights[0] && n_stem && !found; k++)
            found = beside(import, name, n_stem, weights[k]);
    }
    return found;
}

const char *rt_foreign_companion(const rt_import *import, const gguf_checkpoint_tensor *weight) {
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(import->ckpt); i++)
        if (companion_of(import, import->names[i]) == weight)
            return gguf_checkpoint_tensor_at(import->ckpt, i)->name.ptr;
    return NULL;
}

gguf_code rt_foreign_check_unread(const rt_import *import, gguf_error *err) {
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(import->ckpt); i++) {
        if (import->used[i] || rt_quantised_ignores(import->names[i])) continue;
        tensor *t = gguf_checkpoint_tensor_at(import->ckpt, i);
        tensor *weight = companion_of(import, import->names[i]);
        if (!weight || !rt_import_is_used(import, weight)) continue;
        return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_checkpoint_file_path(import->ckpt, t->file),
                         (int64_t)t->off,
                         "'%s' belongs to '%s' and would not be read: the model is quantised in a "
                         "way that is not known",
                         t->name.ptr, weight->name.ptr);
    }
    return GGUF_OK;
}
