/* gguf-bench quality: perplexity and divergence from a base model. */
#include "libgguf/map.h"
#include "libgguf/outfile.h"
#include "runtime/measure/quality.h"
#include "tools/bench/bench.h"
#include "tools/bench/quality_gates.h"
#include "tools/common/model_open.h"
#include "tools/common/output_files.h"
#include "tools/common/precision.h"
#include "tools/common/text_tokens.h"

#include <stdio.h>
#include <string.h>

static void show_progress(void *ctx, uint64_t done, uint64_t total, double ppl) {
    tool *t = ctx;
    char what[48];
    snprintf(what, sizeof what, "perplexity %.3f", ppl);
    tool_show_step(t, &(tool_step){.unit = "tokens",
                                   .what = done ? what : NULL,
                                   .done = (double)done,
                                   .total = (double)total,
                                   .started_s = t->started_s});
}

typedef struct named_value {
    const char *name;
    double value;
} named_value;

static void set_reals(json_t *object, const named_value *values, size_t n) {
    for (size_t i = 0; i < n; i++)
        json_object_set_new(object, values[i].name, tool_json_real(values[i].value));
}

static json_t *positions_json(const rt_quality *q, bool has_base) {
    json_t *list = json_array();
    for (uint64_t i = 0; i < q->n_positions; i++) {
        const rt_quality_position *p = &q->positions[i];
        json_t *object =
            json_pack("{s:I, s:I}", "first", (json_int_t)p->first, "last", (json_int_t)p->last);
        const named_value values[] = {{"ppl", p->ppl},
                                      {"ppl_stderr", p->ppl_stderr},
                                      {"kld_mean", p->kld_mean},
                                      {"kld_stderr", p->kld_stderr}};
        set_reals(object, values, has_base ? 4 : 2);
        json_array_append_new(list, object);
    }
    return list;
}

static void add_json(json_t *root, const rt_quality *q, bool has_base) {
    const named_value values[] = {{"ppl", q->ppl},
                                  {"ppl_stderr", q->ppl_stderr},
                                  {"base_ppl", q->base_ppl},
                                  {"base_ppl_stderr", q->base_ppl_stderr},
                                  {"kld_mean", q->kld_mean},
                                  {"kld_stderr", q->kld_stderr},
                                  {"kld_median", q->kld_median},
                                  {"kld_p99", q->kld_p99},
                                  {"kld_p999", q->kld_p999},
                                  {"kld_max", q->kld_max},
                                  {"top1_agreement", q->top1_agreement},
                                  {"top1_stderr", q->top1_stderr},
                                  {"delta_p_mean", q->delta_p_mean},
                                  {"delta_p_rms", q->delta_p_rms}};
    json_object_set_new(root, "n_tokens", json_integer((json_int_t)q->n_tokens));
    json_object_set_new(root, "n_chunks", json_integer((json_int_t)q->n_chunks));
    set_reals(root, values, has_base ? sizeof values / sizeof values[0] : 2);
    json_object_set_new(root, "positions", positions_json(q, has_base));
}

static void print_positions(const rt_quality *q, bool has_base) {
    for (uint64_t i = 0; i < q->n_positions; i++) {
        const rt_quality_position *p = &q->positions[i];
        printf("  at %5lu to %5lu  perplexity %.4f ± %.4f", (unsigned long)p->first,
               (unsigned long)p->last, p->ppl, p->ppl_stderr);
        if (has_base) printf(", KLD %.6f ± %.6f", p->kld_mean, p->kld_stderr);
        printf("\n");
    }
}

static void print_text(const rt_quality *q, bool has_base, bool positions) {
    printf("tokens scored    %llu\n", (unsigned long long)q->n_tokens);
    printf("perplexity       %.4f ± %.4f\n", q->ppl, q->ppl_stderr);
    if (has_base) {
        printf("base perplexity  %.4f ± %.4f\n", q->base_ppl, q->base_ppl_stderr);
        printf("KLD mean         %.6f ± %.6f\n", q->kld_mean, q->kld_stderr);
        printf("KLD median       %.6f\n", q->kld_median);
        printf("KLD 99 %%         %.6f\n", q->kld_p99);
        printf("KLD 99.9 %%       %.6f\n", q->kld_p999);
        printf("KLD max          %.6f\n", q->kld_max);
        printf("same top token   %.2f ± %.2f %%\n", 100 * q->top1_agreement, 100 * q->top1_stderr);
        printf("delta p, RMS     %.3f %%\n", 100 * q->delta_p_rms);
    }
    if (positions) print_positions(q, has_base);
}

/* ---- the text ---------------------------------------------------------------------------- */

/* What the model is compared with. */
typedef struct reference {
    rt_model *model;
    rt_quality_base *saved;
} reference;

/* A GGUF file, the first shard of one, or a saved base: the first bytes tell. */
static gguf_code open_reference(const char *path, reference *base, gguf_error *err) {
    char magic[4] = "";
    *base = (reference){0};
    if (!path) return GGUF_OK;
    size_t n = gguf_file_start(path, magic, 4);
    bool is_gguf = n == 0 || (n == 4 && memcmp(magic, "GGUF", 4) == 0);
    return is_gguf ? rt_model_open(path, &base->model, err)
                   : rt_quality_base_open(path, &base->saved, err);
}

static void close_reference(reference *base) {
    rt_model_close(base->model);
    rt_quality_base_close(base->saved);
}

/* The model, or, `engine`, what 8-bit activations add to its damage. */
static gguf_code measure(tool *t, const bench_opts *o, const rt_model *model, const reference *base,
                         bool engine, rt_quality *quality, gguf_error *err) {
    rt_ids ids;
    rt_quality_opts opts = rt_quality_defaults();
    opts.ranks = t->ranks;
    opts.session.n_ctx = o->n_ctx;
    opts.session.kv_type = o->kv_type;
    opts.session.precision = engine ? RT_PRECISION_DEFAULT : o->precision;
    opts.engine = engine;
    opts.session.n_threads = t->n_threads;
    opts.n_chunks = o->n_chunks;
    opts.saved_base = base->saved;
    opts.save_base = engine ? NULL : o->save_base;
    opts.replace = t->force;
    opts.cancel = &tool_cancelled;
    opts.progress = show_progress;
    opts.progress_ctx = t;
    gguf_code code = device_opts_apply(&o->device, model, &opts.session, NULL, err);
    if (!code) code = text_tokens(model, o->text, &ids, &opts.bos, err);
    if (code) return code;
    text_warn_context(t, rt_model_hparams(model)->n_ctx_train, o->n_ctx);
    code = rt_quality_measure(model, base->model, ids.data, ids.n, &opts, quality, err);
    rt_ids_clear(&ids);
    return code;
}

static gguf_code measure_engine(tool *t, const bench_opts *o, rt_model *model, json_t *json,
                                gguf_error *err) {
    const reference itself = {.model = model};
    rt_quality quality;
    gguf_code code = measure(t, o, model, &itself, true, &quality, err);
    if (code) return code;
    if (!t->json) {
        printf("8-bit activations alone (what other commands compute with)\n");
        printf("  KLD mean       %.6f ± %.6f\n", quality.kld_mean, quality.kld_stderr);
        printf("  same top token %.2f ± %.2f %%\n", 100 * quality.top1_agreement,
               100 * quality.top1_stderr);
        return GGUF_OK;
    }
    const named_value values[] = {{"engine_kld_mean", quality.kld_mean},
                                  {"engine_kld_stderr", quality.kld_stderr},
                                  {"engine_top1_agreement", quality.top1_agreement},
                                  {"engine_top1_stderr", quality.top1_stderr}};
    set_reals(json, values, sizeof values / sizeof values[0]);
    return GGUF_OK;
}

static gguf_code score_text(tool *t, const bench_opts *o, rt_model *model, json_t *json,
                            bool *missed, gguf_error *err) {
    reference base;
    rt_quality quality;
    quality_record record = {0};
    gguf_code code =
        o->save_base ? tool_check_output(t, o->save_base, TOOL_OUTPUT_FILE, err) : GGUF_OK;
    if (!code && o->gates.against)
        code = quality_record_read(o->gates.against, o->base != NULL, &record, err);
    if (code) return code;
    code = open_reference(o->base, &base, err);
    if (!code) code = measure(t, o, model, &base, false, &quality, err);
    if (!code && t->json) add_json(json, &quality, o->base);
    if (!code && !t->json) print_text(&quality, o->base, t->verbose);
    if (!code && o->engine) code = measure_engine(t, o, model, json, err);
    if (!code) code = quality_check(t, &o->gates, &record, &quality, o->base != NULL, missed, err);
    close_reference(&base);
    return code;
}

gguf_code bench_quality(tool *t, const bench_opts *o, const char *path, gguf_error *err) {
    rt_model *model = NULL;
    bool missed = false;
    json_t *json = json_object();
    json_object_set_new(json, "model", tool_json_bytes(path, strlen(path)));
    json_object_set_new(json, "precision", json_string(precision_name(o->precision)));
    char loras[256];
    json_object_set_new(json, "lora",
                        json_string(model_loras_text(&o->loras, loras, sizeof loras)));
    rt_spread_memory(t->n_threads);
    gguf_code code = model_open(t, path, &o->loras, &model, err);
    if (!code) code = kv_type_check(t, rt_model_hparams(model), err);
    if (!code && !t->json && o->has_precision)
        printf("precision        %s\n", precision_name(o->precision));
    if (!code && o->text) code = score_text(t, o, model, json, &missed, err);
    if (!code && o->choices) code = bench_choices(t, o, model, json, err);
    if (!code && t->json)
        tool_print_json(json);
    else
        json_decref(json);
    rt_model_close(model);
    return code ? code : missed ? GGUF_E_CHECK : GGUF_OK;
}
