/* What gguf-convert and gguf-quantize share: types, importance, dry run, execution of a plan. */
#ifndef TOOLS_COMMON_WRITE_MODEL_H
#define TOOLS_COMMON_WRITE_MODEL_H

#include "quant/allocate.h"
#include "quant/imatrix.h"
#include "quant/recipe.h"
#include "runtime/import/import.h"
#include "tools/common/calibration_run.h"
#include "tools/common/tool.h"

typedef struct write_opts {
    const char *type; /* a recipe's or type's name; NULL = keep the types of the plan */
    const char *recipe_file;
    const char *imatrix_file;
    const char *output_type, *embedding_type; /* type names or NULL */
    bool keep_output;                         /* the type of output.weight */
    const char **tensor_types;                /* REGEX=TYPE */
    size_t n_tensor_types;
    const char **weights; /* parts of names of imatrix entries */
    size_t n_weights;
    bool included, excluded; /* what becomes of these */
    bool pure, require_imatrix, dry_run, resume;
    quant_effort effort;
    uint64_t max_memory_bytes;
    uint64_t target_bytes; /* 0 = none */
    double target_bpw;     /* 0 = none */
    quant_split split;
    rt_calibration_opts calibration;
    const char *manifest_file; /* hashes of every tensor, source and output; or NULL */
} write_opts;

/* The rows that both commands have in their option tables; write_opts_set takes them. */
enum {
    WRITE_OPT_IMATRIX = 2000, /* beyond the ids of a command and of tool.c */
    WRITE_OPT_RECIPE,
    WRITE_OPT_EFFORT,
    WRITE_OPT_DRY_RUN,
    WRITE_OPT_MAX_MEMORY,
    WRITE_OPT_RESUME,
    WRITE_OPT_SPLIT_SIZE,
    WRITE_OPT_SPLIT_TENSORS
};

#define WRITE_OPTIONS                                                                       \
    {WRITE_OPT_IMATRIX, "imatrix", "FILE", "importance matrix (from gguf-imatrix)"},        \
        {WRITE_OPT_RECIPE, "recipe", "FILE", "a recipe of your own, in place of the type"}, \
        {WRITE_OPT_EFFORT, "effort", "EFFORT",                                              \
         "fast or best: how far the search for scales goes"},                               \
        {WRITE_OPT_SPLIT_SIZE, "split-max-size", "SIZE",                                    \
         "several files, each with at most so many bytes of tensors"},                      \
        {WRITE_OPT_SPLIT_TENSORS, "split-max-tensors", "N",                                 \
         "several files, each with at most N tensors"},                                     \
        {WRITE_OPT_RESUME, "resume", NULL,                                                  \
         "continue an interrupted run, and keep this one resumable"},                       \
        {WRITE_OPT_DRY_RUN, "dry-run", NULL, "print what would be written"}, {              \
        WRITE_OPT_MAX_MEMORY, "max-memory", "SIZE", "most memory for buffers (256M)"        \
    }

write_opts write_opts_defaults(void);
void write_opts_clear(write_opts *o);
/* Take one of these rows. */
gguf_code write_opts_set(write_opts *o, int id, const char *arg, gguf_error *err);
/* Part of the name of imatrix entries that alone are used, or that are not. */
gguf_code write_opts_add_weights(write_opts *o, const char *text, bool exclude, gguf_error *err);

/* What was written, for the result. */
typedef struct write_result {
    quant_loss *loss;            /* [n_tensors] or NULL */
    quant_allocation allocation; /* empty without a target */
    calibration *calibration;    /* NULL without --calibrate */
    char **warnings;
    size_t n_warnings;
    char type_name[64];
    uint64_t resumed_bytes; /* that an interrupted run had written */
} write_result;

void write_result_clear(write_result *result);
void write_result_warn(write_result *result, tool *t, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
json_t *write_result_warnings(const write_result *result);
/* The names of all files that a finished plan is written to. */
json_t *write_result_outputs(const quant_plan *plan, const char *path);

/* Set types and importance of an imported plan and finish it.
 *   input, output  paths, for --calibrate
 * Errors: GGUF_E_USAGE (unknown type), GGUF_E_CHECK (--require-imatrix), GGUF_E_FORMAT (verify
 * would refuse the output), those of recipes. */
gguf_code write_prepare(tool *t, rt_import *import, const char *input, const char *output,
                        const write_opts *o, write_result *result, gguf_error *err);

/* With --resume: what was taken over, as "resumed_bytes". */
void write_result_resumed(const write_result *result, const write_opts *o, json_t *root);

/* Print the plan (--dry-run) or carry it out. */
gguf_code write_run(tool *t, rt_import *import, const char *path, const write_opts *o,
                    write_result *result, gguf_error *err);

#endif
