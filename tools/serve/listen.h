/* Sockets that listen: addresses of the network and of the file system. */
#ifndef TOOLS_SERVE_LISTEN_H
#define TOOLS_SERVE_LISTEN_H

#include "tools/serve/server.h"

typedef struct listener {
    int fd;            /* -1: closed */
    char address[300]; /* "http://127.0.0.1:8080", "https://...", "unix:/path" */
    char path[200];    /* of a socket in the file system, to remove it; "" for others */
} listener;

/* Bind and listen for each --host. Close them all, also after a failure.
 *   out  [SERVER_MAX_NAMES]
 * Errors: GGUF_E_IO. */
gguf_code listen_all(const serve_settings *settings, listener *out, size_t *n, gguf_error *err);
void listen_close(listener *l);

#endif
