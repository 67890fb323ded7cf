/* verify: everything that is wrong with a file, one finding a line. */
#include "libgguf/verify.h"
#include "quant/stats.h"
#include "runtime/check.h"
#include "tools/common/pager.h"
#include "tools/inspect/manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- blocks ------------------------------------------------------------------------------ */

typedef struct block_job {
    const gguf_scan *scan;
    quant_defects *defects; /* [n_tensors] */
} block_job;

static void check_blocks(void *ctx, size_t i, unsigned worker) {
    const block_job *job = ctx;
    const gguf_tensor *t = gguf_scan_tensor(job->scan, i);
    const void *data = gguf_scan_data(job->scan, i);
    (void)worker;
    if (data && !atomic_load(&tool_cancelled))
        job->defects[i] = quant_find_defects(t->type, data, gguf_tensor_n_elems(t));
}

static void report_blocks(const block_job *job, gguf_findings *found) {
    for (size_t i = 0; i < gguf_scan_n_tensors(job->scan); i++) {
        const gguf_tensor *t = gguf_scan_tensor(job->scan, i);
        const quant_defects *d = &job->defects[i];
        if (d->n_blocks)
            gguf_findings_add(found, (int64_t)(t->file_off + d->first_off),
                              "tensor '%.*s': %" PRIu64
                              " %s blocks with NaN or infinity, the first one here",
                              (int)(t->name.len < 100 ? t->name.len : 100), t->name.ptr,
                              d->n_blocks, gguf_type_name(t->type));
    }
}

static gguf_code verify_blocks(const inspect_call *c, const gguf_scan *scan, gguf_findings *found) {
    size_t n = gguf_scan_n_tensors(scan);
    block_job job = {scan, calloc(n + 1, sizeof *job.defects)};
    gguf_pool *pool = NULL;
    gguf_code code = job.defects
                         ? gguf_pool_new(c->t->n_threads, &pool, c->err)
                         : gguf_fail(c->err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    if (!code) {
        gguf_pool_run(pool, n, check_blocks, &job);
        report_blocks(&job, found);
    }
    gguf_pool_free(pool);
    free(job.defects);
    if (!code && atomic_load(&tool_cancelled))
        code = gguf_fail(c->err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    return code;
}

/* ---- manifest ---------------------------------------------------------------------------- */

typedef struct manifest_sink {
    const gguf_file *file;
    gguf_findings *found;
} manifest_sink;

static void add_difference(void *ctx, const char *what, const char *name, const char *expected,
                           const char *found) {
    const manifest_sink *sink = ctx;
    const gguf_tensor *t = gguf_file_find_tensor(sink->file, name);
    gguf_findings_add(sink->found, t ? (int64_t)t->file_off : GGUF_NO_OFFSET,
                      "hash of '%.100s' %s: expected %.64s, found %.64s", name, what,
                      *expected ? expected : "none", *found ? found : "none");
}

/* Needs a file that opens; one that does not has findings of its own. */
static gguf_code verify_manifest(const inspect_call *c, gguf_findings *found) {
    gguf_file *file;
    gguf_error why = {0};
    if (!c->o->check) return GGUF_OK;
    gguf_code code = gguf_file_open(c->files[0], GGUF_OPEN_ANY_TYPE, &file, &why);
    if (code) {
        gguf_findings_add(found, GGUF_NO_OFFSET,
                          "the manifest was not checked: the file does not open");
        return GGUF_OK;
    }
    manifest_sink sink = {file, found};
    code = manifest_check(c, file, c->o->check, add_difference, &sink);
    gguf_file_close(file);
    return code == GGUF_E_CHECK ? GGUF_OK : code;
}

/* ---- output ------------------------------------------------------------------------------ */

static void print_finding(const char *path, const gguf_finding *f) {
    char name[1200], text[2200];
    tool_escape(path, strlen(path), name, sizeof name);
    tool_escape(f->text, strlen(f->text), text, sizeof text);
    printf("%s: ", name);
    if (f->off != GGUF_NO_OFFSET) printf("byte %" PRId64 ": ", f->off);
    printf("%s%s%s\n", tool_style_text(TOOL_RED), text, tool_style_text(TOOL_PLAIN));
}

static void print_findings(const char *path, const gguf_findings *found) {
    for (size_t i = 0; i < found->n; i++) print_finding(path, &found->items[i]);
    if (found->n_dropped) printf("and %" PRIu64 " more findings\n", found->n_dropped);
    if (!found->n) printf("no findings\n");
}

static void json_findings(const char *path, const gguf_findings *found) {
    json_out j = {.file = stdout};
    json_out_object(&j, NULL, false);
    json_out_bytes(&j, "file", path, strlen(path));
    json_out_bool(&j, "sound", found->n == 0);
    json_out_u64(&j, "n_findings", found->n + found->n_dropped);
    json_out_array(&j, "findings", false);
    for (size_t i = 0; i < found->n; i++) {
        const gguf_finding *f = &found->items[i];
        json_out_object(&j, NULL, true);
        f->off == GGUF_NO_OFFSET ? json_out_null(&j, "offset") : json_out_i64(&j, "offset", f->off);
        json_out_bytes(&j, "message", f->text, strlen(f->text));
        json_out_end_object(&j);
    }
    json_out_end_array(&j);
    json_out_end_object(&j);
    json_out_document_end(&j);
}

static gguf_code verify_all(const inspect_call *c, gguf_findings *found, gguf_scan **scan) {
    gguf_code code = gguf_scan_open(c->files[0], found, scan, c->err);
    if (!code)
        code = rt_check_meta(gguf_scan_meta(*scan), gguf_scan_has_all_keys(*scan), found, c->err);
    if (!code) code = verify_blocks(c, *scan, found);
    if (!code) code = verify_manifest(c, found);
    if (!code && found->out_of_memory)
        code = gguf_fail(c->err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    return code;
}

gguf_code inspect_verify(const inspect_call *c) {
    gguf_findings found = {0};
    gguf_scan *scan = NULL;
    gguf_code code = verify_all(c, &found, &scan);
    if (!code) {
        gguf_findings_sort(&found);
        c->t->json ? json_findings(c->files[0], &found) : print_findings(c->files[0], &found);
        if (found.n) code = GGUF_E_CHECK;
    }
    gguf_scan_close(scan);
    gguf_findings_clear(&found);
    return code;
}
