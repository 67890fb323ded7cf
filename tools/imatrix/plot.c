/* Statistics of an importance matrix over the layers, as SVG. */
#include "tools/common/page.h"
#include "tools/imatrix/show.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define WIDTH      760.0
#define HEIGHT     220.0
#define LEFT       70.0
#define MAX_KINDS  16
#define MAX_LAYERS 1024

/* A value per layer of one kind of weight ("attn_q.weight"); NaN where there is none. */
typedef struct curve {
    const char *kind;
    double value[MAX_LAYERS];
} curve;

typedef struct chart {
    curve curves[MAX_KINDS];
    size_t n_curves, n_layers;
} chart;

static curve *curve_of(chart *c, const char *kind) {
    for (size_t i = 0; i < c->n_curves; i++)
        if (strcmp(c->curves[i].kind, kind) == 0) return &c->curves[i];
    if (c->n_curves == MAX_KINDS) return NULL;
    curve *fresh = &c->curves[c->n_curves++];
    fresh->kind = kind;
    for (size_t i = 0; i < MAX_LAYERS; i++) fresh->value[i] = NAN;
    return fresh;
}

typedef double value_fn(const quant_imatrix *im, const quant_imatrix_entry *e);

static double log_energy(const quant_imatrix *im, const quant_imatrix_entry *e) {
    (void)im;
    double energy = quant_imatrix_stats_of(e).energy;
    return energy > 0 ? log10(energy) : NAN;
}

static void fill(chart *c, const quant_imatrix *im, value_fn *value) {
    *c = (chart){0};
    for (size_t i = 0; i < quant_imatrix_count(im); i++) {
        const quant_imatrix_entry *e = quant_imatrix_at(im, i);
        unsigned layer;
        int rest = 0;
        if (sscanf(e->name, "blk.%9u.%n", &layer, &rest) != 1 || rest == 0 || layer >= MAX_LAYERS)
            continue;
        curve *line = curve_of(c, e->name + rest);
        if (!line) continue;
        line->value[layer] = value(im, e);
        if (layer >= c->n_layers) c->n_layers = layer + 1;
    }
}

static void range_of(const chart *c, double *lo, double *hi) {
    *lo = INFINITY;
    *hi = -INFINITY;
    for (size_t k = 0; k < c->n_curves; k++)
        for (size_t i = 0; i < c->n_layers; i++) {
            *lo = fmin(*lo, c->curves[k].value[i]);
            *hi = fmax(*hi, c->curves[k].value[i]);
        }
    if (!(*hi > *lo)) *lo -= 0.5, *hi = *lo + 1;
}

static void put_curve(FILE *f, const chart *c, size_t k, double lo, double hi) {
    double step = c->n_layers > 1 ? (WIDTH - LEFT - 180) / (double)(c->n_layers - 1) : 0;
    double hue = 360.0 * (double)k / (double)c->n_curves;
    fprintf(f, "<polyline stroke=\"hsl(%.0f 65%% 42%%)\" points=\"", hue);
    for (size_t i = 0; i < c->n_layers; i++)
        if (!isnan(c->curves[k].value[i]))
            fprintf(f, "%.1f,%.1f ", LEFT + step * (double)i,
                    HEIGHT - 30 - (c->curves[k].value[i] - lo) / (hi - lo) * (HEIGHT - 60));
    fprintf(f, "\"/><text x=\"%.0f\" y=\"%.0f\" fill=\"hsl(%.0f 65%% 42%%)\">", WIDTH - 170,
            30 + 12 * (double)k, hue);
    tool_xml_text(f, c->curves[k].kind, strlen(c->curves[k].kind));
    fprintf(f, "</text>\n");
}

static void put_chart(FILE *f, const chart *c, const char *title, double top) {
    double lo, hi;
    range_of(c, &lo, &hi);
    fprintf(f, "<g transform=\"translate(0 %.0f)\"><text x=\"%.0f\" y=\"16\">%s</text>\n", top,
            LEFT, title);
    fprintf(f, "<path d=\"M%.0f 26V%.0fH%.0f\"/>\n", LEFT - 6, HEIGHT - 26, WIDTH - 180);
    fprintf(f, "<text x=\"4\" y=\"34\">%.3g</text><text x=\"4\" y=\"%.0f\">%.3g</text>\n", hi,
            HEIGHT - 28, lo);
    fprintf(f, "<text x=\"%.0f\" y=\"%.0f\">layer 0 to %zu</text>\n", LEFT, HEIGHT - 10,
            c->n_layers ? c->n_layers - 1 : 0);
    for (size_t k = 0; k < c->n_curves; k++) put_curve(f, c, k, lo, hi);
    fprintf(f, "</g>\n");
}

void show_plot(FILE *f, const quant_imatrix *im) {
    static chart c;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "font-family=\"sans-serif\" font-size=\"10\">\n",
            WIDTH, 2 * HEIGHT);
    fprintf(f, "<style>svg{background:#fff}polyline,path{fill:none}path{stroke:#888}</style>\n");
    fill(&c, im, log_energy);
    put_chart(f, &c, "energy of the inputs (log10 of the sum of mean squares)", 0);
    fill(&c, im, show_similarity);
    put_chart(f, &c, "similarity to the layer before (cosine of mean squares)", HEIGHT);
    fprintf(f, "</svg>\n");
}
