/* The catalogue of devices: configs/hardware, compiled in, and files of the user's. */
#include "runtime/sizing/devices.h"

#include "libgguf/embed.h"
#include "libgguf/near.h"
#include "libgguf/yaml.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const gguf_embedded rt_builtin_hardware[];

static const char *const kind_names[] = {"gpu", "unified", "cpu"};

rt_device rt_device_usual(rt_device_kind kind, uint64_t memory_bytes) {
    rt_device device = {.kind = kind,
                        .memory_bytes = memory_bytes,
                        .usable = 1,
                        .bandwidth_share = 0.65,
                        .arithmetic_share = 0.5};
    if (kind == RT_DEVICE_UNIFIED) device.usable = 0.75;
    if (kind == RT_DEVICE_CPU) device.usable = 0.9;
    return device;
}

/* ---- reading ------------------------------------------------------------------------------------
 */

static const gguf_yaml_field efficiency_fields[] = {{"bandwidth", .form = GGUF_YAML_TEXT},
                                                    {"arithmetic", .form = GGUF_YAML_TEXT},
                                                    {"source", .form = GGUF_YAML_TEXT},
                                                    {0}};

static const gguf_yaml_field device_fields[] = {{"name", .form = GGUF_YAML_TEXT},
                                                {"memory_gib", .form = GGUF_YAML_TEXT},
                                                {"bandwidth_gb_per_s", .form = GGUF_YAML_TEXT},
                                                {"fp16_tflops", .form = GGUF_YAML_TEXT},
                                                {"fp32_tflops", .form = GGUF_YAML_TEXT},
                                                {"int8_tops", .form = GGUF_YAML_TEXT},
                                                {"usable", .form = GGUF_YAML_TEXT},
                                                {"source", .form = GGUF_YAML_TEXT},
                                                {0}};

static const gguf_yaml_field file_fields[] = {
    {"kind", .form = GGUF_YAML_TEXT},
    {"source", .form = GGUF_YAML_TEXT},
    {"usable", .form = GGUF_YAML_TEXT},
    {"efficiency", .form = GGUF_YAML_RECORD, .fields = efficiency_fields, .what = "'efficiency'"},
    {"devices", .form = GGUF_YAML_RECORDS, .fields = device_fields, .what = "a device"},
    {0}};

static gguf_code read_kind(const gguf_yaml_doc *doc, rt_device_kind *kind, gguf_error *err) {
    const gguf_yaml *root = gguf_yaml_root(doc);
    const char *text = gguf_yaml_text(root, "kind", "");
    for (size_t i = 0; i < sizeof kind_names / sizeof kind_names[0]; i++) {
        *kind = (rt_device_kind)i;
        if (strcmp(kind_names[i], text) == 0) return GGUF_OK;
    }
    return gguf_yaml_fail(doc, root, err, "the kind '%s' is not gpu, unified or cpu", text);
}

/* A number in (0, max]; what *out holds stays where the key is absent and optional. */
static gguf_code read_number(const gguf_yaml_doc *doc, const gguf_yaml *map, const char *key,
                             bool optional, double max, double unit, double *out, gguf_error *err) {
    const gguf_yaml *node = gguf_yaml_get(map, key);
    double value = 0;
    if (!node && optional) return GGUF_OK;
    if (!node) return gguf_yaml_fail(doc, map, err, "'%s' is missing", key);
    if (!gguf_yaml_f64(node, &value) || !(value > 0) || value > max)
        return gguf_yaml_fail(doc, node, err, "'%s' is '%s', not a number above 0 and up to %g",
                              key, node->text, max);
    *out = value * unit;
    return GGUF_OK;
}

static gguf_code read_efficiency(const gguf_yaml_doc *doc, rt_device *usual, gguf_error *err) {
    const gguf_yaml *node = gguf_yaml_get(gguf_yaml_root(doc), "efficiency");
    if (!node) return GGUF_OK;
    gguf_code code = read_number(doc, node, "bandwidth", true, 1, 1, &usual->bandwidth_share, err);
    if (!code)
        code = read_number(doc, node, "arithmetic", true, 1, 1, &usual->arithmetic_share, err);
    return code;
}

static gguf_code read_device(const gguf_yaml_doc *doc, const gguf_yaml *node, rt_device *device,
                             gguf_error *err) {
    double memory = 0;
    const char *name = gguf_yaml_text(node, "name", "");
    if (!*name || strlen(name) >= sizeof device->name)
        return gguf_yaml_fail(doc, node, err, "a device needs a name of 1 to %zu bytes",
                              sizeof device->name - 1);
    snprintf(device->name, sizeof device->name, "%s", name);
    gguf_code code = read_number(doc, node, "memory_gib", false, 1e6, 1 << 30, &memory, err);
    if (!code)
        code = read_number(doc, node, "bandwidth_gb_per_s", false, 1e6, 1e9, &device->bytes_per_s,
                           err);
    const char *arithmetic = device->kind == RT_DEVICE_CPU ? "fp32_tflops" : "fp16_tflops";
    if (!code) code = read_number(doc, node, arithmetic, true, 1e6, 1e12, &device->flop_per_s, err);
    if (!code)
        code = read_number(doc, node, "int8_tops", true, 1e6, 1e12, &device->int_op_per_s, err);
    if (!code) code = read_number(doc, node, "usable", true, 1, 1, &device->usable, err);
    if (!code &&
        !*gguf_yaml_text(node, "source", gguf_yaml_text(gguf_yaml_root(doc), "source", "")))
        code = gguf_yaml_fail(doc, node, err, "neither the device nor the file names a 'source'");
    device->memory_bytes = (uint64_t)memory;
    return code;
}

static gguf_code read_doc(const gguf_yaml_doc *doc, rt_devices *out, gguf_error *err) {
    const gguf_yaml *root = gguf_yaml_root(doc);
    rt_device_kind kind = RT_DEVICE_GPU;
    gguf_code code = gguf_yaml_check(doc, root, file_fields, "the file", err);
    if (!code) code = read_kind(doc, &kind, err);
    if (code) return code;
    rt_device usual = rt_device_usual(kind, 0);
    const gguf_yaml *devices = gguf_yaml_get(root, "devices");
    if (!devices || devices->kind != GGUF_YAML_LIST || !devices->first)
        return gguf_yaml_fail(doc, root, err, "there is no list of 'devices'");
    code = read_number(doc, root, "usable", true, 1, 1, &usual.usable, err);
    if (!code) code = read_efficiency(doc, &usual, err);
    for (const gguf_yaml *node = devices->first; node && !code; node = node->next) {
        rt_device device = usual;
        code = read_device(doc, node, &device, err);
        if (!code) code = rt_devices_add(out, &device, err);
    }
    return code;
}

gguf_code rt_devices_parse(rt_devices *devices, const char *text, size_t len, const char *file,
                           gguf_error *err) {
    gguf_yaml_doc *doc = NULL;
    gguf_code code = gguf_yaml_parse(text, len, file, &doc, err);
    if (!code) code = read_doc(doc, devices, err);
    gguf_yaml_free(doc);
    return code;
}

gguf_code rt_devices_load(rt_devices *devices, const char *path, gguf_error *err) {
    gguf_yaml_doc *doc = NULL;
    gguf_code code = gguf_yaml_load(path, &doc, err);
    if (!code) code = read_doc(doc, devices, err);
    gguf_yaml_free(doc);
    return code;
}

gguf_code rt_devices_builtin(rt_devices *devices, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (const gguf_embedded *file = rt_builtin_hardware; file->name && !code; file++) {
        char name[128];
        snprintf(name, sizeof name, "configs/hardware/%s.yaml", file->name);
        code = rt_devices_parse(devices, file->text, file->n_bytes, name, err);
    }
    return code;
}

gguf_code rt_devices_add(rt_devices *devices, const rt_device *device, gguf_error *err) {
    rt_device *grown = realloc(devices->list, (devices->n + 1) * sizeof *grown);
    if (!grown) return gguf_fail_memory(err);
    devices->list = grown;
    devices->list[devices->n++] = *device;
    return GGUF_OK;
}

void rt_devices_clear(rt_devices *devices) {
    free(devices->list);
    *devices = (rt_devices){0};
}

/* ---- names --------------------------------------------------------------------------------------
 */

enum { MAX_PLAIN = 64 };

/* Letters and digits, in lower case. */
static size_t plain_name(const char *name, char out[MAX_PLAIN]) {
    size_t n = 0;
    for (; *name && n + 1 < MAX_PLAIN; name++)
        if (isalnum((unsigned char)*name)) out[n++] = (char)tolower((unsigned char)*name);
    out[n] = '\0';
    return n;
}

typedef enum match { MATCH_NONE, MATCH_INSIDE, MATCH_END, MATCH_WHOLE } match;

static match match_name(const rt_device *device, const char *wanted, size_t n_wanted) {
    char name[MAX_PLAIN];
    size_t n = plain_name(device->name, name);
    if (n_wanted == 0 || !strstr(name, wanted)) return MATCH_NONE;
    if (n == n_wanted) return MATCH_WHOLE;
    return strcmp(name + n - n_wanted, wanted) == 0 ? MATCH_END : MATCH_INSIDE;
}

size_t rt_devices_select(rt_devices *devices, const char *name) {
    char wanted[MAX_PLAIN];
    size_t n_wanted = plain_name(name, wanted), n = 0;
    match best = MATCH_NONE;
    for (size_t i = 0; i < devices->n; i++) {
        match how = match_name(&devices->list[i], wanted, n_wanted);
        if (how > best) best = how;
    }
    for (size_t i = 0; i < devices->n && best; i++)
        if (match_name(&devices->list[i], wanted, n_wanted) == best)
            devices->list[n++] = devices->list[i];
    return devices->n = n;
}

/* The distance to the name, or to the end of it that is as long as `wanted`. */
static size_t distance_to(const rt_device *device, const char *wanted, size_t n_wanted) {
    char name[MAX_PLAIN];
    size_t n = plain_name(device->name, name), skip = n > n_wanted ? n - n_wanted : 0;
    size_t whole = gguf_distance(wanted, n_wanted, name, n);
    size_t end = gguf_distance(wanted, n_wanted, name + skip, n - skip);
    return whole < end ? whole : end;
}

const rt_device *rt_devices_nearest(const rt_devices *devices, const char *name) {
    char wanted[MAX_PLAIN];
    size_t n_wanted = plain_name(name, wanted), least = n_wanted / 2 + 1;
    const rt_device *nearest = NULL;
    for (size_t i = 0; i < devices->n; i++) {
        size_t d = distance_to(&devices->list[i], wanted, n_wanted);
        if (d >= least) continue;
        least = d;
        nearest = &devices->list[i];
    }
    return nearest;
}
