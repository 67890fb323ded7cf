/* What is drafted in a step of the engine. */
#include "runtime/serve/serve_internal.h"

#include <stdlib.h>
#include <string.h>

/* More answers than these fill a step by themselves. */
#define MAX_DECODING RT_DRAFT_TEXTS

void rt_serve_draft_begin(const rt_serve *s, rt_task *t) {
    rt_request *r = t->request;
    t->drafter.opts = s->opts.draft;
    t->drafter.model = s->opts.draft_model;
    t->drafter.replays = rt_model_hparams(s->model)->n_recurrent > 0;
    t->drafter.prediction = r->prediction.n ? &r->prediction : NULL;
    rt_drafter_begin(&t->drafter);
}

/* How many tokens may be drafted behind the last one, which is evaluated next; before it are those
 * that were taken back together with wrong drafts, though they were right. */
static uint32_t draft_room(const rt_serve *s, const rt_task *t) {
    const rt_request *r = t->request;
    size_t n_again = t->n_now - 1;
    size_t most = t->drafter.opts.n_most, wanted = r->opts.max_tokens - t->n_generated;
    size_t left = r->n_ctx > t->ids.n ? r->n_ctx - t->ids.n : 0;
    most -= n_again < most ? n_again : most; /* they take rows of logits too */
    if (most > left) most = left;
    if (most >= wanted) most = wanted ? wanted - 1 : 0;
    if (most == 0) return 0;
    size_t all = rt_seq_returnable(s->session, t->seq, (uint32_t)(n_again + most));
    return all > n_again ? (uint32_t)(all - n_again) : 0;
}

static void draft(rt_serve *s, rt_task *t, size_t n_decoding) {
    rt_drafter *d = &t->drafter;
    /* Drafts lie behind the ids, where what is chosen will lie. */
    uint32_t most = rt_ids_reserve(&t->ids, d->opts.n_most) ? draft_room(s, t) : 0;
    d->owner = t->request->id * RT_SERVE_MAX_SEQS + t->index + 1;
    t->n_drafted =
        rt_drafter_propose(d, t->ids.data, t->ids.n, t->n_generated, most,
                           rt_budget_draft_cost(&s->budget, n_decoding),
                           rt_budget_decode_s(&s->budget, n_decoding) / (double)n_decoding);
    if (t->n_drafted && !rt_seq_hold(s->session, t->seq)) {
        rt_drafter_drop(d);
        t->n_drafted = 0;
    }
    memcpy(t->ids.data + t->ids.n, d->ids, t->n_drafted * sizeof *d->ids);
    t->n_now += t->n_drafted;
}

void rt_serve_draft(rt_serve *s, size_t n_decoding) {
    bool reads = false;
    for (size_t i = 0; i < s->n_running; i++) {
        rt_task *t = s->running[i];
        t->n_drafted = 0;
        t->drafter.n_found = 0;
        reads |= t->n_now && !t->read;
    }
    if (s->opts.draft.n_most == 0 || reads || n_decoding > MAX_DECODING) return;
    for (size_t i = 0; i < s->n_running; i++)
        if (s->running[i]->n_now) draft(s, s->running[i], n_decoding);
}

void rt_serve_drop_drafts(rt_serve *s) {
    for (size_t i = 0; i < s->n_running; i++) {
        rt_task *t = s->running[i];
        t->n_now -= t->n_drafted;
        t->n_drafted = 0;
        rt_drafter_drop(&t->drafter);
    }
}
