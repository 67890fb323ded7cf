/* Requests to a server of the OpenAI form, many at once, and when their tokens came. */
#ifndef TOOLS_BENCH_LOAD_H
#define TOOLS_BENCH_LOAD_H

#include "tools/common/tool.h"

typedef struct load_opts {
    const char *url;                  /* of the server, without the path; no slash at the end */
    const char *model, *api_key;      /* either may be NULL */
    uint32_t n_users;                 /* requests in flight, at most */
    uint32_t n_requests;              /* in all */
    uint32_t n_prompt, n_tokens;      /* of each */
    uint32_t n_vocab;                 /* prompts are ids below it */
    double rate;                      /* requests that arrive in a second; 0: as one ends */
    double ttft_limit_s, itl_limit_s; /* of requests that count as good; 0 = any */
    uint64_t seed;                    /* of the prompts and arrivals */
} load_opts;

/* One request, in seconds. */
typedef struct load_request {
    double due_s;   /* when it arrived, from the start of all */
    double first_s; /* from there to the first token, */
    double last_s;  /* and to the last */
    size_t n_generated;
    bool failed;
} load_request;

/* Start as {0}; clear frees. */
typedef struct load_result {
    load_request *requests; /* [n] */
    size_t n, n_failed, n_good;
    double *gaps; /* [n_gaps]: seconds between parts of an answer, of all requests */
    size_t n_gaps;
    double wall_s;
    char fault[256]; /* what the first that failed said */
} load_result;

/* Send them all. Progress is that of the tool.
 * Errors: GGUF_E_IO no server answers there, GGUF_E_CANCELLED, GGUF_E_NOMEM. */
gguf_code load_run(tool *t, const load_opts *opts, load_result *out, gguf_error *err);
void load_clear(load_result *result);

/* What the server says of its model; parts that it does not say stay as they are.
 *   model  malloc'ed, of the first in its list
 * Errors: GGUF_E_IO as above, GGUF_E_FORMAT it is no such server. */
gguf_code load_ask_model(const load_opts *opts, char **model, uint32_t *n_vocab, gguf_error *err);

#endif
