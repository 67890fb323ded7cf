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
    {"/v1/chat/completions/input_tokens", POST, DIALECT_OPENAI, handle_chat_input_tokens, false,
     false},
    {"/v1/completions", POST, DIALECT_OPENAI, handle_completions, false, false},
    {"/completions", POST, DIALECT_OPENAI, handle_completions, false, false},
    {"/v1/models", GET, DIALECT_OPENAI, handle_models, true, false},
    {"/models", GET, DIALECT_OPENAI, handle_models, true, false},
    {"/v1/models/*", GET, DIALECT_OPENAI, handle_model, true, false},
    {"/v1/embeddings", POST, DIALECT_OPENAI, handle_embeddings, false, false},
    {"/embeddings", POST, DIALECT_OPENAI, handle_embeddings, false, false},
    {"/v1/responses", POST, DIALECT_OPENAI, handle_responses, false, false},
    {"/v1/responses/input_tokens", POST, DIALECT_OPENAI, handle_responses_input_tokens, false,
     false},
    {"/v1/responses/*", "GET HEAD DELETE POST", DIALECT_OPENAI, handle_no_responses, true, false},
    {"/v1/rerank", POST, DIALECT_OPENAI, handle_rerank, false, false},
    {"/rerank", POST, DIALECT_OPENAI, handle_rerank, false, false},
    {"/v1/reranking", POST, DIALECT_OPENAI, handle_rerank, false, false},
    {"/v1/messages", POST, DIALECT_ANTHROPIC, handle_messages, false, false},
    {"/v1/messages/count_tokens", POST, DIALECT_ANTHROPIC, handle_count_tokens, false, false},
    {"/api/version", GET, DIALECT_OLLAMA, handle_ollama_version, true, false},
    {"/api/tags", GET, DIALECT_OLLAMA, handle_ollama_tags, true, false},
    {"/api/ps", GET, DIALECT_OLLAMA, handle_ollama_ps, true, false},
    {"/api/show", POST, DIALECT_OLLAMA, handle_ollama_show, false, false},
    {"/api/chat", POST, DIALECT_OLLAMA, handle_ollama_chat, false, false},
    {"/api/generate", POST, DIALECT_OLLAMA, handle_ollama_generate, false, false},
    {"/api/embed", POST, DIALECT_OLLAMA, handle_ollama_embed, false, false},
    {"/api/embeddings", POST, DIALECT_OLLAMA, handle_ollama_embeddings, false, false},
    {"/metrics", GET, DIALECT_OPENAI, handle_metrics, true, false},
    {"/slots", GET, DIALECT_OPENAI, handle_slots, true, false},
    {"/props", GET, DIALECT_OPENAI, handle_props, true, false},
    {"/tokenize", POST, DIALECT_OPENAI, handle_tokenize, false, false},
    {"/detokenize", POST, DIALECT_OPENAI, handle_detokenize, false, false},
    {"/apply-template", POST, DIALECT_OPENAI, handle_apply_template, false, false},
    {0},
};
