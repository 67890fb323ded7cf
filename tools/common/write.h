/* What gguf-convert and gguf-quantize share: types, importance, dry run, execution of a plan. */
#ifndef TOOLS_COMMON_WRITE_H
#define TOOLS_COMMON_WRITE_H

#include "quant/imatrix.h"
#include "quant/recipe.h"
#include "runtime/import/import.h"
#include "tools/common/tool.h"

typedef struct write_opts {
    const char *type; /* a recipe's or type's name; NULL = keep the types of the plan */
    const char *recipe_file;
    const char *imatrix_file;
    const char *output_type, *embedding_type; /* type names or NULL */
    char **tensor_types;                      /* REGEX=TYPE */
    size_t n_tensor_types;
    bool pure, require_imatrix, dry_run;
    uint64_t max_memory_bytes;
} write_opts;

write_opts write_opts_defaults(void);
void write_opts_clear(write_opts *o);
gguf_code write_opts_add_tensor_type(write_opts *o, const char *text, gguf_error *err);

/* What was written, for the result. */
typedef struct write_result {
    quant_loss *loss; /* [n_tensors] or NULL */
    char **warnings;
    size_t n_warnings;
    char type_name[64];
} write_result;

void write_result_clear(write_result *result);
void write_result_warn(write_result *result, tool *t, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
json_t *write_result_warnings(const write_result *result);

/* Set types and importance of an imported plan and finish it.
 * Errors: GGUF_E_USAGE (unknown type), GGUF_E_CHECK (--require-imatrix), those of recipes. */
gguf_code write_prepare(tool *t, rt_import *import, const write_opts *o, write_result *result,
                        gguf_error *err);

/* Print the plan (--dry-run) or carry it out. */
gguf_code write_run(tool *t, rt_import *import, const char *path, const write_opts *o,
                    write_result *result, gguf_error *err);

#endif
