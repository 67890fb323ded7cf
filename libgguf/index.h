/* Name -> number, for names that live elsewhere (xxHash XXH3 with a random seed, so that no file
 * can be made of names that collide; linear probing). */
#ifndef LIBGGUF_INDEX_H
#define LIBGGUF_INDEX_H

#include "libgguf/gguf.h"

typedef struct gguf_index_slot {
    const char *key; /* NULL: empty */
    uint32_t key_len;
    uint32_t value;
} gguf_index_slot;

typedef struct gguf_index {
    gguf_index_slot *slots;
    size_t n_slots, n_used;
    uint64_t seed; /* chosen with the first slots */
} gguf_index;

/* Start as {0}; clear frees. Keys are not copied and must outlive the index. */
void gguf_index_clear(gguf_index *index);

/* Make room for n keys in all; more can follow. False when out of memory. */
bool gguf_index_reserve(gguf_index *index, size_t n);

typedef enum gguf_index_put_result {
    GGUF_INDEX_ADDED,
    GGUF_INDEX_PRESENT, /* unchanged; *old holds the value it has */
    GGUF_INDEX_NOMEM
} gguf_index_put_result;

gguf_index_put_result gguf_index_put(gguf_index *index, gguf_str key, uint32_t value,
                                     uint32_t *old);
bool gguf_index_get(const gguf_index *index, gguf_str key, uint32_t *value);

#endif
