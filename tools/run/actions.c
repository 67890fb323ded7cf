/* Completing, tokenizing, logits. */
#include "libgguf/checkpoint.h"
#include "libgguf/map.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tools/run/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned tokenize_flags(const run_opts *o) {
    return (o->no_special ? 0 : RT_TOKENIZE_ADD_SPECIAL) |
           (o->no_parse_special ? 0 : RT_TOKENIZE_PARSE_SPECIAL);
}

/* The ids of the prompt or the file. */
static gguf_code read_ids(const run_opts *o, const rt_tokenizer *tok, rt_ids *ids,
                          gguf_error *err) {
    if (o->prompt)
        return rt_tokenize(tok, o->prompt, strlen(o->prompt), tokenize_flags(o), ids, err);
    char *text;
    size_t n;
    gguf_code code = gguf_read_text(o->file, &text, &n, err);
    if (code) return code;
    code = rt_tokenize(tok, text, n, tokenize_flags(o), ids, err);
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

static rt_session_opts session_opts(const tool *t, const run_opts *o, size_t n_needed) {
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = o->n_ctx ? o->n_ctx : (uint32_t)n_needed;
    opts.kv_type = o->kv_type;
    opts.n_threads = t->n_threads;
    opts.exact = o->exact;
    return opts;
}

gguf_code run_logits(tool *t, const run_opts *o, const rt_model *model, gguf_error *err) {
    uint32_t *tokens = NULL;
    size_t n = 0, n_out = rt_model_hparams(model)->n_out;
    gguf_code code = tool_parse_u32_list("--tokens", o->tokens, INT32_MAX, &tokens, &n, err);
    if (code) return code;
    rt_session *session = NULL;
    rt_session_opts opts = session_opts(t, o, n);
    float *logits = malloc(n * n_out * sizeof *logits);
    code = logits ? rt_session_new(model, &opts, &session, err)
                  : gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    /* Same representation: ids are below 2^31. */
    if (!code)
        code = rt_session_eval(session, (const int32_t *)tokens, n, RT_LOGITS_ALL, logits, err);
    const uint64_t dims[2] = {n, n_out};
    const char *name = rt_model_is_embedder(model) ? "hidden" : "logits";
    if (!code) code = gguf_safetensors_save_f32(o->logits, name, dims, 2, logits, t->force, err);
    rt_session_free(session);
    free(logits);
    free(tokens);
    return code;
}

/* ---- completion -------------------------------------------------------------------------- */

typedef struct completion {
    const rt_tokenizer *tok;
    rt_session *session;
    rt_sampler *sampler;
    float *logits;
    rt_ids answer;
    size_t n_prompt;
    double prompt_s, generation_s;
} completion;

static gguf_code append_id(rt_ids *ids, int32_t id, gguf_error *err) {
    if (ids->n == ids->room) {
        size_t room = ids->room ? ids->room * 2 : 64;
        void *grown = realloc(ids->data, room * sizeof *ids->data);
        if (!grown) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
        ids->data = grown;
        ids->room = room;
    }
    ids->data[ids->n++] = id;
    return GGUF_OK;
}

static gguf_code generate(const tool *t, const run_opts *o, completion *c, gguf_error *err) {
    gguf_code code = GGUF_OK;
    while (c->answer.n < o->n_predict && !code) {
        if (atomic_load(&tool_cancelled))
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        int32_t id = rt_sampler_next(c->sampler, c->logits);
        if (id < 0)
            return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET, "no logit is finite");
        if (rt_tokenizer_is_end(c->tok, id)) break;
        code = append_id(&c->answer, id, err);
        gguf_str text = rt_token_text(c->tok, id);
        if (!t->json && !code) {
            fwrite(text.ptr, 1, text.len, stdout);
            fflush(stdout);
        }
        if (!code && c->answer.n < o->n_predict)
            code = rt_session_eval(c->session, &id, 1, RT_LOGITS_LAST, c->logits, err);
    }
    return code;
}

static json_t *answer_json(const completion *c) {
    char *text = NULL;
    size_t len = 0;
    json_t *ids = json_array();
    for (size_t i = 0; i < c->answer.n; i++)
        json_array_append_new(ids, json_integer(c->answer.data[i]));
    json_t *root = json_object();
    if (rt_detokenize(c->tok, c->answer.data, c->answer.n, true, &text, &len, NULL) == GGUF_OK)
        json_object_set_new(root, "text", tool_json_bytes(text, len));
    free(text);
    json_object_set_new(root, "ids", ids);
    json_object_set_new(root, "n_prompt", json_integer((json_int_t)c->n_prompt));
    json_object_set_new(root, "n_generated", json_integer((json_int_t)c->answer.n));
    json_object_set_new(root, "prompt_s", tool_json_real(c->prompt_s));
    json_object_set_new(root, "generation_s", tool_json_real(c->generation_s));
    return root;
}

static gguf_code complete(tool *t, const run_opts *o, completion *c, const rt_ids *prompt,
                          gguf_error *err) {
    double start = tool_now_s();
    if (prompt->n == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "the prompt is empty");
    c->n_prompt = prompt->n;
    gguf_code code =
        rt_session_eval(c->session, prompt->data, prompt->n, RT_LOGITS_LAST, c->logits, err);
    c->prompt_s = tool_now_s() - start;
    if (!code && !t->json && o->prompt) {
        printf("%s", o->prompt);
        fflush(stdout);
    }
    start = tool_now_s();
    if (!code) code = generate(t, o, c, err);
    c->generation_s = tool_now_s() - start;
    if (t->json && !code) tool_print_json(answer_json(c));
    if (!t->json) printf("\n");
    if (t->verbose && !code)
        tool_note(t, "prompt %zu tokens in %.2f s, answer %zu tokens in %.2f s", c->n_prompt,
                  c->prompt_s, c->answer.n, c->generation_s);
    return code;
}

gguf_code run_complete(tool *t, const run_opts *o, const rt_model *model, gguf_error *err) {
    uint32_t n_vocab = rt_model_hparams(model)->n_vocab;
    rt_ids prompt = {0};
    rt_tokenizer *tok = NULL;
    completion c = {0};
    if (rt_model_is_embedder(model))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(rt_model_file(model)),
                         GGUF_NO_OFFSET,
                         "an embedding model completes no text (--tokens and "
                         "--logits write its hidden states)");
    gguf_code code = rt_tokenizer_new(gguf_file_meta(rt_model_file(model)), &tok, err);
    if (!code) code = read_ids(o, tok, &prompt, err);
    if (!code) {
        rt_session_opts opts = session_opts(t, o, prompt.n + o->n_predict);
        code = rt_session_new(model, &opts, &c.session, err);
    }
    if (!code) code = rt_sampler_new(&o->sampler, n_vocab, &c.sampler, err);
    c.tok = tok;
    c.logits = malloc(n_vocab * sizeof *c.logits);
    if (!code && !c.logits)
        code = gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    if (!code) code = complete(t, o, &c, &prompt, err);
    rt_ids_clear(&c.answer);
    rt_ids_clear(&prompt);
    free(c.logits);
    rt_sampler_free(c.sampler);
    rt_session_free(c.session);
    rt_tokenizer_free(tok);
    return code;
}
