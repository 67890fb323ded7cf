/* Clients that go away while their request is worked on: the HTTP thread does not look at a
 * suspended connection, so a thread watches a copy of its socket. */
#ifndef TOOLS_SERVE_WATCHER_H
#define TOOLS_SERVE_WATCHER_H

#include "tools/serve/exchange.h"

gguf_code watcher_new(watcher **out, gguf_error *err);
void watcher_free(watcher *w); /* accepts NULL */

/* Called in the HTTP thread. Without effect where the system has no room for one more. */
void watcher_add(watcher *w, exchange *x);
void watcher_remove(watcher *w, exchange *x);

#endif
