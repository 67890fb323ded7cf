/* Comparing token ids with a list. */
#include "tools/convert/check_tokenizer.h"
#include "libgguf/json.h"
#include "runtime/import/import.h"
#include "runtime/tokenizer/tokenizer.h"

#include <stdio.h>
#include <string.h>

typedef struct counts {
    size_t n_cases, n_different;
} counts;

static bool same_ids(const rt_ids *ids, const json_t *expected) {
    if (json_array_size(expected) != ids->n) return false;
    for (size_t i = 0; i < ids->n; i++) {
        uint64_t id;
        if (!gguf_json_u64(json_array_get(expected, i), &id) || id != (uint64_t)ids->data[i])
            return false;
    }
    return true;
}

static gguf_code compare(tool *t, const rt_tokenizer *tok, const json_t *text,
                         const json_t *expected, unsigned flags, size_t index, counts *c,
                         gguf_error *err) {
    rt_ids ids = {0};
    gguf_code code =
        rt_tokenize(tok, json_string_value(text), json_string_length(text), flags, &ids, err);
    c->n_cases++;
    if (!code && !same_ids(&ids, expected)) {
        c->n_different++;
        tool_note(t, "text %zu: %zu ids, expected %zu, or other ids", index, ids.n,
                  json_array_size(expected));
    }
    rt_ids_clear(&ids);
    return code;
}

static gguf_code check_case(tool *t, const rt_tokenizer *tok, const json_t *item, const char *list,
                            size_t index, counts *c, gguf_error *err) {
    const json_t *text = json_object_get(item, "text"), *ids = json_object_get(item, "ids");
    const json_t *special = json_object_get(item, "ids_special");
    if (!json_is_string(text) || !json_is_array(ids))
        return gguf_fail(err, GGUF_E_FORMAT, list, GGUF_NO_OFFSET, "item %zu has no text and ids",
                         index);
    /* As gguf-run reads a prompt: special tokens written in the text are recognised. */
    const unsigned flags = RT_TOKENIZE_PARSE_SPECIAL;
    gguf_code code = compare(t, tok, text, ids, flags, index, c, err);
    if (!code && special)
        code = compare(t, tok, text, special, flags | RT_TOKENIZE_ADD_SPECIAL, index, c, err);
    return code;
}

static gguf_code check_list(tool *t, const rt_tokenizer *tok, const char *list, gguf_error *err) {
    json_t *root;
    counts c = {0};
    gguf_code code = gguf_json_load(list, GGUF_JSON_WIDE_INTS, &root, err);
    if (code) return code;
    if (!json_is_array(root)) code = gguf_fail(err, GGUF_E_FORMAT, list, 0, "not a list of texts");
    for (size_t i = 0; i < json_array_size(root) && !code; i++)
        code = check_case(t, tok, json_array_get(root, i), list, i, &c, err);
    json_decref(root);
    if (code) return code;
    if (t->json)
        tool_print_json(json_pack("{s:I, s:I}", "n_checked", (json_int_t)c.n_cases, "n_different",
                                  (json_int_t)c.n_different));
    else
        printf("%zu of %zu token lists are equal\n", c.n_cases - c.n_different, c.n_cases);
    return c.n_different ? GGUF_E_CHECK : GGUF_OK;
}

gguf_code check_tokenizer(tool *t, const char *input, const char *list, gguf_error *err) {
    rt_import *import = NULL;
    rt_tokenizer *tok = NULL;
    const rt_import_opts opts = {.vocab_only = true};
    gguf_code code = rt_import_open(input, &opts, &import, err);
    if (!code) code = rt_tokenizer_new(rt_import_plan(import)->meta, &tok, err);
    if (!code) code = check_list(t, tok, list, err);
    rt_tokenizer_free(tok);
    rt_import_close(import);
    return code;
}
