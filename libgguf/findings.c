/* The list of findings, and the check of UTF-8. */
#include "libgguf/verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void gguf_findings_clear(gguf_findings *f) {
    free(f->items);
    *f = (gguf_findings){0};
}

static bool make_room(gguf_findings *f) {
    if (f->n < f->room) return true;
    size_t room = f->room ? f->room * 2 : 16;
    gguf_finding *items = realloc(f->items, room * sizeof *items);
    if (!items) {
        f->out_of_memory = true;
        return false;
    }
    f->items = items;
    f->room = room;
    return true;
}

void gguf_findings_add(gguf_findings *f, int64_t off, const char *format, ...) {
    va_list args;
    if (f->n == GGUF_MAX_FINDINGS || !make_room(f)) {
        f->n_dropped++;
        return;
    }
    gguf_finding *item = &f->items[f->n++];
    item->off = off;
    va_start(args, format);
    vsnprintf(item->text, sizeof item->text, format, args);
    va_end(args);
}

/* Merge sort is stable, and quick enough for the largest list. */
static void sort_range(gguf_finding *items, gguf_finding *spare, size_t n) {
    if (n < 2) return;
    size_t half = n / 2, a = 0, b = half;
    sort_range(items, spare, half);
    sort_range(items + half, spare, n - half);
    for (size_t i = 0; i < n; i++) {
        bool left = b == n || (a < half && items[a].off <= items[b].off);
        spare[i] = items[left ? a : b];
        a += left;
        b += !left;
    }
    for (size_t i = 0; i < n; i++) items[i] = spare[i];
}

void gguf_findings_sort(gguf_findings *f) {
    gguf_finding *spare = malloc((f->n + 1) * sizeof *spare);
    if (spare) sort_range(f->items, spare, f->n);
    free(spare);
}

/* Length of the sequence at p, or 0; first continuation bytes within [lo, hi]. */
static size_t sequence(const unsigned char *p, size_t left) {
    unsigned char c = p[0], lo = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    unsigned char hi = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    size_t n = c < 0x80 ? 1 : c < 0xC2 ? 0 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : c < 0xF5 ? 4 : 0;
    if (n < 2) return n;
    if (n > left || p[1] < lo || p[1] > hi) return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    return n;
}

bool gguf_utf8_valid(const char *bytes, size_t n, size_t *at) {
    for (size_t i = 0; i < n;) {
        size_t step = sequence((const unsigned char *)bytes + i, n - i);
        *at = i;
        if (step == 0) return false;
        i += step;
    }
    return true;
}
