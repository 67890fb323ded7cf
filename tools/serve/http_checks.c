/* Checks before any work. A page of another site must not reach a server on the loopback address:
 * neither by its Origin, nor by a name that it lets point here (DNS rebinding). */
#include "tools/serve/http_checks.h"

#include "tools/serve/http.h"
#include "tools/serve/tls.h"
#include "tools/serve/web_page.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

static const char *header(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* ---- names of hosts ---------------------------------------------------------------------- */

/* "[::1]:8080" to "::1", "localhost:8080" to "localhost". */
static void host_of(const char *text, char *out, size_t room) {
    if (*text == '[') {
        snprintf(out, room, "%.*s", (int)strcspn(text + 1, "]"), text + 1);
        return;
    }
    snprintf(out, room, "%.*s", (int)strcspn(text, ":/"), text);
}

bool http_is_loopback(const char *host) {
    struct in_addr v4;
    size_t n = strlen(host);
    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0) return true;
    if (n > 10 && strcasecmp(host + n - 10, ".localhost") == 0) return true;
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

static bool is_address(const char *host) {
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

static bool is_listed(const char *host, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], "*") == 0 || strcasecmp(list[i], host) == 0) return true;
    return false;
}

/* The name under which the server was asked for. A server for other machines may be asked for by
 * its address, one with a certificate by the names that stand in it. */
static bool check_host(const exchange *x, const char *value, api_error *error) {
    const serve_settings *o = x->s->settings;
    char host[256];
    if (!value || strcmp(x->peer, "unix") == 0) return true;
    host_of(value, host, sizeof host);
    if (http_is_loopback(host) || is_listed(host, o->allowed_hosts, o->n_allowed_hosts) ||
        tls_is_for(x->s, host))
        return true;
    for (size_t i = 0; i < o->n_hosts; i++) {
        char own[256];
        host_of(o->hosts[i], own, sizeof own);
        if (strcasecmp(host, own) == 0) return true;
        if (!http_is_loopback(own) && is_address(host)) return true;
    }
    return api_fail_status(error, 403, "host_not_allowed",
                           "the host '%.100s' is not allowed here (--allowed-host adds one)", host);
}

/* ---- origins ----------------------------------------------------------------------------- */

static bool origin_is_allowed(const serve_settings *o, const char *origin, const char *host) {
    const char *after = strstr(origin, "://");
    char name[256];
    for (size_t i = 0; i < o->n_origins; i++)
        if (strcmp(o->origins[i], "*") == 0 || strcasecmp(o->origins[i], origin) == 0) return true;
    if (!after ||
        (strncasecmp(origin, "http://", 7) != 0 && strncasecmp(origin, "https://", 8) != 0))
        return false;
    bool same_scheme = !o->tls_cert || strncasecmp(origin, "https:", 6) == 0;
    if (same_scheme && host && strcasecmp(after + 3, host) == 0)
        return true; /* the page that we serve */
    host_of(after + 3, name, sizeof name);
    return http_is_loopback(name);
}

static bool check_origin(exchange *x, const char *origin, const char *host, api_error *error) {
    if (!origin) return true;
    if (!origin_is_allowed(x->s->settings, origin, host))
        return api_fail_status(error, 403, "origin_not_allowed",
                               "pages of '%.100s' may not use this server (--cors-origin adds one)",
                               origin);
    snprintf(x->origin, sizeof x->origin, "%s", origin);
    return true;
}

/* ---- keys -------------------------------------------------------------------------------- */

/* In the same time whatever the difference is. */
static bool same_key(const char a[256], const char b[256]) {
    unsigned difference = 0;
    for (size_t i = 0; i < 256; i++) difference |= (unsigned char)(a[i] ^ b[i]);
    return difference == 0;
}

static const char *given_key(struct MHD_Connection *connection) {
    const char *value = header(connection, "Authorization");
    if (value && strncasecmp(value, "Bearer ", 7) == 0) {
        for (value += 7; *value == ' ';) value++;
        return value;
    }
    return header(connection, "x-api-key");
}

static bool check_key(exchange *x, struct MHD_Connection *connection, api_error *error) {
    const server *s = x->s;
    const char *given = given_key(connection);
    char padded[256] = {0};
    size_t found = SIZE_MAX;
    x->key = XXH64(x->peer, strlen(x->peer), 0);
    if (s->n_keys == 0) return true;
    if (given && strlen(given) < sizeof padded) memcpy(padded, given, strlen(given));
    for (size_t i = 0; i < s->n_keys; i++)
        if (same_key(padded, s->keys[i])) found = i;
    if (found != SIZE_MAX && padded[0]) {
        x->key = found;
        return true;
    }
    if (x->route && x->route->open) return true;
    return api_fail_status(error, 401, "invalid_api_key",
                           given ? "the API key is not known here"
                                 : "this server wants an API key: Authorization: Bearer KEY");
}

/* Before the model is there, only what needs no key answers: /health and the page. */
static bool check_loaded(const exchange *x, api_error *error) {
    if (x->route->open || atomic_load(&x->s->stage) == SERVER_READY) return true;
    return api_fail_status(error, 503, "loading", "the model is being loaded (%.0f %%): try again",
                           100 * server_loaded(x->s));
}

/* Of several keys, none may fill the queue alone. */
static bool check_share(exchange *x, api_error *error) {
    server *s = x->s;
    if (s->n_keys < 2 || !x->route || x->route->at_once || x->key >= s->n_keys) return true;
    uint32_t most = s->n_parallel + s->settings->n_queue / 2;
    x->counted = true;
    if (atomic_fetch_add(&s->n_of_key[x->key], 1) < most) return true;
    return api_fail_status(error, 429, "queue_full",
                           "%u requests with this key are worked on or wait already",
                           (unsigned)most);
}

/* ---- paths ------------------------------------------------------------------------------- */

static bool matches(const char *pattern, const char *path) {
    size_t n = strlen(pattern);
    if (pattern[n - 1] != '*') return strcmp(pattern, path) == 0;
    return strncmp(pattern, path, n - 1) == 0 && path[n - 1];
}

static const route *find_route(const char *path) {
    for (const route *r = serve_routes; r->path; r++)
        if (matches(r->path, path)) return r;
    return NULL;
}

static bool has_word(const char *words, const char *word) {
    size_t n = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at += n)
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) return true;
    return false;
}

/* Paths that the command line turned off. */
static bool is_off(const exchange *x) {
    const serve_settings *o = x->s->settings;
    return (o->no_metrics && strcmp(x->path, "/metrics") == 0) ||
           (o->no_slots && strcmp(x->path, "/slots") == 0) ||
           (o->no_props && strcmp(x->path, "/props") == 0);
}

static bool check_method(const exchange *x, api_error *error) {
    if (!x->route || is_off(x))
        return api_fail_status(error, 404, NULL, "there is nothing at %.200s", x->path);
    if (has_word(x->route->methods, x->method)) return true;
    return api_fail_status(error, 405, NULL, "%s takes %s, not %s", x->route->path,
                           x->route->methods, x->method);
}

bool http_fail_size(const exchange *x, api_error *error) {
    return api_fail_status(error, 413, NULL, "the body is larger than %llu bytes (--max-body)",
                           (unsigned long long)x->s->settings->max_body);
}

static enum MHD_Result count_lengths(void *ctx, enum MHD_ValueKind kind, const char *name,
                                     const char *value) {
    (void)kind, (void)value;
    *(unsigned *)ctx += strcasecmp(name, "Content-Length") == 0;
    return MHD_YES;
}

/* Where a body ends must not be a matter of opinion: a proxy in front might have another. */
static bool check_framing(exchange *x, struct MHD_Connection *connection, api_error *error) {
    unsigned n = header(connection, "Transfer-Encoding") != NULL;
    MHD_get_connection_values(connection, MHD_HEADER_KIND, count_lengths, &n);
    if (n < 2) return true;
    x->closes = true;
    return api_fail_status(error, 400, NULL,
                           "a request has one Content-Length or one Transfer-Encoding");
}

static bool check_size(const exchange *x, const char *length, api_error *error) {
    if (!length || strtoull(length, NULL, 10) <= x->s->settings->max_body) return true;
    return http_fail_size(x, error);
}

/* ---- together ---------------------------------------------------------------------------- */

static bool is_id(const char *text) {
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (!isgraph((unsigned char)text[i])) return false;
    return n > 0 && n < 90;
}

static void read_peer(exchange *x, struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    snprintf(x->peer, sizeof x->peer, "unix");
    if (address && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, x->peer,
                  sizeof x->peer);
    if (address && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr,
                  x->peer, sizeof x->peer);
}

void http_read_headers(exchange *x, struct MHD_Connection *connection) {
    const char *id = header(connection, "x-request-id"), *accept = header(connection, "Accept");
    if (id && is_id(id))
        snprintf(x->request_id, sizeof x->request_id, "%s", id);
    else
        server_random_id("req_", 24, x->request_id, sizeof x->request_id);
    x->wants_html = accept && strstr(accept, "text/html");
    const char *encodings = header(connection, "Accept-Encoding");
    const char *known = header(connection, "If-None-Match");
    x->takes_gzip = encodings && strstr(encodings, "gzip");
    snprintf(x->if_none_match, sizeof x->if_none_match, "%s", known ? known : "");
    x->anthropic = header(connection, "anthropic-version") != NULL;
    read_peer(x, connection);
    x->route = find_route(x->path);
}

bool http_check(exchange *x, api_error *error) {
    struct MHD_Connection *c = x->connection;
    const char *host = header(c, "Host");
    bool preflight = strcmp(x->method, "OPTIONS") == 0;
    if (!check_framing(x, c, error)) return false;
    if (!check_host(x, host, error) || !check_origin(x, header(c, "Origin"), host, error))
        return false;
    if (preflight) return true;
    if (!check_key(x, c, error)) return false;
    if (!check_method(x, error) || !check_size(x, header(c, "Content-Length"), error)) return false;
    if (!check_loaded(x, error) || !check_share(x, error)) return false;
    if (atomic_load(&x->s->draining) && !x->route->at_once)
        return api_fail_status(error, 503, "draining", "the server is shutting down");
    return true;
}

/* ---- headers ----------------------------------------------------------------------------- */

void http_add_preflight(struct MHD_Connection *connection, struct MHD_Response *r) {
    char names[2048];
    const char *asked = header(connection, "Access-Control-Request-Headers");
    snprintf(names, sizeof names,
             "authorization, content-type, x-api-key, anthropic-version, anthropic-beta, "
             "anthropic-dangerous-direct-browser-access%s%.1800s",
             asked && *asked ? ", " : "", asked ? asked : "");
    MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
    MHD_add_response_header(r, "Access-Control-Allow-Headers", names);
    MHD_add_response_header(r, "Access-Control-Max-Age", "600");
    if (header(connection, "Access-Control-Request-Private-Network"))
        MHD_add_response_header(r, "Access-Control-Allow-Private-Network", "true");
}

void http_add_page_headers(const exchange *x, struct MHD_Response *r) {
    if (!x->content_type || strncmp(x->content_type, "text/html", 9) != 0) return;
    MHD_add_response_header(r, "Content-Security-Policy", web_page_policy());
    MHD_add_response_header(r, "Cache-Control", "no-cache");
    MHD_add_response_header(r, "ETag", x->etag);
    MHD_add_response_header(r, "Vary", "Accept, Accept-Encoding");
    if (x->gzip) MHD_add_response_header(r, "Content-Encoding", "gzip");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
}
