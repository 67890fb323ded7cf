/* Setting types, then executing or printing a plan. */
#include "tools/common/write_model.h"
#include "libgguf/hash.h"
#include "libgguf/outfile.h"
#include "quant/plan_types.h"
#include "quant/quant.h"
#include "quant/source.h"
#include "runtime/calibrate/calibration_keys.h"
#include "runtime/model/check_model.h"
#include "tools/common/calibration_report.h"
#include "tools/common/columns.h"
#include "tools/common/output_files.h"
#include "tools/common/provenance.h"
#include "tools/common/text_tokens.h"

#include <inttypes.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

write_opts write_opts_defaults(void) {
    return (write_opts){.max_memory_bytes = quant_execute_defaults().max_memory_bytes,
                        .calibration = rt_calibration_defaults()};
}

void write_opts_clear(write_opts *o) {
    free(o->tensor_types);
    free(o->weights);
    o->tensor_types = NULL;
    o->weights = NULL;
}

static gguf_code set_effort_option(write_opts *o, const char *arg, gguf_error *err) {
    bool best = strcmp(arg, "best") == 0;
    if (!best && strcmp(arg, "fast") != 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--effort takes fast or best, not '%s'", arg);
    o->effort = best ? QUANT_EFFORT_BEST : QUANT_EFFORT_FAST;
    o->calibration.best = best;
    return GGUF_OK;
}

gguf_code write_opts_set(write_opts *o, int id, const char *arg, gguf_error *err) {
    switch (id) {
    case WRITE_OPT_IMATRIX:
        o->imatrix_file = arg;
        break;
    case WRITE_OPT_RECIPE:
        o->recipe_file = arg;
        break;
    case WRITE_OPT_EFFORT:
        return set_effort_option(o, arg, err);
    case WRITE_OPT_DRY_RUN:
        o->dry_run = true;
        break;
    case WRITE_OPT_RESUME:
        o->resume = true;
        break;
    case WRITE_OPT_MAX_MEMORY:
        return tool_parse_size("--max-memory", arg, &o->max_memory_bytes, err);
    case WRITE_OPT_SPLIT_SIZE:
        return tool_parse_size("--split-max-size", arg, &o->split.max_bytes, err);
    case WRITE_OPT_SPLIT_TENSORS:
        return tool_parse_u32("--split-max-tensors", arg, 1, INT32_MAX, &o->split.max_tensors, err);
    default:
        break;
    }
    return GGUF_OK;
}

gguf_code write_opts_add_weights(write_opts *o, const char *text, bool exclude, gguf_error *err) {
    o->excluded |= exclude;
    o->included |= !exclude;
    return tool_add_value(&o->weights, &o->n_weights, text, err);
}

void write_result_clear(write_result *result) {
    for (size_t i = 0; i < result->n_warnings; i++) free(result->warnings[i]);
    free(result->warnings);
    free(result->loss);
    quant_allocation_clear(&result->allocation);
    calibration_close(result->calibration);
    *result = (write_result){0};
}

void write_result_warn(write_result *result, tool *t, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    char **grown =
        n < 0 ? NULL : realloc(result->warnings, (result->n_warnings + 1) * sizeof *grown);
    if (!grown) return;
    result->warnings = grown;
    result->warnings[result->n_warnings++] = text;
    tool_warn(t, "%s", text);
}

json_t *write_result_warnings(const write_result *result) {
    json_t *list = json_array();
    for (size_t i = 0; i < result->n_warnings; i++)
        json_array_append_new(list,
                              tool_json_bytes(result->warnings[i], strlen(result->warnings[i])));
    return list;
}

json_t *write_result_outputs(const quant_plan *plan, const char *path) {
    char name[4096];
    json_t *list = json_array();
    for (uint32_t no = 0; no < plan->n_shards; no++)
        if (quant_shard_path(path, plan->n_shards, no, name, sizeof name, NULL) == GGUF_OK)
            json_array_append_new(list, tool_json_bytes(name, strlen(name)));
    return list;
}

/* ---- what the libraries are asked for ---------------------------------------------------- */

static bool has_target(const write_opts *o) {
    return o->target_bytes > 0 || o->target_bpw > 0;
}

typedef struct warned {
    tool *t;
    write_result *result;
} warned;

static void pass_warning(void *ctx, const char *text) {
    warned *w = ctx;
    write_result_warn(w->result, w->t, "%s", text);
}

static quant_type_opts type_opts(const write_opts *o) {
    return (quant_type_opts){.type = o->type,
                             .recipe_file = o->recipe_file,
                             .pure = o->pure,
                             .starts = has_target(o),
                             .output_type = o->output_type,
                             .embedding_type = o->embedding_type,
                             .keep_output = o->keep_output,
                             .weights = o->weights,
                             .n_weights = o->n_weights,
                             .excluded = o->excluded,
                             .tensor_types = o->tensor_types,
                             .n_tensor_types = o->n_tensor_types,
                             .imatrix_file = o->imatrix_file,
                             .require_imatrix = o->require_imatrix};
}

static gguf_code set_types(tool *t, quant_plan *plan, const write_opts *o, write_result *result,
                           gguf_error *err) {
    const quant_type_opts types = type_opts(o);
    const quant_warnings warnings = {pass_warning, &(warned){t, result}};
    gguf_code code = GGUF_OK;
    if (o->type || o->recipe_file || has_target(o)) {
        rt_calibration_keys_forget(plan->meta);
        code = quant_plan_choose_types(plan, &types, &warnings, result->type_name, err);
    } else {
        quant_plan_name_types(plan, result->type_name);
    }
    quant_plan_settle_scales(plan);
    return code;
}

static gguf_code add_importance(tool *t, quant_plan *plan, const write_opts *o,
                                write_result *result, gguf_error *err) {
    const quant_type_opts types = type_opts(o);
    const quant_warnings warnings = {pass_warning, &(warned){t, result}};
    return quant_plan_add_importance(plan, &types, &warnings, err);
}

static quant_execute_opts execute_opts(tool *t, const write_opts *o, const write_result *result) {
    quant_execute_opts opts = quant_execute_defaults();
    opts.ranks = t->ranks;
    opts.max_memory_bytes = o->max_memory_bytes;
    opts.replace = t->force;
    opts.resume = o->resume;
    opts.cancel = &tool_cancelled;
    opts.progress = tool_progress;
    opts.progress_ctx = t;
    opts.loss = result->loss;
    return opts;
}

/* ---- types for a size -------------------------------------------------------------------- */

static void show_measured(void *ctx, uint64_t done, uint64_t total) {
    tool *t = ctx;
    tool_progress_share(t, "measuring how much each tensor matters",
                        total ? (double)done / (double)total : 1, t->started_s);
}

static gguf_code allocate(tool *t, quant_plan *plan, const write_opts *o, write_result *result,
                          gguf_error *err) {
    gguf_pool *pool = NULL;
    quant_execute_opts opts = execute_opts(t, o, result);
    result->allocation.target_bytes = o->target_bytes;
    result->allocation.target_bpw = o->target_bpw;
    gguf_code code = gguf_pool_new(t->n_threads, &pool, err);
    if (!code) code = quant_allocation_measure(&result->allocation, plan, pool, &opts, err);
    if (!code && result->calibration)
        code = rt_calibration_sensitivities(calibration_work(result->calibration),
                                            &result->allocation, show_measured, t, err);
    if (!code) code = quant_allocation_solve(&result->allocation, plan, err);
    gguf_pool_free(pool);
    return code;
}

/* What no tensor's type is chosen by, or no tensor's bytes. */
#define TYPE_OPTIONS  "tensor-type output-tensor-type leave-output-tensor token-embedding-type pure"
#define ROUND_OPTIONS "imatrix require-imatrix effort calibrate"

/* Options that would be ignored beside others. */
static gguf_code check_effect(const tool *t, const write_opts *o, gguf_error *err) {
    gguf_code code = GGUF_OK;
    if (!o->imatrix_file)
        code = tool_refuse(t, "require-imatrix include-weights exclude-weights", "needs --imatrix",
                           err);
    if (!code && o->included && o->excluded)
        code = tool_refuse(t, "include-weights", "and --exclude-weights exclude each other", err);
    if (!code && o->output_type)
        code = tool_refuse(t, "leave-output-tensor", "and --output-tensor-type exclude each other",
                           err);
    if (!code && !o->calibration.text)
        code = tool_refuse(t, "method samples damp", "needs --calibrate", err);
    if (!code && o->calibration.round)
        code = tool_refuse(t, "damp", "has no effect with --method round", err);
    if (!code && o->split.as_source)
        code = tool_refuse(t, "split-max-size split-max-tensors",
                           "and --keep-split exclude each other", err);
    if (!code && o->recipe_file)
        code = tool_refuse(t, "pure", "and --recipe exclude each other", err);
    if (!code && !o->type && !o->recipe_file && !has_target(o))
        code = tool_refuse(t, TYPE_OPTIONS " " ROUND_OPTIONS " method samples damp",
                           "has no effect where every tensor keeps its type", err);
    return code;
}

/* Which mistakes the options hold, before anything is read. */
static gguf_code check_opts(const tool *t, const write_opts *o, gguf_error *err) {
    const char *why = NULL;
    if (o->target_bytes && o->target_bpw > 0)
        why = "--target-size and --target-bpw exclude each other";
    if (o->calibration.text && o->imatrix_file)
        why = "--calibrate and --imatrix exclude each other";
    if (has_target(o) && (o->pure || o->recipe_file))
        why = "a target chooses the types itself; --pure and --recipe do not go with it";
    if (why) return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s", why);
    if (o->type && o->recipe_file)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--recipe takes the place of a type: '%s' would have no effect", o->type);
    return check_effect(t, o, err);
}

/* Importance is for tensors that are rounded to blocks. */
static gguf_code check_rounding(const tool *t, const quant_plan *plan, gguf_error *err) {
    if (quant_plan_rounds(plan)) return GGUF_OK;
    return tool_refuse(t, ROUND_OPTIONS, "has no effect: no tensor is quantised", err);
}

static gguf_code check_shard(const tool *t, const char *output, uint32_t n_shards, uint32_t no,
                             unsigned more, gguf_error *err) {
    char path[4096];
    gguf_code code = quant_shard_path(output, n_shards, no, path, sizeof path, err);
    return code ? code : gguf_outfile_check(path, tool_output_how(t, TOOL_OUTPUT_FILE) | more, err);
}

static bool is_split(const write_opts *o) {
    return o->split.as_source || o->split.max_bytes || o->split.max_tensors;
}

/* How many shards there will be is known when the plan is finished; of them, the folder now. */
static gguf_code check_outputs(tool *t, const char *output, const write_opts *o, gguf_error *err) {
    gguf_code code = is_split(o) ? check_shard(t, output, 2, 0, GGUF_OUT_REPLACE, err)
                                 : tool_check_output(t, output, TOOL_OUTPUT_FILE, err);
    if (!code && o->manifest_file && !o->dry_run)
        code = tool_check_output(t, o->manifest_file, TOOL_OUTPUT_STREAM, err);
    return code;
}

/* Every name, before a calibration begins. An interrupted run left names of its own. */
static gguf_code check_shards(const tool *t, const quant_plan *plan, const char *output,
                              const write_opts *o, gguf_error *err) {
    gguf_code code = GGUF_OK;
    if (!is_split(o) || o->dry_run || o->resume) return GGUF_OK;
    for (uint32_t no = 0; no < plan->n_shards && !code; no++)
        code = check_shard(t, output, plan->n_shards, no, 0, err);
    return code;
}

/* Types are known, by a recipe or, with the importance that the text shows, by a target. */
static gguf_code finish(tool *t, quant_plan *plan, const char *output, const write_opts *o,
                        write_result *result, gguf_error *err) {
    calibration *c = result->calibration;
    gguf_code code = GGUF_OK;
    if (c && has_target(o)) code = rt_calibration_importance(calibration_work(c), err);
    if (!code)
        code = has_target(o) ? allocate(t, plan, o, result, err) : quant_plan_finish(plan, err);
    if (!code) code = check_shards(t, plan, output, o, err);
    if (!code && o->calibration.text) code = rt_calibration_plan(&o->calibration, plan, err);
    if (code || !c || o->dry_run) return code;
    char *copy = strdup(output);
    if (!copy) return gguf_fail_memory(err);
    code = calibration_start(t, c, dirname(copy), err);
    free(copy);
    return code;
}

/* A template that does not parse here may be read by other engines: it is written, with a warning.
 */
static gguf_code warn_of_templates(tool *t, const quant_plan *plan, write_result *result,
                                   gguf_error *err) {
    gguf_findings found = {0};
    gguf_code code = rt_check_templates(plan->meta, &found, err);
    for (size_t i = 0; i < found.n; i++) write_result_warn(result, t, "%s", found.items[i].text);
    gguf_findings_clear(&found);
    return code;
}

/* What gguf-inspect verify would refuse is never written. */
static gguf_code check_sound(const quant_plan *plan, const char *input, gguf_error *err) {
    gguf_findings found = {0};
    gguf_code code = rt_check_plan(plan, &found, err);
    uint64_t n = found.n + found.n_dropped;
    if (!code && n > 1)
        code = gguf_fail(err, GGUF_E_FORMAT, input, GGUF_NO_OFFSET,
                         "the output would not be sound: %s (and %" PRIu64 " more)",
                         found.items[0].text, n - 1);
    else if (!code && n)
        code = gguf_fail(err, GGUF_E_FORMAT, input, GGUF_NO_OFFSET,
                         "the output would not be sound: %s", found.items[0].text);
    gguf_findings_clear(&found);
    return code;
}

/* Nothing is written, but what a real run would read has to be there. */
static gguf_code check_dry_run(tool *t, const write_opts *o, write_result *result,
                               gguf_error *err) {
    if (o->manifest_file) write_result_warn(result, t, "--manifest has no effect with --dry-run");
    if (o->resume) write_result_warn(result, t, "--resume has no effect with --dry-run");
    return o->calibration.text ? text_check(o->calibration.text, err) : GGUF_OK;
}

static void warn_of_few_chunks(tool *t, write_result *result) {
    rt_calibration_size size = rt_calibration_size_of(calibration_work(result->calibration));
    if (size.n_chunks < RT_FEW_CHUNKS)
        write_result_warn(result, t, TEXT_FEW_CHUNKS, size.n_chunks, tool_s(size.n_chunks),
                          size.chunk_tokens, RT_FEW_CHUNKS);
}

gguf_code write_prepare(tool *t, rt_import *import, const char *input, const char *output,
                        const write_opts *o, write_result *result, gguf_error *err) {
    quant_plan *plan = rt_import_plan(import);
    gguf_code code = check_opts(t, o, err);
    if (!code && o->dry_run) code = check_dry_run(t, o, result, err);
    if (!code && output) code = check_outputs(t, output, o, err);
    if (!code) code = provenance_set_sources(import, err);
    if (code) return code;
    for (size_t i = 0; i < rt_import_n_warnings(import); i++)
        write_result_warn(result, t, "%s", rt_import_warning(import, i));
    code = check_sound(plan, input, err);
    if (!code) code = warn_of_templates(t, plan, result, err);
    if (code) return code;
    code = set_types(t, plan, o, result, err);
    if (!code && !has_target(o)) code = check_rounding(t, plan, err);
    if (!code) gguf_meta_set_u32(plan->meta, "general.quantization_version", 2);
    if (!code && o->imatrix_file) code = add_importance(t, plan, o, result, err);
    if (!code && !o->calibration.text) code = quant_plan_check_importance(plan, err);
    if (!code && (o->type || o->recipe_file || has_target(o)))
        code = provenance_set(plan->meta, result->type_name, o->imatrix_file, err);
    if (!code && o->effort) code = quant_plan_set_effort(plan, o->effort, err);
    plan->split = o->split;
    if (!code && o->calibration.text) code = rt_calibration_reserve(&o->calibration, plan, err);
    if (!code && o->calibration.text && (has_target(o) || !o->dry_run))
        code = calibration_open(t, input, output, &o->calibration, plan, &result->calibration, err);
    if (!code && result->calibration) warn_of_few_chunks(t, result);
    return code ? code : finish(t, plan, output, o, result, err);
}

/* ---- running ----------------------------------------------------------------------------- */

#define WIDE_PLAN 94

static void print_plan(const tool *t, const quant_plan *plan, const write_opts *o) {
    char size[32], memory[32];
    quant_execute_opts opts = quant_execute_defaults();
    opts.max_memory_bytes = o->max_memory_bytes;
    unsigned n_threads = t->n_threads ? t->n_threads : gguf_usable_cores();
    size_t columns = tool_columns();
    bool narrow = columns && columns < WIDE_PLAN;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const quant_plan_tensor *p = &plan->tensors[i];
        char shape[96] = "";
        for (uint32_t d = 0, len = 0; d < p->out.n_dims; d++)
            len += (uint32_t)snprintf(shape + len, sizeof shape - len, "%s%" PRIu64, d ? " x " : "",
                                      p->out.dims[d]);
        printf("%-*s %-*s %5s -> %-7s %s\n", narrow ? 28 : 40, p->out.name.ptr, narrow ? 18 : 24,
               shape, gguf_type_name(p->source_type), gguf_type_name(p->out.type),
               tool_size_text(p->out.n_bytes, size, sizeof size));
    }
    if (plan->n_shards > 1) printf("%u files, ", plan->n_shards);
    printf("%zu tensor%s, %s (%.2f bits per weight)\n%s of buffers for %u thread%s\n",
           plan->n_tensors, tool_s(plan->n_tensors),
           tool_size_text(quant_plan_file_bytes(plan), size, sizeof size), quant_plan_bpw(plan),
           tool_size_text(quant_execute_memory(plan, &opts, n_threads), memory, sizeof memory),
           n_threads, tool_s(n_threads));
}

static void print_candidates(const quant_plan_tensor *p, const quant_tensor_candidates *c,
                             double total) {
    const quant_candidate *chosen = &c->list[c->chosen];
    double n_elems = (double)gguf_tensor_n_elems(&p->out);
    if (!c->n) {
        printf("%-40s %-7s %6.2f   (fixed)\n", p->out.name.ptr, gguf_type_name(p->out.type),
               8 * (double)p->out.n_bytes / n_elems);
        return;
    }
    double damage = c->sensitivity * chosen->error;
    printf("%-40s %-7s %6.2f %10.6f %12.4f %12.6f %6.1f%%", p->out.name.ptr,
           gguf_type_name(chosen->type), 8 * (double)chosen->n_bytes / n_elems, chosen->error,
           c->sensitivity, damage, total > 0 ? 100 * damage / total : 0);
    if (c->chosen + 1 < c->n) {
        const quant_candidate *next = &c->list[c->chosen + 1];
        printf("  %s would save %.6f for %.1f KiB", gguf_type_name(next->type),
               damage - c->sensitivity * next->error,
               (double)(next->n_bytes - chosen->n_bytes) / 1024);
    }
    printf("\n");
}

/* Why each tensor has its type. */
static void print_allocation(const quant_plan *plan, const quant_allocation *a) {
    char size[32];
    printf("%-40s %-7s %6s %10s %12s %12s %7s\n", "tensor", "type", "bpw", "error", "sensitivity",
           "damage", "share");
    for (size_t i = 0; i < plan->n_tensors; i++)
        print_candidates(&plan->tensors[i], &a->tensors[i], a->result.damage);
    printf("%zu tensors, %s (%.4f bits per weight); expected damage %.6f, no choice within this "
           "size does less than %.6f\n",
           plan->n_tensors, tool_size_text(quant_plan_file_bytes(plan), size, sizeof size),
           quant_plan_bpw(plan), a->result.damage, a->result.bound);
}

/* Lines as gguf-inspect hash prints them; those of the sources are comments to it. */
static gguf_code print_manifest(FILE *f, const quant_plan *plan, const gguf_hash *sources,
                                const gguf_file *out, const gguf_hash *hashes,
                                const gguf_hash *whole) {
    for (size_t i = 0; i < plan->n_tensors; i++)
        fprintf(f, "# source xxh3  %s  %s\n", sources[i].hex, plan->tensors[i].out.name.ptr);
    for (size_t i = 0; i < gguf_file_n_tensors(out); i++) {
        const gguf_tensor *t = gguf_file_tensor(out, i);
        fprintf(f, "xxh3  %s  %s:%.*s\n", hashes[i].hex, gguf_file_path(out), (int)t->name.len,
                t->name.ptr);
    }
    fprintf(f, "xxh3  %s  %s\n", whole->hex, gguf_file_path(out));
    return fclose(f) == 0 ? GGUF_OK : GGUF_E_NOMEM;
}

static gguf_code save_manifest(const tool *t, const quant_plan *plan, const char *manifest,
                               const gguf_file *out, gguf_pool *pool, gguf_error *err) {
    size_t n = plan->n_tensors + 1, n_text = 0;
    char *text = NULL;
    gguf_hash whole, *hashes = calloc(n, sizeof *hashes), *sources = calloc(n, sizeof *sources);
    FILE *f = open_memstream(&text, &n_text);
    gguf_code code = GGUF_E_NOMEM;
    if (!hashes || !sources || !f) {
        gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "out of memory");
        if (f) fclose(f);
        goto done;
    }
    code = quant_source_hashes(plan, pool, &tool_cancelled, sources, err);
    if (!code)
        code = gguf_hash_tensors(out, GGUF_HASH_XXH3, pool, &tool_cancelled, hashes, &whole, err);
    if (code)
        fclose(f);
    else if ((code = print_manifest(f, plan, sources, out, hashes, &whole)))
        gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "out of memory");
    if (!code)
        code =
            gguf_outfile_save(manifest, text, n_text, tool_output_how(t, TOOL_OUTPUT_EXTRA), err);
done:
    free(text);
    free(hashes);
    free(sources);
    return code;
}

static gguf_code write_manifest(const tool *t, const quant_plan *plan, const char *path,
                                const char *manifest, gguf_pool *pool, gguf_error *err) {
    gguf_file *out;
    char first[4096];
    gguf_code code = quant_shard_path(path, plan->n_shards, 0, first, sizeof first, err);
    if (!code) code = gguf_file_open(first, GGUF_OPEN_DEFAULT, &out, err);
    if (code) return code;
    code = save_manifest(t, plan, manifest, out, pool, err);
    gguf_file_close(out);
    return code;
}

typedef struct sealing {
    gguf_ranks *ranks;
    rt_import *import;
    const rt_calibration *calibration; /* or NULL */
} sealing;

/* Values that are known when all is written. */
static gguf_code seal(void *ctx, gguf_pool *pool, gguf_error *err) {
    const sealing *s = ctx;
    gguf_code code = provenance_seal(s->import, s->ranks, pool, err);
    if (code || !s->calibration) return code;
    return rt_calibration_keys_set(rt_import_plan(s->import), rt_calibration_errors(s->calibration),
                                   err);
}

static void report_calibration(tool *t, const quant_plan *plan, write_result *result) {
    const quant_output_error *errors = rt_calibration_errors(calibration_work(result->calibration));
    uint64_t n_unfed = calibration_report_n_unfed(plan, errors);
    if (n_unfed)
        write_result_warn(result, t,
                          "matrices that saw too few tokens and are rounded without feedback: "
                          "%" PRIu64,
                          n_unfed);
    calibration_report_print(t, plan, errors);
}

static void note_resumed(tool *t, const quant_plan *plan, const write_result *result) {
    char done[32], all[32];
    tool_note(t, "went on with an interrupted run, which had written %s of %s",
              tool_size_text(result->resumed_bytes, done, sizeof done),
              tool_size_text(quant_plan_data_bytes(plan), all, sizeof all));
}

void write_result_resumed(const write_result *result, const write_opts *o, json_t *root) {
    if (o->resume && !o->dry_run)
        json_object_set_new(root, "resumed_bytes", json_integer((json_int_t)result->resumed_bytes));
}

static gguf_code execute(tool *t, rt_import *import, const char *path, const write_opts *o,
                         write_result *result, gguf_error *err) {
    quant_plan *plan = rt_import_plan(import);
    quant_execute_opts opts = execute_opts(t, o, result);
    gguf_pool *pool = NULL;
    gguf_code code = gguf_pool_new(t->n_threads, &pool, err);
    opts.seal = seal;
    opts.seal_ctx = &(sealing){t->ranks, import,
                               result->calibration ? calibration_work(result->calibration) : NULL};
    if (result->calibration) calibration_provide(result->calibration, &opts);
    opts.resumed_bytes = &result->resumed_bytes;
    if (!code) code = quant_execute(plan, path, pool, &opts, err);
    if (!code && result->resumed_bytes) note_resumed(t, plan, result);
    if (!code && result->calibration) report_calibration(t, plan, result);
    if (!code && o->manifest_file && gguf_ranks_own(t->ranks) == 0)
        code = write_manifest(t, plan, path, o->manifest_file, pool, err);
    gguf_pool_free(pool);
    return code;
}

gguf_code write_run(tool *t, rt_import *import, const char *path, const write_opts *o,
                    write_result *result, gguf_error *err) {
    if (!o->dry_run) return execute(t, import, path, o, result, err);
    if (!t->json && has_target(o))
        print_allocation(rt_import_plan(import), &result->allocation);
    else if (!t->json)
        print_plan(t, rt_import_plan(import), o);
    return GGUF_OK;
}
