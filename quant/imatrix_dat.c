/* The legacy importance matrix file: i32 count, entries of (i32 length, name, i32 calls, i32
 * values, f32 values = mean square * calls), then i32 chunks and the dataset's name. All
 * little-endian. */
#include "libgguf/cursor.h"
#include "libgguf/dynbuf.h"
#include "libgguf/map.h"
#include "libgguf/outfile.h"
#include "libgguf/placeholder.h"
#include "quant/imatrix.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES ((size_t)2 << 30)

/* A length or count that is not negative and fits into what is left, `size` bytes each. */
static uint32_t take_count(gguf_cursor *c, uint32_t size, const char *what) {
    uint64_t pos = c->pos;
    uint32_t n = gguf_cursor_u32(c, what);
    if (!c->code && (n > INT32_MAX || n > gguf_cursor_left(c) / size))
        gguf_cursor_fail(c, GGUF_E_TRUNCATED, pos,
                         "%s of %" PRIu32 " cannot fit into %" PRIu64 " bytes", what, n,
                         gguf_cursor_left(c));
    return c->code ? 0 : n;
}

static void take_name(gguf_cursor *c, char *out, size_t room, const char *what) {
    uint64_t pos = c->pos;
    uint32_t len = take_count(c, 1, what);
    const uint8_t *p = gguf_cursor_take(c, len, what);
    out[0] = '\0';
    if (!p) return;
    if (len >= room || memchr(p, 0, len)) {
        gguf_cursor_fail(c, GGUF_E_LIMIT, pos, "%s of %" PRIu32 " bytes is not a name", what, len);
        return;
    }
    memcpy(out, p, len);
    out[len] = '\0';
}

static void read_entry(gguf_cursor *c, quant_imatrix *im) {
    char name[256];
    uint64_t start = c->pos;
    take_name(c, name, sizeof name, "an entry's name");
    uint32_t n_calls = gguf_cursor_u32(c, "a number of calls");
    uint32_t n = take_count(c, sizeof(float), "a number of values");
    const uint8_t *values = gguf_cursor_take(c, (uint64_t)n * sizeof(float), "values");
    if (!values) return;
    if (n_calls == 0 || n_calls > INT32_MAX) n_calls = 1;
    if (quant_imatrix_find(im, name)) {
        gguf_cursor_fail(c, GGUF_E_DUPLICATE, start, "entry '%s' occurs twice", name);
        return;
    }
    quant_imatrix_entry *entry = n ? quant_imatrix_entry_of(im, name, n, 1) : NULL;
    if (!entry) {
        gguf_cursor_fail(c, n ? GGUF_E_NOMEM : GGUF_E_FORMAT, start, "entry '%s' has no values",
                         name);
        return;
    }
    entry->counts[0] = n_calls;
    for (uint32_t i = 0; i < n; i++) {
        float v;
        memcpy(&v, values + i * sizeof v, sizeof v);
        if (!isfinite(v) || v < 0)
            gguf_cursor_fail(c, GGUF_E_NONFINITE, start,
                             "a value of '%s' is negative or not finite", name);
        entry->sums[i] = v;
    }
}

gguf_code quant_imatrix_read_dat(const void *bytes, size_t n_bytes, const char *name,
                                 quant_imatrix **out, gguf_error *err) {
    gguf_cursor c = {.base = bytes, .len = n_bytes, .file = name, .err = err};
    char dataset[1024] = "";
    uint32_t n_chunks = 0;
    *out = NULL;
    quant_imatrix *im = quant_imatrix_new();
    if (!im) return gguf_fail_memory_of(err, name);
    uint32_t n = take_count(&c, 12, "the number of entries");
    for (uint32_t i = 0; i < n && !c.code; i++) read_entry(&c, im);
    if (!c.code && c.pos < c.len) {
        n_chunks = gguf_cursor_u32(&c, "the number of chunks");
        take_name(&c, dataset, sizeof dataset, "the dataset's name");
    }
    gguf_code code = c.code;
    if (!code) code = quant_imatrix_set_info(im, dataset, n_chunks, 0, err);
    if (code)
        quant_imatrix_free(im);
    else
        *out = im;
    return code;
}

gguf_code quant_imatrix_load_dat(const char *path, quant_imatrix **out, gguf_error *err) {
    char *bytes;
    size_t n;
    *out = NULL;
    gguf_code code = gguf_read_file(path, MAX_FILE_BYTES, &bytes, &n, err);
    if (code) return code;
    code = gguf_placeholder_check(bytes, n, GGUF_EXPECTED_BINARY, path, err);
    if (!code) code = quant_imatrix_read_dat(bytes, n, path, out, err);
    free(bytes);
    return code;
}

static void put_name(gguf_dynbuf *buf, const char *name) {
    gguf_dynbuf_put_u32(buf, (uint32_t)strlen(name));
    gguf_dynbuf_put_text(buf, name);
}

gguf_code quant_imatrix_save_dat(const quant_imatrix *im, const char *path, bool replace,
                                 gguf_error *err) {
    const quant_imatrix_info *info = quant_imatrix_info_of(im);
    uint32_t n_calls = info->n_chunks ? info->n_chunks : 1;
    gguf_dynbuf buf;
    gguf_dynbuf_init(&buf, MAX_FILE_BYTES);
    gguf_dynbuf_put_u32(&buf, (uint32_t)quant_imatrix_count(im));
    for (size_t k = 0; k < quant_imatrix_count(im); k++) {
        const quant_imatrix_entry *e = quant_imatrix_at(im, k);
        put_name(&buf, e->name);
        gguf_dynbuf_put_u32(&buf, n_calls);
        gguf_dynbuf_put_u32(&buf, (uint32_t)(e->n_cols * e->n_mats));
        for (size_t i = 0; i < e->n_cols * e->n_mats; i++) {
            double count = e->counts[i / e->n_cols];
            float v = count > 0 ? (float)(e->sums[i] / count * n_calls) : (float)n_calls;
            gguf_dynbuf_put(&buf, &v, sizeof v);
        }
    }
    gguf_dynbuf_put_u32(&buf, info->n_chunks);
    put_name(&buf, info->dataset ? info->dataset : "");
    gguf_code code =
        buf.code ? gguf_fail(err, buf.code, path, GGUF_NO_OFFSET, "out of memory")
                 : gguf_outfile_save(path, buf.data, buf.len,
                                     GGUF_OUT_STREAM | (replace ? GGUF_OUT_REPLACE : 0), err);
    gguf_dynbuf_clear(&buf);
    return code;
}
