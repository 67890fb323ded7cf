/* Statistics of a file's tensors, shared by stats and report. */
#ifndef TOOLS_INSPECT_SHOW_STATS_H
#define TOOLS_INSPECT_SHOW_STATS_H

#include "quant/stats.h"
#include "tools/inspect/inspect.h"

typedef struct inspect_stats_row {
    const gguf_tensor *tensor;
    int layer;     /* -1 outside the layers */
    bool measured; /* the type can be decoded */
    quant_stats stats;
} inspect_stats_row;

typedef struct inspect_stats_list {
    inspect_stats_row *rows;
    size_t n;
    quant_stats *layers; /* moments only */
    size_t n_layers;
} inspect_stats_list;

/* Measure the tensors that the filters take. The list is to be cleared also after a failure. */
gguf_code inspect_stats_measure(const inspect_call *c, const gguf_file *file,
                                inspect_stats_list *list);
void inspect_stats_clear(inspect_stats_list *list);

/* Pictures as SVG elements. */
void inspect_svg_histogram(FILE *f, const inspect_stats_row *row, double width, double height);
void inspect_svg_layers(FILE *f, const inspect_stats_list *list, double width, double height);
void inspect_svg_page(FILE *f, const inspect_stats_list *list); /* a document of its own */

#endif
