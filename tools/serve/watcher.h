/* Clients that go away: the HTTP thread does not look at a suspended connection, nor for an end
 * that came together with data, so a thread watches a copy of each socket. A client that ends its
 * half counts as gone: what is at work for it ends, and its connection is closed. */
#ifndef TOOLS_SERVE_WATCHER_H
#define TOOLS_SERVE_WATCHER_H

#include "tools/serve/exchange.h"

gguf_code watcher_new(watcher **out, gguf_error *err);
void watcher_free(watcher *w); /* accepts NULL */

/* A connection's place with the watcher, or WATCHER_NONE where the system has no room for one more:
 * then the calls below are without effect. */
#define WATCHER_NONE SIZE_MAX
size_t watcher_open(watcher *w, int socket);
/* Nothing is attached. */
void watcher_close(watcher *w, size_t at);

/* What is at work for the connection, until it is detached. Threads: that of its connection. */
void watcher_attach(watcher *w, size_t at, exchange *x);
void watcher_detach(watcher *w, size_t at);

#endif
