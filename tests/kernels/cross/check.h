/* As much of the library Check as the kernel tests use, for cross builds that have no libraries:
 * the first failure ends the program. CK_RUN_CASE in the environment names the only case to run. */
#ifndef TESTS_KERNELS_CROSS_CHECK_H
#define TESTS_KERNELS_CROSS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TESTS 64

typedef void test_fn(int _i);
typedef struct TCase {
    const char *name;
    test_fn *tests[MAX_TESTS];
    int from[MAX_TESTS], to[MAX_TESTS], n;
} TCase;
typedef struct Suite {
    TCase *cases[MAX_TESTS];
    int n;
} Suite;
typedef Suite SRunner;

#define CK_NORMAL        0
#define START_TEST(name) static void name(int _i __attribute__((unused))) {
#define END_TEST         }

#define ck_assert_msg(ok, ...)                                   \
    do {                                                         \
        if (ok) break;                                           \
        fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #ok); \
        fprintf(stderr, "" __VA_ARGS__);                         \
        fprintf(stderr, "\n");                                   \
        exit(EXIT_FAILURE);                                      \
    } while (0)
#define ck_assert(ok)             ck_assert_msg(ok, "false")
#define ck_assert_int_eq(a, b)    ck_assert_msg((a) == (b), "not equal")
#define ck_assert_uint_eq(a, b)   ck_assert_msg((a) == (b), "not equal")
#define ck_assert_double_le(a, b) ck_assert_msg((a) <= (b), "greater")
#define ck_assert_ptr_nonnull(p)  ck_assert_msg((p) != NULL, "null")
#define ck_assert_mem_eq(a, b, n) ck_assert_msg(memcmp(a, b, n) == 0, "other bytes")

static inline TCase *tcase_create(const char *name) {
    TCase *t = calloc(1, sizeof(TCase));
    if (t) t->name = name;
    return t;
}
static inline void tcase_set_timeout(TCase *t, double seconds) {
    (void)t;
    (void)seconds;
}
static inline void tcase_add_loop_test(TCase *t, test_fn *test, int from, int to) {
    t->tests[t->n] = test;
    t->from[t->n] = from;
    t->to[t->n++] = to;
}
static inline void tcase_add_test(TCase *t, test_fn *test) {
    tcase_add_loop_test(t, test, 0, 1);
}
static inline Suite *suite_create(const char *name) {
    (void)name;
    return calloc(1, sizeof(Suite));
}
static inline void suite_add_tcase(Suite *s, TCase *t) {
    s->cases[s->n++] = t;
}
static inline SRunner *srunner_create(Suite *s) {
    return s;
}
static inline int run_case(const TCase *t) {
    int n = 0;
    for (int k = 0; k < t->n; k++)
        for (int i = t->from[k]; i < t->to[k]; i++, n++) t->tests[k](i);
    return n;
}
static inline void srunner_run_all(SRunner *s, int mode) {
    const char *only = getenv("CK_RUN_CASE");
    int n = 0;
    (void)mode;
    for (int k = 0; k < s->n; k++)
        if (!only || strcmp(only, s->cases[k]->name) == 0) n += run_case(s->cases[k]);
    printf("100%%: Checks: %d, Failures: 0, Errors: 0\n", n);
}
static inline int srunner_ntests_failed(SRunner *s) {
    (void)s;
    return 0;
}
static inline void srunner_free(SRunner *s) {
    for (int k = 0; k < s->n; k++) free(s->cases[k]);
    free(s);
}

#endif
