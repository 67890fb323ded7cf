/* Records as table, Markdown, JSON, JSON lines, CSV or SQL. One list of fields serves all. */
#include "tools/bench/bench.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef enum field_kind { FIELD_TEXT, FIELD_U32, FIELD_U64, FIELD_REAL } field_kind;

typedef struct field {
    const char *name;
    field_kind kind;
    size_t off;
} field;

#define FIELD(kind, name) \
    { #name, kind, offsetof(bench_record, name) }

static const field fields[] = {
    FIELD(FIELD_TEXT, model_filename),
    FIELD(FIELD_TEXT, model_type),
    FIELD(FIELD_U64, model_size),
    FIELD(FIELD_U64, model_n_params),
    FIELD(FIELD_TEXT, isa),
    FIELD(FIELD_U32, n_threads),
    FIELD(FIELD_U32, n_batch),
    FIELD(FIELD_TEXT, type_k),
    FIELD(FIELD_U32, n_prompt),
    FIELD(FIELD_U32, n_gen),
    FIELD(FIELD_U32, n_depth),
    FIELD(FIELD_U32, repetitions),
    FIELD(FIELD_REAL, avg_ns),
    FIELD(FIELD_REAL, stddev_ns),
    FIELD(FIELD_REAL, avg_ts),
    FIELD(FIELD_REAL, stddev_ts),
    FIELD(FIELD_REAL, ttft_s),
    FIELD(FIELD_REAL, itl_p50_s),
    FIELD(FIELD_REAL, itl_p99_s),
    FIELD(FIELD_U64, peak_rss_bytes),
    FIELD(FIELD_U64, predicted_rss_bytes),
    FIELD(FIELD_U64, peak_device_bytes),
    FIELD(FIELD_U64, predicted_device_bytes),
    FIELD(FIELD_REAL, bandwidth_share),
};

#define N_FIELDS (sizeof fields / sizeof fields[0])

static json_t *field_json(const bench_record *r, const field *f) {
    const char *at = (const char *)r + f->off;
    uint32_t u32;
    uint64_t u64;
    double real;
    switch (f->kind) {
    case FIELD_TEXT:
        return tool_json_bytes(at, strlen(at));
    case FIELD_U32:
        memcpy(&u32, at, sizeof u32);
        return json_integer(u32);
    case FIELD_U64:
        memcpy(&u64, at, sizeof u64);
        return json_integer((json_int_t)u64);
    case FIELD_REAL:
        break;
    }
    memcpy(&real, at, sizeof real);
    return isnan(real) ? json_null() : tool_json_real(real);
}

static json_t *record_json(const bench_record *r) {
    json_t *object = json_object();
    for (size_t i = 0; i < N_FIELDS; i++)
        json_object_set_new(object, fields[i].name, field_json(r, &fields[i]));
    return object;
}

static void print_json(const bench_record *records, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, record_json(&records[i]));
    tool_print_json(list);
}

static void print_jsonl(const bench_record *records, size_t n) {
    for (size_t i = 0; i < n; i++) {
        json_t *object = record_json(&records[i]);
        json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
        putchar('\n');
        json_decref(object);
    }
}

/* A value with its quotes doubled, between `quote`s if it is text; "" or NULL where it has none. */
static void print_value(const bench_record *r, const field *f, char quote, const char *absent) {
    json_t *value = field_json(r, f);
    if (json_is_string(value)) {
        putchar(quote);
        for (const char *p = json_string_value(value); *p; p++) {
            if (*p == quote) putchar(quote);
            putchar(*p);
        }
        putchar(quote);
    } else if (json_is_null(value)) {
        printf("%s", absent);
    } else if (json_is_integer(value)) {
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else {
        printf("%.9g", json_real_value(value));
    }
    json_decref(value);
}

static void print_csv(const bench_record *records, size_t n) {
    for (size_t i = 0; i < N_FIELDS; i++) printf("%s%s", i ? "," : "", fields[i].name);
    printf("\n");
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < N_FIELDS; i++) {
            if (i) putchar(',');
            print_value(&records[k], &fields[i], '"', "");
        }
        printf("\n");
    }
}

static void print_sql(const bench_record *records, size_t n) {
    static const char *const types[] = {"TEXT", "INTEGER", "INTEGER", "REAL"};
    printf("CREATE TABLE IF NOT EXISTS gguf_bench (\n");
    for (size_t i = 0; i < N_FIELDS; i++)
        printf("  %s %s%s\n", fields[i].name, types[fields[i].kind], i + 1 < N_FIELDS ? "," : "");
    printf(");\n");
    for (size_t k = 0; k < n; k++) {
        printf("INSERT INTO gguf_bench VALUES (");
        for (size_t i = 0; i < N_FIELDS; i++) {
            if (i) printf(", ");
            print_value(&records[k], &fields[i], '\'', "NULL");
        }
        printf(");\n");
    }
}

static void print_rows(const bench_record *records, size_t n, bool markdown) {
    const char *row = markdown ? "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n"
                               : "%-24s %-12s %10s %10s %18s %9s %9s %10s %10s\n";
    printf(row, "model", "type", "size", "test", "t/s", "p50 ms", "p99 ms", "peak", "predicted");
    if (markdown) printf("|---|---|--:|--:|--:|--:|--:|--:|--:|\n");
    for (size_t i = 0; i < n; i++) {
        const bench_record *r = &records[i];
        char size[32], test[64], rate[64], p50[32] = "-", p99[32] = "-", peak[32], predicted[32];
        char depth[32] = "";
        if (r->n_depth) snprintf(depth, sizeof depth, "@%" PRIu32, r->n_depth);
        snprintf(test, sizeof test, "%s%" PRIu32 "%s", r->n_prompt ? "pp" : "tg",
                 r->n_prompt ? r->n_prompt : r->n_gen, depth);
        snprintf(rate, sizeof rate, "%.2f ± %.2f", r->avg_ts, r->stddev_ts);
        if (r->n_gen) {
            snprintf(p50, sizeof p50, "%.2f", r->itl_p50_s * 1e3);
            snprintf(p99, sizeof p99, "%.2f", r->itl_p99_s * 1e3);
        }
        printf(row, r->model_filename, r->model_type,
               tool_size_text(r->model_size, size, sizeof size), test, rate, p50, p99,
               tool_size_text(r->peak_rss_bytes, peak, sizeof peak),
               tool_size_text(r->predicted_rss_bytes, predicted, sizeof predicted));
    }
}

static void print_table(const bench_record *records, size_t n) {
    print_rows(records, n, false);
}

static void print_markdown(const bench_record *records, size_t n) {
    print_rows(records, n, true);
}

gguf_code bench_print(const bench_record *records, size_t n, const char *format, gguf_error *err) {
    static const struct {
        const char *name;
        void (*print)(const bench_record *records, size_t n);
    } formats[] = {{"table", print_table}, {"md", print_markdown}, {"json", print_json},
                   {"jsonl", print_jsonl}, {"csv", print_csv},     {"sql", print_sql}};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(formats[i].name, format) != 0) continue;
        if (records) formats[i].print(records, n);
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "-o takes table, md, json, jsonl, csv or sql, not '%s'", format);
}
