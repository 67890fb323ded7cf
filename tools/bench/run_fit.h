/* What the parts of gguf-bench fit share. */
#ifndef TOOLS_BENCH_RUN_FIT_H
#define TOOLS_BENCH_RUN_FIT_H

#include "runtime/sizing/fit.h"
#include "tools/common/tool.h"

typedef struct fit_opts {
    uint64_t cards[RT_MAX_CARDS]; /* --vram */
    uint32_t n_cards;
    uint64_t ram;
    uint64_t max_file; /* --size; 0 = any */
    const char *device, *hardware, *type;
    rt_session_opts session;
    bool explain;
} fit_opts;

#define FIT_MAX_TYPES 16

/* The weights as they are or as if quantised. */
typedef struct fit_type {
    char name[64];
    rt_fit_weights weights;
    uint64_t file_bytes; /* of a GGUF file, nearly */
} fit_type;

typedef struct fit_model {
    rt_import *import;
    quant_plan *plan; /* of the import; its types change */
    rt_fit_model model;
    fit_type types[FIT_MAX_TYPES]; /* as it is, then smaller and smaller */
    size_t n_types;
    fit_type asked; /* --type */
    const fit_type *chosen;
    uint64_t max_file; /* larger files do not fit; 0 = any */
} fit_model;

typedef struct fit_row {
    const rt_device *device;
    rt_fit fit;                  /* of the chosen type */
    rt_fit types[FIT_MAX_TYPES]; /* of each of the model's */
    size_t order[FIT_MAX_TYPES]; /* of types, what a person would choose first */
    const char *best;            /* the first in this order, or NULL if none fits */
} fit_row;

typedef struct fit_report {
    const fit_model *model;
    rt_session_opts opts;
    fit_row *rows;
    size_t n;
    bool explain;
} fit_report;

/* Describe the model of m->import and weigh it as it is, as the types of the ladder and as o->type.
 *   path  for errors
 * Errors: of rt_fit_describe, rt_fit_weigh and recipes; GGUF_E_UNSUPPORTED for a part of a model.
 */
gguf_code fit_model_weigh(fit_model *m, const fit_opts *o, const char *path, gguf_error *err);
void fit_model_close(fit_model *m); /* accepts a zeroed one */
/* Errors: of rt_fit_on. */
gguf_code fit_row_make(const fit_model *m, const rt_session_opts *opts, const rt_device *device,
                       fit_row *row, gguf_error *err);
/* As asked, or what is usual for the model. */
rt_session_opts fit_session_opts(const tool *t, const fit_opts *o, const rt_hparams *hp);

/* Print which of the known models run on the only device, the best first.
 * Errors: GGUF_E_USAGE for several devices, GGUF_E_CHECK where none fits, those of fit_row_make. */
gguf_code fit_known_models(tool *t, const fit_opts *o, const rt_devices *devices, gguf_error *err);

/* Fields that both documents share. */
void fit_set_json(json_t *object, const rt_fit *fit);
/* What a row says of a model that lies partly in the host's memory; "" for others. */
const char *fit_place_note(const rt_fit *fit);
/* The middle of a row of either table: 12.3 or -. Returns out. */
const char *fit_rate_text(double rate, char *out, size_t room);

/* Append this machine, measured with so many threads. Errors: GGUF_E_NOMEM. */
gguf_code fit_add_machine(rt_devices *devices, unsigned n_threads, gguf_error *err);

void fit_print_json(const fit_report *report);
void fit_print_text(const fit_report *report);

#endif
