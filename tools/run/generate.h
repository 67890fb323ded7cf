/* Answers: a prompt in, its continuation out as it is made. What was evaluated stays in the KV
 * cache, and a prompt that begins with the same tokens goes on from there. */
#ifndef TOOLS_RUN_GENERATE_H
#define TOOLS_RUN_GENERATE_H

#include "runtime/engine/sample.h"
#include "runtime/runtime.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tools/run/channels.h"
#include "tools/run/text_stream.h"

typedef struct generator {
    rt_model *model;
    const rt_tokenizer *tok;
    rt_session *session;
    rt_sampler *sampler;
    float *logits;
    rt_ids past;    /* tokens in the cache */
    size_t n_exact; /* later ones saw tokens that a shift dropped */
    bool repack;    /* an answer that gets long repacks the weights, once */
    unsigned n_threads;
    bool warned_context;       /* of more tokens than the model was trained with */
    const atomic_bool *cancel; /* of the session's options */
} generator;

/* session->cancel ends answers. Errors: those of rt_session_new and rt_sampler_new. Clear also
 * after a failure. */
gguf_code generator_init(generator *g, rt_model *model, const rt_tokenizer *tok,
                         const rt_session_opts *session, const rt_sampler_opts *sampler,
                         gguf_error *err);
void generator_clear(generator *g); /* accepts a zeroed one */

/* Sample as these options say from now on; on an error nothing changes. */
gguf_code generator_set_sampler(generator *g, const rt_sampler_opts *opts, gguf_error *err);

#define GENERATE_NO_LIMIT UINT32_MAX

typedef struct generate_opts {
    uint32_t n_predict;       /* tokens; GENERATE_NO_LIMIT: until the model ends, or the context */
    const char *const *stops; /* [n_stops] texts that end the answer; none is empty */
    size_t n_stops;
    bool show_special; /* special tokens are part of the text */
    bool trim;         /* no spaces at the start of the text */
    bool shift;        /* a full context loses its older half, instead of ending the answer */

    void (*show)(void *ctx, gguf_str text, bool reasoning);     /* whole characters; or NULL */
    void (*progress)(void *ctx, size_t n_done, size_t n_total); /* of the prompt; or NULL */
    void *ctx;
} generate_opts;

typedef enum generate_finish {
    GENERATE_STOP,       /* the model ended, or a stop text came */
    GENERATE_LENGTH,     /* n_predict, or the context is full */
    GENERATE_INTERRUPTED /* also while the prompt was read */
} generate_finish;

const char *generate_finish_name(generate_finish finish); /* "stop", "length", "interrupted" */

/* Start as {0}; clear frees. */
typedef struct answer {
    text_stream text, reasoning; /* see channels.h; with show_special all is text */
    channels channels;
    rt_ids ids; /* without the token that ended it */
    generate_finish finish;
    bool context_full;
    uint32_t n_shifted;        /* tokens that a full context lost */
    size_t n_prompt, n_reused; /* n_reused were in the cache already */
    double prompt_s;           /* until the prompt was evaluated */
    double first_s;            /* until the first token was chosen; 0 without one */
    double generation_s;       /* for the tokens, */
    double repack_s;           /* without this, for repacking the weights */
} answer;

void answer_clear(answer *a);

/* Continue a prompt.
 * Errors: GGUF_E_USAGE an empty prompt, or one that fills the context; GGUF_E_NONFINITE;
 * GGUF_E_NOMEM. */
gguf_code generator_answer(generator *g, const rt_ids *prompt, const generate_opts *opts,
                           answer *out, gguf_error *err);

#endif
