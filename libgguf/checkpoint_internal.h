/* What the readers of checkpoint formats share: adding files and tensors. */
#ifndef LIBGGUF_CHECKPOINT_INTERNAL_H
#define LIBGGUF_CHECKPOINT_INTERNAL_H

#include "libgguf/checkpoint.h"

const gguf_dtype *gguf_dtype_named(const char *name); /* NULL if unknown */

/* Append a tensor; its name (any bytes) is copied. Errors: GGUF_E_DUPLICATE, GGUF_E_NOMEM. */
gguf_code gguf_checkpoint_add(gguf_checkpoint *ckpt, const gguf_checkpoint_tensor *tensor,
                              gguf_error *err);

/* A further file for what `file` holds packed: without a name, gone with the handle. */
gguf_code gguf_checkpoint_add_unpacked(gguf_checkpoint *ckpt, uint32_t file, uint32_t *unpacked,
                                       gguf_error *err);

/* Read the header of one .safetensors file that is open as number `file`. */
gguf_code gguf_safetensors_read(gguf_checkpoint *ckpt, uint32_t file, gguf_error *err);

/* Read the directory and the pickle of one PyTorch ZIP checkpoint. */
gguf_code gguf_torch_read(gguf_checkpoint *ckpt, uint32_t file, gguf_error *err);

#endif
