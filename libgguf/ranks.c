/* Ranks: the module that carries them, and what is done without. */
#include "libgguf/ranks.h"
#include "libgguf/ranks_ops.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE "ggufkit_mpi.so"

/* What launchers tell their processes: Open MPI, MPICH and its relatives. */
static const char *const launched_names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"};

/* Under MPI alone is a process alone too, and so needs no module where the launcher says so. */
static bool was_launched(void) {
    for (size_t i = 0; i < sizeof launched_names / sizeof *launched_names; i++) {
        const char *value = getenv(launched_names[i]);
        if (value) return i == 2 || strtol(value, NULL, 10) > 1;
    }
    return false;
}

/* Where there is no MPI to ask: one of them speaks for all. */
static bool is_first(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"};
    const char *rank = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !rank; i++) rank = getenv(names[i]);
    return !rank || strcmp(rank, "0") == 0;
}

/* Beside the commands in a build folder, below lib where they are installed. */
static void *open_module(const char **why) {
    static const char *const folders[] = {"", "../lib/ggufkit/", "../" GGUFKIT_LIBDIR "/ggufkit/"};
    char exe[4096], path[4300];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    *why = "the file " MODULE " is not there";
    if (n <= 0) return NULL;
    exe[n] = '\0';
    *strrchr(exe, '/') = '\0';
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s" MODULE, exe, folders[i]);
        if (access(path, F_OK) != 0) continue;
        /* Global: parts that MPI loads itself find it so. */
        void *module = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
        if (!module) *why = dlerror();
        return module;
    }
    return NULL;
}

gguf_code gguf_ranks_join(atomic_bool *stop, gguf_ranks **out, gguf_error *err) {
    const char *why;
    gguf_code (*join)(atomic_bool *, gguf_ranks **, gguf_error *) = NULL;
    *out = NULL;
    if (!was_launched()) return GGUF_OK;
    void *module = open_module(&why);
    void *symbol = module ? dlsym(module, GGUF_RANKS_JOIN) : NULL;
    memcpy(&join, &symbol, sizeof join);
    if (join) return join(stop, out, err);
    return gguf_fail(is_first() ? err : NULL, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "a launcher started several processes, and MPI is missing: %s (a build with "
                     "-DGGUFKIT_MPI=ON, or the package ggufkit-mpi)",
                     why);
}

void gguf_ranks_leave(gguf_ranks *r) {
    if (r) r->ops->leave(r);
}

uint32_t gguf_ranks_own(const gguf_ranks *r) {
    return r ? r->own : 0;
}

uint32_t gguf_ranks_n(const gguf_ranks *r) {
    return r ? r->n : 1;
}

gguf_code gguf_ranks_agree(gguf_ranks *r, gguf_code code, gguf_error *err) {
    return r ? r->ops->agree(r, code, err) : code;
}

gguf_code gguf_ranks_spread(gguf_ranks *r, gguf_code code, uint32_t from, void *bytes, size_t n,
                            gguf_error *err) {
    code = gguf_ranks_agree(r, code, err);
    if (r && !code) r->ops->spread(r, from, bytes, n);
    return code;
}

gguf_code gguf_ranks_max(gguf_ranks *r, gguf_code code, uint64_t *value, gguf_error *err) {
    code = gguf_ranks_agree(r, code, err);
    if (r && !code) r->ops->max(r, value);
    return code;
}

static gguf_code fail_alone(gguf_error *err) {
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "there is no other rank");
}

gguf_code gguf_ranks_send(gguf_ranks *r, uint32_t to, const void *bytes, size_t n,
                          gguf_error *err) {
    return r ? r->ops->send(r, to, bytes, n, err) : fail_alone(err);
}

gguf_code gguf_ranks_receive(gguf_ranks *r, uint32_t from, void *bytes, size_t n, gguf_error *err) {
    return r ? r->ops->receive(r, from, bytes, n, err) : fail_alone(err);
}

uint64_t gguf_ranks_progress(gguf_ranks *r, uint64_t done) {
    return r ? r->ops->progress(r, done) : done;
}
