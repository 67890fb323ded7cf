/* Sizes of a session's memory, in one place: sessions allocate what is computed here. */
#include "runtime/engine/layout.h"

#include "libgguf/checked.h"
#include "quant/quant.h"
#include "runtime/engine/kv.h"
#include "runtime/engine/state.h"
#include "runtime/model/model_internal.h"

#include <inttypes.h>

enum {
    MAX_BATCH = 1 << 16,
    MAX_THREADS = 1 << 10,
    MAX_POSITIONS = 1 << 28,
    MAX_SEQS = 1 << 16,
    MAX_PAGES = 1 << 28,
    MAX_SNAPSHOTS = 1 << 16
};

static gguf_code check_opts(const rt_hparams *hp, const rt_session_opts *opts, gguf_error *err) {
    uint32_t type = opts->kv_type;
    if (type != GGUF_TYPE_F32 && type != GGUF_TYPE_F16 && type != GGUF_TYPE_Q8_0 &&
        type != GGUF_TYPE_Q4_0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "the KV cache cannot be %s (f32, f16, q8_0 or q4_0 can)",
                         gguf_type_name(type));
    if (opts->n_batch < 1 || opts->n_batch > MAX_BATCH || opts->n_threads > MAX_THREADS ||
        opts->n_ctx > MAX_POSITIONS || opts->n_seqs > MAX_SEQS)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "a batch of %" PRIu32 ", a context of %" PRIu32 ", %" PRIu32
                         " sequences or %u threads: the limits are 1 to %d, %d, %d and %d",
                         opts->n_batch, opts->n_ctx, opts->n_seqs, opts->n_threads, MAX_BATCH,
                         MAX_POSITIONS, MAX_SEQS, MAX_THREADS);
    if (opts->n_snapshots > MAX_SNAPSHOTS || opts->n_device_layers > hp->n_layer)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%" PRIu32 " snapshots or %" PRIu32 " layers on a device: the limits are "
                         "%d and %" PRIu32,
                         opts->n_snapshots, opts->n_device_layers, MAX_SNAPSHOTS, hp->n_layer);
    return GGUF_OK;
}

/* ---- the cache ---------------------------------------------------------------------------------
 */

/* Pages that the layers with a window need: for every sequence its window, and the batch. */
static uint64_t window_pages(const rt_hparams *hp, const rt_layout *l) {
    uint64_t of_seq = hp->n_window / RT_KV_PAGE_TOKENS + UINT64_C(3);
    uint64_t n = l->n_seqs * of_seq + l->n_batch / RT_KV_PAGE_TOKENS + 1;
    uint64_t all = (uint64_t)l->n_seqs * l->n_table;
    return n < all ? n : all;
}

static gguf_code fail_blocks(uint32_t type, uint32_t n_k, uint32_t n_v, gguf_error *err) {
    return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                     "the KV type %s needs rows of whole blocks; this model's have %" PRIu32
                     " and %" PRIu32 " elements",
                     gguf_type_name(type), n_k, n_v);
}

/* What another rank computes takes nothing here; pages and slots are counted as there. */
static bool is_elsewhere(const rt_hparams *hp, uint32_t layer) {
    return layer < hp->n_layer_before || layer >= rt_hparams_end(hp);
}

/* The first layer of the same place that keeps the rows that a layer attends to. */
static uint32_t keeper_of(const rt_hparams *hp, uint32_t layer, const rt_layout *out) {
    uint32_t i = hp->layers[layer].kv_layer;
    while (i < layer &&
           (is_elsewhere(hp, i) || hp->layers[i].kv_layer != hp->layers[layer].kv_layer ||
            out->layers[i].place != out->layers[layer].place))
        i++;
    return i;
}

/* Rows for blocks of tokens, and those of their indexer, in pages that all tokens have. */
static gguf_code place_blocks(const rt_hparams *hp, uint32_t layer, uint32_t type, rt_layout *out,
                              gguf_error *err) {
    const rt_layer_hparams *of = &hp->layers[layer];
    rt_layer_layout *l = &out->layers[layer];
    rt_pool_layout *pool = &out->pools[RT_KV_FULL];
    uint64_t *end = &pool->page_bytes[l->place];
    uint32_t n_rows = rt_rows_of_page(of->n_compress);
    if (of->n_compress == 0) return GGUF_OK;
    l->row_bytes_block = quant_row_bytes(type, of->head_dim_k);
    l->row_bytes_index = of->indexes ? quant_row_bytes(type, hp->index_head_dim) : 0;
    if (of->indexes && l->row_bytes_index == 0)
        return fail_blocks(type, hp->index_head_dim, hp->index_head_dim, err);
    l->block_off = *end;
    l->index_off = l->block_off + n_rows * l->row_bytes_block;
    *end = l->index_off + n_rows * l->row_bytes_index;
    pool->n_layers++;
    return GGUF_OK;
}

/* A layer's rows in the pages of its class. */
static gguf_code place_rows(const rt_hparams *hp, uint32_t layer, uint32_t type, rt_layout *out,
                            gguf_error *err) {
    const rt_layer_hparams *of = &hp->layers[layer];
    rt_layer_layout *l = &out->layers[layer];
    rt_pool_layout *pool =
        &out->pools[rt_layers_has(&hp->windowed, layer) ? RT_KV_WINDOW : RT_KV_FULL];
    /* With latent attention a value is the first part of its key. */
    bool own_v = !rt_mixer_shares_rows(of->mixer);
    uint32_t n_k = of->n_head_kv * of->head_dim_k, n_v = of->n_head_kv * of->head_dim_v;
    uint32_t keeper = keeper_of(hp, layer, out);
    /* An encoder is done with a layer's rows when the next one comes, and with a sequence at once.
     */
    if (layer > 0 && layer < hp->n_encoder_layer && out->layers[0].place == l->place) {
        *l = out->layers[0];
        return GGUF_OK;
    }
    if (keeper != layer) {
        *l = out->layers[keeper];
        l->keeps_rows = false;
        return GGUF_OK;
    }
    l->keeps_rows = true;
    l->row_bytes_k = quant_row_bytes(type, n_k);
    l->row_bytes_v = own_v ? quant_row_bytes(type, n_v) : 0;
    if (l->row_bytes_k == 0 || (own_v && l->row_bytes_v == 0))
        return fail_blocks(type, n_k, n_v, err);
    uint64_t *end = &pool->page_bytes[l->place];
    l->k_off = *end;
    l->v_off = own_v ? *end + RT_KV_PAGE_TOKENS * l->row_bytes_k : *end;
    *end += RT_KV_PAGE_TOKENS * (l->row_bytes_k + l->row_bytes_v);
    if (of->mixer == RT_MIXER_COMPRESSED) {
        pool->n_layers++;
        return place_blocks(hp, layer, type, out, err);
    }
    l->index_off = *end;
    l->row_bytes_index = of->indexes ? quant_row_bytes(type, hp->index_head_dim) : 0;
    if (of->indexes && l->row_bytes_index == 0)
        return fail_blocks(type, hp->index_head_dim, hp->index_head_dim, err);
    *end += rt_rows_of_page(hp->index_pool) * l->row_bytes_index;
    pool->n_layers++;
    return GGUF_OK;
}

/* States in f32: the convolution's last inputs, then the matrices of the heads; or what blocks that
 * are not complete have so far. */
static void place_state(const rt_hparams *hp, uint32_t layer, rt_layout *out) {
    rt_layer_layout *l = &out->layers[layer];
    uint64_t *end = &out->slots.slot_bytes[l->place];
    l->state_off = *end;
    l->state_bytes = rt_layer_state_bytes(hp, layer);
    *end += l->state_bytes;
}

static gguf_code place_layers(const rt_hparams *hp, const rt_session_opts *opts, rt_layout *out,
                              gguf_error *err) {
    uint32_t n_first = hp->n_layer - (opts->device ? opts->n_device_layers : 0);
    gguf_code code = GGUF_OK;
    for (uint32_t i = 0; i < hp->n_layer && !code; i++) {
        rt_mixer mixer = hp->layers[i].mixer;
        if (is_elsewhere(hp, i)) {
            int kv_class = rt_layers_has(&hp->windowed, i) ? RT_KV_WINDOW : RT_KV_FULL;
            out->pools[kv_class].n_layers += rt_mixer_has_rows(mixer);
            continue;
        }
        out->layers[i].place = i >= n_first;
        if (rt_mixer_has_rows(mixer)) code = place_rows(hp, i, opts->kv_type, out, err);
        if (rt_layer_state_bytes(hp, i)) place_state(hp, i, out);
    }
    return code;
}

/* n units of n_bytes behind what the cache of a place has. */
static bool extend(uint64_t n, uint64_t n_bytes, uint64_t *off, uint64_t *end) {
    uint64_t size;
    *off = *end;
    return gguf_mul_u64(n, n_bytes, &size) && gguf_add_u64(*end, size, end);
}

static gguf_code layout_cache(const rt_hparams *hp, const rt_session_opts *opts, rt_layout *out,
                              gguf_error *err) {
    uint64_t n_tokens = opts->n_kv_tokens;
    out->n_table = (out->n_ctx + RT_KV_PAGE_TOKENS - 1) / RT_KV_PAGE_TOKENS;
    uint64_t n_full = n_tokens ? (n_tokens + RT_KV_PAGE_TOKENS - 1) / RT_KV_PAGE_TOKENS
                               : (uint64_t)out->n_seqs * out->n_table;
    uint64_t n_window = out->pools[RT_KV_WINDOW].n_layers ? window_pages(hp, out) : 0;
    bool fits = n_full <= MAX_PAGES && n_window <= MAX_PAGES;
    if (!fits)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "the KV cache of %" PRIu32 " sequences of %" PRIu32 " tokens is too large",
                         out->n_seqs, out->n_ctx);
    out->pools[RT_KV_FULL].n_pages = (uint32_t)n_full;
    out->pools[RT_KV_WINDOW].n_pages = (uint32_t)n_window;
    if (hp->n_recurrent) {
        out->slots.n_snapshots = opts->n_snapshots;
        out->slots.n_slots = 2 * out->n_seqs + out->slots.n_snapshots;
    }
    for (uint32_t p = 0; p < out->n_places; p++) {
        uint64_t *end = &out->cache_bytes[p];
        for (int c = 0; c < RT_N_KV_CLASSES; c++)
            fits &= extend(out->pools[c].n_pages, out->pools[c].page_bytes[p],
                           &out->pools[c].off[p], end);
        fits &= extend(out->slots.n_slots, out->slots.slot_bytes[p], &out->slots.off[p], end);
        if (!fits || *end > SIZE_MAX / 2)
            return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                             "the KV cache of %" PRIu32 " tokens is too large", out->n_ctx);
    }
    return GGUF_OK;
}

/* ---- the arena ---------------------------------------------------------------------------------
 */

/* Reserve n_cols floats for every token of a batch, from a cache line on. */
static uint64_t reserve(uint64_t *end, uint64_t n_batch, uint64_t n_cols) {
    uint64_t off = *end;
    *end = (off + n_batch * n_cols * sizeof(float) + 63) / 64 * 64;
    return off;
}

static uint64_t max_u64(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* The same, for rows that a product takes as its input. */
static uint64_t reserve_input(rt_layout *out, uint64_t *end, uint64_t n_batch, uint64_t n_cols) {
    out->hook_elems = max_u64(out->hook_elems, n_batch * n_cols);
    return reserve(end, n_batch, n_cols);
}

/* The widest of all layers. */
typedef struct widths {
    uint64_t q, k, v, heads;
} widths;

static widths widths_of(const rt_hparams *hp) {
    widths w = {0};
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        const rt_layer_hparams *l = &hp->layers[i];
        w.q = max_u64(w.q, (uint64_t)l->n_head * l->head_dim_k);
        w.k = max_u64(w.k, (uint64_t)l->n_head_kv * l->head_dim_k);
        w.v = max_u64(w.v, (uint64_t)l->n_head_kv * l->head_dim_v);
        w.heads = max_u64(w.heads, (uint64_t)l->n_head * l->head_dim_v);
    }
    return w;
}

/* Blocks of one size that a batch may complete: a run begins within one. */
static uint32_t max_blocks(const rt_layout *out, uint32_t n_compress) {
    return out->n_batch / n_compress + out->n_seqs;
}

static void layout_compressed(const rt_hparams *hp, rt_layout *out, uint64_t *end) {
    uint32_t n = out->n_batch, n_rows = 0;
    uint64_t width = max_u64(hp->head_dim_k, hp->index_head_dim);
    for (uint32_t i = 0; i < RT_MAX_COMPRESS && hp->n_compress[i]; i++)
        if (max_blocks(out, hp->n_compress[i]) > n_rows)
            n_rows = max_blocks(out, hp->n_compress[i]);
    out->q_low = reserve_input(out, end, n, hp->q_lora_rank);
    out->block_values = reserve(end, n, 2 * width);
    out->block_scores = reserve(end, n, 2 * width);
    out->block_rows = reserve(end, n_rows, width);
    out->out_low = reserve_input(out, end, n, (uint64_t)hp->n_out_group * hp->out_group_rank);
}

static void layout_attention(const rt_hparams *hp, rt_layout *out, uint64_t *end) {
    uint32_t n = out->n_batch;
    widths w = widths_of(hp);
    out->q = reserve(end, n, w.q);
    out->k = reserve(end, n, w.k);
    out->v = reserve(end, n, w.v);
    out->heads = reserve_input(out, end, n, w.heads);
    out->q_gated = reserve(end, hp->gated_queries ? n : 0, 2 * w.q);
    out->gates = reserve_input(out, end, hp->gated_queries || hp->gated_heads ? n : 0, w.heads);
    if (hp->index_n_head) {
        out->index_q = reserve(end, n, (uint64_t)hp->index_n_head * hp->index_head_dim);
        out->index_k = reserve(end, n, hp->index_head_dim);
        out->index_w = reserve(end, n, hp->index_n_head);
        out->index_scores = reserve(end, UINT64_C(2) * out->n_threads, out->n_ctx);
    }
    if (hp->n_out_group) layout_compressed(hp, out, end);
    if (hp->index_pool) {
        out->block_scores = reserve(end, n, hp->index_head_dim);
        out->block_rows = reserve(end, max_blocks(out, hp->index_pool), hp->index_head_dim);
    }
    if (hp->kv_expand_rank) {
        uint64_t n_head_cols = hp->qk_nope_head_dim + (uint64_t)hp->v_head_dim;
        out->q_low = reserve_input(out, end, n, hp->q_lora_rank);
        out->kv_row = reserve(end, n, hp->kv_expand_rank + (uint64_t)hp->n_rot);
        out->kv_low = reserve_input(out, end, n, hp->kv_expand_rank);
        out->kv_heads = reserve(end, n, hp->n_head * n_head_cols);
    }
    if (hp->kv_lora_rank == 0) return;
    uint64_t plain = max_u64(hp->qk_nope_head_dim, hp->v_head_dim);
    out->q_heads = reserve(end, n, (uint64_t)hp->n_head * (hp->qk_nope_head_dim + hp->n_rot));
    out->q_low = reserve_input(out, end, n, hp->q_lora_rank);
    out->plain = reserve_input(out, end, n, hp->n_head * plain);
}

static void layout_recurrent(const rt_hparams *hp, rt_layout *out, uint64_t *end) {
    uint32_t n = out->n_batch;
    if (hp->recurrent == RT_MIXER_NONE) return;
    out->ssm_in = reserve(end, n, rt_ssm_in_dim(hp));
    out->ssm_z = reserve_input(out, end, n, hp->ssm_d_inner);
    out->ssm_out = reserve(end, n, hp->ssm_d_inner);
    if (hp->recurrent == RT_MIXER_MAMBA) {
        out->ssm_x = reserve(end, n, hp->ssm_dt_rank + UINT64_C(2) * hp->ssm_d_state);
        out->ssm_low = reserve_input(out, end, n, hp->ssm_dt_rank);
        out->ssm_dt = reserve(end, n, hp->ssm_d_inner);
    }
    if (hp->recurrent == RT_MIXER_KDA) {
        out->ssm_low = reserve_input(out, end, n, hp->kda_gate_rank);
        out->kda_f = reserve(end, n, hp->ssm_d_inner);
    }
    out->ssm_ba = reserve(end, n, UINT64_C(2) * hp->ssm_dt_rank);
}

static void layout_ffn(const rt_hparams *hp, rt_layout *out, uint64_t *end) {
    uint64_t n = out->n_batch, n_rows = n * hp->n_expert_used;
    uint32_t n_ff = hp->n_ff > hp->n_ff_shared ? hp->n_ff : hp->n_ff_shared;
    out->gate = reserve_input(out, end, n, n_ff);
    out->up = reserve(end, n, n_ff);
    if (hp->n_expert == 0) return;
    out->beside = reserve(end, hp->n_ff ? n : 0, hp->n_embd);
    out->router = reserve(end, n, hp->n_expert);
    out->experts = reserve(end, n_rows, 1);
    out->weights = reserve(end, n_rows, 1);
    out->first = reserve(end, 1, hp->n_expert + UINT64_C(1));
    out->rows = reserve(end, n_rows, 1);
    out->expert_gate = reserve_input(out, end, n_rows, hp->n_ff_expert);
    out->expert_up = reserve(end, n_rows, hp->n_ff_expert);
    out->expert_out = reserve(end, n_rows, hp->n_embd);
    out->shared_gate = reserve(end, n, 1);
    if (hp->n_expert_in != hp->n_embd) out->latent = reserve_input(out, end, n, hp->n_expert_in);
}

/* A part of what goes from layer to layer. */
static rt_off reserve_stream(rt_layout *out, uint64_t *end, uint64_t n_cols) {
    rt_off off = reserve(end, out->n_batch, n_cols);
    if (n_cols) out->stream_parts[out->n_stream_parts++] = (rt_stream_part){off, n_cols};
    return off;
}

/* The stream, the keys and values that later layers share, and what all layers get of a token. */
static void layout_stream(const rt_hparams *hp, rt_layout *out, uint64_t *end) {
    uint64_t k[RT_N_KV_CLASSES] = {0}, v[RT_N_KV_CLASSES] = {0};
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        const rt_layer_hparams *l = &hp->layers[i];
        int kv_class = rt_layers_has(&hp->windowed, i) ? RT_KV_WINDOW : RT_KV_FULL;
        if (!l->kv_shared) continue;
        k[kv_class] = (uint64_t)l->n_head_kv * l->head_dim_k;
        v[kv_class] = (uint64_t)l->n_head_kv * l->head_dim_v;
    }
    if (hp->n_hyper) {
        out->out = reserve(end, out->n_batch, hp->n_embd);
        out->streams = reserve_stream(out, end, hp->n_embd);
        out->stream_stride = (out->streams - out->out) / sizeof(float);
        for (uint32_t i = 1; i < hp->n_hyper; i++) reserve_stream(out, end, hp->n_embd);
        out->x = reserve(end, out->n_batch, hp->n_embd);
    } else {
        out->x = reserve_stream(out, end, hp->n_embd);
    }
    for (uint32_t i = 1; i < hp->n_stream; i++) {
        rt_off next = reserve_stream(out, end, hp->n_embd);
        if (i == 1) out->stream_stride = (next - out->x) / sizeof(float);
    }
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        out->shared_k[c] = reserve_stream(out, end, k[c]);
        out->shared_v[c] = reserve_stream(out, end, v[c]);
    }
    /* A choice of keys is bits, two numbers to a word. */
    out->selection_words = hp->index_n_head ? out->n_table : 0;
    uint64_t chosen = UINT64_C(2) * out->selection_words * hp->index_choices;
    if (hp->index_shared)
        out->selection = reserve_stream(out, end, chosen);
    else
        out->selection = reserve(end, out->n_batch, chosen);
    out->n_carried = out->n_stream_parts;
    out->layer_embd = reserve_stream(out, end, (uint64_t)hp->n_layer * hp->n_embd_layer);
}

/* What is made of every token for all layers, and what a layer makes of that. */
static void layout_layer_embd(const rt_hparams *hp, rt_layout *out, uint64_t *end) {
    uint32_t n = out->n_batch;
    if (hp->n_embd_layer == 0) return;
    out->looked_up = reserve(end, n, (uint64_t)hp->n_layer * hp->n_embd_layer);
    out->embd_gate = reserve_input(out, end, n, hp->n_embd_layer);
    out->embd_slice = reserve(end, n, hp->n_embd_layer);
}

static void layout_hyper(const rt_hparams *hp, rt_layout *out, uint64_t *end, uint64_t *between) {
    uint32_t n = out->n_batch;
    uint64_t n_hyper = hp->n_hyper;
    out->hyper_read = reserve(end, n, n_hyper);
    out->hyper_write = reserve(end, n, n_hyper * (n_hyper + 1));
    *between = *end;
    out->hyper_mix = reserve(between, n, n_hyper * (n_hyper + 2));
    out->hyper_wide = reserve_input(out, between, n, n_hyper * hp->n_embd);
    out->hyper_next = *between;
    *between += n_hyper * out->stream_stride * sizeof(float);
}

/* What lives through a layer, and what only between its blocks. */
static void layout_streams(const rt_hparams *hp, rt_layout *out, uint64_t *end, uint64_t *between) {
    uint32_t n = out->n_batch;
    uint64_t wide = (uint64_t)hp->n_stream * hp->n_embd;
    if (hp->n_hyper) layout_hyper(hp, out, end, between);
    if (hp->n_stream < 2) return;
    out->predicted = reserve(end, n, hp->n_embd);
    out->laurel = reserve(end, n, hp->n_embd);
    *between = *end;
    out->laurel_low = reserve_input(out, between, n, hp->n_laurel);
    out->modes = reserve_input(out, between, n, hp->n_stream);
    out->coefs = reserve(between, n, (uint64_t)hp->n_stream * hp->n_stream);
    out->mixed = reserve(between, n, wide);
    out->side_by_side = reserve_input(out, between, n, wide);
}

static void layout_arena(const rt_hparams *hp, rt_layout *out) {
    uint64_t end = 0, between = 0;
    uint32_t n = out->n_batch;
    layout_stream(hp, out, &end);
    out->h = reserve_input(out, &end, n, hp->n_embd);
    if (!hp->n_hyper) out->out = reserve(&end, n, hp->n_embd);
    layout_streams(hp, out, &end, &between);
    uint64_t attention = end, recurrent = end, ffn = end, layer_embd = max_u64(end, between);
    layout_attention(hp, out, &attention);
    layout_recurrent(hp, out, &recurrent);
    layout_ffn(hp, out, &ffn);
    layout_layer_embd(hp, out, &layer_embd);
    out->logits = end;
    uint64_t logits = end + (uint64_t)out->n_out * hp->n_out * sizeof(float);
    end = max_u64(max_u64(attention, recurrent), max_u64(ffn, (logits + 63) / 64 * 64));
    end = max_u64(end, layer_embd);
    out->lora_low = reserve(&end, n, hp->n_lora_rank);
    out->lora_rows = reserve(&end, n, hp->n_lora_rows);
    out->lora_logits = reserve(&end, hp->adapted_head ? out->n_out : 0, hp->n_out);
    out->rope[0] = reserve(&end, n, hp->n_rot);
    out->rope[1] = reserve(&end, n, hp->n_rot_window);
    if (hp->n_out_group) {
        out->rope_back[0] = reserve(&end, n, hp->n_rot);
        out->rope_back[1] = reserve(&end, n, hp->n_rot_window);
    }
    for (uint32_t i = 0; i < RT_MAX_COMPRESS && hp->n_compress[i]; i++) {
        out->max_blocks[i] = max_blocks(out, hp->n_compress[i]);
        out->rope_blocks[i] = reserve(&end, out->max_blocks[i], hp->n_rot);
    }
    out->arena_bytes = end;
}

/* ---- host memory -------------------------------------------------------------------------------
 */

/* n records of n_bytes. */
static uint64_t keep(uint64_t *end, uint64_t n, uint64_t n_bytes) {
    return reserve(end, n, (n_bytes + sizeof(float) - 1) / sizeof(float));
}

static void layout_host(const rt_hparams *hp, rt_layout *out) {
    uint64_t end = 0;
    rt_slots_layout *s = &out->slots;
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        rt_pool_layout *p = &out->pools[c];
        p->free = reserve(&end, p->n_pages, 1);
        p->refs = reserve(&end, p->n_pages, 1);
        p->tables = reserve(&end, p->n_layers ? out->n_seqs : 0, out->n_table);
    }
    s->free = reserve(&end, s->n_slots, 1);
    s->refs = reserve(&end, s->n_slots, 1);
    s->current = reserve(&end, s->n_slots ? out->n_seqs : 0, 1);
    s->snapshots = keep(&end, s->n_snapshots, sizeof(rt_snapshot));
    out->seqs = keep(&end, out->n_seqs, sizeof(rt_seq));
    out->n_tiles = out->n_batch / RT_TILE_TOKENS + out->n_seqs;
    out->n_runs = 2 * out->n_seqs;
    out->tiles = keep(&end, out->n_tiles, sizeof(rt_tile));
    out->runs = keep(&end, s->n_slots ? out->n_runs : 0, sizeof(rt_run));
    out->ids = reserve(&end, out->n_batch, 1);
    out->out_rows = reserve(&end, out->n_batch, 1);
    out->angles = reserve(&end, out->n_batch, max_u64(hp->n_rot, hp->n_rot_window));
    for (uint32_t i = 0; i < RT_MAX_COMPRESS && hp->n_compress[i]; i++)
        out->block_tiles[i] =
            keep(&end, out->max_blocks[i] / RT_TILE_TOKENS + out->n_runs, sizeof(rt_tile));
    uint64_t widest = 0;
    for (size_t i = 0; i < out->n_stream_parts; i++)
        widest = max_u64(widest, out->stream_parts[i].n_cols);
    bool passes = out->n_places > 1 || hp->n_layer_before || hp->n_layer_after;
    out->stream = reserve(&end, passes ? out->n_batch : 0, widest);
    out->host_bytes = end;
}

/* ---- all ---------------------------------------------------------------------------------------
 */

static void fill_options(const rt_hparams *hp, const rt_session_opts *opts, rt_layout *out) {
    out->n_ctx = opts->n_ctx ? opts->n_ctx : hp->n_ctx_train;
    out->n_seqs = opts->n_seqs ? opts->n_seqs : 1;
    out->n_batch = opts->n_batch < out->n_ctx ? opts->n_batch : out->n_ctx;
    if (out->n_seqs > 1) out->n_batch = opts->n_batch;
    /* Every token sees the whole sequence, so a sequence is computed at once. */
    bool whole = !hp->causal || hp->n_encoder_layer;
    if (whole && out->n_batch < out->n_ctx) out->n_batch = out->n_ctx;
    out->n_threads = opts->n_threads ? opts->n_threads : gguf_usable_cores();
    out->n_places = opts->device && opts->n_device_layers ? 2 : 1;
    out->n_out = opts->n_out && opts->n_out < RT_OUT_ROWS ? opts->n_out : RT_OUT_ROWS;
    if (out->n_out > out->n_batch) out->n_out = out->n_batch;
    if (hp->n_out != hp->n_vocab) out->n_out = 0; /* rows of the stream, which is there */
}

gguf_code rt_layout_make(const rt_hparams *hp, const rt_session_opts *opts, rt_layout *out,
                         gguf_error *err) {
    *out = (rt_layout){0};
    gguf_code code = check_opts(hp, opts, err);
    if (code) return code;
    fill_options(hp, opts, out);
    code = place_layers(hp, opts, out, err);
    if (!code) code = layout_cache(hp, opts, out, err);
    if (code) return code;
    layout_arena(hp, out);
    layout_host(hp, out);
    const rt_backend_type *types[RT_MAX_PLACES] = {&rt_backend_cpu, opts->device};
    for (uint32_t p = 0; p < out->n_places; p++)
        out->work_bytes[p] =
            types[p]->work_bytes(hp, out->n_batch, out->n_threads, opts->precision);
    return GGUF_OK;
}

uint64_t rt_layout_cache_bytes(const rt_layout *layout) {
    return layout->cache_bytes[0] + layout->cache_bytes[1];
}

uint64_t rt_layout_compute_bytes(const rt_layout *layout) {
    return layout->host_bytes + layout->n_places * layout->arena_bytes + layout->work_bytes[0] +
           layout->work_bytes[1];
}
