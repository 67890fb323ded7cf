/* A checkpoint: named tensors in one or several files, as training frameworks save them.
 * Dimensions are rows first (the order of the file, the reverse of GGUF's). */
#ifndef LIBGGUF_CHECKPOINT_H
#define LIBGGUF_CHECKPOINT_H

#include "libgguf/gguf.h"
#include "libgguf/map.h"

#define GGUF_CHECKPOINT_MAX_DIMS 8

/* Element types by their safetensors names. */
typedef struct gguf_dtype {
    const char *name;
    uint32_t n_bits;
    int32_t gguf_type; /* the same numbers as a GGUF tensor type, or -1 */
} gguf_dtype;

typedef struct gguf_checkpoint_tensor {
    gguf_str name;
    const gguf_dtype *dtype;
    uint32_t n_dims;
    uint64_t dims[GGUF_CHECKPOINT_MAX_DIMS];
    uint32_t file; /* number of the file that holds it */
    uint64_t off;  /* from the start of that file */
    uint64_t n_bytes;
} gguf_checkpoint_tensor;

typedef struct gguf_checkpoint gguf_checkpoint;

/* Open a folder (the shards that model.safetensors.index.json lists, or model.safetensors; failing
 * these pytorch_model.bin's index or pytorch_model.bin, and then the one set of shards that no
 * index lists, NAME-00001-of-N.safetensors) or one such file. Only headers are read; of a PyTorch
 * checkpoint the pickle, by a reader that executes nothing. What an index says and the files do not
 * is a warning: the files count. Shards that it lists and that are absent are left out, or
 * model.safetensors is read in their place if that is there. Errors: GGUF_E_MISSING no weights in
 * the folder, GGUF_E_IO, GGUF_E_TRUNCATED, GGUF_E_FORMAT, GGUF_E_DUPLICATE, GGUF_E_LIMIT,
 * GGUF_E_NOMEM. Source: the safetensors format description and its reference parser. */
gguf_code gguf_checkpoint_open(const char *path, gguf_checkpoint **out, gguf_error *err);
/* The same for a folder whose files are in memory; their bytes and names must outlive the handle.
 */
gguf_code gguf_checkpoint_from_memory(const gguf_memory_file *files, size_t n_files,
                                      gguf_checkpoint **out, gguf_error *err);
void gguf_checkpoint_close(gguf_checkpoint *ckpt); /* accepts NULL */

size_t gguf_checkpoint_n_tensors(const gguf_checkpoint *ckpt);
/* In the order of files and offsets. */
const gguf_checkpoint_tensor *gguf_checkpoint_tensor_at(const gguf_checkpoint *ckpt, size_t i);
const gguf_checkpoint_tensor *gguf_checkpoint_find(const gguf_checkpoint *ckpt, const char *name);
size_t gguf_checkpoint_n_files(const gguf_checkpoint *ckpt);
const char *gguf_checkpoint_file_path(const gguf_checkpoint *ckpt, size_t file);
/* Closed with the handle; -1 for a file in memory, and for the later ones of very many, which are
 * opened by their path. */
int gguf_checkpoint_file_fd(const gguf_checkpoint *ckpt, size_t file);
/* The bytes of a file in memory; otherwise NULL. */
const gguf_memory_file *gguf_checkpoint_file_memory(const gguf_checkpoint *ckpt, size_t file);

/* Sentences for the user, e.g. about files that an index lists and that are not there. */
size_t gguf_checkpoint_n_warnings(const gguf_checkpoint *ckpt);
const char *gguf_checkpoint_warning(const gguf_checkpoint *ckpt, size_t i);
/* The file that is not there and in which the index puts a tensor, or NULL. */
const char *gguf_checkpoint_absent_file(const gguf_checkpoint *ckpt, const char *tensor);

/* The header of a .safetensors file: its length and the JSON text, padded to whole units of 8
 * bytes. tensors  name, type (F32, F16 or BF16), dims in GGUF order, n_bytes, and data_off from the
 * end of the header, without gaps out      [*n_bytes], to be freed Errors: GGUF_E_UNSUPPORTED
 * another type, GGUF_E_NOMEM. */
gguf_code gguf_safetensors_header(const gguf_tensor *tensors, size_t n, uint8_t **out,
                                  size_t *n_bytes, gguf_error *err);

/* Write one F32 tensor as a .safetensors file.
 *   dims    [n_dims], rows first; data [product of dims] */
gguf_code gguf_safetensors_save_f32(const char *path, const char *name, const uint64_t *dims,
                                    uint32_t n_dims, const float *data, bool replace,
                                    gguf_error *err);

#endif
