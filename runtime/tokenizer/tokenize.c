/* Running a tokenizer: cut out added tokens, normalise, cut into pieces, encode each. */
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TEXT_BYTES    ((size_t)1 << 30)
#define CACHE_SLOTS       4096
#define CACHE_FROM_BYTES  2048 /* shorter texts repeat too little */
#define CACHE_PIECE_BYTES 64

void rt_ids_clear(rt_ids *ids) {
    free(ids->data);
    *ids = (rt_ids){0};
}

bool rt_ids_reserve(rt_ids *ids, size_t n) {
    if (ids->n + n <= ids->room) return true;
    size_t room = 2 * (ids->n + n);
    int32_t *grown = realloc(ids->data, room * sizeof *grown);
    if (!grown) return false;
    ids->data = grown;
    ids->room = room;
    return true;
}

/* ---- pieces ------------------------------------------------------------------------------ */

static void encode_piece(rt_work *work, const char *text, size_t len) {
    uint32_t id;
    const rt_tokenizer *tok = work->tok;
    switch (tok->kind) {
    case RT_MODEL_BPE:
        if (tok->ignore_merges && gguf_index_get(&tok->by_text, (gguf_str){text, len}, &id) &&
            tok->tokens[id].type == RT_TOKEN_NORMAL)
            rt_push_id(work, (int32_t)id);
        else
            rt_bpe_encode(work, text, len);
        break;
    case RT_MODEL_SPM:
        rt_spm_encode(work, text, len);
        break;
    case RT_MODEL_UNIGRAM:
        rt_unigram_encode(work, text, len);
        break;
    case RT_MODEL_WORDPIECE:
        rt_wordpiece_encode(work, text, len);
        break;
    case RT_MODEL_RWKV:
        rt_rwkv_encode(work, text, len);
        break;
    case RT_MODEL_PLAMO2:
        rt_plamo2_encode(work, text, len);
        break;
    }
}

static uint64_t hash_piece(const char *text, size_t len) {
    uint64_t hash = len, word;
    for (; len >= 8; text += 8, len -= 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    word = 0;
    memcpy(&word, text, len);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 32;
}

/* Words repeat: a piece that was encoded before in this text is copied from its earlier place. */
static void encode_cached(rt_work *work, const char *text, rt_text_span span) {
    size_t len = span.end - span.start;
    uint64_t hash = hash_piece(text + span.start, len);
    rt_cached *slot = &work->cache[hash % CACHE_SLOTS];
    bool hit = slot->generation == work->generation && slot->hash == hash && slot->len == len &&
               memcmp(text + slot->start, text + span.start, len) == 0;
    size_t before = work->out->n;
    for (size_t i = 0; hit && i < slot->n_ids; i++)
        rt_push_id(work, work->out->data[slot->ids + i]);
    if (hit) return;
    encode_piece(work, text + span.start, len);
    *slot = (rt_cached){hash, span.start, len, before, work->out->n - before, work->generation};
}

static void encode_pieces(rt_work *work) {
    const char *text = (const char *)work->pieces.text.data;
    bool cached = work->pieces.text.len >= CACHE_FROM_BYTES;
    if (cached && !work->cache) work->cache = calloc(CACHE_SLOTS, sizeof *work->cache);
    work->generation++;
    for (size_t i = 0; i < work->pieces.spans.n && !work->failed; i++) {
        rt_text_span span = work->pieces.spans.items[i];
        if (cached && work->cache && span.end - span.start <= CACHE_PIECE_BYTES)
            encode_cached(work, text, span);
        else
            encode_piece(work, text + span.start, span.end - span.start);
    }
}

static gguf_code encode_normalized(rt_work *work, const char *text, size_t len, bool at_start) {
    rt_pieces *pieces = &work->pieces;
    pieces->text.len = 0;
    pieces->spans.n = 0;
    pieces->at_start = at_start;
    gguf_dynbuf_put(&pieces->text, text, len);
    if (pieces->text.len) rt_spans_add(&pieces->spans, 0, pieces->text.len, false);
    gguf_code code = rt_pretokenize(work->tok->pre, pieces, work->err);
    if (!code) encode_pieces(work);
    return code;
}

/* ---- texts between added tokens ---------------------------------------------------------- */

/* One piece for the whole text, or one per word where no token reaches over a space. */
static void cut_words(rt_work *work) {
    const uint8_t *text = work->pieces.text.data;
    size_t len = work->pieces.text.len, start = 0;
    work->pieces.spans.n = 0;
    for (size_t i = 3; work->tok->cuts_at_spaces && i + 3 <= len; i++) {
        if (text[i] != 0xE2 || memcmp(text + i, RT_META_SPACE, 3) != 0) continue;
        if (memcmp(text + i - 3, RT_META_SPACE, 3) == 0) continue;
        rt_spans_add(&work->pieces.spans, start, i, false);
        start = i;
    }
    rt_spans_add(&work->pieces.spans, start, len, false);
}

static gguf_code encode_sentencepiece(rt_work *work, const char *text, size_t len, bool prefix) {
    rt_spm_normalize(work, text, len, prefix);
    if (work->pieces.text.code)
        return gguf_fail(work->err, work->pieces.text.code, NULL, GGUF_NO_OFFSET, "out of memory");
    if (!work->pieces.text.len) return GGUF_OK;
    cut_words(work);
    encode_pieces(work);
    return GGUF_OK;
}

/* Normalise a text, and cut out the added tokens that are looked for in the normal form. */
static gguf_code encode_text(rt_work *work, const char *text, size_t len, bool at_start,
                             bool parse_special) {
    const rt_tokenizer *tok = work->tok;
    rt_fragments fragments = {0};
    gguf_dynbuf normal, spare;
    if (rt_normalizer_is_empty(tok->normalizer) && !tok->added_normalized.n)
        return encode_normalized(work, text, len, at_start);
    gguf_dynbuf_init(&normal, 4 * MAX_TEXT_BYTES);
    gguf_dynbuf_init(&spare, 4 * MAX_TEXT_BYTES);
    gguf_dynbuf_put(&normal, text, len);
    gguf_code code =
        rt_normalize(tok->normalizer, &normal, &spare, &work->pieces.scratch, work->err);
    if (!code)
        rt_split_added(tok, &tok->added_normalized, (char *)normal.data, normal.len, parse_special,
                       &fragments);
    work->failed |= fragments.failed;
    for (size_t i = 0; !code && i < fragments.n; i++) {
        rt_fragment f = fragments.items[i];
        if (f.id >= 0)
            rt_push_id(work, f.id);
        else
            code = encode_normalized(work, (char *)normal.data + f.start, f.end - f.start,
                                     at_start && f.start == 0);
    }
    free(fragments.items);
    gguf_dynbuf_clear(&normal);
    gguf_dynbuf_clear(&spare);
    return code;
}

static gguf_code encode_fragments(rt_work *work, const char *text, const rt_fragments *fragments,
                                  bool parse_special) {
    const rt_tokenizer *tok = work->tok;
    gguf_code code = GGUF_OK;
    bool after_special = true;
    for (size_t i = 0; !code && !work->failed && i < fragments->n; i++) {
        rt_fragment f = fragments->items[i];
        size_t len = f.end - f.start;
        bool first = f.start == 0;
        if (f.id >= 0)
            rt_push_id(work, f.id);
        else if (tok->sentencepiece)
            code = encode_sentencepiece(work, text + f.start, len,
                                        tok->space_prefix && after_special &&
                                            (first || tok->space_after_special));
        else
            code = encode_text(work, text + f.start, len, first, parse_special);
        after_special = f.id >= 0 && tok->tokens[f.id].type == RT_TOKEN_CONTROL;
    }
    return code;
}

/* ---- whole texts ------------------------------------------------------------------------- */

/* Length of the valid UTF-8 at the start. */
static size_t valid_prefix(const char *text, size_t len) {
    size_t i = 0, used;
    while (i < len && ((uint8_t)text[i] < 0x80 || rt_utf8_decode((const uint8_t *)text + i, len - i,
                                                                 &used) != RT_UTF8_INVALID))
        i += (uint8_t)text[i] < 0x80 ? 1 : used;
    return i;
}

/* Every malformed sequence becomes U+FFFD. */
static void repair_utf8(const char *text, size_t len, gguf_dynbuf *out) {
    for (size_t i = 0, used; i < len; i += used) {
        size_t valid = valid_prefix(text + i, len - i);
        gguf_dynbuf_put(out, text + i, valid);
        i += valid;
        if (i == len) break;
        rt_utf8_decode((const uint8_t *)text + i, len - i, &used);
        gguf_dynbuf_put_text(out, "\xEF\xBF\xBD");
    }
}

static gguf_code run(rt_work *work, const char *text, size_t len, unsigned flags) {
    const rt_tokenizer *tok = work->tok;
    rt_fragments fragments = {0};
    bool special = flags & RT_TOKENIZE_ADD_SPECIAL, parse = flags & RT_TOKENIZE_PARSE_SPECIAL;
    for (size_t i = 0; special && i < tok->prefix.n; i++) rt_push_id(work, tok->prefix.data[i]);
    rt_split_added(tok, &tok->added, text, len, parse, &fragments);
    work->failed |= fragments.failed;
    gguf_code code = encode_fragments(work, text, &fragments, parse);
    free(fragments.items);
    for (size_t i = 0; special && i < tok->suffix.n; i++) rt_push_id(work, tok->suffix.data[i]);
    if (!code && work->failed) code = gguf_fail_memory(work->err);
    return code;
}

static void work_clear(rt_work *work) {
    rt_pieces_clear(&work->pieces);
    free(work->symbols);
    free(work->heap);
    free(work->paths);
    free(work->unused_left);
    free(work->cache);
}

gguf_code rt_tokenize(const rt_tokenizer *tok, const char *text, size_t len, unsigned flags,
                      rt_ids *out, gguf_error *err) {
    gguf_code code;
    gguf_dynbuf repaired;
    rt_work work = {.tok = tok, .out = out, .err = err};
    if (len > MAX_TEXT_BYTES)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "a text of %zu bytes is too long",
                         len);
    rt_pieces_init(&work.pieces);
    gguf_dynbuf_init(&repaired, 3 * MAX_TEXT_BYTES);
    if (valid_prefix(text, len) < len) {
        repair_utf8(text, len, &repaired);
        text = (const char *)repaired.data;
        len = repaired.len;
    }
    if (repaired.code)
        code = gguf_fail(err, repaired.code, NULL, GGUF_NO_OFFSET, "out of memory");
    else
        code = run(&work, text, len, flags);
    gguf_dynbuf_clear(&repaired);
    work_clear(&work);
    return code;
}

gguf_code rt_tokenize_pair(const rt_tokenizer *tok, const char *first, size_t n_first,
                           const char *second, size_t n_second, rt_ids *out, gguf_error *err) {
    int32_t begin = rt_tokenizer_special(tok, RT_SPECIAL_BOS);
    gguf_code code = rt_tokenize(tok, first, n_first, RT_TOKENIZE_ADD_SPECIAL, out, err);
    size_t at = out->n;
    if (!code) code = rt_tokenize(tok, second, n_second, RT_TOKENIZE_ADD_SPECIAL, out, err);
    if (code || at == 0 || at == out->n || out->data[at] != begin) return code;
    if (tok->kind == RT_MODEL_WORDPIECE)
        memmove(out->data + at, out->data + at + 1, (--out->n - at) * sizeof *out->data);
    else
        out->data[at] = out->data[at - 1];
    return GGUF_OK;
}
