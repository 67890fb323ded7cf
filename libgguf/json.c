/* JSON reading on top of jansson. */
#include "libgguf/json.h"
#include "libgguf/map.h"
#include "libgguf/placeholder.h"

#include <math.h>
#include <stdlib.h>

gguf_code gguf_json_parse(const char *text, size_t len, gguf_json_numbers numbers, const char *file,
                          int64_t off, json_t **out, gguf_error *err) {
    size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    if (numbers == GGUF_JSON_WIDE_INTS) flags |= JSON_DECODE_INT_AS_REAL;
    json_error_t why;
    *out = json_loadb(text, len, flags, &why);
    if (*out) return GGUF_OK;
    /* jansson leaves the error empty where an allocation fails while it builds a value */
    if (!why.text[0] || json_error_code(&why) == json_error_out_of_memory)
        return gguf_fail(err, GGUF_E_NOMEM, file, GGUF_NO_OFFSET, "out of memory");
    gguf_code code =
        json_error_code(&why) == json_error_duplicate_key ? GGUF_E_DUPLICATE : GGUF_E_FORMAT;
    int64_t at = why.position >= 0 && off >= 0 ? off + why.position : off;
    if (off == 0 && json_error_code(&why) == json_error_premature_end_of_input)
        return gguf_fail(err, GGUF_E_TRUNCATED, file, at,
                         "JSON, line %d, column %d: the text is cut off: %zu bytes are there, and "
                         "they end inside a value",
                         why.line, why.column, len);
    return gguf_fail(err, code, file, at, "JSON, line %d, column %d: %s", why.line, why.column,
                     why.text);
}

/* {"error": "..."} is what servers send in the place of a file. */
static gguf_code refuse_message(const char *path, json_t **root, gguf_error *err) {
    const char *message = json_string_value(json_object_get(*root, "error"));
    if (!message || json_object_size(*root) > 4) return GGUF_OK;
    gguf_code code = gguf_fail(err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET,
                               "an error message of a server, not the file: %.200s", message);
    json_decref(*root);
    *root = NULL;
    return code;
}

gguf_code gguf_json_load(const char *path, gguf_json_numbers numbers, json_t **out,
                         gguf_error *err) {
    char *text;
    size_t len;
    *out = NULL;
    gguf_code code = gguf_read_file(path, GGUF_JSON_MAX_BYTES, &text, &len, err);
    if (code) return code;
    code = gguf_placeholder_check(text, len, GGUF_EXPECTED_CONTENT, path, err);
    if (!code) code = gguf_json_parse(text, len, numbers, path, 0, out, err);
    free(text);
    return code ? code : refuse_message(path, out, err);
}

bool gguf_json_u64(const json_t *value, uint64_t *out) {
    if (json_is_integer(value)) {
        if (json_integer_value(value) < 0) return false;
        *out = (uint64_t)json_integer_value(value);
        return true;
    }
    double real = json_real_value(value);
    if (!json_is_real(value) || real < 0 || real > 9007199254740992.0 || real != floor(real))
        return false;
    *out = (uint64_t)real;
    return true;
}
