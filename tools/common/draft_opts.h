/* --lookup, --draft and --draft-max: what is drafted beside the tokens of an answer. */
#ifndef TOOLS_COMMON_DRAFT_OPTS_H
#define TOOLS_COMMON_DRAFT_OPTS_H

#include "runtime/chat/drafts.h"
#include "tools/common/tool.h"

#define LOOKUP_HELP    "draft what the text said before: auto (where the model can), on or off (auto)"
#define DRAFT_HELP     "let a smaller model with the same vocabulary draft"
#define DRAFT_MAX_HELP "tokens that are drafted at once, at most (16)"

/* Other programs' names of these options, which have these ids. */
#define DRAFT_SPELLINGS(draft, most)                                          \
    {(draft), "-md", "MODEL", NULL}, {(draft), "model-draft", "MODEL", NULL}, \
        {(most), "draft-n", "N", NULL}, {                                     \
        (most), "spec-draft-n-max", "N", NULL                                 \
    }

typedef enum draft_lookup { LOOKUP_AUTO, LOOKUP_ON, LOOKUP_OFF } draft_lookup;

typedef struct draft_opts {
    draft_lookup lookup;
    const char *model; /* its path or name, or NULL */
    uint32_t n_most;   /* 0: the usual number */
} draft_opts;

/* Errors: GGUF_E_USAGE. */
gguf_code draft_opts_lookup(draft_opts *o, const char *text, gguf_error *err);
gguf_code draft_opts_most(draft_opts *o, const char *text, gguf_error *err);

/* What drafts an answer; start as {0}. */
typedef struct draft_source {
    rt_draft_opts opts; /* n_most 0: nothing is drafted */
    rt_model *model;
    rt_draft_model *drafter;
    rt_session_opts session; /* of the drafter */
} draft_source;

/* See what is to be drafted for a model, and open the model that drafts.
 *   session  of the answers
 *   n_texts  that are answered at once
 * Errors: GGUF_E_UNSUPPORTED what was asked for is not possible with the model, or the two models
 * have different tokens; GGUF_E_USAGE --draft-max without drafts; those of model_locate and
 * rt_model_open. */
gguf_code draft_open(tool *t, const draft_opts *o, const rt_model *model, const rt_tokenizer *tok,
                     const rt_session_opts *session, uint32_t n_texts, draft_source *out,
                     gguf_error *err);
/* Then make the memory of the model that drafts, if there is one. Errors: those of
 * rt_draft_model_new. */
gguf_code draft_start(draft_source *d, const rt_model *model, gguf_error *err);
void draft_close(draft_source *d); /* accepts a zeroed one */

#endif
