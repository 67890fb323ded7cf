/* What every command shares: option table, error line, exit status, signals, progress, JSON output.
 */
#ifndef TOOLS_COMMON_TOOL_H
#define TOOLS_COMMON_TOOL_H

#include "libgguf/error.h"
#include "libgguf/json.h"
#include "libgguf/ranks.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One row of a command's option table, which takes the place of a common one with its id. A letter
 * as id is the short form too. Rows without a help
 * text come last and are other spellings of the row with their id, as users of other programs know
 * them; one with a dash at its beginning ("-ngl") is a long option with one dash. */
typedef struct tool_option {
    int id;
    const char *name; /* without the dashes */
    const char *arg;  /* name of the argument; NULL = a flag */
    const char *help; /* NULL: another spelling */
} tool_option;

/* A heading of the help, which begins before the option with this name. */
typedef struct tool_group {
    const char *first, *heading;
} tool_group;

/* A first word that says what is done. */
typedef struct tool_verb {
    const char *name;
    const char *args;    /* what stands behind it, as in a usage; "" = nothing */
    const char *takes;   /* long names of its options; NULL = it is one of the command's subs */
    const char *summary; /* one sentence */
} tool_verb;

/* The id of spellings after which the model stands that is otherwise a plain argument. */
#define TOOL_MODEL_ID 4000
#define TOOL_MODEL_SPELLINGS                                                           \
    {TOOL_MODEL_ID, "-m", "MODEL", NULL}, {TOOL_MODEL_ID, "model", "MODEL", NULL},     \
        {TOOL_MODEL_ID, "-hf", "NAME", NULL}, {TOOL_MODEL_ID, "-hfr", "NAME", NULL}, { \
        TOOL_MODEL_ID, "hf-repo", "NAME", NULL                                         \
    }

/* The same for the length and the type of a cache, whose options have these ids. */
#define TOOL_CONTEXT_SPELLINGS(ctx, kv_type)                                                       \
    {(ctx), "-c", "N", NULL}, {(ctx), "ctx-size", "N", NULL}, {(kv_type), "-ctk", "TYPE", NULL}, { \
        (kv_type), "cache-type-k", "TYPE", NULL                                                    \
    }

#define TOOL_LONG_ONLY 256 /* ids from here on have no short form */

/* Take one option into ctx. Errors: GGUF_E_USAGE. */
typedef gguf_code (*tool_set_fn)(void *ctx, int id, const char *arg, gguf_error *err);

typedef struct tool tool;

/* Do the command's work once the options are set. */
typedef gguf_code (*tool_run_fn)(tool *t, void *ctx, gguf_error *err);

typedef struct tool_spec {
    const char *name;           /* "gguf-convert" */
    const char *usage;          /* lines behind "usage: ", separated by newlines; those of verbs
                                   follow by themselves */
    const char *summary;        /* one sentence */
    const tool_option *options; /* ends with {0} */
    tool_set_fn set;
    tool_run_fn run;
    void *ctx;                /* of set and run */
    const char *reads;        /* long names of the options that name an input, spaces between */
    int output_arg;           /* which plain argument, from 1, is an output; 0 = none */
    const tool_verb *verbs;   /* ends with {0}; may be NULL */
    const tool_group *groups; /* headings of the options; ends with {0}; may be NULL */
    const char *examples;     /* lines behind the command's name, with "  # ..."; the first one is
                                 what a newcomer does first; may be NULL */
    const char *verb;         /* of a command within a command ("fit"); otherwise NULL */
    const struct tool_spec *const *subs; /* such commands; ends with NULL; may be NULL */
    bool shares;                         /* several ranks do its work together */
} tool_spec;

/* What the common options say, and the plain arguments. */
#define TOOL_MAX_OUTPUTS 8

struct tool {
    const tool_spec *spec;
    bool json, log_json, quiet, verbose, show_progress, force;
    bool on_terminal;   /* the error stream */
    unsigned n_threads; /* 0 = usable cores */
    uint64_t given;     /* which rows of spec->options were given, as bits */
    char **args;
    int n_args;
    const char *outputs[TOOL_MAX_OUTPUTS]; /* that were checked, see outputs.h */
    size_t n_outputs;
    gguf_ranks *ranks; /* NULL: alone; only rank 0 prints */
    double started_s;
    /* Of log.c: when progress was shown last, whether its line stands on the terminal, and which
     * tenth a file has of it. */
    double last_progress_s;
    bool progress_shown;
    int last_tenth;
};

/* Of several ranks the first one speaks. */
static inline bool tool_prints(const tool *t) {
    return gguf_ranks_own(t->ranks) == 0;
}

/* A whole command: parse, run, report. Returns the exit status. */
int tool_main(const tool_spec *spec, int argc, char **argv);

/* Refuse options of spec->options that were given but mean nothing here.
 *   what   a verb, or what stands in its place
 *   takes  long names of the options that it takes, with spaces between
 * Errors: GGUF_E_USAGE. */
gguf_code tool_takes_only(const tool *t, const char *what, const char *takes, gguf_error *err);

/* Refuse options that were given where they have no effect: "--NAME WHY".
 *   names  long names, with spaces between
 * Errors: GGUF_E_USAGE. */
gguf_code tool_refuse(const tool *t, const char *names, const char *why, gguf_error *err);

/* Always GGUF_E_USAGE: "unknown WHAT 'WORD'; did you mean ...?", of the first argument, which is
 * none of the command's verbs. */
gguf_code tool_fail_verb(const tool *t, const char *what, gguf_error *err);
/* Where a word stands among verbs; where their end is if it is none of them. */
size_t tool_find_verb(const tool_verb *verbs, const char *word);
/* Always GGUF_E_USAGE: what the verb expects behind it. */
gguf_code tool_fail_verb_args(const tool *t, const tool_verb *verb, gguf_error *err);
/* Always GGUF_E_USAGE: "expected ...", and for who gave nothing at all the first example. */
gguf_code tool_fail_usage(const tool *t, const char *expected, gguf_error *err);

/* Parse the command line and install the signal handlers. False: end with *status at once (help was
 * printed, or an error). */
bool tool_start(tool *t, const tool_spec *spec, int argc, char **argv, int *status);

/* Print the error, if any, in the form of the contract, and return the exit status. */
int tool_end(tool *t, gguf_code code, const gguf_error *err);

/* The error line alone, for who goes on after an error. */
void tool_print_error(tool *t, const gguf_error *err);

/* Set by SIGINT, SIGTERM and SIGHUP. */
extern atomic_bool tool_cancelled;

/* ---- messages and progress ------------------------------------------------------------------
 * All go to stderr, as text or with --log-json as one object a line (docs/schemas/log.json). Only
 * one thread may call these at a time. */

void tool_warn(tool *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void tool_note(tool *t, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* not if -q */
/* A threshold that was asked for is missed. */
void tool_missed(tool *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* How far the work is. */
typedef struct tool_step {
    const char *unit;   /* "bytes", "tokens"; NULL = shares of a whole */
    const char *what;   /* is being done, or is known so far; may be NULL */
    double done, total; /* total > 0 */
    double started_s;   /* by tool_now_s */
} tool_step;

/* Show it where progress is shown: on a terminal in one line, ten times a second, which goes at the
 * end; else as a line for every tenth of the whole. */
void tool_show_step(tool *t, const tool_step *step);
/* The same for bytes since the command began. A function for quant_execute_opts.progress and its
 * like; ctx is the tool. */
void tool_progress(void *ctx, uint64_t done, uint64_t total);
/* The same for work that nothing counts: what is being done, 0 to 1, since when. */
void tool_progress_share(tool *t, const char *what, double share, double started_s);
/* Take the line off the terminal, before something else is printed. */
void tool_progress_end(tool *t);

/* Seconds since an arbitrary start, monotonic. */
double tool_now_s(void);
double tool_elapsed_s(const tool *t);

/* ---- arguments ----------------------------------------------------------------------------------
 */

/* The values of an option that may be repeated: one more. The list is freed by its owner, the
 * values are the command line's. Errors: GGUF_E_NOMEM. */
gguf_code tool_add_value(const char ***list, size_t *n, const char *value, gguf_error *err);

/* 512M, 4GiB, 5.5gb: K M G T and KiB.. are powers of 1024, KB MB GB TB of 1000, in any case. A
 * number below a million without a unit is refused. */
gguf_code tool_parse_size(const char *option, const char *text, uint64_t *bytes, gguf_error *err);
gguf_code tool_parse_u32(const char *option, const char *text, uint32_t min, uint32_t max,
                         uint32_t *out, gguf_error *err);
gguf_code tool_parse_real(const char *option, const char *text, double min, double max, double *out,
                          gguf_error *err);
/* "1,2,3"; *out is malloc'ed. */
gguf_code tool_parse_u32_list(const char *option, const char *text, uint32_t max, uint32_t **out,
                              size_t *n, gguf_error *err);

/* f32, f16, q8_0 or q4_0 as a GGUF type. */
gguf_code tool_parse_kv_type(const char *text, uint32_t *type, gguf_error *err);

/* ---- output ------------------------------------------------------------------------------ */

/* Print one JSON document to stdout; takes the reference. */
void tool_print_json(json_t *root);
json_t *tool_json_real(double value); /* "nan", "inf", "-inf" where not finite */
static inline json_t *tool_json_bytes(const char *bytes, size_t n) {
    return gguf_json_bytes(bytes, n);
}
/* Text from a file for a terminal: control characters, overrides of the writing direction and
 * broken bytes as \xNN. Returns out. */
char *tool_escape(const char *bytes, size_t n, char *out, size_t room);
/* Length of the UTF-8 sequence that starts there, or 0 if the bytes are none; n > 0. */
size_t tool_utf8_len(const char *bytes, size_t n);
/* The end of a plural: "" for 1, "s" for any other number. */
static inline const char *tool_s(uint64_t n) {
    return n == 1 ? "" : "s";
}
/* 1.5 GiB. Returns out. */
char *tool_size_text(uint64_t bytes, char *out, size_t room);

#endif
