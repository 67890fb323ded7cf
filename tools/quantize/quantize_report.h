/* gguf-quantize --report: types and targets compared, each written, measured and removed. */
#ifndef TOOLS_QUANTIZE_QUANTIZE_REPORT_H
#define TOOLS_QUANTIZE_QUANTIZE_REPORT_H

#include "tools/common/write_model.h"

typedef struct quantize_report {
    const char *page;  /* the HTML file */
    const char *text;  /* that is scored */
    uint32_t n_chunks; /* at most; 0 = all */
    bool allow_requantize;
} quantize_report;

/* Write `input` as each of types [n_types], recipes by name or bits per weight ("4.25bpw"), beside
 * the page, measure how far each is from `input` on the text, with f32 activations, and write the
 * page; with --json also print it.
 * Errors: those of write_prepare, of models and texts; GGUF_E_USAGE. */
gguf_code quantize_report_write(tool *t, const char *input, char *const *types, size_t n_types,
                                const write_opts *opts, const quantize_report *report,
                                gguf_error *err);

/* Quantising what is quantised adds up both losses; the user has to ask for it. */
gguf_code quantize_check_source(const quant_plan *plan, const char *path, gguf_error *err);

#endif
