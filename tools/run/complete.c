/* One answer, to a text that is continued or to one message of a conversation. */
#include "libgguf/json.h"
#include "libgguf/map.h"
#include "tools/common/pager.h"
#include "tools/common/text_tokens.h"
#include "tools/common/wrap.h"
#include "tools/run/call_tools.h"
#include "tools/run/conversation_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_PREDICT 128
#define CHAT_CTX        8192

/* ---- shared ------------------------------------------------------------------------------ */

gguf_code run_read_prompt(const run_opts *o, char **out, size_t *n, gguf_error *err) {
    const char *file = o->file ? o->file : strcmp(o->prompt, "-") == 0 ? "-" : NULL;
    if (file)
        return gguf_read_text(strcmp(file, "-") == 0 ? "/dev/stdin" : file, out, n, &tool_cancelled,
                              err);
    *out = strdup(o->prompt);
    *n = strlen(o->prompt);
    return *out ? GGUF_OK : gguf_fail_memory(err);
}

static gguf_code open_schema(const char *file, rt_grammar **out, gguf_error *err) {
    json_t *schema = NULL;
    gguf_code code = gguf_json_load(file, GGUF_JSON_EXACT_INTS, &schema, err);
    if (!code) code = rt_grammar_schema(schema, out, err);
    json_decref(schema);
    return code;
}

static gguf_code open_gbnf(const char *file, rt_grammar **out, gguf_error *err) {
    char *text = NULL;
    size_t n = 0;
    gguf_code code = gguf_read_text(file, &text, &n, &tool_cancelled, err);
    if (!code) code = rt_grammar_gbnf(text, n, out, err);
    free(text);
    return code;
}

gguf_code run_open_grammar(run_opts *o, gguf_error *err) {
    const char *file = o->json_schema ? o->json_schema : o->grammar_file;
    if (!file) return GGUF_OK;
    gguf_code code =
        o->json_schema ? open_schema(file, &o->grammar, err) : open_gbnf(file, &o->grammar, err);
    if (code && !err->file[0]) snprintf(err->file, sizeof err->file, "%s", file);
    return code;
}

rt_session_opts run_session_opts(const tool *t, const run_opts *o, uint32_t n_ctx) {
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = o->n_ctx ? o->n_ctx : n_ctx;
    opts.kv_type = o->kv_type;
    opts.n_threads = t->n_threads;
    opts.precision = o->precision;
    opts.cancel = &tool_cancelled;
    return opts;
}

gguf_code run_answer_session(tool *t, const run_opts *o, const rt_model *model,
                             const rt_tokenizer *tok, uint32_t n_ctx, rt_session_opts *out,
                             draft_source *drafts, gguf_error *err) {
    *out = run_session_opts(t, o, n_ctx);
    gguf_code code = draft_open(t, &o->draft, model, tok, out, 1, drafts, err);
    rt_answer_session_opts(rt_model_hparams(model), out, drafts->opts.n_most);
    return code;
}

gguf_code run_open_generator(rt_generator *g, const tool *t, const run_opts *o, rt_model *model,
                             rt_session *session, const rt_tokenizer *tok,
                             const rt_sampler_opts *sampler, draft_source *drafts,
                             gguf_error *err) {
    gguf_code code = rt_generator_init(g, model, session, 0, tok, sampler, err);
    if (!code) code = draft_start(drafts, model, err);
    rt_generator_draft(g, &drafts->opts, drafts->drafter);
    g->repack = !rt_session_device(session) && !o->no_repack && o->precision != RT_PRECISION_F32;
    g->n_threads = t->n_threads;
    return code;
}

uint32_t run_chat_ctx(const rt_model *model) {
    uint32_t n_ctx_train = rt_model_hparams(model)->n_ctx_train;
    return n_ctx_train > 0 && n_ctx_train < CHAT_CTX ? n_ctx_train : CHAT_CTX;
}

gguf_code run_check_generates(const rt_model *model, gguf_error *err) {
    if (!rt_model_is_embedder(model)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(rt_model_file(model)), GGUF_NO_OFFSET,
                     "an embedding model does not complete texts (--tokens and "
                     "--logits write its hidden states)");
}

gguf_code run_check_talks(const rt_model *model, gguf_error *err) {
    if (!rt_model_hparams(model)->n_encoder_layer) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(rt_model_file(model)), GGUF_NO_OFFSET,
                     "a model with an encoder answers one text (-p, -f); it does not chat");
}

/* What the cursor of the terminal is behind. */
static wrap shown;

void run_print_begin(void) {
    wrap_begin(&shown, stdout, STDOUT_FILENO);
}

static void print_escaped(unsigned char byte) {
    char escaped[8];
    snprintf(escaped, sizeof escaped, "\\x%02x", byte);
    for (const char *c = escaped; *c; c++) wrap_put(&shown, c, 1);
}

void run_print_text(gguf_str text) {
    bool plain = !isatty(STDOUT_FILENO);
    if (plain) fwrite(text.ptr, 1, text.len, stdout);
    for (size_t i = 0; i < text.len && !plain;) {
        const unsigned char *p = (const unsigned char *)text.ptr + i;
        size_t n = tool_utf8_len(text.ptr + i, text.len - i);
        bool control = n == 0 || (p[0] < 0x20 && p[0] != '\n' && p[0] != '\t') || p[0] == 0x7F ||
                       (n == 2 && p[0] == 0xC2 && p[1] < 0xA0);
        if (n == 0) n = 1;
        if (control)
            print_escaped(p[n - 1]);
        else
            wrap_put(&shown, text.ptr + i, n);
        i += n;
    }
    fflush(stdout);
}

void run_print_part(gguf_str text, bool is_reasoning, bool *reasoning) {
    if (is_reasoning && !isatty(STDOUT_FILENO)) return;
    if (*reasoning && !is_reasoning) run_print_text(gguf_str_of("\n\n"));
    *reasoning = is_reasoning;
    if (is_reasoning) fputs(tool_style_text(TOOL_DIM), stdout);
    run_print_text(text);
    if (is_reasoning) fputs(tool_style_text(TOOL_PLAIN), stdout);
    fflush(stdout);
}

/* ---- the result -------------------------------------------------------------------------- */

static double rate(size_t n, double seconds) {
    return seconds > 0 ? (double)n / seconds : 0;
}

/* {"name", "arguments"} of each call. */
static json_t *calls_json(const json_t *calls) {
    json_t *list = json_array(), *call;
    size_t i;
    json_array_foreach(calls, i, call) json_array_append(list, json_object_get(call, "function"));
    return list;
}

static void print_answer_json(const run_opts *o, const rt_answer *a, const call_tools *tools) {
    const gguf_dynbuf *text = tools->tools ? &tools->text : &a->text.said.text,
                      *thought = &a->text.thought.text;
    json_t *root = json_object(), *ids = json_array();
    for (size_t i = 0; i < a->ids.n; i++) json_array_append_new(ids, json_integer(a->ids.data[i]));
    json_object_set_new(root, "text", gguf_json_bytes((const char *)text->data, text->len));
    if (tools->tools) json_object_set_new(root, "tool_calls", calls_json(tools->calls));
    if (thought->len)
        json_object_set_new(root, "reasoning",
                            gguf_json_bytes((const char *)thought->data, thought->len));
    if (a->text.whole.invalid_utf8) json_object_set_new(root, "invalid_utf8", json_true());
    json_object_set_new(root, "ids", ids);
    json_object_set_new(root, "finish_reason", json_string(rt_finish_name(a->finish)));
    json_object_set_new(root, "seed", json_integer((json_int_t)o->settings.sampler.seed));
    json_object_set_new(root, "n_prompt", json_integer((json_int_t)a->n_prompt));
    json_object_set_new(root, "n_generated", json_integer((json_int_t)a->ids.n));
    json_object_set_new(root, "n_drafted", json_integer((json_int_t)a->n_drafts));
    json_object_set_new(root, "n_accepted", json_integer((json_int_t)a->n_accepted));
    json_object_set_new(root, "prompt_s", tool_json_real(a->prompt_s));
    json_object_set_new(root, "ttft_s", tool_json_real(a->first_s));
    json_object_set_new(root, "generation_s", tool_json_real(a->generation_s));
    json_object_set_new(root, "repack_s", tool_json_real(a->repack_s));
    json_object_set_new(root, "prompt_per_s", tool_json_real(rate(a->n_prompt, a->prompt_s)));
    json_object_set_new(root, "generation_per_s", tool_json_real(rate(a->ids.n, a->generation_s)));
    tool_print_json(root);
}

void run_warn_context(tool *t, const rt_generator *g, uint64_t n_tokens, bool *warned) {
    uint32_t trained = rt_model_hparams(g->model)->n_ctx_train;
    if (*warned || n_tokens > rt_session_n_ctx(g->session)) return; /* refused */
    *warned = trained && n_tokens > trained;
    text_warn_context(t, trained, n_tokens);
}

void run_report(tool *t, const rt_generator *g, const rt_answer *a, bool *warned) {
    run_warn_context(t, g, rt_session_n_past(g->session), warned);
    if (a->n_shifted)
        tool_note(t, "the context was full: tokens dropped at its beginning: %" PRIu32,
                  a->n_shifted);
    if (a->context_full)
        tool_warn(t,
                  "the context of %" PRIu32 " tokens is full: the text ends here (--ctx N makes "
                  "it larger%s)",
                  rt_session_n_ctx(g->session),
                  !a->opts.shift && rt_model_can_shift(g->model)
                      ? ", --shift goes on without what is old"
                      : "");
    if (t->verbose)
        tool_note(
            t,
            "prompt %zu token%s (%zu from the cache) in %.2f s, answer %zu token%s in %.2f s (%s)",
            a->n_prompt, tool_s(a->n_prompt), a->n_reused, a->prompt_s, a->ids.n, tool_s(a->ids.n),
            a->generation_s, rt_finish_name(a->finish));
    if (t->verbose && a->n_drafts)
        tool_note(t, "drafts: %" PRIu64 " of %" PRIu64 " tokens came true", a->n_accepted,
                  a->n_drafts);
}

/* ---- completing -------------------------------------------------------------------------- */

static void show(void *ctx, gguf_str text, bool is_reasoning) {
    call_tools *tools = ctx;
    if (tools->tools && !is_reasoning)
        call_tools_put(tools, text);
    else
        run_print_part(text, is_reasoning, &tools->reasoning);
    if (ferror(stdout)) atomic_store(&tool_cancelled, true); /* nobody reads on */
}

/* What is completed: its ids, and the text that is shown in front of what follows. */
typedef struct prompt_text {
    rt_ids ids;
    char *echo; /* [n_echo], or NULL */
    size_t n_echo;
    call_tools tools;
} prompt_text;

/* The message's ids, behind a system message if there is one. */
static gguf_code message_ids(const run_opts *o, rt_conversation *c, const char *text, size_t n,
                             rt_ids *ids, gguf_error *err) {
    bool from_file = o->file || strcmp(o->prompt, "-") == 0;
    rt_conversation_add(c, "user", text, from_file && n && text[n - 1] == '\n' ? n - 1 : n);
    return rt_conversation_ids(c, ids, err);
}

/*   encodes  the text is read, and not continued */
static gguf_code make_prompt(tool *t, run_opts *o, const gguf_meta *meta, const rt_tokenizer *tok,
                             bool encodes, prompt_text *out, gguf_error *err) {
    char *text;
    size_t n;
    rt_conversation c;
    rt_ids *ids = &out->ids;
    gguf_code code = run_read_prompt(o, &text, &n, err);
    if (code) return code;
    if (o->chat) {
        code = conversation_open(&c, o, meta, tok, err);
        if (!code) code = call_tools_open(&out->tools, t, o, &c, err);
        if (!code) code = message_ids(o, &c, text, n, ids, err);
        if (!code && c.plain) {
            conversation_note_plain(t);
            o->stops[o->n_stops++] = RT_CONVERSATION_PLAIN_STOP;
        }
        rt_conversation_close(&c);
    } else {
        code = rt_tokenize(tok, text, n, run_tokenize_flags(o), ids, err);
        if (!code && !t->json && !o->file && ids->n && !encodes) {
            out->echo = text;
            out->n_echo = n;
            return GGUF_OK;
        }
    }
    free(text);
    return code;
}

static gguf_code check_prompt(const rt_session *session, const rt_model *model,
                              const rt_ids *prompt, gguf_error *err) {
    uint32_t n_ctx = rt_session_n_ctx(session);
    if (prompt->n <= n_ctx) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "the prompt takes %zu tokens, the context holds %" PRIu32
                     " (--ctx N; the model was trained with %" PRIu32 ")",
                     prompt->n, n_ctx, rt_model_hparams(model)->n_ctx_train);
}

/* A text that is continued has nothing that could be left out but what a shift drops. */
static gguf_code check_shift(const run_opts *o, const rt_model *model, const rt_session *session,
                             gguf_error *err) {
    uint32_t n_ctx = rt_session_n_ctx(session);
    if (!o->shift) return GGUF_OK;
    if (!rt_model_can_shift(model))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(rt_model_file(model)),
                         GGUF_NO_OFFSET, "--shift: the positions of this model cannot be shifted");
    if (n_ctx >= 2 * RT_PAGE_TOKENS) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "--shift needs a context of at least %d tokens, not %" PRIu32,
                     2 * RT_PAGE_TOKENS, n_ctx);
}

static gguf_code answer_prompt(tool *t, const run_opts *o, rt_model *model, const rt_tokenizer *tok,
                               prompt_text *p, gguf_error *err) {
    rt_ids *ids = &p->ids;
    bool encodes = rt_model_hparams(model)->n_encoder_layer;
    uint64_t needed = ids->n + encodes + (uint64_t)o->settings.n_predict;
    bool warned = false, open_end = o->settings.n_predict == RT_ANSWER_NO_LIMIT;
    uint32_t n_ctx = open_end || needed > UINT32_MAX ? run_chat_ctx(model) : (uint32_t)needed;
    rt_session_opts session_opts;
    rt_answer_opts opts = {.n_predict = o->settings.n_predict,
                           .stops = o->stops,
                           .n_stops = o->n_stops,
                           .show_special = o->show_special,
                           .trim = o->chat || encodes,
                           .grammar = o->grammar,
                           .shift = o->shift,
                           .cancel = &tool_cancelled,
                           .show = t->json && !p->tools.tools ? NULL : show,
                           .ctx = &p->tools};
    rt_session *session = NULL;
    rt_generator g = {0};
    rt_answer a = {0};
    draft_source drafts = {0};
    gguf_code code = run_answer_session(t, o, model, tok, n_ctx, &session_opts, &drafts, err);
    if (!code) code = device_opts_apply(&o->device, model, &session_opts, NULL, err);
    if (!code) code = rt_session_new(model, &session_opts, &session, err);
    if (!code)
        code =
            run_open_generator(&g, t, o, model, session, tok, &o->settings.sampler, &drafts, err);
    if (!code) run_warn_context(t, &g, ids->n, &warned);
    if (!code) code = check_prompt(session, model, ids, err);
    if (!code && needed > rt_session_n_ctx(session)) code = check_shift(o, model, session, err);
    run_print_begin();
    if (!code && p->echo) run_print_text((gguf_str){p->echo, p->n_echo});
    bool begun = !code && p->echo;
    size_t n_held = 0;
    double cache_s = 0;
    if (!code && o->prompt_cache) code = run_prompt_cache(o, &g, ids, &n_held, &cache_s, err);
    if (!code && encodes) code = rt_generator_read(&g, ids, err);
    call_tools_apply(&p->tools, &opts);
    if (!code && p->tools.tools) call_tools_begin(&p->tools, tok, ids, !t->json);
    if (!code) code = rt_generator_answer(&g, ids, &opts, &a, err);
    if (o->prompt_cache) { /* what was read for it is part of the prompt */
        a.n_reused = n_held;
        a.prompt_s += cache_s;
        a.first_s += cache_s;
    }
    if (!code && p->tools.tools) call_tools_end(&p->tools);
    if (!code && t->json) print_answer_json(o, &a, &p->tools);
    if (!t->json && (a.n_prompt || begun)) printf("\n");
    if (!code) run_report(t, &g, &a, &warned);
    /* What there is was printed; the status tells the rest. */
    if (!code && a.finish == RT_FINISH_INTERRUPTED && (t->ranks || !ferror(stdout)))
        code = GGUF_E_CANCELLED;
    rt_answer_clear(&a);
    rt_generator_clear(&g);
    rt_session_free(session);
    draft_close(&drafts);
    return code;
}

/* Who reads a terminal may have meant to ask. */
static void note_chat(tool *t, const run_opts *o, const gguf_meta *meta) {
    if (o->chat || t->json || !isatty(STDOUT_FILENO) ||
        !gguf_meta_find(meta, "tokenizer.chat_template"))
        return;
    tool_note(t, "the text is continued; the model has a chat template: --chat answers it");
}

gguf_code run_complete(tool *t, const run_opts *opts, rt_model *model, gguf_error *err) {
    const gguf_meta *meta = gguf_file_meta(rt_model_file(model));
    run_opts o = *opts;
    prompt_text p = {0};
    rt_tokenizer *tok = NULL;
    settings_of_model(&o.settings, meta);
    settings_warn_unused(t, &o.settings);
    note_chat(t, &o, meta);
    if (o.settings.n_predict == RT_ANSWER_NO_LIMIT && !o.chat)
        o.settings.n_predict = DEFAULT_PREDICT;
    gguf_code code = run_check_generates(model, err);
    if (!code) code = rt_tokenizer_new(meta, &tok, err);
    bool encodes = !code && rt_model_hparams(model)->n_encoder_layer;
    if (!code && o.chat) code = run_check_talks(model, err);
    if (!code) code = make_prompt(t, &o, meta, tok, encodes, &p, err);
    if (!code) code = answer_prompt(t, &o, model, tok, &p, err);
    rt_ids_clear(&p.ids);
    call_tools_clear(&p.tools);
    free(p.echo);
    rt_tokenizer_free(tok);
    return code;
}
