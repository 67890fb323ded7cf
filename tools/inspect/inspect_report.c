/* report: one HTML page that needs nothing else. */
#include "tools/common/output_files.h"
#include "tools/common/page.h"
#include "tools/inspect/show_stats.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    "body{font:14px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#222;background:#fff}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}"
    "table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;"
    "vertical-align:top}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
    ".wide{overflow-x:auto}td{overflow-wrap:anywhere}.wide td{overflow-wrap:normal}"
    "@media(max-width:40rem){.count{display:none}td,th{padding-right:.5rem}}"
    "tr:nth-child(even){background:#f5f6f8}.bar{display:inline-block;height:.8rem;"
    "background:#3b6ea5}svg{font:10px sans-serif}.hist path{fill:#3b6ea5}.curves *{fill:none}"
    ".axis{stroke:#888}polyline.std{stroke:#3b6ea5}polyline.max{stroke:#c2542d}"
    "svg text{fill:#333}.curves text{fill:#333}.curves text.std{fill:#3b6ea5}"
    ".curves text.max{fill:#c2542d}.cells{display:flex;flex-wrap:wrap;gap:1rem}"
    "figure{margin:0}figcaption{font-size:.75rem;overflow-wrap:anywhere;width:220px}"
    ".bad{color:#b00020;font-weight:bold}pre{white-space:pre-wrap;background:#f5f6f8;padding:1rem}"
    "@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}"
    "tr:nth-child(even),pre{background:#20242a}svg text,.curves text{fill:#bbb}}";

typedef struct page {
    const gguf_file *file; /* NULL: it is broken, and what could be read is in `found` */
    const gguf_scan_set *found;
    const inspect_opts *o;
    const inspect_stats_list *list;
    inspect_facts facts;
} page;

static void put_text(FILE *f, const char *text) {
    tool_xml_text(f, text, strlen(text));
}

/* The page does not say in which folder the file lay. */
static void put_line(void *ctx, const char *label, const char *text) {
    FILE *f = ctx;
    if (strcmp(label, "file") == 0) return;
    fprintf(f, "<tr><th>");
    put_text(f, label);
    fprintf(f, "</th><td>");
    put_text(f, text);
    fprintf(f, "</td></tr>\n");
}

static void put_shares(FILE *f, const char *title, const inspect_share *s, size_t n,
                       const inspect_facts *facts) {
    char size[32];
    fprintf(f, "<h2>%s</h2>\n<table>\n", title);
    for (size_t i = 0; i < n; i++) {
        double share = facts->n_bytes ? (double)s[i].n_bytes / (double)facts->n_bytes : 0;
        if (!s[i].n_tensors) continue;
        fprintf(
            f,
            "<tr><th>%s</th><td class=\"n count\">%zu tensor%s</td><td class=\"n\">%s</td>"
            "<td class=\"n\">%.1f %%</td><td><span class=\"bar\" style=\"width:calc(%.4f * min(20rem, 25vw))\">"
            "</span></td></tr>\n",
            s[i].name, s[i].n_tensors, tool_s(s[i].n_tensors),
            tool_size_text(s[i].n_bytes, size, sizeof size), 100 * share, share);
    }
    fprintf(f, "</table>\n");
}

static void put_numbers(FILE *f, const inspect_stats_row *row) {
    const quant_stats *s = &row->stats;
    if (!row->measured) {
        fprintf(f, "<td colspan=\"6\">cannot be decoded</td>");
        return;
    }
    fprintf(f,
            "<td class=\"n\">%.4g</td><td class=\"n\">%.4g</td><td class=\"n\">%.4g</td>"
            "<td class=\"n\">%.4g</td><td class=\"n\">%" PRIu64 "</td>",
            s->min, s->max, s->mean, quant_stats_std(s), s->n_zero);
    fprintf(f, "<td class=\"n%s\">%" PRIu64 "</td>", s->n_nan + s->n_inf ? " bad" : "",
            s->n_nan + s->n_inf);
}

static void put_tensors(FILE *f, const inspect_stats_list *list) {
    char shape[96], size[32];
    fprintf(
        f,
        "<h2>Tensors</h2>\n<div class=\"wide\"><table>\n<tr><th>name</th><th>type</th><th>shape</th>"
        "<th>size</th><th>min</th><th>max</th><th>mean</th><th>std</th><th>zeros</th>"
        "<th>NaN, Inf</th></tr>\n");
    for (size_t i = 0; i < list->n; i++) {
        const gguf_tensor *t = list->rows[i].tensor;
        fprintf(f, "<tr><td>");
        tool_xml_text(f, t->name.ptr, t->name.len);
        fprintf(f, "</td><td>%s</td><td>%s</td><td class=\"n\">%s</td>", gguf_type_name(t->type),
                inspect_shape(t, shape, sizeof shape),
                tool_size_text(t->n_bytes, size, sizeof size));
        put_numbers(f, &list->rows[i]);
        fprintf(f, "</tr>\n");
    }
    fprintf(f, "</table></div>\n");
}

static void put_plots(FILE *f, const inspect_stats_list *list) {
    if (list->n_layers > 1) {
        fprintf(f, "<h2>Layers</h2>\n<p>Standard deviation and largest magnitude of the weights of "
                   "each layer.</p>\n<div class=\"wide\"><svg width=\"900\" height=\"220\">");
        inspect_svg_layers(f, list, 900, 220);
        fprintf(f, "</svg></div>\n");
    }
    fprintf(f, "<h2>Values</h2>\n<p>Heights follow the logarithm of the count.</p>\n"
               "<div class=\"cells\">\n");
    for (size_t i = 0; i < list->n; i++) {
        if (!list->rows[i].measured) continue;
        fprintf(f, "<figure><svg width=\"220\" height=\"90\">");
        inspect_svg_histogram(f, &list->rows[i], 220, 90);
        fprintf(f, "</svg><figcaption>");
        tool_xml_text(f, list->rows[i].tensor->name.ptr, list->rows[i].tensor->name.len);
        fprintf(f, "</figcaption></figure>\n");
    }
    fprintf(f, "</div>\n");
}

static void put_metadata(FILE *f, const gguf_meta *meta) {
    char *text = NULL;
    size_t n = 0;
    fprintf(f, "<h2>Metadata</h2>\n<table>\n");
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        FILE *value = open_memstream(&text, &n);
        if (!value) break;
        inspect_print_kv_value(value, kv, 8);
        fclose(value);
        fprintf(f, "<tr><td>");
        tool_xml_text(f, kv->key.ptr, kv->key.len);
        fprintf(f, "</td><td>");
        tool_xml_text(f, text, n);
        fprintf(f, "</td></tr>\n");
        free(text);
        text = NULL;
    }
    fprintf(f, "</table>\n");
}

static void put_template(FILE *f, const gguf_meta *meta) {
    gguf_str s;
    if (!gguf_kv_str(gguf_meta_find(meta, "tokenizer.chat_template"), &s)) return;
    fprintf(f, "<h2>Chat template</h2>\n<pre>");
    tool_xml_text(f, s.ptr, s.len);
    fprintf(f, "</pre>\n");
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What verify finds, shard after shard. */
static void put_findings(FILE *f, const gguf_scan_set *set) {
    fprintf(f, "<h2>Findings</h2>\n");
    if (!inspect_count_findings(set)) {
        fprintf(f, "<p>None: the file is whole and sound.</p>\n");
        return;
    }
    fprintf(f, "<table>\n");
    for (size_t i = 0; i < set->n_parts; i++) {
        const gguf_findings *found = &set->parts[i].findings;
        for (size_t k = 0; k < found->n; k++) {
            fprintf(f, "<tr><td>");
            put_text(f, last_part(set->parts[i].path));
            fprintf(f, "</td><td class=\"n\">");
            if (found->items[k].off != GGUF_NO_OFFSET)
                fprintf(f, "byte %" PRId64, found->items[k].off);
            fprintf(f, "</td><td class=\"bad\">");
            put_text(f, found->items[k].text);
            fprintf(f, "</td></tr>\n");
        }
        if (found->n_dropped)
            fprintf(f, "<tr><td>and %" PRIu64 " more</td></tr>\n", found->n_dropped);
    }
    fprintf(f, "</table>\n");
}

/* The tensors of a file that does not open, as far as they are listed. */
static void put_scanned(FILE *f, const gguf_scan *scan, const inspect_opts *o) {
    char shape[96], size[32];
    fprintf(f, "<h2>Tensors</h2>\n<div class=\"wide\"><table>\n");
    for (size_t i = 0; i < gguf_scan_n_tensors(scan); i++) {
        const gguf_tensor *t = gguf_scan_tensor(scan, i);
        const char *type = gguf_type_name(t->type);
        if (!inspect_takes_tensor(o, t->name)) continue;
        fprintf(f, "<tr><td>");
        tool_xml_text(f, t->name.ptr, t->name.len);
        fprintf(
            f, "</td><td>%s</td><td>%s</td><td class=\"n\">%s</td><td class=\"bad\">%s</td></tr>\n",
            type ? type : "", inspect_shape(t, shape, sizeof shape),
            tool_size_text(t->n_bytes, size, sizeof size),
            gguf_scan_data(scan, i) ? "" : "not whole");
    }
    fprintf(f, "</table></div>\n");
}

static void write_page(FILE *f, const void *ctx) {
    const page *p = ctx;
    const gguf_scan_part *first = &p->found->parts[0];
    const gguf_meta *meta = p->file ? gguf_file_meta(p->file) : gguf_scan_meta(first->scan);
    const char *name = last_part(first->path);
    fprintf(f, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\n"
               "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    put_text(f, name);
    fprintf(f, "</title>\n<style>%s</style></head>\n<body>\n<h1>", style);
    put_text(f, name);
    fprintf(f, "</h1>\n");
    if (p->file) {
        fprintf(f, "<table>\n");
        inspect_each_line(&p->facts, put_line, f);
        fprintf(f, "</table>\n");
    }
    put_findings(f, p->found);
    if (p->file) {
        put_shares(f, "Size by type", p->facts.types, p->facts.n_types, &p->facts);
        put_shares(f, "Size by part", p->facts.parts, N_PARTS, &p->facts);
        put_plots(f, p->list);
        put_tensors(f, p->list);
    } else {
        put_scanned(f, first->scan, p->o);
    }
    put_metadata(f, meta);
    put_template(f, meta);
    fprintf(f, "</body>\n</html>\n");
}

static gguf_code write_report(const inspect_call *c, const gguf_file *file,
                              const gguf_scan_set *found) {
    inspect_stats_list list = {0};
    page p = {.file = file, .found = found, .o = c->o, .list = &list};
    uint64_t n = inspect_count_findings(found);
    gguf_code code = file ? inspect_stats_measure(c, file, &list) : GGUF_OK;
    if (file) p.facts = inspect_facts_of(file);
    if (!code) code = tool_save_page(c->t, c->o->output, write_page, &p, c->err);
    inspect_stats_clear(&list);
    if (code) return code;
    if (n)
        tool_warn(c->t, "%s: %" PRIu64 " finding%s, which the report lists", c->files[0], n,
                  n == 1 ? "" : "s");
    if (!c->t->json) {
        tool_note(c->t, "%s: a page for a browser", c->o->output);
        return GGUF_OK;
    }
    json_out j = {.file = stdout};
    json_out_object(&j, NULL, false);
    json_out_bytes(&j, "file", c->files[0], strlen(c->files[0]));
    json_out_bytes(&j, "output", c->o->output, strlen(c->o->output));
    json_out_u64(&j, "n_findings", n);
    json_out_end_object(&j);
    json_out_document_end(&j);
    return GGUF_OK;
}

/* A broken file has a report of what is wrong with it; without findings it is refused as ever. */
static gguf_code open_reported(const inspect_call *c, const gguf_scan_set *found,
                               gguf_file **file) {
    gguf_error why = {0};
    inspect_call quiet = *c;
    *file = NULL;
    quiet.err = &why;
    gguf_code code = inspect_open_values(&quiet, 0, file);
    if (!code || (why.code != GGUF_E_UNSUPPORTED && inspect_count_findings(found))) return GGUF_OK;
    *c->err = why;
    return code;
}

gguf_code inspect_report(const inspect_call *c) {
    gguf_file *file = NULL;
    gguf_scan_set found = {0};
    if (!c->o->output)
        return gguf_fail(c->err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "report needs -o FILE (see --help)");
    gguf_code code = inspect_find_all(c, &found);
    if (!code) code = open_reported(c, &found, &file);
    if (!code) code = tool_check_output(c->t, c->o->output, TOOL_OUTPUT_STREAM, c->err);
    if (!code && file) code = inspect_check_filters(c, file, NULL, false, true);
    if (!code) code = write_report(c, file, &found);
    gguf_file_close(file);
    gguf_scan_set_close(&found);
    return code;
}
