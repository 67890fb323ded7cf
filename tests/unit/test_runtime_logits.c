/* Logits against the original implementations, and their independence of everything that must not
 * matter. */
#include "runtime/model/model_internal.h"
#include "unit_model.h"
#include "unit_shadow.h"

static rt_session_opts exact_opts(void) {
    rt_session_opts opts = rt_session_defaults();
    opts.kv_type = GGUF_TYPE_F32;
    opts.n_threads = 2;
    opts.precision = RT_PRECISION_F32;
    return opts;
}

/* ---- the original implementation ----------------------------------------------------------------
 */

static void check_fixture(const char *folder, uint32_t type, double bound) {
    unit_reference ref = unit_reference_of(folder);
    rt_model *model = unit_model(folder, type);
    rt_session_opts opts = exact_opts();
    opts.n_ctx = (uint32_t)ref.n; /* LongRoPE has other factors for longer contexts */
    float *logits = unit_logits(model, &opts, ref.tokens, ref.n);
    double distance = unit_distance(logits, ref.logits, ref.n_logits);
    printf("%s %s: %.2g of the largest logit\n", folder, gguf_type_name(type), distance);
    ck_assert_msg(distance <= bound, "%s %s: off by %g", folder, gguf_type_name(type), distance);
    free(logits);
    rt_model_close(model);
    unit_reference_clear(&ref);
}

static const struct {
    const char *folder;
    bool lossless; /* BF16 holds its weights */
} fixtures[] = {
    {"models/llama", true},
    {"models/llama3", true},
    {"models/llama3_bin", true},
    {"models/mistral", true},
    {"models/qwen2", true},
    {"models/qwen3", true},
    {"models/qwen3_fp8", false},
    {"models/smollm3", true},
    {"models/granite", true},
    {"models/glm4", true},
    {"models/phi3", true},
    {"models/olmo2", true},
    {"models/gemma2", true},
    {"models/gemma3", true},
    {"models/mixtral", true},
    {"models/qwen3_moe_wide", true},
    {"models/gpt_oss", true},
    {"models/gpt_oss_mxfp4", true},
    {"models/deepseek_v2", true},
    {"models/deepseek_v3", true},
    {"models/bert", true},
    {"models/cohere2", true},
    {"models/exaone4", true},
    {"models/glm4_moe", true},
    {"models/olmoe", true},
    {"models/stablelm", true},
    {"models/stablelm_parallel", true},
    {"models/starcoder2", true},
    {"models/ernie4_5", true},
    {"models/mamba2", true},
    {"models/nemotron_h", true},
    {"models/qwen3_next", true},
    {"models/qwen3_5", true},
    {"models/hunyuan_dense", true},
    {"models/falcon_new", true},
    {"models/nemotron_h_latent", true},
    {"models/olmo", true},
    {"models/gemma4", true},
    {"models/gemma4_moe", true},
    {"models/step3p5", true},
    {"models/llama4", true},
    {"models/lfm2", true},
    {"models/jamba", true},
    {"models/falcon_h1", false},
    {"models/kimi_linear", true},
    {"models/bloom", true},
    {"models/apertus", true},
};
#define N_FIXTURES (int)(sizeof fixtures / sizeof fixtures[0])

/* Other configs and formats of the same families; their references come from what the original
 * library makes of the dequantised weights. */
static const char *const formats[] = {"models/llama_linear",    "models/roberta",
                                      "models/llama_tf4",       "models/gptq2",
                                      "models/gptq3",           "models/gptq4",
                                      "models/gptq8",           "models/awq",
                                      "models/ct_int4",         "models/ct_int4_zero",
                                      "models/ct_int8",         "models/ct_int8_packed",
                                      "models/ct_fp8",          "models/fp8_tensor",
                                      "models/fp8_e5m2",        "models/bert_sentence",
                                      "models/llama_embedding", "models/qwen3_embedding",
                                      "models/gemma2_wide",     "models/gemma3_vision",
                                      "models/phi3_longrope",   "models/deepseek_wide",
                                      "models/deepseek_yarn",   "models/deepseek_v3_mtp",
                                      "models/deepseek_int4"};
#define N_FORMATS (int)(sizeof formats / sizeof formats[0])

START_TEST(reference_logits_of_formats) {
    check_fixture(formats[_i], GGUF_TYPE_F32, 1e-5);
}
END_TEST

/* Where scores are not scaled down, rounding counts for more: the original is 2e-5 from exact. */
static double bound_of(const char *folder) {
    return strncmp(folder, "models/gemma4", 13) == 0 ? 3e-5 : 1e-5;
}

/* And so does that of keys: theirs, and those that are normed without factors. */
static double kv_bound_of(const char *folder, double usual) {
    if (strcmp(folder, "models/llama4") == 0) return 2 * usual;
    return strncmp(folder, "models/gemma4", 13) == 0 ? 4 * usual : usual;
}

START_TEST(reference_logits) {
    double bound = bound_of(fixtures[_i].folder);
    check_fixture(fixtures[_i].folder, GGUF_TYPE_F32, bound);
    if (fixtures[_i].lossless) check_fixture(fixtures[_i].folder, GGUF_TYPE_BF16, bound);
}
END_TEST

/* ---- what must not matter -----------------------------------------------------------------------
 */

static void check_same(const rt_model *model, const rt_session_opts *opts, const float *expected,
                       const unit_reference *ref) {
    float *logits = unit_logits(model, opts, ref->tokens, ref->n);
    ck_assert_mem_eq(logits, expected, ref->n_logits * sizeof *logits);
    free(logits);
}

/* Batch sizes, threads: the same bits, for weight types with and without 8-bit activations. */
static void check_independence(const char *folder, uint32_t type, uint32_t kv_type, bool exact) {
    static const uint32_t batches[] = {1, 2, 7, 33};
    unit_reference ref = unit_reference_of(folder);
    rt_model *model = unit_model(folder, type);
    rt_session_opts opts = exact_opts();
    opts.kv_type = kv_type;
    opts.precision = exact ? RT_PRECISION_F32 : RT_PRECISION_DEFAULT;
    opts.n_threads = 1;
    float *expected = unit_logits(model, &opts, ref.tokens, ref.n);
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        opts.n_batch = batches[i];
        opts.n_threads = 1 + i % 3;
        check_same(model, &opts, expected, &ref);
    }
    free(expected);
    rt_model_close(model);
    unit_reference_clear(&ref);
}

START_TEST(batches_and_threads) {
    check_independence(fixtures[_i].folder, GGUF_TYPE_BF16, GGUF_TYPE_F32, true);
    check_independence(fixtures[_i].folder, GGUF_TYPE_Q8_0, GGUF_TYPE_F16, false);
}
END_TEST

/* Repacked weights, dense ones and experts, give the same bits. */
START_TEST(repacked_weights) {
    static const char *const folders[] = {"models/llama", "models/mixtral",
                                          "models/qwen3_moe_wide"};
    static const uint32_t types[] = {GGUF_TYPE_Q4_0, GGUF_TYPE_Q4_K, GGUF_TYPE_Q6_K,
                                     GGUF_TYPE_Q8_0, GGUF_TYPE_Q5_1, GGUF_TYPE_TQ2_0,
                                     GGUF_TYPE_IQ3_S};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        for (size_t k = 0; k < sizeof types / sizeof types[0]; k++) {
            gguf_error err = {0};
            unit_reference ref = unit_reference_of(folders[i]);
            rt_model *model = unit_model(folders[i], types[k]);
            rt_session_opts opts = rt_session_defaults();
            opts.n_threads = 1;
            float *expected = unit_logits(model, &opts, ref.tokens, ref.n);
            ck_assert_double_eq(rt_model_repacked_share(model), 0);
            unit_ok(rt_model_repack(model, 2, NULL, &err), err);
            ck_assert_double_eq(rt_model_repacked_share(model), model->repacked ? 1 : 0);
            if (types[k] == GGUF_TYPE_Q4_0 && quant_can_repack(types[k], 16))
                ck_assert_ptr_nonnull(model->repacked); /* rows too short for Q4_K stay */
            opts.n_threads = 2;
            check_same(model, &opts, expected, &ref);
            opts.n_batch = 1;
            check_same(model, &opts, expected, &ref);
            unit_ok(rt_model_repack(model, 1, NULL, &err), err); /* nothing is left to do */
            opts.precision = RT_PRECISION_A16;
            free(expected);
            expected = unit_logits(model, &opts, ref.tokens, ref.n);
            opts.n_batch = 7;
            check_same(model, &opts, expected, &ref);
            opts.precision = RT_PRECISION_F32;
            free(expected);
            expected = unit_logits(model, &opts, ref.tokens, ref.n); /* reads the file's rows */
            opts.n_batch = 7;
            check_same(model, &opts, expected, &ref);
            free(expected);
            rt_model_close(model);
            unit_reference_clear(&ref);
        }
}
END_TEST

START_TEST(batches_and_kv_types) {
    check_independence("models/llama3", GGUF_TYPE_Q8_0, GGUF_TYPE_Q8_0, false);
    check_independence("models/mistral", GGUF_TYPE_Q8_0, GGUF_TYPE_Q4_0, false);
    check_independence("models/deepseek_v3", GGUF_TYPE_Q8_0, GGUF_TYPE_Q8_0, false);
}
END_TEST

/* Calls of any length, and a session that was used before, continue as one long call does. */
START_TEST(calls_and_reset) {
    gguf_error err = {0};
    unit_reference ref = unit_reference_of("models/llama");
    rt_model *model = unit_model("models/llama", GGUF_TYPE_BF16);
    rt_session_opts opts = rt_session_defaults();
    opts.n_threads = 2;
    opts.n_batch = 16;
    uint32_t n_vocab = rt_model_hparams(model)->n_vocab;
    float *all = unit_logits(model, &opts, ref.tokens, ref.n);
    float *last = malloc(n_vocab * sizeof *last);
    rt_session *session;
    unit_ok(rt_session_new(model, &opts, &session, &err), err);
    for (int round = 0; round < 2; round++) {
        size_t done = 0;
        rt_session_reset(session);
        for (size_t n = 1; done + n <= ref.n; done += n, n += 3) {
            unit_ok(rt_session_eval(session, ref.tokens + done, n, RT_LOGITS_LAST, last, &err),
                    err);
            ck_assert_mem_eq(last, all + (done + n - 1) * n_vocab, n_vocab * sizeof *last);
            ck_assert_uint_eq(rt_session_n_past(session), done + n);
        }
    }
    rt_session_free(session);
    free(last);
    free(all);
    rt_model_close(model);
    unit_reference_clear(&ref);
}
END_TEST

/* One layer at a time, on one place or two, gives the same bits, also where layers share keys or
 * get something of each token beside the stream. */
START_TEST(layer_by_layer) {
    static const char *const folders[] = {"models/llama", "models/gemma4", "models/mamba2"};
    gguf_error err = {0};
    for (int i = 0; i < 2 * (int)(sizeof folders / sizeof folders[0]); i++) {
        unit_reference ref = unit_reference_of(folders[i / 2]);
        rt_model *model = unit_model(folders[i / 2], GGUF_TYPE_BF16);
        const rt_hparams *hp = rt_model_hparams(model);
        rt_session_opts opts = exact_opts();
        float *whole = unit_logits(model, &opts, ref.tokens, ref.n);
        rt_session *session;
        opts.device = i % 2 ? &unit_shadow_type : NULL;
        opts.n_device_layers = i % 2 ? 2 : 0;
        unit_ok(rt_session_new(model, &opts, &session, &err), err);
        size_t n = ref.n * rt_session_stream_cols(session);
        float *x = calloc(n, sizeof *x), *logits = malloc(ref.n_logits * sizeof *logits);
        ck_assert(x && logits);
        unit_ok(rt_session_embed(session, ref.tokens, ref.n, x, &err), err);
        for (uint32_t layer = 0; layer < hp->n_layer; layer++)
            unit_ok(rt_session_layer(session, layer, ref.tokens, x, ref.n, &err), err);
        unit_ok(rt_session_head(session, x, ref.n, logits, &err), err);
        ck_assert_mem_eq(logits, whole, ref.n_logits * sizeof *logits);
        rt_session_free(session);
        free(whole);
        free(x);
        free(logits);
        rt_model_close(model);
        unit_reference_clear(&ref);
    }
}
END_TEST

/* ---- KV types -----------------------------------------------------------------------------------
 */

/* Experts of every token: the sum over all layers of a number for each that it is routed to. */
typedef struct routes {
    uint32_t token[64];
} routes;

static void note_routes(void *ctx, const rt_product *p) {
    routes *r = ctx;
    uint32_t hash = 5381;
    for (size_t i = 0; i < p->weight.len; i++) hash = hash * 33 + (uint8_t)p->weight.ptr[i];
    if (p->n_share < 2) return; /* rows of the down projection are not tokens */
    for (uint32_t e = 0; e < p->n_experts; e++)
        for (uint32_t i = p->first[e]; i < p->first[e + 1]; i++)
            r->token[p->routed[i] / p->n_share % 64] += (hash ^ e) * 2654435761u;
}

static float *logits_and_routes(const rt_model *model, uint32_t kv_type, const unit_reference *ref,
                                routes *r) {
    gguf_error err = {0};
    rt_session *session;
    rt_session_opts opts = exact_opts();
    float *logits = malloc(ref->n_logits * sizeof *logits);
    opts.kv_type = kv_type;
    *r = (routes){{0}};
    ck_assert_uint_le(ref->n, 64);
    unit_ok(rt_session_new(model, &opts, &session, &err), err);
    unit_ok(rt_session_set_hook(session, note_routes, r, &err), err);
    unit_ok(rt_session_eval(session, ref->tokens, ref->n, RT_LOGITS_ALL, logits, &err), err);
    rt_session_free(session);
    return logits;
}

/* How many leading tokens go to the same experts, whatever the cache's type. */
static size_t n_same_routes(const routes *a, const routes *b, size_t n) {
    size_t same = 0;
    while (same < n && a->token[same] == b->token[same]) same++;
    return same;
}

static const struct {
    uint32_t type;
    double bound; /* of the largest logit */
} kv_types[] = {{GGUF_TYPE_F16, 0.01}, {GGUF_TYPE_Q8_0, 0.06}, {GGUF_TYPE_Q4_0, 1}};

/* Between two experts that score nearly the same, rounding decides; behind such a token nothing is
 * close any more. */
static void check_kv_type(const char *folder, uint32_t kv_type, double bound) {
    unit_reference ref = unit_reference_of(folder);
    rt_model *model = unit_model(folder, GGUF_TYPE_F32);
    routes f32, other;
    free(logits_and_routes(model, GGUF_TYPE_F32, &ref, &f32));
    float *logits = logits_and_routes(model, kv_type, &ref, &other);
    size_t same = n_same_routes(&f32, &other, ref.n), n_row = ref.n_logits / ref.n;
    double distance = unit_distance(logits, ref.logits, same * n_row);
    printf("%s with KV %s: %.2g (%zu of %zu tokens)\n", folder, gguf_type_name(kv_type), distance,
           same, ref.n);
    ck_assert_msg(same == 0 || (distance > 0 && distance <= bound), "%s: off by %g", folder,
                  distance);
    if (kv_type == GGUF_TYPE_F16) ck_assert_uint_ge(same, ref.n / 3);
    free(logits);
    rt_model_close(model);
    unit_reference_clear(&ref);
}

/* Rows of keys and values that are no whole blocks are refused: test_runtime_footprint.c. */
static bool fits(const char *folder, uint32_t kv_type) {
    rt_model *model = unit_model(folder, GGUF_TYPE_F32);
    const rt_hparams *hp = rt_model_hparams(model);
    bool whole = quant_row_bytes(kv_type, hp->n_head_kv * hp->head_dim_k) != 0;
    rt_model_close(model);
    return whole;
}

START_TEST(kv_precision) {
    for (int i = 0; i < N_FIXTURES; i++)
        if (fits(fixtures[i].folder, kv_types[_i].type))
            check_kv_type(fixtures[i].folder, kv_types[_i].type,
                          kv_bound_of(fixtures[i].folder, kv_types[_i].bound));
}
END_TEST

/* ---- errors of sessions -------------------------------------------------------------------------
 */

static void check_full(rt_session *session, const int32_t *tokens, float *logits) {
    gguf_error err = {0};
    unit_ok(rt_session_eval(session, tokens, 20, RT_LOGITS_LAST, logits, &err), err);
    unit_fails(rt_session_eval(session, tokens, 11, RT_LOGITS_LAST, logits, &err), GGUF_E_LIMIT,
               "11 tokens do not fit: the context of 30 holds 20", err);
    ck_assert_uint_eq(rt_session_n_past(session), 20);
    err = (gguf_error){0};
    unit_ok(rt_session_eval(session, tokens, 10, RT_LOGITS_LAST, logits, &err), err);
    unit_fails(rt_session_eval(session, tokens, 1, RT_LOGITS_NONE, NULL, &err), GGUF_E_LIMIT,
               "1 tokens do not fit", err);
    ck_assert_uint_eq(rt_session_n_past(session), 30);
    ck_assert_uint_eq(rt_session_n_ctx(session), 30);
}

START_TEST(full_context_and_bad_tokens) {
    gguf_error err = {0};
    unit_reference ref = unit_reference_of("models/llama");
    rt_model *model = unit_model("models/llama", GGUF_TYPE_F32);
    rt_session_opts opts = exact_opts();
    opts.n_ctx = 30;
    opts.n_batch = 8;
    float *logits = malloc(rt_model_hparams(model)->n_vocab * sizeof *logits);
    rt_session *session;
    unit_ok(rt_session_new(model, &opts, &session, &err), err);
    check_full(session, ref.tokens, logits);
    rt_session_reset(session);
    int32_t bad[] = {1, -1, 640};
    unit_fails(rt_session_eval(session, bad, 2, RT_LOGITS_NONE, NULL, &err), GGUF_E_USAGE,
               "token 1 has the id -1", err);
    err = (gguf_error){0};
    unit_fails(rt_session_eval(session, bad + 2, 1, RT_LOGITS_NONE, NULL, &err), GGUF_E_USAGE,
               "token 0 has the id 640, the vocabulary has 640", err);
    ck_assert_uint_eq(rt_session_n_past(session), 0);
    rt_session_free(session);
    free(logits);
    rt_model_close(model);
    unit_reference_clear(&ref);
}
END_TEST

START_TEST(bad_options) {
    gguf_error err = {0};
    rt_model *model = unit_model("models/llama", GGUF_TYPE_F32);
    rt_session *session;
    rt_session_opts opts = rt_session_defaults();
    opts.kv_type = GGUF_TYPE_Q4_K;
    unit_fails(rt_session_new(model, &opts, &session, &err), GGUF_E_USAGE, "cannot be Q4_K", err);
    opts = rt_session_defaults();
    opts.n_batch = 0;
    err = (gguf_error){0};
    unit_fails(rt_session_new(model, &opts, &session, &err), GGUF_E_USAGE, "a batch of 0", err);
    opts = rt_session_defaults();
    opts.n_ctx = UINT32_MAX;
    err = (gguf_error){0};
    unit_fails(rt_session_new(model, &opts, &session, &err), GGUF_E_USAGE, "4294967295", err);
    ck_assert_ptr_null(session);
    rt_model_close(model);
}
END_TEST

/* ---- the hook -----------------------------------------------------------------------------------
 */

typedef struct seen {
    unsigned n_calls, n_output;
    size_t n_rows;
} seen;

static void count_call(void *ctx, const rt_product *p) {
    seen *s = ctx;
    gguf_str weight = p->weight;
    s->n_calls++;
    if (gguf_str_eq(weight, "output.weight"))
        s->n_output++;
    else
        ck_assert_int_eq(memcmp(weight.ptr, "blk.", 4), 0);
    if (gguf_str_eq(weight, "blk.1.ffn_down.weight")) s->n_rows += p->n_rows;
    for (size_t i = 0; i < p->n_rows * p->n_cols; i++) ck_assert(p->rows[i] - p->rows[i] == 0);
}

START_TEST(hook_sees_every_product) {
    gguf_error err = {0};
    seen s = {0};
    unit_reference ref = unit_reference_of("models/llama");
    rt_model *model = unit_model("models/llama", GGUF_TYPE_F32);
    rt_session_opts opts = exact_opts();
    opts.n_batch = 20;
    rt_session *session;
    float *logits = malloc(rt_model_hparams(model)->n_vocab * sizeof *logits);
    unit_ok(rt_session_new(model, &opts, &session, &err), err);
    unit_ok(rt_session_set_hook(session, count_call, &s, &err), err);
    unit_ok(rt_session_eval(session, ref.tokens, 50, RT_LOGITS_LAST, logits, &err), err);
    unit_ok(rt_session_set_hook(session, NULL, NULL, &err), err);
    unit_ok(rt_session_eval(session, ref.tokens, 2, RT_LOGITS_LAST, logits, &err), err);
    ck_assert_uint_eq(s.n_calls, 3 * 3 * 7 + 1);
    ck_assert_uint_eq(s.n_output, 1);
    ck_assert_uint_eq(s.n_rows, 50);
    rt_session_free(session);
    free(logits);
    rt_model_close(model);
    unit_reference_clear(&ref);
}
END_TEST

/* More rows of logits than are computed at once: the hook still sees all of them in one call, and
 * they are those of single tokens. */
START_TEST(logits_in_slices) {
    enum { N = 150 };
    gguf_error err = {0};
    seen s = {0};
    unit_reference ref = unit_reference_of("models/llama");
    rt_model *model = unit_model("models/llama", GGUF_TYPE_Q8_0);
    size_t n_vocab = rt_model_hparams(model)->n_vocab;
    rt_session_opts opts = exact_opts();
    int32_t tokens[N];
    float *logits = malloc(N * n_vocab * sizeof *logits), *one = malloc(n_vocab * sizeof *one);
    rt_session *session;
    for (size_t i = 0; i < N; i++) tokens[i] = ref.tokens[i % ref.n];
    opts.n_ctx = opts.n_batch = N;
    unit_ok(rt_session_new(model, &opts, &session, &err), err);
    unit_ok(rt_session_set_hook(session, count_call, &s, &err), err);
    unit_ok(rt_session_eval(session, tokens, N, RT_LOGITS_ALL, logits, &err), err);
    ck_assert_uint_eq(s.n_output, 1);
    unit_ok(rt_session_set_hook(session, NULL, NULL, &err), err);
    rt_session_reset(session);
    for (size_t i = 0; i < N; i++) {
        unit_ok(rt_session_eval(session, &tokens[i], 1, RT_LOGITS_LAST, one, &err), err);
        ck_assert_mem_eq(one, logits + i * n_vocab, n_vocab * sizeof *one);
    }
    rt_session_free(session);
    free(logits);
    free(one);
    rt_model_close(model);
    unit_reference_clear(&ref);
}
END_TEST

/* What is not a number is no distance, wherever it stands. */
START_TEST(distances_keep_nan) {
    const float plain[] = {1, 2, 3};
    for (size_t i = 0; i < 3; i++) {
        float broken[] = {1, 2, 3};
        broken[i] = NAN;
        ck_assert(isnan(unit_distance(broken, plain, 3)));
        ck_assert(isnan(unit_distance(plain, broken, 3)));
        ck_assert(isnan(unit_rms_distance(broken, plain, 3)));
    }
    ck_assert_double_eq(unit_distance(plain, plain, 3), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_logits");
    TCase *tc = tcase_create("logits");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, logits_in_slices);
    tcase_add_loop_test(tc, reference_logits, 0, N_FIXTURES);
    tcase_add_loop_test(tc, reference_logits_of_formats, 0, N_FORMATS);
    tcase_add_loop_test(tc, batches_and_threads, 0, N_FIXTURES);
    tcase_add_test(tc, repacked_weights);
    tcase_add_test(tc, batches_and_kv_types);
    tcase_add_test(tc, calls_and_reset);
    tcase_add_test(tc, layer_by_layer);
    tcase_add_loop_test(tc, kv_precision, 0, 3);
    tcase_add_test(tc, full_context_and_bad_tokens);
    tcase_add_test(tc, bad_options);
    tcase_add_test(tc, hook_sees_every_product);
    tcase_add_test(tc, distances_keep_nan);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
