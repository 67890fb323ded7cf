/* Devices beside the CPU: which there are, and what a session takes of one. */
#ifndef RUNTIME_ENGINE_DEVICE_H
#define RUNTIME_ENGINE_DEVICE_H

#include "libgguf/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rt_device_info {
    char name[256];        /* as its driver calls it */
    char driver[512];      /* and the driver itself, with its version */
    const char *kind;      /* "discrete", "integrated", "virtual", "cpu" or "other" */
    uint64_t memory_bytes; /* of its largest heap of its own */
    uint64_t budget_bytes; /* of it what may be taken now, capped by GGUFKIT_VRAM_LIMIT */
    bool budget_known;     /* the driver tells; otherwise all of it counts as free */
    uint64_t used_bytes;   /* by this process, where the driver tells */
    uint32_t subgroup;     /* invocations that go together */
    const char *missing;   /* what it lacks to be used, or NULL */
} rt_device_info;

/* All devices, malloc'ed; free() them. Opens the drivers: a process must not fork afterwards.
 * Errors: GGUF_E_UNSUPPORTED no driver, or a build without devices; GGUF_E_NOMEM. */
gguf_code rt_devices_list(rt_device_info **out, size_t *n, gguf_error *err);
/* The device that a session with this name opens; the list's rule on forks holds.
 *   name  as rt_session_opts.device_name
 * Errors: as rt_devices_list; GGUF_E_USAGE the name fits none, or several. */
gguf_code rt_device_find(const char *name, rt_device_info *out, gguf_error *err);

/* What a session with these options allocates on its device, exactly.
 * Errors: as rt_session_new. */
struct rt_model;
struct rt_session_opts;
gguf_code rt_device_predict(const struct rt_model *model, const struct rt_session_opts *opts,
                            uint64_t *n_bytes, gguf_error *err);
/* The most of the last layers that fit what is free on the device, as rt_device_find told it.
 * Errors: GGUF_E_NOMEM not even one; those of the others. */
gguf_code rt_device_layers(const struct rt_model *model, const struct rt_session_opts *opts,
                           const rt_device_info *info, uint32_t *n_layers, gguf_error *err);

/* What a session has on a device. */
typedef struct rt_device_use {
    char name[256], driver[512];
    uint64_t allocated_bytes; /* sum of all buffers */
    uint64_t used_bytes;      /* what the driver counts more than before; 0: it does not tell */
    double upload_s;          /* from opening the device until the weights were there */
} rt_device_use;

/* NULL where the session is on the CPU alone. Valid until the session is freed. */
struct rt_session;
const rt_device_use *rt_session_device(const struct rt_session *session);

/* Devices are backends of this type; NULL in a build without. */
const struct rt_backend_type *rt_device_backend(void);

#endif
