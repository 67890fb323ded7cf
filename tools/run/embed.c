/* Vectors of texts, and documents in the order in which they answer a question. */
#include "libgguf/checkpoint.h"
#include "runtime/serve/serve.h"
#include "tools/common/output_files.h"
#include "tools/common/text_tokens.h"
#include "tools/run/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Texts that are computed side by side. */
#define N_PARALLEL 16

typedef struct texts {
    char *bytes; /* all of them, each ended by NUL */
    char **list; /* [n] */
    size_t n;
    rt_ids *ids;   /* [n] */
    float *values; /* [n][n_values] */
    size_t n_values;
    gguf_code code;
    char message[256];
} texts;

static void texts_clear(texts *x) {
    for (size_t i = 0; x->ids && i < x->n; i++) rt_ids_clear(&x->ids[i]);
    free(x->ids);
    free(x->values);
    free(x->list);
    free(x->bytes);
}

/* -p is one text, whatever is in it; -f has one a line. */
static gguf_code read_texts(const run_opts *o, texts *x, gguf_error *err) {
    size_t len;
    gguf_code code = run_read_prompt(o, &x->bytes, &len, err);
    if (code) return code;
    bool lines = o->file != NULL;
    size_t room = 1;
    for (size_t i = 0; lines && i < len; i++) room += x->bytes[i] == '\n';
    char *grown = realloc(x->bytes, len + 1);
    if (grown) x->bytes = grown;
    x->list = malloc(room * sizeof *x->list);
    x->ids = calloc(room, sizeof *x->ids);
    if (!grown || !x->list || !x->ids) return gguf_fail_memory(err);
    x->bytes[len] = 0;
    for (char *at = x->bytes, *end = at + len; at < end || (!lines && x->n == 0);) {
        char *stop = lines ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        if (!stop) stop = end;
        *stop = 0;
        if (lines && stop > at && stop[-1] == '\r') stop[-1] = 0;
        x->list[x->n++] = at;
        at = stop + 1;
    }
    if (x->n == 0)
        return gguf_fail(err, GGUF_E_FORMAT, o->file, GGUF_NO_OFFSET, "there is no text");
    return GGUF_OK;
}

static gguf_code tokenize(texts *x, const run_opts *o, const rt_tokenizer *tok, gguf_error *err) {
    const char *query = o->rank;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < x->n && !code; i++) {
        const char *text = x->list[i];
        code =
            query ? rt_tokenize_pair(tok, query, strlen(query), text, strlen(text), &x->ids[i], err)
                  : rt_tokenize(tok, text, strlen(text), RT_TOKENIZE_ADD_SPECIAL, &x->ids[i], err);
        if (!code && x->ids[i].n == 0)
            code = gguf_fail(err, GGUF_E_FORMAT, o->file, GGUF_NO_OFFSET,
                             "the model has no tokens for text %zu, '%.60s'", i + 1, text);
    }
    return code;
}

static void on_event(void *ctx, const rt_serve_event *e) {
    texts *x = ctx;
    if (e->kind == RT_SERVE_VECTOR)
        memcpy(x->values + e->index * x->n_values, e->vector, x->n_values * sizeof *x->values);
    if (e->kind != RT_SERVE_ENDED || !e->code) return;
    x->code = e->code;
    snprintf(x->message, sizeof x->message, "%s", e->message);
}

static gguf_code compute(tool *t, rt_serve *engine, texts *x, gguf_error *err) {
    const rt_request_opts opts = {.prompts = x->ids,
                                  .n_prompts = x->n,
                                  .n_choices = 1,
                                  .embed = true,
                                  .event = on_event,
                                  .ctx = x};
    rt_request *request;
    gguf_code code = rt_serve_submit(engine, &opts, &request, err);
    if (code) return code;
    double started = tool_now_s();
    while (rt_serve_step(engine)) {
        rt_serve_stats stats;
        rt_serve_stats_get(engine, &stats);
        size_t left = stats.n_running + stats.n_waiting;
        double done = left < x->n ? (double)(x->n - left) / (double)x->n : 0;
        tool_progress_share(t, "texts", done, started);
        if (atomic_load(&tool_cancelled)) rt_request_cancel(request);
    }
    rt_request_release(request);
    if (x->code == GGUF_E_CANCELLED)
        return gguf_fail(err, x->code, NULL, GGUF_NO_OFFSET, "interrupted");
    return x->code ? gguf_fail(err, x->code, NULL, GGUF_NO_OFFSET, "%s", x->message) : GGUF_OK;
}

static gguf_code run_engine(tool *t, const run_opts *o, rt_model *model, const rt_tokenizer *tok,
                            texts *x, gguf_error *err) {
    size_t longest = 0;
    for (size_t i = 0; i < x->n; i++) longest = x->ids[i].n > longest ? x->ids[i].n : longest;
    rt_serve_opts opts = rt_serve_defaults();
    opts.n_ctx = o->n_ctx ? o->n_ctx : (uint32_t)longest;
    opts.n_parallel = x->n < N_PARALLEL ? (uint32_t)x->n : N_PARALLEL;
    opts.n_queue = UINT32_MAX;
    opts.n_parked = 0;
    opts.kv_type = o->kv_type;
    opts.n_threads = t->n_threads;
    opts.precision = o->precision;
    text_warn_context(t, rt_model_hparams(model)->n_ctx_train, longest);
    rt_serve *engine = NULL;
    x->n_values = rt_pooled_size(model);
    x->values = malloc(x->n * x->n_values * sizeof *x->values);
    gguf_code code =
        x->values ? rt_serve_new(model, tok, &opts, &engine, err) : gguf_fail_memory(err);
    if (!code) code = compute(t, engine, x, err);
    rt_serve_free(engine);
    return code;
}

static gguf_code run_texts(tool *t, const run_opts *o, rt_model *model, texts *x, gguf_error *err) {
    rt_tokenizer *tok;
    gguf_code code = rt_tokenizer_new(gguf_file_meta(rt_model_file(model)), &tok, err);
    if (code) return code;
    code = read_texts(o, x, err);
    if (!code) code = tokenize(x, o, tok, err);
    if (!code) code = run_engine(t, o, model, tok, x, err);
    rt_tokenizer_free(tok);
    return code;
}

/* ---- vectors ----------------------------------------------------------------------------- */

static void normalise(float *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)v[i] * (double)v[i];
    for (size_t i = 0; i < n && sum > 0; i++) v[i] = (float)((double)v[i] / sqrt(sum));
}

static void print_vectors_json(const texts *x) {
    json_t *list = json_array();
    for (size_t i = 0; i < x->n; i++) {
        json_t *vector = json_array();
        for (size_t c = 0; c < x->n_values; c++)
            json_array_append_new(vector, tool_json_real((double)x->values[i * x->n_values + c]));
        json_array_append_new(list, json_pack("{s:I, s:o}", "n_tokens", (json_int_t)x->ids[i].n,
                                              "embedding", vector));
    }
    tool_print_json(json_pack("{s:I, s:o}", "n_embd", (json_int_t)x->n_values, "texts", list));
}

static void print_vectors(const texts *x) {
    for (size_t i = 0; i < x->n; i++)
        for (size_t c = 0; c < x->n_values; c++)
            printf("%.7g%c", (double)x->values[i * x->n_values + c],
                   c + 1 < x->n_values ? ' ' : '\n');
}

static gguf_code write_vectors(const tool *t, const run_opts *o, const texts *x, gguf_error *err) {
    const uint64_t dims[2] = {x->n, x->n_values};
    gguf_code code = GGUF_OK;
    if (gguf_ranks_own(t->ranks) == 0)
        code =
            gguf_safetensors_save_f32(o->output, "embeddings", dims, 2, x->values, t->force, err);
    if (!code && t->json)
        tool_print_json(json_pack(
            "{s:o, s:s, s:[I, I]}", "output", gguf_json_bytes(o->output, strlen(o->output)),
            "tensor", "embeddings", "shape", (json_int_t)x->n, (json_int_t)x->n_values));
    return code;
}

static gguf_code check_model(const rt_model *model, bool ranks, gguf_error *err) {
    rt_pooling pooling = rt_model_hparams(model)->pooling;
    const char *path = gguf_file_path(rt_model_file(model)), *why = NULL;
    if (!rt_model_is_embedder(model))
        why = "the model writes texts; --embed and --rank are for models that make vectors";
    else if (ranks && pooling != RT_POOLING_RANK)
        why = "the model is no reranker: --embed gives its vectors";
    else if (!ranks && pooling == RT_POOLING_RANK)
        why = "the model is a reranker: --rank QUERY gives its scores";
    else if (ranks && !rt_model_parts_texts(model))
        why = "the model tells question and text apart by token types, but the file names no "
              "separator (tokenizer.ggml.seperator_token_id)";
    return why ? gguf_fail(err, GGUF_E_UNSUPPORTED, path, GGUF_NO_OFFSET, "%s", why) : GGUF_OK;
}

gguf_code run_embed(tool *t, const run_opts *o, rt_model *model, gguf_error *err) {
    texts x = {0};
    gguf_code code = check_model(model, false, err);
    if (!code) code = run_texts(t, o, model, &x, err);
    for (size_t i = 0; !code && i < x.n; i++) normalise(x.values + i * x.n_values, x.n_values);
    if (!code && o->output)
        code = write_vectors(t, o, &x, err);
    else if (!code && t->json)
        print_vectors_json(&x);
    else if (!code)
        print_vectors(&x);
    texts_clear(&x);
    return code;
}

/* ---- scores ------------------------------------------------------------------------------ */

static float score_of(const texts *x, size_t i) {
    return x->values[i * x->n_values];
}

static int by_score(const void *a, const void *b, void *ctx) {
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    float x = score_of(ctx, i), y = score_of(ctx, j);
    return x < y ? 1 : x > y ? -1 : i < j ? -1 : i > j;
}

static void print_scores(const tool *t, const texts *x, const size_t *order) {
    json_t *list = t->json ? json_array() : NULL;
    for (size_t k = 0; k < x->n; k++) {
        size_t i = order[k];
        const char *text = x->list[i];
        if (t->json)
            json_array_append_new(list, json_pack("{s:I, s:o, s:o}", "index", (json_int_t)i,
                                                  "score", tool_json_real((double)score_of(x, i)),
                                                  "text", gguf_json_bytes(text, strlen(text))));
        else {
            printf("%.6g\t%zu\t", (double)score_of(x, i), i + 1);
            run_print_text(gguf_str_of(text));
            printf("\n");
        }
    }
    if (t->json) tool_print_json(json_pack("{s:o}", "results", list));
}

gguf_code run_rank(tool *t, const run_opts *o, rt_model *model, gguf_error *err) {
    texts x = {0};
    gguf_code code = check_model(model, true, err);
    if (!code) code = run_texts(t, o, model, &x, err);
    size_t *order = code ? NULL : malloc(x.n * sizeof *order);
    if (!code && !order) code = gguf_fail_memory(err);
    for (size_t i = 0; order && i < x.n; i++) order[i] = i;
    if (order) {
        qsort_r(order, x.n, sizeof *order, by_score, &x);
        print_scores(t, &x, order);
    }
    free(order);
    texts_clear(&x);
    return code;
}
