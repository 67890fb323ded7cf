/* Tokenizing and logits. */
#include "libgguf/checkpoint.h"
#include "libgguf/json.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tools/common/text_tokens.h"
#include "tools/run/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned run_tokenize_flags(const run_opts *o) {
    return (o->no_special ? 0 : RT_TOKENIZE_ADD_SPECIAL) |
           (o->no_parse_special ? 0 : RT_TOKENIZE_PARSE_SPECIAL);
}

/* The ids of the prompt or the file. */
static gguf_code read_ids(const run_opts *o, const rt_tokenizer *tok, rt_ids *ids,
                          gguf_error *err) {
    char *text;
    size_t n;
    gguf_code code = run_read_prompt(o, &text, &n, err);
    if (code) return code;
    code = rt_tokenize(tok, text, n, run_tokenize_flags(o), ids, err);
    free(text);
    return code;
}

/* ---- token ids --------------------------------------------------------------------------- */

static void print_ids(const tool *t, const rt_ids *ids) {
    if (!t->json) {
        for (size_t i = 0; i < ids->n; i++) printf("%s%d", i ? " " : "", ids->data[i]);
        printf("\n");
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < ids->n; i++) json_array_append_new(list, json_integer(ids->data[i]));
    tool_print_json(json_pack("{s:o}", "ids", list));
}

gguf_code run_tokenize(tool *t, const run_opts *o, const gguf_meta *meta, gguf_error *err) {
    rt_tokenizer *tok;
    rt_ids ids = {0};
    gguf_code code = rt_tokenizer_new(meta, &tok, err);
    if (code) return code;
    code = read_ids(o, tok, &ids, err);
    if (!code) print_ids(t, &ids);
    rt_ids_clear(&ids);
    rt_tokenizer_free(tok);
    return code;
}

/* ---- logits ------------------------------------------------------------------------------ */

static void print_written(const char *path, const char *name, const uint64_t dims[2]) {
    tool_print_json(json_pack("{s:o, s:s, s:[I, I]}", "output", gguf_json_bytes(path, strlen(path)),
                              "tensor", name, "shape", (json_int_t)dims[0], (json_int_t)dims[1]));
}

gguf_code run_logits(tool *t, const run_opts *o, const rt_model *model, gguf_error *err) {
    uint32_t *tokens = NULL;
    size_t n = 0, n_out = rt_model_hparams(model)->n_out;
    gguf_code code = tool_parse_u32_list("--tokens", o->tokens, INT32_MAX, &tokens, &n, err);
    if (code) return code;
    rt_session *session = NULL;
    rt_session_opts opts = run_session_opts(t, o, (uint32_t)n);
    text_warn_context(t, rt_model_hparams(model)->n_ctx_train, n);
    float *logits = malloc(n * n_out * sizeof *logits);
    code = logits ? device_opts_apply(&o->device, model, &opts, NULL, err) : gguf_fail_memory(err);
    if (!code) code = rt_session_new(model, &opts, &session, err);
    /* Same representation: ids are below 2^31. */
    if (!code)
        code = rt_session_eval(session, (const int32_t *)tokens, n, RT_LOGITS_ALL, logits, err);
    const uint64_t dims[2] = {n, n_out};
    const char *name = rt_model_is_embedder(model) ? "hidden" : "logits";
    if (!code) code = gguf_safetensors_save_f32(o->logits, name, dims, 2, logits, t->force, err);
    if (!code && t->json) print_written(o->logits, name, dims);
    rt_session_free(session);
    free(logits);
    free(tokens);
    return code;
}
