/* Unigram: the way through the text with the highest sum of scores. */
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <stdlib.h>

#define UNKNOWN_PENALTY 10.0f

bool rt_paths_prepare(rt_work *work, size_t len) {
    if (work->paths_room < len + 1) {
        free(work->paths);
        work->paths = malloc((len + 1) * sizeof *work->paths);
        work->paths_room = work->paths ? len + 1 : 0;
        work->failed |= !work->paths;
    }
    for (size_t i = 0; i < work->paths_room && i <= len; i++)
        work->paths[i] = (rt_path){0, -1, RT_NOT_REACHED};
    return !work->failed;
}

/* SentencePiece adds scores as floats, the tokenizers library as doubles. */
static void reach(const rt_work *work, size_t start, size_t end, int32_t id, double score) {
    rt_path *path = &work->paths[end];
    double before = work->paths[start].score, total = before + score;
    if (work->tok->sentencepiece) total = (float)before + (float)score;
    if (path->start != RT_NOT_REACHED && !(total > path->score)) return;
    *path = (rt_path){total, id, (uint32_t)start};
}

/* Try all tokens that start here; returns whether one is the single character of `char_len`. */
static bool try_tokens(const rt_work *work, const char *text, size_t len, size_t start,
                       size_t char_len) {
    const rt_tokenizer *tok = work->tok;
    bool has_single = false;
    int32_t node = -1;
    for (size_t i = start; i < len; i++) {
        node = rt_trie_step(&tok->words, node, (uint8_t)text[i]);
        if (node < 0) break;
        int32_t id = tok->words.nodes[node].value;
        if (id < 0 || tok->tokens[id].type == RT_TOKEN_UNUSED) continue;
        size_t n = i + 1 - start;
        bool user = tok->sentencepiece && tok->tokens[id].type == RT_TOKEN_USER_DEFINED;
        reach(work, start, i + 1, id,
              user ? (float)n * tok->max_score - 0.1f : (double)tok->tokens[id].score);
        has_single |= n == char_len;
    }
    return has_single;
}

static void put_token(rt_work *work, const char *text, const rt_path *path, size_t end,
                      bool fused) {
    const rt_tokenizer *tok = work->tok;
    bool unknown = path->id == tok->special[RT_SPECIAL_UNKNOWN];
    if (unknown && tok->byte_fallback)
        for (size_t i = path->start; i < end; i++) {
            int32_t id = tok->bytes[(uint8_t)text[i]];
            rt_push_id(work, id >= 0 ? id : path->id);
        }
    else if (path->id >= 0 && !(unknown && fused))
        rt_push_id(work, path->id);
}

/* Walk the path back, keeping the ends of its tokens as symbols, and put the tokens forward. */
static void put_path(rt_work *work, const char *text, size_t len) {
    const rt_path *paths = work->paths;
    bool fused = false;
    work->n_symbols = 0;
    for (size_t end = len; end > 0 && !work->failed; end = paths[end].start)
        rt_add_symbol(work, end, 0, 0);
    for (size_t n = work->n_symbols; n > 0; n--) {
        size_t end = work->symbols[n - 1].start;
        put_token(work, text, &paths[end], end, fused);
        fused = paths[end].id == work->tok->special[RT_SPECIAL_UNKNOWN];
    }
}

void rt_unigram_encode(rt_work *work, const char *text, size_t len) {
    const rt_tokenizer *tok = work->tok;
    double unknown_score = tok->min_score - UNKNOWN_PENALTY;
    if (!len || !rt_paths_prepare(work, len)) return;
    for (size_t start = 0, n; start < len; start += n) {
        n = rt_utf8_len((uint8_t)text[start]);
        if (!try_tokens(work, text, len, start, n))
            reach(work, start, start + n, tok->special[RT_SPECIAL_UNKNOWN], unknown_score);
    }
    put_path(work, text, len);
}
