/* Work in a process of its own, so that its memory, threads and crashes stay its own. */
#ifndef TOOLS_BENCH_CHILD_H
#define TOOLS_BENCH_CHILD_H

#include "libgguf/error.h"

#include <stddef.h>

typedef gguf_code (*bench_child_fn)(void *ctx, void *result, gguf_error *err);

/* Run fn in a child process and bring its result (n_bytes, without pointers) and error back. An
 * interrupt is passed on to the child. Errors: those of fn; GGUF_E_IO. */
gguf_code bench_in_child(bench_child_fn fn, void *ctx, void *result, size_t n_bytes,
                         gguf_error *err);

#endif
