/* Metadata values: sizes, names, reading scalars and walking arrays. */
#include "libgguf/gguf.h"

#include <string.h>

static const struct {
    const char *name;
    size_t n_bytes;
} value_types[] = {
    [GGUF_VALUE_U8] = {"u8", 1},         [GGUF_VALUE_I8] = {"i8", 1},
    [GGUF_VALUE_U16] = {"u16", 2},       [GGUF_VALUE_I16] = {"i16", 2},
    [GGUF_VALUE_U32] = {"u32", 4},       [GGUF_VALUE_I32] = {"i32", 4},
    [GGUF_VALUE_F32] = {"f32", 4},       [GGUF_VALUE_BOOL] = {"bool", 1},
    [GGUF_VALUE_STRING] = {"string", 0}, [GGUF_VALUE_ARRAY] = {"array", 0},
    [GGUF_VALUE_U64] = {"u64", 8},       [GGUF_VALUE_I64] = {"i64", 8},
    [GGUF_VALUE_F64] = {"f64", 8},
};

#define N_VALUE_TYPES (sizeof value_types / sizeof value_types[0])

size_t gguf_value_bytes(gguf_value_type type) {
    return (unsigned)type < N_VALUE_TYPES ? value_types[type].n_bytes : 0;
}

const char *gguf_value_type_name(gguf_value_type type) {
    return (unsigned)type < N_VALUE_TYPES ? value_types[type].name : "unknown";
}

typedef struct number {
    enum { IS_SIGNED, IS_UNSIGNED, IS_REAL } kind;
    int64_t i;
    uint64_t u;
    double f;
} number;

#define LOAD(ctype, field, tag)  \
    {                            \
        ctype v;                 \
        memcpy(&v, p, sizeof v); \
        n->field = v;            \
        n->kind = tag;           \
        return true;             \
    }

static bool load_number(gguf_value_type type, const uint8_t *p, number *n) {
    switch (type) {
    case GGUF_VALUE_U8:
        LOAD(uint8_t, u, IS_UNSIGNED)
    case GGUF_VALUE_BOOL:
        LOAD(uint8_t, u, IS_UNSIGNED)
    case GGUF_VALUE_I8:
        LOAD(int8_t, i, IS_SIGNED)
    case GGUF_VALUE_U16:
        LOAD(uint16_t, u, IS_UNSIGNED)
    case GGUF_VALUE_I16:
        LOAD(int16_t, i, IS_SIGNED)
    case GGUF_VALUE_U32:
        LOAD(uint32_t, u, IS_UNSIGNED)
    case GGUF_VALUE_I32:
        LOAD(int32_t, i, IS_SIGNED)
    case GGUF_VALUE_U64:
        LOAD(uint64_t, u, IS_UNSIGNED)
    case GGUF_VALUE_I64:
        LOAD(int64_t, i, IS_SIGNED)
    case GGUF_VALUE_F32:
        LOAD(float, f, IS_REAL)
    case GGUF_VALUE_F64:
        LOAD(double, f, IS_REAL)
    case GGUF_VALUE_STRING:
    case GGUF_VALUE_ARRAY:
        break;
    }
    return false;
}

static double number_real(const number *n) {
    switch (n->kind) {
    case IS_SIGNED:
        return (double)n->i;
    case IS_UNSIGNED:
        return (double)n->u;
    case IS_REAL:
        break;
    }
    return n->f;
}

bool gguf_kv_u64(const gguf_kv *kv, uint64_t *out) {
    number n;
    if (!kv || kv->type == GGUF_VALUE_BOOL || !load_number(kv->type, kv->data, &n)) return false;
    if (n.kind == IS_REAL || (n.kind == IS_SIGNED && n.i < 0)) return false;
    *out = n.kind == IS_SIGNED ? (uint64_t)n.i : n.u;
    return true;
}

bool gguf_kv_f64(const gguf_kv *kv, double *out) {
    number n;
    if (!kv || kv->type == GGUF_VALUE_BOOL || !load_number(kv->type, kv->data, &n)) return false;
    *out = number_real(&n);
    return true;
}

bool gguf_kv_bool(const gguf_kv *kv, bool *out) {
    if (!kv || kv->type != GGUF_VALUE_BOOL) return false;
    *out = *kv->data != 0;
    return true;
}

bool gguf_kv_str(const gguf_kv *kv, gguf_str *out) {
    if (!kv || kv->type != GGUF_VALUE_STRING) return false;
    gguf_kv_iter it = {.kv = kv};
    return gguf_kv_next_str(&it, out);
}

bool gguf_kv_next_str(gguf_kv_iter *it, gguf_str *out) {
    const gguf_kv *kv = it->kv;
    if (kv->elem_type != GGUF_VALUE_STRING || it->index >= kv->count) return false;
    uint64_t len;
    memcpy(&len, kv->data + it->pos, sizeof len);
    *out = (gguf_str){(const char *)kv->data + it->pos + sizeof len, (size_t)len};
    it->pos += sizeof len + (size_t)len;
    it->index++;
    return true;
}

static bool next_number(gguf_kv_iter *it, number *n) {
    const gguf_kv *kv = it->kv;
    if (it->index >= kv->count || !load_number(kv->elem_type, kv->data + it->pos, n)) return false;
    it->pos += gguf_value_bytes(kv->elem_type);
    it->index++;
    return true;
}

bool gguf_kv_next_i64(gguf_kv_iter *it, int64_t *out) {
    number n;
    if (it->kv->elem_type == GGUF_VALUE_F32 || it->kv->elem_type == GGUF_VALUE_F64) return false;
    if (!next_number(it, &n)) return false;
    *out = n.kind == IS_SIGNED ? n.i : (int64_t)n.u;
    return true;
}

bool gguf_kv_next_f64(gguf_kv_iter *it, double *out) {
    number n;
    if (!next_number(it, &n)) return false;
    *out = number_real(&n);
    return true;
}
