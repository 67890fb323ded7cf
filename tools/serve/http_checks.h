/* What is checked of a request before its body is read: who may ask, from which page, for what. */
#ifndef TOOLS_SERVE_HTTP_CHECKS_H
#define TOOLS_SERVE_HTTP_CHECKS_H

#include "tools/serve/exchange.h"

struct MHD_Response;

/* Copy what is needed of the headers. */
void http_read_headers(exchange *x, struct MHD_Connection *connection);
/* Host, Origin, key, path, method, size; sets the route. */
bool http_check(exchange *x, api_error *error);
bool http_fail_size(const exchange *x, api_error *error);
void http_add_preflight(struct MHD_Connection *connection, struct MHD_Response *response);
/* Of the page at /: what it may load, and the mark of its version. */
void http_add_page_headers(const exchange *x, struct MHD_Response *response);

/* Whether a name is that of this machine to itself: localhost, 127.0.0.1, [::1]. */
bool http_is_loopback(const char *host);

#endif
