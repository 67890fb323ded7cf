/* GET /api/version, /api/tags, /api/ps and POST /api/show: what Ollama's clients ask first. */
#include "tools/serve/dialects.h"

#include "libgguf/json.h"

#include <string.h>

/* Of Ollama, for clients that ask for a version. */
#define OLLAMA_VERSION "0.40.0"

void handle_ollama_version(exchange *x) {
    exchange_reply(x, 200,
                   json_pack("{s:s, s:s}", "version", OLLAMA_VERSION, "ggufkit", GGUFKIT_VERSION));
}

/* ---- the model --------------------------------------------------------------------------- */

static json_t *family_of(const server *s) {
    gguf_str name;
    if (!gguf_kv_str(gguf_meta_find(s->meta, "general.architecture"), &name))
        return json_string("unknown");
    return gguf_json_bytes(name.ptr, name.len);
}

static json_t *details_of(const server *s) {
    char size[32];
    json_t *family = family_of(s);
    return json_pack("{s:s, s:s, s:O, s:[o], s:s, s:s}", "parent_model", "", "format", "gguf",
                     "family", family, "families", family, "parameter_size",
                     server_size_name(s, size, sizeof size), "quantization_level",
                     server_quantisation(s));
}

static json_t *capabilities_of(const server *s) {
    json_t *list = json_array();
    bool embeds = rt_model_is_embedder(s->model);
    json_array_append_new(list, json_string(embeds ? "embedding" : "completion"));
    if (!embeds) json_array_append_new(list, json_string("tools"));
    if (s->markers.close) json_array_append_new(list, json_string("thinking"));
    return list;
}

json_t *ollama_model(const server *s) {
    char name[300], when[40];
    snprintf(name, sizeof name, "%s:latest", s->name);
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:o, s:o}", "name", name, "model", name,
                     "modified_at", server_time_text(s->modified, 0, when, sizeof when), "size",
                     (json_int_t)s->file_bytes, "digest", s->digest, "details", details_of(s),
                     "capabilities", capabilities_of(s));
}

void handle_ollama_tags(exchange *x) {
    exchange_reply(x, 200, json_pack("{s:[o]}", "models", ollama_model(x->s)));
}

void handle_ollama_ps(exchange *x) {
    char when[40];
    json_t *model = ollama_model(x->s);
    json_object_del(model, "modified_at");
    json_object_del(model, "capabilities");
    /* It stays. */
    json_object_set_new(
        model, "expires_at",
        json_string(server_time_text(time(NULL) + 100 * 365 * 86400L, 0, when, sizeof when)));
    json_object_set_new(model, "size_vram", json_integer(0));
    json_object_set_new(model, "context_length", json_integer((json_int_t)x->s->n_ctx));
    exchange_reply(x, 200, json_pack("{s:[o]}", "models", model));
}

/* ---- show -------------------------------------------------------------------------------- */

static json_t *number_of(double value) {
    return value == value && value < 1e300 && value > -1e300 ? json_real(value) : json_null();
}

static json_t *array_of(const gguf_kv *kv) {
    json_t *list = json_array();
    gguf_str text;
    int64_t whole;
    double real;
    for (gguf_kv_iter it = {.kv = kv}; gguf_kv_next_str(&it, &text);)
        json_array_append_new(list, gguf_json_bytes(text.ptr, text.len));
    if (json_array_size(list)) return list;
    for (gguf_kv_iter it = {.kv = kv}; gguf_kv_next_i64(&it, &whole);)
        json_array_append_new(list, json_integer(whole));
    if (json_array_size(list)) return list;
    for (gguf_kv_iter it = {.kv = kv}; gguf_kv_next_f64(&it, &real);)
        json_array_append_new(list, number_of(real));
    return list;
}

static json_t *value_of(const gguf_kv *kv, bool verbose) {
    gguf_str text;
    uint64_t whole;
    double real;
    bool flag;
    if (kv->type == GGUF_VALUE_ARRAY) return verbose ? array_of(kv) : json_null();
    if (gguf_kv_str(kv, &text)) return gguf_json_bytes(text.ptr, text.len);
    if (gguf_kv_bool(kv, &flag)) return json_boolean(flag);
    if (gguf_kv_u64(kv, &whole)) return json_integer((json_int_t)whole);
    return gguf_kv_f64(kv, &real) ? number_of(real) : json_null();
}

static json_t *model_info(const server *s, bool verbose) {
    json_t *info = json_object();
    for (size_t i = 0; i < gguf_meta_count(s->meta); i++) {
        const gguf_kv *kv = gguf_meta_at(s->meta, i);
        json_object_setn_new(info, kv->key.ptr, kv->key.len, value_of(kv, verbose));
    }
    if (!json_object_get(info, "general.parameter_count"))
        json_object_set_new(info, "general.parameter_count", json_integer((json_int_t)s->n_params));
    return info;
}

static json_t *parameters_of(const server *s) {
    char text[256];
    snprintf(text, sizeof text, "temperature %g\ntop_k %u\ntop_p %g\nmin_p %g\nrepeat_penalty %g",
             (double)s->sampler.temp, (unsigned)s->sampler.top_k, (double)s->sampler.top_p,
             (double)s->sampler.min_p, (double)s->sampler.repeat_penalty);
    return json_string(text);
}

static json_t *text_of(const server *s, const char *key) {
    gguf_str text;
    if (!gguf_kv_str(gguf_meta_find(s->meta, key), &text)) return json_string("");
    return gguf_json_bytes(text.ptr, text.len);
}

void handle_ollama_show(exchange *x) {
    const server *s = x->s;
    api_error error = {0};
    fields f;
    bool verbose = false;
    const char *name = NULL;
    char when[40];
    fields_open(&f, x->json, &error);
    fields_text(&f, "name", &name); /* the old word */
    fields_text(&f, "model", &name);
    fields_bool(&f, "verbose", &verbose);
    if (!error.status && !server_has_model(s, name)) params_fail_model(&error, x, name);
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    if (error.status)
        exchange_fail(x, &error);
    else
        exchange_reply(x, 200,
                       json_pack("{s:o, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:s}", "license",
                                 text_of(s, "general.license"), "modelfile", "", "parameters",
                                 parameters_of(s), "template",
                                 gguf_json_bytes(s->template_source.ptr, s->template_source.len),
                                 "system", "", "details", details_of(s), "model_info",
                                 model_info(s, verbose), "capabilities", capabilities_of(s),
                                 "modified_at",
                                 server_time_text(s->modified, 0, when, sizeof when)));
    fields_close(&f);
}
