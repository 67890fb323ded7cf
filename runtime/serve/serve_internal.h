/* Requests, tasks and what the engine's thread keeps of them. */
#ifndef RUNTIME_SERVE_SERVE_INTERNAL_H
#define RUNTIME_SERVE_SERVE_INTERNAL_H

#include "runtime/chat/step_budget.h"
#include "runtime/engine/pages.h"
#include "runtime/serve/serve.h"

#include <pthread.h>

#define RT_NO_SEQ         UINT32_MAX
#define RT_SERVE_MAX_SEQS 4096

typedef struct rt_task rt_task;

/* Prompts that are read at once; the others wait. */
#define RT_MAX_READING 4

/* One answer, or one text that becomes a vector. */
struct rt_task {
    rt_request *request;
    uint32_t index;
    rt_ids ids; /* the prompt, then what was generated; the sequence has the first n_past */
    size_t n_prompt, n_generated, n_reasoning;
    size_t n_cached; /* of the prompt, were there already */
    uint32_t seq;    /* RT_NO_SEQ: it waits */
    rt_sampler *sampler;
    rt_answer_text text;
    rt_constraint constraint; /* with a grammar; */
    bool held, stuck;         /* it holds the token that is being chosen; no token is left */
    rt_serve_token *tokens;   /* [n_tokens] whose text was not given out yet */
    size_t n_tokens, tokens_room;
    bool ended, started, read; /* read: the prompt is */
    bool bans_end;             /* for now */
    bool waits;                /* until the first choice of its prompt has read it */
    unsigned n_passed;         /* steps in which a prompt got nothing */
    double started_s, read_s, last_token_s;
    size_t n_now;      /* tokens in the step at work, */
    size_t n_drafted;  /* of them the last ones are drafts */
    size_t n_doubtful; /* tokens at the end of the sequence that are not the answer's */
    bool agrees;       /* what was chosen in this step is what was drafted */
    float *row;        /* its next row of logits */
    rt_drafter drafter;
    rt_task *next; /* in the queue */
};

struct rt_request {
    rt_serve *serve;
    rt_request_opts opts; /* with copies of the stops, without the prompts */
    char **stops;
    rt_grammar *grammar;
    rt_logit_bias *bias;
    int32_t *stop_ids;
    rt_ids prediction;
    rt_task *tasks; /* [n_tasks] */
    size_t n_tasks, n_ended;
    uint64_t id;
    uint32_t n_ctx;
    gguf_code code; /* what ended it */
    char message[256];
    double submitted_s;
    atomic_bool cancelled, paused;
    atomic_int n_refs; /* the engine's and the handle's */
    bool queued;       /* counts as waiting */
    rt_request *next;  /* in the inbox */
};

/* A sequence of the session. */
typedef struct rt_parked {
    rt_ids ids;    /* what it holds, while it is parked */
    uint64_t used; /* when; 0: it is not parked */
} rt_parked;

/* What waits for one key, first come first served. */
typedef struct rt_serve_key {
    uint64_t key;
    rt_task *first, **tail;
    double spent; /* tokens, less those of the key that spent least */
    size_t n_tasks;
} rt_serve_key;

typedef struct rt_serve_queue {
    rt_serve_key *keys;
    size_t n_keys, room;
    rt_task *front; /* go before all others: preempted tasks, further choices */
    size_t n_tasks;
} rt_serve_queue;

struct rt_serve {
    rt_model *model;
    const rt_tokenizer *tok;
    rt_session *session;
    rt_serve_opts opts;
    uint32_t n_ctx, n_seqs, n_vocab, n_batch;
    bool embedder, sparse_cache; /* sparse: a sequence cannot go back to any of its positions */
    int32_t *end_ids;            /* [n_end_ids] tokens that end an answer */
    size_t n_end_ids;

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* of the inbox, n_open, stats, slots */
    pthread_cond_t wake;
    rt_request *inbox, **inbox_tail;
    size_t n_waiting_requests;
    bool ending, wake_up;
    uint64_t last_id;
    rt_serve_stats stats;
    rt_serve_slot *slots;
    size_t n_slots, slots_room;

    /* The engine's thread alone. */
    rt_serve_queue queue;
    rt_task **running; /* [n_parallel], n_running used, oldest first */
    size_t n_running;
    rt_parked *parked; /* [n_seqs] */
    bool *taken;       /* [n_seqs] sequences of running tasks */
    uint64_t clock;    /* of parked */
    uint32_t *seqs;    /* [n_seqs] for counting pages */
    uint64_t *page_bits;
    rt_step_budget budget;
    rt_span *spans; /* [n_seqs] */
    rt_task **span_tasks;
    rt_request **span_requests;
    rt_task **row_tasks; /* those of the spans that get a token */
    float **rows;
    int32_t *chosen;
    rt_sampling *sampling;
    rt_token_table *table; /* not of an embedder */
    rt_sampler **samplers;
    float *vector;
    float *logits;
    size_t logits_room; /* floats */
    atomic_bool stop;   /* the session's cancel flag */
    bool prepared;
    rt_serve_stats now_stats; /* published after each step */
};

double rt_serve_now(const rt_serve *s);

/* ---- requests (serve_request.c) ---- */

gguf_code rt_request_new(rt_serve *s, const rt_request_opts *opts, rt_request **out,
                         gguf_error *err);
void rt_request_unref(rt_request *r);
/* It no longer counts as waiting. */
void rt_request_left_queue(rt_request *r);
/* Events of a task. */
void rt_task_tell_started(rt_task *t);
void rt_task_tell_read(rt_task *t, size_t n_read);
void rt_task_tell_part(rt_task *t);
/* End a task; the request ends with its last. */
void rt_task_finish(rt_task *t, rt_serve_finish finish, int stop);
void rt_task_vector(rt_task *t, const float *vector, size_t n);
/* End all tasks that have not ended, with an error. */
void rt_request_fail(rt_request *r, gguf_code code, const char *message);

/* ---- what waits (serve_queue.c) ---- */

gguf_code rt_queue_put(rt_serve_queue *q, rt_task *t);
void rt_queue_put_front(rt_serve_queue *q, rt_task *t);
/* The next task or NULL; it stays in the queue. */
rt_task *rt_queue_first(rt_serve_queue *q, double now_s);
void rt_queue_remove(rt_serve_queue *q, rt_task *t);
/* Charge a key. */
void rt_queue_spend(rt_serve_queue *q, uint64_t key, double n_tokens);
void rt_queue_clear(rt_serve_queue *q);

/* ---- sequences and what stays of them (prefix_cache.c) ---- */

/* A sequence that begins with as much of the task's ids as the cache holds, one token less at
 * least; sets t->seq. The least recently used parked one makes room. */
void rt_cache_begin(rt_serve *s, rt_task *t);
/* Tokens of a prompt that beginning it would find. */
size_t rt_cache_find(const rt_serve *s, const rt_task *t);
/* The task gives its sequence back; what it holds stays if `keep`. */
void rt_cache_end(rt_serve *s, rt_task *t, bool keep);
/* Take back what was drafted in vain. */
void rt_cache_retract(rt_serve *s, rt_task *t);
/* The prompt is read: where a sequence cannot go back, keep a copy that ends here. */
void rt_cache_checkpoint(rt_serve *s, rt_task *t);
/* Free the pages of the least recently used parked sequence. False: there is none. */
bool rt_cache_evict(rt_serve *s);
/* Pages that running tasks hold, others apart. */
uint32_t rt_cache_held(rt_serve *s);

/* ---- choosing tokens (serve_choose.c) ---- */

gguf_code rt_choose_begin(rt_serve *s, rt_task *t, gguf_error *err);
/* The next token of each task from its row of logits.
 *   logits  [n] rows; ids[i] is -1 where no logit is finite
 * Errors: GGUF_E_NOMEM. */
gguf_code rt_choose_rows(rt_serve *s, rt_task *const *tasks, float *const *logits, size_t n,
                         int32_t *ids, gguf_error *err);
void rt_choose_end(rt_task *t);

/* ---- drafts (serve_draft.c) ---- */

/* The drafts of a new task. */
void rt_serve_draft_begin(const rt_serve *s, rt_task *t);
/* Draft behind the last token of each answer, where few are computed and no prompt is read; counts
 * among n_now of the tasks. */
void rt_serve_draft(rt_serve *s, size_t n_decoding);
/* Evaluate none of what was drafted in this step. */
void rt_serve_drop_drafts(rt_serve *s);

/* ---- steps (schedule.c) ---- */

/* False: nothing was computed. */
bool rt_serve_do_step(rt_serve *s);
void rt_serve_abandon_all(rt_serve *s);

/* ---- statistics (serve_stats.c) ---- */

void rt_stats_observe(rt_serve_histogram *h, const double *bounds, double value);
/* Show the numbers of this step to other threads. */
void rt_serve_publish(rt_serve *s);

#endif
