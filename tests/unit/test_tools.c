/* Calls of tools: what models write is read, however it is divided, and what a grammar admits is
 * read back with arguments that the tools accept. */
#include "libgguf/json.h"
#include "runtime/chat/channels.h"
#include "runtime/chat/grammar_channels.h"
#include "runtime/chat/tools.h"
#include "unit.h"

static rt_tool_styles *styles;
static json_t *tools;

static void setup(void) {
    gguf_error err = {0};
    gguf_code code = rt_tool_styles_new(&styles, &err);
    ck_assert_msg(!code, "%s", err.message);
    tools = json_loads(
        "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":"
        "\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},"
        "\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"dry\":{\"type\":"
        "\"boolean\"}},\"required\":[\"city\"]}}},"
        "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]",
        0, NULL);
    ck_assert_ptr_nonnull(tools);
}

static void teardown(void) {
    rt_tool_styles_free(styles);
    json_decref(tools);
}

/* ---- reading ----------------------------------------------------------------------------- */

/* Events as a text: what is said as it is, calls as [name arguments]. */
static void note(void *ctx, const rt_call_event *e) {
    gguf_dynbuf *out = ctx;
    if (e->kind == RT_CALL_BEGIN) {
        gguf_dynbuf_put_text(out, "[");
        gguf_dynbuf_put(out, e->name.ptr, e->name.len);
        gguf_dynbuf_put_text(out, " ");
    } else if (e->kind == RT_CALL_END) {
        gguf_dynbuf_put_text(out, "]");
    } else {
        gguf_dynbuf_put(out, e->text.ptr, e->text.len);
    }
}

/* Read a text in pieces that end at `cut`, and of `piece` bytes from there on. */
static char *read_divided(const char *style, const char *text, size_t cut, size_t piece,
                          bool streams) {
    gguf_dynbuf out;
    rt_call_parser p;
    size_t n = strlen(text);
    const rt_tool_style *own = rt_tool_styles_find(styles, style);
    ck_assert_msg(own != NULL, "%s", style);
    gguf_dynbuf_init(&out, SIZE_MAX / 4);
    rt_call_parser_init(&p, own, tools, streams, note, &out);
    for (size_t at = 0; at < n;) {
        size_t len = at < cut ? cut - at : piece;
        if (len > n - at) len = n - at;
        rt_call_parser_put(&p, (gguf_str){text + at, len});
        at += len;
    }
    rt_call_parser_end(&p);
    ck_assert_int_eq(rt_call_parser_code(&p), GGUF_OK);
    rt_call_parser_clear(&p);
    gguf_dynbuf_put(&out, "", 1);
    return (char *)out.data;
}

static void expect(const char *style, const char *text, size_t cut, size_t piece, bool streams,
                   const char *wanted) {
    char *got = read_divided(style, text, cut, piece, streams);
    ck_assert_msg(strcmp(got, wanted) == 0, "%s, %s, divided at %zu, then %zu%s: %s, wanted %s",
                  style, text, cut, piece, streams ? ", streamed" : "", got, wanted);
    free(got);
}

#define PARIS  "{\"city\": \"Paris\", \"days\": 2}"
#define CALLED "[get_weather " PARIS "]"

/* A style, what a model wrote, and what is read. */
static const struct {
    const char *style, *text, *wanted;
} recorded[] = {
    {"hermes",
     "Let me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": " PARIS
     "}\n</tool_call>",
     "Let me see." CALLED},
    {"hermes",
     "<tool_call>{\"arguments\":" PARIS ",\"name\":\"get_weather\"}</tool_call>\n<tool_call>\n"
     "{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\nDone.",
     CALLED "[now {}]Done."},
    {"hermes", "<tool_call>{\"name\": \"now\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
     "[now {\"a\": 1}]"},
    {"hermes", "<tool_call>{\"name\": \"now\"}</tool_call>", "[now {}]"},
    {"hermes", "```json\n{\n  \"name\": \"now\",\n  \"arguments\": {}\n}\n```", "[now {}]"},
    {"hermes", "```json\n{\"name\": \"x\"}\n```", "```json\n{\"name\": \"x\"}\n```"},
    {"hermes", "{\"name\": \"get_weather\", \"arguments\": " PARIS "}", CALLED},
    {"hermes", "So: {\"name\": \"now\"}", "So: {\"name\": \"now\"}"},
    {"hermes", "{\"name\": \"Paris\"}", "{\"name\": \"Paris\"}"},
    {"hermes", "a < b and <tool_ and } \xC3\xA9", "a < b and <tool_ and } \xC3\xA9"},
    {"hermes", "<tool_call>{\"name\": \"nobody\", \"arguments\": {}}</tool_call> x",
     "<tool_call>{\"name\": \"nobody\", \"arguments\": {}}</tool_call> x"},
    {"hermes", "<tool_call>{\"name\": \"now\", \"arguments\": {]}</tool_call>",
     "<tool_call>{\"name\": \"now\", \"arguments\": {]}</tool_call>"},
    {"hermes", "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"</tool_call>",
     "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"</tool_call>"},
    {"hermes", "<tool_call>\n<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>",
     "<tool_call>[now {}]"},
    {"qwen3-coder",
     "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
     "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
     CALLED},
    {"qwen3-coder",
     "<tool_call><function=get_weather><parameter=city>\n  a \"b\"\n\n</parameter>"
     "<parameter=tags>[\"x\", \"</y>\"]</parameter><parameter=dry>True</parameter>"
     "<parameter=days>many</parameter></function></tool_call>!",
     "[get_weather {\"city\": \"  a \\\"b\\\"\\n\", \"tags\": [\"x\", \"</y>\"], \"dry\": true, "
     "\"days\": \"many\"}]!"},
    {"qwen3-coder", "<tool_call>\n<function=now>\n</function>\n</tool_call>", "[now {}]"},
    {"qwen3-coder", "<tool_call><function=now><parameter=a>1</parameter>",
     "<tool_call><function=now><parameter=a>1</parameter>"},
    {"seed-oss",
     "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Paris</parameter>\n"
     "<parameter=days>2</parameter>\n</function>\n</seed:tool_call>",
     CALLED},
    {"glm-4.5",
     "\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
     "<arg_key>days</arg_key><arg_value>2</arg_value></tool_call>",
     CALLED},
    {"mistral-id", "[TOOL_CALLS]get_weather[CALL_ID]abcdef123[ARGS]" PARIS, CALLED},
    {"mistral-args", "Yes.[TOOL_CALLS]get_weather[ARGS]" PARIS "[TOOL_CALLS]now[ARGS]{}",
     "Yes." CALLED "[now {}]"},
    {"mistral",
     "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": " PARIS
     ", \"id\": \"abcdef123\"}, {\"name\": \"now\", \"arguments\": {}}]",
     CALLED "[now {}]"},
    {"mistral", "[TOOL_CALLS] no", "[TOOL_CALLS] no"},
    {"deepseek-r1",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n" PARIS
     "\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```"
     "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     CALLED "[now {}]"},
    {"deepseek-v3.1",
     "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>" PARIS
     "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     CALLED},
    {"deepseek-v3.2",
     "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter "
     "name=\"city\" string=\"true\">Paris</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" "
     "string=\"false\">2</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
     CALLED},
    {"deepseek-v4",
     "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"now\">\n</｜DSML｜invoke>\n<｜DSML｜invoke "
     "name=\"get_weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">5"
     "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
     "[now {}][get_weather {\"city\": \"5\"}]"},
    {"gpt-oss", "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>" PARIS,
     CALLED},
    {"kimi-k2",
     "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
     "<|tool_call_argument_begin|>" PARIS "<|tool_call_end|><|tool_call_begin|>functions.now:1"
     "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
     CALLED "[now {}]"},
    {"kimi-k3",
     "<|open|>tools<|sep|><|open|>call tool=\"get_weather\" index=\"1\"<|sep|><|open|>argument "
     "key=\"city\" type=\"string\"<|sep|>Paris<|close|>argument<|sep|><|open|>argument "
     "key=\"days\" type=\"number\"<|sep|>2<|close|>argument<|sep|><|close|>call<|sep|>"
     "<|close|>tools<|sep|>",
     CALLED},
    {"kimi-k3",
     "<|open|>response<|sep|>I see.<|close|>response<|sep|><|open|>tools<|sep|><|open|>call "
     "tool=\"now\" index=\"1\"<|sep|><|close|>call<|sep|><|open|>call tool=\"get_weather\" "
     "index=\"2\"<|sep|><|open|>argument key=\"city\" type=\"string\"<|sep|>a <|b|> c"
     "<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|>",
     "I see.[now {}][get_weather {\"city\": \"a <|b|> c\"}]"},
    {"minimax-m2",
     "<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Paris"
     "</parameter>\n<parameter name=\"days\">2</parameter>\n</invoke>\n<invoke name=\"now\">\n"
     "</invoke>\n</minimax:tool_call>",
     CALLED "[now {}]"},
    {"minimax-m3",
     "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"get_weather\">]<]minimax[>[<city>Paris"
     "]<]minimax[>[</city>]<]minimax[>[<days>2]<]minimax[>[</days>]<]minimax[>[</invoke>\n"
     "]<]minimax[>[</tool_call>",
     CALLED},
    {"minimax-m3",
     "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"get_weather\">]<]minimax[>[<city>Paris"
     "]<]minimax[>[</city>]<]minimax[>[<tags>\n]<]minimax[>[<item>a b]<]minimax[>[</item>\n"
     "]<]minimax[>[<item>]]<]minimax[>[</item>]<]minimax[>[</tags>]<]minimax[>[</invoke>\n"
     "]<]minimax[>[<invoke name=\"get_weather\">]<]minimax[>[<city>]<]minimax[>[</city>"
     "]<]minimax[>[<tags>]<]minimax[>[</tags>]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>",
     "[get_weather {\"city\": \"Paris\", \"tags\": [\"a b\", \"]\"]}]"
     "[get_weather {\"city\": \"\", \"tags\": []}]"},
    {"minimax-m3",
     "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"now\">]<]minimax[>[<at>"
     "]<]minimax[>[<item>]<]minimax[>[<x>1]<]minimax[>[</x>]<]minimax[>[<items>b]<]minimax[>["
     "</items>]<]minimax[>[</item>]<]minimax[>[<item>[2, {}]]<]minimax[>[</item>]<]minimax[>[</at>"
     "]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>",
     "[now {\"at\": [{\"x\": 1, \"items\": \"b\"}, [2, {}]]}]"},
    {"minimax-m3",
     "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"now\">]<]minimax[>[<at>"
     "]<]minimax[>[<x>1]<]minimax[>[</y>",
     "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"now\">]<]minimax[>[<at>"
     "]<]minimax[>[<x>1]<]minimax[>[</y>"},
    {"gemma-4",
     "<|tool_call>call:get_weather{city:<|\"|>Paris<|\"|>,days:2}<tool_call|>"
     "<|tool_call>call:now{a:[<|\"|>\"b\"<|\"|>,{c:true}]}<tool_call|>",
     CALLED "[now {\"a\": [\"\\\"b\\\"\", {\"c\": true}]}]"},
    {"functiongemma",
     "<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:2}"
     "<end_function_call>",
     CALLED},
    {"lfm2",
     "<|tool_call_start|>[get_weather(city=\"Paris\", days=2), now()]<|tool_call_end|>Wait.",
     CALLED "[now {}]Wait."},
    {"llama-4", "<|python_start|>[get_weather(city='Paris', days=2)]<|python_end|>", CALLED},
    {"llama-4", "<|python_start|>[now(a=None, b={'c': (1, -2.5)}, d='it\\'s\\n')]<|python_end|>",
     "[now {\"a\": null, \"b\": {\"c\": [1, -2.5]}, \"d\": \"it's\\n\"}]"},
    {"olmo-3", "<function_calls>get_weather(city=\"Paris\", days=2)\nnow()</function_calls>",
     CALLED "[now {}]"},
    {"phi-4-mini",
     "<|tool_call|>[{\"name\": \"get_weather\", \"arguments\": " PARIS "}]<|/tool_call|>", CALLED},
    {"granite-3.3",
     "<|tool_call|>[{\"name\": \"get_weather\", \"arguments\": " PARIS
     "},{\"name\": \"now\", \"arguments\": {}}]",
     CALLED "[now {}]"},
    {"nemotron-2", "<TOOLCALL>[{\"name\": \"get_weather\", \"arguments\": " PARIS "}]</TOOLCALL>",
     CALLED},
    {"apertus", "<|tools_prefix|>[{\"get_weather\": " PARIS "}, {\"now\": {}}]<|tools_suffix|>",
     CALLED "[now {}]"},
    {"command-r7b",
     "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"get_weather\", "
     "\"parameters\": " PARIS "}\n]<|END_ACTION|>",
     CALLED},
    {"command-r7b", "<|START_RESPONSE|>Hello<|END_RESPONSE|>", "Hello"},
    {"command-r",
     "Action:\n```json\n[\n    {\n        \"tool_name\": \"get_weather\",\n        "
     "\"parameters\": " PARIS "\n    }\n]\n```",
     CALLED},
    {"command-r", "Action: none", "Action: none"},
    {"functionary-3.1", "<function=get_weather>" PARIS "</function><function=now>{}</function>",
     CALLED "[now {}]"},
    {"functionary-3.2", ">>>all\nHello>>>get_weather\n" PARIS ">>>now\n{}",
     "Hello" CALLED "[now {}]"},
    {"llama-3", "{\"name\": \"get_weather\", \"parameters\": " PARIS "}", CALLED},
    {"llama-3", "<|python_tag|>get_weather.call(city=\"Paris\", days=2)", CALLED},
    {"llama-3", "So {\"name\": \"now\", \"parameters\": {}}",
     "So {\"name\": \"now\", \"parameters\": {}}"},
    {"glm-4", "get_weather\n" PARIS, CALLED},
    {"glm-4", "\nnow\n{}", "[now {}]"},
    {"glm-4", "now is the time", "now is the time"},
    {"glm-4", "Then now\n{}", "Then now\n{}"},
    {"glm-4", "now", "now"},
    {"generic",
     "{\"tool_calls\": [{\"name\": \"get_weather\", \"arguments\": " PARIS
     "}, {\"name\":\"now\",\"arguments\":{}}]}",
     CALLED "[now {}]"},
    {"generic", "{\"tool_calls\":[]}", "{\"tool_calls\":[]}"},
};
#define N_RECORDED (sizeof recorded / sizeof recorded[0])

START_TEST(calls_are_read_however_they_are_divided) {
    const char *style = recorded[_i].style, *text = recorded[_i].text;
    size_t n = strlen(text);
    for (size_t cut = 0; cut <= n; cut++)
        expect(style, text, cut, SIZE_MAX, false, recorded[_i].wanted);
    for (size_t piece = 1; piece < 8; piece++)
        expect(style, text, 0, piece, false, recorded[_i].wanted);
}
END_TEST

/* Calls that are complete are the same when their arguments come bit by bit. */
START_TEST(streamed_arguments_join_to_the_same) {
    const char *style = recorded[_i].style, *text = recorded[_i].text,
               *wanted = recorded[_i].wanted;
    size_t n = strlen(text);
    bool broken = strcmp(text, wanted) == 0;
    for (size_t cut = 0; cut <= n && !broken; cut++)
        expect(style, text, cut, SIZE_MAX, true, wanted);
    if (!broken) expect(style, text, 0, 1, true, wanted);
}
END_TEST

START_TEST(every_style_has_a_recorded_call) {
    for (size_t i = 0; i < rt_tool_styles_n(styles); i++) {
        const char *name = rt_tool_style_name(rt_tool_styles_at(styles, i));
        size_t n = 0;
        for (size_t j = 0; j < N_RECORDED; j++)
            n += strcmp(recorded[j].style, name) == 0 && strchr(recorded[j].wanted, '[');
        ck_assert_msg(n > 0, "%s", name);
    }
}
END_TEST

/* What ends before a call does is text; when it streams, the call has begun. */
START_TEST(calls_that_break_off) {
    const char *style = recorded[_i].style, *text = recorded[_i].text;
    size_t n = strlen(text);
    for (size_t len = 0; len < n; len++) {
        char *part = strndup(text, len);
        char *whole = read_divided(style, part, len, SIZE_MAX, false);
        char *single = read_divided(style, part, 0, 1, false);
        ck_assert_str_eq(whole, single);
        /* Each call is complete. */
        for (char *at = strstr(whole, "[get_weather {"); at; at = strstr(at, "[get_weather {")) {
            json_error_t error;
            at += strlen("[get_weather ");
            json_t *arguments = json_loads(at, JSON_DISABLE_EOF_CHECK, &error);
            ck_assert_msg(arguments != NULL, "%s", whole);
            json_decref(arguments);
        }
        free(whole);
        free(single);
        free(part);
    }
    const char *cut = "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": \"b";
    expect("hermes", cut, 0, 1, true, "[now {\"a\": \"b]");
    expect("hermes", cut, 0, 1, false, cut);
}
END_TEST

/* ---- holding ----------------------------------------------------------------------------- */

static rt_grammar *grammar_of(const char *style, rt_tool_demand demand) {
    gguf_error err = {0};
    rt_grammar *g;
    json_t *left_out = json_array();
    demand.tools = tools;
    gguf_code code =
        rt_grammar_tools(rt_tool_styles_find(styles, style), &demand, left_out, &g, &err);
    ck_assert_msg(!code, "%s: %s", style, err.message);
    ck_assert_uint_eq(json_array_size(left_out), 0);
    json_decref(left_out);
    return g;
}

static bool admits(rt_grammar *g, const char *text) {
    rt_matcher m;
    rt_matcher_init(&m, g);
    bool good = rt_matcher_take(&m, text, strlen(text)) && rt_matcher_may_end(&m);
    rt_matcher_clear(&m);
    return good;
}

static uint32_t draw(uint32_t *seed) {
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* A text that the grammar admits, drawn byte by byte; ends as soon as it may. */
static char *draw_text(rt_grammar *g, uint32_t seed) {
    static const char likely[] = "\"}])<|> \n0aT,e";
    enum { N_CLOSERS = 9 };
    /* What ends raw texts is not hit by chance. */
    static const char *const closers[N_CLOSERS] = {"</parameter>",
                                                   "</arg_value>",
                                                   "</｜DSML｜parameter>",
                                                   "<|close|>argument<|sep|>",
                                                   "]<]minimax[>[</city>",
                                                   "]<]minimax[>[</item>",
                                                   "<|\"|>",
                                                   "<escape>",
                                                   "\xFF<|end|>"};
    gguf_dynbuf out;
    rt_matcher m;
    gguf_dynbuf_init(&out, SIZE_MAX / 4);
    rt_matcher_init(&m, g);
    for (bool ends = false; !ends;) {
        uint32_t first = draw(&seed);
        bool found = false;
        for (size_t i = 0; i < N_CLOSERS && first % 8 == 0; i++) {
            const char *closer = closers[(first / 8 + i) % N_CLOSERS];
            rt_matcher next = m;
            if (!rt_matcher_take(&next, closer, strlen(closer))) continue;
            m = next;
            gguf_dynbuf_put_text(&out, closer);
            break;
        }
        for (uint32_t i = 0; i < 16 + 256 && !found; i++) {
            char byte = i < 16 ? likely[(first + i) % (sizeof likely - 1)] : (char)(first + i);
            rt_matcher next = m;
            found = rt_matcher_take(&next, &byte, 1);
            if (!found) continue;
            m = next;
            gguf_dynbuf_put(&out, &byte, 1);
        }
        ck_assert_msg(found || rt_matcher_may_end(&m), "dead end: %.*s", (int)out.len, out.data);
        ck_assert_msg(out.len < 20000, "%.200s", out.data);
        ends = rt_matcher_may_end(&m);
    }
    rt_matcher_clear(&m);
    gguf_dynbuf_put(&out, "", 1);
    return (char *)out.data;
}

/* The calls of a text, each {"name", "arguments"}; text beside them is "text". */
static void collect(void *ctx, const rt_call_event *e) {
    json_t *list = ctx, *last = json_array_get(list, json_array_size(list) - 1);
    if (e->kind == RT_CALL_BEGIN)
        json_array_append_new(
            list, json_pack("{s:s%, s:s}", "name", e->name.ptr, e->name.len, "arguments", ""));
    else if (e->kind == RT_CALL_TEXT)
        json_array_append_new(list, json_pack("{s:s%}", "text", e->text.ptr, e->text.len));
    else if (e->kind == RT_CALL_ARGUMENTS)
        json_object_set_new(last, "arguments",
                            json_pack("s+%", json_string_value(json_object_get(last, "arguments")),
                                      e->text.ptr, e->text.len));
}

static void check_arguments(const char *style, const char *text, const json_t *call) {
    const char *name = json_string_value(json_object_get(call, "name"));
    const char *own = json_string_value(json_object_get(call, "arguments"));
    json_t *arguments = own ? json_loads(own, 0, NULL) : NULL;
    ck_assert_msg(name && json_is_object(arguments), "%s: %.1000s", style, text);
    if (strcmp(name, "get_weather") == 0) {
        const json_t *days = json_object_get(arguments, "days");
        ck_assert_msg(json_is_string(json_object_get(arguments, "city")), "%s: %s", style, text);
        ck_assert_msg(!days || json_is_integer(days), "%s: %s", style, text);
    }
    json_decref(arguments);
}

/* Of an answer in channels, in place: the call's header and arguments, as answers give them to the
 * parser. Behind a byte of 0xFF stands a special token. */
static void keep_call(char *text) {
    gguf_dynbuf out;
    rt_channels c = RT_CHANNELS_IN_HEADER;
    gguf_dynbuf_init(&out, SIZE_MAX / 4);
    for (const char *p = text; *p;) {
        bool special = (unsigned char)*p == 0xFF;
        size_t n = special ? strcspn(p, ">") : strcspn(p, "\xFF");
        gguf_str token = {p + special, n};
        rt_channel before = c.part, part = rt_channels_next(&c, token, special);
        gguf_str name = rt_channels_recipient(&c);
        if (c.part == RT_CHANNEL_CALL && before != RT_CHANNEL_CALL) {
            gguf_dynbuf_put_text(&out, "<|channel|>commentary to=functions.");
            gguf_dynbuf_put(&out, name.ptr, name.len);
            gguf_dynbuf_put_text(&out, "<|message|>");
        }
        if (part == RT_CHANNEL_CALL) gguf_dynbuf_put(&out, token.ptr, token.len);
        p += n + special;
    }
    memcpy(text, out.data, out.len);
    text[out.len] = '\0';
    gguf_dynbuf_clear(&out);
}

/* What is drawn of a grammar that demands calls is read back as calls that the tools accept. */
START_TEST(demanded_calls_are_valid) {
    const rt_tool_style *style = rt_tool_styles_at(styles, (size_t)_i % rt_tool_styles_n(styles));
    const char *name = rt_tool_style_name(style);
    bool channel = rt_tool_style_is_channel(style);
    rt_grammar *g = grammar_of(name, (rt_tool_demand){.required = true});
    for (uint32_t seed = 0; seed < 40; seed++) {
        char *text = draw_text(g, seed);
        if (channel) keep_call(text);
        json_t *calls = json_array(), *call;
        size_t i;
        rt_call_parser p;
        rt_call_parser_init(&p, style, tools, false, collect, calls);
        rt_call_parser_put(&p, gguf_str_of(text));
        rt_call_parser_end(&p);
        rt_call_parser_clear(&p);
        ck_assert_msg(json_array_size(calls) > 0, "%s: %.1000s", name, text);
        json_array_foreach(calls, i, call) check_arguments(name, text, call);
        json_decref(calls);
        free(text);
    }
    rt_grammar_unref(g);
}
END_TEST

#define K3_ANSWER "<|open|>response<|sep|>"
#define K3_END    "<|close|>response<|sep|>"
#define K3_NOW                                                                             \
    "<|open|>tools<|sep|><|open|>call tool=\"now\" index=\"1\"<|sep|><|close|>call<|sep|>" \
    "<|close|>tools<|sep|>"

START_TEST(answers_that_grammars_admit) {
    static const char weather[] = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": "
                                  "{\"city\": \"x\"}}\n</tool_call>",
                      now[] = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n"
                              "</tool_call>",
                      wrong[] = "<tool_call>\n{\"name\": \"now\", \"arguments\": 1}\n"
                                "</tool_call>";
    char both[512];
    rt_grammar *any = grammar_of("hermes", (rt_tool_demand){0}),
               *needed = grammar_of("hermes", (rt_tool_demand){.required = true}),
               *named = grammar_of("hermes", (rt_tool_demand){.required = true, .named = "now"}),
               *one = grammar_of("hermes", (rt_tool_demand){.single = true}),
               *first = grammar_of("glm-4", (rt_tool_demand){0}),
               *section = grammar_of("kimi-k3", (rt_tool_demand){.required = true});
    snprintf(both, sizeof both, "%s\n%s", weather, now);
    const struct {
        rt_grammar *g;
        const char *text;
        bool good;
    } cases[] = {{any, "", true},
                 {any, "a < b <tool_ <tool_calls", true},
                 {any, weather, true},
                 {any, both, true},
                 {any, wrong, false},
                 {any, "<tool_call>x", false},
                 {needed, weather, true},
                 {needed, "", false},
                 {needed, "Hi", false},
                 {needed, both, true},
                 {named, now, true},
                 {named, weather, false},
                 {one, now, true},
                 {one, both, false},
                 {one, "some text", true},
                 {one, wrong, false},
                 {first, "now\n{}", true},
                 {first, "now {}", false},
                 {first, "now", true},
                 {first, "\n\nnow\n{", false},
                 {first, "now is", true},
                 {first, "nowhere {}", true},
                 {first, "get_weather\n{\"city\": 1}", false},
                 {first, "Hi {}", true},
                 {first, "  ", true},
                 {section, K3_ANSWER K3_END K3_NOW, true},
                 {section, K3_END K3_NOW, true},
                 {section, K3_NOW, true},
                 {section, K3_ANSWER "Hi" K3_END K3_NOW, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(admits(cases[i].g, cases[i].text) == cases[i].good, "case %zu: %s", i,
                      cases[i].text);
    rt_grammar_unref(any);
    rt_grammar_unref(needed);
    rt_grammar_unref(named);
    rt_grammar_unref(one);
    rt_grammar_unref(first);
    rt_grammar_unref(section);
}
END_TEST

#define M(token) "\xFF<|" token "|>"
#define THOUGHT  M("channel") "analysis" M("message") "a < b" M("end") M("start") "assistant"
#define CALL     M("channel") "commentary to=functions.now " M("constrain") "json" M("message")

/* Special tokens are told from the same texts. */
START_TEST(answers_in_channels) {
    static const char final[] = M("channel") "final" M("message");
    char text[512];
    rt_grammar *any = grammar_of("gpt-oss", (rt_tool_demand){0}),
               *needed = grammar_of("gpt-oss", (rt_tool_demand){.required = true}), *digits;
    gguf_error err = {0};
    ck_assert(!rt_grammar_regex("[0-9]+", 6, &digits, &err));
    rt_grammar *held = rt_grammar_in_channels(digits);
    ck_assert_ptr_eq(rt_grammar_in_channels(digits), held);
    ck_assert_ptr_eq(rt_grammar_in_channels(any), any);
    snprintf(text, sizeof text, "%s%s", THOUGHT, final);
    const struct {
        rt_grammar *g;
        const char *text;
        bool good;
    } cases[] = {
        {any, THOUGHT CALL "{}", true},
        {any, THOUGHT THOUGHT CALL "{}", true},
        {any, text, true},
        {any, CALL "1", false},
        {any, " to=functions.now" M("channel") "commentary json" M("message") "{}", true},
        {any, THOUGHT " to=functions.now" M("channel") "commentary" M("message") "{}", true},
        {any, " to=functions.x", false},
        {any, M("channel") "final <|constrain|>json" M("message"), false},
        {any, M("channel") "final " M("constrain") "json" M("message") "a", true},
        {any, "Hi", false},
        {needed, CALL "{}", true},
        {needed, THOUGHT CALL "{}", true},
        {needed, THOUGHT THOUGHT CALL "{}", false},
        {needed, final, false},
        {needed, "<|channel|>commentary to=functions.now<|message|>{}", false},
        {held, M("channel") "final" M("message") "12", true},
        {held, THOUGHT M("channel") "final" M("message") "12", true},
        {held, M("channel") "final" M("constrain") "json" M("message") "12", true},
        {held, M("channel") "final" M("message") "x", false},
        {held, THOUGHT, false},
        {held, "12", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(admits(cases[i].g, cases[i].text) == cases[i].good, "case %zu", i);
    rt_grammar_unref(any);
    rt_grammar_unref(needed);
    rt_grammar_unref(digits);
}
END_TEST

/* A prompt may end in what opens a call. */
START_TEST(calls_that_the_prompt_began) {
    static const struct {
        const char *style, *prompt, *begun;
    } cases[] = {
        {"functionary-3.2", "a\n>>>", ">>>"}, {"functionary-3.2", "a>>", ""},
        {"functionary-3.2", ">", ""},         {"hermes", "a<tool_call>\n", "<tool_call>\n"},
        {"mistral", "[TOOL_CALLS][", ""},     {"llama-3", "a", ""}};
    static const char *const good[] = {"now\n{}", "all\nHi", "all\n>>>now\n{}", "all\n"},
                             *const bad[] = {"Hi", "now\n1", "", "nobody\n{}"};
    gguf_error err = {0};
    gguf_meta *meta = gguf_meta_new();
    rt_vocab_report report = {0};
    rt_tokenizer *tok;
    rt_token_table *table;
    ck_assert(!rt_vocab_import(TEST_DATA "/tokenizers/llama3", 0, meta, &report, &err));
    ck_assert(!rt_tokenizer_new(meta, &tok, &err));
    ck_assert(!rt_token_table_new(tok, (uint32_t)rt_tokenizer_n_tokens(tok), &table, &err));
    rt_grammar *g = grammar_of("functionary-3.2", (rt_tool_demand){0});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const rt_tool_style *style = rt_tool_styles_find(styles, cases[i].style);
        rt_ids ids = {0};
        ck_assert(!rt_tokenize(tok, cases[i].prompt, strlen(cases[i].prompt), 0, &ids, &err));
        ck_assert(gguf_str_eq(rt_tool_style_begun(style, tok, ids.data, ids.n), cases[i].begun));
        for (size_t j = 0; j < 4 && i == 0; j++) {
            rt_constraint c;
            ck_assert(!rt_constraint_init(&c, g, tok, table, ids.data, ids.n, &err));
            rt_matcher m = c.matcher;
            ck_assert_msg(rt_matcher_take(&m, good[j], strlen(good[j])) && rt_matcher_may_end(&m),
                          "%s", good[j]);
            m = c.matcher;
            ck_assert_msg(!rt_matcher_take(&m, bad[j], strlen(bad[j])) || !rt_matcher_may_end(&m),
                          "%s", bad[j]);
            rt_constraint_clear(&c);
        }
        rt_ids_clear(&ids);
    }
    rt_grammar_unref(g);
    rt_token_table_free(table);
    rt_tokenizer_free(tok);
    gguf_meta_free(meta);
    rt_vocab_report_clear(&report);
}
END_TEST

/* A hundred tools with ten parameters each fit into a grammar of any style. */
START_TEST(many_tools) {
    const rt_tool_style *style = rt_tool_styles_at(styles, (size_t)_i % rt_tool_styles_n(styles));
    gguf_error err = {0};
    rt_grammar *g;
    char name[32];
    json_t *many = json_array(), *left_out = json_array();
    for (int i = 0; i < 100; i++) {
        json_t *properties = json_object();
        for (int j = 0; j < 10; j++) {
            snprintf(name, sizeof name, "parameter_%d", j);
            json_object_set_new(properties, name,
                                json_pack("{s:s}", "type", j % 2 ? "string" : "integer"));
        }
        snprintf(name, sizeof name, "tool_%d", i);
        json_array_append_new(many,
                              json_pack("{s:{s:s, s:{s:s, s:o}}}", "function", "name", name,
                                        "parameters", "type", "object", "properties", properties));
    }
    rt_tool_demand demand = {.tools = many};
    gguf_code code = rt_grammar_tools(style, &demand, left_out, &g, &err);
    ck_assert_msg(!code, "%s: %s", rt_tool_style_name(style), err.message);
    ck_assert_uint_lt(rt_grammar_n_states(g), 120000);
    rt_grammar_unref(g);
    json_decref(many);
    json_decref(left_out);
}
END_TEST

/* Keywords that are not enforced are left out and named; a strict tool is refused. */
START_TEST(schemas_that_are_not_enforced) {
    gguf_error err = {0};
    rt_grammar *g;
    json_t *left_out = json_array();
    json_t *own =
        json_loads("[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":{\"type\":"
                   "\"array\",\"uniqueItems\":true}}}}}]",
                   0, NULL);
    rt_tool_demand demand = {.tools = own};
    const rt_tool_style *style = rt_tool_styles_find(styles, "hermes");
    ck_assert_int_eq(rt_grammar_tools(style, &demand, left_out, &g, &err), GGUF_OK);
    rt_grammar_unref(g);
    ck_assert_uint_eq(json_array_size(left_out), 1);
    ck_assert_str_eq(json_string_value(json_array_get(left_out, 0)),
                     "tools.f.parameters.properties.a.uniqueItems");
    json_object_set_new(json_object_get(json_array_get(own, 0), "function"), "strict", json_true());
    ck_assert_int_eq(rt_grammar_tools(style, &demand, left_out, &g, &err), GGUF_E_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "'f'"));
    ck_assert_ptr_nonnull(strstr(err.message, "$.properties.a: the keyword 'uniqueItems'"));
    json_decref(left_out);
    json_decref(own);
}
END_TEST

/* ---- templates --------------------------------------------------------------------------- */

#define TOOLS_SEEN "{% if tools %}[{{ tools | tojson }}]{% endif %}"
#define MESSAGES                                                                         \
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}{% for t in " \
    "m.tool_calls or [] %}{% set c = t.function %}"
#define REST "{% endfor %}<|im_end|>\n{% endfor %}"

/* Templates of calls, and what is found out of them. */
static const struct {
    const char *source, *style;
    bool generic, arguments_text, shows_calls;
} templates[] = {
    {TOOLS_SEEN MESSAGES "<tool_call>\n{\"name\": \"{{ c.name }}\", \"arguments\": "
                         "{{ c.arguments | tojson }}}\n</tool_call>" REST,
     "hermes", false, false, true},
    /* The arguments as they are: only a text comes out right. */
    {TOOLS_SEEN MESSAGES "[TOOL_CALLS]{{ c.name }}[ARGS]{{ c.arguments }}" REST, "mistral-args",
     false, true, true},
    {TOOLS_SEEN MESSAGES "[TOOL_CALLS][{\"name\": \"{{ c.name }}\", \"arguments\": "
                         "{{ c.arguments | tojson }}, \"id\": \"{{ t.id }}\"}]" REST,
     "mistral", false, false, true},
    {TOOLS_SEEN MESSAGES "<tool_call>\n<function={{ c.name }}>\n{% for k, v in c.arguments.items() "
                         "%}<parameter={{ k }}>\n{{ v }}\n</parameter>\n{% endfor %}</function>\n"
                         "</tool_call>" REST,
     "qwen3-coder", false, false, true},
    {TOOLS_SEEN MESSAGES "<tool_call>{{ c.name }}\n{% for k, v in c.arguments.items() %}<arg_key>"
                         "{{ k }}</arg_key>\n<arg_value>{{ v }}</arg_value>\n{% endfor %}"
                         "</tool_call>" REST,
     "glm-4.5", false, false, true},
    {TOOLS_SEEN MESSAGES "{\"name\": \"{{ c.name }}\", \"parameters\": {{ c.arguments | tojson }}}"
                         "<|eot_id|>" REST,
     "llama-3", false, false, true},
    {TOOLS_SEEN MESSAGES "<|start|>assistant to=functions.{{ c.name }}<|channel|>commentary "
                         "json<|message|>{{ c.arguments | tojson }}<|call|>" REST,
     "gpt-oss", false, false, true},
    {TOOLS_SEEN MESSAGES "<|tool_call_start|>[{{ c.name }}({% for k, v in c.arguments.items() %}"
                         "{{ k }}=\"{{ v }}\"{% endfor %})]<|tool_call_end|>" REST,
     "lfm2", false, false, true},
    {TOOLS_SEEN MESSAGES "<|tool_call|>[{\"name\": \"{{ c.name }}\", \"arguments\": "
                         "{{ c.arguments | tojson }}}]" REST,
     "granite-3.3", false, false, true},
    {TOOLS_SEEN MESSAGES "{{ c.name }}\n{{ c.arguments | tojson }}" REST, "glm-4", false, false,
     true},
    {TOOLS_SEEN MESSAGES "{{ c.name }} was called" REST, "generic", true, false, true},
    {MESSAGES "<tool_call>{\"name\": \"{{ c.name }}\", \"arguments\": {}}</tool_call>" REST,
     "generic", true, false, true},
    {"{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}", "generic", true, false,
     false},
    {"{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no') }}{% endif %}"
     "{% endfor %}",
     "generic", true, false, false},
};

START_TEST(styles_of_templates) {
    gguf_error err = {0};
    rt_template *tpl;
    rt_tool_use use;
    gguf_code code = rt_template_parse(gguf_str_of(templates[_i].source), &tpl, &err);
    ck_assert_msg(!code, "%s", err.message);
    ck_assert_int_eq(rt_tool_probe(styles, tpl, NULL, &use, &err), GGUF_OK);
    ck_assert_str_eq(rt_tool_style_name(use.style), templates[_i].style);
    ck_assert_int_eq(use.generic, templates[_i].generic);
    ck_assert_int_eq(use.arguments_text, templates[_i].arguments_text);
    ck_assert_int_eq(use.shows_calls, templates[_i].shows_calls);
    rt_template_free(tpl);
}
END_TEST

START_TEST(markers_of_templates) {
    static const char *const cases[][3] = {
        {"{{ content.split('</think>')[-1] }}", "<think>", "</think>"},
        {"<|channel>thought\n<channel|>", "<|channel>thought", "<channel|>"},
        {"[THINK]{{ x }}[/THINK]", "[THINK]", "[/THINK]"},
        {"<seed:think></seed:think>", "<seed:think>", "</seed:think>"},
        {"<mm:think></mm:think> and </think>", "<mm:think>", "</mm:think>"},
        {"'<|open|>' ~ tag ~ '<|sep|>' '<|close|>' open_tag('think')", "<|open|>think<|sep|>",
         "<|close|>think<|sep|>"},
        {"<think></think> and <response></response>", "<think>", "</think>"},
        {"<think>", NULL, NULL},
    };
    gguf_error err = {0};
    rt_tool_styles *table;
    ck_assert(!rt_tool_styles_new(&table, &err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rt_reasoning_markers m = rt_tool_styles_reasoning(table, gguf_str_of(cases[i][0]));
        ck_assert_pstr_eq(m.open, cases[i][1]);
        ck_assert_pstr_eq(m.close, cases[i][2]);
        ck_assert_uint_eq(m.n_drop, strstr(cases[i][0], "<response>") ? 2
                                    : *cases[i][0] == '\''            ? 3
                                                                      : 0);
    }
    rt_tool_styles_free(table);
}
END_TEST

static const struct {
    const char *text, *wanted;
} wrong_tables[] = {
    {"styles:\n  - name: a\n    families: b\n", "'call'"},
    {"styles:\n  - name: a\n    families: b\n    call: '{object}'\n", "'start: true'"},
    {"styles:\n  - name: a\n    families: b\n    call: 'x{any}'\n", "slot"},
    {"styles:\n  - name: a\n    families: b\n    call: 'x{name}'\n    fun: 1\n", "fun"},
    {"styles:\n  - name: a\n    families: b\n    call: 'x{parameters}'\n    item: i\n", "'item'"},
    {"reasoning:\n  - families: a\n    open: b\nstyles:\n", "'close'"},
};

START_TEST(tables_that_are_wrong) {
    gguf_error err = {0};
    rt_tool_styles *own;
    const char *text = wrong_tables[_i].text;
    ck_assert_int_eq(rt_tool_styles_parse(text, strlen(text), "t.yaml", &own, &err), GGUF_E_FORMAT);
    ck_assert_ptr_null(own);
    ck_assert_msg(strstr(err.message, wrong_tables[_i].wanted) != NULL, "%s", err.message);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tools");
    TCase *reading = tcase_create("reading");
    tcase_add_checked_fixture(reading, setup, teardown);
    tcase_add_loop_test(reading, calls_are_read_however_they_are_divided, 0, N_RECORDED);
    tcase_add_loop_test(reading, streamed_arguments_join_to_the_same, 0, N_RECORDED);
    tcase_add_loop_test(reading, calls_that_break_off, 0, N_RECORDED);
    tcase_add_test(reading, every_style_has_a_recorded_call);
    suite_add_tcase(suite, reading);
    TCase *choosing = tcase_create("choosing");
    tcase_add_checked_fixture(choosing, setup, teardown);
    tcase_add_loop_test(choosing, styles_of_templates, 0, sizeof templates / sizeof templates[0]);
    tcase_add_loop_test(choosing, tables_that_are_wrong, 0,
                        sizeof wrong_tables / sizeof wrong_tables[0]);
    tcase_add_test(choosing, markers_of_templates);
    suite_add_tcase(suite, choosing);
    TCase *holding = tcase_create("holding");
    tcase_set_timeout(holding, 60);
    tcase_add_checked_fixture(holding, setup, teardown);
    tcase_add_loop_test(holding, demanded_calls_are_valid, 0, 32);
    tcase_add_loop_test(holding, many_tools, 0, 32);
    tcase_add_test(holding, answers_that_grammars_admit);
    tcase_add_test(holding, answers_in_channels);
    tcase_add_test(holding, calls_that_the_prompt_began);
    tcase_add_test(holding, schemas_that_are_not_enforced);
    suite_add_tcase(suite, holding);
    return unit_run(suite);
}
