/* The interfaces: what handles each path, and the shapes that they share. */
#ifndef TOOLS_SERVE_DIALECTS_H
#define TOOLS_SERVE_DIALECTS_H

#include "tools/serve/generation.h"

/* OpenAI */
void handle_chat_completions(exchange *x);
void handle_chat_input_tokens(exchange *x);
void handle_completions(exchange *x);
void handle_models(exchange *x);
void handle_model(exchange *x);
void handle_embeddings(exchange *x);
void handle_responses(exchange *x);
void handle_responses_input_tokens(exchange *x);
void handle_no_responses(exchange *x);
/* Anthropic */
void handle_messages(exchange *x);
void handle_count_tokens(exchange *x);
/* Ollama */
void handle_ollama_version(exchange *x);
void handle_ollama_tags(exchange *x);
void handle_ollama_ps(exchange *x);
void handle_ollama_show(exchange *x);
void handle_ollama_chat(exchange *x);
void handle_ollama_generate(exchange *x);
void handle_ollama_embed(exchange *x);
void handle_ollama_embeddings(exchange *x);
/* Of this server */
void handle_health(exchange *x);
void handle_props(exchange *x);
void handle_page(exchange *x);
void handle_tokenize(exchange *x);
void handle_detokenize(exchange *x);
void handle_apply_template(exchange *x);
void handle_rerank(exchange *x);

/* ---- shapes of OpenAI's interfaces ------------------------------------------------------- */

const char *openai_finish(const answer *a);
json_t *openai_usage(const generation *g);
json_t *openai_timings(const generation *g);
json_t *openai_head(const generation *g, const char *object);
void openai_done(generation *g);
void openai_stream_fail(generation *g, const api_error *error);
void openai_read_stream(fields *f, params *p, bool *include_usage);
void openai_read_common(fields *f, exchange *x, params *p);
/* Whether the model makes embeddings. */
bool embeddings_check(const server *s, api_error *error);
json_t *answer_text(const gguf_dynbuf *text);

/* One entry of /api/tags, /v1/models and /api/ps. */
json_t *ollama_model(const server *s);

#endif
