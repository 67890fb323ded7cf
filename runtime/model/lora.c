/* Adapters: their factors are found by name, and lie in the adapter's file. */
#include "runtime/model/lora.h"

#include "quant/quant.h"
#include "runtime/model/model_internal.h"
#include "runtime/model/slots.h"
#include "runtime/model/weights_check.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct rt_adapter {
    gguf_file *file;
    rt_lora *loras; /* [n] */
    size_t n, room;
    float scale, alpha;
    rt_adapter *next;
};

void rt_adapters_free(rt_adapter *a) {
    while (a) {
        rt_adapter *next = a->next;
        gguf_file_close(a->file);
        free(a->loras);
        free(a);
        a = next;
    }
}

static gguf_code fail(const rt_adapter *a, gguf_code code, const gguf_tensor *t, const char *what,
                      gguf_error *err) {
    return gguf_fail(err, code, gguf_file_path(a->file), GGUF_NO_OFFSET, "tensor '%.*s' %s",
                     (int)t->name.len, t->name.ptr, what);
}

/* ---- the file ---------------------------------------------------------------------------- */

static bool same(gguf_str a, gguf_str b) {
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static bool says(const gguf_file *file, const char *key, const char *wanted) {
    gguf_str found;
    return gguf_kv_str(gguf_meta_find(gguf_file_meta(file), key), &found) &&
           gguf_str_eq(found, wanted);
}

gguf_code rt_lora_check(const gguf_file *adapter, const char *arch, float *alpha, gguf_error *err) {
    const char *path = gguf_file_path(adapter);
    const gguf_kv *kv = gguf_meta_find(gguf_file_meta(adapter), "adapter.lora.alpha");
    double number = 0;
    if (!says(adapter, "general.type", "adapter") || !says(adapter, "adapter.type", "lora"))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, path, GGUF_NO_OFFSET,
                         "this file is no LoRA adapter ('general.type' and 'adapter.type' tell)");
    if (!says(adapter, "general.architecture", arch))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, path, GGUF_NO_OFFSET,
                         "the adapter is for another architecture than the model's '%s'", arch);
    if (kv && (!gguf_kv_f64(kv, &number) || !isfinite(number)))
        return gguf_fail(err, GGUF_E_TYPE, path, GGUF_NO_OFFSET,
                         "'adapter.lora.alpha' is no finite number");
    if (gguf_file_n_tensors(adapter) == 0)
        return gguf_fail(err, GGUF_E_MISSING, path, GGUF_NO_OFFSET, "the adapter has no tensors");
    *alpha = (float)number;
    return GGUF_OK;
}

/* "blk.0.attn_q.weight" of "blk.0.attn_q.weight.lora_a"; empty if it does not end so. */
static gguf_str target_of(gguf_str name, char half) {
    const char end[] = {'.', 'l', 'o', 'r', 'a', '_', half};
    bool fits = name.len > sizeof end && !memcmp(name.ptr + name.len - sizeof end, end, sizeof end);
    return (gguf_str){name.ptr, fits ? name.len - sizeof end : 0};
}

static const gguf_tensor *partner_of(const rt_adapter *a, gguf_str target) {
    for (size_t i = 0; i < gguf_file_n_tensors(a->file); i++) {
        const gguf_tensor *t = gguf_file_tensor(a->file, i);
        if (same(target_of(t->name, 'b'), target)) return t;
    }
    return NULL;
}

static gguf_code factor_of(const rt_adapter *a, const gguf_tensor *t, rt_weight *out,
                           gguf_error *err) {
    if (t->n_dims != 2 || t->dims[0] == 0 || t->dims[0] > INT32_MAX || t->dims[1] > INT32_MAX)
        return fail(a, GGUF_E_SHAPE, t, "is no matrix", err);
    if (!quant_can_decode(t->type))
        return fail(a, GGUF_E_UNSUPPORTED, t, "is of a type that is not read", err);
    *out = (rt_weight){.data = gguf_file_data(a->file, t),
                       .type = t->type,
                       .n_mats = 1,
                       .n_rows = (uint32_t)t->dims[1],
                       .n_cols = (uint32_t)t->dims[0],
                       .row_bytes = t->n_bytes / t->dims[1],
                       .mat_bytes = t->n_bytes};
    if (rt_weight_fault(out, out->data, out->n_rows))
        return fail(a, GGUF_E_NONFINITE, t, "has a number that is not finite", err);
    return GGUF_OK;
}

/* ---- the model's matrices ---------------------------------------------------------------- */

/* The tensor of the model that is adapted, and what of it was found. */
typedef struct adapted {
    rt_adapter *adapter;
    const gguf_tensor *tensor, *a_tensor;
    rt_weight a, b;
    float scale;
    const uint8_t *data; /* of the tensor */
    size_t n_found;
} adapted;

static gguf_code add(adapted *x, rt_model *model, rt_weight *w, const rt_weight *b,
                     gguf_error *err) {
    rt_adapter *a = x->adapter;
    if (a->n == a->room)
        return fail(a, GGUF_E_UNSUPPORTED, x->a_tensor, "adapts what several matrices share", err);
    rt_lora *lora = &a->loras[a->n++];
    *lora = (rt_lora){.a = x->a, .b = *b, .scale = x->scale, .next = w->lora};
    w->lora = lora;
    x->n_found++;
    rt_hparams *hp = &model->hparams;
    uint32_t rank = b->n_cols, n_rows = w == &model->output ? 0 : b->n_rows;
    hp->n_lora_rank = rank > hp->n_lora_rank ? rank : hp->n_lora_rank;
    hp->n_lora_rows = n_rows > hp->n_lora_rows ? n_rows : hp->n_lora_rows;
    hp->adapted_head |= w == &model->output;
    return GGUF_OK;
}

/* A matrix that lies in the tensor takes its rows of B. */
static gguf_code visit(adapted *x, rt_model *model, rt_weight *w, gguf_error *err) {
    const gguf_tensor *t = x->tensor;
    const uint8_t *at = w->data;
    bool tied = w == &model->output && w->data == model->token_embd.data;
    if (!at || at < x->data || at >= x->data + t->n_bytes || tied) return GGUF_OK;
    /* Some matrices have two slots, of which a kind of layer uses one. */
    if (w->lora && w->lora->a.data == x->a.data) return GGUF_OK;
    if (w->n_mats != 1)
        return fail(x->adapter, GGUF_E_UNSUPPORTED, x->a_tensor,
                    "adapts a stack of matrices, which is not supported", err);
    if (w == &model->token_embd) {
        if (x->a.n_rows != w->n_rows || x->b.n_rows != w->n_cols || x->a.n_cols != x->b.n_cols)
            return fail(x->adapter, GGUF_E_SHAPE, x->a_tensor,
                        "and its partner do not fit the model's table", err);
        return add(x, model, w, &x->b, err);
    }
    uint64_t first = (uint64_t)(at - x->data) / w->row_bytes;
    if (x->a.n_cols != w->n_cols || x->b.n_cols != x->a.n_rows || x->b.n_rows != t->dims[1] ||
        first + w->n_rows > x->b.n_rows)
        return fail(x->adapter, GGUF_E_SHAPE, x->a_tensor,
                    "and its partner do not fit the model's matrix", err);
    rt_weight b = x->b;
    b.data = (const uint8_t *)b.data + first * b.row_bytes;
    b.n_rows = w->n_rows;
    b.mat_bytes = b.n_rows * b.row_bytes;
    return add(x, model, w, &b, err);
}

static gguf_code visit_record(adapted *x, rt_model *model, void *record, const rt_slots *slots,
                              gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < slots->n_matrices && !code; i++)
        code = visit(x, model, rt_slot_matrix(record, slots, i), err);
    return code;
}

static gguf_code adapt(rt_adapter *a, rt_model *model, const gguf_tensor *t, gguf_error *err) {
    gguf_str target = target_of(t->name, 'a');
    if (!target.len) {
        if (target_of(t->name, 'b').len) return GGUF_OK; /* its partner brings it */
        return fail(a, GGUF_E_UNSUPPORTED, t, "is no factor of a matrix", err);
    }
    const gguf_tensor *b = partner_of(a, target);
    adapted x = {.adapter = a, .a_tensor = t};
    for (size_t i = 0; i < gguf_file_n_tensors(model->file) && !x.tensor; i++) {
        const gguf_tensor *of = gguf_file_tensor(model->file, i);
        if (same(of->name, target)) x.tensor = of;
    }
    if (!b) return fail(a, GGUF_E_MISSING, t, "has no partner", err);
    if (!x.tensor) return fail(a, GGUF_E_MISSING, t, "adapts what the model does not have", err);
    gguf_code code = factor_of(a, t, &x.a, err);
    if (!code) code = factor_of(a, b, &x.b, err);
    if (code) return code;
    x.data = gguf_file_data(model->file, x.tensor);
    x.scale = rt_lora_scale(a->scale, a->alpha, x.b.n_cols);
    code = visit_record(&x, model, model, &rt_model_slots, err);
    for (uint32_t i = 0; i < model->hparams.n_layer && !code; i++)
        code = visit_record(&x, model, &model->layers[i], &rt_layer_slots, err);
    if (!code && !x.n_found)
        code =
            fail(a, GGUF_E_UNSUPPORTED, t, "adapts a tensor that is no matrix of a product", err);
    return code;
}

gguf_code rt_model_add_lora(rt_model *model, const char *path, float scale, gguf_error *err) {
    rt_adapter *a = calloc(1, sizeof *a);
    if (!a) return gguf_fail_memory(err);
    a->scale = scale;
    rt_adapter **last = &model->adapters;
    while (*last) last = &(*last)->next;
    *last = a; /* it goes with the model, whatever happens here */
    gguf_code code = gguf_file_open(path, GGUF_OPEN_ANY_TYPE, &a->file, err);
    if (!code) code = rt_lora_check(a->file, rt_arch_name(model->arch), &a->alpha, err);
    if (code) return code;
    size_t n = gguf_file_n_tensors(a->file);
    a->room = 2 * n; /* a fused tensor has up to three parts, of two factors each */
    a->loras = calloc(a->room + 1, sizeof *a->loras);
    if (!a->loras) return gguf_fail_memory(err);
    for (size_t i = 0; i < n && !code; i++)
        code = adapt(a, model, gguf_file_tensor(a->file, i), err);
    return code;
}

const gguf_file *rt_model_lora(const rt_model *model, size_t i, float *scale) {
    const rt_adapter *a = model->adapters;
    while (a && i-- > 0) a = a->next;
    if (!a) return NULL;
    *scale = a->scale;
    return a->file;
}
