/* gguf-bench devices: what computes beside the CPU. */
#include "tools/bench/bench.h"
#include "tools/bench/child.h"
#include "tools/common/json_out.h"

#include <inttypes.h>
#include <stdlib.h>

enum { MAX_LISTED = 16 };

typedef struct devices {
    rt_device_info all[MAX_LISTED];
    size_t n;
} devices;

/* In a child: who opened a driver must not fork, and what comes later may. */
static gguf_code look(void *ctx, void *result, gguf_error *err) {
    devices *found = result;
    rt_device_info *all = NULL;
    size_t n = 0;
    (void)ctx;
    gguf_code code = rt_devices_list(&all, &n, err);
    found->n = n < MAX_LISTED ? n : MAX_LISTED;
    for (size_t i = 0; i < found->n; i++) found->all[i] = all[i];
    free(all);
    return code;
}

static void print_json(const devices *d) {
    json_t *root = json_object(), *list = json_array();
    for (size_t i = 0; i < d->n; i++) {
        const rt_device_info *info = &d->all[i];
        json_t *object = json_object();
        json_object_set_new(object, "number", json_integer((json_int_t)i));
        json_object_set_new(object, "name", json_string(info->name));
        json_object_set_new(object, "kind", json_string(info->kind));
        json_object_set_new(object, "driver", json_string(info->driver));
        json_object_set_new(object, "memory_bytes", json_integer((json_int_t)info->memory_bytes));
        json_object_set_new(object, "free_bytes", json_integer((json_int_t)info->budget_bytes));
        json_object_set_new(object, "free_known", json_boolean(info->budget_known));
        json_object_set_new(object, "subgroup", json_integer(info->subgroup));
        json_object_set_new(object, "missing",
                            info->missing ? json_string(info->missing) : json_null());
        json_array_append_new(list, object);
    }
    json_object_set_new(root, "devices", list);
    tool_print_json(root);
}

static void print_table(const devices *d) {
    char memory[32], left[32];
    for (size_t i = 0; i < d->n; i++) {
        const rt_device_info *info = &d->all[i];
        printf("%zu  %s (%s): %s of memory, %s free%s; %s%s%s\n", i, info->name, info->kind,
               tool_size_text(info->memory_bytes, memory, sizeof memory),
               tool_size_text(info->budget_bytes, left, sizeof left),
               info->budget_known ? "" : " (the driver does not tell what is taken)", info->driver,
               info->missing ? "; cannot be used without " : "",
               info->missing ? info->missing : "");
    }
}

gguf_code bench_devices(tool *t, gguf_error *err) {
    devices *found = calloc(1, sizeof *found);
    if (!found) return gguf_fail_memory(err);
    gguf_code code = bench_in_child(look, NULL, found, sizeof *found, err);
    if (!code && found->n == 0)
        code = gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET, "Vulkan finds no device");
    if (!code && t->json)
        print_json(found);
    else if (!code)
        print_table(found);
    free(found);
    return code;
}
