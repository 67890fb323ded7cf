/* Texts as chunks: how many, which, and the token in front. */
#include "runtime/calibrate/chunks.h"
#include "tests/unit/unit.h"

#define N_MOST 8

typedef struct seen {
    size_t n, n_ctx;
    int32_t first[N_MOST], last[N_MOST];
    size_t fails_at;
} seen;

static gguf_code see(void *ctx, size_t i, const int32_t *chunk, gguf_error *err) {
    seen *s = ctx;
    if (i == s->fails_at) return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "stopped");
    ck_assert_uint_eq(i, s->n);
    s->first[i] = chunk[0];
    s->last[i] = chunk[s->n_ctx - 1];
    s->n++;
    return GGUF_OK;
}

static seen walk(const rt_chunks *chunks) {
    seen s = {.n_ctx = chunks->n_ctx, .fails_at = SIZE_MAX};
    gguf_error err = {0};
    unit_ok(rt_chunks_each(chunks, see, &s, &err), err);
    return s;
}

static int32_t tokens[107]; /* 0, 1, 2 ...: ten chunks of ten and a rest */

START_TEST(chunks_lie_all_over_the_text) {
    rt_chunks chunks = rt_chunks_of(tokens, 107, 10, 3, -1);
    ck_assert_uint_eq(chunks.n, 3);
    seen s = walk(&chunks);
    ck_assert_uint_eq(s.n, 3);
    const int32_t first[] = {0, 30, 60}; /* of ten chunks number 0, 3 and 6 */
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(s.first[i], first[i]);
        ck_assert_int_eq(s.last[i], first[i] + 9);
    }
}
END_TEST

START_TEST(all_chunks_with_a_token_in_front) {
    rt_chunks chunks = rt_chunks_of(tokens, 35, 10, 0, 999);
    seen s = walk(&chunks);
    ck_assert_uint_eq(s.n, 3);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(s.first[i], 999);
        ck_assert_int_eq(s.last[i], (int32_t)i * 10 + 9);
    }
    ck_assert_int_eq(tokens[10], 10);
}
END_TEST

START_TEST(short_texts_and_failures) {
    rt_chunks chunks = rt_chunks_of(tokens, 4, 10, 5, -1);
    ck_assert_uint_eq(chunks.n_ctx, 4);
    ck_assert_int_eq(walk(&chunks).last[0], 3);
    chunks = rt_chunks_of(tokens, 0, 10, 5, -1);
    ck_assert_uint_eq(chunks.n, 0);
    ck_assert_uint_eq(walk(&chunks).n, 0);
    chunks = rt_chunks_of(tokens, 50, 10, 0, -1);
    seen s = {.n_ctx = 10, .fails_at = 2};
    gguf_error err = {0};
    unit_fails(rt_chunks_each(&chunks, see, &s, &err), GGUF_E_CANCELLED, "stopped", err);
    ck_assert_uint_eq(s.n, 2);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("chunks");
    TCase *tests = tcase_create("chunks");
    for (int32_t i = 0; i < 107; i++) tokens[i] = i;
    tcase_add_test(tests, chunks_lie_all_over_the_text);
    tcase_add_test(tests, all_chunks_with_a_token_in_front);
    tcase_add_test(tests, short_texts_and_failures);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
