/* Sessions: their memory, their places, and what sequences hold. */
#include "runtime/engine/session_internal.h"

#include "runtime/engine/constants.h"
#include "runtime/engine/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

rt_session_opts rt_session_defaults(void) {
    return (rt_session_opts){.n_batch = 512, .kv_type = GGUF_TYPE_F16};
}

const rt_backend_type *rt_backend_find(const char *name) {
    const rt_backend_type *device = rt_device_backend();
    if (device && strcmp(name, device->name) == 0) return device;
    return strcmp(name, rt_backend_cpu.name) == 0 ? &rt_backend_cpu : NULL;
}

/* ---- memory ------------------------------------------------------------------------------------
 */

static void *at(const rt_session *session, uint64_t off) {
    return session->host + off;
}

static void copy_page(void *ctx, rt_kv_class kv_class, uint32_t from, uint32_t to) {
    const rt_session *session = ctx;
    const rt_pool_layout *pool = &session->layout.pools[kv_class];
    for (uint32_t p = 0; p < session->layout.n_places; p++) {
        uint64_t n_bytes = pool->page_bytes[p];
        if (n_bytes)
            session->places[p]->ops->copy_cache(session->places[p], pool->off[p] + from * n_bytes,
                                                pool->off[p] + to * n_bytes, n_bytes);
    }
}

static void place_cache(rt_session *session) {
    const rt_layout *l = &session->layout;
    session->kv = (rt_kv){.seqs = at(session, l->seqs),
                          .n_seqs = l->n_seqs,
                          .n_table = l->n_table,
                          .n_window = session->model->hparams.n_window,
                          .copy = copy_page,
                          .copy_ctx = session};
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        const rt_pool_layout *p = &l->pools[c];
        session->kv.pools[c] = (rt_kv_pool){.n_layers = p->n_layers,
                                            .n_pages = p->n_pages,
                                            .free = at(session, p->free),
                                            .refs = at(session, p->refs),
                                            .tables = at(session, p->tables)};
    }
    session->state = (rt_state){.n_slots = l->slots.n_slots,
                                .n_seqs = l->n_seqs,
                                .n_snapshots = l->slots.n_snapshots,
                                .free = at(session, l->slots.free),
                                .refs = at(session, l->slots.refs),
                                .current = at(session, l->slots.current),
                                .snapshots = at(session, l->slots.snapshots)};
    rt_session_reset(session);
}

static void place_host(rt_session *session) {
    const rt_layout *l = &session->layout;
    session->tiles = at(session, l->tiles);
    session->runs = at(session, l->runs);
    session->ids = at(session, l->ids);
    session->out_rows = at(session, l->out_rows);
    session->angles = at(session, l->angles);
    session->stream = at(session, l->stream);
    place_cache(session);
}

static gguf_code open_place(rt_session *session, const rt_backend_type *type, uint32_t place,
                            gguf_error *err) {
    const rt_layout *l = &session->layout;
    rt_backend_setup setup = {.hparams = &session->model->hparams,
                              .n_batch = l->n_batch,
                              .arena_bytes = l->arena_bytes,
                              .cache_bytes = l->cache_bytes[place],
                              .precision = session->opts.precision,
                              .pool = session->pool,
                              .device = session->opts.device_name};
    rt_constant *constants = NULL;
    gguf_code code = GGUF_OK;
    if (type->constant_bytes) {
        code = rt_constants_of(session->model, session->opts.n_device_layers, &constants,
                               &setup.n_constants, err);
        if (!code)
            code = rt_constants_check(session->model, session->opts.n_device_layers, session->pool,
                                      err);
        setup.constants = constants;
    }
    if (!code) code = type->open(&setup, &session->places[place], err);
    free(constants);
    return code;
}

static gguf_code open_places(rt_session *session, gguf_error *err) {
    const rt_backend_type *types[RT_MAX_PLACES] = {&rt_backend_cpu, session->opts.device};
    gguf_code code = GGUF_OK;
    for (uint32_t p = 0; p < session->layout.n_places && !code; p++)
        code = open_place(session, types[p], p, err);
    return code;
}

static gguf_code check_positions(const rt_session *session, gguf_error *err) {
    const rt_model *model = session->model;
    if (!model->position_embd.data || session->layout.n_ctx <= model->hparams.n_ctx_train)
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "a context of %" PRIu32 ": the model has learned %" PRIu32 " positions",
                     session->layout.n_ctx, model->hparams.n_ctx_train);
}

static gguf_code check_ranks(const rt_session *session, gguf_error *err) {
    if (!session->model->ranks || !session->opts.device) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "several ranks compute a model without devices (--device none)");
}

gguf_code rt_session_new(const rt_model *model, const rt_session_opts *opts, rt_session **out,
                         gguf_error *err) {
    rt_session *session = calloc(1, sizeof *session);
    *out = NULL;
    if (!session) return gguf_fail_memory(err);
    session->model = model;
    session->opts = opts ? *opts : rt_session_defaults();
    gguf_code code = check_ranks(session, err);
    if (!code) code = rt_layout_make(&model->hparams, &session->opts, &session->layout, err);
    if (!code) code = check_positions(session, err);
    if (!code) code = gguf_pool_new(session->layout.n_threads, &session->pool, err);
    if (!code) code = open_places(session, err);
    if (!code) code = rt_allocate(session->layout.host_bytes, &session->host, err);
    if (code) {
        rt_session_free(session);
        return code;
    }
    place_host(session);
    *out = session;
    return GGUF_OK;
}

void rt_session_free(rt_session *session) {
    if (!session) return;
    for (uint32_t p = 0; p < RT_MAX_PLACES; p++)
        if (session->places[p]) session->places[p]->ops->free(session->places[p]);
    gguf_pool_free(session->pool);
    free(session->hook_rows);
    free(session->hook_groups);
    free(session->host);
    free(session);
}

const rt_device_use *rt_session_device(const rt_session *session) {
    return session->layout.n_places > 1 ? &session->places[1]->use : NULL;
}

/* ---- hooks -------------------------------------------------------------------------------------
 */

gguf_code rt_session_set_hook(rt_session *session, rt_hook_fn fn, void *ctx, gguf_error *err) {
    const rt_hparams *hp = &session->model->hparams;
    size_t n_groups =
        hp->n_expert + (size_t)1 + (size_t)session->layout.n_batch * hp->n_expert_used;
    session->hook = fn;
    session->hook_ctx = ctx;
    if (!fn || session->hook_rows) return GGUF_OK;
    session->hook_rows = malloc(session->layout.hook_elems * sizeof(float));
    session->hook_groups = malloc(n_groups * sizeof(uint32_t));
    if (session->hook_rows && session->hook_groups) return GGUF_OK;
    session->hook = NULL;
    return gguf_fail_memory(err);
}

/* ---- sequences ---------------------------------------------------------------------------------
 */

void rt_session_reset(rt_session *session) {
    rt_kv_clear(&session->kv);
    rt_state_clear(&session->state);
}

uint32_t rt_session_n_past(const rt_session *session) {
    return session->kv.seqs[0].n_past;
}

uint32_t rt_session_n_ctx(const rt_session *session) {
    return session->layout.n_ctx;
}

uint32_t rt_seq_n_past(const rt_session *session, uint32_t seq) {
    return seq < session->kv.n_seqs ? session->kv.seqs[seq].n_past : 0;
}

static gguf_code check_seq(const rt_session *session, uint32_t seq, gguf_error *err) {
    if (seq < session->kv.n_seqs) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "there is no sequence %" PRIu32 ": the session has %" PRIu32, seq,
                     session->kv.n_seqs);
}

/* The last position up to n that can be gone back to. */
static gguf_code find_held(const rt_session *session, uint32_t seq, uint32_t n, uint32_t *n_kept,
                           gguf_error *err) {
    gguf_code code = check_seq(session, seq, err);
    if (code) return code;
    uint32_t n_past = session->kv.seqs[seq].n_past;
    uint32_t held = n <= n_past ? rt_state_held(&session->state, seq, n_past, n) : n;
    if (n < session->kv.seqs[seq].n_source) held = 0;
    if (held != n && !n_kept)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "the state of sequence %" PRIu32 " is held after %" PRIu32
                         " tokens, not after %" PRIu32,
                         seq, held, n);
    *(n_kept ? n_kept : &n) = held;
    return GGUF_OK;
}

gguf_code rt_seq_truncate(rt_session *session, uint32_t seq, uint32_t n, uint32_t *n_kept,
                          gguf_error *err) {
    uint32_t kept = n;
    gguf_code code = find_held(session, seq, n, n_kept ? &kept : NULL, err);
    if (code) return code;
    uint32_t n_past = session->kv.seqs[seq].n_past;
    code = rt_kv_truncate(&session->kv, seq, kept, err);
    if (code) return code;
    rt_state_truncate(&session->state, seq, n_past, kept);
    if (n_kept) *n_kept = kept;
    return GGUF_OK;
}

gguf_code rt_seq_share(rt_session *session, uint32_t from, uint32_t to, uint32_t n,
                       uint32_t *n_kept, gguf_error *err) {
    uint32_t kept = n;
    gguf_code code = check_seq(session, to, err);
    if (!code) code = find_held(session, from, n, n_kept ? &kept : NULL, err);
    if (code) return code;
    uint32_t n_past = session->kv.seqs[from].n_past;
    code = rt_kv_share(&session->kv, from, to, kept, err);
    if (code) return code;
    if (from == to)
        rt_state_truncate(&session->state, to, n_past, kept);
    else
        rt_state_share(&session->state, from, to, n_past, kept);
    if (n_kept) *n_kept = kept;
    return GGUF_OK;
}
