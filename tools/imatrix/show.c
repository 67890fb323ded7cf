/* Statistics of an importance matrix as table and JSON. */
#include "tools/imatrix/show.h"
#include "tools/common/page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double show_similarity(const quant_imatrix *im, const quant_imatrix_entry *e) {
    const quant_imatrix_entry *before = quant_imatrix_layer_before(im, e);
    return before ? quant_imatrix_cosine(before, e) : NAN;
}

/* Numbers of the matrices with so few samples. */
static json_t *mats_json(const quant_imatrix_entry *e, quant_imatrix_samples samples) {
    json_t *list = json_array();
    for (size_t m = 0; m < e->n_mats; m++)
        if (quant_imatrix_samples_of(e, m) == samples)
            json_array_append_new(list, json_integer((json_int_t)m));
    return list;
}

static json_t *stats_json(const quant_imatrix *im, const quant_imatrix_entry *e) {
    quant_imatrix_stats s = quant_imatrix_stats_of(e);
    json_t *row =
        json_pack("{s:o, s:I, s:I, s:I}", "name", tool_json_bytes(e->name, strlen(e->name)),
                  "n_cols", (json_int_t)e->n_cols, "n_mats", (json_int_t)e->n_mats, "n_unseen_mats",
                  (json_int_t)s.n_unseen_mats);
    json_object_set_new(row, "energy", tool_json_real(s.energy));
    json_object_set_new(row, "mean", tool_json_real(s.mean));
    json_object_set_new(row, "max", tool_json_real(s.max));
    json_object_set_new(row, "deviation", tool_json_real(s.deviation));
    json_object_set_new(row, "entropy", tool_json_real(s.entropy));
    json_object_set_new(row, "active_share", tool_json_real(s.active_share));
    json_object_set_new(row, "z_density", tool_json_real(s.z_density));
    double cosine = show_similarity(im, e);
    json_object_set_new(row, "similarity", isnan(cosine) ? json_null() : tool_json_real(cosine));
    if (e->n_mats > 1) {
        json_object_set_new(row, "unseen_mats", mats_json(e, QUANT_IMATRIX_UNSEEN));
        json_object_set_new(row, "rare_mats", mats_json(e, QUANT_IMATRIX_RARE));
    }
    return row;
}

static void print_mats(const quant_imatrix_entry *e, quant_imatrix_samples samples,
                       const char *what) {
    printf("    %s:", what);
    for (size_t m = 0; m < e->n_mats; m++)
        if (quant_imatrix_samples_of(e, m) == samples) printf(" %zu (%.0f)", m, e->counts[m]);
    printf("\n");
}

static void print_row(const quant_imatrix *im, const quant_imatrix_entry *e) {
    char name[1100], cosine[16] = "-";
    quant_imatrix_stats s = quant_imatrix_stats_of(e);
    double like = show_similarity(im, e);
    if (!isnan(like)) snprintf(cosine, sizeof cosine, "%.4f", like);
    printf("%-36s %8zu %12.5g %12.5g %12.5g %8.3f %7.2f%% %7.2f%% %7s\n",
           tool_escape(e->name, strlen(e->name), name, sizeof name), e->n_cols, s.energy, s.mean,
           s.max, s.entropy, 100 * s.active_share, 100 * s.z_density, cosine);
    if (s.n_unseen_mats) print_mats(e, QUANT_IMATRIX_UNSEEN, "experts without samples");
    if (s.n_rare_mats) print_mats(e, QUANT_IMATRIX_RARE, "experts with few samples");
}

static void print_json(const quant_imatrix *im) {
    json_t *list = json_array();
    for (size_t i = 0; i < quant_imatrix_count(im); i++)
        json_array_append_new(list, stats_json(im, quant_imatrix_at(im, i)));
    tool_print_json(json_pack("{s:o}", "tensors", list));
}

static void print_table(const quant_imatrix *im) {
    printf("%-36s %8s %12s %12s %12s %8s %8s %8s %7s\n", "tensor", "columns", "energy", "mean",
           "max", "entropy", "active", "far", "similar");
    for (size_t i = 0; i < quant_imatrix_count(im); i++) print_row(im, quant_imatrix_at(im, i));
}

static void write_plot(FILE *f, const void *ctx) {
    show_plot(f, ctx);
}

gguf_code show_matrix(tool *t, const char *path, const char *plot, gguf_error *err) {
    quant_imatrix *im;
    gguf_code code = plot ? tool_check_plot(t, plot, err) : GGUF_OK;
    if (!code) code = quant_imatrix_load(path, &im, err);
    if (code) return code;
    if (t->json)
        print_json(im);
    else
        print_table(im);
    if (plot) code = tool_save_plot(t, plot, write_plot, im, err);
    quant_imatrix_free(im);
    return code;
}
