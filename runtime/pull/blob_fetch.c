/* One file from a hub. */
#include "runtime/pull/blob_fetch.h"

#include "libgguf/gguf.h"
#include "libgguf/hash.h"
#include "libgguf/map.h"
#include "libgguf/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define HASH_PIECE  (1u << 20)
#define FLUSH_BYTES (UINT64_C(64) << 20)

/* A file that is being fetched. */
typedef struct part {
    rt_fetch *f;
    char path[RT_PATH_ROOM], tag_path[RT_PATH_ROOM];
    char etag[264]; /* of the response that the bytes on disk came from; "" = not known */
    int fd;
    uint64_t n, n_flushed; /* bytes on disk, all of them hashed */
    bool begun;            /* this attempt has brought something */
    bool changed;          /* it is of another version than what is there */
    uint64_t total;        /* RT_NO_SIZE = not known */
    bool resumed;          /* some of them are from an earlier attempt */
    gguf_hasher *hash;
    gguf_code code; /* of the sink, which ends the transfer */
    gguf_error *err;
} part;

/* ---- names and locks --------------------------------------------------------------------------
 */

/* By its hash, or where that is not known by its address. */
static gguf_code part_path(const rt_store *store, const rt_hub_file *file, char out[RT_PATH_ROOM],
                           gguf_error *err) {
    if (file->sha256[0])
        return rt_path(out, err, "%s/blobs/sha256-%s.part", store->root, file->sha256);
    return rt_path(out, err, "%s/blobs/url-%016" PRIx64 ".part", store->root,
                   gguf_xxh3(file->url, strlen(file->url), 0));
}

uint64_t rt_fetch_begun(const rt_store *store, const rt_hub_file *file) {
    char path[RT_PATH_ROOM];
    struct stat st;
    if (!file->url || part_path(store, file, path, NULL) || stat(path, &st) != 0) return 0;
    return (uint64_t)st.st_size;
}

static gguf_code wait_lock(const part *p, gguf_error *err) {
    const atomic_bool *cancel = p->f->http->cancel;
    const struct timespec step = {.tv_nsec = 100000000};
    while (flock(p->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return gguf_fail(err, GGUF_E_IO, p->path, GGUF_NO_OFFSET, "cannot lock it: %s",
                             strerror(errno));
        if (cancel && atomic_load(cancel))
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        nanosleep(&step, NULL);
    }
    return GGUF_OK;
}

/* Who held the lock may have finished the file: then the name leads to another one, or to none. */
static gguf_code open_part(part *p, gguf_error *err) {
    for (;;) {
        struct stat ours, there;
        p->fd = open(p->path, O_RDWR | O_CREAT | GGUF_OUT_SIDE_FLAGS, 0666);
        if (p->fd < 0)
            return gguf_fail(err, errno == ENOSPC ? GGUF_E_NOSPACE : GGUF_E_IO, p->path,
                             GGUF_NO_OFFSET, "cannot open it: %s", strerror(errno));
        gguf_code code = wait_lock(p, err);
        if (code) return code;
        if (fstat(p->fd, &ours) == 0 && !S_ISREG(ours.st_mode))
            return gguf_fail(err, GGUF_E_IO, p->path, GGUF_NO_OFFSET, "it is no regular file");
        if (lstat(p->path, &there) == 0 && ours.st_ino == there.st_ino) return GGUF_OK;
        close(p->fd);
        p->fd = -1;
    }
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

static gguf_code start_hash(part *p, gguf_error *err) {
    if (p->hash) gguf_hasher_end(p->hash);
    p->hash = NULL;
    return gguf_hasher_new(GGUF_HASH_SHA256, &p->hash, err);
}

static gguf_code start_over(part *p, gguf_error *err) {
    p->n = p->n_flushed = 0;
    p->resumed = false;
    p->etag[0] = '\0';
    p->total = RT_NO_SIZE;
    unlink(p->tag_path);
    if (ftruncate(p->fd, 0) != 0)
        return gguf_fail(err, GGUF_E_IO, p->path, GGUF_NO_OFFSET, "cannot empty it: %s",
                         strerror(errno));
    return start_hash(p, err);
}

/* What an earlier run left: hashed again, so that the end of the file proves all of it. */
static gguf_code take_over(part *p, gguf_error *err) {
    struct stat st;
    char *tag;
    size_t n_tag;
    gguf_code code = start_hash(p, err);
    if (code || fstat(p->fd, &st) != 0 || st.st_size == 0) return code;
    if (access(p->tag_path, F_OK) == 0 &&
        gguf_read_file(p->tag_path, sizeof p->etag - 1, &tag, &n_tag, NULL) == GGUF_OK) {
        snprintf(p->etag, sizeof p->etag, "%s", tag);
        free(tag);
    }
    bool too_long = p->f->file->n_bytes != RT_NO_SIZE && (uint64_t)st.st_size > p->f->file->n_bytes;
    if (too_long || (!p->etag[0] && !p->f->file->sha256[0])) return start_over(p, err);
    uint8_t *piece = malloc(HASH_PIECE);
    if (!piece) return gguf_fail_memory(err);
    for (ssize_t got; (got = pread(p->fd, piece, HASH_PIECE, (off_t)p->n)) > 0;) {
        gguf_hasher_add(p->hash, piece, (size_t)got);
        p->n += (uint64_t)got;
    }
    free(piece);
    p->n_flushed = p->n;
    p->resumed = true;
    return p->n == (uint64_t)st.st_size ? GGUF_OK : start_over(p, err);
}

static bool stop(part *p, gguf_code code) {
    p->code = code;
    return false;
}

/* "bytes 5-9/10" */
static bool read_content_range(const char *text, uint64_t *first, uint64_t *total) {
    uint64_t last;
    *total = RT_NO_SIZE;
    return sscanf(text, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, first, &last, total) >= 2;
}

static void save_tag(part *p, const char *etag) {
    bool strong = *etag == '"';
    snprintf(p->etag, sizeof p->etag, "%s", strong ? etag : "");
    struct stat st;
    if (lstat(p->tag_path, &st) == 0 && S_ISLNK(st.st_mode)) unlink(p->tag_path);
    if (strong)
        gguf_outfile_save(p->tag_path, etag, strlen(etag), GGUF_OUT_REPLACE | GGUF_OUT_OVER_INPUT,
                          NULL);
}

static bool check_room(part *p) {
    struct statvfs fs;
    if (p->total == RT_NO_SIZE || fstatvfs(p->fd, &fs) != 0) return true;
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize, needed = p->total - p->n;
    if (needed <= room) return true;
    return stop(p,
                gguf_fail(p->err, GGUF_E_NOSPACE, p->path, GGUF_NO_OFFSET,
                          "%" PRIu64 " bytes are needed, but %" PRIu64 " are free", needed, room));
}

/* The first bytes of a response: do they continue what is there? */
static bool begin_body(part *p, const rt_http_head *head) {
    uint64_t first = 0, total = head->n_content, known = p->f->file->n_bytes;
    bool continues = head->status == 206 &&
                     read_content_range(head->content_range, &first, &total) && first == p->n;
    if (head->status == 206 && !continues)
        return stop(p, gguf_fail(p->err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                                 "%s: the server answers with another range than was asked for",
                                 p->f->file->url));
    bool other_tag = p->etag[0] && head->etag[0] && strcmp(p->etag, head->etag) != 0;
    bool other_size = p->total != RT_NO_SIZE && total != RT_NO_SIZE && p->total != total;
    p->changed = continues && (other_tag || other_size);
    if ((!continues || p->changed) && p->n) {
        gguf_code code = start_over(p, p->err);
        if (code) return stop(p, code);
    }
    if (p->changed) return false; /* the next attempt begins with the first byte */
    if (known != RT_NO_SIZE && total != RT_NO_SIZE && total != known)
        return stop(p,
                    gguf_fail(p->err, GGUF_E_TRUNCATED, NULL, GGUF_NO_OFFSET,
                              "%s: the server offers %" PRIu64 " bytes, but the file has %" PRIu64,
                              p->f->file->url, total, known));
    p->total = known != RT_NO_SIZE ? known : total;
    save_tag(p, head->etag);
    return check_room(p);
}

static bool take_bytes(void *ctx, const rt_http_head *head, const void *bytes, size_t n) {
    part *p = ctx;
    if (!p->begun && !begin_body(p, head)) return false;
    p->begun = true;
    if (p->total != RT_NO_SIZE && n > p->total - p->n)
        return stop(p, gguf_fail(p->err, GGUF_E_TRUNCATED, NULL, GGUF_NO_OFFSET,
                                 "%s: more bytes come than the %" PRIu64 " that were announced",
                                 p->f->file->url, p->total));
    gguf_hasher_add(p->hash, bytes, n);
    for (size_t at = 0; at < n;) {
        ssize_t put = pwrite(p->fd, (const char *)bytes + at, n - at, (off_t)(p->n + at));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) {
            bool full = errno == ENOSPC || errno == EFBIG || errno == EDQUOT;
            return stop(p, gguf_fail(p->err, full ? GGUF_E_NOSPACE : GGUF_E_IO, p->path,
                                     (int64_t)(p->n + at), "cannot write: %s", strerror(errno)));
        }
        at += (size_t)put;
    }
    p->n += n;
    if (p->f->done) atomic_fetch_add(p->f->done, n);
    if (p->n - p->n_flushed >= FLUSH_BYTES) { /* not all of it at the end */
        sync_file_range(p->fd, (off_t)p->n_flushed, (off_t)(p->n - p->n_flushed),
                        SYNC_FILE_RANGE_WRITE);
        p->n_flushed = p->n;
    }
    return true;
}

/* ---- attempts ---------------------------------------------------------------------------------
 */

static gguf_code attempt(part *p, rt_http_head *head, gguf_error *err) {
    char range_tag[264];
    gguf_error why = {0};
    rt_http_request request = {.url = p->f->file->url,
                               .bearer = p->f->bearer,
                               .first = p->n,
                               .if_none_match = p->n ? NULL : p->f->if_none_match};
    p->changed = false;
    snprintf(range_tag, sizeof range_tag, "%s", p->etag);
    if (p->n && *range_tag) request.if_range = range_tag;
    p->begun = false;
    p->code = GGUF_OK;
    p->err = &why;
    gguf_code code = rt_http_perform(p->f->http, &request, take_bytes, p, head, NULL, err);
    p->err = NULL;
    return p->code ? gguf_fail(err, p->code, why.file[0] ? why.file : NULL, why.offset, "%s",
                               why.message)
                   : code;
}

static bool is_whole(const part *p, const rt_http_head *head) {
    if (p->changed || (head->status != 200 && head->status != 206)) return false;
    if (p->f->file->n_bytes != RT_NO_SIZE) return p->n == p->f->file->n_bytes;
    return p->total == RT_NO_SIZE || p->n == p->total;
}

/* Until the file is whole: attempts that come farther than any before do not count. */
static gguf_code transfer_all(part *p, gguf_error *err) {
    const rt_http *http = p->f->http;
    uint64_t most = p->n;
    bool had_some = false;
    for (unsigned i = 1;; i++) {
        rt_http_head head = {0};
        gguf_error why = {0};
        if (p->f->file->n_bytes != RT_NO_SIZE && p->n == p->f->file->n_bytes && p->n)
            return GGUF_OK;
        gguf_code code = attempt(p, &head, &why);
        if (!code && head.status == 304 && p->f->if_none_match && !p->n) {
            p->f->unchanged = true;
            return GGUF_OK;
        }
        if (!code && is_whole(p, &head)) return GGUF_OK;
        bool again = rt_http_may_retry(code, &head) || (head.unreachable && had_some);
        bool short_body = !code && head.status >= 200 && head.status < 300;
        if (!code && head.status == 416 && p->n) { /* the file is another, or shorter */
            code = start_over(p, err);
            if (code) return code;
            short_body = true;
        }
        if (p->n > most) most = p->n, i = 1, had_some = true;
        if (i >= http->n_tries || (!again && !short_body)) {
            if (code)
                return gguf_fail(err, code, why.file[0] ? why.file : NULL, why.offset, "%s",
                                 why.message);
            if (!short_body) return rt_http_fail_status(&head, p->f->file->url, err);
            return gguf_fail(err, GGUF_E_TRUNCATED, NULL, GGUF_NO_OFFSET,
                             "%s: the server's file ends after %" PRIu64 " bytes of %" PRIu64,
                             p->f->file->url, p->n, p->f->file->n_bytes);
        }
        code = rt_http_wait(http, i, &head, p->f->file->url, err);
        if (code) return code;
    }
}

static gguf_code fail_hash(part *p, const char *hex, gguf_error *err) {
    char bad[RT_PATH_ROOM];
    gguf_code code =
        rt_path(bad, err, "%s/blobs/sha256-%s.bad", p->f->store->root, p->f->file->sha256);
    if (code) return code;
    rename(p->path, bad);
    unlink(p->tag_path);
    return gguf_fail(err, GGUF_E_FORMAT, bad, GGUF_NO_OFFSET,
                     "what came from %s has the SHA-256 %.12s..., not %.12s...", p->f->file->url,
                     hex, p->f->file->sha256);
}

static gguf_code finish(part *p, const char *hex, gguf_error *err) {
    char final[RT_PATH_ROOM];
    struct stat st;
    rt_hub_file *file = p->f->file;
    gguf_code code = rt_path(final, err, "%s/blobs/sha256-%s", p->f->store->root, hex);
    if (code) return code;
    /* A file with these contents may be there and in use: it stays. */
    bool there = stat(final, &st) == 0 && (uint64_t)st.st_size == p->n;
    bool done = there ? unlink(p->path) == 0 : fsync(p->fd) == 0 && rename(p->path, final) == 0;
    if (!done)
        return gguf_fail(err, errno == ENOSPC ? GGUF_E_NOSPACE : GGUF_E_IO, p->path, GGUF_NO_OFFSET,
                         "cannot finish it: %s", strerror(errno));
    unlink(p->tag_path);
    snprintf(p->f->etag, sizeof p->f->etag, "%s", p->etag);
    snprintf(file->sha256, sizeof file->sha256, "%s", hex);
    file->n_bytes = p->n;
    file->fetched = true;
    file->at = strdup(final);
    return file->at ? GGUF_OK : gguf_fail_memory(err);
}

/* The final name of a file whose hash is known: another process may have made it meanwhile. */
static gguf_code find_finished(part *p, gguf_error *err) {
    char final[RT_PATH_ROOM];
    struct stat st;
    rt_hub_file *file = p->f->file;
    if (!file->sha256[0]) return GGUF_OK;
    gguf_code code = rt_path(final, err, "%s/blobs/sha256-%s", p->f->store->root, file->sha256);
    if (code || stat(final, &st) != 0) return code;
    if (file->n_bytes == RT_NO_SIZE) file->n_bytes = (uint64_t)st.st_size;
    if ((uint64_t)st.st_size != file->n_bytes) return GGUF_OK;
    unlink(p->path);
    file->at = strdup(final);
    return file->at ? GGUF_OK : gguf_fail_memory(err);
}

static gguf_code fetch_checked(part *p, gguf_error *err) {
    gguf_code code = take_over(p, err);
    for (;;) {
        if (!code) code = transfer_all(p, err);
        if (code) return code;
        if (p->f->unchanged) {
            unlink(p->path);
            return GGUF_OK;
        }
        gguf_hash hash = gguf_hasher_end(p->hash);
        p->hash = NULL;
        if (!p->f->file->sha256[0] || strcmp(hash.hex, p->f->file->sha256) == 0)
            return finish(p, hash.hex, err);
        if (!p->resumed) return fail_hash(p, hash.hex, err);
        code = start_over(p, err); /* the earlier part may be from another file */
    }
}

gguf_code rt_fetch_blob(rt_fetch *f, gguf_error *err) {
    part p = {.f = f, .fd = -1, .total = RT_NO_SIZE};
    gguf_code code = part_path(f->store, f->file, p.path, err);
    if (!code) code = rt_path(p.tag_path, err, "%.*s.etag", (int)sizeof p.path - 8, p.path);
    if (!code) code = rt_make_folders(p.path, err);
    if (!code) code = open_part(&p, err);
    if (!code) code = find_finished(&p, err);
    if (!code && !f->file->at) code = fetch_checked(&p, err);
    if (p.hash) gguf_hasher_end(p.hash);
    if (p.fd >= 0) close(p.fd);
    return code;
}

/* ---- headers ----------------------------------------------------------------------------------
 */

#define FIRST_HEADER_BYTES (UINT64_C(1) << 20)
#define MAX_HEADER_BYTES   (UINT64_C(512) << 20)

typedef struct header {
    int fd;
    uint64_t n, most; /* bytes so far, and to be taken */
    uint64_t total;
    int failed; /* errno of a write */
} header;

static bool take_header_bytes(void *ctx, const rt_http_head *head, const void *bytes, size_t n) {
    header *h = ctx;
    uint64_t first;
    if (head->status == 200) h->total = head->n_content;
    if (head->status == 206) read_content_range(head->content_range, &first, &h->total);
    if (n > h->most - h->n) n = (size_t)(h->most - h->n);
    if (pwrite(h->fd, bytes, n, (off_t)h->n) != (ssize_t)n) {
        h->failed = errno ? errno : EIO;
        return false;
    }
    h->n += n;
    return h->n < h->most;
}

/* Bytes from where it stopped; a server without ranges begins anew. */
static gguf_code fetch_more(const rt_fetch *f, header *h, gguf_error *err) {
    rt_http_head head;
    for (unsigned i = 1;; i++) {
        gguf_error why = {0};
        const rt_http_request request = {
            .url = f->file->url, .bearer = f->bearer, .first = h->n, .n = h->most - h->n};
        uint64_t from = h->n;
        gguf_code code =
            rt_http_perform(f->http, &request, take_header_bytes, h, &head, NULL, &why);
        if (h->failed)
            return gguf_fail(err, h->failed == ENOSPC ? GGUF_E_NOSPACE : GGUF_E_IO, NULL,
                             GGUF_NO_OFFSET, "cannot write a header: %s", strerror(h->failed));
        if (!code && head.status == 206) return GGUF_OK;
        if (!code && head.status == 200 && from == 0) return GGUF_OK;
        if (!code && head.status == 200)
            return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                             "%s: the server sends whole files only", f->file->url);
        if (i >= f->http->n_tries || !rt_http_may_retry(code, &head))
            return code ? gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "%s", why.message)
                        : rt_http_fail_status(&head, f->file->url, err);
        h->n = from;
        code = rt_http_wait(f->http, i, &head, f->file->url, err);
        if (code) return code;
    }
}

/* Whether the first n bytes hold the whole header. */
static gguf_code try_header(const char *path, uint64_t n, bool *whole, gguf_error *err) {
    gguf_file *file;
    gguf_code code = gguf_file_open(path, GGUF_OPEN_ANY_TYPE | GGUF_OPEN_SINGLE, &file, err);
    if (code) return code;
    *whole = gguf_file_data_off(file, 0) <= n;
    gguf_file_close(file);
    return GGUF_OK;
}

gguf_code rt_fetch_header(const rt_fetch *f, const char *path, gguf_error *err) {
    header h = {.total = RT_NO_SIZE};
    bool whole = false;
    gguf_code code = rt_make_folders(path, err);
    if (code) return code;
    h.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | GGUF_OUT_SIDE_FLAGS, 0666);
    if (h.fd < 0)
        return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot open it: %s",
                         strerror(errno));
    for (uint64_t n = FIRST_HEADER_BYTES; !code && !whole; n *= 2) {
        gguf_error why = {0};
        uint64_t total = f->file->n_bytes;
        h.most = total != RT_NO_SIZE && n > total ? total : n;
        code = fetch_more(f, &h, err);
        if (total == RT_NO_SIZE) total = h.total == RT_NO_SIZE ? h.n : h.total;
        if (!code && ftruncate(h.fd, (off_t)total) != 0)
            code = gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot size it: %s",
                             strerror(errno));
        if (code) break;
        gguf_code bad = try_header(path, h.n, &whole, &why);
        if (bad && (h.n >= total || h.n < h.most || n >= MAX_HEADER_BYTES))
            code = gguf_fail(err, n >= MAX_HEADER_BYTES ? GGUF_E_LIMIT : bad, NULL, GGUF_NO_OFFSET,
                             "%s: %s", f->file->url, why.message);
    }
    close(h.fd);
    if (code) unlink(path);
    return code;
}
