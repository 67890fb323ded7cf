/* Planning the folder of a GGUF file. */
#include "libgguf/map.h"
#include "libgguf/warnings.h"
#include "runtime/export/export_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rt_export_warn(rt_export *e, const char *format, ...) {
    va_list args;
    va_start(args, format);
    gguf_warnings_add(&e->warnings, &e->n_warnings, format, args);
    va_end(args);
}

const gguf_kv *rt_export_key(const rt_export *e, const char *key) {
    char full[160];
    rt_full_key(e->source->architecture, key, full, sizeof full);
    return gguf_meta_find(e->source->plan.meta, full);
}

const gguf_tensor *rt_export_tensor(const rt_export *e, const char *name) {
    return gguf_file_find_tensor(e->source->gguf, name);
}

size_t rt_export_floats(const rt_export *e, const char *name, float *out, size_t max) {
    const gguf_tensor *t = rt_export_tensor(e, name);
    const gguf_file *file = e->source->gguf;
    uint64_t n = t && t->type == GGUF_TYPE_F32 ? gguf_tensor_n_elems(t) : 0;
    if (n > max) n = max == 1 ? 1 : 0;
    if (!n || gguf_read_at(gguf_file_fd(file, t->shard), gguf_file_shard_path(file, t->shard), out,
                           n * sizeof *out, t->file_off, NULL))
        return 0;
    return (size_t)n;
}

/* ---- files ------------------------------------------------------------------------------- */

/* Takes the bytes. */
static gguf_code add_file(rt_export *e, const char *name, char *bytes, size_t n, gguf_error *err) {
    if (!bytes || e->n_files == RT_EXPORT_MAX_FILES) {
        free(bytes);
        return gguf_fail_memory(err);
    }
    e->files[e->n_files++] = (gguf_memory_file){name, bytes, n};
    return GGUF_OK;
}

gguf_code rt_export_add_json(rt_export *e, const char *name, json_t *json, gguf_error *err) {
    char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(json);
    return add_file(e, name, text, text ? strlen(text) : 0, err);
}

gguf_code rt_export_add_text(rt_export *e, const char *name, gguf_str text, gguf_error *err) {
    return add_file(e, name, strndup(text.ptr, text.len), text.len, err);
}

/* ---- the class --------------------------------------------------------------------------- */

/* Whether a key of the file, spelt in full, has a value. */
static bool kv_is(const gguf_kv *kv, const char *value) {
    gguf_str text;
    bool flag;
    double number;
    char spelt[40];
    if (gguf_kv_str(kv, &text)) return gguf_str_eq(text, value);
    if (gguf_kv_bool(kv, &flag)) return strcmp(value, flag ? "true" : "false") == 0;
    if (!gguf_kv_f64(kv, &number)) return false;
    snprintf(spelt, sizeof spelt, "%g", number);
    return strcmp(spelt, value) == 0;
}

static bool holds(const rt_export *e, const char *condition) {
    char key[160];
    const char *equals = strchr(condition, '=');
    snprintf(key, sizeof key, "%.*s",
             (int)(equals ? (size_t)(equals - condition) : strlen(condition)), condition);
    const gguf_kv *kv = gguf_meta_find(e->source->plan.meta, key);
    if (equals) return kv && kv_is(kv, equals + 1);
    return kv || rt_export_tensor(e, key);
}

/* How much speaks for a class; 0 if something speaks against it. */
static unsigned score_of(const rt_export *e, const rt_arch_class *c) {
    unsigned score = c->config ? 1 : 2; /* of the text model itself, where there is one */
    for (rt_texts condition = c->told_by; condition && *condition; condition++) {
        bool absent = **condition == '!';
        if (holds(e, *condition + absent) == absent) return 0;
        score += 2;
    }
    return score;
}

static gguf_code choose_class(rt_export *e, gguf_error *err) {
    unsigned best = 0;
    for (size_t i = 0; i < e->arch->n_classes; i++) {
        unsigned score = score_of(e, &e->arch->classes[i]);
        if (score <= best) continue;
        best = score;
        e->hf_class = &e->arch->classes[i];
    }
    if (e->hf_class) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(e->source->gguf), GGUF_NO_OFFSET,
                     "the architecture '%s' answers to no class of the original library",
                     e->source->architecture);
}

/* ---- config.json, read once more ----------------------------------------------------------- */

static gguf_code read_back(rt_export *e, gguf_error *err) {
    const rt_import_opts opts = {
        .arch_file = e->opts.arch_file, .vocab_only = true, .shapes_suffice = true};
    gguf_error why = {0};
    gguf_code code = rt_import_from_memory(e->files, 1, &opts, &e->folder, &why);
    if (!code) code = rt_import_rope(e->folder, &why);
    if (code)
        return gguf_fail(err, code, gguf_file_path(e->source->gguf), GGUF_NO_OFFSET,
                         "no config.json can be made of its keys: %s", why.message);
    if (strcmp(e->folder->architecture, e->source->architecture) == 0) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(e->source->gguf), GGUF_NO_OFFSET,
                     "a config.json of class %s would be taken for the architecture '%s'",
                     e->hf_class->name, e->folder->architecture);
}

static bool same_value(const gguf_kv *a, const gguf_kv *b) {
    double x, y;
    if (gguf_kv_f64(a, &x) && gguf_kv_f64(b, &y)) return (float)x == (float)y;
    return a->type == b->type && a->elem_type == b->elem_type && a->n_bytes == b->n_bytes &&
           memcmp(a->data, b->data, a->n_bytes) == 0;
}

/* Name the keys that config.json does not say, or says otherwise. */
static void compare_keys(rt_export *e) {
    const gguf_meta *meta = e->source->plan.meta, *again = e->folder->plan.meta;
    size_t n = strlen(e->source->architecture);
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        char key[160];
        if (kv->key.len <= n || kv->key.ptr[n] != '.' ||
            memcmp(kv->key.ptr, e->source->architecture, n) != 0)
            continue;
        snprintf(key, sizeof key, "%.*s", (int)kv->key.len, kv->key.ptr);
        const gguf_kv *other = gguf_meta_find(again, key);
        if (!other || !same_value(kv, other))
            rt_export_warn(e, "config.json cannot say '%s'%s", key,
                           other ? " as the file does" : "");
    }
}

static gguf_code make_config(rt_export *e, gguf_error *err) {
    json_t *config = NULL;
    gguf_code code = rt_export_config(e, e->hf_class, &config, err);
    if (!code) code = rt_export_add_json(e, "config.json", config, err);
    if (!code) code = read_back(e, err);
    if (!code) compare_keys(e);
    return code;
}

/* ---- the weights' files ------------------------------------------------------------------- */

/* Which of several files holds which tensor. */
static gguf_code add_index(rt_export *e, gguf_error *err) {
    const quant_plan *plan = &e->plan;
    if (plan->n_shards == 1) return GGUF_OK;
    json_t *map = json_object();
    for (size_t i = 0; i < plan->n_tensors; i++) {
        char name[64];
        const gguf_tensor *t = &plan->tensors[i].out;
        gguf_code code =
            quant_shard_path("model.safetensors", plan->n_shards, t->shard, name, sizeof name, err);
        if (code) {
            json_decref(map);
            return code;
        }
        json_object_setn_new(map, t->name.ptr, t->name.len, json_string(name));
    }
    return rt_export_add_json(e, "model.safetensors.index.json",
                              json_pack("{s:{s:I}, s:o}", "metadata", "total_size",
                                        (json_int_t)quant_plan_data_bytes(plan), "weight_map", map),
                              err);
}

static gguf_code make_plan(rt_export *e, gguf_error *err) {
    e->plan.format = QUANT_FORMAT_SAFETENSORS;
    e->plan.split.max_bytes = e->opts.max_file_bytes;
    gguf_code code = rt_export_tensors(e, err);
    if (!code) code = quant_plan_finish(&e->plan, err);
    return code ? code : add_index(e, err);
}

/* ---- opening ----------------------------------------------------------------------------- */

static gguf_code open_source(rt_export *e, const char *path, gguf_error *err) {
    gguf_str type;
    gguf_code code = rt_import_open(path, NULL, &e->source, err);
    if (code) return code;
    if (!rt_import_is_gguf(e->source))
        return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET, "this is no GGUF file");
    if (gguf_kv_str(gguf_meta_find(e->source->plan.meta, "general.type"), &type) &&
        !gguf_str_eq(type, "model"))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, path, GGUF_NO_OFFSET,
                         "its general.type is '%.*s': only models become folders", (int)type.len,
                         type.ptr);
    gguf_error why = {0};
    code = rt_arch_open(gguf_str_of(e->source->architecture), e->opts.arch_file, &e->arch, &why);
    if (code)
        return gguf_fail(err, code, *why.file ? why.file : path, why.offset, "%s", why.message);
    return choose_class(e, err);
}

gguf_code rt_export_open(const char *path, const rt_export_opts *opts, rt_export **out,
                         gguf_error *err) {
    rt_export *e = calloc(1, sizeof *e);
    *out = NULL;
    if (!e) return gguf_fail_memory(err);
    e->opts = *opts;
    gguf_code code = quant_plan_init(&e->plan, err);
    if (!code) code = open_source(e, path, err);
    if (!code) code = make_config(e, err);
    if (!code) code = rt_export_vocab(e, err);
    if (!code) code = make_plan(e, err);
    if (code) {
        rt_export_close(e);
        return code;
    }
    *out = e;
    return GGUF_OK;
}

void rt_export_close(rt_export *e) {
    if (!e) return;
    quant_plan_clear(&e->plan);
    rt_import_close(e->folder);
    rt_import_close(e->source);
    rt_arch_close(e->arch);
    for (size_t i = 0; i < e->n_files; i++) free((void *)(uintptr_t)e->files[i].bytes);
    for (size_t i = 0; i < e->n_warnings; i++) free(e->warnings[i]);
    free(e->warnings);
    free(e);
}

quant_plan *rt_export_plan(rt_export *e) {
    return &e->plan;
}

const char *rt_export_class(const rt_export *e) {
    return e->hf_class->name;
}

size_t rt_export_n_files(const rt_export *e) {
    return e->n_files;
}

const gguf_memory_file *rt_export_file(const rt_export *e, size_t i) {
    return &e->files[i];
}

size_t rt_export_n_warnings(const rt_export *e) {
    return e->n_warnings;
}

const char *rt_export_warning(const rt_export *e, size_t i) {
    return e->warnings[i];
}
