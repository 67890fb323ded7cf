/* Devices to size a model for: memory, bandwidth and arithmetic, as published. */
#ifndef RUNTIME_SIZING_DEVICES_H
#define RUNTIME_SIZING_DEVICES_H

#include "libgguf/error.h"

#include <stddef.h>
#include <stdint.h>

typedef enum rt_device_kind {
    RT_DEVICE_GPU,     /* memory of its own; a driver's context takes a part */
    RT_DEVICE_UNIFIED, /* memory shared with processor and system */
    RT_DEVICE_CPU
} rt_device_kind;

#define RT_MAX_CARDS 16

typedef struct rt_device {
    char name[64];
    rt_device_kind kind;
    uint64_t memory_bytes;             /* of all cards */
    uint64_t card_bytes[RT_MAX_CARDS]; /* [n_cards] */
    uint32_t n_cards;                  /* 0 = one, of memory_bytes */
    uint64_t host_bytes;               /* memory of the host beside a GPU; 0 = not stated */
    double usable;                     /* share of the memory that a model can have */
    double bytes_per_s;                /* of memory, as published; 0 = unknown */
    double flop_per_s;                 /* FP16, on processors FP32; as published; 0 = unknown */
    double vector_flop_per_s; /* of products with one vector; 0 = no limit beside the bandwidth */
    double int_op_per_s;      /* 8-bit arithmetic, as published; 0 = unknown */
    double bandwidth_share, arithmetic_share; /* of the published rates, what inference reaches */
} rt_device;

typedef struct rt_devices {
    rt_device *list;
    size_t n;
} rt_devices;

/* Append the catalogue in configs/hardware, in the order of its files.
 * Errors: GGUF_E_FORMAT, GGUF_E_NOMEM. */
gguf_code rt_devices_builtin(rt_devices *devices, gguf_error *err);
/* Append a file of the same form (docs/fit.md).
 * Errors: of reading YAML; GGUF_E_FORMAT with the byte of what is wrong; GGUF_E_NOMEM. */
gguf_code rt_devices_load(rt_devices *devices, const char *path, gguf_error *err);
/* The same from a text; `file` names it in errors. */
gguf_code rt_devices_parse(rt_devices *devices, const char *text, size_t len, const char *file,
                           gguf_error *err);
/* Append one device. Errors: GGUF_E_NOMEM. */
gguf_code rt_devices_add(rt_devices *devices, const rt_device *device, gguf_error *err);
void rt_devices_clear(rt_devices *devices); /* accepts a zeroed one */

/* What devices of a kind have where a catalogue says nothing: shares, no rates. */
rt_device rt_device_usual(rt_device_kind kind, uint64_t memory_bytes);

/* Keep the devices that a name means, without regard to case, spaces and signs: those of this name,
 * or else those that end with it, or else those that contain it. Returns how many there are. */
size_t rt_devices_select(rt_devices *devices, const char *name);
/* The device whose name is nearest to one that means none; NULL if all are far from it. */
const rt_device *rt_devices_nearest(const rt_devices *devices, const char *name);

#endif
