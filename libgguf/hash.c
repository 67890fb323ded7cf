/* Hashing tensors, in parallel. */
#include "libgguf/hash.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

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
    return gguf_fail_memory(err);
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

/* ---- tensors -----------------------------------------------------------------------------
 * The data is gone through once, window by window in file order. In each window one task hashes on
 * for the whole and one for each tensor in it, so that all of them find it in the cache. */

#define WINDOW_BYTES ((uint64_t)32 << 20)

/* What of a tensor lies in a window. */
typedef struct piece {
    size_t tensor;
    uint64_t off;
    size_t n;
} piece;

typedef struct job {
    const gguf_file *file;
    gguf_hasher *whole, **tensors; /* [n_tensors], those that are begun and not ended */
    piece *pieces;
    size_t n_pieces, room;
    gguf_hash_algo algo;
    gguf_hash *hashes;
    atomic_int failure; /* the last gguf_code that was not GGUF_OK */
} job;

static void add_piece(const job *j, gguf_hasher *hasher, const piece *p) {
    const uint8_t *data = gguf_file_data(j->file, gguf_file_tensor(j->file, p->tensor));
    gguf_hasher_add(hasher, data + p->off, p->n);
}

static void hash_piece(job *j, const piece *p) {
    gguf_hasher **hasher = &j->tensors[p->tensor];
    gguf_code code = p->off == 0 ? gguf_hasher_new(j->algo, hasher, NULL) : GGUF_OK;
    if (code) atomic_store(&j->failure, (int)code);
    if (!*hasher) return;
    add_piece(j, *hasher, p);
    if (p->off + p->n < gguf_file_tensor(j->file, p->tensor)->n_bytes) return;
    j->hashes[p->tensor] = gguf_hasher_end(*hasher);
    *hasher = NULL;
}

/* Task 0, the longest, is the whole; the others are the pieces. */
static void hash_task(void *ctx, size_t task, unsigned worker) {
    job *j = ctx;
    (void)worker;
    if (task > 0) hash_piece(j, &j->pieces[task - 1]);
    for (size_t i = 0; task == 0 && i < j->n_pieces; i++) add_piece(j, j->whole, &j->pieces[i]);
}

static gguf_code push_piece(job *j, piece p, gguf_error *err) {
    if (j->n_pieces == j->room) {
        size_t room = j->room ? j->room * 2 : 64;
        piece *grown = realloc(j->pieces, room * sizeof *grown);
        if (!grown) return gguf_fail_memory(err);
        j->pieces = grown;
        j->room = room;
    }
    j->pieces[j->n_pieces++] = p;
    return GGUF_OK;
}

/* The next window behind *next, which moves on. No pieces: all is done. */
static gguf_code fill_window(job *j, piece *next, gguf_error *err) {
    gguf_code code = GGUF_OK;
    uint64_t room = WINDOW_BYTES;
    j->n_pieces = 0;
    while (room && next->tensor < gguf_file_n_tensors(j->file) && !code) {
        uint64_t left = gguf_file_tensor(j->file, next->tensor)->n_bytes - next->off;
        next->n = left < room ? (size_t)left : (size_t)room;
        code = push_piece(j, *next, err);
        room -= next->n;
        next->off += next->n;
        if (next->n == left) *next = (piece){.tensor = next->tensor + 1};
    }
    return code;
}

static void release_window(const job *j) {
    for (size_t i = 0; i < j->n_pieces; i++) {
        const piece *p = &j->pieces[i];
        gguf_file_release(j->file, gguf_file_tensor(j->file, p->tensor), p->off, p->n);
    }
}

static gguf_code hash_windows(job *j, gguf_pool *pool, const atomic_bool *cancel, gguf_error *err) {
    piece next = {0};
    for (;;) {
        gguf_code code = fill_window(j, &next, err);
        if (code || !j->n_pieces) return code;
        gguf_pool_run(pool, j->n_pieces + 1, hash_task, j);
        release_window(j);
        code = (gguf_code)atomic_load(&j->failure);
        if (code) return gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "out of memory");
        if (cancel && atomic_load(cancel))
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    }
}

gguf_code gguf_hash_tensors(const gguf_file *file, gguf_hash_algo algo, gguf_pool *pool,
                            const atomic_bool *cancel, gguf_hash *tensors, gguf_hash *whole,
                            gguf_error *err) {
    size_t n = gguf_file_n_tensors(file);
    job j = {.file = file, .algo = algo, .hashes = tensors};
    j.tensors = calloc(n + 1, sizeof *j.tensors);
    gguf_code code = j.tensors ? gguf_hasher_new(algo, &j.whole, err) : gguf_fail_memory(err);
    if (!code) code = hash_windows(&j, pool, cancel, err);
    if (j.whole) *whole = gguf_hasher_end(j.whole);
    for (size_t i = 0; j.tensors && i < n; i++)
        if (j.tensors[i]) gguf_hasher_end(j.tensors[i]);
    free(j.tensors);
    free(j.pieces);
    return code;
}
