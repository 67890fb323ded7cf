/* Sizes of a session's memory, in one place: sessions allocate what is computed here. */
#include "runtime/footprint.h"

#include "libgguf/checked.h"
#include "quant/quant.h"
#include "runtime/mapped.h"
#include "runtime/session_internal.h"

#include <inttypes.h>
#include <math.h>

enum {
    MAX_BATCH = 1 << 16,
    MAX_THREADS = 1 << 10,
    MAX_POSITIONS = 1 << 28,
    MAX_SEQS = 1 << 16,
    MAX_PAGES = 1 << 28
};

/* Measured on x86-64 Linux: a process that has run a small model needs 4 MiB of code, libraries and
 * small copies; the tokenizer of a vocabulary of 128,000 tokens needs 4.8 times the bytes of its
 * metadata, the mapped pages of the metadata included. */
static const uint64_t base_bytes = UINT64_C(4) << 20;
static const uint64_t tokenizer_share = 5;
/* Of the stack of each thread, touched. */
static const uint64_t thread_bytes = UINT64_C(64) << 10;

static gguf_code check_opts(const rt_session_opts *opts, gguf_error *err) {
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
    return GGUF_OK;
}

/* Pages that the layers with a window need: for every sequence its window, and the batch. */
static uint64_t window_pages(const rt_hparams *hp, const rt_layout *l) {
    uint64_t of_seq = hp->n_window / RT_KV_PAGE_TOKENS + UINT64_C(3);
    uint64_t n = l->n_seqs * of_seq + l->n_batch / RT_KV_PAGE_TOKENS + 1;
    uint64_t all = (uint64_t)l->n_seqs * l->n_table;
    return n < all ? n : all;
}

static gguf_code layout_pages(const rt_hparams *hp, const rt_session_opts *opts, rt_layout *out,
                              gguf_error *err) {
    uint64_t n_tokens = opts->n_kv_tokens, n_full;
    uint32_t n_windowed = rt_layers_count(&hp->windowed, hp->n_layer);
    rt_pool_layout *full = &out->pools[RT_KV_FULL], *window = &out->pools[RT_KV_WINDOW];
    out->n_table = (out->n_ctx + RT_KV_PAGE_TOKENS - 1) / RT_KV_PAGE_TOKENS;
    n_full = n_tokens ? (n_tokens + RT_KV_PAGE_TOKENS - 1) / RT_KV_PAGE_TOKENS
                      : (uint64_t)out->n_seqs * out->n_table;
    uint64_t n_window = n_windowed ? window_pages(hp, out) : 0;
    if (n_full > MAX_PAGES || n_window > MAX_PAGES)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "the KV cache of %" PRIu32 " sequences of %" PRIu32 " tokens is too large",
                         out->n_seqs, out->n_ctx);
    uint64_t layer_bytes = RT_KV_PAGE_TOKENS * (out->row_bytes_k + out->row_bytes_v);
    *full = (rt_pool_layout){.n_layers = hp->n_layer - n_windowed, .n_pages = (uint32_t)n_full};
    *window = (rt_pool_layout){.n_layers = n_windowed, .n_pages = (uint32_t)n_window};
    full->page_bytes = full->n_layers * layer_bytes;
    window->page_bytes = window->n_layers * layer_bytes;
    uint64_t full_bytes, window_bytes;
    if (!gguf_mul_u64(n_full, full->page_bytes, &full_bytes) ||
        !gguf_mul_u64(n_window, window->page_bytes, &window_bytes) ||
        !gguf_add_u64(full_bytes, window_bytes, &out->kv_bytes) || out->kv_bytes > SIZE_MAX / 2)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "the KV cache of %" PRIu32 " tokens is too large", out->n_ctx);
    window->off = full_bytes;
    return GGUF_OK;
}

static gguf_code layout_kv(const rt_hparams *hp, const rt_session_opts *opts, rt_layout *out,
                           gguf_error *err) {
    /* With latent attention a value is the first part of its key. */
    uint32_t type = opts->kv_type;
    uint32_t n_k = hp->n_head_kv * hp->head_dim_k, n_v = hp->n_head_kv * hp->head_dim_v;
    out->row_bytes_k = quant_row_bytes(type, n_k);
    out->row_bytes_v = hp->n_latent ? 0 : quant_row_bytes(type, n_v);
    if (out->row_bytes_k == 0 || (out->row_bytes_v == 0 && !hp->n_latent))
        return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                         "the KV type %s needs rows of whole blocks; this model's have %" PRIu32
                         " and %" PRIu32 " elements",
                         gguf_type_name(type), n_k, n_v);
    return layout_pages(hp, opts, out, err);
}

/* Reserve n_cols floats for every token of a batch, from a cache line on. */
static uint64_t reserve(uint64_t *end, uint64_t n_batch, uint64_t n_cols) {
    uint64_t off = *end;
    *end = (off + n_batch * n_cols * sizeof(float) + 63) / 64 * 64;
    return off;
}

static void layout_attention(const rt_hparams *hp, rt_layout *out, uint64_t *end) {
    uint32_t n = out->n_batch;
    out->q = reserve(end, n, (uint64_t)hp->n_head * hp->head_dim_k);
    out->k = reserve(end, n, (uint64_t)hp->n_head_kv * hp->head_dim_k);
    out->v = reserve(end, n, (uint64_t)hp->n_head_kv * hp->head_dim_v);
    out->heads = reserve(end, n, (uint64_t)hp->n_head * hp->head_dim_v);
    if (hp->n_latent == 0) return;
    uint32_t plain = hp->head_dim_plain > hp->head_dim_out ? hp->head_dim_plain : hp->head_dim_out;
    out->q_heads = reserve(end, n, (uint64_t)hp->n_head * (hp->head_dim_plain + hp->n_rot));
    out->q_low = reserve(end, n, hp->n_latent_q);
    out->plain = reserve(end, n, (uint64_t)hp->n_head * plain);
    out->head_groups = reserve(end, 1, hp->n_head + UINT64_C(1) + (uint64_t)n * hp->n_head);
}

static void layout_ffn(const rt_hparams *hp, rt_layout *out, uint64_t *end) {
    uint64_t n = out->n_batch, n_rows = n * hp->n_expert_used;
    uint32_t n_ff = hp->n_ff > hp->n_ff_shared ? hp->n_ff : hp->n_ff_shared;
    out->gate = reserve(end, n, n_ff);
    out->up = reserve(end, n, n_ff);
    if (hp->n_expert == 0) return;
    out->router = reserve(end, n, hp->n_expert);
    out->experts = reserve(end, n_rows, 1);
    out->weights = reserve(end, n_rows, 1);
    out->first = reserve(end, 1, hp->n_expert + UINT64_C(1));
    out->rows = reserve(end, n_rows, 1);
    out->expert_gate = reserve(end, n_rows, hp->n_ff_expert);
    out->expert_up = reserve(end, n_rows, hp->n_ff_expert);
    out->expert_out = reserve(end, n_rows, hp->n_embd);
    out->shared_gate = reserve(end, n, 1);
}

static void layout_pools(rt_layout *out, uint64_t *end) {
    for (int c = 0; c < RT_N_KV_CLASSES; c++) {
        rt_pool_layout *p = &out->pools[c];
        p->free = reserve(end, p->n_pages, 1);
        p->refs = reserve(end, p->n_pages, 1);
        p->tables = reserve(end, p->page_bytes ? out->n_seqs : 0, out->n_table);
    }
    out->seqs = reserve(end, out->n_seqs, sizeof(rt_seq) / sizeof(float));
    out->n_chunks = out->n_batch / RT_CHUNK_TOKENS + out->n_seqs;
    out->chunks = reserve(end, out->n_chunks, sizeof(rt_chunk) / sizeof(float));
}

static void layout_compute(const rt_hparams *hp, rt_layout *out) {
    uint64_t end = 0;
    uint32_t n = out->n_batch;
    out->x = reserve(&end, n, hp->n_embd);
    out->h = reserve(&end, n, hp->n_embd);
    out->out = reserve(&end, n, hp->n_embd);
    uint64_t attention = end, ffn = end;
    layout_attention(hp, out, &attention);
    layout_ffn(hp, out, &ffn);
    end = attention > ffn ? attention : ffn;
    out->rope = reserve(&end, n, 2 * (uint64_t)hp->n_rot);
    out->ids = reserve(&end, n, 1);
    out->out_rows = reserve(&end, n, 1);
    layout_pools(out, &end);
    out->work = end;
    out->compute_bytes = end + rt_cpu_work_bytes(hp, n, out->n_threads);
}

gguf_code rt_layout_make(const rt_hparams *hp, const rt_session_opts *opts, rt_layout *out,
                         gguf_error *err) {
    *out = (rt_layout){0};
    gguf_code code = check_opts(opts, err);
    if (code) return code;
    out->n_ctx = opts->n_ctx ? opts->n_ctx : hp->n_ctx_train;
    out->n_seqs = opts->n_seqs ? opts->n_seqs : 1;
    out->n_batch = opts->n_batch < out->n_ctx ? opts->n_batch : out->n_ctx;
    if (out->n_seqs > 1) out->n_batch = opts->n_batch;
    /* Every token sees the whole sequence, so a sequence is computed at once. */
    if (!hp->causal && out->n_batch < out->n_ctx) out->n_batch = out->n_ctx;
    out->n_threads = opts->n_threads ? opts->n_threads : gguf_usable_cores();
    code = layout_kv(hp, opts, out, err);
    if (!code) layout_compute(hp, out);
    return code;
}

static gguf_code sum_up(rt_footprint *f, gguf_error *err) {
    if (gguf_add_u64(f->resident_bytes, f->kv_bytes, &f->total_bytes) &&
        gguf_add_u64(f->total_bytes, f->compute_bytes, &f->total_bytes) &&
        gguf_add_u64(f->total_bytes, f->overhead_bytes, &f->total_bytes))
        return GGUF_OK;
    return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "the sum of all sizes overflows");
}

gguf_code rt_footprint_of(const rt_hparams *hp, const rt_session_opts *opts, uint64_t weights_bytes,
                          uint64_t n_meta_bytes, rt_footprint *out, gguf_error *err) {
    rt_session_opts defaults = rt_session_defaults();
    rt_layout layout;
    *out = (rt_footprint){.weights_bytes = weights_bytes, .resident_bytes = weights_bytes};
    gguf_code code = rt_layout_make(hp, opts ? opts : &defaults, &layout, err);
    if (code) return code;
    out->kv_bytes = layout.kv_bytes;
    out->full_tokens = (uint64_t)layout.pools[RT_KV_FULL].n_pages * RT_KV_PAGE_TOKENS;
    out->window_tokens = (uint64_t)layout.pools[RT_KV_WINDOW].n_pages * RT_KV_PAGE_TOKENS;
    out->n_batch = layout.n_batch;
    out->compute_bytes = layout.compute_bytes;
    out->activation_bytes = layout.work;
    out->overhead_bytes =
        base_bytes + layout.n_threads * thread_bytes + tokenizer_share * n_meta_bytes;
    return sum_up(out, err);
}

uint64_t rt_footprint_looked_up(uint64_t table_bytes, uint64_t around_bytes, uint32_t n) {
    if (table_bytes == 0) return 0;
    double share = 1 - exp(-(double)n * (double)around_bytes / (double)table_bytes);
    return (uint64_t)(share * (double)table_bytes);
}

/* What a lookup makes resident; what finding it out did is released again. */
static uint64_t look_around(const rt_model *model, uint64_t table_bytes) {
    const gguf_tensor *t = gguf_file_find_tensor(model->file, "token_embd.weight");
    uint64_t around = rt_mapped_around(model->token_embd.data, table_bytes);
    if (t) gguf_file_release(model->file, t, 0, t->n_bytes);
    return around;
}

gguf_code rt_footprint_of_model(const rt_model *model, const rt_session_opts *opts, bool tokenizer,
                                rt_footprint *out, gguf_error *err) {
    const rt_weight *embd = &model->token_embd;
    uint64_t n_meta_bytes = gguf_file_data_off(model->file, 0);
    uint32_t n_ctx = opts && opts->n_ctx ? opts->n_ctx : model->hparams.n_ctx_train;
    gguf_code code = rt_footprint_of(&model->hparams, opts, rt_model_weights_bytes(model),
                                     tokenizer ? n_meta_bytes : 0, out, err);
    if (code) return code;
    if (embd->data != model->output.data) {
        uint64_t table_bytes = embd->n_rows * embd->row_bytes;
        uint64_t around = look_around(model, table_bytes);
        out->resident_bytes -= table_bytes - rt_footprint_looked_up(table_bytes, around, n_ctx);
    }
    if (!tokenizer) out->overhead_bytes += n_meta_bytes; /* checked when the file was opened */
    return sum_up(out, err);
}
