/* Errors as the interfaces give them: one description, three shapes. */
#ifndef TOOLS_SERVE_API_ERROR_H
#define TOOLS_SERVE_API_ERROR_H

#include "libgguf/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum dialect { DIALECT_OPENAI, DIALECT_ANTHROPIC, DIALECT_OLLAMA } dialect;

/* Start as {0}: no error. The first one stays. */
typedef struct api_error {
    int status;
    const char *type, *code; /* static; code may be NULL */
    char param[96];          /* "" = none */
    char message[700];
    size_t n_prompt, n_ctx; /* of a prompt that is too long; n_ctx 0 otherwise */
} api_error;

/* The client's mistake: 400. param and code may be NULL. Returns false. */
bool api_fail(api_error *e, const char *param, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Any status; the type follows from it. Returns false. */
bool api_fail_status(api_error *e, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* What the engine says of a request that it refuses or ends. Returns false. */
bool api_fail_engine(api_error *e, gguf_code code, const char *message);

/* The body of the answer. */
json_t *api_error_json(const api_error *e, dialect shape, const char *request_id);
/* The status in this dialect. */
int api_error_status(const api_error *e, dialect shape);

#endif
