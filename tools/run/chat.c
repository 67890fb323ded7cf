/* The loop of a chat: a message in, an answer out. */
#include "tools/run/chat.h"
#include "tools/run/signals.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIN_PROGRESS 256 /* tokens of a prompt; shorter ones are read at once */

/* ---- answers ----------------------------------------------------------------------------- */

typedef struct display {
    chat *chat;
    bool at_line_start, progress_shown;
} display;

static void clear_progress(display *d) {
    if (d->progress_shown) fputs("\r\033[K", stderr);
    d->progress_shown = false;
}

static void show(void *ctx, gguf_str text, bool is_reasoning) {
    display *d = ctx;
    clear_progress(d);
    if (d->chat->tools.tools && !is_reasoning)
        call_tools_put(&d->chat->tools, text);
    else
        run_print_part(text, is_reasoning, &d->chat->tools.reasoning);
    if (ferror(stdout)) atomic_store(&signals_interrupted, true);
    d->at_line_start = text.ptr[text.len - 1] == '\n';
}

static void show_progress(void *ctx, size_t n_done, size_t n_total) {
    display *d = ctx;
    clear_progress(d);
    bool wanted = d->chat->terminal && d->chat->t->show_progress && !d->chat->t->log_json;
    if (!wanted || n_done == n_total || n_total < MIN_PROGRESS) return;
    fprintf(stderr, "reading: %zu of %zu tokens", n_done, n_total);
    fflush(stderr);
    d->progress_shown = true;
}

/* The prompt, with --shift without its oldest messages where it would take more than three quarters
 * of the context. */
static gguf_code prompt_ids(chat *c, rt_ids *ids, gguf_error *err) {
    rt_conversation *talk = &c->conversation;
    uint32_t n_ctx = rt_session_n_ctx(c->session);
    size_t left_out = talk->n_left_out;
    gguf_code code = c->o->shift ? rt_conversation_fit(talk, n_ctx, ids, err)
                                 : rt_conversation_ids(talk, ids, err);
    if (!code && talk->n_left_out > left_out)
        tool_note(c->t, "the model no longer sees the oldest message%s (%zu)",
                  tool_s(talk->n_left_out), talk->n_left_out);
    if (!code && ids->n >= n_ctx)
        code = gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "the conversation needs %zu tokens, the context holds %" PRIu32
                         ": /undo or /clear make room; --ctx N makes it larger%s (the model was "
                         "trained with %" PRIu32 ")",
                         ids->n, n_ctx, c->o->shift ? "" : ", --shift leaves out what is old",
                         rt_model_hparams(c->generator.model)->n_ctx_train);
    return code;
}

static gguf_code generate(chat *c, const rt_ids *prompt, gguf_error *err) {
    display d = {.chat = c, .at_line_start = true};
    rt_answer_opts opts = {.n_predict = c->settings.n_predict,
                           .stops = c->stops,
                           .n_stops = c->n_stops,
                           .show_special = c->o->show_special,
                           .trim = true,
                           .grammar = c->o->grammar,
                           .shift = c->o->shift,
                           .cancel = &signals_interrupted,
                           .show = show,
                           .progress = show_progress,
                           .ctx = &d};
    call_tools_apply(&c->tools, &opts);
    c->tools.reasoning = false;
    if (c->tools.tools) call_tools_begin(&c->tools, c->generator.tok, prompt, true);
    rt_answer_clear(&c->last);
    run_print_begin();
    run_warn_context(c->t, &c->generator, prompt->n, &c->warned_context);
    gguf_code code = rt_generator_answer(&c->generator, prompt, &opts, &c->last, err);
    clear_progress(&d);
    if (c->tools.tools) call_tools_end(&c->tools);
    c->answered = !code;
    if (!d.at_line_start || (!code && !c->terminal)) printf("\n");
    fflush(stdout);
    return code;
}

/* The calls join the message; their results come next. */
static void add_calls(chat *c) {
    rt_conversation_add_calls(&c->conversation, json_deep_copy(c->tools.calls));
    if (c->terminal)
        tool_note(c->t, "what you type next is the result of the call%s",
                  tool_s(json_array_size(c->tools.calls)));
}

gguf_code chat_answer(chat *c, gguf_error *err) {
    rt_ids ids = {0};
    signals_take();
    gguf_code code = prompt_ids(c, &ids, err);
    if (!code) code = generate(c, &ids, err);
    rt_ids_clear(&ids);
    if (code) return code;
    const gguf_dynbuf *text = c->tools.tools ? &c->tools.text : &c->last.text.said.text,
                      *reasoning = &c->last.text.thought.text;
    bool begun = c->last.finish != RT_FINISH_INTERRUPTED || text->len > 0 || c->tools.calls;
    if (begun)
        rt_conversation_add(&c->conversation, "assistant",
                            text->len ? (const char *)text->data : "", text->len);
    if (begun && c->tools.calls) add_calls(c);
    if (begun && reasoning->len)
        rt_conversation_add_reasoning(&c->conversation, (const char *)reasoning->data,
                                      reasoning->len);
    if (c->last.finish == RT_FINISH_INTERRUPTED && c->terminal) tool_note(c->t, "stopped");
    run_report(c->t, &c->generator, &c->last, &c->warned_context);
    bool interrupted = signals_take();
    if (ferror(stdout)) c->leave = true; /* nobody reads on */
    if (c->leave) return GGUF_OK;
    if (atomic_load(&tool_cancelled) || (interrupted && !c->terminal)) return GGUF_E_CANCELLED;
    return GGUF_OK;
}

/* ---- messages ---------------------------------------------------------------------------- */

static bool is_blank(const gguf_dynbuf *text) {
    for (size_t i = 0; i < text->len; i++)
        if (!strchr(" \t\r\n", text->data[i]) || text->data[i] == '\0') return false;
    return true;
}

/* The call whose result comes next: of the last message of the assistant, behind which stand the
 * results of those before it. NULL: none is wanted. */
static const json_t *open_call(const chat *c) {
    const json_t *messages = c->conversation.messages, *message = NULL;
    size_t i = json_array_size(messages), n_results = 0;
    for (; i-- > 0; n_results++) {
        message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        if (!role || strcmp(role, "tool") != 0) break;
    }
    return json_array_get(json_object_get(message, "tool_calls"), n_results);
}

/* Behind the last result the model goes on. What got no answer was not said. */
static gguf_code take_result(chat *c, const json_t *call, const char *text, size_t n,
                             gguf_error *err) {
    rt_conversation *talk = &c->conversation;
    rt_conversation_add(talk, "tool", text, n);
    rt_conversation_set_call(talk, call);
    if (open_call(c)) return GGUF_OK;
    gguf_code code = chat_answer(c, err);
    if (rt_conversation_last_is(talk, "tool")) rt_conversation_drop_last(talk);
    return code;
}

static gguf_code take_message(chat *c, const gguf_dynbuf *message, gguf_error *err) {
    const char *text = (const char *)message->data;
    size_t n = message->len;
    if (is_blank(message)) return GGUF_OK;
    if (text[0] == '/' && text[1] != '/') return chat_command(c, text, err);
    if (text[0] == '/') text++, n--;
    const json_t *call = c->tools.tools ? open_call(c) : NULL;
    if (call) return take_result(c, call, text, n, err);
    rt_conversation_add(&c->conversation, "user", text, n);
    gguf_code code = chat_answer(c, err);
    /* What got no answer was not said. */
    if (!rt_conversation_last_is(&c->conversation, "assistant"))
        rt_conversation_drop_last(&c->conversation);
    return code;
}

/* Ctrl-C at the prompt: the second one in a row leaves. */
static gguf_code interrupted_prompt(chat *c, unsigned *n_in_a_row) {
    signals_take();
    if (c->terminal) printf("\n");
    *n_in_a_row = input_was_typing(c->input) ? 0 : *n_in_a_row + 1;
    if (!c->terminal || *n_in_a_row == 2 || atomic_load(&tool_cancelled)) return GGUF_E_CANCELLED;
    if (*n_in_a_row == 1) tool_note(c->t, "Ctrl-C again leaves, as does Ctrl-D or /exit");
    return GGUF_OK;
}

static gguf_code talk(chat *c, gguf_error *err) {
    gguf_dynbuf message;
    gguf_code code = GGUF_OK;
    unsigned n_interrupts = 0;
    gguf_dynbuf_init(&message, INPUT_MAX_BYTES);
    while (!c->leave && !code) {
        input_status status = input_read(c->input, &message);
        gguf_error own = {0};
        if (status == INPUT_END) {
            if (c->terminal) printf("\n");
            break;
        }
        if (status == INPUT_INTERRUPTED) {
            code = interrupted_prompt(c, &n_interrupts);
            continue;
        }
        n_interrupts = 0;
        code = status == INPUT_FAILED
                   ? gguf_fail(&own, message.code, NULL, GGUF_NO_OFFSET,
                               "a message may have %zu MiB at most", INPUT_MAX_BYTES >> 20)
                   : take_message(c, &message, &own);
        if (code && own.code && c->terminal && status != INPUT_FAILED) {
            tool_print_error(c->t, &own);
            code = GGUF_OK;
        } else if (code && own.code) {
            *err = own;
        }
    }
    gguf_dynbuf_clear(&message);
    return code;
}

/* ---- opening ----------------------------------------------------------------------------- */

/* $XDG_STATE_HOME/ggufkit/history, its folder made; false: there is no place for it. */
static bool history_file(char *path, size_t room) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (state && *state == '/')
        n = snprintf(path, room, "%s/ggufkit/history", state);
    else if (home && *home == '/')
        n = snprintf(path, room, "%s/.local/state/ggufkit/history", home);
    if (n < 0 || (size_t)n >= room) return false;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool there = mkdir(path, 0700) == 0 || errno == EEXIST;
        *slash = '/';
        if (!there) return false;
    }
    return true;
}

static void greet(chat *c, const rt_model *model) {
    gguf_str name;
    char text[128] = "the model";
    if (gguf_kv_str(gguf_meta_find(gguf_file_meta(rt_model_file(model)), "general.name"), &name))
        tool_escape(name.ptr, name.len, text, sizeof text);
    if (c->conversation.plain) conversation_note_plain(c->t);
    if (!c->terminal) return;
    tool_note(c->t, "%s, context of %" PRIu32 " tokens; /help lists the commands, Ctrl-D leaves",
              text, rt_session_n_ctx(c->session));
    uint32_t n_ctx_train = rt_model_hparams(model)->n_ctx_train;
    if (c->o->n_ctx > n_ctx_train && n_ctx_train)
        tool_warn(c->t, "the model was trained with a context of %" PRIu32 " tokens", n_ctx_train);
}

static gguf_code open_chat(chat *c, rt_model *model, const rt_tokenizer *tok, gguf_error *err) {
    const gguf_meta *meta = gguf_file_meta(rt_model_file(model));
    rt_session_opts session;
    char history[4096];
    settings_of_model(&c->settings, meta);
    gguf_code code = conversation_open(&c->conversation, c->o, meta, tok, err);
    if (!code)
        code = run_answer_session(c->t, c->o, model, tok, run_chat_ctx(model), &session, &c->drafts,
                                  err);
    session.cancel = c->drafts.session.cancel = &signals_interrupted;
    if (!code) code = call_tools_open(&c->tools, c->t, c->o, &c->conversation, err);
    if (!code) code = device_opts_apply(&c->o->device, model, &session, NULL, err);
    if (!code) code = rt_session_new(model, &session, &c->session, err);
    if (!code)
        code = run_open_generator(&c->generator, c->t, c->o, model, c->session, tok,
                                  &c->settings.sampler, &c->drafts, err);
    if (code) return code;
    memcpy(c->stops, c->o->stops, sizeof c->stops);
    c->n_stops = c->o->n_stops;
    if (c->conversation.plain) c->stops[c->n_stops++] = RT_CONVERSATION_PLAIN_STOP;
    bool keep = c->terminal && !c->o->no_history && history_file(history, sizeof history);
    c->input = input_open(c->terminal, keep ? history : NULL, chat_commands);
    if (!c->input || !signals_start()) return gguf_fail_memory(err);
    if (atomic_load(&tool_cancelled)) return GGUF_E_CANCELLED; /* while loading */
    greet(c, model);
    return GGUF_OK;
}

gguf_code run_chat(tool *t, const run_opts *o, rt_model *model, gguf_error *err) {
    chat c = {.t = t, .o = o, .settings = o->settings};
    rt_tokenizer *tok = NULL;
    c.terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    gguf_code code = run_check_generates(model, err);
    if (!code) code = run_check_talks(model, err);
    if (!code) code = rt_tokenizer_new(gguf_file_meta(rt_model_file(model)), &tok, err);
    if (!code) code = open_chat(&c, model, tok, err);
    if (!code) code = talk(&c, err);
    rt_answer_clear(&c.last);
    call_tools_clear(&c.tools);
    input_close(c.input);
    rt_generator_clear(&c.generator);
    rt_session_free(c.session);
    draft_close(&c.drafts);
    rt_conversation_close(&c.conversation);
    rt_tokenizer_free(tok);
    return code;
}
