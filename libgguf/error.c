/* The error type: recording, names, exit statuses. */
#include "libgguf/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

gguf_code gguf_fail(gguf_error *err, gguf_code code, const char *file, int64_t offset,
                    const char *format, ...) {
    if (!err || err->code != GGUF_OK) return code;
    err->code = code;
    err->offset = offset;
    err->file[0] = '\0';
    if (file) {
        size_t len = strlen(file), cap = sizeof err->file - 1;
        snprintf(err->file, sizeof err->file, "%s", len > cap ? file + (len - cap) : file);
    }
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return code;
}

static const struct {
    const char *name;
    int exit_status;
} code_table[] = {
    [GGUF_OK] = {"ok", 0},
    [GGUF_E_CHECK] = {"check_failed", 1},
    [GGUF_E_USAGE] = {"usage", 2},
    [GGUF_E_IO] = {"io", 3},
    [GGUF_E_EXISTS] = {"exists", 3},
    [GGUF_E_TRUNCATED] = {"truncated", 4},
    [GGUF_E_FORMAT] = {"format", 4},
    [GGUF_E_LIMIT] = {"limit", 4},
    [GGUF_E_DUPLICATE] = {"duplicate", 4},
    [GGUF_E_MISSING] = {"missing", 4},
    [GGUF_E_TYPE] = {"type", 4},
    [GGUF_E_SHAPE] = {"shape", 4},
    [GGUF_E_NONFINITE] = {"nonfinite", 4},
    [GGUF_E_UNSUPPORTED] = {"unsupported", 5},
    [GGUF_E_NOMEM] = {"no_memory", 6},
    [GGUF_E_NOSPACE] = {"no_space", 6},
    [GGUF_E_CANCELLED] = {"cancelled", 130},
};

const char *gguf_code_name(gguf_code code) {
    return code_table[code].name;
}

int gguf_code_exit_status(gguf_code code) {
    return code_table[code].exit_status;
}
