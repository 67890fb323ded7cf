/* Journals of runs: a head, then entries of fixed size that are appended whole, in the machine's
 * byte order (a run is resumed where it was interrupted). */
#include "quant/journal.h"

#include "libgguf/hash.h"
#include "libgguf/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "ggufjrn3"

typedef struct head {
    char magic[8];
    uint64_t fingerprint;
} head;

typedef struct record {
    quant_journal_entry entry;
    uint64_t check; /* of the entry: a record that was cut off is none */
} record;

struct quant_journal {
    char *path;
    int fd;
    record *records; /* of the interrupted run, sorted by tensor and row */
    size_t n_records;
};

static gguf_code fail_errno(gguf_error *err, const char *path, const char *doing) {
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return gguf_fail(err, full ? GGUF_E_NOSPACE : GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot %s: %s",
                     doing, strerror(errno));
}

static gguf_code open_journal(const char *path, int flags, quant_journal **out, gguf_error *err) {
    quant_journal *j = calloc(1, sizeof *j);
    *out = NULL;
    if (j) *j = (quant_journal){.fd = -1, .path = strdup(path)};
    if (!j || !j->path) {
        quant_journal_close(j, false);
        return gguf_fail_memory_of(err, path);
    }
    j->fd = open(path, O_RDWR | O_APPEND | GGUF_OUT_SIDE_FLAGS | (flags & O_CREAT), 0666);
    if (j->fd < 0) {
        gguf_code code = errno == ENOENT ? gguf_fail(err, GGUF_E_MISSING, path, GGUF_NO_OFFSET,
                                                     "there is no unfinished run to continue")
                                         : fail_errno(err, path, "open");
        quant_journal_close(j, false);
        return code;
    }
    gguf_code code = gguf_outfile_check_side(j->fd, path, err);
    if (!code && (flags & O_TRUNC) && ftruncate(j->fd, 0) != 0)
        code = fail_errno(err, path, "empty");
    if (code) {
        quant_journal_close(j, false);
        return code;
    }
    *out = j;
    return GGUF_OK;
}

static gguf_code append(quant_journal *j, const void *bytes, size_t n, gguf_error *err) {
    ssize_t put = write(j->fd, bytes, n);
    if (put == (ssize_t)n) return GGUF_OK;
    if (put >= 0) errno = ENOSPC;
    return fail_errno(err, j->path, "write");
}

gguf_code quant_journal_create(const char *path, uint64_t fingerprint, quant_journal **out,
                               gguf_error *err) {
    head h = {.fingerprint = fingerprint};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    gguf_code code = open_journal(path, O_CREAT | O_TRUNC, out, err);
    if (!code) code = append(*out, &h, sizeof h, err);
    if (!code) return GGUF_OK;
    quant_journal_close(*out, true);
    *out = NULL;
    return code;
}

/* ---- reading ----------------------------------------------------------------------------- */

static uint64_t check_of(const quant_journal_entry *entry) {
    return gguf_xxh3(entry, sizeof *entry, 0);
}

static int compare_pieces(const void *a, const void *b) {
    const quant_piece *x = a, *y = b; /* the first member of a record, too */
    if (x->tensor != y->tensor) return x->tensor < y->tensor ? -1 : 1;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return (x->n_rows > y->n_rows) - (x->n_rows < y->n_rows);
}

/* The whole records at the front of a file, behind those that the journal has: *n of them. */
static gguf_code read_records(quant_journal *j, int fd, const char *path, size_t *n,
                              gguf_error *err) {
    struct stat st;
    *n = 0;
    if (fstat(fd, &st) != 0) return fail_errno(err, path, "read");
    size_t room =
        st.st_size > (off_t)sizeof(head) ? ((size_t)st.st_size - sizeof(head)) / sizeof(record) : 0;
    record *grown = realloc(j->records, (j->n_records + room + 1) * sizeof *grown);
    if (!grown) return gguf_fail_memory(err);
    j->records = grown;
    grown += j->n_records;
    ssize_t got = pread(fd, grown, room * sizeof(record), sizeof(head));
    if (got < 0) return fail_errno(err, path, "read");
    while (*n < (size_t)got / sizeof(record) && check_of(&grown[*n].entry) == grown[*n].check) ++*n;
    j->n_records += *n;
    qsort(j->records, j->n_records, sizeof *j->records, compare_pieces);
    return GGUF_OK;
}

static gguf_code check_head(int fd, const char *path, uint64_t fingerprint, gguf_error *err) {
    head h;
    ssize_t got = pread(fd, &h, sizeof h, 0);
    if (got < 0) return fail_errno(err, path, "read");
    if (got < (ssize_t)sizeof h) /* killed before the first write */
        return gguf_fail(err, GGUF_E_MISSING, path, GGUF_NO_OFFSET, "the journal is empty");
    if (memcmp(h.magic, MAGIC, sizeof h.magic) == 0 && h.fingerprint == fingerprint) return GGUF_OK;
    return gguf_fail(err, GGUF_E_CHECK, path, GGUF_NO_OFFSET,
                     "the unfinished run had other inputs, options or another version; remove "
                     "this file, or run without --resume");
}

gguf_code quant_journal_take(quant_journal *j, const char *path, uint64_t fingerprint,
                             gguf_error *err) {
    size_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(err, path, "open");
    gguf_code code = check_head(fd, path, fingerprint, err);
    if (!code) code = read_records(j, fd, path, &n, err);
    close(fd);
    return code;
}

/* What follows the whole records is cut off, so that appending goes on there. */
gguf_code quant_journal_open(const char *path, uint64_t fingerprint, quant_journal **out,
                             gguf_error *err) {
    size_t n = 0;
    gguf_code code = open_journal(path, 0, out, err);
    if (code) return code;
    code = check_head((*out)->fd, path, fingerprint, err);
    if (!code) code = read_records(*out, (*out)->fd, path, &n, err);
    if (!code && ftruncate((*out)->fd, (off_t)(sizeof(head) + n * sizeof(record))) != 0)
        code = fail_errno(err, path, "write");
    if (!code) return GGUF_OK;
    quant_journal_close(*out, false);
    *out = NULL;
    return code;
}

const quant_journal_entry *quant_journal_find(const quant_journal *journal,
                                              const quant_piece *piece) {
    if (!journal->n_records) return NULL;
    const record *found = bsearch(piece, journal->records, journal->n_records,
                                  sizeof *journal->records, compare_pieces);
    return found ? &found->entry : NULL;
}

/* ---- writing ----------------------------------------------------------------------------- */

gguf_code quant_journal_add(quant_journal *journal, const quant_journal_entry *entry,
                            gguf_error *err) {
    record r;
    memset(&r, 0, sizeof r); /* the padding is part of the check */
    r.entry.piece.tensor = entry->piece.tensor;
    r.entry.piece.row = entry->piece.row;
    r.entry.piece.n_rows = entry->piece.n_rows;
    r.entry.hash = entry->hash;
    r.entry.loss = entry->loss;
    r.check = check_of(&r.entry);
    return append(journal, &r, sizeof r, err); /* O_APPEND: one write, one record */
}

void quant_journal_close(quant_journal *journal, bool remove) {
    if (!journal) return;
    if (journal->fd >= 0) close(journal->fd);
    if (remove && journal->fd >= 0) unlink(journal->path);
    free(journal->records);
    free(journal->path);
    free(journal);
}
