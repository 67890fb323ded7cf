/* Vectors from the engine. */
#include "tools/serve/vectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

vectors *vectors_new(exchange *x, void (*done)(vectors *v)) {
    vectors *v = calloc(1, sizeof *v);
    if (!v) return NULL;
    *v = (vectors){.x = x, .done = done, .started_s = tool_now_s()};
    v->n_vector = v->n_dimensions = rt_pooled_size(x->s->model);
    exchange_ref(x);
    return v;
}

void vectors_free(vectors *v) {
    if (!v) return;
    exchange_unref(v->x);
    json_decref(v->documents);
    json_decref(v->truncated);
    free(v->values);
    free(v);
}

static void fail(vectors *v, const api_error *error) {
    exchange_fail(v->x, error);
    vectors_free(v);
}

static void on_event(void *ctx, const rt_serve_event *e) {
    vectors *v = ctx;
    api_error error = {0};
    if (e->kind == RT_SERVE_VECTOR)
        memcpy(v->values + e->index * v->n_vector, e->vector, v->n_vector * sizeof *v->values);
    if (e->kind != RT_SERVE_ENDED) return;
    if (e->code) {
        api_fail_engine(&error, e->code, e->message);
        fail(v, &error);
        return;
    }
    v->done(v);
    vectors_free(v);
}

void vectors_start(vectors *v, const prompts *texts) {
    api_error error = {0};
    gguf_error err = {0};
    rt_request *request;
    exchange *x = v->x;
    const rt_request_opts opts = {.prompts = texts->ids,
                                  .n_prompts = texts->n,
                                  .n_choices = 1,
                                  .embed = true,
                                  .key = x->key,
                                  .event = on_event,
                                  .ctx = v};
    v->n = texts->n;
    for (size_t i = 0; i < texts->n; i++) {
        v->n_tokens += texts->ids[i].n;
        if (texts->ids[i].n > error.n_prompt) error.n_prompt = texts->ids[i].n;
    }
    v->values = malloc(v->n * v->n_vector * sizeof *v->values);
    if (!v->values) {
        api_fail_status(&error, 500, NULL, "out of memory");
        fail(v, &error);
        return;
    }
    size_t longest = error.n_prompt;
    exchange_ref(x);
    gguf_code code = rt_serve_submit(x->s->engine, &opts, &request, &err);
    if (!code) {
        exchange_set_request(x, request);
    } else {
        error = (api_error){0};
        api_fail_engine(&error, code, err.message);
        if (code == GGUF_E_LIMIT) {
            error.code = "context_length_exceeded";
            error.n_prompt = longest;
            error.n_ctx = x->s->n_ctx;
        }
        fail(v, &error);
    }
    exchange_unref(x);
}

void vectors_normalised(const vectors *v, size_t i, float *out) {
    const float *from = v->values + i * v->n_vector;
    double sum = 0;
    for (size_t j = 0; j < v->n_dimensions; j++) sum += (double)from[j] * from[j];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (size_t j = 0; j < v->n_dimensions; j++) out[j] = (float)(from[j] * scale);
}

void vectors_read_dimensions(fields *f, vectors *v) {
    uint32_t n;
    if (fields_u32(f, "dimensions", 1, (uint32_t)v->n_vector, &n)) v->n_dimensions = n;
}
