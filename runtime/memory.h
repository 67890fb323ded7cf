/* Large blocks of memory. Internal to runtime. */
#ifndef RUNTIME_MEMORY_H
#define RUNTIME_MEMORY_H

#include "libgguf/error.h"

#include <stdint.h>

/* n_bytes, 64-aligned, in huge pages where the system has them; free() them.
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_allocate(uint64_t n_bytes, uint8_t **out, gguf_error *err);

/* What this process may still take: what the system has without swapping, within the limit of its
 * control group; UINT64_MAX where neither is known. */
uint64_t rt_available_bytes(void);

#endif
