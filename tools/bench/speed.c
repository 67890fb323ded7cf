/* Measuring speed: the machine, every combination, thresholds, pictures. */
#include "libgguf/pool.h"
#include "tools/bench/bench.h"
#include "tools/bench/child.h"
#include "tools/common/model_locate.h"
#include "tools/common/model_open.h"
#include "tools/common/output_files.h"
#include "tools/common/page.h"
#include "tools/common/text_tokens.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the machine ------------------------------------------------------------------------- */

/* In a child, so that the memory it takes is not inherited by the measurements. Broken models are
 * refused here, before anything is measured. */
static gguf_code look_at_machine(void *ctx, void *result, gguf_error *err) {
    const tool *t = ctx;
    gguf_code code = GGUF_OK;
    for (int i = 0; i < t->n_args && !code; i++) {
        rt_model *model = NULL;
        code = rt_model_open(t->args[i], &model, err);
        rt_model_close(model);
    }
    bench_machine_describe("", result);
    return code ? code : bench_machine_probe(t->n_threads, result, err);
}

static void show_machine(tool *t, const bench_machine *m) {
    char l3[32], memory[32];
    tool_note(t, "%s%s", m->cpu_info, strstr(m->cpu_flags, "hypervisor") ? " (virtual)" : "");
    tool_note(t, "%" PRIu32 " core%s, L3 %s, %s of memory, %s", m->n_cores, tool_s(m->n_cores),
              tool_size_text(m->l3_bytes, l3, sizeof l3),
              tool_size_text(m->memory_bytes, memory, sizeof memory), m->kernel);
    tool_note(t,
              "%u thread%s: %.1f GB/s read (%" PRIu32 " stream%s, %" PRIu32
              " bytes ahead), %.0f GFLOP/s, %.0f GOP/s in 8 bits",
              t->n_threads, tool_s(t->n_threads), m->bandwidth_bytes_per_s * 1e-9,
              m->bandwidth_streams, tool_s(m->bandwidth_streams), m->bandwidth_prefetch,
              m->peak_f32_ops_per_s * 1e-9, m->peak_i8_ops_per_s * 1e-9);
}

/* ---- combinations ------------------------------------------------------------------------ */

typedef struct speed_run {
    tool *t;
    bench_opts *opts;
    bench_machine machine;
    bench_printer printer;
    bench_record *records;
    size_t n, n_cases, n_done;
} speed_run;

/* What makes the numbers doubtful. */
static void warn_of_noise(tool *t, const bench_record *r) {
    char test[96];
    bench_test_name(r, test, sizeof test);
    if (r->other_load_cores > 0.1)
        tool_warn(t, "%s %s: other work took %.1f cores meanwhile", r->model_filename, test,
                  r->other_load_cores);
    if (r->freq_max_hz > 1.1 * r->freq_min_hz)
        tool_warn(t, "%s %s: the clock went from %.2f to %.2f GHz", r->model_filename, test,
                  r->freq_min_hz * 1e-9, r->freq_max_hz * 1e-9);
    if (r->stddev_ts > 0.1 * r->avg_ts)
        tool_warn(t, "%s %s: the repetitions differ by %.0f %% (standard deviation)",
                  r->model_filename, test, 100 * r->stddev_ts / r->avg_ts);
}

static void show_progress(speed_run *s, size_t n_done) {
    tool_show_step(s->t, &(tool_step){.unit = "measurements",
                                      .done = (double)n_done,
                                      .total = (double)s->n_cases,
                                      .started_s = s->t->started_s});
}

/* What tells a record from those with other threads, batches and caches. */
static void name_sweep(const bench_opts *o, bench_record *r) {
    char threads[16] = "", batch[16] = "";
    if (o->n_threads > 1) snprintf(threads, sizeof threads, " t%" PRIu32, r->n_threads);
    if (o->n_batches > 1) snprintf(batch, sizeof batch, " b%" PRIu32, r->n_batch);
    snprintf(r->sweep, sizeof r->sweep, "%s%s%s%.15s", threads, batch, o->n_kv_types > 1 ? " " : "",
             o->n_kv_types > 1 ? r->type_k : "");
}

static gguf_code measure_case(speed_run *s, const bench_case *c, gguf_error *err) {
    s->n_done++;
    /* Nobody reads any more. */
    if (c->n_prompt + c->n_gen == 0 || ferror(stdout)) return GGUF_OK;
    void *grown = realloc(s->records, (s->n + 1) * sizeof *s->records);
    if (!grown) return gguf_fail_memory(err);
    s->records = grown;
    show_progress(s, s->n_done - 1);
    bench_record *record = &s->records[s->n];
    gguf_code code = bench_measure(s->t, s->opts, c, &s->machine, record, err);
    if (code) return code;
    name_sweep(s->opts, record);
    s->n++;
    tool_progress_end(s->t); /* a row of the table may follow */
    warn_of_noise(s->t, record);
    return s->t->json ? GGUF_OK : bench_print(&s->printer, record, err);
}

/* What decides which measurements a model takes part in. */
typedef struct model_facts {
    bool generates; /* a token after the other */
    bool caches;    /* keys and values */
    uint32_t n_draft_layer;
    uint32_t n_ctx_train; /* 0 = not known */
    uint32_t n_positions; /* that it has learned; 0 = any number */
} model_facts;

static gguf_code look_at_model(void *ctx, void *result, gguf_error *err) {
    rt_model *model = NULL;
    model_facts *facts = result;
    gguf_code code = rt_model_open(ctx, &model, err);
    if (code) return code;
    const rt_hparams *hp = rt_model_hparams(model);
    bool learned = gguf_file_find_tensor(rt_model_file(model), "position_embd.weight");
    *facts = (model_facts){hp->causal, rt_hparams_caches(hp), hp->n_draft_layer, hp->n_ctx_train,
                           learned ? hp->n_ctx_train : 0};
    rt_model_close(model);
    return GGUF_OK;
}

static bool any_positive(const uint32_t *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (list[i]) return true;
    return false;
}

/* Of what was not asked for, only what the model can do. */
static gguf_code check_generates(speed_run *s, const char *path, const model_facts *facts,
                                 gguf_error *err) {
    const bench_opts *o = s->opts;
    bool gens = !o->default_gens && any_positive(o->gens, o->n_gens);
    for (size_t i = 1; i < o->n_pairs; i += 2) gens |= o->pairs[i] > 0;
    const char *asked = o->min_tg > 0 ? "--min-tg" : gens ? "-n" : NULL;
    if (!asked && any_positive(o->depths, o->n_depths)) asked = "-d";
    if (facts->generates) return GGUF_OK;
    if (asked)
        return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET,
                         "%s: the model takes whole texts and generates none", asked);
    if (o->default_gens)
        tool_note(s->t, "%s takes whole texts and generates none: only prompts are measured", path);
    return GGUF_OK;
}

static uint32_t prompt_of(const speed_run *s, const model_facts *facts, size_t i) {
    uint32_t n = s->opts->prompts[i], most = facts->n_positions;
    return s->opts->default_prompts && most && n > most ? most : n;
}

/* Before the first measurement, since each is in a process of its own. */
static void warn_of_context(speed_run *s, const model_facts *facts, uint32_t depth) {
    const bench_opts *o = s->opts;
    uint64_t longest = 0;
    for (size_t i = 0; i < o->n_prompts; i++)
        if (prompt_of(s, facts, i) > longest) longest = prompt_of(s, facts, i);
    for (size_t i = 0; i < o->n_gens; i++)
        if (o->gens[i] > longest) longest = o->gens[i];
    for (size_t i = 0; i < o->n_pairs; i += 2)
        if ((uint64_t)o->pairs[i] + o->pairs[i + 1] > longest)
            longest = (uint64_t)o->pairs[i] + o->pairs[i + 1];
    text_warn_context(s->t, facts->n_ctx_train, depth + longest);
}

static gguf_code measure_step(speed_run *s, char *path, const model_facts *facts, gguf_error *err) {
    const bench_opts *o = s->opts;
    gguf_code code = GGUF_OK;
    for (size_t d = 0; d < o->n_depths && !code; d++) {
        uint32_t depth = o->depths[d];
        warn_of_context(s, facts, depth);
        for (size_t i = 0; i < o->n_prompts && !code; i++)
            code = measure_case(s, &(bench_case){path, prompt_of(s, facts, i), 0, depth}, err);
        for (size_t i = 0; i < o->n_gens && !code && facts->generates; i++)
            code = measure_case(s, &(bench_case){path, 0, o->gens[i], depth}, err);
        for (size_t i = 0; i < o->n_pairs && !code; i += 2)
            code = measure_case(s, &(bench_case){path, o->pairs[i], o->pairs[i + 1], depth}, err);
    }
    return code;
}

/* With each number of threads, each batch and each type of the cache. */
static gguf_code measure_model(speed_run *s, char *path, const model_facts *facts,
                               gguf_error *err) {
    bench_opts *o = s->opts;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < o->n_threads * o->n_batches * o->n_kv_types && !code; i++) {
        s->t->n_threads = o->threads[i / o->n_kv_types / o->n_batches];
        o->n_batch = o->batches[i / o->n_kv_types % o->n_batches];
        o->kv_type = o->kv_types[i % o->n_kv_types];
        code = measure_step(s, path, facts, err);
    }
    return code;
}

/* Every model is asked what it can do before the first one is measured. */
static gguf_code measure_all(speed_run *s, gguf_error *err) {
    const bench_opts *o = s->opts;
    size_t n = (size_t)s->t->n_args;
    model_facts *facts = calloc(n, sizeof *facts);
    bool any_cache = false;
    gguf_code code = facts ? GGUF_OK : gguf_fail_memory(err);
    for (size_t i = 0; i < n && !code; i++) {
        code = bench_in_child(look_at_model, s->t->args[i], &facts[i], sizeof facts[i], err);
        if (!code) code = check_generates(s, s->t->args[i], &facts[i], err);
        if (!code) model_note_draft(s->t, s->t->args[i], facts[i].n_draft_layer);
        any_cache |= facts[i].caches;
    }
    if (!code && !any_cache)
        code =
            tool_refuse(s->t, "kv-type", "has no effect: no model here keeps keys and values", err);
    s->n_cases = n * o->n_threads * o->n_batches * o->n_kv_types * o->n_depths *
                 (o->n_prompts + o->n_gens + o->n_pairs / 2);
    for (size_t i = 0; i < n && !code; i++) code = measure_model(s, s->t->args[i], &facts[i], err);
    if (!code) show_progress(s, s->n_cases);
    free(facts);
    return code;
}

/* ---- thresholds -------------------------------------------------------------------------- */

static bool is_generation(const bench_record *r) {
    return r->n_gen && !r->n_prompt;
}

static bool is_prompt(const bench_record *r) {
    return r->n_prompt && !r->n_gen;
}

/* One line for every threshold that a record misses; whether there was one. */
static bool report_misses(tool *t, const bench_opts *o, const bench_record *r) {
    char test[96], rss[32], limit[32];
    double least = is_generation(r) ? o->min_tg : is_prompt(r) ? o->min_pp : 0;
    bool slow = least > 0 && !(r->avg_ts >= least);
    bool large = o->max_rss_bytes && r->peak_rss_bytes > o->max_rss_bytes;
    bench_test_name(r, test, sizeof test);
    if (slow)
        tool_missed(t, "%s %s: %.2f tokens/s, less than %.2f", r->model_filename, test, r->avg_ts,
                    least);
    if (large)
        tool_missed(t, "%s %s: %s resident, more than %s", r->model_filename, test,
                    tool_size_text(r->peak_rss_bytes, rss, sizeof rss),
                    tool_size_text(o->max_rss_bytes, limit, sizeof limit));
    bool full = o->max_vram_bytes && r->vram_allocated_bytes > o->max_vram_bytes;
    if (full)
        tool_missed(t, "%s %s: %s on the device, more than %s", r->model_filename, test,
                    tool_size_text(r->vram_allocated_bytes, rss, sizeof rss),
                    tool_size_text(o->max_vram_bytes, limit, sizeof limit));
    return slow || large || full;
}

static gguf_code check_thresholds(const speed_run *s) {
    bool missed = false;
    for (size_t i = 0; i < s->n; i++) missed |= report_misses(s->t, s->opts, &s->records[i]);
    return missed ? GGUF_E_CHECK : GGUF_OK;
}

/* ---- the verb ---------------------------------------------------------------------------- */

static gguf_code set_list(const char *name, const char *text, uint32_t **list, size_t *n,
                          gguf_error *err) {
    return tool_parse_u32_list(name, text, 1u << 30, list, n, err);
}

/* Give the lists that were not set their usual values; pairs alone are enough. */
static gguf_code set_defaults(bench_opts *o, gguf_error *err) {
    gguf_code code = GGUF_OK;
    o->default_prompts = !o->prompts && !o->n_pairs;
    o->default_gens = !o->gens && !o->n_pairs;
    if (o->default_prompts) code = set_list("-p", "512", &o->prompts, &o->n_prompts, err);
    if (!code && o->default_gens) code = set_list("-n", "128", &o->gens, &o->n_gens, err);
    if (!code && !o->depths) code = set_list("-d", "0", &o->depths, &o->n_depths, err);
    if (!code && !o->batches) code = set_list("-b", "512", &o->batches, &o->n_batches, err);
    char usable[16], cache[16];
    snprintf(usable, sizeof usable, "%u", gguf_usable_cores());
    snprintf(cache, sizeof cache, "%u", (unsigned)o->kv_type);
    if (!code && !o->threads) code = set_list("-t", usable, &o->threads, &o->n_threads, err);
    if (!code && !o->kv_types)
        code = set_list("--kv-type", cache, &o->kv_types, &o->n_kv_types, err);
    return code;
}

/* Everything that can be refused before the work starts. */
static gguf_code check_call(const speed_run *s, gguf_error *err) {
    const bench_opts *o = s->opts;
    gguf_code code = GGUF_OK;
    if (s->t->json && strcmp(o->format, "json") != 0)
        code = tool_refuse(s->t, "output", "has no effect with --json", err);
    if (!code && !device_opts_given(&o->device))
        code = tool_refuse(s->t, "max-vram", "needs a device (--device, -ngl)", err);
    if (!code && o->precision == RT_PRECISION_F32)
        code = tool_refuse(s->t, "no-repack", "has no effect on products in f32", err);
    if (code) return code;
    bool prompts = any_positive(o->prompts, o->n_prompts), gens = any_positive(o->gens, o->n_gens);
    if (!prompts && !gens && !any_positive(o->pairs, o->n_pairs))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "nothing to measure: every -p and -n is 0");
    if ((o->min_tg > 0 && !gens) || (o->min_pp > 0 && !prompts))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s needs a measurement with %s",
                         o->min_tg > 0 && !gens ? "--min-tg" : "--min-pp",
                         o->min_tg > 0 && !gens ? "-n" : "-p");
    if (o->plot) code = tool_check_plot(s->t, o->plot, err);
    if (!code && o->report) code = tool_check_output(s->t, o->report, TOOL_OUTPUT_EXTRA, err);
    return code;
}

gguf_code bench_speed(tool *t, bench_opts *o, gguf_error *err) {
    speed_run s = {.t = t, .opts = o};
    if (t->n_args == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "expected MODEL (see --help)");
    gguf_code code = set_defaults(o, err);
    /* The machine is measured with the most. */
    for (size_t i = 0; i < o->n_threads && !code; i++)
        if (o->threads[i] > t->n_threads) t->n_threads = o->threads[i];
    if (!code) code = bench_printer_start(&s.printer, t->json ? "json" : o->format, err);
    if (!code) code = check_call(&s, err);
    for (int i = 0; i < t->n_args && !code; i++) code = model_locate(t, &t->args[i], false, err);
    if (!code) code = bench_in_child(look_at_machine, t, &s.machine, sizeof s.machine, err);
    if (!code) {
        show_machine(t, &s.machine);
        code = measure_all(&s, err);
        /* With --json stdout has one document, which may be an error: nothing before the end. */
        for (size_t i = 0; t->json && !code && i < s.n; i++)
            code = bench_print(&s.printer, &s.records[i], err);
        bench_printer_end(&s.printer);
    }
    if (!code && o->plot) code = bench_write_plot(t, o->plot, s.records, s.n, err);
    if (!code && o->report) code = bench_write_report(t, o->report, s.records, s.n, err);
    if (!code) code = check_thresholds(&s);
    free(s.records);
    return code;
}
