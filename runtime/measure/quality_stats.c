/* Means, errors and quantiles of token scores. */
#include "runtime/measure/quality_internal.h"

#include <math.h>
#include <stdlib.h>

typedef struct moments {
    double mean, stderr_mean, rms;
} moments;

/* A value of a score, by its place in the struct. */
typedef double value_fn(const rt_token_score *s);

static double nll_of(const rt_token_score *s) {
    return s->nll;
}

static double base_nll_of(const rt_token_score *s) {
    return s->base_nll;
}

static double kld_of(const rt_token_score *s) {
    return s->kld;
}

static double delta_p_of(const rt_token_score *s) {
    return exp(-s->nll) - exp(-s->base_nll);
}

static double same_top_of(const rt_token_score *s) {
    return s->same_top;
}

/* Some of the scores: those at the places [first, end) of every chunk. */
typedef struct selection {
    const rt_token_score *scores;
    uint64_t n;
    uint32_t per_chunk, first, end;
} selection;

static moments moments_of(const selection *s, value_fn *value) {
    double sum = 0, squares = 0, n = 0;
    for (uint64_t chunk = 0; chunk < s->n / s->per_chunk; chunk++)
        for (uint32_t place = s->first; place < s->end; place++) {
            double x = value(&s->scores[chunk * s->per_chunk + place]);
            sum += x;
            squares += x * x;
            n++;
        }
    double mean = sum / n, variance = squares / n - mean * mean;
    double error = n > 1 && variance > 0 ? sqrt(variance / (n - 1)) : 0;
    return (moments){mean, error, sqrt(squares / n)};
}

static int by_kld(const void *a, const void *b) {
    double x = ((const rt_token_score *)a)->kld, y = ((const rt_token_score *)b)->kld;
    return (x > y) - (x < y);
}

/* Of sorted scores, between neighbours in proportion. */
static double kld_quantile(const rt_token_score *scores, uint64_t n, double share) {
    double place = share * (double)(n - 1);
    uint64_t i = (uint64_t)place, next = i + 1 < n ? i + 1 : i;
    double part = place - (double)i;
    return (1 - part) * scores[i].kld + part * scores[next].kld;
}

static void summarise_base(const selection *all, rt_token_score *scores, rt_quality *out) {
    moments nll = moments_of(all, base_nll_of), kld = moments_of(all, kld_of);
    moments delta = moments_of(all, delta_p_of), top = moments_of(all, same_top_of);
    out->base_ppl = exp(nll.mean);
    out->base_ppl_stderr = out->base_ppl * nll.stderr_mean;
    out->kld_mean = kld.mean;
    out->kld_stderr = kld.stderr_mean;
    out->delta_p_mean = delta.mean;
    out->delta_p_rms = delta.rms;
    out->top1_agreement = top.mean;
    out->top1_stderr = top.stderr_mean;
    qsort(scores, all->n, sizeof *scores, by_kld);
    out->kld_median = kld_quantile(scores, all->n, 0.5);
    out->kld_p99 = kld_quantile(scores, all->n, 0.99);
    out->kld_p999 = kld_quantile(scores, all->n, 0.999);
    out->kld_max = kld_quantile(scores, all->n, 1);
}

static void summarise_positions(selection s, uint32_t n_context, rt_quality *out) {
    out->n_positions = s.per_chunk < RT_QUALITY_POSITIONS ? s.per_chunk : RT_QUALITY_POSITIONS;
    for (uint64_t i = 0; i < out->n_positions; i++) {
        s.first = (uint32_t)(i * s.per_chunk / out->n_positions);
        s.end = (uint32_t)((i + 1) * s.per_chunk / out->n_positions);
        moments nll = moments_of(&s, nll_of), kld = moments_of(&s, kld_of);
        out->positions[i] = (rt_quality_position){.first = n_context + 1 + s.first,
                                                  .last = n_context + s.end,
                                                  .ppl = exp(nll.mean),
                                                  .ppl_stderr = exp(nll.mean) * nll.stderr_mean,
                                                  .kld_mean = kld.mean,
                                                  .kld_stderr = kld.stderr_mean};
    }
}

void rt_quality_summarise(rt_token_score *scores, uint64_t n, uint32_t per_chunk,
                          uint32_t n_context, bool has_base, rt_quality *out) {
    selection all = {scores, n, per_chunk, 0, per_chunk};
    moments nll = moments_of(&all, nll_of);
    out->n_tokens = n;
    out->ppl = exp(nll.mean);
    out->ppl_stderr = out->ppl * nll.stderr_mean;
    summarise_positions(all, n_context, out);
    if (has_base) summarise_base(&all, scores, out);
}
