/* Opening the model of a server. */
#ifndef TOOLS_SERVE_SERVER_OPEN_H
#define TOOLS_SERVE_SERVER_OPEN_H

#include "tools/serve/server.h"

/* Model, tokenizer, template, engine; settings and tool are set. Close also after a failure.
 * Errors: those of opening; GGUF_E_NOMEM it does not fit, with the numbers. */
gguf_code server_open(server *s, gguf_error *err);
void server_close(server *s);

#endif
