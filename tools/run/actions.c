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

/* A text for an encoder, and the tokens whose rows are wanted. */
typedef struct token_lists {
    uint32_t *source, *tokens;
    size_t n_source, n;
} token_lists;

static gguf_code read_lists(const run_opts *o, const rt_model *model, token_lists *lists,
                            gguf_error *err) {
    bool encodes = rt_model_hparams(model)->n_encoder_layer;
    if (encodes != (o->decoder_tokens != NULL))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         encodes ? "the model has an encoder: --tokens needs --decoder-tokens"
                                 : "--decoder-tokens is for models with an encoder");
    if (!encodes)
        return tool_parse_u32_list("--tokens", o->tokens, INT32_MAX, &lists->tokens, &lists->n,
                                   err);
    gguf_code code = tool_parse_u32_list("--tokens", o->tokens, INT32_MAX, &lists->source,
                                         &lists->n_source, err);
    return code ? code
                : tool_parse_u32_list("--decoder-tokens", o->decoder_tokens, INT32_MAX,
                                      &lists->tokens, &lists->n, err);
}

/* Same representation: ids are below 2^31. */
static gguf_code eval_lists(rt_session *session, const token_lists *lists, float *logits,
                            gguf_error *err) {
    gguf_code code = GGUF_OK;
    if (lists->source)
        code = rt_session_encode(session, 0, (const int32_t *)lists->source, lists->n_source, NULL,
                                 err);
    return code ? code
                : rt_session_eval(session, (const int32_t *)lists->tokens, lists->n, RT_LOGITS_ALL,
                                  logits, err);
}

gguf_code run_logits(tool *t, const run_opts *o, const rt_model *model, gguf_error *err) {
    token_lists lists = {0};
    size_t n_out = rt_model_hparams(model)->n_out;
    rt_session *session = NULL;
    float *logits = NULL;
    gguf_code code = read_lists(o, model, &lists, err);
    size_t n = lists.n + lists.n_source;
    rt_session_opts opts = run_session_opts(t, o, (uint32_t)n);
    if (!code) text_warn_context(t, rt_model_hparams(model)->n_ctx_train, n);
    if (!code && !(logits = malloc(lists.n * n_out * sizeof *logits))) code = gguf_fail_memory(err);
    if (!code) code = device_opts_apply(&o->device, model, &opts, NULL, err);
    if (!code) code = rt_session_new(model, &opts, &session, err);
    if (!code) code = eval_lists(session, &lists, logits, err);
    const uint64_t dims[2] = {lists.n, n_out};
    const char *name = rt_model_is_embedder(model) ? "hidden" : "logits";
    if (!code && gguf_ranks_own(t->ranks) == 0)
        code = gguf_safetensors_save_f32(o->logits, name, dims, 2, logits, t->force, err);
    if (!code && t->json) print_written(o->logits, name, dims);
    rt_session_free(session);
    free(logits);
    free(lists.source);
    free(lists.tokens);
    return code;
}
