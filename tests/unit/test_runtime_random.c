/* Families without a fixture here, with drawn weights: the same bits in batches and token by token,
 * in one place and in two, as a whole and layer by layer, and memory as predicted. */
#include "runtime/engine/session_internal.h"
#include "runtime/sizing/footprint.h"
#include "unit_random.h"
#include "unit_shadow.h"

enum { N_TOKENS = 140 }; /* more than the largest block of DeepSeek V4 */

#define LAYERS(a, b, c, d) "\"layer_types\":[" a "," b "," c "," d "],"
#define WINDOW             "\"sliding_attention\""
#define FULL               "\"full_attention\""
#define COMMON                                                                    \
    "\"hidden_size\":64,\"num_attention_heads\":4,\"num_key_value_heads\":2,"     \
    "\"num_hidden_layers\":4,\"vocab_size\":160,\"max_position_embeddings\":512," \
    "\"rms_norm_eps\":1e-6,\"sliding_window\":16,"
#define EXPERTS                                                                 \
    "\"num_experts\":8,\"num_experts_per_tok\":3,\"moe_intermediate_size\":32," \
    "\"intermediate_size\":96,"

static const char *const configs[] = {
    "{\"architectures\":[\"Gemma3nForCausalLM\"]," COMMON LAYERS(
        WINDOW, FULL, WINDOW,
        FULL) "\"head_dim\":16,\"intermediate_size\":[96,96,96,96],\"altup_num_inputs\":4,"
              "\"hidden_size_per_layer_input\":16,\"num_kv_shared_layers\":2,\"laurel_rank\":8,"
              "\"vocab_size_per_layer_input\":128,\"activation_sparsity_pattern\":[0.9,0,0,0],"
              "\"final_logit_softcapping\":30.0,\"tie_word_embeddings\":true}",

    "{\"architectures\":[\"LagunaForCausalLM\"]," COMMON EXPERTS LAYERS(
        FULL, WINDOW, WINDOW,
        WINDOW) "\"head_dim\":16,\"num_attention_heads_per_layer\":[4,6,6,6],\"shared_expert_intermediate_size\":40,"
                "\"mlp_layer_types\":[\"dense\",\"sparse\",\"sparse\",\"sparse\"],"
                "\"moe_router_logit_softcapping\":5.0,"
                "\"rope_parameters\":{\"full_attention\":{\"partial_rotary_factor\":0.5,\"rope_theta\":500000.0},"
                "\"sliding_attention\":{\"partial_rotary_factor\":1.0,\"rope_theta\":10000.0}}}",

    "{\"architectures\":[\"MuseGlimmerForCausalLM\"]," COMMON LAYERS(
        WINDOW, WINDOW, WINDOW,
        FULL) "\"head_dim\":32,\"intermediate_size\":96,\"qk_scale_factor\":3.8,\"post_norm_eps\":1e-8,"
              "\"output_multiplier\":1.6,\"final_logit_softcapping\":20.0}",

    "{\"architectures\":[\"MiMoV2FlashForCausalLM\"]," COMMON
    "\"head_dim\":24,\"v_head_dim\":16,\"intermediate_size\":96,\"n_routed_experts\":8,"
    "\"num_experts_per_tok\":3,\"moe_intermediate_size\":32,\"n_group\":1,\"topk_group\":1,"
    "\"scoring_func\":\"sigmoid\",\"hybrid_layer_pattern\":[0,1,1,0],\"moe_layer_freq\":[0,1,1,1],"
    "\"swa_num_key_value_heads\":4,\"partial_rotary_factor\":0.334,\"attention_value_scale\":0.7}",

    "{\"architectures\":[\"Qwen2MoeForCausalLM\"]," COMMON EXPERTS
    "\"shared_expert_intermediate_size\":80,\"norm_topk_prob\":true,\"decoder_sparse_step\":1}",

    "{\"architectures\":[\"AfmoeForCausalLM\"]," COMMON EXPERTS LAYERS(
        WINDOW, WINDOW, WINDOW,
        FULL) "\"head_dim\":32,\"num_dense_layers\":1,\"num_shared_experts\":1,\"mup_enabled\":true}",

    "{\"architectures\":[\"Gemma3TextModel\"]," COMMON LAYERS(
        WINDOW, WINDOW, FULL,
        WINDOW) "\"head_dim\":32,\"intermediate_size\":96,\"use_bidirectional_attention\":true,"
                "\"query_pre_attn_scalar\":32}",

    "{\"architectures\":[\"ModernBertModel\"]," COMMON
    "\"intermediate_size\":96,\"local_attention\":16,\"global_attn_every_n_layers\":3}",

    "{\"architectures\":[\"DeepseekV32ForCausalLM\"]," COMMON
    "\"q_lora_rank\":24,\"kv_lora_rank\":32,\"qk_nope_head_dim\":16,\"qk_rope_head_dim\":8,\"v_head_dim\":16,"
    "\"intermediate_size\":96,\"n_routed_experts\":8,\"n_shared_experts\":1,\"num_experts_per_tok\":3,\"moe_intermediate_size\":32,"
    "\"index_head_dim\":64,\"index_n_heads\":16,\"index_topk\":12,\"first_k_dense_replace\":1}",

    "{\"architectures\":[\"GlmMoeDsaForCausalLM\"]," COMMON
    "\"q_lora_rank\":24,\"kv_lora_rank\":32,\"qk_nope_head_dim\":16,\"qk_rope_head_dim\":8,\"v_head_dim\":16,"
    "\"intermediate_size\":96,\"n_routed_experts\":8,\"n_shared_experts\":1,\"num_experts_per_tok\":3,\"moe_intermediate_size\":32,"
    "\"index_head_dim\":64,\"index_n_heads\":16,\"index_topk\":12,\"first_k_dense_replace\":1,"
    "\"indexer_types\":[\"full\",\"shared\",\"full\",\"shared\"]}",

    UNIT_DEEPSEEK4("10"),
    UNIT_GLM5_NEXT,

    "{\"architectures\":[\"MiniCPM3ForCausalLM\"]," COMMON
    "\"q_lora_rank\":24,\"kv_lora_rank\":32,\"qk_nope_head_dim\":16,\"qk_rope_head_dim\":8,\"v_head_dim\":16,"
    "\"intermediate_size\":96,\"scale_emb\":12,\"scale_depth\":1.4,\"dim_model_base\":16}",

    "{\"architectures\":[\"MiniMaxM3SparseForConditionalGeneration\"]," COMMON
    "\"head_dim\":32,\"dense_intermediate_size\":96,\"intermediate_size\":32,"
    "\"num_local_experts\":8,\"num_experts_per_tok\":3,\"n_shared_experts\":1,"
    "\"index_block_size\":4,\"index_head_dim\":16,\"index_local_blocks\":1,\"index_n_heads\":2,"
    "\"index_topk_blocks\":3,\"moe_layer_freq\":[0,1,1,1],\"rotary_dim\":16}",
};
#define N_CONFIGS (int)(sizeof configs / sizeof configs[0])

static void draw_tokens(const rt_model *model, int32_t tokens[N_TOKENS]) {
    uint32_t n_vocab = rt_model_hparams(model)->n_vocab;
    for (uint32_t i = 0; i < N_TOKENS; i++) tokens[i] = (int32_t)((i * 37 + i * i) % n_vocab);
}

static rt_session_opts opts_of(uint32_t n_batch, unsigned n_threads) {
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = 192;
    opts.n_batch = n_batch;
    opts.n_threads = n_threads;
    opts.kv_type = GGUF_TYPE_F32;
    return opts;
}

static void check_bits(const rt_model *model, const rt_session_opts *opts, const int32_t *tokens,
                       const float *expected) {
    float *logits = unit_logits(model, opts, tokens, N_TOKENS);
    ck_assert_mem_eq(logits, expected, N_TOKENS * rt_model_hparams(model)->n_out * sizeof *logits);
    free(logits);
}

static void check_layers(const rt_model *model, const rt_session_opts *opts, const int32_t *tokens,
                         const float *expected) {
    gguf_error err = {0};
    rt_session *session;
    const rt_hparams *hp = rt_model_hparams(model);
    unit_ok(rt_session_new(model, opts, &session, &err), err);
    float *x = calloc(N_TOKENS * rt_session_stream_cols(session), sizeof *x);
    float *logits = malloc(sizeof *logits * N_TOKENS * hp->n_out);
    ck_assert(x && logits);
    unit_ok(rt_session_embed(session, tokens, N_TOKENS, x, &err), err);
    for (uint32_t layer = 0; layer < hp->n_layer; layer++)
        unit_ok(rt_session_layer(session, layer, tokens, x, N_TOKENS, &err), err);
    unit_ok(rt_session_head(session, x, N_TOKENS, logits, &err), err);
    ck_assert_mem_eq(logits, expected, sizeof *logits * N_TOKENS * hp->n_out);
    rt_session_free(session);
    free(x);
    free(logits);
}

static void check_memory(const rt_model *model, const rt_session_opts *opts) {
    gguf_error err = {0};
    rt_footprint footprint;
    rt_session *session;
    unit_ok(rt_footprint_of(rt_model_hparams(model), opts, 0, 0, &footprint, &err), err);
    unit_ok(rt_session_new(model, opts, &session, &err), err);
    ck_assert_uint_eq(footprint.kv_bytes, rt_layout_cache_bytes(&session->layout));
    ck_assert_uint_eq(footprint.compute_bytes, rt_layout_compute_bytes(&session->layout));
    rt_session_free(session);
}

START_TEST(the_same_bits) {
    static const uint32_t batches[] = {1, 7, 33};
    rt_model *model = unit_random_model(configs[_i]);
    uint32_t n_layer = rt_model_hparams(model)->n_layer;
    int32_t tokens[N_TOKENS];
    draw_tokens(model, tokens);
    rt_session_opts opts = opts_of(N_TOKENS, 1);
    float *expected = unit_logits(model, &opts, tokens, N_TOKENS), most = 0;
    for (size_t i = 0; i < (size_t)N_TOKENS * rt_model_hparams(model)->n_out; i++) {
        ck_assert(expected[i] - expected[i] == 0);
        most = fmaxf(most, fabsf(expected[i]));
    }
    ck_assert_float_gt(most, 0.01f);
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        opts = opts_of(batches[i], 2);
        check_bits(model, &opts, tokens, expected);
    }
    for (uint32_t n = 0; n <= n_layer; n++) {
        opts = opts_of(N_TOKENS, 2);
        opts.device = n ? &unit_shadow_type : NULL;
        opts.n_device_layers = n;
        check_layers(model, &opts, tokens, expected);
        opts.n_batch = 9;
        check_bits(model, &opts, tokens, expected);
    }
    opts = opts_of(64, 2);
    check_memory(model, &opts);
    free(expected);
    rt_model_close(model);
}
END_TEST

/* Coefficients of hyper-connections: read between eps and 1 + eps, and what goes to streams such
 * that neither a stream's parts nor what becomes of one add up to anything but 1. */
START_TEST(balanced_mixtures) {
    enum { N = 3, N_STREAMS = 4, N_F = N_STREAMS * (N_STREAMS + 2), N_WRITE = N_STREAMS + 1 };
    gguf_error err = {0};
    gguf_pool *pool;
    rt_backend *backend;
    uint32_t state = 3;
    float f[N * N_F], base[N_F], read[N * N_STREAMS], write[N * N_STREAMS * N_WRITE];
    const float scale[3] = {1, 0.5f, 2};
    rt_hparams hp = {0};
    for (size_t i = 0; i < N * N_F; i++) f[i] = 3 * unit_random(&state);
    for (size_t i = 0; i < N_F; i++) base[i] = unit_random(&state);
    unit_ok(gguf_pool_new(1, &pool, &err), err);
    const rt_backend_setup setup = {
        .hparams = &hp, .n_batch = N, .arena_bytes = 4096, .cache_bytes = 64, .pool = pool};
    const rt_hyper hyper = {N_STREAMS, 60, 1e-6f, scale, base};
    unit_ok(rt_backend_cpu.open(&setup, &backend, &err), err);
    backend->ops->write(backend, f, sizeof f, 0);
    backend->ops->hyper(backend, &hyper, 0, N, 1024, 2048);
    backend->ops->read(backend, 1024, sizeof read, read);
    backend->ops->read(backend, 2048, sizeof write, write);
    for (size_t t = 0; t < N; t++)
        for (size_t i = 0; i < N_STREAMS; i++) {
            const float *w = write + t * N_STREAMS * N_WRITE;
            double x = f[t * N_F + i] * scale[0] + base[i], from = 0, to = 0;
            double put = f[t * N_F + N_STREAMS + i] * scale[1] + base[N_STREAMS + i];
            ck_assert(fabs(read[t * N_STREAMS + i] - 1 / (1 + exp(-x)) - 1e-6) < 1e-6);
            ck_assert(fabs(w[i * N_WRITE] - 2 / (1 + exp(-put))) < 1e-6);
            for (size_t k = 0; k < N_STREAMS; k++) {
                from += w[i * N_WRITE + 1 + k];
                to += w[k * N_WRITE + 1 + i];
            }
            ck_assert(fabs(from - 1) < 1e-4 && fabs(to - 1) < 1e-4);
        }
    backend->ops->free(backend);
    gguf_pool_free(pool);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_random");
    TCase *tc = tcase_create("random");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, the_same_bits, 0, N_CONFIGS);
    tcase_add_test(tc, balanced_mixtures);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
