/* Architecture descriptions (configs/arch): one YAML file says everything about a model family.
 * docs/adding-an-architecture.md explains the fields. */
#ifndef RUNTIME_MODEL_ARCH_H
#define RUNTIME_MODEL_ARCH_H

#include "libgguf/gguf.h"

typedef enum rt_norm { RT_NORM_RMS, RT_NORM_LAYER } rt_norm;

/* Which dimensions of a head rotate together: (2k, 2k+1) or (k, k + n_rot/2). */
typedef enum rt_rope { RT_ROPE_NONE, RT_ROPE_ADJACENT, RT_ROPE_HALVES } rt_rope;

/* What stands between the up and the down projection; with a gate, activation(gate) * up. */
typedef enum rt_activation {
    RT_ACT_SILU,
    RT_ACT_GELU_TANH,
    RT_ACT_GELU_ERF,
    RT_ACT_RELU_SQUARED,
    RT_ACT_SIGMOID,        /* of gates, not between projections */
    RT_ACT_SOFTPLUS,       /* as this: ln(1 + e^g) */
    RT_ACT_IDENTITY,       /* the gate as it is */
    RT_ACT_SWIGLU_CLAMPED, /* min(g, 7) sigmoid(1.702 g) (clamp(up, 7) + 1); needs a gate */
    RT_ACT_XIELU,          /* with numbers of each layer, see rt_xielu; no gate */
    RT_ACT_RELU
} rt_activation;

/* How a layer brings other tokens in. */
typedef enum rt_mixer {
    RT_MIXER_NONE,
    RT_MIXER_ATTENTION,
    RT_MIXER_LATENT,          /* attention over one latent row for all heads */
    RT_MIXER_EXPANDED,        /* the same, with each head's keys and values made of that row */
    RT_MIXER_COMPRESSED,      /* attention to a window, and to blocks of tokens before it */
    RT_MIXER_SHORT_CONV,      /* a gated convolution, whose last inputs are the state */
    RT_MIXER_MAMBA,           /* a recurrent state, Mamba's */
    RT_MIXER_MAMBA2,          /* that of Mamba 2 */
    RT_MIXER_GATED_DELTA,     /* a recurrent state, that of the gated delta rule */
    RT_MIXER_KDA,             /* the same with a decay of each key's channel */
    RT_MIXER_ATTENTION_MAMBA2 /* both on the same input; what they make is added */
} rt_mixer;

/* What the layers of a model are: the first ones of RT_STACKS_BOTH are the encoder's. */
typedef enum rt_stacks { RT_STACKS_ONE, RT_STACKS_ENCODER, RT_STACKS_BOTH } rt_stacks;

/* How router logits become weights of experts. Values as in expert_gating_func. */
typedef enum rt_gating {
    RT_GATING_SOFTMAX = 1,
    RT_GATING_SIGMOID = 2,
    RT_GATING_SOFTMAX_SELECTED = 3, /* softmax over the selected logits alone */
    RT_GATING_SQRT_SOFTPLUS = 4
} rt_gating;

/* The shape of the computation, in flags: what neither keys nor tensors of a file say.
 * docs/runtime.md explains them. */
typedef struct rt_arch_compute {
    rt_mixer recurrent;      /* of layers without attention heads; RT_MIXER_NONE: there are none */
    bool alibi;              /* scores fall with the distance, unless the file says otherwise */
    bool recurrent_all;      /* layers with attention have it too, beside that */
    bool gated_queries;      /* attn_q has a gate behind each head's query; attention's result is
                                multiplied with its sigmoid */
    rt_activation head_gate; /* of what attn_gate makes; attention's result is multiplied with it */
    bool gated_heads;        /* there is such a gate */
    bool clamps_before;      /* swiglu_clamp_* limits the gate before its activation */
    bool full_first;         /* of a period the first layer sees all, not the last */
    bool single_mixer;       /* a layer is attention, or recurrent, or a feed-forward block */
    rt_norm norm;
    bool plain_norms; /* norms in front of blocks and output have no tensors */
    rt_rope rope;
    rt_rope index_rope; /* of indexers; RT_ROPE_NONE: as the others */
    rt_activation activation;
    rt_activation ungated_activation; /* of blocks without a gate; RT_ACT_IDENTITY: the same */
    rt_stacks stacks;
    bool parallel;             /* both blocks of a layer read its input */
    bool hidden_output;        /* no logits: rows of the last layer */
    bool embeddings_by_width;  /* embeddings are multiplied with sqrt(n_embd) */
    bool scale_tied_logits;    /* without an output of their own: divided by sqrt(n_embd) */
    bool multiply_logits;      /* logit_scale multiplies; otherwise it divides */
    bool plain_window_rope;    /* layers with a window turn without scaling */
    bool rope_if_finetuned;    /* nothing rotates where rope.scaling.finetuned is false */
    bool rope_windowed;        /* where some layers have a window, only those rotate */
    bool norm_rotated_heads;   /* norms of Q and K come behind RoPE */
    bool both_directions;      /* a token sees those behind it unless the file says otherwise */
    bool chunked;              /* windows are chunks: a token sees those of its own */
    bool grow_unrotated;       /* queries grow with their position where nothing rotates */
    bool weight_expert_inputs; /* an expert's weight multiplies what it reads */
    bool norm_embeddings;      /* embeddings are normed, without factors */
    bool norm_values;          /* every head of V is normed, without factors */
    bool keys_as_values;       /* where there is no V projection, values are K's */
    bool plain_scores;         /* scores are not scaled */
    bool average_shared;       /* experts chosen and shared: half of their sum */
    bool norm_experts;         /* weights of experts sum to 1 unless the file says otherwise */
    rt_gating gating;          /* unless the file says otherwise */
    uint32_t window_period;    /* every such layer sees all; 0 = all have the window */
    uint32_t rope_period;      /* every such layer does not rotate; 0 = all do */
    uint32_t window_usual;     /* the window of files that do not say it */
    uint32_t n_shared_usual;   /* shared experts of files that do not say it */
    uint32_t plain_qk_experts; /* heads of Q and K that rotate are normed without factors, unless
                                  there are so many experts; 0 = never */
    uint32_t full_rope_share;  /* rope.dimension_count is that of layers with a window, of which
                                  the others rotate this part: 2 = half; 0 = it is theirs */
    uint32_t window_rope_base; /* of layers with a window; 0 = that of the others */
    /* Without the keys: what embeddings are multiplied with; residual_scale times sqrt(n_layer);
     * the width at which logits are not scaled. 0 = they are not scaled. */
    uint32_t embedding_scale_usual, logit_width_usual;
    double residual_depth_usual;
    uint32_t scores_by_width_layers; /* with so many layers, scores are divided by
                                        sqrt(n_embd / n_head) */
    const char *ffn_norm;            /* the tensor that norms the feed-forward block's input, */
    const char *output_norm;         /* and that of the output's */
    const char *const *needs; /* named parts beyond these, ends with NULL; NULL: there are none */
} rt_arch_compute;

/* ---- what a description says --------------------------------------------------------------- */

/* Where something stands. */
typedef struct rt_place {
    const char *file;
    int64_t off;
    uint32_t line, column;
} rt_place;

typedef enum rt_scalar_kind { RT_SCALAR_TEXT, RT_SCALAR_FLAG, RT_SCALAR_NUMBER } rt_scalar_kind;

/* A single value, such as an expression. */
typedef struct rt_scalar {
    const char *name; /* inside a map; otherwise NULL */
    const char *text; /* NULL: it is not stated */
    rt_scalar_kind kind;
    bool flag;
    double number;
    rt_place at;
} rt_scalar;

/* A list of values; texts are lists of names that end with NULL. */
typedef struct rt_scalars {
    const rt_scalar *list;
    size_t n;
} rt_scalars;

typedef const char *const *rt_texts; /* ends with NULL; NULL: not stated */

/* A rule of `names`, or a part of a larger model that is left out. */
typedef struct rt_arch_rule {
    const char *prefix, *suffix; /* either may be NULL */
    const char *becomes;         /* of a rule; of a part its name */
} rt_arch_rule;

typedef struct rt_arch_rules {
    const rt_arch_rule *list;
    size_t n;
} rt_arch_rules;

/* A Hugging Face class that the description answers to. */
typedef struct rt_arch_class {
    const char *name, *model_type;
    const char *config; /* the object of config.json that holds the text model, or NULL */
    rt_scalars defaults;
    rt_scalars variants; /* other descriptions, each with the path of a config that asks for it */
    rt_texts told_by;    /* on the way back: keys (KEY or KEY=VALUE) and tensors of a file that tell
                            this class from the first one; behind a `!` what is not there */
    rt_scalars writes;   /* what else the way back says in config.json: PATH and a value */
    rt_arch_rules names; /* how the class spells the description's names */
    bool fused_experts;  /* it is published with all experts of a layer in one tensor */
} rt_arch_class;

/* Layers of different kinds: which kind each has is a list of words in config.json, a text with one
 * letter per layer, a period, or a list of the layers of one kind. */
typedef struct rt_layer_kinds {
    rt_place at;
    rt_texts from;
    rt_scalars words;      /* a word or letter, and the kind that it means */
    rt_scalars periodic;   /* period, which layer of it has the kind, that kind, that of others */
    rt_scalars listed;     /* path of the layers, counted from 1, their kind, that of others */
    rt_texts count, every; /* where config.json says nothing: paths of the number of layers and of a
                              period, or the period itself, whose last layer is of kind `is`, */
    const char *is, *others; /* all others of this one; NULL: it has to say */
    const char *names[32];   /* of the kinds; bit i of a set stands for names[i] */
    size_t n;
} rt_layer_kinds;

/* What keys and tensors have in common: they are linked in the order of the description. */
typedef struct rt_arch_entry {
    struct rt_arch_entry *next;
    const char *name; /* of the key without the architecture's, or of the tensor in GGUF */
    const char *when, *unless;
    rt_scalars kind_names;
    uint32_t kinds; /* set of kinds of layers that the entry speaks of; 0: all layers */
    bool optional;
    rt_place at;
} rt_arch_entry;

typedef enum rt_key_type {
    RT_KEY_U32,
    RT_KEY_F32,
    RT_KEY_BOOL,
    RT_KEY_STR,
    RT_KEY_LAYERS,  /* one flag per layer */
    RT_KEY_COUNTS,  /* an array of i32 */
    RT_KEY_NUMBERS, /* an array of f32 */
    RT_KEY_LABELS,  /* an array of texts */
    RT_KEY_FIRST,   /* the first number of a list or of a text */
    RT_KEY_LENGTH   /* how many elements a list has */
} rt_key_type;

/* The words of a description for these; ends with NULL. */
extern const char *const rt_key_type_names[];

/* Layers in which a u32 key has another number. */
typedef struct rt_key_part {
    rt_scalars kind_names;
    uint32_t kinds;    /* set of kinds of layers; 0: any */
    rt_scalars layers; /* first and end, or none */
    const char *when;
    rt_texts from;
    rt_scalar otherwise; /* `default` */
} rt_key_part;

typedef struct rt_arch_key {
    rt_arch_entry entry;
    rt_key_type type;
    rt_texts from, scale_by;
    rt_scalar otherwise; /* `default` */
    rt_scalars map;
    double power;
    rt_scalar over, over_root; /* expressions: an f32 is divided by this, by the root of this */
    bool normal_quantile;      /* of numbers: p becomes the p-quantile of the normal distribution */
    const char *is;
    const char *tensor;  /* of `numbers`: the checkpoint's tensor of each layer that holds one */
    bool scalar;         /* that tensor has no dimension, not one of 1 */
    rt_scalar automatic; /* expression: what the word "auto" means */
    rt_scalar then;      /* how an expression goes on behind the number that was found */
    uint32_t size;       /* of counts: zeros follow up to so many */
    rt_key_part *parts;  /* `except`; a later one counts before an earlier one */
    size_t n_parts;
} rt_arch_key;

/* What an entry makes of a stored tensor; runtime/model/transforms.h has the table. */
typedef struct rt_transform {
    int kind; /* rt_transform_kind */
    rt_scalars args;
} rt_transform;

#define RT_MAX_TRANSFORMS 16

typedef struct rt_arch_tensor {
    rt_arch_entry entry;
    const char *hf;   /* with `fill` a name of no tensor */
    const char *fill; /* all values are this number, or what a path of the config says */
    rt_scalar count;
    rt_scalars shape;  /* rows first */
    rt_scalars layers; /* first, end and, if not 1, step; or none */
    rt_scalars except; /* of these, as layers */
    const char *tied_to;
    bool integers;                              /* a table of whole numbers, which become I32 */
    rt_transform transforms[RT_MAX_TRANSFORMS]; /* in the order in which they are made */
    size_t n_transforms;
} rt_arch_tensor;

typedef struct rt_arch {
    const char *name; /* in GGUF */
    const rt_arch_class *classes;
    size_t n_classes;
    rt_arch_rules names, leave_out;
    rt_arch_entry *keys, *tensors; /* first of each */
    rt_texts rope_scaling, ignore;
    rt_layer_kinds kinds;
    rt_arch_compute compute;
    struct rt_arch_memory *memory; /* of all that the description holds */
} rt_arch;

/* The first key or tensor and the one behind another; NULL at the end. */
static inline const rt_arch_key *rt_arch_first_key(const rt_arch *arch) {
    return (const rt_arch_key *)arch->keys;
}
static inline const rt_arch_key *rt_arch_next_key(const rt_arch_key *key) {
    return (const rt_arch_key *)key->entry.next;
}
static inline const rt_arch_tensor *rt_arch_first_tensor(const rt_arch *arch) {
    return (const rt_arch_tensor *)arch->tensors;
}
static inline const rt_arch_tensor *rt_arch_next_tensor(const rt_arch_tensor *tensor) {
    return (const rt_arch_tensor *)tensor->entry.next;
}
/* Whether the text is in a list. */
bool rt_texts_have(rt_texts list, const char *text);
/* Record that something in a description is wrong, with line and column. */
gguf_code rt_place_fail(const rt_place *at, gguf_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- opening --------------------------------------------------------------------------------- */

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
/* The class that answers to a name or, if that is NULL, to a model type; NULL if none does. */
const rt_arch_class *rt_arch_class_of(const rt_arch *arch, const char *hf_class,
                                      const char *model_type);

/* Call fn for every Hugging Face class that a built-in description answers to. */
gguf_code rt_arch_list(void (*fn)(void *ctx, const char *hf_class, const char *gguf_name),
                       void *ctx, gguf_error *err);

#endif
