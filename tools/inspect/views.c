/* Text for a person. */
#include "tools/common/tool.h"
#include "tools/inspect/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_TYPES  64
#define TEXT_BYTES 72 /* of a string value that is shown */

static void print_str(gguf_str s) {
    char text[4 * TEXT_BYTES + 8];
    size_t n = s.len < TEXT_BYTES ? s.len : TEXT_BYTES;
    printf("\"%s\"%s", tool_escape(s.ptr, n, text, sizeof text), s.len > n ? "..." : "");
}

static void print_value(gguf_kv_iter *it) {
    gguf_str s;
    int64_t i;
    double f;
    switch (it->kv->elem_type) {
    case GGUF_VALUE_STRING:
        if (gguf_kv_next_str(it, &s)) print_str(s);
        break;
    case GGUF_VALUE_F32:
    case GGUF_VALUE_F64:
        if (gguf_kv_next_f64(it, &f)) printf("%.9g", f);
        break;
    case GGUF_VALUE_BOOL:
        if (gguf_kv_next_i64(it, &i)) printf("%s", i ? "true" : "false");
        break;
    default:
        if (gguf_kv_next_i64(it, &i))
            it->kv->elem_type == GGUF_VALUE_U64 ? printf("%" PRIu64, (uint64_t)i)
                                                : printf("%" PRId64, i);
    }
}

static void print_kv(const gguf_kv *kv, uint32_t max_array) {
    char key[512];
    gguf_kv_iter it = {.kv = kv};
    printf("%-44s ", tool_escape(kv->key.ptr, kv->key.len, key, sizeof key));
    if (kv->type != GGUF_VALUE_ARRAY) {
        printf("%-7s ", gguf_value_type_name(kv->type));
        print_value(&it);
    } else {
        printf("%s[%" PRIu64 "] ", gguf_value_type_name(kv->elem_type), kv->count);
        uint64_t n = kv->count < max_array ? kv->count : max_array;
        for (uint64_t i = 0; i < n; i++) {
            if (i) printf(", ");
            print_value(&it);
        }
        if (n < kv->count) printf("%s...", n ? ", " : "");
    }
    printf("\n");
}

void inspect_meta(const gguf_file *file, const inspect_opts *o) {
    const gguf_meta *meta = gguf_file_meta(file);
    for (size_t i = 0; i < gguf_meta_count(meta); i++)
        print_kv(gguf_meta_at(meta, i), o->max_array);
}

static void print_shape(const gguf_tensor *t, char *out, size_t room) {
    size_t len = 0;
    out[0] = '\0';
    for (uint32_t d = 0; d < t->n_dims && len < room; d++)
        len += (size_t)snprintf(out + len, room - len, "%s%" PRIu64, d ? " x " : "", t->dims[d]);
}

void inspect_tensors(const gguf_file *file, const inspect_opts *o) {
    (void)o;
    char name[300], shape[96], size[32];
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        print_shape(t, shape, sizeof shape);
        printf("%-40s %-8s %-24s %12" PRIu64 "  %s\n",
               tool_escape(t->name.ptr, t->name.len, name, sizeof name), gguf_type_name(t->type),
               shape, t->file_off, tool_size_text(t->n_bytes, size, sizeof size));
    }
}

/* ---- summary
 * ------------------------------------------------------------------------------------------ */

static void print_text_key(const gguf_meta *meta, const char *label, const char *key) {
    gguf_str s;
    if (!gguf_kv_str(gguf_meta_find(meta, key), &s)) return;
    printf("%-16s ", label);
    print_str(s);
    printf("\n");
}

static void print_arch_number(const gguf_meta *meta, const char *label, const char *key) {
    gguf_str arch;
    char full[256];
    uint64_t value;
    if (!gguf_kv_str(gguf_meta_find(meta, "general.architecture"), &arch)) return;
    snprintf(full, sizeof full, "%.*s.%s", (int)(arch.len < 64 ? arch.len : 64), arch.ptr, key);
    if (gguf_kv_u64(gguf_meta_find(meta, full), &value))
        printf("%-16s %" PRIu64 "\n", label, value);
}

static void print_types(const gguf_file *file, double n_elems) {
    struct {
        uint32_t type;
        size_t n_tensors;
        uint64_t n_bytes;
        double n_elems;
    } types[MAX_TYPES];
    size_t n_types = 0;
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        size_t k = 0;
        while (k < n_types && types[k].type != t->type) k++;
        if (k == MAX_TYPES) continue;
        if (k == n_types) {
            memset(&types[k], 0, sizeof types[k]);
            types[n_types++].type = t->type;
        }
        types[k].n_tensors++;
        types[k].n_bytes += t->n_bytes;
        types[k].n_elems += (double)gguf_tensor_n_elems(t);
    }
    for (size_t k = 0; k < n_types; k++) {
        char size[32];
        printf("  %-8s %5zu tensors  %12s  %5.1f %% of the parameters\n",
               gguf_type_name(types[k].type), types[k].n_tensors,
               tool_size_text(types[k].n_bytes, size, sizeof size),
               n_elems > 0 ? 100 * types[k].n_elems / n_elems : 0);
    }
}

void inspect_summary(const gguf_file *file, const inspect_opts *o) {
    (void)o;
    const gguf_meta *meta = gguf_file_meta(file);
    char size[32], path[1200];
    double n_elems = 0, n_bytes = 0;
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        n_elems += (double)gguf_tensor_n_elems(gguf_file_tensor(file, i));
        n_bytes += (double)gguf_file_tensor(file, i)->n_bytes;
    }
    printf("%-16s %s\n", "file",
           tool_escape(gguf_file_path(file), strlen(gguf_file_path(file)), path, sizeof path));
    printf("%-16s %s, GGUF v%" PRIu32 ", alignment %" PRIu32 "\n", "size",
           tool_size_text(gguf_file_bytes(file), size, sizeof size), gguf_file_version(file),
           gguf_file_alignment(file));
    print_text_key(meta, "type", "general.type");
    print_text_key(meta, "architecture", "general.architecture");
    print_text_key(meta, "name", "general.name");
    printf("%-16s %.4g million in %zu tensors", "parameters", n_elems / 1e6,
           gguf_file_n_tensors(file));
    if (n_elems > 0) printf(", %.2f bits per weight", 8 * n_bytes / n_elems);
    printf("\n");
    print_arch_number(meta, "layers", "block_count");
    print_arch_number(meta, "embedding", "embedding_length");
    print_arch_number(meta, "context", "context_length");
    print_text_key(meta, "tokenizer", "tokenizer.ggml.model");
    print_text_key(meta, "pre-tokenizer", "tokenizer.ggml.pre");
    const gguf_kv *tokens = gguf_meta_find(meta, "tokenizer.ggml.tokens");
    if (tokens) printf("%-16s %" PRIu64 " tokens\n", "vocabulary", tokens->count);
    print_text_key(meta, "chat template", "tokenizer.chat_template");
    print_text_key(meta, "imatrix", "quantize.imatrix.file");
    print_types(file, n_elems);
}
