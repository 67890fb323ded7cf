/* gguf-imatrix: run a model over a text and write the importance of its weights' columns. */
#include "libgguf/inputs.h"
#include "libgguf/outfile.h"
#include "runtime/calibrate/calibrate.h"
#include "tools/common/model_open.h"
#include "tools/common/output_files.h"
#include "tools/common/precision.h"
#include "tools/common/text_tokens.h"
#include "tools/imatrix/show.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    OPT_CTX = TOOL_LONG_ONLY,
    OPT_CHUNKS,
    OPT_FORMAT,
    OPT_MERGE,
    OPT_SHOW,
    OPT_PLOT,
    OPT_SAVE_EVERY,
    OPT_RESUME,
    OPT_PRECISION,
    OPT_LORA
};

static const tool_option options[] = {
    {'f', "file", "TEXT[.gz]", "the calibration text; @default is the program's own"},
    {'o', "output", "OUT.gguf", "the importance matrix to write"},
    {OPT_CTX, "ctx", "N", "tokens of a chunk (512)"},
    {OPT_CHUNKS, "chunks", "N", "use at most N chunks (default: all)"},
    {OPT_FORMAT, "format", "FORMAT", "gguf, or dat for the legacy binary file (gguf)"},
    {OPT_MERGE, "merge", NULL, "add existing matrices up instead of running a model"},
    {OPT_SHOW, "show", "FILE", "print statistics of a matrix"},
    {OPT_PLOT, "plot", "OUT.svg", "with --show: draw them by layer, as SVG or PNG"},
    {OPT_SAVE_EVERY, "save-every", "N", "write the output after every N chunks"},
    {OPT_RESUME, "resume", NULL, "continue after the chunks that the output already has"},
    {OPT_PRECISION, "precision", "FORM", PRECISION_HELP " (q8)"},
    {OPT_LORA, "lora", "F[:SCALE]", LORA_HELP},
    TOOL_MODEL_SPELLINGS,
    {OPT_CTX, "-c", "N", NULL},
    {OPT_CTX, "ctx-size", "N", NULL},
    {'o', "output-file", "F", NULL},
    {OPT_FORMAT, "output-format", "FORMAT", NULL},
    {OPT_SAVE_EVERY, "-ofreq", "N", NULL},
    {OPT_SAVE_EVERY, "output-frequency", "N", NULL},
    {0},
};

typedef struct imatrix_opts {
    const char *text, *output, *show, *plot;
    uint32_t n_ctx, n_chunks, save_every;
    bool dat, merge, resume;
    rt_precision precision;
    model_loras loras;
} imatrix_opts;

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    imatrix_opts *o = ctx;
    switch (id) {
    case 'f':
        o->text = arg;
        break;
    case 'o':
        o->output = arg;
        break;
    case OPT_CTX:
        return tool_parse_u32("--ctx", arg, 1, 1u << 20, &o->n_ctx, err);
    case OPT_CHUNKS:
        return tool_parse_u32("--chunks", arg, 1, UINT32_MAX, &o->n_chunks, err);
    case OPT_FORMAT:
        o->dat = strcmp(arg, "dat") == 0;
        if (o->dat || strcmp(arg, "gguf") == 0) break;
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--format takes gguf or dat, not '%s'", arg);
    case OPT_MERGE:
        o->merge = true;
        break;
    case OPT_SHOW:
        o->show = arg;
        break;
    case OPT_PLOT:
        o->plot = arg;
        break;
    case OPT_SAVE_EVERY:
        return tool_parse_u32("--save-every", arg, 1, UINT32_MAX, &o->save_every, err);
    case OPT_RESUME:
        o->resume = true;
        break;
    case OPT_PRECISION:
        return precision_parse(arg, &o->precision, err);
    case OPT_LORA:
        return model_loras_add(&o->loras, arg, err);
    default:
        break;
    }
    return GGUF_OK;
}

static gguf_code save(const imatrix_opts *o, const quant_imatrix *im, bool replace,
                      gguf_error *err) {
    return o->dat ? quant_imatrix_save_dat(im, o->output, replace, err)
                  : quant_imatrix_save(im, o->output, replace, err);
}

/* What is written again and again, or gone on with, is a file. */
static gguf_code check_output(tool *t, const imatrix_opts *o, gguf_error *err) {
    bool again = o->resume || o->save_every;
    if (o->resume && gguf_is_stdout(o->output))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "--resume needs a file");
    if (o->resume) return gguf_outfile_check(o->output, GGUF_OUT_REPLACE, err);
    return tool_check_output(t, o->output, again ? TOOL_OUTPUT_FILE : TOOL_OUTPUT_STREAM, err);
}

/* ---- existing matrices ------------------------------------------------------------------- */

static void print_merged(tool *t, const imatrix_opts *o, size_t n_entries) {
    if (t->json)
        tool_print_json(json_pack("{s:o, s:I, s:i}", "output",
                                  tool_json_bytes(o->output, strlen(o->output)), "n_entries",
                                  (json_int_t)n_entries, "n_merged", t->n_args));
    else
        tool_note(t, "%s: %zu entries from %d matri%s", o->output, n_entries, t->n_args,
                  t->n_args == 1 ? "x" : "ces");
}

static gguf_code merge(tool *t, const imatrix_opts *o, gguf_error *err) {
    gguf_code code = check_output(t, o, err);
    if (code) return code;
    quant_imatrix *sum = quant_imatrix_new(), *im;
    if (!sum) code = gguf_fail_memory(err);
    for (int i = 0; i < t->n_args && !code; i++) {
        code = quant_imatrix_load(t->args[i], &im, err);
        if (code) break;
        code = quant_imatrix_merge(sum, im, err);
        quant_imatrix_free(im);
    }
    if (!code) code = save(o, sum, t->force, err);
    if (!code) print_merged(t, o, quant_imatrix_count(sum));
    quant_imatrix_free(sum);
    return code;
}

static void count_tokens(void *ctx, uint64_t done, uint64_t total) {
    tool *t = ctx;
    tool_show_step(t, &(tool_step){.unit = "tokens",
                                   .done = (double)done,
                                   .total = (double)total,
                                   .started_s = t->started_s});
}

/* Of n_chunks, the first n_before were there before this run, which they do not count as its work.
 */
static void print_result(tool *t, const imatrix_opts *o, const quant_imatrix *im, uint32_t n_chunks,
                         uint32_t n_before) {
    uint32_t chunk_tokens = o->n_ctx;
    double seconds = tool_elapsed_s(t), n_tokens = (double)(n_chunks - n_before) * chunk_tokens;
    rt_expert_samples samples = rt_calibrate_samples(im);
    if (samples.n_unseen + samples.n_few)
        tool_note(t,
                  "of %zu expert matrices, %zu saw no token and %zu fewer than %d; more text "
                  "helps",
                  samples.n_mats, samples.n_unseen, samples.n_few, RT_FEW_SAMPLES);
    if (!t->json) {
        char before[48] = "";
        if (n_before) snprintf(before, sizeof before, ", %u of them from before", n_before);
        tool_note(t, "%s: %zu entries from %u chunk%s of %u tokens%s, %.1f s (%.0f tokens/s)",
                  o->output, quant_imatrix_count(im), n_chunks, tool_s(n_chunks), chunk_tokens,
                  before, seconds, n_tokens / seconds);
        return;
    }
    json_t *root = json_object();
    json_object_set_new(root, "output", tool_json_bytes(o->output, strlen(o->output)));
    json_object_set_new(root, "n_entries", json_integer((json_int_t)quant_imatrix_count(im)));
    json_object_set_new(root, "n_chunks", json_integer(n_chunks));
    json_object_set_new(root, "n_resumed_chunks", json_integer(n_before));
    json_object_set_new(root, "chunk_tokens", json_integer(chunk_tokens));
    json_object_set_new(root, "n_expert_mats", json_integer((json_int_t)samples.n_mats));
    json_object_set_new(root, "n_unseen_mats", json_integer((json_int_t)samples.n_unseen));
    json_object_set_new(root, "n_few_mats", json_integer((json_int_t)samples.n_few));
    json_object_set_new(root, "seconds", tool_json_real(seconds));
    json_object_set_new(root, "tokens_per_s", tool_json_real(n_tokens / seconds));
    tool_print_json(root);
}

/* ---- collecting -------------------------------------------------------------------------- */

typedef struct collection {
    tool *t;
    const imatrix_opts *o;
    quant_imatrix *im;
    const char *dataset;
    uint64_t inputs_hash;
    uint32_t n_done;
    bool written; /* the output is this run's */
} collection;

static gguf_code write_output(collection *c, gguf_error *err) {
    gguf_code code = quant_imatrix_set_info(c->im, c->dataset, c->n_done, c->o->n_ctx, err);
    quant_imatrix_set_inputs_hash(c->im, c->inputs_hash);
    if (!code) code = save(c->o, c->im, c->t->force || c->written, err);
    c->written = c->written || !code;
    return code;
}

static gguf_code chunk_done(void *ctx, uint32_t n_done, gguf_error *err) {
    collection *c = ctx;
    c->n_done = n_done;
    if (!c->o->save_every || n_done % c->o->save_every != 0) return GGUF_OK;
    quant_imatrix_round(c->im);
    return write_output(c, err);
}

/* As many as the saves allow: groups of chunks must end where one is due; 0 = any. */
static uint32_t chunks_together(uint32_t save_every) {
    return save_every % 4 == 0 ? 0 : save_every % 3 == 0 ? 3 : save_every % 2 == 0 ? 2 : 1;
}

/* Take over what an output of the same tokens, model and settings has; none is a start from the
 * beginning. */
static gguf_code take_over(collection *c, gguf_error *err) {
    quant_imatrix *im;
    if (access(c->o->output, F_OK) != 0) return GGUF_OK;
    gguf_code code = quant_imatrix_load(c->o->output, &im, err);
    if (code) return code;
    const quant_imatrix_info *info = quant_imatrix_info_of(im);
    if (info->inputs_hash != c->inputs_hash) {
        bool known = info->inputs_hash != 0;
        quant_imatrix_free(im);
        return gguf_fail(err, GGUF_E_USAGE, c->o->output, GGUF_NO_OFFSET,
                         "%s; --resume cannot go on "
                         "from it",
                         known ? "is of another text, model, chunk length, precision or "
                                 "instruction set"
                               : "does not say of which tokens it is");
    }
    c->n_done = info->n_chunks;
    c->written = true;
    gguf_inputs_forget(c->o->output); /* it is this run's own */
    quant_imatrix_free(c->im);
    c->im = im;
    tool_note(c->t, "%s has %u chunk%s; continuing from there", c->o->output, c->n_done,
              tool_s(c->n_done));
    return GGUF_OK;
}

static rt_calibrate_opts calibrate_opts(collection *c, int32_t bos) {
    rt_calibrate_opts opts = rt_calibrate_defaults();
    opts.n_ctx = c->o->n_ctx;
    opts.precision = c->o->precision;
    opts.n_chunks = c->o->n_chunks;
    opts.n_together = chunks_together(c->o->save_every);
    opts.n_threads = c->t->n_threads;
    opts.ranks = c->t->ranks;
    opts.bos = bos;
    opts.cancel = &tool_cancelled;
    opts.progress = count_tokens;
    opts.progress_ctx = c->t;
    opts.chunks_done = chunk_done;
    opts.chunks_ctx = c;
    return opts;
}

static gguf_code collect(collection *c, const rt_model *model, const rt_ids *ids,
                         rt_calibrate_opts opts, gguf_error *err) {
    opts.n_skip = c->n_done;
    gguf_code code =
        rt_calibrate_importance(model, ids->data, ids->n, &opts, c->im, &c->n_done, err);
    return code || gguf_ranks_own(c->t->ranks) > 0 ? code : write_output(c, err);
}

/* More chunks may follow later: their number does not decide what is in the first ones. */
static uint64_t inputs_hash(const rt_model *model, const rt_ids *ids, rt_calibrate_opts opts) {
    opts.n_chunks = 0;
    return rt_calibrate_hash(model, ids->data, ids->n, &opts);
}

static gguf_code calibrate(tool *t, const imatrix_opts *o, const rt_model *model, const rt_ids *ids,
                           int32_t bos, gguf_error *err) {
    const char *slash = strrchr(o->text, '/');
    collection c = {.t = t, .o = o, .dataset = slash ? slash + 1 : o->text};
    const rt_calibrate_opts opts = calibrate_opts(&c, bos);
    uint32_t n_chunks = 0;
    gguf_code code = text_check_calibration(o->text, ids->n, &opts, &n_chunks, err);
    if (code) return code;
    if (n_chunks < RT_FEW_CHUNKS)
        tool_warn(t, TEXT_FEW_CHUNKS, n_chunks, tool_s(n_chunks), o->n_ctx, RT_FEW_CHUNKS);
    text_warn_context(t, rt_model_hparams(model)->n_ctx_train, o->n_ctx);
    c.inputs_hash = inputs_hash(model, ids, opts);
    c.im = quant_imatrix_new();
    if (!c.im) return gguf_fail_memory(err);
    code = o->resume ? take_over(&c, err) : GGUF_OK;
    uint32_t n_before = c.n_done;
    if (!code) code = collect(&c, model, ids, opts, err);
    if (!code) print_result(t, o, c.im, c.n_done, n_before);
    quant_imatrix_free(c.im);
    return code;
}

/* ---- modes ------------------------------------------------------------------------------- */

static gguf_code run_show(tool *t, const imatrix_opts *o, gguf_error *err) {
    gguf_code code = tool_takes_only(t, "--show", "show plot", err);
    if (!code && t->n_args != 0) code = tool_fail_usage(t, "--show FILE alone", err);
    return code ? code : show_matrix(t, o->show, o->plot, err);
}

static gguf_code run_merge(tool *t, const imatrix_opts *o, gguf_error *err) {
    gguf_code code = tool_takes_only(t, "--merge", "merge output format", err);
    if (!code && (t->n_args == 0 || !o->output))
        code = tool_fail_usage(t, "--merge A B... -o OUT.gguf", err);
    return code ? code : merge(t, o, err);
}

/* Options that do not go together. */
static gguf_code check_options(tool *t, const imatrix_opts *o, gguf_error *err) {
    gguf_code code = tool_refuse(t, "plot", "needs --show", err);
    if (!code && (t->n_args != 1 || !o->text || !o->output))
        code = tool_fail_usage(t, "MODEL -f TEXT -o OUT.gguf", err);
    if (!code && o->dat) code = tool_refuse(t, "save-every resume", "needs --format gguf", err);
    return code ? code : check_output(t, o, err);
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    const imatrix_opts *o = ctx;
    if (o->show) return run_show(t, o, err);
    if (o->merge) return run_merge(t, o, err);
    gguf_code code = check_options(t, o, err);
    if (code) return code;
    rt_model *model = NULL;
    rt_ids ids = {0};
    int32_t bos = -1;
    rt_spread_memory(t->n_threads);
    code = model_open(t, t->args[0], &o->loras, &model, err);
    if (!code) code = text_tokens(model, o->text, &ids, &bos, err);
    if (!code) code = calibrate(t, o, model, &ids, bos, err);
    rt_ids_clear(&ids);
    rt_model_close(model);
    return code;
}

int main(int argc, char **argv) {
    imatrix_opts o = {.n_ctx = 512, .precision = RT_PRECISION_Q8};
    const tool_spec spec = {
        .name = "gguf-imatrix",
        .usage =
            "MODEL.gguf -f TEXT[.gz] -o OUT.gguf [options]\n--merge A B... -o OUT.gguf\n--show FILE [--plot OUT.svg]",
        .summary = "Measure which columns of a model's weights matter, for gguf-quantize "
                   "--imatrix.",
        .options = options,
        .examples = "model.gguf -f calibration.txt -o imatrix.gguf\n--show imatrix.gguf",
        .set = set_option,
        .run = run,
        .shares = true,
        .ctx = &o,
        .reads = "file show lora"};
    int status = tool_main(&spec, argc, argv);
    model_loras_clear(&o.loras);
    return status;
}
