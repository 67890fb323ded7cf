/* PLaMo 2's tokenizer: the tokens with the highest sum of scores, found from the end of the text.
 * Scores count in ten-thousandths; of equal sums the longer token at the front goes first. */
#include "runtime/tokenizer/tokenizer_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <math.h>
#include <string.h>

#define SCORE_UNITS   1e4
#define UNKNOWN_SCORE (-1e7) /* of a character that is written as bytes */
#define INVALID_SCORE (-2e7) /* and below: the token is never used */

/* Find the best first token of what starts here; rt_path.start is where it ends. */
static void find_best(rt_work *work, const char *text, size_t len, size_t start) {
    const rt_tokenizer *tok = work->tok;
    size_t next = start + rt_utf8_len((uint8_t)text[start]);
    rt_path best = {work->paths[next].score + UNKNOWN_SCORE, -1, (uint32_t)next};
    int32_t node = -1;
    for (size_t end = start + 1; end <= len; end++) {
        node = rt_trie_step(&tok->words, node, (uint8_t)text[end - 1]);
        if (node < 0) break;
        int32_t id = tok->words.nodes[node].value;
        if (id < 0 || work->paths[end].start == RT_NOT_REACHED) continue;
        double score = round(tok->tokens[id].score * SCORE_UNITS);
        double total = work->paths[end].score + score;
        if (isfinite(score) && score > INVALID_SCORE && total >= best.score)
            best = (rt_path){total, id, (uint32_t)end};
    }
    work->paths[start] = best;
}

static void put_best(rt_work *work, const char *text, size_t len) {
    for (size_t i = 0; i < len && !work->failed; i = work->paths[i].start) {
        const rt_path *path = &work->paths[i];
        if (path->id >= 0) rt_push_id(work, path->id);
        for (size_t b = i; path->id < 0 && b < path->start; b++)
            rt_push_id(work, work->tok->bytes[(uint8_t)text[b]]);
    }
}

void rt_plamo2_encode(rt_work *work, const char *text, size_t len) {
    bool marked = len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0;
    if (marked) text += 3;
    if (marked) len -= 3;
    if (!len || !rt_paths_prepare(work, len)) return;
    work->paths[len] = (rt_path){0, -1, (uint32_t)len};
    for (size_t start = len; start-- > 0;)
        if (!rt_utf8_is_tail((uint8_t)text[start])) find_best(work, text, len, start);
    put_best(work, text, len);
}
