/* Devices as options name them. */
#include "tools/common/device_opts.h"

#include <string.h>

static gguf_code count_layers(const device_opts *d, const rt_model *model,
                              const rt_session_opts *opts, const rt_device_info *info, uint32_t *n,
                              gguf_error *err) {
    uint32_t n_layer = rt_model_hparams(model)->n_layer;
    if (!d->layers || strcmp(d->layers, "auto") == 0)
        return rt_device_layers(model, opts, info, n, err);
    *n = n_layer;
    if (strcmp(d->layers, "all") == 0) return GGUF_OK;
    gguf_code code = tool_parse_u32("-ngl", d->layers, 0, UINT32_MAX, n, err);
    if (*n > n_layer) *n = n_layer;
    return code;
}

static bool is_none(const device_opts *d) {
    return d->name && strcmp(d->name, "none") == 0;
}

bool device_opts_given(const device_opts *d) {
    return d->layers || (d->name && !is_none(d));
}

gguf_code device_opts_check(const tool *t, const device_opts *d, gguf_error *err) {
    if (is_none(d)) return tool_refuse(t, "ngl", "has no effect with --device none", err);
    if (!device_opts_given(d)) return GGUF_OK;
    return tool_refuse(t, "no-repack", "has no effect with a device: weights are not repacked",
                       err);
}

/* Every product there is in f32. */
static gguf_code check_precision(const rt_model *model, const rt_session_opts *opts,
                                 gguf_error *err) {
    bool all = opts->n_device_layers == rt_model_hparams(model)->n_layer;
    if (!all || opts->precision == RT_PRECISION_DEFAULT || opts->precision == RT_PRECISION_F32)
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "--precision has no effect with all layers on a device, which multiplies in "
                     "f32");
}

gguf_code device_opts_apply(const device_opts *d, const rt_model *model, rt_session_opts *opts,
                            device_plan *plan, gguf_error *err) {
    device_plan own;
    if (!plan) plan = &own;
    *plan = (device_plan){0};
    if (!device_opts_given(d)) return GGUF_OK;
    opts->device = rt_device_backend();
    opts->device_name = d->name;
    gguf_code code = rt_device_find(d->name, &plan->info, err);
    if (!code) code = count_layers(d, model, opts, &plan->info, &opts->n_device_layers, err);
    if (!code) code = check_precision(model, opts, err);
    if (!code && opts->n_device_layers == 0) opts->device = NULL;
    if (!code && opts->device && plan != &own)
        code = rt_device_predict(model, opts, &plan->needed_bytes, err);
    return code;
}
