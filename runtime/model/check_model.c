/* Checks of keys, tokenizer arrays and chat templates. */
#include "runtime/model/check_model.h"
#include "libgguf/ends.h"
#include "runtime/model/arch.h"
#include "runtime/model/check_internal.h"
#include "runtime/model/check_model.h"
#include "runtime/model/expression.h"
#include "runtime/template/template_ast.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct checker {
    const gguf_meta *meta;
    bool complete;
    gguf_findings *found;
    gguf_error *err;
    gguf_code code;
} checker;

#define ADD(k, ...) gguf_findings_add((k)->found, __VA_ARGS__)

/* ---- keys of the architecture ------------------------------------------------------------ */

static bool is_count(const gguf_kv *kv) {
    return kv->type == GGUF_VALUE_U32 ||
           (kv->type == GGUF_VALUE_ARRAY &&
            (kv->elem_type == GGUF_VALUE_U32 || kv->elem_type == GGUF_VALUE_I32));
}

static bool fits_type(const gguf_kv *kv, rt_key_type type) {
    switch (type) {
    case RT_KEY_U32:
    case RT_KEY_LENGTH:
    case RT_KEY_FIRST:
        return is_count(kv);
    case RT_KEY_LABELS:
        return kv->type == GGUF_VALUE_ARRAY && kv->elem_type == GGUF_VALUE_STRING;
    case RT_KEY_COUNTS:
        return kv->type == GGUF_VALUE_ARRAY && is_count(kv);
    case RT_KEY_NUMBERS:
        return kv->type == GGUF_VALUE_ARRAY && kv->elem_type == GGUF_VALUE_F32;
    case RT_KEY_F32:
        return kv->elem_type == GGUF_VALUE_F32;
    case RT_KEY_BOOL:
        return kv->elem_type == GGUF_VALUE_BOOL;
    case RT_KEY_STR:
    case RT_KEY_LAYERS:
    default:
        return true;
    }
}

static void check_key(checker *k, const char *arch, const char *key, rt_key_type type,
                      bool required) {
    char full[256];
    rt_full_key(arch, key, full, sizeof full);
    const gguf_kv *kv = gguf_meta_find(k->meta, full);
    if (!kv) {
        if (required && k->complete) ADD(k, GGUF_NO_OFFSET, "the key '%s' is missing", full);
        return;
    }
    if (!fits_type(kv, type))
        ADD(k, kv->off, "the key '%s' is %s, not %s", full, gguf_value_type_name(kv->type),
            rt_key_type_names[type]);
    double number;
    if (type != RT_KEY_F32 || !gguf_kv_f64(kv, &number)) return;
    if (!isfinite(number))
        ADD(k, kv->off, "the key '%s' is not a finite number", full);
    else if (number < 0 && strcmp(key, "kda.gate_lower_bound") != 0)
        ADD(k, kv->off, "the key '%s' is below zero", full);
}

static void check_described(checker *k, const rt_arch *arch) {
    for (const rt_arch_key *key = rt_arch_first_key(arch); key; key = rt_arch_next_key(key)) {
        const rt_arch_entry *e = &key->entry;
        /* A condition speaks of config.json, which is not at hand here. */
        bool needed = !e->optional && !key->otherwise.text && !e->when && !e->unless &&
                      strcmp(e->name, "vocab_size") != 0;
        check_key(k, rt_arch_name(arch), e->name, key->type, needed);
    }
}

/* What every architecture has. */
static void check_common(checker *k, const char *arch) {
    check_key(k, arch, "block_count", RT_KEY_U32, true);
    check_key(k, arch, "context_length", RT_KEY_U32, true);
    check_key(k, arch, "embedding_length", RT_KEY_U32, true);
    check_key(k, arch, "feed_forward_length", RT_KEY_U32, false);
    check_key(k, arch, "attention.head_count", RT_KEY_U32, false);
    check_key(k, arch, "attention.head_count_kv", RT_KEY_U32, false);
    check_key(k, arch, "rope.freq_base", RT_KEY_F32, false);
}

static void check_zero(checker *k, const char *arch, const char *key) {
    char full[256];
    uint64_t value;
    rt_full_key(arch, key, full, sizeof full);
    const gguf_kv *kv = gguf_meta_find(k->meta, full);
    if (gguf_kv_u64(kv, &value) && value == 0) ADD(k, kv->off, "the key '%s' is 0", full);
}

static bool has_key(const checker *k, const char *arch, const char *key) {
    char full[256];
    snprintf(full, sizeof full, "%s.%s", arch, key);
    return gguf_meta_find(k->meta, full) != NULL;
}

static void check_architecture(checker *k) {
    const gguf_kv *kv = gguf_meta_find(k->meta, "general.architecture");
    gguf_str name;
    char arch[128];
    if (rt_check_part(k->meta, k->complete, k->found)) return;
    if (!kv) {
        const gguf_kv *part = gguf_meta_find(k->meta, "split.no");
        uint64_t number = 0;
        if (k->complete && !(gguf_kv_u64(part, &number) && number > 0))
            ADD(k, GGUF_NO_OFFSET, "the key 'general.architecture' is missing");
        return;
    }
    if (!gguf_kv_str(kv, &name)) {
        ADD(k, kv->off, "the key 'general.architecture' is %s, not string",
            gguf_value_type_name(kv->type));
        return;
    }
    if (gguf_str_eq(name, "none")) return; /* a vocabulary alone */
    snprintf(arch, sizeof arch, "%.*s", (int)(name.len < 100 ? name.len : 100), name.ptr);
    rt_arch *described = NULL;
    gguf_error ignored = {0};
    gguf_code code = rt_arch_open(name, NULL, &described, &ignored);
    if (code == GGUF_OK)
        check_described(k, described);
    else if (code == GGUF_E_NOMEM)
        k->code = gguf_fail(k->err, code, NULL, GGUF_NO_OFFSET, "out of memory");
    else if (rt_check_speaks(k->meta, name))
        check_common(k, arch);
    rt_arch_close(described);
    static const char *const nonzero[] = {"block_count", "context_length", "embedding_length"};
    for (size_t i = 0; i < sizeof nonzero / sizeof nonzero[0]; i++) check_zero(k, arch, nonzero[i]);
    /* Recurrent layers have no heads of attention. */
    if (!has_key(k, arch, "ssm.state_size")) check_zero(k, arch, "attention.head_count");
}

/* ---- keys that every file may have ------------------------------------------------------- */

static void check_general(checker *k) {
    static const struct {
        const char *key;
        gguf_value_type type;
    } rows[] = {{"general.type", GGUF_VALUE_STRING},
                {"general.name", GGUF_VALUE_STRING},
                {"general.file_type", GGUF_VALUE_U32},
                {"general.quantization_version", GGUF_VALUE_U32},
                {"split.no", GGUF_VALUE_U16},
                {"split.count", GGUF_VALUE_U16},
                {"split.tensors.count", GGUF_VALUE_I32},
                {"tokenizer.ggml.model", GGUF_VALUE_STRING},
                {"tokenizer.ggml.pre", GGUF_VALUE_STRING},
                {"tokenizer.ggml.add_bos_token", GGUF_VALUE_BOOL},
                {"tokenizer.ggml.add_eos_token", GGUF_VALUE_BOOL},
                {"tokenizer.ggml.add_space_prefix", GGUF_VALUE_BOOL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const gguf_kv *kv = gguf_meta_find(k->meta, rows[i].key);
        if (kv && kv->type != rows[i].type)
            ADD(k, kv->off, "the key '%s' is %s, not %s", rows[i].key,
                gguf_value_type_name(kv->type), gguf_value_type_name(rows[i].type));
    }
}

/* ---- tokenizer --------------------------------------------------------------------------- */

/* An array whose elements have one of two types, as long as the vocabulary if `n` is not NULL. */
static const gguf_kv *check_array(checker *k, const char *key, gguf_value_type type,
                                  gguf_value_type or_type, const uint64_t *n) {
    const gguf_kv *kv = gguf_meta_find(k->meta, key);
    if (!kv) return NULL;
    if (kv->type != GGUF_VALUE_ARRAY || (kv->elem_type != type && kv->elem_type != or_type)) {
        ADD(k, kv->off, "the key '%s' is %s%s, not an array of %s", key,
            kv->type == GGUF_VALUE_ARRAY ? "an array of " : "",
            gguf_value_type_name(kv->type == GGUF_VALUE_ARRAY ? kv->elem_type : kv->type),
            gguf_value_type_name(type));
        return NULL;
    }
    if (n && kv->count != *n)
        ADD(k, kv->off, "the array '%s' has %" PRIu64 " elements for %" PRIu64 " tokens", key,
            kv->count, *n);
    return kv;
}

static void check_ids(checker *k, uint64_t n_tokens) {
    for (size_t i = 0; i < gguf_meta_count(k->meta); i++) {
        const gguf_kv *kv = gguf_meta_at(k->meta, i);
        uint64_t id;
        if (kv->key.len < 15 || memcmp(kv->key.ptr, "tokenizer.ggml.", 15) != 0 ||
            !gguf_str_ends(kv->key, "_token_id"))
            continue;
        if (kv->type != GGUF_VALUE_U32)
            ADD(k, kv->off, "the key '%.*s' is %s, not u32", (int)kv->key.len, kv->key.ptr,
                gguf_value_type_name(kv->type));
        else if (gguf_kv_u64(kv, &id) && id >= n_tokens)
            ADD(k, kv->off, "'%.*s' is %" PRIu64 ", but there are %" PRIu64 " tokens",
                (int)kv->key.len, kv->key.ptr, id, n_tokens);
    }
}

static void check_token_types(checker *k, const gguf_kv *types) {
    gguf_kv_iter it = {.kv = types};
    int64_t type;
    for (uint64_t i = 0; types && gguf_kv_next_i64(&it, &type); i++) {
        if (type >= 0 && type <= 6) continue;
        ADD(k, types->off, "token %" PRIu64 " has the unknown type %" PRId64, i, type);
        return;
    }
}

static void check_vocab_size(checker *k, uint64_t n_tokens) {
    gguf_str arch;
    char full[160];
    uint64_t size;
    if (!gguf_kv_str(gguf_meta_find(k->meta, "general.architecture"), &arch)) return;
    snprintf(full, sizeof full, "%.*s.vocab_size", (int)(arch.len < 100 ? arch.len : 100),
             arch.ptr);
    const gguf_kv *kv = gguf_meta_find(k->meta, full);
    if (gguf_kv_u64(kv, &size) && size < n_tokens)
        ADD(k, kv->off, "'%s' is %" PRIu64 ", but there are %" PRIu64 " tokens", full, size,
            n_tokens);
}

static void check_tokenizer(checker *k) {
    const gguf_kv *model = gguf_meta_find(k->meta, "tokenizer.ggml.model");
    const gguf_kv *tokens =
        check_array(k, "tokenizer.ggml.tokens", GGUF_VALUE_STRING, GGUF_VALUE_STRING, NULL);
    gguf_str name;
    if (k->complete && model && !gguf_meta_find(k->meta, "tokenizer.ggml.tokens") &&
        !(gguf_kv_str(model, &name) && gguf_str_eq(name, "no_vocab")))
        ADD(k, model->off, "a tokenizer without 'tokenizer.ggml.tokens'");
    if (k->complete && !model && tokens)
        ADD(k, tokens->off, "tokens without 'tokenizer.ggml.model'");
    const uint64_t *n = tokens ? &tokens->count : NULL;
    check_array(k, "tokenizer.ggml.scores", GGUF_VALUE_F32, GGUF_VALUE_F32, n);
    check_token_types(
        k, check_array(k, "tokenizer.ggml.token_type", GGUF_VALUE_I32, GGUF_VALUE_U32, n));
    check_array(k, "tokenizer.ggml.merges", GGUF_VALUE_STRING, GGUF_VALUE_STRING, NULL);
    if (!tokens) return;
    check_ids(k, *n);
    check_vocab_size(k, *n);
}

/* ---- chat templates ---------------------------------------------------------------------- */

typedef struct template_check {
    checker *k;
    const gguf_kv *kv;
    gguf_str text;
} template_check;

/* Offsets in a template count from its first character. */
static int64_t template_off(const gguf_kv *kv, int64_t off) {
    if (kv->off == GGUF_NO_OFFSET || off == GGUF_NO_OFFSET) return kv->off;
    return kv->off + 8 + (int64_t)kv->key.len + 4 + 8 + off;
}

static void add_danger(void *ctx, size_t off, const char *what, gguf_str name) {
    const template_check *t = ctx;
    unsigned line, column;
    rt_template_position(t->text, off, &line, &column);
    ADD(t->k, template_off(t->kv, (int64_t)off),
        "'%.*s', line %u, column %u: the %s '%.*s' reaches behind the template",
        (int)(t->kv->key.len < 100 ? t->kv->key.len : 100), t->kv->key.ptr, line, column, what,
        (int)(name.len < 100 ? name.len : 100), name.ptr);
}

static void check_template(checker *k, const gguf_kv *kv) {
    template_check t = {.k = k, .kv = kv};
    rt_template *tpl = NULL;
    gguf_error why = {0};
    if (!gguf_kv_str(kv, &t.text)) {
        ADD(k, kv->off, "the key '%.*s' is %s, not string",
            (int)(kv->key.len < 100 ? kv->key.len : 100), kv->key.ptr,
            gguf_value_type_name(kv->type));
        return;
    }
    gguf_code code = rt_template_parse(t.text, &tpl, &why);
    if (code == GGUF_E_NOMEM)
        k->code = gguf_fail(k->err, code, NULL, GGUF_NO_OFFSET, "out of memory");
    else if (code)
        ADD(k, template_off(kv, why.offset), "'%.*s' does not parse: %s",
            (int)(kv->key.len < 100 ? kv->key.len : 100), kv->key.ptr, why.message);
    else
        rt_template_lint(tpl, add_danger, &t);
    rt_template_free(tpl);
}

gguf_code rt_check_templates(const gguf_meta *meta, gguf_findings *findings, gguf_error *err) {
    static const char stem[] = "tokenizer.chat_template";
    size_t n = sizeof stem - 1;
    checker k = {meta, true, findings, err, GGUF_OK};
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        if (kv->key.len < n || memcmp(kv->key.ptr, stem, n) != 0) continue;
        if (kv->key.len == n || kv->key.ptr[n] == '.') check_template(&k, kv);
    }
    return k.code;
}

gguf_code rt_check_keys(const gguf_meta *meta, bool complete, gguf_findings *findings,
                        gguf_error *err) {
    checker k = {meta, complete, findings, err, GGUF_OK};
    check_architecture(&k);
    check_general(&k);
    check_tokenizer(&k);
    return k.code;
}

gguf_code rt_check_meta(const gguf_meta *meta, bool complete, gguf_findings *findings,
                        gguf_error *err) {
    gguf_code code = rt_check_keys(meta, complete, findings, err);
    return code ? code : rt_check_templates(meta, findings, err);
}
