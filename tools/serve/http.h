/* HTTP: listening, what is checked before a body is read, headers, connections. */
#ifndef TOOLS_SERVE_HTTP_H
#define TOOLS_SERVE_HTTP_H

#include "tools/serve/exchange.h"

/* The table of paths; ends with {0}. */
extern const route serve_routes[];

/* Bind all addresses and start to answer. Prints nothing.
 *   s  keys and settings are in place; the engine is when the stage says so
 * Errors: GGUF_E_IO an address cannot be used. */
gguf_code http_start(server *s, gguf_error *err);
/* "http://127.0.0.1:8080", for each address i; NULL behind the last. */
const char *http_address(const http *h, size_t i);
/* No further connections. */
void http_quiesce(http *h);
/* All exchanges have ended. Accepts NULL. */
void http_stop(http *h);

/* With the lock of the exchange held. */
void http_suspend(exchange *x);
void http_resume(exchange *x);

/* Bytes of a stream: -1 at its end, 0 when it was suspended. */
ssize_t exchange_read(exchange *x, char *out, size_t room);

#endif
