/* Usage, summary, examples, options in groups; at most 80 columns. */
#include "tools/common/help.h"
#include "tools/common/columns.h"

#include <stdio.h>
#include <string.h>

enum { HELP_INDENT = 29 };

bool tool_has_word(const char *words, const char *word) {
    size_t n = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at += n)
        if ((at == words || at[-1] == ' ') && (at[n] == '\0' || at[n] == ' ')) return true;
    return false;
}

const tool_option *tool_row_of(const tool_option *options, int id) {
    for (const tool_option *o = options; o->name && o->help; o++)
        if (o->id == id) return o;
    return NULL;
}

const char *tool_heading_of(const tool_spec *spec, const char *option) {
    for (const tool_group *g = spec->groups; g && g->first; g++)
        if (strcmp(g->first, option) == 0) return g->heading;
    return NULL;
}

const char *tool_help_of(const tool_option *o, const char *verb) {
    size_t n = verb ? strlen(verb) : 0;
    bool named = n && strncmp(o->help, verb, n) == 0 && o->help[n] == ':';
    return named ? o->help + n + 2 : o->help;
}

const tool_verb *tool_verb_asked(const tool_spec *spec, char **argv) {
    for (char **word = argv + 1; spec->verbs && *word && strcmp(*word, "--") != 0; word++) {
        const tool_verb *verb = &spec->verbs[tool_find_verb(spec->verbs, *word)];
        if (verb->takes) return verb;
    }
    return NULL;
}

/* Lines of a text, each broken into as many as it needs. */
static void print_lines(const char *text, const char *first, const char *other, const char *name) {
    for (const char *line = text, *prefix = first; line; prefix = other) {
        char copy[600];
        const char *end = strchr(line, '\n');
        snprintf(copy, sizeof copy, "%s%.*s", name, (int)(end ? end - line : (long)strlen(line)),
                 line);
        printf("%s", prefix);
        tool_print_words(stdout, copy, strlen(prefix), 2 * strlen(other), TOOL_HELP_COLUMNS);
        putchar('\n');
        line = end ? end + 1 : NULL;
    }
}

static void print_verb_usage(const char *name, const tool_verb *verb, const char *prefix) {
    char line[200];
    snprintf(line, sizeof line, "%s%s%s", verb->name, *verb->args ? " " : "", verb->args);
    print_lines(line, prefix, "       ", name);
}

static void print_usage(const tool_spec *spec, const tool_verb *verb) {
    char name[32];
    const char *prefix = "usage: ";
    snprintf(name, sizeof name, "%s ", spec->name);
    if (verb) {
        print_verb_usage(name, verb, prefix);
        return;
    }
    if (*spec->usage) {
        print_lines(spec->usage, prefix, "       ", name);
        prefix = "       ";
    }
    for (const tool_verb *v = spec->verbs; v && v->name; v++, prefix = "       ")
        print_verb_usage(name, v, prefix);
}

/* Of a verb those that begin with it. */
static void print_examples(const tool_spec *spec, const tool_verb *verb) {
    bool any = false;
    for (const char *line = spec->examples; line;) {
        const char *end = strchr(line, '\n');
        size_t n = end ? (size_t)(end - line) : strlen(line),
               n_verb = verb ? strlen(verb->name) : 0;
        if (!verb || (strncmp(line, verb->name, n_verb) == 0 && strchr(" \n", line[n_verb]))) {
            if (!any) printf("\nExamples:\n");
            printf("    %s %.*s\n", spec->name, (int)n, line);
            any = true;
        }
        line = end ? end + 1 : NULL;
    }
}

static void print_option(const tool_option *o, const char *help) {
    char left[64];
    int n = o->id < TOOL_LONG_ONLY ? snprintf(left, sizeof left, "-%c, ", o->id)
                                   : snprintf(left, sizeof left, "    ");
    snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s", o->name, o->arg ? " " : "",
             o->arg ? o->arg : "");
    size_t at = (size_t)printf("  %-*s", HELP_INDENT - 3, left);
    if (at >= HELP_INDENT) printf("\n%*s", (int)(at = HELP_INDENT - 1), "");
    putchar(' ');
    tool_print_words(stdout, help, at + 1, HELP_INDENT, TOOL_HELP_COLUMNS);
    putchar('\n');
}

/* Headings stand in the help of the whole command only: a verb has few options. */
static void print_options(const tool_spec *spec, const tool_verb *verb) {
    bool begun = false;
    for (const tool_option *o = spec->options; o->name && o->help; o++) {
        const char *heading = verb ? NULL : tool_heading_of(spec, o->name);
        if (verb && !tool_has_word(verb->takes, o->name)) continue;
        if (heading)
            printf("\n%s:\n", heading);
        else if (!begun)
            putchar('\n');
        begun = true;
        print_option(o, tool_help_of(o, verb ? verb->name : NULL));
    }
}

static void print_spellings(const tool_spec *spec, const tool_verb *verb) {
    char text[900];
    size_t at = 0;
    for (const tool_option *o = spec->options; o->name && at < sizeof text - 100; o++) {
        const tool_option *row = o->help ? NULL : tool_row_of(spec->options, o->id);
        if (o->help || (verb && row && !tool_has_word(verb->takes, row->name)) || (verb && !row))
            continue;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s%s", at ? ", " : "",
                               *o->name == '-' ? "" : "--", o->name);
        if (o[1].name && o[1].id == o->id) continue;
        at += (size_t)snprintf(text + at, sizeof text - at, " for %s%s", row ? "--" : "",
                               row ? row->name : "MODEL");
    }
    if (!at) return;
    printf("\n  other spellings: ");
    tool_print_words(stdout, text, 19, 4, TOOL_HELP_COLUMNS);
    putchar('\n');
}

void tool_print_help(const tool_spec *spec, const tool_verb *verb, const tool_option *common) {
    print_usage(spec, verb);
    putchar('\n');
    print_lines(verb ? verb->summary : spec->summary, "", "", "");
    if (spec->verbs && !verb) printf("'%s VERB --help' says more of a verb.\n", spec->name);
    print_examples(spec, verb);
    print_options(spec, verb);
    print_spellings(spec, verb);
    printf(spec->groups && !verb ? "\nOf every command:\n" : "\n");
    for (const tool_option *o = common; o->name; o++)
        if (!tool_row_of(spec->options, o->id)) print_option(o, o->help);
    putchar('\n');
    print_lines("Exit status: 0 done, 1 the check found a difference, 2 usage, 3 file, 4 malformed "
                "input, 5 not supported, 6 out of memory or disk space, 130 interrupted.",
                "", "", "");
}
