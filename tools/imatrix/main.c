/* gguf-imatrix: run a model over a text and write the importance of its weights' columns. */
#include "libgguf/outfile.h"
#include "runtime/calibrate.h"
#include "tools/common/text_tokens.h"
#include "tools/common/tool.h"

#include <stdio.h>
#include <string.h>

enum { OPT_CTX = TOOL_LONG_ONLY, OPT_CHUNKS, OPT_FORMAT, OPT_MERGE, OPT_SHOW };

static const tool_option options[] = {
    {'f', "file", "TEXT[.gz]", "the calibration text"},
    {'o', "output", "OUT.gguf", "the importance matrix to write"},
    {OPT_CTX, "ctx", "N", "tokens of a chunk (512)"},
    {OPT_CHUNKS, "chunks", "N", "use at most N chunks (default: all)"},
    {OPT_FORMAT, "format", "FORMAT", "gguf, or dat for the legacy binary file (gguf)"},
    {OPT_MERGE, "merge", NULL, "add existing matrices up instead of running a model"},
    {OPT_SHOW, "show", "FILE", "print statistics of a matrix"},
    {0},
};

typedef struct imatrix_opts {
    const char *text, *output, *show;
    uint32_t n_ctx, n_chunks;
    bool dat, merge;
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
    default:
        break;
    }
    return GGUF_OK;
}

static gguf_code save(const tool *t, const imatrix_opts *o, const quant_imatrix *im,
                      gguf_error *err) {
    return o->dat ? quant_imatrix_save_dat(im, o->output, t->force, err)
                  : quant_imatrix_save(im, o->output, t->force, err);
}

/* ---- existing matrices ------------------------------------------------------------------- */

static json_t *stats_json(const quant_imatrix_entry *e, const quant_imatrix_stats *s) {
    json_t *row =
        json_pack("{s:o, s:I, s:I, s:I}", "name", tool_json_bytes(e->name, strlen(e->name)),
                  "n_cols", (json_int_t)e->n_cols, "n_mats", (json_int_t)e->n_mats, "n_unseen_mats",
                  (json_int_t)s->n_unseen_mats);
    json_object_set_new(row, "energy", tool_json_real(s->energy));
    json_object_set_new(row, "mean", tool_json_real(s->mean));
    json_object_set_new(row, "max", tool_json_real(s->max));
    json_object_set_new(row, "deviation", tool_json_real(s->deviation));
    json_object_set_new(row, "entropy", tool_json_real(s->entropy));
    json_object_set_new(row, "active_share", tool_json_real(s->active_share));
    return row;
}

static void print_row(const quant_imatrix_entry *e, const quant_imatrix_stats *s) {
    char name[1100];
    printf("%-36s %8zu %12.5g %12.5g %12.5g %8.3f %7.2f%%%s\n",
           tool_escape(e->name, strlen(e->name), name, sizeof name), e->n_cols, s->energy, s->mean,
           s->max, s->entropy, 100 * s->active_share, s->n_unseen_mats ? " (unseen experts)" : "");
}

static void print_stats(const tool *t, const quant_imatrix *im) {
    json_t *list = t->json ? json_array() : NULL;
    if (!list)
        printf("%-36s %8s %12s %12s %12s %8s %8s\n", "tensor", "columns", "energy", "mean", "max",
               "entropy", "active");
    for (size_t i = 0; i < quant_imatrix_count(im); i++) {
        const quant_imatrix_entry *e = quant_imatrix_at(im, i);
        quant_imatrix_stats s = quant_imatrix_stats_of(e);
        if (list)
            json_array_append_new(list, stats_json(e, &s));
        else
            print_row(e, &s);
    }
    if (list) tool_print_json(json_pack("{s:o}", "tensors", list));
}

static gguf_code show(const tool *t, const imatrix_opts *o, gguf_error *err) {
    quant_imatrix *im;
    gguf_code code = quant_imatrix_load(o->show, &im, err);
    if (code) return code;
    print_stats(t, im);
    quant_imatrix_free(im);
    return GGUF_OK;
}

static gguf_code merge(tool *t, const imatrix_opts *o, gguf_error *err) {
    quant_imatrix *sum = quant_imatrix_new(), *im;
    gguf_code code =
        sum ? GGUF_OK : gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    for (int i = 0; i < t->n_args && !code; i++) {
        code = quant_imatrix_load(t->args[i], &im, err);
        if (code) break;
        code = quant_imatrix_merge(sum, im, err);
        quant_imatrix_free(im);
    }
    if (!code) code = save(t, o, sum, err);
    if (!code)
        tool_note(t, "%s: %zu entries from %d matrices", o->output, quant_imatrix_count(sum),
                  t->n_args);
    quant_imatrix_free(sum);
    return code;
}

static void count_tokens(void *ctx, uint64_t done, uint64_t total) {
    tool *t = ctx;
    double elapsed = tool_elapsed_s(t);
    if (!t->show_progress) return;
    t->progress_shown = true;
    fprintf(stderr, "\r\033[K%llu of %llu tokens, %.0f tokens/s, %.0f s left",
            (unsigned long long)done, (unsigned long long)total, (double)done / elapsed,
            (double)(total - done) * elapsed / (double)done);
    fflush(stderr);
}

static void print_result(tool *t, const imatrix_opts *o, const quant_imatrix *im, uint32_t n_chunks,
                         uint32_t chunk_tokens) {
    double seconds = tool_elapsed_s(t), n_tokens = (double)n_chunks * chunk_tokens;
    rt_expert_samples samples = rt_calibrate_samples(im);
    if (samples.n_unseen + samples.n_few)
        tool_note(t,
                  "of %zu matrices of experts %zu saw no token and %zu fewer than %d: more text "
                  "would tell more about them",
                  samples.n_mats, samples.n_unseen, samples.n_few, RT_FEW_SAMPLES);
    if (!t->json) {
        tool_note(t, "%s: %zu entries from %u chunks of %u tokens, %.1f s (%.0f tokens/s)",
                  o->output, quant_imatrix_count(im), n_chunks, chunk_tokens, seconds,
                  n_tokens / seconds);
        return;
    }
    json_t *root = json_object();
    json_object_set_new(root, "output", tool_json_bytes(o->output, strlen(o->output)));
    json_object_set_new(root, "n_entries", json_integer((json_int_t)quant_imatrix_count(im)));
    json_object_set_new(root, "n_chunks", json_integer(n_chunks));
    json_object_set_new(root, "chunk_tokens", json_integer(chunk_tokens));
    json_object_set_new(root, "n_expert_mats", json_integer((json_int_t)samples.n_mats));
    json_object_set_new(root, "n_unseen_mats", json_integer((json_int_t)samples.n_unseen));
    json_object_set_new(root, "n_few_mats", json_integer((json_int_t)samples.n_few));
    json_object_set_new(root, "seconds", tool_json_real(seconds));
    json_object_set_new(root, "tokens_per_s", tool_json_real(n_tokens / seconds));
    tool_print_json(root);
}

static gguf_code calibrate(tool *t, const imatrix_opts *o, const rt_model *model, const rt_ids *ids,
                           int32_t bos, gguf_error *err) {
    const char *slash = strrchr(o->text, '/');
    uint32_t n_done = 0, chunk_tokens = o->n_ctx < ids->n ? o->n_ctx : (uint32_t)ids->n;
    quant_imatrix *im = quant_imatrix_new();
    if (!im) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    rt_calibrate_opts opts = rt_calibrate_defaults();
    opts.n_ctx = o->n_ctx;
    opts.n_chunks = o->n_chunks;
    opts.n_threads = t->n_threads;
    opts.bos = bos;
    opts.cancel = &tool_cancelled;
    opts.progress = count_tokens;
    opts.progress_ctx = t;
    gguf_code code = rt_calibrate_importance(model, ids->data, ids->n, &opts, im, &n_done, err);
    if (!code)
        code = quant_imatrix_set_info(im, slash ? slash + 1 : o->text, n_done, chunk_tokens, err);
    if (!code) code = save(t, o, im, err);
    if (!code) print_result(t, o, im, n_done, chunk_tokens);
    quant_imatrix_free(im);
    return code;
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    const imatrix_opts *o = ctx;
    if (o->show && t->n_args == 0) return show(t, o, err);
    if (o->merge && t->n_args > 0 && o->output) return merge(t, o, err);
    if (t->n_args != 1 || !o->text || !o->output || o->merge || o->show)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected MODEL -f TEXT -o OUT.gguf (see --help)");
    gguf_code code = gguf_outfile_check(o->output, t->force, err);
    if (code) return code;
    rt_model *model = NULL;
    rt_ids ids = {0};
    int32_t bos = -1;
    code = rt_model_open(t->args[0], &model, err);
    if (!code) code = text_tokens(model, o->text, &ids, &bos, err);
    if (!code) code = calibrate(t, o, model, &ids, bos, err);
    rt_ids_clear(&ids);
    rt_model_close(model);
    return code;
}

int main(int argc, char **argv) {
    imatrix_opts o = {.n_ctx = 512};
    const tool_spec spec = {
        .name = "gguf-imatrix",
        .usage =
            "MODEL.gguf -f TEXT[.gz] -o OUT.gguf [options]\n--merge A B... -o OUT.gguf\n--show FILE",
        .summary = "Measure which columns of a model's weights matter, for gguf-quantize "
                   "--imatrix.",
        .options = options,
        .set = set_option,
        .run = run,
        .ctx = &o};
    return tool_main(&spec, argc, argv);
}
