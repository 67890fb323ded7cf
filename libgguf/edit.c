/* Saving edited metadata. */
#include "libgguf/edit.h"
#include "libgguf/inputs.h"
#include "libgguf/map.h"
#include "libgguf/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define JOURNAL_MAGIC "GGUFJRN1"

/* ---- headers of a wanted size ------------------------------------------------------------ */

static gguf_code encode(const gguf_file *file, const gguf_meta *meta, uint8_t **header,
                        size_t *n_bytes, gguf_error *err) {
    size_t n = gguf_file_n_tensors(file);
    gguf_tensor *tensors = malloc((n + 1) * sizeof *tensors);
    if (!tensors) return gguf_fail_memory(err);
    for (size_t i = 0; i < n; i++) tensors[i] = *gguf_file_tensor(file, i);
    gguf_error why = {0};
    gguf_code code =
        gguf_header_encode(meta, tensors, n, gguf_file_alignment(file), header, n_bytes, &why);
    free(tensors);
    if (!code) return code;
    return gguf_fail(err, code, gguf_file_path(file), GGUF_NO_OFFSET, "%s", why.message);
}

/* Bytes that a padding key takes, without its text. */
static size_t padding_overhead(void) {
    return 8 + strlen(GGUF_PADDING_KEY) + 4 + 8;
}

static void set_padding(gguf_meta *meta, size_t n_bytes) {
    char *text = malloc(n_bytes + 1);
    if (!text) return;
    memset(text, ' ', n_bytes);
    gguf_meta_set_str(meta, GGUF_PADDING_KEY, (gguf_str){text, n_bytes});
    free(text);
}

/* The header, filled up to `wanted` bytes if it is shorter. *n_bytes says what came out. */
static gguf_code encode_to_size(const gguf_file *file, gguf_meta *meta, size_t wanted,
                                uint8_t **header, size_t *n_bytes, gguf_error *err) {
    gguf_meta_unset(meta, GGUF_PADDING_KEY);
    gguf_code code = encode(file, meta, header, n_bytes, err);
    if (code || *n_bytes >= wanted) return code;
    size_t missing = wanted - *n_bytes;
    free(*header);
    *header = NULL;
    set_padding(meta, missing > padding_overhead() ? missing - padding_overhead() : 0);
    return encode(file, meta, header, n_bytes, err);
}

/* ---- in place ---------------------------------------------------------------------------- */

typedef struct journal_head {
    char magic[8];
    uint64_t n_bytes; /* of the header that follows */
    uint64_t hash;    /* XXH3 of the header */
} journal_head;

static char *journal_path(const char *path) {
    char *out = NULL;
    return asprintf(&out, "%s.header-journal", path) < 0 ? NULL : out;
}

static gguf_code fail_write(const char *path, gguf_error *err) {
    gguf_code code = errno == ENOSPC ? GGUF_E_NOSPACE : GGUF_E_IO;
    return gguf_fail(err, code, path, GGUF_NO_OFFSET, "cannot write: %s", strerror(errno));
}

static gguf_code overwrite_header(const char *path, const uint8_t *header, size_t n,
                                  gguf_error *err) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return fail_write(path, err);
    gguf_code code = GGUF_OK;
    for (size_t done = 0; done < n && !code;) {
        ssize_t put = pwrite(fd, header + done, n - done, (off_t)done);
        if (put < 0 && errno != EINTR) code = fail_write(path, err);
        if (put > 0) done += (size_t)put;
    }
    if (!code && fsync(fd) != 0) code = fail_write(path, err);
    close(fd);
    return code;
}

static gguf_code write_in_place(const char *path, const uint8_t *header, size_t n,
                                gguf_error *err) {
    journal_head head = {.n_bytes = n, .hash = XXH3_64bits(header, n)};
    char *journal = journal_path(path);
    uint8_t *bytes = malloc(sizeof head + n);
    gguf_code code = journal && bytes ? GGUF_OK : gguf_fail_memory(err);
    if (!code) {
        memcpy(head.magic, JOURNAL_MAGIC, sizeof head.magic);
        memcpy(bytes, &head, sizeof head);
        memcpy(bytes + sizeof head, header, n);
        code = gguf_outfile_save(journal, bytes, sizeof head + n, GGUF_OUT_REPLACE, err);
    }
    if (!code) code = overwrite_header(path, header, n, err);
    if (!code) unlink(journal);
    free(bytes);
    free(journal);
    return code;
}

gguf_code gguf_edit_recover(const char *path, gguf_error *err) {
    char *journal = journal_path(path), *bytes = NULL;
    journal_head head;
    size_t n = 0;
    gguf_code code = GGUF_OK;
    if (!journal) return gguf_fail_memory(err);
    if (access(journal, F_OK) == 0) {
        code = gguf_read_file(journal, (size_t)4 << 30, &bytes, &n, err);
        bool whole = !code && n >= sizeof head;
        if (whole) {
            memcpy(&head, bytes, sizeof head);
            whole = memcmp(head.magic, JOURNAL_MAGIC, sizeof head.magic) == 0 &&
                    head.n_bytes == n - sizeof head &&
                    head.hash == XXH3_64bits(bytes + sizeof head, n - sizeof head);
        }
        if (whole)
            code =
                overwrite_header(path, (const uint8_t *)bytes + sizeof head, n - sizeof head, err);
        gguf_inputs_forget(journal); /* its inode will be that of another file */
        if (!code) unlink(journal);
    }
    free(bytes);
    free(journal);
    return code;
}

/* ---- copies ------------------------------------------------------------------------------ */

static gguf_code write_copy(const gguf_file *file, const char *path, const gguf_edit_opts *opts,
                            const uint8_t *header, size_t n, gguf_error *err) {
    uint64_t data_off = gguf_file_data_off(file, 0), n_file = gguf_file_shard_bytes(file, 0);
    uint64_t n_data = n_file > data_off ? n_file - data_off : 0;
    gguf_outfile *out = NULL;
    unsigned itself = GGUF_OUT_REPLACE | GGUF_OUT_OVER_INPUT;
    unsigned copy = GGUF_OUT_STREAM | (opts->replace ? GGUF_OUT_REPLACE : 0);
    gguf_code code = gguf_outfile_open(path, n + n_data, opts->out_path ? copy : itself, &out, err);
    if (!code) code = gguf_outfile_write(out, header, n, 0, err);
    if (!code)
        code = gguf_outfile_copy(out, gguf_file_fd(file, 0), gguf_file_path(file), data_off, n_data,
                                 n, opts->cancel, err);
    if (!code) return gguf_outfile_commit(out, err);
    gguf_outfile_discard(out);
    return code;
}

/* File systems share extents only between offsets that agree modulo a block. */
#define SHARE_BYTES 4096

static size_t size_for_sharing(size_t n, uint64_t data_off) {
    size_t wanted = n + (size_t)((data_off - n) % SHARE_BYTES);
    return wanted - n > padding_overhead() || wanted == n ? wanted : wanted + SHARE_BYTES;
}

static gguf_code save_copy(const gguf_file *file, gguf_meta *meta, const gguf_edit_opts *opts,
                           gguf_edit_result *result, gguf_error *err) {
    const char *path = opts->out_path ? opts->out_path : gguf_file_path(file);
    uint64_t data_off = gguf_file_data_off(file, 0);
    uint8_t *header = NULL;
    size_t n = 0;
    gguf_meta_unset(meta, GGUF_PADDING_KEY);
    gguf_code code = encode(file, meta, &header, &n, err);
    if (!code && gguf_file_n_tensors(file)) {
        size_t wanted = size_for_sharing(n, data_off);
        free(header);
        header = NULL;
        code = encode_to_size(file, meta, wanted, &header, &n, err);
    }
    result->new_header_bytes = n;
    if (!code && !opts->dry_run) code = write_copy(file, path, opts, header, n, err);
    free(header);
    return code;
}

/* By its permissions: root may write to every file, and a rename asks for no right to the file. */
static bool is_read_only(const char *path) {
    struct stat st;
    return access(path, W_OK) != 0 || (stat(path, &st) == 0 && (st.st_mode & 0222) == 0);
}

static gguf_code save_itself(const gguf_file *file, gguf_meta *meta, const gguf_edit_opts *opts,
                             gguf_edit_result *result, gguf_error *err) {
    const char *path = gguf_file_path(file);
    uint64_t data_off = gguf_file_data_off(file, 0);
    uint8_t *header = NULL;
    size_t n = 0;
    bool read_only = is_read_only(path);
    if (read_only && !opts->replace)
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET,
                         "the file is read-only; --force replaces it by a copy");
    if (read_only) return save_copy(file, meta, opts, result, err);
    gguf_code code = encode_to_size(file, meta, (size_t)data_off, &header, &n, err);
    result->in_place = !code && n == data_off;
    result->new_header_bytes = n;
    if (result->in_place && !opts->dry_run) code = write_in_place(path, header, n, err);
    free(header);
    if (code || result->in_place) return code;
    return save_copy(file, meta, opts, result, err);
}

gguf_code gguf_edit_save(const gguf_file *file, gguf_meta *meta, const gguf_edit_opts *opts,
                         gguf_edit_result *result, gguf_error *err) {
    *result = (gguf_edit_result){.old_header_bytes = gguf_file_data_off(file, 0)};
    if (gguf_file_n_shards(file) > 1 || gguf_file_big_endian(file))
        return gguf_fail(err, GGUF_E_USAGE, gguf_file_path(file), GGUF_NO_OFFSET,
                         "a split or big-endian file cannot be edited");
    return opts->out_path ? save_copy(file, meta, opts, result, err)
                          : save_itself(file, meta, opts, result, err);
}
