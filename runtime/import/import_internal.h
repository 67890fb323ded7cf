/* What the parts of the import share. */
#ifndef RUNTIME_IMPORT_INTERNAL_H
#define RUNTIME_IMPORT_INTERNAL_H

#include "libgguf/checkpoint.h"
#include "libgguf/index.h"
#include "libgguf/json.h"
#include "runtime/import/import.h"
#include "runtime/model/expression.h"
#include "runtime/model/transforms.h"

#define RT_IMPORT_MAX_LAYERS 1024
#define RT_IMPORT_MAX_NAME   512

struct rt_import {
    quant_plan plan;
    char *folder;                   /* of config.json and the tokenizer; NULL: in memory */
    const gguf_memory_file *memory; /* [n_memory] */
    size_t n_memory;
    char *config_path;
    json_t *config, *class_defaults; /* the second: what the class takes for granted */
    const char *arch_file;           /* the caller's, while the import is opened */
    rt_arch *arch;
    char *architecture;   /* the GGUF name */
    uint8_t *layer_kinds; /* [n_layer_kinds], index into arch->kinds.names; NULL: all are alike */
    uint64_t n_layer_kinds;
    const char *layer_kinds_path; /* of config.json, where they are told */
    gguf_checkpoint *ckpt;        /* NULL: a GGUF file, or there is config.json only */
    gguf_file *gguf;
    bool *used;         /* [n checkpoint tensors] */
    const char **names; /* of the same, as the description calls them; of the ckpt or malloc'ed */
    gguf_index by_name;
    size_t n_unmet;             /* tensors of the description that names did not lead to */
    const json_t *inner_config; /* of the text model in a larger one, or NULL */
    const char *inner_name;     /* its name in config.json */
    json_t *quantisation;       /* of a file of its own, or NULL */
    json_t *adapter;            /* adapter_config.json, if this is an adapter of its base model */
    bool is_embedding;          /* no head: a class without a task, or a folder with a pooling */
    char **warnings;
    size_t n_warnings;
};

/* Add a warning; one that does not fit into memory is lost. */
void rt_import_add_warning(rt_import *import, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, unless there is such a warning already. */
void rt_import_add_warning_once(rt_import *import, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The value at a dotted path of config.json or, behind it, of the class's defaults; NULL if absent
 * or null. `{KIND}` in a path stands for the number of the first layer of that kind. */
const json_t *rt_config_get(const rt_import *import, const char *path);

/* Warn if a fact that config.json holds twice has another value at the place that does not count.
 * Values of different kinds, e.g. a list and a period, are not compared. */
void rt_import_compare(rt_import *import, const char *name, const json_t *value,
                       const char *other_name, const json_t *other);
/* The same for a path that both the text model's object and the whole config have. */
void rt_import_compare_inner(rt_import *import, const char *path);

/* The conditions `when` and `unless` of an entry of the description hold. */
bool rt_import_applies(const rt_import *import, const rt_arch_entry *entry);

/* general.architecture, type and the folder's name; once the tensors are known, what README.md,
 * the generation's and the model's configuration and the names say about the model. */
gguf_code rt_import_general(rt_import *import, gguf_error *err);
void rt_import_describe(rt_import *import);

/* Set the metadata keys of the description from config.json. */
gguf_code rt_import_keys(rt_import *import, gguf_error *err);
/* And those that the checkpoint holds as tensors of one number, once names are known. */
gguf_code rt_import_tensor_keys(rt_import *import, gguf_error *err);
/* A number that is a key of the description's, e.g. "attention.head_count". */
bool rt_import_key_u64(const rt_import *import, const char *key, uint64_t *out);
/* The value of an expression (runtime/model/expression.h), whose names are keys of the
 * description's or paths of config.json.
 *   layer  of which a key with a number per layer counts
 * Errors: GGUF_E_FORMAT a name has no value; GGUF_E_SHAPE it is no count. */
gguf_code rt_import_eval(const rt_import *import, const rt_scalar *expression, uint64_t layer,
                         uint64_t *out, gguf_error *err);

/* Read which kind each layer has, if the description has kinds; once block_count is set, check
 * that there are as many. Errors: GGUF_E_MISSING, GGUF_E_TYPE, GGUF_E_UNSUPPORTED, GGUF_E_SHAPE. */
gguf_code rt_import_layer_kinds(rt_import *import, gguf_error *err);
gguf_code rt_import_check_layer_kinds(const rt_import *import, gguf_error *err);
/* Whether a layer is of one of a set of kinds; any is of the empty set. */
bool rt_import_layer_is(const rt_import *import, uint64_t layer, uint32_t kinds);

/* A tensor of the checkpoint as numbers: dimensions rows first, without the axis of packed bytes.
 */
typedef struct rt_stored {
    const gguf_checkpoint_tensor *t;
    const char *path;
    uint32_t n_dims;
    uint64_t dims[GGUF_CHECKPOINT_MAX_DIMS];
    quant_coding coding;
    uint32_t type;              /* GGUF type once read */
    const quant_affine *affine; /* of QUANT_CODING_AFFINE */
    uint32_t natural_type;      /* GGUF type that keeps what the coding holds */
} rt_stored;

/* Where the bytes of a tensor are. */
quant_source rt_import_source(const rt_import *import, const gguf_checkpoint_tensor *src);
/* A tensor by the name that the description uses, marked as used; NULL if it is not there. */
const gguf_checkpoint_tensor *rt_import_find(rt_import *import, const char *name);

/* The same without marking it. */
const gguf_checkpoint_tensor *rt_import_look_up(const rt_import *import, const char *name);
bool rt_import_is_used(const rt_import *import, const gguf_checkpoint_tensor *tensor);

/* Whether the head of an entry with `tied_to` is the embedding and is left out: it is absent, or
 * the config ties it and both hold the same values, which are read and compared.
 *   src  the stored head, or NULL
 * Errors: those of reading. */
gguf_code rt_import_is_tied(rt_import *import, const rt_arch_tensor *entry,
                            const gguf_checkpoint_tensor *src, bool *tied, gguf_error *err);

/* Apply one rule of names: a prefix or a suffix becomes another. */
void rt_import_rename(const rt_arch_rule *rule, char name[RT_IMPORT_MAX_NAME]);
/* Give every tensor of the checkpoint the name that the description uses. */
gguf_code rt_import_index_names(rt_import *import, gguf_error *err);
/* An outer name, such as that of a wrapper, and what the description has in its place. */
typedef struct rt_outer_name {
    const char *strip; /* [n_strip] */
    size_t n_strip;
    const char *put;
} rt_outer_name;
/* The same with the one outer name under which all tensors of the description are there; none if
 * they are there as it is or under no name. Errors: GGUF_E_FORMAT if several models are there. */
gguf_code rt_import_index_outer(rt_import *import, gguf_error *err);
gguf_code rt_import_index_with(rt_import *import, const rt_outer_name *outer, gguf_error *err);
void rt_import_clear_names(rt_import *import);
/* The outermost names of the checkpoint's tensors, for errors. */
void rt_import_list_names(const rt_import *import, char *out, size_t room);
/* Warn about tensors that nothing took: one by one, or as a part of the model. */
void rt_import_report_unused(rt_import *import, uint64_t n_layers);

/* Weights of a quantised checkpoint, once its names are known. A quantisation config that is left
 * over beside weights that are all floats is a warning.
 * Errors: GGUF_E_UNSUPPORTED with the method's name. */
gguf_code rt_quantised_check(rt_import *import, gguf_error *err);
/* The checkpoint's quantisation config names a method. */
bool rt_quantised_says_so(const rt_import *import);
/* The tensor that holds a weight in packed form, or NULL. */
const gguf_checkpoint_tensor *rt_quantised_find(rt_import *import, const char *name);
/* Whether packed integers hold the weight; then *out says how they are read. */
gguf_code rt_quantised_describe(rt_import *import, const gguf_checkpoint_tensor *t, rt_stored *out,
                                bool *found, gguf_error *err);
/* The block of a scale from the quantisation config; false if it says none. */
bool rt_quantised_block(const rt_import *import, uint64_t *n_rows, uint64_t *n_cols);
/* Scales of activations and caches, which weights do not need. */
bool rt_quantised_ignores(const char *name);

/* A method that is not supported, told by the name of a tensor, which *name gets; or NULL. */
const char *rt_foreign_method(const rt_import *import, const char **name);
/* Whether any weights are no plain floats. */
bool rt_foreign_has_codes(const rt_import *import);
/* The name of a scale or the like that stands beside a weight, or NULL. */
const char *rt_foreign_companion(const rt_import *import, const gguf_checkpoint_tensor *weight);
/* Errors: GGUF_E_UNSUPPORTED if a scale or the like of a weight that was taken is not read. */
gguf_code rt_foreign_check_unread(const rt_import *import, gguf_error *err);

/* pooling_type, as the files of sentence-transformers say; sets is_embedding. */
gguf_code rt_import_pooling(rt_import *import, const char *hf_class, gguf_error *err);
/* Dense layers that follow the pooling, where the family has a place for them. */
gguf_code rt_import_dense(rt_import *import, gguf_error *err);

/* RoPE scaling: keys and generated tensors. */
gguf_code rt_import_rope(rt_import *import, gguf_error *err);

/* What Llama 3.1's rule divides an angle's frequency by. */
float rt_import_llama3_factor(float frequency, float factor, float low, float high, float original);

/* Warn of fields of config.json that change the computation and that the description has no place
 * for, once keys and tensors are known. Errors: GGUF_E_UNSUPPORTED another activation. */
gguf_code rt_import_check_unread(rt_import *import, gguf_error *err);

/* All tensors of the description from the checkpoint. */
gguf_code rt_import_tensors(rt_import *import, gguf_error *err);
typedef gguf_code (*rt_import_visit)(rt_import *import, void *ctx, const rt_arch_tensor *entry,
                                     uint64_t layer, gguf_error *err);
/* Call visit for every entry of `tensors` that applies, once per layer. */
gguf_code rt_import_each(rt_import *import, rt_import_visit visit, void *ctx, gguf_error *err);
/* Tag a tensor and append it; natural_type is what it becomes unless somebody asks for another. */
gguf_code rt_import_add(rt_import *import, quant_plan_tensor *t, uint32_t natural_type,
                        gguf_error *err);
/* Make the transforms of an entry. */
gguf_code rt_import_transform(const rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                              rt_tensor_layout *layout, gguf_error *err);
/* How many tensors {expert} in an entry stands for; 0: it stacks none. */
gguf_code rt_import_n_stacked(const rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                              uint64_t *n, gguf_error *err);
/* All tensors of a LoRA adapter, from the open checkpoint; the base's keys are set and vanish. */
gguf_code rt_import_adapter(rt_import *import, gguf_error *err);
/* The tensor of an entry as config.json implies it, where there is no checkpoint. Errors:
 * GGUF_E_FORMAT (the entry has no shape), GGUF_E_SHAPE. */
gguf_code rt_import_shape(rt_import *import, const rt_arch_tensor *entry, uint64_t layer,
                          const char *gguf_name, gguf_error *err);
/* What config.json implies that the checkpoint stores. Errors: those of rt_import_shape. */
gguf_code rt_import_stored_layout(const rt_import *import, const rt_arch_tensor *entry,
                                  uint64_t layer, rt_tensor_layout *out, gguf_error *err);
/* A generated F32 vector; values are copied. */
gguf_code rt_import_add_vector(rt_import *import, const char *name, const float *values, size_t n,
                               gguf_error *err);

/* Everything of a GGUF file. */
gguf_code rt_import_gguf(rt_import *import, gguf_error *err);

/* Role, layer and whether to keep a tensor unquantised, from its GGUF name and dimensions. */
gguf_code rt_tag_tensor(quant_plan *plan, const gguf_tensor *tensor, quant_tags *tags,
                        gguf_error *err);
/* Mark the output projection, or the embedding that stands in for it, and read the model's facts.
 */
void rt_tag_model(quant_plan *plan, const char *architecture);

#endif
