/* diff: two files, key by key and tensor by tensor. */
#include "tools/common/columns.h"
#include "tools/common/pager.h"
#include "tools/inspect/inspect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct diff_job {
    const inspect_call *c;
    const gguf_file *a, *b;
    gguf_pool *pool;
    json_out j;
    size_t n_differences;
    gguf_code code;
} diff_job;

/* ---- metadata ---------------------------------------------------------------------------- */

static void fail_memory(diff_job *d) {
    d->code = gguf_fail_memory(d->c->err);
}

/* One line: a mark and a name, then what follows; a narrow terminal breaks it between words. */
static void print_line(const char *mark, tool_style style, gguf_str name, const char *text) {
    enum { WIDTH = 44, INDENT = 4 };
    char safe[512];
    size_t columns = tool_columns();
    tool_escape(name.ptr, name.len, safe, sizeof safe);
    bool narrow = columns && 3 + WIDTH + tool_width(text) > columns;
    int width = narrow ? 0 : WIDTH;
    printf("%s%s %-*s%s ", tool_style_text(style), mark, width, safe, tool_style_text(TOOL_PLAIN));
    size_t at = tool_width(safe) + 3;
    tool_print_words(stdout, text, narrow ? at : 0, INDENT, columns);
    printf("\n");
}

/* The values are of no great length: inspect_print_kv_value cuts them. */
static void print_side(diff_job *d, const char *mark, tool_style style, gguf_str name,
                       const gguf_kv *kv) {
    char *text = NULL;
    size_t n_text;
    FILE *f = open_memstream(&text, &n_text);
    if (f) inspect_print_kv_value(f, kv, d->c->o->max_array);
    if (f && fclose(f) == 0)
        print_line(mark, style, name, text);
    else
        fail_memory(d);
    free(text);
}

static void json_side(json_out *j, const char *name, const gguf_kv *kv, uint32_t max_array) {
    if (!kv) {
        json_out_null(j, name);
        return;
    }
    json_out_object(j, name, true);
    inspect_json_kv(j, kv, max_array);
    json_out_end_object(j);
}

static void report_key(diff_job *d, gguf_str key, const gguf_kv *a, const gguf_kv *b) {
    uint32_t max_array = d->c->o->max_array;
    d->n_differences++;
    if (!d->c->t->json) {
        if (a) print_side(d, "-", TOOL_RED, key, a);
        if (b) print_side(d, "+", TOOL_GREEN, key, b);
        return;
    }
    json_out_object(&d->j, NULL, true);
    json_out_bytes(&d->j, "key", key.ptr, key.len);
    json_out_text(&d->j, "difference", !a ? "added" : !b ? "removed" : "changed");
    json_side(&d->j, "a", a, max_array);
    json_side(&d->j, "b", b, max_array);
    json_out_end_object(&d->j);
}

static const gguf_kv *find_kv(const gguf_meta *meta, gguf_str key) {
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        if (kv->key.len == key.len && memcmp(kv->key.ptr, key.ptr, key.len) == 0) return kv;
    }
    return NULL;
}

static bool same_value(const gguf_kv *a, const gguf_kv *b) {
    return a->type == b->type && a->elem_type == b->elem_type && a->count == b->count &&
           a->n_bytes == b->n_bytes && memcmp(a->data, b->data, a->n_bytes) == 0;
}

static void diff_metadata(diff_job *d) {
    const gguf_meta *a = gguf_file_meta(d->a), *b = gguf_file_meta(d->b);
    for (size_t i = 0; i < gguf_meta_count(a); i++) {
        const gguf_kv *kv = gguf_meta_at(a, i), *other = find_kv(b, kv->key);
        if (!inspect_takes(d->c->o, kv->key) || (other && same_value(kv, other))) continue;
        report_key(d, kv->key, kv, other);
    }
    for (size_t i = 0; i < gguf_meta_count(b); i++) {
        const gguf_kv *kv = gguf_meta_at(b, i);
        if (inspect_takes(d->c->o, kv->key) && !find_kv(a, kv->key))
            report_key(d, kv->key, NULL, kv);
    }
}

/* ---- tensors ----------------------------------------------------------------------------- */

static void print_form(FILE *f, const inspect_form *form) {
    char shape[160];
    fprintf(f, "%s %s", form->type, inspect_dims(form->dims, form->n_dims, shape, sizeof shape));
}

static void print_values(FILE *f, const quant_difference *v) {
    if (v->n_incomparable)
        fprintf(f,
                ", %" PRIu64
                " value%s NaN or infinite in one file alone, largest difference of the "
                "others %.4g",
                v->n_incomparable, v->n_incomparable == 1 ? " is" : "s are", v->max_abs);
    else
        fprintf(f, ", relative error %.4g, SNR %.2f dB, largest %.4g", quant_difference_relative(v),
                quant_difference_snr_db(v), v->max_abs);
    fprintf(f, ", %" PRIu64 " of %" PRIu64 " values differ", v->n_unequal, v->n);
}

static void print_details(FILE *f, const inspect_change *x) {
    print_form(f, x->a.type ? &x->a : &x->b);
    if (x->a.type && x->b.type && (x->type || x->shape)) {
        fprintf(f, " -> ");
        print_form(f, &x->b);
    }
    if (x->data) fprintf(f, ", data differ");
    if (x->has_values) print_values(f, &x->values);
}

static gguf_code print_change(const inspect_change *x, gguf_error *err) {
    char *text = NULL;
    size_t n_text;
    const char *mark = !x->a.type ? "+" : !x->b.type ? "-" : "~";
    tool_style style = !x->a.type ? TOOL_GREEN : !x->b.type ? TOOL_RED : TOOL_CYAN;
    FILE *f = open_memstream(&text, &n_text);
    if (f) print_details(f, x);
    bool written = f && fclose(f) == 0;
    if (written) print_line(mark, style, x->name, text);
    free(text);
    return written ? GGUF_OK : gguf_fail_memory(err);
}

static void json_form(json_out *j, const char *key, const inspect_form *form) {
    if (!form->type) {
        json_out_null(j, key);
        return;
    }
    json_out_object(j, key, true);
    inspect_json_form(j, form);
    json_out_end_object(j);
}

static void json_values(json_out *j, const quant_difference *v) {
    json_out_u64(j, "n_values", v->n);
    json_out_u64(j, "n_unequal", v->n_unequal);
    json_out_u64(j, "n_incomparable", v->n_incomparable);
    json_out_real(j, "relative_error", quant_difference_relative(v));
    json_out_real(j, "snr_db", quant_difference_snr_db(v));
    json_out_real(j, "max_abs_error", v->max_abs);
}

static void json_change(json_out *j, const inspect_change *x) {
    json_out_object(j, NULL, true);
    json_out_bytes(j, "name", x->name.ptr, x->name.len);
    json_out_text(j, "difference", !x->a.type ? "added" : !x->b.type ? "removed" : "changed");
    json_form(j, "a", &x->a);
    json_form(j, "b", &x->b);
    if (x->a.type && x->b.type) {
        json_out_bool(j, "type_differs", x->type);
        json_out_bool(j, "shape_differs", x->shape);
        json_out_bool(j, "data_differ", x->data);
    }
    if (x->has_values) json_values(j, &x->values);
    json_out_end_object(j);
}

gguf_code inspect_write_change(const inspect_call *c, json_out *j, const inspect_change *x) {
    if (!c->t->json) return print_change(x, c->err);
    json_change(j, x);
    return GGUF_OK;
}

static void report_tensor(diff_job *d, const inspect_change *x) {
    gguf_code code = inspect_write_change(d->c, &d->j, x);
    d->n_differences++;
    if (code) d->code = code;
}

static void compare_values(diff_job *d, const gguf_tensor *a, const gguf_tensor *b,
                           inspect_change *x) {
    gguf_error why = {0};
    if (!quant_can_decode(a->type) || !quant_can_decode(b->type)) return;
    gguf_code code = quant_compare(a->type, gguf_file_data(d->a, a), b->type,
                                   gguf_file_data(d->b, b), gguf_tensor_n_elems(a), a->dims[0],
                                   d->pool, &tool_cancelled, &x->values, &why);
    x->has_values = code == GGUF_OK;
    if (code == GGUF_E_NOMEM || code == GGUF_E_CANCELLED)
        d->code = gguf_fail(d->c->err, code, NULL, GGUF_NO_OFFSET, "%s", why.message);
}

static const gguf_tensor *find_tensor(const gguf_file *file, gguf_str name) {
    char text[GGUF_MAX_TENSOR_NAME + 1];
    if (name.len > GGUF_MAX_TENSOR_NAME) return NULL;
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    return gguf_file_find_tensor(file, text);
}

static void diff_tensor(diff_job *d, const gguf_tensor *t) {
    const gguf_tensor *other = find_tensor(d->b, t->name);
    inspect_change x = {.name = t->name, .a = inspect_form_of(t), .b = inspect_form_of(other)};
    if (other) {
        x.type = t->type != other->type;
        x.shape = memcmp(t->dims, other->dims, sizeof t->dims) != 0;
        x.data = !x.type && !x.shape &&
                 memcmp(gguf_file_data(d->a, t), gguf_file_data(d->b, other), t->n_bytes) != 0;
        if (d->c->o->values && !x.shape && (x.type || x.data)) compare_values(d, t, other, &x);
        gguf_file_release(d->a, t, 0, t->n_bytes);
        gguf_file_release(d->b, other, 0, other->n_bytes);
        if (!x.type && !x.shape && !x.data) return;
    }
    report_tensor(d, &x);
}

static void diff_tensors(diff_job *d) {
    const gguf_tensor **of_a = NULL, **of_b = NULL;
    d->code = d->code ? d->code : inspect_order_tensors(d->a, &of_a, d->c->err);
    if (!d->code) d->code = inspect_order_tensors(d->b, &of_b, d->c->err);
    for (size_t i = 0; !d->code && i < gguf_file_n_tensors(d->a); i++) {
        const gguf_tensor *t = of_a[i];
        if (atomic_load(&tool_cancelled))
            d->code = gguf_fail(d->c->err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        else if (inspect_takes_tensor(d->c->o, t->name))
            diff_tensor(d, t);
    }
    for (size_t i = 0; !d->code && i < gguf_file_n_tensors(d->b); i++)
        if (inspect_takes_tensor(d->c->o, of_b[i]->name) && !find_tensor(d->a, of_b[i]->name))
            report_tensor(d,
                          &(inspect_change){.name = of_b[i]->name, .b = inspect_form_of(of_b[i])});
    free(of_a);
    free(of_b);
}

/* ---- the whole --------------------------------------------------------------------------- */

static void diff_json(diff_job *d) {
    const char *a = gguf_file_path(d->a), *b = gguf_file_path(d->b);
    json_out_object(&d->j, NULL, false);
    json_out_bytes(&d->j, "a", a, strlen(a));
    json_out_bytes(&d->j, "b", b, strlen(b));
    json_out_array(&d->j, "metadata", false);
    diff_metadata(d);
    json_out_end_array(&d->j);
    json_out_array(&d->j, "tensors", false);
    diff_tensors(d);
    json_out_end_array(&d->j);
    json_out_bool(&d->j, "equal", d->n_differences == 0);
    json_out_end_object(&d->j);
    json_out_document_end(&d->j);
}

static void diff_text(diff_job *d) {
    diff_metadata(d);
    diff_tensors(d);
    if (!d->n_differences && !d->code) printf("no differences\n");
}

static gguf_code diff_files(const inspect_call *c, const gguf_file *a, const gguf_file *b) {
    diff_job d = {.c = c, .a = a, .b = b, .j = {.file = stdout}};
    gguf_code code = inspect_check_filters(c, a, b, true, true);
    if (!code) code = gguf_pool_new(c->t->n_threads, &d.pool, c->err);
    if (code) return code;
    c->t->json ? diff_json(&d) : diff_text(&d);
    gguf_pool_free(d.pool);
    return d.code ? d.code : d.n_differences ? GGUF_E_CHECK : GGUF_OK;
}

gguf_code inspect_diff(const inspect_call *c) {
    gguf_file *a = NULL, *b = NULL;
    gguf_code code = inspect_open_values(c, 0, &a);
    if (!code) code = inspect_open_values(c, 1, &b);
    if (!code) code = diff_files(c, a, b);
    gguf_file_close(a);
    gguf_file_close(b);
    return code;
}
