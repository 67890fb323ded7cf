/* What gguf-run can do with a model. */
#ifndef TOOLS_RUN_RUN_H
#define TOOLS_RUN_RUN_H

#include "runtime/runtime.h"
#include "runtime/sample.h"
#include "tools/common/tool.h"

typedef struct run_opts {
    const char *prompt, *file;
    uint32_t n_predict, n_ctx;
    uint32_t kv_type;
    rt_sampler_opts sampler;
    bool tokenize, no_special, no_parse_special, exact;
    const char *tokens, *logits;
    const char *render, *template_file;
} run_opts;

/* Complete the prompt, streaming to stdout. */
gguf_code run_complete(tool *t, const run_opts *o, const rt_model *model, gguf_error *err);
/* Print the token ids of a text. */
gguf_code run_tokenize(tool *t, const run_opts *o, const gguf_meta *meta, gguf_error *err);
/* Write the logits of given tokens. */
gguf_code run_logits(tool *t, const run_opts *o, const rt_model *model, gguf_error *err);

/* Print the prompt that the chat template makes of a conversation in a JSON file. */
gguf_code run_render(tool *t, const run_opts *o, gguf_error *err);

#endif
