/* What the Check programs share: running a suite, temporary files, expected failures. */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include "libgguf/error.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline int unit_run(Suite *suite) {
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* A path in the folder for temporary files that no other test program uses. The last eight are
 * valid. */
static inline const char *unit_temp(const char *name) {
    static char paths[8][512];
    static unsigned next;
    const char *folder = getenv("TMPDIR");
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/ggufkit-%d-%s", folder ? folder : "/tmp", (int)getpid(),
             name);
    return path;
}

static inline void unit_write(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

/* The whole file, malloc'ed. */
static inline unsigned char *unit_read(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *bytes = malloc(*n + 1);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

#define unit_ok(call, err)                                                                \
    do {                                                                                  \
        gguf_code unit_code = (call);                                                     \
        ck_assert_msg(unit_code == GGUF_OK, "%s: %s at %lld: %s", #call,                  \
                      gguf_code_name(unit_code), (long long)(err).offset, (err).message); \
    } while (0)

/* The call must fail with this code and the message must contain the text. */
#define unit_fails(call, expected, text, err)                                           \
    do {                                                                                \
        gguf_code unit_code = (call);                                                   \
        ck_assert_msg(unit_code == (expected), "%s: got %s (%s)", #call,                \
                      gguf_code_name(unit_code), (err).message);                        \
        ck_assert_msg(strstr((err).message, text) != NULL, "'%s' is not in '%s'", text, \
                      (err).message);                                                   \
    } while (0)

#endif
