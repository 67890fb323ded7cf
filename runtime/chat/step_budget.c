/* Averages of what steps took. */
#include "runtime/chat/step_budget.h"

/* The weight of the newest step. */
#define NEWEST 0.2
/* A step may take so many times as long as one without prompts. */
#define MAX_SLOWDOWN 2.5
/* While nothing is known. */
#define FIRST_CHUNK 64
/* Of a token in steps of one; a drafted token costs this much at least. */
#define FIRST_COST 0.3
#define MIN_DRAFT  0.02

static void average(double *mean, double value) {
    *mean = *mean > 0 ? *mean + NEWEST * (value - *mean) : value;
}

static size_t clamp_index(size_t n) {
    return n < RT_BUDGET_MAX_DECODING ? n : RT_BUDGET_MAX_DECODING;
}

double rt_budget_decode_s(const rt_step_budget *b, size_t n_decoding) {
    size_t n = clamp_index(n_decoding), below = n, above = n;
    if (n == 0) return 0;
    while (below > 0 && b->decode_s[below] <= 0) below--;
    while (above <= RT_BUDGET_MAX_DECODING && b->decode_s[above] <= 0) above++;
    if (below == 0) return above <= RT_BUDGET_MAX_DECODING ? b->decode_s[above] : 0;
    return b->decode_s[below]; /* more answers take a little longer, not less */
}

size_t rt_budget_chunk(const rt_step_budget *b, double step_s, size_t n_decoding, size_t most) {
    double alone = rt_budget_decode_s(b, n_decoding), limit = MAX_SLOWDOWN * alone;
    if (n_decoding == 0) return most;
    if (alone <= 0 || b->token_s <= 0) return FIRST_CHUNK < most ? FIRST_CHUNK : most;
    double left = (step_s < limit ? step_s : limit) - alone, n = left / b->token_s;
    if (n < RT_BUDGET_MIN_CHUNK) n = RT_BUDGET_MIN_CHUNK;
    if (n > RT_BUDGET_MAX_CHUNK) n = RT_BUDGET_MAX_CHUNK;
    return n < (double)most ? (size_t)n : most;
}

double rt_budget_draft_cost(const rt_step_budget *b, size_t n_decoding) {
    double alone = rt_budget_decode_s(b, n_decoding);
    if (alone <= 0 || b->draft_s <= 0) return FIRST_COST * (double)n_decoding;
    return b->draft_s / alone * (double)n_decoding;
}

void rt_budget_learn(rt_step_budget *b, size_t n_decoding, size_t n_prompt, size_t n_drafted,
                     double seconds) {
    if (n_prompt + n_drafted == 0) {
        if (n_decoding) average(&b->decode_s[clamp_index(n_decoding)], seconds);
        return;
    }
    double alone = rt_budget_decode_s(b, n_decoding), extra = seconds - alone;
    if (n_decoding && alone <= 0) return;
    if (n_drafted) {
        /* Where drafts pay, steps without them are rare: what these take is not known well. */
        double least = MIN_DRAFT * alone * (double)n_drafted;
        average(&b->draft_s, (extra > least ? extra : least) / (double)n_drafted);
        return;
    }
    /* Steps vary: a prompt never costs nothing. */
    if (extra < 0.1 * seconds) extra = 0.1 * seconds;
    average(&b->token_s, extra / (double)n_prompt);
}
