/* --prompt-cache. */
#include "runtime/engine/seq_file.h"
#include "tools/run/run.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define STEP 256 /* tokens that are evaluated at once */

/* What a generator's past is from now on. */
static gguf_code set_past(rt_generator *g, const rt_ids *prompt, gguf_error *err) {
    size_t n = rt_seq_n_past(g->session, g->seq);
    g->past.n = 0;
    if (!rt_ids_reserve(&g->past, n)) return gguf_fail_memory(err);
    memcpy(g->past.data, prompt->data, n * sizeof *prompt->data);
    g->past.n = n;
    return GGUF_OK;
}

/* In steps, each of which leaves states of recurrent layers to go back to. */
static gguf_code read_on(rt_generator *g, const rt_ids *prompt, size_t n_held, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t n, at = n_held; at + 1 < prompt->n && !code; at += n) {
        n = prompt->n - 1 - at;
        if (n > STEP) n = STEP;
        code = rt_session_eval(g->session, prompt->data + at, n, RT_LOGITS_NONE, NULL, err);
    }
    return code;
}

static gguf_code extend(const run_opts *o, rt_generator *g, const rt_ids *prompt, size_t n_held,
                        gguf_error *err) {
    gguf_error own = {0};
    gguf_code code = read_on(g, prompt, n_held, &own);
    if (code == GGUF_E_CANCELLED) return GGUF_OK; /* the answer that comes says so */
    if (!code) code = rt_seq_save(g->session, g->seq, prompt->data, o->prompt_cache, &own);
    if (code) *err = own;
    return code;
}

gguf_code run_prompt_cache(const run_opts *o, rt_generator *g, const rt_ids *prompt, size_t *n_held,
                           double *seconds, gguf_error *err) {
    double start = tool_now_s();
    uint32_t held = 0;
    gguf_code code = GGUF_OK;
    if (prompt->n == 0) return GGUF_OK; /* which has an error of its own */
    bool absent = access(o->prompt_cache, F_OK) != 0 && errno == ENOENT;
    if (!absent || o->prompt_cache_ro)
        code = rt_seq_load(g->session, g->seq, o->prompt_cache, prompt->data, prompt->n - 1, &held,
                           err);
    if (!code && held + 1 < prompt->n && !o->prompt_cache_ro)
        code = extend(o, g, prompt, held, err);
    if (!code) code = set_past(g, prompt, err);
    *n_held = held;
    *seconds = tool_now_s() - start;
    return code;
}
