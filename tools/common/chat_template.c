/* Reading chat templates. */
#include "tools/common/chat_template.h"

#include "libgguf/map.h"
#include "libgguf/placeholder.h"
#include "tools/common/tool.h"

#include <stdio.h>
#include <stdlib.h>

static void name_file(gguf_error *err, const char *file) {
    if (err && !err->file[0]) snprintf(err->file, sizeof err->file, "%s", file);
}

static gguf_code template_of_file(const char *file, rt_template **out, gguf_error *err) {
    char *text;
    size_t n;
    gguf_code code = gguf_read_text(file, &text, &n, &tool_cancelled, err);
    if (code) return code;
    code = gguf_placeholder_check(text, n, GGUF_EXPECTED_BINARY, file, err);
    if (!code) code = rt_template_parse((gguf_str){text, n}, out, err);
    free(text);
    if (code) name_file(err, file);
    return code;
}

gguf_code chat_template_read(const char *file, const gguf_meta *meta, const char *model,
                             rt_template **out, gguf_error *err) {
    gguf_str source;
    if (file) return template_of_file(file, out, err);
    if (!gguf_kv_str(gguf_meta_find(meta, "tokenizer.chat_template"), &source))
        return gguf_fail(err, GGUF_E_MISSING, model, GGUF_NO_OFFSET,
                         "the model has no chat template (tokenizer.chat_template); --template "
                         "F.jinja gives one");
    return rt_template_parse(source, out, err);
}
