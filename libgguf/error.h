/* The one error type of every layer: code, file, byte offset, bounded message. */
#ifndef LIBGGUF_ERROR_H
#define LIBGGUF_ERROR_H

#include <stddef.h>
#include <stdint.h>

typedef enum gguf_code {
    GGUF_OK = 0,
    GGUF_E_CHECK = 1,        /* a check that was asked for found a difference */
    GGUF_E_USAGE = 2,        /* wrong argument or option */
    GGUF_E_IO = 3,           /* a file cannot be opened, read or written */
    GGUF_E_EXISTS = 4,       /* the output exists and may not be replaced */
    GGUF_E_TRUNCATED = 5,    /* a file ends before what it announces */
    GGUF_E_FORMAT = 6,       /* a file breaks its format */
    GGUF_E_LIMIT = 7,        /* beyond a limit of docs/limits.md */
    GGUF_E_DUPLICATE = 8,    /* a name that must be unique occurs twice */
    GGUF_E_MISSING = 9,      /* a required key, tensor or file is absent */
    GGUF_E_TYPE = 10,        /* a key or tensor has another type than required */
    GGUF_E_SHAPE = 11,       /* a tensor has another shape than required */
    GGUF_E_NONFINITE = 12,   /* NaN or infinity where a finite number is required */
    GGUF_E_UNSUPPORTED = 13, /* valid, but not supported */
    GGUF_E_NOMEM = 14,       /* out of memory */
    GGUF_E_NOSPACE = 15,     /* out of disk space */
    GGUF_E_CANCELLED = 16    /* stopped by the caller's cancel flag */
} gguf_code;

#define GGUF_NO_OFFSET (-1)

/* Start it as {0}. The first failure wins: a set error is never overwritten. */
typedef struct gguf_error {
    gguf_code code;
    int64_t offset;    /* byte from the start of `file`, or GGUF_NO_OFFSET */
    char file[256];    /* "" when no file is concerned; a longer path keeps its end */
    char message[512]; /* without tool, file and offset */
} gguf_error;

/* Record a failure and return `code`.
 *   err    may be NULL
 *   file   may be NULL
 *   offset byte in the file, or GGUF_NO_OFFSET
 * Threads: safe as long as each thread has its own `err`. */
gguf_code gguf_fail(gguf_error *err, gguf_code code, const char *file, int64_t offset,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Always GGUF_E_NOMEM: "out of memory", with the file that was worked on (may be NULL). */
static inline gguf_code gguf_fail_memory_of(gguf_error *err, const char *file) {
    return gguf_fail(err, GGUF_E_NOMEM, file, GGUF_NO_OFFSET, "out of memory");
}

static inline gguf_code gguf_fail_memory(gguf_error *err) {
    return gguf_fail_memory_of(err, NULL);
}

/* The stable lower-case name of a code, such as "truncated" (used in --json output). */
const char *gguf_code_name(gguf_code code);

/* The exit status that the command-line contract gives to a code. */
int gguf_code_exit_status(gguf_code code);

#endif
