/* Random texts that grammars admit, token by token: grammar_walk MODEL. Each line of the input is
 * {"schema" | "gbnf" | "regex": ..., "seed": N} or has "texts" in place of the seed; each line of
 * the output tells the error, the text that was made, or which texts match. Run by
 * scripts/check_grammar.py. */
#include "libgguf/dynbuf.h"
#include "libgguf/json.h"
#include "runtime/chat/grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_TOKENS 600

static uint64_t seed;

static uint32_t random_below(uint32_t n) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % n);
}

static gguf_code compile(const json_t *line, rt_grammar **out, gguf_error *err) {
    const json_t *schema = json_object_get(line, "schema"), *gbnf = json_object_get(line, "gbnf"),
                 *regex = json_object_get(line, "regex");
    if (schema) return rt_grammar_schema(schema, out, err);
    if (gbnf) return rt_grammar_gbnf(json_string_value(gbnf), json_string_length(gbnf), out, err);
    return rt_grammar_regex(json_string_value(regex), json_string_length(regex), out, err);
}

/* One of the admitted tokens; often one that lets a text come to its end. */
static int32_t pick(const rt_tokenizer *tok, const uint64_t *mask, uint32_t n_vocab) {
    static const char closing[] = "\"}],:0e";
    bool wants_end = random_below(3) > 0;
    uint32_t n_seen = 0;
    int32_t chosen = -1;
    for (int pass = wants_end ? 0 : 1; pass < 2 && chosen < 0; pass++)
        for (uint32_t id = 0; id < n_vocab; id++) {
            if (!(mask[id / 64] >> id % 64 & 1)) continue;
            gguf_str text = rt_token_text(tok, (int32_t)id);
            bool closes = rt_tokenizer_is_end(tok, (int32_t)id) ||
                          (text.len == 1 && memchr(closing, *text.ptr, sizeof closing - 1));
            if ((pass == 1 || closes) && random_below(++n_seen) == 0) chosen = (int32_t)id;
        }
    return chosen;
}

static json_t *walk(rt_grammar *g, const rt_tokenizer *tok, const rt_token_table *table,
                    uint32_t n_vocab) {
    uint64_t *mask = malloc((n_vocab + 63) / 64 * sizeof *mask);
    rt_matcher m;
    gguf_dynbuf text;
    const char *end = "unfinished";
    gguf_dynbuf_init(&text, SIZE_MAX / 4);
    rt_matcher_init(&m, g);
    for (unsigned i = 0; i < MAX_TOKENS; i++) {
        if (rt_matcher_must_end(&m)) {
            end = "ended";
            break;
        }
        int32_t id = rt_matcher_mask(&m, table, mask) ? pick(tok, mask, n_vocab) : -1;
        if (id < 0) {
            end = "dead end";
            break;
        }
        if (rt_tokenizer_is_end(tok, id)) {
            end = "ended";
            break;
        }
        gguf_str part = rt_token_text(tok, id);
        gguf_dynbuf_put(&text, part.ptr, part.len);
        if (!rt_matcher_take(&m, part.ptr, part.len)) {
            end = "refused its own token";
            break;
        }
    }
    json_t *out = json_pack("{s:s, s:o}", "end", end, "text",
                            gguf_json_bytes(text.len ? (const char *)text.data : "", text.len));
    gguf_dynbuf_clear(&text);
    rt_matcher_clear(&m);
    free(mask);
    return out;
}

static json_t *match(rt_grammar *g, const json_t *texts) {
    json_t *out = json_array();
    size_t i;
    const json_t *text;
    json_array_foreach(texts, i, text) {
        rt_matcher m;
        rt_matcher_init(&m, g);
        bool good = rt_matcher_take(&m, json_string_value(text), json_string_length(text)) &&
                    rt_matcher_may_end(&m);
        json_array_append_new(out, json_boolean(good));
        rt_matcher_clear(&m);
    }
    return json_pack("{s:o}", "matches", out);
}

static json_t *answer(const json_t *line, const rt_tokenizer *tok, const rt_token_table *table,
                      uint32_t n_vocab) {
    gguf_error err = {0};
    rt_grammar *g;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    gguf_code code = compile(line, &g, &err);
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (code) return json_pack("{s:s, s:s}", "error", gguf_code_name(code), "message", err.message);
    seed = (uint64_t)json_integer_value(json_object_get(line, "seed"));
    const json_t *texts = json_object_get(line, "texts");
    json_t *out = texts ? match(g, texts) : walk(g, tok, table, n_vocab);
    json_object_set_new(out, "states", json_integer((json_int_t)rt_grammar_n_states(g)));
    json_object_set_new(out, "ms",
                        json_real((double)(to.tv_sec - from.tv_sec) * 1e3 +
                                  (double)(to.tv_nsec - from.tv_nsec) * 1e-6));
    rt_grammar_unref(g);
    return out;
}

int main(int argc, char **argv) {
    gguf_error err = {0};
    gguf_file *file;
    rt_tokenizer *tok;
    rt_token_table *table;
    char *text = NULL;
    size_t room = 0;
    ssize_t n;
    if (argc != 2) return 2;
    if (gguf_file_open(argv[1], GGUF_OPEN_DEFAULT, &file, &err) ||
        rt_tokenizer_new(gguf_file_meta(file), &tok, &err)) {
        fprintf(stderr, "grammar_walk: %s\n", err.message);
        return 3;
    }
    uint32_t n_vocab = (uint32_t)rt_tokenizer_n_tokens(tok);
    if (rt_token_table_new(tok, n_vocab, &table, &err)) return 3;
    while ((n = getline(&text, &room, stdin)) > 0) {
        json_t *line = json_loadb(text, (size_t)n, JSON_ALLOW_NUL, NULL);
        json_t *out = line ? answer(line, tok, table, n_vocab)
                           : json_pack("{s:s, s:s}", "error", "line", "message", "no JSON");
        char *shown = json_dumps(out, JSON_COMPACT);
        puts(shown);
        fflush(stdout);
        free(shown);
        json_decref(out);
        json_decref(line);
    }
    free(text);
    rt_token_table_free(table);
    rt_tokenizer_free(tok);
    gguf_file_close(file);
    return 0;
}
