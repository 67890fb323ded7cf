/* What a session takes of a device, before anything is allocated. */
#include "runtime/engine/constants.h"
#include "runtime/engine/layout.h"

#include <inttypes.h>
#include <stdlib.h>

gguf_code rt_device_predict(const rt_model *model, const rt_session_opts *opts, uint64_t *n_bytes,
                            gguf_error *err) {
    rt_layout layout;
    rt_constant *constants;
    size_t n;
    *n_bytes = 0;
    gguf_code code = rt_layout_make(&model->hparams, opts, &layout, err);
    if (code || layout.n_places < 2) return code;
    code = rt_constants_of(model, opts->n_device_layers, &constants, &n, err);
    if (code) return code;
    *n_bytes = layout.arena_bytes + layout.cache_bytes[1] + layout.work_bytes[1];
    for (size_t i = 0; i < n; i++) *n_bytes += opts->device->constant_bytes(constants[i].n_bytes);
    free(constants);
    return GGUF_OK;
}

/* What is needed grows with the layers. */
gguf_code rt_device_layers(const rt_model *model, const rt_session_opts *opts,
                           const rt_device_info *info, uint32_t *n_layers, gguf_error *err) {
    rt_session_opts tried = *opts;
    uint64_t needed = 0;
    uint32_t low = 0, high = model->hparams.n_layer;
    gguf_code code = GGUF_OK;
    while (!code && low < high) {
        tried.n_device_layers = low + (high - low + 1) / 2;
        code = rt_device_predict(model, &tried, &needed, err);
        if (needed <= info->budget_bytes)
            low = tried.n_device_layers;
        else
            high = tried.n_device_layers - 1;
    }
    *n_layers = low;
    if (code || low > 0) return code;
    return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET,
                     "one layer needs %.1f MiB on the device '%s', of which %.1f MiB are free: a "
                     "smaller context, batch or KV type needs less, and --device none nothing",
                     (double)needed / (1 << 20), info->name,
                     (double)info->budget_bytes / (1 << 20));
}
