/* The engine: its memory, its thread, and requests on their way in. */
#include "runtime/serve/serve_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_BATCH 512
/* Slots that are shown beside those that run. */
#define SHOWN_WAITING 1024

rt_serve_opts rt_serve_defaults(void) {
    return (rt_serve_opts){.n_parallel = 64,
                           .n_queue = 512,
                           .n_parked = 64,
                           .kv_type = GGUF_TYPE_F16,
                           .repack = true,
                           .step_s = 0.1};
}

rt_session_opts rt_serve_session_opts(const rt_hparams *hp, const rt_serve_opts *opts) {
    rt_session_opts session = rt_session_defaults();
    session.n_ctx = opts->n_ctx;
    session.n_seqs = opts->n_parallel + opts->n_parked;
    session.n_kv_tokens = opts->n_kv_tokens;
    session.n_batch = N_BATCH;
    session.kv_type = opts->kv_type;
    session.n_threads = opts->n_threads;
    session.precision = opts->precision;
    session.device = opts->device;
    session.device_name = opts->device_name;
    session.n_device_layers = opts->n_device_layers;
    uint32_t n_rows = opts->n_parallel, n_drafts = opts->draft.n_most + RT_DRAFT_TEXTS;
    if (opts->draft.n_most && n_rows < n_drafts) n_rows = n_drafts;
    session.n_out = n_rows < 64 ? n_rows : 64;
    /* Beside those that later requests go on from, the states before drafts, which never fill all.
     */
    uint32_t n_held = opts->draft.n_most ? RT_DRAFT_TEXTS + 1 : 0;
    session.n_snapshots = hp->n_recurrent ? opts->n_parked + n_held : 0;
    return session;
}

double rt_serve_now(const rt_serve *s) {
    struct timespec now;
    if (s->opts.now) return s->opts.now(s->opts.now_ctx);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

uint32_t rt_serve_n_ctx(const rt_serve *serve) {
    return serve->n_ctx;
}

/* ---- memory ------------------------------------------------------------------------------ */

static gguf_code check_opts(const rt_serve_opts *o, gguf_error *err) {
    uint64_t n_seqs = (uint64_t)o->n_parallel + o->n_parked;
    if (o->n_parallel < 1 || n_seqs > RT_SERVE_MAX_SEQS || !(o->step_s > 0))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%" PRIu32 " requests at once and %" PRIu32 " kept, steps of %g s: the "
                         "first is at least 1, the first two together at most %d, the last above 0",
                         o->n_parallel, o->n_parked, o->step_s, RT_SERVE_MAX_SEQS);
    return GGUF_OK;
}

static gguf_code find_end_ids(rt_serve *s, gguf_error *err) {
    size_t n_tokens = rt_tokenizer_n_tokens(s->tok), n = 0;
    if (n_tokens > s->n_vocab) n_tokens = s->n_vocab;
    for (size_t id = 0; id < n_tokens; id++) n += rt_tokenizer_is_end(s->tok, (int32_t)id);
    s->end_ids = malloc((n + 1) * sizeof *s->end_ids);
    if (!s->end_ids) return gguf_fail_memory(err);
    for (size_t id = 0; id < n_tokens; id++)
        if (rt_tokenizer_is_end(s->tok, (int32_t)id)) s->end_ids[s->n_end_ids++] = (int32_t)id;
    return GGUF_OK;
}

static gguf_code allocate(rt_serve *s, gguf_error *err) {
    size_t n = s->n_seqs;
    s->slots_room = s->opts.n_parallel + (size_t)SHOWN_WAITING;
    s->slots = calloc(s->slots_room, sizeof *s->slots);
    s->running = calloc(n, sizeof *s->running);
    s->parked = calloc(n, sizeof *s->parked);
    s->taken = calloc(n, sizeof *s->taken);
    s->seqs = calloc(n, sizeof *s->seqs);
    s->spans = calloc(n, sizeof *s->spans);
    s->span_tasks = calloc(n, sizeof *s->span_tasks);
    s->span_requests = calloc(n, sizeof *s->span_requests);
    s->row_tasks = calloc(n, sizeof *s->row_tasks);
    s->rows = calloc(n, sizeof *s->rows);
    s->chosen = calloc(n, sizeof *s->chosen);
    s->samplers = calloc(n, sizeof *s->samplers);
    s->vector = calloc(rt_pooled_size(s->model) + (size_t)1, sizeof *s->vector);
    s->page_bits = calloc(rt_session_pages(s->session).n_total / 64 + (size_t)1, 8);
    if (s->slots && s->running && s->parked && s->taken && s->seqs && s->spans && s->span_tasks &&
        s->span_requests && s->row_tasks && s->rows && s->chosen && s->samplers && s->vector &&
        s->page_bits)
        return GGUF_OK;
    return gguf_fail_memory(err);
}

static gguf_code check_cache(const rt_serve *s, gguf_error *err) {
    uint32_t n_tokens = rt_session_pages(s->session).n_total * RT_PAGE_TOKENS;
    if (n_tokens == 0 || n_tokens >= s->n_ctx) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "the cache holds %" PRIu32 " tokens, less than one context of %" PRIu32,
                     n_tokens, s->n_ctx);
}

gguf_code rt_serve_check(const rt_model *model, const rt_serve_opts *opts, gguf_error *err) {
    gguf_code code = check_opts(opts, err);
    if (code || !rt_model_hparams(model)->n_encoder_layer) return code;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(rt_model_file(model)), GGUF_NO_OFFSET,
                     "models with an encoder and a decoder are not served; gguf-run -p answers a "
                     "text");
}

gguf_code rt_serve_new(rt_model *model, const rt_tokenizer *tok, const rt_serve_opts *opts,
                       rt_serve **out, gguf_error *err) {
    const rt_hparams *hp = rt_model_hparams(model);
    *out = NULL;
    gguf_code code = rt_serve_check(model, opts, err);
    if (code) return code;
    rt_serve *s = calloc(1, sizeof *s);
    if (!s) return gguf_fail_memory(err);
    *s = (rt_serve){.model = model, .tok = tok, .opts = *opts, .n_vocab = hp->n_vocab};
    s->n_seqs = opts->n_parallel + opts->n_parked;
    s->embedder = rt_model_is_embedder(model);
    if (rt_check_returns(model, NULL)) s->opts.draft.n_most = 0;
    s->sparse_cache = hp->n_recurrent || rt_layers_count(&hp->windowed, hp->n_layer);
    s->inbox_tail = &s->inbox;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    rt_session_opts session = rt_serve_session_opts(hp, &s->opts);
    session.cancel = &s->stop;
    code = rt_session_new(model, &session, &s->session, err);
    if (!code) {
        s->n_ctx = rt_session_n_ctx(s->session);
        s->n_batch = hp->causal || s->n_ctx < N_BATCH ? N_BATCH : s->n_ctx;
        code = check_cache(s, err);
    }
    if (!code) code = allocate(s, err);
    if (!code) code = find_end_ids(s, err);
    if (!code) code = rt_sampling_new(s->n_vocab, rt_session_pool(s->session), &s->sampling, err);
    if (!code && !s->embedder) code = rt_token_table_new(tok, s->n_vocab, &s->table, err);
    if (!code) rt_serve_publish(s);
    if (code)
        rt_serve_free(s);
    else
        *out = s;
    return code;
}

static void free_memory(rt_serve *s) {
    void *const blocks[] = {s->slots,      s->running,       s->taken,     s->seqs,   s->spans,
                            s->span_tasks, s->row_tasks,     s->rows,      s->chosen, s->vector,
                            s->samplers,   s->span_requests, s->page_bits, s->logits, s->end_ids};
    for (uint32_t i = 0; s->parked && i < s->n_seqs; i++) rt_ids_clear(&s->parked[i].ids);
    free(s->parked);
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) free(blocks[i]);
}

void rt_serve_end(rt_serve *serve) {
    if (!serve) return;
    pthread_mutex_lock(&serve->lock);
    serve->ending = true;
    pthread_cond_signal(&serve->wake);
    pthread_mutex_unlock(&serve->lock);
    atomic_store(&serve->stop, true);
    if (serve->has_thread) pthread_join(serve->thread, NULL);
    serve->has_thread = false;
    if (serve->running) rt_serve_abandon_all(serve);
}

void rt_serve_free(rt_serve *serve) {
    if (!serve) return;
    rt_serve_end(serve);
    rt_queue_clear(&serve->queue);
    rt_sampling_free(serve->sampling);
    rt_token_table_free(serve->table);
    rt_session_free(serve->session);
    free_memory(serve);
    pthread_cond_destroy(&serve->wake);
    pthread_mutex_destroy(&serve->lock);
    free(serve);
}

/* ---- the thread -------------------------------------------------------------------------- */

static void prepare(rt_serve *s) {
    if (s->prepared) return;
    /* Without memory for it, weights stay as they are. */
    if (s->opts.repack && s->opts.precision != RT_PRECISION_F32)
        rt_model_repack(s->model, s->opts.n_threads, &s->stop, NULL);
    s->prepared = true;
    rt_serve_publish(s);
}

bool rt_serve_step(rt_serve *serve) {
    prepare(serve);
    return rt_serve_do_step(serve);
}

/* False: the engine ends. */
static bool wait_for_work(rt_serve *s) {
    pthread_mutex_lock(&s->lock);
    while (!s->inbox && !s->wake_up && !s->ending) pthread_cond_wait(&s->wake, &s->lock);
    s->wake_up = false;
    bool ending = s->ending;
    pthread_mutex_unlock(&s->lock);
    return !ending;
}

static void *run(void *ctx) {
    rt_serve *s = ctx;
    prepare(s);
    while (wait_for_work(s))
        while (!atomic_load(&s->stop) && rt_serve_do_step(s)) continue;
    return NULL;
}

gguf_code rt_serve_start(rt_serve *serve, gguf_error *err) {
    if (pthread_create(&serve->thread, NULL, run, serve))
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "cannot start a thread");
    serve->has_thread = true;
    return GGUF_OK;
}

/* ---- in ---------------------------------------------------------------------------------- */

static gguf_code put_in(rt_serve *s, rt_request *r, gguf_error *err) {
    gguf_code code = GGUF_OK;
    pthread_mutex_lock(&s->lock);
    uint32_t n_running = s->stats.n_running, n_parallel = s->opts.n_parallel;
    size_t room = s->opts.n_queue + (size_t)(n_running < n_parallel ? n_parallel - n_running : 0);
    if (s->ending) {
        code = gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "the server ends");
    } else if (s->n_waiting_requests >= room) {
        code = gguf_fail(err, GGUF_E_EXISTS, NULL, GGUF_NO_OFFSET,
                         "%zu requests wait already: the queue is full", s->n_waiting_requests);
    } else {
        atomic_fetch_add(&r->n_refs, 1);
        r->id = ++s->last_id;
        r->queued = true;
        s->n_waiting_requests++;
        *s->inbox_tail = r;
        s->inbox_tail = &r->next;
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}

gguf_code rt_serve_submit(rt_serve *serve, const rt_request_opts *opts, rt_request **out,
                          gguf_error *err) {
    *out = NULL;
    gguf_code code = rt_request_new(serve, opts, out, err);
    if (code) return code;
    code = put_in(serve, *out, err);
    if (code) {
        rt_request_unref(*out);
        *out = NULL;
    }
    return code;
}
