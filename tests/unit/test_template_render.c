/* The template interpreter: expressions give what Python's jinja2 gives (each expectation was made
 * with it), mistakes have their code and place, limits hold. */
#include "runtime/template/template.h"
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

static gguf_code render(const char *text, const char *json, const rt_template_opts *opts,
                        char **out, gguf_error *err) {
    rt_template *tpl;
    size_t len;
    json_t *vars = json_loads(json, 0, NULL);
    ck_assert_ptr_nonnull(vars);
    gguf_code code = rt_template_parse(gguf_str_of(text), &tpl, err);
    *out = NULL;
    if (!code) code = rt_template_render(tpl, vars, opts, out, &len, err);
    rt_template_free(tpl);
    json_decref(vars);
    return code;
}

static const struct {
    const char *text, *wanted;
} rendered[] = {
    {"{{ [1, 2.5, 1e16, 1e-5, none, true, 'a\\'b', (1,)] }}",
     "[1, 2.5, 1e+16, 1e-05, None, True, \"a'b\", (1,)]"},
    {"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** -1 }} {{ 2 ** 62 }}",
     "-4 2 3.5 0.5 4611686018427387904"},
    {"{{ x }}{{ x is defined }}{{ x|default('d') }}{{ x|length }}", "Falsed0"},
    {"{% set a = 1 %}{% for i in [1, 2] %}{{ a }}{% set a = 5 %}{{ a }}{% endfor %}{{ a }}",
     "15151"},
    {"{% set n = namespace(a=1) %}{% for i in [1, 2] %}{% set n.a = n.a + i %}{% endfor %}{{ n.a }}",
     "4"},
    {"{% macro m() %}{{ y }}{% endmacro %}{% set y = 2 %}{{ m() }}", "2"},
    {"{% macro m(a, b=a) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, k=4) }}",
     "12(3,){'k': 4}"},
    {"{% for i in [] %}x{% else %}none{% endfor %}", "none"},
    {"{% for i in range(9) if i is odd %}{% if i == 5 %}{% break %}{% endif %}{{ loop.index }}:{{ i }} {% endfor %}",
     "1:1 2:3 "},
    {"{{ d.items is defined }}{{ d['items'] }}{{ d.get('z', 3) }}", "True53"},
    {"{{ d|tojson }}{{ 'é<\\n'|tojson }}{{ [1, {}]|tojson(indent=1) }}",
     "{\"items\": 5, \"k\": [1]}\"é<\\n\"[\n 1,\n {}\n]"},
    {"{{ 'äöü'|length }}{{ 'äöü'[1:] }}{{ 'äöü'[-1] }}{{ 'Ä'|lower }}", "3öüüä"},
    {"{{ '%03d|%-4s|%.2f' % (7, 'a', 1.005) }}", "007|a   |1.00"},
    {"{{ 'x'.join(['a', 'b']) }}{{ 'a-b-c'.rsplit('-', 1) }}{{ 'aXb'.partition('X') }}",
     "axb['a-b', 'c']('a', 'X', 'b')"},
    {"{{ [{'a': 2}, {'a': 1}]|sort(attribute='a')|map(attribute='a')|join('<') }}", "1<2"},
    {"{{ 1 if false }}{{ 1 == 1.0 }}{{ 'a' < 'b' }}{{ (1, 2) == (1, 2) }}{{ [1] == (1,) }}",
     "TrueTrueTrueFalse"},
    {"{% set s %} a {% endset %}[{{ s }}]{% set s | trim | upper %} a {% endset %}[{{ s }}]",
     "[ a ][A]"},
    {"{{ 3|string + 'x' }}{{ '3'|int + 1 }}{{ 'q'|int(9) }}{{ '1.5'|float }}{{ 2.5|round }}{{ -3|abs }}",
     "3x491.52.03"},
    {"{{ none|map('upper')|list }}{{ none|selectattr('a')|list }}", "[][]"},
    {"{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "3False"},
    {"{% set a = 1 %}{% with a = 5, b = a %}{{ a }}{{ b }}{% set a = 7 %}{{ a }}{% endwith %}{{ a }}",
     "5171"},
    {"{% with %}{% set z = 3 %}{{ z }}{% endwith %}{{ z is defined }}", "3False"},
    {"{% with a, b = (1, 2) %}{{ a }}{{ b }}{% endwith %}", "12"},
    {"{% for i in range(5) %}{% with j = i * 2 %}{% if j == 2 %}{% continue %}{% endif %}{% if j == 6 %}{% break %}{% endif %}{{ j }}{% endwith %}{% endfor %}",
     "04"},
    {"{% with n = namespace(x=1) %}{% for i in [1, 2] %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}{% endwith %}",
     "4"},
    {"{{ '<b>'|safe + '<i>' }}{{ 3|safe ~ '<' }}{{ '<&>'|e + '<' }}{{ '\"'|escape }}{{ \"'\"|forceescape }}",
     "<b><i>3<&lt;&amp;&gt;<&#34;&#39;"},
    {"{{ 5|center(6) }}|{{ 'ab'|center(7) }}|{{ 'äb'|center(4) }}|{{ 'abc'|center(2) }}",
     "  5   |   ab  | äb |abc"},
    {"{{ range(7)|slice(3)|list }}{{ range(7)|slice(3, 'x')|list }}{{ []|slice(2)|list }}{{ [1]|slice(-1)|list }}",
     "[[0, 1, 2], [3, 4], [5, 6]][[0, 1, 2], [3, 4, 'x'], [5, 6, 'x']][[], []][]"},
    {"{{ 'foo bar baz qux'|truncate(9) }}|{{ 'foo bar baz qux'|truncate(9, True) }}|{{ 'foo bar baz qux'|truncate(11) }}|{{ 'foo bar baz qux'|truncate(11, False, '…', 0) }}|{{ 'foobarbazquxfoo'|truncate(8) }}",
     "foo...|foo ba...|foo bar baz qux|foo bar…|fooba..."},
    {"{{ strftime_now('%Y-%m-%d') }}", "2001-02-03"},
};

START_TEST(expressions_are_those_of_jinja2) {
    struct tm now = {.tm_year = 101, .tm_mon = 1, .tm_mday = 3};
    gguf_error err = {0};
    char *out;
    gguf_code code = render(rendered[_i].text, "{\"d\": {\"items\": 5, \"k\": [1]}}",
                            &(rt_template_opts){.now = &now}, &out, &err);
    ck_assert_msg(code == GGUF_OK, "%s: %s", rendered[_i].text, err.message);
    ck_assert_str_eq(out, rendered[_i].wanted);
    free(out);
}
END_TEST

static const struct {
    const char *text;
    gguf_code code;
    const char *message;
} failing[] = {
    {"a\n {{ raise_exception('no ' ~ 1) }}", GGUF_E_CHECK, "line 2, column 20: no 1"},
    {"{{ a.b }}", GGUF_E_FORMAT, "line 1, column 6: 'a' is undefined"},
    {"{{ 1 + 'a' }}", GGUF_E_FORMAT, "line 1, column 6: '+' does not take an int and a string"},
    {"{{ 1|nofilter }}", GGUF_E_FORMAT, "line 1, column 6: there is no filter 'nofilter'"},
    {"{{ 1 is notest }}", GGUF_E_FORMAT, "there is no test 'notest'"},
    {"{{ [].append(1) }}", GGUF_E_FORMAT, "may not change"},
    {"{{ [1]|slice(0)|list }}", GGUF_E_FORMAT, "division by zero"},
    {"{{ 'abc'|truncate(2) }}", GGUF_E_FORMAT, "truncate to 2 characters"},
    {"{% with a = 1 %}", GGUF_E_FORMAT, "'with' is not closed by 'endwith'"},
    {"{% with a = 1 b = 2 %}{% endwith %}", GGUF_E_FORMAT, "line 1, column 15"},
    {"{% with a = b.c %}{% endwith %}", GGUF_E_FORMAT, "'b' is undefined"},
    {"{{ 'a'|center(99999999) }}", GGUF_E_LIMIT, "too many steps"},
    {"{{ 1 // 0 }}", GGUF_E_FORMAT, "division by zero"},
    {"{{ 9223372036854775807 + 1 }}", GGUF_E_LIMIT, "64 bits"},
    {"{% set a, b = [1] %}", GGUF_E_FORMAT, "1 values for 2 names"},
    {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", GGUF_E_FORMAT, "at most 1 arguments"},
    {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", GGUF_E_LIMIT, "nested too deeply"},
    {"{{ strftime_now('%Y') }}", GGUF_E_FORMAT, "no time was given"},
    {"{% for a in range(1000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}", GGUF_E_LIMIT,
     "too many steps"},
    {"{{ 'aaaaaaaaaa' * 10000000 }}", GGUF_E_LIMIT, "too many steps"},
};

START_TEST(mistakes_have_a_code_and_a_place) {
    gguf_error err = {0};
    char *out;
    rt_template_opts opts = {.max_steps = 20000, .max_memory = 8 << 20};
    gguf_code code = render(failing[_i].text, "{}", &opts, &out, &err);
    ck_assert_msg(code == failing[_i].code, "%s: %d %s", failing[_i].text, code, err.message);
    ck_assert_msg(strstr(err.message, failing[_i].message) != NULL, "%s", err.message);
    ck_assert_ptr_null(out);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

int main(void) {
    Suite *suite = suite_create("template_render");
    TCase *tc = tcase_create("render");
    tcase_add_loop_test(tc, expressions_are_those_of_jinja2, 0, COUNT(rendered));
    tcase_add_loop_test(tc, mistakes_have_a_code_and_a_place, 0, COUNT(failing));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
