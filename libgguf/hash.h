/* Hashes of tensor data: XXH3 and XXH64 (xxHash), SHA-256 (OpenSSL). */
#ifndef LIBGGUF_HASH_H
#define LIBGGUF_HASH_H

#include "libgguf/gguf.h"
#include "libgguf/pool.h"

#include <stdatomic.h>

typedef enum gguf_hash_algo {
    GGUF_HASH_XXH3,  /* 64 bits */
    GGUF_HASH_XXH64, /* seed 0 */
    GGUF_HASH_SHA256
} gguf_hash_algo;

bool gguf_hash_algo_named(const char *name, gguf_hash_algo *out); /* "xxh3", "xxh64", "sha256" */
const char *gguf_hash_algo_name(gguf_hash_algo algo);

/* Lower-case hexadecimal, most significant digit first. */
typedef struct gguf_hash {
    char hex[65];
} gguf_hash;

/* A running hash over bytes that come in pieces. */
typedef struct gguf_hasher gguf_hasher;
gguf_code gguf_hasher_new(gguf_hash_algo algo, gguf_hasher **out, gguf_error *err);
void gguf_hasher_add(gguf_hasher *hasher, const void *bytes, size_t n);
gguf_hash gguf_hasher_end(gguf_hasher *hasher); /* frees */

/* XXH3, 64 bits, of bytes in memory; `seed` chains several ranges. */
uint64_t gguf_xxh3(const void *bytes, size_t n, uint64_t seed);

/* The same of a number as it lies in memory. */
static inline uint64_t gguf_mix(uint64_t seed, uint64_t value) {
    return gguf_xxh3(&value, sizeof value, seed);
}

/* Hash every tensor's data and, as `whole`, all data in file order without padding.
 *   tensors  [gguf_file_n_tensors]
 *   cancel   polled; may be NULL
 * Errors: GGUF_E_NOMEM, GGUF_E_CANCELLED. */
gguf_code gguf_hash_tensors(const gguf_file *file, gguf_hash_algo algo, gguf_pool *pool,
                            const atomic_bool *cancel, gguf_hash *tensors, gguf_hash *whole,
                            gguf_error *err);

#endif
