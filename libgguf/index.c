/* The name index: open addressing over half of an XXH3 hash, at most three quarters full. */
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

/* The slot that holds the key, or the empty one where it belongs. */
static gguf_index_slot *find_slot(const gguf_index *index, gguf_str key) {
    uint64_t hash = XXH3_64bits_withSeed(key.ptr, key.len, index->seed) >> 32;
    size_t i = (size_t)(hash * index->n_slots >> 32);
    for (;; i = i + 1 < index->n_slots ? i + 1 : 0) {
        gguf_index_slot *s = &index->slots[i];
        if (!s->key || (s->key_len == key.len && memcmp(s->key, key.ptr, key.len) == 0)) return s;
    }
}

static bool resize(gguf_index *index, size_t n_slots) {
    gguf_index old = *index;
    if (n_slots > UINT32_MAX) return false;
    gguf_index_slot *slots = calloc(n_slots, sizeof *slots);
    if (!slots) return false;
    if (!old.n_slots) index->seed = choose_seed(index);
    index->slots = slots;
    index->n_slots = n_slots;
    for (size_t i = 0; i < old.n_slots; i++) {
        const gguf_index_slot *s = &old.slots[i];
        if (s->key) *find_slot(index, (gguf_str){s->key, s->key_len}) = *s;
    }
    free(old.slots);
    return true;
}

bool gguf_index_reserve(gguf_index *index, size_t n) {
    size_t n_slots = n / 3 * 4 + 4;
    return n_slots <= index->n_slots || resize(index, n_slots);
}

gguf_index_put_result gguf_index_put(gguf_index *index, gguf_str key, uint32_t value,
                                     uint32_t *old) {
    if (index->n_used >= index->n_slots / 4 * 3 &&
        !resize(index, index->n_slots ? index->n_slots * 2 : 64))
        return GGUF_INDEX_NOMEM;
    gguf_index_slot *s = find_slot(index, key);
    if (s->key) {
        if (old) *old = s->value;
        return GGUF_INDEX_PRESENT;
    }
    *s = (gguf_index_slot){key.ptr, (uint32_t)key.len, value};
    index->n_used++;
    return GGUF_INDEX_ADDED;
}

bool gguf_index_get(const gguf_index *index, gguf_str key, uint32_t *value) {
    if (!index->n_slots) return false;
    const gguf_index_slot *s = find_slot(index, key);
    if (s->key && value) *value = s->value;
    return s->key != NULL;
}
