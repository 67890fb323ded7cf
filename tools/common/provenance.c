/* How a file was made. */
#include "tools/common/provenance.h"

#include "libgguf/hash.h"
#include "libgguf/map.h"
#include "tools/common/tool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_BYTES ((size_t)1 << 20)

static gguf_code hash_fd(int fd, const char *path, gguf_hasher *hasher, gguf_error *err) {
    uint8_t *buffer = malloc(STEP_BYTES);
    ssize_t n = 1;
    if (!buffer) return gguf_fail_memory(err);
    while (n > 0 && !atomic_load(&tool_cancelled)) {
        n = read(fd, buffer, STEP_BYTES);
        if (n > 0) gguf_hasher_add(hasher, buffer, (size_t)n);
    }
    free(buffer);
    if (n < 0) return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot read it again");
    if (n > 0) return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    return GGUF_OK;
}

static gguf_code hash_file(const char *path, gguf_hash *out, gguf_error *err) {
    gguf_hasher *hasher;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "cannot open");
    gguf_code code = gguf_hasher_new(GGUF_HASH_XXH3, &hasher, err);
    if (!code) {
        code = hash_fd(fd, path, hasher, err);
        *out = gguf_hasher_end(hasher);
    }
    close(fd);
    return code;
}

gguf_code provenance_set(gguf_meta *meta, const char *recipe, const char *imatrix_file,
                         gguf_error *err) {
    gguf_hash hash;
    if (recipe && *recipe) gguf_meta_set_str(meta, "ggufkit.recipe", gguf_str_of(recipe));
    if (!imatrix_file) return gguf_meta_status(meta, err);
    gguf_code code = hash_file(imatrix_file, &hash, err);
    if (!code) gguf_meta_set_str(meta, "ggufkit.imatrix.xxh3", gguf_str_of(hash.hex));
    return code ? code : gguf_meta_status(meta, err);
}

/* ---- source files ------------------------------------------------------------------------ */

typedef struct sources {
    const rt_import *import;
    const gguf_ranks *ranks;
    gguf_hash *hashes;
    gguf_error error;
    atomic_flag failed;
} sources;

static gguf_code set_hashes(rt_import *import, const gguf_hash *hashes, gguf_error *err) {
    size_t n = rt_import_n_files(import);
    gguf_str *texts = calloc(n + 1, sizeof *texts);
    if (!texts) return gguf_fail_memory(err);
    for (size_t i = 0; i < n; i++) texts[i] = gguf_str_of(hashes[i].hex);
    gguf_meta *meta = rt_import_plan(import)->meta;
    gguf_meta_set_str_array(meta, "ggufkit.source.xxh3", n, texts);
    free(texts);
    return gguf_meta_status(meta, err);
}

gguf_code provenance_set_sources(rt_import *import, gguf_error *err) {
    size_t n = rt_import_n_files(import);
    if (n == 0) return GGUF_OK;
    gguf_str *names = calloc(n, sizeof *names);
    gguf_hash *zeros = calloc(n, sizeof *zeros);
    gguf_code code = names && zeros ? GGUF_OK : GGUF_E_NOMEM;
    if (code) gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "out of memory");
    for (size_t i = 0; i < n && !code; i++) {
        const char *slash = strrchr(rt_import_file(import, i), '/');
        names[i] = gguf_str_of(slash ? slash + 1 : rt_import_file(import, i));
        memset(zeros[i].hex, '0', 16);
    }
    if (!code) {
        gguf_meta_set_str_array(rt_import_plan(import)->meta, "ggufkit.source.files", n, names);
        code = set_hashes(import, zeros, err);
    }
    free(names);
    free(zeros);
    return code;
}

static void hash_task(void *ctx, size_t task, unsigned worker) {
    sources *s = ctx;
    gguf_error why = {0};
    (void)worker;
    if (task % gguf_ranks_n(s->ranks) != gguf_ranks_own(s->ranks)) return;
    if (hash_file(rt_import_file(s->import, task), &s->hashes[task], &why) &&
        !atomic_flag_test_and_set(&s->failed))
        s->error = why;
}

gguf_code provenance_seal(rt_import *import, gguf_ranks *ranks, gguf_pool *pool, gguf_error *err) {
    size_t n = rt_import_n_files(import);
    sources s = {.import = import, .ranks = ranks, .failed = ATOMIC_FLAG_INIT};
    s.hashes = calloc(n + 1, sizeof *s.hashes);
    if (!s.hashes) return gguf_fail_memory(err);
    gguf_pool_run(pool, n, hash_task, &s);
    gguf_code code = s.error.code;
    if (code && err && !err->code) *err = s.error;
    for (size_t i = 0; i < n && (ranks || !code); i++) {
        uint32_t from = (uint32_t)(i % gguf_ranks_n(ranks));
        code = gguf_ranks_spread(ranks, code, from, &s.hashes[i], sizeof s.hashes[i], err);
    }
    if (!code && n) code = set_hashes(import, s.hashes, err);
    free(s.hashes);
    return code;
}
