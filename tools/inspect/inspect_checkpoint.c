/* Checkpoints (safetensors, PyTorch) as GGUF files are looked at: summary, tensors, diff. Shapes
 * are rows first, as these files have them. */
#include "libgguf/checkpoint.h"
#include "libgguf/ends.h"
#include "quant/stats.h"
#include "tools/common/pager.h"
#include "tools/inspect/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef gguf_checkpoint_tensor tensor;

bool inspect_is_checkpoint(const char *path) {
    static const char *const ends[] = {".safetensors", ".safetensors.index.json", ".bin", ".pt",
                                       ".pth"};
    char magic[4] = "";
    struct stat st;
    if (stat(path, &st) != 0) return false;
    if (S_ISDIR(st.st_mode)) return true;
    int fd = S_ISREG(st.st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    bool gguf = fd >= 0 && read(fd, magic, 4) == 4 && memcmp(magic, "GGUF", 4) == 0;
    if (fd >= 0) close(fd);
    for (size_t i = 0; i < sizeof ends / sizeof *ends && !gguf; i++)
        if (gguf_text_ends(path, ends[i])) return true;
    return false;
}

static gguf_code open_checkpoint(const inspect_call *c, size_t i, gguf_checkpoint **out) {
    gguf_code code = gguf_checkpoint_open(c->files[i], out, c->err);
    for (size_t k = 0; !code && k < gguf_checkpoint_n_warnings(*out); k++)
        tool_warn(c->t, "%s", gguf_checkpoint_warning(*out, k));
    return code;
}

static gguf_code check_filters(const inspect_call *c, const gguf_checkpoint *a,
                               const gguf_checkpoint *b) {
    bool found = !c->o->filter && !c->o->tensor;
    for (size_t i = 0; !found && i < gguf_checkpoint_n_tensors(a); i++)
        found = inspect_takes_tensor(c->o, gguf_checkpoint_tensor_at(a, i)->name);
    for (size_t i = 0; !found && b && i < gguf_checkpoint_n_tensors(b); i++)
        found = inspect_takes_tensor(c->o, gguf_checkpoint_tensor_at(b, i)->name);
    return found ? GGUF_OK : inspect_fail_filter(c, "tensor");
}

static uint64_t n_elems_of(const tensor *t) {
    uint64_t n = 1;
    for (uint32_t d = 0; d < t->n_dims; d++) n *= t->dims[d];
    return n;
}

static inspect_form form_of(const tensor *t) {
    return t ? (inspect_form){t->dtype->name, t->n_dims, t->dims} : (inspect_form){0};
}

/* ---- summary ----------------------------------------------------------------------------- */

typedef struct facts {
    struct {
        const gguf_dtype *dtype;
        size_t n_tensors;
        uint64_t n_elems, n_bytes;
    } types[32];
    size_t n_types;
    uint64_t n_elems, n_bytes;
} facts;

static facts facts_of(const gguf_checkpoint *ckpt) {
    facts f = {0};
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(ckpt); i++) {
        const tensor *t = gguf_checkpoint_tensor_at(ckpt, i);
        size_t k = 0;
        while (k < f.n_types && f.types[k].dtype != t->dtype) k++;
        if (k == sizeof f.types / sizeof *f.types) continue;
        if (k == f.n_types) f.types[f.n_types++].dtype = t->dtype;
        f.types[k].n_tensors++;
        f.types[k].n_elems += n_elems_of(t);
        f.types[k].n_bytes += t->n_bytes;
        f.n_elems += n_elems_of(t);
        f.n_bytes += t->n_bytes;
    }
    return f;
}

static const char *format_of(const gguf_checkpoint *ckpt) {
    bool has = gguf_checkpoint_n_files(ckpt) > 0;
    return has && gguf_text_ends(gguf_checkpoint_file_path(ckpt, 0), ".safetensors") ? "safetensors"
                                                                                     : "PyTorch";
}

static void print_summary(const inspect_call *c, const gguf_checkpoint *ckpt) {
    facts f = facts_of(ckpt);
    size_t n_files = gguf_checkpoint_n_files(ckpt);
    char size[32];
    printf("%-16s %s\n", "file", c->files[0]);
    printf("%-16s %s, %zu file%s\n", "format", format_of(ckpt), n_files, tool_s(n_files));
    printf("%-16s %" PRIu64 " in %zu tensors, %s\n", "parameters", f.n_elems,
           gguf_checkpoint_n_tensors(ckpt), tool_size_text(f.n_bytes, size, sizeof size));
    for (size_t i = 0; i < f.n_types; i++)
        printf("%-16s %zu tensor%s, %" PRIu64 " numbers, %s\n", f.types[i].dtype->name,
               f.types[i].n_tensors, tool_s(f.types[i].n_tensors), f.types[i].n_elems,
               tool_size_text(f.types[i].n_bytes, size, sizeof size));
    printf("%-16s gguf-convert %s -o model.gguf makes a GGUF file\n", "next", c->files[0]);
}

static void json_summary(const inspect_call *c, const gguf_checkpoint *ckpt) {
    facts f = facts_of(ckpt);
    json_out j = {.file = stdout};
    json_out_object(&j, NULL, false);
    json_out_bytes(&j, "file", c->files[0], strlen(c->files[0]));
    json_out_text(&j, "format", format_of(ckpt));
    json_out_u64(&j, "n_files", gguf_checkpoint_n_files(ckpt));
    json_out_u64(&j, "n_tensors", gguf_checkpoint_n_tensors(ckpt));
    json_out_u64(&j, "n_params", f.n_elems);
    json_out_u64(&j, "tensor_bytes", f.n_bytes);
    json_out_array(&j, "by_type", false);
    for (size_t i = 0; i < f.n_types; i++) {
        json_out_object(&j, NULL, true);
        json_out_text(&j, "type", f.types[i].dtype->name);
        json_out_u64(&j, "n_tensors", f.types[i].n_tensors);
        json_out_u64(&j, "n_params", f.types[i].n_elems);
        json_out_u64(&j, "size_bytes", f.types[i].n_bytes);
        json_out_end_object(&j);
    }
    json_out_end_array(&j);
    json_out_end_object(&j);
    json_out_document_end(&j);
}

static gguf_code summary(const inspect_call *c) {
    gguf_checkpoint *ckpt = NULL;
    gguf_code code = open_checkpoint(c, 0, &ckpt);
    if (!code) c->t->json ? json_summary(c, ckpt) : print_summary(c, ckpt);
    gguf_checkpoint_close(ckpt);
    return code;
}

/* ---- tensors ----------------------------------------------------------------------------- */

static void print_tensor(const tensor *t) {
    char name[300], shape[160], size[32];
    printf("%s%-48s%s %-8s %-24s %12" PRIu64 "  %s\n", tool_style_text(TOOL_CYAN),
           tool_escape(t->name.ptr, t->name.len, name, sizeof name), tool_style_text(TOOL_PLAIN),
           t->dtype->name,
           t->n_dims ? inspect_dims(t->dims, t->n_dims, shape, sizeof shape) : "scalar", t->off,
           tool_size_text(t->n_bytes, size, sizeof size));
}

static void json_tensor(json_out *j, const tensor *t) {
    const inspect_form form = form_of(t);
    json_out_object(j, NULL, true);
    json_out_bytes(j, "name", t->name.ptr, t->name.len);
    inspect_json_form(j, &form);
    json_out_u64(j, "offset", t->off);
    json_out_u64(j, "size_bytes", t->n_bytes);
    json_out_end_object(j);
}

static void list_tensors(const inspect_call *c, const gguf_checkpoint *ckpt) {
    json_out j = {.file = stdout};
    if (c->t->json) {
        json_out_object(&j, NULL, false);
        json_out_bytes(&j, "file", c->files[0], strlen(c->files[0]));
        json_out_array(&j, "tensors", false);
    }
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(ckpt); i++) {
        const tensor *t = gguf_checkpoint_tensor_at(ckpt, i);
        if (inspect_takes_tensor(c->o, t->name)) c->t->json ? json_tensor(&j, t) : print_tensor(t);
    }
    if (!c->t->json) return;
    json_out_end_array(&j);
    json_out_end_object(&j);
    json_out_document_end(&j);
}

static gguf_code tensors(const inspect_call *c) {
    gguf_checkpoint *ckpt = NULL;
    gguf_code code = open_checkpoint(c, 0, &ckpt);
    if (!code) code = check_filters(c, ckpt, NULL);
    if (!code) list_tensors(c, ckpt);
    gguf_checkpoint_close(ckpt);
    return code;
}

/* ---- diff -------------------------------------------------------------------------------- */

typedef struct diff_job {
    const inspect_call *c;
    const gguf_checkpoint *a, *b;
    gguf_pool *pool;
    json_out j;
    size_t n_differences;
} diff_job;

static gguf_code read_bytes(const gguf_checkpoint *ckpt, const tensor *t, uint8_t *out,
                            gguf_error *err) {
    const char *path = gguf_checkpoint_file_path(ckpt, t->file);
    int own = gguf_checkpoint_file_fd(ckpt, t->file), fd = own;
    gguf_code code = GGUF_OK;
    if (fd < 0) fd = open(path, O_RDONLY | O_CLOEXEC);
    for (uint64_t done = 0; !code && done < t->n_bytes;) {
        ssize_t n = fd < 0 ? -1 : pread(fd, out + done, t->n_bytes - done, (off_t)(t->off + done));
        if (n < 0)
            code =
                gguf_fail(err, GGUF_E_IO, path, t->off + done, "cannot read: %s", strerror(errno));
        else if (n == 0)
            code = gguf_fail(err, GGUF_E_TRUNCATED, path, t->off + done, "the file ends here");
        else
            done += (uint64_t)n;
    }
    if (fd >= 0 && own < 0) close(fd);
    return code;
}

/* Both as numbers of a GGUF type; other types are compared byte by byte only. */
static void compare_values(const diff_job *d, const tensor *t, const tensor *other,
                           const uint8_t *a, const uint8_t *b, inspect_change *x) {
    int32_t type_a = t->dtype->gguf_type, type_b = other->dtype->gguf_type;
    gguf_error why = {0};
    if (type_a < 0 || type_b < 0 || !quant_can_decode((uint32_t)type_a) ||
        !quant_can_decode((uint32_t)type_b))
        return;
    x->has_values =
        quant_compare((uint32_t)type_a, a, (uint32_t)type_b, b, n_elems_of(t), n_elems_of(t),
                      d->pool, &tool_cancelled, &x->values, &why) == GGUF_OK;
}

static gguf_code compare_data(const diff_job *d, const tensor *t, const tensor *other,
                              inspect_change *x) {
    uint8_t *a = malloc(t->n_bytes + 1), *b = malloc(other->n_bytes + 1);
    gguf_code code = a && b ? GGUF_OK : gguf_fail_memory(d->c->err);
    if (!code) code = read_bytes(d->a, t, a, d->c->err);
    if (!code) code = read_bytes(d->b, other, b, d->c->err);
    if (!code) x->data = !x->type && memcmp(a, b, t->n_bytes) != 0;
    if (!code && d->c->o->values && (x->type || x->data)) compare_values(d, t, other, a, b, x);
    free(a);
    free(b);
    return code;
}

static const tensor *find(const gguf_checkpoint *ckpt, gguf_str name) {
    char text[4096];
    if (name.len >= sizeof text) return NULL;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return gguf_checkpoint_find(ckpt, text);
}

static gguf_code report(diff_job *d, const inspect_change *x) {
    d->n_differences++;
    return inspect_write_change(d->c, &d->j, x);
}

static gguf_code diff_tensor(diff_job *d, const tensor *t) {
    const tensor *other = find(d->b, t->name);
    inspect_change x = {.name = t->name, .a = form_of(t), .b = form_of(other)};
    gguf_code code = GGUF_OK;
    if (other) {
        x.type = t->dtype != other->dtype;
        x.shape = t->n_dims != other->n_dims ||
                  memcmp(t->dims, other->dims, t->n_dims * sizeof *t->dims) != 0;
        if (!x.shape) code = compare_data(d, t, other, &x);
        if (code || (!x.type && !x.shape && !x.data)) return code;
    }
    return report(d, &x);
}

static gguf_code diff_tensors(diff_job *d) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; !code && i < gguf_checkpoint_n_tensors(d->a); i++) {
        const tensor *t = gguf_checkpoint_tensor_at(d->a, i);
        if (atomic_load(&tool_cancelled))
            code = gguf_fail(d->c->err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        else if (inspect_takes_tensor(d->c->o, t->name))
            code = diff_tensor(d, t);
    }
    for (size_t i = 0; !code && i < gguf_checkpoint_n_tensors(d->b); i++) {
        const tensor *t = gguf_checkpoint_tensor_at(d->b, i);
        if (inspect_takes_tensor(d->c->o, t->name) && !find(d->a, t->name))
            code = report(d, &(inspect_change){.name = t->name, .b = form_of(t)});
    }
    return code;
}

static gguf_code write_diff(diff_job *d) {
    char **files = d->c->files;
    if (!d->c->t->json) {
        gguf_code code = diff_tensors(d);
        if (!code && !d->n_differences) printf("no differences\n");
        return code;
    }
    json_out_object(&d->j, NULL, false);
    json_out_bytes(&d->j, "a", files[0], strlen(files[0]));
    json_out_bytes(&d->j, "b", files[1], strlen(files[1]));
    json_out_array(&d->j, "metadata", false);
    json_out_end_array(&d->j);
    json_out_array(&d->j, "tensors", false);
    gguf_code code = diff_tensors(d);
    json_out_end_array(&d->j);
    json_out_bool(&d->j, "equal", d->n_differences == 0);
    json_out_end_object(&d->j);
    json_out_document_end(&d->j);
    return code;
}

static gguf_code diff(const inspect_call *c) {
    gguf_checkpoint *a = NULL, *b = NULL;
    gguf_pool *pool = NULL;
    if (!inspect_is_checkpoint(c->files[0]) || !inspect_is_checkpoint(c->files[1]))
        return gguf_fail(c->err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "a checkpoint and a GGUF file name their tensors differently: convert the "
                         "checkpoint first (gguf-convert)");
    gguf_code code = open_checkpoint(c, 0, &a);
    if (!code) code = open_checkpoint(c, 1, &b);
    if (!code) code = check_filters(c, a, b);
    if (!code) code = gguf_pool_new(c->t->n_threads, &pool, c->err);
    diff_job d = {.c = c, .a = a, .b = b, .pool = pool, .j = {.file = stdout}};
    if (!code) code = write_diff(&d);
    gguf_pool_free(pool);
    gguf_checkpoint_close(a);
    gguf_checkpoint_close(b);
    return code ? code : d.n_differences ? GGUF_E_CHECK : GGUF_OK;
}

gguf_code inspect_checkpoint(const inspect_call *c, const char *verb) {
    if (!verb || strcmp(verb, "summary") == 0) return summary(c);
    if (strcmp(verb, "tensors") == 0) return tensors(c);
    if (strcmp(verb, "diff") == 0) return diff(c);
    return gguf_fail(c->err, GGUF_E_USAGE, c->files[0], GGUF_NO_OFFSET,
                     "of a checkpoint there are summary, tensors and diff; gguf-convert makes a "
                     "GGUF file, of which there is '%s'",
                     verb);
}
