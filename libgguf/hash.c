/* Hashing tensors, in parallel over tensors. */
#include "libgguf/hash.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Between two looks at the cancel flag. */
#define STEP_BYTES ((size_t)16 << 20)

static const char *const algo_names[] = {"xxh3", "xxh64", "sha256"};

bool gguf_hash_algo_named(const char *name, gguf_hash_algo *out) {
    for (size_t i = 0; i < sizeof algo_names / sizeof algo_names[0]; i++) {
        if (strcmp(algo_names[i], name) != 0) continue;
        *out = (gguf_hash_algo)i;
        return true;
    }
    return false;
}

const char *gguf_hash_algo_name(gguf_hash_algo algo) {
    return algo_names[algo];
}

struct gguf_hasher {
    gguf_hash_algo algo;
    XXH3_state_t *xxh3;
    XXH64_state_t *xxh64;
    EVP_MD_CTX *sha256;
};

static void free_hasher(gguf_hasher *h) {
    XXH3_freeState(h->xxh3);
    XXH64_freeState(h->xxh64);
    EVP_MD_CTX_free(h->sha256);
    free(h);
}

static bool start(gguf_hasher *h) {
    switch (h->algo) {
    case GGUF_HASH_XXH3:
        h->xxh3 = XXH3_createState();
        return h->xxh3 && XXH3_64bits_reset(h->xxh3) == XXH_OK;
    case GGUF_HASH_XXH64:
        h->xxh64 = XXH64_createState();
        return h->xxh64 && XXH64_reset(h->xxh64, 0) == XXH_OK;
    case GGUF_HASH_SHA256:
        h->sha256 = EVP_MD_CTX_new();
        return h->sha256 && EVP_DigestInit_ex(h->sha256, EVP_sha256(), NULL) == 1;
    }
    return false;
}

gguf_code gguf_hasher_new(gguf_hash_algo algo, gguf_hasher **out, gguf_error *err) {
    *out = calloc(1, sizeof **out);
    if (*out) {
        (*out)->algo = algo;
        if (start(*out)) return GGUF_OK;
        free_hasher(*out);
        *out = NULL;
    }
    return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
}

void gguf_hasher_add(gguf_hasher *hasher, const void *bytes, size_t n) {
    switch (hasher->algo) {
    case GGUF_HASH_XXH3:
        XXH3_64bits_update(hasher->xxh3, bytes, n);
        break;
    case GGUF_HASH_XXH64:
        XXH64_update(hasher->xxh64, bytes, n);
        break;
    case GGUF_HASH_SHA256:
        EVP_DigestUpdate(hasher->sha256, bytes, n);
        break;
    }
}

gguf_hash gguf_hasher_end(gguf_hasher *hasher) {
    gguf_hash hash;
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (hasher->algo == GGUF_HASH_SHA256) {
        EVP_DigestFinal_ex(hasher->sha256, digest, NULL);
        for (size_t i = 0; i < 32; i++) snprintf(hash.hex + 2 * i, 3, "%02x", digest[i]);
    } else {
        uint64_t value = hasher->algo == GGUF_HASH_XXH3 ? XXH3_64bits_digest(hasher->xxh3)
                                                        : XXH64_digest(hasher->xxh64);
        snprintf(hash.hex, sizeof hash.hex, "%016llx", (unsigned long long)value);
    }
    free_hasher(hasher);
    return hash;
}

uint64_t gguf_xxh3(const void *bytes, size_t n, uint64_t seed) {
    return XXH3_64bits_withSeed(bytes, n, seed);
}

/* ---- tensors ----------------------------------------------------------------------------- */

typedef struct job {
    const gguf_file *file;
    gguf_hash_algo algo;
    const atomic_bool *cancel;
    gguf_hash *tensors, *whole;
    atomic_int failure; /* the last gguf_code that was not GGUF_OK */
} job;

static bool is_cancelled(const job *j) {
    return j->cancel && atomic_load(j->cancel);
}

static void add_tensor(const job *j, gguf_hasher *hasher, const gguf_tensor *t) {
    const uint8_t *data = gguf_file_data(j->file, t);
    for (uint64_t off = 0; off < t->n_bytes && !is_cancelled(j); off += STEP_BYTES) {
        uint64_t left = t->n_bytes - off;
        gguf_hasher_add(hasher, data + off, left < STEP_BYTES ? (size_t)left : STEP_BYTES);
    }
}

/* Task 0, the longest, is the whole file's data; task i + 1 is tensor i. */
static void hash_task(void *ctx, size_t task, unsigned worker) {
    job *j = ctx;
    gguf_hasher *hasher;
    (void)worker;
    gguf_code code = gguf_hasher_new(j->algo, &hasher, NULL);
    if (code) {
        atomic_store(&j->failure, (int)code);
        return;
    }
    if (task > 0) add_tensor(j, hasher, gguf_file_tensor(j->file, task - 1));
    for (size_t i = 0; task == 0 && i < gguf_file_n_tensors(j->file); i++)
        add_tensor(j, hasher, gguf_file_tensor(j->file, i));
    gguf_hash hash = gguf_hasher_end(hasher);
    if (task == 0)
        *j->whole = hash;
    else
        j->tensors[task - 1] = hash;
}

gguf_code gguf_hash_tensors(const gguf_file *file, gguf_hash_algo algo, gguf_pool *pool,
                            const atomic_bool *cancel, gguf_hash *tensors, gguf_hash *whole,
                            gguf_error *err) {
    job j = {file, algo, cancel, tensors, whole, 0};
    gguf_pool_run(pool, gguf_file_n_tensors(file) + 1, hash_task, &j);
    gguf_code code = (gguf_code)atomic_load(&j.failure);
    if (code) return gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "out of memory");
    if (is_cancelled(&j))
        return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    return GGUF_OK;
}
