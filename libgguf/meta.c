/* The metadata set: an ordered list of encoded entries with an index over their keys. */
#include "libgguf/index.h"
#include "libgguf/meta_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_KEY_BYTES 65535

typedef struct meta_entry {
    gguf_kv kv;
    uint8_t *owned; /* key and data of a copied entry; NULL for a view */
} meta_entry;

struct gguf_meta {
    meta_entry *entries;
    size_t n_entries, room;
    gguf_index index;
    gguf_code failure;
    char failed_key[64];
};

gguf_str gguf_str_of(const char *text) {
    return (gguf_str){text, strlen(text)};
}

bool gguf_str_eq(gguf_str a, const char *b) {
    return strlen(b) == a.len && memcmp(a.ptr, b, a.len) == 0;
}

gguf_meta *gguf_meta_new(void) {
    return calloc(1, sizeof(gguf_meta));
}

void gguf_meta_free(gguf_meta *meta) {
    if (!meta) return;
    for (size_t i = 0; i < meta->n_entries; i++) free(meta->entries[i].owned);
    free(meta->entries);
    gguf_index_clear(&meta->index);
    free(meta);
}

size_t gguf_meta_count(const gguf_meta *meta) {
    return meta->n_entries;
}

const gguf_kv *gguf_meta_at(const gguf_meta *meta, size_t i) {
    return &meta->entries[i].kv;
}

static meta_entry *find_entry(const gguf_meta *meta, gguf_str key) {
    uint32_t i;
    return gguf_index_get(&meta->index, key, &i) ? &meta->entries[i] : NULL;
}

const gguf_kv *gguf_meta_find(const gguf_meta *meta, const char *key) {
    meta_entry *entry = find_entry(meta, gguf_str_of(key));
    return entry ? &entry->kv : NULL;
}

static void record_failure(gguf_meta *meta, gguf_code code, gguf_str key) {
    if (meta->failure) return;
    meta->failure = code;
    size_t n = key.len < sizeof meta->failed_key ? key.len : sizeof meta->failed_key - 1;
    memcpy(meta->failed_key, key.ptr, n);
}

gguf_code gguf_meta_status(const gguf_meta *meta, gguf_error *err) {
    if (!meta->failure) return GGUF_OK;
    return gguf_fail(err, meta->failure, NULL, GGUF_NO_OFFSET, "metadata key '%s' cannot be set%s",
                     meta->failed_key, meta->failure == GGUF_E_NOMEM ? ": out of memory" : "");
}

static gguf_meta_added append(gguf_meta *meta, const meta_entry *entry) {
    if (meta->n_entries == meta->room) {
        size_t room = meta->room ? meta->room * 2 : 32;
        meta_entry *entries = realloc(meta->entries, room * sizeof *entries);
        if (!entries) return GGUF_META_NOMEM;
        meta->entries = entries;
        meta->room = room;
    }
    switch (gguf_index_put(&meta->index, entry->kv.key, (uint32_t)meta->n_entries, NULL)) {
    case GGUF_INDEX_PRESENT:
        return GGUF_META_PRESENT;
    case GGUF_INDEX_NOMEM:
        return GGUF_META_NOMEM;
    case GGUF_INDEX_ADDED:
        break;
    }
    meta->entries[meta->n_entries++] = *entry;
    return GGUF_META_ADDED;
}

gguf_meta_added gguf_meta_add_view(gguf_meta *meta, const gguf_kv *kv) {
    return append(meta, &(meta_entry){.kv = *kv});
}

static void rebuild_index(gguf_meta *meta) {
    gguf_index_clear(&meta->index);
    for (size_t i = 0; i < meta->n_entries; i++)
        if (gguf_index_put(&meta->index, meta->entries[i].kv.key, (uint32_t)i, NULL) ==
            GGUF_INDEX_NOMEM)
            record_failure(meta, GGUF_E_NOMEM, meta->entries[i].kv.key);
}

/* Take `data` (malloc'ed: the value bytes, then room for the key) as the value of a key. */
static void put(gguf_meta *meta, gguf_kv kv, uint8_t *data) {
    memcpy(data + kv.n_bytes, kv.key.ptr, kv.key.len);
    kv.data = data;
    kv.key.ptr = (const char *)data + kv.n_bytes;
    kv.off = GGUF_NO_OFFSET;
    meta_entry *old = find_entry(meta, kv.key);
    if (!old) {
        if (append(meta, &(meta_entry){kv, data}) == GGUF_META_ADDED) return;
        record_failure(meta, GGUF_E_NOMEM, kv.key);
        free(data);
        return;
    }
    uint8_t *replaced = old->owned;
    *old = (meta_entry){kv, data};
    rebuild_index(meta);
    free(replaced);
}

static uint8_t *new_value(gguf_meta *meta, gguf_str key, size_t n_bytes) {
    uint8_t *data = NULL;
    if (key.len == 0 || key.len > MAX_KEY_BYTES)
        record_failure(meta, GGUF_E_LIMIT, key);
    else if (!(data = malloc(n_bytes + key.len)))
        record_failure(meta, GGUF_E_NOMEM, key);
    return data;
}

static void set_packed(gguf_meta *meta, gguf_kv kv, const void *bytes) {
    uint8_t *data = new_value(meta, kv.key, kv.n_bytes);
    if (!data) return;
    if (kv.n_bytes) memcpy(data, bytes, kv.n_bytes);
    put(meta, kv, data);
}

static void set_scalar(gguf_meta *meta, const char *key, gguf_value_type type, const void *value) {
    set_packed(meta,
               (gguf_kv){.key = gguf_str_of(key),
                         .type = type,
                         .elem_type = type,
                         .count = 1,
                         .n_bytes = gguf_value_bytes(type)},
               value);
}

void gguf_meta_set_u16(gguf_meta *meta, const char *key, uint16_t value) {
    set_scalar(meta, key, GGUF_VALUE_U16, &value);
}

void gguf_meta_set_u32(gguf_meta *meta, const char *key, uint32_t value) {
    set_scalar(meta, key, GGUF_VALUE_U32, &value);
}

void gguf_meta_set_i32(gguf_meta *meta, const char *key, int32_t value) {
    set_scalar(meta, key, GGUF_VALUE_I32, &value);
}

void gguf_meta_set_u64(gguf_meta *meta, const char *key, uint64_t value) {
    set_scalar(meta, key, GGUF_VALUE_U64, &value);
}

void gguf_meta_set_f32(gguf_meta *meta, const char *key, float value) {
    set_scalar(meta, key, GGUF_VALUE_F32, &value);
}

void gguf_meta_set_bool(gguf_meta *meta, const char *key, bool value) {
    uint8_t byte = value;
    set_scalar(meta, key, GGUF_VALUE_BOOL, &byte);
}

static uint8_t *encode_str(uint8_t *dst, gguf_str value) {
    uint64_t len = value.len;
    memcpy(dst, &len, sizeof len);
    if (value.len) memcpy(dst + sizeof len, value.ptr, value.len);
    return dst + sizeof len + value.len;
}

static void set_strings(gguf_meta *meta, const char *key, gguf_value_type type, uint64_t count,
                        const gguf_str *values) {
    gguf_kv kv = {
        .key = gguf_str_of(key), .type = type, .elem_type = GGUF_VALUE_STRING, .count = count};
    for (uint64_t i = 0; i < count; i++) kv.n_bytes += sizeof(uint64_t) + values[i].len;
    uint8_t *data = new_value(meta, kv.key, kv.n_bytes);
    if (!data) return;
    uint8_t *p = data;
    for (uint64_t i = 0; i < count; i++) p = encode_str(p, values[i]);
    put(meta, kv, data);
}

void gguf_meta_set_str(gguf_meta *meta, const char *key, gguf_str value) {
    set_strings(meta, key, GGUF_VALUE_STRING, 1, &value);
}

void gguf_meta_set_str_array(gguf_meta *meta, const char *key, uint64_t count,
                             const gguf_str *values) {
    set_strings(meta, key, GGUF_VALUE_ARRAY, count, values);
}

void gguf_meta_set_array(gguf_meta *meta, const char *key, gguf_value_type elem_type,
                         uint64_t count, const void *packed) {
    set_packed(meta,
               (gguf_kv){.key = gguf_str_of(key),
                         .type = GGUF_VALUE_ARRAY,
                         .elem_type = elem_type,
                         .count = count,
                         .n_bytes = count * gguf_value_bytes(elem_type)},
               packed);
}

void gguf_meta_set_kv(gguf_meta *meta, const gguf_kv *kv) {
    set_packed(meta, *kv, kv->data);
}

void gguf_meta_unset(gguf_meta *meta, const char *key) {
    meta_entry *entry = find_entry(meta, gguf_str_of(key));
    if (!entry) return;
    uint8_t *owned = entry->owned;
    size_t i = (size_t)(entry - meta->entries);
    memmove(entry, entry + 1, (meta->n_entries - i - 1) * sizeof *entry);
    meta->n_entries--;
    rebuild_index(meta);
    free(owned);
}
