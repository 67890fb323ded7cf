/* Fetching one file into the store: resumed where it broke off, hashed while it comes, moved to its
 * final name only when it is whole and right. */
#ifndef RUNTIME_PULL_BLOB_FETCH_H
#define RUNTIME_PULL_BLOB_FETCH_H

#include "runtime/pull/hub_http.h"
#include "runtime/pull/model_store.h"

/* What has to be known before, and is shared with who shows progress. */
typedef struct rt_fetch {
    const rt_store *store;
    const rt_http *http;
    const char *bearer;        /* or NULL */
    const char *if_none_match; /* ETag of what is there already; or NULL */
    rt_hub_file *file;         /* its place, hash and size are set */
    atomic_ullong *done;       /* bytes that came in, added to */
    char etag[264];            /* of what was fetched, or "" */
    bool unchanged; /* the server says that if_none_match still holds: nothing was fetched */
} rt_fetch;

/* Bytes of a file that an earlier run has fetched already. */
uint64_t rt_fetch_begun(const rt_store *store, const rt_hub_file *file);

/* Another process that fetches the same file is waited for, and its result taken.
 * Errors: GGUF_E_IO, GGUF_E_FORMAT the hash is another (what came is kept as .bad),
 * GGUF_E_TRUNCATED the server's file is shorter or longer than it says, GGUF_E_NOSPACE,
 * GGUF_E_CANCELLED, GGUF_E_NOMEM. What came in stays for the next attempt, hash errors aside.
 * Threads: safe for different files. */
gguf_code rt_fetch_blob(rt_fetch *f, gguf_error *err);

/* Fetch the header of a GGUF file and write it to `path`, followed by a hole in the file's full
 * size, so that readers of headers take it for the file.
 * Errors: as above, GGUF_E_LIMIT a header beyond 512 MiB, those of reading GGUF headers. */
gguf_code rt_fetch_header(const rt_fetch *f, const char *path, gguf_error *err);

#endif
