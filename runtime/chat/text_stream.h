/* The text of an answer while it is made: bytes of tokens in, whole characters out, up to the first
 * stop text. */
#ifndef RUNTIME_CHAT_TEXT_STREAM_H
#define RUNTIME_CHAT_TEXT_STREAM_H

#include "libgguf/dynbuf.h"
#include "libgguf/gguf.h"

#include <stdbool.h>

typedef struct rt_text_stream {
    gguf_dynbuf text;         /* UTF-8; what is no character was replaced by U+FFFD */
    size_t n_taken;           /* bytes that were given out */
    unsigned char pending[4]; /* the start of a character */
    size_t n_pending;
    const char *const *stops; /* [n_stops], not empty */
    size_t n_stops;
    bool stopped;      /* a stop text was found; the text ends before it */
    size_t stop;       /* which one */
    bool invalid_utf8; /* bytes were replaced */
} rt_text_stream;

/*   stops  kept by the caller until the end */
void rt_text_stream_init(rt_text_stream *s, const char *const *stops, size_t n_stops);
void rt_text_stream_clear(rt_text_stream *s);

/* Append the bytes of a token; without effect once stopped. */
void rt_text_stream_add(rt_text_stream *s, const char *bytes, size_t n);
/* No more bytes come: what is left of a character is replaced. */
void rt_text_stream_end(rt_text_stream *s);

/* Text that was not given out before and that no stop text can take back. After rt_text_stream_end,
 * once stopped, all of the rest. Valid until the next call.
 *   ended  rt_text_stream_end was called */
gguf_str rt_text_stream_take(rt_text_stream *s, bool ended);

#endif
