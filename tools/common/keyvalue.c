/* Parsing KEY=TYPE:VALUE. */
#include "tools/common/keyvalue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gguf_code fail(const char *text, const char *what, gguf_error *err) {
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "'%s': %s", text, what);
}

static bool type_named(const char *name, size_t len, gguf_value_type *type) {
    if (len == 3 && memcmp(name, "str", 3) == 0) {
        *type = GGUF_VALUE_STRING;
        return true;
    }
    for (int t = GGUF_VALUE_U8; t <= GGUF_VALUE_F64; t++) {
        const char *known = gguf_value_type_name((gguf_value_type)t);
        if (t == GGUF_VALUE_ARRAY || strlen(known) != len || memcmp(known, name, len) != 0)
            continue;
        *type = (gguf_value_type)t;
        return true;
    }
    return false;
}

/* llama.cpp's int and float: of the key's own width, or u32 and f32. */
static bool is_plain_type(const char *name, size_t len, gguf_value_type *type) {
    *type = len == 3 ? GGUF_VALUE_U32 : GGUF_VALUE_F32;
    return (len == 3 && memcmp(name, "int", 3) == 0) || (len == 5 && memcmp(name, "float", 5) == 0);
}

static bool is_signed(gguf_value_type type) {
    return type == GGUF_VALUE_I8 || type == GGUF_VALUE_I16 || type == GGUF_VALUE_I32 ||
           type == GGUF_VALUE_I64;
}

/* The native bytes of an integer if it fits into the type. */
static bool parse_integer(const char *text, gguf_value_type type, uint8_t *out) {
    char *end;
    size_t n_bits = 8 * gguf_value_bytes(type);
    uint64_t bits;
    errno = 0;
    if (is_signed(type)) {
        long long value = strtoll(text, &end, 10);
        if (n_bits < 64 && (value < -(1LL << (n_bits - 1)) || value >= 1LL << (n_bits - 1)))
            return false;
        bits = (uint64_t)value;
    } else {
        bits = strtoull(text, &end, 10);
        if (*text == '-' || (n_bits < 64 && bits >> n_bits)) return false;
    }
    memcpy(out, &bits, n_bits / 8);
    return *text && !*end && !errno;
}

static bool parse_real(const char *text, gguf_value_type type, uint8_t *out) {
    char *end;
    double value = strtod(text, &end);
    float single = (float)value;
    if (type == GGUF_VALUE_F32)
        memcpy(out, &single, sizeof single);
    else
        memcpy(out, &value, sizeof value);
    return *text && !*end;
}

static bool parse_scalar(const char *text, gguf_value_type type, uint8_t *out) {
    if (type == GGUF_VALUE_F32 || type == GGUF_VALUE_F64) return parse_real(text, type, out);
    if (type != GGUF_VALUE_BOOL) return parse_integer(text, type, out);
    *out = strcmp(text, "true") == 0;
    return *out || strcmp(text, "false") == 0;
}

/* Numbers separated by commas; `text` is taken apart. */
static gguf_code set_numbers(gguf_meta *meta, const char *key, gguf_value_type type, bool array,
                             char *text, const char *whole, gguf_error *err) {
    size_t n_bytes = gguf_value_bytes(type), room = strlen(text) + 1, n = 0;
    uint8_t *packed = malloc(room * 8);
    char *save = NULL;
    gguf_code code = packed ? GGUF_OK : gguf_fail_memory(err);
    for (char *word = array ? strtok_r(text, ",", &save) : text; word && !code;
         word = array ? strtok_r(NULL, ",", &save) : NULL)
        if (!parse_scalar(word, type, packed + n_bytes * n++))
            code = fail(whole, "the value does not fit the type", err);
    if (!code && array) gguf_meta_set_array(meta, key, type, n, packed);
    gguf_kv kv = {.key = gguf_str_of(key),
                  .type = type,
                  .elem_type = type,
                  .count = 1,
                  .data = packed,
                  .n_bytes = n_bytes};
    if (!code && !array) gguf_meta_set_kv(meta, &kv);
    free(packed);
    return code;
}

static gguf_code set_strings(gguf_meta *meta, const char *key, bool array, char *text,
                             gguf_error *err) {
    if (!array) {
        gguf_meta_set_str(meta, key, gguf_str_of(text));
        return GGUF_OK;
    }
    gguf_str *list = malloc((strlen(text) + 1) * sizeof *list);
    char *save = NULL;
    size_t n = 0;
    if (!list) return gguf_fail_memory(err);
    for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save))
        list[n++] = gguf_str_of(word);
    gguf_meta_set_str_array(meta, key, n, list);
    free(list);
    return GGUF_OK;
}

/* Split "TYPE[]:" off the front of *value, or take the type of the key. */
static gguf_code find_type(const gguf_meta *meta, const char *key, char **value,
                           gguf_value_type *type, bool *array, const char *whole, gguf_error *err) {
    const char *colon = strchr(*value, ':');
    if (colon) {
        size_t len = (size_t)(colon - *value);
        *array = len > 2 && memcmp(colon - 2, "[]", 2) == 0;
        if (type_named(*value, *array ? len - 2 : len, type)) {
            *value += len + 1;
            return GGUF_OK;
        }
    }
    const gguf_kv *old = gguf_meta_find(meta, key);
    if (colon && is_plain_type(*value, (size_t)(colon - *value), type)) {
        bool number = old && old->type != GGUF_VALUE_ARRAY && old->type != GGUF_VALUE_STRING;
        *value += colon + 1 - *value;
        if (number && old->type != GGUF_VALUE_BOOL) *type = old->type;
        return GGUF_OK;
    }
    if (!old)
        return fail(whole, "a new key needs KEY=TYPE:VALUE with a type such as u32 or str", err);
    *array = old->type == GGUF_VALUE_ARRAY;
    *type = old->elem_type;
    return GGUF_OK;
}

gguf_code keyvalue_set(gguf_meta *meta, const char *text, gguf_error *err) {
    gguf_value_type type = GGUF_VALUE_U8;
    bool array = false;
    char *copy = strdup(text);
    if (!copy) return gguf_fail_memory(err);
    char *value = strchr(copy, '=');
    gguf_code code = GGUF_OK;
    if (!value || value == copy) {
        code = fail(text, "expected KEY=TYPE:VALUE", err);
    } else {
        *value++ = '\0';
        code = find_type(meta, copy, &value, &type, &array, text, err);
        if (!code && type == GGUF_VALUE_STRING)
            code = set_strings(meta, copy, array, value, err);
        else if (!code)
            code = set_numbers(meta, copy, type, array, value, text, err);
    }
    free(copy);
    return code ? code : gguf_meta_status(meta, err);
}
