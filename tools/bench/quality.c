/* gguf-bench quality: perplexity and divergence from a base model. */
#include "runtime/quality.h"
#include "tools/bench/bench.h"
#include "tools/common/text_tokens.h"

#include <stdio.h>
#include <string.h>

static void show_progress(void *ctx, uint64_t done, uint64_t total, double ppl) {
    tool *t = ctx;
    if (!t->show_progress || !done) return;
    t->progress_shown = true;
    double elapsed = tool_elapsed_s(t);
    fprintf(stderr, "\r\033[K%llu of %llu tokens, perplexity %.3f, %.0f s left",
            (unsigned long long)done, (unsigned long long)total, ppl,
            (double)(total - done) * elapsed / (double)done);
    fflush(stderr);
}

static void print_json(const char *path, const rt_quality *q, bool has_base) {
    json_t *root = json_object();
    json_object_set_new(root, "model", tool_json_bytes(path, strlen(path)));
    json_object_set_new(root, "n_tokens", json_integer((json_int_t)q->n_tokens));
    json_object_set_new(root, "ppl", tool_json_real(q->ppl));
    json_object_set_new(root, "ppl_stderr", tool_json_real(q->ppl_stderr));
    const struct {
        const char *name;
        double value;
    } against_base[] = {{"base_ppl", q->base_ppl},      {"kld_mean", q->kld_mean},
                        {"kld_stderr", q->kld_stderr},  {"kld_median", q->kld_median},
                        {"kld_p99", q->kld_p99},        {"kld_p999", q->kld_p999},
                        {"kld_max", q->kld_max},        {"top1_agreement", q->top1_agreement},
                        {"delta_p_rms", q->delta_p_rms}};
    for (size_t i = 0; has_base && i < sizeof against_base / sizeof against_base[0]; i++)
        json_object_set_new(root, against_base[i].name, tool_json_real(against_base[i].value));
    tool_print_json(root);
}

static void print_text(const rt_quality *q, bool has_base) {
    printf("tokens scored    %llu\n", (unsigned long long)q->n_tokens);
    printf("perplexity       %.4f ± %.4f\n", q->ppl, q->ppl_stderr);
    if (!has_base) return;
    printf("base perplexity  %.4f ± %.4f\n", q->base_ppl, q->base_ppl_stderr);
    printf("KLD mean         %.6f ± %.6f\n", q->kld_mean, q->kld_stderr);
    printf("KLD median       %.6f\n", q->kld_median);
    printf("KLD 99 %%         %.6f\n", q->kld_p99);
    printf("KLD 99.9 %%       %.6f\n", q->kld_p999);
    printf("KLD max          %.6f\n", q->kld_max);
    printf("same top token   %.2f %%\n", 100 * q->top1_agreement);
    printf("delta p, RMS     %.3f %%\n", 100 * q->delta_p_rms);
}

static gguf_code measure(tool *t, const bench_opts *o, const char *path, const rt_model *model,
                         const rt_model *base, gguf_error *err) {
    rt_ids ids;
    rt_quality quality;
    rt_quality_opts opts = rt_quality_defaults();
    opts.session.n_ctx = o->n_ctx;
    opts.session.kv_type = o->kv_type;
    opts.session.n_threads = t->n_threads;
    opts.n_chunks = o->n_chunks;
    opts.cancel = &tool_cancelled;
    opts.progress = show_progress;
    opts.progress_ctx = t;
    gguf_code code = text_tokens(model, o->text, &ids, &opts.bos, err);
    if (code) return code;
    code = rt_quality_measure(model, base, ids.data, ids.n, &opts, &quality, err);
    rt_ids_clear(&ids);
    if (code) return code;
    if (t->json)
        print_json(path, &quality, base != NULL);
    else
        print_text(&quality, base != NULL);
    return GGUF_OK;
}

gguf_code bench_quality(tool *t, const bench_opts *o, const char *path, gguf_error *err) {
    rt_model *model = NULL, *base = NULL;
    gguf_code code = rt_model_open(path, &model, err);
    if (!code && o->base) code = rt_model_open(o->base, &base, err);
    if (!code) code = measure(t, o, path, model, base, err);
    rt_model_close(base);
    rt_model_close(model);
    return code;
}
