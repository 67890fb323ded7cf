/* What the parts of the export share. */
#ifndef RUNTIME_EXPORT_INTERNAL_H
#define RUNTIME_EXPORT_INTERNAL_H

#include "runtime/export/export.h"
#include "runtime/import/import_internal.h"

#define RT_EXPORT_MAX_FILES 16

struct rt_export {
    rt_import *source; /* the GGUF file */
    rt_import *folder; /* what its config.json is read as */
    rt_arch *arch;
    const rt_arch_class *hf_class;
    rt_export_opts opts;
    quant_plan plan;
    gguf_memory_file files[RT_EXPORT_MAX_FILES]; /* bytes are malloc'ed, names are literals */
    size_t n_files;
    char **warnings;
    size_t n_warnings;
};

void rt_export_warn(rt_export *export, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A key of the file: behind its architecture's name or, with a dot in front, without that. */
const gguf_kv *rt_export_key(const rt_export *export, const char *key);
/* A tensor of the file, or NULL. */
const gguf_tensor *rt_export_tensor(const rt_export *export, const char *name);

/* The first values of a tensor of F32 with at most so many; 0 if there is no such tensor. */
size_t rt_export_floats(const rt_export *export, const char *name, float *out, size_t max);

/* Add a file of the folder; takes the JSON. Errors: GGUF_E_NOMEM. */
gguf_code rt_export_add_json(rt_export *export, const char *name, json_t *json, gguf_error *err);
gguf_code rt_export_add_text(rt_export *export, const char *name, gguf_str text, gguf_error *err);

/* config.json as a class would have written it; the caller's. Errors: GGUF_E_UNSUPPORTED,
 * GGUF_E_NOMEM. */
gguf_code rt_export_config(const rt_export *export, const rt_arch_class *c, json_t **out,
                           gguf_error *err);
/* A number as short as reads back to the same f32. */
json_t *rt_export_real(float value);
/* Set the value at a dotted path unless there is one; takes it. */
void rt_export_put(json_t *object, const char *path, json_t *value);
/* RoPE scaling, into config.json's object for RoPE. */
gguf_code rt_export_rope(const rt_export *export, json_t *config, gguf_error *err);

/* Which kind each layer has, told by keys and tensors.
 *   kinds  [n_layers] indices into arch->kinds.names */
void rt_export_layer_kinds(const rt_export *export, uint64_t n_layers, uint8_t *kinds);
/* And config.json's list of them. */
void rt_export_put_kinds(const rt_export *export, uint64_t n_layers, const uint8_t *kinds,
                         json_t *config);

/* The plan of all tensors, once the folder's config is read. */
gguf_code rt_export_tensors(rt_export *export, gguf_error *err);

/* tokenizer.json and what stands beside it. */
gguf_code rt_export_vocab(rt_export *export, gguf_error *err);

#endif
