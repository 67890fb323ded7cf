/* The table of all fields that an architecture description may have. A field that nobody reads
 * would be another model than its author meant. */
#include "runtime/model/arch_read.h"
#include "runtime/model/transforms.h"

const char *const rt_key_type_names[] = {"u32",     "f32",    "bool",  "str",    "layers", "counts",
                                         "numbers", "labels", "first", "length", NULL};
static const char *const rope_kinds[] = {"default", "linear", "llama3",  "yarn",         "longrope",
                                         "su",      "mrope",  "dynamic", "proportional", NULL};

static const gguf_yaml_field name_fields[] = {{"prefix", .form = GGUF_YAML_TEXT},
                                              {"suffix", .form = GGUF_YAML_TEXT},
                                              {"becomes", .form = GGUF_YAML_TEXT, .needed = true},
                                              {0}};

static const gguf_yaml_field class_fields[] = {
    {"class", .form = GGUF_YAML_TEXT, .needed = true},
    {"model_type", .form = GGUF_YAML_TEXT, .needed = true},
    {"config", .form = GGUF_YAML_TEXT},
    {"defaults", .form = GGUF_YAML_VALUES},
    {"variants", .form = GGUF_YAML_VALUES},
    {"told_by", .form = GGUF_YAML_ANY_TEXTS},
    {"fused_experts", .form = GGUF_YAML_FLAG},
    {"writes", .form = GGUF_YAML_VALUES},
    {"names", .form = GGUF_YAML_RECORDS, .fields = name_fields, .what = "a rule of 'names'"},
    {"reason", .form = GGUF_YAML_TEXT},
    {0}};

static const gguf_yaml_field part_fields[] = {{"prefix", .form = GGUF_YAML_TEXT, .needed = true},
                                              {"part", GGUF_YAML_TEXT, .needed = true},
                                              {0}};

static const gguf_yaml_field key_part_fields[] = {
    {"kinds", .form = GGUF_YAML_ANY_TEXTS},
    {"layers", .form = GGUF_YAML_TEXTS, .least = 2, .most = 2},
    {"when", .form = GGUF_YAML_TEXT},
    {"from", .form = GGUF_YAML_ANY_TEXTS},
    {"default", .form = GGUF_YAML_TEXT},
    {0}};

static const gguf_yaml_field key_fields[] = {
    {"key", .form = GGUF_YAML_TEXT, .needed = true},
    {"type", .form = GGUF_YAML_TEXT, .needed = true, .words = rt_key_type_names},
    {"from", .form = GGUF_YAML_ANY_TEXTS},
    {"default", .form = GGUF_YAML_TEXT},
    {"then", .form = GGUF_YAML_TEXT},
    {"auto", .form = GGUF_YAML_TEXT},
    {"tensor", .form = GGUF_YAML_TEXT},
    {"scalar", .form = GGUF_YAML_FLAG},
    {"scale_by", .form = GGUF_YAML_ANY_TEXTS},
    {"optional", .form = GGUF_YAML_FLAG},
    {"map", .form = GGUF_YAML_VALUES},
    {"power", .form = GGUF_YAML_NUMBER},
    {"over", .form = GGUF_YAML_TEXT},
    {"over_root", .form = GGUF_YAML_TEXT},
    {"normal_quantile", .form = GGUF_YAML_FLAG},
    {"is", .form = GGUF_YAML_TEXT},
    {"size", .form = GGUF_YAML_COUNT},
    {"except", .form = GGUF_YAML_RECORDS, .fields = key_part_fields, .what = "an exception"},
    {"kinds", .form = GGUF_YAML_ANY_TEXTS},
    {"when", .form = GGUF_YAML_TEXT},
    {"unless", .form = GGUF_YAML_TEXT},
    {0}};

static const gguf_yaml_field tensor_fields[] = {
    {"hf", .form = GGUF_YAML_TEXT},
    {"fill", .form = GGUF_YAML_TEXT},
    {"gguf", .form = GGUF_YAML_TEXT, .needed = true},
    {"count", .form = GGUF_YAML_TEXT},
    {"shape", .form = GGUF_YAML_TEXTS, .least = 1, .most = 4},
    {"optional", .form = GGUF_YAML_FLAG},
    {"when", .form = GGUF_YAML_TEXT},
    {"unless", .form = GGUF_YAML_TEXT},
    {"layers", .form = GGUF_YAML_TEXTS, .least = 2, .most = 3},
    {"except_layers", .form = GGUF_YAML_TEXTS, .least = 2, .most = 3},
    {"kinds", .form = GGUF_YAML_ANY_TEXTS},
    {"tied_to", .form = GGUF_YAML_TEXT},
    {"integers", .form = GGUF_YAML_FLAG},
#define TRANSFORM_FIELD(name, form, least, most) \
    {#name, form, false, least, most, NULL, NULL, NULL},
    RT_TRANSFORMS(TRANSFORM_FIELD)
#undef TRANSFORM_FIELD
        {0}};

static const gguf_yaml_field period_fields[] = {
    {"count", .form = GGUF_YAML_ANY_TEXTS, .needed = true},
    {"every", .form = GGUF_YAML_ANY_TEXTS, .needed = true},
    {"is", .form = GGUF_YAML_TEXT, .needed = true},
    {"others", .form = GGUF_YAML_TEXT, .needed = true},
    {0}};

static const gguf_yaml_field kind_fields[] = {
    {"from", .form = GGUF_YAML_ANY_TEXTS},
    {"words", .form = GGUF_YAML_VALUES},
    {"every", .form = GGUF_YAML_TEXTS, .least = 4, .most = 4},
    {"listed", .form = GGUF_YAML_TEXTS, .least = 3, .most = 4},
    {"otherwise", .form = GGUF_YAML_RECORD, .fields = period_fields, .what = "'otherwise'"},
    {0}};

static const gguf_yaml_field compute_fields[] = {
    {"norm", .form = GGUF_YAML_TEXT},
    {"norm_factors", .form = GGUF_YAML_TEXT},
    {"rope", .form = GGUF_YAML_TEXT},
    {"activation", .form = GGUF_YAML_TEXT},
    {"ungated_activation", .form = GGUF_YAML_TEXT},
    {"stacks", .form = GGUF_YAML_TEXT},
    {"tied_logits", .form = GGUF_YAML_TEXT},
    {"recurrent", .form = GGUF_YAML_TEXT},
    {"recurrent_layers", .form = GGUF_YAML_TEXT},
    {"alibi", .form = GGUF_YAML_FLAG},
    {"layers", .form = GGUF_YAML_TEXT},
    {"query_gate", .form = GGUF_YAML_TEXT},
    {"index_rope", .form = GGUF_YAML_TEXT},
    {"directions", .form = GGUF_YAML_TEXT},
    {"windows", .form = GGUF_YAML_TEXT},
    {"query_growth", .form = GGUF_YAML_TEXT},
    {"expert_weights", .form = GGUF_YAML_TEXT},
    {"window_usual", .form = GGUF_YAML_COUNT},
    {"shared_experts_usual", .form = GGUF_YAML_COUNT},
    {"plain_qk_norm_but_experts", .form = GGUF_YAML_COUNT},
    {"attention_gate", .form = GGUF_YAML_TEXT},
    {"swiglu_clamp", .form = GGUF_YAML_TEXT},
    {"window_period_full", .form = GGUF_YAML_TEXT},
    {"full_rope_share", .form = GGUF_YAML_COUNT},
    {"residual", .form = GGUF_YAML_TEXT},
    {"output", .form = GGUF_YAML_TEXT},
    {"embedding_scale", .form = GGUF_YAML_TEXT},
    {"logit_scale", .form = GGUF_YAML_TEXT},
    {"window_rope", .form = GGUF_YAML_TEXT},
    {"rope_layers", .form = GGUF_YAML_TEXT},
    {"rope_if_finetuned", .form = GGUF_YAML_FLAG},
    {"qk_norm", .form = GGUF_YAML_TEXT},
    {"embedding_norm", .form = GGUF_YAML_TEXT},
    {"value_norm", .form = GGUF_YAML_TEXT},
    {"missing_values", .form = GGUF_YAML_TEXT},
    {"score_scale", .form = GGUF_YAML_TEXT},
    {"shared_experts", .form = GGUF_YAML_TEXT},
    {"expert_weights_norm", .form = GGUF_YAML_FLAG},
    {"expert_gating", .form = GGUF_YAML_TEXT},
    {"window_period", .form = GGUF_YAML_COUNT},
    {"rope_period", .form = GGUF_YAML_COUNT},
    {"window_rope_base", .form = GGUF_YAML_COUNT},
    {"scores_by_width_layers", .form = GGUF_YAML_COUNT},
    {"embedding_scale_usual", .form = GGUF_YAML_COUNT},
    {"residual_depth_usual", .form = GGUF_YAML_NUMBER},
    {"logit_width_usual", .form = GGUF_YAML_COUNT},
    {"ffn_norm", .form = GGUF_YAML_TEXT},
    {"output_norm", .form = GGUF_YAML_TEXT},
    {"needs", .form = GGUF_YAML_TEXTS},
    {0}};

const gguf_yaml_field rt_arch_fields[] = {
    {"architecture", .form = GGUF_YAML_TEXT, .needed = true},
    {"like", .form = GGUF_YAML_TEXT},
    {"without", .form = GGUF_YAML_TEXTS, .least = 1},
    {"huggingface", .form = GGUF_YAML_RECORDS, .fields = class_fields, .what = "a class"},
    {"names", .form = GGUF_YAML_RECORDS, .fields = name_fields, .what = "a rule of 'names'"},
    {"leave_out", .form = GGUF_YAML_RECORDS, .fields = part_fields, .what = "a part to leave out"},
    {"keys", .form = GGUF_YAML_RECORDS, .fields = key_fields, .what = "a key"},
    {"rope_scaling", .form = GGUF_YAML_TEXTS, .words = rope_kinds},
    {"layer_kinds", .form = GGUF_YAML_RECORD, .fields = kind_fields, .what = "'layer_kinds'"},
    {"tensors", .form = GGUF_YAML_RECORDS, .fields = tensor_fields, .what = "a tensor"},
    {"ignore", .form = GGUF_YAML_TEXTS},
    {"compute", .form = GGUF_YAML_RECORD, .fields = compute_fields, .what = "'compute'"},
    {"planned", .form = GGUF_YAML_FLAG},
    {0}};
