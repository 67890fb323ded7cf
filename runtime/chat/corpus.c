/* The calibration text of the program. */
#include "runtime/chat/corpus.h"

#include "libgguf/embed.h"
#include "runtime/chat/chat_prompt.h"

#include <stdlib.h>
#include <string.h>

extern const gguf_embedded rt_builtin_calibration[];

bool rt_corpus_is_name(const char *name) {
    return name[0] == '@';
}

gguf_code rt_corpus_check(const char *name, gguf_error *err) {
    if (strcmp(name, "@default") == 0) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "there is no text '%s', only @default; a file of that name is ./%s", name,
                     name);
}

/* ---- conversations ----------------------------------------------------------------------- */

/* Templates may write the date: the same one, so that a model's tokens are always the same. */
static gguf_code render(const rt_template *tpl, const json_t *conversation, const rt_tokenizer *tok,
                        char **text, size_t *len) {
    const struct tm day = {.tm_year = 126, .tm_mon = 0, .tm_mday = 5, .tm_wday = 1, .tm_yday = 4};
    json_t *variables = json_copy((json_t *)(uintptr_t)conversation);
    gguf_code code = variables ? GGUF_OK : GGUF_E_NOMEM;
    if (!code) {
        rt_chat_add_tokens(variables, tok);
        json_object_set_new(variables, "add_generation_prompt", json_false());
        code =
            rt_template_render(tpl, variables, &(rt_template_opts){.now = &day}, text, len, NULL);
    }
    json_decref(variables);
    return code;
}

static gguf_code add_messages(const json_t *conversation, const rt_tokenizer *tok, rt_ids *ids,
                              gguf_error *err) {
    gguf_code code = GGUF_OK;
    size_t i;
    json_t *message;
    json_array_foreach(json_object_get(conversation, "messages"), i, message) {
        const char *content = json_string_value(json_object_get(message, "content"));
        if (!code) code = rt_tokenize(tok, content, strlen(content), 0, ids, err);
        if (!code) code = rt_tokenize(tok, "\n\n", 2, 0, ids, err);
    }
    return code;
}

static gguf_code add_conversation(const rt_template *tpl, const json_t *conversation,
                                  const rt_tokenizer *tok, rt_ids *ids, gguf_error *err) {
    char *text = NULL;
    size_t len = 0;
    if (!tpl || render(tpl, conversation, tok, &text, &len))
        return add_messages(conversation, tok, ids, err);
    gguf_code code = rt_tokenize(tok, text, len, RT_TOKENIZE_PARSE_SPECIAL, ids, err);
    free(text);
    return code;
}

static gguf_code add_conversations(const gguf_embedded *text, const rt_template *tpl,
                                   const rt_tokenizer *tok, rt_ids *ids, gguf_error *err) {
    json_t *all = json_loadb(text->text, text->n_bytes, 0, NULL), *conversation;
    gguf_code code = all ? GGUF_OK : gguf_fail_memory(err);
    size_t i;
    json_array_foreach(all, i, conversation) {
        if (!code) code = add_conversation(tpl, conversation, tok, ids, err);
    }
    json_decref(all);
    return code;
}

/* ---- all texts --------------------------------------------------------------------------- */

gguf_code rt_corpus_ids(const char *name, const gguf_meta *meta, const rt_tokenizer *tok,
                        rt_ids *ids, gguf_error *err) {
    gguf_str source;
    rt_template *tpl = NULL;
    gguf_code code = rt_corpus_check(name, err);
    if (!code && gguf_kv_str(gguf_meta_find(meta, "tokenizer.chat_template"), &source))
        code = rt_template_parse(source, &tpl, err);
    for (const gguf_embedded *text = rt_builtin_calibration; text->name && !code; text++)
        code = text->text[0] == '[' ? add_conversations(text, tpl, tok, ids, err)
                                    : rt_tokenize(tok, text->text, text->n_bytes, 0, ids, err);
    rt_template_free(tpl);
    return code;
}
