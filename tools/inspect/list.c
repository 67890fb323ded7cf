/* meta, tensors, tokens, and the document that holds metadata and tensors. */
#include "tools/common/columns.h"
#include "tools/common/pager.h"
#include "tools/inspect/inspect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON -------------------------------------------------------------------------------- */

static void json_file(json_out *j, const gguf_file *file) {
    json_out_object(j, NULL, false);
    json_out_bytes(j, "file", gguf_file_path(file), strlen(gguf_file_path(file)));
}

static void json_meta(json_out *j, const gguf_file *file, const inspect_opts *o) {
    const gguf_meta *meta = gguf_file_meta(file);
    json_out_object(j, "metadata", false);
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        if (!inspect_takes(o, kv->key)) continue;
        json_out_object_named(j, kv->key.ptr, kv->key.len, true);
        inspect_json_kv(j, kv, o->max_array);
        json_out_end_object(j);
    }
    json_out_end_object(j);
}

static void json_tensor(json_out *j, const gguf_tensor *t) {
    const inspect_form form = inspect_form_of(t);
    json_out_object(j, NULL, true);
    json_out_bytes(j, "name", t->name.ptr, t->name.len);
    inspect_json_form(j, &form);
    json_out_u64(j, "offset", t->data_off);
    json_out_u64(j, "size_bytes", t->n_bytes);
    json_out_end_object(j);
}

static void json_tensors(json_out *j, const gguf_file *file, const inspect_opts *o) {
    json_out_array(j, "tensors", false);
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        if (inspect_takes_tensor(o, t->name)) json_tensor(j, t);
    }
    json_out_end_array(j);
}

static void json_end(json_out *j) {
    json_out_end_object(j);
    json_out_document_end(j);
}

static void json_all(const gguf_file *file, const inspect_opts *o) {
    json_out j = {.file = stdout};
    json_file(&j, file);
    json_out_u64(&j, "version", gguf_file_version(file));
    json_out_u64(&j, "alignment", gguf_file_alignment(file));
    json_out_u64(&j, "size_bytes", gguf_file_bytes(file));
    json_meta(&j, file, o);
    json_tensors(&j, file, o);
    json_end(&j);
}

gguf_code inspect_all(const inspect_call *c) {
    gguf_file *file;
    if (!c->t->json) return inspect_summary(c);
    gguf_code code = inspect_open(c, 0, &file);
    if (code) return code;
    code = inspect_check_filters(c, file, NULL, true, true);
    if (!code) json_all(file, c->o);
    gguf_file_close(file);
    return code;
}

/* ---- metadata ---------------------------------------------------------------------------- */

static void print_meta(const gguf_file *file, const inspect_opts *o) {
    const gguf_meta *meta = gguf_file_meta(file);
    char key[512];
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        if (!inspect_takes(o, kv->key)) continue;
        printf("%s%-44s%s ", tool_style_text(TOOL_CYAN),
               tool_escape(kv->key.ptr, kv->key.len, key, sizeof key), tool_style_text(TOOL_PLAIN));
        inspect_print_kv_value(stdout, kv, o->max_array);
        printf("\n");
    }
}

gguf_code inspect_meta(const inspect_call *c) {
    gguf_file *file;
    gguf_code code = inspect_open(c, 0, &file);
    if (code) return code;
    code = inspect_check_filters(c, file, NULL, true, false);
    if (!code && c->t->json) {
        json_out j = {.file = stdout};
        json_file(&j, file);
        json_meta(&j, file, c->o);
        json_end(&j);
    } else if (!code) {
        print_meta(file, c->o);
    }
    gguf_file_close(file);
    return code;
}

/* ---- tensors ----------------------------------------------------------------------------- */

#define WIDE_LIST 102

static void print_tensors(const gguf_file *file, const gguf_tensor *const *sorted,
                          const inspect_opts *o) {
    char name[300], shape[96], size[32];
    size_t columns = tool_columns();
    bool narrow = columns && columns < WIDE_LIST;
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = sorted[i];
        if (!inspect_takes_tensor(o, t->name)) continue;
        printf("%s%-*s%s %-*s %-*s %12" PRIu64 "  %s\n", tool_style_text(TOOL_CYAN),
               narrow ? 27 : 40, tool_escape(t->name.ptr, t->name.len, name, sizeof name),
               tool_style_text(TOOL_PLAIN), narrow ? 7 : 8, gguf_type_name(t->type),
               narrow ? 17 : 24, inspect_shape(t, shape, sizeof shape), t->file_off,
               tool_size_text(t->n_bytes, size, sizeof size));
    }
}

gguf_code inspect_tensors(const inspect_call *c) {
    gguf_file *file;
    const gguf_tensor **sorted = NULL;
    gguf_code code = inspect_open(c, 0, &file);
    if (code) return code;
    code = inspect_check_filters(c, file, NULL, false, true);
    if (!code) code = inspect_order_tensors(file, &sorted, c->err);
    if (!code && c->t->json) {
        json_out j = {.file = stdout};
        json_file(&j, file);
        json_tensors(&j, file, c->o);
        json_end(&j);
    } else if (!code) {
        print_tensors(file, sorted, c->o);
    }
    free(sorted);
    gguf_file_close(file);
    return code;
}

/* ---- tokens ------------------------------------------------------------------------------ */

/* A walk over the three arrays; type and score stay at their defaults where an array is missing. */
typedef struct token_walk {
    gguf_kv_iter texts, types, scores;
    gguf_str text;
    int64_t type;
    double score;
} token_walk;

static bool next_token(token_walk *w) {
    w->type = 1;
    w->score = 0;
    if (w->types.kv) gguf_kv_next_i64(&w->types, &w->type);
    if (w->scores.kv) gguf_kv_next_f64(&w->scores, &w->score);
    return gguf_kv_next_str(&w->texts, &w->text);
}

static const char *token_type_name(int64_t type) {
    static const char *const names[] = {"undefined",    "normal", "unknown", "control",
                                        "user_defined", "unused", "byte"};
    return type >= 0 && type < 7 ? names[type] : "invalid";
}

static void print_token(const token_walk *w, uint64_t id) {
    char text[1024];
    size_t n = w->text.len < 240 ? w->text.len : 240;
    printf("%8" PRIu64 "  %-12s  %12.6g  \"%s\"%s\n", id, token_type_name(w->type), w->score,
           tool_escape(w->text.ptr, n, text, sizeof text), n < w->text.len ? "..." : "");
}

static void json_token(json_out *j, const token_walk *w, uint64_t id) {
    json_out_object(j, NULL, true);
    json_out_u64(j, "id", id);
    json_out_text(j, "type", token_type_name(w->type));
    json_out_real(j, "score", w->score);
    if (json_out_bytes(j, "text", w->text.ptr, w->text.len)) json_out_bool(j, "invalid_utf8", true);
    json_out_end_object(j);
}

static gguf_code open_walk(const gguf_file *file, token_walk *w, gguf_error *err) {
    const gguf_meta *meta = gguf_file_meta(file);
    *w = (token_walk){.texts.kv = gguf_meta_find(meta, "tokenizer.ggml.tokens"),
                      .types.kv = gguf_meta_find(meta, "tokenizer.ggml.token_type"),
                      .scores.kv = gguf_meta_find(meta, "tokenizer.ggml.scores")};
    if (!w->texts.kv)
        return gguf_fail(err, GGUF_E_MISSING, gguf_file_path(file), GGUF_NO_OFFSET,
                         "no tokenizer.ggml.tokens: the file has no vocabulary");
    if (w->texts.kv->elem_type == GGUF_VALUE_STRING && w->texts.kv->type == GGUF_VALUE_ARRAY)
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_TYPE, gguf_file_path(file), w->texts.kv->off,
                     "tokenizer.ggml.tokens is not an array of strings");
}

static bool takes_a_token(const inspect_opts *o, token_walk w) {
    while (next_token(&w))
        if (inspect_takes(o, w.text)) return true;
    return !o->filter;
}

static void list_tokens(const inspect_call *c, const gguf_file *file, token_walk *w) {
    json_out j = {.file = stdout};
    if (c->t->json) {
        json_file(&j, file);
        json_out_array(&j, "tokens", false);
    }
    for (uint64_t id = 0; next_token(w); id++) {
        if (!inspect_takes(c->o, w->text)) continue;
        c->t->json ? json_token(&j, w, id) : print_token(w, id);
    }
    if (!c->t->json) return;
    json_out_end_array(&j);
    json_end(&j);
}

gguf_code inspect_tokens(const inspect_call *c) {
    gguf_file *file;
    token_walk w;
    gguf_code code = inspect_open(c, 0, &file);
    if (code) return code;
    code = open_walk(file, &w, c->err);
    if (!code && !takes_a_token(c->o, w)) code = inspect_fail_filter(c, "token");
    if (!code) list_tokens(c, file, &w);
    gguf_file_close(file);
    return code;
}
