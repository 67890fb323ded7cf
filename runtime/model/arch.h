/* Architecture descriptions (configs/arch): one YAML file says everything about a model family.
 * docs/adding-an-architecture.md explains the fields. */
#ifndef RUNTIME_MODEL_ARCH_H
#define RUNTIME_MODEL_ARCH_H

#include "libgguf/gguf.h"
#include "libgguf/yaml.h"

typedef enum rt_norm { RT_NORM_RMS, RT_NORM_LAYER } rt_norm;

/* Which dimensions of a head rotate together: (2k, 2k+1) or (k, k + n_rot/2). */
typedef enum rt_rope { RT_ROPE_NONE, RT_ROPE_ADJACENT, RT_ROPE_HALVES } rt_rope;

/* What stands between the up and the down projection; with a gate, activation(gate) * up. */
typedef enum rt_activation {
    RT_ACT_SILU,
    RT_ACT_GELU_TANH,
    RT_ACT_GELU_ERF,
    RT_ACT_RELU_SQUARED,
    RT_ACT_SWIGLU_CLAMPED /* min(g, 7) sigmoid(1.702 g) (clamp(up, 7) + 1); needs a gate */
} rt_activation;

/* How a layer brings other tokens in. */
typedef enum rt_mixer {
    RT_MIXER_NONE,
    RT_MIXER_ATTENTION,
    RT_MIXER_LATENT, /* attention over one latent row for all heads */
    RT_MIXER_MAMBA2  /* a recurrent state */
} rt_mixer;

/* How router logits become weights of experts. Values as in expert_gating_func. */
typedef enum rt_gating {
    RT_GATING_SOFTMAX = 1,
    RT_GATING_SIGMOID = 2,
    RT_GATING_SOFTMAX_SELECTED = 3 /* softmax over the selected logits alone */
} rt_gating;

/* The shape of the computation, in flags: what neither keys nor tensors of a file say.
 * docs/runtime.md explains them. */
typedef struct rt_arch_compute {
    rt_mixer recurrent; /* of layers without attention heads; RT_MIXER_NONE: there are none */
    bool single_mixer;  /* a layer is attention, or recurrent, or a feed-forward block */
    rt_norm norm;
    rt_rope rope;
    rt_activation activation;
    bool parallel;             /* both blocks of a layer read its input */
    bool hidden_output;        /* no logits: rows of the last layer */
    bool embeddings_by_width;  /* embeddings are multiplied with sqrt(n_embd) */
    bool multiply_logits;      /* logit_scale multiplies; otherwise it divides */
    bool plain_window_rope;    /* layers with a window turn without scaling */
    bool rope_windowed;        /* where some layers have a window, only those rotate */
    bool norm_experts;         /* weights of experts sum to 1 unless the file says otherwise */
    rt_gating gating;          /* unless the file says otherwise */
    uint32_t window_period;    /* every such layer sees all; 0 = all have the window */
    uint32_t rope_period;      /* every such layer does not rotate; 0 = all do */
    uint32_t window_rope_base; /* of layers with a window; 0 = that of the others */
    uint32_t scores_by_width_layers; /* with so many layers, scores are divided by
                                        sqrt(n_embd / n_head) */
    const char *ffn_norm;            /* the tensor that norms the feed-forward block's input */
    const gguf_yaml *needs;          /* first of a list of named parts beyond these, or NULL */
} rt_arch_compute;

typedef struct rt_arch rt_arch;

/* The description of a GGUF architecture name, e.g. "llama".
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
