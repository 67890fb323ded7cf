/* JSON reading on top of jansson. */
#include "libgguf/json.h"
#include "libgguf/map.h"
#include "libgguf/placeholder.h"
#include "libgguf/verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- NaN and Infinity -------------------------------------------------------------------- */

/* Python writes these words for numbers that JSON does not have and that jansson has no value for.
 * In the text each becomes a string of the same length, so that offsets in errors stay right. */
static const struct {
    const char *word, *stand_in, *value;
} nonfinite[] = {{"NaN", "\"N\"", "N"},
                 {"Infinity", "\"Infini\"", "Infini"},
                 {"-Infinity", "\"-Infini\"", "-Infini"}};
#define N_NONFINITE (sizeof nonfinite / sizeof nonfinite[0])

static bool replace_word(char *at, size_t left) {
    for (size_t i = 0; i < N_NONFINITE; i++) {
        size_t n = strlen(nonfinite[i].word);
        if (n > left || memcmp(at, nonfinite[i].word, n) != 0) continue;
        memcpy(at, nonfinite[i].stand_in, n);
        return true;
    }
    return false;
}

/* Replace the words outside of strings; false if there is none. */
static bool replace_words(char *text, size_t len) {
    bool inside = false, found = false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"') inside = !inside;
        if (inside && text[i] == '\\') i++;
        if (!inside && (text[i] == 'N' || text[i] == 'I' || text[i] == '-') &&
            replace_word(text + i, len - i)) {
            found = true;
            while (text[++i] != '"') continue;
        }
    }
    return found;
}

/* Parse again with the words replaced; NULL where that does not help. */
static json_t *parse_nonfinite(const char *text, size_t len, size_t flags, json_error_t *why) {
    char *copy = malloc(len + 1);
    if (!copy) return NULL;
    memcpy(copy, text, len);
    json_t *root = replace_words(copy, len) ? json_loadb(copy, len, flags, why) : NULL;
    free(copy);
    return root;
}

const char *gguf_json_nonfinite(const json_t *value) {
    const char *text = json_string_value(value);
    for (size_t i = 0; i < N_NONFINITE && text; i++)
        if (strcmp(text, nonfinite[i].value) == 0) return nonfinite[i].word;
    return NULL;
}

/* ---- reading ----------------------------------------------------------------------------- */

gguf_code gguf_json_parse(const char *text, size_t len, gguf_json_numbers numbers, const char *file,
                          int64_t off, json_t **out, gguf_error *err) {
    size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    if (numbers == GGUF_JSON_WIDE_INTS) flags |= JSON_DECODE_INT_AS_REAL;
    json_error_t why;
    *out = json_loadb(text, len, flags, &why);
    if (!*out && numbers == GGUF_JSON_WIDE_INTS &&
        json_error_code(&why) == json_error_invalid_syntax)
        *out = parse_nonfinite(text, len, flags, &why);
    if (*out) return GGUF_OK;
    /* jansson leaves the error empty where an allocation fails while it builds a value */
    if (!why.text[0] || json_error_code(&why) == json_error_out_of_memory)
        return gguf_fail_memory_of(err, file);
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

json_t *gguf_json_bytes(const char *bytes, size_t n) {
    static const char replacement[] = "\xEF\xBF\xBD";
    json_t *value = json_stringn(bytes, n);
    if (value) return value;
    char *text = malloc(3 * n + 1);
    size_t len = 0;
    if (!text) return json_null();
    for (size_t i = 0, n_valid; i < n; i += n_valid + 1) {
        bool rest = gguf_utf8_valid(bytes + i, n - i, &n_valid);
        if (rest) n_valid = n - i;
        memcpy(text + len, bytes + i, n_valid);
        len += n_valid;
        if (rest) break;
        memcpy(text + len, replacement, 3);
        len += 3;
    }
    value = json_stringn(text, len);
    free(text);
    return value;
}
