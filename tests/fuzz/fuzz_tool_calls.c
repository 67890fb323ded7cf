/* Calls in answers: the first byte says the style; what is read does not depend on how the text is
 * divided, and arguments are JSON objects. */
#include "runtime/chat/tools.h"
#include "tests/fuzz/fuzz.h"

#include <jansson.h>
#include <string.h>

typedef struct reading {
    gguf_dynbuf all, arguments;
    bool whole;
} reading;

static void note(void *ctx, const rt_call_event *e) {
    static const char marks[] = {0, 1, 0, 2};
    reading *r = ctx;
    if (marks[e->kind]) gguf_dynbuf_put(&r->all, &marks[e->kind], 1);
    gguf_dynbuf_put(&r->all, e->name.ptr, e->name.len);
    gguf_dynbuf_put(&r->all, e->text.ptr, e->text.len);
    if (e->kind == RT_CALL_BEGIN) r->arguments.len = 0;
    if (e->kind == RT_CALL_ARGUMENTS) gguf_dynbuf_put(&r->arguments, e->text.ptr, e->text.len);
    if (e->kind != RT_CALL_END || !r->whole) return;
    json_t *json = json_loadb((const char *)r->arguments.data, r->arguments.len, 0, NULL);
    fuzz_check(json_is_object(json));
    json_decref(json);
}

static void read_divided(const rt_tool_style *style, const json_t *tools, const char *text,
                         size_t n, size_t piece, bool streams, reading *r) {
    rt_call_parser p;
    r->whole = !streams;
    gguf_dynbuf_init(&r->all, SIZE_MAX / 4);
    gguf_dynbuf_init(&r->arguments, SIZE_MAX / 4);
    rt_call_parser_init(&p, style, tools, streams, note, r);
    for (size_t at = 0; at < n; at += piece)
        rt_call_parser_put(&p, (gguf_str){text + at, n - at < piece ? n - at : piece});
    rt_call_parser_end(&p);
    fuzz_check(!rt_call_parser_code(&p));
    rt_call_parser_clear(&p);
}

static void clear(reading *r) {
    gguf_dynbuf_clear(&r->all);
    gguf_dynbuf_clear(&r->arguments);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static rt_tool_styles *styles;
    static json_t *tools;
    reading whole, bytes, streamed;
    if (!styles && rt_tool_styles_new(&styles, NULL)) return 0;
    if (!tools)
        tools =
            json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{"
                       "\"properties\":{\"s\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}"
                       "}}}}]",
                       0, NULL);
    if (size == 0 || size > 4096) return 0;
    const rt_tool_style *style =
        rt_tool_styles_at(styles, (data[0] - 'A') % rt_tool_styles_n(styles));
    const char *text = (const char *)data + 1;
    size_t n = size - 1;
    read_divided(style, tools, text, n, n ? n : 1, false, &whole);
    read_divided(style, tools, text, n, 1, false, &bytes);
    read_divided(style, tools, text, n, 3, true, &streamed);
    fuzz_check(whole.all.len == bytes.all.len &&
               (whole.all.len == 0 || memcmp(whole.all.data, bytes.all.data, whole.all.len) == 0));
    clear(&whole);
    clear(&bytes);
    clear(&streamed);
    return 0;
}
