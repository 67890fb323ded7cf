/* Texts and token ids. */
#include "tools/serve/prompts.h"

#include <stdlib.h>

bool prompts_tokenize(const server *s, const char *text, size_t n, unsigned flags, rt_ids *out,
                      api_error *error) {
    gguf_error err = {0};
    gguf_code code = rt_tokenize(s->tok, text, n, flags, out, &err);
    if (code == GGUF_E_NOMEM) return api_fail_status(error, 500, NULL, "out of memory");
    return code ? api_fail(error, NULL, NULL, "%s", err.message) : true;
}

bool prompts_read_ids(const server *s, const json_t *list, const char *param, rt_ids *out,
                      api_error *error) {
    size_t n = json_array_size(list), i;
    const json_t *item;
    out->data = malloc((n + 1) * sizeof *out->data);
    if (!out->data) return api_fail_status(error, 500, NULL, "out of memory");
    out->room = n + 1;
    json_array_foreach(list, i, item) {
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0)
            return api_fail(error, param, NULL, "'%s': token ids are whole numbers", param);
        if (id >= s->hp->n_vocab)
            return api_fail(error, param, NULL,
                            "'%s': there is no token %lld, the vocabulary of this model has %u; "
                            "were these ids made with another tokenizer?",
                            param, (long long)id, (unsigned)s->hp->n_vocab);
        out->data[out->n++] = (int32_t)id;
    }
    return true;
}

static bool add(prompts *p, const server *s, const json_t *value, const char *param,
                api_error *error) {
    rt_ids *ids = &p->ids[p->n++];
    if (json_is_array(value)) {
        if (json_array_size(value) == 0)
            return api_fail(error, param, NULL, "'%s' has a list without tokens", param);
        return prompts_read_ids(s, value, param, ids, error);
    }
    if (!json_is_string(value))
        return api_fail(error, param, NULL, "'%s' must be a text, token ids, or a list of either",
                        param);
    if (!prompts_tokenize(s, json_string_value(value), json_string_length(value),
                          RT_TOKENIZE_ADD_SPECIAL | RT_TOKENIZE_PARSE_SPECIAL, ids, error))
        return false;
    return ids->n ? true : api_fail(error, param, NULL, "'%s' has a text without tokens", param);
}

bool prompts_read(prompts *p, const server *s, const json_t *value, const char *param, size_t most,
                  api_error *error) {
    const json_t *first = json_array_get(value, 0);
    bool several = json_is_array(value) && !json_is_integer(first);
    size_t n = several ? json_array_size(value) : 1, i;
    const json_t *item;
    if (error->status) return false;
    if (several && (n == 0 || n > most))
        return api_fail(error, param, NULL, "'%s' must have 1 to %zu entries, not %zu", param, most,
                        n);
    p->ids = calloc(n, sizeof *p->ids);
    if (!p->ids) return api_fail_status(error, 500, NULL, "out of memory");
    if (!several) return add(p, s, value, param, error);
    json_array_foreach(value, i, item) if (!add(p, s, item, param, error)) return false;
    return true;
}

void prompts_clear(prompts *p) {
    for (size_t i = 0; i < p->n; i++) rt_ids_clear(&p->ids[i]);
    free(p->ids);
    *p = (prompts){0};
}
