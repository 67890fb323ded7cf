/* Bytes, lines, messages. */
#include "tools/run/input.h"
#include "tools/run/editor.h"
#include "tools/run/signals.h"
#include "tools/run/typing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUOTES "\"\"\""

struct input {
    editor *editor; /* NULL: plain lines */
    bool prompts;   /* also without an editor */
    bool typing;
    unsigned char bytes[4096];
    size_t n, pos;
};

input *input_open(bool terminal, const char *history, const char *const *commands) {
    input *in = calloc(1, sizeof *in);
    if (!in) return NULL;
    in->prompts = terminal;
    if (terminal) in->editor = editor_open(in, history, commands);
    if (terminal) typing_start(in->editor != NULL);
    return in;
}

void input_close(input *in) {
    if (!in) return;
    editor_close(in->editor);
    typing_hide(false);
    free(in);
}

bool input_was_typing(const input *in) {
    return in->typing;
}

/* ---- bytes ------------------------------------------------------------------------------- */

int input_byte(input *in) {
    if (in->pos < in->n) return in->bytes[in->pos++];
    int ready = atomic_load(&signals_interrupted) ? 0 : signals_wait(STDIN_FILENO);
    if (ready == 0) return INPUT_BYTE_SIGNAL;
    ssize_t n = ready < 0 ? 0 : read(STDIN_FILENO, in->bytes, sizeof in->bytes);
    in->pos = 0;
    in->n = n > 0 ? (size_t)n : 0;
    return n > 0 ? in->bytes[in->pos++] : INPUT_BYTE_END;
}

void input_unread(input *in) {
    if (in->pos) in->pos--;
}

/* ---- lines ------------------------------------------------------------------------------- */

static input_status plain_line(input *in, const char *prompt, gguf_dynbuf *out) {
    size_t start = out->len;
    if (in->prompts) {
        fputs(prompt, stdout);
        fflush(stdout);
    }
    for (;;) {
        int byte = input_byte(in);
        if (byte == INPUT_BYTE_SIGNAL && !atomic_load(&signals_interrupted)) continue;
        if (byte == INPUT_BYTE_SIGNAL) return INPUT_INTERRUPTED;
        if (byte == INPUT_BYTE_END) return out->len > start ? INPUT_MESSAGE : INPUT_END;
        if (byte == '\n') break;
        gguf_dynbuf_put(out, &(char){(char)byte}, 1);
    }
    if (out->len > start && out->data[out->len - 1] == '\r') out->len--;
    return INPUT_MESSAGE;
}

/* Append a line, without its end. */
static input_status read_line(input *in, const char *prompt, gguf_dynbuf *out) {
    input_status status = in->editor ? editor_line(in->editor, prompt, out, &in->typing)
                                     : plain_line(in, prompt, out);
    return out->code ? INPUT_FAILED : status;
}

/* ---- messages ---------------------------------------------------------------------------- */

static bool ends_with(const gguf_dynbuf *text, size_t from, const char *end) {
    size_t n = strlen(end);
    return text->len >= from + n && memcmp(text->data + text->len - n, end, n) == 0;
}

/* Lines up to one that ends with quotes; the quotes are cut off. */
static input_status read_block(input *in, gguf_dynbuf *out) {
    size_t n = strlen(QUOTES), from = n;
    while (!ends_with(out, from, QUOTES)) {
        gguf_dynbuf_put(out, "\n", 1);
        from = out->len;
        input_status status = read_line(in, ". ", out);
        if (status == INPUT_END) break;
        if (status != INPUT_MESSAGE) return status;
    }
    if (ends_with(out, n, QUOTES)) out->len -= n;
    out->len -= n;
    memmove(out->data, out->data + n, out->len);
    if (out->len && out->data[0] == '\n') memmove(out->data, out->data + 1, --out->len);
    if (out->len && out->data[out->len - 1] == '\n') out->len--;
    return INPUT_MESSAGE;
}

static input_status read_continued(input *in, gguf_dynbuf *out) {
    while (out->len && out->data[out->len - 1] == '\\') {
        out->data[out->len - 1] = '\n';
        input_status status = read_line(in, ". ", out);
        if (status == INPUT_END) break;
        if (status != INPUT_MESSAGE) return status;
    }
    return INPUT_MESSAGE;
}

static input_status read_message(input *in, gguf_dynbuf *out) {
    size_t n = strlen(QUOTES);
    input_status status = read_line(in, "> ", out);
    if (status != INPUT_MESSAGE) return status;
    bool block = out->len >= n && memcmp(out->data, QUOTES, n) == 0;
    status = block ? read_block(in, out) : read_continued(in, out);
    in->typing = true; /* more than nothing, whatever line was interrupted */
    if (status != INPUT_MESSAGE) return status;
    gguf_dynbuf_put(out, "", 1);
    if (out->code) return INPUT_FAILED;
    out->len--;
    if (in->editor && out->len) editor_remember(in->editor, (const char *)out->data);
    return status;
}

input_status input_read(input *in, gguf_dynbuf *out) {
    out->len = 0;
    in->typing = false;
    typing_hide(false);
    input_status status = read_message(in, out);
    typing_hide(true);
    return status;
}
