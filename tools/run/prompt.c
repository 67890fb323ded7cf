/* --render. */
#include "tools/run/run.h"

#include "libgguf/json.h"
#include "runtime/chat/chat_prompt.h"
#include "tools/common/chat_template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void name_file(gguf_error *err, const char *file) {
    if (err && !err->file[0]) snprintf(err->file, sizeof err->file, "%s", file);
}

static gguf_code add_tokens_of_model(json_t *variables, const gguf_meta *meta, gguf_error *err) {
    rt_tokenizer *tok;
    gguf_code code = rt_tokenizer_new(meta, &tok, err);
    if (code) return code;
    rt_chat_add_tokens(variables, tok);
    rt_tokenizer_free(tok);
    return GGUF_OK;
}

/* ---- --render ---------------------------------------------------------------------------- */

static gguf_code print_prompt(const tool *t, const rt_template *tpl, const json_t *variables,
                              gguf_error *err) {
    char *text;
    size_t len;
    gguf_code code = rt_chat_render(tpl, variables, &text, &len, err);
    if (code) return code;
    if (t->json)
        tool_print_json(json_pack("{s:o}", "prompt", gguf_json_bytes(text, len)));
    else
        fwrite(text, 1, len, stdout);
    free(text);
    return GGUF_OK;
}

gguf_code run_render(tool *t, const run_opts *o, gguf_error *err) {
    gguf_file *file = NULL;
    rt_template *tpl = NULL;
    json_t *variables = NULL;
    const char *model = t->n_args ? t->args[0] : NULL;
    gguf_code code = gguf_json_load(o->render, GGUF_JSON_EXACT_INTS, &variables, err);
    if (!code && !json_is_object(variables))
        code = gguf_fail(err, GGUF_E_FORMAT, o->render, GGUF_NO_OFFSET, "expected an object");
    if (!code && model) code = gguf_file_open(model, GGUF_OPEN_ANY_TYPE, &file, err);
    const gguf_meta *meta = file ? gguf_file_meta(file) : NULL;
    if (!code && meta) code = add_tokens_of_model(variables, meta, err);
    if (!code) code = chat_template_read(o->template_file, meta, model, &tpl, err);
    if (!code) {
        code = print_prompt(t, tpl, variables, err);
        if (code && o->template_file) name_file(err, o->template_file);
    }
    rt_template_free(tpl);
    json_decref(variables);
    if (file) gguf_file_close(file);
    return code;
}
