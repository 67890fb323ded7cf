/* From an option table to roff. */
#include "tools/common/man_page.h"
#include "tools/common/help.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* One line of text; roff's own signs are escaped. */
static void print_text(const char *text, size_t n) {
    if (n && (*text == '.' || *text == '\'')) printf("\\&");
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\\')
            printf("\\e");
        else if (text[i] == '-')
            printf("\\-");
        else
            putchar(text[i]);
    }
}

static void print_line(const char *text) {
    print_text(text, strlen(text));
    putchar('\n');
}

static void print_option(const tool_option *o) {
    printf(".TP\n");
    if (o->id < TOOL_LONG_ONLY) printf("\\fB\\-%c\\fR, ", o->id);
    printf("\\fB\\-\\-");
    print_text(o->name, strlen(o->name));
    printf("\\fR");
    if (o->arg) {
        printf(" \\fI");
        print_text(o->arg, strlen(o->arg));
        printf("\\fR");
    }
    putchar('\n');
    print_line(o->help);
}

/* What users of other programs write instead. */
static void print_spellings(const tool_option *options) {
    const char *comma = "";
    for (const tool_option *o = options; o->name; o++) {
        const tool_option *row = tool_row_of(options, o->id);
        if (o->help) continue;
        printf("%s", *comma ? comma : ".PP\nOther spellings: ");
        print_text(*o->name == '-' ? "" : "--", *o->name == '-' ? 0 : 2);
        print_text(o->name, strlen(o->name));
        printf(" for ");
        print_text("--", row ? 2 : 0);
        print_text(row ? row->name : "MODEL", strlen(row ? row->name : "MODEL"));
        comma = ",\n";
    }
    if (*comma) printf(".\n");
}

static void print_options(const tool_spec *spec) {
    for (const tool_option *o = spec->options; o->name && o->help; o++) {
        const char *heading = tool_heading_of(spec, o->name);
        if (heading) printf(".SS \"%s\"\n", heading);
        print_option(o);
    }
    print_spellings(spec->options);
}

static size_t line_length(const char *line) {
    const char *end = strchr(line, '\n');
    return end ? (size_t)(end - line) : strlen(line);
}

static const char *next_line(const char *line) {
    const char *end = strchr(line, '\n');
    return end ? end + 1 : NULL;
}

/* One form of the call. */
static void print_call(const tool_spec *spec, const char *rest, size_t n, const char *args) {
    printf(".B %s\n", spec->name);
    print_text(rest, n);
    print_text(" ", *args != 0);
    print_text(args, strlen(args));
    printf("\n.br\n");
}

static void print_usage(const tool_spec *spec) {
    for (const char *line = *spec->usage ? spec->usage : NULL; line; line = next_line(line))
        print_call(spec, line, line_length(line), "");
    for (const tool_verb *v = spec->verbs; v && v->name; v++)
        print_call(spec, v->name, strlen(v->name), v->args);
}

/* Options of a verb stand with all others, its name before them. */
static void print_verbs(const tool_spec *spec) {
    if (!spec->verbs) return;
    printf(".SH VERBS\n");
    for (const tool_verb *v = spec->verbs; v->name; v++) {
        if (!v->takes) continue; /* has a section of its own */
        printf(".TP\n\\fB%s\\fR\n", v->name);
        print_line(v->summary);
    }
}

static void print_examples(const tool_spec *spec) {
    if (!spec->examples) return;
    printf(".SH EXAMPLES\n.nf\n");
    for (const char *line = spec->examples; line; line = next_line(line)) {
        print_text(spec->name, strlen(spec->name));
        putchar(' ');
        print_text(line, line_length(line));
        putchar('\n');
    }
    printf(".fi\n");
}

static void print_upper(const char *text) {
    for (; *text; text++) putchar(toupper((unsigned char)*text));
}

static void print_description(const tool_spec *spec) {
    for (const char *line = spec->summary; line; line = next_line(line)) {
        print_text(line, line_length(line));
        putchar('\n');
    }
}

/* The summary's first sentence, as one of a list of commands. */
static void print_short(const char *summary) {
    size_t n = strcspn(summary, ".:\n");
    putchar(tolower((unsigned char)*summary));
    print_text(summary + 1, n ? n - 1 : 0);
    putchar('\n');
}

void tool_print_man_page(const tool_spec *spec, const tool_option *common) {
    static const char *const names[] = {"bench", "convert",  "edit", "imatrix", "inspect",
                                        "pull",  "quantize", "run",  "serve"};
    static const char *const statuses[][2] = {
        {"0", "done"},
        {"1", "the check that was asked for found a difference or a failure"},
        {"2", "wrong usage"},
        {"3", "a file cannot be opened, read or written"},
        {"4", "malformed input"},
        {"5", "valid input that is not supported"},
        {"6", "out of memory or disk space"},
        {"130", "interrupted"}};
    printf(".TH ");
    print_upper(spec->name);
    printf(" 1 \"\" \"ggufkit %s\" \"ggufkit\"\n.SH NAME\n", GGUFKIT_VERSION);
    print_text(spec->name, strlen(spec->name));
    printf(" \\- ");
    print_short(spec->summary);
    printf(".SH SYNOPSIS\n");
    print_usage(spec);
    printf(".SH DESCRIPTION\n");
    print_description(spec);
    print_verbs(spec);
    print_examples(spec);
    printf(".SH OPTIONS\n");
    print_options(spec);
    for (size_t i = 0; spec->subs && spec->subs[i]; i++) {
        const tool_spec *sub = spec->subs[i];
        printf(".SH \"");
        print_upper(sub->verb);
        printf("\"\n");
        print_usage(sub);
        printf(".PP\n");
        print_description(sub);
        print_options(sub);
    }
    printf(".SH COMMON OPTIONS\n");
    for (const tool_option *o = common; o->name; o++)
        if (!tool_row_of(spec->options, o->id)) print_option(o);
    printf(".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        printf(".TP\n%s\n%s\n", statuses[i][0], statuses[i][1]);
    printf(".SH FILES\nThe pages in /usr/share/doc/ggufkit say more.\n.SH SEE ALSO\n");
    const char *comma = "";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(spec->name + strlen("gguf-"), names[i]) == 0) continue;
        printf("%s.BR gguf\\-%s (1)", comma, names[i]);
        comma = ",\n";
    }
    putchar('\n');
}
