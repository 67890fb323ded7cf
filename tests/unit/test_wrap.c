/* Breaking lines between words. */
#include "tests/unit/unit.h"
#include "tools/common/tool.h"
#include "tools/common/wrap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a terminal of `width` columns shows in the end: words that were taken back are gone. */
static void check(const char *text, unsigned width, const char *expected) {
    char *written = NULL, seen[1024];
    size_t n_written = 0, n = 0;
    wrap w = {0};
    FILE *out = open_memstream(&written, &n_written);
    wrap_begin(&w, out, -1);
    w.width = width;
    for (size_t i = 0, len = strlen(text), step; i < len; i += step) {
        step = tool_utf8_len(text + i, len - i);
        wrap_put(&w, text + i, step);
    }
    fclose(out);
    for (const char *p = written; *p;) {
        unsigned back;
        int used = 0;
        if (sscanf(p, "\033[%uD\033[K%n", &back, &used) == 1 && used) {
            ck_assert_uint_le(back, n);
            n -= back; /* words in these tests that move are ASCII */
            p += used;
        } else {
            seen[n++] = *p++;
        }
    }
    seen[n] = '\0';
    free(written);
    ck_assert_str_eq(seen, expected);
}

START_TEST(test_words) {
    check("one two three four five", 20, "one two three four \nfive");
    check("one two three fourteen five", 20, "one two three \nfourteen five");
    check("one two three\nfour five six", 20, "one two three\nfour five six");
    check("", 20, "");
}
END_TEST

/* A space at the end of a line is not the start of the next one, nor one line more. */
START_TEST(test_spaces) {
    check("0123456789 123456789 next", 20, "0123456789 \n123456789 next");
    check("0123456789 12345678 next", 20, "0123456789 12345678\nnext");
    check("0123456789 1234567 next", 20, "0123456789 1234567 \nnext");
    check("0123456789 12345678\nnext", 20, "0123456789 12345678\nnext");
    check("0123456789 12345678 \nnext", 20, "0123456789 12345678\nnext");
    check("0123456789\t12\tnext", 20, "0123456789\t12\nnext");
}
END_TEST

/* A word that fills its line is left to the terminal. */
START_TEST(test_long_words) {
    check("0123456789012345678901234 next", 20, "0123456789012345678901234 next");
    check("a 0123456789012345678901234", 20, "a \n0123456789012345678901234");
}
END_TEST

START_TEST(test_wide_characters) {
    check("\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22", 16,
          "\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\n\u6f22\u6f22\u6f22");
    check("e\u0301e\u0301 e\u0301e\u0301 e\u0301e\u0301 abcdefgh", 18,
          "e\u0301e\u0301 e\u0301e\u0301 e\u0301e\u0301 abcdefgh");
    ck_assert_uint_eq(wrap_columns("a", 1), 1);
    ck_assert_uint_eq(wrap_columns("\u6f22", 3), 2);
    ck_assert_uint_eq(wrap_columns("\u0301", 2), 0);
    ck_assert_uint_eq(wrap_columns("\xFF\xFF", 2), 1);
}
END_TEST

START_TEST(test_code) {
    const char *code = "```c\none two three four five six\n  ```\n";
    const char *tildes = "~~~\none two three four five six\n```\nis still code, as it began\n~~~\n";
    char text[256], expected[256];
    check(code, 16, code);
    check(tildes, 16, tildes);
    snprintf(text, sizeof text, "%sone two three four", code);
    snprintf(expected, sizeof expected, "%sone two three \nfour", code);
    check(text, 16, expected);
    check("a ``` is no fence here", 16, "a ``` is no \nfence here");
}
END_TEST

START_TEST(test_no_width) {
    check("one two three four five", 0, "one two three four five");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("wrap");
    TCase *tc = tcase_create("wrap");
    tcase_add_test(tc, test_words);
    tcase_add_test(tc, test_spaces);
    tcase_add_test(tc, test_long_words);
    tcase_add_test(tc, test_wide_characters);
    tcase_add_test(tc, test_code);
    tcase_add_test(tc, test_no_width);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
