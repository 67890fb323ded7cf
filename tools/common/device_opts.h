/* --device and -ngl: where the last layers of a model are computed. */
#ifndef TOOLS_COMMON_DEVICE_OPTS_H
#define TOOLS_COMMON_DEVICE_OPTS_H

#include "runtime/engine/device.h"
#include "runtime/runtime.h"
#include "tools/common/tool.h"

#define DEVICE_HELP \
    "compute on this device (a name or number of gguf-bench devices), or none (none)"
#define NGL_HELP "so many of the last layers there, all, or auto: what fits (auto)"
/* Other programs' spellings of the two options, which have these ids. */
#define DEVICE_SPELLINGS(device, ngl)                               \
    {(ngl), "-ngl", "N", NULL}, {(ngl), "n-gpu-layers", "N", NULL}, \
        {(ngl), "gpu-layers", "N", NULL}, {                         \
        (device), "-dev", "NAME", NULL                              \
    }

typedef struct device_opts {
    const char *name;   /* as given; NULL: not given */
    const char *layers; /* as given; NULL: not given */
} device_opts;

/* Whether a device was asked for. */
bool device_opts_given(const device_opts *d);
/* Refuse what has no effect: -ngl without a device, --no-repack with one. Errors: GGUF_E_USAGE. */
gguf_code device_opts_check(const tool *t, const device_opts *d, gguf_error *err);

typedef struct device_plan {
    rt_device_info info;
    uint64_t needed_bytes; /* that a session will allocate there; 0 without layers there */
} device_plan;

/* Fill in where layers lie, from what else the session's options say.
 *   plan  all zeros where no device was asked for; may be NULL
 * Errors: GGUF_E_USAGE; GGUF_E_UNSUPPORTED no such device or no driver; GGUF_E_NOMEM with
 * `auto` not even one layer fits. */
gguf_code device_opts_apply(const device_opts *d, const rt_model *model, rt_session_opts *opts,
                            device_plan *plan, gguf_error *err);

#endif
