/* A vocabulary in the order of its texts. */
#ifndef RUNTIME_CHAT_TOKEN_TABLE_H
#define RUNTIME_CHAT_TOKEN_TABLE_H

#include "runtime/chat/grammar.h"

/* Longer tokens are never admitted: no text needs them. */
#define RT_TOKEN_MAX_BYTES 255

typedef struct rt_token_entry {
    const uint8_t *text; /* the tokenizer's */
    int32_t id;
    uint8_t n, n_common; /* bytes; how many of them the entry before begins with too */
    bool rest_is_plain;  /* those behind the common ones are */
} rt_token_entry;

struct rt_token_table {
    uint32_t n_vocab;
    rt_token_entry *entries; /* [n] in order of their texts */
    uint32_t n;
    uint32_t first[257]; /* entries that begin with each byte */

    /* The same tokens once more, by the characters of plain text that they begin with. */
    int32_t *whole; /* [n_whole] they are nothing else; the shortest first */
    uint32_t n_whole;
    uint32_t n_upto[RT_TOKEN_MAX_BYTES + 1]; /* of `whole`: at most so many characters */
    uint64_t *whole_mask;                    /* [(n_vocab + 63) / 64] */
    rt_token_entry *tails; /* what follows in the others, in order for each number */
    uint32_t first_tail[RT_TOKEN_MAX_BYTES + 2]; /* behind so many characters */
    unsigned most_chars;

    rt_token_entry *specials; /* [n_specials] special tokens that end nothing */
    size_t n_specials;
    int32_t *ends; /* [n_ends] */
    size_t n_ends;
};

/* Bytes that stand for themselves in a JSON string and need no others around them. Characters of
 * plain text are these, and all that have several bytes. */
static inline bool rt_byte_is_plain(uint8_t b) {
    return b >= 0x20 && b < 0x7F && b != '"' && b != '\\';
}

#endif
