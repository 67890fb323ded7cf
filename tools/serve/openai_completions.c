/* POST /v1/completions: texts and tokens as prompts, probabilities in the old shape. */
#include "tools/serve/dialects.h"
#include "tools/serve/prompts.h"

#include "libgguf/json.h"

#include <string.h>

#define DEFAULT_MAX_TOKENS 16

/* ---- probabilities ----------------------------------------------------------------------- */

/* {"tokens", "token_logprobs", "top_logprobs", "text_offset"} of chat's entries; a->offset goes on.
 */
static json_t *old_logprobs(answer *a) {
    json_t *tokens = json_array(), *values = json_array(), *tops = json_array(),
           *offsets = json_array(), *entry, *item;
    size_t i, j;
    json_array_foreach(a->logprobs, i, entry) {
        json_t *top = json_object();
        const json_t *token = json_object_get(entry, "token");
        json_array_foreach(json_object_get(entry, "top_logprobs"), j, item)
            json_object_set(top, json_string_value(json_object_get(item, "token")),
                            json_object_get(item, "logprob"));
        json_array_append(tokens, (json_t *)token);
        json_array_append(values, json_object_get(entry, "logprob"));
        json_array_append_new(tops, top);
        json_array_append_new(offsets, json_integer((json_int_t)a->n_shown));
        a->n_shown += json_string_length(token);
    }
    json_decref(a->logprobs);
    a->logprobs = NULL;
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", values,
                     "top_logprobs", tops, "text_offset", offsets);
}

static json_t *choice_of(const generation *g, answer *a, gguf_str text, const char *finish) {
    json_t *logprobs = g->params.logprobs && a->logprobs ? old_logprobs(a) : json_null();
    return json_pack("{s:s%, s:i, s:o, s:s?}", "text", text.ptr, text.len, "index", (int)a->index,
                     "logprobs", logprobs, "finish_reason", finish);
}

/* ---- streams ----------------------------------------------------------------------------- */

static void send_choice(generation *g, answer *a, gguf_str text, const char *finish) {
    json_t *chunk = openai_head(g, "text_completion");
    json_object_set_new(chunk, "choices", json_pack("[o]", choice_of(g, a, text, finish)));
    exchange_event(g->x, NULL, chunk);
}

static void begin(generation *g) {
    (void)g; /* the first text begins the stream */
}

static void part(generation *g, answer *a, gguf_str text, bool thought) {
    (void)thought;
    send_choice(g, a, text, NULL);
}

static void finish(generation *g, answer *a) {
    send_choice(g, a, (gguf_str){"", 0}, openai_finish(a));
}

static void end(generation *g) {
    if (g->include_usage) {
        json_t *chunk = openai_head(g, "text_completion");
        json_object_set_new(chunk, "choices", json_array());
        json_object_set_new(chunk, "usage", openai_usage(g));
        json_object_set_new(chunk, "timings", openai_timings(g));
        exchange_event(g->x, NULL, chunk);
    }
    openai_done(g);
}

static json_t *whole(generation *g) {
    json_t *choices = json_array(), *root = openai_head(g, "text_completion");
    for (size_t i = 0; i < g->n_answers; i++) {
        answer *a = &g->answers[i];
        const gguf_str text = {a->text.len ? (const char *)a->text.data : "", a->text.len};
        json_array_append_new(choices, choice_of(g, a, text, openai_finish(a)));
    }
    json_object_set_new(root, "choices", choices);
    json_object_set_new(root, "usage", openai_usage(g));
    json_object_set_new(root, "timings", openai_timings(g));
    return root;
}

static const dialect_format completion_format = {.stream_type = "text/event-stream",
                                                 .begin = begin,
                                                 .part = part,
                                                 .finish = finish,
                                                 .end = end,
                                                 .fail = openai_stream_fail,
                                                 .whole = whole};

/* ---- the request ------------------------------------------------------------------------- */

static void read_request(exchange *x, fields *f, params *p, prompts *all, bool *include_usage) {
    json_t *prompt = NULL;
    const char *suffix = NULL;
    bool echo = false;
    uint32_t best_of;
    params_read_model(f, x);
    fields_any(f, "prompt", &prompt);
    p->max_tokens = DEFAULT_MAX_TOKENS;
    fields_u32(f, "max_tokens", 1, UINT32_MAX, &p->max_tokens);
    openai_read_common(f, x, p);
    openai_read_stream(f, p, include_usage);
    p->logprobs = fields_u32(f, "logprobs", 0, RT_SERVE_MAX_TOP, &p->n_top);
    if (fields_text(f, "suffix", &suffix) && *suffix)
        api_fail(f->error, "suffix", NULL, "'suffix' is not supported");
    if (fields_bool(f, "echo", &echo) && echo)
        api_fail(f->error, "echo", NULL, "'echo' is not supported");
    if (fields_u32(f, "best_of", 1, MAX_CHOICES, &best_of) && best_of != p->n_choices)
        api_fail(f->error, "best_of", NULL, "'best_of' must be equal to 'n'");
    if (!f->error->status && !prompt) api_fail(f->error, "prompt", NULL, "'prompt' is missing");
    prompts_read(all, x->s, prompt, "prompt", MAX_CHOICES, f->error);
    if (all->n * p->n_choices > MAX_ANSWERS)
        api_fail(f->error, "n", NULL, "%zu prompts with %u answers each: %d answers at most",
                 all->n, (unsigned)p->n_choices, MAX_ANSWERS);
}

void handle_completions(exchange *x) {
    api_error error = {0};
    fields f;
    params p = params_defaults(x->s);
    prompts all = {0};
    bool include_usage = false;
    const rt_answer_text_opts text = {0};
    fields_open(&f, x->json, &error);
    read_request(x, &f, &p, &all, &include_usage);
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    fields_close(&f);
    generation *g = error.status ? NULL : generation_new(x, &completion_format, &p, "cmpl-");
    if (g) {
        g->include_usage = include_usage;
        generation_start(g, all.ids, all.n, &text);
    } else {
        api_fail_status(&error, 500, NULL, "out of memory");
        exchange_fail(x, &error);
    }
    prompts_clear(&all);
}
