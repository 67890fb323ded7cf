/* Dividing an answer at its markers. */
#include "runtime/chat/answer_text.h"

#include <string.h>

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

bool rt_reasoning_is_open(const rt_reasoning_markers *markers, gguf_str prompt) {
    size_t len = markers->open ? strlen(markers->open) : 0, n = prompt.len;
    while (n && is_space(prompt.ptr[n - 1])) n--;
    return len && n >= len && memcmp(prompt.ptr + n - len, markers->open, len) == 0;
}

void rt_answer_text_follow(rt_answer_text_opts *opts, const rt_tokenizer *tok,
                           const int32_t *prompt, size_t n) {
    size_t from;
    rt_channels_follow(tok, prompt, n, &opts->channels, &from);
    if (opts->channels.part == RT_CHANNEL_MARKUP && !opts->call_channel)
        opts->channels = (rt_channels){0};
}

void rt_answer_text_init(rt_answer_text *t, const rt_answer_text_opts *opts) {
    *t = (rt_answer_text){.opts = *opts};
    rt_text_stream_init(&t->said, opts->stops, opts->n_stops);
    rt_text_stream_init(&t->thought, NULL, 0);
    rt_text_stream_init(&t->whole, NULL, 0);
    gguf_dynbuf_init(&t->undecided, SIZE_MAX / 4);
    t->channels = opts->channels;
    if (!opts->markers.close || !opts->split || opts->show_special)
        t->state = RT_ANSWER_SPEAKS;
    else if (opts->inside)
        t->state = RT_ANSWER_THINKS;
}

void rt_answer_text_clear(rt_answer_text *t) {
    rt_text_stream_clear(&t->said);
    rt_text_stream_clear(&t->thought);
    rt_text_stream_clear(&t->whole);
    gguf_dynbuf_clear(&t->undecided);
}

/* ---- division ---------------------------------------------------------------------------- */

static void consume(rt_answer_text *t, size_t n) {
    gguf_dynbuf *u = &t->undecided;
    memmove(u->data, u->data + n, u->len - n);
    u->len -= n;
}

static size_t n_spaces(const gguf_dynbuf *u) {
    size_t n = 0;
    while (n < u->len && is_space((char)u->data[n])) n++;
    return n;
}

static void say(rt_answer_text *t, size_t n) {
    size_t skip = 0;
    bool starts = t->said.text.len == 0 && t->said.n_pending == 0;
    starts &= t->opts.trim && !(t->opts.goes_on && t->thought.text.len == 0);
    while (starts && skip < n && t->undecided.data[skip] == ' ') skip++;
    rt_text_stream_add(&t->said, (char *)t->undecided.data + skip, n - skip);
    consume(t, n);
}

static void think(rt_answer_text *t, size_t n) {
    size_t skip = 0;
    bool starts = t->thought.text.len == 0 && !t->opts.goes_on;
    while (starts && skip < n && is_space((char)t->undecided.data[skip])) skip++;
    rt_text_stream_add(&t->thought, (char *)t->undecided.data + skip, n - skip);
    consume(t, n);
}

/* Whether the text begins with a marker; *waits: it may yet. */
static bool begins_with(const gguf_dynbuf *u, size_t at, const char *marker, bool *waits) {
    size_t len = strlen(marker), have = u->len - at;
    size_t n = have < len ? have : len;
    bool same = memcmp(u->data + at, marker, n) == 0;
    *waits = same && n < len;
    return same && n == len;
}

/* Each returns whether there is more to decide. */
static bool decide_begin(rt_answer_text *t, bool ended) {
    size_t at = n_spaces(&t->undecided);
    bool waits;
    if (begins_with(&t->undecided, at, t->opts.markers.open, &waits)) {
        consume(t, at + strlen(t->opts.markers.open));
        t->state = RT_ANSWER_THINKS;
        return true;
    }
    bool may_open = waits;
    if (begins_with(&t->undecided, at, t->opts.markers.close, &waits)) { /* it thought nothing */
        consume(t, at + strlen(t->opts.markers.close));
        t->state = RT_ANSWER_THOUGHT;
        return true;
    }
    if ((may_open || waits) && !ended) return false;
    t->state = RT_ANSWER_SPEAKS;
    return true;
}

static bool decide_thought(rt_answer_text *t, bool ended) {
    const gguf_dynbuf *u = &t->undecided;
    const char *close = t->opts.markers.close;
    size_t len = strlen(close);
    const uint8_t *found = memmem(u->data, u->len, close, len);
    size_t n = found ? (size_t)(found - u->data) : u->len, keep = 0;
    /* Spaces before the marker are not part of the thought. */
    for (size_t part = len - 1; !found && !ended && part > 0 && !keep; part--)
        if (part <= n && memcmp(u->data + n - part, close, part) == 0) keep = part;
    size_t end = n - keep;
    while (end && is_space((char)u->data[end - 1])) end--;
    think(t, end);
    if (found) {
        consume(t, n - end + len);
        t->state = RT_ANSWER_THOUGHT;
    }
    return found != NULL;
}

static bool decide_thought_over(rt_answer_text *t) {
    consume(t, n_spaces(&t->undecided));
    if (t->undecided.len) t->state = RT_ANSWER_SPEAKS;
    return t->undecided.len > 0;
}

/* The first text that is dropped, or u->len; *held: bytes at the end that may begin one. */
static size_t find_dropped(const rt_answer_text *t, size_t *len, size_t *held) {
    const gguf_dynbuf *u = &t->undecided;
    size_t best = u->len;
    *len = *held = 0;
    for (size_t i = 0; i < t->opts.markers.n_drop; i++) {
        const char *text = t->opts.markers.drop[i];
        size_t n = strlen(text), part = n - 1 < u->len ? n - 1 : u->len;
        const uint8_t *found = memmem(u->data, u->len, text, n);
        if (found && (size_t)(found - u->data) < best) {
            best = (size_t)(found - u->data);
            *len = n;
        }
        while (part && memcmp(u->data + u->len - part, text, part) != 0) part--;
        if (part > *held) *held = part;
    }
    return best;
}

static bool decide_said(rt_answer_text *t, bool ended) {
    size_t len, held, at = find_dropped(t, &len, &held);
    if (at == t->undecided.len) {
        say(t, at - (ended ? 0 : held));
        return false;
    }
    say(t, at);
    consume(t, len);
    if (t->said.text.len == 0 && t->said.n_pending == 0) t->state = RT_ANSWER_THOUGHT;
    return true;
}

static void decide(rt_answer_text *t, bool ended) {
    bool more = true;
    while (more && t->undecided.len) {
        if (t->state == RT_ANSWER_BEGINS)
            more = decide_begin(t, ended);
        else if (t->state == RT_ANSWER_THINKS)
            more = decide_thought(t, ended);
        else if (t->state == RT_ANSWER_THOUGHT)
            more = decide_thought_over(t);
        else
            more = decide_said(t, ended);
    }
}

/* ---- in and out -------------------------------------------------------------------------- */

/* A special token of a marker, which may have text beside it. */
static bool is_marker(const rt_answer_text *t, gguf_str text) {
    const rt_reasoning_markers *m = &t->opts.markers;
    if (!m->close || !text.len) return false;
    bool is = memmem(m->open, strlen(m->open), text.ptr, text.len) ||
              memmem(m->close, strlen(m->close), text.ptr, text.len);
    for (size_t i = 0; i < m->n_drop && !is; i++)
        is = memmem(m->drop[i], strlen(m->drop[i]), text.ptr, text.len);
    return is;
}

void rt_answer_text_put(rt_answer_text *t, gguf_str text) {
    rt_text_stream_add(&t->whole, text.ptr, text.len);
    gguf_str taken = rt_text_stream_take(&t->whole, false);
    gguf_dynbuf_put(&t->undecided, taken.ptr, taken.len);
    decide(t, false);
}

/* The header of a call in a channel, as the style of calls has it. */
static void put_recipient(rt_answer_text *t) {
    rt_answer_text_put(t, gguf_str_of("<|channel|>commentary to=functions."));
    rt_answer_text_put(t, rt_channels_recipient(&t->channels));
    rt_answer_text_put(t, gguf_str_of("<|message|>"));
}

static bool is_kept(const rt_answer_text *t, gguf_str text) {
    const gguf_str *marks = &t->opts.marks;
    return marks->len && text.len && memmem(marks->ptr, marks->len, text.ptr, text.len);
}

void rt_answer_text_add(rt_answer_text *t, const rt_tokenizer *tok, int32_t id) {
    gguf_str text = rt_token_text(tok, id);
    bool special = rt_token_is_special(tok, id);
    rt_channel before = t->channels.part, part = rt_channels_next(&t->channels, text, special);
    bool calls = t->channels.part == RT_CHANNEL_CALL;
    if (calls && t->opts.call_channel && before != RT_CHANNEL_CALL) put_recipient(t);
    if (part == RT_CHANNEL_CALL)
        part = t->opts.call_channel ? RT_CHANNEL_ANSWER : RT_CHANNEL_REASONING;
    if (special && (t->opts.show_special || is_marker(t, text) || is_kept(t, text)))
        part = RT_CHANNEL_ANSWER;
    if (part == RT_CHANNEL_REASONING && !t->opts.show_special && t->opts.split) {
        rt_text_stream_add(&t->thought, text.ptr, text.len);
        return;
    }
    if (part == RT_CHANNEL_MARKUP && !t->opts.show_special) return;
    rt_answer_text_put(t, text);
}

void rt_answer_text_end(rt_answer_text *t) {
    rt_text_stream_end(&t->whole);
    gguf_str taken = rt_text_stream_take(&t->whole, true);
    gguf_dynbuf_put(&t->undecided, taken.ptr, taken.len);
    decide(t, true);
    rt_text_stream_end(&t->said);
    rt_text_stream_end(&t->thought);
    t->ended = true;
}

gguf_str rt_answer_text_take_thought(rt_answer_text *t) {
    return rt_text_stream_take(&t->thought, true);
}

gguf_str rt_answer_text_take_said(rt_answer_text *t) {
    return rt_text_stream_take(&t->said, t->ended);
}

const char *rt_answer_text_opens(const rt_answer_text *t) {
    return t->state == RT_ANSWER_BEGINS ? t->opts.markers.open : NULL;
}

bool rt_answer_text_thinks(const rt_answer_text *t) {
    return t->state == RT_ANSWER_THINKS || t->channels.part == RT_CHANNEL_REASONING;
}

bool rt_answer_text_stopped(const rt_answer_text *t) {
    return t->said.stopped;
}

gguf_code rt_answer_text_code(const rt_answer_text *t) {
    return t->said.text.code || t->thought.text.code || t->whole.text.code || t->undecided.code
               ? GGUF_E_NOMEM
               : GGUF_OK;
}
