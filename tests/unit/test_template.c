/* The template parser: every construct is taken, every mistake is refused at its line and column,
 * white space is stripped as chat templates expect, and dangerous constructs are found. */
#include "runtime/template/template_ast.h"
#include "tests/unit/unit.h"

#include <stdbool.h>

static rt_template *parsed(const char *text) {
    rt_template *tpl;
    gguf_error err = {0};
    gguf_code code = rt_template_parse(gguf_str_of(text), &tpl, &err);
    ck_assert_msg(code == GGUF_OK, "%s: %s", text, err.message);
    return tpl;
}

static const char *const accepted[] = {
    "",
    "plain text",
    "{{ a }}{{ 'b' }}{{ \"c\" }}{{ 1 }}{{ 1.5e3 }}{{ 0x1F }}{{ 1_000 }}{{ true }}{{ None }}",
    "{{ 'it\\'s' 'joined' \"\\u00e9\\n\" }}",
    "{{ [1, 2, 3,] }}{{ [] }}{{ (1,) }}{{ () }}{{ (1, 2) }}{{ {'a': {'b': 1}} }}{{ {} }}",
    "{{ a.b.c }}{{ a['b'][0] }}{{ a[1:2] }}{{ a[:-1] }}{{ a[::2] }}{{ a[-1].x }}{{ a.0 }}",
    "{{ f() }}{{ f(1, *args, k=2, **more) }}{{ a.strip().split('x')[0] }}",
    "{{ a|upper }}{{ a | join(', ') | trim }}{{ (a|list)|length > 3 }}{{ a|x.y }}",
    "{{ a is defined }}{{ a is not none and b is string }}{{ a is divisibleby 3 }}{{ a is in(b) }}",
    "{{ a + b - c * d / e // f % g ** h ~ i }}{{ -a|abs }}{{ not a or b and not c }}",
    "{{ a < b <= c != d }}{{ a in b }}{{ a not in b }}{{ not a in b }}",
    "{{ a if b else c if d else e }}{{ a if b }}",
    "{% for a in b %}{{ loop.index }}{% endfor %}",
    "{% for k, v in d.items() if v %}x{% else %}y{% endfor %}",
    "{% for (a, b) in c recursive %}{{ loop(a) }}{% break %}{% continue %}{% endfor %}",
    "{% if a %}1{% elif b %}2{% elif c %}3{% else %}4{% endif %}",
    "{% set a = 1 %}{% set ns.x = ns.x + 1 %}{% set a, b = 1, 2 %}",
    "{% set a %}block {{ b }}{% endset %}{% set a | upper | trim %}x{% endset %}",
    "{% macro m(a, b=1, c='x') %}{{ a }}{% endmacro %}{{ m(1) }}",
    "{% call(x) m(1) %}{{ x }}{% endcall %}{% call m() %}{% endcall %}",
    "{% filter upper|trim %}text{% endfilter %}",
    "{% generation %}{{ m }}{% endgeneration %}",
    "{% raw %}{{ not {% parsed %}{% endraw %}",
    "{# a comment {{ with }} {% tags %} #}{#- stripped -#}",
    "{%- if a -%} x {%- endif -%}{{- a -}}{%+ if a +%}{% endif %}",
    "{{ {'a': [1, {'b': (2, 3)}]}['a'][1] }}",
    "{{ raise_exception('no') }}{{ strftime_now('%d %b') }}{{ messages | tojson(indent=4) }}",
    "{%- set x = namespace(a=false, b=[]) %}",
    "{ % no tag % } { { } }",
};

START_TEST(constructs_are_accepted) {
    rt_template_free(parsed(accepted[_i]));
}
END_TEST

static const struct {
    const char *text, *message;
} rejected[] = {
    {"{{ a", "line 1, column 5: the template ends inside a tag"},
    {"{{ }}", "line 1, column 4: expected an expression before '}}'"},
    {"{{ a b }}", "line 1, column 6: expected '}}' before 'b'"},
    {"{{ a + }}", "line 1, column 8: expected an expression"},
    {"{{ 'abc }}", "line 1, column 4: a string is not closed"},
    {"{{ a[1 }}", "line 1, column 8: expected ']'"},
    {"{{ f(1 2) }}", "line 1, column 8: expected ','"},
    {"{{ f(a=1, 2) }}", "line 1, column 11: a plain argument behind a named one"},
    {"{{ {'a' 1} }}", "line 1, column 9: expected ':'"},
    {"{{ a) }}", "line 1, column 5: ')' was not opened"},
    {"{{ a ? b }}", "line 1, column 6: unexpected character 0x3f"},
    {"{{ a | }}", "line 1, column 8: expected a filter"},
    {"{{ a is }}", "line 1, column 9: expected a test"},
    {"{{ a is b is c }}", "line 1, column 11: a test cannot follow a test"},
    {"{{ a not b }}", "line 1, column 10: expected 'in'"},
    {"{{ 0xzz }}", "line 1, column 4: '0xzz' is not a number"},
    {"{{ '\\x4' }}", "line 1, column 5: '\\x' is not followed by a character number"},
    {"{{ a %}", "line 1, column 6: expected '}}' before '%}'"},
    {"{% if a }}", "line 1, column 9: expected '%}' before '}}'"},
    {"{% if a %}\n\nx", "line 1, column 4: 'if' is not closed by 'endif'"},
    {"a\n  {% for x in y %}", "line 2, column 6: 'for' is not closed by 'endfor'"},
    {"{% endif %}", "line 1, column 4: the statement 'endif' is not known here"},
    {"{% for x of y %}", "line 1, column 10: expected 'in' in a 'for'"},
    {"{% for true in y %}{% endfor %}", "line 1, column 8: 'true' cannot be set"},
    {"{% set a, = 1 %}", "line 1, column 11: expected a variable"},
    {"{% set = 1 %}", "line 1, column 8: expected a variable"},
    {"{% macro m(a=1, b) %}{% endmacro %}", "line 1, column 17: a parameter without default"},
    {"{% call 1 %}{% endcall %}", "line 1, column 9: 'call' needs a call"},
    {"{% break %}", "line 1, column 4: a jump outside of a loop"},
    {"x\n{% include 'a' %}", "line 2, column 4: 'include' reaches for other templates"},
    {"{% import 'a' as b %}", "line 1, column 4: 'import' reaches for other templates"},
    {"{% extends 'a' %}", "line 1, column 4: 'extends' reaches for other templates"},
    {"{% do x %}", "line 1, column 4: the statement 'do' is not known here"},
    {"{# never closed", "line 1, column 1: a comment is not closed"},
    {"{% raw %} x", "line 1, column 1: 'raw' is not closed"},
    {"{%", "line 1, column 3: the template ends inside a tag"},
};

START_TEST(mistakes_are_refused_where_they_are) {
    rt_template *tpl;
    gguf_error err = {0};
    unit_fails(rt_template_parse(gguf_str_of(rejected[_i].text), &tpl, &err), GGUF_E_FORMAT,
               rejected[_i].message, err);
    ck_assert_ptr_null(tpl);
}
END_TEST

/* Every text node in order, each in brackets. */
static void collect(const rt_tpl_node *node, char *out, size_t room) {
    for (; node; node = node->next) {
        size_t n = strlen(out);
        if (node->kind == RT_TPL_TEXT)
            snprintf(out + n, room - n, "[%.*s]", (int)node->text.len, node->text.ptr);
        collect(node->body, out, room);
        collect(node->orelse, out, room);
    }
}

START_TEST(white_space_is_stripped) {
    static const char *const cases[][2] = {
        {"a\n", "[a]"},
        {"a\n\n", "[a\n]"},
        {"{% if x %}\nb\n{% endif %}\nc", "[b\n][c]"},
        {"  {% if x %}  b  {% endif %}  c", "[  b  ][  c]"},
        {"a  {% if x %}b{% endif %}", "[a  ][b]"},
        {"a \n  {%- if x -%} \n b \n {%- endif %} c", "[a][b][ c]"},
        {"a\n  {%+ if x +%}\nb{% endif %}", "[a\n  ][\nb]"},
        {"{{ x }}\na", "[\na]"},
        {"a  {{- x -}}  b", "[a][b]"},
        {"a\n  {# c #}\nb", "[a\n][b]"},
        {"a\r\nb\rc", "[a\nb\nc]"},
        {"x{% raw %} {{ y }} {% endraw %}z", "[x][ {{ y }} ][z]"},
        {"{%- raw -%} a {%- endraw -%} b", "[a][b]"},
    };
    char text[300] = "";
    rt_template *tpl = parsed(cases[_i][0]);
    collect(rt_template_root(tpl), text, sizeof text);
    ck_assert_str_eq(text, cases[_i][1]);
    rt_template_free(tpl);
}
END_TEST

START_TEST(operators_bind_as_in_jinja) {
    rt_template *tpl = parsed("{{ a + b * c ~ d == e and not f in g or h }}");
    const rt_tpl_node *e = rt_template_root(tpl)->a;
    ck_assert_int_eq(e->op, RT_TPL_OP_OR);
    e = e->a;
    ck_assert_int_eq(e->op, RT_TPL_OP_AND);
    ck_assert_int_eq(e->b->op, RT_TPL_OP_NOT);
    ck_assert_int_eq(e->b->a->args->op, RT_TPL_OP_IN);
    e = e->a;
    ck_assert_int_eq(e->kind, RT_TPL_COMPARE);
    ck_assert_int_eq(e->a->op, RT_TPL_OP_ADD);
    ck_assert_int_eq(e->a->b->op, RT_TPL_OP_CONCAT);
    ck_assert_int_eq(e->a->b->a->op, RT_TPL_OP_MUL);
    rt_template_free(tpl);
}
END_TEST

START_TEST(literals_have_their_values) {
    rt_template *tpl = parsed("{{ 'a\\n\\x41\\u00e9\\\\' 'b' }}{{ 0b101 }}{{ 2.5e-1 }}{{ 1_0 }}");
    const rt_tpl_node *n = rt_template_root(tpl);
    ck_assert(gguf_str_eq(n->a->text, "a\nA\xC3\xA9\\b"));
    ck_assert_int_eq(n->next->a->integer, 5);
    ck_assert_double_eq(n->next->next->a->real, 0.25);
    ck_assert_int_eq(n->next->next->next->a->integer, 10);
    rt_template_free(tpl);
}
END_TEST

static void repeat(char *out, const char *piece, size_t n) {
    size_t len = strlen(piece);
    for (size_t i = 0; i < n; i++) memcpy(out + i * len, piece, len);
    out[n * len] = '\0';
}

START_TEST(size_and_nesting_are_bounded) {
    static const char *const pieces[] = {"{{ (",       "{{ [[", "{{ not ", "{{ - - ",
                                         "{% if a %}", "{{ a+", "{{ a|b"};
    static const char *const inner[] = {"(", "[", "not ", "-", "{% if a %}", "a+", "|b"};
    char *text = malloc(RT_TPL_MAX_BYTES + 64);
    rt_template *tpl;
    gguf_error err = {0};
    snprintf(text, 64, "%s", pieces[_i]);
    repeat(text + strlen(text), inner[_i], 20000);
    ck_assert_int_eq(rt_template_parse(gguf_str_of(text), &tpl, &err), GGUF_E_LIMIT);
    memset(text, ' ', RT_TPL_MAX_BYTES + 1);
    err = (gguf_error){0};
    unit_fails(rt_template_parse((gguf_str){text, RT_TPL_MAX_BYTES + 1}, &tpl, &err), GGUF_E_LIMIT,
               "over the limit", err);
    free(text);
    err = (gguf_error){0};
    unit_fails(rt_template_parse(gguf_str_of("{{ 99999999999999999999 }}"), &tpl, &err),
               GGUF_E_LIMIT, "line 1, column 4: '99999999999999999999' does not fit", err);
}
END_TEST

static void count_danger(void *ctx, size_t off, const char *what, gguf_str name) {
    (void)off;
    (void)what;
    (void)name;
    ++*(unsigned *)ctx;
}

START_TEST(dangerous_constructs_are_found) {
    static const struct {
        const char *text;
        unsigned n;
    } cases[] = {
        {"{{ ''.__class__.__mro__[1].__subclasses__() }}", 3},
        {"{{ a['__globals__'] }}", 1},
        {"{{ a|attr('__init__') }}", 2},
        {"{{ __import__('os') }}", 1},
        {"{{ f.func_globals }}{% for x in y.gi_frame %}{% endfor %}", 2},
        {"{% if a %}{% elif b.__x__ %}{% endif %}", 1},
        {"{{ messages[0]['role'] }}{{ '__' }}{{ a._b }}", 0},
    };
    unsigned n = 0;
    rt_template *tpl = parsed(cases[_i].text);
    rt_template_lint(tpl, count_danger, &n);
    ck_assert_uint_eq(n, cases[_i].n);
    rt_template_free(tpl);
}
END_TEST

/* No prefix of any template, and no template with one byte replaced, does anything bad. */
START_TEST(broken_templates_are_survived) {
    static const char bytes[] = "{}%#'\"()[]|.-+\n\\ \x80";
    rt_template *tpl;
    size_t n = strlen(accepted[_i]);
    char *copy = malloc(n + 1);
    for (size_t i = 0; i <= n; i++) {
        if (rt_template_parse((gguf_str){accepted[_i], i}, &tpl, NULL) == GGUF_OK)
            rt_template_free(tpl);
        for (size_t b = 0; b < sizeof bytes && i < n; b++) {
            memcpy(copy, accepted[_i], n);
            copy[i] = bytes[b];
            if (rt_template_parse((gguf_str){copy, n}, &tpl, NULL) == GGUF_OK)
                rt_template_free(tpl);
        }
    }
    free(copy);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof(a)[0]))

int main(void) {
    Suite *suite = suite_create("template");
    TCase *tc = tcase_create("parse");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, constructs_are_accepted, 0, COUNT(accepted));
    tcase_add_loop_test(tc, mistakes_are_refused_where_they_are, 0, COUNT(rejected));
    tcase_add_loop_test(tc, white_space_is_stripped, 0, 13);
    tcase_add_test(tc, operators_bind_as_in_jinja);
    tcase_add_test(tc, literals_have_their_values);
    tcase_add_loop_test(tc, size_and_nesting_are_bounded, 0, 7);
    tcase_add_loop_test(tc, dangerous_constructs_are_found, 0, 7);
    tcase_add_loop_test(tc, broken_templates_are_survived, 0, COUNT(accepted));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
