/* Whole characters and stop texts. */
#include "runtime/chat/text_stream.h"
#include "runtime/tokenizer/utf8.h"

#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD";

void rt_text_stream_init(rt_text_stream *s, const char *const *stops, size_t n_stops) {
    *s = (rt_text_stream){.stops = stops, .n_stops = n_stops};
    gguf_dynbuf_init(&s->text, SIZE_MAX / 4);
}

void rt_text_stream_clear(rt_text_stream *s) {
    gguf_dynbuf_clear(&s->text);
}

/* ---- characters -------------------------------------------------------------------------- */

static size_t length_of(unsigned char first) {
    return first < 0xC2 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 1;
}

/* Length of the character that the bytes begin with, or 0 if they are none; n > 0. */
static size_t character_len(const unsigned char *bytes, size_t n) {
    size_t len;
    return rt_utf8_decode(bytes, n, &len) == RT_UTF8_INVALID ? 0 : len;
}

/* Whether n bytes can still become a character: with the smallest or the largest bytes after them
 * they would be one. */
static bool can_become_character(const unsigned char *bytes, size_t n) {
    size_t whole = length_of(bytes[0]);
    unsigned char low[4], high[4];
    if (whole <= n) return false;
    memset(low, 0x80, sizeof low);
    memset(high, 0xBF, sizeof high);
    memcpy(low, bytes, n);
    memcpy(high, bytes, n);
    return character_len(low, whole) || character_len(high, whole);
}

static void drop_pending(rt_text_stream *s, size_t n) {
    s->n_pending -= n;
    memmove(s->pending, s->pending + n, s->n_pending);
}

static void replace_pending(rt_text_stream *s, size_t n) {
    gguf_dynbuf_put_text(&s->text, replacement);
    s->invalid_utf8 = true;
    drop_pending(s, n);
}

/* Move what is decided from pending to the text. What was a character up to its last byte is
 * replaced together. */
static void settle(rt_text_stream *s) {
    while (s->n_pending && !can_become_character(s->pending, s->n_pending)) {
        size_t n = character_len(s->pending, s->n_pending);
        if (n) {
            gguf_dynbuf_put(&s->text, s->pending, n);
            drop_pending(s, n);
            continue;
        }
        n = s->n_pending - 1;
        while (n > 1 && !can_become_character(s->pending, n)) n--;
        replace_pending(s, n ? n : 1);
    }
}

/* ---- stop texts -------------------------------------------------------------------------- */

/* Cut the text at the first stop text that begins at `from` or later. */
static void find_stop(rt_text_stream *s, size_t from) {
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < s->n_stops; i++) {
        const uint8_t *found =
            memmem(s->text.data + from, s->text.len - from, s->stops[i], strlen(s->stops[i]));
        if (!found || (size_t)(found - s->text.data) >= best) continue;
        best = (size_t)(found - s->text.data);
        s->stop = i;
    }
    if (best == SIZE_MAX) return;
    s->text.len = best;
    s->n_pending = 0;
    s->stopped = true;
}

/* Bytes at the end that may be the beginning of a stop text. */
static size_t held_back(const rt_text_stream *s) {
    size_t n = 0, left = s->text.len - s->n_taken;
    for (size_t i = 0; i < s->n_stops; i++) {
        size_t len = strlen(s->stops[i]), most = len - 1 < left ? len - 1 : left;
        for (size_t part = most; part > n; part--)
            if (memcmp(s->text.data + s->text.len - part, s->stops[i], part) == 0) n = part;
    }
    return n;
}

/* ---- in and out -------------------------------------------------------------------------- */

void rt_text_stream_add(rt_text_stream *s, const char *bytes, size_t n) {
    for (size_t i = 0; i < n && !s->stopped; i++) {
        s->pending[s->n_pending++] = (unsigned char)bytes[i];
        settle(s);
    }
    if (!s->stopped && s->text.len > s->n_taken) find_stop(s, s->n_taken);
}

void rt_text_stream_end(rt_text_stream *s) {
    if (s->n_pending) replace_pending(s, s->n_pending);
}

gguf_str rt_text_stream_take(rt_text_stream *s, bool ended) {
    size_t end = s->text.len - (ended || s->stopped ? 0 : held_back(s));
    if (end == s->n_taken) return (gguf_str){"", 0};
    gguf_str part = {(const char *)s->text.data + s->n_taken, end - s->n_taken};
    s->n_taken = end;
    return part;
}
