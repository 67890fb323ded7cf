/* Evaluating a prompt after what the cache holds, and one token after the other. */
#include "runtime/chat/answer.h"

#include "runtime/engine/pages.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Tokens of the prompt between two reports of progress. */
#define PROMPT_STEP 512
/* Repacking takes as long as a dozen tokens: a short answer would not get it back. */
#define REPACK_AFTER 16
/* A few exchanges of a conversation, and the prompt that they share. */
#define N_SNAPSHOTS 8
#define MAX_ROWS    64
/* Of a marker and the space behind it. */
#define MARKER_TOKENS 32

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void rt_answer_session_opts(const rt_hparams *hp, rt_session_opts *opts, uint32_t n_draft) {
    uint32_t n_rows = (opts->n_seqs ? opts->n_seqs : 1) + n_draft;
    opts->n_out = n_rows < MAX_ROWS ? n_rows : MAX_ROWS;
    opts->n_snapshots = hp->n_recurrent ? N_SNAPSHOTS : 0;
}

gguf_code rt_generator_init(rt_generator *g, rt_model *model, rt_session *session, uint32_t seq,
                            const rt_tokenizer *tok, const rt_sampler_opts *sampler,
                            gguf_error *err) {
    *g = (rt_generator){
        .model = model, .session = session, .tok = tok, .seq = seq, .n_exact = SIZE_MAX};
    gguf_code code = rt_sampling_new(rt_model_hparams(model)->n_vocab, NULL, &g->sampling, err);
    return code ? code : rt_generator_set_sampler(g, sampler, err);
}

void rt_generator_clear(rt_generator *g) {
    rt_ids_clear(&g->past);
    rt_token_table_free(g->table);
    rt_sampler_free(g->sampler);
    rt_sampling_free(g->sampling);
}

gguf_code rt_generator_set_sampler(rt_generator *g, const rt_sampler_opts *opts, gguf_error *err) {
    rt_sampler *sampler;
    gguf_code code = rt_sampler_new(opts, rt_model_hparams(g->model)->n_vocab, &sampler, err);
    if (code) return code;
    rt_sampler_free(g->sampler);
    g->sampler = sampler;
    return GGUF_OK;
}

void rt_generator_draft(rt_generator *g, const rt_draft_opts *opts, rt_draft_model *model) {
    g->drafter.opts = *opts;
    g->drafter.model = model;
    g->drafter.owner = (uint64_t)g->seq + 1;
    g->drafter.replays = rt_model_hparams(g->model)->n_recurrent > 0;
}

const char *rt_finish_name(rt_finish finish) {
    static const char *const names[] = {"stop", "length", "interrupted"};
    return names[finish];
}

void rt_answer_clear(rt_answer *a) {
    rt_answer_text_clear(&a->text);
    rt_constraint_clear(&a->constraint);
    rt_ids_clear(&a->ids);
}

/* ---- the cache --------------------------------------------------------------------------- */

static gguf_code append_ids(rt_ids *ids, const int32_t *more, size_t n, gguf_error *err) {
    if (!rt_ids_reserve(ids, n)) return gguf_fail_memory(err);
    memcpy(ids->data + ids->n, more, n * sizeof *more);
    ids->n += n;
    return GGUF_OK;
}

static void forget(rt_generator *g) {
    uint32_t n_kept;
    rt_seq_truncate(g->session, g->seq, 0, &n_kept, NULL);
    g->past.n = 0;
}

gguf_code rt_generator_read(rt_generator *g, rt_ids *text, gguf_error *err) {
    int32_t start = (int32_t)rt_model_hparams(g->model)->start_token;
    forget(g);
    gguf_code code = rt_session_encode(g->session, g->seq, text->data, text->n, NULL, err);
    if (!code) code = append_ids(&g->past, text->data, text->n, err);
    return code ? code : append_ids(text, &start, 1, err);
}

/* Keep what the cache and the prompt have in common, at least one token of the prompt less: its
 * logits are wanted. Layers with a window may have passed that position; then nothing is kept.
 * Layers with a state may go back further; then less is. */
static size_t keep_common(rt_generator *g, const rt_ids *prompt) {
    size_t n = 0, most = g->past.n < g->n_exact ? g->past.n : g->n_exact;
    while (n < most && n + 1 < prompt->n && g->past.data[n] == prompt->data[n]) n++;
    g->n_exact = SIZE_MAX;
    uint32_t n_kept;
    if (rt_seq_truncate(g->session, g->seq, (uint32_t)n, &n_kept, NULL)) forget(g);
    return g->past.n = rt_seq_n_past(g->session, g->seq);
}

/* Drop the older half of a full context, but for its first page. False: it is too small, or the
 * model's positions are what they are. */
static bool shift(rt_answer *a, gguf_code *code, gguf_error *err) {
    rt_generator *g = a->generator;
    uint32_t n_pages = rt_seq_n_past(g->session, g->seq) / RT_PAGE_TOKENS;
    uint32_t first = RT_PAGE_TOKENS, n = n_pages / 2 * RT_PAGE_TOKENS;
    if (n_pages < 2 || !rt_model_can_shift(g->model)) return false;
    *code = rt_seq_shift(g->session, g->seq, first, n, err);
    if (*code) {
        forget(g);
        return false;
    }
    g->n_exact = first;
    memmove(g->past.data + first, g->past.data + first + n,
            (g->past.n - first - n) * sizeof *g->past.data);
    g->past.n -= n;
    a->n_shifted += n;
    return true;
}

/* ---- text -------------------------------------------------------------------------------- */

static void show(rt_answer *a) {
    gguf_str thought = rt_answer_text_take_thought(&a->text);
    if (a->opts.show && thought.len) a->opts.show(a->opts.ctx, thought, true);
    gguf_str said = rt_answer_text_take_said(&a->text);
    if (a->opts.show && said.len) a->opts.show(a->opts.ctx, said, false);
}

/* Whether the last tokens of a prompt open the reasoning. */
static bool begins_inside(const rt_answer *a, gguf_error *err, gguf_code *code) {
    const rt_ids *prompt = a->prompt;
    gguf_dynbuf tail;
    gguf_dynbuf_init(&tail, SIZE_MAX / 4);
    for (size_t i = prompt->n > MARKER_TOKENS ? prompt->n - MARKER_TOKENS : 0; i < prompt->n; i++) {
        gguf_str text = rt_token_text(a->generator->tok, prompt->data[i]);
        gguf_dynbuf_put(&tail, text.ptr, text.len);
    }
    bool open = rt_reasoning_is_open(&a->opts.markers, (gguf_str){(char *)tail.data, tail.len});
    if (tail.code) *code = gguf_fail_memory(err);
    gguf_dynbuf_clear(&tail);
    return open;
}

static gguf_code begin_text(rt_answer *a, gguf_error *err) {
    const rt_answer_opts *o = &a->opts;
    gguf_code code = GGUF_OK;
    rt_answer_text_opts opts = {.markers = o->markers,
                                .split = true,
                                .inside = o->markers.open && begins_inside(a, err, &code),
                                .trim = o->trim,
                                .show_special = o->show_special,
                                .marks = o->marks,
                                .call_channel = o->call_channel,
                                .stops = o->stops,
                                .n_stops = o->n_stops};
    rt_answer_text_follow(&opts, a->generator->tok, a->prompt->data, a->prompt->n);
    rt_answer_text_init(&a->text, &opts);
    return code;
}

/* ---- the course of an answer ------------------------------------------------------------- */

static bool interrupted(const rt_answer *a) {
    return a->opts.cancel && atomic_load(a->opts.cancel);
}

static bool reads_prompt(const rt_answer *a) {
    return a->n_read < a->n_prompt;
}

static void report_progress(const rt_answer *a, size_t n_read) {
    if (a->opts.progress)
        a->opts.progress(a->opts.ctx, n_read - a->n_reused, a->n_prompt - a->n_reused);
}

gguf_code rt_answer_end(rt_answer *a, rt_finish finish, gguf_error *err) {
    if (a->ended) return GGUF_OK;
    a->ended = true;
    a->finish = finish;
    if (reads_prompt(a)) {
        report_progress(a, a->n_prompt);
        a->prompt_s = now_s() - a->started_s;
    } else {
        a->generation_s = now_s() - a->started_s - a->prompt_s - a->repack_s;
    }
    rt_answer_text_end(&a->text);
    show(a);
    return rt_answer_text_code(&a->text) ? gguf_fail_memory(err) : GGUF_OK;
}

static gguf_code check_prompt(const rt_generator *g, const rt_ids *prompt, gguf_error *err) {
    uint32_t n_ctx = rt_session_n_ctx(g->session);
    if (prompt->n == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "the prompt is empty");
    if (prompt->n <= n_ctx) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "the prompt takes %zu tokens, the context holds %" PRIu32, prompt->n, n_ctx);
}

static gguf_code constrain(rt_answer *a, const rt_ids *prompt, gguf_error *err) {
    rt_generator *g = a->generator;
    gguf_code code = GGUF_OK;
    if (!g->table)
        code = rt_token_table_new(g->tok, rt_model_hparams(g->model)->n_vocab, &g->table, err);
    if (!code)
        code = rt_constraint_init(&a->constraint, a->opts.grammar, g->tok, g->table, prompt->data,
                                  prompt->n, err);
    if (!code) rt_constraint_limit(&a->constraint, a->opts.n_predict);
    return code;
}

gguf_code rt_answer_begin(rt_generator *g, const rt_ids *prompt, const rt_answer_opts *opts,
                          rt_answer *out, gguf_error *err) {
    *out = (rt_answer){.generator = g, .opts = *opts, .prompt = prompt, .started_s = now_s()};
    gguf_code code = begin_text(out, err);
    if (!code) code = check_prompt(g, prompt, err);
    if (code) return code;
    out->n_prompt = prompt->n;
    code = opts->grammar ? constrain(out, prompt, err) : GGUF_OK;
    out->n_read = out->n_reused = keep_common(g, prompt);
    rt_drafter_begin(&g->drafter);
    return code;
}

static rt_span next_of_prompt(const rt_answer *a) {
    size_t left = a->n_prompt - a->n_read, n = left < PROMPT_STEP ? left : PROMPT_STEP;
    return (rt_span){a->generator->seq, a->prompt->data + a->n_read, n,
                     n == left ? RT_LOGITS_LAST : RT_LOGITS_NONE};
}

/* How many tokens may be drafted. */
static uint32_t draft_room(const rt_answer *a) {
    const rt_generator *g = a->generator;
    size_t past = rt_seq_n_past(g->session, g->seq) + a->n_replayed;
    size_t left = rt_session_n_ctx(g->session) - past - 1;
    size_t most = g->drafter.opts.n_most, wanted = a->opts.n_predict - a->ids.n;
    most -= a->n_replayed < most ? a->n_replayed : most; /* they take rows of logits too */
    if (most > left) most = left;
    if (most >= wanted) most = wanted ? wanted - 1 : 0;
    if (most == 0) return 0;
    size_t all = rt_seq_returnable(g->session, g->seq, (uint32_t)(a->n_replayed + most));
    return all > a->n_replayed ? (uint32_t)(all - a->n_replayed) : 0;
}

/* The last token, and what may follow it; before it what was taken back together with wrong drafts,
 * though it was right. */
static gguf_code next_of_answer(rt_answer *a, rt_span *span, gguf_error *err) {
    rt_generator *g = a->generator;
    rt_drafter *d = &g->drafter;
    size_t n_past = g->past.n;
    g->past.n += a->n_replayed;
    gguf_code code = append_ids(&g->past, &a->chosen, 1, err);
    if (code) return code;
    size_t n = d->opts.n_most
                   ? rt_drafter_propose(d, g->past.data, g->past.n, a->ids.n, draft_room(a),
                                        rt_budget_draft_cost(&g->budget, 1),
                                        rt_budget_decode_s(&g->budget, 1))
                   : 0;
    if (n && !rt_seq_hold(g->session, g->seq)) {
        rt_drafter_drop(d);
        n = 0;
    }
    code = append_ids(&g->past, d->ids, n, err);
    a->n_drafted = n;
    a->n_drafts += n;
    *span = (rt_span){g->seq, g->past.data + n_past, g->past.n - n_past,
                      n ? RT_LOGITS_ALL : RT_LOGITS_LAST};
    return code;
}

/* Evaluate no more than the last token. */
static void drop_drafts(rt_answer *a, rt_span *span) {
    a->generator->past.n -= a->n_drafted;
    rt_drafter_drop(&a->generator->drafter);
    a->n_drafts -= a->n_drafted;
    span->n -= a->n_drafted;
    a->n_drafted = 0;
    span->which = RT_LOGITS_LAST;
}

gguf_code rt_answer_next(rt_answer *a, rt_span *span, gguf_error *err) {
    rt_generator *g = a->generator;
    gguf_code code = GGUF_OK;
    if (interrupted(a)) return rt_answer_end(a, RT_FINISH_INTERRUPTED, err);
    if (reads_prompt(a)) {
        report_progress(a, a->n_read);
        *span = next_of_prompt(a);
        return append_ids(&g->past, span->tokens, span->n, err);
    }
    bool full = rt_seq_n_past(g->session, g->seq) >= rt_session_n_ctx(g->session);
    if (full && !(a->opts.shift && shift(a, &code, err))) {
        a->context_full = true;
        return code ? code : rt_answer_end(a, RT_FINISH_LENGTH, err);
    }
    return next_of_answer(a, span, err);
}

static gguf_code hold(rt_answer *a, bool *held, gguf_error *err) {
    const char *open = a->ids.n == 0 ? rt_answer_text_opens(&a->text) : NULL;
    *held = rt_constraint_holds(&a->constraint, rt_answer_text_thinks(&a->text));
    gguf_code code = *held ? rt_constraint_next(&a->constraint, err) : GGUF_OK;
    if (*held && !code && !a->constraint.in_channels && open)
        rt_constraint_admit(&a->constraint, open);
    rt_sampler_set_mask(a->generator->sampler, *held && !code ? a->constraint.mask : NULL);
    return code;
}

static gguf_code choose(rt_answer *a, float *logits, gguf_error *err) {
    const rt_generator *g = a->generator;
    if (a->ids.n >= a->opts.n_predict) return rt_answer_end(a, RT_FINISH_LENGTH, err);
    if (interrupted(a)) return rt_answer_end(a, RT_FINISH_INTERRUPTED, err);
    int32_t id;
    bool held;
    gguf_code code = hold(a, &held, err);
    if (code) return code;
    code = rt_sample_rows(g->sampling, &g->sampler, &logits, 1, &id, err);
    if (code) return code;
    if (id < 0) return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET, "no logit is finite");
    if (a->first_s == 0) a->first_s = now_s() - a->started_s;
    if (rt_tokenizer_is_end(g->tok, id)) return rt_answer_end(a, RT_FINISH_STOP, err);
    code = append_ids(&a->ids, &id, 1, err);
    if (code) return code;
    a->chosen = id;
    rt_answer_text_add(&a->text, g->tok, id);
    show(a);
    /* The marker that opens the reasoning is none of the grammar's tokens. */
    bool taken = held && rt_constraint_holds(&a->constraint, rt_answer_text_thinks(&a->text));
    bool complete = taken && rt_constraint_take(&a->constraint, id);
    if (rt_answer_text_stopped(&a->text) || complete) return rt_answer_end(a, RT_FINISH_STOP, err);
    return a->ids.n < a->opts.n_predict ? GGUF_OK : rt_answer_end(a, RT_FINISH_LENGTH, err);
}

/* A token from each row, as long as the one before it is what was drafted. The sequence goes back
 * to the last that was, or where layers keep states to before the span. */
static gguf_code choose_all(rt_answer *a, float *logits, gguf_error *err) {
    rt_generator *g = a->generator;
    size_t n = a->n_drafted, n_agreed = 0, n_ids;
    uint32_t n_vocab = rt_model_hparams(g->model)->n_vocab;
    gguf_code code;
    bool agrees;
    if (n) logits += a->n_replayed * n_vocab;
    a->n_drafted = a->n_replayed = 0;
    do {
        n_ids = a->ids.n;
        code = choose(a, logits + n_agreed * n_vocab, err);
        agrees = a->ids.n > n_ids && rt_drafter_check(&g->drafter, a->chosen);
        n_agreed += agrees;
    } while (!code && !a->ended && agrees);
    a->n_accepted += n_agreed;
    if (n_agreed < n) {
        g->past.n -= n - n_agreed;
        uint32_t n_kept = (uint32_t)g->past.n;
        gguf_code back = rt_seq_truncate(g->session, g->seq, n_kept, &n_kept, code ? NULL : err);
        a->n_replayed = g->past.n - n_kept;
        g->past.n = n_kept;
        if (!code) code = back;
    }
    rt_seq_release(g->session, g->seq);
    return code;
}

gguf_code rt_answer_take(rt_answer *a, float *logits, gguf_error *err) {
    rt_generator *g = a->generator;
    size_t wanted = g->past.n;
    bool was_prompt = reads_prompt(a);
    g->past.n = rt_seq_n_past(g->session, g->seq);
    if (was_prompt) a->n_read = g->past.n;
    if (g->past.n < wanted) return rt_answer_end(a, RT_FINISH_INTERRUPTED, err);
    if (reads_prompt(a)) return GGUF_OK;
    if (was_prompt) {
        report_progress(a, a->n_prompt);
        a->prompt_s = now_s() - a->started_s;
        rt_sampler_forget(g->sampler);
    }
    return choose_all(a, logits, err);
}

/* ---- a whole answer ---------------------------------------------------------------------- */

static gguf_code repack(rt_answer *a, gguf_error *err) {
    rt_generator *g = a->generator;
    double start = now_s();
    g->repack = false;
    gguf_code code = rt_model_repack(g->model, g->n_threads, a->opts.cancel, err);
    a->repack_s = now_s() - start;
    return code;
}

static gguf_code step(rt_answer *a, float *logits, gguf_error *err) {
    rt_generator *g = a->generator;
    rt_span span;
    gguf_error own = {0};
    gguf_code code = GGUF_OK;
    if (g->repack && a->ids.n >= REPACK_AFTER) code = repack(a, err);
    if (!code) code = rt_answer_next(a, &span, err);
    if (code || a->ended) return code;
    bool decodes = !reads_prompt(a);
    double start = now_s();
    gguf_code evaluated = rt_session_eval_spans(g->session, &span, 1, logits, &own);
    if (evaluated && evaluated != GGUF_E_CANCELLED && a->n_drafted) {
        drop_drafts(a, &span); /* whose fault it was */
        evaluated = rt_session_eval_spans(g->session, &span, 1, logits, &own);
    }
    code = rt_answer_take(a, logits, err);
    if (decodes) rt_budget_learn(&g->budget, 1, 0, span.n - 1, now_s() - start);
    if (evaluated == GGUF_OK || evaluated == GGUF_E_CANCELLED) return code;
    if (err) *err = own;
    return evaluated;
}

gguf_code rt_generator_answer(rt_generator *g, const rt_ids *prompt, const rt_answer_opts *opts,
                              rt_answer *out, gguf_error *err) {
    gguf_code code = rt_answer_begin(g, prompt, opts, out, err);
    if (code) return code;
    size_t n_rows = 1 + (size_t)g->drafter.opts.n_most;
    float *logits = malloc(n_rows * rt_model_hparams(g->model)->n_vocab * sizeof *logits);
    if (!logits) code = gguf_fail_memory(err);
    while (!code && !out->ended) code = step(out, logits, err);
    free(logits);
    gguf_code ended = rt_answer_end(out, RT_FINISH_LENGTH, code ? NULL : err);
    return code ? code : ended;
}
