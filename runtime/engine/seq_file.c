/* The file: a header of numbers, tokens, positions of states, pages, states. All numbers are as in
 * memory; a file of a machine with another byte order is one of another model. */
#include "runtime/engine/seq_file.h"

#include "libgguf/checked.h"
#include "libgguf/hash.h"
#include "libgguf/map.h"
#include "libgguf/outfile.h"
#include "quant/quant.h"
#include "runtime/engine/session_internal.h"
#include "runtime/model/model_hash.h"
#include "runtime/model/rope_freqs.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC      "ggufseq1"
#define MAX_STATES 4096

typedef struct header {
    char magic[8];
    uint64_t model;   /* and all that the numbers depend on */
    uint64_t content; /* hash of all that follows the header */
    uint64_t n_tokens, n_states;
    uint64_t first[RT_N_KV_CLASSES], end[RT_N_KV_CLASSES]; /* pages of each class */
} header;

/* ---- what the session has ----------------------------------------------------------------- */

static gguf_code check(const rt_session *session, gguf_error *err) {
    const rt_model *model = session->model;
    const char *what = session->layout.n_places > 1       ? "layers on a device"
                       : model->ranks                     ? "layers in other processes"
                       : model->hparams.n_encoder_layer   ? "an encoder"
                       : !model->hparams.causal           ? "tokens that see all others"
                       : !session->places[0]->ops->cached ? "layers on a device"
                                                          : NULL;
    if (!what) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "the cache of a model with %s is not kept in files", what);
}

static uint64_t hash_model(const rt_session *session) {
    const rt_layout *l = &session->layout;
    const char *isa = quant_isa_name();
    uint64_t h = rt_model_hash(gguf_xxh3(isa, strlen(isa), 0), session->model);
    h = gguf_mix(gguf_mix(h, session->opts.kv_type), (uint64_t)session->opts.precision);
    h = gguf_mix(gguf_mix(h, (uint64_t)rt_rope_usual(session->model, l->n_ctx)), RT_KV_PAGE_TOKENS);
    for (int c = 0; c < RT_N_KV_CLASSES; c++)
        h = gguf_mix(gguf_mix(h, l->pools[c].n_layers), l->pools[c].page_bytes[0]);
    return gguf_mix(h, l->slots.n_slots ? l->slots.slot_bytes[0] : 0);
}

static uint8_t *page_at(const rt_session *session, int c, uint32_t page) {
    const rt_pool_layout *pool = &session->layout.pools[c];
    rt_backend *backend = session->places[0];
    return backend->ops->cached(backend, pool->off[0]) + page * pool->page_bytes[0];
}

static uint8_t *slot_at(const rt_session *session, uint32_t slot) {
    const rt_slots_layout *slots = &session->layout.slots;
    rt_backend *backend = session->places[0];
    return backend->ops->cached(backend, slots->off[0]) + slot * slots->slot_bytes[0];
}

/* ---- writing ------------------------------------------------------------------------------ */

typedef struct writer {
    gguf_outfile *file;
    uint64_t pos, hash;
    gguf_code code;
    gguf_error *err;
} writer;

static void put(writer *w, const void *bytes, uint64_t n) {
    w->hash = gguf_xxh3(bytes, n, w->hash);
    if (!w->code) w->code = gguf_outfile_write(w->file, bytes, n, w->pos, w->err);
    w->pos += n;
}

/* States that are held, the end's last. */
typedef struct held_states {
    uint32_t n;
    uint64_t positions[MAX_STATES];
    uint32_t slots[MAX_STATES];
} held_states;

static void find_states(const rt_state *state, uint32_t seq, uint32_t n_past, held_states *out) {
    uint32_t n = 0;
    out->n = 0;
    if (!state->n_slots || !n_past) return;
    for (uint32_t i = 0; i < state->n_snapshots && n < MAX_STATES - 1; i++) {
        const rt_snapshot *s = &state->snapshots[i];
        if (!s->used || s->seq != seq || s->pos >= n_past) continue;
        out->positions[n] = s->pos;
        out->slots[n++] = s->slot;
    }
    out->positions[n] = n_past;
    out->slots[n++] = state->current[seq];
    out->n = n;
}

static void put_content(writer *w, const rt_session *session, uint32_t seq, const header *h,
                        const int32_t *tokens, const held_states *states) {
    put(w, tokens, h->n_tokens * sizeof *tokens);
    put(w, states->positions, states->n * sizeof *states->positions);
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        const uint32_t *table = rt_kv_table(&session->kv, (rt_kv_class)c, seq);
        for (uint64_t i = h->first[c]; i < h->end[c]; i++)
            put(w, page_at(session, c, table[i]), session->layout.pools[c].page_bytes[0]);
    }
    for (uint32_t i = 0; i < states->n; i++)
        put(w, slot_at(session, states->slots[i]), session->layout.slots.slot_bytes[0]);
}

gguf_code rt_seq_save(const rt_session *session, uint32_t seq, const int32_t *tokens,
                      const char *path, gguf_error *err) {
    header h = {.magic = MAGIC, .n_tokens = rt_seq_n_past(session, seq)};
    writer w = {.pos = sizeof h, .err = err};
    gguf_code code = check(session, err);
    if (code) return code;
    held_states states;
    h.model = hash_model(session);
    find_states(&session->state, seq, (uint32_t)h.n_tokens, &states);
    h.n_states = states.n;
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        h.first[c] = session->kv.seqs[seq].first[c];
        h.end[c] = session->kv.seqs[seq].end[c];
    }
    code = gguf_outfile_open(path, 0, GGUF_OUT_REPLACE | GGUF_OUT_OVER_INPUT, &w.file, err);
    if (code) return code;
    put_content(&w, session, seq, &h, tokens, &states);
    h.content = w.hash;
    if (!w.code) w.code = gguf_outfile_write(w.file, &h, sizeof h, 0, err);
    if (!w.code) return gguf_outfile_commit(w.file, err);
    gguf_outfile_discard(w.file);
    return w.code;
}

/* ---- reading ------------------------------------------------------------------------------ */

typedef struct reader {
    const char *path;
    gguf_map map;
    header h;
    const int32_t *tokens;
    const uint8_t *positions;               /* [n_states] u64 */
    uint64_t pages[RT_N_KV_CLASSES], slots; /* where they begin */
} reader;

static uint64_t position(const reader *r, uint64_t i) {
    uint64_t pos;
    memcpy(&pos, r->positions + i * sizeof pos, sizeof pos);
    return pos;
}

static gguf_code damaged(const reader *r, uint64_t off, gguf_error *err) {
    return gguf_fail(err, GGUF_E_FORMAT, r->path, off, "this prompt cache is damaged");
}

/* Where the parts lie; false: not in this file. */
static bool find_parts(reader *r, const rt_session *session) {
    const rt_layout *l = &session->layout;
    const header *h = &r->h;
    uint64_t at = sizeof *h, n;
    if (h->n_tokens > INT32_MAX || h->n_states > MAX_STATES ||
        (l->slots.n_slots && h->n_tokens ? h->n_states == 0 : h->n_states != 0))
        return false;
    r->tokens = (const int32_t *)(const void *)(r->map.data + at);
    at += h->n_tokens * sizeof *r->tokens;
    r->positions = r->map.data + at;
    at += h->n_states * sizeof(uint64_t);
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        uint64_t n_pages = (h->n_tokens + RT_KV_PAGE_TOKENS - 1) / RT_KV_PAGE_TOKENS;
        if (h->first[c] > h->end[c] || h->end[c] != (l->pools[c].n_layers ? n_pages : 0))
            return false;
        r->pages[c] = at;
        if (!gguf_mul_u64(h->end[c] - h->first[c], l->pools[c].page_bytes[0], &n) ||
            !gguf_add_u64(at, n, &at))
            return false;
    }
    r->slots = at;
    return gguf_mul_u64(h->n_states, l->slots.n_slots ? l->slots.slot_bytes[0] : 0, &n) &&
           gguf_add_u64(at, n, &at) && at == r->map.n_bytes;
}

/* The same pieces as put_content's. */
static uint64_t hash_content(const reader *r, const rt_session *session) {
    const rt_layout *l = &session->layout;
    uint64_t h = gguf_xxh3(r->tokens, r->h.n_tokens * sizeof *r->tokens, 0);
    h = gguf_xxh3(r->positions, r->h.n_states * sizeof(uint64_t), h);
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        uint64_t n_bytes = l->pools[c].page_bytes[0];
        for (uint64_t i = 0; i < r->h.end[c] - r->h.first[c]; i++)
            h = gguf_xxh3(r->map.data + r->pages[c] + i * n_bytes, n_bytes, h);
    }
    for (uint64_t i = 0; i < r->h.n_states; i++)
        h = gguf_xxh3(r->map.data + r->slots + i * l->slots.slot_bytes[0], l->slots.slot_bytes[0],
                      h);
    return h;
}

static gguf_code read_header(reader *r, const rt_session *session, gguf_error *err) {
    if (r->map.n_bytes >= sizeof r->h) memcpy(&r->h, r->map.data, sizeof r->h);
    if (memcmp(r->h.magic, MAGIC, sizeof r->h.magic) != 0)
        return gguf_fail(err, GGUF_E_FORMAT, r->path, 0, "this is no prompt cache");
    if (r->h.model != hash_model(session))
        return gguf_fail(err, GGUF_E_USAGE, r->path, GGUF_NO_OFFSET,
                         "this prompt cache was made with another model, adapter, --kv-type, "
                         "--precision or instruction set");
    if (!find_parts(r, session)) return damaged(r, r->map.n_bytes, err);
    if (r->h.content != hash_content(r, session)) return damaged(r, sizeof r->h, err);
    for (uint64_t i = 0; i < r->h.n_states; i++) {
        bool last = i + 1 == r->h.n_states;
        if (last ? position(r, i) != r->h.n_tokens : position(r, i) >= r->h.n_tokens)
            return damaged(r, (uint64_t)(r->positions - r->map.data), err);
    }
    return GGUF_OK;
}

/* The last position up to n behind which all is there. */
static uint32_t find_held(const reader *r, const rt_session *session, uint32_t n) {
    uint32_t held = session->state.n_slots ? 0 : n;
    for (uint64_t i = 0; i < r->h.n_states; i++)
        if (position(r, i) <= n && position(r, i) > held) held = (uint32_t)position(r, i);
    for (int c = 0; c < RT_N_KV_CLASSES; c++)
        if (session->layout.pools[c].n_layers &&
            rt_kv_first_seen(&session->kv, (rt_kv_class)c, held) < r->h.first[c])
            return 0;
    return held;
}

static void read_pages(const reader *r, rt_session *session, uint32_t seq) {
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        const rt_seq *s = &session->kv.seqs[seq];
        const uint32_t *table = rt_kv_table(&session->kv, (rt_kv_class)c, seq);
        uint64_t n_bytes = session->layout.pools[c].page_bytes[0];
        for (uint32_t i = s->first[c]; i < s->end[c]; i++)
            memcpy(page_at(session, c, table[i]),
                   r->map.data + r->pages[c] + (i - r->h.first[c]) * n_bytes, n_bytes);
    }
}

static void read_states(const reader *r, rt_session *session, uint32_t seq, uint32_t held) {
    uint64_t n_bytes = session->layout.slots.slot_bytes[0];
    for (uint64_t i = 0; i < r->h.n_states; i++) {
        uint32_t pos = (uint32_t)position(r, i), slot;
        if (pos > held || !rt_state_restore(&session->state, seq, pos, pos == held, &slot))
            continue;
        memcpy(slot_at(session, slot), r->map.data + r->slots + i * n_bytes, n_bytes);
    }
}

gguf_code rt_seq_load(rt_session *session, uint32_t seq, const char *path, const int32_t *tokens,
                      size_t n, uint32_t *n_held, gguf_error *err) {
    reader r = {.path = path};
    uint32_t common = 0;
    *n_held = 0;
    gguf_code code = check(session, err);
    if (!code) code = gguf_map_open(path, &r.map, err);
    if (code) return code;
    code = read_header(&r, session, err);
    while (!code && common < n && common < r.h.n_tokens && common < session->layout.n_ctx &&
           tokens[common] == r.tokens[common])
        common++;
    uint32_t held = code ? 0 : find_held(&r, session, common);
    if (held) code = rt_kv_restore(&session->kv, seq, held, err);
    if (held && !code) {
        read_pages(&r, session, seq);
        read_states(&r, session, seq, held);
        *n_held = held;
    }
    gguf_map_close(&r.map);
    return code;
}
