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
    "models/llama",          "models/llama3",      "models/llama3_bin",
    "models/mistral",        "models/qwen2",       "models/qwen3",
    "models/qwen3_fp8",      "models/smollm3",     "models/granite",
    "models/glm4",           "models/phi3",        "models/olmo2",
    "models/gemma2",         "models/gemma3",      "models/mixtral",
    "models/qwen3_moe_wide", "models/gpt_oss",     "models/gpt_oss_mxfp4",
    "models/deepseek_v2",    "models/deepseek_v3", "models/bert",
    "models/cohere2",        "models/exaone4",     "models/glm4_moe",
    "models/olmoe",          "models/stablelm",    "models/stablelm_parallel",
    "models/starcoder2",     "models/ernie4_5",    "models/mamba2",
    "models/nemotron_h",     "models/qwen3_next",  "models/qwen3_5",
    "models/hunyuan_dense",  "models/falcon_new",  "models/nemotron_h_latent",
    "models/olmo",           "models/gemma4",      "models/gemma4_moe",
    "models/step3p5",        "models/llama4",      "models/lfm2",
    "models/jamba",          "models/falcon_h1",   "models/kimi_linear",
    "models/bloom",          "models/apertus",
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

static const char *const families[] = {"models/llama", "models/deepseek_v3", "models/qwen3_next",
                                       "models/gemma4"};

/* Every split, cut into batches too, takes what was predicted. The CPU and the device are both
 * within the bound of the original, so within twice that of one another. */
START_TEST(splits) {
    gguf_error err = {0};
    unit_reference ref = unit_reference_of(families[_i]);
    rt_model *model = unit_model(families[_i], GGUF_TYPE_BF16);
    rt_session_opts opts = device_opts(0);
    opts.n_ctx = 128;
    opts.n_batch = 7;
    opts.device = NULL;
    float *whole = unit_logits(model, &opts, ref.tokens, ref.n);
    opts.device = rt_device_backend();
    for (uint32_t n = 1; n <= rt_model_hparams(model)->n_layer; n++) {
        rt_session *session;
        uint64_t predicted;
        float *logits = malloc(ref.n_logits * sizeof *logits);
        ck_assert_ptr_nonnull(logits);
        opts.n_device_layers = n;
        unit_ok(rt_device_predict(model, &opts, &predicted, &err), err);
        unit_ok(rt_session_new(model, &opts, &session, &err), err);
        ck_assert_uint_eq(rt_session_device(session)->allocated_bytes, predicted);
        unit_ok(rt_session_eval(session, ref.tokens, ref.n, RT_LOGITS_ALL, logits, &err), err);
        ck_assert_double_le(unit_distance(logits, whole, ref.n_logits), 2 * bound_of(families[_i]));
        rt_session_free(session);
        free(logits);
    }
    free(whole);
    rt_model_close(model);
    unit_reference_clear(&ref);
}
END_TEST

/* Nothing is allocated beyond the budget; `auto` takes as many layers as fit. */
START_TEST(budget) {
    gguf_error err = {0};
    rt_model *model = unit_model("models/llama", GGUF_TYPE_F32);
    rt_session_opts opts = device_opts(2);
    rt_session *session;
    rt_device_info info;
    uint64_t one, two;
    uint32_t n;
    char limit[32];
    opts.n_ctx = 128;
    unit_ok(rt_device_predict(model, &opts, &two, &err), err);
    snprintf(limit, sizeof limit, "%llu", (unsigned long long)two - 1);
    setenv("GGUFKIT_VRAM_LIMIT", limit, 1);
    ck_assert_int_eq(rt_session_new(model, &opts, &session, &err), GGUF_E_NOMEM);
    ck_assert_ptr_nonnull(strstr(err.message, "-ngl"));
    err = (gguf_error){0};
    unit_ok(rt_device_find(NULL, &info, &err), err);
    unit_ok(rt_device_layers(model, &opts, &info, &n, &err), err);
    ck_assert_uint_eq(n, 1);
    opts.n_device_layers = 1;
    unit_ok(rt_device_predict(model, &opts, &one, &err), err);
    ck_assert_uint_lt(one, two);
    unit_ok(rt_session_new(model, &opts, &session, &err), err);
    rt_session_free(session);
    setenv("GGUFKIT_VRAM_LIMIT", "1K", 1);
    unit_ok(rt_device_find(NULL, &info, &err), err);
    ck_assert_int_eq(rt_device_layers(model, &opts, &info, &n, &err), GGUF_E_NOMEM);
    unsetenv("GGUFKIT_VRAM_LIMIT");
    rt_model_close(model);
}
END_TEST

START_TEST(names) {
    gguf_error err = {0};
    rt_device_info first, same;
    unit_ok(rt_device_find("0", &first, &err), err);
    unit_ok(rt_device_find(first.name, &same, &err), err);
    ck_assert_str_eq(first.name, same.name);
    ck_assert_int_eq(rt_device_find("no such device", &same, &err), GGUF_E_USAGE);
    ck_assert_ptr_nonnull(strstr(err.message, "no such device"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("device_logits");
    TCase *tc = tcase_create("logits");
    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, reference_logits, 0, sizeof fixtures / sizeof fixtures[0]);
    tcase_add_loop_test(tc, splits, 0, sizeof families / sizeof families[0]);
    tcase_add_test(tc, budget);
    tcase_add_test(tc, names);
    suite_add_tcase(suite, tc);
    return unit_run_on_device(suite);
}
