/* Passes over a tensor in pieces of PIECE values: pieces are spread over threads, and their results
 * are merged in order. */
#include "quant/stats.h"
#include "quant/kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 65536 /* values; a multiple of every block */

/* ---- passes ------------------------------------------------------------------------------ */

typedef struct pass pass;
/* Look at one decoded piece and fill its partial result. */
typedef void (*piece_fn)(const pass *p, size_t piece, const float *a, const float *b, size_t n);

typedef struct operand {
    uint32_t type;
    const uint8_t *data;
} operand;

struct pass {
    operand a, b;       /* b.data may be NULL */
    uint64_t n, n_cols; /* values, and of them in a row */
    float *buffers;     /* [n_threads][2][PIECE] */
    piece_fn fn;
    void *partials;
    double limit, scale; /* of the histogram pass */
    const atomic_bool *cancel;
};

static bool is_cancelled(const pass *p) {
    return p->cancel && atomic_load(p->cancel);
}

static const float *decode_piece(const pass *p, const operand *o, size_t piece, size_t n,
                                 float *buffer) {
    if (!o->data) return NULL;
    quant_decode_part(o->type, o->data, p->n_cols, piece * PIECE, n, buffer);
    return buffer;
}

static void run_piece(void *ctx, size_t piece, unsigned worker) {
    const pass *p = ctx;
    uint64_t left = p->n - (uint64_t)piece * PIECE;
    size_t n = left < PIECE ? (size_t)left : PIECE;
    float *buffer = p->buffers + (size_t)worker * 2 * PIECE;
    if (is_cancelled(p)) return;
    const float *a = decode_piece(p, &p->a, piece, n, buffer);
    const float *b = decode_piece(p, &p->b, piece, n, buffer + PIECE);
    p->fn(p, piece, a, b, n);
}

static size_t n_pieces(uint64_t n) {
    return (size_t)((n + PIECE - 1) / PIECE);
}

static gguf_code check_operand(const operand *o, uint64_t n_cols, gguf_error *err) {
    if (!quant_can_decode(o->type))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "cannot decode type %s (%u)", gguf_type_name(o->type), (unsigned)o->type);
    const gguf_type_layout *layout = gguf_type_layout_of(o->type);
    if (n_cols % layout->block_elems == 0) return GGUF_OK;
    return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                     "%llu columns are not a whole number of %s blocks", (unsigned long long)n_cols,
                     layout->name);
}

/* Partial results of partial_bytes each, zeroed. */
static gguf_code start_pass(pass *p, gguf_pool *pool, size_t partial_bytes, gguf_error *err) {
    gguf_code code = check_operand(&p->a, p->n_cols, err);
    if (!code && p->b.data) code = check_operand(&p->b, p->n_cols, err);
    if (code) return code;
    p->buffers = malloc((size_t)gguf_pool_threads(pool) * 2 * PIECE * sizeof *p->buffers);
    p->partials = calloc(n_pieces(p->n) + 1, partial_bytes);
    if (p->buffers && p->partials) return GGUF_OK;
    return gguf_fail_memory(err);
}

static void run_pass(pass *p, gguf_pool *pool, piece_fn fn) {
    p->fn = fn;
    gguf_pool_run(pool, n_pieces(p->n), run_piece, p);
}

static gguf_code end_pass(pass *p, gguf_code code, gguf_error *err) {
    free(p->buffers);
    free(p->partials);
    if (!code && is_cancelled(p))
        return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
    return code;
}

/* ---- moments ----------------------------------------------------------------------------- */

#define LANES 8

static bool is_finite(float x) {
    return fabsf(x) <= FLT_MAX;
}

static double lane_sum(const double lanes[LANES]) {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static double finite_sum(const float *x, size_t n) {
    double lanes[LANES] = {0};
    for (size_t i = 0; i < n; i++) lanes[i % LANES] += is_finite(x[i]) ? (double)x[i] : 0;
    return lane_sum(lanes);
}

static double squared_deviation(const float *x, size_t n, double mean) {
    double lanes[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        double d = is_finite(x[i]) ? (double)x[i] - mean : 0;
        lanes[i % LANES] += d * d;
    }
    return lane_sum(lanes);
}

typedef struct moments {
    uint64_t n, n_zero, n_nan, n_inf;
    double min, max, mean, sum_sq_dev;
} moments;

static void count_special(moments *m, const float *x, size_t n) {
    float lo = FLT_MAX, hi = -FLT_MAX;
    size_t zero = 0, nan = 0, inf = 0;
    for (size_t i = 0; i < n; i++) {
        bool finite = is_finite(x[i]);
        zero += x[i] == 0.0f;
        nan += x[i] != x[i];
        inf += fabsf(x[i]) > FLT_MAX;
        lo = finite && x[i] < lo ? x[i] : lo;
        hi = finite && x[i] > hi ? x[i] : hi;
    }
    *m = (moments){.n = n, .n_zero = zero, .n_nan = nan, .n_inf = inf};
    if (nan + inf == n) return;
    m->min = (double)lo;
    m->max = (double)hi;
}

static void measure_piece(const pass *p, size_t piece, const float *a, const float *b, size_t n) {
    moments *m = (moments *)p->partials + piece;
    (void)b;
    count_special(m, a, n);
    uint64_t n_finite = n - m->n_nan - m->n_inf;
    if (!n_finite) return;
    m->mean = finite_sum(a, n) / (double)n_finite;
    m->sum_sq_dev = squared_deviation(a, n, m->mean);
}

static uint64_t finite_count(const quant_stats *s) {
    return s->n - s->n_nan - s->n_inf;
}

void quant_stats_merge(quant_stats *a, const quant_stats *b) {
    double na = (double)finite_count(a), nb = (double)finite_count(b), n = na + nb;
    if (nb > 0) {
        double delta = b->mean - a->mean;
        a->min = na > 0 && a->min < b->min ? a->min : b->min;
        a->max = na > 0 && a->max > b->max ? a->max : b->max;
        a->sum_sq_dev += b->sum_sq_dev + delta * delta * (na * nb / n);
        a->mean += delta * (nb / n);
    }
    a->n += b->n;
    a->n_zero += b->n_zero;
    a->n_nan += b->n_nan;
    a->n_inf += b->n_inf;
}

static void merge_moments(quant_stats *out, const moments *m, size_t n) {
    for (size_t i = 0; i < n; i++) {
        quant_stats part = {.n = m[i].n,
                            .n_zero = m[i].n_zero,
                            .n_nan = m[i].n_nan,
                            .n_inf = m[i].n_inf,
                            .min = m[i].min,
                            .max = m[i].max,
                            .mean = m[i].mean,
                            .sum_sq_dev = m[i].sum_sq_dev};
        quant_stats_merge(out, &part);
    }
}

/* ---- histograms -------------------------------------------------------------------------- */

/* Counts of a worker's pieces: integers, so their order does not matter. */
typedef struct counts {
    uint64_t hist[QUANT_STATS_BINS], codes[QUANT_STATS_CODES];
} counts;

typedef struct count_job {
    pass *p;
    counts *workers;
} count_job;

static void count_values(const pass *p, const float *x, size_t n, uint64_t *hist) {
    float scale = (float)p->scale, limit = (float)p->limit;
    for (size_t i = 0; i < n; i++) {
        if (!is_finite(x[i])) continue;
        int bin = (int)((x[i] + limit) * scale);
        hist[bin < 0 ? 0 : bin >= QUANT_STATS_BINS ? QUANT_STATS_BINS - 1 : bin]++;
    }
}

static void count_piece(void *ctx, size_t piece, unsigned worker) {
    const count_job *job = ctx;
    const pass *p = job->p;
    uint64_t left = p->n - (uint64_t)piece * PIECE;
    size_t n = left < PIECE ? (size_t)left : PIECE;
    if (is_cancelled(p)) return;
    float *buffer = p->buffers + (size_t)worker * 2 * PIECE;
    counts *own = &job->workers[worker];
    count_values(p, decode_piece(p, &p->a, piece, n, buffer), n, own->hist);
    const gguf_type_layout *layout = gguf_type_layout_of(p->a.type);
    if (!layout->head_bytes)
        quant_code_histogram(
            p->a.type, p->a.data + piece * (PIECE / layout->block_elems) * layout->block_bytes,
            n / layout->block_elems, own->codes);
}

static void add_counts(quant_stats *out, const counts *c) {
    for (size_t i = 0; i < QUANT_STATS_BINS; i++) out->hist[i] += c->hist[i];
    for (size_t i = 0; i < QUANT_STATS_CODES; i++) out->codes[i] += c->codes[i];
}

static gguf_code count_all(pass *p, gguf_pool *pool, quant_stats *out, gguf_error *err) {
    unsigned n_workers = gguf_pool_threads(pool);
    count_job job = {p, calloc(n_workers, sizeof *job.workers)};
    if (!job.workers) return gguf_fail_memory(err);
    out->n_codes = quant_code_count(p->a.type);
    out->hist_limit = fmax(fabs(out->min), fabs(out->max));
    p->limit = out->hist_limit;
    p->scale = p->limit >= FLT_MIN ? QUANT_STATS_BINS / (2 * p->limit) : 0;
    if (p->scale > FLT_MAX) p->scale = 0;
    gguf_pool_run(pool, n_pieces(p->n), count_piece, &job);
    for (unsigned w = 0; w < n_workers; w++) add_counts(out, &job.workers[w]);
    free(job.workers);
    return GGUF_OK;
}

gguf_code quant_stats_of(uint32_t type, const void *data, uint64_t n, uint64_t n_cols,
                         gguf_pool *pool, const atomic_bool *cancel, quant_stats *out,
                         gguf_error *err) {
    pass p = {.a = {.type = type, .data = data}, .n = n, .n_cols = n_cols, .cancel = cancel};
    memset(out, 0, sizeof *out);
    gguf_code code = start_pass(&p, pool, sizeof(moments), err);
    if (!code) {
        run_pass(&p, pool, measure_piece);
        merge_moments(out, p.partials, n_pieces(n));
        code = count_all(&p, pool, out, err);
    }
    return end_pass(&p, code, err);
}

double quant_stats_std(const quant_stats *s) {
    uint64_t n = finite_count(s);
    return n ? sqrt(s->sum_sq_dev / (double)n) : 0;
}

unsigned quant_stats_codes_used(const quant_stats *s) {
    unsigned used = 0;
    for (unsigned i = 0; i < s->n_codes; i++) used += s->codes[i] > 0;
    return used;
}

double quant_stats_code_entropy(const quant_stats *s) {
    double total = 0, entropy = 0;
    for (unsigned i = 0; i < s->n_codes; i++) total += (double)s->codes[i];
    for (unsigned i = 0; i < s->n_codes; i++) {
        double share = total > 0 ? (double)s->codes[i] / total : 0;
        if (share > 0) entropy -= share * log2(share);
    }
    return entropy;
}

/* ---- comparison -------------------------------------------------------------------------- */

static void compare_piece(const pass *p, size_t piece, const float *a, const float *b, size_t n) {
    quant_difference d = {.n = n};
    double signal[LANES] = {0}, error[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        bool both = is_finite(a[i]) && is_finite(b[i]);
        bool equal = a[i] == b[i] || (a[i] != a[i] && b[i] != b[i]);
        double e = both ? (double)a[i] - (double)b[i] : 0;
        signal[i % LANES] += both ? (double)a[i] * (double)a[i] : 0;
        error[i % LANES] += e * e;
        d.max_abs = fabs(e) > d.max_abs ? fabs(e) : d.max_abs;
        d.n_unequal += !equal;
        d.n_incomparable += !equal && !both;
    }
    d.sum_sq_a = lane_sum(signal);
    d.sum_sq_error = lane_sum(error);
    ((quant_difference *)p->partials)[piece] = d;
}

static void merge_differences(quant_difference *out, const quant_difference *parts, size_t n) {
    for (size_t i = 0; i < n; i++) {
        out->n += parts[i].n;
        out->n_unequal += parts[i].n_unequal;
        out->n_incomparable += parts[i].n_incomparable;
        out->sum_sq_a += parts[i].sum_sq_a;
        out->sum_sq_error += parts[i].sum_sq_error;
        out->max_abs = fmax(out->max_abs, parts[i].max_abs);
    }
}

gguf_code quant_compare(uint32_t type_a, const void *a, uint32_t type_b, const void *b, uint64_t n,
                        uint64_t n_cols, gguf_pool *pool, const atomic_bool *cancel,
                        quant_difference *out, gguf_error *err) {
    pass p = {.a = {.type = type_a, .data = a},
              .b = {.type = type_b, .data = b},
              .n = n,
              .n_cols = n_cols,
              .cancel = cancel};
    memset(out, 0, sizeof *out);
    gguf_code code = start_pass(&p, pool, sizeof(quant_difference), err);
    if (!code) {
        run_pass(&p, pool, compare_piece);
        merge_differences(out, p.partials, n_pieces(n));
    }
    return end_pass(&p, code, err);
}

double quant_difference_relative(const quant_difference *d) {
    if (d->n_incomparable) return (double)INFINITY;
    if (d->sum_sq_error == 0) return 0;
    return sqrt(d->sum_sq_error / d->sum_sq_a);
}

double quant_difference_snr_db(const quant_difference *d) {
    if (d->n_incomparable) return -(double)INFINITY;
    return d->sum_sq_error == 0 ? (double)INFINITY : 10 * log10(d->sum_sq_a / d->sum_sq_error);
}

/* ---- defects ----------------------------------------------------------------------------- */

/* A row with a head is one block here. */
static quant_defects find_bad_rows(uint32_t type, const uint8_t *rows, uint64_t n,
                                   uint64_t n_cols) {
    size_t row_bytes = quant_row_bytes(type, n_cols);
    quant_defects found = {0, 0};
    for (uint64_t r = 0; n_cols && r < n / n_cols; r++) {
        if (quant_find_nonfinite(type, rows + r * row_bytes, 1, n_cols) == n_cols) continue;
        if (found.n_blocks++ == 0) found.first_off = r * row_bytes;
    }
    return found;
}

quant_defects quant_find_defects(uint32_t type, const void *data, uint64_t n, uint64_t n_cols) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    quant_defects found = {0, 0};
    if (layout && layout->head_bytes) return find_bad_rows(type, data, n, n_cols);
    for (uint64_t at = 0; layout && at < n;) {
        const uint8_t *from =
            (const uint8_t *)data + at / layout->block_elems * layout->block_bytes;
        at += quant_find_nonfinite(type, from, 1, (size_t)(n - at));
        if (at >= n) break;
        at = at / layout->block_elems * layout->block_elems;
        if (found.n_blocks++ == 0) found.first_off = at / layout->block_elems * layout->block_bytes;
        at += layout->block_elems;
    }
    return found;
}
