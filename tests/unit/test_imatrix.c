/* Importance matrices: both formats, merging, statistics, broken files. */
#include "quant/imatrix.h"
#include "tests/unit/unit.h"

#include <math.h>
#include <stdint.h>

static quant_imatrix *sample(void) {
    gguf_error err = {0};
    quant_imatrix *im = quant_imatrix_new();
    quant_imatrix_entry *a = quant_imatrix_entry_of(im, "blk.1.ffn_down.weight", 4, 1);
    for (size_t i = 0; i < 4; i++) a->sums[i] = (double)(i * 10);
    a->counts[0] = 10;
    quant_imatrix_entry *b = quant_imatrix_entry_of(im, "blk.0.ffn_up_exps.weight", 2, 3);
    for (size_t i = 0; i < 4; i++) b->sums[i] = 8;
    b->counts[0] = 2;
    b->counts[1] = 4;
    unit_ok(quant_imatrix_set_info(im, "calib.txt", 5, 512, &err), err);
    return im;
}

START_TEST(gguf_format_keeps_everything) {
    gguf_error err = {0};
    quant_imatrix *im = sample(), *read;
    const char *path = unit_temp("im.gguf");
    unit_ok(quant_imatrix_save(im, path, false, &err), err);
    unit_ok(quant_imatrix_load(path, &read, &err), err);
    ck_assert_uint_eq(quant_imatrix_count(read), 2);
    ck_assert_str_eq(quant_imatrix_info_of(read)->dataset, "calib.txt");
    ck_assert_uint_eq(quant_imatrix_info_of(read)->n_chunks, 5);
    const quant_imatrix_entry *b = quant_imatrix_find(read, "blk.0.ffn_up_exps.weight");
    ck_assert(b && b->n_cols == 2 && b->n_mats == 3);
    float means[6];
    quant_imatrix_means(b, means);
    /* The third expert saw nothing: all its columns count the same. */
    const float expected[6] = {4, 4, 2, 2, 1, 1};
    ck_assert_mem_eq(means, expected, sizeof means);
    quant_imatrix_free(read);
    quant_imatrix_free(im);
    unlink(path);
}
END_TEST

START_TEST(legacy_format_keeps_the_means) {
    gguf_error err = {0};
    quant_imatrix *im = sample(), *read;
    const char *path = unit_temp("im.dat");
    unit_ok(quant_imatrix_save_dat(im, path, false, &err), err);
    unit_ok(quant_imatrix_load(path, &read, &err), err);
    ck_assert_str_eq(quant_imatrix_info_of(read)->dataset, "calib.txt");
    ck_assert_uint_eq(quant_imatrix_info_of(read)->n_chunks, 5);
    const quant_imatrix_entry *b = quant_imatrix_find(read, "blk.0.ffn_up_exps.weight");
    ck_assert(b && b->n_cols == 6 && b->n_mats == 1);
    float means[6];
    quant_imatrix_means(b, means);
    const float expected[6] = {4, 4, 2, 2, 1, 1};
    ck_assert_mem_eq(means, expected, sizeof means);
    quant_imatrix_free(read);
    quant_imatrix_free(im);
    unlink(path);
}
END_TEST

START_TEST(layers_and_experts_are_compared) {
    quant_imatrix *im = quant_imatrix_new();
    const quant_imatrix_entry *none = quant_imatrix_entry_of(im, "blk.0.ffn_up.weight", 2, 4);
    quant_imatrix_entry_of(im, "blk.9.ffn_up.weight", 2, 4)->sums[0] = 3;
    quant_imatrix_entry *e = quant_imatrix_entry_of(im, "blk.10.ffn_up.weight", 2, 4);
    const double counts[4] = {100, 0, 2, 98};
    memcpy(e->counts, counts, sizeof counts);
    e->sums[0] = 300; /* means 3 4, - -, 0 0, 0 0 */
    e->sums[1] = 400;
    ck_assert_int_eq(quant_imatrix_samples_of(e, 0), QUANT_IMATRIX_ENOUGH);
    ck_assert_int_eq(quant_imatrix_samples_of(e, 1), QUANT_IMATRIX_UNSEEN);
    ck_assert_int_eq(quant_imatrix_samples_of(e, 2), QUANT_IMATRIX_RARE);
    quant_imatrix_stats s = quant_imatrix_stats_of(e);
    ck_assert(s.n_unseen_mats == 1 && s.n_rare_mats == 1);
    ck_assert_double_eq_tol(s.z_density, 2.0 / 6, 1e-12);
    quant_imatrix_entry *before = quant_imatrix_entry_of(im, "blk.9.ffn_up.weight", 2, 4);
    before->counts[0] = 1; /* means 3 0 */
    e = quant_imatrix_entry_of(im, "blk.10.ffn_up.weight", 2, 4);
    ck_assert_ptr_eq(quant_imatrix_layer_before(im, e), before);
    ck_assert_double_eq_tol(quant_imatrix_cosine(before, e), 0.6, 1e-12);
    none = quant_imatrix_find(im, "blk.0.ffn_up.weight");
    ck_assert_ptr_null(quant_imatrix_layer_before(im, none));
    ck_assert(isnan(quant_imatrix_cosine(none, e)));
    quant_imatrix_free(im);
}
END_TEST

START_TEST(every_prefix_of_a_legacy_file_is_refused) {
    gguf_error err = {0};
    quant_imatrix *im = sample(), *read;
    const char *path = unit_temp("whole.dat");
    size_t n_bytes;
    unit_ok(quant_imatrix_save_dat(im, path, false, &err), err);
    unsigned char *bytes = unit_read(path, &n_bytes);
    size_t tail = n_bytes - 4 - 4 - strlen("calib.txt"); /* may be absent as a whole */
    for (size_t n = 0; n < n_bytes; n++) {
        err = (gguf_error){0};
        gguf_code code = quant_imatrix_read_dat(bytes, n, "cut.dat", &read, &err);
        if (n == tail) {
            unit_ok(code, err);
            quant_imatrix_free(read);
        } else {
            ck_assert_msg(code == GGUF_E_TRUNCATED, "prefix of %zu: %s", n, gguf_code_name(code));
        }
    }
    float nan = NAN;
    memcpy(bytes + 4 + 4 + strlen("blk.1.ffn_down.weight") + 8, &nan, sizeof nan);
    err = (gguf_error){0};
    unit_fails(quant_imatrix_read_dat(bytes, n_bytes, "nan.dat", &read, &err), GGUF_E_NONFINITE,
               "not finite", err);
    free(bytes);
    quant_imatrix_free(im);
    unlink(path);
}
END_TEST

START_TEST(merging_adds_up) {
    gguf_error err = {0};
    quant_imatrix *a = sample(), *b = sample();
    quant_imatrix_entry_of(b, "blk.2.attn_q.weight", 4, 1)->counts[0] = 1;
    unit_ok(quant_imatrix_merge(a, b, &err), err);
    ck_assert_uint_eq(quant_imatrix_count(a), 3);
    const quant_imatrix_entry *e = quant_imatrix_find(a, "blk.1.ffn_down.weight");
    ck_assert(e->sums[3] == 60 && e->counts[0] == 20);
    ck_assert_uint_eq(quant_imatrix_info_of(a)->n_chunks, 10);
    quant_imatrix *c = quant_imatrix_new();
    ck_assert_ptr_nonnull(quant_imatrix_entry_of(c, "blk.1.ffn_down.weight", 5, 1));
    unit_fails(quant_imatrix_merge(a, c, &err), GGUF_E_SHAPE, "cannot be added", err);
    quant_imatrix_free(a);
    quant_imatrix_free(b);
    quant_imatrix_free(c);
}
END_TEST

START_TEST(statistics_of_an_entry) {
    quant_imatrix *im = sample();
    quant_imatrix_stats s = quant_imatrix_stats_of(quant_imatrix_find(im, "blk.1.ffn_down.weight"));
    ck_assert_double_eq_tol(s.energy, 6, 1e-12);
    ck_assert_double_eq_tol(s.mean, 1.5, 1e-12);
    ck_assert_double_eq_tol(s.max, 3, 1e-12);
    ck_assert_double_eq_tol(s.active_share, 0.75, 1e-12);
    ck_assert_double_eq_tol(s.entropy, 1.4591479170272448, 1e-12);
    s = quant_imatrix_stats_of(quant_imatrix_find(im, "blk.0.ffn_up_exps.weight"));
    ck_assert_uint_eq(s.n_unseen_mats, 1);
    quant_imatrix_free(im);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("imatrix");
    TCase *tests = tcase_create("imatrix");
    tcase_add_test(tests, gguf_format_keeps_everything);
    tcase_add_test(tests, legacy_format_keeps_the_means);
    tcase_add_test(tests, layers_and_experts_are_compared);
    tcase_add_test(tests, every_prefix_of_a_legacy_file_is_refused);
    tcase_add_test(tests, merging_adds_up);
    tcase_add_test(tests, statistics_of_an_entry);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
