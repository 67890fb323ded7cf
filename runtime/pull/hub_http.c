/* Requests with libcurl's easy interface. */
#include "runtime/pull/hub_http.h"

#include "libgguf/dynbuf.h"
#include "runtime/pull/curl_versions.h"
#include "runtime/pull/model_name.h"

#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define MAX_WAIT_S 600.0

/* ---- headers ----------------------------------------------------------------------------------
 */

static bool take_header(const char *line, size_t n, const char *name, char *out, size_t room) {
    size_t n_name = strlen(name);
    if (n < n_name + 1 || strncasecmp(line, name, n_name) != 0 || line[n_name] != ':') return false;
    const char *value = line + n_name + 1, *end = line + n;
    while (value < end && isspace((unsigned char)*value)) value++;
    while (end > value && isspace((unsigned char)end[-1])) end--;
    snprintf(out, room, "%.*s", (int)(end - value), value);
    return true;
}

typedef struct transfer {
    CURL *curl;
    const rt_http *http;
    rt_http_head *head;
    rt_http_sink sink;
    void *ctx;
    bool ended;
} transfer;

/* Each response of a chain begins anew; the last one stays. */
static size_t on_header(char *line, size_t size, size_t n, void *ctx) {
    transfer *t = ctx;
    rt_http_head *h = t->head;
    char number[32];
    n *= size;
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) *h = (rt_http_head){.n_content = UINT64_MAX};
    take_header(line, n, "ETag", h->etag, sizeof h->etag);
    take_header(line, n, "Content-Range", h->content_range, sizeof h->content_range);
    take_header(line, n, "Retry-After", h->retry_after, sizeof h->retry_after);
    take_header(line, n, "WWW-Authenticate", h->authenticate, sizeof h->authenticate);
    take_header(line, n, "X-Error-Code", h->error_code, sizeof h->error_code);
    if (take_header(line, n, "Content-Length", number, sizeof number) &&
        isdigit((unsigned char)*number))
        h->n_content = strtoull(number, NULL, 10);
    return n;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx) {
    transfer *t = ctx;
    n *= size;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->head->status);
    if (t->head->status != 200 && t->head->status != 206) return n;
    if (t->sink(t->ctx, t->head, bytes, n)) return n;
    t->ended = true;
    return CURL_WRITEFUNC_ERROR;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    const transfer *t = ctx;
    (void)a, (void)b, (void)c, (void)d;
    return t->http->cancel && atomic_load(t->http->cancel);
}

/* ---- one attempt ------------------------------------------------------------------------------
 */

static void start_curl(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static struct curl_slist *headers_of(const rt_http_request *r) {
    const struct {
        const char *name, *value;
    } rows[] = {
        {"Accept", r->accept}, {"If-Range", r->if_range}, {"If-None-Match", r->if_none_match}};
    struct curl_slist *list = NULL;
    char line[400];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!rows[i].value) continue;
        snprintf(line, sizeof line, "%s: %s", rows[i].name, rows[i].value);
        struct curl_slist *longer = curl_slist_append(list, line);
        if (longer) list = longer;
    }
    return list;
}

static void set_range(CURL *curl, const rt_http_request *r) {
    char range[64] = "";
    if (r->n)
        snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, r->first, r->first + r->n - 1);
    else if (r->first)
        snprintf(range, sizeof range, "%" PRIu64 "-", r->first);
    if (*range) curl_easy_setopt(curl, CURLOPT_RANGE, range);
}

/* Whom to reach without a proxy: this machine, also behind a redirection, and whom the user names.
 */
static void set_direct(CURL *curl, bool local) {
    char list[2048];
    const char *named = getenv("no_proxy");
    if (!named || !*named) named = getenv("NO_PROXY");
    snprintf(list, sizeof list, "localhost,127.0.0.1,::1%s%s", named && *named ? "," : "",
             named ? named : "");
    curl_easy_setopt(curl, CURLOPT_NOPROXY,
                     local || (named && strcmp(named, "*") == 0) ? "*" : list);
}

/* libcurl looks where the system that it was built on keeps its certificates; elsewhere they lie
 * in another place. */
static void find_certificates(CURL *curl) {
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Arch */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL */
        "/etc/ssl/ca-bundle.pem",                            /* openSUSE */
        "/etc/ssl/cert.pem"};                                /* Alpine */
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (access(places[i], R_OK) != 0) continue;
        if (i > 0) curl_easy_setopt(curl, CURLOPT_CAINFO, places[i]);
        return;
    }
}

/* What begins encrypted stays so. */
static void set_options(transfer *t, const rt_http_request *r, struct curl_slist *headers) {
    CURL *curl = t->curl;
    const char *host;
    size_t n_host = rt_url_host(r->url, &host);
    bool local = rt_host_is_loopback(host, n_host), secure = strncasecmp(r->url, "https", 5) == 0;
    curl_easy_setopt(curl, CURLOPT_URL, r->url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "ggufkit/" GGUFKIT_VERSION);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    rt_curl_set_protocols(curl, secure);
    find_certificates(curl);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 10L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)(1000 * t->http->stall_s));
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)(t->http->stall_s + 0.999));
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 512L << 10);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
    set_direct(curl, local);
    set_range(curl, r);
    if (!r->bearer) return;
    /* libcurl leaves it out wherever a redirection leads to another host, port or protocol. */
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, r->bearer);
    curl_easy_setopt(curl, CURLOPT_UNRESTRICTED_AUTH, 0L);
}

static gguf_code check_token(const rt_http_request *r, gguf_error *err) {
    const char *host;
    size_t n_host = rt_url_host(r->url, &host);
    for (const char *at = r->bearer; at && *at; at++)
        if ((unsigned char)*at <= ' ' || *at == 0x7f)
            return gguf_fail(
                err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                "the token (HF_TOKEN or Hugging Face's file) holds a space or a control "
                "character");
    if (n_host && (!r->bearer || strncasecmp(r->url, "https://", 8) == 0 ||
                   rt_host_is_loopback(host, n_host)))
        return GGUF_OK;
    if (!n_host)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "'%s' is no http(s) address",
                         r->url);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "a token is sent over https only, not to %s (unset HF_TOKEN to go without)",
                     r->url);
}

gguf_code rt_http_perform(const rt_http *http, const rt_http_request *request, rt_http_sink sink,
                          void *ctx, rt_http_head *head, bool *ended, gguf_error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    *head = (rt_http_head){.n_content = UINT64_MAX};
    gguf_code code = check_token(request, err);
    if (code) return code;
    transfer t = {.curl = curl_easy_init(), .http = http, .head = head, .sink = sink, .ctx = ctx};
    if (!t.curl) return gguf_fail_memory(err);
    char why[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = headers_of(request);
    set_options(&t, request, headers);
    curl_easy_setopt(t.curl, CURLOPT_ERRORBUFFER, why);
    CURLcode result = curl_easy_perform(t.curl);
    curl_easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &head->status);
    if (result != CURLE_OK && !t.ended) head->status = 0;
    head->unreachable = result == CURLE_COULDNT_RESOLVE_HOST || result == CURLE_COULDNT_CONNECT;
    head->hopeless = result == CURLE_TOO_MANY_REDIRECTS || result == CURLE_UNSUPPORTED_PROTOCOL ||
                     result == CURLE_URL_MALFORMAT || result == CURLE_PEER_FAILED_VERIFICATION;
    curl_slist_free_all(headers);
    curl_easy_cleanup(t.curl);
    if (ended) *ended = t.ended;
    if (http->cancel && atomic_load(http->cancel))
        return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    if (result == CURLE_OK || t.ended) return GGUF_OK;
    return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "%s: %s", request->url,
                     *why ? why : curl_easy_strerror(result));
}

/* ---- attempts ---------------------------------------------------------------------------------
 */

bool rt_http_may_retry(gguf_code code, const rt_http_head *head) {
    long s = head->status;
    if (code) return code == GGUF_E_IO && !head->unreachable && !head->hopeless;
    return s == 408 || s == 429 || s == 500 || s == 502 || s == 503 || s == 504;
}

/* Seconds, or a date. */
static double asked_wait(const char *text) {
    char *end;
    double seconds = strtod(text, &end);
    if (end != text && !*end) return seconds;
    time_t when = curl_getdate(text, NULL);
    return when > 0 ? difftime(when, time(NULL)) : 0;
}

gguf_code rt_http_wait(const rt_http *http, unsigned n, const rt_http_head *head, const char *url,
                       gguf_error *err) {
    double seconds = http->wait_s * (double)(1u << (n < 7 ? n - 1 : 6));
    double asked = head->retry_after[0] ? asked_wait(head->retry_after) : 0;
    if (asked > MAX_WAIT_S)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                         "%s: the server is busy and asks to come back in %.0f minutes", url,
                         asked / 60);
    if (asked > seconds) seconds = asked;
    for (double waited = 0; waited < seconds; waited += 0.05) {
        const struct timespec step = {.tv_nsec = 50000000};
        if (http->cancel && atomic_load(http->cancel))
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        nanosleep(&step, NULL);
    }
    return GGUF_OK;
}

static bool keep_bytes(void *ctx, const rt_http_head *head, const void *bytes, size_t n) {
    gguf_dynbuf *buf = ctx;
    (void)head;
    gguf_dynbuf_put(buf, bytes, n);
    return !buf->code;
}

gguf_code rt_http_get(const rt_http *http, const rt_http_request *request, size_t max_bytes,
                      char **out, size_t *n, rt_http_head *head, gguf_error *err) {
    gguf_dynbuf buf;
    gguf_code code;
    *out = NULL;
    for (unsigned i = 1;; i++) {
        gguf_error why = {0};
        gguf_dynbuf_init(&buf, max_bytes + 1);
        code = rt_http_perform(http, request, keep_bytes, &buf, head, NULL, &why);
        if (!code && buf.code)
            code = gguf_fail(&why, buf.code, NULL, GGUF_NO_OFFSET,
                             "%s: an answer of more than %zu bytes", request->url, max_bytes);
        bool again = i < http->n_tries && rt_http_may_retry(code, head);
        if (!again && code) gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "%s", why.message);
        if (!again) break;
        gguf_dynbuf_clear(&buf);
        code = rt_http_wait(http, i, head, request->url, err);
        if (code) return code;
    }
    gguf_dynbuf_put(&buf, "", 1);
    if (!code && head->status == 200 && buf.code) code = gguf_fail_memory(err);
    if (code || head->status != 200) {
        gguf_dynbuf_clear(&buf);
        return code;
    }
    *out = (char *)buf.data;
    *n = buf.len - 1;
    return GGUF_OK;
}

gguf_code rt_http_fail_status(const rt_http_head *head, const char *url, gguf_error *err) {
    const char *what = "the server refuses";
    if (head->status == 401) what = "a login is needed, or there is no such thing";
    if (head->status == 403) what = "access is not allowed";
    if (head->status == 404) what = "not found";
    if (head->status == 429) what = "the server is busy (too many requests)";
    if (head->status >= 500) what = "the server has failed";
    return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "%s: %s (status %ld)", url, what,
                     head->status);
}
