/* The summary: what kind of model this is, and where its bytes are. */
#include "quant/recipe.h"
#include "tools/common/pager.h"
#include "tools/inspect/inspect.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- facts ------------------------------------------------------------------------------- */

static void add_share(inspect_share *share, const gguf_tensor *t) {
    share->n_tensors++;
    share->n_bytes += t->n_bytes;
    share->n_elems += gguf_tensor_n_elems(t);
}

static inspect_share *type_share(inspect_facts *f, uint32_t type) {
    size_t k = 0;
    while (k < f->n_types && f->types[k].type != type) k++;
    if (k == INSPECT_MAX_TYPES) return &f->types[k - 1];
    if (k == f->n_types) {
        f->types[k].type = type;
        f->types[k].name = gguf_type_name(type);
        f->n_types++;
    }
    return &f->types[k];
}

/* Numbers in names as people count them. */
static int compare_names(const void *a, const void *b) {
    const inspect_share *x = a, *y = b;
    return strverscmp(x->name, y->name);
}

inspect_facts inspect_facts_of(const gguf_file *file) {
    inspect_facts f = {.file = file};
    for (size_t p = 0; p < N_PARTS; p++) f.parts[p].name = inspect_part_names[p];
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        f.n_elems += gguf_tensor_n_elems(t);
        f.n_bytes += t->n_bytes;
        add_share(type_share(&f, t->type), t);
        add_share(&f.parts[inspect_part_of(t->name)], t);
    }
    qsort(f.types, f.n_types, sizeof *f.types, compare_names);
    if (f.n_elems) f.bpw = 8 * (double)f.n_bytes / (double)f.n_elems;
    return f;
}

const gguf_kv *inspect_arch_key(const gguf_file *file, const char *name) {
    const gguf_meta *meta = gguf_file_meta(file);
    gguf_str arch;
    char full[256];
    if (!gguf_kv_str(gguf_meta_find(meta, "general.architecture"), &arch)) return NULL;
    snprintf(full, sizeof full, "%.*s.%s", (int)(arch.len < 64 ? arch.len : 64), arch.ptr, name);
    return gguf_meta_find(meta, full);
}

/* ---- lines ------------------------------------------------------------------------------- */

typedef struct sink {
    const gguf_file *file;
    inspect_line_fn fn;
    void *ctx;
} sink;

static void emit(const sink *s, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void emit(const sink *s, const char *label, const char *format, ...) {
    char text[1400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    s->fn(s->ctx, label, text);
}

static void emit_str(const sink *s, const char *label, gguf_str value) {
    char text[400];
    size_t n = value.len < 72 ? value.len : 72;
    emit(s, label, "\"%s\"%s", tool_escape(value.ptr, n, text, sizeof text),
         value.len > n ? "..." : "");
}

static void emit_key(const sink *s, const char *label, const char *key) {
    gguf_str value;
    if (gguf_kv_str(gguf_meta_find(gguf_file_meta(s->file), key), &value))
        emit_str(s, label, value);
}

static void emit_number(const sink *s, const char *label, const char *key) {
    uint64_t value;
    if (gguf_kv_u64(inspect_arch_key(s->file, key), &value)) emit(s, label, "%" PRIu64, value);
}

static void emit_template(const sink *s) {
    gguf_str value;
    if (!gguf_kv_str(gguf_meta_find(gguf_file_meta(s->file), "tokenizer.chat_template"), &value))
        return;
    const char *end = value.len ? memchr(value.ptr, '\n', value.len) : NULL;
    char text[400];
    size_t n = end ? (size_t)(end - value.ptr) : value.len;
    if (n > 72) n = 72;
    emit(s, "chat template", "%zu bytes: \"%s\"%s", value.len,
         tool_escape(value.ptr, n, text, sizeof text), n < value.len ? "..." : "");
}

/* Where the weights come from: every quantize.* key. */
static void emit_provenance(const sink *s) {
    const gguf_meta *meta = gguf_file_meta(s->file);
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        char label[96];
        gguf_str text;
        uint64_t number;
        if (kv->key.len < 9 || memcmp(kv->key.ptr, "quantize.", 9) != 0) continue;
        tool_escape(kv->key.ptr + 9, kv->key.len - 9 < 40 ? kv->key.len - 9 : 40, label,
                    sizeof label);
        if (gguf_kv_str(kv, &text)) emit_str(s, label, text);
        if (gguf_kv_u64(kv, &number)) emit(s, label, "%" PRIu64, number);
    }
}

/* The tensor whose output lost most, see docs/quality.md. */
static void emit_output_error(const sink *s) {
    const gguf_meta *meta = gguf_file_meta(s->file);
    gguf_kv_iter names = {.kv = gguf_meta_find(meta, "ggufkit.calibration.tensors")};
    gguf_kv_iter errors = {.kv = gguf_meta_find(meta, "ggufkit.calibration.error")};
    gguf_str name, worst = {0};
    double error, largest = -1;
    char text[400];
    while (names.kv && errors.kv && gguf_kv_next_str(&names, &name) &&
           gguf_kv_next_f64(&errors, &error))
        if (error > largest) {
            largest = error;
            worst = name;
        }
    if (largest >= 0)
        emit(s, "output error", "at most %.2g, %s", largest,
             tool_escape(worst.ptr, worst.len < 72 ? worst.len : 72, text, sizeof text));
}

static void emit_calibration(const sink *s) {
    const gguf_meta *meta = gguf_file_meta(s->file);
    gguf_str method, dataset;
    uint64_t n_tokens;
    char text[2][400];
    if (!gguf_kv_str(gguf_meta_find(meta, "ggufkit.calibration.method"), &method) ||
        !gguf_kv_str(gguf_meta_find(meta, "ggufkit.calibration.dataset"), &dataset) ||
        !gguf_kv_u64(gguf_meta_find(meta, "ggufkit.calibration.tokens"), &n_tokens))
        return;
    emit(s, "calibration", "%s, \"%s\", %" PRIu64 " tokens",
         tool_escape(method.ptr, method.len < 40 ? method.len : 40, text[0], sizeof text[0]),
         tool_escape(dataset.ptr, dataset.len < 72 ? dataset.len : 72, text[1], sizeof text[1]),
         n_tokens);
    emit_output_error(s);
}

/* The recipe that general.file_type stands for. */
static void emit_file_type(const sink *s) {
    uint64_t number;
    if (!gguf_kv_u64(gguf_meta_find(gguf_file_meta(s->file), "general.file_type"), &number)) return;
    const char *name = quant_recipe_of_file_type(number);
    if (name)
        emit(s, "file type", "%s", name);
    else
        emit(s, "file type", "%" PRIu64 ", which has no name", number);
}

/* " in 3 files", or which of them this is where it was opened alone. Returns out. */
static const char *shards_text(const gguf_file *file, char *out, size_t room) {
    uint64_t no, count;
    const gguf_meta *meta = gguf_file_meta(file);
    *out = 0;
    if (gguf_file_n_shards(file) > 1)
        snprintf(out, room, " in %zu files", gguf_file_n_shards(file));
    else if (gguf_kv_u64(gguf_meta_find(meta, "split.no"), &no) &&
             gguf_kv_u64(gguf_meta_find(meta, "split.count"), &count) && count > 1)
        snprintf(out, room, ", file %" PRIu64 " of %" PRIu64, no + 1, count);
    return out;
}

/* Of queries, and of keys and values where those have fewer; of layers that differ the most. */
static void emit_heads(const sink *s) {
    gguf_kv_iter all = {.kv = inspect_arch_key(s->file, "attention.head_count")};
    gguf_kv_iter shared = {.kv = inspect_arch_key(s->file, "attention.head_count_kv")};
    int64_t number, most = 0, most_shared = 0;
    while (all.kv && gguf_kv_next_i64(&all, &number))
        if (number > most) most = number;
    while (shared.kv && gguf_kv_next_i64(&shared, &number))
        if (number > most_shared) most_shared = number;
    if (most && most_shared && most_shared != most)
        emit(s, "heads", "%" PRId64 ", %" PRId64 " of keys and values", most, most_shared);
    else if (most)
        emit(s, "heads", "%" PRId64, most);
}

static void emit_size(const sink *s, const inspect_facts *f) {
    char size[32], shards[48];
    emit(s, "size", "%s%s, GGUF v%" PRIu32 ", %s-endian, alignment %" PRIu32,
         tool_size_text(gguf_file_bytes(s->file), size, sizeof size),
         shards_text(s->file, shards, sizeof shards), gguf_file_version(s->file),
         gguf_file_big_endian(s->file) ? "big" : "little", gguf_file_alignment(s->file));
    emit_key(s, "type", "general.type");
    emit_file_type(s);
    emit_key(s, "architecture", "general.architecture");
    emit_key(s, "name", "general.name");
    emit_key(s, "licence", "general.license");
    size_t n = gguf_file_n_tensors(s->file);
    if (f->bpw > 0)
        emit(s, "parameters", "%.4g million in %zu tensor%s, %.2f bits per weight",
             (double)f->n_elems / 1e6, n, tool_s(n), f->bpw);
    else
        emit(s, "parameters", "none in %zu tensor%s", n, tool_s(n));
}

void inspect_each_line(const inspect_facts *f, inspect_line_fn fn, void *ctx) {
    const sink s = {f->file, fn, ctx};
    const char *path = gguf_file_path(f->file);
    char text[1200];
    emit(&s, "file", "%s", tool_escape(path, strlen(path), text, sizeof text));
    emit_size(&s, f);
    emit_number(&s, "layers", "block_count");
    uint64_t n_draft = 0;
    if (gguf_kv_u64(inspect_arch_key(f->file, "nextn_predict_layers"), &n_draft) && n_draft)
        emit(&s, "draft layers", "%" PRIu64 ", of those the last", n_draft);
    emit_number(&s, "embedding", "embedding_length");
    emit_heads(&s);
    emit_number(&s, "experts", "expert_count");
    emit_number(&s, "context", "context_length");
    emit_key(&s, "tokenizer", "tokenizer.ggml.model");
    emit_key(&s, "pre-tokenizer", "tokenizer.ggml.pre");
    const gguf_kv *tokens = gguf_meta_find(gguf_file_meta(f->file), "tokenizer.ggml.tokens");
    if (tokens) emit(&s, "vocabulary", "%" PRIu64 " token%s", tokens->count, tool_s(tokens->count));
    emit_template(&s);
    emit_provenance(&s);
    emit_calibration(&s);
}

static void print_line(void *ctx, const char *label, const char *text) {
    (void)ctx;
    printf("%s%-16s%s %s\n", tool_style_text(TOOL_BOLD), label, tool_style_text(TOOL_PLAIN), text);
}

static void print_share(const inspect_share *s, const inspect_facts *f) {
    char size[32];
    printf("  %-10s %5zu tensors  %10s  %5.1f %% of parameters, %5.1f %% of bytes\n", s->name,
           s->n_tensors, tool_size_text(s->n_bytes, size, sizeof size),
           f->n_elems ? 100 * (double)s->n_elems / (double)f->n_elems : 0,
           f->n_bytes ? 100 * (double)s->n_bytes / (double)f->n_bytes : 0);
}

static void print_summary(const gguf_file *file) {
    inspect_facts f = inspect_facts_of(file);
    inspect_each_line(&f, print_line, NULL);
    if (f.n_types) printf("by type\n");
    for (size_t i = 0; i < f.n_types; i++) print_share(&f.types[i], &f);
    if (f.n_types) printf("by part\n");
    for (size_t i = 0; i < N_PARTS; i++)
        if (f.parts[i].n_tensors) print_share(&f.parts[i], &f);
}

/* ---- JSON -------------------------------------------------------------------------------- */

static void json_shares(json_out *j, const char *key, const inspect_share *s, size_t n) {
    json_out_array(j, key, false);
    for (size_t i = 0; i < n; i++) {
        if (!s[i].n_tensors) continue;
        json_out_object(j, NULL, true);
        json_out_text(j, "name", s[i].name);
        json_out_u64(j, "n_tensors", s[i].n_tensors);
        json_out_u64(j, "n_params", s[i].n_elems);
        json_out_u64(j, "size_bytes", s[i].n_bytes);
        json_out_end_object(j);
    }
    json_out_end_array(j);
}

static void json_key(json_out *j, const char *name, const gguf_kv *kv) {
    gguf_str text;
    uint64_t number;
    if (gguf_kv_str(kv, &text))
        json_out_bytes(j, name, text.ptr, text.len);
    else if (gguf_kv_u64(kv, &number))
        json_out_u64(j, name, number);
    else
        json_out_null(j, name);
}

static void json_head(json_out *j, const inspect_facts *f) {
    const gguf_file *file = f->file;
    const gguf_meta *meta = gguf_file_meta(file);
    json_out_bytes(j, "file", gguf_file_path(file), strlen(gguf_file_path(file)));
    json_out_u64(j, "version", gguf_file_version(file));
    json_out_u64(j, "alignment", gguf_file_alignment(file));
    json_out_u64(j, "size_bytes", gguf_file_bytes(file));
    json_key(j, "architecture", gguf_meta_find(meta, "general.architecture"));
    json_key(j, "name", gguf_meta_find(meta, "general.name"));
    json_out_u64(j, "n_tensors", gguf_file_n_tensors(file));
    json_out_u64(j, "n_params", f->n_elems);
    json_out_u64(j, "tensor_bytes", f->n_bytes);
    json_out_real(j, "bpw", f->bpw);
    json_key(j, "n_layers", inspect_arch_key(file, "block_count"));
    json_key(j, "context_length", inspect_arch_key(file, "context_length"));
}

static void json_tokenizer(json_out *j, const gguf_meta *meta) {
    const gguf_kv *tokens = gguf_meta_find(meta, "tokenizer.ggml.tokens");
    json_out_object(j, "tokenizer", true);
    json_key(j, "model", gguf_meta_find(meta, "tokenizer.ggml.model"));
    json_key(j, "pre", gguf_meta_find(meta, "tokenizer.ggml.pre"));
    json_out_u64(j, "n_tokens", tokens ? tokens->count : 0);
    json_out_bool(j, "has_chat_template", gguf_meta_find(meta, "tokenizer.chat_template") != NULL);
    json_out_end_object(j);
}

static void json_provenance(json_out *j, const gguf_meta *meta) {
    json_out_object(j, "quantize", false);
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        if (kv->key.len < 9 || memcmp(kv->key.ptr, "quantize.", 9) != 0) continue;
        json_out_object_named(j, kv->key.ptr, kv->key.len, true);
        inspect_json_kv(j, kv, 16);
        json_out_end_object(j);
    }
    json_out_end_object(j);
}

static void json_summary(const gguf_file *file) {
    json_out j = {.file = stdout};
    inspect_facts f = inspect_facts_of(file);
    json_out_object(&j, NULL, false);
    json_head(&j, &f);
    json_tokenizer(&j, gguf_file_meta(file));
    json_provenance(&j, gguf_file_meta(file));
    json_shares(&j, "by_type", f.types, f.n_types);
    json_shares(&j, "by_part", f.parts, N_PARTS);
    json_out_end_object(&j);
    json_out_document_end(&j);
}

gguf_code inspect_summary(const inspect_call *c) {
    gguf_file *file;
    gguf_code code = inspect_open(c, 0, &file);
    if (code) return code;
    c->t->json ? json_summary(file) : print_summary(file);
    gguf_file_close(file);
    return GGUF_OK;
}
