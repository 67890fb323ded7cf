/* The text of an answer while it is made: bytes of tokens in, whole characters out, up to the first
 * stop text. */
#ifndef TOOLS_RUN_TEXT_STREAM_H
#define TOOLS_RUN_TEXT_STREAM_H

#include "libgguf/dynbuf.h"
#include "libgguf/gguf.h"

#include <stdbool.h>

typedef struct text_stream {
    gguf_dynbuf text;         /* UTF-8; what is no character was replaced by U+FFFD */
    size_t n_taken;           /* bytes that were given out */
    unsigned char pending[4]; /* the start of a character */
    size_t n_pending;
    const char *const *stops; /* [n_stops], not empty */
    size_t n_stops;
    bool stopped;      /* a stop text was found; the text ends before it */
    bool invalid_utf8; /* bytes were replaced */
} text_stream;

/*   stops  kept by the caller until the end */
void text_stream_init(text_stream *s, const char *const *stops, size_t n_stops);
void text_stream_clear(text_stream *s);

/* Append the bytes of a token; without effect once stopped. */
void text_stream_add(text_stream *s, const char *bytes, size_t n);
/* No more bytes come: what is left of a character is replaced. */
void text_stream_end(text_stream *s);

/* Text that was not given out before and that no stop text can take back. After text_stream_end, or
 * once stopped, all of the rest. Valid until the next call.
 *   ended  text_stream_end was called */
gguf_str text_stream_take(text_stream *s, bool ended);

#endif
