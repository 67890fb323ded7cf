/* Models by their names: what a name means, what of it is there, and the rest fetched. */
#ifndef RUNTIME_PULL_PULL_H
#define RUNTIME_PULL_PULL_H

#include "runtime/pull/hub_http.h"
#include "runtime/pull/model_store.h"

typedef enum rt_pull_mode {
    RT_PULL_LATEST,     /* ask the hub, fetch what is missing */
    RT_PULL_IF_MISSING, /* what is there is taken as it is */
    RT_PULL_HEADERS     /* headers, or config.json, alone; for sizing */
} rt_pull_mode;

typedef struct rt_pull_opts {
    rt_http http;
    rt_pull_mode mode;
    bool offline;          /* no request to anybody */
    bool again;            /* fetch what an address gives even if it was fetched */
    bool dry_run;          /* decide, and fetch nothing */
    unsigned n_at_once;    /* files */
    uint64_t memory_bytes; /* that a model may take, for the choice of a type */
    /* Sentences for the user. */
    void (*note)(void *ctx, bool warning, const char *text);
    /* Called about ten times a second while files come. */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    /* Make a GGUF file `out` of a folder in Hugging Face's form. */
    gguf_code (*convert)(void *ctx, const char *folder, const char *out, const char *type,
                         gguf_error *err);
    void *ctx;
} rt_pull_opts;

rt_pull_opts rt_pull_defaults(void);

typedef struct rt_pulled {
    rt_stored stored;        /* its name has the choice that was made */
    char path[RT_PATH_ROOM]; /* of the file to open; "" after a dry run unless it is there */
    uint64_t fetched_bytes, needed_bytes; /* by this run; not there at its start */
} rt_pulled;

void rt_pulled_clear(rt_pulled *p);

/* Find or fetch the model of a name that is no path.
 * Errors: GGUF_E_IO the name is not found, no access or no network; GGUF_E_USAGE the choice is not
 * there; GGUF_E_FORMAT, GGUF_E_TRUNCATED, GGUF_E_NOSPACE, GGUF_E_CANCELLED, GGUF_E_UNSUPPORTED. */
gguf_code rt_pull(rt_store *store, const rt_name *name, const rt_pull_opts *opts, rt_pulled *out,
                  gguf_error *err);

#endif
