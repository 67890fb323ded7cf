/* The page at /: one HTML file, compressed into the program by CMake. */
#ifndef TOOLS_SERVE_WEB_PAGE_H
#define TOOLS_SERVE_WEB_PAGE_H

#include "tools/serve/exchange.h"

/* Unpack it and find out what it may run. Errors: GGUF_E_FORMAT, GGUF_E_NOMEM. */
gguf_code web_page_open(gguf_error *err);
void web_page_close(void);

/* Content-Security-Policy: its own scripts and no others, nothing from elsewhere. */
const char *web_page_policy(void);
/* Answer with it, or with 304 where the browser has this version. */
void web_page_reply(exchange *x);

#endif
