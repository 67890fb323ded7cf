/* tokenizer.json, tokenizer_config.json, generation_config.json and chat templates from the
 * tokenizer's keys. */
#include "runtime/export/export_internal.h"
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name)  ".tokenizer.ggml." name
#define OURS(name) ".tokenizer.ggufkit." name

typedef struct making {
    rt_export *e;
    rt_tokenizer *tok;
    gguf_str model; /* tokenizer.ggml.model */
} making;

static json_t *text_of(gguf_str text) {
    return gguf_json_bytes(text.ptr, text.len);
}

static bool flag_of(const making *m, const char *key, bool fallback) {
    bool flag;
    return gguf_kv_bool(rt_export_key(m->e, key), &flag) ? flag : fallback;
}

/* JSON that a key holds as a text; NULL if there is none. */
static json_t *json_of_key(const making *m, const char *key) {
    gguf_str text;
    json_t *json = NULL;
    if (gguf_kv_str(rt_export_key(m->e, key), &text))
        gguf_json_parse(text.ptr, text.len, GGUF_JSON_WIDE_INTS, NULL, GGUF_NO_OFFSET, &json, NULL);
    return json;
}

static bool is_filler(const rt_token *token) {
    return token->type == RT_TOKEN_UNUSED && token->piece.len > 5 &&
           memcmp(token->piece.ptr, "[PAD", 4) == 0;
}

/* ---- added tokens ------------------------------------------------------------------------ */

/* SentencePiece cuts these out of texts whose spaces are marked: one with a plain space is never
 * found. */
static bool is_user_defined(const making *m, uint32_t id) {
    gguf_str piece = m->tok->tokens[id].piece;
    if (piece.len && memchr(piece.ptr, ' ', piece.len)) return false;
    gguf_kv_iter it = {.kv = rt_export_key(m->e, OURS("user_defined"))};
    int64_t other;
    while (it.kv && gguf_kv_next_i64(&it, &other))
        if (other == (int64_t)id) return true;
    return false;
}

static bool is_added(const making *m, uint32_t id) {
    const rt_token *token = &m->tok->tokens[id];
    return token->type == RT_TOKEN_CONTROL || token->type == RT_TOKEN_USER_DEFINED ||
           token->type == RT_TOKEN_UNKNOWN || (token->added & RT_ADDED_LISTED) ||
           is_user_defined(m, id);
}

static json_t *added_token(const making *m, uint32_t id) {
    const rt_token *token = &m->tok->tokens[id];
    bool listed = token->added & RT_ADDED_LISTED;
    bool special = listed ? token->added & RT_ADDED_SPECIAL
                          : token->type == RT_TOKEN_CONTROL || token->type == RT_TOKEN_UNKNOWN;
    bool normalized = listed && token->added & RT_ADDED_NORMALIZED;
    return json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (int)id, "content",
                     text_of(token->piece), "single_word",
                     (int)(listed && token->added & RT_ADDED_SINGLE_WORD), "lstrip",
                     (int)(listed && token->added & RT_ADDED_LSTRIP), "rstrip",
                     (int)(listed && token->added & RT_ADDED_RSTRIP), "normalized", (int)normalized,
                     "special", (int)special);
}

static json_t *added_tokens(const making *m) {
    json_t *list = json_array();
    for (uint32_t id = 0; id < m->tok->n_tokens; id++)
        if (is_added(m, id)) json_array_append_new(list, added_token(m, id));
    return list;
}

/* ---- the vocabulary ---------------------------------------------------------------------- */

/* How a WordPiece token is spelt there: a word as it is, the rest of one behind "##". */
static json_t *wordpiece_text(gguf_str piece) {
    char *text = malloc(piece.len + 3);
    size_t n_mark = strlen(RT_META_SPACE);
    bool word = piece.len >= n_mark && memcmp(piece.ptr, RT_META_SPACE, n_mark) == 0;
    if (!text) return NULL;
    memcpy(text, "##", 2);
    memcpy(text + 2, piece.ptr, piece.len);
    json_t *json = word ? gguf_json_bytes(piece.ptr + n_mark, piece.len - n_mark)
                        : gguf_json_bytes(text, piece.len + 2);
    free(text);
    return json;
}

static json_t *spelling(const making *m, uint32_t id) {
    const rt_token *token = &m->tok->tokens[id];
    bool respelt = m->tok->kind == RT_MODEL_WORDPIECE && token->type == RT_TOKEN_NORMAL;
    return respelt ? wordpiece_text(token->piece) : text_of(token->piece);
}

static json_t *vocab_of(const making *m) {
    json_t *vocab = json_object();
    for (uint32_t id = 0; id < m->tok->n_tokens; id++) {
        json_t *text = is_filler(&m->tok->tokens[id]) ? NULL : spelling(m, id);
        if (text)
            json_object_setn_new(vocab, json_string_value(text), json_string_length(text),
                                 json_integer(id));
        json_decref(text);
    }
    return vocab;
}

static json_t *scored_vocab(const making *m) {
    json_t *vocab = json_array();
    for (uint32_t id = 0; id < m->tok->n_tokens; id++) {
        const rt_token *token = &m->tok->tokens[id];
        json_array_append_new(
            vocab, json_pack("[o, o]", text_of(token->piece), rt_export_real(token->score)));
    }
    return vocab;
}

/* ---- merges ------------------------------------------------------------------------------ */

static json_t *pair_of(gguf_str left, gguf_str right) {
    return json_pack("[o, o]", text_of(left), text_of(right));
}

/* "left right" each. */
static json_t *merges_by_text(const making *m) {
    json_t *list = json_array();
    gguf_kv_iter it = {.kv = rt_export_key(m->e, KEY("merges"))};
    gguf_str text;
    while (it.kv && gguf_kv_next_str(&it, &text)) {
        const char *space = text.len > 1 ? memchr(text.ptr + 1, ' ', text.len - 1) : NULL;
        size_t n = space ? (size_t)(space - text.ptr) : text.len;
        if (space)
            json_array_append_new(
                list, pair_of((gguf_str){text.ptr, n}, (gguf_str){space + 1, text.len - n - 1}));
    }
    return list;
}

static json_t *merges_by_id(const making *m) {
    json_t *list = json_array();
    gguf_kv_iter it = {.kv = rt_export_key(m->e, OURS("merges"))};
    int64_t left, right;
    while (gguf_kv_next_i64(&it, &left) && gguf_kv_next_i64(&it, &right))
        json_array_append_new(list, pair_of(rt_token_piece(m->tok, (int32_t)left),
                                            rt_token_piece(m->tok, (int32_t)right)));
    return list;
}

/* Of a SentencePiece model: any two tokens that make a third, by its score, then by their ids. */
typedef struct scored_merge {
    float score;
    int32_t left, right;
    uint32_t made;
} scored_merge;

static int compare_merges(const void *a, const void *b) {
    const scored_merge *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->made != y->made) return x->made < y->made ? -1 : 1;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

typedef struct merge_list {
    scored_merge *items;
    size_t n, room;
} merge_list;

static bool add_merge(merge_list *list, const scored_merge *merge) {
    if (list->n == list->room) {
        size_t room = list->room ? 2 * list->room : 4096;
        void *grown = realloc(list->items, room * sizeof *list->items);
        if (!grown) return false;
        list->items = grown;
        list->room = room;
    }
    list->items[list->n++] = *merge;
    return true;
}

static bool split_token(const rt_tokenizer *tok, uint32_t id, merge_list *list) {
    const rt_token *token = &tok->tokens[id];
    gguf_str piece = token->piece;
    if (token->type != RT_TOKEN_NORMAL) return true;
    for (size_t i = 1; i < piece.len; i++) {
        if (((uint8_t)piece.ptr[i] & 0xC0) == 0x80) continue;
        int32_t left = rt_find_piece(tok, piece.ptr, i),
                right = rt_find_piece(tok, piece.ptr + i, piece.len - i);
        if (left >= 0 && right >= 0 &&
            !add_merge(list, &(scored_merge){token->score, left, right, id}))
            return false;
    }
    return true;
}

static json_t *merges_by_score(const making *m) {
    merge_list list = {0};
    json_t *merges = json_array();
    bool fits = true;
    for (uint32_t id = 0; id < m->tok->n_tokens && fits; id++)
        fits = split_token(m->tok, id, &list);
    if (list.n) qsort(list.items, list.n, sizeof *list.items, compare_merges);
    for (size_t i = 0; i < list.n && fits; i++)
        json_array_append_new(merges, pair_of(rt_token_piece(m->tok, list.items[i].left),
                                              rt_token_piece(m->tok, list.items[i].right)));
    free(list.items);
    return merges;
}

/* ---- models ------------------------------------------------------------------------------ */

static json_t *unknown_token(const making *m) {
    int32_t id = rt_tokenizer_special(m->tok, RT_SPECIAL_UNKNOWN);
    return id < 0 ? json_null() : text_of(rt_token_piece(m->tok, id));
}

static json_t *bpe_model(const making *m) {
    bool spm = m->tok->kind == RT_MODEL_SPM;
    json_t *merges = spm                                   ? merges_by_score(m)
                     : rt_export_key(m->e, OURS("merges")) ? merges_by_id(m)
                                                           : merges_by_text(m);
    bool fallback = spm || m->tok->byte_fallback || m->tok->by_lines;
    return json_pack(
        "{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
        m->tok->byte_level || m->tok->plain_spaces ? json_null() : unknown_token(m),
        "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
        (int)(spm || m->tok->fuse_unknown), "byte_fallback", (int)fallback, "ignore_merges",
        (int)m->tok->ignore_merges, "vocab", vocab_of(m), "merges", merges);
}

static json_t *unigram_model(const making *m) {
    int32_t unknown = rt_tokenizer_special(m->tok, RT_SPECIAL_UNKNOWN);
    return json_pack("{s:s, s:o, s:o, s:b}", "type", "Unigram", "unk_id",
                     unknown < 0 ? json_null() : json_integer(unknown), "vocab", scored_vocab(m),
                     "byte_fallback", (int)m->tok->byte_fallback);
}

static json_t *wordpiece_model(const making *m) {
    return json_pack("{s:s, s:o, s:s, s:i, s:o}", "type", "WordPiece", "unk_token",
                     unknown_token(m), "continuing_subword_prefix", "##",
                     "max_input_chars_per_word", (int)m->tok->max_word_chars, "vocab", vocab_of(m));
}

static json_t *model_of(const making *m) {
    if (m->tok->kind == RT_MODEL_UNIGRAM) return unigram_model(m);
    return m->tok->kind == RT_MODEL_WORDPIECE ? wordpiece_model(m) : bpe_model(m);
}

/* ---- normalisers and pre-tokenizers --------------------------------------------------------- */

static json_t *replace_spaces(void) {
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ", "content",
                     RT_META_SPACE);
}

static json_t *base64_of(const gguf_kv *kv) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc(kv->n_bytes / 3 * 4 + 8);
    size_t n = 0;
    if (!text) return NULL;
    for (size_t i = 0; i < kv->n_bytes; i += 3) {
        size_t left = kv->n_bytes - i;
        uint32_t bits = (uint32_t)kv->data[i] << 16;
        if (left > 1) bits |= (uint32_t)kv->data[i + 1] << 8;
        if (left > 2) bits |= kv->data[i + 2];
        text[n++] = digits[bits >> 18];
        text[n++] = digits[bits >> 12 & 63];
        text[n++] = left > 1 ? digits[bits >> 6 & 63] : '=';
        text[n++] = left > 2 ? digits[bits & 63] : '=';
    }
    json_t *json = json_stringn(text, n);
    free(text);
    return json;
}

/* SentencePiece's own: its map of characters, and runs of spaces as one. */
static json_t *sentencepiece_normalizer(const making *m) {
    const gguf_kv *map = rt_export_key(m->e, KEY("precompiled_charsmap"));
    json_t *list = json_array();
    if (map && map->n_bytes)
        json_array_append_new(list, json_pack("{s:s, s:o}", "type", "Precompiled",
                                              "precompiled_charsmap", base64_of(map)));
    if (m->tok->remove_extra_spaces) {
        json_array_append_new(
            list, json_pack("{s:s, s:b, s:b}", "type", "Strip", "strip_left", 0, "strip_right", 1));
        json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern",
                                              "Regex", " {2,}", "content", " "));
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list);
}

static json_t *bert_normalizer(const making *m) {
    bool strip;
    bool lower = flag_of(m, KEY("normalizer.lowercase"), true);
    bool says = gguf_kv_bool(rt_export_key(m->e, KEY("normalizer.strip_accents")), &strip);
    return json_pack("{s:s, s:b, s:b, s:o, s:b}", "type", "BertNormalizer", "clean_text", 1,
                     "handle_chinese_chars", 1, "strip_accents",
                     says ? json_boolean(strip) : json_null(), "lowercase", (int)lower);
}

static json_t *spm_normalizer(const making *m) {
    if (!m->tok->space_prefix) return replace_spaces();
    return json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type",
                     "Prepend", "prepend", RT_META_SPACE, replace_spaces());
}

static json_t *normalizer_of(const making *m) {
    json_t *stored = json_of_key(m, OURS("normalizer"));
    if (stored) return stored;
    if (m->tok->by_lines) return replace_spaces();
    if (m->tok->plain_spaces)
        return flag_of(m, KEY("normalizer.lowercase"), false)
                   ? json_pack("{s:s}", "type", "Lowercase")
                   : json_null();
    if (m->tok->kind == RT_MODEL_SPM)
        return m->tok->space_after_special ? spm_normalizer(m) : json_null();
    if (m->tok->kind == RT_MODEL_UNIGRAM && m->tok->sentencepiece)
        return sentencepiece_normalizer(m);
    if (m->tok->kind == RT_MODEL_WORDPIECE && !rt_export_key(m->e, OURS("pre_tokenizer")))
        return bert_normalizer(m);
    return json_null();
}

static json_t *metaspace(const char *scheme, bool split) {
    return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", RT_META_SPACE,
                     "prepend_scheme", scheme, "split", (int)split);
}

static json_t *pre_tokenizer_of(const making *m) {
    json_t *stored = json_of_key(m, OURS("pre_tokenizer"));
    gguf_str name;
    char text[64];
    if (stored) return stored;
    if (m->tok->plain_spaces) return json_pack("{s:s}", "type", "WhitespaceSplit");
    if (m->tok->by_lines || (m->tok->kind == RT_MODEL_SPM && m->tok->space_after_special))
        return json_null();
    if (m->tok->kind == RT_MODEL_SPM)
        return metaspace(m->tok->space_prefix ? "first" : "never", false);
    if (m->tok->kind == RT_MODEL_UNIGRAM)
        return metaspace(m->tok->space_prefix ? "always" : "never", true);
    if (m->tok->kind == RT_MODEL_WORDPIECE) return json_pack("{s:s}", "type", "BertPreTokenizer");
    if (!m->tok->byte_level || !gguf_kv_str(rt_export_key(m->e, KEY("pre")), &name))
        return json_null();
    snprintf(text, sizeof text, "%.*s", (int)name.len, name.ptr);
    const rt_known_pre *known = rt_known_pre_find(text);
    return known ? rt_known_pre_spec(known) : json_null();
}

static json_t *decoder_of(const making *m) {
    if (m->tok->byte_level) return json_pack("{s:s}", "type", "ByteLevel");
    if (m->tok->kind == RT_MODEL_WORDPIECE)
        return json_pack("{s:s, s:s, s:b}", "type", "WordPiece", "prefix", "##", "cleanup", 1);
    if (m->tok->kind == RT_MODEL_UNIGRAM)
        return metaspace(m->tok->space_prefix ? "always" : "never", true);
    if (m->tok->plain_spaces) return json_null();
    json_t *steps =
        json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String",
                  RT_META_SPACE, "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (m->tok->space_prefix)
        json_array_append_new(steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content",
                                               " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

/* ---- what stands around a text --------------------------------------------------------------- */

static void add_special(const making *m, json_t *list, json_t *specials, int32_t id, int type) {
    gguf_str text = rt_token_piece(m->tok, id);
    json_t *name = text_of(text);
    json_array_append_new(list,
                          json_pack("{s:{s:O, s:i}}", "SpecialToken", "id", name, "type_id", type));
    json_object_set_new(
        specials, json_string_value(name),
        json_pack("{s:O, s:[i], s:[O]}", "id", name, "ids", (int)id, "tokens", name));
    json_decref(name);
}

static void add_text(const making *m, json_t *list, json_t *specials, const char *name, int type,
                     bool with_prefix) {
    const rt_ids *prefix = &m->tok->prefix, *suffix = &m->tok->suffix;
    for (size_t i = 0; i < prefix->n && with_prefix; i++)
        add_special(m, list, specials, prefix->data[i], type);
    json_array_append_new(list,
                          json_pack("{s:{s:s, s:i}}", "Sequence", "id", name, "type_id", type));
    for (size_t i = 0; i < suffix->n; i++) add_special(m, list, specials, suffix->data[i], type);
}

/* A pair is a text behind another; encoders of BERT's kind have no second prefix, and RoBERTa's
 * repeat the suffix between the two. */
static json_t *processor_of(const making *m) {
    json_t *single = json_array(), *pair = json_array(), *specials = json_object();
    bool wordpiece = m->tok->kind == RT_MODEL_WORDPIECE;
    bool twice = flag_of(m, KEY("add_sep_token"), false);
    add_text(m, single, specials, "A", 0, true);
    add_text(m, pair, specials, "A", 0, true);
    for (size_t i = 0; i < m->tok->suffix.n && twice && !wordpiece; i++)
        add_special(m, pair, specials, m->tok->suffix.data[i], 0);
    add_text(m, pair, specials, "B", 1, !wordpiece && !twice);
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair",
                     pair, "special_tokens", specials);
}

static json_t *tokenizer_json(const making *m) {
    return json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", added_tokens(m), "normalizer",
                     normalizer_of(m), "pre_tokenizer", pre_tokenizer_of(m), "post_processor",
                     processor_of(m), "decoder", decoder_of(m), "model", model_of(m));
}

/* ---- files beside it ----------------------------------------------------------------------- */

static const struct {
    const char *name;
    rt_special which;
} special_names[] = {
    {"bos_token", RT_SPECIAL_BOS},     {"eos_token", RT_SPECIAL_EOS},
    {"unk_token", RT_SPECIAL_UNKNOWN}, {"sep_token", RT_SPECIAL_SEPARATOR},
    {"pad_token", RT_SPECIAL_PADDING}, {"mask_token", RT_SPECIAL_MASK},
};

static void put_specials(const making *m, json_t *object) {
    bool wordpiece = m->tok->kind == RT_MODEL_WORDPIECE;
    for (size_t i = 0; i < sizeof special_names / sizeof *special_names; i++) {
        int32_t id = rt_tokenizer_special(m->tok, special_names[i].which);
        const char *name = special_names[i].name;
        if (wordpiece && special_names[i].which == RT_SPECIAL_BOS) name = "cls_token";
        if (id >= 0) json_object_set_new(object, name, text_of(rt_token_piece(m->tok, id)));
    }
}

/* Templates beside the main one, by name. */
static void put_templates(const making *m, json_t *config) {
    static const char stem[] = "tokenizer.chat_template.";
    const gguf_meta *meta = m->e->source->plan.meta;
    json_t *list = json_array();
    gguf_str main_text, text;
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        if (kv->key.len > sizeof stem - 1 && memcmp(kv->key.ptr, stem, sizeof stem - 1) == 0 &&
            gguf_kv_str(kv, &text))
            json_array_append_new(list, json_pack("{s:o, s:o}", "name",
                                                  gguf_json_bytes(kv->key.ptr + sizeof stem - 1,
                                                                  kv->key.len - (sizeof stem - 1)),
                                                  "template", text_of(text)));
    }
    if (json_array_size(list) &&
        gguf_kv_str(rt_export_key(m->e, ".tokenizer.chat_template"), &main_text))
        json_array_append_new(
            list, json_pack("{s:s, s:o}", "name", "default", "template", text_of(main_text)));
    if (json_array_size(list)) json_object_set(config, "chat_template", list);
    json_decref(list);
}

static json_t *tokenizer_config(const making *m) {
    json_t *config = json_pack("{s:s, s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                               "clean_up_tokenization_spaces", 0);
    uint64_t n_ctx;
    put_specials(m, config);
    if (gguf_kv_u64(rt_export_key(m->e, "context_length"), &n_ctx))
        json_object_set_new(config, "model_max_length", json_integer((json_int_t)n_ctx));
    put_templates(m, config);
    return config;
}

static json_t *specials_map(const making *m) {
    json_t *map = json_object();
    put_specials(m, map);
    return map;
}

/* The end of a generation may be one of several tokens. */
static json_t *generation_config(const making *m) {
    static const char stem[] = "general.sampling.";
    static const char *const fields[][2] = {{"temp", "temperature"},
                                            {"top_k", "top_k"},
                                            {"top_p", "top_p"},
                                            {"min_p", "min_p"},
                                            {"penalty_repeat", "repetition_penalty"}};
    json_t *config = json_object(), *ends = json_array();
    gguf_kv_iter it = {.kv = rt_export_key(m->e, OURS("end_ids"))};
    int64_t id;
    while (it.kv && gguf_kv_next_i64(&it, &id)) json_array_append_new(ends, json_integer(id));
    int32_t bos = rt_tokenizer_special(m->tok, RT_SPECIAL_BOS),
            eos = rt_tokenizer_special(m->tok, RT_SPECIAL_EOS),
            pad = rt_tokenizer_special(m->tok, RT_SPECIAL_PADDING);
    if (bos >= 0) json_object_set_new(config, "bos_token_id", json_integer(bos));
    if (json_array_size(ends))
        json_object_set(config, "eos_token_id", ends);
    else if (eos >= 0)
        json_object_set_new(config, "eos_token_id", json_integer(eos));
    if (pad >= 0) json_object_set_new(config, "pad_token_id", json_integer(pad));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char key[64];
        double number;
        snprintf(key, sizeof key, "%s%s", stem, fields[i][0]);
        const gguf_kv *kv = gguf_meta_find(m->e->source->plan.meta, key);
        if (!gguf_kv_f64(kv, &number)) continue;
        json_object_set_new(config, fields[i][1],
                            kv->type == GGUF_VALUE_F32 ? rt_export_real((float)number)
                                                       : json_integer((json_int_t)number));
        json_object_set_new(config, "do_sample", json_true());
    }
    json_decref(ends);
    return config;
}

static gguf_code add_files(const making *m, gguf_error *err) {
    gguf_str text;
    gguf_code code = rt_export_add_json(m->e, "tokenizer.json", tokenizer_json(m), err);
    if (!code) code = rt_export_add_json(m->e, "tokenizer_config.json", tokenizer_config(m), err);
    if (!code) code = rt_export_add_json(m->e, "special_tokens_map.json", specials_map(m), err);
    if (!code) code = rt_export_add_json(m->e, "generation_config.json", generation_config(m), err);
    if (!code && gguf_kv_str(rt_export_key(m->e, ".tokenizer.chat_template"), &text))
        code = rt_export_add_text(m->e, "chat_template.jinja", text, err);
    return code;
}

gguf_code rt_export_vocab(rt_export *e, gguf_error *err) {
    making m = {.e = e};
    gguf_error why = {0};
    gguf_code code = rt_tokenizer_new(e->source->plan.meta, &m.tok, &why);
    if (code == GGUF_E_MISSING && !rt_export_key(e, KEY("model"))) {
        rt_export_warn(e, "the file has no tokenizer, so there is no tokenizer.json");
        return GGUF_OK;
    }
    if (code)
        return gguf_fail(err, code, gguf_file_path(e->source->gguf), GGUF_NO_OFFSET,
                         "its tokenizer cannot be written: %s", why.message);
    if (m.tok->kind == RT_MODEL_RWKV || m.tok->kind == RT_MODEL_PLAMO2)
        code = gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(e->source->gguf), GGUF_NO_OFFSET,
                         "its tokenizer cannot be written: tokenizer.json has no model '%s'",
                         m.tok->kind == RT_MODEL_RWKV ? "rwkv" : "plamo2");
    else
        code = add_files(&m, err);
    rt_tokenizer_free(m.tok);
    return code;
}
