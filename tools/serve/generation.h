/* Answers of the model for a request: parameters that the interfaces share, and the way from the
 * engine's events to the pieces of a dialect. */
#ifndef TOOLS_SERVE_GENERATION_H
#define TOOLS_SERVE_GENERATION_H

#include "runtime/chat/tools.h"
#include "tools/serve/exchange.h"
#include "tools/serve/json_fields.h"

#define MAX_STOPS   17 /* one of them is that of a transcript */
#define MAX_CHOICES 64
#define MAX_BIAS    1024
/* Answers to all prompts of a request. */
#define MAX_ANSWERS 1024
/* Probabilities of tokens that one answer without a stream may hold. */
#define MAX_LOGPROBS (1u << 18)

/* What shapes an answer. */
typedef struct params {
    rt_sampler_opts sampler;
    bool seed_given;
    uint32_t max_tokens, min_tokens, n_choices, n_ctx;
    rt_logit_bias bias[MAX_BIAS];
    size_t n_bias;
    const char *stops[MAX_STOPS]; /* of the body */
    size_t n_stops;
    int32_t stop_ids[MAX_STOPS];
    size_t n_stop_ids;
    rt_grammar *grammar;      /* of the exchange; or NULL */
    const rt_ids *prediction; /* likewise */
    json_t *tools;            /* that may be called; or NULL */
    bool stream, ignore_end, no_cache, logprobs, progress, timings;
    uint32_t n_top;
} params;

/* The server's defaults. */
params params_defaults(const server *s);
/* Temperature, filters, penalties, seed: the same names in all interfaces that have them. */
void params_read_sampling(fields *f, params *p);
/* {id: number} or [[id or text, number or false]]; -100 and false ban. */
void params_read_bias(fields *f, const server *s, params *p);
/* A text or a list of texts. */
void params_read_stops(fields *f, const char *name, params *p);
/* A list of tokens. */
void params_read_stop_ids(fields *f, const server *s, params *p);
/* "prediction": {"type": "content", "content"}, what the answer may say. */
void params_read_prediction(fields *f, exchange *x, params *p);
/* Refuse fields that ask for what is not there. */
void params_refuse(fields *f);
/* The request names this server's model. */
bool params_read_model(fields *f, const exchange *x);
bool params_fail_model(api_error *error, const exchange *x, const char *name);

/* ---- answers ----------------------------------------------------------------------------- */

typedef struct generation generation;

/* One of the answers. */
typedef struct answer {
    uint32_t index;
    generation *owner;
    gguf_dynbuf text, thought; /* all of it, unless it is streamed */
    rt_call_parser parser;     /* with tools */
    json_t *calls;             /* [{"id", "name", "arguments": text}] so far; or NULL */
    gguf_dynbuf arguments;     /* of the last one */
    json_t *logprobs;          /* chat's entries of tokens that were not sent yet */
    gguf_dynbuf tokens;        /* rt_serve_token of an answer that is not streamed */
    size_t n_shown;            /* bytes of the text, for offsets */
    bool finished;
    rt_serve_finish finish;
    const char *stop; /* the stop text that came, or NULL */
    size_t n_generated, n_reasoning;
    rt_ids ids; /* with want_ids: of prompt and answer */
} answer;

/* How a dialect shows answers. */
typedef struct dialect_format {
    const char *stream_type; /* "text/event-stream" */
    /* Of a stream; thoughts and texts come in turn. begin is called once the prompt is being read.
     */
    void (*begin)(generation *g);
    void (*part)(generation *g, answer *a, gguf_str text, bool thought);
    void (*progress)(generation *g, size_t n_read); /* may be NULL */
    /* A call of a tool, the last of a->calls, begins, goes on with a part of its arguments, or
     * ends; with whole_calls only its end is told. NULL: the dialect has none. */
    void (*call)(generation *g, answer *a, const rt_call_event *e);
    bool whole_calls;
    const char *call_prefix; /* of ids; NULL: "call_" */
    void (*finish)(generation *g, answer *a);
    void (*end)(generation *g);
    void (*fail)(generation *g, const api_error *error);
    /* Of an answer at once. */
    json_t *(*whole)(generation *g);
} dialect_format;

struct generation {
    exchange *x;
    server *s;
    const dialect_format *format;
    params params;
    size_t n_prompts;
    answer *answers; /* [n_prompts * n_choices] */
    size_t n_answers;
    char id[48];
    time_t created;
    double created_s, queue_s, prompt_s, answer_s; /* of the first answer */
    size_t n_prompt, n_cached;                     /* tokens, of all prompts */
    size_t n_foreseen, n_unforeseen;               /* of the prediction, see rt_serve_event */
    bool begun, want_ids;
    size_t n_left_out; /* messages */
    size_t n_logprobs; /* kept so far */
    char **stops;
    /* Of the dialect. */
    bool include_usage;
    int state, item, block;
    char item_id[48];
    uint64_t sequence;
    json_t *echo;    /* items that are complete */
    json_t *entries; /* log-probabilities of the one at work; or NULL */
    gguf_dynbuf text;
};

/* A generation for an exchange, with the id `prefix` and random characters. */
generation *generation_new(exchange *x, const dialect_format *format, const params *p,
                           const char *id_prefix);
/* Give it up before it started. Accepts NULL. */
void generation_free(generation *g);

/* Let the engine answer the prompts; takes the generation. What the engine refuses is answered as
 * an error.
 *   prompts  [n_prompts], the caller's
 *   text     how the text is divided; its stops come from the parameters */
void generation_start(generation *g, const rt_ids *prompts, size_t n_prompts,
                      const rt_answer_text_opts *text);

/* The call that is at work or was the last one. */
json_t *answer_call(const answer *a);

size_t generation_n_generated(const generation *g);
size_t generation_n_reasoning(const generation *g);

/* {"token", "bytes", "logprob", "top_logprobs", "id"} */
json_t *generation_logprob(const server *s, const rt_serve_token *token);
/* Text of tokens, with U+FFFD for what is no character. */
json_t *generation_token_text(const server *s, int32_t id);

#endif
