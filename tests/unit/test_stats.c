/* Statistics and comparison of weights: against plain sums, for every type, any number of threads.
 */
#include "quant/stats.h"
#include "tests/unit/unit.h"

#include <math.h>

#define N 200192 /* more than three pieces, a multiple of 256 */

static float values[N];

static void fill(void) {
    uint32_t seed = 1;
    for (size_t i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(int32_t)seed * 0x1p-31f;
    }
    values[7] = 0;
}

static quant_stats stats_of(uint32_t type, const void *data, unsigned n_threads) {
    gguf_pool *pool;
    gguf_error err = {0};
    quant_stats s;
    unit_ok(gguf_pool_new(n_threads, &pool, &err), err);
    unit_ok(quant_stats_of(type, data, N, N, pool, NULL, &s, &err), err);
    gguf_pool_free(pool);
    return s;
}

START_TEST(moments_are_those_of_plain_sums) {
    double sum = 0, sq = 0;
    fill();
    for (size_t i = 0; i < N; i++) sum += (double)values[i];
    for (size_t i = 0; i < N; i++) sq += pow((double)values[i] - sum / N, 2);
    quant_stats s = stats_of(GGUF_TYPE_F32, values, 2);
    ck_assert_double_eq_tol(s.mean, sum / N, 1e-12);
    ck_assert_double_eq_tol(quant_stats_std(&s), sqrt(sq / N), 1e-12);
    ck_assert_uint_eq(s.n, N);
    ck_assert_uint_eq(s.n_zero, 1);
    uint64_t total = 0;
    for (size_t i = 0; i < QUANT_STATS_BINS; i++) total += s.hist[i];
    ck_assert_uint_eq(total, N);
}
END_TEST

START_TEST(threads_do_not_change_a_bit) {
    fill();
    quant_stats one = stats_of(GGUF_TYPE_F32, values, 1), four = stats_of(GGUF_TYPE_F32, values, 4);
    ck_assert_mem_eq(&one, &four, sizeof one);
}
END_TEST

START_TEST(values_that_are_not_finite_are_counted) {
    fill();
    values[1] = NAN;
    values[N - 1] = INFINITY;
    values[70000] = -INFINITY;
    quant_stats s = stats_of(GGUF_TYPE_F32, values, 2);
    ck_assert_uint_eq(s.n_nan, 1);
    ck_assert_uint_eq(s.n_inf, 2);
    ck_assert(isfinite(s.mean) && isfinite(s.min) && isfinite(s.max));
    quant_defects d = quant_find_defects(GGUF_TYPE_F32, values, N, N);
    ck_assert_uint_eq(d.n_blocks, 3);
    ck_assert_uint_eq(d.first_off, 4);
    for (size_t i = 0; i < N; i++) values[i] = NAN;
    s = stats_of(GGUF_TYPE_F32, values, 2);
    ck_assert_uint_eq(s.n_nan, N);
    ck_assert_double_eq(s.max, 0);
}
END_TEST

static void *encoded(uint32_t type) {
    gguf_error err = {0};
    void *data = malloc(quant_row_bytes(type, N));
    unit_ok(quant_encode(type, values, 1, N, NULL, data, &err), err);
    return data;
}

static const uint32_t block_types[] = {GGUF_TYPE_Q4_0, GGUF_TYPE_Q4_1, GGUF_TYPE_Q5_0,
                                       GGUF_TYPE_Q5_1, GGUF_TYPE_Q8_0, GGUF_TYPE_Q4_K,
                                       GGUF_TYPE_Q5_K, GGUF_TYPE_Q6_K};

START_TEST(codes_are_counted) {
    uint32_t type = block_types[_i];
    uint64_t total = 0;
    fill();
    void *data = encoded(type);
    quant_stats s = stats_of(type, data, 2);
    for (unsigned i = 0; i < s.n_codes; i++) total += s.codes[i];
    ck_assert_uint_eq(total, N);
    ck_assert_uint_eq(s.n_codes, quant_code_count(type));
    ck_assert_uint_ge(quant_stats_codes_used(&s), s.n_codes - 1);
    /* Even values use the codes evenly. */
    ck_assert_double_ge(quant_stats_code_entropy(&s), 0.9 * log2(s.n_codes));
    free(data);
}
END_TEST

START_TEST(differences_shrink_with_bits) {
    gguf_pool *pool;
    gguf_error err = {0};
    quant_difference d;
    double last = 0;
    static const uint32_t types[] = {GGUF_TYPE_Q4_0, GGUF_TYPE_Q5_0, GGUF_TYPE_Q8_0, GGUF_TYPE_F32};
    fill();
    unit_ok(gguf_pool_new(2, &pool, &err), err);
    for (size_t i = 0; i < 4; i++) {
        void *data = encoded(types[i]);
        unit_ok(quant_compare(GGUF_TYPE_F32, values, types[i], data, N, N, pool, NULL, &d, &err),
                err);
        ck_assert_double_gt(quant_difference_snr_db(&d), last + 4);
        last = quant_difference_snr_db(&d);
        free(data);
    }
    ck_assert_uint_eq(d.n_unequal, 0);
    ck_assert(isinf(last));
    gguf_pool_free(pool);
}
END_TEST

/* What is NaN on one side only cannot be made good by the others. */
START_TEST(nan_is_no_small_difference) {
    gguf_pool *pool;
    gguf_error err = {0};
    quant_difference d;
    fill();
    float *other = malloc(N * sizeof *other);
    memcpy(other, values, N * sizeof *other);
    other[0] = NAN;
    other[1] += 0.5f;
    unit_ok(gguf_pool_new(2, &pool, &err), err);
    unit_ok(quant_compare(GGUF_TYPE_F32, values, GGUF_TYPE_F32, other, N, N, pool, NULL, &d, &err),
            err);
    ck_assert_uint_eq(d.n_unequal, 2);
    ck_assert_uint_eq(d.n_incomparable, 1);
    ck_assert(isinf(quant_difference_relative(&d)) && quant_difference_relative(&d) > 0);
    ck_assert(isinf(quant_difference_snr_db(&d)) && quant_difference_snr_db(&d) < 0);
    ck_assert_double_eq_tol(d.max_abs, 0.5, 1e-5);
    unit_ok(quant_compare(GGUF_TYPE_F32, other, GGUF_TYPE_F32, other, N, N, pool, NULL, &d, &err),
            err);
    ck_assert_uint_eq(d.n_incomparable, 0);
    gguf_pool_free(pool);
    free(other);
}
END_TEST

START_TEST(a_broken_scale_is_found) {
    fill();
    uint8_t *data = encoded(GGUF_TYPE_Q8_0);
    ck_assert_uint_eq(quant_find_defects(GGUF_TYPE_Q8_0, data, N, N).n_blocks, 0);
    data[34 * 5 + 1] = 0x7C;
    data[34 * 9 + 1] = 0x7E;
    quant_defects d = quant_find_defects(GGUF_TYPE_Q8_0, data, N, N);
    ck_assert_uint_eq(d.n_blocks, 2);
    ck_assert_uint_eq(d.first_off, 34 * 5);
    free(data);
}
END_TEST

/* Rows with heads lie across the pieces in which a tensor is looked at. */
START_TEST(rows_with_heads_count_as_their_values) {
    enum { COLS = 70 * 256, ROWS = 9 };
    const uint32_t type = GGUF_TYPE_IQ4_KS;
    size_t row_bytes = quant_row_bytes(type, COLS);
    uint8_t *rows = malloc(ROWS * row_bytes);
    float *plain = malloc(sizeof *plain * ROWS * COLS);
    gguf_pool *pool;
    gguf_error err = {0};
    quant_stats a, b;
    quant_difference d;
    ck_assert(rows && plain);
    for (size_t i = 0; i < ROWS * row_bytes; i++) rows[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t r = 0; r < ROWS; r++)
        memcpy(rows + r * row_bytes, &(float){0.01f * (float)(r + 1)}, 4);
    unit_ok(quant_decode(type, rows, ROWS, COLS, plain, &err), err);
    unit_ok(gguf_pool_new(2, &pool, &err), err);
    unit_ok(quant_stats_of(type, rows, ROWS * COLS, COLS, pool, NULL, &a, &err), err);
    unit_ok(quant_stats_of(GGUF_TYPE_F32, plain, ROWS * COLS, COLS, pool, NULL, &b, &err), err);
    ck_assert_mem_eq(&a, &b, sizeof a);
    unit_ok(
        quant_compare(type, rows, GGUF_TYPE_F32, plain, ROWS * COLS, COLS, pool, NULL, &d, &err),
        err);
    ck_assert_uint_eq(d.n, ROWS * COLS);
    ck_assert_uint_eq(d.n_unequal, 0);
    ck_assert_uint_eq(quant_find_defects(type, rows, ROWS * COLS, COLS).n_blocks, 0);
    memcpy(rows + 4 * row_bytes, &(float){NAN}, 4);
    memcpy(rows + 7 * row_bytes, &(float){INFINITY}, 4);
    quant_defects found = quant_find_defects(type, rows, ROWS * COLS, COLS);
    ck_assert_uint_eq(found.n_blocks, 2);
    ck_assert_uint_eq(found.first_off, 4 * row_bytes);
    gguf_pool_free(pool);
    free(rows);
    free(plain);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("stats");
    TCase *tc = tcase_create("stats");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, moments_are_those_of_plain_sums);
    tcase_add_test(tc, threads_do_not_change_a_bit);
    tcase_add_test(tc, values_that_are_not_finite_are_counted);
    tcase_add_loop_test(tc, codes_are_counted, 0, 8);
    tcase_add_test(tc, differences_shrink_with_bits);
    tcase_add_test(tc, a_broken_scale_is_found);
    tcase_add_test(tc, rows_with_heads_count_as_their_values);
    tcase_add_test(tc, nan_is_no_small_difference);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
