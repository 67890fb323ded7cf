/* Reading text files, compressed or not (zlib reads both). */
#include "libgguf/dynbuf.h"
#include "libgguf/inputs.h"
#include "libgguf/map.h"
#include "libgguf/placeholder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define MAX_TEXT_BYTES ((size_t)1 << 30)
#define WAIT_MS        200

/* A pipe or a terminal may be waited for until a signal comes. */
static gguf_code fail_errno(const char *path, const char *what, int number, gguf_error *err) {
    if (number == EINTR)
        return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot %s: %s", what,
                     number ? strerror(number) : "not a regular file");
}

static gguf_code fail_gzip(gzFile file, const char *path, gguf_error *err) {
    int number;
    const char *why = gzerror(file, &number);
    if (number == Z_ERRNO) return fail_errno(path, "read", errno, err);
    return gguf_fail(err, number == Z_MEM_ERROR ? GGUF_E_NOMEM : GGUF_E_FORMAT, path,
                     (int64_t)gzoffset(file), "%s", why);
}

/* Until there are bytes to read, or their end. A signal ends a read that waits, but it may have
 * come before the read began, so the flag is looked at too. */
static gguf_code wait_for_bytes(int fd, const atomic_bool *cancel, gguf_error *err) {
    struct pollfd state = {.fd = fd, .events = POLLIN};
    while (!(cancel && atomic_load(cancel)))
        if (poll(&state, 1, WAIT_MS) > 0) return GGUF_OK;
    return fail_errno(NULL, "read", EINTR, err);
}

static gguf_code read_all(gzFile file, int fd, const char *path, gguf_dynbuf *buf,
                          const atomic_bool *cancel, gguf_error *err) {
    char block[65536];
    for (;;) {
        gguf_code code = wait_for_bytes(fd, cancel, err);
        if (code) return code;
        int n = gzread(file, block, sizeof block);
        if (n < 0) return fail_gzip(file, path, err);
        if (n == 0) break;
        gguf_dynbuf_put(buf, block, (size_t)n);
    }
    /* A gzip stream that is cut off ends like a file, with an error only gzclose and gzerror tell.
     */
    int number;
    gzerror(file, &number);
    if (number != Z_OK && number != Z_STREAM_END) return fail_gzip(file, path, err);
    gguf_dynbuf_put(buf, "", 1);
    if (buf->code)
        return gguf_fail(err, buf->code, path, GGUF_NO_OFFSET,
                         buf->code == GGUF_E_NOMEM ? "out of memory" : "over 1 GiB of text");
    return GGUF_OK;
}

/* A pipe is opened without waiting for its writer: read_all waits. */
static int open_text(const char *path) {
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        errno = 0;
        return -1;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) fcntl(fd, F_SETFL, 0);
    return fd;
}

gguf_code gguf_read_text(const char *path, char **out, size_t *n_bytes, const atomic_bool *cancel,
                         gguf_error *err) {
    *out = NULL;
    gguf_inputs_add(path);
    int fd = open_text(path);
    gzFile file = fd < 0 ? NULL : gzdopen(fd, "rb");
    if (!file) {
        gguf_code code = fail_errno(path, "open", errno, err);
        if (fd >= 0) close(fd);
        return code;
    }
    gguf_dynbuf buf;
    gguf_dynbuf_init(&buf, MAX_TEXT_BYTES);
    gguf_code code = read_all(file, fd, path, &buf, cancel, err);
    gzclose(file);
    if (!code) code = gguf_placeholder_check(buf.data, buf.len - 1, GGUF_EXPECTED_ANY, path, err);
    if (code) {
        gguf_dynbuf_clear(&buf);
        return code;
    }
    *out = (char *)buf.data;
    *n_bytes = buf.len - 1;
    return GGUF_OK;
}
