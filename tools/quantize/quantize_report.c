/* Size over divergence of several types, as a page. */
#include "tools/quantize/quantize_report.h"

#include "libgguf/ends.h"
#include "libgguf/inputs.h"
#include "runtime/measure/quality.h"
#include "tools/common/output_files.h"
#include "tools/common/page.h"
#include "tools/common/text_tokens.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_CTX = 512 };

/* What one type gave. */
typedef struct outcome {
    char name[64];
    uint64_t n_bytes;
    double bpw;
    rt_quality quality;
    bool best; /* nothing measured is both smaller and nearer */
} outcome;

typedef struct outcomes {
    const char *input;
    uint64_t n_bytes; /* of the input */
    double bpw;
    outcome *list;
    size_t n;
} outcomes;

/* ---- measuring --------------------------------------------------------------------------- */

/* "4.25bpw" is a target. */
static gguf_code read_target(const char *type, write_opts *own, gguf_error *err) {
    char number[32];
    size_t n = strlen(type), end = n - strlen("bpw");
    if (!gguf_text_ends(type, "bpw") || end >= sizeof number) return GGUF_OK;
    snprintf(number, sizeof number, "%.*s", (int)end, type);
    own->type = NULL;
    return tool_parse_real("bits per weight", number, 0.1, 32, &own->target_bpw, err);
}

/* Write the file that is measured. */
static gguf_code write_file(tool *t, const char *input, const char *type, const char *path,
                            const write_opts *opts, bool allow_requantize, outcome *out,
                            gguf_error *err) {
    rt_import *import = NULL;
    write_opts own = *opts;
    write_result result = {0};
    own.type = type;
    gguf_code code = read_target(type, &own, err);
    if (!code) code = rt_import_open(input, NULL, &import, err);
    if (!code) code = write_prepare(t, import, input, path, &own, &result, err);
    if (!code && !allow_requantize)
        code = quantize_check_source(rt_import_plan(import), input, err);
    if (!code) code = write_run(t, import, path, &own, &result, err);
    if (!code) {
        snprintf(out->name, sizeof out->name, "%s", own.type ? result.type_name : type);
        out->n_bytes = quant_plan_file_bytes(rt_import_plan(import));
        out->bpw = quant_plan_bpw(rt_import_plan(import));
    }
    write_result_clear(&result);
    rt_import_close(import);
    return code;
}

static void show_progress(void *ctx, uint64_t done, uint64_t total, double ppl) {
    tool *t = ctx;
    (void)ppl;
    tool_progress_share(t, "comparing with the input", total ? (double)done / (double)total : 1,
                        t->started_s);
}

static gguf_code measure_file(tool *t, const char *path, const rt_model *base, const rt_ids *ids,
                              int32_t bos, uint32_t n_chunks, rt_quality *out, gguf_error *err) {
    rt_model *model = NULL;
    rt_quality_opts opts = rt_quality_defaults();
    opts.session.n_ctx = N_CTX;
    opts.session.precision = RT_PRECISION_F32;
    opts.session.n_threads = t->n_threads;
    opts.n_chunks = n_chunks;
    opts.bos = bos;
    opts.cancel = &tool_cancelled;
    opts.progress = show_progress;
    opts.progress_ctx = t;
    gguf_code code = rt_model_open(path, &model, err);
    if (!code) code = rt_quality_measure(model, base, ids->data, ids->n, &opts, out, err);
    rt_model_close(model);
    return code;
}

static void find_best(outcomes *all) {
    for (size_t i = 0; i < all->n; i++) {
        outcome *o = &all->list[i];
        o->best = true;
        for (size_t k = 0; k < all->n; k++) {
            const outcome *p = &all->list[k];
            bool as_good = p->n_bytes <= o->n_bytes && p->quality.kld_mean <= o->quality.kld_mean;
            bool better = p->n_bytes < o->n_bytes || p->quality.kld_mean < o->quality.kld_mean;
            if (as_good && better) o->best = false;
        }
    }
}

static int by_size(const void *a, const void *b) {
    const outcome *x = a, *y = b;
    if (x->n_bytes != y->n_bytes) return x->n_bytes < y->n_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* One type: its file is there only while it is measured. */
static gguf_code try_type(tool *t, const char *type, const char *path, const rt_model *base,
                          const rt_ids *ids, int32_t bos, const write_opts *opts,
                          const quantize_report *report, const outcomes *all, outcome *o,
                          gguf_error *err) {
    size_t n_outputs = t->n_outputs; /* this one is gone when the next is written */
    gguf_code code = write_file(t, all->input, type, path, opts, report->allow_requantize, o, err);
    t->n_outputs = n_outputs;
    if (code) return code;
    code = measure_file(t, path, base, ids, bos, report->n_chunks, &o->quality, err);
    gguf_inputs_forget(path); /* its inode will be that of another file */
    unlink(path);
    if (!code)
        tool_note(t, "%s: %.2f bits per weight, KLD %.6f", o->name, o->bpw, o->quality.kld_mean);
    return code;
}

static gguf_code measure_all(tool *t, char *const *types, const rt_model *base,
                             const write_opts *opts, const quantize_report *report, outcomes *all,
                             gguf_error *err) {
    rt_ids ids;
    int32_t bos;
    char path[4096];
    gguf_code code = text_tokens(base, report->text, &ids, &bos, err);
    if (code) return code;
    for (size_t i = 0; i < all->n && !code; i++)
        if (snprintf(path, sizeof path, "%s.%zu.gguf", report->page, i + 1) >= (int)sizeof path)
            code =
                gguf_fail(err, GGUF_E_USAGE, report->page, GGUF_NO_OFFSET, "the name is too long");
        else
            code =
                try_type(t, types[i], path, base, &ids, bos, opts, report, all, &all->list[i], err);
    rt_ids_clear(&ids);
    return code;
}

/* ---- the page ---------------------------------------------------------------------------- */

static const char style[] =
    "body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#222;background:#fff}h1{font-size:1.5rem;overflow-wrap:anywhere}"
    "h2{font-size:1.15rem;margin-top:2rem}.wide{overflow-x:auto}table{border-collapse:collapse}"
    "td,th{padding:.15rem .8rem .15rem 0;text-align:left;white-space:nowrap}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
    "tr:nth-child(even){background:#f5f6f8}tr.best td:nth-child(-n+2){font-weight:bold}"
    "svg{font:9px sans-serif;width:100%;max-width:46rem;height:auto}svg .axis{stroke:#bbb}"
    "svg polyline{fill:none;stroke:#3b6ea5}svg circle{fill:#b5b9bf}svg circle.best{fill:#3b6ea5}"
    "svg text{fill:#333}@media(max-width:40rem){td,th{padding-right:.5rem}.more{display:none}}";

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void put_text(FILE *f, const char *text) {
    tool_xml_text(f, text, strlen(text));
}

#define WIDTH  360.0
#define HEIGHT 260.0
#define LEFT   44.0
#define RIGHT  12.0
#define BOTTOM 30.0
#define TOP    14.0

/* Ranges of the picture: sizes, and decades of KLD. */
typedef struct scales {
    double lo_mib, hi_mib, lo_kld, hi_kld;
} scales;

static double mib(const outcome *o) {
    return (double)o->n_bytes / (1 << 20);
}

/* A KLD that no picture distinguishes from 0. */
static double log_kld(const outcome *o) {
    return log10(fmax(o->quality.kld_mean, 1e-9));
}

static scales scales_of(const outcomes *all) {
    scales s = {mib(&all->list[0]), mib(&all->list[0]), log_kld(&all->list[0]),
                log_kld(&all->list[0])};
    for (size_t i = 0; i < all->n; i++) {
        s.lo_mib = fmin(s.lo_mib, mib(&all->list[i]));
        s.hi_mib = fmax(s.hi_mib, mib(&all->list[i]));
        s.lo_kld = fmin(s.lo_kld, log_kld(&all->list[i]));
        s.hi_kld = fmax(s.hi_kld, log_kld(&all->list[i]));
    }
    double room = fmax((s.hi_mib - s.lo_mib) * 0.06, s.hi_mib * 0.01);
    s.lo_mib -= room;
    s.hi_mib += room;
    s.lo_kld = floor(s.lo_kld);
    s.hi_kld = fmax(ceil(s.hi_kld), s.lo_kld + 1);
    return s;
}

static double x_of(const scales *s, double size) {
    return LEFT + (size - s->lo_mib) / (s->hi_mib - s->lo_mib) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const scales *s, double kld) {
    return TOP + (s->hi_kld - kld) / (s->hi_kld - s->lo_kld) * (HEIGHT - TOP - BOTTOM);
}

static void put_axes(FILE *f, const scales *s) {
    for (double k = s->lo_kld; k <= s->hi_kld + 0.5; k++)
        fprintf(f,
                "<path class=\"axis\" d=\"M%.0f %.1fH%.0f\"/><text x=\"%.0f\" y=\"%.1f\" "
                "text-anchor=\"end\">%g</text>\n",
                LEFT, y_of(s, k), WIDTH - RIGHT, LEFT - 4, y_of(s, k) + 3, pow(10, k));
    for (int i = 0; i <= 4; i++) {
        double size = s->lo_mib + (s->hi_mib - s->lo_mib) * i / 4;
        fprintf(f, "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"%s\">%.4g</text>\n", x_of(s, size),
                HEIGHT - BOTTOM + 13,
                i == 0   ? "start"
                : i == 4 ? "end"
                         : "middle",
                size);
    }
    fprintf(f, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">MiB</text>\n", WIDTH - RIGHT,
            HEIGHT - 5);
    fprintf(f, "<text x=\"4\" y=\"9\">KLD</text>\n");
}

static void put_picture(FILE *f, const outcomes *all) {
    const scales s = scales_of(all);
    fprintf(f, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"KLD over size\">\n", WIDTH,
            HEIGHT);
    put_axes(f, &s);
    fprintf(f, "<polyline points=\"");
    for (size_t i = 0; i < all->n; i++)
        if (all->list[i].best)
            fprintf(f, "%.1f,%.1f ", x_of(&s, mib(&all->list[i])),
                    y_of(&s, log_kld(&all->list[i])));
    fprintf(f, "\"/>\n");
    for (size_t i = 0; i < all->n; i++) {
        const outcome *o = &all->list[i];
        double x = x_of(&s, mib(o)), y = y_of(&s, log_kld(o));
        fprintf(f, "<circle%s cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>",
                o->best ? " class=\"best\"" : "", x, y);
        put_text(f, o->name);
        /* The line falls to the right: its numbers stand below it, the others above. */
        fprintf(f, "</title></circle><text x=\"%.1f\" y=\"%.1f\"%s>%zu</text>\n",
                o->best ? x - 3 : x + 3, o->best ? y + 11 : y - 5,
                o->best ? " text-anchor=\"end\"" : "", i + 1);
    }
    fprintf(f, "</svg>\n");
}

static void put_table(FILE *f, const outcomes *all) {
    char size[32];
    fprintf(f, "<div class=\"wide\"><table>\n<tr><th class=\"n\"></th><th>type</th>"
               "<th class=\"n\">size</th><th class=\"n\">bits</th><th class=\"n\">KLD</th>"
               "<th class=\"n more\">±</th><th class=\"n more\">same top token</th>"
               "<th class=\"n more\">perplexity</th></tr>\n");
    for (size_t i = 0; i < all->n; i++) {
        const outcome *o = &all->list[i];
        const rt_quality *q = &o->quality;
        fprintf(f, "<tr%s><td class=\"n\">%zu</td><td>", o->best ? " class=\"best\"" : "", i + 1);
        put_text(f, o->name);
        fprintf(f,
                "</td><td class=\"n\">%s</td><td class=\"n\">%.2f</td><td class=\"n\">%.6f</td>"
                "<td class=\"n more\">%.6f</td><td class=\"n more\">%.2f %%</td>"
                "<td class=\"n more\">%.4f</td></tr>\n",
                tool_size_text(o->n_bytes, size, sizeof size), o->bpw, q->kld_mean, q->kld_stderr,
                100 * q->top1_agreement, q->ppl);
    }
    fprintf(f, "</table></div>\n");
}

static void write_page(FILE *f, const void *ctx) {
    const outcomes *all = ctx;
    char size[32];
    const rt_quality *q = &all->list[0].quality;
    fprintf(f, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n"
               "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    put_text(f, last_part(all->input));
    fprintf(f, "</title>\n<style>%s</style></head>\n<body>\n<h1>", style);
    put_text(f, last_part(all->input));
    fprintf(f, "</h1>\n<p>%s, %.2f bits per weight, perplexity %.4f. ",
            tool_size_text(all->n_bytes, size, sizeof size), all->bpw, q->base_ppl);
    fprintf(f,
            "Divergence from it (KLD, natural logarithm) over %" PRIu64
            " tokens, with f32 activations.</p>\n<h2>KLD over size</h2>\n",
            q->n_tokens);
    put_picture(f, all);
    fprintf(f, "<p>Blue, bold in the table: nothing measured is both smaller and nearer.</p>\n"
               "<h2>Types</h2>\n");
    put_table(f, all);
    fprintf(f, "</body>\n</html>\n");
}

/* ---- the whole --------------------------------------------------------------------------- */

static json_t *outcome_json(const outcome *o) {
    const rt_quality *q = &o->quality;
    return json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:b}", "type", o->name, "size_bytes",
                     (json_int_t)o->n_bytes, "bpw", tool_json_real(o->bpw), "kld_mean",
                     tool_json_real(q->kld_mean), "kld_stderr", tool_json_real(q->kld_stderr),
                     "top1_agreement", tool_json_real(q->top1_agreement), "ppl",
                     tool_json_real(q->ppl), "best", o->best);
}

static void print_json(const outcomes *all, const char *page) {
    json_t *types = json_array();
    for (size_t i = 0; i < all->n; i++) json_array_append_new(types, outcome_json(&all->list[i]));
    const rt_quality *q = &all->list[0].quality;
    json_t *root = json_object();
    json_object_set_new(root, "input", tool_json_bytes(all->input, strlen(all->input)));
    json_object_set_new(root, "output", tool_json_bytes(page, strlen(page)));
    json_object_set_new(root, "size_bytes", json_integer((json_int_t)all->n_bytes));
    json_object_set_new(root, "bpw", tool_json_real(all->bpw));
    json_object_set_new(root, "ppl", tool_json_real(q->base_ppl));
    json_object_set_new(root, "n_tokens", json_integer((json_int_t)q->n_tokens));
    json_object_set_new(root, "types", types);
    tool_print_json(root);
}

static void weigh_input(const gguf_file *file, outcomes *all) {
    double n_bytes = 0, n_elems = 0;
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        n_bytes += (double)gguf_file_tensor(file, i)->n_bytes;
        n_elems += (double)gguf_tensor_n_elems(gguf_file_tensor(file, i));
    }
    all->n_bytes = gguf_file_bytes(file);
    all->bpw = n_elems > 0 ? 8 * n_bytes / n_elems : 0;
}

gguf_code quantize_report_write(tool *t, const char *input, char *const *types, size_t n_types,
                                const write_opts *opts, const quantize_report *report,
                                gguf_error *err) {
    outcomes all = {.input = input, .n = n_types};
    gguf_file *file = NULL;
    rt_model *base = NULL;
    if (gguf_ranks_n(t->ranks) > 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--report measures in one process");
    gguf_code code = tool_check_output(t, report->page, TOOL_OUTPUT_STREAM, err);
    if (!code && !(all.list = calloc(n_types, sizeof *all.list))) code = gguf_fail_memory(err);
    if (!code) code = gguf_file_open(input, GGUF_OPEN_DEFAULT, &file, err);
    if (!code) weigh_input(file, &all);
    if (!code) code = rt_model_open(input, &base, err);
    if (!code) code = measure_all(t, types, base, opts, report, &all, err);
    if (!code) {
        qsort(all.list, all.n, sizeof *all.list, by_size);
        find_best(&all);
        code = tool_save_page(t, report->page, write_page, &all, err);
    }
    if (!code && t->json) print_json(&all, report->page);
    if (!code && !t->json) tool_note(t, "%s: a page for a browser", report->page);
    rt_model_close(base);
    gguf_file_close(file);
    free(all.list);
    return code;
}
