/* libedit: keys, pasted text, history. */
#include "tools/run/editor.h"

#ifndef GGUFKIT_LIBEDIT

editor *editor_open(input *in, const char *history, const char *const *commands) {
    (void)in, (void)history, (void)commands;
    return NULL;
}

void editor_close(editor *e) {
    (void)e;
}

input_status editor_line(editor *e, const char *prompt, gguf_dynbuf *out, bool *typing) {
    (void)e, (void)prompt, (void)out, (void)typing;
    return INPUT_END;
}

void editor_remember(editor *e, const char *message) {
    (void)e, (void)message;
}

#else

#include "libgguf/inputs.h"
#include "libgguf/outfile.h"
#include "tools/common/tool.h"
#include "tools/run/signals.h"

#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define N_HISTORY         1000
#define MAX_HISTORY_BYTES 16384 /* of an entry; longer messages are not kept */

/* What a terminal sends around pasted text once it is asked to. */
#define PASTE_ON          "\033[?2004h"
#define PASTE_OFF         "\033[?2004l"
#define PASTE_BEGIN       "\033[200~"
#define PASTE_END         L"\033[201~"

struct editor {
    EditLine *el;
    History *history;
    char *file; /* of the history, or NULL */
    const char *prompt;
    const char *const *commands;
    input *in;
    bool at_end, interrupted, typing;
};

static editor *editor_of(EditLine *el) {
    void *data = NULL;
    el_wget(el, EL_CLIENTDATA, &data);
    return data;
}

static char *prompt_of(EditLine *el) {
    return (char *)(uintptr_t)editor_of(el)->prompt;
}

/* ---- keys -------------------------------------------------------------------------------- */

/* Draw the line anew, from the start of the row where the cursor is. */
static void redraw(EditLine *el) {
    fputs("\r\033[J", stdout);
    fflush(stdout);
    el_set(el, EL_REFRESH);
}

/* True: wait on. */
static bool handle_signals(editor *e) {
    if (signals_continued()) {
        el_set(e->el, EL_PREP_TERM, 0);
        el_set(e->el, EL_PREP_TERM, 1);
        redraw(e->el);
    }
    if (signals_resized()) {
        el_resize(e->el);
        redraw(e->el);
    }
    if (!atomic_load(&signals_interrupted)) return true;
    const LineInfo *line = el_line(e->el);
    e->interrupted = true;
    e->typing = line->lastchar > line->buffer;
    return false;
}

static int next_byte(editor *e) {
    for (;;) {
        int byte = input_byte(e->in);
        if (byte != INPUT_BYTE_SIGNAL) return byte;
        if (!handle_signals(e)) return INPUT_BYTE_SIGNAL;
    }
}

/* The character that begins with this byte; U+FFFD for bytes that are none. */
static wchar_t decode(editor *e, int first) {
    static const wchar_t masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    char bytes[4] = {(char)first};
    size_t want = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    for (size_t n = 1; n < want; n++) {
        int byte = next_byte(e);
        if (byte < 0) return 0xFFFD;
        if ((byte & 0xC0) != 0x80) {
            input_unread(e->in);
            return 0xFFFD;
        }
        bytes[n] = (char)byte;
    }
    if (want == 0 || tool_utf8_len(bytes, want) != want) return 0xFFFD;
    wchar_t c = first & masks[want];
    for (size_t n = 1; n < want; n++) c = c << 6 | (bytes[n] & 0x3F);
    return c;
}

static int read_key(EditLine *el, wchar_t *key) {
    editor *e = editor_of(el);
    int byte = next_byte(e);
    if (byte == INPUT_BYTE_END) e->at_end = true;
    if (byte < 0) return byte == INPUT_BYTE_END ? 0 : -1;
    *key = decode(e, byte);
    return 1;
}

/* ---- pasted text ------------------------------------------------------------------------- */

/* One character of a paste: line ends in their usual form, no other control characters. */
static void add_pasted(gguf_dynbuf *text, wchar_t c) {
    if (c == '\r') c = '\n';
    if (c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7F)) gguf_dynbuf_put(text, &c, sizeof c);
}

/* Take what the terminal sends up to its end mark into the line, line ends included. */
static unsigned char insert_pasted(EditLine *el, int key) {
    static const wchar_t end[] = PASTE_END;
    size_t n_matched = 0, n_end = wcslen(end);
    wchar_t c;
    gguf_dynbuf text;
    (void)key;
    gguf_dynbuf_init(&text, INPUT_MAX_BYTES);
    while (n_matched < n_end && el_wgetc(el, &c) == 1) {
        if (c == end[n_matched]) {
            n_matched++;
            continue;
        }
        for (size_t i = 0; i < n_matched; i++) add_pasted(&text, end[i]);
        n_matched = c == end[0];
        if (!n_matched) add_pasted(&text, c);
    }
    const wchar_t *chars = (const wchar_t *)(const void *)text.data;
    size_t n = text.len / sizeof *chars;
    while (n && chars[n - 1] == '\n') n--;
    text.len = n * sizeof *chars;
    gguf_dynbuf_put_zeros(&text, sizeof *chars);
    bool inserted = n && !text.code && el_winsertstr(el, (const wchar_t *)(void *)text.data) == 0;
    gguf_dynbuf_clear(&text);
    return inserted ? CC_REFRESH : CC_NORM;
}

/* ---- Tab --------------------------------------------------------------------------------- */

/* Below the line, which is drawn anew behind them. */
static unsigned char list_commands(const editor *e, const char *start, size_t n) {
    putchar('\n');
    for (const char *const *name = e->commands; *name; name++)
        if (strncmp(*name, start, n) == 0) printf("%s  ", *name);
    putchar('\n');
    fflush(stdout);
    return CC_REDISPLAY;
}

/* Complete a command by what all that fit have in common; list them where that is nothing more. */
static unsigned char complete(EditLine *el, int key) {
    const LineInfo *line = el_line(el);
    editor *e = editor_of(el);
    size_t n = (size_t)(line->cursor - line->buffer), common = 0;
    const char *found = NULL;
    (void)key;
    if ((n && line->buffer[0] != '/') || memchr(line->buffer, ' ', n)) return CC_ERROR;
    for (const char *const *name = e->commands; *name; name++) {
        if (strncmp(*name, line->buffer, n) != 0) continue;
        if (!found) common = strlen(*name);
        for (size_t i = 0; found && i < common; i++)
            if ((*name)[i] != found[i]) common = i;
        found = *name;
    }
    if (!found) return CC_ERROR;
    if (common <= n || n == 0) return list_commands(e, line->buffer, n);
    char rest[32];
    snprintf(rest, sizeof rest, "%.*s", (int)(common - n), found + n);
    return el_insertstr(el, rest) == 0 ? CC_REFRESH : CC_ERROR;
}

static void bind_keys(EditLine *el) {
    static const char *const keys[][2] = {
        {PASTE_BEGIN, "gguf-paste"},        {"\t", "gguf-complete"},
        {"^R", "em-inc-search-prev"},       {"^W", "ed-delete-prev-word"},
        {"\033[3~", "ed-delete-next-char"}, {"\033[1~", "ed-move-to-beg"},
        {"\033[4~", "ed-move-to-end"},      {"\033[1;5C", "em-next-word"},
        {"\033[1;5D", "ed-prev-word"}};
    el_set(el, EL_ADDFN, "gguf-paste", "insert pasted text", insert_pasted);
    el_set(el, EL_ADDFN, "gguf-complete", "complete a command", complete);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        el_set(el, EL_BIND, keys[i][0], keys[i][1], NULL);
}

/* ---- history -----------------------------------------------------------------------------
 * A text file with an entry a line, newlines as \n and backslashes as \\; the newest come last. */

static void write_entry(FILE *file, const char *entry) {
    for (const char *p = entry; *p; p++) {
        if (*p == '\n' || *p == '\\') putc('\\', file);
        putc(*p == '\n' ? 'n' : *p, file);
    }
    putc('\n', file);
}

/* Turn a line of the file into an entry, in its place. */
static void decode_entry(char *line) {
    char *to = line;
    for (const char *p = line; *p && *p != '\n'; p++) {
        bool escaped = *p == '\\' && p[1] && p[1] != '\n';
        if (escaped) p++;
        *to++ = escaped && *p == 'n' ? '\n' : *p;
    }
    *to = '\0';
}

/* A long file keeps what fits into the history. */
static void shorten_file(editor *e) {
    HistEvent event;
    char *text = NULL;
    size_t n = 0;
    FILE *file = open_memstream(&text, &n);
    if (!file) return;
    for (int more = history(e->history, &event, H_LAST); more >= 0;
         more = history(e->history, &event, H_PREV))
        write_entry(file, event.str);
    if (fclose(file) == 0) gguf_outfile_save(e->file, text, n, GGUF_OUT_REPLACE, NULL);
    free(text);
}

/* What is no file is not waited for, nor appended to, except a device that takes everything. */
static FILE *open_history_file(const editor *e, int flags, const char *mode) {
    struct stat st;
    int fd = e->file ? open(e->file, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600) : -1;
    bool fits = fd >= 0 && fstat(fd, &st) == 0 &&
                (S_ISCHR(st.st_mode) || (S_ISREG(st.st_mode) && !gguf_inputs_have(&st)));
    FILE *file = fits ? fdopen(fd, mode) : NULL;
    if (!file && fd >= 0) close(fd);
    return file;
}

static void load_file(editor *e) {
    HistEvent event;
    FILE *file = open_history_file(e, O_RDONLY, "r");
    char *line = NULL;
    size_t room = 0, n = 0;
    if (!file) return;
    for (; getline(&line, &room, file) > 0; n++) {
        decode_entry(line);
        if (*line) history(e->history, &event, H_ENTER, line);
    }
    free(line);
    fclose(file);
    if (n > 2 * N_HISTORY) shorten_file(e);
}

static void open_history(editor *e, const char *file) {
    HistEvent event;
    e->history = history_init();
    if (!e->history) return;
    history(e->history, &event, H_SETSIZE, N_HISTORY);
    history(e->history, &event, H_SETUNIQUE, 1);
    el_set(e->el, EL_HIST, history, e->history);
    e->file = file ? strdup(file) : NULL;
    if (e->file) load_file(e);
}

/* The file is appended to, so that two chats at once do not lose each other's lines. */
void editor_remember(editor *e, const char *message) {
    HistEvent event;
    bool added = e->history && strlen(message) <= MAX_HISTORY_BYTES &&
                 history(e->history, &event, H_ENTER, message) > 0;
    FILE *file = added ? open_history_file(e, O_WRONLY | O_CREAT | O_APPEND, "a") : NULL;
    if (!file) return;
    write_entry(file, message);
    fclose(file);
}

/* ---- lines ------------------------------------------------------------------------------- */

static bool can_edit(void) {
    const char *terminal = getenv("TERM");
    if (!terminal || !*terminal || strcmp(terminal, "dumb") == 0) return false;
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") == 0) return true;
    return setlocale(LC_CTYPE, "C.UTF-8") != NULL;
}

editor *editor_open(input *in, const char *history, const char *const *commands) {
    editor *e = can_edit() ? calloc(1, sizeof *e) : NULL;
    if (!e) return NULL;
    e->in = in;
    e->commands = commands;
    e->el = el_init("gguf-run", stdin, stdout, stderr);
    if (!e->el) {
        free(e);
        return NULL;
    }
    el_wset(e->el, EL_CLIENTDATA, e);
    el_set(e->el, EL_PROMPT, prompt_of);
    el_set(e->el, EL_EDITOR, "emacs");
    bind_keys(e->el);
    el_wset(e->el, EL_GETCFN, read_key);
    open_history(e, history);
    el_source(e->el, NULL);
    return e;
}

void editor_close(editor *e) {
    if (!e) return;
    if (e->history) history_end(e->history);
    el_end(e->el);
    free(e->file);
    free(e);
}

static void ask_for_paste_marks(bool on) {
    fputs(on ? PASTE_ON : PASTE_OFF, stdout);
    fflush(stdout);
}

input_status editor_line(editor *e, const char *prompt, gguf_dynbuf *out, bool *typing) {
    int n = 0;
    e->prompt = prompt;
    e->at_end = e->interrupted = false;
    ask_for_paste_marks(true);
    el_set(e->el, EL_PREP_TERM, 1); /* before the prompt: what is typed behind it is echoed once */
    const char *line = el_gets(e->el, &n);
    ask_for_paste_marks(false);
    if (e->interrupted) {
        *typing = e->typing;
        return INPUT_INTERRUPTED;
    }
    if (!line || n <= 0) return INPUT_END;
    if (line[n - 1] == '\n') n--;
    gguf_dynbuf_put(out, line, (size_t)n);
    return INPUT_MESSAGE;
}

#endif
