/* Its own sessions, one sequence for each text; what was not accepted is taken back. */
#include "runtime/chat/draft_model.h"

#include "runtime/engine/pages.h"
#include "runtime/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Tokens that are read in one call. */
#define READ_STEP 512
/* A token that the model itself doubts is not worth checking. */
#define MIN_PROBABILITY 0.4
/* The weight of the newest time; a call that had more to read tells nothing of drafting. */
#define NEWEST   0.2
#define FEW_READ 4

/* What a sequence holds. */
typedef struct drafted_text {
    uint64_t owner, used;
    rt_ids ids;
} drafted_text;

struct rt_draft_model {
    rt_session *session;
    drafted_text texts[RT_DRAFT_TEXTS];
    uint32_t n_texts, n_vocab, n_out;
    uint64_t clock;
    float *logits;
    double token_s;
};

/* ---- opening ----------------------------------------------------------------------------- */

static gguf_code fail_tokens(const char *path, size_t id, gguf_error *err) {
    return gguf_fail(err, GGUF_E_UNSUPPORTED, path, GGUF_NO_OFFSET,
                     "the draft model has another vocabulary: token %zu differs", id);
}

static bool same_text(gguf_str a, gguf_str b) {
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

gguf_code rt_check_same_tokens(const rt_tokenizer *tok, const rt_tokenizer *draft,
                               const char *draft_path, gguf_error *err) {
    size_t n = rt_tokenizer_n_tokens(tok), n_draft = rt_tokenizer_n_tokens(draft);
    if (n != n_draft)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, draft_path, GGUF_NO_OFFSET,
                         "the draft model has another vocabulary: %zu tokens, not %zu", n_draft, n);
    for (size_t i = 0; i < n; i++) {
        int32_t id = (int32_t)i;
        if (!same_text(rt_token_piece(tok, id), rt_token_piece(draft, id)))
            return fail_tokens(draft_path, i, err);
    }
    return GGUF_OK;
}

static gguf_code fail_model(const rt_model *model, const char *why, gguf_error *err) {
    return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(rt_model_file(model)), GGUF_NO_OFFSET,
                     "no drafts with this model: %s", why);
}

gguf_code rt_check_returns(const rt_model *model, gguf_error *err) {
    if (rt_model_is_embedder(model)) return fail_model(model, "it makes vectors", err);
    if (rt_model_hparams(model)->n_compress[0])
        return fail_model(model, "its layers compress keys, which cannot take tokens back", err);
    return GGUF_OK;
}

gguf_code rt_check_drafts(const rt_model *model, gguf_error *err) {
    if (rt_model_hparams(model)->n_encoder_layer)
        return fail_model(model, "it has an encoder", err);
    if (rt_model_hparams(model)->n_recurrent)
        return fail_model(model, "its layers keep a state, which cannot take tokens back", err);
    return rt_check_returns(model, err);
}

rt_session_opts rt_draft_session_opts(const rt_session_opts *opts, uint32_t n_texts) {
    rt_session_opts own = rt_session_defaults();
    own.n_ctx = opts->n_ctx;
    own.n_seqs = n_texts < RT_DRAFT_TEXTS ? n_texts : RT_DRAFT_TEXTS;
    own.kv_type = GGUF_TYPE_F16;
    own.n_threads = opts->n_threads;
    own.precision = opts->precision;
    own.n_out = 1;
    own.cancel = opts->cancel;
    return own;
}

gguf_code rt_draft_model_new(const rt_model *model, const rt_session_opts *opts, uint32_t n_vocab,
                             rt_draft_model **out, gguf_error *err) {
    *out = NULL;
    gguf_code code = rt_check_drafts(model, err);
    if (code) return code;
    rt_draft_model *m = calloc(1, sizeof *m);
    if (!m) return gguf_fail_memory(err);
    m->n_texts = opts->n_seqs;
    m->n_out = rt_model_hparams(model)->n_out;
    m->n_vocab = n_vocab < m->n_out ? n_vocab : m->n_out;
    m->logits = malloc(m->n_out * sizeof *m->logits);
    code = m->logits ? rt_session_new(model, opts, &m->session, err) : gguf_fail_memory(err);
    if (code)
        rt_draft_model_free(m);
    else
        *out = m;
    return code;
}

void rt_draft_model_free(rt_draft_model *m) {
    if (!m) return;
    for (size_t i = 0; i < RT_DRAFT_TEXTS; i++) rt_ids_clear(&m->texts[i].ids);
    rt_session_free(m->session);
    free(m->logits);
    free(m);
}

double rt_draft_model_token_s(const rt_draft_model *m) {
    return m->token_s;
}

/* ---- drafting ---------------------------------------------------------------------------- */

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint32_t sequence_of(rt_draft_model *m, uint64_t owner) {
    uint32_t oldest = 0;
    for (uint32_t i = 0; i < m->n_texts; i++) {
        if (m->texts[i].owner == owner) return i;
        if (m->texts[i].used < m->texts[oldest].used) oldest = i;
    }
    m->texts[oldest].owner = owner;
    return oldest;
}

/* What the sequence and the text have in common stays, one token less than the text at least. */
static void keep_common(rt_draft_model *m, uint32_t seq, const int32_t *text, size_t n) {
    rt_ids *ids = &m->texts[seq].ids;
    size_t same = 0;
    while (same < ids->n && same + 1 < n && ids->data[same] == text[same]) same++;
    if (rt_seq_truncate(m->session, seq, (uint32_t)same, NULL, NULL)) {
        rt_seq_truncate(m->session, seq, 0, NULL, NULL);
        same = 0;
    }
    ids->n = same;
}

static bool evaluate(rt_draft_model *m, uint32_t seq, const int32_t *tokens, size_t n,
                     rt_logits which) {
    rt_ids *ids = &m->texts[seq].ids;
    const rt_span span = {seq, tokens, n, which};
    if (!rt_ids_reserve(ids, n)) return false;
    if (rt_session_eval_spans(m->session, &span, 1, m->logits, NULL)) {
        ids->n = rt_seq_n_past(m->session, seq);
        return false;
    }
    memcpy(ids->data + ids->n, tokens, n * sizeof *tokens);
    ids->n += n;
    return true;
}

/* The most likely token, or -1 where the model is to be sure of it, and is not. */
static int32_t likely_token(const rt_draft_model *m, bool sure) {
    size_t best = 0;
    double sum = 0;
    for (size_t i = 1; i < m->n_vocab; i++)
        if (m->logits[i] > m->logits[best]) best = i;
    for (size_t i = 0; i < m->n_vocab; i++)
        sum += (double)expf(m->logits[i] - m->logits[best]); /* at least 1 */
    return !sure || sum * MIN_PROBABILITY <= 1 ? (int32_t)best : -1;
}

/* False: there is more to read, or it failed. */
static bool read_text(rt_draft_model *m, uint32_t seq, const int32_t *text, size_t n,
                      size_t *n_read) {
    keep_common(m, seq, text, n);
    size_t past = m->texts[seq].ids.n, left = n - past;
    bool all = left <= READ_STEP;
    *n_read = left;
    return evaluate(m, seq, text + past, all ? left : READ_STEP,
                    all ? RT_LOGITS_LAST : RT_LOGITS_NONE) &&
           all;
}

size_t rt_draft_model_next(rt_draft_model *m, uint64_t owner, const int32_t *text, size_t n,
                           bool sure, int32_t *out, size_t most) {
    uint32_t seq = sequence_of(m, owner);
    size_t n_out = 0, n_read;
    double start = now_s();
    m->texts[seq].used = ++m->clock;
    if (n == 0 || n + most > rt_session_n_ctx(m->session)) return 0;
    if (!read_text(m, seq, text, n, &n_read)) return 0;
    while (n_out < most) {
        int32_t id = likely_token(m, sure);
        if (id < 0) break;
        out[n_out++] = id;
        if (n_out < most && !evaluate(m, seq, &id, 1, RT_LOGITS_LAST)) break;
    }
    if (n_read <= FEW_READ) {
        double took = (now_s() - start) / (double)(n_out ? n_out : 1);
        m->token_s += m->token_s > 0 ? NEWEST * (took - m->token_s) : took;
    }
    return n_out;
}
