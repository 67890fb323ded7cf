/* Finding calls in a text that comes in pieces. What may be the beginning of a call is held back
 * and tried again with each piece; long ones only once they have grown by a part of their size. */
#include "runtime/chat/tool_style.h"

#include <string.h>

#define EAGER_BYTES 2048
#define GROWTH      16

void rt_call_parser_init(rt_call_parser *p, const rt_tool_style *style, const json_t *tools,
                         bool streams, rt_call_event_fn event, void *ctx) {
    *p = (rt_call_parser){
        .style = style, .tools = tools, .streams = streams, .event = event, .ctx = ctx};
    gguf_dynbuf_init(&p->text, SIZE_MAX / 4);
}

void rt_call_parser_clear(rt_call_parser *p) {
    gguf_dynbuf_clear(&p->text);
}

gguf_code rt_call_parser_code(const rt_call_parser *p) {
    return p->text.code;
}

/* ---- events ------------------------------------------------------------------------------ */

static void consume(rt_call_parser *p, size_t n) {
    if (n == 0) return;
    memmove(p->text.data, p->text.data + n, p->text.len - n);
    p->text.len -= n;
    p->next_try = 0;
}

static bool is_space(uint8_t c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static size_t n_leading(const rt_call_parser *p) {
    size_t n = 0;
    while (n < p->text.len && is_space(p->text.data[n])) n++;
    return n;
}

/* White space behind a call is not part of the text. */
static void say(rt_call_parser *p, size_t n) {
    size_t from = p->trims ? n_leading(p) : 0;
    if (from < n) {
        p->trims = false;
        p->spoke |= n_leading(p) < n;
        p->event(p->ctx, &(rt_call_event){.kind = RT_CALL_TEXT,
                                          .index = p->n_calls,
                                          .text = {(const char *)p->text.data + from, n - from}});
    }
    consume(p, n);
}

static gguf_str bytes_of(const gguf_dynbuf *b) {
    return (gguf_str){b->len ? (const char *)b->data : "", b->len};
}

/* What is new of the call. */
static void tell(rt_call_parser *p, const tool_call *call) {
    rt_call_event e = {.kind = RT_CALL_BEGIN};
    if (!p->in_call) {
        e.index = p->n_calls++;
        e.name = bytes_of(&call->name);
        e.id = bytes_of(&call->id);
        p->event(p->ctx, &e);
        p->in_call = p->spoke = true;
        p->n_arguments = 0;
    }
    gguf_str all = bytes_of(&call->arguments);
    if (all.len <= p->n_arguments) return;
    p->event(p->ctx,
             &(rt_call_event){.kind = RT_CALL_ARGUMENTS,
                              .index = p->n_calls - 1,
                              .text = {all.ptr + p->n_arguments, all.len - p->n_arguments}});
    p->n_arguments = all.len;
}

static void tell_end(rt_call_parser *p) {
    if (p->in_call)
        p->event(p->ctx, &(rt_call_event){.kind = RT_CALL_END, .index = p->n_calls - 1});
    p->in_call = false;
    p->trims = true;
}

/* ---- where calls begin ------------------------------------------------------------------- */

/* The text that a call of pattern i begins with, up to its first white space. */
static gguf_str opening_of(const rt_tool_style *s, size_t i) {
    bool section = i == 0 && s->section_open.len;
    gguf_str text = section ? s->section_open : s->calls[i].pieces[0].text;
    size_t n = 0;
    while (n < text.len && !is_space((uint8_t)text.ptr[n])) n++;
    return n ? (gguf_str){text.ptr, n} : gguf_str_of("{");
}

static gguf_str mark_of(const rt_tool_style *s, size_t i) {
    return i < s->n_calls ? opening_of(s, i) : s->drop[i - s->n_calls];
}

/* A call that begins with an object can only begin the answer: objects are frequent. */
static bool must_start(const rt_tool_style *s, size_t i) {
    if (i >= s->n_calls || (i == 0 && s->section_open.len)) return false;
    return s->calls[i].pieces[0].slot != TOOL_TEXT;
}

/* Whether a call that must begin the answer may begin at a byte of the text. */
static bool may_start(const rt_call_parser *p, size_t i, size_t at) {
    const char *text = (const char *)p->text.data + at;
    if (i == 0 && tool_begins_with_name(p->style))
        return tool_begins_name(p->tools, text, p->text.len - at);
    return *text == '{';
}

/* The first mark in the text, or text.len; *held: bytes at its end that may begin one. */
static size_t find_mark(const rt_call_parser *p, size_t *held) {
    const rt_tool_style *s = p->style;
    const uint8_t *text = p->text.data;
    size_t len = p->text.len, best = len, lead = n_leading(p);
    bool spoke = p->spoke && !p->in_call;
    *held = 0;
    for (size_t i = 0; i < s->n_calls + s->n_drop; i++) {
        gguf_str mark = mark_of(s, i);
        bool at_start = must_start(s, i);
        bool here = at_start && !spoke && lead < len && may_start(p, i, lead);
        const uint8_t *found = here       ? text + lead
                               : at_start ? NULL
                                          : memmem(text, len, mark.ptr, mark.len);
        if (found && (size_t)(found - text) < best) best = (size_t)(found - text);
        if (at_start) continue;
        size_t part = mark.len - 1 < len ? mark.len - 1 : len;
        while (part && memcmp(text + len - part, mark.ptr, part) != 0) part--;
        if (part > *held) *held = part;
    }
    return best;
}

/* ---- trying ------------------------------------------------------------------------------ */

static bool begins_with(const rt_call_parser *p, size_t at, gguf_str mark) {
    return p->text.len - at >= mark.len && memcmp(p->text.data + at, mark.ptr, mark.len) == 0;
}

/* A call, in a section behind what separates it from the one before, and where a section begins
 * behind what opens that. */
static tool_fit try_call(rt_call_parser *p, size_t i, size_t at, tool_cursor *c, tool_call *call) {
    const rt_tool_style *s = p->style;
    *c = (tool_cursor){(const char *)p->text.data, p->text.len, at};
    tool_fit fit = TOOL_YES;
    call->is_named = false;
    if (p->in_section) {
        tool_cursor behind = *c;
        tool_fit separated = s->separator.len ? tool_fit_text(&behind, s->separator) : TOOL_NO;
        if (separated == TOOL_MORE) return separated;
        if (separated == TOOL_YES) *c = behind;
        tool_skip_space(c);
        if (c->at == c->n) return TOOL_MORE;
    } else if (i == 0 && s->section_open.len) {
        fit = tool_fit_text(c, s->section_open);
        tool_skip_space(c);
    }
    return fit == TOOL_YES ? tool_fit_call(s, &s->calls[i], p->tools, c, call) : fit;
}

/* A name alone may be a word of the text. */
static void wait_for_more(rt_call_parser *p, const tool_call *call) {
    bool certain = call->arguments.len || !tool_begins_with_name(p->style);
    if (p->streams && call->is_named && certain) tell(p, call);
    p->next_try = p->text.len < EAGER_BYTES ? 0 : p->text.len + p->text.len / GROWTH;
}

/* A call that had begun goes wrong, and the text goes on behind that; or it is cut. */
static void break_off(rt_call_parser *p, size_t at, bool is_cut) {
    tell_end(p);
    p->in_section = false;
    consume(p, is_cut ? p->text.len : at);
}

/* Each returns whether there is more to decide. At a mark, behind white space. */
static bool decide_mark(rt_call_parser *p, size_t at, bool ended, tool_call *call) {
    const rt_tool_style *s = p->style;
    tool_cursor c = {0};
    size_t wrong = 0;
    bool is_cut = false;
    for (size_t i = 0; i < s->n_drop; i++)
        if (begins_with(p, at, s->drop[i])) {
            consume(p, at + s->drop[i].len);
            return true;
        }
    for (size_t i = 0; i < s->n_calls; i++) {
        if (must_start(s, i) ? !may_start(p, i, at) : !begins_with(p, at, opening_of(s, i)))
            continue;
        tool_fit fit = try_call(p, i, at, &c, call);
        if (i == 0) {
            wrong = c.at;
            is_cut = fit == TOOL_MORE;
        }
        if (fit == TOOL_MORE && !ended) {
            wait_for_more(p, call);
            return false;
        }
        if (fit != TOOL_YES) continue;
        tell(p, call);
        tell_end(p);
        p->in_section = i == 0 && s->section_open.len;
        consume(p, c.at);
        return true;
    }
    if (p->in_call) {
        break_off(p, wrong, is_cut);
        return true;
    }
    size_t n = at + 1;
    while (n < p->text.len && (p->text.data[n] & 0xC0) == 0x80) n++;
    say(p, n);
    return true;
}

static bool decide_text(rt_call_parser *p, bool ended, tool_call *call) {
    size_t held, at = find_mark(p, &held);
    bool found = at < p->text.len;
    size_t end = found ? at : p->text.len - (ended ? 0 : held), lead = end;
    /* White space before a call is not part of the text. */
    while (lead && is_space(p->text.data[lead - 1])) lead--;
    if (!found && ended) lead = end;
    if (lead) say(p, lead);
    return found ? decide_mark(p, at - lead, ended, call) : false;
}

static bool decide_section(rt_call_parser *p, bool ended, tool_call *call) {
    const rt_tool_style *s = p->style;
    tool_cursor c = {(const char *)p->text.data, p->text.len, 0}, behind = c;
    tool_fit closes = tool_fit_text(&behind, s->section_close);
    tool_fit fit = closes == TOOL_YES ? TOOL_NO : try_call(p, 0, 0, &c, call);
    if (closes == TOOL_YES) {
        consume(p, behind.at);
        p->in_section = false;
        p->trims = true;
    } else if (fit == TOOL_YES) {
        tell(p, call);
        tell_end(p);
        consume(p, c.at);
    } else if ((fit == TOOL_MORE || closes == TOOL_MORE) && !ended) {
        wait_for_more(p, call);
        return false;
    } else if (p->in_call) {
        break_off(p, c.at, fit == TOOL_MORE);
    } else {
        p->in_section = false;
        p->n_broken++;
        if (closes == TOOL_MORE) consume(p, p->text.len);
    }
    return true;
}

static void decide(rt_call_parser *p, bool ended) {
    tool_call call;
    bool more = ended || p->text.len >= p->next_try;
    tool_call_init(&call);
    while (more && p->text.len && !p->text.code)
        more = p->in_section ? decide_section(p, ended, &call) : decide_text(p, ended, &call);
    if (call.arguments.code && !p->text.code) p->text.code = call.arguments.code;
    tool_call_clear(&call);
}

void rt_call_parser_put(rt_call_parser *p, gguf_str text) {
    gguf_dynbuf_put(&p->text, text.ptr, text.len);
    decide(p, false);
}

void rt_call_parser_end(rt_call_parser *p) {
    decide(p, true);
    if (p->in_call) tell_end(p);
}
