/* Finding drafts, and how many of them pay. */
#include "runtime/chat/drafts.h"

#include <string.h>

/* A place agrees by so many tokens at least; more than MAX_MATCH tell nothing new. */
#define MIN_MATCH    2
#define MIDDLE_MATCH 4
#define MAX_MATCH    8
/* Trials that count, and the weight of what is expected before there are any. */
#define MEMORY 0.95
#define BELIEF 4.0
/* A draft must be so many times as likely as it costs. */
#define MARGIN 1.25
/* Where drafts of a model do not pay, it is asked again after so many steps, then after twice as
 * many, and so on: it has to read all that was written meanwhile. */
#define ASK_AGAIN 64
#define MAX_WAIT  4096
#define N_ASKED   2

static const double expected[RT_N_DRAFT_KINDS] = {[RT_DRAFT_SHORT] = 0.2,
                                                  [RT_DRAFT_MIDDLE] = 0.4,
                                                  [RT_DRAFT_LONG] = 0.8,
                                                  [RT_DRAFT_PREDICTION] = 0.9,
                                                  [RT_DRAFT_MODEL] = 0.7};

/* ---- copies ------------------------------------------------------------------------------ */

/* How many tokens before `at` agree with the end of the text. */
static size_t match_at(const int32_t *place, size_t at, const int32_t *text, size_t n) {
    size_t len = 0, most = at < n ? at : n;
    if (most > MAX_MATCH) most = MAX_MATCH;
    while (len < most && place[at - 1 - len] == text[n - 1 - len]) len++;
    return len;
}

size_t rt_draft_copy(const int32_t *text, size_t n, int32_t *out, size_t most, size_t *n_match) {
    size_t best = 0;
    *n_match = MIN_MATCH - 1;
    for (size_t at = n - (n > 0); at >= MIN_MATCH && *n_match < MAX_MATCH; at--) {
        size_t len = match_at(text, at, text, n);
        if (len <= *n_match) continue;
        *n_match = len;
        best = at;
    }
    if (best == 0) return 0;
    for (size_t i = 0; i < most; i++) out[i] = best + i < n ? text[best + i] : out[best + i - n];
    return most;
}

/* Where the prediction goes on: after as many tokens of the answer as possible, from `foreseen` on
 * first. Its beginning agrees with the beginning of the answer. */
static bool find_foreseen(rt_drafter *d, const int32_t *text, size_t n, size_t n_answer) {
    const rt_ids *p = d->prediction;
    size_t best = 0, most = n_answer < MAX_MATCH ? n_answer : MAX_MATCH;
    size_t needed = n_answer < MIN_MATCH ? n_answer : MIN_MATCH;
    for (size_t i = 0; i <= p->n && best < most; i++) {
        size_t at = (d->foreseen + i) % (p->n + 1);
        size_t len = match_at(p->data, at, text + (n - n_answer), n_answer);
        if (len < needed || len <= best) continue;
        best = len;
        d->foreseen = at;
    }
    return best > 0 && d->foreseen < p->n;
}

static bool find_copy(rt_drafter *d, const int32_t *text, size_t n, size_t n_answer) {
    size_t n_match = 0;
    if (d->prediction && find_foreseen(d, text, n, n_answer)) {
        size_t left = d->prediction->n - d->foreseen;
        d->n_found = left < d->opts.n_most ? left : d->opts.n_most;
        memcpy(d->ids, d->prediction->data + d->foreseen, d->n_found * sizeof *d->ids);
        d->kind = RT_DRAFT_PREDICTION;
        return true;
    }
    d->n_found = rt_draft_copy(text, n, d->ids, d->opts.n_most, &n_match);
    d->kind = n_match < MIDDLE_MATCH ? RT_DRAFT_SHORT
              : n_match < MAX_MATCH  ? RT_DRAFT_MIDDLE
                                     : RT_DRAFT_LONG;
    return d->n_found > 0;
}

/* ---- how many ---------------------------------------------------------------------------- */

static double chance_of(const rt_drafter *d, int kind) {
    return (d->odds[kind].right + BELIEF * expected[kind]) / (d->odds[kind].tries + BELIEF);
}

/* As many drafts as save the most: each as likely as all of them together are to be right, for the
 * rows that they take, and where states cannot go back only a little, for those that come again. */
static size_t n_paying(const rt_drafter *d, int kind, size_t most, double cost) {
    double chance = chance_of(d, kind), all = 1, saved = 0, best = 0;
    size_t n_best = 0;
    if (d->opts.always) return most;
    for (size_t n = 1; n <= most; n++) {
        all *= chance;
        saved += all;
        double again = d->replays ? (1 - all) * (1 + saved) : 0;
        double gain = saved - MARGIN * cost * ((double)n + again);
        if (gain <= best) continue;
        best = gain;
        n_best = n;
    }
    return n_best;
}

static void count_try(rt_drafter *d, bool right) {
    d->odds[d->kind].right = MEMORY * d->odds[d->kind].right + right;
    d->odds[d->kind].tries = MEMORY * d->odds[d->kind].tries + 1;
}

static size_t ask_model(rt_drafter *d, const int32_t *text, size_t n_text, size_t most, double cost,
                        double decode_s) {
    double own = rt_draft_model_token_s(d->model);
    if (decode_s > 0) cost += own / decode_s;
    size_t n = n_paying(d, RT_DRAFT_MODEL, most, cost);
    if (n || d->wait == 0) d->wait = ASK_AGAIN;
    if (n == 0) {
        if (++d->n_without < d->wait) return 0;
        if (d->wait < MAX_WAIT) d->wait *= 2;
        n = most < N_ASKED ? most : N_ASKED;
    }
    d->n_without = 0;
    d->kind = RT_DRAFT_MODEL;
    d->n_found = rt_draft_model_next(d->model, d->owner, text, n_text, !d->opts.always, d->ids, n);
    if (d->n_found == 0) count_try(d, false); /* it took its time for nothing */
    return d->n_found;
}

void rt_drafter_begin(rt_drafter *d) {
    d->n_found = d->n = d->n_checked = 0;
    d->agrees = true;
    d->foreseen = 0;
}

size_t rt_drafter_propose(rt_drafter *d, const int32_t *text, size_t n_text, size_t n_answer,
                          size_t most, double cost, double decode_s) {
    d->n_found = d->n = d->n_checked = 0;
    d->agrees = true;
    if (d->opts.lookup && find_copy(d, text, n_text, n_answer))
        d->n = n_paying(d, d->kind, d->n_found < most ? d->n_found : most, cost);
    if (d->model && d->n == 0 && most)
        d->n = ask_model(d, text, n_text, most < d->opts.n_most ? most : d->opts.n_most, cost,
                         decode_s);
    d->counts.n_drafted += d->n;
    if (d->kind == RT_DRAFT_PREDICTION) d->counts.n_predicted += d->n;
    return d->n;
}

void rt_drafter_drop(rt_drafter *d) {
    d->counts.n_drafted -= d->n;
    if (d->kind == RT_DRAFT_PREDICTION) d->counts.n_predicted -= d->n;
    d->n = 0;
}

bool rt_drafter_check(rt_drafter *d, int32_t id) {
    if (!d->agrees || d->n_checked >= d->n_found) return false;
    bool evaluated = d->n_checked < d->n;
    d->agrees = d->ids[d->n_checked++] == id;
    count_try(d, d->agrees);
    if (!evaluated || !d->agrees) return false;
    d->counts.n_accepted++;
    if (d->kind == RT_DRAFT_PREDICTION) {
        d->counts.n_foreseen++;
        d->foreseen++;
    }
    return true;
}
