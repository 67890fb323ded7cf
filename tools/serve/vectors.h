/* Vectors of texts, for embeddings and reranking. */
#ifndef TOOLS_SERVE_VECTORS_H
#define TOOLS_SERVE_VECTORS_H

#include "tools/serve/exchange.h"
#include "tools/serve/prompts.h"

/* A request for vectors, and what it has so far. */
typedef struct vectors {
    exchange *x;
    size_t n, n_vector; /* texts, numbers of each */
    float *values;      /* [n][n_vector] */
    size_t n_tokens;    /* of all texts */
    double started_s;
    /* Answers, once all are there. */
    void (*done)(struct vectors *v);
    /* Of the interface. */
    bool base64, return_documents, short_form;
    size_t n_dimensions, n_top;
    json_t *documents, *truncated;
} vectors;

vectors *vectors_new(exchange *x, void (*done)(vectors *v));
void vectors_free(vectors *v); /* accepts NULL */

/* Let the engine compute them; takes v. */
void vectors_start(vectors *v, const prompts *texts);

/* The first n_dimensions numbers of a text's vector, scaled to length 1. */
void vectors_normalised(const vectors *v, size_t i, float *out);
/* Read "dimensions" into v. */
void vectors_read_dimensions(fields *f, vectors *v);

#endif
