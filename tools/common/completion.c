/* Completion scripts for bash, zsh and fish, written from a command's option table. */
#include "tools/common/completion.h"

#include <stdio.h>
#include <string.h>

/* One or two tables of options, one after the other. */
typedef void (*option_fn)(const tool_spec *spec, const tool_option *o);

static void each_option(const tool_spec *spec, const tool_option *common, option_fn fn) {
    for (const tool_option *o = spec->options; o->name && o->help; o++) fn(spec, o);
    for (const tool_option *o = common; o->name; o++) fn(spec, o);
}

static void print_verbs(const tool_spec *spec) {
    for (const tool_verb *v = spec->verbs; v && v->name; v++)
        printf("%s%s", v == spec->verbs ? "" : " ", v->name);
}

/* A help text inside single quotes; characters of `special` get a backslash. */
static void print_quoted(const char *text, const char *special) {
    for (; *text; text++) {
        if (*text == '\'')
            printf("'\\''");
        else
            printf(strchr(special, *text) ? "\\%c" : "%c", *text);
    }
}

/* ---- bash -------------------------------------------------------------------------------- */

static void print_bash_option(const tool_spec *spec, const tool_option *o) {
    (void)spec;
    if (o->id < TOOL_LONG_ONLY) printf("-%c ", o->id);
    printf("--%s ", o->name);
}

static void print_bash_options(const tool_spec *spec, const tool_option *common,
                               const char *indent) {
    printf("%smapfile -t COMPREPLY < <(compgen -W \"", indent);
    each_option(spec, common, print_bash_option);
    printf("\" -- \"$cur\")\n");
}

/* Names of files are lines, so that blanks in them do not make two of one. */
static void print_bash(const tool_spec *spec, const tool_option *common) {
    bool alone = !spec->subs || !spec->subs[0];
    char function[64];
    snprintf(function, sizeof function, "_%s", spec->name);
    for (char *p = function; *p; p++)
        if (*p == '-') *p = '_';
    printf("# bash completion of %s\n%s() {\n    local cur=${COMP_WORDS[COMP_CWORD]}\n", spec->name,
           function);
    printf("    if [[ $cur == -* ]]; then\n");
    for (size_t i = 0; !alone && spec->subs[i]; i++) {
        printf("        %s [[ ${COMP_WORDS[1]} == %s ]]; then\n", i ? "elif" : "if",
               spec->subs[i]->verb);
        print_bash_options(spec->subs[i], common, "            ");
    }
    if (!alone) printf("        else\n");
    print_bash_options(spec, common, alone ? "        " : "            ");
    if (!alone) printf("        fi\n");
    printf("    elif ((COMP_CWORD == 1)); then\n        mapfile -t COMPREPLY < <(compgen -W \"");
    print_verbs(spec);
    printf("\" -- \"$cur\"; compgen -f -- \"$cur\")\n");
    printf("    else\n        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n    fi\n}\n");
    printf("complete -o filenames -F %s %s\n", function, spec->name);
}

/* ---- zsh --------------------------------------------------------------------------------- */

static void print_zsh_row(const tool_option *o, bool is_short) {
    if (is_short)
        printf("    '*-%c[", o->id);
    else
        printf("    '*--%s%s[", o->name, o->arg ? "=" : "");
    print_quoted(o->help, "[]:\\");
    printf("]");
    if (o->arg) printf(":%s:_files", o->arg);
    printf("' \\\n");
}

static void print_zsh_option(const tool_spec *spec, const tool_option *o) {
    (void)spec;
    if (o->id < TOOL_LONG_ONLY) print_zsh_row(o, true);
    print_zsh_row(o, false);
}

static void print_zsh_arguments(const tool_spec *spec, const tool_option *common) {
    printf("_arguments -s \\\n");
    each_option(spec, common, print_zsh_option);
}

static void print_zsh(const tool_spec *spec, const tool_option *common) {
    printf("#compdef %s\n", spec->name);
    for (size_t i = 0; spec->subs && spec->subs[i]; i++) {
        printf("if [[ ${words[2]} == %s ]]; then\n", spec->subs[i]->verb);
        print_zsh_arguments(spec->subs[i], common);
        printf("    '1:verb:(%s)' '*:file:_files'\nreturn\nfi\n", spec->subs[i]->verb);
    }
    print_zsh_arguments(spec, common);
    if (spec->verbs) {
        printf("    '1:verb or file:_alternative \"verbs:verb:(");
        print_verbs(spec);
        printf(")\" \"files:file:_files\"' \\\n");
    }
    printf("    '*:file:_files'\n");
}

/* ---- fish -------------------------------------------------------------------------------- */

static void print_fish_option(const tool_spec *spec, const tool_option *o) {
    printf("complete -c %s", spec->name);
    if (spec->verb) printf(" -n '__fish_seen_subcommand_from %s'", spec->verb);
    if (spec->subs) printf(" -n 'not __fish_seen_subcommand_from");
    for (size_t i = 0; spec->subs && spec->subs[i]; i++) printf(" %s", spec->subs[i]->verb);
    if (spec->subs) printf("'");
    if (o->id < TOOL_LONG_ONLY) printf(" -s %c", o->id);
    printf(" -l %s%s -d '", o->name, o->arg ? " -r" : "");
    print_quoted(o->help, "");
    printf("'\n");
}

static void print_fish(const tool_spec *spec, const tool_option *common) {
    each_option(spec, common, print_fish_option);
    for (size_t i = 0; spec->subs && spec->subs[i]; i++)
        each_option(spec->subs[i], common, print_fish_option);
    if (!spec->verbs) return;
    printf("complete -c %s -n __fish_use_subcommand -a '", spec->name);
    print_verbs(spec);
    printf("'\n");
}

gguf_code tool_print_completion(const tool_spec *spec, const tool_option *common, const char *shell,
                                gguf_error *err) {
    if (strcmp(shell, "bash") == 0)
        print_bash(spec, common);
    else if (strcmp(shell, "zsh") == 0)
        print_zsh(spec, common);
    else if (strcmp(shell, "fish") == 0)
        print_fish(spec, common);
    else
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--completion takes bash, zsh or fish, not '%s'", shell);
    return GGUF_OK;
}
