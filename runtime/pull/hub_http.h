/* Requests to hubs, by libcurl: small documents whole, files piece by piece. http and https only;
 * at most ten redirections; a token goes along over https or to loopback, and to the host that it
 * is meant for, never past a redirection to another. */
#ifndef RUNTIME_PULL_HUB_HTTP_H
#define RUNTIME_PULL_HUB_HTTP_H

#include "libgguf/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rt_http {
    double stall_s;            /* without a byte for so long, an attempt has failed */
    unsigned n_tries;          /* attempts without progress between them */
    double wait_s;             /* before the second attempt; doubles */
    const atomic_bool *cancel; /* may be NULL */
} rt_http;

/* What the last response of a chain of redirections said. */
typedef struct rt_http_head {
    long status;            /* 0: none came */
    char etag[256];         /* as it stands there */
    char content_range[96]; /* "bytes 5-9/10" */
    char retry_after[64], authenticate[512], error_code[64];
    uint64_t n_content; /* Content-Length; UINT64_MAX = not said */
    bool unreachable;   /* no connection came about */
    bool hopeless;      /* nor will it: a loop of redirections, a broken certificate */
} rt_http_head;

typedef struct rt_http_request {
    const char *url;
    const char *accept;                   /* media type, or NULL */
    const char *bearer;                   /* token, or NULL */
    const char *if_range, *if_none_match; /* ETags, or NULL */
    uint64_t first;                       /* byte to begin with */
    uint64_t n;                           /* 0 = all */
} rt_http_request;

/* Take a piece of a body. False: enough, end the transfer. */
typedef bool (*rt_http_sink)(void *ctx, const rt_http_head *head, const void *bytes, size_t n);

/* One attempt.
 *   sink   called for bodies of status 200 and 206; others are dropped
 *   ended  the sink ended it; may be NULL
 * Errors: GGUF_E_IO the network failed (head->status tells how far it came), GGUF_E_CANCELLED,
 * GGUF_E_USAGE a token would leave unencrypted. A status of 400 and above is no error here. */
gguf_code rt_http_perform(const rt_http *http, const rt_http_request *request, rt_http_sink sink,
                          void *ctx, rt_http_head *head, bool *ended, gguf_error *err);

/* Whether another attempt may help, after what rt_http_perform returned. Where no connection came
 * about, only a caller that had one before should try again. */
bool rt_http_may_retry(gguf_code code, const rt_http_head *head);

/* Wait before attempt `n` (from 1), as the server asks or twice as long each time.
 * Errors: GGUF_E_CANCELLED, GGUF_E_IO the server asks for more than ten minutes. */
gguf_code rt_http_wait(const rt_http *http, unsigned n, const rt_http_head *head, const char *url,
                       gguf_error *err);

/* Fetch a document of at most max_bytes, with attempts; *out ends with a NUL and is malloc'ed, NULL
 * unless the status is 200.
 * Errors: GGUF_E_IO, GGUF_E_LIMIT, GGUF_E_CANCELLED, GGUF_E_NOMEM. */
gguf_code rt_http_get(const rt_http *http, const rt_http_request *request, size_t max_bytes,
                      char **out, size_t *n, rt_http_head *head, gguf_error *err);

/* Say what an unexpected status means: always an error. */
gguf_code rt_http_fail_status(const rt_http_head *head, const char *url, gguf_error *err);

#endif
