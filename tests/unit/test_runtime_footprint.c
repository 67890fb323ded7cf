/* Memory: sessions allocate what the footprint says, and a process needs about what it predicts. */
#include "libgguf/map.h"
#include "runtime/engine/cpu/cpu_internal.h"
#include "runtime/engine/session_internal.h"
#include "runtime/sizing/footprint.h"
#include "runtime/sizing/mapped.h"
#include "unit_model.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static const rt_session_opts variants[] = {
    {.n_ctx = 0, .n_batch = 512, .kv_type = GGUF_TYPE_F16, .n_threads = 2},
    {.n_ctx = 1, .n_batch = 1, .kv_type = GGUF_TYPE_F32, .n_threads = 1},
    {.n_ctx = 65, .n_batch = 512, .kv_type = GGUF_TYPE_Q8_0, .n_threads = 3},
    {.n_ctx = 4096,
     .n_batch = 64,
     .kv_type = GGUF_TYPE_Q4_0,
     .n_threads = 1,
     .precision = RT_PRECISION_F32},
    {.n_ctx = 128, .n_seqs = 5, .n_kv_tokens = 300, .n_batch = 7, .kv_type = GGUF_TYPE_F16},
};

/* aligned_alloc rounds up to the alignment, malloc to its own. */
static void check_block(void *block, uint64_t n_bytes) {
    size_t usable = malloc_usable_size(block);
    ck_assert_uint_ge(usable, n_bytes);
    ck_assert_uint_lt(usable, n_bytes + 8192);
}

static const char *const families[] = {
    "models/mistral", "models/gemma3",     "models/deepseek_v3", "models/bert",
    "models/mamba2",  "models/nemotron_h", "models/qwen3_next",  "models/nemotron_h_latent",
    "models/gemma4",  "models/gemma4_moe", "models/step3p5",     "models/lfm2",
    "models/jamba",   "models/falcon_h1"};

static void check_allocation(const char *folder, const rt_session_opts *opts) {
    gguf_error err = {0};
    rt_footprint footprint;
    rt_session *session;
    rt_model *model = unit_model(folder, GGUF_TYPE_F32);
    const rt_hparams *hp = rt_model_hparams(model);
    unit_ok(rt_footprint_of(hp, opts, 1000, 0, &footprint, &err), err);
    unit_ok(rt_session_new(model, opts, &session, &err), err);
    const rt_cpu *cpu = rt_cpu_of(session->places[0]);
    check_block(cpu->cache, footprint.kv_bytes);
    check_block(cpu->arena, session->layout.arena_bytes + session->layout.work_bytes[0]);
    check_block(session->host, session->layout.host_bytes);
    ck_assert_uint_eq(footprint.compute_bytes, session->layout.arena_bytes +
                                                   session->layout.work_bytes[0] +
                                                   session->layout.host_bytes);
    ck_assert_uint_eq(footprint.weights_bytes, 1000);
    ck_assert_uint_eq(footprint.total_bytes, 1000 + footprint.kv_bytes + footprint.compute_bytes +
                                                 footprint.overhead_bytes);
    rt_session_free(session);
    rt_model_close(model);
}

START_TEST(allocated_is_predicted) {
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        bool learned = strcmp(families[i], "models/bert") == 0;
        if (!learned || variants[_i].n_ctx <= 128) check_allocation(families[i], &variants[_i]);
    }
}
END_TEST

static uint64_t kv_bytes_of(const rt_model *model, const rt_session_opts *opts) {
    gguf_error err = {0};
    rt_footprint footprint;
    unit_ok(rt_footprint_of(rt_model_hparams(model), opts, 0, 0, &footprint, &err), err);
    return footprint.kv_bytes;
}

/* By hand: one row of 48 + 16 numbers per token and layer, whatever the number of heads. */
START_TEST(size_of_a_latent_cache) {
    rt_model *model = unit_model("models/deepseek_v3", GGUF_TYPE_F32);
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = 128;
    ck_assert_uint_eq(kv_bytes_of(model, &opts), 128 * 3 * 64 * 2);
    opts.kv_type = GGUF_TYPE_Q8_0;
    ck_assert_uint_eq(kv_bytes_of(model, &opts), 128 * 3 * 68);
    rt_model_close(model);
}
END_TEST

/* Two of three layers see 16 tokens: they need no more pages in a longer context. Two KV heads of
 * 48 for K and for V. */
START_TEST(size_of_a_windowed_cache) {
    rt_model *model = unit_model("models/gemma3", GGUF_TYPE_F32);
    rt_session_opts opts = rt_session_defaults();
    const uint64_t page = UINT64_C(64) * 2 * (2 * 48 * 2);
    opts.n_batch = 64;
    opts.n_ctx = 64;
    ck_assert_uint_eq(kv_bytes_of(model, &opts), 3 * page);
    opts.n_ctx = 1024;
    ck_assert_uint_eq(kv_bytes_of(model, &opts), 16 * page + 2 * 5 * page);
    opts.n_ctx = 4096;
    ck_assert_uint_eq(kv_bytes_of(model, &opts), 64 * page + 2 * 5 * page);
    opts.n_seqs = 4;
    opts.n_kv_tokens = 4096;
    ck_assert_uint_eq(kv_bytes_of(model, &opts), 64 * page + 2 * (4 * 3 + 2) * page);
    rt_model_close(model);
}
END_TEST

/* By hand: the last three of six layers keep no rows. Two with a window have 2 KV heads of 16, the
 * third one of 32. */
START_TEST(size_of_a_shared_cache) {
    rt_model *model = unit_model("models/gemma4", GGUF_TYPE_F32);
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = 64;
    ck_assert_uint_eq(kv_bytes_of(model, &opts), UINT64_C(64) * (2 * 64 + 128) * 2);
    rt_model_close(model);
}
END_TEST

/* By hand: 2 KV heads of 48 in F16, three layers with a window of 16, whole pages of 64 tokens. */
START_TEST(size_of_the_cache) {
    gguf_error err = {0};
    rt_footprint footprint;
    rt_model *model = unit_model("models/mistral", GGUF_TYPE_F32);
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = 100;
    unit_ok(rt_footprint_of(rt_model_hparams(model), &opts, 0, 0, &footprint, &err), err);
    ck_assert_uint_eq(footprint.kv_bytes, 128 * 3 * 2 * (2 * 48 * 2));
    opts.kv_type = GGUF_TYPE_Q8_0;
    unit_ok(rt_footprint_of(rt_model_hparams(model), &opts, 0, 0, &footprint, &err), err);
    ck_assert_uint_eq(footprint.kv_bytes, 128 * 3 * 2 * (3 * 34));
    rt_model_close(model);
}
END_TEST

START_TEST(unfit_blocks) {
    gguf_error err = {0};
    rt_footprint footprint;
    rt_model *model = unit_model("models/mistral", GGUF_TYPE_F32);
    rt_hparams hp = *rt_model_hparams(model);
    rt_session_opts opts = rt_session_defaults();
    for (uint32_t i = 0; i < hp.n_layer; i++) hp.layers[i].head_dim_k = 40;
    opts.kv_type = GGUF_TYPE_Q8_0;
    unit_fails(rt_footprint_of(&hp, &opts, 0, 0, &footprint, &err), GGUF_E_SHAPE,
               "this model's have 80 and 96", err);
    rt_model_close(model);
}
END_TEST

/* Of an embedding of its own, a part; of one that is the output too, all. */
START_TEST(resident_weights) {
    gguf_error err = {0};
    rt_footprint own, tied;
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = 1;
    rt_model *model = unit_model("models/llama", GGUF_TYPE_F32);
    unit_ok(rt_footprint_of_model(model, &opts, true, &own, &err), err);
    ck_assert_uint_lt(own.resident_bytes, own.weights_bytes);
    ck_assert_uint_gt(own.resident_bytes, own.weights_bytes - 64 * 640 * 4);
    rt_model_close(model);
    model = unit_model("models/llama3", GGUF_TYPE_F32);
    unit_ok(rt_footprint_of_model(model, NULL, true, &tied, &err), err);
    ck_assert_uint_eq(tied.resident_bytes, tied.weights_bytes);
    rt_model_close(model);
}
END_TEST

/* A place of a file makes at least its page resident, and no more than the table. */
START_TEST(around_a_place) {
    enum { N_BYTES = 4 << 20 };
    const char *path = unit_temp("mapped.bin");
    char *bytes = calloc(N_BYTES, 1);
    gguf_map map;
    gguf_error err = {0};
    unit_write(path, bytes, N_BYTES);
    free(bytes);
    unit_ok(gguf_map_open(path, &map, &err), err);
    uint64_t around = rt_mapped_around(map.data, N_BYTES);
    ck_assert_uint_ge(around, (uint64_t)sysconf(_SC_PAGESIZE));
    ck_assert_uint_le(around, N_BYTES);
    ck_assert_uint_eq(rt_mapped_around(map.data, 0), RT_MAPPED_USUALLY);
    ck_assert_uint_le(rt_mapped_around(map.data, 1), RT_MAPPED_USUALLY);
    gguf_map_close(&map);
    unlink(path);
    ck_assert_uint_eq(rt_footprint_looked_up(0, 4096, 7), 0);
    ck_assert_uint_lt(rt_footprint_looked_up(N_BYTES, 4096, 7), 7 * 4096 + 1);
    ck_assert_uint_gt(rt_footprint_looked_up(N_BYTES, 65536, 7),
                      rt_footprint_looked_up(N_BYTES, 4096, 7));
}
END_TEST

/* ---- resident memory ----------------------------------------------------------------------------
 */

#ifndef SANITIZED
/* In a process of its own: fill a context of the demo model and report the predicted peak. */
static void fill_context(const char *path, int out) {
    gguf_error err = {0};
    rt_model *model;
    rt_session *session;
    rt_footprint footprint;
    rt_session_opts opts = rt_session_defaults();
    int32_t tokens[256];
    opts.n_ctx = 256;
    for (int i = 0; i < 256; i++) tokens[i] = i * 16 + 1; /* from all over the embedding */
    if (rt_model_open(path, &model, &err) || rt_session_new(model, &opts, &session, &err) ||
        rt_session_eval(session, tokens, 256, RT_LOGITS_NONE, NULL, &err))
        _exit(1);
    rt_footprint_of_model(model, &opts, false, &footprint, &err);
    _exit(write(out, &footprint, sizeof footprint) != sizeof footprint);
}

START_TEST(peak_memory) {
    const char *path = unit_convert("demo-model", GGUF_TYPE_BF16);
    int ends[2], status;
    struct rusage usage;
    rt_footprint footprint;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) fill_context(path, ends[1]);
    ck_assert_int_eq(wait4(child, &status, 0, &usage), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(read(ends[0], &footprint, sizeof footprint), (ssize_t)sizeof footprint);
    close(ends[0]);
    close(ends[1]);
    unlink(path);
    double measured = (double)usage.ru_maxrss * 1024, predicted = (double)footprint.total_bytes;
    printf("peak: predicted %.1f MB, measured %.1f MB\n", predicted / 1e6, measured / 1e6);
    ck_assert_double_le(fabs(predicted - measured), 8 << 20);
}
END_TEST
#endif

int main(void) {
    Suite *suite = suite_create("runtime_footprint");
    TCase *tc = tcase_create("footprint");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, allocated_is_predicted, 0, 5);
    tcase_add_test(tc, size_of_the_cache);
    tcase_add_test(tc, size_of_a_latent_cache);
    tcase_add_test(tc, size_of_a_windowed_cache);
    tcase_add_test(tc, size_of_a_shared_cache);
    tcase_add_test(tc, unfit_blocks);
    tcase_add_test(tc, resident_weights);
    tcase_add_test(tc, around_a_place);
#ifndef SANITIZED
    tcase_add_test(tc, peak_memory);
#endif
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
