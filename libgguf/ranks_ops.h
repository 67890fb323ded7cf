/* What carries ranks: a module that is loaded where a launcher started this process, so that the
 * commands need no MPI themselves. Meaning and errors of all functions: see ranks.h. */
#ifndef LIBGGUF_RANKS_OPS_H
#define LIBGGUF_RANKS_OPS_H

#include "libgguf/ranks.h"

typedef struct gguf_ranks_ops {
    void (*leave)(gguf_ranks *ranks);
    gguf_code (*agree)(gguf_ranks *ranks, gguf_code code, gguf_error *err);
    /* Once all agree. */
    void (*spread)(gguf_ranks *ranks, uint32_t from, void *bytes, size_t n);
    void (*max)(gguf_ranks *ranks, uint64_t *value);
    gguf_code (*send)(gguf_ranks *ranks, uint32_t to, const void *bytes, size_t n, gguf_error *err);
    gguf_code (*receive)(gguf_ranks *ranks, uint32_t from, void *bytes, size_t n, gguf_error *err);
    uint64_t (*progress)(gguf_ranks *ranks, uint64_t done);
} gguf_ranks_ops;

/* What a module's own handle begins with. */
struct gguf_ranks {
    const gguf_ranks_ops *ops;
    uint32_t own, n;
};

/* The module's one function, named GGUF_RANKS_JOIN: gguf_ranks_join where a launcher is known to
 * have started the process. */
#define GGUF_RANKS_JOIN "ggufkit_ranks_join"
gguf_code ggufkit_ranks_join(atomic_bool *stop, gguf_ranks **out, gguf_error *err)
    __attribute__((visibility("default")));

#endif
