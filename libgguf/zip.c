/* ZIP archives: the central directory at the end says where everything lies. */
#include "libgguf/zip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define MAX_ENTRIES   1000000u
#define LOCAL_BYTES   30u
#define CENTRAL_BYTES 46u
#define END_BYTES     22u
#define END64_BYTES   56u
#define LOCATOR_BYTES 20u
#define ZIP64_FIELD   1u
#define ENCRYPTED     1u

static uint64_t load(const uint8_t *p, int n_bytes) {
    uint64_t value = 0;
    for (int i = n_bytes - 1; i >= 0; i--) value = value << 8 | p[i];
    return value;
}

static gguf_code fail(const gguf_zip *zip, uint64_t off, const char *what, gguf_error *err) {
    return gguf_fail(err, GGUF_E_FORMAT, zip->path, (int64_t)off, "ZIP archive: %s", what);
}

/* n bytes at off that begin with a signature, or NULL. */
static const uint8_t *record(const gguf_zip *zip, uint64_t off, uint64_t n, uint32_t signature) {
    if (off > zip->n_bytes || n > zip->n_bytes - off) return NULL;
    return load(zip->bytes + off, 4) == signature ? zip->bytes + off : NULL;
}

typedef struct directory {
    uint64_t off, n_entries;
} directory;

/* The end record, behind which a comment of up to 65,535 bytes may stand. */
static gguf_code find_directory(const gguf_zip *zip, directory *out, gguf_error *err) {
    const uint8_t *end = NULL;
    uint64_t off = zip->n_bytes < END_BYTES ? 0 : zip->n_bytes - END_BYTES;
    uint64_t stop = off > UINT16_MAX ? off - UINT16_MAX : 0;
    for (;; off--) {
        end = record(zip, off, END_BYTES, 0x06054b50);
        if (end || off == stop) break;
    }
    if (!end)
        return gguf_fail(err, GGUF_E_TRUNCATED, zip->path, (int64_t)zip->n_bytes,
                         "ZIP archive: no end record: the file is cut off, %" PRIu64
                         " bytes are there",
                         zip->n_bytes);
    *out = (directory){load(end + 16, 4), load(end + 10, 2)};
    const uint8_t *locator =
        off < LOCATOR_BYTES ? NULL : record(zip, off - LOCATOR_BYTES, LOCATOR_BYTES, 0x07064b50);
    if (!locator) return GGUF_OK;
    uint64_t off64 = load(locator + 8, 8);
    const uint8_t *end64 = record(zip, off64, END64_BYTES, 0x06064b50);
    if (!end64) return fail(zip, off, "the ZIP64 record is not where it should be", err);
    *out = (directory){load(end64 + 48, 8), load(end64 + 32, 8)};
    return GGUF_OK;
}

/* Sizes and offset that do not fit into 32 bits stand in an extra field, in this order. */
static void read_zip64(const uint8_t *extra, uint64_t n, uint64_t *values[3]) {
    while (n >= 4) {
        uint64_t id = load(extra, 2), len = load(extra + 2, 2);
        if (len > n - 4) return;
        const uint8_t *p = extra + 4;
        for (int i = 0; id == ZIP64_FIELD && i < 3; i++)
            if (*values[i] == UINT32_MAX && len >= 8) {
                *values[i] = load(p, 8);
                p += 8;
                len -= 8;
            }
        uint64_t step = 4 + load(extra + 2, 2);
        extra += step;
        n -= step;
    }
}

static gguf_code read_entry(gguf_zip *zip, uint64_t *off, gguf_error *err) {
    const uint8_t *p = record(zip, *off, CENTRAL_BYTES, 0x02014b50);
    if (!p) return fail(zip, *off, "an entry of the directory is broken", err);
    uint64_t n_name = load(p + 28, 2), n_extra = load(p + 30, 2), n_comment = load(p + 32, 2);
    uint64_t n = CENTRAL_BYTES + n_name + n_extra + n_comment, local = load(p + 42, 4);
    if (n > zip->n_bytes - *off) return fail(zip, *off, "the directory is cut off", err);
    gguf_zip_entry *e = &zip->entries[zip->n_entries++];
    *e = (gguf_zip_entry){.name = {(const char *)p + CENTRAL_BYTES, n_name},
                          .n_bytes = load(p + 24, 4),
                          .n_stored = load(p + 20, 4),
                          .method = (uint16_t)load(p + 10, 2)};
    uint64_t *values[3] = {&e->n_bytes, &e->n_stored, &local};
    read_zip64(p + CENTRAL_BYTES + n_name, n_extra, values);
    const uint8_t *header = record(zip, local, LOCAL_BYTES, 0x04034b50);
    if (!header || load(p + 8, 2) & ENCRYPTED)
        return fail(zip, *off, "an entry has no readable data", err);
    e->off = local + LOCAL_BYTES + load(header + 26, 2) + load(header + 28, 2);
    if (e->off > zip->n_bytes || e->n_stored > zip->n_bytes - e->off ||
        (e->method == 0 && e->n_bytes != e->n_stored))
        return fail(zip, *off, "the data of an entry are cut off", err);
    *off += n;
    uint32_t number = (uint32_t)zip->n_entries - 1;
    if (gguf_index_put(&zip->names, e->name, number, NULL) == GGUF_INDEX_NOMEM)
        return gguf_fail_memory_of(err, zip->path);
    return GGUF_OK;
}

gguf_code gguf_zip_open(const uint8_t *bytes, uint64_t n_bytes, const char *path, gguf_zip *zip,
                        gguf_error *err) {
    directory dir = {0, 0};
    *zip = (gguf_zip){.bytes = bytes, .n_bytes = n_bytes, .path = path};
    gguf_code code = find_directory(zip, &dir, err);
    if (code) return code;
    if (dir.n_entries > MAX_ENTRIES || dir.n_entries > n_bytes / CENTRAL_BYTES)
        return gguf_fail(err, GGUF_E_LIMIT, path, GGUF_NO_OFFSET, "ZIP archive: too many entries");
    zip->entries = calloc(dir.n_entries + 1, sizeof *zip->entries);
    if (!zip->entries) return gguf_fail_memory_of(err, path);
    for (uint64_t i = 0, off = dir.off; i < dir.n_entries && !code; i++)
        code = read_entry(zip, &off, err);
    if (code) gguf_zip_close(zip);
    return code;
}

void gguf_zip_close(gguf_zip *zip) {
    free(zip->entries);
    gguf_index_clear(&zip->names);
    zip->entries = NULL;
    zip->n_entries = 0;
}

const gguf_zip_entry *gguf_zip_find(const gguf_zip *zip, gguf_str name) {
    uint32_t i;
    return gguf_index_get(&zip->names, name, &i) ? &zip->entries[i] : NULL;
}

static bool inflate_all(const uint8_t *src, uint64_t n_src, uint8_t *dst, uint64_t n_dst) {
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)src,
                  .avail_in = (uInt)n_src,
                  .next_out = dst,
                  .avail_out = (uInt)n_dst};
    if (n_src > UINT32_MAX || inflateInit2(&z, -MAX_WBITS) != Z_OK) return false;
    int status = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return status == Z_STREAM_END && z.avail_out == 0;
}

gguf_code gguf_zip_read(const gguf_zip *zip, const gguf_zip_entry *entry, size_t max_bytes,
                        uint8_t **out, gguf_error *err) {
    const uint8_t *src = zip->bytes + entry->off;
    *out = NULL;
    if (entry->n_bytes > max_bytes || entry->n_bytes >= UINT32_MAX)
        return gguf_fail(err, GGUF_E_LIMIT, zip->path, (int64_t)entry->off,
                         "ZIP archive: an entry is too large");
    if (entry->method != 0 && entry->method != Z_DEFLATED)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, zip->path, (int64_t)entry->off,
                         "ZIP archive: packing method %d is not supported", entry->method);
    *out = malloc(entry->n_bytes + 1);
    if (!*out) return gguf_fail_memory_of(err, zip->path);
    if (entry->method == 0)
        memcpy(*out, src, entry->n_bytes);
    else if (!inflate_all(src, entry->n_stored, *out, entry->n_bytes)) {
        free(*out);
        *out = NULL;
        return fail(zip, entry->off, "packed data are broken", err);
    }
    return GGUF_OK;
}

/* ---- large entries ------------------------------------------------------------------------ */

#define PIECE_BYTES 65536
#define MAX_RATIO   1032 /* deflate cannot pack more into a byte */

static gguf_code write_all(int fd, const uint8_t *bytes, size_t n, uint64_t off,
                           const gguf_zip *zip, gguf_error *err) {
    for (size_t done = 0; done < n;) {
        ssize_t wrote = pwrite(fd, bytes + done, n - done, (off_t)(off + done));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0)
            return gguf_fail(err, wrote < 0 && errno == ENOSPC ? GGUF_E_NOSPACE : GGUF_E_IO,
                             zip->path, GGUF_NO_OFFSET, "cannot unpack it to a temporary file: %s",
                             strerror(errno));
        done += (size_t)wrote;
    }
    return GGUF_OK;
}

/* One call of inflate; input is handed over in pieces that fit zlib's counters. */
static int inflate_piece(z_stream *z, const uint8_t *src, uint64_t n_src, uint64_t *used,
                         uint8_t *dst) {
    uint64_t left = n_src - *used;
    z->next_in = (uint8_t *)(uintptr_t)(src + *used);
    z->avail_in = left < PIECE_BYTES ? (uInt)left : PIECE_BYTES;
    z->next_out = dst;
    z->avail_out = PIECE_BYTES;
    uInt before = z->avail_in;
    int status = inflate(z, Z_NO_FLUSH);
    *used += before - z->avail_in;
    return status;
}

gguf_code gguf_zip_unpack(const gguf_zip *zip, const gguf_zip_entry *entry, int fd, uint64_t off,
                          gguf_error *err) {
    uint8_t piece[PIECE_BYTES];
    z_stream z = {0};
    uint64_t used = 0, written = 0;
    gguf_code code = GGUF_OK;
    int status = Z_OK;
    if (entry->method != Z_DEFLATED)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, zip->path, (int64_t)entry->off,
                         "ZIP archive: packing method %d is not supported", entry->method);
    if (entry->n_bytes / MAX_RATIO > entry->n_stored)
        return fail(zip, entry->off, "an entry claims more bytes than it can hold", err);
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return gguf_fail_memory_of(err, zip->path);
    while (status == Z_OK && !code) {
        status = inflate_piece(&z, zip->bytes + entry->off, entry->n_stored, &used, piece);
        size_t n = PIECE_BYTES - z.avail_out;
        if ((status != Z_OK && status != Z_STREAM_END) || n > entry->n_bytes - written)
            code = fail(zip, entry->off, "packed data are broken", err);
        else
            code = write_all(fd, piece, n, off + written, zip, err);
        written += n;
    }
    inflateEnd(&z);
    if (!code && written != entry->n_bytes)
        code = fail(zip, entry->off, "packed data are cut off", err);
    return code;
}
