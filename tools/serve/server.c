/* The model behind a server: names, facts, what sampling starts from. */
#include "tools/serve/server.h"

#include "libgguf/hash.h"
#include "quant/quant.h"
#include "quant/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

static bool is_name(const char *own, const char *name) {
    size_t n = strlen(own);
    return strncmp(own, name, n) == 0 && (name[n] == '\0' || strcmp(name + n, ":latest") == 0);
}

bool server_has_model(const server *s, const char *name) {
    if (!name || !*name || s->settings->any_model || is_name(s->name, name)) return true;
    for (size_t i = 0; i < s->settings->n_aliases; i++)
        if (is_name(s->settings->aliases[i], name)) return true;
    return false;
}

double server_loaded(const server *s) {
    switch (atomic_load(&s->stage)) {
    case SERVER_LOADING:
        return 0;
    case SERVER_PREPARING:
        return rt_model_repacked_share(s->model);
    default:
        return 1;
    }
}

bool server_is_busy(const server *s) {
    return atomic_load(&s->n_open) > 0;
}

/* Of the type that holds most of the weights. */
static uint32_t main_type(const gguf_file *file) {
    uint64_t sizes[256] = {0};
    uint32_t best = 0;
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        if (t->type < 256) sizes[t->type] += gguf_tensor_n_elems(t);
    }
    for (uint32_t i = 1; i < 256; i++)
        if (sizes[i] > sizes[best]) best = i;
    return best;
}

const char *server_quantisation(const server *s) {
    uint64_t file_type;
    const char *name = NULL;
    if (gguf_kv_u64(gguf_meta_find(s->meta, "general.file_type"), &file_type))
        name = quant_recipe_of_file_type(file_type);
    return name ? name : gguf_type_name(main_type(rt_model_file(s->model)));
}

char *server_size_name(const server *s, char *out, size_t room) {
    double n = (double)s->n_params;
    if (n >= 1e9)
        snprintf(out, room, "%.1fB", n / 1e9);
    else if (n >= 1e6)
        snprintf(out, room, "%.0fM", n / 1e6);
    else
        snprintf(out, room, "%.0fK", n / 1e3);
    return out;
}

char *server_time_text(time_t when, long ns, char *out, size_t room) {
    struct tm tm;
    gmtime_r(&when, &tm);
    size_t len = strftime(out, room, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + len, room - len, ns ? ".%06ldZ" : "Z", ns / 1000);
    return out;
}

uint64_t server_random(void) {
    uint64_t value = 0;
    if (getrandom(&value, sizeof value, 0) == (ssize_t)sizeof value) return value;
    return (uint64_t)(tool_now_s() * 1e9);
}

void server_random_id(const char *prefix, size_t n, char *out, size_t room) {
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t len = (size_t)snprintf(out, room, "%s", prefix);
    uint64_t bits = 0;
    for (size_t i = 0; i < n && len + 1 < room; i++) {
        if (i % 10 == 0) bits = server_random();
        out[len++] = letters[bits % 62];
        bits /= 62;
    }
    out[len] = '\0';
}
