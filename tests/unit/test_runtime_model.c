/* Opening models: numbers out of range, tensors that are missing, wrong or not used; and what keys
 * mean, such as the sliding window. */
#include "runtime/sizing/footprint.h"
#include "unit_model.h"

/* ---- variants of a file -------------------------------------------------------------------------
 */

/* What a variant changes; a tensor is renamed, given another first dimension, or dropped. */
typedef struct change {
    void (*edit)(gguf_meta *meta);
    const char *tensor, *new_name;
    int64_t add_cols, add_rows;
    bool drop;
} change;

static size_t change_tensors(gguf_tensor *tensors, size_t n, const change *c) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        gguf_tensor t = tensors[i];
        if (c->tensor && gguf_str_eq(t.name, c->tensor)) {
            if (c->drop) continue;
            if (c->new_name) t.name = gguf_str_of(c->new_name);
            t.dims[0] += (uint64_t)c->add_cols;
            t.dims[1] += (uint64_t)c->add_rows;
        }
        tensors[kept++] = t;
    }
    return kept;
}

/* Write header and zeroed data; the numbers of the weights do not matter here. */
static void write_variant(const gguf_file *file, const change *c, const char *path) {
    gguf_error err = {0};
    gguf_meta *meta = gguf_meta_new();
    const gguf_meta *source = gguf_file_meta(file);
    for (size_t i = 0; i < gguf_meta_count(source); i++)
        gguf_meta_set_kv(meta, gguf_meta_at(source, i));
    if (c->edit) c->edit(meta);
    size_t n = gguf_file_n_tensors(file), header_bytes;
    gguf_tensor *tensors = calloc(n, sizeof *tensors);
    for (size_t i = 0; i < n; i++) tensors[i] = *gguf_file_tensor(file, i);
    n = change_tensors(tensors, n, c);
    uint64_t data_bytes;
    uint8_t *header;
    unit_ok(gguf_layout(tensors, n, GGUF_DEFAULT_ALIGNMENT, &data_bytes, &err), err);
    unit_ok(
        gguf_header_encode(meta, tensors, n, GGUF_DEFAULT_ALIGNMENT, &header, &header_bytes, &err),
        err);
    header = realloc(header, header_bytes + data_bytes);
    ck_assert_ptr_nonnull(header);
    memset(header + header_bytes, 0, data_bytes);
    unit_write(path, header, header_bytes + data_bytes);
    free(header);
    free(tensors);
    gguf_meta_free(meta);
}

static gguf_code open_variant(const char *folder, const change *c, rt_model **model,
                              gguf_error *err) {
    const char *source = unit_convert(folder, GGUF_TYPE_F32);
    const char *path = unit_temp("variant.gguf");
    gguf_file *file;
    unit_ok(gguf_file_open(source, GGUF_OPEN_DEFAULT, &file, err), *err);
    write_variant(file, c, path);
    gguf_file_close(file);
    gguf_code code = rt_model_open(path, model, err);
    unlink(path);
    unlink(source);
    return code;
}

/* ---- keys ---------------------------------------------------------------------------------------
 */

#define EDIT(name, statement)           \
    static void name(gguf_meta *meta) { \
        statement;                      \
    }

EDIT(no_architecture, gguf_meta_unset(meta, "general.architecture"))
EDIT(other_architecture, gguf_meta_set_str(meta, "general.architecture", gguf_str_of("llama99")))
EDIT(no_layers, gguf_meta_set_u32(meta, "llama.block_count", 0))
EDIT(many_layers, gguf_meta_set_u32(meta, "llama.block_count", UINT32_MAX))
EDIT(one_layer_more, gguf_meta_set_u32(meta, "llama.block_count", 4))
EDIT(one_layer_less, gguf_meta_set_u32(meta, "llama.block_count", 2))
EDIT(text_layers, gguf_meta_set_str(meta, "llama.block_count", gguf_str_of("3")))
EDIT(no_width, gguf_meta_unset(meta, "llama.embedding_length"))
EDIT(zero_width, gguf_meta_set_u32(meta, "llama.embedding_length", 0))
EDIT(other_width, gguf_meta_set_u32(meta, "llama.embedding_length", 128))
EDIT(no_context, gguf_meta_set_u32(meta, "llama.context_length", 0))
EDIT(zero_heads, gguf_meta_set_u32(meta, "llama.attention.head_count", 0))
EDIT(many_heads, gguf_meta_set_u64(meta, "llama.attention.head_count", UINT64_MAX))
EDIT(zero_kv_heads, gguf_meta_set_u32(meta, "llama.attention.head_count_kv", 0))
EDIT(more_kv_heads, gguf_meta_set_u32(meta, "llama.attention.head_count_kv", 8))
EDIT(uneven_kv_heads, gguf_meta_set_u32(meta, "llama.attention.head_count_kv", 3))
EDIT(huge_head, gguf_meta_set_u32(meta, "llama.attention.key_length", 1u << 31))
EDIT(other_head, gguf_meta_set_u32(meta, "llama.attention.key_length", 18))
EDIT(odd_rope, gguf_meta_set_u32(meta, "llama.rope.dimension_count", 7))
EDIT(wide_rope, gguf_meta_set_u32(meta, "llama.rope.dimension_count", 18))
EDIT(nan_eps, gguf_meta_set_f32(meta, "llama.attention.layer_norm_rms_epsilon", NAN))
EDIT(minus_eps, gguf_meta_set_f32(meta, "llama.attention.layer_norm_rms_epsilon", -1))
EDIT(zero_base, gguf_meta_set_f32(meta, "llama.rope.freq_base", 0))
EDIT(infinite_base, gguf_meta_set_f32(meta, "llama.rope.freq_base", INFINITY))
EDIT(zero_factor, gguf_meta_set_f32(meta, "llama.rope.scaling.factor", 0))
EDIT(odd_scaling, gguf_meta_set_str(meta, "llama.rope.scaling.type", gguf_str_of("dynamic")))
EDIT(experts, gguf_meta_set_u32(meta, "llama.expert_count", 8))
EDIT(other_vocab, gguf_meta_set_u32(meta, "llama.vocab_size", 600))
EDIT(zero_vocab, gguf_meta_set_u32(meta, "llama.vocab_size", 0))

static void uneven_layers(gguf_meta *meta) {
    const uint32_t per_layer[] = {128, 128, 64};
    gguf_meta_set_array(meta, "llama.feed_forward_length", GGUF_VALUE_U32, 3, per_layer);
}

static void few_layers(gguf_meta *meta) {
    const uint32_t per_layer[] = {128, 128};
    gguf_meta_set_array(meta, "llama.feed_forward_length", GGUF_VALUE_U32, 2, per_layer);
}

static const struct {
    change change;
    gguf_code code;
    const char *text;
} broken[] = {
    {{.edit = no_architecture}, GGUF_E_MISSING, "general.architecture"},
    {{.edit = other_architecture}, GGUF_E_UNSUPPORTED, "'llama99' is not supported"},
    {{.edit = no_layers}, GGUF_E_LIMIT, "'llama.block_count' is outside 1 to 1024"},
    {{.edit = many_layers}, GGUF_E_LIMIT, "'llama.block_count'"},
    {{.edit = one_layer_more}, GGUF_E_MISSING, "'blk.3."},
    {{.edit = one_layer_less}, GGUF_E_UNSUPPORTED, "'blk.2."},
    {{.edit = text_layers}, GGUF_E_TYPE, "'llama.block_count'"},
    {{.edit = uneven_layers}, GGUF_E_SHAPE, "the model's keys say 64 x 64"},
    {{.edit = few_layers}, GGUF_E_TYPE, "has no count for every layer"},
    {{.edit = no_width}, GGUF_E_MISSING, "'llama.embedding_length' is missing"},
    {{.edit = zero_width}, GGUF_E_LIMIT, "'llama.embedding_length'"},
    {{.edit = other_width}, GGUF_E_SHAPE, "'token_embd.weight' has 64 x 640 x 1 x 1"},
    {{.edit = no_context}, GGUF_E_LIMIT, "'llama.context_length'"},
    {{.edit = zero_heads}, GGUF_E_LIMIT, "'llama.attention.head_count'"},
    {{.edit = many_heads}, GGUF_E_LIMIT, "'llama.attention.head_count'"},
    {{.edit = zero_kv_heads}, GGUF_E_LIMIT, "'llama.attention.head_count_kv'"},
    {{.edit = more_kv_heads}, GGUF_E_LIMIT, "'llama.attention.head_count_kv'"},
    {{.edit = uneven_kv_heads}, GGUF_E_LIMIT, "does not divide"},
    {{.edit = huge_head}, GGUF_E_LIMIT, "'llama.attention.key_length'"},
    {{.edit = other_head}, GGUF_E_SHAPE, "'blk.0.attn_q.weight' has 64 x 64 x 1 x 1"},
    {{.edit = odd_rope}, GGUF_E_LIMIT, "'llama.rope.dimension_count' is odd"},
    {{.edit = wide_rope}, GGUF_E_LIMIT, "'llama.rope.dimension_count'"},
    {{.edit = nan_eps}, GGUF_E_LIMIT, "epsilon"},
    {{.edit = minus_eps}, GGUF_E_LIMIT, "epsilon"},
    {{.edit = zero_base}, GGUF_E_LIMIT, "'llama.rope.freq_base'"},
    {{.edit = infinite_base}, GGUF_E_LIMIT, "'llama.rope.freq_base'"},
    {{.edit = zero_factor}, GGUF_E_LIMIT, "'llama.rope.scaling.factor'"},
    {{.edit = odd_scaling}, GGUF_E_UNSUPPORTED, "'llama.rope.scaling.type'"},
    {{.edit = experts}, GGUF_E_MISSING, "'llama.expert_used_count' is missing"},
    {{.edit = other_vocab}, GGUF_E_SHAPE, "the model's keys say 64 x 600"},
    {{.edit = zero_vocab}, GGUF_E_LIMIT, "'llama.vocab_size'"},
    {{.tensor = "output_norm.weight", .drop = true}, GGUF_E_MISSING, "'output_norm.weight'"},
    {{.tensor = "token_embd.weight", .drop = true}, GGUF_E_MISSING, "'token_embd.weight'"},
    {{.tensor = "blk.2.ffn_up.weight", .new_name = "blk.2.ffn_upp.weight"},
     GGUF_E_MISSING,
     "'blk.2.ffn_up.weight'"},
    {{.tensor = "rope_freqs.weight", .new_name = "blk.0.attn_q_nom.weight"},
     GGUF_E_UNSUPPORTED,
     "'blk.0.attn_q_nom.weight'"},
    {{.tensor = "blk.1.ffn_down.weight", .add_rows = 1}, GGUF_E_SHAPE, "128 x 65 x 1 x 1"},
    {{.tensor = "blk.1.attn_norm.weight", .add_cols = -1}, GGUF_E_SHAPE, "63 x 1 x 1 x 1"},
    {{.tensor = "rope_freqs.weight", .add_cols = 8}, GGUF_E_SHAPE, "'rope_freqs.weight'"},
};

START_TEST(broken_models) {
    gguf_error err = {0};
    rt_model *model;
    unit_fails(open_variant("models/llama3", &broken[_i].change, &model, &err), broken[_i].code,
               broken[_i].text, err);
    ck_assert_ptr_null(model);
}
END_TEST

#define V3 "deepseek2."

EDIT(many_used, gguf_meta_set_u32(meta, V3 "expert_used_count", 9))
EDIT(no_used, gguf_meta_set_u32(meta, V3 "expert_used_count", 0))
EDIT(uneven_groups, gguf_meta_set_u32(meta, V3 "expert_group_count", 3))
EDIT(few_in_groups, gguf_meta_set_u32(meta, V3 "expert_group_used_count", 1))
EDIT(odd_gating, gguf_meta_set_u32(meta, V3 "expert_gating_func", 7))
EDIT(other_experts, gguf_meta_set_u32(meta, V3 "expert_count", 16))
EDIT(other_latent, gguf_meta_set_u32(meta, V3 "attention.kv_lora_rank", 40))
EDIT(narrow_heads, gguf_meta_set_u32(meta, V3 "attention.key_length_mla", 16))
EDIT(huge_latent, gguf_meta_set_u32(meta, V3 "attention.kv_lora_rank", UINT32_MAX))
EDIT(text_norm, gguf_meta_set_str(meta, V3 "expert_weights_norm", gguf_str_of("yes")))

static void short_pattern(gguf_meta *meta) {
    const uint8_t flags[] = {1, 0};
    gguf_meta_set_u32(meta, V3 "attention.sliding_window", 16);
    gguf_meta_set_array(meta, V3 "attention.sliding_window_pattern", GGUF_VALUE_BOOL, 2, flags);
}

static const struct {
    change change;
    gguf_code code;
    const char *text;
} broken_experts[] = {
    {{.edit = many_used}, GGUF_E_LIMIT, "'deepseek2.expert_used_count' is outside 1 to 8"},
    {{.edit = no_used}, GGUF_E_LIMIT, "'deepseek2.expert_used_count'"},
    {{.edit = uneven_groups}, GGUF_E_LIMIT, "does not divide the number of experts"},
    {{.edit = few_in_groups}, GGUF_E_LIMIT, "leaves too few experts"},
    {{.edit = odd_gating}, GGUF_E_LIMIT, "'deepseek2.expert_gating_func'"},
    {{.edit = other_experts}, GGUF_E_SHAPE, "'blk.1.ffn_gate_inp.weight'"},
    {{.edit = other_latent}, GGUF_E_LIMIT, "does not agree with the latent rank"},
    {{.edit = narrow_heads}, GGUF_E_LIMIT, "'deepseek2.attention.key_length_mla'"},
    {{.edit = huge_latent}, GGUF_E_LIMIT, "'deepseek2.attention.kv_lora_rank'"},
    {{.edit = text_norm}, GGUF_E_TYPE, "'deepseek2.expert_weights_norm' is not a flag"},
    {{.edit = short_pattern}, GGUF_E_TYPE, "does not have one flag for every layer"},
    {{.tensor = "blk.1.ffn_up_exps.weight", .drop = true},
     GGUF_E_MISSING,
     "'blk.1.ffn_up_exps.weight'"},
    {{.tensor = "blk.0.attn_k_b.weight", .add_rows = 1}, GGUF_E_SHAPE, "'blk.0.attn_k_b.weight'"},
    {{.tensor = "blk.0.attn_norm.weight", .drop = true},
     GGUF_E_MISSING,
     "'blk.0.attn_norm.weight'"},
};

START_TEST(broken_expert_models) {
    gguf_error err = {0};
    rt_model *model;
    unit_fails(open_variant("models/deepseek_v3", &broken_experts[_i].change, &model, &err),
               broken_experts[_i].code, broken_experts[_i].text, err);
    ck_assert_ptr_null(model);
}
END_TEST

/* All frequencies are divided by rope_freqs, which are zero in the variants. */
START_TEST(zero_rope_factors) {
    gguf_error err = {0};
    rt_model *model;
    change c = {0};
    unit_fails(open_variant("models/llama3", &c, &model, &err), GGUF_E_NONFINITE, "RoPE frequency",
               err);
}
END_TEST

/* ---- numbers ------------------------------------------------------------------------------------
 */

START_TEST(numbers_of_a_model) {
    rt_model *model = unit_model("models/mistral", GGUF_TYPE_F32);
    const rt_hparams *hp = rt_model_hparams(model);
    ck_assert_uint_eq(hp->n_vocab, 640);
    ck_assert_uint_eq(hp->n_ctx_train, 512);
    ck_assert_uint_eq(hp->n_layer, 3);
    ck_assert_uint_eq(hp->n_embd, 64);
    ck_assert_uint_eq(hp->n_ff, 128);
    ck_assert_uint_eq(hp->n_head, 4);
    ck_assert_uint_eq(hp->n_head_kv, 2);
    ck_assert_uint_eq(hp->head_dim_k, 48);
    ck_assert_uint_eq(hp->head_dim_v, 48);
    ck_assert_uint_eq(hp->n_rot, 48);
    ck_assert_uint_eq(hp->n_window, 16);
    ck_assert_int_eq(hp->rope_scaling, RT_ROPE_SCALING_NONE);
    ck_assert_str_eq(rt_arch_name(rt_model_arch(model)), "llama");
    ck_assert_uint_gt(rt_model_weights_bytes(model), 1000000);
    rt_model_close(model);
}
END_TEST

EDIT(last_is_draft, gguf_meta_set_u32(meta, "llama.nextn_predict_layers", 1))
EDIT(all_are_draft, gguf_meta_set_u32(meta, "llama.nextn_predict_layers", 3))

/* Tensors of a layer that proposes tokens may be there, and be called anything. */
START_TEST(draft_layers_are_left_aside) {
    const change renamed = {
        last_is_draft, "blk.2.attn_q.weight", "blk.2.nextn.eh_proj.weight", 0, 0, false};
    gguf_error err = {0};
    rt_model *model, *whole = unit_model("models/mistral", GGUF_TYPE_F32);
    rt_footprint footprint, all;
    rt_session_opts opts = rt_session_defaults();
    unit_ok(open_variant("models/mistral", &renamed, &model, &err), err);
    ck_assert_uint_eq(rt_model_hparams(model)->n_layer, 2);
    ck_assert_uint_eq(rt_model_hparams(model)->n_draft_layer, 1);
    ck_assert_uint_lt(rt_model_weights_bytes(model), rt_model_weights_bytes(whole));
    unit_ok(rt_footprint_of_model(model, &opts, true, &footprint, &err), err);
    unit_ok(rt_footprint_of_model(whole, &opts, true, &all, &err), err);
    ck_assert_uint_eq(footprint.kv_bytes * 3, all.kv_bytes * 2);
    rt_model_close(model);
    rt_model_close(whole);
    const change none_left = {.edit = all_are_draft};
    unit_fails(open_variant("models/mistral", &none_left, &model, &err), GGUF_E_LIMIT,
               "'llama.nextn_predict_layers' is outside 0 to 2", err);
}
END_TEST

/* ---- descriptions -------------------------------------------------------------------------------
 */

static gguf_code parse_compute(const char *flags, rt_arch **arch, gguf_error *err) {
    char text[512];
    int len = snprintf(text, sizeof text,
                       "architecture: test\ncompute:\n  norm: rms\n  rope: halves\n%s", flags);
    return rt_arch_parse(text, (size_t)len, "test.yaml", arch, err);
}

START_TEST(flags_of_a_description) {
    gguf_error err = {0};
    rt_arch *arch;
    unit_ok(parse_compute("  activation: relu_squared\n  residual: parallel\n  window_period: 4\n"
                          "  ffn_norm: post_attention_norm\n",
                          &arch, &err),
            err);
    const rt_arch_compute *c = rt_arch_compute_of(arch);
    ck_assert(c->parallel && !c->hidden_output && c->gating == RT_GATING_SOFTMAX);
    ck_assert_int_eq(c->activation, RT_ACT_RELU_SQUARED);
    ck_assert_uint_eq(c->window_period, 4);
    ck_assert_str_eq(c->ffn_norm, "post_attention_norm");
    rt_arch_close(arch);
}
END_TEST

static const struct {
    const char *flags, *message;
} bad_flags[] = {
    {"", "compute.activation is ''"},
    {"  activation: swish\n", "compute.activation is 'swish', which is not known"},
    {"  activation: silu\n  residual: both\n", "compute.residual is 'both'"},
    {"  activation: silu\n  paralel: true\n", "line 6, column 3: 'compute' has no field 'paralel'"},
    {"  activation: silu\n  window_period: -1\n", "'window_period' must be a whole number"},
    {"  activation: silu\n  recurrent: kda\n  recurrent_layers: all\n", "needs recurrent: mamba2"},
};

START_TEST(bad_flags_are_refused) {
    for (size_t i = 0; i < sizeof bad_flags / sizeof bad_flags[0]; i++) {
        gguf_error err = {0};
        rt_arch *arch;
        unit_fails(parse_compute(bad_flags[i].flags, &arch, &err), GGUF_E_FORMAT,
                   bad_flags[i].message, err);
        ck_assert_ptr_null(arch);
    }
}
END_TEST

static bool is_variant(const rt_arch_class *c, const char *gguf_name) {
    for (size_t i = 0; i < c->variants.n; i++)
        if (strcmp(c->variants.list[i].name, gguf_name) == 0) return true;
    return false;
}

static void open_listed(void *ctx, const char *hf_class, const char *gguf_name) {
    gguf_error err = {0};
    rt_arch *arch;
    unit_ok(rt_arch_open(gguf_str_of(gguf_name), NULL, &arch, &err), err);
    ck_assert_str_eq(rt_arch_name(arch), gguf_name);
    rt_arch_close(arch);
    unit_ok(rt_arch_open_hf(hf_class, NULL, NULL, &arch, &err), err);
    ck_assert_msg(strcmp(rt_arch_name(arch), gguf_name) == 0 ||
                      is_variant(rt_arch_class_of(arch, hf_class, NULL), gguf_name),
                  "%s is %s, not %s", hf_class, rt_arch_name(arch), gguf_name);
    rt_arch_close(arch);
    ++*(size_t *)ctx;
}

START_TEST(listed_architectures_open) {
    gguf_error err = {0};
    rt_arch *arch;
    size_t n = 0;
    unit_ok(rt_arch_list(open_listed, &n, &err), err);
    ck_assert_uint_gt(n, 20);
    unit_fails(rt_arch_open(gguf_str_of("planned"), NULL, &arch, &err), GGUF_E_UNSUPPORTED,
               "'planned'", err);
}
END_TEST

START_TEST(absent_file) {
    gguf_error err = {0};
    rt_model *model;
    unit_fails(rt_model_open("/nonexistent.gguf", &model, &err), GGUF_E_IO, "open", err);
    rt_model_close(NULL);
    rt_session_free(NULL);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_model");
    TCase *tc = tcase_create("model");
    tcase_add_loop_test(tc, broken_models, 0, (int)(sizeof broken / sizeof broken[0]));
    tcase_add_loop_test(tc, broken_expert_models, 0,
                        (int)(sizeof broken_experts / sizeof broken_experts[0]));
    tcase_add_test(tc, zero_rope_factors);
    tcase_add_test(tc, numbers_of_a_model);
    tcase_add_test(tc, draft_layers_are_left_aside);
    tcase_add_test(tc, flags_of_a_description);
    tcase_add_test(tc, bad_flags_are_refused);
    tcase_add_test(tc, listed_architectures_open);
    tcase_add_test(tc, absent_file);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
