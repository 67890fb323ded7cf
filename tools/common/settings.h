/* The numbers that shape an answer: options of the command line, /set in a chat, the model's own
 * recommendation. */
#ifndef TOOLS_COMMON_SETTINGS_H
#define TOOLS_COMMON_SETTINGS_H

#include "libgguf/gguf.h"
#include "runtime/engine/sample.h"
#include "tools/common/tool.h"

#include <stdbool.h>

typedef struct settings {
    rt_sampler_opts sampler;
    uint32_t n_predict; /* RT_ANSWER_NO_LIMIT = until the model ends */
    unsigned given;     /* a bit for each setting that was set */
} settings;

settings settings_defaults(void);

/* Set one by its name without dashes ("top-k", "n"); names that are not settings are not touched.
 *   label  what errors call it
 *   known  may be NULL
 * Errors: GGUF_E_USAGE the value is none, or out of range. */
gguf_code settings_set(settings *s, const char *name, const char *label, const char *value,
                       bool *known, gguf_error *err);

/* Always GGUF_E_USAGE: there is no such setting; the near ones are offered. */
gguf_code settings_fail_name(const char *name, gguf_error *err);

/* Take what the model recommends (general.sampling.*) for what was not set. */
void settings_of_model(settings *s, const gguf_meta *meta);

/* Warn of those that were set and that others make useless. */
void settings_warn_unused(tool *t, const settings *s);

/* Print all, one a line. */
void settings_print(const settings *s);

#endif
