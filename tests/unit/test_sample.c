/* Sampling: filters, determinism, frequencies. */
#include "runtime/engine/sample.h"
#include "unit.h"

#include <math.h>
#include <stdbool.h>

enum { N_VOCAB = 8, N_DRAWS = 20000 };

/* ln of 0.4, 0.3, 0.15, 0.1, 0.04, 0.01 and twice 0, not in order. */
static void fill_logits(float *logits) {
    static const double p[N_VOCAB] = {0.1, 0.4, 0, 0.04, 0.3, 0.01, 0.15, 0};
    for (int i = 0; i < N_VOCAB; i++) logits[i] = (float)log(p[i]) + 3;
}

static rt_sampler *sampler_of(rt_sampler_opts opts) {
    gguf_error err = {0};
    rt_sampler *sampler;
    unit_ok(rt_sampler_new(&opts, N_VOCAB, &sampler, &err), err);
    return sampler;
}

static rt_sampling *sampling_of(uint32_t n_vocab) {
    gguf_error err = {0};
    rt_sampling *sampling;
    unit_ok(rt_sampling_new(n_vocab, NULL, &sampling, &err), err);
    return sampling;
}

static int32_t next_of(rt_sampling *sampling, rt_sampler *sampler, float *logits) {
    gguf_error err = {0};
    int32_t id;
    unit_ok(rt_sample_rows(sampling, &sampler, &logits, 1, &id, &err), err);
    return id;
}

/* The next token of the small vocabulary. */
static int32_t next(rt_sampler *sampler, const float *logits) {
    float copy[N_VOCAB];
    rt_sampling *sampling = sampling_of(N_VOCAB);
    memcpy(copy, logits, sizeof copy);
    int32_t id = next_of(sampling, sampler, copy);
    ck_assert(memcmp(copy, logits, sizeof copy) == 0);
    rt_sampling_free(sampling);
    return id;
}

static void count_draws(rt_sampler_opts opts, unsigned *counts) {
    float logits[N_VOCAB];
    rt_sampler *sampler = sampler_of(opts);
    fill_logits(logits);
    memset(counts, 0, N_VOCAB * sizeof *counts);
    for (int i = 0; i < N_DRAWS; i++) {
        int32_t id = next(sampler, logits);
        ck_assert(id >= 0 && id < N_VOCAB);
        counts[id]++;
    }
    rt_sampler_free(sampler);
}

/* Five standard deviations around the expected share. */
static void check_share(unsigned count, double share) {
    double expected = N_DRAWS * share, spread = 5 * sqrt(expected * (1 - share)) + 1e-9;
    ck_assert_msg(fabs(count - expected) <= spread, "%u draws, expected %g", count, expected);
}

START_TEST(frequencies) {
    unsigned counts[N_VOCAB];
    count_draws((rt_sampler_opts){.temp = 1, .top_p = 1, .seed = 7}, counts);
    check_share(counts[1], 0.4);
    check_share(counts[4], 0.3);
    check_share(counts[6], 0.15);
    check_share(counts[0], 0.1);
    check_share(counts[3], 0.04);
    check_share(counts[5], 0.01);
    ck_assert_uint_eq(counts[2] + counts[7], 0);
}
END_TEST

START_TEST(temperature) {
    unsigned counts[N_VOCAB];
    double sum = 0;
    for (int i = 0; i < 2; i++) sum += pow(i ? 0.3 : 0.4, 2);
    count_draws((rt_sampler_opts){.temp = 0.5f, .top_k = 2, .top_p = 1, .seed = 1}, counts);
    check_share(counts[1], 0.4 * 0.4 / sum);
    check_share(counts[4], 0.3 * 0.3 / sum);
}
END_TEST

/* How many tokens each filter leaves. */
static const struct {
    uint32_t top_k;
    float top_p, min_p;
    unsigned n_left;
} filters[] = {
    {0, 1, 0, 6},     {3, 1, 0, 3},        {1, 1, 0, 1},     {100, 1, 0, 6},  {0, 0.69f, 0, 2},
    {0, 0.71f, 0, 3}, {0, 0, 0, 1},        {3, 0.8f, 0, 2},  {3, 0.9f, 0, 3}, {0, 1, 0.2f, 4},
    {0, 1, 1, 1},     {0, 0.96f, 0.3f, 3}, {5, 1, 0.05f, 5},
};

START_TEST(filter_sizes) {
    unsigned counts[N_VOCAB], n = 0;
    count_draws((rt_sampler_opts){.temp = 3,
                                  .top_k = filters[_i].top_k,
                                  .top_p = filters[_i].top_p,
                                  .min_p = filters[_i].min_p,
                                  .seed = 99},
                counts);
    for (int i = 0; i < N_VOCAB; i++) n += counts[i] > 0;
    ck_assert_uint_eq(n, filters[_i].n_left);
}
END_TEST

START_TEST(greedy) {
    float logits[N_VOCAB] = {0, 5, NAN, 5, INFINITY, -INFINITY, 4, 1};
    rt_sampler *sampler = sampler_of((rt_sampler_opts){.temp = 0, .top_p = 1});
    ck_assert_int_eq(next(sampler, logits), 1);
    for (int i = 0; i < N_VOCAB; i++) logits[i] = NAN;
    ck_assert_int_eq(next(sampler, logits), -1);
    rt_sampler_free(sampler);
    sampler = sampler_of((rt_sampler_opts){.temp = 1, .top_p = 1});
    ck_assert_int_eq(next(sampler, logits), -1);
    logits[6] = -3;
    ck_assert_int_eq(next(sampler, logits), 6);
    rt_sampler_free(sampler);
}
END_TEST

START_TEST(same_seed_same_tokens) {
    float logits[N_VOCAB];
    int32_t first[64];
    fill_logits(logits);
    for (int round = 0; round < 3; round++) {
        rt_sampler_opts opts = rt_sampler_defaults();
        opts.seed = round < 2 ? 42 : 43;
        rt_sampler *sampler = sampler_of(opts);
        int n_same = 0;
        for (int i = 0; i < 64; i++) {
            int32_t id = next(sampler, logits);
            if (round == 0) first[i] = id;
            n_same += first[i] == id;
        }
        ck_assert(round < 2 ? n_same == 64 : n_same < 64);
        rt_sampler_free(sampler);
    }
}
END_TEST

/* Greedy: the penalty makes the second best the best, once for each token that was taken lately. */
START_TEST(repetition_penalty) {
    const float logits[N_VOCAB] = {4, 3, 2.5f, -1, -9, -9, -9, -9};
    rt_sampler_opts opts = {.top_p = 1, .repeat_penalty = 2, .repeat_last_n = 2};
    rt_sampler *sampler = sampler_of(opts);
    static const int32_t expected[] = {0, 1, 2, 0, 1, 2};
    for (int i = 0; i < 6; i++) ck_assert_int_eq(next(sampler, logits), expected[i]);
    rt_sampler_forget(sampler);
    ck_assert_int_eq(next(sampler, logits), 0);
    rt_sampler_free(sampler);
    opts.repeat_penalty = 1;
    sampler = sampler_of(opts);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(next(sampler, logits), 0);
    rt_sampler_free(sampler);
}
END_TEST

/* Negative logits become smaller too. */
START_TEST(penalty_of_negative_logits) {
    const float logits[N_VOCAB] = {-1, -1.5f, -8, -8, -8, -8, -8, -8};
    rt_sampler *sampler =
        sampler_of((rt_sampler_opts){.top_p = 1, .repeat_penalty = 2, .repeat_last_n = 8});
    ck_assert_int_eq(next(sampler, logits), 0);
    ck_assert_int_eq(next(sampler, logits), 1);
    ck_assert_int_eq(next(sampler, logits), 0);
    rt_sampler_free(sampler);
}
END_TEST

/* Greedy, over the whole text: 4 - 0.5 - 0.25 n against 3 - 0.5 - 0.25 n. */
START_TEST(presence_and_frequency) {
    const float logits[N_VOCAB] = {4, 3, -9, -9, -9, -9, -9, -9};
    static const int32_t expected[] = {0, 0, 1, 0, 0, 0, 0, 1, 0, 1};
    rt_sampler *sampler =
        sampler_of((rt_sampler_opts){.presence_penalty = 0.6f, .frequency_penalty = 0.25f});
    for (int i = 0; i < 10; i++) ck_assert_int_eq(next(sampler, logits), expected[i]);
    rt_sampler_forget(sampler);
    ck_assert_int_eq(next(sampler, logits), 0);
    rt_sampler_free(sampler);
}
END_TEST

/* A ban, a push, both of one token; what was set before is gone. */
START_TEST(bias) {
    const float logits[N_VOCAB] = {4, 3, 2, 0, 0, 0, 0, 0};
    const rt_logit_bias ban = {0, -INFINITY}, push[] = {{2, 1}, {2, 0.5f}}, many[] = {{8, 1}};
    gguf_error err = {0};
    rt_sampler *sampler = sampler_of((rt_sampler_opts){.top_p = 1});
    unit_ok(rt_sampler_set_bias(sampler, &ban, 1, &err), err);
    ck_assert_int_eq(next(sampler, logits), 1);
    unit_ok(rt_sampler_set_bias(sampler, push, 2, &err), err);
    ck_assert_int_eq(next(sampler, logits), 0);
    const rt_logit_bias both[] = {ban, push[0], push[1]};
    unit_ok(rt_sampler_set_bias(sampler, both, 3, &err), err);
    ck_assert_int_eq(next(sampler, logits), 2);
    unit_fails(rt_sampler_set_bias(sampler, many, 1, &err), GGUF_E_USAGE, "token 8", err);
    const rt_logit_bias infinite = {1, INFINITY};
    err = (gguf_error){0};
    unit_fails(rt_sampler_set_bias(sampler, &infinite, 1, &err), GGUF_E_USAGE, "bias inf", err);
    ck_assert_int_eq(next(sampler, logits), 2);
    unit_ok(rt_sampler_set_bias(sampler, NULL, 0, &err), err);
    ck_assert_int_eq(next(sampler, logits), 0);
    rt_sampler_free(sampler);
}
END_TEST

/* ---- larger vocabularies, against sorting -----------------------------------------------------
 */

enum { N_LARGE = 5003, N_ROWS = 24 };

static void random_logits(float *logits, unsigned seed, int form) {
    for (int i = 0; i < N_LARGE; i++) {
        seed = seed * 1103515245u + 12345u;
        float u = (float)(seed >> 8 & 0xffff) / 65536;
        logits[i] = form == 0 ? 12 * u : form == 1 ? floorf(4 * u) : form == 2 ? 1 : 30 * u * u;
        if (i % 97 == 0) logits[i] = i % 2 ? NAN : -INFINITY;
        if (i % 1009 == 0) logits[i] = INFINITY;
    }
}

static const float *sort_key;
static int by_logit(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (sort_key[x] != sort_key[y]) return sort_key[x] > sort_key[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Finite ones, the largest first. */
static size_t sorted(const float *logits, int32_t *ids) {
    size_t n = 0;
    for (int i = 0; i < N_LARGE; i++)
        if (isfinite(logits[i])) ids[n++] = i;
    sort_key = logits;
    qsort(ids, n, sizeof *ids, by_logit);
    return n;
}

/* How many of the sorted ones the filters leave, give or take what rounding may do. */
static size_t n_left(const float *logits, const int32_t *ids, size_t n, const rt_sampler_opts *o,
                     double slack) {
    double total = 0, reached = 0, max = (double)logits[ids[0]];
    size_t n_max = o->top_k && o->top_k < n ? o->top_k : n;
    for (size_t i = 0; i < n_max; i++) total += exp((double)logits[ids[i]] - max);
    for (size_t i = 0; i < n_max; i++) {
        double p = exp((double)logits[ids[i]] - max);
        bool enough = reached >= (double)o->top_p * total * (1 + slack);
        if (i > 0 && (enough || p < (double)o->min_p * (1 - slack))) return i;
        reached += p;
    }
    return n_max;
}

static const rt_sampler_opts large_opts[] = {
    {.temp = 1, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f},
    {.temp = 0.7f, .top_k = 1, .top_p = 1},
    {.temp = 5, .top_k = 70, .top_p = 1},
    {.temp = 5, .top_k = 2000, .top_p = 0.9f},
    {.temp = 1, .top_p = 1},
    {.temp = 2, .top_p = 0.5f},
    {.temp = 1, .top_p = 0.9f},
    {.temp = 1, .top_p = 0},
    {.temp = 3, .top_p = 1, .min_p = 0.2f},
    {.temp = 1e-38f, .top_p = 1},
};

/* Only tokens that the filters leave are drawn, and of few ones, each. */
START_TEST(large_vocabulary) {
    float logits[N_LARGE];
    int32_t ids[N_LARGE];
    unsigned counts[N_LARGE];
    rt_sampling *sampling = sampling_of(N_LARGE);
    for (int form = 0; form < 4; form++) {
        random_logits(logits, 7, form);
        size_t n = sorted(logits, ids), n_drawn = 0;
        size_t least = n_left(logits, ids, n, &large_opts[_i], -1e-5);
        size_t most = n_left(logits, ids, n, &large_opts[_i], 1e-5);
        gguf_error err = {0};
        rt_sampler *sampler;
        unit_ok(rt_sampler_new(&large_opts[_i], N_LARGE, &sampler, &err), err);
        memset(counts, 0, sizeof counts);
        for (int i = 0; i < 400; i++) counts[next_of(sampling, sampler, logits)]++;
        for (size_t i = most; i < n; i++) ck_assert_uint_eq(counts[ids[i]], 0);
        for (size_t i = 0; i < least; i++) n_drawn += counts[ids[i]] > 0;
        if (least <= 40 && large_opts[_i].temp >= 5) ck_assert_uint_eq(n_drawn, least);
        ck_assert_uint_gt(n_drawn, 0);
        rt_sampler_free(sampler);
    }
    rt_sampling_free(sampling);
}
END_TEST

/* The shares of four groups of a large vocabulary without filters, and with a wide nucleus. */
START_TEST(large_shares) {
    float logits[N_LARGE];
    rt_sampling *sampling = sampling_of(N_LARGE);
    for (int i = 0; i < N_LARGE; i++) logits[i] = (float)log(1 + i % 4);
    for (int nucleus = 0; nucleus < 2; nucleus++) {
        gguf_error err = {0};
        rt_sampler *sampler;
        unsigned counts[4] = {0};
        /* Of the sum of 10 a quarter of the tokens each has 1, 2, 3 and 4: 0.7 is the two upper. */
        rt_sampler_opts opts = {.temp = 1, .top_p = nucleus ? 0.6995f : 1, .seed = 5};
        unit_ok(rt_sampler_new(&opts, N_LARGE, &sampler, &err), err);
        for (int i = 0; i < N_DRAWS; i++) counts[next_of(sampling, sampler, logits) % 4]++;
        for (int g = 0; g < 4; g++)
            check_share(counts[g], !nucleus ? (1 + g) / 10.0 : g < 2 ? 0 : (1 + g) / 7.0);
        rt_sampler_free(sampler);
    }
    rt_sampling_free(sampling);
}
END_TEST

/* Rows on a pool choose what each chooses alone. */
START_TEST(rows_as_alone) {
    static float logits[N_ROWS][N_LARGE];
    float *rows[N_ROWS];
    int32_t ids[N_ROWS];
    rt_sampler *together[N_ROWS], *alone[N_ROWS];
    gguf_error err = {0};
    gguf_pool *pool;
    rt_sampling *many, *one = sampling_of(N_LARGE);
    unit_ok(gguf_pool_new(3, &pool, &err), err);
    unit_ok(rt_sampling_new(N_LARGE, pool, &many, &err), err);
    for (int r = 0; r < N_ROWS; r++) {
        rt_sampler_opts opts = large_opts[(size_t)r % (sizeof large_opts / sizeof *large_opts)];
        opts.seed = (uint64_t)r;
        opts.frequency_penalty = r % 2 ? 0.5f : 0;
        opts.repeat_penalty = r % 3 ? 1 : 1.1f;
        opts.repeat_last_n = 3;
        random_logits(logits[r], (unsigned)r, r % 4);
        rows[r] = logits[r];
        unit_ok(rt_sampler_new(&opts, N_LARGE, &together[r], &err), err);
        unit_ok(rt_sampler_new(&opts, N_LARGE, &alone[r], &err), err);
    }
    for (int step = 0; step < 100; step++) {
        unit_ok(rt_sample_rows(many, together, rows, N_ROWS, ids, &err), err);
        for (int r = 0; r < N_ROWS; r++) ck_assert_int_eq(next_of(one, alone[r], rows[r]), ids[r]);
    }
    for (int r = 0; r < N_ROWS; r++) rt_sampler_free(together[r]), rt_sampler_free(alone[r]);
    rt_sampling_free(one);
    rt_sampling_free(many);
    gguf_pool_free(pool);
}
END_TEST

START_TEST(log_probabilities) {
    float logits[N_LARGE], of_token;
    int32_t ids[N_LARGE];
    rt_logprob top[20];
    rt_sampling *sampling = sampling_of(N_LARGE);
    for (int form = 0; form < 4; form++) {
        random_logits(logits, 3, form);
        size_t n = sorted(logits, ids);
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += exp((double)logits[ids[i]] - (double)logits[ids[0]]);
        double norm = (double)logits[ids[0]] + log(sum);
        ck_assert_uint_eq(rt_logprobs(sampling, logits, ids[100], &of_token, top, 20), 20);
        ck_assert_double_eq_tol((double)of_token, (double)logits[ids[100]] - norm, 1e-5);
        for (int i = 0; i < 20; i++) {
            ck_assert_int_eq(top[i].id, ids[i]);
            ck_assert_double_eq_tol((double)top[i].logprob, (double)logits[ids[i]] - norm, 1e-5);
        }
    }
    ck_assert_uint_eq(rt_logprobs(sampling, logits, 97, &of_token, top, 0), 0);
    ck_assert(of_token == -INFINITY);
    for (int i = 0; i < N_LARGE; i++) logits[i] = NAN;
    ck_assert_uint_eq(rt_logprobs(sampling, logits, 1, &of_token, top, 20), 0);
    logits[5] = 2;
    ck_assert_uint_eq(rt_logprobs(sampling, logits, 5, &of_token, top, 20), 1);
    ck_assert(top[0].id == 5 && of_token == 0);
    rt_sampling_free(sampling);
}
END_TEST

START_TEST(bad_penalties) {
    static const rt_sampler_opts bad[] = {{.repeat_penalty = -1},
                                          {.repeat_penalty = NAN},
                                          {.repeat_last_n = RT_MAX_REPEAT + 1},
                                          {.presence_penalty = NAN},
                                          {.frequency_penalty = INFINITY}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gguf_error err = {0};
        rt_sampler *sampler;
        unit_fails(rt_sampler_new(&bad[i], N_VOCAB, &sampler, &err), GGUF_E_USAGE, "penalty", err);
    }
}
END_TEST

START_TEST(bad_options) {
    static const rt_sampler_opts bad[] = {
        {.temp = -1, .top_p = 1},
        {.temp = NAN, .top_p = 1},
        {.temp = INFINITY},
        {.temp = 1, .top_p = 2},
        {.temp = 1, .top_p = 1, .min_p = -1},
        {.temp = 1, .min_p = NAN},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gguf_error err = {0};
        rt_sampler *sampler;
        unit_fails(rt_sampler_new(&bad[i], N_VOCAB, &sampler, &err), GGUF_E_USAGE, "temperature",
                   err);
        ck_assert_ptr_null(sampler);
    }
    rt_sampler_free(NULL);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sample");
    TCase *tc = tcase_create("sample");
    tcase_add_test(tc, frequencies);
    tcase_add_test(tc, temperature);
    tcase_add_loop_test(tc, filter_sizes, 0, (int)(sizeof filters / sizeof filters[0]));
    tcase_add_test(tc, greedy);
    tcase_add_test(tc, same_seed_same_tokens);
    tcase_add_test(tc, repetition_penalty);
    tcase_add_test(tc, penalty_of_negative_logits);
    tcase_add_test(tc, presence_and_frequency);
    tcase_add_test(tc, bias);
    tcase_add_loop_test(tc, large_vocabulary, 0, (int)(sizeof large_opts / sizeof large_opts[0]));
    tcase_add_test(tc, large_shares);
    tcase_add_test(tc, rows_as_alone);
    tcase_add_test(tc, log_probabilities);
    tcase_add_test(tc, bad_penalties);
    tcase_add_test(tc, bad_options);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
