/* libgguf: GGUF files in and out. Bytes on disk only; what a weight means is not known here.
 *
 * Dimensions are in GGUF order: dims[0] is the number of columns (the contiguous direction).
 * All readers check every count and extent against the file before they use it; see docs/limits.md.
 * Source of the format: ggml's docs/gguf.md, versions 2 and 3. */
#ifndef LIBGGUF_GGUF_H
#define LIBGGUF_GGUF_H

#include "libgguf/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GGUF_MAX_DIMS          4
#define GGUF_MAX_TENSOR_NAME   63 /* bytes, without a terminating NUL */
#define GGUF_DEFAULT_ALIGNMENT 32
#define GGUF_MAX_ALIGNMENT     (1u << 20)
#define GGUF_MAX_SHARDS        10000

/* A string inside a mapping or a metadata set: not NUL-terminated, valid as long as its owner. */
typedef struct gguf_str {
    const char *ptr;
    size_t len;
} gguf_str;

gguf_str gguf_str_of(const char *text);
bool gguf_str_eq(gguf_str a, const char *b);

/* ---- values ------------------------------------------------------------------------------ */

typedef enum gguf_value_type {
    GGUF_VALUE_U8 = 0,
    GGUF_VALUE_I8 = 1,
    GGUF_VALUE_U16 = 2,
    GGUF_VALUE_I16 = 3,
    GGUF_VALUE_U32 = 4,
    GGUF_VALUE_I32 = 5,
    GGUF_VALUE_F32 = 6,
    GGUF_VALUE_BOOL = 7,
    GGUF_VALUE_STRING = 8,
    GGUF_VALUE_ARRAY = 9,
    GGUF_VALUE_U64 = 10,
    GGUF_VALUE_I64 = 11,
    GGUF_VALUE_F64 = 12
} gguf_value_type;

/* Bytes of a fixed-size value type; 0 for strings, arrays and unknown types. */
size_t gguf_value_bytes(gguf_value_type type);
const char *gguf_value_type_name(gguf_value_type type);

/* One metadata entry: a view of its encoded, little-endian bytes. */
typedef struct gguf_kv {
    gguf_str key;
    gguf_value_type type;
    gguf_value_type elem_type; /* of an array; otherwise equal to type */
    uint64_t count;            /* elements of an array; otherwise 1 */
    const uint8_t *data;       /* first value (a string: its u64 length) */
    size_t n_bytes;            /* of all values, string lengths included */
    int64_t off;               /* of the key in the file, or GGUF_NO_OFFSET */
} gguf_kv;

/* Read a scalar. False if the entry is NULL, not of a fitting type, or out of the range. */
bool gguf_kv_u64(const gguf_kv *kv, uint64_t *out); /* any integer type, value >= 0 */
bool gguf_kv_f64(const gguf_kv *kv, double *out);   /* any number */
bool gguf_kv_bool(const gguf_kv *kv, bool *out);    /* bool only */
bool gguf_kv_str(const gguf_kv *kv, gguf_str *out); /* string only */

/* Walk a value or an array: start with {kv}, then call until it returns false. */
typedef struct gguf_kv_iter {
    const gguf_kv *kv;
    uint64_t index;
    size_t pos;
} gguf_kv_iter;
bool gguf_kv_next_str(gguf_kv_iter *it, gguf_str *out); /* string arrays and strings */
bool gguf_kv_next_i64(gguf_kv_iter *it, int64_t *out);  /* integer and bool elements; u64 wraps */
bool gguf_kv_next_f64(gguf_kv_iter *it, double *out);   /* any number */

/* ---- metadata: an ordered set of entries with unique keys -------------------------------- */

typedef struct gguf_meta gguf_meta;

gguf_meta *gguf_meta_new(void); /* NULL when out of memory */
void gguf_meta_free(gguf_meta *meta);

size_t gguf_meta_count(const gguf_meta *meta);
const gguf_kv *gguf_meta_at(const gguf_meta *meta, size_t i);
/* NULL if absent. The pointer is valid until the set is changed. */
const gguf_kv *gguf_meta_find(const gguf_meta *meta, const char *key);

/* Set a key, replacing an old value in its place or appending. Values are copied.
 * A failure (memory, a key longer than 65535 bytes) sticks and is reported by gguf_meta_status. */
void gguf_meta_set_u16(gguf_meta *meta, const char *key, uint16_t value);
void gguf_meta_set_u32(gguf_meta *meta, const char *key, uint32_t value);
void gguf_meta_set_i32(gguf_meta *meta, const char *key, int32_t value);
void gguf_meta_set_u64(gguf_meta *meta, const char *key, uint64_t value);
void gguf_meta_set_f32(gguf_meta *meta, const char *key, float value);
void gguf_meta_set_bool(gguf_meta *meta, const char *key, bool value);
void gguf_meta_set_str(gguf_meta *meta, const char *key, gguf_str value);
/* packed: count elements of a fixed-size type in native order */
void gguf_meta_set_array(gguf_meta *meta, const char *key, gguf_value_type elem_type,
                         uint64_t count, const void *packed);
void gguf_meta_set_str_array(gguf_meta *meta, const char *key, uint64_t count,
                             const gguf_str *values);
/* A copy of an entry, e.g. of another file, under its own key. */
void gguf_meta_set_kv(gguf_meta *meta, const gguf_kv *kv);
void gguf_meta_unset(gguf_meta *meta, const char *key); /* absent: no effect */
gguf_code gguf_meta_status(const gguf_meta *meta, gguf_error *err);

/* ---- tensor types as stored -------------------------------------------------------------- */

typedef enum gguf_tensor_type {
    GGUF_TYPE_F32 = 0,
    GGUF_TYPE_F16 = 1,
    GGUF_TYPE_Q4_0 = 2,
    GGUF_TYPE_Q4_1 = 3,
    GGUF_TYPE_Q5_0 = 6,
    GGUF_TYPE_Q5_1 = 7,
    GGUF_TYPE_Q8_0 = 8,
    GGUF_TYPE_Q8_1 = 9,
    GGUF_TYPE_Q2_K = 10,
    GGUF_TYPE_Q3_K = 11,
    GGUF_TYPE_Q4_K = 12,
    GGUF_TYPE_Q5_K = 13,
    GGUF_TYPE_Q6_K = 14,
    GGUF_TYPE_Q8_K = 15,
    GGUF_TYPE_IQ2_XXS = 16,
    GGUF_TYPE_IQ2_XS = 17,
    GGUF_TYPE_IQ3_XXS = 18,
    GGUF_TYPE_IQ1_S = 19,
    GGUF_TYPE_IQ4_NL = 20,
    GGUF_TYPE_IQ3_S = 21,
    GGUF_TYPE_IQ2_S = 22,
    GGUF_TYPE_IQ4_XS = 23,
    GGUF_TYPE_I8 = 24,
    GGUF_TYPE_I16 = 25,
    GGUF_TYPE_I32 = 26,
    GGUF_TYPE_I64 = 27,
    GGUF_TYPE_F64 = 28,
    GGUF_TYPE_IQ1_M = 29,
    GGUF_TYPE_BF16 = 30,
    GGUF_TYPE_TQ1_0 = 34,
    GGUF_TYPE_TQ2_0 = 35,
    GGUF_TYPE_MXFP4 = 39,
    GGUF_TYPE_NVFP4 = 40,
    GGUF_TYPE_Q1_0 = 41,
    GGUF_TYPE_Q2_0 = 42,
    /* Of ik_llama.cpp alone. */
    GGUF_TYPE_Q6_0 = 133,
    GGUF_TYPE_IQ1_BN = 134,
    GGUF_TYPE_IQ2_BN = 135,
    GGUF_TYPE_IQ2_K = 137,
    GGUF_TYPE_IQ3_K = 138,
    GGUF_TYPE_IQ4_K = 139,
    GGUF_TYPE_IQ5_K = 140,
    GGUF_TYPE_IQ6_K = 141,
    GGUF_TYPE_IQ4_KS = 144,
    GGUF_TYPE_IQ2_KS = 145,
    GGUF_TYPE_IQ4_KSS = 146,
    GGUF_TYPE_Q8_KV = 151,
    GGUF_TYPE_IQ5_KS = 152,
    GGUF_TYPE_IQ2_KT = 153,
    GGUF_TYPE_IQ3_KT = 154,
    GGUF_TYPE_IQ4_KT = 155,
    GGUF_TYPE_IQ3_KS = 156,
    GGUF_TYPE_IQ2_KL = 157,
    GGUF_TYPE_IQ1_KT = 158
} gguf_tensor_type;

/* How a type lies on disk: rows are whole blocks of block_elems values in block_bytes bytes, in
 * some types behind a head of the row. */
typedef struct gguf_type_layout {
    const char *name;
    uint32_t type;
    uint32_t block_elems;
    uint32_t block_bytes;
    uint32_t head_bytes; /* 0: rows have no head */
} gguf_type_layout;

const gguf_type_layout *gguf_type_layout_of(uint32_t type);       /* NULL if unknown */
const gguf_type_layout *gguf_type_layout_named(const char *name); /* any case; NULL if unknown */
/* "unknown" if unknown; also the names of types whose layout is not known, rows of which are
 * interleaved. */
const char *gguf_type_name(uint32_t type);
/* Bytes of a row; 0 if n_cols is 0 or no whole number of blocks, or the type unknown. */
uint64_t gguf_type_row_bytes(uint32_t type, uint64_t n_cols);

/* Bytes of a tensor; all dims beyond n_dims count as 1.
 * Errors: GGUF_E_UNSUPPORTED unknown type, GGUF_E_SHAPE dims[0] is no whole number of blocks or the
 * size overflows. */
gguf_code gguf_tensor_bytes(uint32_t type, uint32_t n_dims, const uint64_t *dims, uint64_t *n_bytes,
                            gguf_error *err);

typedef struct gguf_tensor {
    gguf_str name;
    uint32_t type;
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* columns first; unused ones are 1 */
    uint64_t data_off;            /* from the start of the data section */
    uint64_t file_off;            /* from the start of the file */
    uint64_t n_bytes;
    uint32_t shard; /* file of a split model that holds it; otherwise 0 */
} gguf_tensor;

uint64_t gguf_tensor_n_elems(const gguf_tensor *tensor);
uint64_t gguf_tensor_n_rows(const gguf_tensor *tensor); /* product of dims[1..] */

/* ---- reading ----------------------------------------------------------------------------------
 */

typedef struct gguf_file gguf_file;

typedef enum gguf_open_flags {
    GGUF_OPEN_DEFAULT = 0,
    GGUF_OPEN_ANY_TYPE = 1, /* list tensors of unknown type (n_bytes 0) instead of refusing them */
    GGUF_OPEN_BIG_ENDIAN =
        2,               /* take files of the other byte order; their tensor data stays in it */
    GGUF_OPEN_SINGLE = 4 /* a shard of a split model on its own */
} gguf_open_flags;

/* Open and check a file, mapped read-only. The tensor data itself is not touched. The first shard
 * of a split model opens all of them: their tensors follow each other as if in one file. Errors:
 * GGUF_E_IO, GGUF_E_TRUNCATED, GGUF_E_FORMAT, GGUF_E_LIMIT, GGUF_E_DUPLICATE, GGUF_E_TYPE,
 * GGUF_E_SHAPE, GGUF_E_UNSUPPORTED (version, byte order, tensor type), GGUF_E_NOMEM; with offset.
 * Threads: an open file may be read from several threads. */
gguf_code gguf_file_open(const char *path, gguf_open_flags flags, gguf_file **out, gguf_error *err);
/* The same for one file's bytes in memory, which must outlive the handle; it has no descriptor. */
gguf_code gguf_file_from_memory(const void *bytes, uint64_t n_bytes, const char *name,
                                gguf_open_flags flags, gguf_file **out, gguf_error *err);
void gguf_file_close(gguf_file *file); /* accepts NULL */

const char *gguf_file_path(const gguf_file *file);
uint32_t gguf_file_version(const gguf_file *file);
uint32_t gguf_file_alignment(const gguf_file *file);
bool gguf_file_big_endian(const gguf_file *file);
uint64_t gguf_file_bytes(const gguf_file *file);        /* of all shards */
const gguf_meta *gguf_file_meta(const gguf_file *file); /* valid until close */
size_t gguf_file_n_tensors(const gguf_file *file);
const gguf_tensor *gguf_file_tensor(const gguf_file *file, size_t i);
const gguf_tensor *gguf_file_find_tensor(const gguf_file *file, const char *name); /* or NULL */
/* The first file's bytes as they are; gguf_file_data_off(file, 0) of them are the header. */
const uint8_t *gguf_file_header(const gguf_file *file);
/* The files that make up the model: one, or the shards. */
size_t gguf_file_n_shards(const gguf_file *file);
const char *gguf_file_shard_path(const gguf_file *file, size_t shard);
uint64_t gguf_file_shard_bytes(const gguf_file *file, size_t shard);
uint64_t gguf_file_data_off(const gguf_file *file, size_t shard); /* start of the data section */
/* For positioned reads; closed with the file. -1 for one in memory, and for the later shards of a
 * model of very many: these are opened by their path. */
int gguf_file_fd(const gguf_file *file, size_t shard);
/* The tensor's n_bytes in the mapping. */
const void *gguf_file_data(const gguf_file *file, const gguf_tensor *tensor);
/* n_bytes of the tensor's data from byte `off` on are not needed soon: their pages stop counting as
 * memory of the process. Reading them again is safe. */
void gguf_file_release(const gguf_file *file, const gguf_tensor *tensor, uint64_t off,
                       uint64_t n_bytes);

/* ---- writing ----------------------------------------------------------------------------------
 */

/* Place tensors one after another, each aligned: fills data_off and n_bytes from type and dims.
 * Returns the size of the data section, padding after the last tensor included, in *data_bytes. */
gguf_code gguf_layout(gguf_tensor *tensors, size_t n_tensors, uint32_t alignment,
                      uint64_t *data_bytes, gguf_error *err);

/* Encode magic, version 3, metadata, tensor infos and padding up to the data section.
 *   out      *out is malloc'ed; the caller frees it
 * general.alignment in meta must be a u32 that agrees with `alignment`, which is 32 if it is absent
 * (GGUF_E_USAGE). */
gguf_code gguf_header_encode(const gguf_meta *meta, const gguf_tensor *tensors, size_t n_tensors,
                             uint32_t alignment, uint8_t **out, size_t *n_bytes, gguf_error *err);

/* A file written piece by piece: describe all tensors first, then write their data in any order,
 * from any number of threads. The file appears under its name when it is complete, or not at all.
 */
typedef struct gguf_writer gguf_writer;

enum { GGUF_WRITE_REPLACE = 1, GGUF_WRITE_STREAM = 2 };

/* Lay the tensors out, write the header to a temporary file beside `path` and reserve the space.
 *   meta     copied into the header
 *   tensors  name, type, n_dims and dims are used; data_off and n_bytes are filled
 *   how      0, GGUF_WRITE_REPLACE to replace an existing file; with GGUF_WRITE_STREAM the data
 * come in the order of the tensors and of their bytes, and `path` may be a pipe, a character device
 * or "-", standard output Errors: GGUF_E_EXISTS, GGUF_E_IO, GGUF_E_NOSPACE, GGUF_E_SHAPE,
 * GGUF_E_UNSUPPORTED, GGUF_E_USAGE (as gguf_header_encode), GGUF_E_NOMEM. */
gguf_code gguf_writer_open(const char *path, const gguf_meta *meta, gguf_tensor *tensors,
                           size_t n_tensors, uint32_t alignment, unsigned how, gguf_writer **out,
                           gguf_error *err);
/* Write n bytes of a tensor's data, from byte `off` of it on. What is never written is zero.
 * Errors: GGUF_E_USAGE beyond the tensor's end, GGUF_E_IO, GGUF_E_NOSPACE. Threads: safe. */
gguf_code gguf_writer_write(gguf_writer *writer, size_t tensor, uint64_t off, const void *bytes,
                            size_t n, gguf_error *err);
/* Flush to disk and give the file its name. Frees the writer, also on failure. */
gguf_code gguf_writer_commit(gguf_writer *writer, gguf_error *err);
/* Leave no file behind. Frees the writer; accepts NULL. */
void gguf_writer_discard(gguf_writer *writer);

#endif
