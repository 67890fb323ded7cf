/* Fields of config.json that change the computation, against what is computed: a field that the
 * description takes up nowhere, an activation or a bias that is another. */
#include "libgguf/ends.h"
#include "runtime/import/import_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a description takes up --------------------------------------------------------- */

static bool has_word(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *at = text; at && (at = strstr(at, word)); at += n)
        if ((at == text || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) return true;
    return false;
}

static bool same_text(const char *a, const char *b) {
    return a && strcmp(a, b) == 0;
}

static bool entry_reads(const rt_arch_entry *entry, const char *path) {
    return same_text(entry->when, path) || same_text(entry->unless, path);
}

static bool key_reads(const rt_arch_key *key, const char *path) {
    return entry_reads(&key->entry, path) || rt_texts_have(key->from, path) ||
           rt_texts_have(key->scale_by, path) || has_word(key->otherwise.text, path);
}

/* As a factor, say. */
static bool tensor_reads(const rt_arch_tensor *tensor, const char *path) {
    for (size_t i = 0; i < tensor->n_transforms; i++)
        for (size_t k = 0; k < tensor->transforms[i].args.n; k++)
            if (same_text(tensor->transforms[i].args.list[k].text, path)) return true;
    return entry_reads(&tensor->entry, path);
}

static bool is_read(const rt_arch *arch, const char *path) {
    if (rt_texts_have(arch->kinds.from, path)) return true;
    for (const rt_arch_key *key = rt_arch_first_key(arch); key; key = rt_arch_next_key(key))
        if (key_reads(key, path)) return true;
    for (const rt_arch_tensor *t = rt_arch_first_tensor(arch); t; t = rt_arch_next_tensor(t))
        if (tensor_reads(t, path)) return true;
    return false;
}

/* ---- fields that nobody reads -------------------------------------------------------------- */

/* Each with the number at which it does nothing; a flag counts as 0 or 1. */
typedef struct field {
    const char *path;
    double neutral;
} field;

static const field fields[] = {
    {"attn_logit_softcapping", 0},
    {"final_logit_softcapping", 0},
    {"router_logit_softcapping", 0},
    {"moe_router_logit_softcapping", 0},
    {"embedding_multiplier", 1},
    {"residual_multiplier", 1},
    {"logits_scaling", 1},
    {"logit_scale", 1},
    {"lm_head_multiplier", 1},
    {"key_multiplier", 1},
    {"scale_emb", 1},
    {"clip_qkv", 0},
    {"rope_parameters.partial_rotary_factor", 1},
    {"partial_rotary_factor", 1},
    {"rotary_pct", 1},
    {"use_sliding_window", 0},
    {"scale_attn_by_inverse_layer_idx", 0},
    {"routed_scaling_factor", 1},
    {"moe_routed_scaling_factor", 1},
    {"first_k_dense_replace", 0},
    {"mamba_norm_before_gate", 0},
};

/* A value as a number; false if it is neither a number nor a flag. */
static bool number_of(const json_t *value, double *out) {
    *out = json_is_true(value) ? 1 : json_number_value(value);
    return json_is_number(value) || json_is_boolean(value);
}

static void warn_unread(rt_import *import, const char *path, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    rt_import_add_warning(import,
                          "config.json: '%s' is %s, which '%s' has no place for: what the "
                          "original computes with it, the output does not",
                          path, text ? text : "set", import->architecture);
    free(text);
}

static void check_fields(rt_import *import) {
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const json_t *value = rt_config_get(import, fields[i].path);
        double number;
        if (number_of(value, &number) && number != fields[i].neutral &&
            !is_read(import->arch, fields[i].path))
            warn_unread(import, fields[i].path, value);
    }
}

/* Flags that the description answers with one of its own. */
static void check_flag(rt_import *import, const char *path, bool computed) {
    const json_t *value = rt_config_get(import, path);
    if (json_is_boolean(value) && json_is_true(value) != computed && !is_read(import->arch, path))
        warn_unread(import, path, value);
}

static void check_flags(rt_import *import) {
    const rt_arch_compute *c = rt_arch_compute_of(import->arch);
    check_flag(import, "use_parallel_residual", c->parallel);
    check_flag(import, "parallel_attn", c->parallel);
    if (rt_import_key_u64(import, "expert_count", &(uint64_t){0}))
        check_flag(import, "norm_topk_prob",
                   c->norm_experts || c->gating == RT_GATING_SOFTMAX_SELECTED);
}

/* ---- biases -------------------------------------------------------------------------------- */

static bool has_bias(const rt_import *import, const char *part) {
    for (size_t i = 0; i < import->plan.n_tensors; i++) {
        gguf_str name = import->plan.tensors[i].out.name;
        const char *at = memmem(name.ptr, name.len, part, strlen(part));
        if (at && gguf_str_ends(name, ".bias")) return true;
    }
    return false;
}

/* The tensors decide; a flag that says otherwise may mean that the checkpoint lacks them. */
static void check_biases(rt_import *import) {
    static const struct {
        const char *path, *part;
    } flags[] = {{"attention_bias", ".attn_"},
                 {"qkv_bias", ".attn_"},
                 {"use_qkv_bias", ".attn_"},
                 {"add_qkv_bias", ".attn_"},
                 {"mlp_bias", ".ffn_"}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0] && import->ckpt; i++)
        if (json_is_true(rt_config_get(import, flags[i].path)) && !has_bias(import, flags[i].part))
            rt_import_add_warning(import,
                                  "config.json: '%s' is true, but the checkpoint has no such "
                                  "bias that is taken: it is left out",
                                  flags[i].path);
}

/* ---- the activation ------------------------------------------------------------------------ */

static const struct {
    const char *word;
    rt_activation is;
} words[] = {
    {"silu", RT_ACT_SILU},
    {"swish", RT_ACT_SILU},
    {"swiglu", RT_ACT_SILU},
    {"gelu", RT_ACT_GELU_ERF},
    {"gelu_python", RT_ACT_GELU_ERF},
    {"gelu_new", RT_ACT_GELU_TANH},
    {"gelu_fast", RT_ACT_GELU_TANH},
    {"gelu_tanh", RT_ACT_GELU_TANH},
    {"gelu_accurate", RT_ACT_GELU_TANH},
    {"gelu_pytorch_tanh", RT_ACT_GELU_TANH},
    {"relu2", RT_ACT_RELU_SQUARED},
    {"relu_squared", RT_ACT_RELU_SQUARED},
    {"xielu", RT_ACT_XIELU},
    {"relu", RT_ACT_RELU},
};

static bool is_gelu(int activation) {
    return activation == RT_ACT_GELU_ERF || activation == RT_ACT_GELU_TANH;
}

/* -1: it is not known here */
static int activation_of(const char *word) {
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(words[i].word, word) == 0) return (int)words[i].is;
    return -1;
}

static gguf_code fail_activation(const rt_import *import, const char *path, const char *word,
                                 gguf_error *err) {
    char list[128] = "";
    int computed = (int)rt_arch_compute_of(import->arch)->activation;
    for (size_t i = 0, n = 0; i < sizeof words / sizeof words[0]; i++)
        if ((int)words[i].is == computed && n < sizeof list)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", words[i].word);
    return gguf_fail(err, GGUF_E_UNSUPPORTED, import->config_path, GGUF_NO_OFFSET,
                     "'%s' is '%s', but '%s' is computed with another activation (%s)", path, word,
                     import->architecture, list);
}

/* The two forms of GELU differ by less than 5e-4. */
static gguf_code compare_activation(rt_import *import, const char *path, const char *word,
                                    gguf_error *err) {
    int computed = (int)rt_arch_compute_of(import->arch)->activation, stated = activation_of(word);
    if (computed == RT_ACT_SWIGLU_CLAMPED || stated == computed) return GGUF_OK;
    if (!is_gelu(computed) || !is_gelu(stated)) return fail_activation(import, path, word, err);
    rt_import_add_warning(import,
                          "config.json: '%s' is '%s'; '%s' is computed with the other form of "
                          "GELU, from which it differs by less than 0.0005",
                          path, word, import->architecture);
    return GGUF_OK;
}

/* The first of the names that config.json has. hidden_activation came after hidden_act. */
static gguf_code check_activation(rt_import *import, gguf_error *err) {
    static const char *const paths[] = {"hidden_activation", "hidden_act", "activation_function",
                                        "mlp_hidden_act"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        const json_t *value = rt_config_get(import, paths[i]);
        if (is_read(import->arch, paths[i])) return GGUF_OK;
        if (json_is_string(value))
            return compare_activation(import, paths[i], json_string_value(value), err);
    }
    return GGUF_OK;
}

/* T5's way of saying it, and whether there is a gate; its "gelu" is the other form. */
static gguf_code check_projection(const rt_import *import, gguf_error *err) {
    static const char path[] = "feed_forward_proj";
    const rt_arch_compute *compute = rt_arch_compute_of(import->arch);
    const char *word = json_string_value(rt_config_get(import, path));
    if (!word) return GGUF_OK;
    bool gated = strncmp(word, "gated-", 6) == 0;
    int computed = (int)(gated ? compute->activation : compute->ungated_activation);
    int stated = activation_of(gated ? word + 6 : word);
    if (stated == computed || (stated == RT_ACT_GELU_ERF && computed == RT_ACT_GELU_TANH))
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, import->config_path, GGUF_NO_OFFSET,
                     "'%s' is '%s', but '%s' is computed with a gated GELU, or with ReLU alone",
                     path, word, import->architecture);
}

/* No class has this flag that does not compute with it. */
static gguf_code check_alibi(const rt_import *import, gguf_error *err) {
    if (!json_is_true(rt_config_get(import, "alibi")) || is_read(import->arch, "alibi"))
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, import->config_path, GGUF_NO_OFFSET,
                     "'alibi' is true, but '%s' has no positions by ALiBi", import->architecture);
}

/* What part of a head turns, layer by layer: told by the description, not read. */
static gguf_code check_rope_shares(const rt_import *import, gguf_error *err) {
    const json_t *shares = rt_config_get(import, "partial_rotary_factors");
    uint32_t part = rt_arch_compute_of(import->arch)->full_rope_share;
    for (size_t i = 0; i < json_array_size(shares) && i < import->n_layer_kinds; i++) {
        const char *kind = import->arch->kinds.names[import->layer_kinds[i]];
        double stated, computed = part && !same_text(kind, "window") ? 1.0 / part : 1;
        if (number_of(json_array_get(shares, i), &stated) && stated == computed) continue;
        return gguf_fail(err, GGUF_E_UNSUPPORTED, import->config_path, GGUF_NO_OFFSET,
                         "'partial_rotary_factors' has another number for layer %zu than the %g "
                         "with which '%s' is computed",
                         i, computed, import->architecture);
    }
    return GGUF_OK;
}

gguf_code rt_import_check_unread(rt_import *import, gguf_error *err) {
    check_fields(import);
    check_flags(import);
    check_biases(import);
    gguf_code code = check_alibi(import, err);
    if (!code) code = check_rope_shares(import, err);
    if (!code) code = check_projection(import, err);
    return code ? code : check_activation(import, err);
}
