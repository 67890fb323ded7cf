/* Variables, rendering, tokens. */
#include "runtime/chat/chat_prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rt_chat_add_tokens(json_t *variables, const rt_tokenizer *tok) {
    static const struct {
        const char *name;
        rt_special which;
    } tokens[] = {{"bos_token", RT_SPECIAL_BOS},       {"eos_token", RT_SPECIAL_EOS},
                  {"unk_token", RT_SPECIAL_UNKNOWN},   {"pad_token", RT_SPECIAL_PADDING},
                  {"sep_token", RT_SPECIAL_SEPARATOR}, {"mask_token", RT_SPECIAL_MASK}};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        int32_t id = rt_tokenizer_special(tok, tokens[i].which);
        if (id < 0 || json_object_get(variables, tokens[i].name)) continue;
        gguf_str piece = rt_token_piece(tok, id);
        json_object_set_new(variables, tokens[i].name, json_stringn(piece.ptr, piece.len));
    }
}

gguf_code rt_chat_render(const rt_template *tpl, const json_t *variables, char **out, size_t *len,
                         gguf_error *err) {
    struct tm now;
    time_t seconds = time(NULL);
    localtime_r(&seconds, &now);
    return rt_template_render(tpl, variables, &(rt_template_opts){.now = &now}, out, len, err);
}

/* Most templates write the begin token themselves. */
static gguf_code add_begin(const rt_tokenizer *tok, rt_ids *ids, gguf_error *err) {
    int32_t begin = rt_tokenizer_special(tok, RT_SPECIAL_BOS);
    if (!rt_tokenizer_adds_bos(tok) || (ids->n && ids->data[0] == begin)) return GGUF_OK;
    void *grown = realloc(ids->data, (ids->n + 1) * sizeof *ids->data);
    if (!grown) return gguf_fail_memory(err);
    ids->data = grown;
    ids->room = ids->n + 1;
    memmove(ids->data + 1, ids->data, ids->n++ * sizeof *ids->data);
    ids->data[0] = begin;
    return GGUF_OK;
}

gguf_code rt_chat_text_ids(const rt_tokenizer *tok, const char *text, size_t len, rt_ids *out,
                           gguf_error *err) {
    gguf_code code = rt_tokenize(tok, text, len, RT_TOKENIZE_PARSE_SPECIAL, out, err);
    return code ? code : add_begin(tok, out, err);
}

gguf_code rt_chat_ids(const rt_template *tpl, const json_t *variables, const rt_tokenizer *tok,
                      rt_ids *out, gguf_error *err) {
    char *text = NULL;
    size_t len = 0;
    gguf_code code = rt_chat_render(tpl, variables, &text, &len, err);
    if (code && err && !err->file[0]) snprintf(err->file, sizeof err->file, "chat template");
    if (!code) code = rt_chat_text_ids(tok, text, len, out, err);
    free(text);
    return code;
}
