/* The tolerant walk over a file. It stops only where the position of what follows is unknown: at
 * lengths that reach beyond the file, and at value types whose size is not known. */
#include "libgguf/verify.h"
#include "libgguf/checked.h"
#include "libgguf/cursor.h"
#include "libgguf/index.h"
#include "libgguf/map.h"
#include "libgguf/meta_internal.h"
#include "libgguf/placeholder.h"
#include "libgguf/swap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY_BYTES  65535u
#define MIN_KV_BYTES   (8 + 4 + 1)
#define MIN_INFO_BYTES (8 + 4 + 4 + 8)
#define MAX_ARRAY_NEST 8

struct gguf_scan {
    gguf_map map;
    uint8_t *swapped; /* the header in native byte order, if the file has the other */
    gguf_meta *meta;
    gguf_tensor *tensors;
    int64_t *info_offs; /* [n_tensors] */
    size_t n_tensors;
    gguf_index names;
    uint32_t alignment;
    bool has_all_keys;
    uint64_t data_off; /* 0 if the infos could not be read to their end */
};

typedef struct walk {
    gguf_cursor c; /* over the file, or over its swapped header */
    gguf_error err;
    gguf_scan *scan;
    gguf_findings *found;
} walk;

#define NAME(s)     (int)((s).len < 100 ? (s).len : 100), (s).ptr
#define ADD(w, ...) gguf_findings_add((w)->found, __VA_ARGS__)
#define OFF(x)      ((int64_t)(x))

/* The cursor's failure becomes a finding, once. */
static bool stopped(walk *w) {
    if (!w->c.code) return false;
    if (w->err.code == GGUF_E_TRUNCATED) /* without an offset it comes first */
        ADD(w, GGUF_NO_OFFSET,
            "the file is broken or cut off inside its header, %" PRIu64 " bytes are there",
            w->scan->map.n_bytes);
    if (w->err.code) ADD(w, w->err.offset, "%s", w->err.message);
    w->err.code = GGUF_OK;
    return true;
}

static void check_utf8(walk *w, gguf_str s, const char *what, gguf_str key) {
    size_t at;
    if (gguf_utf8_valid(s.ptr, s.len, &at)) return;
    const uint8_t *p = (const uint8_t *)s.ptr + at;
    ADD(w, OFF(p - w->c.base), "%s '%.*s' is not UTF-8", what, NAME(key));
}

/* ---- metadata ---------------------------------------------------------------------------- */

/* Step over the values of an entry; strings of token lists may hold any bytes. */
static void walk_values(walk *w, gguf_kv *kv) {
    uint64_t start = w->c.pos;
    bool is_text = kv->type == GGUF_VALUE_STRING;
    for (uint64_t i = 0; kv->elem_type == GGUF_VALUE_STRING && i < kv->count && !w->c.code; i++) {
        gguf_str s = gguf_cursor_str(&w->c, UINT64_MAX, "a string value");
        if (is_text && !w->c.code) check_utf8(w, s, "the value of the key", kv->key);
    }
    if (kv->elem_type != GGUF_VALUE_STRING)
        gguf_cursor_take(&w->c, kv->count * gguf_value_bytes(kv->elem_type), "a value");
    kv->data = w->c.base + start;
    kv->n_bytes = (size_t)(w->c.pos - start);
}

static bool known_value_type(walk *w, uint32_t type, uint64_t pos, gguf_str key) {
    if (w->c.code || type <= GGUF_VALUE_F64) return !w->c.code;
    gguf_cursor_fail(&w->c, GGUF_E_FORMAT, pos,
                     "key '%.*s' has the unknown value type %" PRIu32
                     "; what follows cannot be found",
                     NAME(key), type);
    return false;
}

/* Arrays in arrays are stepped over and reported. False: the entry is not usable. */
static bool walk_array(walk *w, gguf_kv *kv, unsigned nest) {
    uint64_t pos = w->c.pos;
    uint32_t type = gguf_cursor_u32(&w->c, "an array's type");
    uint64_t count_pos = w->c.pos, count = gguf_cursor_u64(&w->c, "an array's length");
    if (!known_value_type(w, type, pos, kv->key)) return false;
    kv->elem_type = (gguf_value_type)type;
    kv->count = count;
    size_t least = type == GGUF_VALUE_STRING  ? 8
                   : type == GGUF_VALUE_ARRAY ? 12
                                              : gguf_value_bytes(kv->elem_type);
    if (count > gguf_cursor_left(&w->c) / least) {
        gguf_cursor_fail(&w->c, GGUF_E_TRUNCATED, count_pos,
                         "the array '%.*s' of %" PRIu64 " elements cannot fit into %" PRIu64
                         " bytes",
                         NAME(kv->key), count, gguf_cursor_left(&w->c));
        return false;
    }
    if (kv->elem_type != GGUF_VALUE_ARRAY) {
        walk_values(w, kv);
        return !w->c.code;
    }
    if (nest == 0) ADD(w, OFF(pos), "key '%.*s' holds arrays in an array", NAME(kv->key));
    if (nest == MAX_ARRAY_NEST)
        gguf_cursor_fail(&w->c, GGUF_E_LIMIT, pos, "arrays are nested deeper than %d levels",
                         MAX_ARRAY_NEST);
    for (uint64_t i = 0; i < count && !w->c.code; i++) {
        gguf_kv inner = {.key = kv->key, .type = GGUF_VALUE_ARRAY};
        walk_array(w, &inner, nest + 1);
    }
    return false;
}

static void add_entry(walk *w, const gguf_kv *kv) {
    if (kv->key.len == 0) {
        ADD(w, kv->off, "an empty key");
        return;
    }
    if (kv->key.len > MAX_KEY_BYTES)
        ADD(w, kv->off, "a key of %zu bytes, more than %u", kv->key.len, MAX_KEY_BYTES);
    if (memchr(kv->key.ptr, 0, kv->key.len)) ADD(w, kv->off, "a key with a NUL byte");
    check_utf8(w, kv->key, "the key", kv->key);
    switch (gguf_meta_add_view(w->scan->meta, kv)) {
    case GGUF_META_ADDED:
        break;
    case GGUF_META_PRESENT:
        ADD(w, kv->off, "key '%.*s' occurs twice", NAME(kv->key));
        break;
    case GGUF_META_NOMEM:
        gguf_cursor_fail(&w->c, GGUF_E_NOMEM, (uint64_t)kv->off, "out of memory");
    }
}

static void check_bools(walk *w, const gguf_kv *kv) {
    for (size_t i = 0; kv->elem_type == GGUF_VALUE_BOOL && i < kv->n_bytes; i++) {
        if (kv->data[i] <= 1) continue;
        ADD(w, OFF(kv->data + i - w->c.base), "key '%.*s' holds the bool %u, neither 0 nor 1",
            NAME(kv->key), kv->data[i]);
        return;
    }
}

static void walk_entry(walk *w) {
    gguf_kv kv = {.off = OFF(w->c.pos), .count = 1};
    kv.key = gguf_cursor_str(&w->c, UINT64_MAX, "a key");
    uint64_t pos = w->c.pos;
    uint32_t type = gguf_cursor_u32(&w->c, "a value's type");
    if (!known_value_type(w, type, pos, kv.key)) return;
    kv.type = kv.elem_type = (gguf_value_type)type;
    bool usable = true;
    if (kv.type == GGUF_VALUE_ARRAY)
        usable = walk_array(w, &kv, 0);
    else
        walk_values(w, &kv);
    if (w->c.code || !usable) return;
    check_bools(w, &kv);
    add_entry(w, &kv);
}

static void find_alignment(walk *w) {
    const gguf_kv *kv = gguf_meta_find(w->scan->meta, "general.alignment");
    uint64_t value = 0;
    w->scan->alignment = GGUF_DEFAULT_ALIGNMENT;
    if (!kv) return;
    if (kv->type != GGUF_VALUE_U32)
        ADD(w, kv->off, "general.alignment is %s, not u32", gguf_value_type_name(kv->type));
    if (!gguf_kv_u64(kv, &value)) return;
    if (gguf_is_power_of_two(value) && value <= GGUF_MAX_ALIGNMENT)
        w->scan->alignment = (uint32_t)value;
    else
        ADD(w, kv->off, "general.alignment is %" PRIu64 ", not a power of two up to %u", value,
            GGUF_MAX_ALIGNMENT);
}

/* ---- tensor infos ------------------------------------------------------------------------ */

static void walk_dims(walk *w, gguf_tensor *t) {
    uint64_t pos = w->c.pos;
    t->n_dims = gguf_cursor_u32(&w->c, "a tensor's number of dimensions");
    if (!w->c.code && t->n_dims > gguf_cursor_left(&w->c) / 8)
        gguf_cursor_fail(&w->c, GGUF_E_TRUNCATED, pos,
                         "tensor '%.*s' has %" PRIu32 " dimensions, more than the file can hold",
                         NAME(t->name), t->n_dims);
    if (!w->c.code && t->n_dims > GGUF_MAX_DIMS)
        ADD(w, OFF(pos), "tensor '%.*s' has %" PRIu32 " dimensions, more than %d", NAME(t->name),
            t->n_dims, GGUF_MAX_DIMS);
    for (uint32_t i = 0; i < t->n_dims && !w->c.code; i++) {
        uint64_t dim = gguf_cursor_u64(&w->c, "a dimension");
        if (i < GGUF_MAX_DIMS) t->dims[i] = dim;
    }
}

static void check_name(walk *w, const gguf_tensor *t, uint64_t start, size_t i) {
    if (t->name.len > GGUF_MAX_TENSOR_NAME)
        ADD(w, OFF(start), "tensor '%.*s...' has a name of %zu bytes, more than %d", NAME(t->name),
            t->name.len, GGUF_MAX_TENSOR_NAME);
    if (t->name.len == 0) ADD(w, OFF(start), "a tensor without a name");
    if (memchr(t->name.ptr, 0, t->name.len)) ADD(w, OFF(start), "a tensor's name with a NUL byte");
    check_utf8(w, t->name, "the tensor name", t->name);
    gguf_index_put_result put = gguf_index_put(&w->scan->names, t->name, (uint32_t)i, NULL);
    if (put == GGUF_INDEX_PRESENT) ADD(w, OFF(start), "tensor '%.*s' occurs twice", NAME(t->name));
    if (put == GGUF_INDEX_NOMEM) gguf_cursor_fail(&w->c, GGUF_E_NOMEM, start, "out of memory");
}

/* n_bytes stays 0 if the size cannot be told. */
static void size_tensor(walk *w, gguf_tensor *t, uint64_t type_pos) {
    gguf_error why = {0};
    if (t->n_dims > GGUF_MAX_DIMS) return;
    if (gguf_tensor_bytes(t->type, t->n_dims, t->dims, &t->n_bytes, &why) == GGUF_OK) return;
    t->n_bytes = 0;
    ADD(w, OFF(type_pos), "tensor '%.*s': %s", NAME(t->name), why.message);
}

static void walk_info(walk *w, gguf_tensor *t, size_t i) {
    uint64_t start = w->c.pos;
    *t = (gguf_tensor){.dims = {1, 1, 1, 1}};
    t->name = gguf_cursor_str(&w->c, UINT64_MAX, "a tensor's name");
    walk_dims(w, t);
    uint64_t type_pos = w->c.pos;
    t->type = gguf_cursor_u32(&w->c, "a tensor's type");
    uint64_t off_pos = w->c.pos;
    t->data_off = gguf_cursor_u64(&w->c, "a tensor's offset");
    if (w->c.code) return;
    w->scan->info_offs[w->scan->n_tensors++] = OFF(start);
    check_name(w, t, start, i);
    size_tensor(w, t, type_pos);
    if (t->data_off % w->scan->alignment)
        ADD(w, OFF(off_pos),
            "tensor '%.*s' has the offset %" PRIu64 ", no multiple of the alignment %" PRIu32,
            NAME(t->name), t->data_off, w->scan->alignment);
}

/* ---- data -------------------------------------------------------------------------------- */

typedef struct extent {
    uint64_t start, end; /* in the file */
    const gguf_tensor *tensor;
} extent;

static int compare_extents(const void *a, const void *b) {
    const extent *x = a, *y = b;
    if (x->start != y->start) return x->start < y->start ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static size_t place(walk *w, extent *extents, bool *is_cut) {
    size_t n = 0, n_cut = 0;
    uint64_t wanted = gguf_wanted_bytes(w->scan->tensors, w->scan->n_tensors, w->scan->data_off,
                                        w->scan->alignment);
    for (size_t i = 0; i < w->scan->n_tensors; i++) {
        gguf_tensor *t = &w->scan->tensors[i];
        uint64_t end = 0;
        bool known = gguf_type_layout_of(t->type) && t->n_dims <= GGUF_MAX_DIMS;
        bool fits = gguf_add_u64(w->scan->data_off, t->data_off, &t->file_off) &&
                    gguf_add_u64(t->file_off, t->n_bytes, &end) && end <= w->scan->map.n_bytes;
        n_cut += !fits;
        if (!fits && !wanted)
            ADD(w, OFF(w->scan->map.n_bytes),
                "tensor '%.*s' needs %" PRIu64 " bytes at offset %" PRIu64
                " of the data section, beyond the end of the file",
                NAME(t->name), t->n_bytes, t->data_off);
        if (fits && known && t->n_bytes) extents[n++] = (extent){t->file_off, end, t};
        if (!fits) t->file_off = UINT64_MAX;
    }
    qsort(extents, n, sizeof *extents, compare_extents);
    *is_cut = wanted && n_cut;
    if (*is_cut) /* without an offset it comes first */
        ADD(w, GGUF_NO_OFFSET,
            "the file is cut off: %" PRIu64 " of %" PRIu64
            " bytes are there, %zu of %zu tensors are not whole",
            w->scan->map.n_bytes, wanted, n_cut, w->scan->n_tensors);
    return n;
}

/* Bytes between tensors: at most padding, and zero. */
static void check_between(walk *w, uint64_t from, uint64_t to, const char *where, gguf_str name) {
    uint64_t padded;
    if (!gguf_align_u64(from, w->scan->alignment, &padded)) padded = to;
    if (to > padded)
        ADD(w, OFF(padded), "a gap of %" PRIu64 " bytes %s '%.*s'", to - padded, where, NAME(name));
    uint64_t end = to < padded ? to : padded;
    for (uint64_t at = from; at < end; at++) {
        if (w->scan->map.data[at] == 0) continue;
        ADD(w, OFF(at), "the padding %s '%.*s' is not zero", where, NAME(name));
        return;
    }
}

static void check_end(walk *w, uint64_t end, bool has_unknown) {
    uint64_t padded, size = w->scan->map.n_bytes;
    if (has_unknown || !gguf_align_u64(end, w->scan->alignment, &padded)) return;
    if (size < padded && w->scan->n_tensors)
        ADD(w, OFF(size), "%" PRIu64 " bytes of padding are missing behind the last tensor",
            padded - size);
    if (size > padded)
        ADD(w, OFF(padded), "%" PRIu64 " bytes behind the last tensor", size - padded);
    for (uint64_t at = end; at < size && at < padded; at++) {
        if (w->scan->map.data[at] == 0) continue;
        ADD(w, OFF(at), "the padding behind the last tensor is not zero");
        return;
    }
}

static void check_extents(walk *w, const extent *e, size_t n, bool has_unknown) {
    uint64_t end = w->scan->data_off;
    for (size_t i = 0; i < n; i++) {
        if (e[i].start < end && i > 0)
            ADD(w, OFF(e[i].start), "tensors '%.*s' and '%.*s' overlap by %" PRIu64 " bytes",
                NAME(e[i - 1].tensor->name), NAME(e[i].tensor->name), end - e[i].start);
        else if (!has_unknown)
            check_between(w, end, e[i].start, "before tensor", e[i].tensor->name);
        if (e[i].end > end) end = e[i].end;
    }
    check_end(w, end, has_unknown);
}

static gguf_code walk_data(walk *w, gguf_error *err) {
    gguf_scan *s = w->scan;
    bool has_unknown = false, is_cut = false;
    if (!gguf_align_u64(w->c.pos, s->alignment, &s->data_off)) s->data_off = w->c.pos;
    if (s->n_tensors && s->data_off > s->map.n_bytes) s->data_off = s->map.n_bytes;
    for (uint64_t at = w->c.pos; at < s->data_off && at < s->map.n_bytes; at++)
        if (s->map.data[at]) {
            ADD(w, OFF(at), "the padding before the data section is not zero");
            break;
        }
    extent *extents = calloc(s->n_tensors + 1, sizeof *extents);
    if (!extents) return gguf_fail_memory(err);
    for (size_t i = 0; i < s->n_tensors; i++)
        has_unknown |= !gguf_type_layout_of(s->tensors[i].type);
    size_t n = place(w, extents, &is_cut);
    if (s->n_tensors || s->map.n_bytes > s->data_off)
        check_extents(w, extents, n, has_unknown || is_cut);
    free(extents);
    return GGUF_OK;
}

/* ---- the whole --------------------------------------------------------------------------- */

static bool check_version(walk *w) {
    gguf_error why = {0};
    bool is_gguf = w->c.len >= 4 && memcmp(w->c.base, "GGUF", 4) == 0;
    if (!is_gguf && gguf_placeholder_check(w->c.base, w->c.len, GGUF_EXPECTED_BINARY, NULL, &why)) {
        ADD(w, GGUF_NO_OFFSET, "%s", why.message);
        return false;
    }
    const uint8_t *magic = gguf_cursor_take(&w->c, 4, "the magic");
    if (magic && memcmp(magic, "GGUF", 4) != 0) {
        ADD(w, 0, "not a GGUF file: it starts with %02x %02x %02x %02x", magic[0], magic[1],
            magic[2], magic[3]);
        return false;
    }
    uint32_t version = gguf_cursor_u32(&w->c, "the version");
    if (w->c.code) return false;
    if (version == 2 || version == 3) return true;
    ADD(w, 4, "GGUF version %" PRIu32 " is not known", version);
    return false;
}

/* A count that is too large is cut to what could fit, so that the walk can go on. */
static uint64_t walk_count(walk *w, uint64_t least, const char *what) {
    uint64_t pos = w->c.pos, n = gguf_cursor_u64(&w->c, what);
    uint64_t most = gguf_cursor_left(&w->c) / least;
    if (n <= most || w->c.code) return n;
    ADD(w, OFF(pos), "%s of %" PRIu64 " cannot fit into %" PRIu64 " bytes", what, n,
        gguf_cursor_left(&w->c));
    return most;
}

static gguf_code walk_file(walk *w, gguf_error *err) {
    if (!check_version(w)) return GGUF_OK;
    uint64_t n_tensors = walk_count(w, MIN_INFO_BYTES, "the tensor count");
    uint64_t n_kv = walk_count(w, MIN_KV_BYTES, "the metadata count");
    for (uint64_t i = 0; i < n_kv && !w->c.code; i++) walk_entry(w);
    find_alignment(w);
    if (w->c.code) return GGUF_OK;
    w->scan->has_all_keys = true;
    uint64_t most = gguf_cursor_left(&w->c) / MIN_INFO_BYTES;
    if (n_tensors > most)
        ADD(w, 8, "%" PRIu64 " tensors cannot fit into %" PRIu64 " bytes", n_tensors,
            gguf_cursor_left(&w->c));
    if (n_tensors > most) n_tensors = most;
    w->scan->tensors = calloc((size_t)n_tensors + 1, sizeof *w->scan->tensors);
    w->scan->info_offs = calloc((size_t)n_tensors + 1, sizeof *w->scan->info_offs);
    if (!w->scan->tensors || !w->scan->info_offs ||
        !gguf_index_reserve(&w->scan->names, (size_t)n_tensors))
        return gguf_fail_memory(err);
    for (size_t i = 0; i < n_tensors && !w->c.code; i++) walk_info(w, &w->scan->tensors[i], i);
    return w->c.code ? GGUF_OK : walk_data(w, err);
}

/* A file of the other byte order is walked over with its header swapped. One that cannot be swapped
 * has the reason as its only further finding. False: there is nothing to walk over. */
static bool swap_order(walk *w, gguf_error *err) {
    gguf_scan *s = w->scan;
    size_t n = 0;
    if (s->map.n_bytes < 8 || !gguf_is_big_endian(s->map.data)) return true;
    ADD(w, 4, "the file is big-endian: programs on this machine cannot use it");
    gguf_error why = {0};
    gguf_code code =
        gguf_header_swap(s->map.data, s->map.n_bytes, w->c.file, &s->swapped, &n, &why);
    if (code == GGUF_E_NOMEM) gguf_fail(err, code, w->c.file, GGUF_NO_OFFSET, "out of memory");
    if (code) ADD(w, why.offset, "%s", why.message);
    w->c.base = s->swapped;
    w->c.len = n;
    return !code;
}

/* Takes the map. */
static gguf_code scan_map(gguf_map map, const char *name, gguf_findings *findings, gguf_scan **out,
                          gguf_error *err) {
    gguf_scan *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s || !(s->meta = gguf_meta_new())) {
        free(s);
        gguf_map_close(&map);
        return gguf_fail_memory_of(err, name);
    }
    s->map = map;
    walk w = {.scan = s, .found = findings};
    w.c = (gguf_cursor){.base = map.data, .len = map.n_bytes, .file = name, .err = &w.err};
    gguf_error no_swap = {0};
    gguf_code code = swap_order(&w, &no_swap) ? walk_file(&w, err) : GGUF_OK;
    if ((w.c.code == GGUF_E_NOMEM || no_swap.code) && !code) code = gguf_fail_memory_of(err, name);
    stopped(&w);
    if (code)
        gguf_scan_close(s);
    else
        *out = s;
    return code;
}

gguf_code gguf_scan_open(const char *path, gguf_findings *findings, gguf_scan **out,
                         gguf_error *err) {
    gguf_map map;
    *out = NULL;
    gguf_code code = gguf_map_open(path, &map, err);
    if (!code) gguf_map_close_fd(&map);
    return code ? code : scan_map(map, path, findings, out, err);
}

gguf_code gguf_scan_from_memory(const void *bytes, uint64_t n_bytes, const char *name,
                                gguf_findings *findings, gguf_scan **out, gguf_error *err) {
    gguf_map map = {.data = bytes, .n_bytes = n_bytes, .fd = -1, .borrowed = true};
    return scan_map(map, name, findings, out, err);
}

void gguf_scan_close(gguf_scan *scan) {
    if (!scan) return;
    gguf_map_close(&scan->map);
    gguf_meta_free(scan->meta);
    gguf_index_clear(&scan->names);
    free(scan->tensors);
    free(scan->info_offs);
    free(scan->swapped);
    free(scan);
}

const gguf_meta *gguf_scan_meta(const gguf_scan *scan) {
    return scan->meta;
}

bool gguf_scan_has_all_keys(const gguf_scan *scan) {
    return scan->has_all_keys;
}

size_t gguf_scan_n_tensors(const gguf_scan *scan) {
    return scan->n_tensors;
}

const gguf_tensor *gguf_scan_tensor(const gguf_scan *scan, size_t i) {
    return &scan->tensors[i];
}

const gguf_tensor *gguf_scan_find_tensor(const gguf_scan *scan, gguf_str name) {
    uint32_t i;
    return gguf_index_get(&scan->names, name, &i) ? &scan->tensors[i] : NULL;
}

bool gguf_scan_has_all_tensors(const gguf_scan *scan) {
    return scan->data_off > 0;
}

int64_t gguf_scan_info_off(const gguf_scan *scan, size_t i) {
    return scan->info_offs[i];
}

bool gguf_scan_big_endian(const gguf_scan *scan) {
    return scan->swapped != NULL;
}

void gguf_scan_release(const gguf_scan *scan, size_t i, uint64_t off, uint64_t n_bytes) {
    gguf_map_release(&scan->map, scan->tensors[i].file_off + off, n_bytes);
}

const void *gguf_scan_data(const gguf_scan *scan, size_t i) {
    const gguf_tensor *t = &scan->tensors[i];
    bool placed = scan->data_off && t->n_bytes && t->file_off != UINT64_MAX;
    return placed ? scan->map.data + t->file_off : NULL;
}
