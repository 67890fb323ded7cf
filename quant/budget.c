/* The knapsack in two steps: a Lagrange multiplier on bytes gives a bound and a good start, dynamic
 * programming over the bytes left gives the best selection up to the rounding of sizes to units.
 * Sinha and Zoltners, "The multiple-choice knapsack problem", Operations Research 27 (1979). */
#include "quant/budget.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_UNITS     60000
#define MAX_CHOICES   255 /* a choice is remembered in a byte */
#define N_BISECTIONS  100
#define DP_ROOM_BYTES ((size_t)64 << 20)

typedef struct solver {
    quant_budget_item *items;
    size_t n_items;
    uint64_t max_bytes, min_bytes; /* of the smallest choices */
} solver;

static const quant_choice *chosen_of(const quant_budget_item *item) {
    return &item->choices[item->chosen];
}

static uint64_t total_bytes(const solver *s) {
    uint64_t n = 0;
    for (size_t i = 0; i < s->n_items; i++) n += chosen_of(&s->items[i])->n_bytes;
    return n;
}

static double total_damage(const solver *s) {
    double sum = 0;
    for (size_t i = 0; i < s->n_items; i++) sum += chosen_of(&s->items[i])->damage;
    return sum;
}

static size_t smallest_choice(const quant_budget_item *item) {
    size_t best = 0;
    for (size_t c = 1; c < item->n_choices; c++) {
        const quant_choice *a = &item->choices[c], *b = &item->choices[best];
        if (a->n_bytes < b->n_bytes || (a->n_bytes == b->n_bytes && a->damage < b->damage))
            best = c;
    }
    return best;
}

/* ---- the multiplier ---------------------------------------------------------------------- */

/* For each item the choice with the least damage + price * bytes; the sum of these. */
static double choose_at_price(solver *s, double price) {
    double sum = 0;
    for (size_t i = 0; i < s->n_items; i++) {
        quant_budget_item *item = &s->items[i];
        double best = 0;
        for (size_t c = 0; c < item->n_choices; c++) {
            double cost = item->choices[c].damage + price * (double)item->choices[c].n_bytes;
            bool tie =
                c && cost == best && item->choices[c].n_bytes < item->choices[item->chosen].n_bytes;
            if (c == 0 || cost < best || tie) {
                best = cost;
                item->chosen = c;
            }
        }
        sum += best;
    }
    return sum;
}

/* The lowest price at which the selection fits; *bound is the best that the prices prove. */
static void choose_by_price(solver *s, double *bound) {
    double low = 0, high = 1e-18;
    *bound = choose_at_price(s, 0);
    if (total_bytes(s) <= s->max_bytes) return;
    for (int i = 0; i < N_BISECTIONS; i++, high *= 4) {
        choose_at_price(s, high);
        if (total_bytes(s) <= s->max_bytes) break;
    }
    for (int i = 0; i < N_BISECTIONS; i++) {
        double middle = low + (high - low) / 2;
        double value = choose_at_price(s, middle) - middle * (double)s->max_bytes;
        if (value > *bound) *bound = value;
        if (total_bytes(s) <= s->max_bytes)
            high = middle;
        else
            low = middle;
    }
    choose_at_price(s, high);
}

/* Spend what is left: the change that saves most damage per byte, again and again. */
static void fill(solver *s) {
    for (uint64_t left = s->max_bytes - total_bytes(s);;) {
        quant_budget_item *best_item = NULL;
        size_t best = 0;
        double best_rate = 0;
        for (size_t i = 0; i < s->n_items; i++)
            for (size_t c = 0; c < s->items[i].n_choices; c++) {
                const quant_choice *now = chosen_of(&s->items[i]), *to = &s->items[i].choices[c];
                double gain = now->damage - to->damage;
                uint64_t more = to->n_bytes > now->n_bytes ? to->n_bytes - now->n_bytes : 0;
                if (gain <= 0 || more > left) continue;
                double rate = gain / ((double)more + 1);
                if (rate <= best_rate) continue;
                best_rate = rate;
                best_item = &s->items[i];
                best = c;
            }
        if (!best_item) return;
        left += chosen_of(best_item)->n_bytes;
        best_item->chosen = best;
        left -= chosen_of(best_item)->n_bytes;
    }
}

/* ---- dynamic programming ----------------------------------------------------------------- */

static uint64_t gcd(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static uint64_t extra_bytes(const quant_budget_item *item, size_t choice) {
    return item->choices[choice].n_bytes - item->choices[smallest_choice(item)].n_bytes;
}

/* Bytes of a unit: all sizes are multiples of it, or it is as small as the room allows. */
static uint64_t unit_bytes(const solver *s) {
    uint64_t unit = 0, spare = s->max_bytes - s->min_bytes;
    for (size_t i = 0; i < s->n_items; i++)
        for (size_t c = 0; c < s->items[i].n_choices; c++)
            unit = gcd(unit, extra_bytes(&s->items[i], c));
    size_t max_units = DP_ROOM_BYTES / (s->n_items + 1);
    if (max_units > MAX_UNITS) max_units = MAX_UNITS;
    if (!unit) unit = 1;
    return spare / unit <= max_units ? unit : spare / max_units + 1;
}

typedef struct table {
    size_t n_units; /* spare room, rounded down */
    uint64_t unit;
    double *least, *next; /* [n_units + 1] damage of the items so far within so many units */
    uint8_t *choice;      /* [n_items][n_units + 1] */
} table;

static void add_item(const quant_budget_item *item, table *t, uint8_t *choice) {
    for (size_t u = 0; u <= t->n_units; u++) t->next[u] = -1;
    for (size_t c = 0; c < item->n_choices && c < MAX_CHOICES; c++) {
        uint64_t units = (extra_bytes(item, c) + t->unit - 1) / t->unit;
        double damage = item->choices[c].damage;
        for (size_t u = (size_t)units; units <= t->n_units && u <= t->n_units; u++) {
            double sum = t->least[u - units] + damage;
            if (t->next[u] >= 0 && sum >= t->next[u]) continue;
            t->next[u] = sum;
            choice[u] = (uint8_t)c;
        }
    }
    double *swap = t->least;
    t->least = t->next;
    t->next = swap;
}

static void walk_back(solver *s, const table *t) {
    size_t u = t->n_units;
    for (size_t i = s->n_items; i-- > 0;) {
        quant_budget_item *item = &s->items[i];
        item->chosen = t->choice[i * (t->n_units + 1) + u];
        u -= (size_t)((extra_bytes(item, item->chosen) + t->unit - 1) / t->unit);
    }
}

static gguf_code choose_by_table(solver *s, gguf_error *err) {
    table t = {.unit = unit_bytes(s)};
    t.n_units = (size_t)((s->max_bytes - s->min_bytes) / t.unit);
    t.least = calloc(t.n_units + 1, sizeof *t.least);
    t.next = calloc(t.n_units + 1, sizeof *t.next);
    t.choice = calloc(s->n_items, t.n_units + 1);
    gguf_code code = t.least && t.next && t.choice ? GGUF_OK : gguf_fail_memory(err);
    for (size_t i = 0; i < s->n_items && !code; i++)
        add_item(&s->items[i], &t, t.choice + i * (t.n_units + 1));
    if (!code) walk_back(s, &t);
    free(t.least);
    free(t.next);
    free(t.choice);
    return code;
}

/* ---- both -------------------------------------------------------------------------------- */

static gguf_code check_room(solver *s, gguf_error *err) {
    for (size_t i = 0; i < s->n_items; i++) s->items[i].chosen = smallest_choice(&s->items[i]);
    s->min_bytes = total_bytes(s);
    if (s->min_bytes <= s->max_bytes) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "the tensors need at least %" PRIu64 " bytes, the target leaves them %" PRIu64,
                     s->min_bytes, s->max_bytes);
}

static void remember(const solver *s, size_t *chosen) {
    for (size_t i = 0; i < s->n_items; i++) chosen[i] = s->items[i].chosen;
}

gguf_code quant_budget_solve(quant_budget_item *items, size_t n_items, uint64_t max_bytes,
                             quant_budget_result *result, gguf_error *err) {
    solver s = {.items = items, .n_items = n_items, .max_bytes = max_bytes};
    *result = (quant_budget_result){0};
    if (n_items == 0) return GGUF_OK;
    size_t *by_price = calloc(n_items, sizeof *by_price);
    if (!by_price) return gguf_fail_memory(err);
    gguf_code code = check_room(&s, err);
    if (!code) {
        choose_by_price(&s, &result->bound);
        fill(&s);
        remember(&s, by_price);
        double damage = total_damage(&s);
        code = choose_by_table(&s, err);
        if (!code) fill(&s);
        if (!code && total_damage(&s) > damage)
            for (size_t i = 0; i < n_items; i++) items[i].chosen = by_price[i];
        result->n_bytes = total_bytes(&s);
        result->damage = total_damage(&s);
    }
    free(by_price);
    return code;
}
