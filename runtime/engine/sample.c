/* Sampling. Sorting a vocabulary would cost more than a small model's step, so nothing is sorted
 * but a few candidates: the maxima of blocks bound the top_k largest logits from below, and without
 * top_k one pass of weights, thresholds on them and a walk along their sums are enough. */
#include "runtime/engine/sample.h"
#include "runtime/engine/logits.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Elements of a block, and of them how many a vector loop takes side by side. */
#define BLOCK 128
#define LANES 16

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

/* What one thread needs for one row. */
typedef struct scratch {
    float *block_max;  /* [n_blocks] */
    float *largest;    /* [n_blocks]: a heap of the largest of these, the smallest first */
    double *block_sum; /* [n_blocks] */
    union {
        candidate *heap; /* [n_vocab]: the n_heap first are the heap, the last ones were taken */
        float *weights;  /* [n_blocks * BLOCK] */
    };
    size_t n_heap;
    float *masked; /* [n_vocab] */
} scratch;

struct rt_sampling {
    uint32_t n_vocab;
    size_t n_blocks;
    gguf_pool *pool;
    unsigned n_threads;
    scratch *scratches; /* [n_threads] */
};

/* A token that was taken, in a table with open addressing; id < 0 is a free place. */
typedef struct taken {
    int32_t id;
    uint32_t n_lately, n;
} taken;

typedef struct changed {
    int32_t id;
    float logit; /* as it was */
} changed;

struct rt_sampler {
    rt_sampler_opts opts;
    uint64_t random;
    uint32_t n_vocab;
    rt_logit_bias *bias;
    size_t n_bias;
    const uint64_t *mask; /* or NULL */

    /* Only with penalties. */
    taken *table;
    size_t table_size, n_table; /* a power of two; places in use */
    int32_t *lately;            /* [repeat_last_n]: a ring */
    uint64_t n_taken;           /* since the last rt_sampler_forget */

    changed *changes;
    size_t n_changes, changes_size;
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

/* ---- passes over a row --------------------------------------------------------------------------
 */

static float larger(float a, float b) {
    return a > b ? a : b;
}

static size_t block_size(uint32_t n_vocab, size_t block) {
    size_t left = n_vocab - block * BLOCK;
    return left < BLOCK ? left : BLOCK;
}

/* Maxima of the blocks; returns that of all, -INFINITY if no logit is finite. */
static float find_maxima(const rt_sampling *s, const float *logits, float *block_max) {
    float max = -INFINITY;
    for (size_t b = 0; b < s->n_blocks; b++) {
        block_max[b] = rt_logits_max(logits + b * BLOCK, block_size(s->n_vocab, b));
        max = larger(block_max[b], max);
    }
    return max;
}

/* Weights, and 0 up to the end of the last block. */
static void fill_weights(const rt_sampling *s, const float *logits, float max, float scale,
                         float *weights) {
    rt_logits_weights(logits, max, scale, s->n_vocab, weights);
    for (size_t i = s->n_vocab; i < s->n_blocks * BLOCK; i++) weights[i] = 0;
}

static double sum_blocks(const rt_sampling *s, const float *weights, double *block_sum) {
    double total = 0;
    for (size_t b = 0; b < s->n_blocks; b++) {
        float lanes[LANES] = {0};
        double sum = 0;
        for (size_t i = 0; i < BLOCK; i += LANES)
            for (size_t l = 0; l < LANES; l++) lanes[l] += weights[b * BLOCK + i + l];
        for (size_t l = 0; l < LANES; l++) sum += (double)lanes[l];
        block_sum[b] = sum;
        total += sum;
    }
    return total;
}

static int32_t most_likely(const rt_sampling *s, const float *logits) {
    float max = -INFINITY;
    size_t best = 0;
    for (size_t b = 0; b < s->n_blocks; b++) {
        float of_block = rt_logits_max(logits + b * BLOCK, block_size(s->n_vocab, b));
        if (of_block > max) max = of_block, best = b * BLOCK;
    }
    if (max == -INFINITY) return -1;
    while (logits[best] != max) best++;
    return (int32_t)best;
}

/* ---- the largest logits -------------------------------------------------------------------------
 */

/* Replace the root, the smallest. */
static void replace_smallest(float *heap, size_t n, float value) {
    size_t i = 0;
    for (size_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= value) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = value;
}

/* A bound that at least k logits reach: k blocks have a maximum that does. */
static float bound_of_largest(const rt_sampling *s, scratch *w, size_t k) {
    if (k > s->n_blocks) return -FLT_MAX;
    for (size_t i = 0; i < k; i++) w->largest[i] = -INFINITY;
    for (size_t b = 0; b < s->n_blocks; b++)
        if (w->block_max[b] > w->largest[0]) replace_smallest(w->largest, k, w->block_max[b]);
    return larger(w->largest[0], -FLT_MAX);
}

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

/* A heap of the k largest logits at least. */
static void fill_heap(const rt_sampling *s, scratch *w, const float *logits, size_t k) {
    float bound = bound_of_largest(s, w, k);
    w->n_heap = 0;
    for (size_t b = 0; b < s->n_blocks; b++) {
        if (w->block_max[b] < bound) continue;
        size_t start = b * BLOCK, end = start + block_size(s->n_vocab, b);
        for (size_t id = start; id < end; id++)
            if (logits[id] >= bound && logits[id] <= FLT_MAX)
                w->heap[w->n_heap++] = (candidate){logits[id], (int32_t)id};
    }
    for (size_t i = w->n_heap / 2; i-- > 0;) sift_down(w->heap, w->n_heap, i);
}

/* Move the best candidate behind the heap, before those taken earlier. */
static candidate take_best(scratch *w) {
    candidate best = w->heap[0];
    w->heap[0] = w->heap[--w->n_heap];
    w->heap[w->n_heap] = best;
    if (w->n_heap > 0) sift_down(w->heap, w->n_heap, 0);
    return best;
}

/* ---- with top_k: the candidates, sorted ---------------------------------------------------------
 */

static double weight_of(float logit, float max, double temp) {
    return exp(((double)logit - (double)max) / temp);
}

/* Take candidates as the filters say; they lie behind the heap, the best one last. */
static size_t take_candidates(const rt_sampler_opts *o, scratch *w) {
    size_t n_all = w->n_heap, n_max = o->top_k < n_all ? o->top_k : n_all;
    float max = w->heap[0].logit;
    double total = 0, reached = 0;
    for (size_t n = 0; n < n_max; n++) total += weight_of(take_best(w).logit, max, 1);
    for (size_t kept = 0; kept < n_max; kept++) {
        double p = weight_of(w->heap[n_all - 1 - kept].logit, max, 1);
        if (kept > 0 && (reached >= (double)o->top_p * total || p < (double)o->min_p)) return kept;
        reached += p;
    }
    return n_max;
}

static int32_t choose_of_top(const rt_sampling *s, scratch *w, rt_sampler *sampler,
                             const float *logits) {
    const rt_sampler_opts *o = &sampler->opts;
    fill_heap(s, w, logits, o->top_k);
    size_t n_all = w->n_heap, n = take_candidates(o, w);
    const candidate *c = w->heap + n_all - n;
    double temp = (double)o->temp, total = 0;
    for (size_t i = n; i-- > 0;) total += weight_of(c[i].logit, c[n - 1].logit, temp);
    double rest = next_uniform(&sampler->random) * total;
    for (size_t i = n; i-- > 0;) {
        rest -= weight_of(c[i].logit, c[n - 1].logit, temp);
        if (rest < 0) return c[i].id;
    }
    return c[n - 1].id;
}

/* ---- without top_k: weights of the whole vocabulary ---------------------------------------------
 */

enum { DIGIT_BITS = 10, N_DIGITS = 1 << DIGIT_BITS };

static uint32_t bits_of(float weight) {
    uint32_t bits;
    memcpy(&bits, &weight, sizeof bits);
    return bits;
}

/* The fewest largest weights whose sum reaches top_p of all: those above *cut, and the n_cut first
 * that are equal to it. Bits of floats from 0 to 1 are in the order of their values and fit three
 * digits of ten bits; the cut is found digit by digit, from the sums of the weights of each. */
static float find_cut(const float *weights, size_t n, double top_p, size_t *n_cut) {
    double target = 0, above = 0;
    uint32_t known = 0;
    for (int shift = 2 * DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        double sums[N_DIGITS] = {0};
        bool seen[N_DIGITS] = {0};
        for (size_t i = 0; i < n; i++) {
            uint32_t bits = bits_of(weights[i]);
            if (bits >> shift >> DIGIT_BITS != known) continue;
            sums[bits >> shift & (N_DIGITS - 1)] += (double)weights[i];
            seen[bits >> shift & (N_DIGITS - 1)] = true;
        }
        if (shift == 2 * DIGIT_BITS) {
            for (int d = 0; d < N_DIGITS; d++) target += sums[d];
            target *= top_p;
        }
        /* Sums in another order may end just below the target: the last digit is meant then. */
        uint32_t digit = N_DIGITS;
        for (uint32_t d = N_DIGITS; d-- > 0;) {
            if (!seen[d]) continue;
            if (digit < N_DIGITS) above += sums[digit];
            digit = d;
            if (above + sums[d] >= target) break;
        }
        known = known << DIGIT_BITS | digit;
    }
    float cut;
    memcpy(&cut, &known, sizeof cut);
    double ties = cut > 0 ? ceil((target - above) / (double)cut) : (double)n;
    *n_cut = ties < 1 ? 1 : ties < (double)n ? (size_t)ties : n;
    return cut;
}

/* Weights that the filters leave; the others become 0. */
static void filter_weights(const rt_sampler_opts *o, float *weights, size_t n) {
    size_t n_cut = n;
    float cut = o->top_p < 1 ? find_cut(weights, n, (double)o->top_p, &n_cut) : 0;
    float bound = larger(cut, o->min_p);
    for (size_t i = 0; i < n; i++) weights[i] = weights[i] >= bound ? weights[i] : 0;
    if (n_cut == n || cut < bound) return;
    for (size_t i = 0; i < n; i++) {
        if (weights[i] != cut) continue;
        if (n_cut > 0)
            n_cut--;
        else
            weights[i] = 0;
    }
}

static int32_t draw_weighted(const rt_sampling *s, const scratch *w, double rest) {
    size_t last = 0;
    for (size_t b = 0; b < s->n_blocks; b++) {
        if (w->block_sum[b] == 0) continue;
        last = b;
        if (rest < w->block_sum[b]) break;
        rest -= w->block_sum[b];
    }
    int32_t id = -1;
    for (size_t i = last * BLOCK; i < (last + 1) * BLOCK; i++) {
        if (w->weights[i] == 0) continue;
        id = (int32_t)i;
        rest -= (double)w->weights[i];
        if (rest < 0) break;
    }
    return id;
}

/* Give the weights that are left another temperature. */
static void reweigh(const rt_sampling *s, const float *logits, float max, float scale,
                    float *weights) {
    float block[BLOCK];
    for (size_t b = 0; b < s->n_blocks; b++) {
        float *w = weights + b * BLOCK;
        size_t n = block_size(s->n_vocab, b);
        rt_logits_weights(logits + b * BLOCK, max, scale, n, block);
        for (size_t i = 0; i < n; i++) w[i] = w[i] == 0 ? 0 : block[i];
    }
}

static int32_t choose_of_all(const rt_sampling *s, scratch *w, rt_sampler *sampler,
                             const float *logits, float max) {
    const rt_sampler_opts *o = &sampler->opts;
    float scale = 1 / o->temp < FLT_MAX ? 1 / o->temp : FLT_MAX;
    bool filtered = o->top_p < 1 || o->min_p > 0;
    fill_weights(s, logits, max, filtered ? 1 : scale, w->weights);
    if (filtered) {
        filter_weights(o, w->weights, s->n_vocab);
        if (o->temp != 1) reweigh(s, logits, max, scale, w->weights);
    }
    double total = sum_blocks(s, w->weights, w->block_sum);
    return draw_weighted(s, w, next_uniform(&sampler->random) * total);
}

static int32_t choose(const rt_sampling *s, scratch *w, rt_sampler *sampler, const float *logits) {
    const rt_sampler_opts *o = &sampler->opts;
    if (o->temp == 0) return most_likely(s, logits);
    float max = find_maxima(s, logits, w->block_max);
    if (max == -INFINITY) return -1;
    if (o->top_k > 0 && o->top_k < s->n_vocab) return choose_of_top(s, w, sampler, logits);
    return choose_of_all(s, w, sampler, logits, max);
}

/* ---- biases and penalties -----------------------------------------------------------------------
 */

static bool has_repeat(const rt_sampler_opts *o) {
    return o->repeat_penalty != 0 && o->repeat_penalty != 1 && o->repeat_last_n > 0;
}

static bool has_penalties(const rt_sampler_opts *o) {
    return has_repeat(o) || o->presence_penalty != 0 || o->frequency_penalty != 0;
}

static taken *place_of(taken *table, size_t size, int32_t id) {
    size_t i = (uint32_t)id * UINT32_C(2654435769) & (size - 1);
    while (table[i].id >= 0 && table[i].id != id) i = (i + 1) & (size - 1);
    return &table[i];
}

static bool reserve_table(rt_sampler *s) {
    if (2 * (s->n_table + 1) <= s->table_size) return true;
    size_t size = s->table_size ? 2 * s->table_size : 64;
    taken *table = malloc(size * sizeof *table);
    if (!table) return false;
    for (size_t i = 0; i < size; i++) table[i] = (taken){.id = -1};
    for (size_t i = 0; i < s->table_size; i++)
        if (s->table[i].id >= 0) *place_of(table, size, s->table[i].id) = s->table[i];
    free(s->table);
    s->table = table;
    s->table_size = size;
    return true;
}

static bool reserve_changes(rt_sampler *s) {
    size_t wanted = s->n_bias + s->table_size;
    if (wanted <= s->changes_size) return true;
    changed *changes = realloc(s->changes, wanted * sizeof *changes);
    if (!changes) return false;
    s->changes = changes;
    s->changes_size = wanted;
    return true;
}

/* Room for one more token. */
static bool reserve(rt_sampler *s) {
    return (!has_penalties(&s->opts) || reserve_table(s)) && reserve_changes(s);
}

static void count_taken(rt_sampler *s, int32_t id) {
    if (!has_penalties(&s->opts)) return;
    taken *t = place_of(s->table, s->table_size, id);
    if (t->id < 0) *t = (taken){.id = id}, s->n_table++;
    t->n++;
    if (s->lately) {
        uint32_t last_n = s->opts.repeat_last_n;
        int32_t *slot = &s->lately[s->n_taken % last_n];
        if (s->n_taken >= last_n) place_of(s->table, s->table_size, *slot)->n_lately--;
        *slot = id;
        place_of(s->table, s->table_size, id)->n_lately++;
    }
    s->n_taken++;
}

static void change(rt_sampler *s, float *logits, int32_t id, float logit) {
    s->changes[s->n_changes++] = (changed){id, logits[id]};
    logits[id] = logit;
}

static void apply(rt_sampler *s, float *logits) {
    const rt_sampler_opts *o = &s->opts;
    s->n_changes = 0;
    for (size_t i = 0; i < s->n_bias; i++)
        change(s, logits, s->bias[i].id, logits[s->bias[i].id] + s->bias[i].bias);
    for (size_t i = 0; i < s->table_size; i++) {
        const taken *t = &s->table[i];
        if (t->id < 0) continue;
        float logit = logits[t->id];
        if (has_repeat(o) && t->n_lately > 0)
            logit = logit > 0 ? logit / o->repeat_penalty : logit * o->repeat_penalty;
        logit -= o->presence_penalty + (float)t->n * o->frequency_penalty;
        change(s, logits, t->id, logit);
    }
}

static void undo(rt_sampler *s, float *logits) {
    while (s->n_changes > 0) {
        const changed *c = &s->changes[--s->n_changes];
        logits[c->id] = c->logit;
    }
}

void rt_sampler_forget(rt_sampler *s) {
    for (size_t i = 0; i < s->table_size; i++) s->table[i] = (taken){.id = -1};
    s->n_table = 0;
    s->n_taken = 0;
}

/* ---- rows ---------------------------------------------------------------------------------------
 */

typedef struct rows {
    rt_sampling *sampling;
    rt_sampler *const *samplers;
    float *const *logits;
    int32_t *ids;
} rows;

/* Most words of a mask are all zeros or all ones. */
static const float *masked(const rt_sampling *s, scratch *w, const uint64_t *mask,
                           const float *logits) {
    for (size_t at = 0; at < s->n_vocab; at += 64) {
        size_t n = s->n_vocab - at < 64 ? s->n_vocab - at : 64;
        uint64_t bits = mask[at / 64];
        if (bits == UINT64_MAX) {
            memcpy(w->masked + at, logits + at, n * sizeof *logits);
            continue;
        }
        for (size_t i = 0; i < n; i++) w->masked[at + i] = -INFINITY;
        for (; bits; bits &= bits - 1) {
            size_t i = (size_t)__builtin_ctzll(bits);
            if (i < n) w->masked[at + i] = logits[at + i];
        }
    }
    return w->masked;
}

static void sample_row(void *ctx, size_t row, unsigned worker) {
    const rows *r = ctx;
    rt_sampler *s = r->samplers[row];
    scratch *w = &r->sampling->scratches[worker];
    apply(s, r->logits[row]);
    const float *logits = r->logits[row];
    if (s->mask) logits = masked(r->sampling, w, s->mask, logits);
    int32_t id = choose(r->sampling, w, s, logits);
    undo(s, r->logits[row]);
    if (id >= 0) count_taken(s, id);
    r->ids[row] = id;
}

gguf_code rt_sample_rows(rt_sampling *sampling, rt_sampler *const *samplers, float *const *logits,
                         size_t n, int32_t *ids, gguf_error *err) {
    rows r = {sampling, samplers, logits, ids};
    for (size_t i = 0; i < n; i++)
        if (!reserve(samplers[i])) return gguf_fail_memory(err);
    if (sampling->pool && n > 1)
        gguf_pool_run(sampling->pool, n, sample_row, &r);
    else
        for (size_t i = 0; i < n; i++) sample_row(&r, i, 0);
    return GGUF_OK;
}

size_t rt_logprobs(rt_sampling *sampling, const float *logits, int32_t token, float *of_token,
                   rt_logprob *top, size_t n_top) {
    scratch *w = &sampling->scratches[0];
    float max = find_maxima(sampling, logits, w->block_max);
    *of_token = -INFINITY;
    if (max == -INFINITY) return 0;
    fill_weights(sampling, logits, max, 1, w->weights);
    double norm = (double)max + log(sum_blocks(sampling, w->weights, w->block_sum));
    *of_token = isfinite(logits[token]) ? (float)((double)logits[token] - norm) : -INFINITY;
    if (n_top == 0) return 0;
    fill_heap(sampling, w, logits, n_top);
    size_t n = 0;
    while (n < n_top && w->n_heap > 0) {
        candidate best = take_best(w);
        top[n++] = (rt_logprob){best.id, (float)((double)best.logit - norm)};
    }
    return n;
}

/* ---- samplers and memory ------------------------------------------------------------------------
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
    if (!isfinite(o->presence_penalty) || !isfinite(o->frequency_penalty))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "presence penalty %g, frequency penalty %g: both must be finite",
                         (double)o->presence_penalty, (double)o->frequency_penalty);
    return GGUF_OK;
}

gguf_code rt_sampler_new(const rt_sampler_opts *opts, uint32_t n_vocab, rt_sampler **out,
                         gguf_error *err) {
    *out = NULL;
    gguf_code code = check_opts(opts, err);
    if (code) return code;
    rt_sampler *s = calloc(1, sizeof *s);
    if (s) {
        *s = (rt_sampler){.opts = *opts, .n_vocab = n_vocab};
        if (has_repeat(opts)) s->lately = malloc(opts->repeat_last_n * sizeof *s->lately);
    }
    if (!s || (has_repeat(opts) && !s->lately)) {
        rt_sampler_free(s);
        return gguf_fail_memory(err);
    }
    seed_random(&s->random, opts->seed);
    *out = s;
    return GGUF_OK;
}

void rt_sampler_free(rt_sampler *sampler) {
    if (!sampler) return;
    free(sampler->bias);
    free(sampler->table);
    free(sampler->lately);
    free(sampler->changes);
    free(sampler);
}

gguf_code rt_sampler_set_bias(rt_sampler *s, const rt_logit_bias *bias, size_t n, gguf_error *err) {
    for (size_t i = 0; i < n; i++) {
        bool known = bias[i].id >= 0 && (uint32_t)bias[i].id < s->n_vocab;
        if (!known || isnan(bias[i].bias) || bias[i].bias > FLT_MAX)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "bias %g of token %d: the token must be below %u, the bias finite or "
                             "minus infinity",
                             (double)bias[i].bias, (int)bias[i].id, (unsigned)s->n_vocab);
    }
    rt_logit_bias *copy = malloc((n + 1) * sizeof *copy);
    if (!copy) return gguf_fail_memory(err);
    if (n > 0) memcpy(copy, bias, n * sizeof *copy);
    free(s->bias);
    s->bias = copy;
    s->n_bias = n;
    return GGUF_OK;
}

void rt_sampler_set_mask(rt_sampler *sampler, const uint64_t *mask) {
    sampler->mask = mask;
}

static bool scratch_init(const rt_sampling *s, scratch *w) {
    w->block_max = malloc((s->n_blocks + 1) * sizeof *w->block_max);
    w->largest = malloc((s->n_blocks + 1) * sizeof *w->largest);
    w->block_sum = malloc((s->n_blocks + 1) * sizeof *w->block_sum);
    w->heap = malloc((s->n_blocks + 1) * BLOCK * sizeof *w->heap);
    w->masked = malloc((s->n_vocab + (size_t)1) * sizeof *w->masked);
    return w->block_max && w->largest && w->block_sum && w->heap && w->masked;
}

gguf_code rt_sampling_new(uint32_t n_vocab, gguf_pool *pool, rt_sampling **out, gguf_error *err) {
    *out = NULL;
    rt_sampling *s = calloc(1, sizeof *s);
    if (!s) return gguf_fail_memory(err);
    *s = (rt_sampling){.n_vocab = n_vocab,
                       .n_blocks = ((size_t)n_vocab + BLOCK - 1) / BLOCK,
                       .pool = pool,
                       .n_threads = pool ? gguf_pool_threads(pool) : 1};
    s->scratches = calloc(s->n_threads, sizeof *s->scratches);
    bool fits = s->scratches != NULL;
    for (unsigned i = 0; fits && i < s->n_threads; i++) fits = scratch_init(s, &s->scratches[i]);
    if (!fits) {
        rt_sampling_free(s);
        return gguf_fail_memory(err);
    }
    *out = s;
    return GGUF_OK;
}

void rt_sampling_free(rt_sampling *s) {
    if (!s) return;
    for (unsigned i = 0; s->scratches && i < s->n_threads; i++) {
        free(s->scratches[i].block_max);
        free(s->scratches[i].largest);
        free(s->scratches[i].block_sum);
        free(s->scratches[i].heap);
        free(s->scratches[i].masked);
    }
    free(s->scratches);
    free(s);
}
