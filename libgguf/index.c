/* The name index: open addressing over XXH3 hashes, at most three quarters full. */
#include "libgguf/index.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <xxhash.h>

void gguf_index_clear(gguf_index *index) {
    free(index->slots);
    *index = (gguf_index){0};
}

/* The slot that holds the key, or the empty one where it belongs. */
static gguf_index_slot *find_slot(gguf_index_slot *slots, size_t n_slots, uint64_t hash,
                                  const char *key, size_t len) {
    size_t mask = n_slots - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        gguf_index_slot *s = &slots[i];
        if (!s->key) return s;
        if (s->hash == hash && s->key_len == len && memcmp(s->key, key, len) == 0) return s;
    }
}

/* Fuzzing needs the same path for the same input. */
static uint64_t choose_seed(const gguf_index *index) {
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    (void)index;
    return 1;
#else
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed) return seed;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)(uintptr_t)index * 0x9E3779B97F4A7C15u ^ (uint64_t)now.tv_nsec;
#endif
}

static uint64_t hash_of(const gguf_index *index, gguf_str key) {
    return XXH3_64bits_withSeed(key.ptr, key.len, index->seed);
}

static bool grow(gguf_index *index) {
    size_t n_slots = index->n_slots ? index->n_slots * 2 : 64;
    if (!index->n_slots) index->seed = choose_seed(index);
    gguf_index_slot *slots = calloc(n_slots, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < index->n_slots; i++) {
        const gguf_index_slot *s = &index->slots[i];
        if (s->key) *find_slot(slots, n_slots, s->hash, s->key, s->key_len) = *s;
    }
    free(index->slots);
    index->slots = slots;
    index->n_slots = n_slots;
    return true;
}

gguf_index_put_result gguf_index_put(gguf_index *index, gguf_str key, uint32_t value,
                                     uint32_t *old) {
    if (index->n_used >= index->n_slots / 4 * 3 && !grow(index)) return GGUF_INDEX_NOMEM;
    uint64_t hash = hash_of(index, key);
    gguf_index_slot *s = find_slot(index->slots, index->n_slots, hash, key.ptr, key.len);
    if (s->key) {
        if (old) *old = s->value;
        return GGUF_INDEX_PRESENT;
    }
    *s = (gguf_index_slot){hash, key.ptr, (uint32_t)key.len, value};
    index->n_used++;
    return GGUF_INDEX_ADDED;
}

bool gguf_index_get(const gguf_index *index, gguf_str key, uint32_t *value) {
    if (!index->n_slots) return false;
    uint64_t hash = hash_of(index, key);
    gguf_index_slot *s = find_slot(index->slots, index->n_slots, hash, key.ptr, key.len);
    if (s->key && value) *value = s->value;
    return s->key != NULL;
}
