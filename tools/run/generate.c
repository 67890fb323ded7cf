/* Evaluating a prompt behind what the cache holds, and one token after the other. */
#include "tools/run/generate.h"
#include "tools/common/tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Tokens of the prompt between two reports of progress. */
#define PROMPT_STEP 512
/* Repacking takes as long as a dozen tokens: a short answer would not get it back. */
#define REPACK_AFTER 16

static gguf_code out_of_memory(gguf_error *err) {
    return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
}

gguf_code generator_init(generator *g, rt_model *model, const rt_tokenizer *tok,
                         const rt_session_opts *session, const rt_sampler_opts *sampler,
                         gguf_error *err) {
    uint32_t n_vocab = rt_model_hparams(model)->n_vocab;
    *g = (generator){.model = model, .tok = tok, .n_exact = SIZE_MAX, .cancel = session->cancel};
    g->n_threads = session->n_threads;
    g->logits = malloc(n_vocab * sizeof *g->logits);
    if (!g->logits) return out_of_memory(err);
    gguf_code code = rt_session_new(model, session, &g->session, err);
    return code ? code : generator_set_sampler(g, sampler, err);
}

void generator_clear(generator *g) {
    rt_ids_clear(&g->past);
    rt_sampler_free(g->sampler);
    rt_session_free(g->session);
    free(g->logits);
}

gguf_code generator_set_sampler(generator *g, const rt_sampler_opts *opts, gguf_error *err) {
    rt_sampler *sampler;
    gguf_code code = rt_sampler_new(opts, rt_model_hparams(g->model)->n_vocab, &sampler, err);
    if (code) return code;
    rt_sampler_free(g->sampler);
    g->sampler = sampler;
    return GGUF_OK;
}

const char *generate_finish_name(generate_finish finish) {
    static const char *const names[] = {"stop", "length", "interrupted"};
    return names[finish];
}

void answer_clear(answer *a) {
    text_stream_clear(&a->text);
    text_stream_clear(&a->reasoning);
    rt_ids_clear(&a->ids);
}

/* ---- the cache --------------------------------------------------------------------------- */

static gguf_code append_ids(rt_ids *ids, const int32_t *more, size_t n, gguf_error *err) {
    if (ids->n + n > ids->room) {
        size_t room = 2 * (ids->n + n);
        void *grown = realloc(ids->data, room * sizeof *ids->data);
        if (!grown) return out_of_memory(err);
        ids->data = grown;
        ids->room = room;
    }
    memcpy(ids->data + ids->n, more, n * sizeof *more);
    ids->n += n;
    return GGUF_OK;
}

static bool interrupted(const generator *g) {
    return g->cancel && atomic_load(g->cancel);
}

/* Append tokens to the cache, and to the list of what it holds. An interruption is no error here:
 * who calls asks for it. */
static gguf_code eval(generator *g, const int32_t *tokens, size_t n, rt_logits which,
                      gguf_error *err) {
    gguf_error own = {0};
    gguf_code code = append_ids(&g->past, tokens, n, err);
    if (code) return code;
    code = rt_session_eval(g->session, tokens, n, which, g->logits, &own);
    g->past.n = rt_session_n_past(g->session);
    if (code == GGUF_E_CANCELLED) return GGUF_OK;
    if (code && err) *err = own;
    return code;
}

/* Keep what the cache and the prompt have in common, at least one token of the prompt less: its
 * logits are wanted. Layers with a window may have passed that position; then nothing is kept. */
static size_t keep_common(generator *g, const rt_ids *prompt) {
    size_t n = 0, most = g->past.n < g->n_exact ? g->past.n : g->n_exact;
    while (n < most && n + 1 < prompt->n && g->past.data[n] == prompt->data[n]) n++;
    g->n_exact = SIZE_MAX;
    uint32_t n_kept;
    if (rt_seq_truncate(g->session, 0, (uint32_t)n, &n_kept, NULL)) rt_session_reset(g->session);
    return g->past.n = rt_session_n_past(g->session);
}

/* Drop the older half of a full context, but for its first page. False: it is too small. */
static bool shift(generator *g, answer *out, gguf_code *code, gguf_error *err) {
    uint32_t n_pages = rt_session_n_past(g->session) / RT_PAGE_TOKENS;
    uint32_t first = RT_PAGE_TOKENS, n = n_pages / 2 * RT_PAGE_TOKENS;
    if (n_pages < 2) return false;
    *code = rt_seq_shift(g->session, 0, first, n, err);
    if (*code) {
        rt_session_reset(g->session);
        g->past.n = 0;
        return false;
    }
    g->n_exact = first;
    memmove(g->past.data + first, g->past.data + first + n,
            (g->past.n - first - n) * sizeof *g->past.data);
    g->past.n -= n;
    out->n_shifted += n;
    return true;
}

/* ---- the prompt -------------------------------------------------------------------------- */

static gguf_code eval_prompt(generator *g, const rt_ids *prompt, const generate_opts *o,
                             answer *out, gguf_error *err) {
    gguf_code code = GGUF_OK;
    out->n_prompt = prompt->n;
    out->n_reused = keep_common(g, prompt);
    for (size_t i = out->n_reused; i < prompt->n && !code && !interrupted(g);) {
        if (o->progress) o->progress(o->ctx, i - out->n_reused, prompt->n - out->n_reused);
        size_t n = prompt->n - i < PROMPT_STEP ? prompt->n - i : PROMPT_STEP;
        bool last = i + n == prompt->n;
        code = eval(g, prompt->data + i, n, last ? RT_LOGITS_LAST : RT_LOGITS_NONE, err);
        i += n;
    }
    if (o->progress) o->progress(o->ctx, prompt->n - out->n_reused, prompt->n - out->n_reused);
    if (interrupted(g)) out->finish = GENERATE_INTERRUPTED;
    return code;
}

/* ---- the answer -------------------------------------------------------------------------- */

static void add_text(const generator *g, const generate_opts *o, int32_t id, answer *out) {
    gguf_str part = rt_token_text(g->tok, id);
    channel_part what = channels_next(&out->channels, part, rt_token_is_special(g->tok, id));
    if (what == CHANNEL_REASONING && !o->show_special)
        text_stream_add(&out->reasoning, part.ptr, part.len);
    if (what != CHANNEL_ANSWER && !o->show_special) return;
    bool trim = o->trim && out->text.text.len == 0 && out->text.n_pending == 0;
    while (trim && part.len && *part.ptr == ' ') part.ptr++, part.len--;
    text_stream_add(&out->text, part.ptr, part.len);
}

static void show(const generate_opts *o, answer *out, bool ended) {
    gguf_str thought = text_stream_take(&out->reasoning, ended);
    if (o->show && thought.len) o->show(o->ctx, thought, true);
    gguf_str part = text_stream_take(&out->text, ended);
    if (o->show && part.len) o->show(o->ctx, part, false);
}

static gguf_code repack(generator *g, answer *out, gguf_error *err) {
    double start = tool_now_s();
    g->repack = false;
    gguf_code code = rt_model_repack(g->model, g->n_threads, g->cancel, err);
    out->repack_s = tool_now_s() - start;
    return code;
}

/* Make room for a token and evaluate it. */
static gguf_code eval_next(generator *g, const generate_opts *o, int32_t id, answer *out,
                           gguf_error *err) {
    gguf_code code = GGUF_OK;
    bool full = rt_session_n_past(g->session) >= rt_session_n_ctx(g->session);
    if (full && !(o->shift && shift(g, out, &code, err))) {
        out->context_full = true;
        return code;
    }
    if (g->repack && out->ids.n == REPACK_AFTER) code = repack(g, out, err);
    return code ? code : eval(g, &id, 1, RT_LOGITS_LAST, err);
}

static gguf_code generate(generator *g, const generate_opts *o, answer *out, gguf_error *err) {
    gguf_code code = GGUF_OK;
    out->finish = GENERATE_LENGTH;
    while (out->ids.n < o->n_predict && !out->context_full && !code) {
        if (interrupted(g)) {
            out->finish = GENERATE_INTERRUPTED;
            break;
        }
        int32_t id = rt_sampler_next(g->sampler, g->logits);
        if (id < 0)
            return gguf_fail(err, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET, "no logit is finite");
        if (out->first_s == 0) out->first_s = tool_now_s();
        if (rt_tokenizer_is_end(g->tok, id)) {
            out->finish = GENERATE_STOP;
            break;
        }
        code = append_ids(&out->ids, &id, 1, err);
        add_text(g, o, id, out);
        show(o, out, false);
        if (out->text.stopped) {
            out->finish = GENERATE_STOP;
            break;
        }
        if (!code && out->ids.n < o->n_predict) code = eval_next(g, o, id, out, err);
    }
    text_stream_end(&out->reasoning);
    text_stream_end(&out->text);
    show(o, out, true);
    if (!code && (out->text.text.code || out->reasoning.text.code)) code = out_of_memory(err);
    return code;
}

static gguf_code check_prompt(const generator *g, const rt_ids *prompt, gguf_error *err) {
    uint32_t n_ctx = rt_session_n_ctx(g->session);
    if (prompt->n == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "the prompt is empty");
    if (prompt->n <= n_ctx) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "the prompt takes %zu tokens, the context holds %" PRIu32
                     " (--ctx N; the model was trained with %" PRIu32 ")",
                     prompt->n, n_ctx, rt_model_hparams(g->model)->n_ctx_train);
}

gguf_code generator_answer(generator *g, const rt_ids *prompt, const generate_opts *opts,
                           answer *out, gguf_error *err) {
    double start = tool_now_s();
    *out = (answer){0};
    text_stream_init(&out->text, opts->stops, opts->n_stops);
    text_stream_init(&out->reasoning, NULL, 0);
    gguf_code code = check_prompt(g, prompt, err);
    if (!code) code = eval_prompt(g, prompt, opts, out, err);
    double ready = tool_now_s();
    out->prompt_s = ready - start;
    if (code || out->finish == GENERATE_INTERRUPTED) return code;
    rt_sampler_forget(g->sampler);
    code = generate(g, opts, out, err);
    out->generation_s = tool_now_s() - ready - out->repack_s;
    if (out->first_s != 0) out->first_s -= start;
    return code;
}
