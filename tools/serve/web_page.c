/* The page, as CMake compressed it. Its scripts are allowed by their hashes, so that no text of a
 * model ever runs as one. */
#include "tools/serve/web_page.h"

#include "libgguf/embed.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zlib.h>

#define MAX_PAGE (4u << 20)

extern const gguf_embedded serve_page[];

static struct {
    char *text; /* NUL behind its end */
    size_t n;
    char etag[32], policy[2048];
} page;

/* ---- opening ----------------------------------------------------------------------------- */

static gguf_code unpack(gguf_error *err) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)serve_page[0].text,
                  .avail_in = (uInt)serve_page[0].n_bytes};
    page.text = malloc(MAX_PAGE);
    if (!page.text) return gguf_fail_memory(err);
    z.next_out = (Bytef *)page.text;
    z.avail_out = MAX_PAGE - 1;
    int state = inflateInit2(&z, 15 + 16); /* gzip */
    if (state == Z_OK) state = inflate(&z, Z_FINISH);
    page.n = z.total_out;
    page.text[page.n] = '\0';
    inflateEnd(&z);
    if (state == Z_STREAM_END) return GGUF_OK;
    return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET, "the built-in page is damaged");
}

static size_t add_hash(size_t len, const char *script, size_t n) {
    unsigned char hash[SHA256_DIGEST_LENGTH];
    char text[64];
    SHA256((const unsigned char *)script, n, hash);
    EVP_EncodeBlock((unsigned char *)text, hash, sizeof hash);
    return len +
           (size_t)snprintf(page.policy + len, sizeof page.policy - len, " 'sha256-%s'", text);
}

static void make_policy(void) {
    size_t len =
        (size_t)snprintf(page.policy, sizeof page.policy, "default-src 'self'; script-src");
    size_t before = len;
    for (const char *at = page.text; (at = strstr(at, "<script")) && len < 1500;) {
        const char *begin = strchr(at, '>'), *end = begin ? strstr(begin, "</script>") : NULL;
        if (!end) break;
        len = add_hash(len, begin + 1, (size_t)(end - begin - 1));
        at = end;
    }
    if (len == before)
        len += (size_t)snprintf(page.policy + len, sizeof page.policy - len, " 'none'");
    snprintf(page.policy + len, sizeof page.policy - len,
             "; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; "
             "frame-ancestors 'none'; base-uri 'none'; form-action 'none'");
}

gguf_code web_page_open(gguf_error *err) {
    gguf_code code = unpack(err);
    if (code) return code;
    make_policy();
    snprintf(page.etag, sizeof page.etag, "\"%016llx\"",
             (unsigned long long)XXH3_64bits(page.text, page.n));
    return GGUF_OK;
}

void web_page_close(void) {
    free(page.text);
    page.text = NULL;
}

/* ---- answers ----------------------------------------------------------------------------- */

const char *web_page_policy(void) {
    return page.policy;
}

void web_page_reply(exchange *x) {
    static const char type[] = "text/html; charset=utf-8";
    snprintf(x->etag, sizeof x->etag, "%s", page.etag);
    if (strstr(x->if_none_match, x->etag)) {
        exchange_reply_bytes(x, 304, type, "", 0);
        return;
    }
    x->gzip = x->takes_gzip;
    if (x->gzip)
        exchange_reply_bytes(x, 200, type, serve_page[0].text, serve_page[0].n_bytes);
    else
        exchange_reply_bytes(x, 200, type, page.text, page.n);
}
