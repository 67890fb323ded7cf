/* Mapping and reading files. */
#include "libgguf/map.h"
#include "libgguf/inputs.h"
#include "libgguf/placeholder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

gguf_code gguf_open_regular(const char *path, int *fd, uint64_t *n_bytes, gguf_error *err) {
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused, not waited for */
    if (*fd < 0)
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot open: %s", strerror(errno));
    struct stat st = {0};
    if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(*fd);
        *fd = -1;
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET,
                         S_ISDIR(st.st_mode) ? "a folder, not a file" : "not a regular file");
    }
    gguf_inputs_add_fd(*fd);
    *n_bytes = (uint64_t)st.st_size;
    return GGUF_OK;
}

size_t gguf_file_start(const char *path, void *bytes, size_t n) {
    int fd;
    uint64_t n_bytes;
    if (gguf_open_regular(path, &fd, &n_bytes, NULL)) return 0;
    ssize_t got = pread(fd, bytes, n, 0);
    close(fd);
    return got > 0 ? (size_t)got : 0;
}

bool gguf_file_has_magic(const char *path) {
    char magic[4];
    return gguf_file_start(path, magic, 4) == 4 && memcmp(magic, "GGUF", 4) == 0;
}

gguf_code gguf_map_open(const char *path, gguf_map *map, gguf_error *err) {
    *map = (gguf_map){.fd = -1};
    gguf_code code = gguf_open_regular(path, &map->fd, &map->n_bytes, err);
    if (code || map->n_bytes == 0) return code;
    void *p = mmap(NULL, map->n_bytes, PROT_READ, MAP_SHARED, map->fd, 0);
    if (p == MAP_FAILED) {
        int saved = errno;
        close(map->fd);
        *map = (gguf_map){.fd = -1};
        return gguf_fail(err, saved == ENOMEM ? GGUF_E_NOMEM : GGUF_E_IO, path, GGUF_NO_OFFSET,
                         "cannot map: %s", strerror(saved));
    }
    map->data = p;
    return GGUF_OK;
}

void gguf_map_close(gguf_map *map) {
    if (map->data && !map->borrowed) munmap((void *)(uintptr_t)map->data, map->n_bytes);
    if (map->fd > 0) close(map->fd);
    *map = (gguf_map){.fd = -1};
}

/* Pages at the edges are dropped too; whoever reads them has them back from the cache. */
void gguf_map_release(const gguf_map *map, uint64_t off, uint64_t n_bytes) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), start = off / page * page;
    if (!map->data || map->borrowed || n_bytes == 0 || off > map->n_bytes ||
        n_bytes > map->n_bytes - off)
        return;
    madvise((void *)(uintptr_t)(map->data + start), off - start + n_bytes, MADV_DONTNEED);
}

const gguf_memory_file *gguf_memory_file_named(const gguf_memory_file *files, size_t n_files,
                                               const char *name) {
    for (size_t i = 0; i < n_files; i++)
        if (strcmp(files[i].name, name) == 0) return &files[i];
    return NULL;
}

static gguf_code read_at(int fd, const char *path, void *dst, size_t n, uint64_t off,
                         gguf_error *err) {
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, (char *)dst + done, n - done, (off_t)(off + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return gguf_fail(err, GGUF_E_IO, path, (int64_t)(off + done), "cannot read: %s",
                             strerror(errno));
        if (got == 0)
            return gguf_fail(err, GGUF_E_TRUNCATED, path, (int64_t)(off + done),
                             "the file ends %zu bytes early", n - done);
        done += (size_t)got;
    }
    return GGUF_OK;
}

gguf_code gguf_read_at(int fd, const char *path, void *dst, size_t n, uint64_t off,
                       gguf_error *err) {
    if (fd >= 0) return read_at(fd, path, dst, n, off, err);
    fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return gguf_fail(err, GGUF_E_IO, path, (int64_t)off, "cannot open again: %s",
                         strerror(errno));
    gguf_code code = read_at(fd, path, dst, n, off, err);
    close(fd);
    return code;
}

void gguf_map_close_fd(gguf_map *map) {
    if (map->fd > 0) close(map->fd);
    map->fd = -1;
}

gguf_code gguf_read_file(const char *path, size_t max_bytes, char **out, size_t *n_bytes,
                         gguf_error *err) {
    int fd;
    uint64_t size = 0;
    *out = NULL;
    gguf_code code = gguf_open_regular(path, &fd, &size, err);
    if (code) return code;
    if (size > max_bytes)
        code = gguf_fail(err, GGUF_E_LIMIT, path, GGUF_NO_OFFSET,
                         "%" PRIu64 " bytes are over the limit of %zu", size, max_bytes);
    else if (!(*out = malloc(size + 1)))
        code = gguf_fail_memory_of(err, path);
    else
        code = gguf_read_at(fd, path, *out, size, 0, err);
    if (!code) code = gguf_placeholder_check(*out, size, GGUF_EXPECTED_FIELDS, path, err);
    close(fd);
    if (code) {
        free(*out);
        *out = NULL;
        return code;
    }
    (*out)[size] = '\0';
    *n_bytes = size;
    return GGUF_OK;
}
