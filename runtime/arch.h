/* Architecture descriptions (configs/arch): one YAML file says everything about a model family.
 * docs/adding-an-architecture.md explains the fields. */
#ifndef RUNTIME_ARCH_H
#define RUNTIME_ARCH_H

#include "libgguf/gguf.h"
#include "libgguf/yaml.h"

typedef enum rt_norm { RT_NORM_RMS, RT_NORM_LAYER } rt_norm;

/* Which dimensions of a head rotate together: (2k, 2k+1) or (k, k + n_rot/2). */
typedef enum rt_rope { RT_ROPE_NONE, RT_ROPE_ADJACENT, RT_ROPE_HALVES } rt_rope;

typedef enum rt_activation { RT_ACT_SILU, RT_ACT_GELU_TANH, RT_ACT_GELU_ERF } rt_activation;

/* The shape of the computation, in flags. */
typedef struct rt_arch_compute {
    rt_norm norm;
    rt_rope rope;
    rt_activation activation;
    const gguf_yaml *needs; /* first of a list of named parts beyond these, or NULL */
} rt_arch_compute;

typedef struct rt_arch rt_arch;

/* The description of a GGUF architecture name, e.g. "llama"; read on first use and kept.
 *   arch_file  a description to read instead of the built-in ones, or NULL
 * Errors: GGUF_E_UNSUPPORTED with the name; GGUF_E_FORMAT for a broken description. */
gguf_code rt_arch_open(gguf_str name, const char *arch_file, rt_arch **out, gguf_error *err);

/* The description that answers to a config.json's `architectures` entry, or, if that is NULL, to
 * its `model_type`. */
gguf_code rt_arch_open_hf(const char *hf_class, const char *model_type, const char *arch_file,
                          rt_arch **out, gguf_error *err);
/* A description from a text, whatever it is called; `file` names it in errors. */
gguf_code rt_arch_parse(const char *text, size_t len, const char *file, rt_arch **out,
                        gguf_error *err);
void rt_arch_close(rt_arch *arch); /* accepts NULL */

const char *rt_arch_name(const rt_arch *arch); /* the GGUF name */
const rt_arch_compute *rt_arch_compute_of(const rt_arch *arch);
/* The entry of `huggingface` that answers to a class or, if that is NULL, to a model type. */
const gguf_yaml *rt_arch_class(const gguf_yaml_doc *doc, const char *hf_class,
                               const char *model_type);
const gguf_yaml_doc *rt_arch_doc(const rt_arch *arch); /* for runtime/import */

/* Call fn for every Hugging Face class that a built-in description answers to. */
gguf_code rt_arch_list(void (*fn)(void *ctx, const char *hf_class, const char *gguf_name),
                       void *ctx, gguf_error *err);

#endif
