/* Start and end of every command. */
#include "tools/common/tool.h"
#include "libgguf/gguf.h"
#include "libgguf/inputs.h"
#include "libgguf/near.h"
#include "quant/kernels/cpu.h"
#include "runtime/pull/model_name.h"
#include "tools/common/columns.h"
#include "tools/common/completion.h"
#include "tools/common/help.h"
#include "tools/common/man_page.h"
#include "tools/common/pager.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MAX_OPTIONS 128

enum {
    OPT_VERSION = 1000,
    OPT_PROGRESS,
    OPT_JSON,
    OPT_LOG_JSON,
    OPT_FORCE,
    OPT_COMPLETION,
    OPT_MAN_PAGE
};

static const tool_option common_options[] = {
    {'h', "help", NULL, "show this help"},
    {OPT_VERSION, "version", NULL, "show the version"},
    {'q', "quiet", NULL, "no notes and no progress"},
    {'v', "verbose", NULL, "say more"},
    {'t', "threads", "N", "threads (default: the usable physical cores)"},
    {OPT_PROGRESS, "progress", "WHEN", "auto, always or never (auto: on a terminal)"},
    {OPT_JSON, "json", NULL, "print the result as one JSON document"},
    {OPT_LOG_JSON, "log-json", NULL, "messages and progress as JSON, one object a line"},
    {OPT_FORCE, "force", NULL, "replace an existing output, unless it is read"},
    {OPT_COMPLETION, "completion", "SHELL", "print the completion script for bash, zsh or fish"},
    {OPT_MAN_PAGE, "man-page", NULL, "print the manual page, for man -l"},
    {0},
};

atomic_bool tool_cancelled;

/* The first signal asks for an orderly end, the second ends at once. */
static void on_signal(int number) {
    (void)number;
    if (atomic_exchange(&tool_cancelled, true)) _exit(130);
}

/* Without SA_RESTART: a text that is waited for is not waited for any longer. */
static void handle(int number) {
    const struct sigaction action = {.sa_handler = on_signal};
    struct sigaction before = {0};
    sigaction(number, NULL, &before);
    bool ignored = number == SIGHUP && before.sa_handler == SIG_IGN; /* by nohup */
    if (!ignored) sigaction(number, &action, NULL);
}

double tool_now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double tool_elapsed_s(const tool *t) {
    return tool_now_s() - t->started_s;
}

/* ---- parsing ----------------------------------------------------------------------------- */

typedef struct getopt_table {
    struct option longs[MAX_OPTIONS];
    char shorts[2 * MAX_OPTIONS + 2];
    size_t n;
} getopt_table;

static void add_options(getopt_table *table, const tool_option *options) {
    for (const tool_option *o = options; o->name && table->n + 1 < MAX_OPTIONS; o++) {
        if (*o->name == '-') continue; /* rewritten before */
        table->longs[table->n++] =
            (struct option){o->name, o->arg ? required_argument : no_argument, NULL, o->id};
        size_t len = strlen(table->shorts);
        if (o->id < TOOL_LONG_ONLY)
            snprintf(table->shorts + len, sizeof table->shorts - len, "%c%s", o->id,
                     o->arg ? ":" : "");
    }
}

static gguf_code set_progress(tool *t, const char *when, gguf_error *err) {
    if (strcmp(when, "always") == 0)
        t->show_progress = true;
    else if (strcmp(when, "never") == 0)
        t->show_progress = false;
    else if (strcmp(when, "auto") != 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--progress takes auto, always or never, not '%s'", when);
    return GGUF_OK;
}

/* An option was given; the file that it names, if it is one to read, no output may replace. */
static void note_given(tool *t, int id, const char *arg) {
    const char *reads = t->spec->reads ? t->spec->reads : "";
    for (size_t i = 0; t->spec->options[i].name && t->spec->options[i].help; i++) {
        if (t->spec->options[i].id != id) continue;
        t->given |= UINT64_C(1) << i;
        if (arg && tool_has_word(reads, t->spec->options[i].name)) gguf_inputs_add(arg);
    }
}

static gguf_code set_option(tool *t, int id, const char *arg, gguf_error *err) {
    bool own = tool_row_of(t->spec->options, id) != NULL; /* of a row that is common otherwise */
    switch (own ? 0 : id) {
    case 'q':
        t->quiet = true;
        return GGUF_OK;
    case 'v':
        t->verbose = true;
        return GGUF_OK;
    case 't':
        return tool_parse_u32("--threads", arg, 1, 1024, &t->n_threads, err);
    case OPT_PROGRESS:
        return set_progress(t, arg, err);
    case OPT_JSON:
        t->json = true;
        return GGUF_OK;
    case OPT_LOG_JSON:
        t->log_json = true;
        return GGUF_OK;
    case OPT_FORCE:
        t->force = true;
        return GGUF_OK;
    default:
        note_given(t, id, arg);
        return t->spec->set(t->spec->ctx, id, arg, err);
    }
}

gguf_code tool_takes_only(const tool *t, const char *what, const char *takes, gguf_error *err) {
    for (size_t i = 0; t->spec->options[i].name && t->spec->options[i].help; i++) {
        const char *name = t->spec->options[i].name;
        if ((t->given >> i & 1) && !tool_has_word(takes, name))
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "%s takes no option '--%s' (see --help)", what, name);
    }
    return GGUF_OK;
}

gguf_code tool_refuse(const tool *t, const char *names, const char *why, gguf_error *err) {
    for (size_t i = 0; t->spec->options[i].name && t->spec->options[i].help; i++) {
        const char *name = t->spec->options[i].name;
        if ((t->given >> i & 1) && tool_has_word(names, name))
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "--%s %s", name, why);
    }
    return GGUF_OK;
}

gguf_code tool_fail_verb(const tool *t, const char *what, gguf_error *err) {
    gguf_near near = {.wanted = t->args[0]};
    char hint[160];
    for (const tool_verb *v = t->spec->verbs; v->name; v++) gguf_near_add(&near, v->name);
    gguf_near_hint(&near, hint, sizeof hint);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "unknown %s '%s'%s (see --help)",
                     what, t->args[0], hint);
}

size_t tool_find_verb(const tool_verb *verbs, const char *word) {
    size_t i = 0;
    while (verbs[i].name && strcmp(verbs[i].name, word) != 0) i++;
    return i;
}

gguf_code tool_fail_verb_args(const tool *t, const tool_verb *verb, gguf_error *err) {
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "expected %s%s%s (see %s %s --help)",
                     verb->name, *verb->args ? " " : " alone", verb->args, t->spec->name,
                     verb->name);
}

gguf_code tool_fail_usage(const tool *t, const char *expected, gguf_error *err) {
    const char *example = t->spec->examples, *end = example;
    if (t->n_args || t->given || !example)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "expected %s (see --help)",
                         expected);
    while (*end && *end != '\n' && strncmp(end, "  ", 2) != 0)
        end++; /* the comment is behind blanks */
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "expected %s, as in '%s %.*s' (see --help)", expected, t->spec->name,
                     (int)(end - example), example);
}

/* ---- other spellings ------------------------------------------------------------------------ */

static const tool_option *letter_row(const tool_spec *spec, char letter) {
    for (const tool_option *o = spec->options; o->name; o++)
        if (o->id == letter) return o;
    for (const tool_option *o = common_options; o->name; o++)
        if (o->id == letter) return o;
    return NULL;
}

/* The row that a word names, dashes included; exactly, or by its beginning. */
static const tool_option *word_row(const tool_spec *spec, const char *word) {
    const tool_option *const tables[] = {spec->options, common_options};
    size_t n = strlen(word);
    for (int whole = 1; whole >= 0; whole--)
        for (size_t i = 0; i < 2; i++)
            for (const tool_option *o = tables[i]; o->name; o++) {
                char name[48];
                snprintf(name, sizeof name, "%s%s", *o->name == '-' ? "" : "--", o->name);
                if (whole ? strcmp(name, word) == 0 : n > 2 && strncmp(name, word, n) == 0)
                    return o;
            }
    return NULL;
}

/* Whether the next word is an option's argument. */
static bool takes_next(const tool_spec *spec, const char *word) {
    if (*word != '-' || !word[1] || strchr(word, '=')) return false;
    const tool_option *row = word_row(spec, word);
    if (row || word[1] == '-') return row && row->arg;
    for (const char *c = word + 1; *c; c++) {
        row = letter_row(spec, *c);
        if (row && row->arg) return !c[1];
    }
    return false;
}

/* --model=MODEL */
static bool is_model_with_value(const tool_spec *spec, const char *word) {
    char name[48];
    const char *equals = strchr(word, '=');
    if (!equals || (size_t)(equals - word) >= sizeof name) return false;
    snprintf(name, sizeof name, "%.*s", (int)(equals - word), word);
    const tool_option *row = word_row(spec, name);
    return row && row->id == TOOL_MODEL_ID;
}

/* Rewrite spellings with one dash to the usual ones, and drop those before a model, which becomes a
 * plain argument. argv[*argc] stays NULL. */
static gguf_code use_usual_spellings(const tool_spec *spec, int *argc, char **argv,
                                     gguf_error *err) {
    static char names[MAX_OPTIONS][48];
    int n = 1;
    bool is_argument = false, ended = false;
    for (int i = 1; i < *argc; i++) {
        char *word = argv[i];
        bool plain = is_argument || ended;
        ended |= !is_argument && strcmp(word, "--") == 0;
        is_argument = !plain && takes_next(spec, word);
        const tool_option *row = plain ? NULL : word_row(spec, word);
        if (row && row->id == TOOL_MODEL_ID) {
            if (!argv[i + 1])
                return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                                 "option '%s' needs an argument (see --help)", word);
            continue;
        }
        if (!plain && is_model_with_value(spec, word)) word = strchr(word, '=') + 1;
        if (row && *row->name == '-') {
            char *name = names[row - spec->options];
            snprintf(name, sizeof names[0], "--%s", tool_row_of(spec->options, row->id)->name);
            word = name;
        }
        argv[n++] = word;
    }
    argv[n] = NULL;
    *argc = n;
    return GGUF_OK;
}

/* An option that is not known; "--te" may stand for several that are. */
static gguf_code fail_unknown(const getopt_table *table, const char *word, gguf_error *err) {
    char names[MAX_OPTIONS][40], hint[160], wanted[64];
    snprintf(wanted, sizeof wanted, "%.*s", (int)strcspn(word, "="), word);
    gguf_near near = {.wanted = wanted};
    size_t n_begin = 0;
    for (size_t i = 0; i < table->n; i++) {
        snprintf(names[i], sizeof names[i], "--%s", table->longs[i].name);
        n_begin += strncmp(names[i], wanted, strlen(wanted)) == 0;
        gguf_near_add(&near, names[i]);
    }
    gguf_near_hint(&near, hint, sizeof hint);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s option '%s'%s (see --help)",
                     n_begin > 1 ? "ambiguous" : "unknown", word, hint);
}

static gguf_code fail_option(const getopt_table *table, char **argv, bool needs_argument,
                             gguf_error *err) {
    const char *word = argv[optind - 1];
    char letter[3] = {'-', (char)optopt, '\0'};
    bool is_short = optopt && !needs_argument && strchr(table->shorts, optopt) == NULL;
    if (needs_argument)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "option '%s' needs an argument (see --help)", word ? word : "");
    if (is_short && optopt < TOOL_LONG_ONLY)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "unknown option '%s' (see --help)", letter);
    if (optopt)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "option '%s' takes no argument (see --help)", word);
    return fail_unknown(table, word ? word : "", err);
}

/* A model may have more files than the usual number of descriptors. */
static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- ranks ------------------------------------------------------------------------------- */

/* Several processes do one command's work, and say it once: what the others print is the same. */
static gguf_code join_ranks(tool *t, gguf_error *err) {
    gguf_code code = gguf_ranks_join(&tool_cancelled, &t->ranks, err);
    if (code || !t->ranks) return code;
    if (gguf_ranks_own(t->ranks) > 0 && !freopen("/dev/null", "w", stdout))
        return gguf_fail(err, GGUF_E_IO, "/dev/null", GGUF_NO_OFFSET, "cannot open: %s",
                         strerror(errno));
    if (t->spec->shares) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "this command's work is not shared; start it without the launcher of %u "
                     "processes",
                     gguf_ranks_n(t->ranks));
}

/* A file that is opened must not become the standard output or error that somebody closed: what is
 * printed would go into it. Writing there fails as before. */
static void hold_standard_files(void) {
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0) return;
}

bool tool_start(tool *t, const tool_spec *spec, int argc, char **argv, int *status) {
    getopt_table table = {.shorts = ":"};
    gguf_error err = {0};
    *t = (tool){.spec = spec, .started_s = tool_now_s(), .on_terminal = isatty(STDERR_FILENO)};
    t->show_progress = t->on_terminal;
    hold_standard_files();
    gguf_inputs_watch();
    add_options(&table, spec->options);
    add_options(&table, common_options);
    *status = 0;
    /* They decide how errors look, also those of the command line itself. */
    for (int i = 1; i < argc; i++) {
        t->json = t->json || strcmp(argv[i], "--json") == 0;
        t->log_json = t->log_json || strcmp(argv[i], "--log-json") == 0;
    }
    opterr = 0;
    gguf_code begun = join_ranks(t, &err);
    if (!begun) begun = use_usual_spellings(spec, &argc, argv, &err);
    if (begun) {
        *status = tool_end(t, begun, &err);
        return false;
    }
    for (int id; (id = getopt_long(argc, argv, table.shorts, table.longs, NULL)) != -1;) {
        if (id == 'h') {
            tool_print_help(spec, tool_verb_asked(spec, argv), common_options);
            *status = tool_end(t, GGUF_OK, NULL);
            return false;
        }
        if (id == OPT_VERSION) {
            printf("%s (ggufkit) %s\n", spec->name, GGUFKIT_VERSION);
            *status = tool_end(t, GGUF_OK, NULL);
            return false;
        }
        if (id == OPT_COMPLETION) {
            *status = tool_end(t, tool_print_completion(spec, common_options, optarg, &err), &err);
            return false;
        }
        if (id == OPT_MAN_PAGE) {
            tool_print_man_page(spec, common_options);
            *status = tool_end(t, GGUF_OK, NULL);
            return false;
        }
        gguf_code code = id == '?' || id == ':' ? fail_option(&table, argv, id == ':', &err)
                                                : set_option(t, id, optarg, &err);
        if (code) {
            *status = tool_end(t, code, &err);
            return false;
        }
    }
    gguf_code code = quant_isa_check(&err);
    if (code) {
        *status = tool_end(t, code, &err);
        return false;
    }
    t->args = argv + optind;
    t->n_args = argc - optind;
    if (t->quiet || !tool_prints(t)) t->show_progress = false;
    for (int i = 0; i < t->n_args; i++)
        if (i + 1 != spec->output_arg) gguf_inputs_add(t->args[i]);
    raise_file_limit();
    handle(SIGINT);
    handle(SIGTERM);
    handle(SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return true;
}

/* ---- ending ------------------------------------------------------------------------------ */

static void print_json_error(const gguf_error *err) {
    json_t *error = json_object();
    json_object_set_new(error, "code", json_string(gguf_code_name(err->code)));
    json_object_set_new(error, "file",
                        err->file[0] ? tool_json_bytes(err->file, strlen(err->file)) : json_null());
    json_object_set_new(error, "offset",
                        err->offset == GGUF_NO_OFFSET ? json_null() : json_integer(err->offset));
    json_object_set_new(error, "message", tool_json_bytes(err->message, strlen(err->message)));
    tool_print_json(json_pack("{s:o}", "error", error));
}

static bool is_model_folder(const char *path) {
    char config[1200];
    snprintf(config, sizeof config, "%.1100s/config.json", path);
    return access(config, F_OK) == 0;
}

/* In place of a file a model's name, in a command that takes none, or a folder to convert. */
static void add_hint(const tool *t, gguf_error *err) {
    size_t n = strlen(err->message);
    char *end = err->message + n;
    if (err->code != GGUF_E_IO || strcmp(t->spec->name, "gguf-pull") == 0) return;
    for (int i = 0; i < t->n_args; i++) {
        const char *arg = t->args[i];
        if (strcmp(arg, err->file) != 0) continue;
        if (rt_name_is_remote(arg))
            snprintf(end, sizeof err->message - n,
                     "; 'gguf-pull %.200s' fetches a model and prints its path", arg);
        else if (is_model_folder(arg))
            snprintf(end, sizeof err->message - n,
                     "; 'gguf-convert %.200s -o OUT.gguf' makes one of it", arg);
    }
}

int tool_end(tool *t, gguf_code code, const gguf_error *err) {
    gguf_error shown = err ? *err : (gguf_error){0};
    tool_progress_end(t);
    code = gguf_ranks_agree(t->ranks, code, &shown);
    if (code && shown.code) {
        add_hint(t, &shown);
        tool_print_error(t, &shown);
        if (t->json) print_json_error(&shown);
    }
    gguf_ranks_leave(t->ranks);
    t->ranks = NULL;
    bool flushed = fflush(stdout) == 0;
    bool left = !flushed && errno == EPIPE;
    /* A reader may leave a pager or a pipe early. */
    if (!tool_page_end() && !flushed && !left && !code) {
        gguf_error own = {0};
        gguf_fail(&own, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "cannot write to standard output: %s",
                  strerror(errno));
        tool_print_error(t, &own);
        return gguf_code_exit_status(GGUF_E_IO);
    }
    return gguf_code_exit_status(code);
}

int tool_main(const tool_spec *spec, int argc, char **argv) {
    tool t;
    int status;
    gguf_error err = {0};
    if (!tool_start(&t, spec, argc, argv, &status)) return status;
    gguf_code code = spec->run(&t, spec->ctx, &err);
    return tool_end(&t, code, &err);
}
