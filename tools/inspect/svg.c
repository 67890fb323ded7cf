/* Histograms and curves as SVG. */
#include "tools/common/page.h"
#include "tools/inspect/show_stats.h"

#include <math.h>
#include <string.h>

static double top_count(const quant_stats *s) {
    uint64_t top = 1;
    for (size_t i = 0; i < QUANT_STATS_BINS; i++) top = s->hist[i] > top ? s->hist[i] : top;
    return (double)top;
}

/* Heights follow the logarithm of the count, so that the tails can be seen. */
void inspect_svg_histogram(FILE *f, const inspect_stats_row *row, double width, double height) {
    const quant_stats *s = &row->stats;
    double step = width / QUANT_STATS_BINS, top = log1p(top_count(s));
    fprintf(f, "<g class=\"hist\"><path d=\"");
    for (size_t i = 0; i < QUANT_STATS_BINS; i++) {
        double h = log1p((double)s->hist[i]) / top * (height - 14);
        if (h > 0)
            fprintf(f, "M%.1f %.1fh%.1fv%.1fh-%.1fz", (double)i * step, height - 14 - h, step, h,
                    step);
    }
    fprintf(f, "\"/><text x=\"0\" y=\"%.0f\">%.3g</text>", height - 2, -s->hist_limit);
    fprintf(f, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%.3g</text></g>\n", width,
            height - 2, s->hist_limit);
}

static void put_curve(FILE *f, const inspect_stats_list *list, const char *name, double top,
                      double width, double height, double (*value)(const quant_stats *)) {
    double step = list->n_layers > 1 ? (width - 80) / (double)(list->n_layers - 1) : 0;
    fprintf(f, "<polyline class=\"%s\" points=\"", name);
    for (size_t i = 0; i < list->n_layers; i++)
        if (list->layers[i].n)
            fprintf(f, "%.1f,%.1f ", 70 + step * (double)i,
                    height - 20 - value(&list->layers[i]) / top * (height - 30));
    fprintf(f, "\"/>\n");
}

static double largest(const quant_stats *s) {
    return fmax(fabs(s->min), fabs(s->max));
}

static double top_of(const inspect_stats_list *list, double (*value)(const quant_stats *)) {
    double top = 0;
    for (size_t i = 0; i < list->n_layers; i++) top = fmax(top, value(&list->layers[i]));
    return top > 0 ? top : 1;
}

void inspect_svg_layers(FILE *f, const inspect_stats_list *list, double width, double height) {
    double std = top_of(list, quant_stats_std), max = top_of(list, largest);
    fprintf(f, "<g class=\"curves\"><path class=\"axis\" d=\"M70 10V%.0fH%.0f\"/>\n", height - 20,
            width - 10);
    put_curve(f, list, "std", std, width, height, quant_stats_std);
    put_curve(f, list, "max", max, width, height, largest);
    fprintf(f, "<text class=\"std\" x=\"0\" y=\"18\">std %.3g</text>", std);
    fprintf(f, "<text class=\"max\" x=\"0\" y=\"32\">max %.3g</text>", max);
    fprintf(f, "<text x=\"70\" y=\"%.0f\">layer 0</text>", height - 6);
    fprintf(f, "<text x=\"%.0f\" y=\"%.0f\" text-anchor=\"end\">%zu</text></g>\n", width - 10,
            height - 6, list->n_layers ? list->n_layers - 1 : 0);
}

#define COLUMNS     4
#define CELL_WIDTH  240.0
#define CELL_HEIGHT 120.0

static void put_cell(FILE *f, const inspect_stats_row *row, size_t place, double top) {
    fprintf(f, "<g transform=\"translate(%.0f %.0f)\"><text class=\"name\" y=\"10\">",
            10 + (double)(place % COLUMNS) * CELL_WIDTH,
            top + (double)(place / COLUMNS) * CELL_HEIGHT);
    tool_xml_text(f, row->tensor->name.ptr, row->tensor->name.len);
    fprintf(f, "</text><g transform=\"translate(0 14)\">");
    inspect_svg_histogram(f, row, CELL_WIDTH - 20, CELL_HEIGHT - 30);
    fprintf(f, "</g></g>\n");
}

void inspect_svg_page(FILE *f, const inspect_stats_list *list) {
    size_t place = 0, n = 0;
    double top = list->n_layers > 1 ? 220 : 10;
    for (size_t i = 0; i < list->n; i++) n += list->rows[i].measured;
    double height = top + 10 + (double)((n + COLUMNS - 1) / COLUMNS) * CELL_HEIGHT;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "font-family=\"sans-serif\" font-size=\"10\">\n",
            COLUMNS * CELL_WIDTH, height);
    fprintf(f, "<style>svg{background:#fff}.hist path{fill:#3b6ea5}.curves *{fill:none}"
               ".axis{stroke:#888}polyline.std{stroke:#3b6ea5}polyline.max{stroke:#c2542d}"
               ".curves text{fill:#333}.curves text.std{fill:#3b6ea5}"
               ".curves text.max{fill:#c2542d}</style>\n");
    if (list->n_layers > 1) inspect_svg_layers(f, list, COLUMNS * CELL_WIDTH, 200);
    for (size_t i = 0; i < list->n; i++)
        if (list->rows[i].measured) put_cell(f, &list->rows[i], place++, top);
    fprintf(f, "</svg>\n");
}
