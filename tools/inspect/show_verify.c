/* verify: everything that is wrong with a file, one finding a line. */
#include "libgguf/swap.h"
#include "libgguf/verify.h"
#include "quant/stats.h"
#include "runtime/model/check_model.h"
#include "tools/common/pager.h"
#include "tools/inspect/manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- blocks ------------------------------------------------------------------------------ */

#define STEP_BYTES ((uint64_t)4 << 20)

typedef struct block_job {
    const gguf_scan *scan;
    quant_defects *defects; /* [n_tensors] */
} block_job;

/* Blocks of the other byte order are swapped in a copy; without memory for it they pass. */
static quant_defects find_in_step(const block_job *job, const gguf_tensor *t, const uint8_t *data,
                                  size_t n_bytes, uint64_t n_elems) {
    if (!gguf_scan_big_endian(job->scan))
        return quant_find_defects(t->type, data, n_elems, t->dims[0]);
    quant_defects found = {0};
    uint8_t *copy = malloc(n_bytes);
    if (copy) memcpy(copy, data, n_bytes);
    if (copy && gguf_blocks_swap(t->type, copy, n_bytes, NULL) == GGUF_OK)
        found = quant_find_defects(t->type, copy, n_elems, t->dims[0]);
    free(copy);
    return found;
}

static void check_blocks(void *ctx, size_t i, unsigned worker) {
    const block_job *job = ctx;
    const gguf_tensor *t = gguf_scan_tensor(job->scan, i);
    const uint8_t *data = gguf_scan_data(job->scan, i);
    const gguf_type_layout *layout = gguf_type_layout_of(t->type);
    quant_defects *all = &job->defects[i];
    (void)worker;
    if (!data || !layout) return;
    uint64_t unit = layout->block_bytes, elems = layout->block_elems;
    if (layout->head_bytes) {
        unit = gguf_type_row_bytes(t->type, t->dims[0]);
        elems = t->dims[0];
    }
    uint64_t step = unit < STEP_BYTES ? STEP_BYTES / unit * unit : unit;
    for (uint64_t off = 0; off < t->n_bytes && !atomic_load(&tool_cancelled); off += step) {
        uint64_t n = t->n_bytes - off < step ? t->n_bytes - off : step;
        uint64_t n_elems = n / unit * elems;
        quant_defects found = find_in_step(job, t, data + off, (size_t)n, n_elems);
        if (found.n_blocks && !all->n_blocks) all->first_off = off + found.first_off;
        all->n_blocks += found.n_blocks;
        gguf_scan_release(job->scan, i, off, n);
    }
}

static void report_blocks(const block_job *job, gguf_findings *found) {
    for (size_t i = 0; i < gguf_scan_n_tensors(job->scan); i++) {
        const gguf_tensor *t = gguf_scan_tensor(job->scan, i);
        const quant_defects *d = &job->defects[i];
        if (d->n_blocks)
            gguf_findings_add(found, (int64_t)(t->file_off + d->first_off),
                              "tensor '%.*s': %" PRIu64
                              " %s block%s with NaN or infinity, the first one here",
                              (int)(t->name.len < 100 ? t->name.len : 100), t->name.ptr,
                              d->n_blocks, gguf_type_name(t->type), d->n_blocks == 1 ? "" : "s");
    }
}

static gguf_code verify_blocks(gguf_pool *pool, gguf_scan_part *part, gguf_error *err) {
    size_t n = gguf_scan_n_tensors(part->scan);
    block_job job = {part->scan, calloc(n + 1, sizeof *job.defects)};
    if (!job.defects) return gguf_fail_memory(err);
    gguf_pool_run(pool, n, check_blocks, &job);
    report_blocks(&job, &part->findings);
    free(job.defects);
    if (!atomic_load(&tool_cancelled)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
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
    gguf_code code =
        gguf_file_open(c->files[0], GGUF_OPEN_ANY_TYPE | GGUF_OPEN_BIG_ENDIAN, &file, &why);
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

uint64_t inspect_count_findings(const gguf_scan_set *set) {
    uint64_t n = 0;
    for (size_t i = 0; i < set->n_parts; i++)
        n += set->parts[i].findings.n + set->parts[i].findings.n_dropped;
    return n;
}

static void print_finding(const char *path, const gguf_finding *f) {
    char name[1200], text[2200];
    tool_escape(path, strlen(path), name, sizeof name);
    tool_escape(f->text, strlen(f->text), text, sizeof text);
    printf("%s: ", name);
    if (f->off != GGUF_NO_OFFSET) printf("byte %" PRId64 ": ", f->off);
    printf("%s%s%s\n", tool_style_text(TOOL_RED), text, tool_style_text(TOOL_PLAIN));
}

static void print_findings(const gguf_scan_set *set) {
    for (size_t p = 0; p < set->n_parts; p++) {
        const gguf_findings *found = &set->parts[p].findings;
        for (size_t i = 0; i < found->n; i++) print_finding(set->parts[p].path, &found->items[i]);
        if (found->n_dropped) printf("and %" PRIu64 " more findings\n", found->n_dropped);
    }
    if (!inspect_count_findings(set)) printf("no findings\n");
}

static void json_finding(json_out *j, const char *path, const gguf_finding *f) {
    json_out_object(j, NULL, true);
    json_out_bytes(j, "file", path, strlen(path));
    f->off == GGUF_NO_OFFSET ? json_out_null(j, "offset") : json_out_i64(j, "offset", f->off);
    json_out_bytes(j, "message", f->text, strlen(f->text));
    json_out_end_object(j);
}

static void json_findings(const gguf_scan_set *set) {
    const char *path = set->parts[0].path;
    uint64_t n = inspect_count_findings(set);
    json_out j = {.file = stdout};
    json_out_object(&j, NULL, false);
    json_out_bytes(&j, "file", path, strlen(path));
    json_out_bool(&j, "sound", n == 0);
    json_out_u64(&j, "n_findings", n);
    json_out_array(&j, "findings", false);
    for (size_t p = 0; p < set->n_parts; p++)
        for (size_t i = 0; i < set->parts[p].findings.n; i++)
            json_finding(&j, set->parts[p].path, &set->parts[p].findings.items[i]);
    json_out_end_array(&j);
    json_out_end_object(&j);
    json_out_document_end(&j);
}

/* ---- the whole --------------------------------------------------------------------------- */

static gguf_code verify_part(const inspect_call *c, gguf_pool *pool, gguf_scan_part *part) {
    gguf_code code = rt_check_meta(gguf_scan_meta(part->scan), gguf_scan_has_all_keys(part->scan),
                                   &part->findings, c->err);
    return code ? code : verify_blocks(pool, part, c->err);
}

gguf_code inspect_find_all(const inspect_call *c, gguf_scan_set *set) {
    gguf_pool *pool = NULL;
    gguf_code code = gguf_scan_set_open(c->files[0], set, c->err);
    if (!code) code = gguf_pool_new(c->t->n_threads, &pool, c->err);
    for (size_t i = 0; i < set->n_parts && !code; i++) code = verify_part(c, pool, &set->parts[i]);
    gguf_pool_free(pool);
    if (!code) code = rt_check_tensors(set, c->err);
    if (!code) code = verify_manifest(c, &set->parts[0].findings);
    for (size_t i = 0; i < set->n_parts && !code; i++) {
        gguf_findings_sort(&set->parts[i].findings);
        if (set->parts[i].findings.out_of_memory) code = gguf_fail_memory(c->err);
    }
    return code;
}

gguf_code inspect_verify(const inspect_call *c) {
    gguf_scan_set set = {0};
    gguf_code code = inspect_find_all(c, &set);
    if (!code) {
        c->t->json ? json_findings(&set) : print_findings(&set);
        if (inspect_count_findings(&set)) code = GGUF_E_CHECK;
    }
    gguf_scan_set_close(&set);
    return code;
}
