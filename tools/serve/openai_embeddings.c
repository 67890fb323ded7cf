/* POST /v1/embeddings and /v1/rerank */
#include "tools/serve/dialects.h"
#include "tools/serve/vectors.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXTS 2048

/* ---- embeddings -------------------------------------------------------------------------- */

static json_t *as_list(const float *vector, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_real((double)vector[i]));
    return list;
}

/* Little-endian, as this processor has them. */
static json_t *as_base64(const float *vector, size_t n) {
    unsigned char *text = malloc(4 * (n * sizeof *vector / 3 + 1) + 1);
    if (!text) return NULL;
    EVP_EncodeBlock(text, (const unsigned char *)vector, (int)(n * sizeof *vector));
    json_t *json = json_string((const char *)text);
    free(text);
    return json;
}

static json_t *usage_of(const vectors *v) {
    return json_pack("{s:I, s:I}", "prompt_tokens", (json_int_t)v->n_tokens, "total_tokens",
                     (json_int_t)v->n_tokens);
}

static void reply_embeddings(vectors *v) {
    json_t *data = json_array();
    float *vector = malloc(v->n_vector * sizeof *vector);
    for (size_t i = 0; vector && i < v->n; i++) {
        vectors_normalised(v, i, vector);
        json_t *value =
            v->base64 ? as_base64(vector, v->n_dimensions) : as_list(vector, v->n_dimensions);
        json_array_append_new(data, json_pack("{s:s, s:i, s:o}", "object", "embedding", "index",
                                              (int)i, "embedding", value));
    }
    free(vector);
    exchange_reply(v->x, 200,
                   json_pack("{s:s, s:o, s:s, s:o}", "object", "list", "data", data, "model",
                             v->x->s->name, "usage", usage_of(v)));
}

bool embeddings_check(const server *s, api_error *error) {
    if (rt_model_is_embedder(s->model) && s->hp->pooling != RT_POOLING_RANK &&
        s->hp->pooling != RT_POOLING_NONE)
        return true;
    return api_fail(error, "model", NULL, "the model '%s' makes no embeddings", s->name);
}

void handle_embeddings(exchange *x) {
    api_error error = {0};
    fields f;
    prompts texts = {0};
    json_t *input = NULL;
    const char *format = "float";
    vectors *v = vectors_new(x, reply_embeddings);
    fields_open(&f, x->json, &error);
    params_read_model(&f, x);
    if (!error.status) embeddings_check(x->s, &error);
    fields_any(&f, "input", &input);
    fields_text(&f, "encoding_format", &format);
    if (strcmp(format, "float") != 0 && strcmp(format, "base64") != 0)
        api_fail(&error, "encoding_format", NULL, "'encoding_format' must be float or base64");
    if (v) vectors_read_dimensions(&f, v);
    if (!error.status && !input) api_fail(&error, "input", NULL, "'input' is missing");
    prompts_read(&texts, x->s, input, "input", MAX_TEXTS, &error);
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    fields_close(&f); /* the engine's thread has the body's values from the start on */
    if (v && !error.status) {
        v->base64 = strcmp(format, "base64") == 0;
        vectors_start(v, &texts);
    } else {
        api_fail_status(&error, 500, NULL, "out of memory");
        exchange_fail(x, &error);
        vectors_free(v);
    }
    prompts_clear(&texts);
}

/* ---- reranking --------------------------------------------------------------------------- */

static int by_score(const void *a, const void *b, void *ctx) {
    const vectors *v = ctx;
    float x = v->values[*(const size_t *)a * v->n_vector],
          y = v->values[*(const size_t *)b * v->n_vector];
    return x < y ? 1 : x > y ? -1 : *(const size_t *)a < *(const size_t *)b ? -1 : 1;
}

/* In the form of the request: Cohere's, or the short one of text-embeddings-inference. */
static json_t *result_of(const vectors *v, size_t i) {
    json_t *result =
        json_pack("{s:I, s:f}", "index", (json_int_t)i, v->short_form ? "score" : "relevance_score",
                  (double)v->values[i * v->n_vector]);
    json_t *text = json_array_get(v->documents, i);
    if (v->return_documents && v->short_form)
        json_object_set(result, "text", text);
    else if (v->return_documents)
        json_object_set_new(result, "document", json_pack("{s:O}", "text", text));
    return result;
}

static void reply_scores(vectors *v) {
    size_t *order = malloc(v->n * sizeof *order);
    json_t *results = json_array();
    for (size_t i = 0; order && i < v->n; i++) order[i] = i;
    if (order) qsort_r(order, v->n, sizeof *order, by_score, v);
    for (size_t i = 0; order && i < v->n_top; i++)
        json_array_append_new(results, result_of(v, order[i]));
    free(order);
    if (v->short_form) {
        exchange_reply(v->x, 200, results);
        return;
    }
    exchange_reply(v->x, 200,
                   json_pack("{s:s, s:s, s:o, s:o}", "model", v->x->s->name, "object", "list",
                             "usage", usage_of(v), "results", results));
}

static bool ranks(const server *s, api_error *error) {
    if (s->hp->pooling != RT_POOLING_RANK || !rt_model_is_embedder(s->model))
        return api_fail(error, "model", NULL, "the model '%s' is no reranker", s->name);
    if (rt_model_parts_texts(s->model)) return true;
    return api_fail(error, "model", NULL,
                    "the model '%s' tells question and text apart by token types, but its file "
                    "names no separator",
                    s->name);
}

static bool add_pair(prompts *p, const server *s, const json_t *query, const json_t *document,
                     const char *param, api_error *error) {
    gguf_error err = {0};
    const json_t *text = json_is_object(document) ? json_object_get(document, "text") : document;
    if (!json_is_string(text))
        return api_fail(error, param, NULL, "'%s' must be texts, or objects with text", param);
    gguf_code code =
        rt_tokenize_pair(s->tok, json_string_value(query), json_string_length(query),
                         json_string_value(text), json_string_length(text), &p->ids[p->n++], &err);
    return !code || api_fail_engine(error, code, err.message);
}

static void read_documents(fields *f, const server *s, vectors *v, prompts *texts) {
    json_t *query = NULL, *documents = NULL, *item;
    size_t i;
    fields_any(f, "query", &query);
    v->short_form =
        !fields_array(f, "documents", &documents) && fields_array(f, "texts", &documents);
    const char *param = v->short_form ? "texts" : "documents";
    if (f->error->status) return;
    size_t n = json_array_size(documents);
    if (!json_is_string(query)) {
        api_fail(f->error, "query", NULL, "'query' must be a text");
        return;
    }
    if (n == 0 || n > MAX_TEXTS) {
        api_fail(f->error, param, NULL, "'%s' must have 1 to %d entries", param, MAX_TEXTS);
        return;
    }
    uint32_t n_top = (uint32_t)n;
    fields_u32(f, "top_n", 1, UINT32_MAX, &n_top);
    fields_bool(f, v->short_form ? "return_text" : "return_documents", &v->return_documents);
    v->n_top = n_top < n ? n_top : n;
    v->documents = json_array();
    texts->ids = calloc(n, sizeof *texts->ids);
    if (!texts->ids) {
        api_fail_status(f->error, 500, NULL, "out of memory");
        return;
    }
    json_array_foreach(documents, i, item) {
        if (!add_pair(texts, s, query, item, param, f->error)) return;
        json_array_append(v->documents,
                          json_is_object(item) ? json_object_get(item, "text") : item);
    }
}

void handle_rerank(exchange *x) {
    api_error error = {0};
    fields f;
    prompts texts = {0};
    vectors *v = vectors_new(x, reply_scores);
    if (!v) api_fail_status(&error, 500, NULL, "out of memory");
    fields_open(&f, x->json, &error);
    params_read_model(&f, x);
    if (!error.status) ranks(x->s, &error);
    if (!error.status) read_documents(&f, x->s, v, &texts);
    fields_ignored(&f, x->ignored, sizeof x->ignored);
    fields_close(&f);
    if (error.status) {
        exchange_fail(x, &error);
        vectors_free(v);
    } else {
        vectors_start(v, &texts);
    }
    prompts_clear(&texts);
}
