/* Following texts through a grammar. A set of configurations (a state and a stack each) is made
 * once and known by a number, as are the steps between sets and the tokens that each admits. */
#include "libgguf/hash.h"
#include "runtime/chat/grammar_channels.h"
#include "runtime/chat/grammar_internal.h"
#include "runtime/chat/token_table.h"

#include <stdlib.h>
#include <string.h>

/* What is kept for a grammar: beyond the first, all is forgotten when no text is being followed;
 * beyond half of the second no more masks are kept, beyond it texts fail. */
#define FORGET_BYTES (64u << 20)
#define MOST_BYTES   (512u << 20)
/* Configurations of a set: more ways at once mean a grammar that is ambiguous without end. */
#define MAX_CONFIGS 16384
#define MAX_STACK   4096

enum { DEAD = 0, UNKNOWN = UINT32_MAX, SEVERAL = UINT32_MAX - 1 };

/* The state that a rule returns to, on top of others; 0 is the empty stack. */
typedef struct stack_node {
    uint32_t parent, state, depth;
} stack_node;

typedef struct config {
    uint32_t state, stack;
} config;

typedef struct config_set {
    config *configs; /* [n] in order, each at a byte */
    uint32_t n;
    bool accepts;
    uint32_t plain; /* where every byte of plain text (token_table.h) leads, or SEVERAL sets */
    uint32_t text;  /* where every character of plain text leads, or SEVERAL sets */
    uint32_t *next; /* [n_classes] sets; or NULL, none is known */
    uint64_t *mask; /* or NULL */
    const rt_token_table *table;
} config_set;

struct rt_follow {
    config_set *sets;
    uint32_t n_sets, sets_room;
    stack_node *stacks;
    uint32_t n_stacks, stacks_room;
    uint32_t *set_table, *stack_table; /* open addressing: numbers plus 1 */
    uint32_t set_size, stack_size;
    uint32_t first; /* the set of an empty text */
    size_t n_bytes; /* in all */
    unsigned n_matchers;
    bool failed;

    /* Work on one set. */
    config *todo, *found;
    size_t n_todo, n_found, todo_room, found_room;
    uint32_t *seen; /* [seen_size] open addressing: numbers of found plus 1 */
    size_t seen_size;
    bool accepts;
    uint32_t *path;  /* [RT_TOKEN_MAX_BYTES + 1] sets behind each byte of a token */
    uint32_t *chain; /* [RT_TOKEN_MAX_BYTES + 1] sets behind each character of plain text */
};

void rt_follow_free(rt_follow *f) {
    if (!f) return;
    for (uint32_t i = 0; i < f->n_sets; i++) {
        free(f->sets[i].configs);
        free(f->sets[i].next);
        free(f->sets[i].mask);
    }
    void *const blocks[] = {f->sets,  f->stacks, f->set_table, f->stack_table, f->todo,
                            f->found, f->seen,   f->path,      f->chain};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) free(blocks[i]);
    free(f);
}

static bool grow(rt_follow *f, void **items, size_t *room, size_t n, size_t size) {
    if (n <= *room) return true;
    size_t wanted = 2 * n + 64;
    void *grown = f->failed ? NULL : realloc(*items, wanted * size);
    if (!grown) {
        f->failed = true;
        return false;
    }
    f->n_bytes += (wanted - *room) * size;
    *items = grown;
    *room = wanted;
    if (f->n_bytes > MOST_BYTES) f->failed = true;
    return true;
}

static bool grow32(rt_follow *f, void **items, uint32_t *room, size_t n, size_t size) {
    size_t wide = *room;
    bool good = grow(f, items, &wide, n, size);
    *room = (uint32_t)wide;
    return good;
}

/* ---- stacks ------------------------------------------------------------------------------ */

static uint32_t hash_pair(uint32_t a, uint32_t b) {
    uint64_t x = ((uint64_t)a << 32 | b) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(x >> 32);
}

static bool double_stack_table(rt_follow *f) {
    uint32_t size = f->stack_size ? 2 * f->stack_size : 256;
    uint32_t *table = calloc(size, sizeof *table);
    if (!table) return !(f->failed = true);
    for (uint32_t i = 1; i < f->n_stacks; i++) {
        uint32_t at = hash_pair(f->stacks[i].parent, f->stacks[i].state) & (size - 1);
        while (table[at]) at = (at + 1) & (size - 1);
        table[at] = i + 1;
    }
    free(f->stack_table);
    f->n_bytes += (size - f->stack_size) * sizeof *table;
    f->stack_table = table;
    f->stack_size = size;
    return true;
}

/* UINT32_MAX: it is too high, or there is no memory. */
static uint32_t push(rt_follow *f, uint32_t parent, uint32_t state) {
    if (2 * (f->n_stacks + 1) > f->stack_size && !double_stack_table(f)) return UINT32_MAX;
    uint32_t at = hash_pair(parent, state) & (f->stack_size - 1);
    for (; f->stack_table[at]; at = (at + 1) & (f->stack_size - 1)) {
        const stack_node *s = &f->stacks[f->stack_table[at] - 1];
        if (s->parent == parent && s->state == state) return f->stack_table[at] - 1;
    }
    if (f->stacks[parent].depth >= MAX_STACK || !grow32(f, (void **)&f->stacks, &f->stacks_room,
                                                        f->n_stacks + (size_t)1, sizeof *f->stacks))
        return UINT32_MAX;
    f->stacks[f->n_stacks] = (stack_node){parent, state, f->stacks[parent].depth + 1};
    f->stack_table[at] = ++f->n_stacks;
    return f->n_stacks - 1;
}

/* ---- sets -------------------------------------------------------------------------------- */

static bool double_seen(rt_follow *f) {
    size_t size = f->seen_size ? 2 * f->seen_size : 256;
    uint32_t *seen = calloc(size, sizeof *seen);
    if (!seen) return !(f->failed = true);
    for (size_t i = 0; i < f->n_found; i++) {
        size_t at = hash_pair(f->found[i].state, f->found[i].stack) & (size - 1);
        while (seen[at]) at = (at + 1) & (size - 1);
        seen[at] = (uint32_t)i + 1;
    }
    free(f->seen);
    f->seen = seen;
    f->seen_size = size;
    return true;
}

/* Add a configuration that was not met yet. */
static void meet(rt_follow *f, uint32_t state, uint32_t stack) {
    if (f->failed || (2 * (f->n_found + 1) > f->seen_size && !double_seen(f))) return;
    size_t at = hash_pair(state, stack) & (f->seen_size - 1);
    for (; f->seen[at]; at = (at + 1) & (f->seen_size - 1)) {
        config c = f->found[f->seen[at] - 1];
        if (c.state == state && c.stack == stack) return;
    }
    if (f->n_found >= MAX_CONFIGS ||
        !grow(f, (void **)&f->found, &f->found_room, f->n_found + 1, sizeof *f->found) ||
        !grow(f, (void **)&f->todo, &f->todo_room, f->n_todo + 1, sizeof *f->todo)) {
        f->failed = true;
        return;
    }
    f->found[f->n_found++] = (config){state, stack};
    f->seen[at] = (uint32_t)f->n_found;
    f->todo[f->n_todo++] = (config){state, stack};
}

static bool returns(const rt_grammar *g, uint32_t state) {
    return g->states[state].kind == RT_STATE_RETURN;
}

/* Go on from one configuration as far as no byte is needed. A call that is the last thing of its
 * rule leaves nothing on the stack. */
static void expand(const rt_grammar *g, rt_follow *f, config c) {
    const rt_state *s = &g->states[c.state];
    switch (s->kind) {
    case RT_STATE_SPLIT:
        meet(f, s->a, c.stack);
        if (s->b != s->a) meet(f, s->b, c.stack);
        break;
    case RT_STATE_CALL: {
        uint32_t stack = returns(g, s->a) ? c.stack : push(f, c.stack, s->a);
        if (stack != UINT32_MAX) meet(f, s->b, stack);
        break;
    }
    case RT_STATE_RETURN:
        if (c.stack)
            meet(f, f->stacks[c.stack].state, f->stacks[c.stack].parent);
        else
            f->accepts = true;
        break;
    default:
        break;
    }
}

static int by_value(const void *a, const void *b) {
    const config *x = a, *y = b;
    if (x->state != y->state) return x->state < y->state ? -1 : 1;
    return x->stack < y->stack ? -1 : x->stack > y->stack;
}

static void begin_set(rt_follow *f) {
    f->n_found = f->n_todo = 0;
    f->accepts = false;
    if (f->seen) memset(f->seen, 0, f->seen_size * sizeof *f->seen);
}

static uint32_t hash_set(const config *configs, size_t n, bool accepts) {
    return (uint32_t)gguf_xxh3(n ? (const void *)configs : "", n * sizeof *configs, accepts);
}

static bool double_set_table(rt_follow *f) {
    uint32_t size = f->set_size ? 2 * f->set_size : 256;
    uint32_t *table = calloc(size, sizeof *table);
    if (!table) return !(f->failed = true);
    for (uint32_t i = 1; i < f->n_sets; i++) {
        const config_set *s = &f->sets[i];
        uint32_t at = hash_set(s->configs, s->n, s->accepts) & (size - 1);
        while (table[at]) at = (at + 1) & (size - 1);
        table[at] = i + 1;
    }
    free(f->set_table);
    f->set_table = table;
    f->set_size = size;
    return true;
}

/* The number of the set that was begun; DEAD for an empty one, or without memory. */
static uint32_t end_set(const rt_grammar *g, rt_follow *f) {
    size_t n = 0;
    while (f->n_todo) expand(g, f, f->todo[--f->n_todo]);
    for (size_t i = 0; i < f->n_found; i++)
        if (g->states[f->found[i].state].kind == RT_STATE_BYTE) f->found[n++] = f->found[i];
    if (f->failed || (n == 0 && !f->accepts)) return DEAD;
    if (n > 1) qsort(f->found, n, sizeof *f->found, by_value);
    if (2 * (f->n_sets + 1) > f->set_size && !double_set_table(f)) return DEAD;
    uint32_t at = hash_set(f->found, n, f->accepts) & (f->set_size - 1);
    for (; f->set_table[at]; at = (at + 1) & (f->set_size - 1)) {
        const config_set *s = &f->sets[f->set_table[at] - 1];
        if (s->n == n && s->accepts == f->accepts &&
            (n == 0 || memcmp(s->configs, f->found, n * sizeof *s->configs) == 0))
            return f->set_table[at] - 1;
    }
    config *copy = malloc((n + 1) * sizeof *copy);
    if (!copy ||
        !grow32(f, (void **)&f->sets, &f->sets_room, f->n_sets + (size_t)1, sizeof *f->sets)) {
        f->failed = true;
        free(copy);
        return DEAD;
    }
    if (n) memcpy(copy, f->found, n * sizeof *copy);
    f->n_bytes += (n + 1) * sizeof *copy;
    f->sets[f->n_sets] = (config_set){.configs = copy,
                                      .n = (uint32_t)n,
                                      .accepts = f->accepts,
                                      .plain = UNKNOWN,
                                      .text = UNKNOWN};
    f->set_table[at] = ++f->n_sets;
    return f->n_sets - 1;
}

static uint32_t make_step(const rt_grammar *g, rt_follow *f, uint32_t set, unsigned class) {
    uint8_t byte = g->samples[class];
    begin_set(f);
    for (uint32_t i = 0; i < f->sets[set].n; i++) {
        config c = f->sets[set].configs[i];
        const rt_state *s = &g->states[c.state];
        if (s->lo <= byte && byte <= s->hi) meet(f, s->a, c.stack);
    }
    uint32_t next = end_set(g, f);
    if (!f->failed) f->sets[set].next[class] = next;
    return next;
}

static uint32_t step(const rt_grammar *g, rt_follow *f, uint32_t set, uint8_t byte) {
    if (set == DEAD || f->failed) return DEAD;
    if (!f->sets[set].next) {
        uint32_t *next = malloc(g->n_classes * sizeof *next);
        if (!next) {
            f->failed = true;
            return DEAD;
        }
        for (unsigned i = 0; i < g->n_classes; i++) next[i] = UNKNOWN;
        f->n_bytes += g->n_classes * sizeof *next;
        f->sets[set].next = next;
    }
    uint32_t next = f->sets[set].next[g->classes[byte]];
    return next != UNKNOWN ? next : make_step(g, f, set, g->classes[byte]);
}

/* ---- what is kept ------------------------------------------------------------------------ */

static rt_follow *follow_new(const rt_grammar *g) {
    rt_follow *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    f->path = malloc((RT_TOKEN_MAX_BYTES + 1) * sizeof *f->path);
    f->chain = malloc((RT_TOKEN_MAX_BYTES + 1) * sizeof *f->chain);
    bool fits = f->path && f->chain &&
                grow32(f, (void **)&f->sets, &f->sets_room, 1, sizeof *f->sets) &&
                grow32(f, (void **)&f->stacks, &f->stacks_room, 1, sizeof *f->stacks);
    if (!fits) {
        rt_follow_free(f);
        return NULL;
    }
    f->sets[f->n_sets++] = (config_set){0};
    f->stacks[f->n_stacks++] = (stack_node){0};
    begin_set(f);
    meet(f, g->start, 0);
    f->first = end_set(g, f);
    return f;
}

void rt_matcher_init(rt_matcher *m, rt_grammar *grammar) {
    *m = (rt_matcher){.grammar = rt_grammar_ref(grammar)};
    pthread_mutex_lock(&grammar->lock);
    rt_follow *f = grammar->follow;
    if (f && f->n_matchers == 0 && (f->n_bytes > FORGET_BYTES || f->failed)) {
        rt_follow_free(f);
        f = NULL;
    }
    if (!f) f = follow_new(grammar);
    grammar->follow = f;
    if (f) f->n_matchers++;
    m->state = f ? f->first : DEAD;
    m->failed = m->state == DEAD;
    pthread_mutex_unlock(&grammar->lock);
}

void rt_matcher_clear(rt_matcher *m) {
    if (!m->grammar) return;
    pthread_mutex_lock(&m->grammar->lock);
    if (m->grammar->follow) m->grammar->follow->n_matchers--;
    pthread_mutex_unlock(&m->grammar->lock);
    rt_grammar_unref(m->grammar);
    *m = (rt_matcher){0};
}

bool rt_matcher_take(rt_matcher *m, const char *bytes, size_t n) {
    pthread_mutex_lock(&m->grammar->lock);
    for (size_t i = 0; i < n && !m->failed; i++) {
        m->state = step(m->grammar, m->grammar->follow, m->state, (uint8_t)bytes[i]);
        m->failed = m->state == DEAD;
    }
    pthread_mutex_unlock(&m->grammar->lock);
    return !m->failed;
}

bool rt_matcher_may_end(rt_matcher *m) {
    if (m->failed) return false;
    pthread_mutex_lock(&m->grammar->lock);
    bool ends = m->grammar->follow->sets[m->state].accepts;
    pthread_mutex_unlock(&m->grammar->lock);
    return ends;
}

bool rt_matcher_must_end(rt_matcher *m) {
    if (m->failed) return false;
    pthread_mutex_lock(&m->grammar->lock);
    const config_set *s = &m->grammar->follow->sets[m->state];
    bool ends = s->accepts && s->n == 0;
    pthread_mutex_unlock(&m->grammar->lock);
    return ends;
}

/* ---- masks ------------------------------------------------------------------------------- */

/* Within a JSON string all bytes of plain text lead to one set, and tokens made of them need not be
 * looked at. */
static uint32_t plain_step(const rt_grammar *g, rt_follow *f, uint32_t set) {
    if (f->sets[set].plain != UNKNOWN) return f->sets[set].plain;
    uint32_t to = step(g, f, set, ' ');
    for (unsigned b = ' '; b < 0x7F && to != SEVERAL; b++)
        if (rt_byte_is_plain((uint8_t)b) && step(g, f, set, (uint8_t)b) != to) to = SEVERAL;
    return f->sets[set].plain = to;
}

typedef struct byte_range {
    uint8_t lo, hi;
} byte_range;

/* More ways through the bytes of characters are not looked at. */
#define MAX_CHAR_STEPS 2048

/* Whether all texts of one byte of each of [n] ranges lead from one set to another. */
static bool all_lead(const rt_grammar *g, rt_follow *f, uint32_t from, const byte_range *r,
                     unsigned n, uint32_t to, unsigned *n_steps) {
    if (n == 0 || from == DEAD) return from == to;
    for (unsigned b = r->lo; b <= r->hi; b++) {
        if (b > r->lo && g->classes[b] == g->classes[b - 1]) continue;
        if (++*n_steps > MAX_CHAR_STEPS ||
            !all_lead(g, f, step(g, f, from, (uint8_t)b), r + 1, n - 1, to, n_steps))
            return false;
    }
    return true;
}

static uint32_t text_step(const rt_grammar *g, rt_follow *f, uint32_t set) {
    static const struct {
        unsigned n;
        byte_range bytes[4];
    } wide[] = {
        {2, {{0xC2, 0xDF}, {0x80, 0xBF}}},
        {3, {{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}}},
        {3, {{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}}},
        {3, {{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}}},
        {3, {{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}}},
        {4, {{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
        {4, {{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
        {4, {{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}},
    };
    if (f->sets[set].text != UNKNOWN) return f->sets[set].text;
    uint32_t to = plain_step(g, f, set);
    unsigned n_steps = 0;
    for (size_t i = 0; i < sizeof wide / sizeof wide[0] && to != SEVERAL; i++)
        if (!all_lead(g, f, set, wide[i].bytes, wide[i].n, to, &n_steps)) to = SEVERAL;
    return f->sets[set].text = to;
}

/* Try the texts of [n_entries], in order. */
static void try_tokens(const rt_grammar *g, rt_follow *f, uint32_t from,
                       const rt_token_entry *entries, uint32_t n_entries, uint64_t *mask) {
    uint32_t *path = f->path; /* behind each byte of the last token that was tried */
    path[0] = from;
    for (uint32_t i = 0; i < n_entries; i++) {
        const rt_token_entry *e = &entries[i];
        uint32_t at = i ? e->n_common : 0, to;
        if (e->rest_is_plain)
            for (; at < e->n && (to = plain_step(g, f, path[at])) != DEAD && to != SEVERAL; at++)
                path[at + 1] = to;
        for (; at < e->n; at++) {
            bool marks = g->in_channels && e->text[at] == RT_SPECIAL_BYTE;
            path[at + 1] = marks ? DEAD : step(g, f, path[at], e->text[at]);
            if (path[at + 1] == DEAD) break;
        }
        if (at == e->n) {
            mask[e->id / 64] |= UINT64_C(1) << e->id % 64;
            continue;
        }
        /* No token that begins like this one up to its wrong byte can pass. */
        while (i + 1 < n_entries && entries[i + 1].n_common > at) i++;
    }
}

/* Special tokens that are marks of the grammar, or all where it tells them from texts. */
static void try_specials(const rt_grammar *g, rt_follow *f, uint32_t from, const rt_token_table *t,
                         uint64_t *mask) {
    size_t n_marks = g->marks ? strlen(g->marks) : 0;
    if (g->in_channels && (from = step(g, f, from, RT_SPECIAL_BYTE)) == DEAD) return;
    for (size_t i = 0; (n_marks || g->in_channels) && i < t->n_specials; i++) {
        const rt_token_entry *e = &t->specials[i];
        uint32_t at = from;
        if (!g->in_channels && !memmem(g->marks, n_marks, e->text, e->n)) continue;
        for (size_t j = 0; j < e->n && at != DEAD; j++) at = step(g, f, at, e->text[j]);
        if (at != DEAD) mask[e->id / 64] |= UINT64_C(1) << e->id % 64;
    }
}

/* Where each character of plain text leads to one set, `chain` has those behind so many of them.
 * Returns how many there are at least, up to the most of a token; -1: it leads to several. */
static int follow_text(const rt_grammar *g, rt_follow *f, uint32_t set, unsigned most) {
    unsigned n = 0;
    f->chain[0] = set;
    for (uint32_t to; n < most && (to = text_step(g, f, f->chain[n])) != DEAD; n++) {
        if (to == SEVERAL) return -1;
        f->chain[n + 1] = to;
    }
    return (int)n;
}

/* Whole tokens of plain text are told by how many characters they have; of the others what follows
 * those characters is tried. */
static void fill_in_text(const rt_grammar *g, rt_follow *f, unsigned n_chars,
                         const rt_token_table *t, uint64_t *mask) {
    uint32_t n = t->n_upto[n_chars];
    bool most = n > t->n_whole / 2; /* begin with all of them, and take the longer ones away */
    if (most) memcpy(mask, t->whole_mask, (t->n_vocab + 63) / 64 * sizeof *mask);
    for (uint32_t i = most ? n : 0; i < (most ? t->n_whole : n); i++)
        mask[t->whole[i] / 64] ^= UINT64_C(1) << t->whole[i] % 64;
    for (unsigned k = 0; k <= n_chars; k++)
        try_tokens(g, f, f->chain[k], t->tails + t->first_tail[k],
                   t->first_tail[k + 1] - t->first_tail[k], mask);
}

static void fill_anywhere(const rt_grammar *g, rt_follow *f, uint32_t set, const rt_token_table *t,
                          uint64_t *mask) {
    for (unsigned b = 0; b < 256; b++)
        if (t->first[b] < t->first[b + 1] && step(g, f, set, (uint8_t)b) != DEAD)
            try_tokens(g, f, set, t->entries + t->first[b], t->first[b + 1] - t->first[b], mask);
}

static bool fill_mask(const rt_grammar *g, rt_follow *f, uint32_t set, const rt_token_table *t,
                      uint64_t *mask) {
    memset(mask, 0, (t->n_vocab + 63) / 64 * sizeof *mask);
    int n_chars = follow_text(g, f, set, t->most_chars);
    if (n_chars < 0)
        fill_anywhere(g, f, set, t, mask);
    else
        fill_in_text(g, f, (unsigned)n_chars, t, mask);
    try_specials(g, f, set, t, mask);
    if (f->sets[set].accepts)
        for (size_t i = 0; i < t->n_ends; i++)
            mask[t->ends[i] / 64] |= UINT64_C(1) << t->ends[i] % 64;
    return !f->failed;
}

static bool any_bit(const uint64_t *mask, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (mask[i]) return true;
    return false;
}

bool rt_matcher_mask(rt_matcher *m, const rt_token_table *table, uint64_t *mask) {
    size_t n = (table->n_vocab + 63) / 64;
    if (m->failed) return false;
    pthread_mutex_lock(&m->grammar->lock);
    rt_follow *f = m->grammar->follow;
    config_set *s = &f->sets[m->state];
    bool good = true;
    if (s->mask && s->table == table) {
        memcpy(mask, s->mask, n * sizeof *mask);
    } else {
        good = fill_mask(m->grammar, f, m->state, table, mask);
        s = &f->sets[m->state];
        bool keep = good && !s->mask && f->n_bytes < MOST_BYTES / 2;
        uint64_t *copy = keep ? malloc(n * sizeof *copy) : NULL;
        if (copy) {
            memcpy(copy, mask, n * sizeof *copy);
            s->mask = copy;
            s->table = table;
            f->n_bytes += n * sizeof *copy;
        }
    }
    pthread_mutex_unlock(&m->grammar->lock);
    return good && any_bit(mask, n);
}
