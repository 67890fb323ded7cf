/* What several verbs need: filters, values and names as text and JSON. */
#include "tools/inspect/inspect.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

gguf_code inspect_open(const inspect_call *c, size_t i, gguf_file **out) {
    const gguf_open_flags flags = GGUF_OPEN_ANY_TYPE | GGUF_OPEN_BIG_ENDIAN;
    gguf_error why = {0};
    gguf_code code = gguf_file_open(c->files[i], flags, out, &why);
    /* A shard behind the first is shown on its own. */
    if (code == GGUF_E_USAGE)
        return gguf_file_open(c->files[i], flags | GGUF_OPEN_SINGLE, out, c->err);
    if (code && c->err && !c->err->code) *c->err = why;
    return code;
}

gguf_code inspect_open_values(const inspect_call *c, size_t i, gguf_file **out) {
    gguf_code code = inspect_open(c, i, out);
    if (code || !gguf_file_big_endian(*out)) return code;
    gguf_file_close(*out);
    *out = NULL;
    return gguf_fail(
        c->err, GGUF_E_UNSUPPORTED, c->files[i], GGUF_NO_OFFSET,
        "the numbers are big-endian; gguf-edit swap-endian makes a little-endian copy");
}

/* ---- filters ----------------------------------------------------------------------------- */

/* Names are compared up to their first NUL and 4 KiB. */
static const char *name_text(gguf_str name, char *out, size_t room) {
    size_t n = name.len < room ? name.len : room - 1;
    memcpy(out, name.ptr, n);
    out[n] = '\0';
    return out;
}

bool inspect_takes(const inspect_opts *o, gguf_str name) {
    char text[4096];
    return !o->filter || fnmatch(o->filter, name_text(name, text, sizeof text), 0) == 0;
}

bool inspect_takes_tensor(const inspect_opts *o, gguf_str name) {
    bool found = true;
    if (!inspect_takes(o, name)) return false;
    if (o->pattern) gguf_pattern_find(o->pattern, name.ptr, name.len, &found, NULL);
    return found;
}

gguf_code inspect_fail_filter(const inspect_call *c, const char *what) {
    const inspect_opts *o = c->o;
    return gguf_fail(c->err, GGUF_E_USAGE, c->files[0], GGUF_NO_OFFSET, "no %s fits %s%s%s%s%s%s%s",
                     what, o->filter ? "--filter '" : "", o->filter ? o->filter : "",
                     o->filter ? "'" : "", o->filter && o->tensor ? " and " : "",
                     o->tensor ? "--tensor '" : "", o->tensor ? o->tensor : "",
                     o->tensor ? "'" : "");
}

/* Whether the filters take any key or tensor of the file. */
static gguf_code takes_any(const inspect_call *c, const gguf_file *file, bool keys, bool tensors,
                           bool *found) {
    const inspect_opts *o = c->o;
    const gguf_meta *meta = gguf_file_meta(file);
    gguf_code code = GGUF_OK;
    for (size_t i = 0; keys && !o->tensor && i < gguf_meta_count(meta) && !*found; i++)
        *found = inspect_takes(o, gguf_meta_at(meta, i)->key);
    for (size_t i = 0; tensors && i < gguf_file_n_tensors(file) && !code; i++) {
        gguf_str name = gguf_file_tensor(file, i)->name;
        bool holds = true;
        if (o->pattern) code = gguf_pattern_find(o->pattern, name.ptr, name.len, &holds, c->err);
        *found |= holds && inspect_takes(o, name);
    }
    return code;
}

gguf_code inspect_check_filters(const inspect_call *c, const gguf_file *a, const gguf_file *b,
                                bool keys, bool tensors) {
    bool found = false;
    if (!c->o->filter && !c->o->tensor) return GGUF_OK;
    gguf_code code = takes_any(c, a, keys, tensors, &found);
    if (!code && b) code = takes_any(c, b, keys, tensors, &found);
    if (code || found) return code;
    return inspect_fail_filter(c, !tensors                ? "key"
                                  : keys && !c->o->tensor ? "key or tensor"
                                                          : "tensor");
}

/* ---- values as text ---------------------------------------------------------------------- */

void inspect_print_str(FILE *out, gguf_str s, size_t max_bytes) {
    char text[4 * 160 + 8];
    size_t n = s.len < max_bytes ? s.len : max_bytes;
    if (n > 160) n = 160;
    fprintf(out, "\"%s\"%s", tool_escape(s.ptr, n, text, sizeof text), s.len > n ? "..." : "");
}

void inspect_print_value(FILE *out, gguf_kv_iter *it) {
    gguf_str s;
    int64_t i;
    double f;
    switch (it->kv->elem_type) {
    case GGUF_VALUE_STRING:
        if (gguf_kv_next_str(it, &s)) inspect_print_str(out, s, 72);
        break;
    case GGUF_VALUE_F32:
    case GGUF_VALUE_F64:
        if (gguf_kv_next_f64(it, &f)) fprintf(out, "%.9g", f);
        break;
    case GGUF_VALUE_BOOL:
        if (gguf_kv_next_i64(it, &i)) fprintf(out, "%s", i ? "true" : "false");
        break;
    default:
        if (gguf_kv_next_i64(it, &i))
            it->kv->elem_type == GGUF_VALUE_U64 ? fprintf(out, "%" PRIu64, (uint64_t)i)
                                                : fprintf(out, "%" PRId64, i);
    }
}

void inspect_print_kv_value(FILE *out, const gguf_kv *kv, uint32_t max_array) {
    gguf_kv_iter it = {.kv = kv};
    if (kv->type != GGUF_VALUE_ARRAY) {
        fprintf(out, "%-7s ", gguf_value_type_name(kv->type));
        inspect_print_value(out, &it);
        return;
    }
    uint64_t n = kv->count < max_array ? kv->count : max_array;
    fprintf(out, "%s[%" PRIu64 "] ", gguf_value_type_name(kv->elem_type), kv->count);
    for (uint64_t i = 0; i < n; i++) {
        if (i) fputs(", ", out);
        inspect_print_value(out, &it);
    }
    if (n < kv->count) fprintf(out, "%s...", n ? ", " : "");
}

char *inspect_dims(const uint64_t *dims, uint32_t n_dims, char *out, size_t room) {
    size_t len = 0;
    out[0] = '\0';
    for (uint32_t d = 0; d < n_dims && len < room; d++)
        len += (size_t)snprintf(out + len, room - len, "%s%" PRIu64, d ? " x " : "", dims[d]);
    return out;
}

char *inspect_shape(const gguf_tensor *t, char *out, size_t room) {
    return inspect_dims(t->dims, t->n_dims, out, room);
}

inspect_form inspect_form_of(const gguf_tensor *t) {
    return t ? (inspect_form){gguf_type_name(t->type), t->n_dims, t->dims} : (inspect_form){0};
}

void inspect_json_form(json_out *j, const inspect_form *form) {
    json_out_text(j, "type", form->type);
    json_out_array(j, "shape", true);
    for (uint32_t d = 0; d < form->n_dims; d++) json_out_u64(j, NULL, form->dims[d]);
    json_out_end_array(j);
}

/* ---- values as JSON ---------------------------------------------------------------------- */

/* Whether bytes had to be replaced. */
static bool json_value(json_out *j, const char *key, gguf_kv_iter *it) {
    gguf_str s;
    int64_t i;
    double f;
    switch (it->kv->elem_type) {
    case GGUF_VALUE_STRING:
        return gguf_kv_next_str(it, &s) && json_out_bytes(j, key, s.ptr, s.len);
    case GGUF_VALUE_F32:
    case GGUF_VALUE_F64:
        if (gguf_kv_next_f64(it, &f)) json_out_real(j, key, f);
        return false;
    case GGUF_VALUE_BOOL:
        if (gguf_kv_next_i64(it, &i)) json_out_bool(j, key, i != 0);
        return false;
    default:
        break;
    }
    if (!gguf_kv_next_i64(it, &i)) return false;
    it->kv->elem_type == GGUF_VALUE_U64 ? json_out_u64(j, key, (uint64_t)i)
                                        : json_out_i64(j, key, i);
    return false;
}

static bool json_array_value(json_out *j, const gguf_kv *kv, uint32_t max_array) {
    gguf_kv_iter it = {.kv = kv};
    bool replaced = false;
    uint64_t n = kv->count < max_array ? kv->count : max_array;
    json_out_text(j, "element_type", gguf_value_type_name(kv->elem_type));
    json_out_u64(j, "count", kv->count);
    json_out_array(j, "value", true);
    for (uint64_t i = 0; i < n; i++) replaced |= json_value(j, NULL, &it);
    json_out_end_array(j);
    json_out_bool(j, "truncated", n < kv->count);
    return replaced;
}

void inspect_json_kv(json_out *j, const gguf_kv *kv, uint32_t max_array) {
    gguf_kv_iter it = {.kv = kv};
    json_out_text(j, "type", gguf_value_type_name(kv->type));
    bool replaced = kv->type == GGUF_VALUE_ARRAY ? json_array_value(j, kv, max_array)
                                                 : json_value(j, "value", &it);
    if (replaced) json_out_bool(j, "invalid_utf8", true);
}

/* ---- names ------------------------------------------------------------------------------- */

const char *const inspect_part_names[N_PARTS] = {"embedding", "attention", "ffn",  "experts",
                                                 "norms",     "output",    "other"};

inspect_part inspect_part_of(gguf_str name) {
    static const struct {
        const char *piece;
        inspect_part part;
    } rules[] = {{"norm", PART_NORMS},
                 {"_exps", PART_EXPERTS},
                 {"_shexp", PART_EXPERTS},
                 {"ffn_gate_inp", PART_EXPERTS},
                 {"exp_probs", PART_EXPERTS},
                 {".attn_", PART_ATTENTION},
                 {".ffn_", PART_FFN},
                 {"_embd", PART_EMBEDDING},
                 {"token_types", PART_EMBEDDING}};
    char text[96];
    name_text(name, text, sizeof text);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strstr(text, rules[i].piece)) return rules[i].part;
    if (strncmp(text, "output.", 7) == 0 || strncmp(text, "cls.", 4) == 0) return PART_OUTPUT;
    return PART_OTHER;
}

int inspect_layer_of(gguf_str name) {
    char text[96];
    int layer, at = 0;
    name_text(name, text, sizeof text);
    return sscanf(text, "blk.%6d.%n", &layer, &at) == 1 && at && layer >= 0 ? layer : -1;
}
