/* Reading GGUF v2 and v3: header, metadata, tensor infos; every extent is checked at open. */
#include "libgguf/checked.h"
#include "libgguf/cursor.h"
#include "libgguf/index.h"
#include "libgguf/map.h"
#include "libgguf/meta_internal.h"
#include "libgguf/placeholder.h"
#include "libgguf/split.h"
#include "libgguf/swap.h"
#include "libgguf/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Limits: docs/limits.md. */
#define MAX_KEY_BYTES    65535u
#define MAX_STRING_BYTES (1u << 30)
#define MIN_KV_BYTES     (8 + 1 + 4 + 1)
#define MIN_INFO_BYTES   (8 + 4 + 4 + 8)

/* One file on disk. */
typedef struct shard {
    char *path;
    gguf_map map;
    uint8_t *swapped; /* the header in native byte order, if the file has the other */
    gguf_meta *meta;
    uint32_t version, alignment;
    uint64_t data_off;
} shard;

struct gguf_file {
    shard *shards;
    size_t n_shards;
    bool big_endian;
    gguf_tensor *tensors; /* of all shards */
    size_t n_tensors;
    gguf_index tensor_index;
};

static void read_version(gguf_cursor *c, shard *f) {
    bool is_gguf = c->len >= 4 && memcmp(c->base, "GGUF", 4) == 0;
    if (!is_gguf)
        c->code = gguf_placeholder_check(c->base, c->len, GGUF_EXPECTED_BINARY, c->file, c->err);
    const uint8_t *magic = gguf_cursor_take(c, 4, "the magic");
    if (!magic) return;
    if (!is_gguf) {
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
        gguf_cursor_fail(
            c, GGUF_E_UNSUPPORTED, 4,
            "the file is big-endian; gguf-edit swap-endian makes a little-endian copy");
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

static void read_alignment(gguf_cursor *c, shard *f) {
    f->alignment = GGUF_DEFAULT_ALIGNMENT;
    const gguf_kv *kv = c->code ? NULL : gguf_meta_find(f->meta, "general.alignment");
    uint64_t value;
    if (!kv) return;
    if (kv->type != GGUF_VALUE_U32 || !gguf_kv_u64(kv, &value))
        gguf_cursor_fail(c, GGUF_E_TYPE, (uint64_t)kv->off, "general.alignment is %s, not u32",
                         gguf_value_type_name(kv->type));
    else if (!gguf_is_power_of_two(value) || value > GGUF_MAX_ALIGNMENT)
        gguf_cursor_fail(c, GGUF_E_FORMAT, (uint64_t)kv->off,
                         "general.alignment is %" PRIu64 ", not a power of two up to %u", value,
                         GGUF_MAX_ALIGNMENT);
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

static void index_tensor(gguf_cursor *c, gguf_file *f, const gguf_tensor *t, uint64_t start) {
    uint32_t number = (uint32_t)(t - f->tensors);
    gguf_index_put_result put = gguf_index_put(&f->tensor_index, t->name, number, NULL);
    if (put == GGUF_INDEX_NOMEM) gguf_cursor_fail(c, GGUF_E_NOMEM, start, "out of memory");
    if (put == GGUF_INDEX_PRESENT)
        gguf_cursor_fail(c, GGUF_E_DUPLICATE, start, "tensor '%.*s' occurs twice", (int)t->name.len,
                         t->name.ptr);
}

static void read_tensor_info(gguf_cursor *c, gguf_file *f, const shard *s, gguf_tensor *t,
                             gguf_open_flags flags) {
    uint64_t start = c->pos;
    *t = (gguf_tensor){.dims = {1, 1, 1, 1}, .shard = (uint32_t)(s - f->shards)};
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
    if (t->data_off % s->alignment)
        gguf_cursor_fail(c, GGUF_E_FORMAT, off_pos,
                         "tensor '%.*s' has the offset %" PRIu64
                         ", no multiple of the alignment %" PRIu32,
                         (int)t->name.len, t->name.ptr, t->data_off, s->alignment);
    if (!c->code) index_tensor(c, f, t, start);
}

/* How long the file has to be; 0 if its tensors do not follow each other, so that an end beyond the
 * file is an error of an offset. */
uint64_t gguf_wanted_bytes(const gguf_tensor *tensors, size_t n, uint64_t data_off,
                           uint32_t alignment) {
    uint64_t packed = data_off, last = data_off, end, size;
    for (size_t i = 0; i < n; i++) {
        if (!gguf_add_u64(data_off, tensors[i].data_off, &end) ||
            !gguf_add_u64(end, tensors[i].n_bytes, &end) ||
            !gguf_align_u64(tensors[i].n_bytes, alignment, &size) ||
            !gguf_add_u64(packed, size, &packed))
            return 0;
        if (end > last) last = end;
    }
    return last <= packed ? last : 0;
}

static void check_whole(gguf_cursor *c, const shard *s, const gguf_tensor *tensors, size_t n) {
    uint64_t wanted = gguf_wanted_bytes(tensors, n, s->data_off, s->alignment);
    size_t n_cut = 0;
    for (size_t i = 0; i < n && wanted; i++)
        n_cut += s->data_off + tensors[i].data_off + tensors[i].n_bytes > s->map.n_bytes;
    if (n_cut)
        gguf_cursor_fail(c, GGUF_E_TRUNCATED, s->map.n_bytes,
                         "the file is cut off: %" PRIu64 " of %" PRIu64
                         " bytes are there, %zu of %zu tensors are not whole",
                         s->map.n_bytes, wanted, n_cut, n);
}

/* Tensor data must lie inside the file; needs the end of the infos, hence a pass of its own. */
static void place_tensors(gguf_cursor *c, shard *s, gguf_tensor *tensors, size_t n) {
    if (c->code) return;
    if (!gguf_align_u64(c->pos, s->alignment, &s->data_off)) s->data_off = c->pos;
    check_whole(c, s, tensors, n);
    for (size_t i = 0; i < n && !c->code; i++) {
        gguf_tensor *t = &tensors[i];
        uint64_t end;
        bool fits = gguf_add_u64(s->data_off, t->data_off, &t->file_off) &&
                    gguf_add_u64(t->file_off, t->n_bytes, &end) && end <= s->map.n_bytes;
        if (!fits)
            gguf_cursor_fail(c, GGUF_E_TRUNCATED, s->map.n_bytes,
                             "tensor '%.*s' needs %" PRIu64 " bytes at offset %" PRIu64
                             " of the data section, beyond the end of the file",
                             (int)t->name.len, t->name.ptr, t->n_bytes, t->data_off);
    }
}

/* Make room for n more tensors; NULL when out of memory. */
static gguf_tensor *grow_tensors(gguf_file *f, uint64_t n) {
    gguf_tensor *grown = realloc(f->tensors, (f->n_tensors + (size_t)n + 1) * sizeof *grown);
    if (!grown) return NULL;
    f->tensors = grown;
    bool named = gguf_index_reserve(&f->tensor_index, f->n_tensors + (size_t)n);
    return named ? grown + f->n_tensors : NULL;
}

static void read_header(gguf_cursor *c, gguf_file *f, shard *s, gguf_open_flags flags) {
    read_version(c, s);
    uint64_t count_pos = c->pos;
    uint64_t n_tensors = gguf_cursor_u64(c, "the tensor count");
    uint64_t n_kv = read_count(c, MIN_KV_BYTES, "the metadata count");
    for (uint64_t i = 0; i < n_kv && !c->code; i++) read_kv(c, s->meta);
    read_alignment(c, s);
    if (!c->code && n_tensors > gguf_cursor_left(c) / MIN_INFO_BYTES)
        gguf_cursor_fail(c, GGUF_E_TRUNCATED, count_pos,
                         "%" PRIu64 " tensors cannot fit into %" PRIu64 " bytes", n_tensors,
                         gguf_cursor_left(c));
    gguf_tensor *tensors = c->code ? NULL : grow_tensors(f, n_tensors);
    if (c->code) return;
    if (!tensors) {
        gguf_cursor_fail(c, GGUF_E_NOMEM, count_pos, "out of memory");
        return;
    }
    for (uint64_t i = 0; i < n_tensors && !c->code; i++)
        read_tensor_info(c, f, s, &tensors[i], flags);
    place_tensors(c, s, tensors, (size_t)n_tensors);
    if (!c->code) f->n_tensors += (size_t)n_tensors;
}

/* ---- shards -----------------------------------------------------------------------------------
 */

/* Parse the mapped file as the next shard; takes `path` (malloc'ed) and the map. */
static gguf_code add_shard(gguf_file *f, char *path, gguf_map map, gguf_open_flags flags,
                           gguf_error *err) {
    shard *grown = realloc(f->shards, (f->n_shards + 1) * sizeof *grown);
    gguf_meta *meta = gguf_meta_new();
    if (grown) f->shards = grown;
    if (!grown || !meta) {
        gguf_fail_memory_of(err, path);
        gguf_meta_free(meta);
        gguf_map_close(&map);
        free(path);
        return GGUF_E_NOMEM;
    }
    shard *s = &f->shards[f->n_shards++];
    *s = (shard){.path = path, .map = map, .meta = meta};
    gguf_error why = {0};
    gguf_cursor c = {.base = map.data, .len = map.n_bytes, .file = path, .err = &why};
    if ((flags & GGUF_OPEN_BIG_ENDIAN) && map.n_bytes >= 8 && gguf_is_big_endian(map.data)) {
        size_t n = 0;
        gguf_code code = gguf_header_swap(map.data, map.n_bytes, path, &s->swapped, &n, err);
        if (code) return code;
        f->big_endian = true;
        c.base = s->swapped;
        c.len = n;
    }
    read_header(&c, f, s, flags);
    if (!c.code || s->data_off || why.code != GGUF_E_TRUNCATED || map.n_bytes == 0)
        return why.code ? gguf_fail(err, c.code, path, why.offset, "%s", why.message) : c.code;
    return gguf_fail(err, c.code, path, why.offset,
                     "the file is broken or cut off inside its header, %" PRIu64
                     " bytes are there: %s",
                     map.n_bytes, why.message);
}

static gguf_code open_shard(gguf_file *f, const char *path, gguf_open_flags flags,
                            gguf_error *err) {
    gguf_map map;
    gguf_code code = gguf_map_open(path, &map, err);
    if (code) return code;
    if (f->n_shards >= GGUF_KEEP_OPEN) gguf_map_close_fd(&map);
    char *copy = strdup(path);
    if (copy) return add_shard(f, copy, map, flags, err);
    gguf_map_close(&map);
    return gguf_fail_memory_of(err, path);
}

static gguf_code fail_split(const gguf_file *f, gguf_code code, gguf_error *err, const char *format,
                            uint64_t a, uint64_t b) {
    char text[200];
    snprintf(text, sizeof text, format, a, b);
    return gguf_fail(err, code, f->shards[f->n_shards - 1].path, GGUF_NO_OFFSET, "%s", text);
}

static uint64_t split_number(const gguf_file *f, const char *key, uint64_t absent) {
    uint64_t value;
    return gguf_kv_u64(gguf_meta_find(f->shards[f->n_shards - 1].meta, key), &value) ? value
                                                                                     : absent;
}

/* Open the shards behind the first one of a split model. */
static gguf_code open_other_shards(gguf_file *f, gguf_open_flags flags, gguf_error *err) {
    uint64_t count = split_number(f, "split.count", 1), no = split_number(f, "split.no", 0);
    uint64_t total = split_number(f, "split.tensors.count", f->n_tensors);
    char path[4096];
    if (count <= 1) return GGUF_OK;
    if (no != 0)
        return fail_split(f, GGUF_E_USAGE, err,
                          "this is shard %" PRIu64 " of %" PRIu64 ": name the first one", no + 1,
                          count);
    if (count > GGUF_MAX_SHARDS)
        return fail_split(f, GGUF_E_LIMIT, err, "%" PRIu64 " shards are over the limit of %" PRIu64,
                          count, GGUF_MAX_SHARDS);
    for (uint64_t i = 1; i < count; i++) {
        if (!gguf_shard_sibling(f->shards[0].path, (uint32_t)count, (uint32_t)i, path, sizeof path))
            return fail_split(f, GGUF_E_FORMAT, err,
                              "the name does not end with -%05" PRIu64 "-of-%05" PRIu64
                              ".gguf, so the other shards cannot be found",
                              1, count);
        gguf_code code = open_shard(f, path, flags, err);
        if (code) return code;
        if (split_number(f, "split.no", 0) != i || split_number(f, "split.count", 0) != count)
            return fail_split(f, GGUF_E_FORMAT, err,
                              "split.no and split.count are not %" PRIu64 " and %" PRIu64, i,
                              count);
    }
    if (f->n_tensors == total) return GGUF_OK;
    return fail_split(f, GGUF_E_FORMAT, err,
                      "the shards hold %" PRIu64 " tensors, split.tensors.count says %" PRIu64,
                      f->n_tensors, total);
}

/* ---- opening and closing ----------------------------------------------------------------------
 */

gguf_code gguf_file_open(const char *path, gguf_open_flags flags, gguf_file **out,
                         gguf_error *err) {
    *out = NULL;
    gguf_file *f = calloc(1, sizeof *f);
    if (!f) return gguf_fail_memory_of(err, path);
    gguf_code code = open_shard(f, path, flags, err);
    if (!code && !(flags & GGUF_OPEN_SINGLE)) code = open_other_shards(f, flags, err);
    if (code)
        gguf_file_close(f);
    else
        *out = f;
    return code;
}

gguf_code gguf_file_from_memory(const void *bytes, uint64_t n_bytes, const char *name,
                                gguf_open_flags flags, gguf_file **out, gguf_error *err) {
    *out = NULL;
    gguf_file *f = calloc(1, sizeof *f);
    char *copy = strdup(name);
    if (!f || !copy) {
        free(f);
        free(copy);
        return gguf_fail_memory_of(err, name);
    }
    gguf_map map = {.data = bytes, .n_bytes = n_bytes, .fd = -1, .borrowed = true};
    gguf_code code = add_shard(f, copy, map, flags, err);
    if (code)
        gguf_file_close(f);
    else
        *out = f;
    return code;
}

void gguf_file_close(gguf_file *file) {
    if (!file) return;
    for (size_t i = 0; i < file->n_shards; i++) {
        shard *s = &file->shards[i];
        gguf_map_close(&s->map);
        gguf_meta_free(s->meta);
        free(s->swapped);
        free(s->path);
    }
    gguf_index_clear(&file->tensor_index);
    free(file->shards);
    free(file->tensors);
    free(file);
}

const char *gguf_file_path(const gguf_file *file) {
    return file->shards[0].path;
}

uint32_t gguf_file_version(const gguf_file *file) {
    return file->shards[0].version;
}

uint32_t gguf_file_alignment(const gguf_file *file) {
    return file->shards[0].alignment;
}

bool gguf_file_big_endian(const gguf_file *file) {
    return file->big_endian;
}

uint64_t gguf_file_bytes(const gguf_file *file) {
    uint64_t n = 0;
    for (size_t i = 0; i < file->n_shards; i++) n += file->shards[i].map.n_bytes;
    return n;
}

const uint8_t *gguf_file_header(const gguf_file *file) {
    return file->shards[0].map.data;
}

size_t gguf_file_n_shards(const gguf_file *file) {
    return file->n_shards;
}

const char *gguf_file_shard_path(const gguf_file *file, size_t shard_no) {
    return file->shards[shard_no].path;
}

uint64_t gguf_file_shard_bytes(const gguf_file *file, size_t shard_no) {
    return file->shards[shard_no].map.n_bytes;
}

uint64_t gguf_file_data_off(const gguf_file *file, size_t shard_no) {
    return file->shards[shard_no].data_off;
}

int gguf_file_fd(const gguf_file *file, size_t shard_no) {
    return file->shards[shard_no].map.fd;
}

const gguf_meta *gguf_file_meta(const gguf_file *file) {
    return file->shards[0].meta;
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

const void *gguf_file_data(const gguf_file *file, const gguf_tensor *tensor) {
    return file->shards[tensor->shard].map.data + tensor->file_off;
}

void gguf_file_release(const gguf_file *file, const gguf_tensor *tensor, uint64_t off,
                       uint64_t n_bytes) {
    gguf_map_release(&file->shards[tensor->shard].map, tensor->file_off + off, n_bytes);
}
