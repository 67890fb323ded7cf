/* Building a tokenizer from metadata. */
#include "libgguf/json.h"
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#define KEY(name)  "tokenizer.ggml." name
#define OURS(name) "tokenizer.ggufkit." name

static bool get_bool(const gguf_meta *meta, const char *key, bool fallback) {
    bool value;
    return gguf_kv_bool(gguf_meta_find(meta, key), &value) ? value : fallback;
}

static gguf_str get_str(const gguf_meta *meta, const char *key, const char *fallback) {
    gguf_str value;
    return gguf_kv_str(gguf_meta_find(meta, key), &value) ? value : gguf_str_of(fallback);
}

/* An array of integers, or NULL if it is absent or of another type. */
static const gguf_kv *get_ints(const gguf_meta *meta, const char *key) {
    const gguf_kv *kv = gguf_meta_find(meta, key);
    bool ok = kv && kv->type == GGUF_VALUE_ARRAY && kv->elem_type != GGUF_VALUE_STRING &&
              kv->elem_type != GGUF_VALUE_F32 && kv->elem_type != GGUF_VALUE_F64;
    return ok ? kv : NULL;
}

int32_t rt_find_piece(const rt_tokenizer *tok, const char *text, size_t len) {
    uint32_t id;
    return gguf_index_get(&tok->by_piece, (gguf_str){text, len}, &id) ? (int32_t)id : -1;
}

/* ---- the vocabulary ---------------------------------------------------------------------- */

/* Values of tokenizer.ggml.pre whose BPE goes over characters, line by line, as Gemma 4's. */
static const struct {
    const char *name;
    bool begins;
} pre_by_lines[] = {{"gemma4", true}, {"granite-embed-multi-311m", true}, {"sarvam-moe", false}};

static void read_gpt2_kind(rt_tokenizer *tok, const gguf_meta *meta) {
    gguf_str pre = get_str(meta, KEY("pre"), "");
    for (size_t i = 0; i < sizeof pre_by_lines / sizeof *pre_by_lines; i++) {
        if (!gguf_str_eq(pre, pre_by_lines[i].name)) continue;
        tok->byte_level = false;
        tok->by_lines = true;
        tok->begins = pre_by_lines[i].begins;
    }
}

static gguf_code read_kind(rt_tokenizer *tok, const gguf_meta *meta, gguf_error *err) {
    static const struct {
        const char *name;
        rt_model_kind kind;
        bool byte_level, by_lines, plain_spaces, begins;
    } models[] = {{.name = "gpt2", .kind = RT_MODEL_BPE, .byte_level = true},
                  {.name = "llama", .kind = RT_MODEL_SPM, .begins = true},
                  {.name = "t5", .kind = RT_MODEL_UNIGRAM},
                  {.name = "bert", .kind = RT_MODEL_WORDPIECE, .begins = true},
                  {.name = "gemma4", .kind = RT_MODEL_BPE, .by_lines = true, .begins = true},
                  {.name = "whitespace", .kind = RT_MODEL_BPE, .plain_spaces = true},
                  {.name = "rwkv", .kind = RT_MODEL_RWKV, .plain_spaces = true},
                  {.name = "plamo2", .kind = RT_MODEL_PLAMO2, .plain_spaces = true}};
    gguf_str model;
    if (!gguf_kv_str(gguf_meta_find(meta, KEY("model")), &model))
        return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET,
                         "'" KEY("model") "' is missing or not a string");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (!gguf_str_eq(model, models[i].name)) continue;
        tok->kind = models[i].kind;
        tok->byte_level = models[i].byte_level;
        tok->by_lines = models[i].by_lines;
        tok->plain_spaces = models[i].plain_spaces;
        tok->begins = models[i].begins;
        if (tok->byte_level) read_gpt2_kind(tok, meta);
        if (tok->kind == RT_MODEL_SPM && gguf_meta_find(meta, OURS("merges"))) {
            tok->kind = RT_MODEL_BPE;
            tok->begins = false;
        }
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "tokenizer model '%.*s' is not supported",
                     (int)(model.len < 64 ? model.len : 64), model.ptr);
}

static gguf_code read_pieces(rt_tokenizer *tok, const gguf_kv *kv, gguf_error *err) {
    gguf_kv_iter it = {kv, 0, 0};
    gguf_str piece;
    if (!kv || kv->type != GGUF_VALUE_ARRAY || kv->elem_type != GGUF_VALUE_STRING)
        return gguf_fail(err, kv ? GGUF_E_TYPE : GGUF_E_MISSING, NULL, GGUF_NO_OFFSET,
                         "'" KEY("tokens") "' is missing or not an array of strings");
    if (kv->count > RT_MAX_TOKENS || !kv->count)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "%llu tokens",
                         (unsigned long long)kv->count);
    tok->tokens = calloc(kv->count, sizeof *tok->tokens);
    tok->pieces = malloc(kv->n_bytes);
    tok->texts = malloc(kv->n_bytes);
    if (!tok->tokens || !tok->pieces || !tok->texts) return gguf_fail_memory(err);
    for (size_t pos = 0; tok->n_tokens < kv->count && gguf_kv_next_str(&it, &piece);
         pos += piece.len) {
        memcpy(tok->pieces + pos, piece.ptr, piece.len);
        tok->tokens[tok->n_tokens++] =
            (rt_token){.piece = {tok->pieces + pos, piece.len}, .type = RT_TOKEN_NORMAL};
        if (piece.len > tok->max_piece_bytes) tok->max_piece_bytes = piece.len;
    }
    return GGUF_OK;
}

/* Gemma 4's vocabulary has some pieces twice; the last one counts. */
static gguf_code index_pieces(rt_tokenizer *tok, gguf_error *err) {
    uint32_t old;
    for (uint32_t n = (uint32_t)tok->n_tokens, i = 0; i < n; i++) {
        uint32_t id = tok->by_lines ? n - 1 - i : i;
        gguf_str piece = tok->tokens[id].piece;
        if (!piece.len) continue;
        gguf_index_put_result put = gguf_index_put(&tok->by_piece, piece, id, &old);
        if (put == GGUF_INDEX_NOMEM) return gguf_fail_memory(err);
        if (put == GGUF_INDEX_PRESENT && !tok->by_lines)
            return gguf_fail(err, GGUF_E_DUPLICATE, NULL, GGUF_NO_OFFSET,
                             "tokens %u and %u are both '%.*s'", old, id,
                             (int)(piece.len < 100 ? piece.len : 100), piece.ptr);
    }
    return GGUF_OK;
}

static gguf_code wrong_length(const char *key, gguf_error *err) {
    return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                     "'%s' does not have one number per token", key);
}

static gguf_code read_types(rt_tokenizer *tok, const gguf_meta *meta, gguf_error *err) {
    const gguf_kv *kv = get_ints(meta, KEY("token_type"));
    gguf_kv_iter it = {kv, 0, 0};
    int64_t type;
    if (!kv && !gguf_meta_find(meta, KEY("token_type"))) return GGUF_OK;
    if (!kv || kv->count != tok->n_tokens) return wrong_length(KEY("token_type"), err);
    for (size_t id = 0; id < tok->n_tokens && gguf_kv_next_i64(&it, &type); id++) {
        if (type < RT_TOKEN_NORMAL || type > RT_TOKEN_BYTE)
            return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET, "token %zu has type %lld",
                             id, (long long)type);
        tok->tokens[id].type = (uint8_t)type;
        tok->has_unused |= type == RT_TOKEN_UNUSED;
    }
    return GGUF_OK;
}

static gguf_code read_scores(rt_tokenizer *tok, const gguf_meta *meta, gguf_error *err) {
    const gguf_kv *kv = gguf_meta_find(meta, KEY("scores"));
    gguf_kv_iter it = {kv, 0, 0};
    double score;
    if (tok->kind != RT_MODEL_SPM && tok->kind != RT_MODEL_UNIGRAM && tok->kind != RT_MODEL_PLAMO2)
        return GGUF_OK;
    if (!kv)
        return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET,
                         "'" KEY("scores") "' is missing");
    if (kv->type != GGUF_VALUE_ARRAY || kv->elem_type != GGUF_VALUE_F32 ||
        kv->count != tok->n_tokens)
        return wrong_length(KEY("scores"), err);
    tok->min_score = FLT_MAX;
    tok->max_score = -FLT_MAX;
    for (size_t id = 0; id < tok->n_tokens && gguf_kv_next_f64(&it, &score); id++) {
        rt_token *token = &tok->tokens[id];
        if (score != score)
            return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
                             "token %zu has the score NaN", id);
        token->score = (float)score;
        if (token->type != RT_TOKEN_NORMAL && tok->sentencepiece) continue;
        if (token->score < tok->min_score) tok->min_score = token->score;
        if (token->score > tok->max_score) tok->max_score = token->score;
    }
    return GGUF_OK;
}

/* ---- what tokens stand for --------------------------------------------------------------- */

/* Bytes of a byte-level piece; false if a character is none of the alphabet. */
static bool decode_alphabet(gguf_str piece, char *out, size_t *len) {
    *len = 0;
    for (size_t i = 0, used; i < piece.len; i += used) {
        uint32_t c = rt_utf8_decode((const uint8_t *)piece.ptr + i, piece.len - i, &used);
        int byte = c == RT_UTF8_INVALID ? -1 : rt_alphabet_byte(c);
        if (byte < 0) return false;
        out[(*len)++] = (char)byte;
    }
    return true;
}

static size_t decode_spaces(gguf_str piece, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < piece.len; n++) {
        bool space = piece.len - i >= 3 && memcmp(piece.ptr + i, RT_META_SPACE, 3) == 0;
        out[n] = space ? ' ' : piece.ptr[i];
        i += space ? 3 : 1;
    }
    return n;
}

static bool decode_byte(gguf_str piece, char *out) {
    char text[8] = {0}, *end;
    if (piece.len != 6) return false;
    memcpy(text, piece.ptr, 6);
    *out = (char)strtoul(text + 3, &end, 16);
    return strcmp(end, ">") == 0;
}

static size_t decode_piece(const rt_tokenizer *tok, const rt_token *token, char *out) {
    size_t len;
    bool plain = token->type == RT_TOKEN_CONTROL || token->type == RT_TOKEN_UNKNOWN;
    if (token->type == RT_TOKEN_BYTE && decode_byte(token->piece, out)) return 1;
    if (!plain && tok->byte_level && token->type != RT_TOKEN_USER_DEFINED &&
        decode_alphabet(token->piece, out, &len))
        return len;
    if (!plain && tok->kind == RT_MODEL_RWKV) return rt_rwkv_unescape(token->piece, out);
    if (!plain && !tok->byte_level && !tok->plain_spaces) return decode_spaces(token->piece, out);
    if (token->piece.len) memcpy(out, token->piece.ptr, token->piece.len);
    return token->piece.len;
}

static gguf_code decode_pieces(rt_tokenizer *tok, gguf_error *err) {
    char *out = tok->texts;
    uint32_t old;
    for (uint32_t id = 0; id < tok->n_tokens; id++) {
        rt_token *token = &tok->tokens[id];
        token->text = (gguf_str){out, decode_piece(tok, token, out)};
        out += token->text.len;
        if (token->text.len &&
            gguf_index_put(&tok->by_text, token->text, id, &old) == GGUF_INDEX_NOMEM)
            return gguf_fail_memory(err);
    }
    return GGUF_OK;
}

/* ---- special tokens ---------------------------------------------------------------------- */

static int32_t read_id(const rt_tokenizer *tok, const gguf_meta *meta, const char *key,
                       uint64_t fallback) {
    uint64_t id = fallback;
    gguf_kv_u64(gguf_meta_find(meta, key), &id);
    return id < tok->n_tokens ? (int32_t)id : -1; /* other programs write ids that mean "none" */
}

static void read_special_ids(rt_tokenizer *tok, const gguf_meta *meta) {
    static const char *const keys[RT_N_SPECIAL] = {
        KEY("bos_token_id"),     KEY("eos_token_id"),     KEY("eot_token_id"),
        KEY("eom_token_id"),     KEY("unknown_token_id"), KEY("seperator_token_id"),
        KEY("padding_token_id"), KEY("mask_token_id")};
    bool spm = tok->kind == RT_MODEL_SPM, wpm = tok->kind == RT_MODEL_WORDPIECE;
    uint64_t fallback[RT_N_SPECIAL];
    for (size_t i = 0; i < RT_N_SPECIAL; i++) fallback[i] = UINT64_MAX;
    if (spm || tok->kind == RT_MODEL_UNIGRAM) fallback[RT_SPECIAL_EOS] = spm ? 2 : 1;
    if (spm) fallback[RT_SPECIAL_BOS] = 1;
    if (tok->kind == RT_MODEL_PLAMO2) {
        fallback[RT_SPECIAL_UNKNOWN] = 0;
        fallback[RT_SPECIAL_BOS] = 1;
        fallback[RT_SPECIAL_EOS] = 2;
    }
    if (wpm) fallback[RT_SPECIAL_BOS] = 101;
    if (wpm) fallback[RT_SPECIAL_SEPARATOR] = 102;
    if (wpm) fallback[RT_SPECIAL_UNKNOWN] = 100;
    for (size_t id = 0; id < tok->n_tokens; id++)
        if (tok->tokens[id].type == RT_TOKEN_UNKNOWN) fallback[RT_SPECIAL_UNKNOWN] = id;
    for (size_t i = 0; i < RT_N_SPECIAL; i++)
        tok->special[i] = read_id(tok, meta, keys[i], fallback[i]);
}

static bool append_id(const rt_tokenizer *tok, rt_ids *ids, int64_t id) {
    if (id < 0 || (uint64_t)id >= tok->n_tokens) return true; /* "none" */
    int32_t *data = realloc(ids->data, (ids->n + 1) * sizeof *data);
    if (!data) return false;
    ids->data = data;
    ids->data[ids->n++] = (int32_t)id;
    ids->room = ids->n;
    return true;
}

static bool append_ids(const rt_tokenizer *tok, rt_ids *ids, const gguf_kv *kv) {
    gguf_kv_iter it = {kv, 0, 0};
    int64_t id;
    while (gguf_kv_next_i64(&it, &id))
        if (!append_id(tok, ids, id)) return false;
    return true;
}

/* The tokens around a text. */
static gguf_code read_frame(rt_tokenizer *tok, const gguf_meta *meta, const rt_known_pre *known,
                            gguf_error *err) {
    const gguf_kv *prefix = get_ints(meta, OURS("prefix_ids")),
                  *suffix = get_ints(meta, OURS("suffix_ids"));
    bool wpm = tok->kind == RT_MODEL_WORDPIECE;
    bool bos = tok->begins || (known && known->add_bos);
    bool eos = tok->kind == RT_MODEL_UNIGRAM || wpm, ok = true;
    int32_t end = tok->special[wpm ? RT_SPECIAL_SEPARATOR : RT_SPECIAL_EOS];
    if (!wpm) bos = get_bool(meta, KEY("add_bos_token"), bos);
    if (!wpm) eos = get_bool(meta, KEY("add_eos_token"), eos);
    if (prefix)
        ok = append_ids(tok, &tok->prefix, prefix);
    else if (bos)
        ok = append_id(tok, &tok->prefix, tok->special[RT_SPECIAL_BOS]);
    if (suffix)
        ok &= append_ids(tok, &tok->suffix, suffix);
    else if (eos)
        ok &= append_id(tok, &tok->suffix, end);
    return ok ? GGUF_OK : gguf_fail_memory(err);
}

static void mark_end(rt_tokenizer *tok, int64_t id) {
    if (id >= 0 && (uint64_t)id < tok->n_tokens) tok->is_end[id / 8] |= (uint8_t)(1u << id % 8);
}

/* Ends of a generation: by key, and by the texts in use for them. */
static gguf_code read_ends(rt_tokenizer *tok, const gguf_meta *meta, gguf_error *err) {
    static const char *const texts[] = {
        "<|eot_id|>", "<|eom_id|>",    "<|im_end|>",    "<|end|>",         "<|return|>",
        "<|call|>",   "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<end_of_utterance>",
        "</s>",       "<EOT>",         "_<EOT>",        "<turn|>",         "<|end_of_msg|>"};
    gguf_kv_iter it = {get_ints(meta, OURS("end_ids")), 0, 0};
    int64_t id;
    bool harmony =
        rt_find_piece(tok, "<|return|>", 10) >= 0 && rt_find_piece(tok, "<|call|>", 8) >= 0;
    tok->is_end = calloc(tok->n_tokens / 8 + 1, 1);
    if (!tok->is_end) return gguf_fail_memory(err);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int32_t known = rt_find_piece(tok, texts[i], strlen(texts[i]));
        if (known < 0 || (harmony && strcmp(texts[i], "<|end|>") == 0)) continue;
        if (tok->tokens[known].type == RT_TOKEN_CONTROL ||
            tok->tokens[known].type == RT_TOKEN_USER_DEFINED)
            mark_end(tok, known);
    }
    mark_end(tok, tok->special[RT_SPECIAL_EOS]);
    mark_end(tok, tok->special[RT_SPECIAL_EOT]);
    mark_end(tok, tok->special[RT_SPECIAL_EOM]);
    while (it.kv && gguf_kv_next_i64(&it, &id)) mark_end(tok, id);
    return GGUF_OK;
}

/* ---- added tokens ------------------------------------------------------------------------ */

static gguf_code read_added_flags(rt_tokenizer *tok, const gguf_meta *meta, gguf_error *err) {
    const gguf_kv *ids = get_ints(meta, OURS("added_ids")),
                  *flags = get_ints(meta, OURS("added_flags"));
    gguf_kv_iter id_it = {ids, 0, 0}, flag_it = {flags, 0, 0};
    int64_t id, flag;
    if (!ids && !flags) return GGUF_OK;
    if (!ids || !flags || ids->count != flags->count)
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "'" OURS("added_ids") "' and '" OURS("added_flags") "' differ in length");
    while (gguf_kv_next_i64(&id_it, &id) && gguf_kv_next_i64(&flag_it, &flag)) {
        if (id < 0 || (uint64_t)id >= tok->n_tokens)
            return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                             "added token %lld is out of range", (long long)id);
        tok->tokens[id].added = (uint8_t)(flag & 31) | RT_ADDED_LISTED;
    }
    return GGUF_OK;
}

static gguf_code read_user_defined(rt_tokenizer *tok, const gguf_meta *meta, gguf_error *err) {
    gguf_kv_iter it = {get_ints(meta, OURS("user_defined")), 0, 0};
    int64_t id;
    while (it.kv && gguf_kv_next_i64(&it, &id)) {
        if (id < 0 || (uint64_t)id >= tok->n_tokens)
            return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                             "user-defined piece %lld is out of range", (long long)id);
        rt_trie_add(&tok->user_defined, tok->tokens[id].piece, (int32_t)id);
    }
    return tok->user_defined.failed ? gguf_fail_memory(err) : GGUF_OK;
}

/* Tokens whose normal form is looked for in the normal form of the text. */
static gguf_code add_normalized(rt_tokenizer *tok, int32_t id, gguf_error *err) {
    gguf_dynbuf text, spare;
    rt_regex_scratch scratch = {0};
    gguf_str piece = tok->tokens[id].piece;
    gguf_dynbuf_init(&text, 1u << 20);
    gguf_dynbuf_init(&spare, 1u << 20);
    gguf_dynbuf_put(&text, piece.ptr, piece.len);
    gguf_code code = rt_normalize(tok->normalizer, &text, &spare, &scratch, err);
    if (!code) rt_trie_add(&tok->added_normalized, (gguf_str){(char *)text.data, text.len}, id);
    gguf_dynbuf_clear(&text);
    gguf_dynbuf_clear(&spare);
    rt_regex_scratch_clear(&scratch);
    return code;
}

static gguf_code build_added(rt_tokenizer *tok, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t id = 0; !code && id < tok->n_tokens; id++) {
        const rt_token *token = &tok->tokens[id];
        bool added = token->type >= RT_TOKEN_UNKNOWN && token->type <= RT_TOKEN_USER_DEFINED;
        if (!added && !(token->added & RT_ADDED_LISTED)) continue;
        if (token->added & RT_ADDED_NORMALIZED)
            code = add_normalized(tok, (int32_t)id, err);
        else
            rt_trie_add(&tok->added, token->piece, (int32_t)id);
    }
    if (code) return code;
    return tok->added.failed || tok->added_normalized.failed ? gguf_fail_memory(err) : GGUF_OK;
}

/* ---- normaliser and pre-tokenizer -------------------------------------------------------- */

static gguf_code parse_key(const gguf_meta *meta, const char *key, json_t **out, gguf_error *err) {
    gguf_str text;
    *out = NULL;
    if (!gguf_kv_str(gguf_meta_find(meta, key), &text)) return GGUF_OK;
    return gguf_json_parse(text.ptr, text.len, GGUF_JSON_WIDE_INTS, NULL, GGUF_NO_OFFSET, out, err);
}

/* WordPiece as standard keys describe it. */
static json_t *bert_normalizer(const gguf_meta *meta) {
    bool lower = get_bool(meta, KEY("normalizer.lowercase"), true);
    bool strip = get_bool(meta, KEY("normalizer.strip_accents"), lower);
    return json_pack("{s:s, s:b, s:b}", "type", "BertNormalizer", "lowercase", (int)lower,
                     "strip_accents", (int)strip);
}

static gguf_code read_normalizer(rt_tokenizer *tok, const gguf_meta *meta, gguf_error *err) {
    json_t *spec = NULL;
    gguf_code code = parse_key(meta, OURS("normalizer"), &spec, err);
    if (!code && !spec && tok->kind == RT_MODEL_WORDPIECE) spec = bert_normalizer(meta);
    if (!code && !spec && tok->plain_spaces && get_bool(meta, KEY("normalizer.lowercase"), false))
        spec = json_pack("{s:s}", "type", "Lowercase");
    if (!code && !spec && tok->by_lines)
        spec = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ",
                         "content", RT_META_SPACE);
    if (!code) code = rt_normalizer_new(spec, &tok->normalizer, err);
    json_decref(spec);
    return code;
}

static gguf_code find_known(const rt_tokenizer *tok, const gguf_meta *meta,
                            const rt_known_pre **known, gguf_error *err) {
    char name[64] = "default";
    gguf_str pre = get_str(meta, KEY("pre"), "default");
    *known = NULL;
    if (!tok->byte_level) return GGUF_OK;
    if (pre.len < sizeof name) {
        memcpy(name, pre.ptr, pre.len);
        name[pre.len] = 0;
        *known = rt_known_pre_find(name);
    }
    if (*known || gguf_meta_find(meta, OURS("pre_tokenizer"))) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "pre-tokenizer '%.*s' is not known", (int)(pre.len < 64 ? pre.len : 64),
                     pre.ptr);
}

static gguf_code read_pre(rt_tokenizer *tok, const gguf_meta *meta, const rt_known_pre *known,
                          gguf_error *err) {
    json_t *spec = NULL;
    gguf_code code = parse_key(meta, OURS("pre_tokenizer"), &spec, err);
    if (!code && !spec && known) spec = rt_known_pre_spec(known);
    if (!code && !spec && tok->kind == RT_MODEL_WORDPIECE)
        spec = json_pack("{s:s}", "type", "BertPreTokenizer");
    if (!code && !spec && tok->plain_spaces && tok->kind == RT_MODEL_BPE)
        spec = json_pack("{s:s}", "type", "WhitespaceSplit");
    if (!code && !spec && tok->by_lines)
        spec = json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern", "Regex", "[^\\n]+|\\n+",
                         "behavior", "Isolated");
    if (!code) code = rt_pretokenizer_new(spec, &tok->pre, err);
    json_decref(spec);
    return code;
}

/* ---- per model --------------------------------------------------------------------------- */

/* Whether a token reaches from one word into the next. */
static bool crosses_space(gguf_str piece) {
    for (size_t i = 3; i + 3 <= piece.len; i++)
        if (memcmp(piece.ptr + i, RT_META_SPACE, 3) == 0 &&
            memcmp(piece.ptr + i - 3, RT_META_SPACE, 3) != 0)
            return true;
    /* one or two bytes before the first mark */
    for (size_t i = 1; i < 3 && i + 3 <= piece.len; i++)
        if (memcmp(piece.ptr + i, RT_META_SPACE, 3) == 0) return true;
    return false;
}

/* Runs of unknown characters become one token across words, bytes do not. */
static bool can_cut_at_spaces(const rt_tokenizer *tok) {
    for (size_t id = 0; id < tok->n_tokens; id++)
        if (tok->tokens[id].type != RT_TOKEN_CONTROL && crosses_space(tok->tokens[id].piece))
            return false;
    return tok->sentencepiece && tok->byte_fallback;
}

static gguf_code prepare_sentencepiece(rt_tokenizer *tok, const gguf_meta *meta, gguf_error *err) {
    const gguf_kv *map = get_ints(meta, KEY("precompiled_charsmap"));
    tok->space_prefix =
        !tok->plain_spaces && get_bool(meta, KEY("add_space_prefix"), !tok->by_lines);
    tok->space_after_special = get_bool(meta, OURS("space_after_special"), true);
    tok->remove_extra_spaces = get_bool(meta, KEY("remove_extra_whitespaces"), false);
    rt_bytes_prepare(tok);
    tok->byte_fallback = tok->bytes[0] >= 0 && tok->bytes[255] >= 0;
    tok->cuts_at_spaces = can_cut_at_spaces(tok);
    if (!map || !map->count) return GGUF_OK;
    if (map->elem_type != GGUF_VALUE_U8 && map->elem_type != GGUF_VALUE_I8)
        return gguf_fail(err, GGUF_E_TYPE, NULL, GGUF_NO_OFFSET,
                         "'" KEY("precompiled_charsmap") "' is not an array of bytes");
    return rt_charsmap_read(map->data, map->n_bytes, &tok->charsmap, err);
}

static gguf_code prepare_unigram(rt_tokenizer *tok, gguf_error *err) {
    for (size_t id = 0; id < tok->n_tokens; id++) {
        uint8_t type = tok->tokens[id].type;
        bool text =
            type == RT_TOKEN_NORMAL || type == RT_TOKEN_USER_DEFINED || type == RT_TOKEN_UNUSED;
        if (text || !tok->sentencepiece)
            rt_trie_add(&tok->words, tok->tokens[id].piece, (int32_t)id);
    }
    return tok->words.failed ? gguf_fail_memory(err) : GGUF_OK;
}

static gguf_code prepare_rwkv(rt_tokenizer *tok, gguf_error *err) {
    for (size_t id = 0; id < tok->n_tokens; id++)
        if (tok->tokens[id].type == RT_TOKEN_NORMAL)
            rt_trie_add(&tok->words, tok->tokens[id].text, (int32_t)id);
    return tok->words.failed ? gguf_fail_memory(err) : GGUF_OK;
}

/* Bytes stand for the characters that no token holds. */
static gguf_code prepare_plamo2(rt_tokenizer *tok, gguf_error *err) {
    for (size_t id = 0; id < tok->n_tokens; id++)
        if (tok->tokens[id].type == RT_TOKEN_NORMAL)
            rt_trie_add(&tok->words, tok->tokens[id].piece, (int32_t)id);
    for (unsigned b = 0; b < 256; b++)
        if (tok->bytes[b] < 0)
            return gguf_fail(err, GGUF_E_MISSING, NULL, GGUF_NO_OFFSET,
                             "the tokenizer has no token for the byte <0x%02X>", b);
    return tok->words.failed ? gguf_fail_memory(err) : GGUF_OK;
}

static gguf_code prepare_model(rt_tokenizer *tok, const gguf_meta *meta, const rt_known_pre *known,
                               gguf_error *err) {
    uint64_t max_chars = 100;
    gguf_kv_u64(gguf_meta_find(meta, OURS("max_word_chars")), &max_chars);
    tok->max_word_chars = max_chars;
    tok->ignore_merges = get_bool(meta, OURS("ignore_merges"), known && known->ignore_merges);
    tok->fuse_unknown = get_bool(meta, OURS("fuse_unknown"), false);
    gguf_code code = prepare_sentencepiece(tok, meta, err);
    tok->byte_fallback = get_bool(meta, OURS("byte_fallback"), tok->byte_fallback);
    if (!code && tok->kind == RT_MODEL_BPE) code = rt_bpe_prepare(tok, meta, err);
    if (!code && tok->kind == RT_MODEL_UNIGRAM) code = prepare_unigram(tok, err);
    if (!code && tok->kind == RT_MODEL_RWKV) code = prepare_rwkv(tok, err);
    if (!code && tok->kind == RT_MODEL_PLAMO2) code = prepare_plamo2(tok, err);
    return code;
}

gguf_code rt_tokenizer_new(const gguf_meta *meta, rt_tokenizer **out, gguf_error *err) {
    gguf_code code;
    const rt_known_pre *known;
    rt_tokenizer *tok = calloc(1, sizeof *tok);
    if (!tok) return gguf_fail_memory(err);
    if ((code = read_kind(tok, meta, err))) goto fail;
    tok->sentencepiece = (tok->kind == RT_MODEL_SPM || tok->kind == RT_MODEL_UNIGRAM) &&
                         !gguf_meta_find(meta, OURS("pre_tokenizer")) &&
                         !gguf_meta_find(meta, OURS("normalizer"));
    if ((code = read_pieces(tok, gguf_meta_find(meta, KEY("tokens")), err))) goto fail;
    if ((code = index_pieces(tok, err)) || (code = read_types(tok, meta, err))) goto fail;
    if ((code = read_scores(tok, meta, err)) || (code = decode_pieces(tok, err))) goto fail;
    if ((code = find_known(tok, meta, &known, err)) || (code = read_normalizer(tok, meta, err)))
        goto fail;
    if ((code = read_pre(tok, meta, known, err))) goto fail;
    read_special_ids(tok, meta);
    if ((code = read_frame(tok, meta, known, err)) || (code = read_ends(tok, meta, err))) goto fail;
    if ((code = read_user_defined(tok, meta, err)) || (code = read_added_flags(tok, meta, err)))
        goto fail;
    if ((code = build_added(tok, err)) || (code = prepare_model(tok, meta, known, err))) goto fail;
    *out = tok;
    return GGUF_OK;
fail:
    rt_tokenizer_free(tok);
    return code;
}

void rt_tokenizer_free(rt_tokenizer *tok) {
    if (!tok) return;
    free(tok->tokens);
    free(tok->pieces);
    free(tok->texts);
    free(tok->is_end);
    gguf_index_clear(&tok->by_piece);
    gguf_index_clear(&tok->by_text);
    rt_ids_clear(&tok->prefix);
    rt_ids_clear(&tok->suffix);
    rt_trie_clear(&tok->added);
    rt_trie_clear(&tok->added_normalized);
    rt_trie_clear(&tok->user_defined);
    rt_trie_clear(&tok->words);
    rt_normalizer_free(tok->normalizer);
    rt_pretokenizer_free(tok->pre);
    free(tok->merges.slots);
    rt_charsmap_clear(&tok->charsmap);
    free(tok);
}
