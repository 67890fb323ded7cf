/* What an answer must be: fields of requests that ask for JSON, a schema, a grammar. */
#ifndef TOOLS_SERVE_STRUCTURED_H
#define TOOLS_SERVE_STRUCTURED_H

#include "tools/serve/generation.h"
#include "tools/serve/json_fields.h"

/* Grammars that were compiled lately, by the hash of their source. */
grammar_cache *grammar_cache_new(void); /* NULL: out of memory */
void grammar_cache_free(grammar_cache *cache);

/* grammar, json_schema, structured_outputs. The grammar lives as long as the exchange. */
void structured_read(fields *f, exchange *x, params *p);
/* A format: {"type": "text" | "json_object" | "json_schema", ...}, the schema beside the type or
 * within "json_schema". */
void structured_read_format(fields *f, exchange *x, const json_t *format, const char *name,
                            params *p);
/* Ollama's: "json" or a schema. */
void structured_read_ollama(fields *f, exchange *x, const json_t *format, params *p);

/* Calls of tools, and what stands beside them; what is not enforced joins the ignored fields. */
void structured_hold_calls(fields *f, exchange *x, params *p, const rt_tool_style *style,
                           const rt_tool_demand *demand);

#endif
