/* Which kind each layer has, as config.json says. */
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The kind that a word means; one that is not among `words` may be the name of a kind. */
static size_t kind_of(const rt_layer_kinds *kinds, const char *word, size_t len) {
    gguf_str text = {word, len}, name = text;
    for (size_t i = 0; i < kinds->words.n; i++)
        if (gguf_str_eq(text, kinds->words.list[i].name))
            name = gguf_str_of(kinds->words.list[i].text);
    size_t kind = 0;
    while (kind < kinds->n && !gguf_str_eq(name, kinds->names[kind])) kind++;
    return kind;
}

static gguf_code set_kind(rt_import *import, const char *path, uint64_t layer, const char *word,
                          size_t len, gguf_error *err) {
    size_t kind = kind_of(&import->arch->kinds, word, len);
    if (kind == import->arch->kinds.n)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, import->config_path, GGUF_NO_OFFSET,
                         "'%s': layer %" PRIu64 " is '%.*s', which is not a known kind of layer",
                         path, layer, (int)(len < 60 ? len : 60), word);
    import->layer_kinds[layer] = (uint8_t)kind;
    return GGUF_OK;
}

static gguf_code make_room(rt_import *import, const char *path, uint64_t n, gguf_error *err) {
    if (n == 0 || n > RT_IMPORT_MAX_LAYERS)
        return gguf_fail(err, GGUF_E_TYPE, import->config_path, GGUF_NO_OFFSET,
                         "'%s' is not a list with a kind per layer, for up to %d layers", path,
                         RT_IMPORT_MAX_LAYERS);
    import->layer_kinds = calloc(n, sizeof *import->layer_kinds);
    if (!import->layer_kinds) return gguf_fail_memory(err);
    import->n_layer_kinds = n;
    import->layer_kinds_path = path;
    return GGUF_OK;
}

/* A list of words, or a text with one letter per layer. */
static gguf_code read_kinds(rt_import *import, const char *path, const json_t *value,
                            gguf_error *err) {
    const char *letters = json_string_value(value);
    size_t n = letters ? strlen(letters) : json_array_size(value);
    gguf_code code = make_room(import, path, n, err);
    for (size_t i = 0; i < n && !code; i++) {
        char digits[24] = "";
        uint64_t number;
        const json_t *element = letters ? NULL : json_array_get(value, i);
        const char *word = letters ? letters + i : json_string_value(element);
        if (gguf_json_u64(element, &number)) {
            snprintf(digits, sizeof digits, "%" PRIu64, number);
            word = digits;
        }
        code = set_kind(import, path, i, word ? word : "",
                        letters ? 1
                        : word  ? strlen(word)
                                : 0,
                        err);
    }
    return code;
}

/* Room for the layers that the config counts. */
static gguf_code make_counted(rt_import *import, gguf_error *err) {
    static const char path[] = "num_hidden_layers";
    uint64_t n_layers = 0;
    gguf_json_u64(rt_config_get(import, path), &n_layers);
    return make_room(import, path, n_layers, err);
}

/* Layer `offset` of every period is of one kind. */
static gguf_code read_period(rt_import *import, const rt_scalar *every, gguf_error *err) {
    uint64_t period = 0, offset = 0;
    gguf_code code = make_counted(import, err);
    if (!code) code = rt_import_eval(import, &every[0], 0, &period, err);
    if (!code) code = rt_import_eval(import, &every[1], 0, &offset, err);
    if (!code && (period == 0 || offset >= period))
        code = gguf_fail(err, GGUF_E_SHAPE, import->config_path, GGUF_NO_OFFSET,
                         "'%s' is %" PRIu64 ", and '%s' %" PRIu64 ": no layer of the period",
                         every[0].text, period, every[1].text, offset);
    for (uint64_t i = 0; i < import->n_layer_kinds && !code; i++) {
        const char *kind = every[i % period == offset ? 2 : 3].text;
        code = set_kind(import, every[0].text, i, kind, strlen(kind), err);
    }
    return code;
}

/* The layers of one kind, counted from 1. */
static gguf_code read_listed(rt_import *import, const rt_scalar *listed, gguf_error *err) {
    const json_t *list = rt_config_get(import, listed[0].text);
    gguf_code code = make_counted(import, err);
    if (!code && !json_is_array(list))
        code = gguf_fail(err, GGUF_E_MISSING, import->config_path, GGUF_NO_OFFSET,
                         "'%s' is no list of layers", listed[0].text);
    for (uint64_t i = 0; i < import->n_layer_kinds && !code; i++)
        code = set_kind(import, listed[0].text, i, listed[2].text, strlen(listed[2].text), err);
    for (size_t i = 0; i < json_array_size(list) && !code; i++) {
        uint64_t layer = 0;
        if (!gguf_json_u64(json_array_get(list, i), &layer) || layer == 0 ||
            layer > import->n_layer_kinds)
            return gguf_fail(err, GGUF_E_SHAPE, import->config_path, GGUF_NO_OFFSET,
                             "'%s' has what is no layer from 1 to %" PRIu64, listed[0].text,
                             import->n_layer_kinds);
        code = set_kind(import, listed[0].text, layer - 1, listed[1].text, strlen(listed[1].text),
                        err);
    }
    return code;
}

/* The first number that the config has under one of the paths, or that stands in their place. */
static bool first_number(const rt_import *import, rt_texts paths, uint64_t *out) {
    char *end;
    for (; *paths; paths++) {
        if (gguf_json_u64(rt_config_get(import, *paths), out)) return true;
        *out = strtoull(*paths, &end, 10);
        if (!*end) return true;
    }
    return false;
}

/* Kinds by a period. */
static gguf_code repeat_kinds(rt_import *import, gguf_error *err) {
    const rt_layer_kinds *kinds = &import->arch->kinds;
    uint64_t n = 0, every = 0;
    if (!first_number(import, kinds->count, &n) || !first_number(import, kinds->every, &every) ||
        n == 0 || n > RT_IMPORT_MAX_LAYERS || every == 0)
        return gguf_fail(err, GGUF_E_MISSING, import->config_path, GGUF_NO_OFFSET,
                         "'%s' is missing, and '%s' and '%s' say no period", kinds->from[0],
                         kinds->count[0], kinds->every[0]);
    import->layer_kinds = calloc(n, sizeof *import->layer_kinds);
    if (!import->layer_kinds) return gguf_fail_memory(err);
    import->n_layer_kinds = n;
    import->layer_kinds_path = kinds->count[0];
    gguf_code code = GGUF_OK;
    for (uint64_t i = 0; i < n && !code; i++) {
        const char *kind = (i + 1) % every ? kinds->others : kinds->is;
        code = set_kind(import, kinds->every[0], i, kind, strlen(kind), err);
    }
    return code;
}

gguf_code rt_import_layer_kinds(rt_import *import, gguf_error *err) {
    const rt_layer_kinds *kinds = &import->arch->kinds;
    if (!kinds->n) return GGUF_OK;
    if (kinds->periodic.n) return read_period(import, kinds->periodic.list, err);
    if (kinds->listed.n) return read_listed(import, kinds->listed.list, err);
    for (rt_texts path = kinds->from; *path; path++) {
        const json_t *value = rt_config_get(import, *path);
        if (value) return read_kinds(import, *path, value, err);
    }
    if (kinds->is) return repeat_kinds(import, err);
    return gguf_fail(err, GGUF_E_MISSING, import->config_path, GGUF_NO_OFFSET, "'%s' is missing",
                     kinds->from[0]);
}

gguf_code rt_import_check_layer_kinds(const rt_import *import, gguf_error *err) {
    uint64_t n_layers = 0;
    if (!import->arch->kinds.n) return GGUF_OK;
    if (rt_import_key_u64(import, "block_count", &n_layers) && n_layers == import->n_layer_kinds)
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_SHAPE, import->config_path, GGUF_NO_OFFSET,
                     "'%s' is for %" PRIu64 " layers, but there are %" PRIu64,
                     import->layer_kinds_path, import->n_layer_kinds, n_layers);
}

bool rt_import_layer_is(const rt_import *import, uint64_t layer, uint32_t kinds) {
    if (!kinds) return true;
    return layer < import->n_layer_kinds && kinds >> import->layer_kinds[layer] & 1;
}
