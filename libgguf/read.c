/* Reading GGUF v2 and v3: header, metadata, tensor infos; every extent is checked at open. */
#include "libgguf/checked.h"
#include "libgguf/cursor.h"
#include "libgguf/index.h"
#include "libgguf/map.h"
#include "libgguf/meta_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Limits: docs/limits.md. */
#define MAX_KEY_BYTES    65535u
#define MAX_STRING_BYTES (1u << 30)
#define MAX_ALIGNMENT    (1u << 20)
#define MIN_KV_BYTES     (8 + 1 + 4 + 1)
#define MIN_INFO_BYTES   (8 + 4 + 4 + 8)

struct gguf_file {
    char *path;
    gguf_map map;
    bool borrowed; /* the caller owns the bytes of the map */
    uint32_t version, alignment;
    gguf_meta *meta;
    gguf_tensor *tensors;
    size_t n_tensors;
    gguf_index tensor_index;
    uint64_t data_off;
};

static void read_version(gguf_cursor *c, gguf_file *f) {
    const uint8_t *magic = gguf_cursor_take(c, 4, "the magic");
    if (!magic) return;
    if (memcmp(magic, "GGUF", 4) != 0) {
        gguf_cursor_fail(c, GGUF_E_FORMAT, 0, "not a GGUF file: it starts with %02x %02x %02x %02x",
                         magic[0], magic[1], magic[2], magic[3]);
        return;
    }
    f->version = gguf_cursor_u32(c, "the version");
    if (c->code || f->version == 2 || f->version == 3) return;
    if (f->version == 1)
        gguf_cursor_fail(c, GGUF_E_UNSUPPORTED, 4,
                         "GGUF version 1 is not supported: convert the original model again");
    else if (f->version && (f->version & 0xFFFF) == 0)
        gguf_cursor_fail(c, GGUF_E_UNSUPPORTED, 4, "big-endian GGUF is not supported here");
    else
        gguf_cursor_fail(c, GGUF_E_UNSUPPORTED, 4, "GGUF version %" PRIu32 " is not known",
                         f->version);
}

static uint64_t read_count(gguf_cursor *c, uint64_t min_bytes, const char *what) {
    uint64_t pos = c->pos, n = gguf_cursor_u64(c, what);
    if (n > gguf_cursor_left(c) / min_bytes)
        gguf_cursor_fail(c, GGUF_E_TRUNCATED, pos,
                         "%s of %" PRIu64 " cannot fit into %" PRIu64 " bytes", what, n,
                         gguf_cursor_left(c));
    return c->code ? 0 : n;
}

/* Step over `count` values of an element type; data and n_bytes of kv are set. */
static void read_values(gguf_cursor *c, gguf_kv *kv) {
    uint64_t start = c->pos;
    if (kv->elem_type == GGUF_VALUE_STRING) {
        for (uint64_t i = 0; i < kv->count && !c->code; i++)
            gguf_cursor_str(c, MAX_STRING_BYTES, "a string value");
    } else {
        gguf_cursor_take(c, kv->count * gguf_value_bytes(kv->elem_type), "a value");
    }
    kv->data = c->base + start;
    kv->n_bytes = (size_t)(c->pos - start);
}

static void check_value_type(gguf_cursor *c, uint32_t type, uint64_t pos, gguf_str key) {
    if (!c->code && type > GGUF_VALUE_F64)
        gguf_cursor_fail(c, GGUF_E_FORMAT, pos, "key '%.*s' has the unknown value type %" PRIu32,
                         (int)(key.len < 200 ? key.len : 200), key.ptr, type);
}

static void read_array_head(gguf_cursor *c, gguf_kv *kv) {
    uint64_t pos = c->pos;
    uint32_t type = gguf_cursor_u32(c, "an array's type");
    check_value_type(c, type, pos, kv->key);
    if (c->code) return;
    kv->elem_type = (gguf_value_type)type;
    if (kv->elem_type == GGUF_VALUE_ARRAY) {
        gguf_cursor_fail(c, GGUF_E_UNSUPPORTED, pos, "nested arrays are not supported");
        return;
    }
    size_t min_bytes = kv->elem_type == GGUF_VALUE_STRING ? 8 : gguf_value_bytes(kv->elem_type);
    kv->count = read_count(c, min_bytes, "an array's length");
}

static void read_kv(gguf_cursor *c, gguf_meta *meta) {
    gguf_kv kv = {.off = (int64_t)c->pos, .count = 1};
    kv.key = gguf_cursor_str(c, MAX_KEY_BYTES, "a key");
    if (!c->code && (kv.key.len == 0 || memchr(kv.key.ptr, 0, kv.key.len)))
        gguf_cursor_fail(c, GGUF_E_FORMAT, (uint64_t)kv.off, "%s",
                         kv.key.len ? "a key with a NUL byte" : "empty key");
    uint64_t pos = c->pos;
    uint32_t type = gguf_cursor_u32(c, "a value's type");
    check_value_type(c, type, pos, kv.key);
    kv.type = kv.elem_type = (gguf_value_type)type;
    if (!c->code && kv.type == GGUF_VALUE_ARRAY) read_array_head(c, &kv);
    if (!c->code) read_values(c, &kv);
    if (c->code) return;
    switch (gguf_meta_add_view(meta, &kv)) {
    case GGUF_META_ADDED:
        return;
    case GGUF_META_PRESENT:
        gguf_cursor_fail(c, GGUF_E_DUPLICATE, (uint64_t)kv.off, "key '%.*s' occurs twice",
                         (int)(kv.key.len < 200 ? kv.key.len : 200), kv.key.ptr);
        return;
    case GGUF_META_NOMEM:
        gguf_cursor_fail(c, GGUF_E_NOMEM, (uint64_t)kv.off, "out of memory");
    }
}

static void read_alignment(gguf_cursor *c, gguf_file *f) {
    f->alignment = GGUF_DEFAULT_ALIGNMENT;
    const gguf_kv *kv = c->code ? NULL : gguf_meta_find(f->meta, "general.alignment");
    uint64_t value;
    if (!kv) return;
    if (kv->type != GGUF_VALUE_U32 || !gguf_kv_u64(kv, &value))
        gguf_cursor_fail(c, GGUF_E_TYPE, (uint64_t)kv->off, "general.alignment is not a u32");
    else if (!gguf_is_power_of_two(value) || value > MAX_ALIGNMENT)
        gguf_cursor_fail(c, GGUF_E_FORMAT, (uint64_t)kv->off,
                         "general.alignment is %" PRIu64 ", not a power of two up to %u", value,
                         MAX_ALIGNMENT);
    else
        f->alignment = (uint32_t)value;
}

static void size_tensor(gguf_cursor *c, gguf_tensor *t, uint64_t pos, gguf_open_flags flags) {
    if ((flags & GGUF_OPEN_ANY_TYPE) && !gguf_type_layout_of(t->type)) return;
    gguf_error why = {0};
    gguf_code code = gguf_tensor_bytes(t->type, t->n_dims, t->dims, &t->n_bytes, &why);
    if (code)
        gguf_cursor_fail(c, code, pos, "tensor '%.*s': %s", (int)t->name.len, t->name.ptr,
                         why.message);
}

static void read_tensor_info(gguf_cursor *c, gguf_file *f, gguf_tensor *t, gguf_open_flags flags) {
    uint64_t start = c->pos;
    *t = (gguf_tensor){.dims = {1, 1, 1, 1}};
    t->name = gguf_cursor_str(c, GGUF_MAX_TENSOR_NAME, "a tensor's name");
    if (!c->code && memchr(t->name.ptr, 0, t->name.len))
        gguf_cursor_fail(c, GGUF_E_FORMAT, start, "a tensor's name with a NUL byte");
    uint64_t dims_pos = c->pos;
    t->n_dims = gguf_cursor_u32(c, "a tensor's number of dimensions");
    if (!c->code && t->n_dims > GGUF_MAX_DIMS)
        gguf_cursor_fail(c, GGUF_E_LIMIT, dims_pos,
                         "tensor '%.*s' has %" PRIu32 " dimensions, more than %d", (int)t->name.len,
                         t->name.ptr, t->n_dims, GGUF_MAX_DIMS);
    for (uint32_t i = 0; i < t->n_dims && !c->code; i++)
        t->dims[i] = gguf_cursor_u64(c, "a dimension");
    t->type = gguf_cursor_u32(c, "a tensor's type");
    uint64_t off_pos = c->pos;
    t->data_off = gguf_cursor_u64(c, "a tensor's offset");
    if (c->code) return;
    size_tensor(c, t, start, flags);
    if (t->data_off % f->alignment)
        gguf_cursor_fail(c, GGUF_E_FORMAT, off_pos,
                         "tensor '%.*s' has the offset %" PRIu64
                         ", no multiple of the alignment %" PRIu32,
                         (int)t->name.len, t->name.ptr, t->data_off, f->alignment);
    if (c->code) return;
    gguf_index_put_result put =
        gguf_index_put(&f->tensor_index, t->name, (uint32_t)(t - f->tensors), NULL);
    if (put == GGUF_INDEX_NOMEM) gguf_cursor_fail(c, GGUF_E_NOMEM, start, "out of memory");
    if (put == GGUF_INDEX_PRESENT)
        gguf_cursor_fail(c, GGUF_E_DUPLICATE, start, "tensor '%.*s' occurs twice", (int)t->name.len,
                         t->name.ptr);
}

/* Tensor data must lie inside the file; needs the end of the infos, hence a pass of its own. */
static void place_tensors(gguf_cursor *c, gguf_file *f) {
    if (c->code) return;
    if (!gguf_align_u64(c->pos, f->alignment, &f->data_off)) f->data_off = c->pos;
    for (size_t i = 0; i < f->n_tensors && !c->code; i++) {
        gguf_tensor *t = &f->tensors[i];
        uint64_t end;
        bool fits = gguf_add_u64(f->data_off, t->data_off, &t->file_off) &&
                    gguf_add_u64(t->file_off, t->n_bytes, &end) && end <= f->map.n_bytes;
        if (!fits)
            gguf_cursor_fail(c, GGUF_E_TRUNCATED, f->map.n_bytes,
                             "tensor '%.*s' needs %" PRIu64 " bytes at offset %" PRIu64
                             " of the data section, beyond the end of the file",
                             (int)t->name.len, t->name.ptr, t->n_bytes, t->data_off);
    }
}

static void read_header(gguf_cursor *c, gguf_file *f, gguf_open_flags flags) {
    read_version(c, f);
    uint64_t count_pos = c->pos;
    uint64_t n_tensors = gguf_cursor_u64(c, "the tensor count");
    uint64_t n_kv = read_count(c, MIN_KV_BYTES, "the metadata count");
    for (uint64_t i = 0; i < n_kv && !c->code; i++) read_kv(c, f->meta);
    read_alignment(c, f);
    if (!c->code && n_tensors > gguf_cursor_left(c) / MIN_INFO_BYTES)
        gguf_cursor_fail(c, GGUF_E_TRUNCATED, count_pos,
                         "%" PRIu64 " tensors cannot fit into %" PRIu64 " bytes", n_tensors,
                         gguf_cursor_left(c));
    if (c->code) return;
    f->tensors = calloc(n_tensors ? (size_t)n_tensors : 1, sizeof *f->tensors);
    if (!f->tensors) {
        gguf_cursor_fail(c, GGUF_E_NOMEM, count_pos, "out of memory");
        return;
    }
    f->n_tensors = (size_t)n_tensors;
    for (size_t i = 0; i < f->n_tensors && !c->code; i++)
        read_tensor_info(c, f, &f->tensors[i], flags);
    place_tensors(c, f);
}

static gguf_file *new_file(const char *path, gguf_error *err) {
    gguf_file *f = calloc(1, sizeof *f);
    if (f && (f->path = strdup(path)) && (f->meta = gguf_meta_new())) {
        f->map.fd = -1;
        return f;
    }
    gguf_fail(err, GGUF_E_NOMEM, path, GGUF_NO_OFFSET, "out of memory");
    gguf_file_close(f);
    return NULL;
}

/* Read the header of a file whose map is set; frees it on failure. */
static gguf_code finish_open(gguf_file *f, gguf_open_flags flags, gguf_file **out,
                             gguf_error *err) {
    gguf_cursor c = {.base = f->map.data, .len = f->map.n_bytes, .file = f->path, .err = err};
    read_header(&c, f, flags);
    if (c.code)
        gguf_file_close(f);
    else
        *out = f;
    return c.code;
}

gguf_code gguf_file_open(const char *path, gguf_open_flags flags, gguf_file **out,
                         gguf_error *err) {
    *out = NULL;
    gguf_file *f = new_file(path, err);
    if (!f) return GGUF_E_NOMEM;
    gguf_code code = gguf_map_open(path, &f->map, err);
    if (!code) return finish_open(f, flags, out, err);
    gguf_file_close(f);
    return code;
}

gguf_code gguf_file_from_memory(const void *bytes, uint64_t n_bytes, const char *name,
                                gguf_open_flags flags, gguf_file **out, gguf_error *err) {
    *out = NULL;
    gguf_file *f = new_file(name, err);
    if (!f) return GGUF_E_NOMEM;
    f->map = (gguf_map){.data = bytes, .n_bytes = n_bytes, .fd = -1};
    f->borrowed = true;
    return finish_open(f, flags, out, err);
}

void gguf_file_close(gguf_file *file) {
    if (!file) return;
    if (!file->borrowed) gguf_map_close(&file->map);
    gguf_meta_free(file->meta);
    gguf_index_clear(&file->tensor_index);
    free(file->tensors);
    free(file->path);
    free(file);
}

const char *gguf_file_path(const gguf_file *file) {
    return file->path;
}

uint32_t gguf_file_version(const gguf_file *file) {
    return file->version;
}

uint32_t gguf_file_alignment(const gguf_file *file) {
    return file->alignment;
}

uint64_t gguf_file_bytes(const gguf_file *file) {
    return file->map.n_bytes;
}

uint64_t gguf_file_data_off(const gguf_file *file) {
    return file->data_off;
}

const gguf_meta *gguf_file_meta(const gguf_file *file) {
    return file->meta;
}

size_t gguf_file_n_tensors(const gguf_file *file) {
    return file->n_tensors;
}

const gguf_tensor *gguf_file_tensor(const gguf_file *file, size_t i) {
    return &file->tensors[i];
}

const gguf_tensor *gguf_file_find_tensor(const gguf_file *file, const char *name) {
    uint32_t i;
    return gguf_index_get(&file->tensor_index, gguf_str_of(name), &i) ? &file->tensors[i] : NULL;
}

int gguf_file_fd(const gguf_file *file) {
    return file->map.fd;
}

const void *gguf_file_data(const gguf_file *file, const gguf_tensor *tensor) {
    return file->map.data + tensor->file_off;
}
