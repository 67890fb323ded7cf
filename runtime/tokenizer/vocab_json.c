/* Importing tokenizer.json: vocabulary, added tokens, merges, normaliser and pre-tokenizer. */
#include "runtime/tokenizer/json_spec.h"
#include "runtime/tokenizer/vocab_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the vocabulary ---------------------------------------------------------------------- */

typedef struct vocab_size {
    uint64_t n_ids, n_texts, text_bytes;
} vocab_size;

static void measure(vocab_size *size, uint64_t id, size_t text_bytes) {
    size->n_texts++;
    size->text_bytes += text_bytes;
    if (id >= size->n_ids) size->n_ids = id < UINT32_MAX ? id + 1 : UINT32_MAX;
}

static gguf_code measure_tokens(rt_vocab *im, const json_t *vocab, const json_t *added,
                                vocab_size *size) {
    const char *key;
    json_t *value;
    uint64_t id = 0;
    size_t i, n;
    json_object_keylen_foreach((json_t *)vocab, key, n, value) {
        if (!gguf_json_u64(value, &id))
            return rt_vocab_fail(im, GGUF_E_FORMAT, "token '%.100s' without a number", key);
        measure(size, id, n);
    }
    json_array_foreach(vocab, i, value) {
        if (!json_is_string(json_array_get(value, 0)) || !json_is_number(json_array_get(value, 1)))
            return rt_vocab_fail(im, GGUF_E_FORMAT, "token %zu is not a pair of a text and a score",
                                 i);
        measure(size, i, json_string_length(json_array_get(value, 0)));
    }
    json_array_foreach(added, i, value) {
        if (!gguf_json_u64(json_object_get(value, "id"), &id) ||
            !json_is_string(json_object_get(value, "content")))
            return rt_vocab_fail(im, GGUF_E_FORMAT, "added token %zu without 'id' or 'content'", i);
        if (!rt_vocab_is_beyond(im, id))
            measure(size, id, json_string_length(json_object_get(value, "content")));
    }
    return GGUF_OK;
}

/* How GGUF spells a WordPiece token: words start with U+2581, the rest has no mark. */
static gguf_str wordpiece_text(rt_vocab *im, gguf_str text) {
    if (text.len >= 2 && memcmp(text.ptr, "##", 2) == 0)
        return (gguf_str){text.ptr + 2, text.len - 2};
    return rt_vocab_text(im, RT_META_SPACE, text);
}

static gguf_code put_vocab(rt_vocab *im, const json_t *vocab) {
    const char *key;
    json_t *value;
    uint64_t id = 0;
    size_t i, n;
    gguf_code code;
    json_object_keylen_foreach((json_t *)vocab, key, n, value) {
        gguf_json_u64(value, &id);
        if ((code = rt_vocab_token(im, id, (gguf_str){key, n}, RT_TOKEN_NORMAL, 0))) return code;
    }
    json_array_foreach(vocab, i, value) {
        float score = (float)json_number_value(json_array_get(value, 1));
        if ((code = rt_vocab_token(im, i, rt_json_str(json_array_get(value, 0)), RT_TOKEN_NORMAL,
                                   score)))
            return code;
    }
    return GGUF_OK;
}

static uint8_t flags_of(const json_t *token) {
    bool special = rt_spec_bool(token, "special", false);
    return (uint8_t)(RT_ADDED_LISTED |
                     (rt_spec_bool(token, "lstrip", false) ? RT_ADDED_LSTRIP : 0) |
                     (rt_spec_bool(token, "rstrip", false) ? RT_ADDED_RSTRIP : 0) |
                     (rt_spec_bool(token, "single_word", false) ? RT_ADDED_SINGLE_WORD : 0) |
                     (rt_spec_bool(token, "normalized", !special) ? RT_ADDED_NORMALIZED : 0) |
                     (special ? RT_ADDED_SPECIAL : 0));
}

static gguf_code put_added(rt_vocab *im, const json_t *added) {
    json_t *token;
    uint64_t id = 0;
    size_t i;
    json_array_foreach(added, i, token) {
        gguf_str text = rt_json_str(json_object_get(token, "content"));
        uint8_t flags = flags_of(token);
        bool control = (flags & RT_ADDED_SPECIAL) || rt_vocab_looks_special(text);
        gguf_json_u64(json_object_get(token, "id"), &id);
        if (rt_vocab_is_beyond(im, id)) {
            rt_vocab_leave_out(im, id, text);
            continue;
        }
        gguf_code code =
            rt_vocab_token(im, id, text, control ? RT_TOKEN_CONTROL : RT_TOKEN_USER_DEFINED,
                           im->has_scores ? -1000.0f : 0);
        if (code) return code;
        im->flags[id] = flags;
    }
    return GGUF_OK;
}

/* Spell the tokens as GGUF does, once their types are known. */
static void respell_wordpiece(rt_vocab *im) {
    for (uint32_t id = 0; id < im->n; id++)
        if (im->texts[id].ptr && im->types[id] == RT_TOKEN_NORMAL)
            im->texts[id] = wordpiece_text(im, im->texts[id]);
}

static gguf_code read_tokens(rt_vocab *im, const json_t *model) {
    const json_t *vocab = json_object_get(model, "vocab");
    const json_t *added = json_object_get(im->files[RT_FILE_TOKENIZER], "added_tokens");
    vocab_size size = {0};
    bool list = im->kind == RT_MODEL_UNIGRAM;
    if (list ? !json_is_array(vocab) : !json_is_object(vocab))
        return rt_vocab_fail(im, GGUF_E_FORMAT, "'model.vocab' is missing or not %s",
                             list ? "array" : "object");
    if (added && !json_is_null(added) && !json_is_array(added))
        return rt_vocab_fail(im, GGUF_E_FORMAT, "'added_tokens' is not an array");
    gguf_code code = measure_tokens(im, vocab, added, &size);
    if (!code && !size.n_texts) code = rt_vocab_fail(im, GGUF_E_FORMAT, "the vocabulary is empty");
    if (!code) code = rt_vocab_reserve(im, size.n_ids, size.n_texts, size.text_bytes);
    if (!code) code = put_vocab(im, vocab);
    if (!code) code = put_added(im, added);
    if (!code && im->kind == RT_MODEL_WORDPIECE) respell_wordpiece(im);
    return code ? code : rt_vocab_finish_tokens(im);
}

/* ---- merges ------------------------------------------------------------------------------ */

typedef struct merge {
    gguf_str left, right;
} merge;

static bool read_merge(const json_t *value, merge *out) {
    if (json_is_array(value) && json_array_size(value) == 2) {
        *out =
            (merge){rt_json_str(json_array_get(value, 0)), rt_json_str(json_array_get(value, 1))};
        return out->left.ptr && out->right.ptr;
    }
    gguf_str text = rt_json_str(value);
    const char *space = text.ptr ? memchr(text.ptr, ' ', text.len) : NULL;
    if (!space) return false;
    size_t n = (size_t)(space - text.ptr);
    *out = (merge){{text.ptr, n}, {space + 1, text.len - n - 1}};
    return !memchr(space + 1, ' ', text.len - n - 1);
}

/* Copy "left right" to `at` and find the ids; false if a part, or both joined, are no token. */
static bool resolve_merge(const rt_vocab *im, const merge *m, char *at, uint32_t ids[2],
                          int32_t *joined) {
    int32_t left = rt_vocab_find(im, m->left), right = rt_vocab_find(im, m->right);
    memcpy(at, m->left.ptr, m->left.len);
    memcpy(at + m->left.len, m->right.ptr, m->right.len);
    *joined = rt_vocab_find(im, (gguf_str){at, m->left.len + m->right.len});
    memmove(at + m->left.len + 1, at + m->left.len, m->right.len);
    at[m->left.len] = ' ';
    ids[0] = (uint32_t)left;
    ids[1] = (uint32_t)right;
    return left >= 0 && right >= 0 && *joined >= 0;
}

typedef struct merge_list {
    gguf_str *texts;
    uint32_t *pairs;
    char *arena;
} merge_list;

static gguf_code measure_merges(rt_vocab *im, const json_t *merges, size_t *n_bytes) {
    size_t i;
    json_t *value;
    merge m;
    *n_bytes = 1;
    json_array_foreach(merges, i, value) {
        if (!read_merge(value, &m))
            return rt_vocab_fail(im, GGUF_E_FORMAT, "merge %zu is not a pair of texts", i);
        *n_bytes += m.left.len + m.right.len + 1;
    }
    return GGUF_OK;
}

static gguf_code fill_merges(rt_vocab *im, const json_t *merges, merge_list *list) {
    size_t i, used = 0;
    json_t *value;
    merge m;
    int32_t joined;
    json_array_foreach(merges, i, value) {
        read_merge(value, &m);
        char *at = list->arena + used;
        size_t n = m.left.len + m.right.len + 1;
        if (!resolve_merge(im, &m, at, &list->pairs[2 * i], &joined))
            return rt_vocab_fail(im, GGUF_E_FORMAT,
                                 "merge %zu '%.*s' names or makes a text that is not a token", i,
                                 (int)(n < 100 ? n : 100), at);
        list->texts[i] = (gguf_str){at, n};
        used += n;
        if (!im->byte_level && im->types[joined] == RT_TOKEN_NORMAL && im->scores[joined] == 0)
            im->scores[joined] = -(float)(i + 1);
    }
    return GGUF_OK;
}

static gguf_code read_merges(rt_vocab *im, const json_t *model, merge_list *list) {
    const json_t *merges = json_object_get(model, "merges");
    size_t n_bytes;
    if (!json_is_array(merges))
        return rt_vocab_fail(im, GGUF_E_FORMAT, "'model.merges' is missing or not an array");
    size_t n = json_array_size(merges);
    gguf_code code = measure_merges(im, merges, &n_bytes);
    if (code) return code;
    list->texts = malloc((n + 1) * sizeof *list->texts);
    list->pairs = malloc((n + 1) * 2 * sizeof *list->pairs);
    list->arena = malloc(n_bytes);
    if (!list->texts || !list->pairs || !list->arena) return rt_vocab_no_memory(im);
    return fill_merges(im, merges, list);
}

static void merges_clear(merge_list *list) {
    free(list->texts);
    free(list->pairs);
    free(list->arena);
}

/* ---- keys of our own --------------------------------------------------------------------- */

static gguf_code set_json(rt_vocab *im, const char *key, const json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT);
    if (!text) return rt_vocab_no_memory(im);
    gguf_meta_set_str(im->meta, key, gguf_str_of(text));
    free(text);
    return GGUF_OK;
}

static gguf_code check_parts(rt_vocab *im, const json_t *normalizer, const json_t *pre_spec) {
    rt_normalizer *nm = NULL;
    rt_pretokenizer *pre = NULL;
    gguf_error err = {0};
    gguf_code code = rt_normalizer_new(normalizer, &nm, &err);
    if (!code) code = rt_pretokenizer_new(pre_spec, &pre, &err);
    if (!code) im->byte_level = rt_pretokenizer_is_byte_level(pre);
    rt_normalizer_free(nm);
    rt_pretokenizer_free(pre);
    return code ? rt_vocab_fail(im, code, "%s", err.message) : GGUF_OK;
}

static bool same_bytes(const gguf_dynbuf *a, const gguf_dynbuf *b) {
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* Find the known name whose steps are those of the file. */
static gguf_code recognise(rt_vocab *im, const json_t *spec) {
    gguf_dynbuf steps, other;
    const rt_known_pre *known;
    gguf_dynbuf_init(&steps, 64u << 20);
    gguf_dynbuf_init(&other, 64u << 20);
    gguf_code code = rt_pretokenizer_describe(spec, &steps, im->err);
    for (size_t i = 0; !code && !im->known && (known = rt_known_pre_at(i)); i++) {
        json_t *known_spec = rt_known_pre_spec(known);
        other.len = 0;
        code = rt_pretokenizer_describe(known_spec, &other, im->err);
        if (!code && same_bytes(&steps, &other)) im->known = known;
        json_decref(known_spec);
    }
    gguf_dynbuf_clear(&steps);
    gguf_dynbuf_clear(&other);
    return code;
}

/* The presence of the pre-tokenizer's key tells that the text is cut as tokenizer.json says. */
static gguf_code write_pre(rt_vocab *im, const json_t *pre) {
    static const char none[] = "{\"type\":\"Sequence\",\"pretokenizers\":[]}";
    if (pre && !json_is_null(pre)) return set_json(im, "tokenizer.ggufkit.pre_tokenizer", pre);
    gguf_meta_set_str(im->meta, "tokenizer.ggufkit.pre_tokenizer", gguf_str_of(none));
    return GGUF_OK;
}

static gguf_code write_pipeline(rt_vocab *im, const json_t *normalizer, const json_t *pre) {
    gguf_code code = GGUF_OK;
    if (normalizer && !json_is_null(normalizer))
        code = set_json(im, "tokenizer.ggufkit.normalizer", normalizer);
    return code || im->known ? code : write_pre(im, pre);
}

/* ---- BPE --------------------------------------------------------------------------------- */

static gguf_code check_bpe(rt_vocab *im, const json_t *model) {
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++)
        if (rt_spec_text(model, affixes[i], "")[0])
            return rt_vocab_fail(im, GGUF_E_UNSUPPORTED, "BPE with '%s'", affixes[i]);
    if (json_number_value(json_object_get(model, "dropout")) > 0)
        rt_vocab_warn(im, "the model's dropout of merges is left out");
    return GGUF_OK;
}

static void type_bytes_and_unknown(rt_vocab *im, const json_t *model) {
    int32_t unknown = rt_vocab_find(im, gguf_str_of(rt_spec_text(model, "unk_token", "")));
    if (unknown >= 0) im->types[unknown] = RT_TOKEN_UNKNOWN;
    for (uint32_t id = 0; id < im->n; id++) {
        gguf_str text = im->texts[id];
        if (im->types[id] == RT_TOKEN_NORMAL && text.len == 6 && memcmp(text.ptr, "<0x", 3) == 0 &&
            text.ptr[5] == '>')
            im->types[id] = RT_TOKEN_BYTE;
    }
}

static bool has_space_prefix(const json_t *normalizer, const json_t *pre) {
    char *a = json_dumps(normalizer, JSON_COMPACT | JSON_ENCODE_ANY),
         *b = json_dumps(pre, JSON_COMPACT | JSON_ENCODE_ANY);
    bool found = (a && strstr(a, "\"Prepend\"")) ||
                 (b && strstr(b, "\"Metaspace\"") && !strstr(b, "\"never\""));
    free(a);
    free(b);
    return found;
}

static gguf_code write_byte_level(rt_vocab *im, const json_t *model, const merge_list *merges,
                                  size_t n, const json_t *normalizer, const json_t *pre) {
    bool ignore = rt_spec_bool(model, "ignore_merges", false);
    gguf_code code = recognise(im, pre);
    if (code) return code;
    if (!im->known)
        rt_vocab_warn(im, "the pre-tokenizer has no known name; its expressions are stored under "
                          "tokenizer.ggufkit.pre_tokenizer, which other programs do not read");
    rt_vocab_write_tokens(im, "gpt2", im->known ? im->known->name : "ggufkit");
    gguf_meta_set_str_array(im->meta, "tokenizer.ggml.merges", n, merges->texts);
    if ((code = write_pipeline(im, normalizer, pre))) return code;
    if (ignore != (im->known && im->known->ignore_merges))
        gguf_meta_set_bool(im->meta, "tokenizer.ggufkit.ignore_merges", ignore);
    return GGUF_OK;
}

/* Spaces become U+2581, and a split at spaces then finds none. */
static bool only_marks_spaces(const json_t *normalizer, const json_t *pre) {
    const char *type = rt_spec_text(normalizer, "type", "");
    const json_t *pattern = json_object_get(normalizer, "pattern");
    bool replaces = strcmp(type, "Replace") == 0 &&
                    strcmp(rt_spec_text(pattern, "String", ""), " ") == 0 &&
                    strcmp(rt_spec_text(normalizer, "content", ""), "\u2581") == 0;
    bool splits = strcmp(rt_spec_text(pre, "type", ""), "Split") == 0 &&
                  strcmp(rt_spec_text(json_object_get(pre, "pattern"), "String", ""), " ") == 0;
    return replaces && (splits || !pre || json_is_null(pre));
}

/* Whether no token goes from one line into the next, and every byte is a token. */
static bool is_by_lines(const rt_vocab *im) {
    for (uint32_t id = 0; id < im->n; id++) {
        gguf_str text = im->texts[id];
        size_t n_ends = 0;
        for (size_t i = 0; i < text.len; i++) n_ends += text.ptr[i] == '\n';
        if (im->types[id] == RT_TOKEN_NORMAL && n_ends && n_ends < text.len) return false;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        if (rt_vocab_find(im, gguf_str_of(name)) < 0) return false;
    }
    return true;
}

static gguf_code write_char_level(rt_vocab *im, const json_t *model, const merge_list *merges,
                                  size_t n, const json_t *normalizer, const json_t *pre) {
    im->has_scores = true;
    im->add_dummy_prefix = has_space_prefix(normalizer, pre);
    type_bytes_and_unknown(im, model);
    if (rt_spec_bool(model, "byte_fallback", false) &&
        !rt_spec_bool(model, "ignore_merges", false) && only_marks_spaces(normalizer, pre) &&
        is_by_lines(im)) {
        rt_vocab_write_tokens(im, "gemma4", NULL);
        gguf_meta_set_str_array(im->meta, "tokenizer.ggml.merges", n, merges->texts);
        return GGUF_OK;
    }
    rt_vocab_write_tokens(im, "llama", "default");
    gguf_meta_set_array(im->meta, "tokenizer.ggufkit.merges", GGUF_VALUE_U32, 2 * n, merges->pairs);
    gguf_meta_set_bool(im->meta, "tokenizer.ggufkit.fuse_unknown",
                       rt_spec_bool(model, "fuse_unk", false));
    gguf_meta_set_bool(im->meta, "tokenizer.ggufkit.byte_fallback",
                       rt_spec_bool(model, "byte_fallback", false));
    if (rt_spec_bool(model, "ignore_merges", false))
        gguf_meta_set_bool(im->meta, "tokenizer.ggufkit.ignore_merges", true);
    return write_pipeline(im, normalizer, pre);
}

static gguf_code import_bpe(rt_vocab *im, const json_t *model, const json_t *normalizer,
                            const json_t *pre) {
    merge_list merges = {0};
    gguf_code code = check_bpe(im, model);
    size_t n = json_array_size(json_object_get(model, "merges"));
    if (!code) code = read_tokens(im, model);
    if (!code) code = read_merges(im, model, &merges);
    if (!code && im->byte_level)
        code = write_byte_level(im, model, &merges, n, normalizer, pre);
    else if (!code)
        code = write_char_level(im, model, &merges, n, normalizer, pre);
    merges_clear(&merges);
    return code;
}

/* ---- WordPiece and unigram --------------------------------------------------------------- */

/* Whether standard keys say all of a BertNormalizer. */
static bool is_plain_bert(const json_t *normalizer, const json_t *pre) {
    return strcmp(rt_spec_text(normalizer, "type", ""), "BertNormalizer") == 0 &&
           rt_spec_bool(normalizer, "clean_text", true) &&
           rt_spec_bool(normalizer, "handle_chinese_chars", true) &&
           strcmp(rt_spec_text(pre, "type", ""), "BertPreTokenizer") == 0;
}

static gguf_code import_wordpiece(rt_vocab *im, const json_t *model, const json_t *normalizer,
                                  const json_t *pre) {
    uint64_t max_chars = 100;
    gguf_code code = GGUF_OK;
    if (strcmp(rt_spec_text(model, "continuing_subword_prefix", "##"), "##") != 0)
        return rt_vocab_fail(im, GGUF_E_UNSUPPORTED, "a WordPiece prefix other than '##'");
    if ((code = read_tokens(im, model))) return code;
    rt_vocab_write_tokens(im, "bert", "bert-bge");
    im->model_ids[RT_SPECIAL_UNKNOWN] =
        rt_vocab_find(im, gguf_str_of(rt_spec_text(model, "unk_token", "[UNK]")));
    if (gguf_json_u64(json_object_get(model, "max_input_chars_per_word"), &max_chars) &&
        max_chars != 100)
        gguf_meta_set_u32(im->meta, "tokenizer.ggufkit.max_word_chars", (uint32_t)max_chars);
    return is_plain_bert(normalizer, pre) ? GGUF_OK : write_pipeline(im, normalizer, pre);
}

static gguf_code import_unigram(rt_vocab *im, const json_t *model, const json_t *normalizer,
                                const json_t *pre) {
    uint64_t unknown;
    im->has_scores = true;
    gguf_code code = read_tokens(im, model);
    if (code) return code;
    if (gguf_json_u64(json_object_get(model, "unk_id"), &unknown) && unknown < im->n) {
        im->types[unknown] = RT_TOKEN_UNKNOWN;
        im->model_ids[RT_SPECIAL_UNKNOWN] = (int32_t)unknown;
    }
    type_bytes_and_unknown(im, model);
    rt_vocab_write_tokens(im, "t5", "default");
    gguf_meta_set_bool(im->meta, "tokenizer.ggml.add_space_prefix",
                       has_space_prefix(normalizer, pre));
    gguf_meta_set_bool(im->meta, "tokenizer.ggufkit.byte_fallback",
                       rt_spec_bool(model, "byte_fallback", false));
    return write_pipeline(im, normalizer, pre);
}

gguf_code rt_vocab_read_json(rt_vocab *im) {
    const json_t *root = im->files[RT_FILE_TOKENIZER], *model = json_object_get(root, "model");
    const json_t *normalizer = json_object_get(root, "normalizer"),
                 *pre = json_object_get(root, "pre_tokenizer");
    const char *type = rt_spec_text(model, "type", json_object_get(model, "merges") ? "BPE" : "");
    if (!json_is_object(model))
        return rt_vocab_fail(im, GGUF_E_FORMAT, "'model' is missing or not an object");
    gguf_code code = check_parts(im, normalizer, pre);
    if (code) return code;
    im->kind = strcmp(type, "Unigram") == 0     ? RT_MODEL_UNIGRAM
               : strcmp(type, "WordPiece") == 0 ? RT_MODEL_WORDPIECE
                                                : RT_MODEL_BPE;
    if (strcmp(type, "BPE") == 0) return import_bpe(im, model, normalizer, pre);
    if (im->kind == RT_MODEL_WORDPIECE) return import_wordpiece(im, model, normalizer, pre);
    if (im->kind == RT_MODEL_UNIGRAM) return import_unigram(im, model, normalizer, pre);
    return rt_vocab_fail(im, GGUF_E_UNSUPPORTED, "tokenizer model type '%s'", type);
}
