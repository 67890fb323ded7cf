/* Shared by the metadata set and the file reader. */
#ifndef LIBGGUF_META_INTERNAL_H
#define LIBGGUF_META_INTERNAL_H

#include "libgguf/gguf.h"

typedef enum gguf_meta_added {
    GGUF_META_ADDED,
    GGUF_META_PRESENT,
    GGUF_META_NOMEM
} gguf_meta_added;

/* Append a view without copying: key and data must outlive the set. */
gguf_meta_added gguf_meta_add_view(gguf_meta *meta, const gguf_kv *kv);

#endif
