/* One measurement of speed, in a process of its own. */
#include "quant/quant.h"
#include "quant/recipe.h"
#include "runtime/sizing/cost.h"
#include "runtime/sizing/footprint.h"
#include "tools/bench/bench.h"
#include "tools/bench/child.h"
#include "tools/bench/statistics.h"
#include "tools/common/precision.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct run {
    const bench_opts *opts;
    gguf_ranks *ranks;
    bench_record *record;
    rt_model *model;
    rt_session *session;
    int32_t *tokens;  /* [n_depth + n_prompt + n_gen] */
    float *logits;    /* [n_out] */
    double *prompt_s; /* [repetitions] to the logits of the prompt's last token */
    double *token_s;  /* [repetitions * n_gen] */
    size_t n_token_s;
    bench_noise noise;
    double energy_j; /* of all repetitions */
    gguf_error *err;
} run;

static gguf_code check_cancelled(const run *r) {
    if (!atomic_load(&tool_cancelled)) return GGUF_OK;
    return gguf_fail(r->err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
}

/* Batch by batch, so that an interrupt need not wait for a long prompt. The logits are those of the
 * last token; NULL: none. */
static gguf_code eval(run *r, const int32_t *tokens, uint32_t n, float *logits) {
    uint32_t step = rt_model_hparams(r->model)->causal ? r->record->n_batch : n;
    gguf_code code = check_cancelled(r);
    for (uint32_t done = 0; done < n && !code; done += step) {
        uint32_t now = n - done < step ? n - done : step;
        bool last = logits && done + now == n;
        code = rt_session_eval(r->session, tokens + done, now,
                               last ? RT_LOGITS_LAST : RT_LOGITS_NONE, logits, r->err);
        if (!code) code = check_cancelled(r);
    }
    return code;
}

/* Back to n_depth tokens. Layers with a window may have let go of what that needs. */
static gguf_code rewind_to_depth(run *r) {
    uint32_t depth = r->record->n_depth;
    if (rt_session_n_past(r->session) >= depth && depth > 0 &&
        rt_seq_truncate(r->session, 0, depth, NULL, NULL) == GGUF_OK)
        return GGUF_OK;
    rt_session_reset(r->session);
    return eval(r, r->tokens, depth, NULL);
}

static gguf_code generate(run *r) {
    const bench_record *record = r->record;
    const int32_t *tokens = r->tokens + record->n_depth + record->n_prompt;
    double last = tool_now_s();
    gguf_code code = GGUF_OK;
    for (uint32_t i = 0; i < record->n_gen && !code; i++) {
        code = eval(r, tokens + i, 1, r->logits);
        double now = tool_now_s();
        r->token_s[r->n_token_s++] = now - last;
        last = now;
    }
    return code;
}

static gguf_code repeat_once(run *r, double *prompt_s, double *all_ns) {
    gguf_code code = GGUF_OK;
    double start = tool_now_s();
    if (r->record->n_prompt)
        code = eval(r, r->tokens + r->record->n_depth, r->record->n_prompt, r->logits);
    *prompt_s = tool_now_s() - start;
    if (!code) code = generate(r);
    *all_ns = (tool_now_s() - start) * 1e9;
    bench_noise_sample(&r->noise);
    return code;
}

static gguf_code repeat(run *r) {
    bench_energy energy;
    double ignored[2];
    /* The first round only warms up: pages are read, clocks rise. */
    gguf_code code = rewind_to_depth(r);
    if (!code) code = repeat_once(r, &ignored[0], &ignored[1]);
    r->n_token_s = 0;
    bench_noise_start(&r->noise);
    for (uint32_t i = 0; i < r->record->repetitions && !code; i++) {
        code = rewind_to_depth(r);
        bench_energy_start("", &energy);
        if (!code) code = repeat_once(r, &r->prompt_s[i], &r->record->samples_ns[i]);
        r->energy_j += bench_energy_j(&energy);
    }
    return code;
}

/* ---- results ----------------------------------------------------------------------------- */

static void summarise_times(run *r) {
    bench_record *record = r->record;
    double rates[BENCH_MAX_REPETITIONS];
    size_t n = record->repetitions;
    for (size_t i = 0; i < n; i++) rates[i] = bench_sample_ts(record, i);
    bench_moments ts = bench_moments_of(rates, n), ns = bench_moments_of(record->samples_ns, n);
    record->avg_ts = ts.mean;
    record->stddev_ts = ts.deviation;
    record->ci95_ts = ts.ci95;
    record->avg_ns = ns.mean;
    record->stddev_ns = ns.deviation;
    record->ttft_s = record->n_prompt ? bench_moments_of(r->prompt_s, n).mean : NAN;
    record->itl_p50_s = bench_percentile(r->token_s, r->n_token_s, 0.5);
    record->itl_p99_s = bench_percentile(r->token_s, r->n_token_s, 0.99);
}

static void summarise_shares(run *r) {
    bench_record *record = r->record;
    const bench_machine *machine = &record->machine;
    uint32_t first = record->n_depth, type = r->opts->kv_type, n_gen = record->n_gen;
    bool embedder = rt_model_is_embedder(r->model);
    rt_cost prompt = rt_cost_of_tokens(r->model, type, first, record->n_prompt,
                                       record->n_prompt && !embedder ? 1 : 0);
    rt_cost gen = rt_cost_of_tokens(r->model, type, first + record->n_prompt, n_gen, n_gen);
    bool exact = r->opts->precision == RT_PRECISION_F32;
    double n_planes = r->opts->precision == RT_PRECISION_A16 ? 2 : 1;
    double peak_s = (prompt.f32_ops + gen.f32_ops) / machine->peak_f32_ops_per_s +
                    n_planes * (prompt.i8_ops + gen.i8_ops) /
                        (exact ? machine->peak_f32_ops_per_s : machine->peak_i8_ops_per_s);
    /* No peak is known of BF16, nor which products took the faster form. */
    bool known = exact || n_planes == 2 || r->opts->precision == RT_PRECISION_DEFAULT;
    record->arithmetic_share = known ? peak_s / (record->avg_ns * 1e-9) : NAN;
    record->bandwidth_share =
        n_gen ? gen.n_bytes / n_gen / record->itl_p50_s / machine->bandwidth_bytes_per_s : NAN;
}

static void summarise_surroundings(run *r) {
    bench_record *record = r->record;
    record->energy_j = r->energy_j / record->repetitions;
    record->energy_per_token_j = record->energy_j / bench_n_tokens(record);
    record->other_load_cores = bench_noise_other_cores(&r->noise);
    record->freq_min_hz = r->noise.freq_min_hz;
    record->freq_max_hz = r->noise.freq_max_hz;
}

static void describe_model(const rt_model *model, const char *path, bench_record *r) {
    const gguf_file *file = rt_model_file(model);
    const char *slash = strrchr(path, '/');
    uint64_t file_type = UINT64_MAX;
    snprintf(r->model_filename, sizeof r->model_filename, "%.255s", slash ? slash + 1 : path);
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        r->model_size += gguf_file_tensor(file, i)->n_bytes;
        r->model_n_params += gguf_tensor_n_elems(gguf_file_tensor(file, i));
    }
    gguf_kv_u64(gguf_meta_find(gguf_file_meta(file), "general.file_type"), &file_type);
    const char *type = quant_recipe_of_file_type(file_type);
    snprintf(r->model_type, sizeof r->model_type, "%.40s %s", rt_arch_name(rt_model_arch(model)),
             type ? type : "mixed");
    snprintf(r->isa, sizeof r->isa, "%s", quant_isa_name());
}

/* ---- running ----------------------------------------------------------------------------- */

/* Tokens without meaning, the same in every run. */
static void fill_tokens(int32_t *tokens, size_t n, uint32_t n_vocab) {
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)((state >> 33) % n_vocab);
    }
}

static gguf_code allocate(run *r, size_t n_tokens) {
    const bench_record *record = r->record;
    r->tokens = calloc(n_tokens, sizeof *r->tokens);
    r->logits = malloc(rt_model_hparams(r->model)->n_out * sizeof *r->logits);
    r->prompt_s = calloc(record->repetitions, sizeof *r->prompt_s);
    r->token_s = calloc((size_t)record->repetitions * record->n_gen + 1, sizeof *r->token_s);
    if (!r->tokens || !r->logits || !r->prompt_s || !r->token_s) return gguf_fail_memory(r->err);
    fill_tokens(r->tokens, n_tokens, rt_model_hparams(r->model)->n_vocab);
    return GGUF_OK;
}

static void describe_device(run *r, const rt_session_opts *opts) {
    const rt_device_use *use = rt_session_device(r->session);
    bench_record *record = r->record;
    snprintf(record->device, sizeof record->device, "%s", use ? use->name : "none");
    if (!use) return;
    snprintf(record->driver, sizeof record->driver, "%s", use->driver);
    record->n_gpu_layers = opts->n_device_layers;
    record->vram_allocated_bytes = use->allocated_bytes;
    record->upload_s = use->upload_s;
    if (use->used_bytes) record->vram_used_bytes = (double)use->used_bytes;
}

/* Load the model, make the session, and predict its memory. */
static gguf_code prepare(run *r, const char *path) {
    rt_session_opts opts = rt_session_defaults();
    device_plan place;
    rt_footprint footprint;
    double start = tool_now_s();
    rt_spread_memory(r->record->n_threads);
    gguf_code code = rt_model_open(path, &r->model, r->err);
    if (!code) code = rt_model_share(r->model, r->ranks, r->err);
    if (!code) code = model_add_loras(r->model, &r->opts->loras, r->err);
    if (!code && !device_opts_given(&r->opts->device) && !r->opts->no_repack &&
        r->opts->precision != RT_PRECISION_F32)
        code = rt_model_repack(r->model, r->record->n_threads, &tool_cancelled, r->err);
    if (code) return code;
    bench_record *record = r->record;
    record->repacked_bytes = rt_model_repacked_bytes(r->model);
    size_t n_tokens = (size_t)record->n_depth + record->n_prompt + record->n_gen;
    opts.n_ctx = (uint32_t)n_tokens;
    /* No longer than what is evaluated at once: memory for more would not be touched. */
    uint32_t longest = record->n_prompt > record->n_depth ? record->n_prompt : record->n_depth;
    opts.n_out = 1;
    opts.n_batch = longest > 0 && longest < r->opts->n_batch ? longest : r->opts->n_batch;
    opts.n_threads = record->n_threads;
    opts.kv_type = r->opts->kv_type;
    opts.precision = r->opts->precision;
    code = device_opts_apply(&r->opts->device, r->model, &opts, &place, r->err);
    record->vram_predicted_bytes = place.needed_bytes;
    if (!code) code = rt_session_new(r->model, &opts, &r->session, r->err);
    if (!code) describe_device(r, &opts);
    record->load_s = tool_now_s() - start;
    /* No tokenizer is built here. */
    if (!code) code = rt_footprint_of_model(r->model, &opts, false, &footprint, r->err);
    if (code) return code;
    record->predicted_rss_bytes =
        footprint.total_bytes - footprint.device_bytes + rt_model_grown_bytes(r->model);
    return allocate(r, n_tokens);
}

typedef struct child_job {
    const bench_opts *opts;
    gguf_ranks *ranks;
    const bench_case *which;
} child_job;

/* Of several ranks the one that needs most counts, and should it not be this one, its prediction.
 */
static gguf_code largest_memory(const run *r, gguf_code code) {
    code = gguf_ranks_max(r->ranks, code, &r->record->peak_rss_bytes, r->err);
    return gguf_ranks_max(r->ranks, code, &r->record->predicted_rss_bytes, r->err);
}

static gguf_code measure_in_child(void *ctx, void *result, gguf_error *err) {
    const child_job *job = ctx;
    struct rusage usage;
    run r = {.opts = job->opts, .ranks = job->ranks, .record = result, .err = err};
    gguf_code code = prepare(&r, job->which->path);
    if (!code) code = repeat(&r);
    if (!code) {
        describe_model(r.model, job->which->path, r.record);
        summarise_times(&r);
        summarise_shares(&r);
        summarise_surroundings(&r);
    }
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        r.record->peak_rss_bytes = (uint64_t)usage.ru_maxrss * 1024;
    code = largest_memory(&r, code);
    free(r.token_s);
    free(r.prompt_s);
    free(r.logits);
    free(r.tokens);
    rt_session_free(r.session);
    rt_model_close(r.model);
    return code;
}

gguf_code bench_measure(const tool *t, const bench_opts *o, const bench_case *which,
                        const bench_machine *machine, bench_record *record, gguf_error *err) {
    child_job job = {o, t->ranks, which};
    time_t now = time(NULL);
    struct tm utc;
    *record = (bench_record){.machine = *machine,
                             .n_threads = t->n_threads,
                             .n_batch = o->n_batch,
                             .n_prompt = which->n_prompt,
                             .n_gen = which->n_gen,
                             .n_depth = which->n_depth,
                             .repetitions = o->repetitions,
                             .vram_used_bytes = NAN,
                             .upload_s = NAN};
    strftime(record->test_time, sizeof record->test_time, "%Y-%m-%dT%H:%M:%SZ",
             gmtime_r(&now, &utc));
    snprintf(record->type_k, sizeof record->type_k, "%s", gguf_type_name(o->kv_type));
    snprintf(record->type_v, sizeof record->type_v, "%s", gguf_type_name(o->kv_type));
    snprintf(record->precision, sizeof record->precision, "%s", precision_name(o->precision));
    model_loras_text(&o->loras, record->lora, sizeof record->lora);
    /* What several ranks do together they do themselves. */
    if (t->ranks) return measure_in_child(&job, record, err);
    return bench_in_child(measure_in_child, &job, record, sizeof *record, err);
}
