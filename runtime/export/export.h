/* The way back: a GGUF file as a Hugging Face folder. The family's description says what
 * config.json was read for each key and what each tensor was made of; here both are inverted. What
 * comes out is imported again before anything is written, and every key that would be another is
 * named. */
#ifndef RUNTIME_EXPORT_H
#define RUNTIME_EXPORT_H

#include "libgguf/map.h"
#include "quant/plan.h"

typedef struct rt_export rt_export;

typedef struct rt_export_opts {
    const char *arch_file;   /* description to use instead of the built-in ones, or NULL */
    uint32_t type;           /* GGUF_TYPE_F32 or GGUF_TYPE_BF16, of all tensors */
    uint64_t max_file_bytes; /* of tensor data in a file; 0: one file */
} rt_export_opts;

/* Plan the folder of a model; only the file's header is read.
 * Errors: GGUF_E_IO, those of reading GGUF; GGUF_E_UNSUPPORTED (architecture; a tensor, tokenizer
 * or RoPE scaling that cannot be inverted, by name); GGUF_E_MISSING, GGUF_E_SHAPE, GGUF_E_NOMEM. */
gguf_code rt_export_open(const char *path, const rt_export_opts *opts, rt_export **out,
                         gguf_error *err);
void rt_export_close(rt_export *export); /* accepts NULL */

/* The finished plan of model.safetensors; owned by the export. */
quant_plan *rt_export_plan(rt_export *export);
const char *rt_export_class(const rt_export *export); /* of the original library */
/* The other files of the folder, such as config.json. */
size_t rt_export_n_files(const rt_export *export);
const gguf_memory_file *rt_export_file(const rt_export *export, size_t i);
/* Sentences for the user, e.g. about keys that the folder cannot say. */
size_t rt_export_n_warnings(const rt_export *export);
const char *rt_export_warning(const rt_export *export, size_t i);

#endif
