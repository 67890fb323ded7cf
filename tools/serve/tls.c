/* Files in PEM form. libmicrohttpd says of none what is wrong with it, so that they are looked at
 * before. */
#include "tools/serve/tls.h"

#include "libgguf/map.h"

#include <microhttpd.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_PEM_BYTES (1u << 20)

static gguf_code fail_file(const char *file, const char *what, gguf_error *err) {
    return gguf_fail(err, GGUF_E_FORMAT, file, GGUF_NO_OFFSET, "%s", what);
}

static gguf_code read_pem(const char *file, char **out, size_t *n, gguf_error *err) {
    gguf_code code = gguf_read_file(file, MAX_PEM_BYTES, out, n, err);
    return !code && *n == 0 ? fail_file(file, "the file is empty", err) : code;
}

/* ---- certificate and key ----------------------------------------------------------------- */

/* Nobody is asked for a pass phrase: ctx notes that there is one. */
static int no_pass_phrase(char *out, int room, int writes, void *ctx) {
    (void)out, (void)room, (void)writes;
    *(bool *)ctx = true;
    return -1;
}

static gguf_code parse_certificate(server *s, gguf_error *err) {
    BIO *bio = BIO_new_mem_buf(s->tls.cert, -1);
    bool encrypted = false;
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_pass_phrase, &encrypted) : NULL;
    BIO_free(bio);
    if (!bio) return gguf_fail_memory(err);
    s->tls.certificate = certificate;
    return certificate ? GGUF_OK
                       : fail_file(s->settings->tls_cert,
                                   "there is no certificate in PEM form, which begins with "
                                   "-----BEGIN CERTIFICATE-----",
                                   err);
}

static gguf_code parse_key(const server *s, EVP_PKEY **out, gguf_error *err) {
    const char *file = s->settings->tls_key;
    BIO *bio = BIO_new_mem_buf(s->tls.key, -1);
    bool encrypted = false;
    *out = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, &encrypted) : NULL;
    BIO_free(bio);
    if (!bio) return gguf_fail_memory(err);
    if (*out) return GGUF_OK;
    if (encrypted)
        return fail_file(file,
                         "the private key has a pass phrase, which nobody could enter when the "
                         "server starts: 'openssl pkey -in FILE -out KEY' writes it without one",
                         err);
    return fail_file(file,
                     "there is no private key in PEM form, which begins with "
                     "-----BEGIN PRIVATE KEY-----",
                     err);
}

static gguf_code check_pair(server *s, gguf_error *err) {
    EVP_PKEY *key = NULL;
    gguf_code code = parse_certificate(s, err);
    X509 *certificate = s->tls.certificate;
    if (!code) code = parse_key(s, &key, err);
    if (!code && X509_check_private_key(certificate, key) != 1)
        code = gguf_fail(err, GGUF_E_FORMAT, s->settings->tls_key, GGUF_NO_OFFSET,
                         "this is not the private key of the certificate in %s",
                         s->settings->tls_cert);
    if (!code && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
        tool_warn(s->t, "%s: the certificate has expired", s->settings->tls_cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return code;
}

/* ---- together ---------------------------------------------------------------------------- */

static gguf_code check_use(const serve_settings *o, gguf_error *err) {
    if (!o->tls_cert || !o->tls_key)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s FILE is missing beside %s",
                         o->tls_cert ? "--tls-key" : "--tls-cert",
                         o->tls_cert ? "--tls-cert" : "--tls-key");
    for (size_t i = 0; i < o->n_hosts; i++)
        if (strncmp(o->hosts[i], "unix:", 5) == 0)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "--host %s: a socket in the file system has no TLS; the file's "
                             "permissions say who may use it",
                             o->hosts[i]);
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) == MHD_YES) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "--tls-cert: the library libmicrohttpd %s here was built without TLS",
                     MHD_get_version());
}

gguf_code tls_read(server *s, gguf_error *err) {
    const serve_settings *o = s->settings;
    struct stat st;
    size_t n;
    if (!o->tls_cert && !o->tls_key) return GGUF_OK;
    gguf_code code = check_use(o, err);
    if (!code) code = read_pem(o->tls_cert, &s->tls.cert, &n, err);
    if (!code) code = read_pem(o->tls_key, &s->tls.key, &s->tls.n_key, err);
    if (!code) code = check_pair(s, err);
    if (!code && stat(o->tls_key, &st) == 0 && (st.st_mode & S_IROTH))
        tool_warn(s->t, "%s: everybody on this machine can read this private key (chmod 600)",
                  o->tls_key);
    return code;
}

bool tls_is_for(const server *s, const char *host) {
    X509 *certificate = s->tls.certificate;
    return certificate && (X509_check_host(certificate, host, 0, 0, NULL) == 1 ||
                           X509_check_ip_asc(certificate, host, 0) == 1);
}

void tls_clear(server *s) {
    if (s->tls.key) OPENSSL_cleanse(s->tls.key, s->tls.n_key);
    free(s->tls.key);
    free(s->tls.cert);
    X509_free(s->tls.certificate);
    s->tls = (tls_pair){0};
}
