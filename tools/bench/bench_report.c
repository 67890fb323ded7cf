/* Pictures and a page of records. */
#include "tools/bench/bench.h"
#include "tools/common/page.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define WIDTH      760.0
#define ROW_HEIGHT 22.0
#define LABELS     300.0
#define CURVES     240.0 /* height */

typedef struct record_list {
    const bench_record *records;
    size_t n;
} record_list;

/* Few repetitions have a wide interval: it must not make the bars small. */
static double top_of(double rate, double ci95) {
    return isnan(ci95) ? rate : rate + fmin(ci95, rate / 2);
}

/* ---- bars -------------------------------------------------------------------------------- */

/* Prompts and generations differ by an order of magnitude: each kind has its own scale. */
static int kind_of(const bench_record *r) {
    return r->n_prompt && r->n_gen ? 2 : r->n_gen ? 1 : 0;
}

static const char *const kind_titles[] = {"Prompt, tokens per second",
                                          "Generation, tokens per second",
                                          "Prompt and generation, tokens per second"};

static void put_bar(FILE *f, const bench_record *r, double y, double scale) {
    char test[96];
    double x = LABELS + r->avg_ts * scale, ci = isnan(r->ci95_ts) ? 0 : r->ci95_ts * scale;
    fprintf(f, "<text x=\"4\" y=\"%.0f\">", y + 14);
    tool_xml_text(f, r->model_filename, strnlen(r->model_filename, 40));
    fprintf(f, " %s</text>", bench_test_name(r, test, sizeof test));
    fprintf(f, "<rect class=\"k%d\" x=\"%.0f\" y=\"%.0f\" width=\"%.1f\" height=\"16\"/>",
            kind_of(r), LABELS, y + 2, r->avg_ts * scale);
    double low = fmax(x - ci, LABELS); /* no speed is below 0 */
    ci = fmin(ci, WIDTH - 80 - x);
    fprintf(f, "<path d=\"M%.1f %.0fH%.1fM%.1f %.0fv8M%.1f %.0fv8\"/>", low, y + 10, x + ci, low,
            y + 6, x + ci, y + 6);
    fprintf(f, "<text x=\"%.1f\" y=\"%.0f\">%.2f</text>\n", x + ci + 6, y + 14, r->avg_ts);
}

/* Returns the height. */
static double put_bars(FILE *f, const record_list *list, int kind, double y) {
    double top = 0, start = y;
    for (size_t i = 0; i < list->n; i++)
        if (kind_of(&list->records[i]) == kind)
            top = fmax(top, top_of(list->records[i].avg_ts, list->records[i].ci95_ts));
    if (top <= 0) return 0;
    fprintf(f, "<text class=\"title\" x=\"4\" y=\"%.0f\">%s</text>\n", y + 16, kind_titles[kind]);
    y += 26;
    for (size_t i = 0; i < list->n; i++) {
        if (kind_of(&list->records[i]) != kind) continue;
        put_bar(f, &list->records[i], y, (WIDTH - LABELS - 80) / top);
        y += ROW_HEIGHT;
    }
    return y + 12 - start;
}

/* ---- speed over depth -------------------------------------------------------------------- */

static bool same_curve(const bench_record *a, const bench_record *b) {
    return a->n_prompt == b->n_prompt && a->n_gen == b->n_gen && strcmp(a->sweep, b->sweep) == 0 &&
           strcmp(a->model_filename, b->model_filename) == 0;
}

static bool is_first_of_curve(const record_list *list, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (same_curve(&list->records[k], &list->records[i])) return false;
    return true;
}

/* Where names of curves stand. */
typedef struct label_list {
    double y[64];
    size_t n;
} label_list;

/* The first place from y on where a name covers no other. */
static double place_label(label_list *labels, double y) {
    for (size_t i = 0; i < labels->n; i++)
        if (fabs(labels->y[i] - y) < 12) {
            y = labels->y[i] + 12;
            i = (size_t)-1; /* from the beginning: y only grows */
        }
    if (labels->n < sizeof labels->y / sizeof labels->y[0]) labels->y[labels->n++] = y;
    return y;
}

static void put_curve(FILE *f, const record_list *list, size_t first, double deepest, double y,
                      label_list *labels) {
    const bench_record *head = &list->records[first];
    char test[96];
    double hue = 360.0 * (double)first / (double)list->n, last_y = y;
    fprintf(f, "<polyline fill=\"none\" stroke=\"hsl(%.0f 65%% 42%%)\" points=\"", hue);
    for (size_t i = first; i < list->n; i++) {
        const bench_record *r = &list->records[i];
        if (!same_curve(r, head)) continue;
        last_y = y + CURVES - 20 - fmin(r->avg_ts / head->avg_ts, 1.2) / 1.2 * (CURVES - 40);
        fprintf(f, "%.1f,%.1f ", 60 + r->n_depth / deepest * (WIDTH - 320), last_y);
    }
    bench_record plain = *head;
    plain.n_depth = 0;
    fprintf(f, "\"/><text x=\"%.0f\" y=\"%.1f\" fill=\"hsl(%.0f 65%% 42%%)\">", WIDTH - 250,
            place_label(labels, last_y + 4), hue);
    tool_xml_text(f, head->model_filename, strnlen(head->model_filename, 24));
    fprintf(f, " %s</text>\n", bench_test_name(&plain, test, sizeof test));
}

static double deepest_of(const record_list *list) {
    double deepest = 0;
    for (size_t i = 0; i < list->n; i++) deepest = fmax(deepest, list->records[i].n_depth);
    return deepest;
}

/* Shares of the speed at the smallest depth. Returns the height; 0 where there is one depth. */
static double put_curves(FILE *f, const record_list *list, double y) {
    label_list labels = {.n = 0};
    double deepest = deepest_of(list);
    if (deepest <= list->records[0].n_depth) return 0;
    fprintf(f,
            "<text class=\"title\" x=\"4\" y=\"%.0f\">Speed at a depth, as a share of that at the "
            "first</text>\n",
            y + 16);
    fprintf(f, "<path d=\"M60 %.0fV%.0fH%.0f\"/><text x=\"60\" y=\"%.0f\">0</text>", y + 26,
            y + CURVES - 20, WIDTH - 260, y + CURVES - 4);
    fprintf(f, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%.0f tokens</text>", WIDTH - 260,
            y + CURVES - 4, deepest);
    fprintf(f, "<text x=\"20\" y=\"%.1f\">100 %%</text><text x=\"20\" y=\"%.1f\">0 %%</text>\n",
            y + CURVES - 20 - (CURVES - 40) / 1.2 + 4, y + CURVES - 16);
    for (size_t i = 0; i < list->n; i++)
        if (is_first_of_curve(list, i)) put_curve(f, list, i, deepest, y, &labels);
    return CURVES + 12;
}

/* ---- documents --------------------------------------------------------------------------- */

static double height_of(const record_list *list) {
    bool kinds[3] = {false};
    for (size_t i = 0; i < list->n; i++) kinds[kind_of(&list->records[i])] = true;
    return (kinds[0] + kinds[1] + kinds[2]) * 38 + (double)list->n * ROW_HEIGHT +
           (deepest_of(list) > list->records[0].n_depth ? CURVES + 12 : 0);
}

static void put_svg(FILE *f, const record_list *list) {
    double y = 0;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "font-family=\"sans-serif\" font-size=\"11\">\n",
            WIDTH, height_of(list));
    fprintf(f, "<style>svg{background:#fff}svg path{fill:none;stroke:#444}.title{font-weight:bold}"
               ".k0{fill:#3b6ea5}.k1{fill:#5a9b58}.k2{fill:#b5803a}</style>\n");
    for (int kind = 0; kind < 3; kind++) y += put_bars(f, list, kind, y);
    put_curves(f, list, y);
    fprintf(f, "</svg>\n");
}

static void write_svg(FILE *f, const void *ctx) {
    put_svg(f, ctx);
}

gguf_code bench_write_plot(const tool *t, const char *path, const bench_record *records, size_t n,
                           gguf_error *err) {
    record_list list = {records, n};
    return tool_save_plot(t, path, write_svg, &list, err);
}

static void put_fact(FILE *f, const char *label, const char *text) {
    if (!text[0]) return;
    fprintf(f, "<tr><th>%s</th><td>", label);
    tool_xml_text(f, text, strlen(text));
    fprintf(f, "</td></tr>\n");
}

static void put_machine(FILE *f, const bench_record *r) {
    const bench_machine *m = &r->machine;
    char text[256], l1[32], l2[32], l3[32], memory[32];
    fprintf(f, "<h2>Machine</h2>\n<table>\n");
    put_fact(f, "processor", m->cpu_info);
    snprintf(text, sizeof text,
             "%" PRIu32 " (%" PRIu32 " hardware threads, %" PRIu32 " NUMA nodes)", m->n_cores,
             m->n_cpus, m->n_numa_nodes);
    put_fact(f, "cores", text);
    snprintf(
        text, sizeof text, "%s L1 data, %s L2, %s L3", tool_size_text(m->l1d_bytes, l1, sizeof l1),
        tool_size_text(m->l2_bytes, l2, sizeof l2), tool_size_text(m->l3_bytes, l3, sizeof l3));
    put_fact(f, "caches", text);
    put_fact(f, "memory", tool_size_text(m->memory_bytes, memory, sizeof memory));
    put_fact(f, "instruction sets", m->cpu_flags);
    put_fact(f, "microcode", m->microcode);
    put_fact(f, "governor", m->governor);
    put_fact(f, "system", m->kernel);
    snprintf(text, sizeof text, "%" PRIu32 ", %s kernels", r->n_threads, r->isa);
    put_fact(f, "threads", text);
    snprintf(text, sizeof text, "%.1f GB/s read, %.0f GFLOP/s, %.0f GOP/s of 8 bits",
             m->bandwidth_bytes_per_s * 1e-9, m->peak_f32_ops_per_s * 1e-9,
             m->peak_i8_ops_per_s * 1e-9);
    put_fact(f, "measured limits", text);
    fprintf(f, "</table>\n");
}

static void put_table(FILE *f, const record_list *list) {
    char cells[BENCH_COLUMNS][BENCH_CELL];
    fprintf(f, "<h2>Speed and memory</h2>\n<table>\n<tr>");
    for (int i = 0; i < BENCH_COLUMNS; i++) fprintf(f, "<th>%s</th>", bench_headings[i]);
    fprintf(f, "</tr>\n");
    for (size_t k = 0; k < list->n; k++) {
        bench_fill_cells(&list->records[k], cells);
        fprintf(f, "<tr>");
        for (int i = 0; i < BENCH_COLUMNS; i++) {
            fprintf(f, i < 2 ? "<td>" : "<td class=\"n\">");
            tool_xml_text(f, cells[i], strlen(cells[i]));
            fprintf(f, "</td>");
        }
        fprintf(f, "</tr>\n");
    }
    fprintf(f,
            "</table>\n<p>Mean of the repetitions and its 95 %% confidence interval (Student's t). "
            "TTFT: time to the first token. p50, p99: between tokens. memory, arithmetic: shares "
            "of the measured limits.</p>\n");
}

static void write_page(FILE *f, const void *ctx) {
    const record_list *list = ctx;
    fprintf(f, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n"
               "<title>gguf-bench</title>\n<style>body{font:14px/1.5 system-ui,sans-serif;"
               "max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}"
               "table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left}"
               "td.n{text-align:right;font-variant-numeric:tabular-nums}"
               "tr:nth-child(even){background:#f5f6f8}</style></head>\n<body>\n"
               "<h1>gguf-bench</h1>\n");
    put_machine(f, &list->records[0]);
    put_table(f, list);
    fprintf(f, "<h2>Pictures</h2>\n");
    put_svg(f, list);
    fprintf(f, "</body>\n</html>\n");
}

gguf_code bench_write_report(const tool *t, const char *path, const bench_record *records, size_t n,
                             gguf_error *err) {
    record_list list = {records, n};
    return tool_save_page(t, path, write_page, &list, err);
}
