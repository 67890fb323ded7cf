/* Calibration as commands do it: importance, Hessians layer by layer, types for a size, probes;
 * with several threads, which scripts/test.sh lets a race detector watch. */
#include "quant/allocate.h"
#include "runtime/calibrate/hessians.h"
#include "runtime/calibrate/sensitivity.h"
#include "runtime/chat/corpus.h"
#include "unit_model.h"

#include <signal.h>
#include <sys/resource.h>

enum { N_TOKENS = 96, N_CTX = 32 };

static int32_t tokens[N_TOKENS];

static rt_model *open_model(const char *folder, uint32_t type) {
    rt_model *model = unit_model(folder, type);
    int n_vocab = (int)rt_model_hparams(model)->n_vocab;
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = (i * 37 + 11) % n_vocab;
    return model;
}

static rt_calibrate_opts small_opts(unsigned n_threads) {
    rt_calibrate_opts opts = rt_calibrate_defaults();
    opts.n_ctx = N_CTX;
    opts.n_threads = n_threads;
    return opts;
}

static void check_entries(const quant_imatrix *a, const quant_imatrix *b) {
    ck_assert_uint_eq(quant_imatrix_count(a), quant_imatrix_count(b));
    for (size_t i = 0; i < quant_imatrix_count(a); i++) {
        const quant_imatrix_entry *x = quant_imatrix_at(a, i), *y = quant_imatrix_at(b, i);
        ck_assert_str_eq(x->name, y->name);
        ck_assert_mem_eq(x->sums, y->sums, x->n_mats * x->n_cols * sizeof *x->sums);
    }
}

START_TEST(importance_of_any_number_of_threads) {
    gguf_error err = {0};
    rt_model *model = open_model("models/qwen3_moe_wide", GGUF_TYPE_BF16);
    quant_imatrix *im[2];
    uint32_t n_done = 0;
    for (unsigned i = 0; i < 2; i++) {
        const rt_calibrate_opts opts = small_opts(1 + 2 * i);
        im[i] = quant_imatrix_new();
        unit_ok(rt_calibrate_importance(model, tokens, N_TOKENS, &opts, im[i], &n_done, &err), err);
        ck_assert_uint_eq(n_done, N_TOKENS / N_CTX);
    }
    check_entries(im[0], im[1]);
    for (unsigned i = 0; i < 2; i++) quant_imatrix_free(im[i]);
    rt_model_close(model);
}
END_TEST

START_TEST(less_than_a_chunk_is_refused) {
    gguf_error err = {0};
    rt_model *model = open_model("models/llama", GGUF_TYPE_F32);
    const rt_calibrate_opts opts = small_opts(1);
    quant_imatrix *im = quant_imatrix_new();
    rt_hessians *h;
    for (size_t n = 0; n < N_CTX; n += N_CTX - 1) {
        err = (gguf_error){0};
        unit_fails(rt_calibrate_importance(model, tokens, n, &opts, im, NULL, &err), GGUF_E_USAGE,
                   "one chunk has 32", err);
        err = (gguf_error){0};
        unit_fails(rt_hessians_new(model, tokens, n, &opts, ".", 0.05, &h, &err), GGUF_E_USAGE,
                   "one chunk has 32", err);
        ck_assert_ptr_null(h);
    }
    ck_assert_uint_eq(quant_imatrix_count(im), 0);
    quant_imatrix_free(im);
    rt_model_close(model);
}
END_TEST

/* All layers and the head; the sum of what the first weight of each layer saw. */
static double walk(const rt_model *model, unsigned n_threads) {
    gguf_error err = {0};
    gguf_pool *pool;
    rt_hessians *h;
    double sum = 0;
    const rt_calibrate_opts opts = small_opts(n_threads);
    unit_ok(gguf_pool_new(n_threads, &pool, &err), err);
    unit_ok(rt_hessians_new(model, tokens, N_TOKENS, &opts, ".", 0.05, &h, &err), err);
    ck_assert_uint_eq(rt_hessians_n_tokens(h), N_TOKENS);
    for (uint32_t layer = 0; layer < rt_model_hparams(model)->n_layer; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.attn_q.weight", layer);
        bool more;
        unit_ok(rt_hessians_next_layer(h, true, pool, &more, &err), err);
        ck_assert(!more);
        const quant_hessian *found = rt_hessians_find(h, name, 0);
        ck_assert_ptr_nonnull(found);
        for (size_t i = 0; i < found->n; i++) sum += (double)found->h[i * (found->n + 1)];
    }
    bool more;
    unit_ok(rt_hessians_head(h, pool, &more, &err), err);
    ck_assert(!more);
    rt_hessians_free(h);
    gguf_pool_free(pool);
    return sum;
}

START_TEST(hessians_of_any_number_of_threads) {
    rt_model *model = open_model("models/llama", GGUF_TYPE_F32);
    double one = walk(model, 1);
    ck_assert_double_gt(one, 0);
    ck_assert_double_eq(walk(model, 3), one);
    rt_model_close(model);
}
END_TEST

/* Activations that need a file of half a GiB where a file may have one MiB. */
START_TEST(a_full_disk_is_no_success) {
    gguf_error err = {0};
    rt_model *model = open_model("models/llama", GGUF_TYPE_F32);
    const rt_calibrate_opts opts = small_opts(1);
    size_t n = ((size_t)1 << 30) / (rt_model_hparams(model)->n_embd * sizeof(float));
    int32_t *many = calloc(n, sizeof *many);
    rt_hessians *h;
    struct rlimit before, small;
    ck_assert_ptr_nonnull(many);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){(rlim_t)1 << 20, before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    gguf_code code = rt_hessians_new(model, many, n, &opts, "/tmp", 0.05, &h, &err);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    unit_fails(code, GGUF_E_NOSPACE, "cannot keep 1073741824 bytes of activations there", err);
    ck_assert_ptr_null(strstr(err.message, "Success"));
    ck_assert_str_eq(err.file, "/tmp");
    free(many);
    rt_model_close(model);
}
END_TEST

static rt_ids corpus_ids(const rt_model *model, const char *chat_template) {
    gguf_error err = {0};
    rt_ids ids = {0};
    rt_tokenizer *tokenizer;
    gguf_meta *meta = gguf_meta_new();
    if (chat_template)
        gguf_meta_set_str(meta, "tokenizer.chat_template", gguf_str_of(chat_template));
    unit_ok(rt_tokenizer_new(gguf_file_meta(rt_model_file(model)), &tokenizer, &err), err);
    unit_ok(rt_corpus_ids("@default", meta, tokenizer, &ids, &err), err);
    rt_tokenizer_free(tokenizer);
    gguf_meta_free(meta);
    return ids;
}

static size_t count_id(const rt_ids *ids, int32_t id) {
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++) n += ids->data[i] == id;
    return n;
}

/* Conversations are written as the model knows them. */
START_TEST(corpus_by_the_models_template) {
    gguf_error err = {0};
    rt_model *model = open_model("models/qwen3", GGUF_TYPE_F32);
    rt_tokenizer *tokenizer;
    rt_ids mark = {0};
    unit_ok(rt_tokenizer_new(gguf_file_meta(rt_model_file(model)), &tokenizer, &err), err);
    unit_ok(rt_tokenize(tokenizer, "<|im_start|>", 12, RT_TOKENIZE_PARSE_SPECIAL, &mark, &err),
            err);
    ck_assert_uint_eq(mark.n, 1);
    rt_ids plain = corpus_ids(model, NULL);
    rt_ids chat = corpus_ids(model, "{% for m in messages %}<|im_start|>{{ m.role }}\n"
                                    "{{ m.content }}{% endfor %}");
    rt_ids refused = corpus_ids(model, "{{ raise_exception('no') }}");
    ck_assert_uint_ge(plain.n, 16384); /* the default of --samples */
    ck_assert_uint_eq(count_id(&plain, mark.data[0]), 0);
    ck_assert_uint_ge(count_id(&chat, mark.data[0]), 30);
    ck_assert_uint_eq(refused.n, plain.n);
    ck_assert_mem_eq(refused.data, plain.data, plain.n * sizeof *plain.data);
    ck_assert(rt_corpus_is_name("@other") && !rt_corpus_is_name("./@default"));
    unit_fails(rt_corpus_check("@other", &err), GGUF_E_USAGE, "only @default", err);
    rt_ids_clear(&plain);
    rt_ids_clear(&chat);
    rt_ids_clear(&refused);
    rt_ids_clear(&mark);
    rt_tokenizer_free(tokenizer);
    rt_model_close(model);
}
END_TEST

/* What a caller sees need not be guarded by it. */
typedef struct watcher {
    uint64_t n_calls, last, total;
} watcher;

static void watch(void *ctx, uint64_t done, uint64_t total) {
    watcher *w = ctx;
    ck_assert_uint_eq(done, w->last + 1);
    w->last = done;
    w->total = total;
    w->n_calls++;
}

START_TEST(allocation_of_any_number_of_threads) {
    gguf_error err = {0};
    rt_import *import;
    double errors[2] = {0, 0};
    unit_ok(rt_import_open(TEST_DATA "/models/deepseek_wide", NULL, &import, &err), err);
    quant_plan *plan = rt_import_plan(import);
    for (unsigned i = 0; i < 2; i++) {
        gguf_pool *pool;
        watcher w = {0};
        quant_allocation allocation = {0};
        quant_execute_opts opts = quant_execute_defaults();
        opts.progress = watch;
        opts.progress_ctx = &w;
        unit_ok(gguf_pool_new(1 + 2 * i, &pool, &err), err);
        unit_ok(quant_allocation_measure(&allocation, plan, pool, &opts, &err), err);
        ck_assert_uint_gt(w.n_calls, 3);
        ck_assert_uint_eq(w.n_calls, w.total);
        for (size_t t = 0; t < plan->n_tensors; t++)
            for (size_t c = 0; c < allocation.tensors[t].n; c++)
                errors[i] += allocation.tensors[t].list[c].error * (double)(t + c + 1);
        quant_allocation_clear(&allocation);
        gguf_pool_free(pool);
    }
    ck_assert_double_gt(errors[0], 0);
    ck_assert_double_eq(errors[0], errors[1]);
    rt_import_close(import);
}
END_TEST

START_TEST(probes_of_any_number_of_threads) {
    gguf_error err = {0};
    rt_model *model = open_model("models/llama", GGUF_TYPE_F32);
    double kld[2];
    for (unsigned i = 0; i < 2; i++) {
        rt_probe probe = {.tensor = "blk.0.ffn_down.weight", .type = GGUF_TYPE_Q4_0};
        rt_probe_opts opts = rt_probe_defaults();
        opts.n_ctx = N_CTX;
        opts.n_threads = 1 + 2 * i;
        unit_ok(rt_measure_probes(model, tokens, N_TOKENS, &opts, &probe, 1, &err), err);
        kld[i] = probe.kld;
    }
    ck_assert_double_gt(kld[0], 0);
    ck_assert_double_eq(kld[0], kld[1]);
    rt_model_close(model);
}
END_TEST

/* Every input that decides the numbers changes the hash; threads do not. */
START_TEST(hashes_tell_calibrations_apart) {
    rt_model *model = open_model("models/llama", GGUF_TYPE_F32);
    const rt_calibrate_opts opts = small_opts(1);
    uint64_t hash = rt_calibrate_hash(model, tokens, N_TOKENS, &opts);
    rt_calibrate_opts other[5] = {opts, opts, opts, opts, opts};
    other[0].n_threads = 7;
    other[1].n_ctx = N_CTX / 2;
    other[2].n_chunks = 2;
    other[3].bos = 1;
    other[4].precision = RT_PRECISION_Q8;
    for (size_t i = 0; i < 5; i++)
        ck_assert((rt_calibrate_hash(model, tokens, N_TOKENS, &other[i]) == hash) == (i == 0));
    ck_assert(rt_calibrate_hash(model, tokens, N_TOKENS - 1, &opts) != hash);
    tokens[N_TOKENS - 1]++;
    ck_assert(rt_calibrate_hash(model, tokens, N_TOKENS, &opts) != hash);
    tokens[N_TOKENS - 1]--;
    rt_model_close(model);
    model = open_model("models/llama", GGUF_TYPE_F16);
    ck_assert(rt_calibrate_hash(model, tokens, N_TOKENS, &opts) != hash);
    rt_model_close(model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("calibrate");
    TCase *tc = tcase_create("calibrate");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, importance_of_any_number_of_threads);
    tcase_add_test(tc, less_than_a_chunk_is_refused);
    tcase_add_test(tc, hessians_of_any_number_of_threads);
    tcase_add_test(tc, corpus_by_the_models_template);
    tcase_add_test(tc, a_full_disk_is_no_success);
    tcase_add_test(tc, allocation_of_any_number_of_threads);
    tcase_add_test(tc, probes_of_any_number_of_threads);
    tcase_add_test(tc, hashes_tell_calibrations_apart);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
