/* From YAML to the structs of a description. */
#ifndef RUNTIME_MODEL_ARCH_READ_H
#define RUNTIME_MODEL_ARCH_READ_H

#include "libgguf/embed.h"
#include "libgguf/yaml.h"
#include "runtime/model/arch.h"

/* Read a description and those that it is like.
 *   doc      becomes part of the description, also of one that fails
 *   library  where `like` looks for names
 * Errors: GGUF_E_FORMAT with line and column, GGUF_E_NOMEM. */
gguf_code rt_arch_read(gguf_yaml_doc *doc, const gguf_embedded *library, rt_arch **out,
                       gguf_error *err);

/* The YAML of a built-in description. */
gguf_code rt_arch_parse_embedded(const gguf_embedded *entry, gguf_yaml_doc **out, gguf_error *err);

/* For gguf_yaml_check; runtime/model/arch_fields.c */
extern const gguf_yaml_field rt_arch_fields[];

/* Memory that lives as long as the description; zeroed. NULL when out of memory. */
void *rt_arch_alloc(rt_arch *arch, size_t n_bytes);
rt_place rt_place_of(const gguf_yaml_doc *doc, const gguf_yaml *node);
/* The texts of a scalar or list; NULL for a NULL node or when out of memory. */
rt_texts rt_arch_texts(rt_arch *arch, const gguf_yaml *node);

/* The flags that `compute` states, the others as they are. runtime/model/arch_compute.c */
gguf_code rt_arch_read_compute(rt_arch *arch, const gguf_yaml_doc *doc, gguf_error *err);

#endif
