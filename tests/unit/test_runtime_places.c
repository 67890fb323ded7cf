/* Models in two places: the last layers on a second backend, with the same bits for every split,
 * and nothing that crosses but the stream, angles, logits and what a hook looks at. */
#include "libgguf/hash.h"
#include "runtime/engine/session_internal.h"
#include "unit_model.h"
#include "unit_shadow.h"

enum { BATCH = 7 };

/* One of each kind of layer, some with experts. */
static const char *const families[] = {
    "models/llama",       "models/gemma3",  "models/deepseek_v3",   "models/qwen3_moe_wide",
    "models/gpt_oss",     "models/bert",    "models/mamba2",        "models/nemotron_h",
    "models/qwen3_next",  "models/qwen3_5", "models/hunyuan_dense", "models/nemotron_h_latent",
    "models/llama4",      "models/gemma4",  "models/gemma4_moe",    "models/step3p5",
    "models/kimi_linear", "models/lfm2",    "models/jamba",         "models/falcon_h1",
    "models/apertus",     "models/bloom",
};

static rt_session_opts split_opts(const rt_model *model, uint32_t n_device_layers) {
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = 128;
    opts.n_batch = rt_model_hparams(model)->causal ? BATCH : 128;
    opts.kv_type = GGUF_TYPE_F32;
    opts.n_threads = 2;
    opts.device = &unit_shadow_type;
    opts.n_device_layers = n_device_layers;
    return opts;
}

/* Everything that the hook sees, in order. */
static void note_product(void *ctx, const rt_product *p) {
    uint64_t *hash = ctx;
    *hash = gguf_xxh3(p->weight.ptr, p->weight.len, *hash);
    *hash = gguf_xxh3(p->rows, p->n_rows * p->n_cols * sizeof *p->rows, *hash);
    if (!p->n_experts) return;
    *hash = gguf_xxh3(p->routed, p->first[p->n_experts] * sizeof *p->routed, *hash);
    *hash = gguf_xxh3(p->first, (p->n_experts + (size_t)1) * sizeof *p->first, *hash);
}

typedef struct outcome {
    float *logits;
    uint64_t seen; /* by the hook */
} outcome;

static outcome run_split(const rt_model *model, const unit_reference *ref, uint32_t n_device_layers,
                         bool hooked) {
    gguf_error err = {0};
    rt_session *session;
    rt_session_opts opts = split_opts(model, n_device_layers);
    outcome out = {.logits = malloc(ref->n_logits * sizeof(float))};
    ck_assert_ptr_nonnull(out.logits);
    unit_ok(rt_session_new(model, &opts, &session, &err), err);
    if (hooked) unit_ok(rt_session_set_hook(session, note_product, &out.seen, &err), err);
    unit_shadow_seen = (unit_shadow_counts){0};
    unit_ok(rt_session_eval(session, ref->tokens, ref->n, RT_LOGITS_ALL, out.logits, &err), err);
    rt_session_free(session);
    return out;
}

START_TEST(every_split_has_the_same_bits) {
    unit_reference ref = unit_reference_of(families[_i]);
    rt_model *model = unit_model(families[_i], GGUF_TYPE_BF16);
    for (int hooked = 0; hooked < 2; hooked++) {
        outcome whole = run_split(model, &ref, 0, hooked);
        ck_assert_uint_eq(unit_shadow_seen.n_ops, 0);
        ck_assert_int_eq(whole.seen != 0, hooked);
        for (uint32_t n = 1; n <= rt_model_hparams(model)->n_layer; n++) {
            outcome split = run_split(model, &ref, n, hooked);
            ck_assert_uint_gt(unit_shadow_seen.n_ops, 0);
            ck_assert_mem_eq(split.logits, whole.logits, ref.n_logits * sizeof(float));
            ck_assert_uint_eq(split.seen, whole.seen);
            free(split.logits);
        }
        free(whole.logits);
    }
    rt_model_close(model);
    unit_reference_clear(&ref);
}
END_TEST

/* A batch writes the stream and the angles to the device, and reads its logits. */
START_TEST(what_crosses_is_counted) {
    unit_reference ref = unit_reference_of("models/llama");
    rt_model *model = unit_model("models/llama", GGUF_TYPE_BF16);
    const rt_hparams *hp = rt_model_hparams(model);
    outcome out = run_split(model, &ref, 2, false);
    uint64_t n_batches = (ref.n + BATCH - 1) / BATCH, row = sizeof(float) * ref.n;
    ck_assert_uint_eq(unit_shadow_seen.n_looks, 0);
    ck_assert_uint_eq(unit_shadow_seen.n_writes, 2 * n_batches);
    ck_assert_uint_eq(unit_shadow_seen.bytes_written, row * (hp->n_embd + hp->n_rot));
    ck_assert_uint_eq(unit_shadow_seen.n_reads, n_batches);
    ck_assert_uint_eq(unit_shadow_seen.bytes_read, row * hp->n_vocab);
    free(out.logits);
    rt_model_close(model);
    unit_reference_clear(&ref);
}
END_TEST

/* Sequences that share pages, and a shift, in both places. */
START_TEST(caches_of_both_places) {
    gguf_error err = {0};
    unit_reference ref = unit_reference_of("models/llama");
    rt_model *model = unit_model("models/llama", GGUF_TYPE_BF16);
    size_t n_vocab = rt_model_hparams(model)->n_vocab;
    float *rows[2];
    for (uint32_t n_device = 0; n_device < 2; n_device++) {
        rt_session *session;
        rt_session_opts opts = split_opts(model, 2 * n_device);
        opts.n_ctx = 256;
        opts.n_seqs = 2;
        rows[n_device] = malloc(n_vocab * sizeof(float));
        unit_ok(rt_session_new(model, &opts, &session, &err), err);
        for (int i = 0; i < 4; i++)
            unit_ok(rt_session_eval(session, ref.tokens, ref.n, RT_LOGITS_NONE, NULL, &err), err);
        unit_ok(rt_seq_share(session, 0, 1, 150, NULL, &err), err);
        unit_ok(rt_seq_shift(session, 0, 64, 64, &err), err);
        const rt_span more[2] = {{1, ref.tokens, 9, RT_LOGITS_NONE},
                                 {0, ref.tokens, 3, RT_LOGITS_LAST}};
        unit_ok(rt_session_eval_spans(session, more, 2, rows[n_device], &err), err);
        rt_session_free(session);
    }
    ck_assert_mem_eq(rows[0], rows[1], n_vocab * sizeof(float));
    free(rows[0]);
    free(rows[1]);
    rt_model_close(model);
    unit_reference_clear(&ref);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_places");
    TCase *tc = tcase_create("places");
    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, every_split_has_the_same_bits, 0, sizeof families / sizeof families[0]);
    tcase_add_test(tc, what_crosses_is_counted);
    tcase_add_test(tc, caches_of_both_places);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
