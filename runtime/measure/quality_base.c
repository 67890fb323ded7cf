/* A compact base: of each token's distribution p a sample that estimates the divergence from any
 * other distribution q without bias.
 *
 * Tokens with p >= t are in the sample for certain, the others with probability p / t, where t is
 * chosen so that the sample has the size wanted. With x = ln(p / q), the divergence is the sum of
 * p g(x), g(x) = x - 1 + exp(-x), because p and q both sum to 1; its terms are never negative, and
 * nearly x^2 / 2. So the sum over the sample, each term divided by its probability, has a relative
 * error that does not grow when the divergence gets small, which the sum of p x would have.
 * Tokens that q finds far more likely than t, and that are not certain, would be rare and heavy;
 * their part q, which the reader knows, is summed exactly.
 * (Sampling in proportion to size: D. G. Horvitz and D. J. Thompson, 1952; systematic selection
 * from a random start: W. G. Madow, 1949.) */
#include "runtime/measure/quality_internal.h"

#include "libgguf/cursor.h"
#include "libgguf/hash.h"
#include "libgguf/placeholder.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    VERSION = 1,
    ROW_HEAD_BYTES = 24,
    MIN_ENTRIES = 128,
    MAX_CODE = 65535,
    MAX_VOCAB = 1 << 24,
    HEAVY = 4 /* times t */
};

/* Smaller probabilities count as none: what they would add to a divergence is as small. */
static const double least_p = 1e-30;
static const float least_ln_p = -100; /* that a row may have */

static const char magic[4] = {'G', 'K', 'Q', 'B'};

/* The head of a row, as stored. */
typedef struct row_head {
    float nll; /* of the token that came */
    uint32_t top, n_used;
    float threshold;
    float ln_max, step; /* ln p = ln_max - step * code */
} row_head;

_Static_assert(sizeof(row_head) == ROW_HEAD_BYTES, "rows have no holes");

/* ---- layout -------------------------------------------------------------------------------------
 */

static uint32_t bits_for(uint32_t n) {
    uint32_t bits = 1;
    while (bits < 32 && (UINT64_C(1) << bits) < n) bits++;
    return bits;
}

static uint32_t row_bytes_of(uint32_t n_entries, uint32_t id_bits) {
    return ROW_HEAD_BYTES + 2 * n_entries + (n_entries * id_bits + 7) / 8;
}

/* One per cent of two bytes for every token of the vocabulary. */
rt_base_layout rt_base_layout_of(uint32_t n_vocab) {
    rt_base_layout l = {.n_vocab = n_vocab, .id_bits = bits_for(n_vocab)};
    uint64_t budget = (uint64_t)n_vocab * 2 * 99 / 10000;
    uint64_t n =
        budget > ROW_HEAD_BYTES + 1 ? (budget - ROW_HEAD_BYTES - 1) * 8 / (l.id_bits + 16) : 0;
    if (n < MIN_ENTRIES) n = MIN_ENTRIES;
    if (n > n_vocab) n = n_vocab;
    l.n_entries = (uint32_t)n;
    l.row_bytes = row_bytes_of(l.n_entries, l.id_bits);
    return l;
}

static void put_u32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(value >> 8 * i);
}

static void put_u64(uint8_t *out, uint64_t value) {
    put_u32(out, (uint32_t)value);
    put_u32(out + 4, (uint32_t)(value >> 32));
}

void rt_base_put_header(const rt_base_layout *l, uint64_t hash, uint8_t *out) {
    memset(out, 0, RT_BASE_HEADER_BYTES);
    memcpy(out, magic, sizeof magic);
    put_u32(out + 4, VERSION);
    put_u64(out + 8, hash);
    put_u64(out + 16, l->tokens_hash);
    put_u64(out + 24, l->n_rows);
    put_u32(out + 32, l->n_vocab);
    put_u32(out + 36, l->n_ctx);
    put_u32(out + 40, (uint32_t)l->bos);
    put_u32(out + 44, l->n_entries);
}

/* ---- rows: packing ------------------------------------------------------------------------------
 */

static uint32_t get_code(const uint8_t *row, uint32_t i) {
    const uint8_t *at = row + ROW_HEAD_BYTES + 2 * (size_t)i;
    return at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get_id(const rt_base_layout *l, const uint8_t *row, uint32_t i) {
    const uint8_t *ids = row + ROW_HEAD_BYTES + 2 * (size_t)l->n_entries;
    uint32_t id = 0;
    for (uint32_t b = 0; b < l->id_bits; b++) {
        size_t bit = (size_t)i * l->id_bits + b;
        id |= (uint32_t)(ids[bit / 8] >> bit % 8 & 1) << b;
    }
    return id;
}

static void put_entry(const rt_base_layout *l, uint8_t *row, uint32_t i, uint32_t id,
                      uint32_t code) {
    uint8_t *codes = row + ROW_HEAD_BYTES + 2 * (size_t)i;
    uint8_t *ids = row + ROW_HEAD_BYTES + 2 * (size_t)l->n_entries;
    codes[0] = (uint8_t)code;
    codes[1] = (uint8_t)(code >> 8);
    for (uint32_t b = 0; b < l->id_bits; b++) {
        size_t bit = (size_t)i * l->id_bits + b;
        ids[bit / 8] |= (uint8_t)((id >> b & 1) << bit % 8);
    }
}

static uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float bits_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void put_head(const row_head *h, uint8_t *row) {
    put_u32(row, float_bits(h->nll));
    put_u32(row + 4, h->top);
    put_u32(row + 8, h->n_used);
    put_u32(row + 12, float_bits(h->threshold));
    put_u32(row + 16, float_bits(h->ln_max));
    put_u32(row + 20, float_bits(h->step));
}

static row_head get_head(const uint8_t *row) {
    uint32_t words[ROW_HEAD_BYTES / 4];
    for (size_t i = 0; i < ROW_HEAD_BYTES / 4; i++)
        words[i] = row[4 * i] | (uint32_t)row[4 * i + 1] << 8 | (uint32_t)row[4 * i + 2] << 16 |
                   (uint32_t)row[4 * i + 3] << 24;
    return (row_head){
        bits_float(words[0]), words[1], words[2], bits_float(words[3]), bits_float(words[4]),
        bits_float(words[5])};
}

/* ---- rows: sampling -----------------------------------------------------------------------------
 */

/* The t with sum min(1, p / t) = n_wanted; 0 if every token with a probability fits. Every round
 * finds more that are certain, until none is new. */
static double threshold_of(const double *p, uint32_t n, uint32_t n_wanted) {
    uint32_t n_certain = 0, before;
    double t = 1.0 / n_wanted;
    if (n <= n_wanted) return 0;
    do {
        double rest = 0;
        before = n_certain;
        n_certain = 0;
        for (uint32_t i = 0; i < n; i++) {
            n_certain += p[i] >= t;
            if (p[i] < t) rest += p[i];
        }
        if (rest <= 0 || n_certain >= n_wanted) return 0;
        t = rest / (n_wanted - n_certain);
    } while (n_certain > before);
    return t;
}

/* A number in [0, 1) that depends on the row alone (the finaliser of splitmix64). */
static double random_start(uint64_t row) {
    uint64_t z = (row + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* Walks over the tokens and says which are in the sample. */
typedef struct selector {
    double t, place;
} selector;

static bool takes(selector *s, double p) {
    if (p <= 0) return false;
    if (p >= s->t) return true;
    s->place += p / s->t;
    if (s->place < 1) return false;
    s->place -= 1;
    return true;
}

static uint32_t code_of(const row_head *h, double ln_p) {
    double code = h->step > 0 ? round((h->ln_max - ln_p) / h->step) : 0;
    return code < 0 ? 0 : code > MAX_CODE ? MAX_CODE : (uint32_t)code;
}

/* The least ln p in the sample, which fixes the step. */
static double least_of_sample(const rt_distribution *d, const double *p, selector s) {
    double least = rt_ln_p(d, d->top);
    for (uint32_t i = 0; i < d->n; i++)
        if (takes(&s, p[i])) least = fmin(least, rt_ln_p(d, i));
    return least;
}

void rt_base_put_row(const rt_base_layout *l, const rt_distribution *d, int32_t target,
                     uint64_t number, double *p, uint8_t *row) {
    for (uint32_t i = 0; i < d->n; i++) {
        p[i] = exp(rt_ln_p(d, i));
        if (p[i] < least_p) p[i] = 0;
    }
    selector s = {threshold_of(p, d->n, l->n_entries), random_start(number)};
    double most = rt_ln_p(d, d->top);
    row_head h = {.nll = (float)-rt_ln_p(d, (uint32_t)target),
                  .top = d->top,
                  .threshold = (float)s.t,
                  .ln_max = (float)most};
    h.step = (float)((most - least_of_sample(d, p, s)) / MAX_CODE);
    memset(row, 0, l->row_bytes);
    for (uint32_t i = 0; i < d->n && h.n_used < l->n_entries; i++)
        if (takes(&s, p[i])) put_entry(l, row, h.n_used++, i, code_of(&h, rt_ln_p(d, i)));
    put_head(&h, row);
}

/* ---- rows: estimating ---------------------------------------------------------------------------
 */

static bool is_heavy(const row_head *h, double q) {
    return q > HEAVY * (double)h->threshold;
}

/* What q gives to all tokens that it finds heavy. */
static double heavy_mass(const row_head *h, const rt_distribution *q) {
    double sum = 0;
    for (uint32_t i = 0; i < q->n; i++) {
        double mass = exp(rt_ln_p(q, i));
        if (is_heavy(h, mass)) sum += mass;
    }
    return sum;
}

static double estimate(const rt_base_layout *l, const uint8_t *row, const row_head *h,
                       const rt_distribution *q) {
    double sum = 0, heavy = heavy_mass(h, q);
    for (uint32_t i = 0; i < h->n_used; i++) {
        double ln_p = h->ln_max - (double)h->step * get_code(row, i), p = exp(ln_p);
        double ln_q = rt_ln_p(q, get_id(l, row, i)), mass = exp(ln_q), x = ln_p - ln_q;
        bool certain = p >= (double)h->threshold;
        double weight = certain ? p : (double)h->threshold;
        if (certain || !is_heavy(h, mass))
            sum += weight * (x + expm1(-x));
        else
            sum += weight * (x - 1);
        if (certain && is_heavy(h, mass)) heavy -= mass; /* is in its term already */
    }
    return sum + heavy;
}

void rt_base_score(const rt_base_layout *l, const uint8_t *row, const rt_distribution *q,
                   rt_token_score *score) {
    row_head h = get_head(row);
    score->base_nll = (double)h.nll;
    score->kld = estimate(l, row, &h, q);
    score->same_top = h.top == q->top;
}

/* ---- reading ------------------------------------------------------------------------------------
 */

static gguf_code read_header(gguf_cursor *c, rt_base_layout *l, uint64_t *hash) {
    const uint8_t *start = gguf_cursor_take(c, sizeof magic, "the magic");
    if (start && memcmp(start, magic, sizeof magic) != 0)
        return gguf_cursor_fail(c, GGUF_E_FORMAT, 0, "neither a GGUF file nor a saved base");
    uint32_t version = gguf_cursor_u32(c, "the version");
    if (!c->code && version != VERSION)
        return gguf_cursor_fail(c, GGUF_E_UNSUPPORTED, 4, "version %" PRIu32 " of a saved base",
                                version);
    *hash = gguf_cursor_u64(c, "the hash");
    l->tokens_hash = gguf_cursor_u64(c, "the hash of the tokens");
    l->n_rows = gguf_cursor_u64(c, "the number of rows");
    l->n_vocab = gguf_cursor_u32(c, "the vocabulary's size");
    l->n_ctx = gguf_cursor_u32(c, "the length of a chunk");
    l->bos = (int32_t)gguf_cursor_u32(c, "the begin token");
    l->n_entries = gguf_cursor_u32(c, "the number of entries");
    gguf_cursor_take(c, RT_BASE_HEADER_BYTES - 48, "the header");
    return c->code;
}

static gguf_code check_header(gguf_cursor *c, rt_base_layout *l) {
    if (l->n_vocab < 1 || l->n_vocab > MAX_VOCAB)
        return gguf_cursor_fail(c, GGUF_E_LIMIT, 32, "a vocabulary of %" PRIu32, l->n_vocab);
    if (l->n_ctx < 3)
        return gguf_cursor_fail(c, GGUF_E_FORMAT, 36, "chunks of %" PRIu32 " tokens", l->n_ctx);
    if (l->bos < -1 || (l->bos >= 0 && (uint32_t)l->bos >= l->n_vocab))
        return gguf_cursor_fail(c, GGUF_E_FORMAT, 40, "%" PRId32 " as begin token", l->bos);
    if (l->n_entries < 1 || l->n_entries > l->n_vocab || l->n_entries > MAX_CODE)
        return gguf_cursor_fail(c, GGUF_E_FORMAT, 44, "%" PRIu32 " entries in a row", l->n_entries);
    l->id_bits = bits_for(l->n_vocab);
    l->row_bytes = row_bytes_of(l->n_entries, l->id_bits);
    uint64_t left = gguf_cursor_left(c);
    if (!l->n_rows || left / l->row_bytes != l->n_rows || left % l->row_bytes)
        return gguf_cursor_fail(c, GGUF_E_TRUNCATED, c->pos,
                                "%" PRIu64 " bytes are not %" PRIu64 " rows of %" PRIu32, left,
                                l->n_rows, l->row_bytes);
    return GGUF_OK;
}

static const char *row_fault(const rt_base_layout *l, const uint8_t *row) {
    row_head h = get_head(row);
    if (h.n_used > l->n_entries) return "more entries than a row has room for";
    if (h.top >= l->n_vocab) return "a token outside the vocabulary";
    if (!(h.nll >= 0) || !isfinite(h.nll) || !(h.threshold >= 0) || !(h.threshold <= 1) ||
        !(h.step >= 0) || !(h.ln_max <= 1e-3f) || !(h.ln_max - MAX_CODE * h.step >= least_ln_p))
        return "a number out of range";
    for (uint32_t i = 0, before = 0; i < h.n_used; i++) {
        uint32_t id = get_id(l, row, i);
        if (id >= l->n_vocab) return "a token outside the vocabulary";
        if (i && id <= before) return "tokens that do not rise";
        before = id;
    }
    return NULL;
}

static gguf_code check_rows(gguf_cursor *c, rt_quality_base *base) {
    const rt_base_layout *l = &base->layout;
    uint64_t n_bytes = l->n_rows * l->row_bytes, start = c->pos;
    base->rows = gguf_cursor_take(c, n_bytes, "the rows");
    for (uint64_t i = 0; i < l->n_rows && !c->code; i++) {
        const char *fault = row_fault(l, base->rows + i * l->row_bytes);
        if (fault)
            gguf_cursor_fail(c, GGUF_E_FORMAT, start + i * l->row_bytes, "row %" PRIu64 " has %s",
                             i, fault);
    }
    return c->code;
}

gguf_code rt_quality_base_open(const char *path, rt_quality_base **out, gguf_error *err) {
    rt_quality_base *base = calloc(1, sizeof *base);
    uint64_t hash = 0;
    *out = NULL;
    if (!base) return gguf_fail_memory(err);
    gguf_code code = gguf_map_open(path, &base->map, err);
    gguf_cursor c = {.base = base->map.data, .len = base->map.n_bytes, .file = path, .err = err};
    if (!code) code = gguf_placeholder_check(c.base, c.len, GGUF_EXPECTED_BINARY, path, err);
    if (!code) code = read_header(&c, &base->layout, &hash);
    if (!code) code = check_header(&c, &base->layout);
    if (!code && gguf_xxh3(c.base + RT_BASE_HASHED_FROM, c.len - RT_BASE_HASHED_FROM, 0) != hash)
        code = gguf_cursor_fail(&c, GGUF_E_FORMAT, 8, "the file does not have its hash");
    if (!code) code = check_rows(&c, base);
    if (code)
        rt_quality_base_close(base);
    else
        *out = base;
    return code;
}

void rt_quality_base_close(rt_quality_base *base) {
    if (!base) return;
    gguf_map_close(&base->map);
    free(base);
}
