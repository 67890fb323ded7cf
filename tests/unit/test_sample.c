/* Sampling: filters, determinism, frequencies. */
#include "runtime/engine/sample.h"
#include "unit.h"

#include <math.h>

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

static void count_draws(rt_sampler_opts opts, unsigned *counts) {
    float logits[N_VOCAB];
    rt_sampler *sampler = sampler_of(opts);
    fill_logits(logits);
    memset(counts, 0, N_VOCAB * sizeof *counts);
    for (int i = 0; i < N_DRAWS; i++) {
        int32_t id = rt_sampler_next(sampler, logits);
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
    ck_assert_int_eq(rt_sampler_next(sampler, logits), 1);
    for (int i = 0; i < N_VOCAB; i++) logits[i] = NAN;
    ck_assert_int_eq(rt_sampler_next(sampler, logits), -1);
    rt_sampler_free(sampler);
    sampler = sampler_of((rt_sampler_opts){.temp = 1, .top_p = 1});
    ck_assert_int_eq(rt_sampler_next(sampler, logits), -1);
    logits[6] = -3;
    ck_assert_int_eq(rt_sampler_next(sampler, logits), 6);
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
            int32_t id = rt_sampler_next(sampler, logits);
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
    for (int i = 0; i < 6; i++) ck_assert_int_eq(rt_sampler_next(sampler, logits), expected[i]);
    rt_sampler_forget(sampler);
    ck_assert_int_eq(rt_sampler_next(sampler, logits), 0);
    rt_sampler_free(sampler);
    opts.repeat_penalty = 1;
    sampler = sampler_of(opts);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(rt_sampler_next(sampler, logits), 0);
    rt_sampler_free(sampler);
}
END_TEST

/* Negative logits become smaller too. */
START_TEST(penalty_of_negative_logits) {
    const float logits[N_VOCAB] = {-1, -1.5f, -8, -8, -8, -8, -8, -8};
    rt_sampler *sampler =
        sampler_of((rt_sampler_opts){.top_p = 1, .repeat_penalty = 2, .repeat_last_n = 8});
    ck_assert_int_eq(rt_sampler_next(sampler, logits), 0);
    ck_assert_int_eq(rt_sampler_next(sampler, logits), 1);
    ck_assert_int_eq(rt_sampler_next(sampler, logits), 0);
    rt_sampler_free(sampler);
}
END_TEST

START_TEST(bad_penalties) {
    static const rt_sampler_opts bad[] = {
        {.repeat_penalty = -1}, {.repeat_penalty = NAN}, {.repeat_last_n = RT_MAX_REPEAT + 1}};
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
    tcase_add_test(tc, bad_penalties);
    tcase_add_test(tc, bad_options);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
