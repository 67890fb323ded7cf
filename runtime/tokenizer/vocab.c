/* Importing a tokenizer folder: the files, the list of tokens, the order of the keys. */
#include "runtime/tokenizer/vocab_internal.h"

#include "libgguf/map.h"
#include "libgguf/placeholder.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const file_names[RT_N_FILES] = {
    "tokenizer.json",    "tokenizer_config.json",  "special_tokens_map.json",
    "added_tokens.json", "generation_config.json", "config.json"};

/* ---- helpers ----------------------------------------------------------------------------- */

gguf_code rt_vocab_fail(rt_vocab *im, gguf_code code, const char *format, ...) {
    char message[400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return gguf_fail(im->err, code, im->path, GGUF_NO_OFFSET, "%s", message);
}

gguf_code rt_vocab_no_memory(rt_vocab *im) {
    return gguf_fail(im->err, GGUF_E_NOMEM, im->path, GGUF_NO_OFFSET, "out of memory");
}

void rt_vocab_warn(rt_vocab *im, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    char **warnings =
        realloc(im->report->warnings, (im->report->n_warnings + 1) * sizeof *warnings);
    if (!warnings) return;
    im->report->warnings = warnings;
    warnings[im->report->n_warnings] = strdup(text);
    if (warnings[im->report->n_warnings]) im->report->n_warnings++;
}

void rt_vocab_report_clear(rt_vocab_report *report) {
    for (size_t i = 0; i < report->n_warnings; i++) free(report->warnings[i]);
    free(report->warnings);
    *report = (rt_vocab_report){0};
}

gguf_code rt_vocab_path(rt_vocab *im, const char *name) {
    int n = im->folder ? snprintf(im->path, sizeof im->path, "%s/%s", im->folder, name)
                       : snprintf(im->path, sizeof im->path, "%s", name);
    if (n > 0 && (size_t)n < sizeof im->path) return GGUF_OK;
    return gguf_fail(im->err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "the folder's name is too long");
}

bool rt_vocab_exists(rt_vocab *im, const char *name) {
    if (rt_vocab_path(im, name) != GGUF_OK) return false;
    if (!im->folder) return gguf_memory_file_named(im->memory, im->n_memory, name) != NULL;
    return access(im->path, F_OK) == 0;
}

static gguf_code load_file(rt_vocab *im, size_t max_bytes, char **text, size_t *n_bytes) {
    gguf_code code = gguf_read_file(im->path, max_bytes, text, n_bytes, im->err);
    if (code) return code;
    code = gguf_placeholder_check(*text, *n_bytes, GGUF_EXPECTED_BINARY, im->path, im->err);
    if (!code) return GGUF_OK;
    free(*text);
    *text = NULL;
    return code;
}

gguf_code rt_vocab_load_text(rt_vocab *im, size_t max_bytes, char **text, size_t *n_bytes) {
    if (im->folder) return load_file(im, max_bytes, text, n_bytes);
    const gguf_memory_file *f = gguf_memory_file_named(im->memory, im->n_memory, im->path);
    if (f->n_bytes > max_bytes)
        return rt_vocab_fail(im, GGUF_E_LIMIT, "%zu bytes are over the limit of %zu", f->n_bytes,
                             max_bytes);
    if (!(*text = malloc(f->n_bytes + 1))) return rt_vocab_no_memory(im);
    if (f->n_bytes) memcpy(*text, f->bytes, f->n_bytes);
    (*text)[f->n_bytes] = '\0';
    *n_bytes = f->n_bytes;
    return GGUF_OK;
}

gguf_code rt_vocab_load_json(rt_vocab *im, json_t **json) {
    if (im->folder) return gguf_json_load(im->path, GGUF_JSON_WIDE_INTS, json, im->err);
    const gguf_memory_file *f = gguf_memory_file_named(im->memory, im->n_memory, im->path);
    return gguf_json_parse(f->bytes, f->n_bytes, GGUF_JSON_WIDE_INTS, im->path, 0, json, im->err);
}

gguf_str rt_json_str(const json_t *value) {
    return (gguf_str){json_string_value(value), json_string_length(value)};
}

/* ---- tokens ------------------------------------------------------------------------------ */

gguf_code rt_vocab_reserve(rt_vocab *im, uint64_t n, uint64_t n_texts, uint64_t text_bytes) {
    if (n < im->n_vocab_config) n = im->n_vocab_config;
    if (n > RT_MAX_TOKENS || n > n_texts + RT_MAX_HOLES)
        return rt_vocab_fail(im, GGUF_E_LIMIT, "ids up to %llu for only %llu tokens",
                             (unsigned long long)n, (unsigned long long)n_texts);
    im->n = (uint32_t)n;
    im->arena_room = text_bytes + 16 * n; /* a prefix or a filler each */
    im->texts = calloc(n + 1, sizeof *im->texts);
    im->scores = calloc(n + 1, sizeof *im->scores);
    im->types = calloc(n + 1, sizeof *im->types);
    im->flags = calloc(n + 1, 1);
    im->user_defined = calloc(n + 1, 1);
    im->arena = malloc(im->arena_room + 1);
    bool ok = im->texts && im->scores && im->types && im->flags && im->user_defined && im->arena;
    return ok ? GGUF_OK : rt_vocab_no_memory(im);
}

gguf_code rt_vocab_token(rt_vocab *im, uint64_t id, gguf_str text, rt_token_type type,
                         float score) {
    if (id >= im->n)
        return rt_vocab_fail(im, GGUF_E_FORMAT, "token '%.*s' has the id %llu, beyond %u tokens",
                             (int)(text.len < 100 ? text.len : 100), text.ptr,
                             (unsigned long long)id, im->n);
    gguf_str old = im->texts[id];
    if (old.ptr && (old.len != text.len || memcmp(old.ptr, text.ptr, text.len) != 0))
        return rt_vocab_fail(im, GGUF_E_DUPLICATE, "id %llu is both '%.*s' and '%.*s'",
                             (unsigned long long)id, (int)(old.len < 100 ? old.len : 100), old.ptr,
                             (int)(text.len < 100 ? text.len : 100), text.ptr);
    im->texts[id] = text;
    im->types[id] = type;
    im->scores[id] = score;
    return GGUF_OK;
}

bool rt_vocab_is_beyond(const rt_vocab *im, uint64_t id) {
    return im->n_vocab_config && id >= im->n_vocab_config;
}

void rt_vocab_leave_out(rt_vocab *im, uint64_t id, gguf_str text) {
    if (im->n_beyond < RT_MAX_BEYOND) im->beyond[im->n_beyond++] = text;
    if (id > im->last_beyond) im->last_beyond = id;
}

gguf_str rt_vocab_text(rt_vocab *im, const char *prefix, gguf_str text) {
    char *at = im->arena + im->arena_used;
    size_t n = strlen(prefix);
    memcpy(at, prefix, n);
    if (text.len) memcpy(at + n, text.ptr, text.len);
    im->arena_used += n + text.len;
    return (gguf_str){at, n + text.len};
}

gguf_code rt_vocab_finish_tokens(rt_vocab *im) {
    uint32_t old;
    for (uint32_t id = 0; id < im->n; id++) {
        if (!im->texts[id].ptr) {
            char filler[16];
            snprintf(filler, sizeof filler, "[PAD%u]", id);
            im->texts[id] = rt_vocab_text(im, filler, (gguf_str){"", 0});
            im->types[id] = RT_TOKEN_UNUSED;
            im->scores[id] = -10000.0f;
        }
        gguf_index_put_result put = gguf_index_put(&im->by_text, im->texts[id], id, &old);
        if (put == GGUF_INDEX_NOMEM) return rt_vocab_no_memory(im);
        if (put == GGUF_INDEX_PRESENT)
            return rt_vocab_fail(im, GGUF_E_DUPLICATE, "tokens %u and %u are both '%.*s'", old, id,
                                 (int)(im->texts[id].len < 100 ? im->texts[id].len : 100),
                                 im->texts[id].ptr);
    }
    return GGUF_OK;
}

int32_t rt_vocab_find(const rt_vocab *im, gguf_str text) {
    uint32_t id;
    return gguf_index_get(&im->by_text, text, &id) ? (int32_t)id : -1;
}

static bool is_between(gguf_str text, const char *open, const char *close) {
    size_t a = strlen(open), b = strlen(close);
    return text.len >= a + b && memcmp(text.ptr, open, a) == 0 &&
           memcmp(text.ptr + text.len - b, close, b) == 0;
}

bool rt_vocab_looks_special(gguf_str text) {
    return is_between(text, "<|", "|>") || is_between(text, "<\xEF\xBD\x9C", "\xEF\xBD\x9C>") ||
           is_between(text, "<unused", ">") || gguf_str_eq(text, "<pad>") ||
           gguf_str_eq(text, "<mask>") || gguf_str_eq(text, "<2mass>") ||
           gguf_str_eq(text, "[@BOS@]");
}

void rt_vocab_write_tokens(rt_vocab *im, const char *model, const char *pre) {
    snprintf(im->report->model, sizeof im->report->model, "%s", model);
    snprintf(im->report->pre, sizeof im->report->pre, "%s", pre ? pre : "");
    im->report->n_tokens = im->n;
    gguf_meta_set_str(im->meta, "tokenizer.ggml.model", gguf_str_of(model));
    if (pre) gguf_meta_set_str(im->meta, "tokenizer.ggml.pre", gguf_str_of(pre));
    gguf_meta_set_str_array(im->meta, "tokenizer.ggml.tokens", im->n, im->texts);
    if (im->has_scores)
        gguf_meta_set_array(im->meta, "tokenizer.ggml.scores", GGUF_VALUE_F32, im->n, im->scores);
    gguf_meta_set_array(im->meta, "tokenizer.ggml.token_type", GGUF_VALUE_I32, im->n, im->types);
}

/* ---- our own arrays of token numbers ----------------------------------------------------- */

/* Added tokens are listed when one has flags that its type does not say. */
static bool needs_flags(const rt_vocab *im, uint32_t id) {
    uint8_t flags = im->flags[id];
    bool special = im->types[id] != RT_TOKEN_USER_DEFINED;
    return (flags & RT_ADDED_LISTED) && ((flags & (RT_ADDED_LSTRIP | RT_ADDED_RSTRIP |
                                                   RT_ADDED_SINGLE_WORD | RT_ADDED_NORMALIZED)) ||
                                         special != !!(flags & RT_ADDED_SPECIAL));
}

static gguf_code write_added(rt_vocab *im) {
    uint32_t n = 0;
    bool needed = false;
    for (uint32_t id = 0; id < im->n; id++) needed |= needs_flags(im, id);
    uint32_t *ids = needed ? malloc(2 * sizeof *ids * im->n) : NULL;
    if (!needed) return GGUF_OK;
    if (!ids) return rt_vocab_no_memory(im);
    uint32_t *flags = ids + im->n;
    for (uint32_t id = 0; id < im->n; id++) {
        if (!(im->flags[id] & RT_ADDED_LISTED)) continue;
        ids[n] = id;
        flags[n++] = im->flags[id] & ~(uint32_t)RT_ADDED_LISTED;
    }
    gguf_meta_set_array(im->meta, "tokenizer.ggufkit.added_ids", GGUF_VALUE_U32, n, ids);
    gguf_meta_set_array(im->meta, "tokenizer.ggufkit.added_flags", GGUF_VALUE_U32, n, flags);
    free(ids);
    return GGUF_OK;
}

static gguf_code write_user_defined(rt_vocab *im) {
    uint32_t n = 0, *ids = malloc(sizeof *ids * im->n);
    if (!ids) return rt_vocab_no_memory(im);
    for (uint32_t id = 0; id < im->n; id++)
        if (im->user_defined[id]) ids[n++] = id;
    if (n) gguf_meta_set_array(im->meta, "tokenizer.ggufkit.user_defined", GGUF_VALUE_U32, n, ids);
    free(ids);
    return GGUF_OK;
}

/* ---- the import -------------------------------------------------------------------------- */

static gguf_code load_files(rt_vocab *im) {
    for (size_t i = 0; i < RT_N_FILES; i++) {
        gguf_code code;
        if (!rt_vocab_exists(im, file_names[i])) continue;
        if ((code = rt_vocab_load_json(im, &im->files[i]))) return code;
        if (!json_is_object(im->files[i]))
            return rt_vocab_fail(im, GGUF_E_FORMAT, "no JSON object");
    }
    return GGUF_OK;
}

/* Other tokenizers use the name tokenizer.model too; a SentencePiece model starts with its pieces.
 */
static gguf_code load_model(rt_vocab *im) {
    if (!rt_vocab_exists(im, "tokenizer.model")) return GGUF_OK;
    gguf_code code =
        rt_vocab_load_text(im, GGUF_JSON_MAX_BYTES, &im->model_bytes, &im->model_n_bytes);
    if (code) return code;
    bool other = im->model_n_bytes && im->model_bytes[0] != '\n';
    if (!other || !im->files[RT_FILE_TOKENIZER]) return GGUF_OK;
    rt_vocab_warn(im, "tokenizer.model is not a SentencePiece model; tokenizer.json is used");
    free(im->model_bytes);
    im->model_bytes = NULL;
    return GGUF_OK;
}

static gguf_code import_model(rt_vocab *im) {
    if (im->model_bytes) return rt_vocab_read_spm(im);
    rt_vocab_path(im, "tokenizer.json");
    if (im->files[RT_FILE_TOKENIZER]) return rt_vocab_read_json(im);
    return gguf_fail(im->err, GGUF_E_MISSING, im->folder, GGUF_NO_OFFSET,
                     "the folder has neither tokenizer.model nor tokenizer.json");
}

static void import_clear(rt_vocab *im) {
    for (size_t i = 0; i < RT_N_FILES; i++) json_decref(im->files[i]);
    free(im->model_bytes);
    free(im->texts);
    free(im->scores);
    free(im->types);
    free(im->flags);
    free(im->user_defined);
    free(im->arena);
    gguf_index_clear(&im->by_text);
}

/* Encoders of the BERT family, whatever their tokenizer, have rows for types of tokens. */
static void write_type_count(rt_vocab *im) {
    const json_t *count = json_object_get(im->files[RT_FILE_CONFIG], "type_vocab_size");
    uint64_t n;
    if (gguf_json_u64(count, &n) && n && n <= UINT32_MAX)
        gguf_meta_set_u32(im->meta, "tokenizer.ggml.token_type_count", (uint32_t)n);
}

static bool is_in_templates(const rt_vocab *im, gguf_str text) {
    static const char stem[] = "tokenizer.chat_template";
    for (size_t i = 0; i < gguf_meta_count(im->meta); i++) {
        const gguf_kv *kv = gguf_meta_at(im->meta, i);
        gguf_str source;
        if (kv->key.len >= sizeof stem - 1 && memcmp(kv->key.ptr, stem, sizeof stem - 1) == 0 &&
            gguf_kv_str(kv, &source) && memmem(source.ptr, source.len, text.ptr, text.len))
            return true;
    }
    return false;
}

/* The tokens around a text, by their texts in tokenizer_config.json. */
static bool is_start_or_end(const rt_vocab *im, gguf_str text) {
    static const char *const names[] = {"bos_token", "eos_token"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *token = json_object_get(im->files[RT_FILE_TOKENIZER_CONFIG], names[i]);
        if (json_is_object(token)) token = json_object_get(token, "content");
        gguf_str named = rt_json_str(token);
        if (named.ptr && named.len == text.len && memcmp(named.ptr, text.ptr, text.len) == 0)
            return true;
    }
    return false;
}

static gguf_code fail_beyond(rt_vocab *im, gguf_str text, const char *use) {
    return rt_vocab_fail(im, GGUF_E_FORMAT,
                         "the token '%.*s', %s, is beyond the embedding's %u rows",
                         (int)(text.len < 100 ? text.len : 100), text.ptr, use, im->n_vocab_config);
}

/* Tokens that were left out are no loss unless prompts are made of them. */
static gguf_code check_beyond(rt_vocab *im) {
    if (!im->n_beyond) return GGUF_OK;
    for (size_t i = 0; i < im->n_beyond; i++) {
        gguf_str text = im->beyond[i];
        if (text.len && is_in_templates(im, text))
            return fail_beyond(im, text, "which the chat template writes");
        if (is_start_or_end(im, text)) return fail_beyond(im, text, "which begins or ends a text");
    }
    rt_vocab_warn(
        im, "added tokens up to id %llu are left out, from '%.*s' on: the embedding has %u rows",
        (unsigned long long)im->last_beyond,
        (int)(im->beyond[0].len < 100 ? im->beyond[0].len : 100), im->beyond[0].ptr,
        im->n_vocab_config);
    return GGUF_OK;
}

static gguf_code import_all(rt_vocab *im) {
    for (size_t i = 0; i < RT_N_SPECIAL; i++) im->model_ids[i] = -1;
    gguf_code code = load_files(im);
    if (!code) code = load_model(im);
    if (!code) write_type_count(im);
    if (!code) code = import_model(im);
    if (!code) code = rt_vocab_read_special(im);
    if (!code) code = write_added(im);
    if (!code) code = write_user_defined(im);
    if (!code) code = check_beyond(im);
    if (!code) code = gguf_meta_status(im->meta, im->err);
    import_clear(im);
    return code;
}

gguf_code rt_vocab_import(const char *folder, uint32_t n_vocab_config, gguf_meta *meta,
                          rt_vocab_report *report, gguf_error *err) {
    rt_vocab im = {.folder = folder,
                   .n_vocab_config = n_vocab_config,
                   .meta = meta,
                   .report = report,
                   .err = err};
    return import_all(&im);
}

gguf_code rt_vocab_import_memory(const gguf_memory_file *files, size_t n_files,
                                 uint32_t n_vocab_config, gguf_meta *meta, rt_vocab_report *report,
                                 gguf_error *err) {
    rt_vocab im = {.memory = files,
                   .n_memory = n_files,
                   .n_vocab_config = n_vocab_config,
                   .meta = meta,
                   .report = report,
                   .err = err};
    return import_all(&im);
}
