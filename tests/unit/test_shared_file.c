/* One open file is read by several threads at once: keys, tensors, data, errors (under
 * ThreadSanitizer in scripts/test.sh threads). */
#include "libgguf/gguf.h"
#include "libgguf/hash.h"
#include "tests/unit/unit.h"

#include <pthread.h>

#define N_THREADS 4
#define N_TENSORS 100
#define N_COLS    64
#define N_ROUNDS  20

static const char *write_model(void) {
    const char *path = unit_temp("shared.gguf");
    static char names[N_TENSORS][16];
    gguf_tensor tensors[N_TENSORS];
    float row[N_COLS];
    gguf_error err = {0};
    gguf_meta *meta = gguf_meta_new();
    gguf_writer *w;
    gguf_meta_set_str(meta, "general.architecture", gguf_str_of("llama"));
    for (uint32_t i = 0; i < N_TENSORS; i++) {
        snprintf(names[i], sizeof names[i], "t%u", i);
        gguf_meta_set_u32(meta, names[i], i);
        tensors[i] = (gguf_tensor){.name = gguf_str_of(names[i]),
                                   .type = GGUF_TYPE_F32,
                                   .n_dims = 1,
                                   .dims = {N_COLS, 1, 1, 1}};
    }
    unit_ok(gguf_writer_open(path, meta, tensors, N_TENSORS, 32, true, &w, &err), err);
    for (size_t i = 0; i < N_TENSORS; i++) {
        for (size_t k = 0; k < N_COLS; k++) row[k] = (float)(i + k);
        unit_ok(gguf_writer_write(w, i, 0, row, sizeof row, &err), err);
    }
    unit_ok(gguf_writer_commit(w, &err), err);
    gguf_meta_free(meta);
    return path;
}

typedef struct reader {
    pthread_t thread;
    const gguf_file *file;
    size_t first, n_wrong;
} reader;

/* What is wrong with tensor and key number i. */
static size_t check_one(const gguf_file *f, size_t i) {
    char name[16];
    uint64_t value = 0;
    float sum = 0;
    snprintf(name, sizeof name, "t%zu", i);
    const gguf_tensor *t = gguf_file_find_tensor(f, name);
    if (!t || t != gguf_file_tensor(f, i)) return 1;
    const float *row = gguf_file_data(f, t);
    for (size_t k = 0; k < N_COLS; k++) sum += row[k];
    gguf_file_release(f, t, 0, t->n_bytes);
    bool found = gguf_kv_u64(gguf_meta_find(gguf_file_meta(f), name), &value) && value == i;
    return !found + (sum != (float)(N_COLS * i + N_COLS * (N_COLS - 1) / 2));
}

static void *read_all(void *ctx) {
    reader *r = ctx;
    for (size_t round = 0; round < N_ROUNDS; round++)
        for (size_t i = 0; i < N_TENSORS; i++)
            r->n_wrong += check_one(r->file, (r->first + i) % N_TENSORS);
    r->n_wrong += gguf_file_find_tensor(r->file, "absent") != NULL;
    return NULL;
}

START_TEST(threads_share_an_open_file) {
    const char *path = write_model();
    reader readers[N_THREADS];
    gguf_error err = {0};
    gguf_file *file;
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
    for (size_t i = 0; i < N_THREADS; i++) {
        readers[i] = (reader){.file = file, .first = i * N_TENSORS / N_THREADS};
        ck_assert_int_eq(pthread_create(&readers[i].thread, NULL, read_all, &readers[i]), 0);
    }
    for (size_t i = 0; i < N_THREADS; i++) pthread_join(readers[i].thread, NULL);
    for (size_t i = 0; i < N_THREADS; i++) ck_assert_uint_eq(readers[i].n_wrong, 0);
    gguf_file_close(file);
    unlink(path);
}
END_TEST

/* ---- hashing by windows ------------------------------------------------------------------ */

static gguf_hash hash_of(const void *bytes, size_t n, const void *more, size_t n_more) {
    gguf_hasher *h;
    gguf_error err = {0};
    unit_ok(gguf_hasher_new(GGUF_HASH_XXH3, &h, &err), err);
    gguf_hasher_add(h, bytes, n);
    gguf_hasher_add(h, more, n_more);
    return gguf_hasher_end(h);
}

/* A tensor longer than a window of the hash, an empty one and a short one. */
START_TEST(hashes_do_not_depend_on_windows) {
    enum { LONG = 70 << 20, SHORT = 128 };
    gguf_tensor tensors[3] = {
        {.name = gguf_str_of("long"), .type = GGUF_TYPE_I8, .n_dims = 1, .dims = {LONG, 1, 1, 1}},
        {.name = gguf_str_of("none"), .type = GGUF_TYPE_I8, .n_dims = 1, .dims = {0, 1, 1, 1}},
        {.name = gguf_str_of("short"),
         .type = GGUF_TYPE_I8,
         .n_dims = 1,
         .dims = {SHORT, 1, 1, 1}}};
    gguf_error err = {0};
    gguf_meta *meta = gguf_meta_new();
    uint8_t *header, *bytes;
    uint64_t n_data;
    size_t n;
    gguf_hash hashes[3], whole;
    gguf_file *file;
    gguf_pool *pool;
    unit_ok(gguf_layout(tensors, 3, 32, &n_data, &err), err);
    unit_ok(gguf_header_encode(meta, tensors, 3, 32, &header, &n, &err), err);
    bytes = malloc(n + n_data);
    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, header, n);
    for (size_t i = 0; i < n_data; i++) bytes[n + i] = (uint8_t)(i * 7 + (i >> 11));
    unit_ok(gguf_file_from_memory(bytes, n + n_data, "m", GGUF_OPEN_DEFAULT, &file, &err), err);
    unit_ok(gguf_pool_new(3, &pool, &err), err);
    unit_ok(gguf_hash_tensors(file, GGUF_HASH_XXH3, pool, NULL, hashes, &whole, &err), err);
    const uint8_t *first = bytes + n, *last = bytes + n + LONG;
    ck_assert_str_eq(hashes[0].hex, hash_of(first, LONG, "", 0).hex);
    ck_assert_str_eq(hashes[1].hex, hash_of("", 0, "", 0).hex);
    ck_assert_str_eq(hashes[2].hex, hash_of(last, SHORT, "", 0).hex);
    ck_assert_str_eq(whole.hex, hash_of(first, LONG, last, SHORT).hex);
    gguf_pool_free(pool);
    gguf_file_close(file);
    gguf_meta_free(meta);
    free(header);
    free(bytes);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("shared_file");
    TCase *tc = tcase_create("shared_file");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, threads_share_an_open_file);
    tcase_add_test(tc, hashes_do_not_depend_on_windows);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
