/* Parameters of answers that several interfaces have. */
#include "tools/serve/chat_request.h"
#include "tools/serve/generation.h"
#include "tools/serve/prompts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

params params_defaults(const server *s) {
    return (params){
        .sampler = s->sampler, .max_tokens = s->settings->max_tokens, .n_choices = 1, .n_ctx = 0};
}

void params_read_sampling(fields *f, params *p) {
    rt_sampler_opts *o = &p->sampler;
    int64_t value;
    fields_float(f, "temperature", 0, 100, &o->temp);
    fields_float(f, "top_p", 0, 1, &o->top_p);
    fields_float(f, "min_p", 0, 1, &o->min_p);
    if (fields_int(f, "top_k", -1, INT32_MAX, &value)) o->top_k = value < 0 ? 0 : (uint32_t)value;
    if (!fields_float(f, "repeat_penalty", 0, 100, &o->repeat_penalty))
        fields_float(f, "repetition_penalty", 0, 100, &o->repeat_penalty);
    fields_u32(f, "repeat_last_n", 0, RT_MAX_REPEAT, &o->repeat_last_n);
    fields_float(f, "presence_penalty", -2, 2, &o->presence_penalty);
    fields_float(f, "frequency_penalty", -2, 2, &o->frequency_penalty);
    p->seed_given = fields_seed(f, "seed", &o->seed);
}

/* ---- biases ------------------------------------------------------------------------------ */

static bool add_bias(fields *f, const server *s, json_int_t id, const json_t *value, params *p) {
    double bias = json_is_false(value) ? -100 : json_number_value(value);
    if (id < 0 || id >= s->hp->n_vocab)
        return api_fail(f->error, "logit_bias", NULL,
                        "'logit_bias': there is no token %lld, the vocabulary has %u",
                        (long long)id, (unsigned)s->hp->n_vocab);
    if (!(json_is_false(value) || json_is_number(value)) || !(bias >= -100 && bias <= 100))
        return api_fail(f->error, "logit_bias", NULL,
                        "'logit_bias': a bias is a number from -100 to 100, or false");
    if (p->n_bias == MAX_BIAS)
        return api_fail(f->error, "logit_bias", NULL, "'logit_bias' can have %d tokens", MAX_BIAS);
    p->bias[p->n_bias++] = (rt_logit_bias){(int32_t)id, bias <= -100 ? -INFINITY : (float)bias};
    return true;
}

/* Each token of a text. */
static bool add_text_bias(fields *f, const server *s, const json_t *text, const json_t *value,
                          params *p) {
    rt_ids ids = {0};
    gguf_error err = {0};
    bool good = !rt_tokenize(s->tok, json_string_value(text), json_string_length(text),
                             RT_TOKENIZE_PARSE_SPECIAL, &ids, &err);
    if (!good) api_fail(f->error, "logit_bias", NULL, "%s", err.message);
    for (size_t i = 0; i < ids.n && good; i++) good = add_bias(f, s, ids.data[i], value, p);
    rt_ids_clear(&ids);
    return good;
}

static bool add_pair(fields *f, const server *s, const json_t *pair, params *p) {
    const json_t *token = json_array_get(pair, 0), *value = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !(json_is_integer(token) || json_is_string(token)))
        return api_fail(f->error, "logit_bias", NULL,
                        "'logit_bias': an entry of a list is [token, bias]");
    if (json_is_integer(token)) return add_bias(f, s, json_integer_value(token), value, p);
    return add_text_bias(f, s, token, value, p);
}

void params_read_bias(fields *f, const server *s, params *p) {
    json_t *all, *value;
    const char *name;
    size_t i;
    if (!fields_any(f, "logit_bias", &all)) return;
    if (!json_is_object(all) && !json_is_array(all)) {
        api_fail(f->error, "logit_bias", NULL, "'logit_bias' must be an object or a list");
        return;
    }
    json_array_foreach(all, i, value) if (!add_pair(f, s, value, p)) return;
    json_object_foreach(all, name, value) {
        char *end;
        long long id = strtoll(name, &end, 10);
        if (*end || !*name) id = -1;
        if (!add_bias(f, s, id, value, p)) return;
    }
}

/* ---- stops ------------------------------------------------------------------------------- */

static bool add_stop(fields *f, const char *name, const json_t *stop, params *p) {
    const char *text = json_string_value(stop);
    if (!text || !*text || strlen(text) != json_string_length(stop))
        return api_fail(f->error, name, NULL,
                        "'%s' must be a text that is not empty, or a list of "
                        "such texts",
                        name);
    if (p->n_stops == MAX_STOPS - 1)
        return api_fail(f->error, name, NULL, "'%s' can have %d texts", name, MAX_STOPS - 1);
    p->stops[p->n_stops++] = text;
    return true;
}

void params_read_stops(fields *f, const char *name, params *p) {
    json_t *value, *stop;
    size_t i;
    if (!fields_any(f, name, &value)) return;
    if (!json_is_array(value)) {
        add_stop(f, name, value, p);
        return;
    }
    json_array_foreach(value, i, stop) if (!add_stop(f, name, stop, p)) return;
}

void params_read_stop_ids(fields *f, const server *s, params *p) {
    json_t *list, *id;
    size_t i;
    if (!fields_array(f, "stop_token_ids", &list)) return;
    json_array_foreach(list, i, id) {
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value >= s->hp->n_vocab || i >= MAX_STOPS - 1) {
            api_fail(f->error, "stop_token_ids", NULL,
                     "'stop_token_ids' must be a list of at most %d tokens of the vocabulary",
                     MAX_STOPS - 1);
            return;
        }
        p->stop_ids[p->n_stop_ids++] = (int32_t)value;
    }
}

/* Tokens as an answer has them. */
static bool set_prediction(fields *f, exchange *x, const json_t *text, params *p) {
    const char *bytes = json_string_value(text);
    if (!prompts_tokenize(x->s, bytes, json_string_length(text), 0, &x->prediction, f->error))
        return false;
    p->prediction = &x->prediction;
    return true;
}

void params_read_prediction(fields *f, exchange *x, params *p) {
    json_t *prediction;
    if (!fields_object(f, "prediction", &prediction)) return;
    const char *type = json_string_value(json_object_get(prediction, "type"));
    if (!type || strcmp(type, "content") != 0) {
        api_fail(f->error, "prediction", NULL, "'prediction.type' must be \"content\"");
        return;
    }
    if (!x->s->drafts.opts.lookup) {
        api_fail(f->error, "prediction", NULL, "'prediction': %s",
                 x->s->settings->draft.lookup == LOOKUP_OFF
                     ? "the server was started with --lookup off"
                 : x->s->hp->n_recurrent
                     ? "with this model, whose layers keep a state, --lookup on allows it"
                     : "this model's layers cannot take drafts back");
        return;
    }
    json_t *text =
        chat_read_content(json_object_get(prediction, "content"), "prediction.content", f->error);
    if (text) set_prediction(f, x, text, p);
    json_decref(text);
}

bool params_fail_model(api_error *error, const exchange *x, const char *name) {
    if (x->route->dialect == DIALECT_OLLAMA)
        return api_fail_status(error, 404, "model_not_found", "model '%.200s' not found", name);
    return api_fail_status(error, 404, "model_not_found",
                           "the model '%.200s' is not here: this server has '%s'", name,
                           x->s->name);
}

bool params_read_model(fields *f, const exchange *x) {
    const char *name = NULL;
    fields_text(f, "model", &name);
    if (f->error->status) return false;
    return server_has_model(x->s, name) || params_fail_model(f->error, x, name);
}

/* ---- what is not there ------------------------------------------------------------------- */

/* Whether a value asks for nothing: off, none, empty. */
static bool is_nothing(const json_t *value) {
    const char *text = json_string_value(value);
    return json_is_false(value) || json_is_null(value) ||
           (json_is_number(value) && json_number_value(value) <= 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (text && (!*text || strcmp(text, "none") == 0));
}

static const struct {
    const char *name, *code, *why;
} absent[] = {
    {"guided_json", "unsupported_schema", "this is structured_outputs now"},
    {"guided_regex", "unsupported_schema", "this is structured_outputs now"},
    {"guided_choice", "unsupported_schema", "this is structured_outputs now"},
    {"guided_grammar", "unsupported_schema", "this is structured_outputs now"},
    {"functions", NULL, "functions are the old form of tools, which are not supported"},
    {"function_call", NULL, "functions are the old form of tools, which are not supported"},
    {"audio", "unsupported_content", "the model makes no sound"},
    {"web_search_options", NULL, "this server uses no network"},
    {"mirostat", NULL, "Mirostat is not supported"},
    {"xtc_probability", NULL, "XTC is not supported"},
    {"dry_multiplier", NULL, "DRY is not supported"},
    {"top_n_sigma", NULL, "top-n-sigma is not supported"},
};

void params_refuse(fields *f) {
    json_t *value;
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        if (fields_any(f, absent[i].name, &value) && !is_nothing(value) &&
            !(json_is_object(value) && json_object_size(value) == 0))
            api_fail(f->error, absent[i].name, absent[i].code, "'%s': %s", absent[i].name,
                     absent[i].why);
    if (fields_any(f, "typical_p", &value) && json_number_value(value) != 1)
        api_fail(f->error, "typical_p", NULL, "'typical_p': only 1, off, is supported");
}
