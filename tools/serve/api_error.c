/* Errors in the shapes of the interfaces. */
#include "tools/serve/api_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libgguf/verify.h"

#define STATUS_OVERLOADED 529 /* of Anthropic's interface */

/* What a status is called. */
static const struct {
    int status;
    const char *openai, *anthropic;
} types[] = {
    {400, "invalid_request_error", "invalid_request_error"},
    {401, "authentication_error", "authentication_error"},
    {403, "permission_error", "permission_error"},
    {404, "not_found_error", "not_found_error"},
    {405, "invalid_request_error", "invalid_request_error"},
    {413, "invalid_request_error", "request_too_large"},
    {429, "rate_limit_error", "rate_limit_error"},
    {503, "unavailable_error", "overloaded_error"},
    {500, "server_error", "api_error"},
};

static const char *type_of(int status, dialect shape) {
    size_t n = sizeof types / sizeof types[0], i = 0;
    while (i < n - 1 && types[i].status != status) i++;
    return shape == DIALECT_ANTHROPIC ? types[i].anthropic : types[i].openai;
}

/* Messages quote what was sent, and a long quotation may be cut within a character. */
static void make_utf8(char *text) {
    size_t n = strlen(text), at;
    while (!gguf_utf8_valid(text, n, &at)) text[at] = '?';
}

static void set(api_error *e, int status, const char *param, const char *code, const char *format,
                va_list args) {
    if (e->status) return;
    *e = (api_error){.status = status, .type = type_of(status, DIALECT_OPENAI), .code = code};
    snprintf(e->param, sizeof e->param, "%s", param ? param : "");
    vsnprintf(e->message, sizeof e->message, format, args);
    make_utf8(e->param);
    make_utf8(e->message);
}

bool api_fail(api_error *e, const char *param, const char *code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    set(e, 400, param, code, format, args);
    va_end(args);
    return false;
}

bool api_fail_status(api_error *e, int status, const char *code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    set(e, status, NULL, code, format, args);
    va_end(args);
    return false;
}

bool api_fail_engine(api_error *e, gguf_code code, const char *message) {
    switch (code) {
    case GGUF_E_USAGE:
    case GGUF_E_LIMIT:
        return api_fail(e, NULL, NULL, "%s", message);
    case GGUF_E_EXISTS:
        return api_fail_status(e, 503, "queue_full", "%s", message);
    case GGUF_E_CANCELLED:
        return api_fail_status(e, 503, "draining", "%s", message);
    default:
        return api_fail_status(e, 500, NULL, "%s", message);
    }
}

int api_error_status(const api_error *e, dialect shape) {
    return shape == DIALECT_ANTHROPIC && e->status == 503 ? STATUS_OVERLOADED : e->status;
}

static json_t *openai_error(const api_error *e) {
    const char *type = e->n_ctx ? "exceed_context_size_error" : e->type;
    json_t *error = json_pack("{s:s, s:s, s:s?, s:s?}", "message", e->message, "type", type,
                              "param", e->param[0] ? e->param : NULL, "code", e->code);
    if (e->n_ctx) {
        json_object_set_new(error, "n_prompt_tokens", json_integer((json_int_t)e->n_prompt));
        json_object_set_new(error, "n_ctx", json_integer((json_int_t)e->n_ctx));
    }
    return json_pack("{s:o}", "error", error);
}

static json_t *anthropic_error(const api_error *e, const char *request_id) {
    char message[120];
    const char *text = e->message;
    if (e->n_ctx) {
        snprintf(message, sizeof message, "prompt is too long: %zu tokens > %zu maximum",
                 e->n_prompt, e->n_ctx);
        text = message;
    }
    return json_pack("{s:s, s:{s:s, s:s}, s:s}", "type", "error", "error", "type",
                     type_of(e->status, DIALECT_ANTHROPIC), "message", text, "request_id",
                     request_id);
}

json_t *api_error_json(const api_error *e, dialect shape, const char *request_id) {
    if (shape == DIALECT_ANTHROPIC) return anthropic_error(e, request_id);
    if (shape == DIALECT_OLLAMA) return json_pack("{s:s}", "error", e->message);
    return openai_error(e);
}
