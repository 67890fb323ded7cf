/* The order of lists for people: that of the file, with layers in the order of their numbers. */
#include "tools/inspect/inspect.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DIGITS 18

typedef struct place {
    const gguf_tensor *tensor;
    size_t run; /* of neighbours that are alike up to their first number */
    uint64_t number;
    size_t index;
} place;

/* Bytes before the first number of a name, and the number; its whole length where there is none. */
static size_t prefix_of(gguf_str name, uint64_t *number) {
    size_t n = 0, end;
    *number = 0;
    while (n < name.len && (name.ptr[n] < '0' || name.ptr[n] > '9')) n++;
    for (end = n; end < name.len && end < n + MAX_DIGITS; end++) {
        if (name.ptr[end] < '0' || name.ptr[end] > '9') break;
        *number = *number * 10 + (uint64_t)(name.ptr[end] - '0');
    }
    return n;
}

static int compare_places(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->run != y->run) return x->run < y->run ? -1 : 1;
    if (x->number != y->number) return x->number < y->number ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void fill_places(const gguf_file *file, place *places) {
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        places[i] = (place){.tensor = t, .index = i};
        size_t n = prefix_of(t->name, &places[i].number);
        if (i == 0) continue;
        gguf_str before = places[i - 1].tensor->name;
        uint64_t other;
        bool alike = prefix_of(before, &other) == n && n < t->name.len && n < before.len &&
                     memcmp(before.ptr, t->name.ptr, n) == 0;
        places[i].run = places[i - 1].run + !alike;
    }
}

gguf_code inspect_order_tensors(const gguf_file *file, const gguf_tensor ***out, gguf_error *err) {
    size_t n = gguf_file_n_tensors(file);
    place *places = calloc(n + 1, sizeof *places);
    const gguf_tensor **sorted = calloc(n + 1, sizeof *sorted);
    *out = sorted;
    if (places && sorted) {
        fill_places(file, places);
        qsort(places, n, sizeof *places, compare_places);
        for (size_t i = 0; i < n; i++) sorted[i] = places[i].tensor;
        free(places);
        return GGUF_OK;
    }
    free(places);
    free(sorted);
    *out = NULL;
    return gguf_fail_memory(err);
}
