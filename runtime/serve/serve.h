/* The engine of a server: requests in, events out. It computes the answers of many requests
 * together, step by step: one token of each that decodes, and of the prompts that wait as many
 * tokens as the time of a step allows. What was computed stays in the cache for requests that begin
 * with the same tokens.
 *
 * The same model, version, instruction set, seed and request give the same tokens, alone or beside
 * others, cold or from the cache, with any number of threads. */
#ifndef RUNTIME_SERVE_SERVE_H
#define RUNTIME_SERVE_SERVE_H

#include "runtime/chat/answer_text.h"
#include "runtime/chat/drafts.h"
#include "runtime/chat/grammar.h"
#include "runtime/engine/sample.h"
#include "runtime/runtime.h"
#include "runtime/tokenizer/tokenizer.h"

#include <stdatomic.h>

/* ---- the engine -------------------------------------------------------------------------- */

typedef struct rt_serve_opts {
    uint32_t n_ctx;       /* of a request: tokens of prompt and answer; 0 = the trained context */
    uint32_t n_kv_tokens; /* of all requests and of what stays in the cache; 0 = what sequences can
                             hold */
    uint32_t n_parallel;  /* requests (choices, texts) that are computed at once */
    uint32_t n_queue;     /* requests that wait */
    uint32_t n_parked;    /* sequences that stay in the cache after their request */
    uint32_t kv_type;     /* as in rt_session_opts */
    unsigned n_threads;
    rt_precision precision;
    const struct rt_backend_type *device; /* these three as in rt_session_opts */
    const char *device_name;
    uint32_t n_device_layers;
    bool repack;         /* repack the weights before the first request */
    rt_draft_opts draft; /* while few answers are computed; none where the model takes no tokens
                            back (rt_check_returns) */
    rt_draft_model *draft_model; /* outlives the engine; or NULL */
    double step_s;               /* how long a step with a part of a prompt should take */
    double (*now)(void *);       /* seconds, monotonic; NULL: the system's clock */
    void *now_ctx;
} rt_serve_opts;

rt_serve_opts rt_serve_defaults(void); /* 64 at once, 512 waiting, 64 parked, 0.1 s */

/* The options of the engine's session, from which its memory follows. */
rt_session_opts rt_serve_session_opts(const rt_hparams *hp, const rt_serve_opts *opts);

typedef struct rt_serve rt_serve;

/* What rt_serve_new refuses without looking at memory.
 * Errors: GGUF_E_USAGE options, GGUF_E_UNSUPPORTED a model with an encoder and a decoder. */
gguf_code rt_serve_check(const rt_model *model, const rt_serve_opts *opts, gguf_error *err);

/* Allocate all memory of the model's sequences. Model and tokenizer must outlive the engine.
 * Errors: those of rt_serve_check and rt_session_new; GGUF_E_USAGE the cache holds less than one
 * context. */
gguf_code rt_serve_new(rt_model *model, const rt_tokenizer *tok, const rt_serve_opts *opts,
                       rt_serve **out, gguf_error *err);
/* End all requests, as if they were cancelled, and take no further ones. Handles stay valid until
 * the engine is freed, which ends it too. Both accept NULL. */
void rt_serve_end(rt_serve *serve);
void rt_serve_free(rt_serve *serve);

/* Let a thread of its own do the steps. Errors: GGUF_E_NOMEM. */
gguf_code rt_serve_start(rt_serve *serve, gguf_error *err);
/* Or do one step here; not both. False: there was nothing to do. */
bool rt_serve_step(rt_serve *serve);

uint32_t rt_serve_n_ctx(const rt_serve *serve);

/* ---- requests ---------------------------------------------------------------------------- */

/* A token, and how likely the model found it: the natural logarithm of its probability before
 * anything shaped the choice. The top ones are the most likely, in order. */
#define RT_SERVE_MAX_TOP 20
typedef struct rt_serve_token {
    int32_t id;
    float logprob;
    size_t n_top;
    rt_logprob top[RT_SERVE_MAX_TOP];
} rt_serve_token;

typedef enum rt_serve_kind {
    RT_SERVE_STARTED,  /* its prompt is being read: n_prompt, n_cached */
    RT_SERVE_READING,  /* a part of it was read: n_read; only if asked for */
    RT_SERVE_PART,     /* text, thought or tokens */
    RT_SERVE_FINISHED, /* an answer is complete: finish and what follows it */
    RT_SERVE_VECTOR,   /* of a text: what the model's pooling makes of it */
    RT_SERVE_ENDED /* the last event of a request: code and message, GGUF_E_CANCELLED included */
} rt_serve_kind;

typedef enum rt_serve_finish {
    RT_SERVE_END,    /* the model ended */
    RT_SERVE_STOP,   /* a stop text came */
    RT_SERVE_LENGTH, /* max_tokens */
    RT_SERVE_FULL    /* the context is full */
} rt_serve_finish;

typedef struct rt_serve_event {
    rt_serve_kind kind;
    uint32_t index; /* prompt * n_choices + choice */
    size_t n_prompt, n_cached, n_read;

    gguf_str text, thought;       /* whole characters; either may be empty */
    const rt_serve_token *tokens; /* [n_tokens] of the text; only if asked for */
    size_t n_tokens;

    rt_serve_finish finish;
    int stop;                        /* which stop text, or -1 */
    size_t n_generated, n_reasoning; /* tokens, the one that ended it included */
    size_t n_foreseen, n_unforeseen; /* tokens of the prediction that came true, or were in vain */
    double queue_s, prompt_s, answer_s;
    const int32_t *ids; /* [n_ids] prompt and answer */
    size_t n_ids;

    const float *vector; /* [n_vector] */
    size_t n_vector;

    gguf_code code;
    const char *message;
} rt_serve_event;

/* Called from the engine's thread; it must not block, nor call the engine other than
 * rt_request_cancel and rt_request_pause. */
typedef void (*rt_serve_event_fn)(void *ctx, const rt_serve_event *event);

typedef struct rt_request rt_request;

typedef struct rt_request_opts {
    const rt_ids *prompts; /* [n_prompts], copied */
    size_t n_prompts;
    uint32_t n_choices; /* answers to each prompt; choice i takes the seed plus i */
    bool embed;         /* vectors, not answers; of an embedding model only */
    rt_sampler_opts sampler;
    const rt_logit_bias *bias; /* [n_bias], copied */
    size_t n_bias;
    const int32_t *stop_ids; /* [n_stop_ids], copied: tokens that end an answer too */
    size_t n_stop_ids;
    rt_grammar *grammar; /* what the answers say belongs to it, not what they think; or NULL; a
                            reference is taken */
    uint32_t max_tokens; /* UINT32_MAX: what the context holds */
    uint32_t min_tokens; /* before these the model does not end */
    bool ignore_end;     /* it never does */
    uint32_t n_ctx;      /* less than the engine's; 0 = that */
    bool progress;       /* tell how far a prompt was read */
    bool logprobs;
    uint32_t n_top;           /* most likely tokens beside each */
    rt_answer_text_opts text; /* its stops are copied */
    bool no_cache;            /* compute the whole prompt */
    const rt_ids *prediction; /* what the answers may say, copied; or NULL */
    uint64_t key;             /* who asks: requests of one key do not push out those of another */
    rt_serve_event_fn event;
    void *ctx;
} rt_request_opts;

/* Errors, without any event: GGUF_E_USAGE an empty prompt, a token outside the vocabulary, an
 * option out of range, answers of an embedding model or vectors of another; GGUF_E_LIMIT a prompt
 * that the context does not hold; GGUF_E_EXISTS the queue is full; GGUF_E_CANCELLED the engine
 * ends; GGUF_E_NOMEM. Threads: any. */
gguf_code rt_serve_submit(rt_serve *serve, const rt_request_opts *opts, rt_request **out,
                          gguf_error *err);
/* End a request within a step; RT_SERVE_ENDED follows. Threads: any. */
void rt_request_cancel(rt_request *request);
/* Make no more tokens for it, or go on: its reader is slow. Threads: any. */
void rt_request_pause(rt_request *request, bool paused);
/* Give the handle back, before or after the end. Accepts NULL. Threads: any. */
void rt_request_release(rt_request *request);

/* ---- what goes on ------------------------------------------------------------------------ */

#define RT_SERVE_N_BUCKETS 14
/* Counts of values up to each of bounds, and of larger ones. */
typedef struct rt_serve_histogram {
    uint64_t counts[RT_SERVE_N_BUCKETS + 1], n;
    double sum;
} rt_serve_histogram;
extern const double rt_serve_time_bounds[RT_SERVE_N_BUCKETS];  /* seconds */
extern const double rt_serve_count_bounds[RT_SERVE_N_BUCKETS]; /* tokens */

typedef struct rt_serve_stats {
    bool ready;                    /* the weights are repacked */
    uint32_t n_running, n_waiting; /* tasks: choices and texts; requests */
    uint32_t n_pages, n_pages_used, n_pages_parked;
    uint64_t n_prompt_tokens, n_cached_tokens, n_generated_tokens;
    uint64_t n_preempted, n_cancelled, n_steps;
    uint64_t n_drafted, n_accepted;    /* drafted tokens that were evaluated, and that came true */
    double step_seconds, mask_seconds; /* of all steps, and in them for grammars */
    rt_serve_histogram first_token, inter_token, queue, request, step_tokens;
} rt_serve_stats;

/* Threads: any; never waits for a step. */
void rt_serve_stats_get(rt_serve *serve, rt_serve_stats *out);

typedef struct rt_serve_slot {
    uint64_t id; /* of the request */
    uint32_t index;
    bool running;
    uint32_t n_prompt, n_cached, n_decoded, n_ctx;
    double seconds; /* since it was submitted */
} rt_serve_slot;

/* What runs and waits, at most `room`. Threads: any. */
size_t rt_serve_slots(rt_serve *serve, rt_serve_slot *out, size_t room);

#endif
