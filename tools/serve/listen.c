/* Binding addresses. */
#include "tools/serve/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024

static gguf_code fail(const char *what, gguf_error *err) {
    return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "%s: cannot listen: %s", what,
                     strerror(errno));
}

/* ---- in the file system ------------------------------------------------------------------ */

/* A socket that a server left behind is removed; one that answers, or another file, is not. */
static bool remove_stale(const struct sockaddr_un *address) {
    struct stat st;
    if (lstat(address->sun_path, &st) != 0) return true;
    if (!S_ISSOCK(st.st_mode)) return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool answers = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;
    close(fd);
    return !answers && unlink(address->sun_path) == 0;
}

static gguf_code listen_unix(const char *path, listener *out, gguf_error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(out->address, sizeof out->address, "unix:%s", path);
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return fail(out->address, err);
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (!remove_stale(&address)) {
        errno = EADDRINUSE;
        return fail(out->address, err);
    }
    out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (out->fd < 0 || bind(out->fd, (const struct sockaddr *)&address, sizeof address) ||
        listen(out->fd, BACKLOG))
        return fail(out->address, err);
    snprintf(out->path, sizeof out->path, "%s", path);
    return GGUF_OK;
}

/* ---- in the network ---------------------------------------------------------------------- */

static uint16_t port_of(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

static bool bind_one(const struct addrinfo *info, int *fd) {
    int on = 1;
    *fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0) return false;
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (info->ai_family == AF_INET6) setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(*fd, info->ai_addr, info->ai_addrlen) == 0 && listen(*fd, BACKLOG) == 0) return true;
    int saved = errno;
    close(*fd);
    *fd = -1;
    errno = saved;
    return false;
}

/* All addresses of a name; port 0 becomes the one that the first of them got. */
static gguf_code listen_name(const char *host, const char *scheme, uint16_t *port, listener *out,
                             size_t *n, gguf_error *err) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    char service[8], text[300];
    size_t before = *n;
    snprintf(service, sizeof service, "%u", *port);
    snprintf(text, sizeof text, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, service);
    int failed = getaddrinfo(host, service, &hints, &list);
    if (failed)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "%s: cannot listen: %s", text,
                         gai_strerror(failed));
    for (const struct addrinfo *i = list; i && *n < SERVER_MAX_NAMES; i = i->ai_next) {
        struct sockaddr_storage got;
        socklen_t len = sizeof got;
        if (i != list && *port) {
            if (i->ai_family == AF_INET6)
                ((struct sockaddr_in6 *)(void *)i->ai_addr)->sin6_port = htons(*port);
            else
                ((struct sockaddr_in *)(void *)i->ai_addr)->sin_port = htons(*port);
        }
        if (!bind_one(i, &out[*n].fd)) continue;
        getsockname(out[*n].fd, (struct sockaddr *)&got, &len);
        *port = port_of(&got);
        snprintf(out[*n].address, sizeof out[*n].address,
                 strchr(host, ':') ? "%s://[%s]:%u" : "%s://%s:%u", scheme, host, *port);
        ++*n;
    }
    freeaddrinfo(list);
    return *n > before ? GGUF_OK : fail(text, err);
}

gguf_code listen_all(const serve_settings *settings, listener *out, size_t *n, gguf_error *err) {
    const char *scheme = settings->tls_cert ? "https" : "http";
    uint16_t port = (uint16_t)settings->port;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < SERVER_MAX_NAMES; i++) out[i] = (listener){.fd = -1};
    *n = 0;
    for (size_t i = 0; i < settings->n_hosts && !code && *n < SERVER_MAX_NAMES; i++) {
        const char *host = settings->hosts[i];
        if (strncmp(host, "unix:", 5) == 0)
            code = listen_unix(host + 5, &out[(*n)++], err);
        else
            code = listen_name(host, scheme, &port, out, n, err);
    }
    return code;
}

void listen_close(listener *l) {
    if (l->fd >= 0) close(l->fd);
    if (l->path[0]) unlink(l->path);
    l->fd = -1;
    l->path[0] = '\0';
}
