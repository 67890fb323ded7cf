/* Importing a model: a Hugging Face folder, a .safetensors file with its config beside it, or a
 * GGUF file becomes a plan. Only headers, config and tokenizer files are read. */
#ifndef RUNTIME_IMPORT_H
#define RUNTIME_IMPORT_H

#include "libgguf/map.h"
#include "quant/plan.h"

typedef struct rt_import rt_import;

typedef struct rt_import_opts {
    const char *arch_file; /* description to use instead of the built-in ones, or NULL */
    bool vocab_only;       /* metadata and tokenizer, no tensors */
    /* Weights and tokenizer may be absent, and `path` may be a config.json alone: then the plan has
     * the names, shapes and types of the tensors, and can be sized but not executed. */
    bool shapes_suffice;
    const char *base; /* of an adapter: the folder of its model; NULL: as the adapter says */
} rt_import_opts;

/* Matrices keep the precision of their source, everything tagged `keep` becomes F32; a recipe may
 * change the types before quant_plan_finish. `path` is a folder, a .safetensors file or a .gguf
 * file. Errors: GGUF_E_IO, GGUF_E_MISSING (config, tokenizer, tensor), GGUF_E_SHAPE,
 * GGUF_E_UNSUPPORTED (architecture, RoPE scaling, dtype), GGUF_E_FORMAT and those of the readers.
 */
gguf_code rt_import_open(const char *path, const rt_import_opts *opts, rt_import **out,
                         gguf_error *err);
/* A model folder whose files are in memory; they must outlive the import. */
gguf_code rt_import_from_memory(const gguf_memory_file *files, size_t n_files,
                                const rt_import_opts *opts, rt_import **out, gguf_error *err);
void rt_import_close(rt_import *import); /* accepts NULL */

/* The plan, not yet finished; owned by the import. */
quant_plan *rt_import_plan(rt_import *import);
const char *rt_import_architecture(const rt_import *import);
bool rt_import_is_gguf(const rt_import *import);
/* Let the plan's tensors read what a LoRA adapter makes of them.
 *   adapter  may be closed afterwards
 *   scale    of what it adds, beside alpha / rank
 * Errors: GGUF_E_UNSUPPORTED no LoRA adapter, or for another architecture; GGUF_E_SHAPE,
 * GGUF_E_MISSING its factors do not fit the model; GGUF_E_NONFINITE, GGUF_E_NOMEM. */
gguf_code rt_import_merge_lora(rt_import *import, const gguf_file *adapter, float scale,
                               gguf_error *err);
/* The weights are not there: shapes are those that config.json implies. */
bool rt_import_is_shapes(const rt_import *import);
/* The files that weights are read from; none for a GGUF file or a model in memory. */
size_t rt_import_n_files(const rt_import *import);
const char *rt_import_file(const rt_import *import, size_t i);
/* Sentences for the user, e.g. about tensors that are not used. */
size_t rt_import_n_warnings(const rt_import *import);
const char *rt_import_warning(const rt_import *import, size_t i);

#endif
