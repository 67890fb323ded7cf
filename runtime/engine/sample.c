/* Sampling. Candidates sit in a heap, so that only those are sorted that the filters look at. */
#include "runtime/engine/sample.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

struct rt_sampler {
    rt_sampler_opts opts;
    uint64_t random;
    uint32_t n_vocab;
    candidate *heap; /* [n_vocab]: the n_heap first are the heap, the last ones were taken */
    size_t n_heap;

    /* Only with a repetition penalty. */
    float *adjusted;     /* [n_vocab] */
    int32_t *taken;      /* [repeat_last_n]: a ring */
    uint64_t n_taken;    /* since the last rt_sampler_forget */
    bool *was_penalised; /* [n_vocab]: all false between calls */
};

/* ---- random numbers -----------------------------------------------------------------------------
 */

/* PCG32 (M. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms
 * for Random Number Generation", 2014): a linear congruential step, then XSH-RR output. */
static uint32_t next_u32(uint64_t *state) {
    uint64_t old = *state;
    *state = old * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint32_t mixed = (uint32_t)(((old >> 18) ^ old) >> 27), turn = (uint32_t)(old >> 59);
    return mixed >> turn | mixed << (-turn & 31);
}

static void seed_random(uint64_t *state, uint64_t seed) {
    *state = 0;
    next_u32(state);
    *state += seed;
    next_u32(state);
}

/* In [0, 1). */
static double next_uniform(uint64_t *state) {
    return next_u32(state) * 0x1p-32;
}

/* ---- the heap -----------------------------------------------------------------------------------
 */

static bool before(candidate a, candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(candidate *heap, size_t n, size_t i) {
    candidate moving = heap[i];
    for (size_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], moving)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

static void fill_heap(rt_sampler *s, const float *logits) {
    s->n_heap = 0;
    for (uint32_t id = 0; id < s->n_vocab; id++)
        if (isfinite(logits[id])) s->heap[s->n_heap++] = (candidate){logits[id], (int32_t)id};
    for (size_t i = s->n_heap / 2; i-- > 0;) sift_down(s->heap, s->n_heap, i);
}

/* Move the best candidate behind the heap, before those taken earlier. */
static candidate take_best(rt_sampler *s) {
    candidate best = s->heap[0];
    s->heap[0] = s->heap[--s->n_heap];
    s->heap[s->n_heap] = best;
    if (s->n_heap > 0) sift_down(s->heap, s->n_heap, 0);
    return best;
}

/* ---- sampling -----------------------------------------------------------------------------------
 */

static double sum_of_exp(const candidate *c, size_t n, float max) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp((double)c[i].logit - max);
    return sum;
}

/* Take candidates as the filters say; they lie behind the heap, the best one last. */
static size_t take_candidates(rt_sampler *s) {
    const rt_sampler_opts *o = &s->opts;
    size_t n_all = s->n_heap, n_max = o->top_k && o->top_k < n_all ? o->top_k : n_all, n = 0;
    float max = s->heap[0].logit;
    double total = 0, reached = 0;
    if (n_max == n_all) {
        total = sum_of_exp(s->heap, n_all, max);
    } else {
        while (n < n_max) total += exp((double)take_best(s).logit - max), n++;
    }
    for (size_t kept = 0; kept < n_max; kept++) {
        if (kept == n) take_best(s), n++;
        double p = exp((double)s->heap[n_all - 1 - kept].logit - max);
        if (kept > 0 && (reached >= o->top_p * total || p < (double)o->min_p)) return kept;
        reached += p;
    }
    return n_max;
}

/* Draw one of n candidates; the last in memory is the most likely. */
static int32_t draw(rt_sampler *s, const candidate *c, size_t n) {
    double temp = s->opts.temp, max = c[n - 1].logit, total = 0;
    for (size_t i = n; i-- > 0;) total += exp((c[i].logit - max) / temp);
    double rest = next_uniform(&s->random) * total;
    for (size_t i = n; i-- > 0;) {
        rest -= exp((c[i].logit - max) / temp);
        if (rest < 0) return c[i].id;
    }
    return c[n - 1].id;
}

static int32_t most_likely(const float *logits, uint32_t n_vocab) {
    int32_t best = -1;
    for (uint32_t id = 0; id < n_vocab; id++)
        if (isfinite(logits[id]) && (best < 0 || logits[id] > logits[best])) best = (int32_t)id;
    return best;
}

static int32_t choose(rt_sampler *s, const float *logits) {
    if (s->opts.temp == 0) return most_likely(logits, s->n_vocab);
    fill_heap(s, logits);
    if (s->n_heap == 0) return -1;
    size_t n_all = s->n_heap, n = take_candidates(s);
    return draw(s, s->heap + n_all - n, n);
}

/* The logits with the penalty, each token once however often it was taken. */
static const float *penalise(rt_sampler *s, const float *logits) {
    uint32_t room = s->opts.repeat_last_n;
    uint32_t n = s->n_taken < room ? (uint32_t)s->n_taken : room;
    memcpy(s->adjusted, logits, s->n_vocab * sizeof *logits);
    for (uint32_t i = 0; i < n; i++) {
        int32_t id = s->taken[i];
        if (s->was_penalised[id]) continue;
        s->was_penalised[id] = true;
        float *logit = &s->adjusted[id];
        *logit = *logit > 0 ? *logit / s->opts.repeat_penalty : *logit * s->opts.repeat_penalty;
    }
    for (uint32_t i = 0; i < n; i++) s->was_penalised[s->taken[i]] = false;
    return s->adjusted;
}

int32_t rt_sampler_next(rt_sampler *s, const float *logits) {
    if (!s->taken) return choose(s, logits);
    int32_t id = choose(s, penalise(s, logits));
    if (id >= 0) s->taken[s->n_taken++ % s->opts.repeat_last_n] = id;
    return id;
}

void rt_sampler_forget(rt_sampler *s) {
    s->n_taken = 0;
}

/* ---- the sampler --------------------------------------------------------------------------------
 */

rt_sampler_opts rt_sampler_defaults(void) {
    return (rt_sampler_opts){.temp = 0.8f,
                             .top_k = 40,
                             .top_p = 0.95f,
                             .min_p = 0.05f,
                             .repeat_penalty = 1,
                             .repeat_last_n = 64};
}

static bool is_share(float x) {
    return x >= 0 && x <= 1;
}

static bool is_size(float x) {
    return x >= 0 && !isinf(x);
}

static gguf_code check_opts(const rt_sampler_opts *o, gguf_error *err) {
    if (!is_size(o->temp) || !is_share(o->top_p) || !is_share(o->min_p))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "temperature %g, top-p %g, min-p %g: the first must be at least 0, the "
                         "others between 0 and 1",
                         (double)o->temp, (double)o->top_p, (double)o->min_p);
    if (!is_size(o->repeat_penalty) || o->repeat_last_n > RT_MAX_REPEAT)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "repetition penalty %g over %u tokens: it must be at least 0, over at "
                         "most %d tokens",
                         (double)o->repeat_penalty, (unsigned)o->repeat_last_n, RT_MAX_REPEAT);
    return GGUF_OK;
}

static bool allocate_penalty(rt_sampler *s) {
    float penalty = s->opts.repeat_penalty;
    if (penalty == 0 || penalty == 1 || s->opts.repeat_last_n == 0) return true;
    s->adjusted = malloc((s->n_vocab + (size_t)1) * sizeof *s->adjusted);
    s->taken = malloc(s->opts.repeat_last_n * sizeof *s->taken);
    s->was_penalised = calloc(s->n_vocab + (size_t)1, sizeof *s->was_penalised);
    return s->adjusted && s->taken && s->was_penalised;
}

gguf_code rt_sampler_new(const rt_sampler_opts *opts, uint32_t n_vocab, rt_sampler **out,
                         gguf_error *err) {
    *out = NULL;
    gguf_code code = check_opts(opts, err);
    if (code) return code;
    rt_sampler *s = calloc(1, sizeof *s);
    if (s) {
        *s = (rt_sampler){.opts = *opts, .n_vocab = n_vocab};
        s->heap = malloc((n_vocab + (size_t)1) * sizeof *s->heap);
    }
    if (!s || !s->heap || !allocate_penalty(s)) {
        rt_sampler_free(s);
        return gguf_fail_memory(err);
    }
    seed_random(&s->random, opts->seed);
    *out = s;
    return GGUF_OK;
}

void rt_sampler_free(rt_sampler *sampler) {
    if (!sampler) return;
    free(sampler->heap);
    free(sampler->adjusted);
    free(sampler->taken);
    free(sampler->was_penalised);
    free(sampler);
}
