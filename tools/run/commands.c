/* The commands of a chat. */
#include "libgguf/near.h"
#include "tools/run/chat.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef gguf_code (*command_fn)(chat *c, const char *arg, gguf_error *err);

static gguf_code usage(gguf_error *err, const char *what) {
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s", what);
}

static gguf_code do_clear(chat *c, const char *arg, gguf_error *err) {
    (void)arg, (void)err;
    rt_conversation_clear(&c->conversation);
    tool_note(c->t, "the conversation is empty");
    return GGUF_OK;
}

static gguf_code do_system(chat *c, const char *arg, gguf_error *err) {
    (void)err;
    const char *now = rt_conversation_system(&c->conversation);
    if (*arg)
        rt_conversation_set_system(&c->conversation, strcmp(arg, "-") == 0 ? NULL : arg);
    else
        printf("%s\n", now ? now : "(no system message)");
    return GGUF_OK;
}

static gguf_code do_regen(chat *c, const char *arg, gguf_error *err) {
    (void)arg;
    rt_conversation *talk = &c->conversation;
    if (rt_conversation_last_is(talk, "assistant")) rt_conversation_drop_last(talk);
    if (!rt_conversation_last_is(talk, "user") && !rt_conversation_last_is(talk, "tool"))
        return usage(err, "there is no message to answer");
    return chat_answer(c, err);
}

static gguf_code do_undo(chat *c, const char *arg, gguf_error *err) {
    rt_conversation *talk = &c->conversation;
    (void)arg;
    if (!rt_conversation_undo(talk)) return usage(err, "there is nothing to take back");
    tool_note(c->t, "the last exchange is taken back; messages left: %zu", rt_conversation_n(talk));
    return GGUF_OK;
}

static gguf_code do_save(chat *c, const char *arg, gguf_error *err) {
    bool replace = c->t->force || strncmp(arg, "-f ", 3) == 0;
    if (strncmp(arg, "-f ", 3) == 0) arg += 3;
    while (*arg == ' ') arg++;
    if (!*arg) return usage(err, "/save takes a file (-f FILE replaces it)");
    gguf_error own = {0};
    gguf_code code = conversation_save(&c->conversation, arg, replace, &own);
    if (code == GGUF_E_EXISTS)
        return gguf_fail(err, code, arg, GGUF_NO_OFFSET, "the file exists; /save -f replaces it");
    if (code) *err = own;
    size_t n = rt_conversation_n(&c->conversation);
    if (!code) tool_note(c->t, "%zu message%s in %s", n, tool_s(n), arg);
    return code;
}

static gguf_code do_load(chat *c, const char *arg, gguf_error *err) {
    if (!*arg) return usage(err, "/load takes a file");
    gguf_code code = conversation_load(&c->conversation, arg, err);
    size_t n = rt_conversation_n(&c->conversation);
    if (!code) tool_note(c->t, "%zu message%s from %s", n, tool_s(n), arg);
    return code;
}

static gguf_code do_set(chat *c, const char *arg, gguf_error *err) {
    char name[32] = "";
    settings changed = c->settings;
    size_t n = strcspn(arg, " =");
    const char *value = arg + n + strspn(arg + n, " =");
    bool known;
    if (!*arg) {
        settings_print(&c->settings);
        return GGUF_OK;
    }
    snprintf(name, sizeof name, "%.*s", (int)n, arg);
    gguf_code code = settings_set(&changed, name, name, value, &known, err);
    if (!code && !known) code = settings_fail_name(name, err);
    if (!code) code = rt_generator_set_sampler(&c->generator, &changed.sampler, err);
    if (!code) c->settings = changed;
    return code;
}

static gguf_code do_stats(chat *c, const char *arg, gguf_error *err) {
    const rt_answer *a = &c->last;
    const rt_session *session = c->session;
    (void)arg, (void)err;
    if (c->answered) {
        size_t n_new = a->n_prompt - a->n_reused;
        printf("prompt          %zu token%s, %zu of them from the cache\n", a->n_prompt,
               tool_s(a->n_prompt), a->n_reused);
        if (a->first_s > 0)
            printf("first token     %.2f s (%.1f tokens/s)\n", a->first_s,
                   (double)n_new / a->prompt_s);
        printf("answer          %zu token%s", a->ids.n, tool_s(a->ids.n));
        if (a->generation_s > 0) printf(" (%.1f tokens/s)", (double)a->ids.n / a->generation_s);
        printf("; %s\n", rt_finish_name(a->finish));
    }
    printf("context         %" PRIu32 " of %" PRIu32 " tokens used\n", rt_session_n_past(session),
           rt_session_n_ctx(session));
    size_t n = rt_conversation_n(&c->conversation);
    printf("conversation    %zu message%s\n", n, tool_s(n));
    return GGUF_OK;
}

static gguf_code do_exit(chat *c, const char *arg, gguf_error *err) {
    (void)arg, (void)err;
    c->leave = true;
    return GGUF_OK;
}

static gguf_code do_help(chat *c, const char *arg, gguf_error *err);

static const struct {
    const char *name, *arg, *help;
    command_fn run;
} table[] = {
    {"help", "", "show this list", do_help},
    {"clear", "", "start a new conversation with the same system message", do_clear},
    {"system", "[TEXT]", "show or set the system message; - removes it", do_system},
    {"regen", "", "answer the last message again", do_regen},
    {"undo", "", "take back the last message and its answer", do_undo},
    {"save", "[-f] FILE", "write the messages as JSON; -f replaces a file", do_save},
    {"load", "FILE", "go on with saved messages", do_load},
    {"set", "[NAME VALUE]", "show or change temp, top-k, top-p, min-p, seed, n ...", do_set},
    {"stats", "", "tokens, times and context of the last answer", do_stats},
    {"exit", "", "leave (also /bye and Ctrl-D)", do_exit},
};

/* What users of other programs type. */
static const struct {
    const char *word, *name;
} spellings[] = {{"bye", "exit"}, {"quit", "exit"}, {"?", "help"}, {"reset", "clear"}};

#define N_COMMANDS (sizeof table / sizeof table[0])

const char *const chat_commands[] = {"/help", "/clear", "/system", "/regen", "/undo", "/save",
                                     "/load", "/set",   "/stats",  "/exit",  NULL};

static gguf_code do_help(chat *c, const char *arg, gguf_error *err) {
    (void)c, (void)arg, (void)err;
    for (size_t i = 0; i < N_COMMANDS; i++)
        printf("/%-7s %-13s %s\n", table[i].name, table[i].arg, table[i].help);
    printf(
        "\n\\ at the end of a line goes on in the next one; \"\"\" begins and ends a message of\n"
        "several lines; // begins a message with a slash. Ctrl-C stops an answer.\n");
    return GGUF_OK;
}

static gguf_code fail_command(const char *name, size_t n, gguf_error *err) {
    char word[41], hint[160];
    snprintf(word, sizeof word, "/%.*s", n > 39 ? 39 : (int)n, name);
    gguf_near near = {.wanted = word};
    for (size_t i = 0; chat_commands[i]; i++) gguf_near_add(&near, chat_commands[i]);
    gguf_near_hint(&near, hint, sizeof hint);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "unknown command %s%s (/help lists them, // begins a message with a slash)",
                     word, hint);
}

gguf_code chat_command(chat *c, const char *line, gguf_error *err) {
    size_t n = strcspn(line + 1, " \t\n");
    const char *name = line + 1, *arg = name + n;
    while (isspace((unsigned char)*arg)) arg++;
    size_t arg_len = strlen(arg);
    while (arg_len && isspace((unsigned char)arg[arg_len - 1])) arg_len--;
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        if (strlen(spellings[i].word) != n || strncmp(spellings[i].word, name, n) != 0) continue;
        name = spellings[i].name;
        n = strlen(name);
    }
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strlen(table[i].name) != n || strncmp(table[i].name, name, n) != 0) continue;
        if (!*table[i].arg && arg_len)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "/%s takes no argument",
                             table[i].name);
        char *own = strndup(arg, arg_len);
        if (!own) return gguf_fail_memory(err);
        gguf_code code = table[i].run(c, own, err);
        free(own);
        fflush(stdout);
        return code;
    }
    return fail_command(name, n, err);
}
