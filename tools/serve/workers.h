/* Threads that read bodies, render templates and tokenize, so that the HTTP thread does not wait.
 */
#ifndef TOOLS_SERVE_WORKERS_H
#define TOOLS_SERVE_WORKERS_H

#include "tools/serve/exchange.h"

#define WORKERS_MAX_JSON_DEPTH 512

gguf_code workers_new(unsigned n_threads, workers **out, gguf_error *err);
/* What waits is done, what comes later is refused. Both accept NULL. */
void workers_end(workers *w);
void workers_free(workers *w);

/* Let a thread parse the body and handle the exchange; takes the reference. */
void workers_put(workers *w, exchange *x);

/* The body as an object, or why not. */
bool workers_parse(const uint8_t *text, size_t len, json_t **out, api_error *error);

#endif
