/* Opening, saving, loading conversations. */
#include "tools/run/conversation_files.h"

#include "tools/common/chat_template.h"

#include "libgguf/inputs.h"
#include "libgguf/json.h"
#include "libgguf/map.h"
#include "libgguf/outfile.h"

#include <stdlib.h>
#include <string.h>

void conversation_note_plain(tool *t) {
    tool_note(t, "the model has no chat template: it gets a plain transcript of User and Assistant "
                 "(--template F.jinja gives one)");
}

/* ---- files ------------------------------------------------------------------------------- */

gguf_code conversation_save(const rt_conversation *c, const char *file, bool replace,
                            gguf_error *err) {
    json_t *root = json_pack("{s:O}", "messages", c->messages);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(root);
    if (!text) return gguf_fail_memory(err);
    size_t n = strlen(text);
    text[n] = '\n'; /* in place of the NUL */
    gguf_code code = gguf_outfile_save(file, text, n + 1,
                                       GGUF_OUT_STREAM | (replace ? GGUF_OUT_REPLACE : 0), err);
    free(text);
    return code;
}

gguf_code conversation_load(rt_conversation *c, const char *file, gguf_error *err) {
    json_t *root = NULL;
    gguf_code code = gguf_json_load(file, GGUF_JSON_EXACT_INTS, &root, err);
    if (!code) code = rt_conversation_set_messages(c, json_object_get(root, "messages"), file, err);
    if (!code) gguf_inputs_forget(file); /* nothing reads it again, and it may be saved to */
    json_decref(root);
    return code;
}

/* ---- opening ----------------------------------------------------------------------------- */

/* *out stays NULL where there is none. */
static gguf_code open_template(const run_opts *o, const gguf_meta *meta, rt_template **out,
                               gguf_error *err) {
    gguf_str own;
    if (!o->template_file && !gguf_kv_str(gguf_meta_find(meta, "tokenizer.chat_template"), &own))
        return GGUF_OK;
    return chat_template_read(o->template_file, meta, NULL, out, err);
}

static gguf_code open_variables(const run_opts *o, json_t **out, gguf_error *err) {
    const char *text = o->template_vars;
    if (!text) return GGUF_OK;
    gguf_code code = gguf_json_parse(text, strlen(text), GGUF_JSON_EXACT_INTS, "--template-vars",
                                     GGUF_NO_OFFSET, out, err);
    if (code || json_is_object(*out)) return code;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "--template-vars takes a JSON object");
}

static gguf_code open_system(rt_conversation *c, const run_opts *o, gguf_error *err) {
    char *text;
    size_t n;
    if (o->system) rt_conversation_add(c, "system", o->system, strlen(o->system));
    if (!o->system_file) return GGUF_OK;
    gguf_code code = gguf_read_text(o->system_file, &text, &n, &tool_cancelled, err);
    if (code) return code;
    rt_conversation_add(c, "system", text, n && text[n - 1] == '\n' ? n - 1 : n);
    free(text);
    return GGUF_OK;
}

gguf_code conversation_open(rt_conversation *c, const run_opts *o, const gguf_meta *meta,
                            const rt_tokenizer *tok, gguf_error *err) {
    rt_template *tpl = NULL;
    json_t *variables = NULL;
    *c = (rt_conversation){0};
    gguf_code code = open_template(o, meta, &tpl, err);
    if (!code) code = open_variables(o, &variables, err);
    if (!code) {
        code = rt_conversation_open(c, tpl, variables, tok, err);
        return code ? code : open_system(c, o, err);
    }
    rt_template_free(tpl);
    json_decref(variables);
    return code;
}
