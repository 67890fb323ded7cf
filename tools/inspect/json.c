/* The JSON document of gguf-inspect (docs/schemas/inspect.json). */
#include "tools/common/tool.h"
#include "tools/inspect/inspect.h"

#include <string.h>

static json_t *next_value(gguf_kv_iter *it) {
    gguf_str s;
    int64_t i;
    double f;
    switch (it->kv->elem_type) {
    case GGUF_VALUE_STRING:
        return gguf_kv_next_str(it, &s) ? tool_json_bytes(s.ptr, s.len) : NULL;
    case GGUF_VALUE_F32:
    case GGUF_VALUE_F64:
        return gguf_kv_next_f64(it, &f) ? tool_json_real(f) : NULL;
    case GGUF_VALUE_BOOL:
        return gguf_kv_next_i64(it, &i) ? json_boolean(i) : NULL;
    default:
        break;
    }
    if (!gguf_kv_next_i64(it, &i)) return NULL;
    /* JSON integers are signed here; the upper half of u64 becomes a real. */
    return it->kv->elem_type == GGUF_VALUE_U64 && i < 0 ? json_real((double)(uint64_t)i)
                                                        : json_integer(i);
}

static json_t *kv_json(const gguf_kv *kv, uint32_t max_array) {
    gguf_kv_iter it = {.kv = kv};
    json_t *entry = json_pack("{s:s}", "type", gguf_value_type_name(kv->type));
    if (kv->type != GGUF_VALUE_ARRAY) {
        json_object_set_new(entry, "value", next_value(&it));
        return entry;
    }
    json_t *list = json_array();
    uint64_t n = kv->count < max_array ? kv->count : max_array;
    for (uint64_t i = 0; i < n; i++) json_array_append_new(list, next_value(&it));
    json_object_set_new(entry, "element_type", json_string(gguf_value_type_name(kv->elem_type)));
    json_object_set_new(entry, "count", json_integer((json_int_t)kv->count));
    json_object_set_new(entry, "value", list);
    json_object_set_new(entry, "truncated", json_boolean(n < kv->count));
    return entry;
}

static json_t *tensor_json(const gguf_tensor *t) {
    json_t *shape = json_array();
    for (uint32_t d = 0; d < t->n_dims; d++)
        json_array_append_new(shape, json_integer((json_int_t)t->dims[d]));
    return json_pack("{s:o, s:s, s:o, s:I, s:I}", "name", tool_json_bytes(t->name.ptr, t->name.len),
                     "type", gguf_type_name(t->type), "shape", shape, "offset",
                     (json_int_t)t->data_off, "size_bytes", (json_int_t)t->n_bytes);
}

json_t *inspect_json(const gguf_file *file, const inspect_opts *o) {
    const gguf_meta *meta = gguf_file_meta(file);
    const char *path = gguf_file_path(file);
    json_t *metadata = json_object(), *tensors = json_array(), *root = json_object();
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *kv = gguf_meta_at(meta, i);
        json_t *key = tool_json_bytes(kv->key.ptr, kv->key.len);
        json_object_setn_new(metadata, json_string_value(key), json_string_length(key),
                             kv_json(kv, o->max_array));
        json_decref(key);
    }
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++)
        json_array_append_new(tensors, tensor_json(gguf_file_tensor(file, i)));
    json_object_set_new(root, "file", tool_json_bytes(path, strlen(path)));
    json_object_set_new(root, "version", json_integer(gguf_file_version(file)));
    json_object_set_new(root, "alignment", json_integer(gguf_file_alignment(file)));
    json_object_set_new(root, "size_bytes", json_integer((json_int_t)gguf_file_bytes(file)));
    json_object_set_new(root, "metadata", metadata);
    json_object_set_new(root, "tensors", tensors);
    return root;
}
