/* From an option table to roff. */
#include "tools/common/man_page.h"

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
        const tool_option *row = options;
        if (o->help) continue;
        while (row->name && row->help && row->id != o->id) row++;
        printf("%s", *comma ? comma : ".PP\nOther spellings: ");
        print_text(*o->name == '-' ? "" : "--", *o->name == '-' ? 0 : 2);
        print_text(o->name, strlen(o->name));
        printf(" for ");
        print_text(row->help ? "--" : "", row->help ? 2 : 0);
        print_text(row->help ? row->name : "MODEL", strlen(row->help ? row->name : "MODEL"));
        comma = ",\n";
    }
    if (*comma) printf(".\n");
}

static void print_options(const tool_option *options) {
    for (const tool_option *o = options; o->name && o->help; o++) print_option(o);
    print_spellings(options);
}

/* Each line of a usage is one form of the call. */
static void print_usage(const tool_spec *spec) {
    for (const char *line = spec->usage; line;) {
        const char *end = strchr(line, '\n');
        size_t n = end ? (size_t)(end - line) : strlen(line);
        printf(".B %s\n", spec->name);
        print_text(line, n);
        printf("\n%s", end ? ".br\n" : "");
        line = end ? end + 1 : NULL;
    }
}

static void print_upper(const char *text) {
    for (; *text; text++) putchar(toupper((unsigned char)*text));
}

static void print_description(const tool_spec *spec) {
    for (const char *line = spec->summary; line;) {
        const char *end = strchr(line, '\n');
        print_text(line, end ? (size_t)(end - line) : strlen(line));
        putchar('\n');
        line = end ? end + 1 : NULL;
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
    printf(".SH OPTIONS\n");
    print_options(spec->options);
    for (size_t i = 0; spec->subs && spec->subs[i]; i++) {
        const tool_spec *sub = spec->subs[i];
        printf(".SH \"");
        print_upper(sub->verb);
        printf("\"\n");
        print_usage(sub);
        printf(".PP\n");
        print_description(sub);
        print_options(sub->options);
    }
    printf(".SH COMMON OPTIONS\n");
    print_options(common);
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
