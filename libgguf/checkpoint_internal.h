/* What the readers of checkpoint formats share: adding files and tensors. */
#ifndef LIBGGUF_CHECKPOINT_INTERNAL_H
#define LIBGGUF_CHECKPOINT_INTERNAL_H

#include "libgguf/checkpoint.h"
#include "libgguf/index.h"
#include "libgguf/json.h"

typedef struct gguf_checkpoint_file {
    char *path;
    int fd;
    const gguf_memory_file *memory;
} gguf_checkpoint_file;

struct gguf_checkpoint {
    const gguf_memory_file *memory; /* the folder, if it is not on disk */
    size_t n_memory;
    gguf_checkpoint_file *files;
    size_t n_files;
    gguf_checkpoint_tensor *tensors;
    size_t n_tensors, room;
    gguf_index index;
    json_t *index_file; /* what the index says, or NULL */
    char **warnings;
    size_t n_warnings;
};

const gguf_dtype *gguf_dtype_named(const char *name); /* NULL if unknown */

/* Append a tensor; its name (any bytes) is copied. Errors: GGUF_E_DUPLICATE, GGUF_E_NOMEM. */
gguf_code gguf_checkpoint_add(gguf_checkpoint *ckpt, const gguf_checkpoint_tensor *tensor,
                              gguf_error *err);

/* Open a file and read its header. folder: NULL if `name` is the whole path, or the name of a file
 * in memory. */
gguf_code gguf_checkpoint_add_file(gguf_checkpoint *ckpt, const char *folder, const char *name,
                                   gguf_error *err);

/* Add the files of a folder that hold the weights; folder NULL: it is in memory. */
gguf_code gguf_checkpoint_open_folder(gguf_checkpoint *ckpt, const char *folder, gguf_error *err);

/* Add a sentence for the user; one that does not fit into memory is lost. */
void gguf_checkpoint_warn(gguf_checkpoint *ckpt, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A further file for what `file` holds packed: without a name, gone with the handle. */
gguf_code gguf_checkpoint_add_unpacked(gguf_checkpoint *ckpt, uint32_t file, uint32_t *unpacked,
                                       gguf_error *err);

/* Read the header of one .safetensors file that is open as number `file`. */
gguf_code gguf_safetensors_read(gguf_checkpoint *ckpt, uint32_t file, gguf_error *err);

/* Read the directory and the pickle of one PyTorch ZIP checkpoint. */
gguf_code gguf_torch_read(gguf_checkpoint *ckpt, uint32_t file, gguf_error *err);

#endif
