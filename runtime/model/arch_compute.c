/* The flags under `compute`. */
#include "runtime/model/arch_read.h"

#include <string.h>

typedef struct flag_name {
    const char *name;
    int value;
} flag_name;

static const flag_name norms[] = {{"rms", RT_NORM_RMS}, {"layer", RT_NORM_LAYER}, {NULL, 0}};
static const flag_name norm_factors[] = {{"tensors", false}, {"none", true}, {NULL, 0}};
static const flag_name ropes[] = {
    {"none", RT_ROPE_NONE}, {"adjacent", RT_ROPE_ADJACENT}, {"halves", RT_ROPE_HALVES}, {NULL, 0}};
static const flag_name index_ropes[] = {
    {"same", RT_ROPE_NONE}, {"adjacent", RT_ROPE_ADJACENT}, {"halves", RT_ROPE_HALVES}, {NULL, 0}};
static const flag_name activations[] = {{"silu", RT_ACT_SILU},
                                        {"gelu_tanh", RT_ACT_GELU_TANH},
                                        {"gelu_erf", RT_ACT_GELU_ERF},
                                        {"relu_squared", RT_ACT_RELU_SQUARED},
                                        {"swiglu_clamped", RT_ACT_SWIGLU_CLAMPED},
                                        {"xielu", RT_ACT_XIELU},
                                        {NULL, 0}};
static const flag_name ungated[] = {{"same", RT_ACT_IDENTITY}, {"relu", RT_ACT_RELU}, {NULL, 0}};
static const flag_name stacks[] = {
    {"one", RT_STACKS_ONE}, {"encoder", RT_STACKS_ENCODER}, {"both", RT_STACKS_BOTH}, {NULL, 0}};
static const flag_name tied_logits[] = {{"as_they_are", false}, {"by_root_width", true}, {NULL, 0}};
static const flag_name recurrents[] = {{"none", RT_MIXER_NONE},
                                       {"short_conv", RT_MIXER_SHORT_CONV},
                                       {"mamba", RT_MIXER_MAMBA},
                                       {"mamba2", RT_MIXER_MAMBA2},
                                       {"gated_delta", RT_MIXER_GATED_DELTA},
                                       {"kda", RT_MIXER_KDA},
                                       {NULL, 0}};
static const flag_name recurrent_layers[] = {
    {"without_attention", false}, {"all", true}, {NULL, 0}};
static const flag_name query_gates[] = {{"none", false}, {"per_head", true}, {NULL, 0}};
static const flag_name head_gates[] = {{"none", RT_ACT_IDENTITY},
                                       {"sigmoid", RT_ACT_SIGMOID},
                                       {"softplus", RT_ACT_SOFTPLUS},
                                       {NULL, 0}};
static const flag_name clamp_places[] = {{"after", false}, {"before", true}, {NULL, 0}};
static const flag_name directions[] = {{"one", false}, {"both", true}, {NULL, 0}};
static const flag_name windows[] = {{"sliding", false}, {"chunked", true}, {NULL, 0}};
static const flag_name growths[] = {{"all", false}, {"unrotated", true}, {NULL, 0}};
static const flag_name weight_places[] = {{"output", false}, {"input", true}, {NULL, 0}};
static const flag_name full_places[] = {{"last", false}, {"first", true}, {NULL, 0}};
static const flag_name mixers[] = {{"with_ffn", false}, {"single", true}, {NULL, 0}};
static const flag_name residuals[] = {{"sequential", false}, {"parallel", true}, {NULL, 0}};
static const flag_name outputs[] = {{"logits", false}, {"hidden", true}, {NULL, 0}};
static const flag_name embedding_scales[] = {{"none", false}, {"sqrt_width", true}, {NULL, 0}};
static const flag_name logit_scales[] = {{"divide", false}, {"multiply", true}, {NULL, 0}};
static const flag_name window_ropes[] = {{"same", false}, {"plain", true}, {NULL, 0}};
static const flag_name rope_layers[] = {{"all", false}, {"windowed", true}, {NULL, 0}};
static const flag_name gatings[] = {{"softmax", RT_GATING_SOFTMAX},
                                    {"sigmoid", RT_GATING_SIGMOID},
                                    {"softmax_selected", RT_GATING_SOFTMAX_SELECTED},
                                    {"sqrt_softplus", RT_GATING_SQRT_SOFTPLUS},
                                    {NULL, 0}};
static const flag_name qk_norms[] = {{"before_rope", false}, {"after_rope", true}, {NULL, 0}};
static const flag_name plain_norms[] = {{"none", false}, {"plain", true}, {NULL, 0}};
static const flag_name missing_values[] = {{"error", false}, {"keys", true}, {NULL, 0}};
static const flag_name score_scales[] = {{"head_dim", false}, {"none", true}, {NULL, 0}};
static const flag_name shared_experts[] = {{"sum", false}, {"average", true}, {NULL, 0}};
static const flag_name switches[] = {{"false", false}, {"true", true}, {NULL, 0}};

typedef struct flag_reader {
    const gguf_yaml_doc *doc;
    const gguf_yaml *compute; /* NULL: nothing is stated */
    bool is_first;            /* of the descriptions that this one is like */
    gguf_code code;
    gguf_error *err;
} flag_reader;

/* The value of a flag, or what it was before; `needed` ones the first description has to state. */
static int read_flag(flag_reader *r, const char *field, const flag_name *names, int before,
                     bool needed) {
    const gguf_yaml *node = gguf_yaml_get(r->compute, field);
    if (!node && !(needed && r->is_first)) return before;
    const char *text = node ? node->text : "";
    for (; names->name; names++)
        if (strcmp(names->name, text) == 0) return names->value;
    rt_place at = rt_place_of(r->doc, node         ? node
                                      : r->compute ? r->compute
                                                   : gguf_yaml_root(r->doc));
    if (!r->code)
        r->code = rt_place_fail(&at, r->err, "compute.%s is '%s', which is not known", field, text);
    return before;
}

static uint32_t read_number(flag_reader *r, const char *field, uint32_t before) {
    const gguf_yaml *node = gguf_yaml_get(r->compute, field);
    int64_t value = 0;
    if (!node) return before;
    rt_place at = rt_place_of(r->doc, node);
    if ((!gguf_yaml_i64(node, &value) || value < 0 || value > UINT32_MAX) && !r->code)
        r->code = rt_place_fail(&at, r->err, "compute.%s is not a count", field);
    return (uint32_t)value;
}

/* Flags whose names are a table of their own. */
static void read_flags(flag_reader *r, rt_arch_compute *c) {
    c->norm = (rt_norm)read_flag(r, "norm", norms, c->norm, true);
    c->plain_norms = read_flag(r, "norm_factors", norm_factors, c->plain_norms, false);
    c->rope = (rt_rope)read_flag(r, "rope", ropes, c->rope, true);
    c->index_rope = (rt_rope)read_flag(r, "index_rope", index_ropes, c->index_rope, false);
    c->activation = (rt_activation)read_flag(r, "activation", activations, c->activation, true);
    c->ungated_activation =
        (rt_activation)read_flag(r, "ungated_activation", ungated, c->ungated_activation, false);
    c->stacks = (rt_stacks)read_flag(r, "stacks", stacks, c->stacks, false);
    c->scale_tied_logits = read_flag(r, "tied_logits", tied_logits, c->scale_tied_logits, false);
    c->recurrent = (rt_mixer)read_flag(r, "recurrent", recurrents, c->recurrent, false);
    c->alibi = read_flag(r, "alibi", switches, c->alibi, false);
    c->recurrent_all = read_flag(r, "recurrent_layers", recurrent_layers, c->recurrent_all, false);
    c->single_mixer = read_flag(r, "layers", mixers, c->single_mixer, false);
    c->gated_queries = read_flag(r, "query_gate", query_gates, c->gated_queries, false);
    c->head_gate = (rt_activation)read_flag(r, "attention_gate", head_gates, c->head_gate, false);
    c->gated_heads = c->head_gate != RT_ACT_IDENTITY;
    c->clamps_before = read_flag(r, "swiglu_clamp", clamp_places, c->clamps_before, false);
    c->full_first = read_flag(r, "window_period_full", full_places, c->full_first, false);
    c->parallel = read_flag(r, "residual", residuals, c->parallel, false);
    c->hidden_output = read_flag(r, "output", outputs, c->hidden_output, false);
    c->embeddings_by_width =
        read_flag(r, "embedding_scale", embedding_scales, c->embeddings_by_width, false);
    c->multiply_logits = read_flag(r, "logit_scale", logit_scales, c->multiply_logits, false);
    c->plain_window_rope = read_flag(r, "window_rope", window_ropes, c->plain_window_rope, false);
    c->rope_windowed = read_flag(r, "rope_layers", rope_layers, c->rope_windowed, false);
    c->rope_if_finetuned = read_flag(r, "rope_if_finetuned", switches, c->rope_if_finetuned, false);
    c->norm_rotated_heads = read_flag(r, "qk_norm", qk_norms, c->norm_rotated_heads, false);
    c->both_directions = read_flag(r, "directions", directions, c->both_directions, false);
    c->chunked = read_flag(r, "windows", windows, c->chunked, false);
    c->grow_unrotated = read_flag(r, "query_growth", growths, c->grow_unrotated, false);
    c->weight_expert_inputs =
        read_flag(r, "expert_weights", weight_places, c->weight_expert_inputs, false);
    c->norm_embeddings = read_flag(r, "embedding_norm", plain_norms, c->norm_embeddings, false);
    c->norm_values = read_flag(r, "value_norm", plain_norms, c->norm_values, false);
    c->keys_as_values = read_flag(r, "missing_values", missing_values, c->keys_as_values, false);
    c->plain_scores = read_flag(r, "score_scale", score_scales, c->plain_scores, false);
    c->average_shared = read_flag(r, "shared_experts", shared_experts, c->average_shared, false);
    c->norm_experts = read_flag(r, "expert_weights_norm", switches, c->norm_experts, false);
    c->gating = (rt_gating)read_flag(r, "expert_gating", gatings, c->gating, false);
}

static void read_numbers(flag_reader *r, rt_arch_compute *c) {
    c->window_period = read_number(r, "window_period", c->window_period);
    c->window_usual = read_number(r, "window_usual", c->window_usual);
    c->n_shared_usual = read_number(r, "shared_experts_usual", c->n_shared_usual);
    c->plain_qk_experts = read_number(r, "plain_qk_norm_but_experts", c->plain_qk_experts);
    c->full_rope_share = read_number(r, "full_rope_share", c->full_rope_share);
    c->rope_period = read_number(r, "rope_period", c->rope_period);
    c->window_rope_base = read_number(r, "window_rope_base", c->window_rope_base);
    c->scores_by_width_layers = read_number(r, "scores_by_width_layers", c->scores_by_width_layers);
    c->embedding_scale_usual = read_number(r, "embedding_scale_usual", c->embedding_scale_usual);
    c->logit_width_usual = read_number(r, "logit_width_usual", c->logit_width_usual);
    gguf_yaml_f64(gguf_yaml_get(r->compute, "residual_depth_usual"), &c->residual_depth_usual);
}

/* The parts that the runtime lacks; an empty list takes back an inherited one. */
static gguf_code read_needs(rt_arch *arch, const gguf_yaml *compute, gguf_error *err) {
    const gguf_yaml *needs = gguf_yaml_get(compute, "needs");
    if (!needs) return GGUF_OK;
    arch->compute.needs = needs->first ? rt_arch_texts(arch, needs) : NULL;
    if (arch->compute.needs || !needs->first) return GGUF_OK;
    return gguf_fail_memory(err);
}

gguf_code rt_arch_read_compute(rt_arch *arch, const gguf_yaml_doc *doc, gguf_error *err) {
    const gguf_yaml *root = gguf_yaml_root(doc), *compute = gguf_yaml_get(root, "compute");
    rt_arch_compute *c = &arch->compute;
    flag_reader r = {
        .doc = doc, .compute = compute, .is_first = !gguf_yaml_get(root, "like"), .err = err};
    if (r.is_first)
        *c = (rt_arch_compute){.gating = RT_GATING_SOFTMAX,
                               .head_gate = RT_ACT_IDENTITY,
                               .ungated_activation = RT_ACT_IDENTITY,
                               .ffn_norm = "ffn_norm",
                               .output_norm = "output_norm"};
    read_flags(&r, c);
    read_numbers(&r, c);
    c->ffn_norm = gguf_yaml_text(compute, "ffn_norm", c->ffn_norm);
    c->output_norm = gguf_yaml_text(compute, "output_norm", c->output_norm);
    if (r.code) return r.code;
    rt_place at = rt_place_of(doc, compute ? compute : root);
    if (c->recurrent_all && c->recurrent != RT_MIXER_MAMBA2)
        return rt_place_fail(&at, err, "compute.recurrent_layers: all needs recurrent: mamba2");
    return read_needs(arch, compute, err);
}
