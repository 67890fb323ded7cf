/* Parameters of answers that several interfaces have. */
#include "tools/serve/generation.h"

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
    if (fields_int(f, "seed", INT64_MIN, INT64_MAX, &value) && value != -1) {
        o->seed = (uint64_t)value;
        p->seed_given = true;
    }
}

static bool add_stop(fields *f, const char *name, const json_t *stop, params *p) {
    const char *text = json_string_value(stop);
    if (!text || !*text || strlen(text) != json_string_length(stop))
        return api_fail(f->error, name, NULL,
                        "'%s' must be a text that is not empty, or a list of "
                        "such texts",
                        name);
    if (p->n_stops == MAX_STOPS - 1) /* one place is left for that of a transcript */
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

bool params_read_model(fields *f, const server *s) {
    const char *name = NULL;
    fields_text(f, "model", &name);
    if (f->error->status) return false;
    if (server_has_model(s, name)) return true;
    return api_fail_status(f->error, 404, "model_not_found",
                           "the model '%.200s' is not here: this server has '%s'", name, s->name);
}

/* ---- what is not there ------------------------------------------------------------------- */

/* Whether a value asks for nothing: off, none, empty. */
static bool is_nothing(const json_t *value) {
    const char *text = json_string_value(value);
    return json_is_false(value) || json_is_null(value) ||
           (json_is_number(value) && json_number_value(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (text && (!*text || strcmp(text, "none") == 0));
}

static const struct {
    const char *name, *code, *why;
} absent[] = {
    {"grammar", "unsupported_schema", "constrained decoding is not supported"},
    {"json_schema", "unsupported_schema", "constrained decoding is not supported"},
    {"structured_outputs", "unsupported_schema", "constrained decoding is not supported"},
    {"guided_json", "unsupported_schema", "constrained decoding is not supported"},
    {"guided_regex", "unsupported_schema", "constrained decoding is not supported"},
    {"guided_choice", "unsupported_schema", "constrained decoding is not supported"},
    {"guided_grammar", "unsupported_schema", "constrained decoding is not supported"},
    {"functions", NULL, "functions are the old form of tools, which are not supported"},
    {"function_call", NULL, "functions are the old form of tools, which are not supported"},
    {"audio", "unsupported_content", "the model makes no sound"},
    {"web_search_options", NULL, "this server uses no network"},
    {"prediction", NULL, "drafts are not supported"},
    {"logit_bias", NULL, "biases of tokens are not supported"},
    {"presence_penalty", NULL, "only repeat_penalty is supported"},
    {"frequency_penalty", NULL, "only repeat_penalty is supported"},
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
