/* What a command says on the error stream: errors, warnings, notes and progress. */
#include "tools/common/columns.h"
#include "tools/common/tool.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void tool_progress_end(tool *t) {
    if (t->progress_shown) fprintf(stderr, "\r\033[K");
    t->progress_shown = false;
}

/* ---- lines of JSON ----------------------------------------------------------------------- */

/* UTC with milliseconds: 2026-01-31T12:00:00.000Z */
static json_t *now_json(void) {
    struct timespec now;
    struct tm utc;
    char date[32], text[48];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof text, "%s.%03ldZ", date, now.tv_nsec / 1000000);
    return json_string(text);
}

static json_t *new_line(const tool *t, const char *level, const char *message) {
    json_t *line = json_object();
    json_object_set_new(line, "time", now_json());
    json_object_set_new(line, "level", json_string(level));
    json_object_set_new(line, "command", json_string(t->spec->name));
    json_object_set_new(line, "message", tool_json_bytes(message, strlen(message)));
    return line;
}

/* In one write, so that lines of several processes do not mix; takes the reference. */
static void print_line(json_t *line) {
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (text) fprintf(stderr, "%s\n", text);
    free(text);
    json_decref(line);
}

/* The end of a line that has `at` bytes already; on a terminal broken between words. */
static void print_text(const tool *t, const char *text, int at) {
    if (t->on_terminal)
        tool_print_words(stderr, text, at > 0 ? (size_t)at : 0, 2, tool_columns());
    else
        fputs(text, stderr);
    fputc('\n', stderr);
}

/* ---- messages ---------------------------------------------------------------------------- */

static void print_error_line(const tool *t, const gguf_error *err) {
    json_t *line = new_line(t, "error", err->message);
    json_object_set_new(line, "code", json_string(gguf_code_name(err->code)));
    if (err->file[0])
        json_object_set_new(line, "file", tool_json_bytes(err->file, strlen(err->file)));
    if (err->offset != GGUF_NO_OFFSET)
        json_object_set_new(line, "offset", json_integer(err->offset));
    print_line(line);
}

void tool_print_error(tool *t, const gguf_error *err) {
    char file[600], message[2400];
    if (!tool_prints(t)) return;
    tool_progress_end(t);
    if (t->log_json) {
        print_error_line(t, err);
        return;
    }
    tool_escape(err->file, strlen(err->file), file, sizeof file);
    tool_escape(err->message, strlen(err->message), message, sizeof message);
    int at = fprintf(stderr, "%s: ", t->spec->name);
    if (*file) at += fprintf(stderr, "%s: ", file);
    if (err->offset != GGUF_NO_OFFSET && *file)
        at += fprintf(stderr, "byte %" PRId64 ": ", err->offset);
    print_text(t, message, at);
}

static void print_message(tool *t, const char *level, const char *format, va_list args) {
    char text[2048], safe[4096];
    if (!tool_prints(t)) return;
    vsnprintf(text, sizeof text, format, args);
    tool_progress_end(t);
    if (t->log_json) {
        print_line(new_line(t, level, text));
        return;
    }
    bool plain = strcmp(level, "note") == 0;
    int at = fprintf(stderr, "%s: %s%s", t->spec->name, plain ? "" : level, plain ? "" : ": ");
    tool_escape(text, strlen(text), safe, sizeof safe);
    print_text(t, safe, at);
}

void tool_warn(tool *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_message(t, "warning", format, args);
    va_end(args);
}

void tool_missed(tool *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_message(t, "missed", format, args);
    va_end(args);
}

void tool_note(tool *t, const char *format, ...) {
    va_list args;
    if (t->quiet) return;
    va_start(args, format);
    print_message(t, "note", format, args);
    va_end(args);
}

/* ---- progress ---------------------------------------------------------------------------- */

static double share_of(const tool_step *s) {
    double share = s->total > 0 ? s->done / s->total : 1;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

/* Units per second so far, 0 = not known yet. */
static double rate_of(const tool_step *s) {
    double elapsed = tool_now_s() - s->started_s;
    return elapsed > 0 && s->done > 0 ? s->done / elapsed : 0;
}

/* "perplexity 9.134: 512 of 2048 tokens (25 %), 431/s, 4 s left" */
static void describe(const tool_step *s, char *out, size_t room) {
    char counted[96] = "", rates[48] = "", rest[48] = "", done[32], total[32];
    double rate = rate_of(s);
    bool bytes = s->unit && strcmp(s->unit, "bytes") == 0;
    if (bytes)
        snprintf(counted, sizeof counted, "%s of %s ",
                 tool_size_text((uint64_t)s->done, done, sizeof done),
                 tool_size_text((uint64_t)s->total, total, sizeof total));
    else if (s->unit)
        snprintf(counted, sizeof counted, "%.0f of %.0f %s ", s->done, s->total, s->unit);
    if (bytes && rate > 0)
        snprintf(rates, sizeof rates, ", %s/s", tool_size_text((uint64_t)rate, done, sizeof done));
    else if (s->unit && rate > 0)
        snprintf(rates, sizeof rates, ", %.*f/s", rate < 10 ? 2 : 0, rate);
    if (rate > 0 && s->done < s->total)
        snprintf(rest, sizeof rest, ", %.0f s left", (s->total - s->done) / rate);
    snprintf(out, room, "%s%s%s(%.0f %%)%s%s", s->what ? s->what : "",
             s->what ? s->unit ? ": " : " " : "", counted, floor(100 * share_of(s)), rates, rest);
}

static void print_step_line(const tool *t, const tool_step *s, const char *text) {
    double rate = rate_of(s);
    json_t *line = new_line(t, "progress", text);
    json_object_set_new(line, "done", json_real(s->done));
    json_object_set_new(line, "total", json_real(s->total));
    if (s->unit) json_object_set_new(line, "unit", json_string(s->unit));
    if (rate > 0) {
        json_object_set_new(line, "rate_per_s", json_real(rate));
        json_object_set_new(line, "left_s", json_real((1 - share_of(s)) * s->total / rate));
    }
    print_line(line);
}

/* Whether the share is in another tenth than the last line; a smaller one belongs to new work. */
static bool enter_tenth(tool *t, double share) {
    int tenth = (int)(share * 10 + 1e-9);
    bool entered = tenth != t->last_tenth && tenth > 0;
    t->last_tenth = tenth;
    return entered;
}

void tool_show_step(tool *t, const tool_step *step) {
    char text[300], safe[600];
    double now = tool_now_s();
    bool live = t->on_terminal && !t->log_json, ended = step->done >= step->total;
    if (live && ended) tool_progress_end(t);
    if (!t->show_progress) return;
    if (live ? ended || now - t->last_progress_s < 0.1 : !enter_tenth(t, share_of(step))) return;
    describe(step, text, sizeof text);
    tool_escape(text, strlen(text), safe, sizeof safe);
    t->last_progress_s = now;
    t->progress_shown = live;
    if (live)
        fprintf(stderr, "\r\033[K%s", safe);
    else if (t->log_json)
        print_step_line(t, step, text);
    else
        fprintf(stderr, "%s: %s\n", t->spec->name, safe);
    fflush(stderr);
}

void tool_progress(void *ctx, uint64_t done, uint64_t total) {
    tool *t = ctx;
    tool_show_step(t, &(tool_step){.unit = "bytes",
                                   .done = (double)done,
                                   .total = (double)total,
                                   .started_s = t->started_s});
}

void tool_progress_share(tool *t, const char *what, double share, double started_s) {
    tool_show_step(t,
                   &(tool_step){.what = what, .done = share, .total = 1, .started_s = started_s});
}
