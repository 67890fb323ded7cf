/* gguf-imatrix: run a model over a text and write the importance of its weights' columns. */
#include "runtime/calibrate.h"
#include "tools/common/text_tokens.h"
#include "tools/common/tool.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OPT_CTX = TOOL_LONG_ONLY, OPT_CHUNKS };

static const tool_option options[] = {
    {'f', "file", "TEXT[.gz]", "the calibration text"},
    {'o', "output", "OUT.gguf", "the importance matrix to write"},
    {OPT_CTX, "ctx", "N", "tokens of a chunk (512)"},
    {OPT_CHUNKS, "chunks", "N", "use at most N chunks (default: all)"},
    {0},
};

typedef struct imatrix_opts {
    const char *text, *output;
    uint32_t n_ctx, n_chunks;
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
    default:
        break;
    }
    return GGUF_OK;
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
    if (!code) code = quant_imatrix_save(im, o->output, t->force, err);
    if (!code) print_result(t, o, im, n_done, chunk_tokens);
    quant_imatrix_free(im);
    return code;
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    const imatrix_opts *o = ctx;
    if (t->n_args != 1 || !o->text || !o->output)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected MODEL -f TEXT -o OUT.gguf (see --help)");
    if (!t->force && access(o->output, F_OK) == 0)
        return gguf_fail(err, GGUF_E_EXISTS, o->output, GGUF_NO_OFFSET,
                         "the output exists; --force replaces it");
    rt_model *model = NULL;
    rt_ids ids = {0};
    int32_t bos = -1;
    gguf_code code = rt_model_open(t->args[0], &model, err);
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
        .usage = "MODEL.gguf -f TEXT[.gz] -o OUT.gguf [options]",
        .summary = "Measure which columns of a model's weights matter, for gguf-quantize "
                   "--imatrix.",
        .options = options,
        .set = set_option,
        .run = run,
        .ctx = &o};
    return tool_main(&spec, argc, argv);
}
