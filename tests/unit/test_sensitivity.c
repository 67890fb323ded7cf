/* Probes: what one quantised matrix does to the output; the model is as before afterwards. */
#include "runtime/calibrate/sensitivity.h"
#include "tests/unit/unit_model.h"

#define N_TOKENS 64

static int32_t tokens[N_TOKENS];

static void fill_tokens(const rt_model *model) {
    uint32_t n_vocab = rt_model_hparams(model)->n_vocab;
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = (i * 37 + 11) % (int)n_vocab;
}

static rt_probe_opts small_opts(void) {
    rt_probe_opts opts = rt_probe_defaults();
    opts.n_ctx = 32;
    opts.n_threads = 1;
    return opts;
}

/* The divergence of one probe. */
static double kld_of(rt_model *model, const char *tensor, uint32_t layer, uint32_t type) {
    gguf_error err = {0};
    rt_probe probe = {.tensor = tensor, .layer = layer, .type = type};
    const rt_probe_opts opts = small_opts();
    unit_ok(rt_measure_probes(model, tokens, N_TOKENS, &opts, &probe, 1, &err), err);
    return probe.kld;
}

START_TEST(coarser_types_diverge_more) {
    rt_model *model = unit_model("models/llama", GGUF_TYPE_F32);
    fill_tokens(model);
    double coarse = kld_of(model, "blk.0.ffn_down.weight", 0, GGUF_TYPE_Q4_0);
    double fine = kld_of(model, "blk.0.ffn_down.weight", 0, GGUF_TYPE_Q8_0);
    ck_assert_msg(coarse > 10 * fine && fine > 0, "%g, %g", coarse, fine);
    ck_assert(kld_of(model, "output.weight", 2, GGUF_TYPE_Q4_0) > 0);
    rt_model_close(model);
}
END_TEST

/* A fused matrix is read by three weights; a stack by every expert. */
START_TEST(parts_of_a_tensor_change_together) {
    rt_model *model = unit_model("models/phi3", GGUF_TYPE_F32);
    fill_tokens(model);
    ck_assert(kld_of(model, "blk.0.attn_qkv.weight", 0, GGUF_TYPE_Q4_0) > 0);
    rt_model_close(model);
    model = unit_model("models/mixtral", GGUF_TYPE_F32);
    fill_tokens(model);
    ck_assert(kld_of(model, "blk.0.ffn_up_exps.weight", 0, GGUF_TYPE_Q4_0) > 0);
    rt_model_close(model);
}
END_TEST

START_TEST(the_model_is_as_before) {
    rt_model *model = unit_model("models/llama", GGUF_TYPE_F32);
    rt_session_opts opts = rt_session_defaults();
    opts.n_threads = 1;
    fill_tokens(model);
    float *before = unit_logits(model, &opts, tokens, N_TOKENS);
    kld_of(model, "blk.0.attn_q.weight", 0, GGUF_TYPE_Q4_0);
    float *after = unit_logits(model, &opts, tokens, N_TOKENS);
    ck_assert_mem_eq(before, after, N_TOKENS * rt_model_hparams(model)->n_vocab * sizeof(float));
    free(before);
    free(after);
    rt_model_close(model);
}
END_TEST

/* A weight that lies repacked beside the file's is changed like any other. */
START_TEST(repacked_models_can_be_probed) {
    gguf_error err = {0};
    rt_model *model = unit_model("models/deepseek_wide", GGUF_TYPE_Q4_K);
    fill_tokens(model);
    const char *const tensors[] = {"blk.0.ffn_down.weight", "token_embd.weight"};
    double plain[2];
    uint32_t head = rt_model_hparams(model)->n_layer;
    for (uint32_t i = 0; i < 2; i++) plain[i] = kld_of(model, tensors[i], i * head, GGUF_TYPE_Q2_K);
    unit_ok(rt_model_repack(model, 1, NULL, &err), err);
    for (uint32_t i = 0; i < 2; i++) {
        ck_assert(plain[i] > 0);
        ck_assert_double_eq(kld_of(model, tensors[i], i * head, GGUF_TYPE_Q2_K), plain[i]);
    }
    rt_model_close(model);
}
END_TEST

START_TEST(the_limit_and_mistakes) {
    rt_model *model = unit_model("models/llama", GGUF_TYPE_F32);
    gguf_error err = {0};
    rt_probe probes[] = {{.tensor = "blk.0.attn_q.weight", .type = GGUF_TYPE_Q4_0},
                         {.tensor = "blk.1.attn_q.weight", .layer = 1, .type = GGUF_TYPE_Q4_0}};
    rt_probe_opts opts = small_opts();
    fill_tokens(model);
    opts.max_flops = 1;
    unit_ok(rt_measure_probes(model, tokens, N_TOKENS, &opts, probes, 2, &err), err);
    ck_assert(probes[0].kld < 0 && probes[1].kld < 0);
    opts.max_flops = 0;
    probes[1].tensor = "blk.1.nothing.weight";
    unit_fails(rt_measure_probes(model, tokens, N_TOKENS, &opts, probes, 2, &err), GGUF_E_MISSING,
               "blk.1.nothing.weight", err);
    err = (gguf_error){0};
    unit_fails(rt_measure_probes(model, tokens, 0, &opts, probes, 1, &err), GGUF_E_USAGE, "empty",
               err);
    rt_model_close(model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sensitivity");
    TCase *tests = tcase_create("sensitivity");
    tcase_add_test(tests, coarser_types_diverge_more);
    tcase_add_test(tests, parts_of_a_tensor_change_together);
    tcase_add_test(tests, the_model_is_as_before);
    tcase_add_test(tests, repacked_models_can_be_probed);
    tcase_add_test(tests, the_limit_and_mistakes);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
