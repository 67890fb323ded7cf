/* From options to drafts. */
#include "tools/common/draft_opts.h"

#include "runtime/tokenizer/tokenizer.h"
#include "tools/common/model_locate.h"

#include <stdlib.h>
#include <string.h>

gguf_code draft_opts_lookup(draft_opts *o, const char *text, gguf_error *err) {
    static const char *const words[] = {"auto", "on", "off"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i], text) != 0) continue;
        o->lookup = (draft_lookup)i;
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "--lookup is auto, on or off, not '%s'", text);
}

gguf_code draft_opts_most(draft_opts *o, const char *text, gguf_error *err) {
    return tool_parse_u32("--draft-max", text, 1, RT_MAX_DRAFT, &o->n_most, err);
}

/* How many tokens are drafted follows the clock, which ranks do not share. */
static gguf_code check_possible(const tool *t, const rt_model *model, gguf_error *why) {
    if (!t->ranks) return rt_check_returns(model, why);
    return gguf_fail(why, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "several ranks compute a model without drafts (--lookup off)");
}

/* Which drafts are wanted and possible. */
static gguf_code choose(tool *t, const draft_opts *o, const rt_model *model, rt_draft_opts *out,
                        gguf_error *err) {
    gguf_error why = {0};
    bool wanted = o->lookup != LOOKUP_OFF || o->model;
    if (!wanted && o->n_most)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--draft-max has no effect with --lookup off and without --draft");
    bool asked = o->lookup == LOOKUP_ON || o->model || o->n_most;
    /* What comes again after a wrong draft may take what the right ones save. */
    if (!asked && rt_model_hparams(model)->n_recurrent) wanted = false;
    if (wanted && check_possible(t, model, &why)) {
        if (asked) {
            if (err) *err = why;
            return why.code;
        }
        if (t->verbose) tool_note(t, "%s", why.message);
        wanted = false;
    }
    out->n_most = !wanted ? 0 : o->n_most ? o->n_most : RT_USUAL_DRAFT;
    out->lookup = wanted && o->lookup != LOOKUP_OFF;
    return GGUF_OK;
}

static gguf_code open_model(tool *t, const draft_opts *o, const rt_tokenizer *tok, rt_model **out,
                            gguf_error *err) {
    char *path = strdup(o->model);
    rt_tokenizer *own = NULL;
    char *given = path; /* a name's path lives as long as the process */
    gguf_code code = path ? model_locate(t, &path, false, err) : gguf_fail_memory(err);
    if (!code) code = rt_model_open(path, out, err);
    if (!code) code = rt_check_drafts(*out, err);
    if (!code) code = rt_tokenizer_new(gguf_file_meta(rt_model_file(*out)), &own, err);
    if (!code) code = rt_check_same_tokens(tok, own, path, err);
    rt_tokenizer_free(own);
    free(given);
    return code;
}

gguf_code draft_open(tool *t, const draft_opts *o, const rt_model *model, const rt_tokenizer *tok,
                     const rt_session_opts *session, uint32_t n_texts, draft_source *out,
                     gguf_error *err) {
    gguf_code code = choose(t, o, model, &out->opts, err);
    if (code || !o->model) return code;
    out->session = rt_draft_session_opts(session, n_texts);
    if (!out->session.n_ctx) out->session.n_ctx = rt_model_hparams(model)->n_ctx_train;
    return open_model(t, o, tok, &out->model, err);
}

gguf_code draft_start(draft_source *d, const rt_model *model, gguf_error *err) {
    if (!d->model) return GGUF_OK;
    return rt_draft_model_new(d->model, &d->session, rt_model_hparams(model)->n_vocab, &d->drafter,
                              err);
}

void draft_close(draft_source *d) {
    rt_draft_model_free(d->drafter);
    rt_model_close(d->model);
    *d = (draft_source){0};
}
