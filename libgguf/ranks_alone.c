/* A build without MPI: this process is alone. */
#include "libgguf/ranks.h"

#include <stdlib.h>

/* What launchers tell their processes: Open MPI, MPICH and its relatives. */
static bool is_one_of_several(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *n = getenv(names[i]);
        if (n && strtol(n, NULL, 10) > 1) return true;
    }
    return false;
}

gguf_code gguf_ranks_join(atomic_bool *stop, gguf_ranks **out, gguf_error *err) {
    (void)stop;
    *out = NULL;
    if (!is_one_of_several()) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "a launcher started several processes, and this build has no MPI "
                     "(-DGGUFKIT_MPI=ON, see docs/cluster.md)");
}

void gguf_ranks_leave(gguf_ranks *ranks) {
    (void)ranks;
}

uint32_t gguf_ranks_own(const gguf_ranks *ranks) {
    (void)ranks;
    return 0;
}

uint32_t gguf_ranks_n(const gguf_ranks *ranks) {
    (void)ranks;
    return 1;
}

gguf_code gguf_ranks_agree(gguf_ranks *ranks, gguf_code code, gguf_error *err) {
    (void)ranks, (void)err;
    return code;
}

gguf_code gguf_ranks_spread(gguf_ranks *ranks, gguf_code code, uint32_t from, void *bytes, size_t n,
                            gguf_error *err) {
    (void)ranks, (void)from, (void)bytes, (void)n, (void)err;
    return code;
}

gguf_code gguf_ranks_max(gguf_ranks *ranks, gguf_code code, uint64_t *value, gguf_error *err) {
    (void)ranks, (void)value, (void)err;
    return code;
}

static gguf_code fail_alone(gguf_error *err) {
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "there is no other rank");
}

gguf_code gguf_ranks_send(gguf_ranks *ranks, uint32_t to, const void *bytes, size_t n,
                          gguf_error *err) {
    (void)ranks, (void)to, (void)bytes, (void)n;
    return fail_alone(err);
}

gguf_code gguf_ranks_receive(gguf_ranks *ranks, uint32_t from, void *bytes, size_t n,
                             gguf_error *err) {
    (void)ranks, (void)from, (void)bytes, (void)n;
    return fail_alone(err);
}

uint64_t gguf_ranks_progress(gguf_ranks *ranks, uint64_t done) {
    (void)ranks;
    return done;
}
