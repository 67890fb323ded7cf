/* The safetensors format: u64 header length, JSON header, data buffer without gaps. */
#include "libgguf/checked.h"
#include "libgguf/checkpoint_internal.h"
#include "libgguf/json.h"
#include "libgguf/map.h"
#include "libgguf/outfile.h"
#include "libgguf/placeholder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The reference parser's own limit. */
#define MAX_HEADER_BYTES 100000000u

typedef struct st_reader {
    gguf_checkpoint *ckpt;
    uint32_t file;
    const char *path;
    int fd;
    const gguf_memory_file *memory; /* instead of fd, or NULL */
    char *text;                     /* the JSON header */
    uint64_t n_header, n_file;
    uint64_t n_wanted; /* bytes of data that the header speaks of */
    gguf_checkpoint_tensor *tensors;
    size_t n_tensors;
    gguf_error *err;
} st_reader;

static gguf_code fail_at(st_reader *r, gguf_code code, int64_t off, const char *what) {
    return gguf_fail(r->err, code, r->path, off, "%s", what);
}

/* Where a tensor's entry stands in the file, for errors. Longer names are not looked for: the time
 * would grow with the square of a hostile header. */
static int64_t entry_off(const st_reader *r, gguf_str name) {
    const char *p = r->text, *end = r->text + r->n_header;
    if (name.len > 200) return 8;
    for (; (p = memchr(p, '"', (size_t)(end - p))); p++)
        if ((size_t)(end - p) > name.len + 1 && memcmp(p + 1, name.ptr, name.len) == 0 &&
            p[name.len + 1] == '"')
            return 8 + (p - r->text);
    return 8;
}

static gguf_code fail_entry(st_reader *r, gguf_code code, gguf_str name, const char *what) {
    return gguf_fail(r->err, code, r->path, entry_off(r, name), "tensor '%.*s': %s",
                     (int)(name.len < 200 ? name.len : 200), name.ptr, what);
}

static gguf_code measure_file(st_reader *r) {
    struct stat st;
    if (r->memory) {
        r->n_file = r->memory->n_bytes;
        return GGUF_OK;
    }
    if (fstat(r->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return fail_at(r, GGUF_E_IO, GGUF_NO_OFFSET, "not a regular file");
    r->n_file = (uint64_t)st.st_size;
    return GGUF_OK;
}

/* The extent lies inside the file. */
static gguf_code read_extent_of(st_reader *r, void *dst, size_t n, uint64_t off) {
    if (!r->memory) return gguf_read_at(r->fd, r->path, dst, n, off, r->err);
    if (n) memcpy(dst, (const char *)r->memory->bytes + off, n);
    return GGUF_OK;
}

/* A pointer, a web page or a message in the place of the file. */
static gguf_code check_placeholder(st_reader *r) {
    char start[1024];
    size_t n = r->n_file < sizeof start ? (size_t)r->n_file : sizeof start;
    gguf_code code = read_extent_of(r, start, n, 0);
    return code ? code : gguf_placeholder_check(start, n, GGUF_EXPECTED_BINARY, r->path, r->err);
}

static gguf_code read_header_text(st_reader *r) {
    gguf_code code = measure_file(r);
    if (!code) code = check_placeholder(r);
    if (code) return code;
    if (r->n_file < 8)
        return fail_at(r, GGUF_E_TRUNCATED, (int64_t)r->n_file,
                       "the file ends inside the header length");
    code = read_extent_of(r, &r->n_header, 8, 0);
    if (code) return code;
    if (r->n_header > MAX_HEADER_BYTES)
        return gguf_fail(r->err, GGUF_E_LIMIT, r->path, 0,
                         "the header length is %" PRIu64 ", over the limit of %u", r->n_header,
                         MAX_HEADER_BYTES);
    if (r->n_header > r->n_file - 8)
        return gguf_fail(r->err, GGUF_E_TRUNCATED, r->path, (int64_t)r->n_file,
                         "the file is cut off: %" PRIu64 " bytes are there, and its header alone "
                         "has %" PRIu64,
                         r->n_file, r->n_header);
    r->text = malloc(r->n_header + 1);
    if (!r->text) return fail_at(r, GGUF_E_NOMEM, GGUF_NO_OFFSET, "out of memory");
    r->text[r->n_header] = '\0';
    return read_extent_of(r, r->text, r->n_header, 8);
}

static gguf_code read_shape(st_reader *r, gguf_checkpoint_tensor *t, const json_t *shape,
                            uint64_t *n_bits) {
    if (!json_is_array(shape)) return fail_entry(r, GGUF_E_FORMAT, t->name, "no shape");
    if (json_array_size(shape) > GGUF_CHECKPOINT_MAX_DIMS)
        return fail_entry(r, GGUF_E_LIMIT, t->name, "more than 8 dimensions");
    t->n_dims = (uint32_t)json_array_size(shape);
    *n_bits = t->dtype->n_bits;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || !gguf_json_u64(dim, &t->dims[i]))
            return fail_entry(r, GGUF_E_FORMAT, t->name,
                              "a dimension is not a non-negative integer");
        if (!gguf_mul_u64(*n_bits, t->dims[i], n_bits))
            return fail_entry(r, GGUF_E_SHAPE, t->name, "the shape overflows");
    }
    if (*n_bits % 8)
        return fail_entry(r, GGUF_E_SHAPE, t->name, "its bits do not fill whole bytes");
    return GGUF_OK;
}

static gguf_code read_extent(st_reader *r, gguf_checkpoint_tensor *t, const json_t *offsets,
                             uint64_t n_bits) {
    uint64_t begin, end, n_data = r->n_file - 8 - r->n_header;
    const json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(e) ||
        !gguf_json_u64(b, &begin) || !gguf_json_u64(e, &end) || end < begin)
        return fail_entry(r, GGUF_E_FORMAT, t->name,
                          "data_offsets is not a pair of ascending offsets");
    if (end - begin != n_bits / 8)
        return gguf_fail(
            r->err, GGUF_E_SHAPE, r->path, entry_off(r, t->name),
            "tensor '%.*s': shape and dtype need %" PRIu64 " bytes, data_offsets give %" PRIu64,
            (int)(t->name.len < 200 ? t->name.len : 200), t->name.ptr, n_bits / 8, end - begin);
    if (end > n_data)
        return gguf_fail(r->err, GGUF_E_TRUNCATED, r->path, (int64_t)r->n_file,
                         "the file is cut off: %" PRIu64 " of %" PRIu64
                         " bytes are there (tensor '%.*s' is not whole)",
                         r->n_file, 8 + r->n_header + r->n_wanted,
                         (int)(t->name.len < 200 ? t->name.len : 200), t->name.ptr);
    t->off = 8 + r->n_header + begin;
    t->n_bytes = end - begin;
    return GGUF_OK;
}

static gguf_code read_entry(st_reader *r, gguf_str name, const json_t *entry) {
    gguf_checkpoint_tensor *t = &r->tensors[r->n_tensors];
    *t = (gguf_checkpoint_tensor){.name = name, .file = r->file};
    if (!json_is_object(entry))
        return fail_entry(r, GGUF_E_FORMAT, name, "its entry is not an object");
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    t->dtype = dtype ? gguf_dtype_named(dtype) : NULL;
    if (!t->dtype) return fail_entry(r, GGUF_E_FORMAT, name, "its dtype is missing or not known");
    uint64_t n_bits = 0;
    gguf_code code = read_shape(r, t, json_object_get(entry, "shape"), &n_bits);
    if (!code) code = read_extent(r, t, json_object_get(entry, "data_offsets"), n_bits);
    if (!code) r->n_tensors++;
    return code;
}

static gguf_code check_string_map(st_reader *r, json_t *metadata) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return fail_at(r, GGUF_E_FORMAT, 8, "__metadata__ is not an object");
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value) && !json_is_null(value))
            return fail_at(r, GGUF_E_FORMAT, 8, "__metadata__ holds something other than strings");
    }
    return GGUF_OK;
}

static void measure_data(st_reader *r, const json_t *root) {
    const char *name;
    json_t *entry;
    json_object_foreach((json_t *)(uintptr_t)root, name, entry) {
        uint64_t end;
        const json_t *offsets = json_object_get(entry, "data_offsets");
        if (gguf_json_u64(json_array_get(offsets, 1), &end) && end > r->n_wanted) r->n_wanted = end;
    }
}

static gguf_code read_entries(st_reader *r, json_t *root) {
    measure_data(r, root);
    r->tensors = calloc(json_object_size(root) + 1, sizeof *r->tensors);
    if (!r->tensors) return fail_at(r, GGUF_E_NOMEM, GGUF_NO_OFFSET, "out of memory");
    for (void *it = json_object_iter(root); it; it = json_object_iter_next(root, it)) {
        gguf_str name = {json_object_iter_key(it), json_object_iter_key_len(it)};
        json_t *value = json_object_iter_value(it);
        gguf_code code = gguf_str_eq(name, "__metadata__") ? check_string_map(r, value)
                                                           : read_entry(r, name, value);
        if (code) return code;
    }
    return GGUF_OK;
}

static int compare_extents(const void *a, const void *b) {
    const gguf_checkpoint_tensor *x = a, *y = b;
    if (x->off != y->off) return x->off < y->off ? -1 : 1;
    if (x->n_bytes != y->n_bytes) return x->n_bytes < y->n_bytes ? -1 : 1;
    size_t n = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = memcmp(x->name.ptr, y->name.ptr, n);
    return order ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

/* The tensors must fill the buffer from its first byte to its last without gap or overlap. */
static gguf_code check_extents(st_reader *r) {
    uint64_t expected = 8 + r->n_header;
    qsort(r->tensors, r->n_tensors, sizeof *r->tensors, compare_extents);
    for (size_t i = 0; i < r->n_tensors; i++) {
        const gguf_checkpoint_tensor *t = &r->tensors[i];
        if (t->off != expected)
            return fail_entry(r, GGUF_E_FORMAT, t->name,
                              t->off < expected ? "its data overlaps another tensor's"
                                                : "there is a gap before its data");
        expected = t->off + t->n_bytes;
    }
    if (expected == r->n_file) return GGUF_OK;
    return gguf_fail(r->err, GGUF_E_FORMAT, r->path, (int64_t)expected,
                     "%" PRIu64 " bytes after the last tensor", r->n_file - expected);
}

gguf_code gguf_safetensors_read(gguf_checkpoint *ckpt, uint32_t file, gguf_error *err) {
    st_reader r = {.ckpt = ckpt,
                   .file = file,
                   .path = gguf_checkpoint_file_path(ckpt, file),
                   .fd = gguf_checkpoint_file_fd(ckpt, file),
                   .memory = gguf_checkpoint_file_memory(ckpt, file),
                   .err = err};
    json_t *root = NULL;
    gguf_code code = read_header_text(&r);
    if (!code)
        code = gguf_json_parse(r.text, r.n_header, GGUF_JSON_EXACT_INTS, r.path, 8, &root, err);
    if (!code && !json_is_object(root))
        code = fail_at(&r, GGUF_E_FORMAT, 8, "the header is not an object");
    if (!code) code = read_entries(&r, root);
    if (!code) code = check_extents(&r);
    for (size_t i = 0; i < r.n_tensors && !code; i++)
        code = gguf_checkpoint_add(ckpt, &r.tensors[i], err);
    json_decref(root);
    free(r.tensors);
    free(r.text);
    return code;
}

/* ---- writing ------------------------------------------------------------------------------------
 */

static const char *dtype_name(uint32_t type) {
    switch (type) {
    case GGUF_TYPE_F32:
        return "F32";
    case GGUF_TYPE_F16:
        return "F16";
    case GGUF_TYPE_BF16:
        return "BF16";
    default:
        return NULL;
    }
}

static json_t *header_entry(const gguf_tensor *t, const char *dtype) {
    json_t *shape = json_array();
    for (uint32_t i = t->n_dims; i-- > 0;)
        json_array_append_new(shape, json_integer((json_int_t)t->dims[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", shape, "data_offsets",
                     (json_int_t)t->data_off, (json_int_t)(t->data_off + t->n_bytes));
}

/* Takes the object. The text is padded so that the data is aligned to 8. */
static gguf_code encode_header(json_t *root, uint8_t **out, size_t *n_bytes, gguf_error *err) {
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    size_t n = text ? strlen(text) : 0;
    uint64_t n_header = (n + 7) / 8 * 8;
    *n_bytes = 8 + n_header;
    *out = text ? malloc(*n_bytes) : NULL;
    if (*out) {
        memset(*out, ' ', *n_bytes);
        for (size_t i = 0; i < 8; i++) (*out)[i] = (uint8_t)(n_header >> 8 * i);
        memcpy(*out + 8, text, n);
    }
    free(text);
    return *out ? GGUF_OK : gguf_fail_memory(err);
}

gguf_code gguf_safetensors_header(const gguf_tensor *tensors, size_t n, uint8_t **out,
                                  size_t *n_bytes, gguf_error *err) {
    /* What the original library writes and looks for. */
    json_t *root = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    *out = NULL;
    for (size_t i = 0; i < n; i++) {
        const char *dtype = dtype_name(tensors[i].type);
        if (!dtype) {
            json_decref(root);
            return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                             "tensor '%.*s': safetensors has no %s", (int)tensors[i].name.len,
                             tensors[i].name.ptr, gguf_type_name(tensors[i].type));
        }
        if (json_object_setn_new(root, tensors[i].name.ptr, tensors[i].name.len,
                                 header_entry(&tensors[i], dtype)) != 0) {
            json_decref(root);
            return gguf_fail_memory(err);
        }
    }
    return encode_header(root, out, n_bytes, err);
}

gguf_code gguf_safetensors_save_f32(const char *path, const char *name, const uint64_t *dims,
                                    uint32_t n_dims, const float *data, bool replace,
                                    gguf_error *err) {
    gguf_tensor t = {.n_dims = n_dims, .n_bytes = sizeof *data};
    uint8_t *header = NULL;
    size_t n_header = 0;
    for (uint32_t i = 0; i < n_dims; i++) {
        t.dims[n_dims - 1 - i] = dims[i];
        t.n_bytes *= dims[i];
    }
    json_t *root = json_pack("{s:o}", name, header_entry(&t, dtype_name(GGUF_TYPE_F32)));
    gguf_outfile *out;
    gguf_code code = encode_header(root, &header, &n_header, err);
    if (!code)
        code = gguf_outfile_open(path, n_header + t.n_bytes,
                                 (replace ? GGUF_OUT_REPLACE : 0) | GGUF_OUT_STREAM, &out, err);
    if (!code) {
        code = gguf_outfile_write(out, header, n_header, 0, err);
        if (!code) code = gguf_outfile_write(out, data, t.n_bytes, n_header, err);
        if (!code)
            code = gguf_outfile_commit(out, err);
        else
            gguf_outfile_discard(out);
    }
    free(header);
    return code;
}
