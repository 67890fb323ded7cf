/* Atomic output files. */
#include "libgguf/inputs.h"
#include "libgguf/map.h"
#include "libgguf/outfile_internal.h"

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
    char *path, *part_path; /* part_path: NULL for a stream */
    int fd;
    bool parked; /* fd is -1 between accesses */
    unsigned how;
    uint64_t n_bytes, at; /* of a stream: its size, what has left */
};

/* ---- opening --------------------------------------------------------------------------------- */

static gguf_code fail_space(const char *path, uint64_t n_bytes, uint64_t room, gguf_error *err) {
    return gguf_fail(err, GGUF_E_NOSPACE, path, GGUF_NO_OFFSET,
                     "needs %" PRIu64 " bytes, but only %" PRIu64 " are free on the disk", n_bytes,
                     room);
}

static uint64_t free_bytes(const struct statvfs *fs) {
    return (uint64_t)fs->f_bavail * fs->f_frsize;
}

gguf_code gguf_outfile_check_space(const char *path, uint64_t n_bytes, gguf_error *err) {
    struct statvfs fs;
    char *target = gguf_out_resolve(path);
    if (!target) return gguf_fail_memory_of(err, path);
    bool known = statvfs(dirname(target), &fs) == 0;
    free(target);
    if (!known || free_bytes(&fs) >= n_bytes) return GGUF_OK;
    return fail_space(path, n_bytes, free_bytes(&fs), err);
}

static gguf_code reserve(gguf_outfile *f, uint64_t n_bytes, gguf_error *err) {
    struct statvfs fs;
    struct stat st;
    if (n_bytes == 0) return GGUF_OK;
    if (fstatvfs(f->fd, &fs) == 0 && fstat(f->fd, &st) == 0) {
        uint64_t room = free_bytes(&fs) + (uint64_t)st.st_blocks * 512;
        if (room < n_bytes) return fail_space(f->path, n_bytes, room, err);
    }
    if (ftruncate(f->fd, (off_t)n_bytes) != 0)
        return gguf_out_fail_errno(err, f->part_path, GGUF_NO_OFFSET, "set the size");
    if (fallocate(f->fd, 0, 0, (off_t)n_bytes) != 0 && errno == ENOSPC)
        return gguf_out_fail_errno(err, f->part_path, GGUF_NO_OFFSET, "reserve space");
    return GGUF_OK;
}

static gguf_code fail_open(gguf_outfile *f, gguf_code code) {
    close(f->fd);
    f->fd = -1;
    return code;
}

static gguf_code open_part(gguf_outfile *f, bool create, int lock, gguf_error *err) {
    f->fd = open(f->part_path, O_RDWR | GGUF_OUT_SIDE_FLAGS | (create ? O_CREAT : 0), 0666);
    if (f->fd < 0 && errno == ENOENT && !create)
        return gguf_fail(err, GGUF_E_MISSING, f->part_path, GGUF_NO_OFFSET, "does not exist");
    if (f->fd < 0) return gguf_out_fail_errno(err, f->part_path, GGUF_NO_OFFSET, "create");
    gguf_code code = gguf_outfile_check_side(f->fd, f->part_path, err);
    if (code) return fail_open(f, code);
    if (flock(f->fd, lock | LOCK_NB) != 0)
        return fail_open(
            f, gguf_out_fail(err, GGUF_E_IO, f->part_path, "another process is writing this file"));
    if (create && ftruncate(f->fd, 0) != 0)
        return gguf_out_fail_errno(err, f->part_path, GGUF_NO_OFFSET, "empty");
    return GGUF_OK;
}

/* A pipe is waited for until somebody reads it. */
static gguf_code open_stream(gguf_outfile *f, gguf_error *err) {
    struct stat st;
    bool is_stdout = gguf_is_stdout(f->path);
    f->fd = is_stdout ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                      : open(f->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (f->fd < 0) return gguf_out_fail_errno(err, f->path, GGUF_NO_OFFSET, "open");
    if (is_stdout || (fstat(f->fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))))
        return GGUF_OK;
    return fail_open(f, gguf_out_fail(err, GGUF_E_IO, f->path, "changed while it was opened"));
}

/* A replaced file's permissions stay. */
static void keep_mode(const gguf_outfile *f) {
    struct stat st;
    if (stat(f->path, &st) == 0 && fchmod(f->fd, st.st_mode & 0777) != 0) errno = 0;
}

static gguf_code open_file(gguf_outfile *f, bool create, gguf_error *err) {
    if (asprintf(&f->part_path, "%s.part", f->path) < 0) {
        f->part_path = NULL;
        return gguf_fail_memory_of(err, f->path);
    }
    gguf_code code = open_part(f, create, LOCK_EX, err);
    if (!code) code = reserve(f, f->n_bytes, err);
    if (!code) keep_mode(f);
    return code;
}

static gguf_code open_outfile(const char *path, uint64_t n_bytes, unsigned how, bool create,
                              gguf_outfile **out, gguf_error *err) {
    gguf_out_place is = GGUF_OUT_IS_FREE;
    *out = NULL;
    gguf_code code = gguf_out_look(path, how, &is, err);
    if (code) return code;
    gguf_outfile *f = calloc(1, sizeof *f);
    if (f)
        *f = (gguf_outfile){
            .fd = -1, .how = how, .n_bytes = n_bytes, .path = gguf_out_resolve(path)};
    if (!f || !f->path)
        code = gguf_fail_memory_of(err, path);
    else
        code = is == GGUF_OUT_IS_STREAM ? open_stream(f, err) : open_file(f, create, err);
    if (!code)
        *out = f;
    else if (create)
        gguf_outfile_discard(f);
    else
        gguf_outfile_keep(f);
    return code;
}

gguf_code gguf_outfile_open(const char *path, uint64_t n_bytes, unsigned how, gguf_outfile **out,
                            gguf_error *err) {
    return open_outfile(path, n_bytes, how, true, out, err);
}

gguf_code gguf_outfile_reopen(const char *path, uint64_t n_bytes, unsigned how, gguf_outfile **out,
                              gguf_error *err) {
    return open_outfile(path, n_bytes, how & ~(unsigned)GGUF_OUT_STREAM, false, out, err);
}

/* ---- reading and writing ----------------------------------------------------------------------
 */

void gguf_outfile_park(gguf_outfile *file) {
    if (!file->part_path || file->fd < 0) return;
    close(file->fd);
    file->fd = -1;
    file->parked = true;
}

/* The file's own descriptor, or one of a parked file for this access. -1: it cannot be opened. */
static int borrow(const gguf_outfile *file) {
    return file->parked ? open(file->part_path, O_RDWR | GGUF_OUT_SIDE_FLAGS) : file->fd;
}

static void give_back(const gguf_outfile *file, int fd) {
    if (file->parked && fd >= 0) close(fd);
}

gguf_code gguf_outfile_share(gguf_outfile *file, gguf_error *err) {
    if (file->parked || flock(file->fd, LOCK_SH) == 0) return GGUF_OK;
    return gguf_out_fail_errno(err, file->part_path, GGUF_NO_OFFSET, "share");
}

gguf_code gguf_outfile_join(const char *path, gguf_outfile **out, gguf_error *err) {
    gguf_outfile *f = calloc(1, sizeof *f);
    *out = NULL;
    if (f) *f = (gguf_outfile){.fd = -1, .path = gguf_out_resolve(path)};
    if (!f || !f->path || asprintf(&f->part_path, "%s.part", f->path) < 0) {
        gguf_outfile_keep(f);
        return gguf_fail_memory_of(err, path);
    }
    gguf_code code = open_part(f, false, LOCK_SH, err);
    if (code)
        gguf_outfile_keep(f);
    else
        *out = f;
    return code;
}

gguf_code gguf_outfile_sync(const gguf_outfile *file, gguf_error *err) {
    int fd = borrow(file);
    gguf_code code = GGUF_OK;
    if (fd < 0 || fsync(fd) != 0)
        code = gguf_out_fail_errno(err, file->part_path, GGUF_NO_OFFSET, "flush to disk");
    give_back(file, fd);
    return code;
}

gguf_code gguf_outfile_read(const gguf_outfile *file, void *bytes, size_t n, uint64_t off,
                            gguf_error *err) {
    int fd = borrow(file);
    if (fd < 0) return gguf_out_fail_errno(err, file->part_path, (int64_t)off, "open");
    gguf_code code = gguf_read_at(fd, file->part_path, bytes, n, off, err);
    give_back(file, fd);
    return code;
}

static gguf_code put(gguf_outfile *file, const void *bytes, size_t n, gguf_error *err) {
    for (size_t done = 0; done < n;) {
        ssize_t put = write(file->fd, (const char *)bytes + done, n - done);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return gguf_out_fail_errno(err, file->path, (int64_t)file->at, "write");
        done += (size_t)put;
        file->at += (size_t)put;
    }
    return GGUF_OK;
}

static gguf_code put_zeros(gguf_outfile *file, uint64_t end, gguf_error *err) {
    static const char zeros[4096];
    gguf_code code = GGUF_OK;
    while (file->at < end && !code) {
        uint64_t left = end - file->at;
        code = put(file, zeros, left < sizeof zeros ? (size_t)left : sizeof zeros, err);
    }
    return code;
}

static gguf_code write_stream(gguf_outfile *file, const void *bytes, size_t n, uint64_t off,
                              gguf_error *err) {
    if (off < file->at)
        return gguf_fail(err, GGUF_E_USAGE, file->path, (int64_t)off,
                         "the output is not written in order, and a stream does not go back");
    gguf_code code = put_zeros(file, off, err);
    return code ? code : put(file, bytes, n, err);
}

static gguf_code put_at(const gguf_outfile *file, int fd, const void *bytes, size_t n, uint64_t off,
                        gguf_error *err) {
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(fd, (const char *)bytes + done, n - done, (off_t)(off + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return gguf_out_fail_errno(err, file->path, (int64_t)(off + done), "write");
        done += (size_t)put;
    }
    /* The disk begins now; otherwise all of it waits for the flush at the end. */
    sync_file_range(fd, (off_t)off, (off_t)n, SYNC_FILE_RANGE_WRITE);
    return GGUF_OK;
}

gguf_code gguf_outfile_write(gguf_outfile *file, const void *bytes, size_t n, uint64_t off,
                             gguf_error *err) {
    if (!file->part_path) return write_stream(file, bytes, n, off, err);
    int fd = borrow(file);
    if (fd < 0) return gguf_out_fail_errno(err, file->part_path, (int64_t)off, "open again");
    gguf_code code = put_at(file, fd, bytes, n, off, err);
    give_back(file, fd);
    return code;
}

#define COPY_STEP ((uint64_t)64 << 20)

static gguf_code copy_by_hand(gguf_outfile *file, int src_fd, const char *src_path,
                              uint64_t src_off, uint64_t n, uint64_t off, gguf_error *err) {
    const size_t room = (size_t)1 << 20;
    void *buffer = malloc(room);
    gguf_code code = buffer ? GGUF_OK : gguf_fail_memory(err);
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
    if (!file->part_path) return copy_by_hand(file, src_fd, src_path, src_off, n, off, err);
    for (uint64_t done = 0; done < n;) {
        off_t in = (off_t)(src_off + done), out = (off_t)(off + done);
        ssize_t copied = copy_file_range(src_fd, &in, file->fd, &out, (size_t)(n - done), 0);
        if (copied < 0 && errno == EINTR) continue;
        if (copied < 0 && errno == ENOSPC)
            return gguf_out_fail_errno(err, file->path, (int64_t)(off + done), "write");
        if (copied <= 0)
            return copy_by_hand(file, src_fd, src_path, src_off + done, n - done, off + done, err);
        done += (uint64_t)copied;
    }
    return GGUF_OK;
}

static gguf_code copy_from(gguf_outfile *file, int src_fd, const char *src_path, uint64_t src_off,
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

gguf_code gguf_outfile_copy(gguf_outfile *file, int src_fd, const char *src_path, uint64_t src_off,
                            uint64_t n, uint64_t off, const atomic_bool *cancel, gguf_error *err) {
    int fd = src_fd >= 0 ? src_fd : open(src_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return gguf_out_fail_errno(err, src_path, (int64_t)src_off, "open again");
    gguf_code code = copy_from(file, fd, src_path, src_off, n, off, cancel, err);
    if (src_fd < 0) close(fd);
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
    if ((file->fd >= 0 || file->parked) && file->part_path) unlink(file->part_path);
    close_handle(file);
}

/* ---- ending -----------------------------------------------------------------------------------
 */

/* What is there now counts: it may be another node, or an input, than when the work began. */
static gguf_code rename_part(const gguf_outfile *f, gguf_error *err) {
    gguf_out_place is;
    gguf_code code = gguf_out_look(f->path, f->how & ~(unsigned)GGUF_OUT_STREAM, &is, err);
    if (code) return code;
    /* Its inode will be that of another file. */
    if (f->how & GGUF_OUT_OVER_INPUT) gguf_inputs_forget(f->path);
    unsigned flags = f->how & GGUF_OUT_REPLACE ? 0 : RENAME_NOREPLACE;
    if (renameat2(AT_FDCWD, f->part_path, AT_FDCWD, f->path, flags) == 0) return GGUF_OK;
    bool unknown = flags && (errno == EINVAL || errno == ENOSYS);
    if (flags && errno == EEXIST) return gguf_out_look(f->path, f->how, &is, err);
    if (unknown && rename(f->part_path, f->path) == 0) return GGUF_OK;
    return gguf_out_fail_errno(err, f->path, GGUF_NO_OFFSET, "rename to the final name");
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

static gguf_code commit_file(const gguf_outfile *file, gguf_error *err) {
    int fd = borrow(file);
    gguf_code code = fd >= 0 && fsync(fd) == 0
                         ? GGUF_OK
                         : gguf_out_fail_errno(err, file->path, GGUF_NO_OFFSET, "flush to disk");
    give_back(file, fd);
    if (!code) code = rename_part(file, err);
    if (!code) sync_folder(file->path);
    return code;
}

static gguf_code commit_stream(gguf_outfile *file, gguf_error *err) {
    gguf_code code = put_zeros(file, file->n_bytes, err);
    if (!code && close(file->fd) != 0)
        code = gguf_out_fail_errno(err, file->path, GGUF_NO_OFFSET, "write");
    else if (code)
        close(file->fd);
    file->fd = -1;
    return code;
}

gguf_code gguf_outfile_commit(gguf_outfile *file, gguf_error *err) {
    gguf_code code = file->part_path ? commit_file(file, err) : commit_stream(file, err);
    if (code)
        gguf_outfile_discard(file);
    else
        close_handle(file);
    return code;
}

gguf_code gguf_outfile_save(const char *path, const void *bytes, size_t n, unsigned how,
                            gguf_error *err) {
    gguf_outfile *file;
    gguf_code code = gguf_outfile_open(path, n, how, &file, err);
    if (code) return code;
    code = gguf_outfile_write(file, bytes, n, 0, err);
    if (!code) return gguf_outfile_commit(file, err);
    gguf_outfile_discard(file);
    return code;
}
