/* A JSON writer on a stream. */
#include "tools/common/json_out.h"
#include "tools/common/tool.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- strings ----------------------------------------------------------------------------- */

static void put_escaped(FILE *f, unsigned char c) {
    static const char letters[] = "btnvfr"; /* of 8 to 13; there is none for 11 */
    if (c == '"' || c == '\\')
        fprintf(f, "\\%c", c);
    else if (c >= 8 && c <= 13 && c != 11)
        fprintf(f, "\\%c", letters[c - 8]);
    else
        fprintf(f, "\\u%04x", c);
}

static bool is_plain(unsigned char c) {
    return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
}

/* The bytes in quotes; whether some were replaced. */
static bool put_string(FILE *f, const char *bytes, size_t n) {
    bool replaced = false;
    putc_unlocked('"', f);
    for (size_t i = 0; i < n;) {
        size_t run = i;
        while (run < n && is_plain((unsigned char)bytes[run])) run++;
        if (run > i) fwrite_unlocked(bytes + i, 1, run - i, f);
        if (run == n) break;
        size_t step = tool_utf8_len(bytes + run, n - run);
        if (step == 1 && (unsigned char)bytes[run] != 0x7F)
            put_escaped(f, (unsigned char)bytes[run]);
        else
            fwrite_unlocked(step ? bytes + run : "\xEF\xBF\xBD", 1, step ? step : 3, f);
        replaced = replaced || step == 0;
        i = run + (step ? step : 1);
    }
    putc_unlocked('"', f);
    return replaced;
}

/* ---- structure --------------------------------------------------------------------------- */

static void start_line(json_out *j) {
    putc_unlocked('\n', j->file);
    for (unsigned i = 0; i < j->depth; i++) putc_unlocked(' ', j->file);
}

static void separate(json_out *j) {
    if (j->used[j->depth]) putc_unlocked(',', j->file);
    if (j->depth > 0 && !j->flat[j->depth])
        start_line(j);
    else if (j->used[j->depth])
        putc_unlocked(' ', j->file);
    j->used[j->depth] = true;
}

static void start(json_out *j, const char *key) {
    separate(j);
    if (!key) return;
    put_string(j->file, key, strlen(key));
    fputs(": ", j->file);
}

static void open_level(json_out *j, char bracket, bool flat) {
    putc_unlocked(bracket, j->file);
    bool inside_flat = j->flat[j->depth];
    if (j->depth + 1 < JSON_OUT_DEPTH) j->depth++;
    j->used[j->depth] = false;
    j->flat[j->depth] = flat || inside_flat;
}

static void close_level(json_out *j, char bracket) {
    bool broken = j->used[j->depth] && !j->flat[j->depth];
    if (j->depth > 0) j->depth--;
    if (broken) start_line(j);
    putc_unlocked(bracket, j->file);
}

void json_out_object(json_out *j, const char *key, bool flat) {
    start(j, key);
    open_level(j, '{', flat);
}

void json_out_object_named(json_out *j, const char *key, size_t key_len, bool flat) {
    separate(j);
    put_string(j->file, key, key_len);
    fputs(": ", j->file);
    open_level(j, '{', flat);
}

void json_out_array(json_out *j, const char *key, bool flat) {
    start(j, key);
    open_level(j, '[', flat);
}

void json_out_end_object(json_out *j) {
    close_level(j, '}');
}

void json_out_end_array(json_out *j) {
    close_level(j, ']');
}

void json_out_document_end(json_out *j) {
    putc_unlocked('\n', j->file);
}

/* ---- values ------------------------------------------------------------------------------ */

static void put_u64(FILE *f, uint64_t value) {
    char digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    fwrite_unlocked(digits + n, 1, sizeof digits - n, f);
}

void json_out_u64(json_out *j, const char *key, uint64_t value) {
    start(j, key);
    put_u64(j->file, value);
}

void json_out_i64(json_out *j, const char *key, int64_t value) {
    start(j, key);
    if (value < 0) putc_unlocked('-', j->file);
    put_u64(j->file, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void json_out_bool(json_out *j, const char *key, bool value) {
    start(j, key);
    fputs(value ? "true" : "false", j->file);
}

void json_out_null(json_out *j, const char *key) {
    start(j, key);
    fputs("null", j->file);
}

void json_out_real(json_out *j, const char *key, double value) {
    char text[40];
    if (isnan(value) || isinf(value)) {
        json_out_text(j, key, isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    start(j, key);
    if (value == floor(value) && fabs(value) < 1e15) {
        if (signbit(value)) putc_unlocked('-', j->file);
        put_u64(j->file, (uint64_t)fabs(value));
        fputs(".0", j->file);
        return;
    }
    snprintf(text, sizeof text, "%.12g", value);
    fputs(text, j->file);
}

void json_out_text(json_out *j, const char *key, const char *text) {
    start(j, key);
    put_string(j->file, text, strlen(text));
}

bool json_out_bytes(json_out *j, const char *key, const char *bytes, size_t n) {
    start(j, key);
    return put_string(j->file, bytes, n);
}
