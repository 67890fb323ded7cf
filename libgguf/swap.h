/* Byte order: headers and tensor blocks between little and big endian. */
#ifndef LIBGGUF_SWAP_H
#define LIBGGUF_SWAP_H

#include "libgguf/gguf.h"

#include <stdatomic.h>

/* Whether the first 8 bytes of a file are those of a GGUF file of the other byte order. */
bool gguf_is_big_endian(const uint8_t bytes[8]);

/* The header of a file of either byte order in the other one.
 *   bytes  the file from its start
 *   out    malloc'ed, *n_out bytes up to the end of the tensor infos; the caller frees it
 * Errors: GGUF_E_FORMAT, GGUF_E_TRUNCATED, GGUF_E_UNSUPPORTED, with offset; GGUF_E_NOMEM. */
gguf_code gguf_header_swap(const uint8_t *bytes, uint64_t n_bytes, const char *file, uint8_t **out,
                           size_t *n_out, gguf_error *err);

/* Swap every number of whole blocks in place. Errors: GGUF_E_UNSUPPORTED for an unknown type. */
gguf_code gguf_blocks_swap(uint32_t type, uint8_t *blocks, size_t n_bytes, gguf_error *err);

/* Write the file with the other byte order. Errors: as above and of outputs. */
gguf_code gguf_file_swap(const gguf_file *file, const char *path, bool replace,
                         const atomic_bool *cancel, gguf_error *err);

#endif
