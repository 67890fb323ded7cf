/* Parallel arrays, one element per calibrated tensor, as every reader of GGUF files shows them. */
#include "runtime/calibrate/calibration_keys.h"

#include <stdlib.h>

#define KEY(name) "ggufkit.calibration." name

typedef struct columns {
    gguf_str *names, *types;
    uint32_t *samples, *fallbacks;
    float *rounded, *kept;
    size_t n;
} columns;

static uint32_t clamp_u32(uint64_t n) {
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static void add_row(columns *c, const gguf_tensor *t, const char *type,
                    const quant_output_error *error) {
    static const quant_output_error none = {0};
    const quant_output_error *e = error ? error : &none;
    c->names[c->n] = t->name;
    c->types[c->n] = gguf_str_of(type);
    c->samples[c->n] = clamp_u32(e->n_samples);
    c->fallbacks[c->n] = clamp_u32(e->n_unfed);
    c->rounded[c->n] = (float)e->rounded;
    c->kept[c->n++] = (float)e->kept;
}

static bool alloc_columns(columns *c, size_t n) {
    *c = (columns){calloc(n, sizeof *c->names),
                   calloc(n, sizeof *c->types),
                   calloc(n, sizeof *c->samples),
                   calloc(n, sizeof *c->fallbacks),
                   calloc(n, sizeof *c->rounded),
                   calloc(n, sizeof *c->kept),
                   0};
    return c->names && c->types && c->samples && c->fallbacks && c->rounded && c->kept;
}

static void free_columns(columns *c) {
    free(c->names);
    free(c->types);
    free(c->samples);
    free(c->fallbacks);
    free(c->rounded);
    free(c->kept);
}

static gguf_code set_columns(gguf_meta *meta, const columns *c, gguf_error *err) {
    if (c->n == 0) return GGUF_OK;
    gguf_meta_set_str_array(meta, KEY("tensors"), c->n, c->names);
    gguf_meta_set_str_array(meta, KEY("types"), c->n, c->types);
    gguf_meta_set_array(meta, KEY("samples"), GGUF_VALUE_U32, c->n, c->samples);
    gguf_meta_set_array(meta, KEY("fallbacks"), GGUF_VALUE_U32, c->n, c->fallbacks);
    gguf_meta_set_array(meta, KEY("error_rounded"), GGUF_VALUE_F32, c->n, c->rounded);
    gguf_meta_set_array(meta, KEY("error"), GGUF_VALUE_F32, c->n, c->kept);
    return gguf_meta_status(meta, err);
}

/* With `reserve`, every tensor that could be quantised, with the longest name of a type. */
static gguf_code set(quant_plan *plan, const quant_output_error *errors, bool reserve,
                     gguf_error *err) {
    columns c;
    gguf_code code = GGUF_E_NOMEM;
    if (alloc_columns(&c, plan->n_tensors + 1)) {
        for (size_t i = 0; i < plan->n_tensors; i++) {
            const quant_plan_tensor *t = &plan->tensors[i];
            if (reserve ? !t->tags.keep : t->calibrated)
                add_row(&c, &t->out, gguf_type_name(reserve ? GGUF_TYPE_IQ4_XS : t->out.type),
                        errors ? &errors[i] : NULL);
        }
        code = set_columns(plan->meta, &c, err);
    } else
        gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "out of memory");
    free_columns(&c);
    return code;
}

gguf_code rt_calibration_keys_set(quant_plan *plan, const quant_output_error *errors,
                                  gguf_error *err) {
    return set(plan, errors, false, err);
}

gguf_code rt_calibration_keys_reserve(quant_plan *plan, gguf_error *err) {
    return set(plan, NULL, true, err);
}

void rt_calibration_keys_forget(gguf_meta *meta) {
    static const char *const keys[] = {KEY("method"),        KEY("dataset"), KEY("tokens"),
                                       KEY("damp"),          KEY("effort"),  KEY("tensors"),
                                       KEY("types"),         KEY("samples"), KEY("fallbacks"),
                                       KEY("error_rounded"), KEY("error")};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) gguf_meta_unset(meta, keys[i]);
}
