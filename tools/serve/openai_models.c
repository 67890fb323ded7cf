/* GET /v1/models and /v1/models/NAME, also in Anthropic's shape. */
#include "tools/serve/dialects.h"

#include <string.h>

static json_t *aliases_of(const server *s) {
    json_t *list = json_array();
    for (size_t i = 1; i < s->settings->n_aliases; i++)
        json_array_append_new(list, json_string(s->settings->aliases[i]));
    return list;
}

static json_t *openai_model(const server *s) {
    json_t *meta =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "n_vocab", (json_int_t)s->hp->n_vocab,
                  "n_ctx", (json_int_t)s->n_ctx, "n_ctx_train", (json_int_t)s->hp->n_ctx_train,
                  "n_embd", (json_int_t)s->hp->n_embd, "n_params", (json_int_t)s->n_params, "size",
                  (json_int_t)s->file_bytes, "ftype", server_quantisation(s));
    return json_pack("{s:s, s:s, s:I, s:s, s:o, s:I, s:o}", "id", s->name, "object", "model",
                     "created", (json_int_t)s->modified, "owned_by", "ggufkit", "aliases",
                     aliases_of(s), "max_model_len", (json_int_t)s->n_ctx, "meta", meta);
}

static json_t *anthropic_model(const server *s) {
    char when[40];
    return json_pack("{s:s, s:s, s:s, s:s}", "type", "model", "id", s->name, "display_name",
                     s->name, "created_at", server_time_text(s->modified, 0, when, sizeof when));
}

void handle_models(exchange *x) {
    const server *s = x->s;
    if (x->anthropic)
        exchange_reply(x, 200,
                       json_pack("{s:[o], s:b, s:s, s:s}", "data", anthropic_model(s), "has_more",
                                 0, "first_id", s->name, "last_id", s->name));
    else
        exchange_reply(x, 200,
                       json_pack("{s:s, s:[o], s:[o]}", "object", "list", "data", openai_model(s),
                                 "models", ollama_model(s)));
}

void handle_model(exchange *x) {
    const char *name = strstr(x->path, "models/") + 7;
    api_error error = {0};
    if (server_has_model(x->s, name)) {
        exchange_reply(x, 200, x->anthropic ? anthropic_model(x->s) : openai_model(x->s));
        return;
    }
    params_fail_model(&error, x, name);
    exchange_fail(x, &error);
}
