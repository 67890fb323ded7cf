/* Names that a misspelt one may mean. */
#ifndef LIBGGUF_NEAR_H
#define LIBGGUF_NEAR_H

#include <stddef.h>

#define GGUF_NEAR_MAX 3

/* Start it as {.wanted = the word as it was written}; what is added must live as long. */
typedef struct gguf_near {
    const char *wanted;
    const char *names[GGUF_NEAR_MAX]; /* the nearest first */
    size_t distances[GGUF_NEAR_MAX];
    size_t n;
} gguf_near;

/* Letters to insert, to delete, to change and to swap, in any case, that make one of the other. Of
 * words beyond 64 letters the first 64 count. */
size_t gguf_distance(const char *a, size_t n_a, const char *b, size_t n_b);

/* Consider a name: it is near if a third of the letters or fewer differ, or if it begins with the
 * word; dashes, dots and blanks do not count. */
void gguf_near_add(gguf_near *near, const char *name);

/* "; did you mean 'a', 'b' or 'c'?", without those that are much farther than the nearest, or "".
 * Returns out. */
const char *gguf_near_hint(const gguf_near *near, char *out, size_t room);

#endif
