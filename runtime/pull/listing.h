/* The files of a model at a hub, and the choice among them. */
#ifndef RUNTIME_PULL_LISTING_H
#define RUNTIME_PULL_LISTING_H

#include "libgguf/error.h"
#include "runtime/pull/model_name.h"

#include <stdbool.h>
#include <stdint.h>

#define RT_NO_SIZE UINT64_MAX

typedef struct rt_hub_file {
    char *path;       /* in the repository */
    char *url;        /* NULL = it is there, at `at` */
    char sha256[65];  /* "" = not known */
    uint64_t n_bytes; /* RT_NO_SIZE = not known */
    char *at;         /* where its contents lie; NULL = nowhere yet */
    bool foreign;     /* in the cache of another program */
    bool fetched;     /* by this run */
} rt_hub_file;

/* Start as {0}. */
typedef struct rt_listing {
    rt_hub_file *files;
    size_t n, room;
    char revision[264]; /* commit, digest or ETag */
    char *bearer;       /* token for its files, or NULL */
    char *notes[8];     /* sentences for the user */
    size_t n_notes;
} rt_listing;

void rt_listing_clear(rt_listing *l);
/* Append a file; texts are copied. A path that could leave its folder is not appended, and noted.
 * Errors: GGUF_E_NOMEM, GGUF_E_LIMIT. */
gguf_code rt_listing_add(rt_listing *l, const char *path, const char *url, const char *sha256,
                         uint64_t n_bytes, const char *at, gguf_error *err);
void rt_listing_note(rt_listing *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* 64 hexadecimal digits. */
bool rt_is_sha256(const char *text);

/* ---- choice -----------------------------------------------------------------------------------
 */

/* GGUF files that belong together: one, or all shards of a split model. */
typedef struct rt_variant {
    char type[72]; /* as its name says, "Q4_K_M"; or "" */
    size_t first;  /* of the listing's files */
    uint32_t n;    /* shards */
    uint64_t n_bytes;
    bool fits;
} rt_variant;

typedef struct rt_variants {
    rt_variant *list; /* from the largest down */
    size_t n, chosen;
} rt_variants;

/* Memory that a model of n_bytes is expected to take. */
uint64_t rt_memory_needed(uint64_t n_bytes);

/* What there is to choose from, and the choice: a type, a file, or where none is given the largest
 * that fits into memory_bytes, quantised ones first; if none does, the smallest.
 *   out  n == 0: no GGUF file is there
 * Errors: GGUF_E_USAGE no such type or file, or several; GGUF_E_NOMEM. */
gguf_code rt_variants_choose(const rt_listing *l, const char *choice, uint64_t memory_bytes,
                             rt_variants *out, gguf_error *err);
/* The files of one as a listing of their own, named without folders. Errors: GGUF_E_NOMEM. */
gguf_code rt_variant_files(const rt_listing *l, const rt_variant *v, rt_listing *out,
                           gguf_error *err);

/* What gguf-convert reads of a repository; weights_bytes = 0: it has no weights.
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_listing_sources(const rt_listing *l, rt_listing *out, uint64_t *weights_bytes,
                             gguf_error *err);

#endif
