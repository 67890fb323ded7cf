/* From expressions to states. A state is made after the one that follows it, so every expression is
 * compiled for what comes behind it. */
#include "runtime/chat/grammar_build.h"
#include "runtime/chat/grammar_internal.h"
#include "runtime/tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

/* ---- growing lists ----------------------------------------------------------------------- */

static bool grow(rt_grammar_builder *b, void **items, size_t *room, size_t n, size_t size) {
    if (b->code) return false;
    if (n <= *room) return true;
    size_t wanted = 2 * n + 64;
    void *grown = realloc(*items, wanted * size);
    if (!grown) {
        b->code = gguf_fail_memory(b->err);
        return false;
    }
    *items = grown;
    *room = wanted;
    return true;
}

void rt_builder_init(rt_grammar_builder *b, gguf_error *err) {
    *b = (rt_grammar_builder){.err = err};
    if (grow(b, (void **)&b->nodes, &b->nodes_room, 1, sizeof *b->nodes))
        b->nodes[b->n_nodes++] = (rt_expr_node){.kind = RT_EXPR_EMPTY};
    if (grow(b, (void **)&b->links, &b->links_room, 1, sizeof *b->links))
        b->links[b->n_links++] = (rt_expr_link){0};
}

void rt_builder_clear(rt_grammar_builder *b) {
    for (size_t i = 0; i < b->n_rules; i++) free(b->rules[i].name);
    free(b->nodes);
    free(b->links);
    free(b->ranges);
    free(b->bytes);
    free(b->rules);
    *b = (rt_grammar_builder){0};
}

/* ---- expressions ------------------------------------------------------------------------- */

static rt_expr add_node(rt_grammar_builder *b, rt_expr_node node) {
    if (!grow(b, (void **)&b->nodes, &b->nodes_room, b->n_nodes + 1, sizeof *b->nodes)) return 0;
    if (b->n_nodes > 16 * RT_GRAMMAR_MAX_STATES) {
        b->code =
            gguf_fail(b->err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "the grammar has too many parts");
        return 0;
    }
    b->nodes[b->n_nodes] = node;
    return (rt_expr)b->n_nodes++;
}

rt_expr rt_expr_never(rt_grammar_builder *b) {
    return add_node(b, (rt_expr_node){.kind = RT_EXPR_NEVER});
}

rt_expr rt_expr_text(rt_grammar_builder *b, const char *bytes, size_t n) {
    if (n == 0 || !grow(b, (void **)&b->bytes, &b->bytes_room, b->n_bytes + n, 1)) return 0;
    memcpy(b->bytes + b->n_bytes, bytes, n);
    b->n_bytes += n;
    return add_node(
        b,
        (rt_expr_node){.kind = RT_EXPR_BYTES, .a = (uint32_t)(b->n_bytes - n), .n = (uint32_t)n});
}

rt_expr rt_expr_class(rt_grammar_builder *b, const rt_char_range *ranges, size_t n) {
    if (n == 0) return rt_expr_never(b);
    if (!grow(b, (void **)&b->ranges, &b->ranges_room, b->n_ranges + n, sizeof *b->ranges))
        return 0;
    memcpy(b->ranges + b->n_ranges, ranges, n * sizeof *ranges);
    b->n_ranges += n;
    return add_node(
        b,
        (rt_expr_node){.kind = RT_EXPR_CLASS, .a = (uint32_t)(b->n_ranges - n), .n = (uint32_t)n});
}

rt_expr rt_expr_repeat(rt_grammar_builder *b, rt_expr part, uint32_t min, uint32_t max) {
    if (min == 1 && max == 1) return part;
    return add_node(b, (rt_expr_node){.kind = RT_EXPR_REPEAT, .a = part, .min = min, .max = max});
}

rt_expr rt_expr_rule(rt_grammar_builder *b, uint32_t rule) {
    return add_node(b, (rt_expr_node){.kind = RT_EXPR_RULE, .a = rule});
}

rt_expr rt_expr_seq(rt_grammar_builder *b) {
    return add_node(b, (rt_expr_node){.kind = RT_EXPR_SEQ});
}

rt_expr rt_expr_alt(rt_grammar_builder *b) {
    return add_node(b, (rt_expr_node){.kind = RT_EXPR_ALT});
}

void rt_expr_add(rt_grammar_builder *b, rt_expr list, rt_expr part) {
    if (!grow(b, (void **)&b->links, &b->links_room, b->n_links + 1, sizeof *b->links)) return;
    b->links[b->n_links] = (rt_expr_link){part, b->nodes[list].a};
    b->nodes[list].a = (uint32_t)b->n_links++;
}

uint32_t rt_rule_new(rt_grammar_builder *b, const char *name, size_t n) {
    if (!grow(b, (void **)&b->rules, &b->rules_room, b->n_rules + 1, sizeof *b->rules)) return 0;
    b->rules[b->n_rules] = (rt_rule){.name = name ? strndup(name, n) : NULL};
    return (uint32_t)b->n_rules++;
}

void rt_rule_define(rt_grammar_builder *b, uint32_t rule, rt_expr body) {
    if (b->code) return;
    b->rules[rule].body = body;
    b->rules[rule].defined = true;
}

rt_expr rt_expr_as_rule(rt_grammar_builder *b, rt_expr body) {
    uint32_t rule = rt_rule_new(b, NULL, 0);
    rt_rule_define(b, rule, body);
    return rt_expr_rule(b, rule);
}

/* ---- states ------------------------------------------------------------------------------ */

/* Among so many last ones an equal state is looked for. */
#define SHARED_STATES 32

typedef struct emitter {
    rt_grammar_builder *b;
    rt_state *states;
    size_t n, room;
} emitter;

static uint32_t add_state(emitter *e, rt_state state) {
    rt_grammar_builder *b = e->b;
    if (!b->code && e->n >= RT_GRAMMAR_MAX_STATES)
        b->code = gguf_fail(b->err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                            "the grammar has more than %d states: repetitions within repetitions "
                            "count each time",
                            RT_GRAMMAR_MAX_STATES);
    if (!grow(b, (void **)&e->states, &e->room, e->n + 1, sizeof *e->states)) return 0;
    e->states[e->n] = state;
    return (uint32_t)e->n++;
}

static uint32_t add_byte(emitter *e, unsigned lo, unsigned hi, uint32_t next) {
    return add_state(
        e, (rt_state){.kind = RT_STATE_BYTE, .lo = (uint8_t)lo, .hi = (uint8_t)hi, .a = next});
}

/* The same for the characters of a class, whose last bytes many ranges have in common. */
static uint32_t share_byte(emitter *e, unsigned lo, unsigned hi, uint32_t next) {
    size_t first = e->n > SHARED_STATES ? e->n - SHARED_STATES : 0;
    for (size_t i = e->n; i-- > first;) {
        const rt_state *s = &e->states[i];
        if (s->kind == RT_STATE_BYTE && s->lo == lo && s->hi == hi && s->a == next)
            return (uint32_t)i;
    }
    return add_byte(e, lo, hi, next);
}

static uint32_t add_split(emitter *e, uint32_t a, uint32_t b) {
    if (e->states[a].kind == RT_STATE_NEVER) return b;
    return add_state(e, (rt_state){.kind = RT_STATE_SPLIT, .a = a, .b = b});
}

/* ---- characters --------------------------------------------------------------------------- */

unsigned rt_read_hex(const char *text, size_t n_left, unsigned n, uint32_t *value) {
    static const char digits[] = "0123456789abcdef";
    unsigned i = 0;
    *value = 0;
    for (const char *d; i < n && i < n_left && (d = memchr(digits, text[i] | 0x20, 16)); i++)
        *value = *value << 4 | (uint32_t)(d - digits);
    return i;
}

/* Characters whose bytes are, place by place, any of a range: the parts that a range of code points
 * is cut into. Adds them to `any` as alternatives. */
static uint32_t emit_range(emitter *e, uint32_t first, uint32_t last, uint32_t next, uint32_t any) {
    static const uint32_t borders[] = {0x7F, 0x7FF, 0xD7FF, 0xFFFF};
    if (first >= 0xD800 && first <= 0xDFFF) first = 0xE000;
    if (last >= 0xD800 && last <= 0xDFFF) last = 0xD7FF;
    while (first <= last && !e->b->code) {
        uint32_t end = last;
        for (size_t i = 0; i < sizeof borders / sizeof borders[0]; i++)
            if (first <= borders[i] && end > borders[i]) end = borders[i];
        for (uint32_t low = 0x3F; low < 0x40000 && first > 0x7F; low = low << 6 | 0x3F) {
            /* The bytes below must be free for the bytes above to differ. */
            if ((first & ~low) == (end & ~low)) break;
            if (first & low)
                end = (first | low) < end ? (first | low) : end;
            else if ((end & low) != low)
                end = (end & ~low) - 1;
        }
        uint8_t lo[4], hi[4];
        size_t n = rt_utf8_encode(first, (char *)lo);
        rt_utf8_encode(end, (char *)hi);
        uint32_t at = next;
        for (unsigned i = n; i-- > 0;) at = share_byte(e, lo[i], hi[i], at);
        any = add_split(e, any, at);
        first = end + 1;
        if (first == 0xD800) first = 0xE000;
    }
    return any;
}

static uint32_t emit_class(emitter *e, const rt_expr_node *node, uint32_t next) {
    uint32_t any = 0; /* the state that never matches */
    for (uint32_t i = 0; i < node->n; i++) {
        rt_char_range r = e->b->ranges[node->a + i];
        any = emit_range(e, r.first, r.last, next, any);
    }
    return any;
}

/* ---- expressions ------------------------------------------------------------------------- */

static uint32_t emit(emitter *e, rt_expr expr, uint32_t next);

static uint32_t emit_repeat(emitter *e, const rt_expr_node *node, uint32_t next) {
    uint32_t at = next;
    if (node->max == RT_GRAMMAR_UNLIMITED) {
        at = add_state(e, (rt_state){.kind = RT_STATE_SPLIT, .b = next});
        uint32_t body = emit(e, node->a, at);
        if (!e->b->code) e->states[at].a = body;
    } else {
        for (uint32_t i = node->min; i < node->max && !e->b->code; i++)
            at = add_split(e, emit(e, node->a, at), next);
    }
    for (uint32_t i = 0; i < node->min && !e->b->code; i++) at = emit(e, node->a, at);
    return at;
}

/* Trees are as deep as the front ends let them be. */
static uint32_t emit(emitter *e, rt_expr expr, uint32_t next) {
    const rt_grammar_builder *b = e->b;
    if (b->code) return 0;
    const rt_expr_node node = b->nodes[expr];
    uint32_t at = next;
    switch (node.kind) {
    case RT_EXPR_EMPTY:
        return next;
    case RT_EXPR_NEVER:
        return 0;
    case RT_EXPR_CLASS:
        return emit_class(e, &node, next);
    case RT_EXPR_BYTES:
        for (uint32_t i = node.n; i-- > 0;)
            at = add_byte(e, b->bytes[node.a + i], b->bytes[node.a + i], at);
        return at;
    case RT_EXPR_SEQ:
        for (uint32_t l = node.a; l; l = b->links[l].next) at = emit(e, b->links[l].part, at);
        return at;
    case RT_EXPR_ALT:
        at = 0;
        for (uint32_t l = node.a; l && !b->code; l = b->links[l].next)
            at = add_split(e, at, emit(e, b->links[l].part, next));
        return at;
    case RT_EXPR_REPEAT:
        return emit_repeat(e, &node, next);
    default:
        return add_state(e, (rt_state){.kind = RT_STATE_CALL, .a = next, .b = node.a});
    }
}

/* ---- which states lead to the end of their rule ------------------------------------------- */

typedef struct reach {
    const emitter *e;
    const rt_rule *rules;
    size_t n_rules;
    bool bytes;       /* also through bytes */
    bool *good;       /* [n] */
    bool *rule_good;  /* [n_rules] */
    uint32_t *before; /* lists of the states that lead to each, and that call each rule */
    uint32_t *next;   /* [2 n] */
    uint32_t *callers, *next_caller;
    uint32_t *rule_of; /* [n] rule that starts there plus 1, or 0 */
    uint32_t *todo;
    size_t n_todo;
} reach;

static void mark(reach *r, uint32_t s) {
    if (r->good[s]) return;
    r->good[s] = true;
    r->todo[r->n_todo++] = s;
}

static void consider(reach *r, uint32_t s) {
    const rt_state *st = &r->e->states[s];
    if (st->kind == RT_STATE_SPLIT || (st->kind == RT_STATE_BYTE && r->bytes))
        mark(r, s);
    else if (st->kind == RT_STATE_CALL && r->rule_good[st->b] && r->good[st->a])
        mark(r, s);
}

static void link_states(reach *r) {
    for (uint32_t s = 0; s < r->e->n; s++) {
        const rt_state *st = &r->e->states[s];
        uint32_t to[2] = {st->a, st->b};
        unsigned n = st->kind == RT_STATE_SPLIT                               ? 2
                     : st->kind == RT_STATE_BYTE || st->kind == RT_STATE_CALL ? 1
                                                                              : 0;
        for (unsigned i = 0; i < n; i++) {
            r->next[2 * s + i] = r->before[to[i]];
            r->before[to[i]] = 2 * s + i + 1;
        }
        if (st->kind != RT_STATE_CALL) continue;
        r->next_caller[s] = r->callers[st->b];
        r->callers[st->b] = s + 1;
    }
}

/* Several rules may start at one state: at the end of a rule that matches the empty text each has
 * its own. */
static void find_good(reach *r) {
    link_states(r);
    for (uint32_t s = 0; s < r->e->n; s++)
        if (r->e->states[s].kind == RT_STATE_RETURN) mark(r, s);
    while (r->n_todo) {
        uint32_t s = r->todo[--r->n_todo];
        for (uint32_t l = r->before[s]; l; l = r->next[l - 1]) consider(r, (l - 1) / 2);
        if (!r->rule_of[s]) continue;
        uint32_t rule = r->rule_of[s] - 1;
        r->rule_good[rule] = true;
        for (uint32_t c = r->callers[rule]; c; c = r->next_caller[c - 1]) consider(r, c - 1);
    }
}

static bool run_reach(const emitter *e, bool bytes, bool *good, bool *rule_good) {
    size_t n = e->n + 1, n_rules = e->b->n_rules + 1;
    reach r = {.e = e, .rules = e->b->rules, .n_rules = e->b->n_rules, .bytes = bytes};
    r.good = good;
    r.rule_good = rule_good;
    uint32_t *all = calloc(6 * n + n_rules, sizeof *all);
    if (!all) return false;
    r.before = all;
    r.next = all + n;
    r.next_caller = all + 3 * n;
    r.rule_of = all + 4 * n;
    r.todo = all + 5 * n;
    r.callers = all + 6 * n;
    for (uint32_t i = 0; i < r.n_rules; i++) r.rule_of[r.rules[i].start] = i + 1;
    find_good(&r);
    free(all);
    return true;
}

/* ---- left recursion ---------------------------------------------------------------------- */

typedef struct leftmost {
    const emitter *e;
    const bool *nullable; /* rules */
    uint8_t *seen;        /* states */
    uint8_t *colour;      /* rules: 0 new, 1 open, 2 done */
    uint32_t *path;       /* rules that are open */
    uint32_t *todo;       /* states to look at, those of the open rules in layers */
    size_t *base;         /* where the layer of each open rule begins */
} leftmost;

/* The next rule that the topmost open one may begin with, or UINT32_MAX. */
static uint32_t next_leftmost(leftmost *l, size_t base, size_t *n_todo) {
    while (*n_todo > base) {
        uint32_t s = l->todo[--*n_todo];
        const rt_state *st = &l->e->states[s];
        if (l->seen[s]) continue;
        l->seen[s] = 1;
        if (st->kind == RT_STATE_SPLIT) {
            l->todo[(*n_todo)++] = st->a;
            l->todo[(*n_todo)++] = st->b;
        } else if (st->kind == RT_STATE_CALL) {
            if (l->nullable[st->b]) l->todo[(*n_todo)++] = st->a;
            return st->b;
        }
    }
    return UINT32_MAX;
}

/* A rule that begins with itself, or UINT32_MAX. */
static uint32_t find_left_recursion(leftmost *l, size_t n_rules) {
    for (uint32_t first = 0; first < n_rules; first++) {
        size_t n_open = 0, n_todo = 0;
        uint32_t rule = l->colour[first] ? UINT32_MAX : first;
        for (;;) {
            if (rule != UINT32_MAX && l->colour[rule] == 1) return rule;
            if (rule != UINT32_MAX && l->colour[rule] == 0) {
                l->colour[rule] = 1;
                l->path[n_open] = rule;
                l->base[n_open++] = n_todo;
                l->todo[n_todo++] = l->e->b->rules[rule].start;
            }
            if (n_open == 0) break;
            rule = next_leftmost(l, l->base[n_open - 1], &n_todo);
            if (rule == UINT32_MAX) l->colour[l->path[--n_open]] = 2;
        }
    }
    return UINT32_MAX;
}

static gguf_code check_left_recursion(emitter *e, const bool *nullable) {
    rt_grammar_builder *b = e->b;
    leftmost l = {.e = e, .nullable = nullable};
    l.seen = calloc(e->n + 1, 1);
    l.colour = calloc(b->n_rules + 1, 1);
    l.path = calloc(b->n_rules + 1, sizeof *l.path);
    l.todo = calloc(2 * e->n + b->n_rules + 2, sizeof *l.todo);
    l.base = calloc(b->n_rules + 1, sizeof *l.base);
    uint32_t rule = UINT32_MAX;
    if (!l.seen || !l.colour || !l.path || !l.todo || !l.base)
        b->code = gguf_fail_memory(b->err);
    else
        rule = find_left_recursion(&l, b->n_rules);
    if (rule != UINT32_MAX)
        b->code = gguf_fail(b->err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                            "left recursion: the rule '%.100s' begins with itself",
                            b->rules[rule].name ? b->rules[rule].name : "(of the schema)");
    free(l.seen);
    free(l.colour);
    free(l.path);
    free(l.todo);
    free(l.base);
    return b->code;
}

/* ---- the whole --------------------------------------------------------------------------- */

static void cut_dead_ends(emitter *e, const bool *good, const bool *rule_good) {
    for (size_t s = 0; s < e->n; s++) {
        rt_state *st = &e->states[s];
        bool dead = !good[s] || (st->kind == RT_STATE_CALL && !rule_good[st->b]);
        if (dead) *st = (rt_state){.kind = RT_STATE_NEVER};
    }
}

static gguf_code check(emitter *e, uint32_t root) {
    rt_grammar_builder *b = e->b;
    size_t n = e->n + b->n_rules + 2;
    bool *good = calloc(n, 1), *empty = calloc(n, 1);
    bool *rule_good = good + e->n + 1, *rule_empty = empty + e->n + 1;
    bool fits = good && empty && run_reach(e, true, good, rule_good) &&
                run_reach(e, false, empty, rule_empty);
    if (!fits)
        b->code = gguf_fail_memory(b->err);
    else if (!rule_good[root])
        b->code = gguf_fail(b->err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                            "no text matches it: every way through it goes on without end, or "
                            "asks for what is excluded");
    else if (!check_left_recursion(e, rule_empty))
        cut_dead_ends(e, good, rule_good);
    free(good);
    free(empty);
    return b->code;
}

void rt_grammar_classes(rt_grammar *g) {
    bool border[257] = {true};
    g->n_classes = 0;
    for (size_t i = 0; i < g->n_states; i++) {
        if (g->states[i].kind != RT_STATE_BYTE) continue;
        border[g->states[i].lo] = true;
        border[g->states[i].hi + 1] = true;
    }
    for (unsigned i = 0; i < 256; i++) {
        if (border[i]) g->samples[g->n_classes++] = (uint8_t)i;
        g->classes[i] = (uint8_t)(g->n_classes - 1);
    }
}

static void emit_rules(emitter *e) {
    rt_grammar_builder *b = e->b;
    add_state(e, (rt_state){.kind = RT_STATE_NEVER});
    for (size_t i = 0; i < b->n_rules && !b->code; i++) {
        if (!b->rules[i].defined) {
            b->code = gguf_fail(b->err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                                "the rule '%.100s' is not defined",
                                b->rules[i].name ? b->rules[i].name : "(of the schema)");
            return;
        }
        /* Each rule has an end and a start of its own. */
        uint32_t end = add_state(e, (rt_state){.kind = RT_STATE_RETURN});
        uint32_t body = emit(e, b->rules[i].body, end);
        b->rules[i].start = add_state(e, (rt_state){.kind = RT_STATE_SPLIT, .a = body, .b = body});
    }
}

gguf_code rt_grammar_finish(rt_grammar_builder *b, uint32_t root, rt_grammar **out) {
    emitter e = {.b = b};
    *out = NULL;
    if (!b->code) emit_rules(&e);
    if (!b->code) check(&e, root);
    rt_grammar *g = b->code ? NULL : calloc(1, sizeof *g);
    if (!g) {
        free(e.states);
        return b->code ? b->code : gguf_fail_memory(b->err);
    }
    for (size_t i = 0; i < e.n; i++)
        if (e.states[i].kind == RT_STATE_CALL) e.states[i].b = b->rules[e.states[i].b].start;
    g->states = e.states;
    g->n_states = e.n;
    g->start = b->rules[root].start;
    atomic_init(&g->n_refs, 1);
    pthread_mutex_init(&g->lock, NULL);
    rt_grammar_classes(g);
    *out = g;
    return GGUF_OK;
}

rt_grammar *rt_grammar_ref(rt_grammar *grammar) {
    atomic_fetch_add(&grammar->n_refs, 1);
    return grammar;
}

void rt_grammar_unref(rt_grammar *grammar) {
    if (!grammar || atomic_fetch_sub(&grammar->n_refs, 1) != 1) return;
    rt_follow_free(grammar->follow);
    pthread_mutex_destroy(&grammar->lock);
    free(grammar->states);
    free(grammar->marks);
    free(grammar->opening);
    rt_grammar_unref(grammar->wrapped);
    free(grammar);
}

size_t rt_grammar_n_states(const rt_grammar *grammar) {
    return grammar->n_states;
}
