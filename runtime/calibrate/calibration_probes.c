/* Sensitivities of an allocation's tensors, measured with the calibration's text. */
#include "quant/imatrix.h"
#include "runtime/calibrate/calibration_internal.h"
#include "runtime/calibrate/sensitivity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_ERROR 0.02 /* large enough to be seen, small enough to be linear */

/* The candidate whose error is nearest to PROBE_ERROR, as a ratio. */
static const quant_candidate *probe_candidate(const quant_tensor_candidates *t) {
    const quant_candidate *best = NULL;
    for (size_t i = 0; i < t->n; i++) {
        const quant_candidate *c = &t->list[i];
        if (!(c->error > 0)) continue;
        if (!best || fabs(log(c->error / PROBE_ERROR)) < fabs(log(best->error / PROBE_ERROR)))
            best = c;
    }
    return best;
}

/* Mean of the logarithms of the nearest measured tensors of the role, before and after. */
static double interpolate(const rt_calibration *c, const quant_allocation *a, const bool *measured,
                          size_t index) {
    const quant_tags *tags = &c->plan->tensors[index].tags;
    double sum = 0;
    int n = 0, before = INT32_MAX, after = INT32_MAX;
    size_t at[2] = {SIZE_MAX, SIZE_MAX};
    for (size_t i = 0; i < c->plan->n_tensors; i++) {
        const quant_tags *other = &c->plan->tensors[i].tags;
        if (!measured[i] || strcmp(other->role, tags->role) != 0) continue;
        int distance = other->layer - tags->layer;
        if (distance < 0 && -distance < before) before = -distance, at[0] = i;
        if (distance > 0 && distance < after) after = distance, at[1] = i;
    }
    for (int side = 0; side < 2; side++)
        if (at[side] != SIZE_MAX) sum += log(a->tensors[at[side]].sensitivity), n++;
    return n ? exp(sum / n) : a->tensors[index].sensitivity;
}

typedef struct probe_list {
    rt_probe *probes;
    size_t *tensors; /* [n] of the plan */
    double *errors;  /* [n] at the probe's type */
    size_t n;
} probe_list;

static gguf_code list_probes(const rt_calibration *c, const quant_allocation *a, probe_list *list,
                             gguf_error *err) {
    size_t n = c->plan->n_tensors + 1;
    *list = (probe_list){calloc(n, sizeof *list->probes), calloc(n, sizeof *list->tensors),
                         calloc(n, sizeof *list->errors), 0};
    if (!list->probes || !list->tensors || !list->errors)
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < c->plan->n_tensors; i++) {
        const quant_plan_tensor *t = &c->plan->tensors[i];
        const quant_candidate *candidate = probe_candidate(&a->tensors[i]);
        if (!candidate || (t->tags.layer < 0 && !t->tags.is_output)) continue;
        list->probes[list->n] =
            (rt_probe){.tensor = t->out.name.ptr,
                       .layer = t->tags.layer < 0 ? c->n_layers : (uint32_t)t->tags.layer,
                       .type = candidate->type,
                       .imp = t->imp};
        list->errors[list->n] = candidate->error;
        list->tensors[list->n++] = i;
    }
    return GGUF_OK;
}

static gguf_code take_probes(const rt_calibration *c, const probe_list *list, quant_allocation *a,
                             gguf_error *err) {
    bool *measured = calloc(c->plan->n_tensors + 1, sizeof *measured);
    if (!measured) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < list->n; i++) {
        if (!(list->probes[i].kld > 0)) continue;
        measured[list->tensors[i]] = true;
        a->tensors[list->tensors[i]].sensitivity = list->probes[i].kld / list->errors[i];
    }
    for (size_t i = 0; i < list->n; i++)
        if (!measured[list->tensors[i]])
            a->tensors[list->tensors[i]].sensitivity =
                interpolate(c, a, measured, list->tensors[i]);
    free(measured);
    return GGUF_OK;
}

gguf_code rt_calibration_sensitivities(rt_calibration *c, quant_allocation *allocation,
                                       void (*progress)(void *ctx, uint64_t done, uint64_t total),
                                       void *ctx, gguf_error *err) {
    probe_list list = {0};
    rt_probe_opts opts = rt_probe_defaults();
    opts.n_threads = c->opts.n_threads;
    opts.bos = c->bos;
    opts.cancel = c->opts.cancel;
    opts.progress = progress;
    opts.progress_ctx = ctx;
    gguf_code code = list_probes(c, allocation, &list, err);
    if (!code)
        code = rt_measure_probes(c->model, c->tokens, c->n_tokens, &opts, list.probes, list.n, err);
    if (!code) code = take_probes(c, &list, allocation, err);
    free(list.probes);
    free(list.tensors);
    free(list.errors);
    return code;
}
