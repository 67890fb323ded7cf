/* Encoding the header of a GGUF v3 file. */
#include "libgguf/checked.h"
#include "libgguf/dynbuf.h"
#include "libgguf/gguf.h"

#include <inttypes.h>

#define MAX_HEADER_BYTES ((size_t)4 << 30)

static void put_str(gguf_dynbuf *buf, gguf_str s) {
    gguf_dynbuf_put_u64(buf, s.len);
    gguf_dynbuf_put(buf, s.ptr, s.len);
}

static void put_kv(gguf_dynbuf *buf, const gguf_kv *kv) {
    put_str(buf, kv->key);
    gguf_dynbuf_put_u32(buf, kv->type);
    if (kv->type == GGUF_VALUE_ARRAY) {
        gguf_dynbuf_put_u32(buf, kv->elem_type);
        gguf_dynbuf_put_u64(buf, kv->count);
    }
    gguf_dynbuf_put(buf, kv->data, kv->n_bytes);
}

static void put_tensor_info(gguf_dynbuf *buf, const gguf_tensor *t) {
    put_str(buf, t->name);
    gguf_dynbuf_put_u32(buf, t->n_dims);
    for (uint32_t i = 0; i < t->n_dims; i++) gguf_dynbuf_put_u64(buf, t->dims[i]);
    gguf_dynbuf_put_u32(buf, t->type);
    gguf_dynbuf_put_u64(buf, t->data_off);
}

static gguf_code check_alignment(const gguf_meta *meta, uint32_t alignment, gguf_error *err) {
    const gguf_kv *kv = gguf_meta_find(meta, "general.alignment");
    uint64_t stated = GGUF_DEFAULT_ALIGNMENT;
    if (kv && kv->type != GGUF_VALUE_U32)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "general.alignment is %s, not u32", gguf_value_type_name(kv->type));
    if (kv) gguf_kv_u64(kv, &stated);
    bool valid = gguf_is_power_of_two(alignment) && alignment <= GGUF_MAX_ALIGNMENT;
    if (valid && stated == alignment) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "general.alignment is %" PRIu64 ", but the tensors are aligned to %" PRIu32,
                     stated, alignment);
}

gguf_code gguf_header_encode(const gguf_meta *meta, const gguf_tensor *tensors, size_t n_tensors,
                             uint32_t alignment, uint8_t **out, size_t *n_bytes, gguf_error *err) {
    gguf_code code = gguf_meta_status(meta, err);
    if (!code) code = check_alignment(meta, alignment, err);
    if (code) return code;
    gguf_dynbuf buf;
    gguf_dynbuf_init(&buf, MAX_HEADER_BYTES);
    gguf_dynbuf_put(&buf, "GGUF", 4);
    gguf_dynbuf_put_u32(&buf, 3);
    gguf_dynbuf_put_u64(&buf, n_tensors);
    gguf_dynbuf_put_u64(&buf, gguf_meta_count(meta));
    for (size_t i = 0; i < gguf_meta_count(meta); i++) put_kv(&buf, gguf_meta_at(meta, i));
    for (size_t i = 0; i < n_tensors; i++) put_tensor_info(&buf, &tensors[i]);
    gguf_dynbuf_put_zeros(&buf, -buf.len & (alignment - 1));
    if (buf.code) {
        code = gguf_fail(err, buf.code, NULL, GGUF_NO_OFFSET, "the header cannot be built: %s",
                         buf.code == GGUF_E_NOMEM ? "out of memory" : "it is over 4 GiB");
        gguf_dynbuf_clear(&buf);
        return code;
    }
    *out = buf.data;
    *n_bytes = buf.len;
    return GGUF_OK;
}
