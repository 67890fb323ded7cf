/* Opening the model of a server: first what shows whether it can be served, then what takes time.
 */
#ifndef TOOLS_SERVE_SERVER_OPEN_H
#define TOOLS_SERVE_SERVER_OPEN_H

#include "tools/serve/server.h"

/* The file's header, the tokenizer, and how the memory is used; settings and tool are set. Close
 * also after a failure.
 * Errors: those of opening; GGUF_E_NOMEM it does not fit, with the numbers. */
gguf_code server_open(server *s, gguf_error *err);
/* Template and engine, which rt_serve_start then lets begin by laying the weights for this
 * processor: ready when its stats say so.
 *   s  open; the HTTP server may run
 * Errors: those of the template; GGUF_E_NOMEM. */
gguf_code server_load(server *s, gguf_error *err);
void server_close(server *s);

#endif
