/* Bounded JSON reading on top of jansson: size cap, duplicate names refused, file and byte in
 * errors. */
#ifndef LIBGGUF_JSON_H
#define LIBGGUF_JSON_H

#include "libgguf/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GGUF_JSON_MAX_BYTES (512u << 20)

typedef enum gguf_json_numbers {
    GGUF_JSON_EXACT_INTS, /* integers beyond 64 bits are an error */
    /* As Python reads: integers become reals, for files with numbers such as 1e30; NaN, Infinity
     * and -Infinity are values that gguf_json_nonfinite knows and that are no numbers. */
    GGUF_JSON_WIDE_INTS
} gguf_json_numbers;

/* Parse `len` bytes at `text`; escaped NULs in strings are kept (use json_string_length).
 *   file, off  where the text comes from, for errors; may be NULL and GGUF_NO_OFFSET
 *   out        json_decref by the caller
 * Errors: GGUF_E_FORMAT, GGUF_E_DUPLICATE, GGUF_E_NOMEM. */
gguf_code gguf_json_parse(const char *text, size_t len, gguf_json_numbers numbers, const char *file,
                          int64_t off, json_t **out, gguf_error *err);

/* Read and parse a whole file. A missing file is GGUF_E_IO. */
gguf_code gguf_json_load(const char *path, gguf_json_numbers numbers, json_t **out,
                         gguf_error *err);

/* A number that is a non-negative integer (also when parsed as a real). */
bool gguf_json_u64(const json_t *value, uint64_t *out);

/* "NaN", "Infinity" or "-Infinity" if that is the value; otherwise NULL. */
const char *gguf_json_nonfinite(const json_t *value);

/* A string of any bytes; each that is not UTF-8 becomes U+FFFD. */
json_t *gguf_json_bytes(const char *bytes, size_t n);

#endif
