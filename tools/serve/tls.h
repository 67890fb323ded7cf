/* Certificate and private key for connections with TLS. */
#ifndef TOOLS_SERVE_TLS_H
#define TOOLS_SERVE_TLS_H

#include "tools/serve/server.h"

/* Read the files of --tls-cert and --tls-key into s->tls, if they were given, and check all that
 * would keep them from being used. Warns of a key that others can read, and of a certificate that
 * has expired.
 * Errors: GGUF_E_USAGE one without the other, or an address without a network;
 *   GGUF_E_UNSUPPORTED libmicrohttpd has no TLS; GGUF_E_IO, GGUF_E_LIMIT, GGUF_E_FORMAT a file. */
gguf_code tls_read(server *s, gguf_error *err);
/* Whether the certificate is for this name or address. Threads: any. */
bool tls_is_for(const server *s, const char *host);
/* The key does not stay in memory. */
void tls_clear(server *s);

#endif
