/* Measuring speed and memory. */
#include "libgguf/pool.h"
#include "quant/quant.h"
#include "quant/recipe.h"
#include "runtime/footprint.h"
#include "tools/bench/bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- memory bandwidth -------------------------------------------------------------------- */

#define READ_BYTES  ((size_t)256 << 20)
#define READ_ROUNDS 4

typedef struct read_job {
    const uint64_t *words;
    size_t n_words, n_parts;
    uint64_t *sums;
} read_job;

static void read_part(void *ctx, size_t part, unsigned worker) {
    read_job *job = ctx;
    (void)worker;
    size_t begin = job->n_words / job->n_parts * part, n = job->n_words / job->n_parts;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < n; i += 8)
        for (size_t k = 0; k < 8; k++) sums[k] += job->words[begin + i + k];
    for (size_t k = 0; k < 8; k++) job->sums[part] += sums[k];
}

gguf_code bench_bandwidth(unsigned n_threads, double *bytes_per_s, gguf_error *err) {
    gguf_pool *pool = NULL;
    size_t n_parts = n_threads;
    uint64_t *sums = calloc(n_parts, sizeof *sums);
    uint64_t *words = malloc(READ_BYTES);
    gguf_code code = sums && words
                         ? gguf_pool_new(n_threads, &pool, err)
                         : gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    double best = INFINITY;
    if (!code) {
        memset(words, 1, READ_BYTES);
        read_job job = {words, READ_BYTES / sizeof *words / (8 * n_parts) * (8 * n_parts), n_parts,
                        sums};
        for (int round = 0; round < READ_ROUNDS; round++) {
            double start = tool_now_s();
            gguf_pool_run(pool, n_parts, read_part, &job);
            double seconds = tool_now_s() - start;
            if (seconds < best) best = seconds;
        }
        *bytes_per_s = (double)READ_BYTES / best;
    }
    gguf_pool_free(pool);
    free(words);
    free(sums);
    return code;
}

/* ---- one combination --------------------------------------------------------------------- */

typedef struct timings {
    double *repetition_s; /* [repetitions] */
    double *token_s;      /* [repetitions * n_gen] */
    size_t n_tokens;
} timings;

/* Tokens without meaning, the same in every run. */
static void fill_tokens(int32_t *tokens, size_t n, uint32_t n_vocab) {
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)((state >> 33) % n_vocab);
    }
}

static gguf_code run_prompt(rt_session *session, const int32_t *tokens, uint32_t n, float *logits,
                            double *seconds, gguf_error *err) {
    double start = tool_now_s();
    gguf_code code = rt_session_eval(session, tokens, n, RT_LOGITS_LAST, logits, err);
    *seconds = tool_now_s() - start;
    return code;
}

static gguf_code run_generation(rt_session *session, const int32_t *tokens, uint32_t n,
                                float *logits, timings *times, double *seconds, gguf_error *err) {
    double start = tool_now_s(), last = start;
    gguf_code code = GGUF_OK;
    for (uint32_t i = 0; i < n && !code; i++) {
        code = rt_session_eval(session, tokens + i, 1, RT_LOGITS_LAST, logits, err);
        double now = tool_now_s();
        times->token_s[times->n_tokens++] = now - last;
        last = now;
    }
    *seconds = last - start;
    return code;
}

static gguf_code repeat(const bench_record *r, rt_session *session, const int32_t *tokens,
                        float *logits, timings *times, gguf_error *err) {
    gguf_code code = GGUF_OK;
    /* The first round only warms up: pages are read, clocks rise. */
    for (uint32_t i = 0; i <= r->repetitions && !code; i++) {
        double seconds = 0;
        rt_session_reset(session);
        if (i == 1) times->n_tokens = 0;
        if (r->n_depth)
            code = rt_session_eval(session, tokens, r->n_depth, RT_LOGITS_NONE, NULL, err);
        if (code) break;
        code = r->n_prompt
                   ? run_prompt(session, tokens, r->n_prompt, logits, &seconds, err)
                   : run_generation(session, tokens, r->n_gen, logits, times, &seconds, err);
        if (i) times->repetition_s[i - 1] = seconds;
        if (!code && atomic_load(&tool_cancelled))
            code = gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    }
    return code;
}

/* ---- statistics -------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(double *sorted, size_t n, double share) {
    return n ? sorted[(size_t)ceil(share * (double)n) - 1] : NAN;
}

static void mean_and_deviation(const double *values, size_t n, double *mean, double *deviation) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (values[i] - *mean) * (values[i] - *mean);
    *deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
}

static void summarise(bench_record *r, timings *times) {
    double rates[1000];
    size_t n = r->repetitions;
    double n_tokens = r->n_prompt + r->n_gen;
    for (size_t i = 0; i < n; i++) rates[i] = n_tokens / times->repetition_s[i];
    mean_and_deviation(rates, n, &r->avg_ts, &r->stddev_ts);
    mean_and_deviation(times->repetition_s, n, &r->avg_ns, &r->stddev_ns);
    qsort(times->token_s, times->n_tokens, sizeof *times->token_s, compare_doubles);
    r->itl_p50_s = percentile(times->token_s, times->n_tokens, 0.5);
    r->itl_p99_s = percentile(times->token_s, times->n_tokens, 0.99);
    r->ttft_s = r->n_prompt ? r->avg_ns : NAN;
    r->avg_ns *= 1e9;
    r->stddev_ns *= 1e9;
}

/* ---- facts ------------------------------------------------------------------------------- */

/* Bytes of weights that one generated token reads: all but the embedding, of which it reads one
 * row, unless the embedding is the output projection too. */
static double bytes_per_token(const gguf_file *file) {
    bool tied = !gguf_file_find_tensor(file, "output.weight");
    double n_bytes = 0;
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        if (tied || !gguf_str_eq(t->name, "token_embd.weight")) n_bytes += (double)t->n_bytes;
    }
    return n_bytes;
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

static gguf_code predict(const rt_model *model, const rt_session_opts *opts, bench_record *r,
                         gguf_error *err) {
    rt_footprint footprint;
    /* No tokenizer is built here. */
    gguf_code code = rt_footprint_of_model(model, opts, false, &footprint, err);
    r->predicted_rss_bytes = footprint.total_bytes;
    return code;
}

static gguf_code measure(const bench_opts *o, const char *path, bench_record *r, double bandwidth,
                         gguf_error *err) {
    rt_model *model = NULL;
    rt_session *session = NULL;
    int32_t *tokens = NULL;
    float *logits = NULL;
    timings times = {0};
    size_t n_tokens = (size_t)r->n_depth + r->n_prompt + r->n_gen;
    gguf_code code = rt_model_open(path, &model, err);
    if (code) return code;
    uint32_t n_vocab = rt_model_hparams(model)->n_vocab, n_out = rt_model_hparams(model)->n_out;
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = (uint32_t)n_tokens;
    opts.n_batch = o->n_batch;
    opts.n_threads = r->n_threads;
    opts.kv_type = o->kv_type;
    if (!rt_model_hparams(model)->causal && (r->n_gen || r->n_depth))
        code = gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET,
                         "the model takes whole texts and generates none: -n 0, without -d");
    if (!code) code = rt_session_new(model, &opts, &session, err);
    tokens = calloc(n_tokens, sizeof *tokens);
    logits = malloc(n_out * sizeof *logits);
    times.repetition_s = calloc(r->repetitions + 1, sizeof(double));
    times.token_s = calloc((size_t)(r->repetitions + 1) * r->n_gen + 1, sizeof(double));
    if (!code && (!tokens || !logits || !times.repetition_s || !times.token_s))
        code = gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    if (!code) {
        fill_tokens(tokens, n_tokens, n_vocab);
        code = repeat(r, session, tokens, logits, &times, err);
    }
    if (!code) {
        describe_model(model, path, r);
        summarise(r, &times);
        r->bandwidth_share =
            r->n_gen ? bytes_per_token(rt_model_file(model)) / r->itl_p50_s / bandwidth : NAN;
        code = predict(model, &opts, r, err);
    }
    free(times.repetition_s);
    free(times.token_s);
    free(logits);
    free(tokens);
    rt_session_free(session);
    rt_model_close(model);
    return code;
}

/* ---- a process of its own ---------------------------------------------------------------- */

typedef struct child_result {
    gguf_error err;
    bench_record record;
} child_result;

static void run_child(const bench_opts *o, const char *path, double bandwidth, child_result *result,
                      int fd) {
    struct rusage usage;
    measure(o, path, &result->record, bandwidth, &result->err);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        result->record.peak_rss_bytes = (uint64_t)usage.ru_maxrss * 1024;
    ssize_t n = write(fd, result, sizeof *result);
    _exit(n == (ssize_t)sizeof *result ? 0 : 1);
}

static bool read_result(int fd, child_result *result) {
    size_t done = 0;
    while (done < sizeof *result) {
        ssize_t n = read(fd, (char *)result + done, sizeof *result - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

gguf_code bench_measure(tool *t, const bench_opts *o, const char *path, uint32_t n_prompt,
                        uint32_t n_gen, uint32_t n_depth, double bandwidth, bench_record *record,
                        gguf_error *err) {
    child_result result = {.record = {.n_threads = t->n_threads,
                                      .n_batch = o->n_batch,
                                      .n_prompt = n_prompt,
                                      .n_gen = n_gen,
                                      .n_depth = n_depth,
                                      .repetitions = o->repetitions}};
    int fds[2];
    snprintf(result.record.type_k, sizeof result.record.type_k, "%s", gguf_type_name(o->kv_type));
    fflush(stdout);
    if (pipe(fds) != 0)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "no pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        run_child(o, path, bandwidth, &result, fds[1]);
    }
    close(fds[1]);
    bool complete = child > 0 && read_result(fds[0], &result);
    close(fds[0]);
    if (child > 0) waitpid(child, NULL, 0);
    if (!complete)
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "the measuring process ended early");
    *record = result.record;
    if (result.err.code && err) *err = result.err;
    return result.err.code;
}
