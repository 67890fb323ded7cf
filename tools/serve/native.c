/* What this server says of itself, and its tokenizer. */
#include "tools/serve/dialects.h"
#include "tools/serve/metrics.h"
#include "tools/serve/prompts.h"
#include "tools/serve/web_page.h"

#include "libgguf/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- state ------------------------------------------------------------------------------- */

void handle_health(exchange *x) {
    if (atomic_load(&x->s->draining))
        exchange_reply(x, 503, json_pack("{s:s}", "status", "draining"));
    else if (atomic_load(&x->s->stage) != SERVER_READY)
        exchange_reply(x, 503,
                       json_pack("{s:s, s:f}", "status", "loading", "progress",
                                 round(1000 * server_loaded(x->s)) / 1000));
    else
        exchange_reply(x, 200, json_pack("{s:s}", "status", "ok"));
}

void handle_page(exchange *x) {
    static const char line[] = "gguf-serve is running\n";
    if (x->wants_html && !x->s->settings->no_ui)
        web_page_reply(x);
    else
        exchange_reply_bytes(x, 200, "text/plain; charset=utf-8", line, sizeof line - 1);
}

static json_t *token_of(const server *s, rt_special which) {
    int32_t id = rt_tokenizer_special(s->tok, which);
    if (id < 0) return json_null();
    gguf_str piece = rt_token_piece(s->tok, id);
    return gguf_json_bytes(piece.ptr, piece.len);
}

static json_t *default_params(const server *s) {
    const rt_sampler_opts *o = &s->sampler;
    bool limited = s->settings->max_tokens != UINT32_MAX;
    json_int_t n = limited ? (json_int_t)s->settings->max_tokens : -1;
    return json_pack("{s:f, s:i, s:f, s:f, s:f, s:i, s:I}", "temperature", (double)o->temp, "top_k",
                     (int)o->top_k, "top_p", (double)o->top_p, "min_p", (double)o->min_p,
                     "repeat_penalty", (double)o->repeat_penalty, "repeat_last_n",
                     (int)o->repeat_last_n, "n_predict", n);
}

/* What is drafted beside the tokens of answers. */
static json_t *speculation(const server *s) {
    const draft_source *d = &s->drafts;
    return json_pack("{s:b, s:s?, s:i}", "lookup", d->opts.lookup, "draft_model",
                     d->model ? gguf_file_path(rt_model_file(d->model)) : NULL, "n_max",
                     (int)d->opts.n_most);
}

void handle_props(exchange *x) {
    const server *s = x->s;
    json_t *root = json_pack(
        "{s:{s:i, s:o}, s:i, s:s, s:s, s:o, s:{s:b, s:b}, s:o, s:o, s:{s:b, s:b}, s:s, s:s, s:s}",
        "default_generation_settings", "n_ctx", (int)s->n_ctx, "params", default_params(s),
        "total_slots", (int)s->n_parallel, "model_path", s->t->args[0], "model_alias", s->name,
        "chat_template", gguf_json_bytes(s->template_source.ptr, s->template_source.len),
        "chat_template_caps", "supports_tools", !s->tools.generic, "supports_thinking",
        s->markers.close != NULL, "bos_token", token_of(s, RT_SPECIAL_BOS), "eos_token",
        token_of(s, RT_SPECIAL_EOS), "modalities", "vision", 0, "audio", 0, "build_info",
        "ggufkit " GGUFKIT_VERSION, "tool_style", rt_tool_style_name(s->tools.style),
        "reasoning_style", s->markers.close ? s->markers.open : "none");
    json_object_set_new(root, "speculation", speculation(s));
    exchange_reply(x, 200, root);
}

/* ---- the tokenizer ----------------------------------------------------------------------- */

static bool is_utf8(gguf_str text) {
    json_t *json = json_stringn(text.ptr, text.len);
    json_decref(json);
    return json != NULL;
}

static json_t *token_with_piece(const server *s, int32_t id) {
    gguf_str text = rt_token_text(s->tok, id);
    json_t *piece;
    if (is_utf8(text)) {
        piece = json_stringn(text.ptr, text.len);
    } else {
        piece = json_array();
        for (size_t i = 0; i < text.len; i++)
            json_array_append_new(piece, json_integer((unsigned char)text.ptr[i]));
    }
    return json_pack("{s:i, s:o}", "id", (int)id, "piece", piece);
}

void handle_tokenize(exchange *x) {
    api_error error = {0};
    fields f;
    json_t *content = NULL;
    bool add = false, parse = true, pieces = false;
    rt_ids ids = {0};
    fields_open(&f, x->json, &error);
    if (!fields_any(&f, "content", &content) || !json_is_string(content))
        api_fail(&error, "content", NULL, "'content' must be a text");
    fields_bool(&f, "add_special", &add);
    fields_bool(&f, "parse_special", &parse);
    fields_bool(&f, "with_pieces", &pieces);
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    unsigned flags = (add ? RT_TOKENIZE_ADD_SPECIAL : 0) | (parse ? RT_TOKENIZE_PARSE_SPECIAL : 0);
    if (!error.status && prompts_tokenize(x->s, json_string_value(content),
                                          json_string_length(content), flags, &ids, &error)) {
        json_t *list = json_array();
        for (size_t i = 0; i < ids.n; i++)
            json_array_append_new(list, pieces ? token_with_piece(x->s, ids.data[i])
                                               : json_integer(ids.data[i]));
        exchange_reply(x, 200, json_pack("{s:o}", "tokens", list));
    } else {
        exchange_fail(x, &error);
    }
    rt_ids_clear(&ids);
    fields_close(&f);
}

void handle_detokenize(exchange *x) {
    api_error error = {0};
    gguf_error err = {0};
    fields f;
    json_t *tokens = NULL;
    rt_ids ids = {0};
    char *text = NULL;
    size_t len = 0;
    fields_open(&f, x->json, &error);
    if (!fields_array(&f, "tokens", &tokens))
        api_fail(&error, "tokens", NULL, "'tokens' must be a list of token ids");
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    bool good = !error.status && prompts_read_ids(x->s, tokens, "tokens", &ids, &error);
    if (good && rt_detokenize(x->s->tok, ids.data, ids.n, false, &text, &len, &err))
        good = api_fail_status(&error, 500, NULL, "%s", err.message);
    if (good)
        exchange_reply(x, 200, json_pack("{s:o}", "content", gguf_json_bytes(text, len)));
    else
        exchange_fail(x, &error);
    free(text);
    rt_ids_clear(&ids);
    fields_close(&f);
}
