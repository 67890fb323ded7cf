/* Speculation: tokens that may come next, so that one step checks several. They are copied from
 * where the text, or a prediction of it, had the last tokens before, or a smaller model of the same
 * vocabulary makes them. What is chosen stays the same: every token is drawn from its own logits,
 * and a drafted one only saves a step where it equals what was drawn.
 *
 * How often each kind of draft was right is counted, also where it was not evaluated: only as many
 * are proposed as pay. */
#ifndef RUNTIME_CHAT_DRAFTS_H
#define RUNTIME_CHAT_DRAFTS_H

#include "runtime/chat/draft_model.h"
#include "runtime/tokenizer/tokenizer.h"

#define RT_USUAL_DRAFT 16

typedef struct rt_draft_opts {
    bool lookup;     /* copy from the text, and from a prediction */
    uint32_t n_most; /* drafted tokens of a step, at most RT_MAX_DRAFT; 0: no drafts */
    bool always;     /* propose all there are, whatever they cost: for tests */
} rt_draft_opts;

/* By how many tokens the copied place agrees with the end of the text. */
enum {
    RT_DRAFT_SHORT,
    RT_DRAFT_MIDDLE,
    RT_DRAFT_LONG,
    RT_DRAFT_PREDICTION,
    RT_DRAFT_MODEL,
    RT_N_DRAFT_KINDS
};

typedef struct rt_draft_counts {
    uint64_t n_drafted, n_accepted;
    uint64_t n_predicted, n_foreseen; /* of these, from a prediction */
} rt_draft_counts;

/* The drafts of one text. Start as {0} with options, and a model or NULL. */
typedef struct rt_drafter {
    rt_draft_opts opts;
    rt_draft_model *model;    /* the caller's */
    uint64_t owner;           /* the text's number for the model; not 0 */
    const rt_ids *prediction; /* of the answer, the caller's; or NULL */

    int32_t ids[RT_MAX_DRAFT]; /* [n_found]; the first n are evaluated */
    size_t n_found, n, n_checked;
    int kind;
    bool agrees;        /* all that were checked */
    bool replays;       /* where one was wrong, those before it are evaluated again */
    size_t foreseen;    /* where the prediction goes on */
    unsigned n_without; /* steps since the model was asked */
    unsigned wait;      /* so many until it is asked although its drafts do not pay */
    struct {
        double right, tries; /* of late */
    } odds[RT_N_DRAFT_KINDS];
    rt_draft_counts counts;
} rt_drafter;

/* Another answer begins; how often drafts were right stays known. */
void rt_drafter_begin(rt_drafter *d);

/* Draft what may follow a text. Returns how many tokens of d->ids to evaluate.
 *   text      all tokens, the last chosen one included; its last n_answer are the answer
 *   most      0: none, but what might have been proposed is counted
 *   cost      of a drafted token, see rt_budget_draft_cost
 *   decode_s  what a step without drafts takes per answer; 0: unknown */
size_t rt_drafter_propose(rt_drafter *d, const int32_t *text, size_t n_text, size_t n_answer,
                          size_t most, double cost, double decode_s);

/* None of what was proposed is evaluated. */
void rt_drafter_drop(rt_drafter *d);

/* A token was chosen: the first, second, ... behind the text that was proposed for. True: it was
 * drafted and evaluated, and so were its logits' successors. */
bool rt_drafter_check(rt_drafter *d, int32_t id);

/* Tokens that followed where the last tokens of a text stood before, as if copying went on into
 * what was copied.
 *   out      [most]
 *   n_match  how many tokens agree, at least 2
 * Returns how many there are. */
size_t rt_draft_copy(const int32_t *text, size_t n, int32_t *out, size_t most, size_t *n_match);

#endif
