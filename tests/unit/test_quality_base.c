/* Saved bases: the divergence that they give against the exact one, for distributions of several
 * shapes and through files; broken files. */
#include "libgguf/hash.h"
#include "runtime/measure/quality_internal.h"
#include "unit_model.h"

#include <math.h>

enum { N_VOCAB = 32000, N_ROWS = 200 };

/* Uniform in (0, 1), and normal. */
static uint64_t state;

static double uniform(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 11) + 0.5) * 0x1p-53;
}

static double normal(void) {
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

typedef enum shape { FLAT, ZIPF, PEAKED, DISAGREEING } shape;

/* Logits of a base and of a model that differs by noise. */
static void fill_logits(shape kind, double noise, float *p, float *q) {
    for (uint32_t i = 0; i < N_VOCAB; i++) {
        uint32_t rank = (i * 7919u + 13) % N_VOCAB;
        double logit = kind == FLAT   ? normal()
                       : kind == ZIPF ? -1.2 * log(rank + 1.0) + 0.5 * normal()
                                      : -2.5 * log(rank + 1.0) + normal();
        p[i] = (float)logit;
        q[i] = (float)(logit + noise * normal());
    }
    /* A token that only the model finds likely. */
    if (kind == DISAGREEING) q[(uint32_t)(uniform() * N_VOCAB)] += 12;
}

/* Mean over the rows of the estimate, relative to the exact mean. */
static double ratio_for(shape kind, double noise) {
    static float p_logits[N_VOCAB], q_logits[N_VOCAB];
    static double room[N_VOCAB];
    static uint8_t row[N_VOCAB];
    rt_base_layout layout = rt_base_layout_of(N_VOCAB);
    double exact = 0, estimated = 0;
    state = 1;
    ck_assert_uint_le(layout.row_bytes, sizeof row);
    for (uint64_t i = 0; i < N_ROWS; i++) {
        rt_token_score score;
        fill_logits(kind, noise, p_logits, q_logits);
        rt_distribution p = rt_distribution_of(p_logits, N_VOCAB);
        rt_distribution q = rt_distribution_of(q_logits, N_VOCAB);
        rt_base_put_row(&layout, &p, 17, i, room, row);
        rt_base_score(&layout, row, &q, &score);
        ck_assert_double_eq_tol(score.base_nll, -rt_ln_p(&p, 17), 1e-5);
        ck_assert_double_eq(score.same_top, p.top == q.top);
        exact += rt_divergence(&p, &q);
        estimated += score.kld;
    }
    return estimated / exact;
}

/* Within 2 %, whatever the shape and however small the divergence. */
START_TEST(estimate) {
    static const shape shapes[] = {FLAT, ZIPF, PEAKED, DISAGREEING};
    static const double noises[] = {0.5, 0.01};
    for (size_t s = 0; s < 4; s++)
        for (size_t n = 0; n < 2; n++) {
            double ratio = ratio_for(shapes[s], noises[n]);
            ck_assert_msg(fabs(ratio - 1) < 0.02, "shape %zu, noise %g: %g", s, noises[n], ratio);
        }
}
END_TEST

/* At most a hundredth of two bytes per token of the vocabulary, header included. */
START_TEST(sizes) {
    static const uint32_t vocabularies[] = {32000, 32064, 50257, 65536, 128256, 151936, 262144};
    for (size_t i = 0; i < sizeof vocabularies / sizeof vocabularies[0]; i++) {
        rt_base_layout l = rt_base_layout_of(vocabularies[i]);
        double n_bytes = RT_BASE_HEADER_BYTES + 100.0 * l.row_bytes;
        ck_assert_double_le(n_bytes, 0.01 * 100 * 2 * vocabularies[i]);
        ck_assert_uint_ge(l.n_entries, 140);
    }
    ck_assert_uint_eq(rt_base_layout_of(100).n_entries, 100);
    ck_assert_uint_eq(rt_base_layout_of(1).n_entries, 1);
}
END_TEST

/* One token that has everything, or next to it, and all alike. */
START_TEST(extremes) {
    static float p_logits[1000], q_logits[1000];
    static double room[1000];
    static uint8_t row[8192];
    rt_base_layout layout = rt_base_layout_of(1000);
    rt_token_score score;
    static const float highest[] = {2000, 730, 60, 0};
    for (size_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 1000; i++) {
            p_logits[i] = i == 5 ? highest[round] : 0;
            q_logits[i] = i == 5 ? highest[round] / 100 : 0;
        }
        rt_distribution p = rt_distribution_of(p_logits, 1000);
        rt_distribution q = rt_distribution_of(q_logits, 1000);
        rt_base_put_row(&layout, &p, 5, 0, room, row);
        rt_base_score(&layout, row, &q, &score);
        ck_assert_double_eq_tol(score.kld, rt_divergence(&p, &q), 1e-4);
    }
}
END_TEST

/* ---- files ------------------------------------------------------------------------------- */

enum { N_TOKENS = 100, N_CTX = 32 };

static int32_t tokens[N_TOKENS];

static rt_quality_opts small_opts(void) {
    rt_quality_opts opts = rt_quality_defaults();
    unit_reference ref = unit_reference_of("models/llama");
    for (size_t i = 0; i < N_TOKENS; i++) tokens[i] = ref.tokens[i * 5 % ref.n];
    unit_reference_clear(&ref);
    opts.session.n_ctx = N_CTX;
    opts.session.n_threads = 2;
    opts.bos = 1;
    return opts;
}

static const char *save_base(rt_quality_opts opts) {
    gguf_error err = {0};
    rt_quality quality;
    rt_model *base = unit_model("models/llama", GGUF_TYPE_BF16);
    opts.save_base = unit_temp("quality.base");
    opts.replace = true;
    unit_ok(rt_quality_measure(base, NULL, tokens, N_TOKENS, &opts, &quality, &err), err);
    rt_model_close(base);
    return opts.save_base;
}

START_TEST(against_a_saved_base) {
    gguf_error err = {0};
    rt_quality two, saved, again;
    rt_quality_opts opts = small_opts();
    rt_quality_base *file;
    const char *path = save_base(opts);
    rt_model *base = unit_model("models/llama", GGUF_TYPE_BF16);
    rt_model *model = unit_model("models/llama", GGUF_TYPE_Q8_0);
    unit_ok(rt_quality_measure(model, base, tokens, N_TOKENS, &opts, &two, &err), err);
    unit_ok(rt_quality_base_open(path, &file, &err), err);
    opts.saved_base = file;
    unit_ok(rt_quality_measure(model, NULL, tokens, N_TOKENS, &opts, &saved, &err), err);
    ck_assert_double_eq_tol(saved.kld_mean / two.kld_mean, 1, 0.1); /* 45 tokens only */
    ck_assert_double_eq_tol(saved.base_ppl / two.base_ppl, 1, 1e-6);
    ck_assert_double_eq(saved.top1_agreement, two.top1_agreement);
    ck_assert_double_eq(saved.ppl, two.ppl);
    opts.session.n_threads = 1;
    opts.session.n_batch = 3;
    unit_ok(rt_quality_measure(model, NULL, tokens, N_TOKENS, &opts, &again, &err), err);
    ck_assert_mem_eq(&saved, &again, sizeof saved);
    opts.n_chunks = 2; /* fewer than were saved */
    unit_ok(rt_quality_measure(model, NULL, tokens, N_TOKENS, &opts, &again, &err), err);
    ck_assert_uint_eq(again.n_chunks, 2);
    rt_quality_base_close(file);
    rt_model_close(base);
    rt_model_close(model);
}
END_TEST

START_TEST(positions) {
    gguf_error err = {0};
    rt_quality q;
    rt_quality_opts opts = small_opts();
    rt_model *base = unit_model("models/llama", GGUF_TYPE_BF16);
    rt_model *model = unit_model("models/llama", GGUF_TYPE_Q8_0);
    unit_ok(rt_quality_measure(model, base, tokens, N_TOKENS, &opts, &q, &err), err);
    double nll = 0, kld = 0, n = 0;
    ck_assert_uint_eq(q.n_positions, RT_QUALITY_POSITIONS);
    ck_assert_uint_eq(q.positions[0].first, N_CTX / 2 + 1);
    ck_assert_uint_eq(q.positions[q.n_positions - 1].last, N_CTX - 1);
    for (size_t i = 0; i < q.n_positions; i++) {
        const rt_quality_position *p = &q.positions[i];
        double width = p->last - p->first + 1;
        if (i) ck_assert_uint_eq(p->first, q.positions[i - 1].last + 1);
        ck_assert_double_gt(p->ppl_stderr, 0);
        nll += width * log(p->ppl), kld += width * p->kld_mean, n += width;
    }
    ck_assert_double_eq_tol(exp(nll / n) / q.ppl, 1, 1e-9);
    ck_assert_double_eq_tol(kld / n / q.kld_mean, 1, 1e-9);
    rt_model_close(base);
    rt_model_close(model);
}
END_TEST

START_TEST(wrong_base) {
    gguf_error err = {0};
    rt_quality q;
    rt_quality_opts opts = small_opts();
    rt_quality_base *file;
    rt_model *model = unit_model("models/llama", GGUF_TYPE_BF16);
    unit_ok(rt_quality_base_open(save_base(opts), &file, &err), err);
    opts.saved_base = file;
    unit_fails(rt_quality_measure(model, model, tokens, N_TOKENS, &opts, &q, &err), GGUF_E_USAGE,
               "two bases", err);
    err = (gguf_error){0};
    unit_fails(rt_quality_measure(model, NULL, tokens, N_CTX, &opts, &q, &err), GGUF_E_SHAPE,
               "another text", err);
    tokens[3]++;
    err = (gguf_error){0};
    unit_fails(rt_quality_measure(model, NULL, tokens, N_TOKENS, &opts, &q, &err), GGUF_E_SHAPE,
               "another text", err);
    opts.session.n_ctx = 16;
    err = (gguf_error){0};
    unit_fails(rt_quality_measure(model, NULL, tokens, N_TOKENS, &opts, &q, &err), GGUF_E_SHAPE,
               "chunks of 32 and begin token 1; the model has", err);
    rt_quality_base_close(file);
    rt_model_close(model);
}
END_TEST

static gguf_code open_bytes(const unsigned char *bytes, size_t n, gguf_error *err) {
    rt_quality_base *file;
    const char *path = unit_temp("broken.base");
    *err = (gguf_error){0};
    unit_write(path, bytes, n);
    gguf_code code = rt_quality_base_open(path, &file, err);
    rt_quality_base_close(file);
    return code;
}

/* Every prefix and every changed byte of a file is refused. */
START_TEST(broken_files) {
    gguf_error err = {0};
    size_t n;
    rt_quality_opts opts = small_opts();
    opts.n_chunks = 1;
    unsigned char *bytes = unit_read(save_base(opts), &n);
    ck_assert_int_eq(open_bytes(bytes, n, &err), GGUF_OK);
    for (size_t i = 0; i < n; i += i < 200 ? 1 : 97)
        ck_assert_int_eq(open_bytes(bytes, i, &err), GGUF_E_TRUNCATED);
    for (size_t i = 0; i < n; i += i < 400 ? 1 : 53) {
        bytes[i] ^= 0x55;
        ck_assert_int_ne(open_bytes(bytes, n, &err), GGUF_OK);
        bytes[i] ^= 0x55;
    }
    bytes[4] = 2;
    unit_fails(open_bytes(bytes, n, &err), GGUF_E_UNSUPPORTED, "version 2", err);
    free(bytes);
}
END_TEST

/* The same with the hash put right: rows are checked, and what passes can be used. */
START_TEST(hostile_rows) {
    gguf_error err = {0};
    size_t n, n_refused = 0;
    rt_quality q;
    rt_quality_opts opts = small_opts();
    opts.n_chunks = 1;
    rt_model *model = unit_model("models/llama", GGUF_TYPE_BF16);
    unsigned char *bytes = unit_read(save_base(opts), &n);
    const char *path = unit_temp("hostile.base");
    for (size_t i = 0; i < 160; i++) {
        unsigned char before = bytes[RT_BASE_HEADER_BYTES + i];
        bytes[RT_BASE_HEADER_BYTES + i] = i % 2 ? 0xFF : 0x7F;
        uint64_t hash = gguf_xxh3(bytes + RT_BASE_HASHED_FROM, n - RT_BASE_HASHED_FROM, 0);
        memcpy(bytes + 8, &hash, sizeof hash);
        rt_quality_base *file;
        unit_write(path, bytes, n);
        err = (gguf_error){0};
        gguf_code code = rt_quality_base_open(path, &file, &err);
        n_refused += code == GGUF_E_FORMAT && strstr(err.message, "row 0 has") != NULL;
        opts.saved_base = file;
        if (!code) (void)rt_quality_measure(model, NULL, tokens, N_TOKENS, &opts, &q, &err);
        rt_quality_base_close(file);
        bytes[RT_BASE_HEADER_BYTES + i] = before;
    }
    ck_assert_uint_ge(n_refused, 8);
    free(bytes);
    rt_model_close(model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("quality_base");
    TCase *tc = tcase_create("quality_base");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, estimate);
    tcase_add_test(tc, sizes);
    tcase_add_test(tc, extremes);
    tcase_add_test(tc, against_a_saved_base);
    tcase_add_test(tc, positions);
    tcase_add_test(tc, wrong_base);
    tcase_add_test(tc, broken_files);
    tcase_add_test(tc, hostile_rows);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
