/* Text files compiled into a library (see ggufkit_embed in CMakeLists.txt). */
#ifndef LIBGGUF_EMBED_H
#define LIBGGUF_EMBED_H

#include <stddef.h>

/* A table of these ends with an entry whose name is NULL; texts end with a NUL byte. */
typedef struct gguf_embedded {
    const char *name; /* file name without its ending */
    const char *text;
    size_t n_bytes;
} gguf_embedded;

#endif
