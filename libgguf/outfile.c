/* Atomic output files. */
#include "libgguf/outfile.h"
#include "libgguf/map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct gguf_outfile {
    char *path, *part_path;
    int fd;
    bool replace;
};

static gguf_code fail_errno(gguf_error *err, const char *path, int64_t off, const char *doing) {
    int saved = errno;
    bool full = saved == ENOSPC || saved == EDQUOT || saved == EFBIG;
    return gguf_fail(err, full ? GGUF_E_NOSPACE : GGUF_E_IO, path, off, "cannot %s: %s", doing,
                     strerror(saved));
}

static gguf_code check_absent(const gguf_outfile *f, gguf_error *err) {
    if (f->replace || access(f->path, F_OK) != 0) return GGUF_OK;
    return gguf_fail(err, GGUF_E_EXISTS, f->path, GGUF_NO_OFFSET,
                     "the output exists; --force replaces it");
}

gguf_code gguf_outfile_check(const char *path, bool replace, gguf_error *err) {
    const gguf_outfile f = {.path = (char *)(uintptr_t)path, .replace = replace};
    gguf_code code = check_absent(&f, err);
    char *copy = code ? NULL : strdup(path);
    if (!code && !copy) code = gguf_fail(err, GGUF_E_NOMEM, path, GGUF_NO_OFFSET, "out of memory");
    if (!code && access(dirname(copy), W_OK | X_OK) != 0)
        code = fail_errno(err, path, GGUF_NO_OFFSET, "write into its folder");
    free(copy);
    return code;
}

static gguf_code reserve(gguf_outfile *f, uint64_t n_bytes, gguf_error *err) {
    struct statvfs fs;
    struct stat st;
    if (n_bytes == 0) return GGUF_OK;
    if (fstatvfs(f->fd, &fs) == 0 && fstat(f->fd, &st) == 0) {
        uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize + (uint64_t)st.st_blocks * 512;
        if (room < n_bytes)
            return gguf_fail(err, GGUF_E_NOSPACE, f->path, GGUF_NO_OFFSET,
                             "needs %" PRIu64 " bytes, but only %" PRIu64 " are free on the disk",
                             n_bytes, room);
    }
    if (ftruncate(f->fd, (off_t)n_bytes) != 0)
        return fail_errno(err, f->part_path, GGUF_NO_OFFSET, "set the size");
    if (fallocate(f->fd, 0, 0, (off_t)n_bytes) != 0 && errno == ENOSPC)
        return fail_errno(err, f->part_path, GGUF_NO_OFFSET, "reserve space");
    return GGUF_OK;
}

static gguf_code open_part(gguf_outfile *f, bool create, int lock, gguf_error *err) {
    f->fd = open(f->part_path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0666);
    if (f->fd < 0 && errno == ENOENT && !create)
        return gguf_fail(err, GGUF_E_MISSING, f->part_path, GGUF_NO_OFFSET, "does not exist");
    if (f->fd < 0) return fail_errno(err, f->part_path, GGUF_NO_OFFSET, "create");
    if (flock(f->fd, lock | LOCK_NB) != 0) {
        close(f->fd);
        f->fd = -1;
        return gguf_fail(err, GGUF_E_IO, f->part_path, GGUF_NO_OFFSET,
                         "another process is writing this file");
    }
    if (create && ftruncate(f->fd, 0) != 0)
        return fail_errno(err, f->part_path, GGUF_NO_OFFSET, "empty");
    return GGUF_OK;
}

/* A link to an existing file stays one: what it points to is replaced. */
static char *resolve(const char *path) {
    struct stat st;
    char *target = lstat(path, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
    return target ? target : strdup(path);
}

/* A replaced file's permissions stay. */
static void keep_mode(const gguf_outfile *f) {
    struct stat st;
    if (stat(f->path, &st) == 0 && fchmod(f->fd, st.st_mode & 0777) != 0) errno = 0;
}

static gguf_code open_outfile(const char *path, uint64_t n_bytes, bool replace, bool create,
                              gguf_outfile **out, gguf_error *err) {
    gguf_code code = GGUF_E_NOMEM;
    *out = NULL;
    gguf_outfile *f = calloc(1, sizeof *f);
    if (f) *f = (gguf_outfile){.fd = -1, .replace = replace, .path = resolve(path)};
    if (!f || !f->path || asprintf(&f->part_path, "%s.part", f->path) < 0) {
        gguf_fail(err, code, path, GGUF_NO_OFFSET, "out of memory");
        goto fail;
    }
    code = check_absent(f, err);
    if (!code) code = open_part(f, create, LOCK_EX, err);
    if (!code) code = reserve(f, n_bytes, err);
    if (code) goto fail;
    keep_mode(f);
    *out = f;
    return GGUF_OK;
fail:
    if (create)
        gguf_outfile_discard(f);
    else
        gguf_outfile_keep(f);
    return code;
}

gguf_code gguf_outfile_open(const char *path, uint64_t n_bytes, bool replace, gguf_outfile **out,
                            gguf_error *err) {
    return open_outfile(path, n_bytes, replace, true, out, err);
}

gguf_code gguf_outfile_reopen(const char *path, uint64_t n_bytes, bool replace, gguf_outfile **out,
                              gguf_error *err) {
    return open_outfile(path, n_bytes, replace, false, out, err);
}

gguf_code gguf_outfile_share(gguf_outfile *file, gguf_error *err) {
    if (flock(file->fd, LOCK_SH) == 0) return GGUF_OK;
    return fail_errno(err, file->part_path, GGUF_NO_OFFSET, "share");
}

gguf_code gguf_outfile_join(const char *path, gguf_outfile **out, gguf_error *err) {
    gguf_outfile *f = calloc(1, sizeof *f);
    *out = NULL;
    if (f) *f = (gguf_outfile){.fd = -1, .path = resolve(path)};
    if (!f || !f->path || asprintf(&f->part_path, "%s.part", f->path) < 0) {
        gguf_outfile_keep(f);
        return gguf_fail(err, GGUF_E_NOMEM, path, GGUF_NO_OFFSET, "out of memory");
    }
    gguf_code code = open_part(f, false, LOCK_SH, err);
    if (code)
        gguf_outfile_keep(f);
    else
        *out = f;
    return code;
}

gguf_code gguf_outfile_sync(const gguf_outfile *file, gguf_error *err) {
    if (fsync(file->fd) == 0) return GGUF_OK;
    return fail_errno(err, file->part_path, GGUF_NO_OFFSET, "flush to disk");
}

gguf_code gguf_outfile_read(const gguf_outfile *file, void *bytes, size_t n, uint64_t off,
                            gguf_error *err) {
    return gguf_read_at(file->fd, file->part_path, bytes, n, off, err);
}

gguf_code gguf_outfile_write(gguf_outfile *file, const void *bytes, size_t n, uint64_t off,
                             gguf_error *err) {
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(file->fd, (const char *)bytes + done, n - done, (off_t)(off + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail_errno(err, file->path, (int64_t)(off + done), "write");
        done += (size_t)put;
    }
    /* The disk begins now; otherwise all of it waits for the flush at the end. */
    sync_file_range(file->fd, (off_t)off, (off_t)n, SYNC_FILE_RANGE_WRITE);
    return GGUF_OK;
}

#define COPY_STEP ((uint64_t)64 << 20)

static gguf_code copy_by_hand(gguf_outfile *file, int src_fd, const char *src_path,
                              uint64_t src_off, uint64_t n, uint64_t off, gguf_error *err) {
    const size_t room = (size_t)1 << 20;
    void *buffer = malloc(room);
    gguf_code code =
        buffer ? GGUF_OK : gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    for (uint64_t done = 0; done < n && !code;) {
        size_t step = n - done < room ? (size_t)(n - done) : room;
        code = gguf_read_at(src_fd, src_path, buffer, step, src_off + done, err);
        if (!code) code = gguf_outfile_write(file, buffer, step, off + done, err);
        done += step;
    }
    free(buffer);
    return code;
}

/* What the kernel cannot share or copy itself is read and written. */
static gguf_code copy_step(gguf_outfile *file, int src_fd, const char *src_path, uint64_t src_off,
                           uint64_t n, uint64_t off, gguf_error *err) {
    for (uint64_t done = 0; done < n;) {
        off_t in = (off_t)(src_off + done), out = (off_t)(off + done);
        ssize_t copied = copy_file_range(src_fd, &in, file->fd, &out, (size_t)(n - done), 0);
        if (copied < 0 && errno == EINTR) continue;
        if (copied < 0 && errno == ENOSPC)
            return fail_errno(err, file->path, (int64_t)(off + done), "write");
        if (copied <= 0)
            return copy_by_hand(file, src_fd, src_path, src_off + done, n - done, off + done, err);
        done += (uint64_t)copied;
    }
    return GGUF_OK;
}

gguf_code gguf_outfile_copy(gguf_outfile *file, int src_fd, const char *src_path, uint64_t src_off,
                            uint64_t n, uint64_t off, const atomic_bool *cancel, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (uint64_t done = 0; done < n && !code; done += COPY_STEP) {
        uint64_t step = n - done < COPY_STEP ? n - done : COPY_STEP;
        if (cancel && atomic_load(cancel))
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        code = copy_step(file, src_fd, src_path, src_off + done, step, off + done, err);
    }
    return code;
}

static void close_handle(gguf_outfile *f) {
    if (f->fd >= 0) close(f->fd);
    free(f->path);
    free(f->part_path);
    free(f);
}

void gguf_outfile_keep(gguf_outfile *file) {
    if (file) close_handle(file);
}

void gguf_outfile_discard(gguf_outfile *file) {
    if (!file) return;
    if (file->fd >= 0) unlink(file->part_path);
    close_handle(file);
}

static gguf_code rename_part(const gguf_outfile *f, gguf_error *err) {
    if (!f->replace) {
        if (renameat2(AT_FDCWD, f->part_path, AT_FDCWD, f->path, RENAME_NOREPLACE) == 0)
            return GGUF_OK;
        if (errno != EINVAL && errno != ENOSYS && errno != EEXIST)
            return fail_errno(err, f->path, GGUF_NO_OFFSET, "rename to the final name");
        gguf_code code = check_absent(f, err);
        if (code) return code;
    }
    if (rename(f->part_path, f->path) != 0)
        return fail_errno(err, f->path, GGUF_NO_OFFSET, "rename to the final name");
    return GGUF_OK;
}

/* Make the rename itself durable; file systems that cannot flush a folder are left alone. */
static void sync_folder(const char *path) {
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

gguf_code gguf_outfile_commit(gguf_outfile *file, gguf_error *err) {
    gguf_code code = GGUF_OK;
    if (fsync(file->fd) != 0) code = fail_errno(err, file->path, GGUF_NO_OFFSET, "flush to disk");
    if (!code) code = rename_part(file, err);
    if (code) {
        gguf_outfile_discard(file);
        return code;
    }
    sync_folder(file->path);
    close_handle(file);
    return GGUF_OK;
}

gguf_code gguf_outfile_save(const char *path, const void *bytes, size_t n, bool replace,
                            gguf_error *err) {
    gguf_outfile *file;
    gguf_code code = gguf_outfile_open(path, n, replace, &file, err);
    if (code) return code;
    code = gguf_outfile_write(file, bytes, n, 0, err);
    if (!code) return gguf_outfile_commit(file, err);
    gguf_outfile_discard(file);
    return code;
}
