/* Chat templates: from a conversation to the prompt that a model was trained on.
 *
 * Templates are Jinja in the settings of the transformers library: trim_blocks, lstrip_blocks, no
 * autoescape, loop controls, a sandbox in which nothing that a template is given can be changed,
 * the functions raise_exception and strftime_now, a filter tojson that escapes nothing for HTML,
 * and {% generation %}. A template reads no files and sees nothing but its variables.
 * docs/templates.md lists what there is and where it differs from Jinja. */
#ifndef RUNTIME_TEMPLATE_TEMPLATE_H
#define RUNTIME_TEMPLATE_TEMPLATE_H

#include "runtime/template/template_ast.h"

#include <jansson.h>
#include <time.h>

#define RT_TPL_MAX_STEPS  ((uint64_t)50000000) /* nodes evaluated, items visited */
#define RT_TPL_MAX_MEMORY ((size_t)256 << 20)  /* bytes of all values made */
#define RT_TPL_MAX_OUTPUT ((size_t)64 << 20)
#define RT_TPL_MAX_CALLS  600 /* expressions and statements inside each other, calls included */

typedef struct rt_template_opts {
    const struct tm *now; /* for strftime_now; NULL: a template that asks fails */
    uint64_t max_steps;   /* 0 = RT_TPL_MAX_STEPS */
    size_t max_memory;    /* 0 = RT_TPL_MAX_MEMORY */
} rt_template_opts;

/* Render a template.
 *   variables  an object: one variable per member
 *   opts       NULL for none
 *   out, len   *out is malloc'ed with a NUL behind its end; the caller frees it
 * Errors, with "line L, column C: ..." and the byte in the source: GGUF_E_CHECK the template raised
 * an exception; GGUF_E_FORMAT it does what cannot be done (an undefined value used, types that do
 * not fit, an unknown filter); GGUF_E_LIMIT; GGUF_E_NOMEM.
 * Threads: one template may be rendered in several threads. */
gguf_code rt_template_render(const rt_template *tpl, const json_t *variables,
                             const rt_template_opts *opts, char **out, size_t *len,
                             gguf_error *err);

#endif
