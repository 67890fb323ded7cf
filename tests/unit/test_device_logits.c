/* Models on a device: the original implementations' logits, every split, and what is refused. */
#include "runtime/engine/device.h"
#include "runtime/engine/session_internal.h"
#include "unit_device.h"
#include "unit_model.h"

static rt_session_opts device_opts(uint32_t n_layers) {
    rt_session_opts opts = rt_session_defaults();
    opts.kv_type = GGUF_TYPE_F32;
    opts.n_threads = 2;
    opts.precision = RT_PRECISION_F32;
    opts.device = rt_device_backend();
    opts.n_device_layers = n_layers;
    return opts;
}

static const char *const fixtures[] = {
    "models/llama",
    "models/llama3",
    "models/llama3_bin",
    "models/mistral",
    "models/qwen2",
    "models/qwen3",
    "models/qwen3_fp8",
    "models/smollm3",
    "models/granite",
    "models/glm4",
    "models/phi3",
    "models/olmo2",
    "models/gemma2",
    "models/gemma3",
    "models/mixtral",
    "models/qwen3_moe_wide",
    "models/gpt_oss",
    "models/gpt_oss_mxfp4",
    "models/deepseek_v2",
    "models/deepseek_v3",
    "models/bert",
    "models/cohere2",
    "models/exaone4",
    "models/glm4_moe",
    "models/olmoe",
    "models/stablelm",
    "models/stablelm_parallel",
    "models/starcoder2",
    "models/ernie4_5",
    "models/seed_oss",
    "models/mamba2",
    "models/nemotron_h",
    "models/qwen3_next",
    "models/qwen3_5",
    "models/granite_hybrid",
    "models/hunyuan_dense",
    "models/falcon_new",
    "models/nemotron_h_latent",
    "models/olmo",
    "models/gemma4",
    "models/gemma4_moe",
    "models/step3p5",
    "models/llama4",
    "models/lfm2",
    "models/jamba",
    "models/falcon_h1",
    "models/kimi_linear",
    "models/bloom",
    "models/apertus",
};

/* Where scores are not scaled down, rounding counts for more: see test_runtime_logits. */
static double bound_of(const char *folder) {
    return strncmp(folder, "models/gemma4", 13) == 0 ? 3e-5 : 1e-5;
}

START_TEST(reference_logits) {
    const char *folder = fixtures[_i];
    unit_reference ref = unit_reference_of(folder);
    rt_model *model = unit_model(folder, GGUF_TYPE_F32);
    rt_session_opts opts = device_opts(rt_model_hparams(model)->n_layer);
    opts.n_ctx = (uint32_t)ref.n;
    float *logits = unit_logits(model, &opts, ref.tokens, ref.n);
    double distance = unit_distance(logits, ref.logits, ref.n_logits);
    printf("%s: %.2g of the largest logit\n", folder, distance);
    ck_assert_msg(distance <= bound_of(folder), "%s: off by %g", folder, distance);
    free(logits);
    rt_model_close(model);
    unit_reference_clear(&ref);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("device_logits");
    TCase *tc = tcase_create("logits");
    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, reference_logits, 0, sizeof fixtures / sizeof fixtures[0]);
    suite_add_tcase(suite, tc);
    return unit_run_on_device(suite);
}
