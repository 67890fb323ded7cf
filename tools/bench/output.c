/* Records as table, Markdown, JSON, JSON lines or CSV, one by one as they come. */
#include "tools/bench/bench.h"
#include "tools/common/columns.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct bench_format {
    const char *name;
    void (*begin)(void);
    void (*print)(const bench_record *record, bool first);
    void (*end)(void);
};

static void nothing(void) {}

/* ---- JSON -------------------------------------------------------------------------------- */

static void dump(const bench_record *record, size_t flags) {
    json_t *object = bench_record_json(record);
    json_dumpf(object, stdout, flags | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
    json_decref(object);
}

static void print_json(const bench_record *record, bool first) {
    printf("%s\n", first ? "[" : ",");
    dump(record, JSON_INDENT(2));
}

static void end_json(void) {
    printf("\n]\n");
}

static void print_jsonl(const bench_record *record, bool first) {
    (void)first;
    dump(record, JSON_COMPACT);
    putchar('\n');
}

/* ---- CSV --------------------------------------------------------------------------------- */

/* A value; text between quotes, with its own quotes doubled; nothing where there is none. */
static void print_value(const bench_record *r, const bench_field *f) {
    json_t *value = bench_field_json(r, f);
    if (json_is_string(value)) {
        putchar('"');
        for (const char *p = json_string_value(value); *p; p++) {
            if (*p == '"') putchar('"');
            putchar(*p);
        }
        putchar('"');
    } else if (json_is_integer(value)) {
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        printf("%.9g", json_real_value(value));
    }
    json_decref(value);
}

static void begin_csv(void) {
    for (size_t i = 0; i < bench_n_fields; i++) printf("%s%s", i ? "," : "", bench_fields[i].name);
    printf("\n");
}

static void print_csv(const bench_record *record, bool first) {
    (void)first;
    for (size_t i = 0; i < bench_n_fields; i++) {
        if (i) putchar(',');
        print_value(record, &bench_fields[i]);
    }
    printf("\n");
}

/* ---- tables ------------------------------------------------------------------------------ */

const char *const bench_headings[BENCH_COLUMNS] = {
    "model",  "type",   "size", "test",      "t/s ± 95 %", "TTFT s",
    "p50 ms", "p99 ms", "peak", "predicted", "memory",     "arithmetic"};

/* A number, or a dash where there is none. */
static void put_number(char *cell, double value, int n_digits, const char *unit) {
    snprintf(cell, BENCH_CELL, "-");
    if (!isnan(value)) snprintf(cell, BENCH_CELL, "%.*f%s", n_digits, value, unit);
}

void bench_fill_cells(const bench_record *r, char cells[BENCH_COLUMNS][BENCH_CELL]) {
    snprintf(cells[0], BENCH_CELL, "%.90s", r->model_filename);
    snprintf(cells[1], BENCH_CELL, "%s", r->model_type);
    tool_size_text(r->model_size, cells[2], BENCH_CELL);
    bench_test_name(r, cells[3], BENCH_CELL);
    snprintf(cells[4], BENCH_CELL, "%.2f", r->avg_ts);
    if (!isnan(r->ci95_ts)) snprintf(cells[4], BENCH_CELL, "%.2f ± %.2f", r->avg_ts, r->ci95_ts);
    put_number(cells[5], r->ttft_s, 3, "");
    put_number(cells[6], r->itl_p50_s * 1e3, 2, "");
    put_number(cells[7], r->itl_p99_s * 1e3, 2, "");
    tool_size_text(r->peak_rss_bytes, cells[8], BENCH_CELL);
    tool_size_text(r->predicted_rss_bytes, cells[9], BENCH_CELL);
    put_number(cells[10], 100 * r->bandwidth_share, 0, " %");
    put_number(cells[11], 100 * r->arithmetic_share, 0, " %");
}

/* The characters of each column; on a narrow terminal a record takes two lines, the second of them
 * indented and beginning with TTFT. */
static const int wide[BENCH_COLUMNS] = {24, 16, 10, 14, 18, 8, 8, 8, 10, 10, 7, 10};
static const int narrow[BENCH_COLUMNS] = {22, 12, 10, 12, 18, 8, 8, 8, 10, 10, 8, 11};
enum { WIDE_TABLE = 154, NARROW_BREAK = 5, NARROW_INDENT = 8 };

static bool is_narrow(void) {
    unsigned columns = tool_columns();
    return columns && columns < WIDE_TABLE;
}

/* Text in a field: names at its left, numbers at its right. */
static void put_cell(const char *text, int column, int width) {
    bool folded = is_narrow();
    int n = (int)tool_width(text), pad = n < width ? width - n : 0;
    bool ends = column + 1 == BENCH_COLUMNS || (folded && column + 1 == NARROW_BREAK);
    if (folded && column == NARROW_BREAK) printf("%*s", NARROW_INDENT, "");
    if (column < 2)
        printf("%s%*s ", text, pad, "");
    else
        printf("%*s%s%s", pad, "", text, ends ? "\n" : " ");
}

static void begin_table(void) {
    for (int i = 0; i < BENCH_COLUMNS; i++)
        put_cell(bench_headings[i], i, (is_narrow() ? narrow : wide)[i]);
}

/* The end of a long name goes, so that the line of a narrow terminal gets no longer. */
static void shorten(char cell[BENCH_CELL], int width) {
    size_t at = 0;
    if ((int)tool_width(cell) <= width) return;
    for (int n = 0; cell[at] && n < width - 1; at++) n += (cell[at + 1] & 0xC0) != 0x80;
    snprintf(cell + at, BENCH_CELL - at, "…");
}

/* What the other cells of the first line leave for the model's name. */
static int name_width(char cells[BENCH_COLUMNS][BENCH_CELL], const int *widths) {
    int width = widths[0];
    for (int i = 1; i < NARROW_BREAK; i++) {
        int beyond = (int)tool_width(cells[i]) - widths[i];
        if (beyond > 0) width -= beyond;
    }
    return width > 4 ? width : 4;
}

static void print_table(const bench_record *record, bool first) {
    char cells[BENCH_COLUMNS][BENCH_CELL];
    int widths[BENCH_COLUMNS];
    (void)first;
    bench_fill_cells(record, cells);
    memcpy(widths, is_narrow() ? narrow : wide, sizeof widths);
    if (is_narrow()) shorten(cells[1], widths[1]);
    widths[0] = name_width(cells, widths);
    if (is_narrow()) shorten(cells[0], widths[0]);
    for (int i = 0; i < BENCH_COLUMNS; i++) put_cell(cells[i], i, widths[i]);
}

static void begin_markdown(void) {
    for (int i = 0; i < BENCH_COLUMNS; i++) printf("| %s ", bench_headings[i]);
    printf("|\n");
    for (int i = 0; i < BENCH_COLUMNS; i++) printf(i < 2 ? "|---" : "|--:");
    printf("|\n");
}

static void print_markdown(const bench_record *record, bool first) {
    char cells[BENCH_COLUMNS][BENCH_CELL];
    (void)first;
    bench_fill_cells(record, cells);
    for (int i = 0; i < BENCH_COLUMNS; i++) {
        printf("| ");
        for (const char *p = cells[i]; *p; p++) printf(*p == '|' ? "\\|" : "%c", *p);
        printf(" ");
    }
    printf("|\n");
}

/* ---- the printer ------------------------------------------------------------------------- */

gguf_code bench_printer_start(bench_printer *printer, const char *format, gguf_error *err) {
    static const struct bench_format formats[] = {{"table", begin_table, print_table, nothing},
                                                  {"md", begin_markdown, print_markdown, nothing},
                                                  {"json", nothing, print_json, end_json},
                                                  {"jsonl", nothing, print_jsonl, nothing},
                                                  {"csv", begin_csv, print_csv, nothing}};
    *printer = (bench_printer){0};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strcmp(formats[i].name, format) == 0) printer->format = &formats[i];
    if (printer->format) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "-o takes table, md, json, jsonl or csv, not '%s'", format);
}

gguf_code bench_print(bench_printer *printer, const bench_record *record, gguf_error *err) {
    bool first = printer->n_printed++ == 0;
    errno = 0;
    if (first) printer->format->begin();
    printer->format->print(record, first);
    bool lost = fflush(stdout) != 0 || ferror(stdout);
    if (!lost || errno == EPIPE) return GGUF_OK; /* a reader may leave early */
    return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "cannot write to standard output: %s",
                     strerror(errno));
}

void bench_printer_end(bench_printer *printer) {
    if (printer->n_printed) printer->format->end();
}
