/* The tokenizer and the working memory of one call, shared by the files of this folder. */
#ifndef RUNTIME_TOKENIZER_INTERNAL_H
#define RUNTIME_TOKENIZER_INTERNAL_H

#include "libgguf/index.h"
#include "runtime/tokenizer/normalize.h"
#include "runtime/tokenizer/pretokenize.h"
#include "runtime/tokenizer/tokenizer.h"

#define RT_MAX_TOKENS (1u << 24)
#define RT_META_SPACE "\xE2\x96\x81" /* U+2581, how SentencePiece writes a space */

/* Values of tokenizer.ggml.token_type. */
typedef enum rt_token_type {
    RT_TOKEN_NORMAL = 1,
    RT_TOKEN_UNKNOWN = 2,
    RT_TOKEN_CONTROL = 3,
    RT_TOKEN_USER_DEFINED = 4,
    RT_TOKEN_UNUSED = 5,
    RT_TOKEN_BYTE = 6
} rt_token_type;

/* Values in tokenizer.ggufkit.added_flags. */
enum {
    RT_ADDED_LSTRIP = 1,
    RT_ADDED_RSTRIP = 2,
    RT_ADDED_SINGLE_WORD = 4,
    RT_ADDED_NORMALIZED = 8,
    RT_ADDED_SPECIAL = 16,
    RT_ADDED_LISTED = 128 /* only in memory: the flags come from the file */
};

typedef struct rt_token {
    gguf_str piece; /* as spelled in the vocabulary */
    gguf_str text;  /* what it stands for */
    float score;
    uint8_t type;
    uint8_t added; /* flags */
} rt_token;

/* ---- trie: longest token at a position (trie.c) -----------------------------------------------
 */

typedef struct rt_trie_node {
    int32_t child, sibling; /* -1 = none */
    int32_t value;          /* of the string that ends here, or -1 */
    uint8_t byte;
} rt_trie_node;

typedef struct rt_trie {
    rt_trie_node *nodes;
    size_t n, room;
    int32_t first[256]; /* nodes of the first byte, + 1 so that zero means none */
    bool failed;        /* out of memory */
} rt_trie;

void rt_trie_clear(rt_trie *trie);
void rt_trie_add(rt_trie *trie, gguf_str key, int32_t value);
/* Step from `node` (-1: the start) along a byte; the next node, or -1. */
int32_t rt_trie_step(const rt_trie *trie, int32_t node, uint8_t byte);
/* The value of the longest key at s, its length in *used; -1 if there is none. */
int32_t rt_trie_longest(const rt_trie *trie, const char *s, size_t n, size_t *used);

/* ---- merges of BPE (bpe.c) --------------------------------------------------------------------
 */

typedef struct rt_merge {
    uint64_t pair; /* left id << 32 | right id, + 1 so that zero means empty */
    uint32_t rank, id;
} rt_merge;

typedef struct rt_merges {
    rt_merge *slots;
    size_t n_slots; /* a power of two */
} rt_merges;

/* ---- the tokenizer ----------------------------------------------------------------------------
 */

typedef enum rt_model_kind {
    RT_MODEL_BPE,
    RT_MODEL_SPM,
    RT_MODEL_UNIGRAM,
    RT_MODEL_WORDPIECE,
    RT_MODEL_RWKV,
    RT_MODEL_PLAMO2
} rt_model_kind;

/* A compiled map of SentencePiece from strings to their normal form (charsmap.c). */
typedef struct rt_charsmap {
    uint32_t *units; /* of a double-array trie */
    size_t n_units;
    char *texts;
    size_t texts_bytes;
} rt_charsmap;

struct rt_tokenizer {
    rt_model_kind kind;
    rt_token *tokens;
    size_t n_tokens;
    char *pieces, *texts; /* the bytes of all tokens */
    gguf_index by_piece, by_text;
    int32_t special[RT_N_SPECIAL];
    rt_ids prefix, suffix;
    uint8_t *is_end; /* a bit per token */

    rt_trie added, added_normalized; /* tokens that are cut out of the text first */
    rt_normalizer *normalizer;
    rt_pretokenizer *pre;

    /* BPE */
    bool byte_level, ignore_merges, byte_fallback, fuse_unknown;
    bool by_lines;      /* "gemma4": over characters, spaces as U+2581, line by line */
    bool plain_spaces;  /* pieces hold spaces as they are, neither as U+2581 nor as bytes */
    bool begins;        /* a text starts with the begin token if no key says otherwise */
    int32_t bytes[256]; /* the token of each byte, or -1 */
    rt_merges merges;

    /* SentencePiece: SPM and unigram */
    bool space_prefix, space_after_special, remove_extra_spaces, has_unused;
    bool cuts_at_spaces; /* no token holds a space behind other characters */
    bool sentencepiece;  /* normalised as SentencePiece does, not by normalizer and pre */
    rt_charsmap charsmap;
    rt_trie user_defined, words; /* words: the tokens that are looked up along a text */
    float min_score, max_score;
    size_t max_piece_bytes, max_word_chars;
};

/* ---- one call ---------------------------------------------------------------------------------
 */

typedef struct rt_symbol {
    size_t start, len;
    int32_t id, prev, next;
    bool frozen;
} rt_symbol;

typedef struct rt_candidate {
    double order; /* rank, or minus the score: the smallest goes first */
    uint32_t left;
    int32_t id;
    size_t len;
} rt_candidate;

#define RT_NOT_REACHED UINT32_MAX

typedef struct rt_path {
    double score;
    int32_t id;
    uint32_t start; /* the other end of the token; RT_NOT_REACHED */
} rt_path;

typedef struct rt_cached {
    uint64_t hash;
    size_t start, len; /* the piece in the text */
    size_t ids, n_ids; /* its ids in the output */
    uint32_t generation;
} rt_cached;

typedef struct rt_work {
    const rt_tokenizer *tok;
    rt_ids *out;
    gguf_error *err;
    bool failed; /* out of memory */
    rt_pieces pieces;
    rt_symbol *symbols;
    size_t n_symbols, symbols_room;
    rt_candidate *heap;
    size_t n_heap, heap_room;
    rt_path *paths;
    size_t paths_room;
    uint32_t *unused_left; /* by token: how an unused piece was last put together */
    rt_cached *cache;
    uint32_t generation;
} rt_work;

void rt_push_id(rt_work *work, int32_t id);
int32_t rt_find_piece(const rt_tokenizer *tok, const char *text, size_t len); /* or -1 */

/* Append the ids of one piece of valid UTF-8; trouble with memory is left in work->failed. */
void rt_bpe_encode(rt_work *work, const char *text, size_t len);
void rt_spm_encode(rt_work *work, const char *text, size_t len);
void rt_unigram_encode(rt_work *work, const char *text, size_t len);
void rt_wordpiece_encode(rt_work *work, const char *text, size_t len);
void rt_rwkv_encode(rt_work *work, const char *text, size_t len);
void rt_plamo2_encode(rt_work *work, const char *text, size_t len);

/* Paths for a text of len bytes, none of its ends reached; false without memory (unigram.c). */
bool rt_paths_prepare(rt_work *work, size_t len);

/* The bytes that a token of RWKV is spelled for; at most piece.len (rwkv.c). */
size_t rt_rwkv_unescape(gguf_str piece, char *out);

/* Symbols and candidates (symbols.c) */
rt_symbol *rt_add_symbol(rt_work *work, size_t start, size_t len, int32_t id);
void rt_push_candidate(rt_work *work, rt_candidate candidate);
bool rt_pop_candidate(rt_work *work, rt_candidate *out);

/* SentencePiece's own normaliser: `text` to work->pieces.text (spm_normalize.c). */
void rt_spm_normalize(rt_work *work, const char *text, size_t len, bool prefix);

/* Tokens cut out of the text (added.c). */
typedef struct rt_fragment {
    size_t start, end;
    int32_t id; /* -1: text */
} rt_fragment;

typedef struct rt_fragments {
    rt_fragment *items;
    size_t n, room;
    bool failed;
} rt_fragments;

void rt_split_added(const rt_tokenizer *tok, const rt_trie *trie, const char *text, size_t len,
                    bool parse_special, rt_fragments *out);

/* Fill in what BPE needs from the vocabulary and the merges; errors as rt_tokenizer_new. */
gguf_code rt_bpe_prepare(rt_tokenizer *tok, const gguf_meta *meta, gguf_error *err);
void rt_bytes_prepare(rt_tokenizer *tok); /* tok->bytes from the pieces <0x00> ... <0xFF> */
gguf_code rt_charsmap_read(const uint8_t *data, size_t n, rt_charsmap *map, gguf_error *err);
void rt_charsmap_clear(rt_charsmap *map);
/* The replacement of the longest key at s; *used is 0 if there is none. */
gguf_str rt_charsmap_find(const rt_charsmap *map, const char *s, size_t n, size_t *used);
/* The replacement of the shortest prefix of s; ptr NULL if there is none. */
gguf_str rt_charsmap_first(const rt_charsmap *map, const char *s, size_t n);

/* The byte-level alphabet of GPT-2 (byte_alphabet.c). */
uint32_t rt_alphabet_char(uint8_t byte);
int rt_alphabet_byte(uint32_t c); /* -1 if the character is none of it */

#endif
