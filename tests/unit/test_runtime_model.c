/* Opening models: numbers out of range, tensors that are missing, wrong or not used; and what keys
 * mean, such as the sliding window. */
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

static gguf_code open_variant(const change *c, rt_model **model, gguf_error *err) {
    const char *source = unit_convert("models/llama3", GGUF_TYPE_F32);
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
    {{.edit = uneven_layers}, GGUF_E_TYPE, "differs between layers"},
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
    unit_fails(open_variant(&broken[_i].change, &model, &err), broken[_i].code, broken[_i].text,
               err);
    ck_assert_ptr_null(model);
}
END_TEST

/* All frequencies are divided by rope_freqs, which are zero in the variants. */
START_TEST(zero_rope_factors) {
    gguf_error err = {0};
    rt_model *model;
    change c = {0};
    unit_fails(open_variant(&c, &model, &err), GGUF_E_NONFINITE, "RoPE frequency", err);
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
    tcase_add_test(tc, zero_rope_factors);
    tcase_add_test(tc, numbers_of_a_model);
    tcase_add_test(tc, absent_file);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
