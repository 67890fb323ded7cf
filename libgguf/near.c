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

size_t gguf_distance(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t row[MAX_LETTERS + 1];
    size_t n = n_a < MAX_LETTERS ? n_a : MAX_LETTERS, m = n_b < MAX_LETTERS ? n_b : MAX_LETTERS;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t exchanged = diagonal + !same_letter(a[i - 1], b[j - 1]);
            size_t least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = exchanged < least ? exchanged : least;
        }
    }
    return row[m];
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

void gguf_near_add(gguf_near *near, const char *name) {
    size_t n = strlen(near->wanted);
    size_t distance = gguf_distance(near->wanted, n, name, strlen(name));
    bool begins = n > 1 && strncasecmp(near->wanted, name, n) == 0;
    if (distance <= (n < 6 ? 1 : n / 3) || begins) insert(near, name, distance);
}

const char *gguf_near_hint(const gguf_near *near, char *out, size_t room) {
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < near->n && len < room; i++)
        len += (size_t)snprintf(out + len, room - len, "%s'%s'%s",
                                i == 0             ? "; did you mean "
                                : i + 1 == near->n ? " or "
                                                   : ", ",
                                near->names[i], i + 1 == near->n ? "?" : "");
    return out;
}
