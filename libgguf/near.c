/* Distances of words, and the question that answers a misspelt one. */
#include "libgguf/near.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_LETTERS = 64 };

static bool same_letter(char a, char b) {
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t least_of(size_t a, size_t b, size_t c) {
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Rows of the table of distances between beginnings; an exchange of neighbours looks two back. */
size_t gguf_distance(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t rows[3][MAX_LETTERS + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    size_t n = n_a < MAX_LETTERS ? n_a : MAX_LETTERS, m = n_b < MAX_LETTERS ? n_b : MAX_LETTERS;
    for (size_t j = 0; j <= m; j++) last[j] = before[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t changed = last[j - 1] + !same_letter(a[i - 1], b[j - 1]);
            row[j] = least_of(last[j] + 1, row[j - 1] + 1, changed);
            bool swapped = i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                           same_letter(a[i - 2], b[j - 1]);
            if (swapped && before[j - 2] + 1 < row[j]) row[j] = before[j - 2] + 1;
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[m];
}

/* Put a name behind those that are as near. */
static void insert(gguf_near *near, const char *name, size_t distance) {
    size_t at = near->n;
    while (at > 0 && near->distances[at - 1] > distance) at--;
    if (at == GGUF_NEAR_MAX) return;
    if (near->n < GGUF_NEAR_MAX) near->n++;
    for (size_t i = near->n - 1; i > at; i--) {
        near->names[i] = near->names[i - 1];
        near->distances[i] = near->distances[i - 1];
    }
    near->names[at] = name;
    near->distances[at] = distance;
}

/* Letters and digits alone; returns how many. */
static size_t plain(const char *name, char out[MAX_LETTERS]) {
    size_t n = 0;
    for (; *name && n < MAX_LETTERS; name++)
        if (!strchr("-_./ ", *name)) out[n++] = *name;
    return n;
}

void gguf_near_add(gguf_near *near, const char *name) {
    char a[MAX_LETTERS] = "", b[MAX_LETTERS] = "";
    size_t n = plain(near->wanted, a), m = plain(name, b);
    size_t distance = gguf_distance(a, n, b, m);
    bool begins = n > 1 && n <= m && strncasecmp(a, b, n) == 0;
    if (begins && distance > 1) distance = 1;
    if (begins || (distance < n && distance <= (n < 6 ? 1 : n / 3))) insert(near, name, distance);
}

const char *gguf_near_hint(const gguf_near *near, char *out, size_t room) {
    size_t len = 0, n = 0;
    out[0] = '\0';
    while (n < near->n && near->distances[n] <= 2 * near->distances[0]) n++;
    for (size_t i = 0; i < n && len < room; i++)
        len += (size_t)snprintf(out + len, room - len, "%s'%s'%s",
                                i == 0       ? "; did you mean "
                                : i + 1 == n ? " or "
                                             : ", ",
                                near->names[i], i + 1 == n ? "?" : "");
    return out;
}
