/* What an output may take the place of. Every check is here; outfile.c opens, writes and renames.
 */
#include "libgguf/inputs.h"
#include "libgguf/outfile_internal.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

gguf_code gguf_out_fail_errno(gguf_error *err, const char *path, int64_t off, const char *doing) {
    int saved = errno;
    bool full = saved == ENOSPC || saved == EDQUOT || saved == EFBIG;
    return gguf_fail(err, full ? GGUF_E_NOSPACE : GGUF_E_IO, path, off, "cannot %s: %s", doing,
                     strerror(saved));
}

gguf_code gguf_out_fail(gguf_error *err, gguf_code code, const char *path, const char *what) {
    return gguf_fail(err, code, path, GGUF_NO_OFFSET, "%s", what);
}

bool gguf_is_stdout(const char *path) {
    static const char *const names[] = {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(path, names[i]) == 0) return true;
    return false;
}

/* What stat could not look at. */
static gguf_code look_at_absent(const char *path, gguf_error *err) {
    struct stat st;
    if (*path == '\0') return gguf_out_fail(err, GGUF_E_USAGE, NULL, "the output has no name");
    if (errno != ENOENT)
        return gguf_out_fail_errno(err, path, GGUF_NO_OFFSET, "look at the output");
    if (lstat(path, &st) != 0) return GGUF_OK;
    return gguf_out_fail(err, GGUF_E_IO, path,
                         "a link that leads nowhere; outputs do not replace it");
}

static gguf_code look_at_file(const char *path, const struct stat *st, unsigned how,
                              gguf_error *err) {
    if (!(how & GGUF_OUT_OVER_INPUT) && gguf_inputs_have(st))
        return gguf_out_fail(err, GGUF_E_USAGE, path,
                             "this command reads that file; the output needs another name");
    if (how & GGUF_OUT_REPLACE) return GGUF_OK;
    return gguf_out_fail(err, GGUF_E_EXISTS, path, "the output exists; --force replaces it");
}

static gguf_code look_at_node(const char *path, mode_t mode, unsigned how, gguf_error *err) {
    if (S_ISDIR(mode)) return gguf_out_fail(err, GGUF_E_IO, path, "a folder; the output is a file");
    if (S_ISSOCK(mode))
        return gguf_out_fail(err, GGUF_E_IO, path, "a socket; the output is a file");
    if (S_ISBLK(mode))
        return gguf_out_fail(err, GGUF_E_IO, path, "a block device; the output is a file");
    if (how & GGUF_OUT_STREAM) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET,
                     "this output is not written in order, so it cannot go to %s",
                     gguf_is_stdout(path) ? "standard output"
                     : S_ISFIFO(mode)     ? "a pipe"
                                          : "a character device");
}

gguf_code gguf_out_look(const char *path, unsigned how, gguf_out_place *is, gguf_error *err) {
    struct stat st = {.st_mode = S_IFCHR};
    bool is_stdout = gguf_is_stdout(path);
    *is = GGUF_OUT_IS_FREE;
    if (!is_stdout && stat(path, &st) != 0) return look_at_absent(path, err);
    if (is_stdout && fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode)) {
        gguf_code code = look_at_file(path, &st, how | GGUF_OUT_REPLACE, err);
        if (code) return code;
        st.st_mode = S_IFCHR;
    }
    *is = S_ISREG(st.st_mode) ? GGUF_OUT_IS_FILE : GGUF_OUT_IS_STREAM;
    return *is == GGUF_OUT_IS_FILE ? look_at_file(path, &st, how, err)
                                   : look_at_node(path, st.st_mode, how, err);
}

static gguf_code check_side(const struct stat *st, const char *path, gguf_error *err) {
    if (!S_ISREG(st->st_mode))
        return gguf_out_fail(err, GGUF_E_IO, path,
                             "the work needs a file of this name, but what is there is none");
    if (gguf_inputs_have(st))
        return gguf_out_fail(
            err, GGUF_E_USAGE, path,
            "this command reads that file, and would write to it on the way to its "
            "output");
    if (st->st_nlink < 2) return GGUF_OK;
    return gguf_out_fail(
        err, GGUF_E_IO, path,
        "the work needs a file of this name, but what is there has another name too");
}

gguf_code gguf_outfile_check_side(int fd, const char *path, gguf_error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0) return gguf_out_fail_errno(err, path, GGUF_NO_OFFSET, "look at it");
    return check_side(&st, path, err);
}

char *gguf_out_resolve(const char *path) {
    struct stat st;
    char *target = lstat(path, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
    return target ? target : strdup(path);
}

static gguf_code check_folder(const char *path, gguf_error *err) {
    char *copy = strdup(path), *part = NULL;
    struct stat st;
    gguf_code code = GGUF_OK;
    if (!copy || asprintf(&part, "%s.part", path) < 0)
        code = gguf_fail_memory_of(err, path);
    else if (access(dirname(copy), W_OK | X_OK) != 0)
        code = gguf_out_fail_errno(err, path, GGUF_NO_OFFSET, "write into its folder");
    else if (lstat(part, &st) == 0)
        code = check_side(&st, part, err);
    free(copy);
    free(part);
    return code;
}

gguf_code gguf_outfile_check(const char *path, unsigned how, gguf_error *err) {
    gguf_out_place is;
    gguf_code code = gguf_out_look(path, how, &is, err);
    if (code || gguf_is_stdout(path)) return code;
    if (is == GGUF_OUT_IS_STREAM)
        return access(path, W_OK) == 0
                   ? GGUF_OK
                   : gguf_out_fail_errno(err, path, GGUF_NO_OFFSET, "write to it");
    char *target = gguf_out_resolve(path);
    if (!target) return gguf_fail_memory_of(err, path);
    code = check_folder(target, err);
    free(target);
    return code;
}
