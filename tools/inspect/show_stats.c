/* stats: what the weights of each tensor and layer look like. */
#include "tools/inspect/show_stats.h"
#include "tools/common/page.h"
#include "tools/common/pager.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- measuring --------------------------------------------------------------------------- */

static gguf_code measure(const inspect_call *c, const gguf_file *file,
                         const gguf_tensor *const *sorted, inspect_stats_list *list) {
    gguf_pool *pool = NULL;
    gguf_code code = gguf_pool_new(c->t->n_threads, &pool, c->err);
    uint64_t done = 0, total = 0;
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++)
        if (inspect_takes_tensor(c->o, gguf_file_tensor(file, i)->name))
            total += gguf_file_tensor(file, i)->n_bytes;
    for (size_t i = 0; i < gguf_file_n_tensors(file) && !code; i++) {
        const gguf_tensor *t = sorted[i];
        if (!inspect_takes_tensor(c->o, t->name)) continue;
        inspect_stats_row *row = &list->rows[list->n++];
        row->tensor = t;
        row->layer = inspect_layer_of(t->name);
        row->measured = quant_can_decode(t->type);
        if (row->measured)
            code = quant_stats_of(t->type, gguf_file_data(file, t), gguf_tensor_n_elems(t),
                                  t->dims[0], pool, &tool_cancelled, &row->stats, c->err);
        gguf_file_release(file, t, 0, t->n_bytes);
        done += t->n_bytes;
        tool_progress(c->t, done, total);
    }
    gguf_pool_free(pool);
    return code;
}

static gguf_code merge_layers(const inspect_call *c, inspect_stats_list *list) {
    int last = -1;
    for (size_t i = 0; i < list->n; i++)
        if (list->rows[i].layer > last) last = list->rows[i].layer;
    /* A file can name any layer; only as many as tensors are kept apart. */
    if (last >= 0 && (size_t)last >= list->n * 64) last = -1;
    list->n_layers = (size_t)(last + 1);
    list->layers = calloc(list->n_layers + 1, sizeof *list->layers);
    if (!list->layers) return gguf_fail_memory(c->err);
    for (size_t i = 0; i < list->n; i++) {
        const inspect_stats_row *row = &list->rows[i];
        if (row->layer >= 0 && (size_t)row->layer < list->n_layers && row->measured)
            quant_stats_merge(&list->layers[row->layer], &row->stats);
    }
    return GGUF_OK;
}

gguf_code inspect_stats_measure(const inspect_call *c, const gguf_file *file,
                                inspect_stats_list *list) {
    *list = (inspect_stats_list){0};
    list->rows = calloc(gguf_file_n_tensors(file) + 1, sizeof *list->rows);
    if (!list->rows) return gguf_fail_memory(c->err);
    const gguf_tensor **sorted;
    gguf_code code = inspect_order_tensors(file, &sorted, c->err);
    if (!code) code = measure(c, file, sorted, list);
    free(sorted);
    if (!code) code = merge_layers(c, list);
    return code;
}

void inspect_stats_clear(inspect_stats_list *list) {
    free(list->rows);
    free(list->layers);
}

/* ---- text -------------------------------------------------------------------------------- */

#define BARS 32 /* of the histogram in the terminal */

static void print_bars(const quant_stats *s) {
    static const char *const marks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    uint64_t bars[BARS] = {0}, top = 1;
    for (size_t i = 0; i < QUANT_STATS_BINS; i++) bars[i * BARS / QUANT_STATS_BINS] += s->hist[i];
    for (size_t i = 0; i < BARS; i++) top = bars[i] > top ? bars[i] : top;
    printf("    %.4g |%s", -s->hist_limit, tool_style_text(TOOL_CYAN));
    for (size_t i = 0; i < BARS; i++) {
        size_t level = (size_t)((double)bars[i] * 8 / (double)top + 0.5);
        printf("%s", marks[bars[i] && !level ? 1 : level]);
    }
    printf("%s| %.4g", tool_style_text(TOOL_PLAIN), s->hist_limit);
    if (s->n_codes)
        printf("   codes %u of %u, %.2f bits", quant_stats_codes_used(s), s->n_codes,
               quant_stats_code_entropy(s));
    printf("\n");
}

static void print_numbers(const quant_stats *s) {
    printf("min %.5g  max %.5g  mean %.5g  std %.5g  zeros %" PRIu64, s->min, s->max, s->mean,
           quant_stats_std(s), s->n_zero);
    if (s->n_nan || s->n_inf)
        printf("  %sNaN %" PRIu64 "  Inf %" PRIu64 "%s", tool_style_text(TOOL_RED), s->n_nan,
               s->n_inf, tool_style_text(TOOL_PLAIN));
    printf("\n");
}

static void print_row(const inspect_stats_row *row) {
    char name[300], shape[96];
    const gguf_tensor *t = row->tensor;
    printf("%s%s%s  %s %s", tool_style_text(TOOL_BOLD),
           tool_escape(t->name.ptr, t->name.len, name, sizeof name), tool_style_text(TOOL_PLAIN),
           gguf_type_name(t->type), inspect_shape(t, shape, sizeof shape));
    if (!row->measured) {
        printf("  (cannot be decoded)\n");
        return;
    }
    printf("\n    ");
    print_numbers(&row->stats);
    print_bars(&row->stats);
}

static void print_list(const inspect_stats_list *list) {
    for (size_t i = 0; i < list->n; i++) print_row(&list->rows[i]);
    for (size_t i = 0; i < list->n_layers; i++) {
        if (!list->layers[i].n) continue;
        printf("%slayer %zu%s  ", tool_style_text(TOOL_BOLD), i, tool_style_text(TOOL_PLAIN));
        print_numbers(&list->layers[i]);
    }
}

/* ---- JSON -------------------------------------------------------------------------------- */

static void json_numbers(json_out *j, const quant_stats *s) {
    json_out_u64(j, "n_values", s->n);
    json_out_real(j, "min", s->min);
    json_out_real(j, "max", s->max);
    json_out_real(j, "mean", s->mean);
    json_out_real(j, "std", quant_stats_std(s));
    json_out_u64(j, "zeros", s->n_zero);
    json_out_u64(j, "nan", s->n_nan);
    json_out_u64(j, "inf", s->n_inf);
}

static void json_list_of(json_out *j, const char *key, const uint64_t *values, size_t n) {
    json_out_array(j, key, true);
    for (size_t i = 0; i < n; i++) json_out_u64(j, NULL, values[i]);
    json_out_end_array(j);
}

static void json_row(json_out *j, const inspect_stats_row *row) {
    const gguf_tensor *t = row->tensor;
    json_out_object(j, NULL, true);
    json_out_bytes(j, "name", t->name.ptr, t->name.len);
    json_out_text(j, "type", gguf_type_name(t->type));
    json_out_bool(j, "measured", row->measured);
    if (row->measured) {
        json_numbers(j, &row->stats);
        json_out_real(j, "histogram_limit", row->stats.hist_limit);
        json_list_of(j, "histogram", row->stats.hist, QUANT_STATS_BINS);
    }
    if (row->measured && row->stats.n_codes) {
        json_out_u64(j, "codes_used", quant_stats_codes_used(&row->stats));
        json_out_real(j, "code_entropy_bits", quant_stats_code_entropy(&row->stats));
        json_list_of(j, "codes", row->stats.codes, row->stats.n_codes);
    }
    json_out_end_object(j);
}

static void json_list(const gguf_file *file, const inspect_stats_list *list) {
    json_out j = {.file = stdout};
    json_out_object(&j, NULL, false);
    json_out_bytes(&j, "file", gguf_file_path(file), strlen(gguf_file_path(file)));
    json_out_array(&j, "tensors", false);
    for (size_t i = 0; i < list->n; i++) json_row(&j, &list->rows[i]);
    json_out_end_array(&j);
    json_out_array(&j, "layers", false);
    for (size_t i = 0; i < list->n_layers; i++) {
        if (!list->layers[i].n) continue;
        json_out_object(&j, NULL, true);
        json_out_u64(&j, "layer", i);
        json_numbers(&j, &list->layers[i]);
        json_out_end_object(&j);
    }
    json_out_end_array(&j);
    json_out_end_object(&j);
    json_out_document_end(&j);
}

/* ---- the verb ---------------------------------------------------------------------------- */

static void write_plot(FILE *f, const void *ctx) {
    inspect_svg_page(f, ctx);
}

gguf_code inspect_stats(const inspect_call *c) {
    gguf_file *file;
    inspect_stats_list list = {0};
    gguf_code code = inspect_open_values(c, 0, &file);
    if (code) return code;
    if (c->o->plot) code = tool_check_plot(c->t, c->o->plot, c->err);
    if (!code) code = inspect_check_filters(c, file, NULL, false, true);
    if (!code) code = inspect_stats_measure(c, file, &list);
    if (!code && c->o->plot) code = tool_save_plot(c->t, c->o->plot, write_plot, &list, c->err);
    if (!code) c->t->json ? json_list(file, &list) : print_list(&list);
    inspect_stats_clear(&list);
    gguf_file_close(file);
    return code;
}
