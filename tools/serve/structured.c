/* Grammars of requests. They are compiled in a worker's thread, before the request waits for the
 * engine. */
#include "tools/serve/structured.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the cache --------------------------------------------------------------------------- */

#define N_KEPT 32

typedef enum source_kind {
    SOURCE_SCHEMA,
    SOURCE_GBNF,
    SOURCE_REGEX,
    SOURCE_CHOICE,
    SOURCE_CALLS
} source_kind;

typedef struct kept {
    source_kind kind;
    char *text;
    size_t n;
    rt_grammar *grammar;
    json_t *left_out; /* texts: what is not enforced; or NULL */
    uint64_t used;
} kept;

struct grammar_cache {
    pthread_mutex_t lock;
    kept kept[N_KEPT];
    uint64_t clock;
};

grammar_cache *grammar_cache_new(void) {
    grammar_cache *c = calloc(1, sizeof *c);
    if (c) pthread_mutex_init(&c->lock, NULL);
    return c;
}

static void forget(kept *k) {
    rt_grammar_unref(k->grammar);
    json_decref(k->left_out);
    free(k->text);
    *k = (kept){0};
}

void grammar_cache_free(grammar_cache *cache) {
    if (!cache) return;
    for (size_t i = 0; i < N_KEPT; i++) forget(&cache->kept[i]);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

static rt_grammar *find(grammar_cache *c, source_kind kind, const char *text, size_t n,
                        json_t **left_out) {
    rt_grammar *found = NULL;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < N_KEPT && !found; i++) {
        kept *k = &c->kept[i];
        if (!k->grammar || k->kind != kind || k->n != n || memcmp(k->text, text, n) != 0) continue;
        k->used = ++c->clock;
        found = rt_grammar_ref(k->grammar);
        if (left_out) *left_out = json_deep_copy(k->left_out);
    }
    pthread_mutex_unlock(&c->lock);
    return found;
}

/* In the place of the one that was not used for longest. */
static void keep(grammar_cache *c, source_kind kind, const char *text, size_t n, rt_grammar *g,
                 const json_t *left_out) {
    char *copy = malloc(n + 1);
    if (!copy) return;
    memcpy(copy, text, n);
    pthread_mutex_lock(&c->lock);
    kept *place = &c->kept[0];
    for (size_t i = 1; i < N_KEPT; i++)
        if (c->kept[i].used < place->used) place = &c->kept[i];
    forget(place);
    *place = (kept){kind, copy, n, rt_grammar_ref(g), json_deep_copy(left_out), ++c->clock};
    pthread_mutex_unlock(&c->lock);
}

/* ---- compiling --------------------------------------------------------------------------- */

static gguf_code compile(source_kind kind, const json_t *source, rt_grammar **out,
                         gguf_error *err) {
    const char *text = json_string_value(source);
    size_t n = json_string_length(source);
    switch (kind) {
    case SOURCE_SCHEMA:
        return rt_grammar_schema(source, out, err);
    case SOURCE_GBNF:
        return rt_grammar_gbnf(text, n, out, err);
    case SOURCE_REGEX:
        return rt_grammar_regex(text, n, out, err);
    default:
        return rt_grammar_choice(source, out, err);
    }
}

static bool set_grammar(fields *f, exchange *x, params *p, const char *name, source_kind kind,
                        const json_t *source) {
    gguf_error err = {0};
    rt_grammar *g = NULL;
    if (f->error->status) return false;
    if (p->grammar)
        return api_fail(f->error, name, NULL, "'%s': another field asks for a form already", name);
    char *text = json_dumps(source, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!text) return api_fail_status(f->error, 500, NULL, "out of memory");
    size_t n = strlen(text);
    g = find(x->s->grammars, kind, text, n, NULL);
    gguf_code code = g ? GGUF_OK : compile(kind, source, &g, &err);
    if (!code) keep(x->s->grammars, kind, text, n, g, NULL);
    free(text);
    x->grammar = p->grammar = g;
    if (code == GGUF_E_NOMEM) return api_fail_status(f->error, 500, NULL, "out of memory");
    return code ? api_fail(f->error, name, "unsupported_schema", "'%s': %s", name, err.message)
                : true;
}

static bool set_text(fields *f, exchange *x, params *p, const char *name, source_kind kind,
                     const json_t *source) {
    if (!json_is_string(source)) return api_fail(f->error, name, NULL, "'%s' must be a text", name);
    return set_grammar(f, x, p, name, kind, source);
}

static void set_any_object(fields *f, exchange *x, params *p, const char *name) {
    json_t *schema = json_pack("{s:s}", "type", "object");
    set_grammar(f, x, p, name, SOURCE_SCHEMA, schema);
    json_decref(schema);
}

/* ---- calls ------------------------------------------------------------------------------- */

/* Names of properties may be any texts. */
static bool fits_header(const char *text) {
    for (; *text; text++)
        if (*text <= 0x20 || *text > 0x7E || *text == ',') return false;
    return true;
}

static void add_ignored(exchange *x, const json_t *left_out) {
    const json_t *path;
    size_t i;
    json_array_foreach(left_out, i, path) {
        size_t n = strlen(x->ignored);
        if (fits_header(json_string_value(path)) &&
            n + json_string_length(path) + 3 < sizeof x->ignored)
            snprintf(x->ignored + n, sizeof x->ignored - n, "%s%s", n ? ", " : "",
                     json_string_value(path));
    }
}

void structured_hold_calls(fields *f, exchange *x, params *p, const rt_tool_style *style,
                           const rt_tool_demand *demand) {
    gguf_error err = {0};
    rt_grammar *g = NULL;
    json_t *left_out = NULL;
    if (f->error->status) return;
    if (p->grammar) {
        api_fail(f->error, "tools", NULL,
                 "'tools': another field asks for a form of the answer already");
        return;
    }
    json_t *source = json_pack("[O, s?, b, b]", (json_t *)demand->tools, demand->named,
                               demand->required, demand->single);
    char *text = source ? json_dumps(source, JSON_COMPACT) : NULL;
    size_t n = text ? strlen(text) : 0;
    gguf_code code = text ? GGUF_OK : gguf_fail_memory(&err);
    if (!code) g = find(x->s->grammars, SOURCE_CALLS, text, n, &left_out);
    if (!code && !g) {
        left_out = json_array();
        code = rt_grammar_tools(style, demand, left_out, &g, &err);
        if (!code) keep(x->s->grammars, SOURCE_CALLS, text, n, g, left_out);
    }
    x->grammar = p->grammar = g;
    add_ignored(x, left_out);
    if (code == GGUF_E_NOMEM)
        api_fail_status(f->error, 500, NULL, "out of memory");
    else if (code)
        api_fail(f->error, "tools", "unsupported_schema", "'tools': %s", err.message);
    json_decref(left_out);
    json_decref(source);
    free(text);
}

/* ---- fields ------------------------------------------------------------------------------ */

void structured_read(fields *f, exchange *x, params *p) {
    json_t *value;
    const char *name;
    if (fields_any(f, "grammar", &value) && !(json_is_string(value) && !json_string_length(value)))
        set_text(f, x, p, "grammar", SOURCE_GBNF, value);
    if (fields_any(f, "json_schema", &value))
        set_grammar(f, x, p, "json_schema", SOURCE_SCHEMA, value);
    if (!fields_object(f, "structured_outputs", &value)) return;
    json_t *all = value;
    json_object_foreach(all, name, value) {
        if (json_is_null(value)) continue;
        if (strcmp(name, "json") == 0)
            set_grammar(f, x, p, "structured_outputs.json", SOURCE_SCHEMA, value);
        else if (strcmp(name, "regex") == 0)
            set_text(f, x, p, "structured_outputs.regex", SOURCE_REGEX, value);
        else if (strcmp(name, "choice") == 0)
            set_grammar(f, x, p, "structured_outputs.choice", SOURCE_CHOICE, value);
        else if (strcmp(name, "grammar") == 0)
            set_text(f, x, p, "structured_outputs.grammar", SOURCE_GBNF, value);
        else
            api_fail(f->error, "structured_outputs", "unsupported_schema",
                     "'structured_outputs.%.60s' is not supported", name);
    }
}

void structured_read_format(fields *f, exchange *x, const json_t *format, const char *name,
                            params *p) {
    const char *type = json_string_value(json_object_get(format, "type"));
    const json_t *own = json_object_get(format, "json_schema"),
                 *schema = json_object_get(own ? own : format, "schema");
    if (f->error->status) return;
    if (!type)
        api_fail(f->error, name, NULL, "'%s' must be an object with a type", name);
    else if (strcmp(type, "json_schema") == 0 && !schema)
        api_fail(f->error, name, NULL, "'%s': there is no schema", name);
    else if (strcmp(type, "json_schema") == 0 || (strcmp(type, "json_object") == 0 && schema))
        set_grammar(f, x, p, name, SOURCE_SCHEMA, schema);
    else if (strcmp(type, "json_object") == 0)
        set_any_object(f, x, p, name);
    else if (strcmp(type, "text") != 0)
        api_fail(f->error, name, "unsupported_schema",
                 "'%s': the type must be text, json_object or json_schema, not '%.40s'", name,
                 type);
}

void structured_read_ollama(fields *f, exchange *x, const json_t *format, params *p) {
    const char *word = json_string_value(format);
    if (word && !*word) return;
    if (word && strcmp(word, "json") == 0)
        set_any_object(f, x, p, "format");
    else if (word)
        api_fail(f->error, "format", "unsupported_schema",
                 "'format' must be \"json\" or a JSON schema, not '%.40s'", word);
    else if (!json_is_object(format))
        api_fail(f->error, "format", NULL, "'format' must be \"json\" or a JSON schema");
    else
        set_grammar(f, x, p, "format", SOURCE_SCHEMA, format);
}
