/* A gguf-serve of our own, for the time of a measurement. */
#ifndef TOOLS_BENCH_SERVER_CHILD_H
#define TOOLS_BENCH_SERVER_CHILD_H

#include "tools/common/tool.h"

#include <sys/types.h>

/* Start as {0}. */
typedef struct server_child {
    pid_t pid;
    char url[256]; /* once it listens */
} server_child;

/* Start gguf-serve, which lies beside this program, on a port of its choice and wait until it
 * listens. Stop also after an error.
 * Errors: GGUF_E_IO it cannot be started, or it ended (its own message stands on stderr);
 * GGUF_E_CANCELLED. */
gguf_code server_child_start(server_child *s, const tool *t, const char *model, uint32_t n_users,
                             gguf_error *err);
/* Ask it to end and wait; accepts a zeroed one. */
void server_child_stop(server_child *s);

#endif
