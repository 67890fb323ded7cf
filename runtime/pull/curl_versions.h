/* What libcurl has under other names since 7.85 and 7.87; systems of 2020 have 7.68. */
#ifndef RUNTIME_CURL_VERSIONS_H
#define RUNTIME_CURL_VERSIONS_H

#include <curl/curl.h>
#include <stdbool.h>

#ifndef CURL_WRITEFUNC_ERROR
#define CURL_WRITEFUNC_ERROR 0xFFFFFFFF
#endif

/* Nothing but HTTP and HTTPS; behind a redirection, with https_only, HTTPS alone. */
static inline void rt_curl_set_protocols(CURL *curl, bool https_only) {
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, https_only ? "https" : "http,https");
#else
    long both = CURLPROTO_HTTP | CURLPROTO_HTTPS;
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, both);
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS, https_only ? (long)CURLPROTO_HTTPS : both);
#endif
}

#endif
