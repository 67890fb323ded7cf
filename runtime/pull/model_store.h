/* The store of models, $GGUFKIT_MODELS or $XDG_DATA_HOME/ggufkit/models, and the caches that
 * Hugging Face's and Ollama's own programs keep, which are read in place and never changed.
 *
 *   blobs/sha256-HEX                          contents; HEX.part while they are fetched
 *   manifests/HOST/SPACE/MODEL/TAG.json       what a model consists of; written last
 *   links/HOST/SPACE/MODEL/TAG/FILE           its files by their names, links to contents
 *   headers/HOST/SPACE/MODEL/TAG/FILE         headers alone, for sizing */
#ifndef RUNTIME_PULL_MODEL_STORE_H
#define RUNTIME_PULL_MODEL_STORE_H

#include "runtime/pull/listing.h"
#include "runtime/pull/model_name.h"

#include <stdatomic.h>

#define RT_PATH_ROOM 4096

typedef struct rt_store {
    char root[RT_PATH_ROOM];
    int lock; /* -1 = not held */
} rt_store;

/* Where the store is; nothing is created. Errors: GGUF_E_USAGE neither HOME nor another says it. */
gguf_code rt_store_open(rt_store *store, gguf_error *err);

/* Hold the store: many may add to it, one may remove from it and waits for nobody.
 * Errors: GGUF_E_IO; where a pull is running, only for `alone`. */
gguf_code rt_store_lock(rt_store *store, bool alone, gguf_error *err);
void rt_store_unlock(rt_store *store);
/* Hold one model of a store that is locked: another process that adds the same one waits.
 *   cancel  looked at while waiting; may be NULL
 * Errors: GGUF_E_IO, GGUF_E_CANCELLED. */
gguf_code rt_store_hold(const rt_store *store, const rt_name *name, const atomic_bool *cancel,
                        gguf_error *err);
void rt_store_release(const rt_store *store, const rt_name *name);

/* A path from printf's format. Errors: GGUF_E_LIMIT it is too long. */
gguf_code rt_path(char out[RT_PATH_ROOM], gguf_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Create the folders that a path's last part lies in. Errors: GGUF_E_IO. */
gguf_code rt_make_folders(const char *path, gguf_error *err);

/* ---- manifests --------------------------------------------------------------------------------
 */

typedef struct rt_stored {
    rt_name name;       /* choice and rev say which; without revision */
    char revision[264]; /* commit, digest or ETag */
    char type[72];      /* what it was converted to, or what its file name says; or "" */
    bool converted;
    char main[264]; /* file to open, of `files` or the converted one */
    rt_listing files;
    bool complete; /* every file is there, in its size */
} rt_stored;

void rt_stored_clear(rt_stored *stored);
/* The folder of a model's links, without a slash at its end. */
gguf_code rt_store_folder(const rt_store *store, const char *kind, const rt_name *name,
                          char out[RT_PATH_ROOM], gguf_error *err);
/* Read the manifest of exactly this name. Errors: GGUF_E_MISSING, GGUF_E_FORMAT, GGUF_E_NOMEM. */
gguf_code rt_store_load(const rt_store *store, const rt_name *name, rt_stored *out,
                        gguf_error *err);
/* Link the files and write the manifest. Errors: GGUF_E_IO, GGUF_E_NOSPACE, GGUF_E_NOMEM. */
gguf_code rt_store_save(const rt_store *store, const rt_stored *stored, gguf_error *err);
/* Path of the file to open. */
gguf_code rt_store_main(const rt_store *store, const rt_stored *stored, char out[RT_PATH_ROOM],
                        gguf_error *err);

typedef gguf_code (*rt_stored_fn)(void *ctx, const rt_stored *stored, gguf_error *err);
/* Every manifest, in order of names. Broken ones are passed over, with the number of them.
 * Errors: GGUF_E_NOMEM, those of the function. */
gguf_code rt_store_each(const rt_store *store, rt_stored_fn each, void *ctx, size_t *n_broken,
                        gguf_error *err);

/* The model that a name means: of exactly this choice, or, where none is given, the one that was
 * stored last; of a bare name, the model of that name from wherever it came.
 * Errors: GGUF_E_MISSING, GGUF_E_USAGE a bare name means several; GGUF_E_NOMEM. */
gguf_code rt_store_find(const rt_store *store, const rt_name *name, rt_stored *out,
                        gguf_error *err);

/* Remove a model, its links, and those of its blobs that no other model has; files of other
 * programs' caches stay. The store must be locked alone.
 *   freed  bytes
 * Errors: GGUF_E_IO. */
gguf_code rt_store_remove(const rt_store *store, const rt_stored *stored, uint64_t *freed,
                          gguf_error *err);
/* The same for the sources of a conversion, which no manifest has. */
gguf_code rt_store_drop_blobs(const rt_store *store, const rt_listing *files, uint64_t *freed,
                              gguf_error *err);

/* ---- what is there already --------------------------------------------------------------------
 */

/* Set the place of each file that lies in the store or in another program's cache.
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_store_locate(const rt_store *store, const rt_name *name, rt_listing *files,
                          gguf_error *err);

/* What another program's cache has of a model, all of it with places.
 * Errors: GGUF_E_MISSING, GGUF_E_FORMAT, GGUF_E_NOMEM. */
gguf_code rt_cache_list(const rt_name *name, rt_listing *out, gguf_error *err);
/* Every model of the caches of Hugging Face (those with GGUF files) and Ollama. */
gguf_code rt_cache_each(gguf_code (*each)(void *ctx, const rt_name *name, const rt_listing *files,
                                          gguf_error *err),
                        void *ctx, gguf_error *err);
/* Whether the folder of the store's files is that of Ollama: nothing is removed there. */
bool rt_blobs_are_foreign(const rt_store *store);
/* The token of Hugging Face's own programs, malloc'ed, or NULL: $HF_TOKEN or the file. */
char *rt_hf_token(void);

#endif
