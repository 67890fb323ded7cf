/* Every path, and what handles it. */
#include "tools/serve/dialects.h"
#include "tools/serve/http.h"
#include "tools/serve/metrics.h"

#define GET  "GET HEAD"
#define POST "POST"

const route serve_routes[] = {
    {"/", GET, DIALECT_OPENAI, handle_page, true, true},
    {"/health", GET, DIALECT_OPENAI, handle_health, true, true},
    {"/v1/health", GET, DIALECT_OPENAI, handle_health, true, true},
    {"/v1/chat/completions", POST, DIALECT_OPENAI, handle_chat_completions, false, false},
    {"/chat/completions", POST, DIALECT_OPENAI, handle_chat_completions, false, false},
    {"/v1/completions", POST, DIALECT_OPENAI, handle_completions, false, false},
    {"/completions", POST, DIALECT_OPENAI, handle_completions, false, false},
    {"/v1/models", GET, DIALECT_OPENAI, handle_models, true, false},
    {"/models", GET, DIALECT_OPENAI, handle_models, true, false},
    {"/v1/models/*", GET, DIALECT_OPENAI, handle_model, true, false},
    {"/metrics", GET, DIALECT_OPENAI, handle_metrics, true, false},
    {"/slots", GET, DIALECT_OPENAI, handle_slots, true, false},
    {"/props", GET, DIALECT_OPENAI, handle_props, true, false},
    {"/tokenize", POST, DIALECT_OPENAI, handle_tokenize, false, false},
    {"/detokenize", POST, DIALECT_OPENAI, handle_detokenize, false, false},
    {"/apply-template", POST, DIALECT_OPENAI, handle_apply_template, false, false},
    {0},
};
