/* The numbers of a model, read from its keys. Files are untrusted: everything is range-checked, so
 * that later code may divide and multiply. */
#include "libgguf/ends.h"
#include "runtime/model/expression.h"
#include "runtime/model/model_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NEEDED UINT64_MAX /* in place of a default */

/* Reads one key after another; the first failure sticks. */
typedef struct key_reader {
    const rt_model_facts *facts;
    const rt_arch_compute *compute;
    const char *architecture;
    gguf_code code;
    gguf_error *err;
    char key[128];
} key_reader;

static const gguf_kv *find_key(key_reader *r, const char *name) {
    rt_full_key(r->architecture, name, r->key, sizeof r->key);
    return r->code ? NULL : gguf_meta_find(r->facts->meta, r->key);
}

static void fail_key(key_reader *r, gguf_code code, const gguf_kv *kv, const char *what) {
    if (r->code) return;
    r->code = gguf_fail(r->err, code, r->facts->path, kv ? kv->off : GGUF_NO_OFFSET,
                        "the key '%s' %s", r->key, what);
}

/* A count: an integer, or an array with one equal integer per layer. */
static bool kv_count(const gguf_kv *kv, uint64_t *out) {
    if (kv->type != GGUF_VALUE_ARRAY) return gguf_kv_u64(kv, out);
    gguf_kv_iter it = {.kv = kv};
    int64_t first, value;
    if (!gguf_kv_next_i64(&it, &first) || first < 0) return false;
    while (gguf_kv_next_i64(&it, &value))
        if (value != first) return false;
    *out = (uint64_t)first;
    return true;
}

static uint32_t read_count(key_reader *r, const char *name, uint64_t absent, uint64_t min,
                           uint64_t max) {
    const gguf_kv *kv = find_key(r, name);
    uint64_t value = absent;
    char range[96];
    snprintf(range, sizeof range, "is outside %" PRIu64 " to %" PRIu64, min, max);
    if (!kv && absent == NEEDED)
        fail_key(r, GGUF_E_MISSING, NULL, "is missing");
    else if (kv && !kv_count(kv, &value))
        fail_key(r, GGUF_E_TYPE, kv, "is not a count, or differs between layers");
    else if (value < min || value > max)
        fail_key(r, GGUF_E_LIMIT, kv, range);
    return r->code ? (uint32_t)min : (uint32_t)value;
}

/* A count for every layer, from one number or an array; the largest is returned.
 *   of_layer  a field of the first layer's numbers */
static uint32_t read_counts(key_reader *r, rt_hparams *hp, const char *name, uint64_t absent,
                            uint64_t min, uint64_t max, uint32_t *of_layer) {
    const gguf_kv *kv = find_key(r, name);
    gguf_kv_iter it = {.kv = kv};
    size_t stride = sizeof *hp->layers / sizeof *of_layer;
    uint32_t most = 0;
    bool listed = kv && kv->type == GGUF_VALUE_ARRAY;
    uint32_t same = listed ? 0 : read_count(r, name, absent, min, max);
    for (uint32_t i = 0; i < hp->n_layer && !r->code; i++) {
        int64_t value = same;
        if (listed && !gguf_kv_next_i64(&it, &value))
            fail_key(r, GGUF_E_TYPE, kv, "has no count for every layer");
        else if (value < 0 || (uint64_t)value < min || (uint64_t)value > max)
            fail_key(r, GGUF_E_LIMIT, kv, "has a count that is out of its range");
        of_layer[i * stride] = (uint32_t)value;
        if ((uint32_t)value > most) most = (uint32_t)value;
    }
    return r->code ? (uint32_t)min : most;
}

/* A finite number within [min, max]; NaN as default means that the key is needed. */
static float read_number(key_reader *r, const char *name, double absent, double min, double max) {
    const gguf_kv *kv = find_key(r, name);
    double value = absent;
    if (!kv && isnan(absent))
        fail_key(r, GGUF_E_MISSING, NULL, "is missing");
    else if (kv && !gguf_kv_f64(kv, &value))
        fail_key(r, GGUF_E_TYPE, kv, "is not a number");
    else if (!(value >= min && value <= max))
        fail_key(r, GGUF_E_LIMIT, kv, "is out of its range");
    return (float)value;
}

static bool read_flag(key_reader *r, const char *name, bool absent) {
    const gguf_kv *kv = find_key(r, name);
    bool value = absent;
    if (kv && !gguf_kv_bool(kv, &value)) fail_key(r, GGUF_E_TYPE, kv, "is not a flag");
    return value;
}

/* ---- layers -------------------------------------------------------------------------------------
 */

uint32_t rt_layers_count(const rt_layers *set, uint32_t end) {
    uint32_t n = 0;
    for (uint32_t layer = 0; layer < end; layer += 64) {
        uint64_t word = set->words[layer / 64];
        if (end - layer < 64) word &= (UINT64_C(1) << (end - layer)) - 1;
        n += (uint32_t)__builtin_popcountll(word);
    }
    return n;
}

static void add_layer(rt_layers *set, uint32_t layer) {
    set->words[layer / 64] |= UINT64_C(1) << layer % 64;
}

/* All layers but every period-th, the last of a period or the first; 0 = all. */
static rt_layers all_but(uint32_t n_layer, uint32_t period, bool first) {
    rt_layers set = {{0}};
    for (uint32_t i = 0; i < n_layer; i++)
        if (period == 0 || (i + !first) % period != 0) add_layer(&set, i);
    return set;
}

static rt_layers all_but_every(uint32_t n_layer, uint32_t period) {
    return all_but(n_layer, period, false);
}

/* One flag per layer, or a period, of which the last layer or the first is left out. */
static rt_layers read_layers_of(key_reader *r, const char *name, uint32_t n_layer, rt_layers absent,
                                bool first) {
    const gguf_kv *kv = find_key(r, name);
    uint64_t period;
    if (!kv) return absent;
    if (gguf_kv_u64(kv, &period) && period <= UINT32_MAX)
        return all_but(n_layer, (uint32_t)period, first);
    rt_layers set = {{0}};
    gguf_kv_iter it = {.kv = kv};
    int64_t flag;
    uint32_t n = 0;
    if (kv->type == GGUF_VALUE_ARRAY)
        for (; n < n_layer && gguf_kv_next_i64(&it, &flag); n++)
            if (flag) add_layer(&set, n);
    if (n != n_layer) fail_key(r, GGUF_E_TYPE, kv, "does not have one flag for every layer");
    return set;
}

static rt_layers read_layers(key_reader *r, const char *name, uint32_t n_layer, rt_layers absent) {
    return read_layers_of(r, name, n_layer, absent, false);
}

/* ---- recurrent layers -----------------------------------------------------------------------
 */

uint32_t rt_ssm_conv_dim(const rt_hparams *hp) {
    if (hp->recurrent == RT_MIXER_SHORT_CONV) return hp->n_embd;
    if (hp->recurrent == RT_MIXER_MAMBA) return hp->ssm_d_inner;
    if (hp->recurrent == RT_MIXER_KDA) return 3 * hp->ssm_d_inner;
    return hp->ssm_d_inner + 2 * hp->ssm_n_group * hp->ssm_d_state;
}

uint32_t rt_ssm_in_dim(const rt_hparams *hp) {
    if (hp->recurrent == RT_MIXER_SHORT_CONV) return 3 * hp->n_embd;
    if (hp->recurrent == RT_MIXER_MAMBA) return 2 * hp->ssm_d_inner;
    if (hp->recurrent == RT_MIXER_KDA) return 3 * hp->ssm_d_inner;
    return hp->ssm_d_inner + rt_ssm_conv_dim(hp) + hp->ssm_dt_rank;
}

uint64_t rt_ssm_conv_bytes(const rt_hparams *hp) {
    uint64_t n = (uint64_t)rt_ssm_conv_dim(hp) * (hp->ssm_d_conv - 1);
    return (n * sizeof(float) + 63) / 64 * 64;
}

uint64_t rt_ssm_matrix_bytes(const rt_hparams *hp) {
    uint64_t n = (uint64_t)hp->ssm_d_inner * hp->ssm_d_state;
    return (n * sizeof(float) + 63) / 64 * 64;
}

uint64_t rt_compressor_bytes(const rt_layer_hparams *layer, uint32_t n_cols) {
    uint64_t n = (layer->overlaps ? UINT64_C(6) : 3) * n_cols;
    return (n * sizeof(float) + 63) / 64 * 64;
}

uint64_t rt_layer_state_bytes(const rt_hparams *hp, uint32_t layer) {
    const rt_layer_hparams *l = &hp->layers[layer];
    if (rt_mixer_has_state(l->mixer)) return rt_ssm_conv_bytes(hp) + rt_ssm_matrix_bytes(hp);
    if (hp->index_pool && l->indexes) return rt_compressor_bytes(l, hp->index_head_dim);
    if (l->n_compress == 0) return 0;
    return rt_compressor_bytes(l, l->head_dim_k) +
           (l->overlaps ? rt_compressor_bytes(l, hp->index_head_dim) : 0);
}

/* ---- groups of keys -----------------------------------------------------------------------------
 */

static void read_sizes(key_reader *r, rt_hparams *hp) {
    hp->n_layer = read_count(r, "block_count", NEEDED, 1, RT_MAX_LAYERS);
    hp->n_draft_layer = read_count(r, "nextn_predict_layers", 0, 0, hp->n_layer - 1);
    hp->n_layer -= hp->n_draft_layer;
    if (r->compute->stacks == RT_STACKS_BOTH) {
        hp->n_encoder_layer = hp->n_layer;
        hp->n_layer += read_count(r, "decoder_block_count", hp->n_layer, 1,
                                  RT_MAX_LAYERS - UINT64_C(1) * hp->n_layer);
        hp->start_token = read_count(r, "decoder_start_token_id", 0, 0, RT_MAX_VOCAB);
    }
    hp->n_ctx_train = read_count(r, "context_length", NEEDED, 1, RT_MAX_CONTEXT);
    hp->n_embd = read_count(r, "embedding_length", NEEDED, 1, RT_MAX_WIDTH);
    /* Only where layers differ may one be without a feed-forward block. */
    uint64_t least = r->compute->recurrent == RT_MIXER_NONE;
    /* A model of experts alone may leave it out. */
    bool dense = find_key(r, "feed_forward_length") || !find_key(r, "expert_count");
    hp->n_ff = read_counts(r, hp, "feed_forward_length", dense ? NEEDED : 0, dense ? least : 0,
                           RT_MAX_WIDTH, &hp->layers[0].n_ff);
    /* Some families with RMS norms name it as that of layer norms. */
    bool rms =
        r->compute->norm == RT_NORM_RMS && (find_key(r, "attention.layer_norm_rms_epsilon") ||
                                            !find_key(r, "attention.layer_norm_epsilon"));
    const char *eps = rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    hp->norm_eps = read_number(r, eps, NAN, 0, 1);
    hp->post_norm_eps = read_number(r, "ggufkit.post_norm_epsilon", hp->norm_eps, 0, 1);
    hp->causal = read_flag(r, "attention.causal", !r->compute->both_directions);
    hp->parallel = read_flag(r, "use_parallel_residual", r->compute->parallel);
}

/* The numbers that are built into the clamped SwiGLU. */
static void check_swiglu(key_reader *r) {
    if (r->compute->activation != RT_ACT_SWIGLU_CLAMPED) return;
    read_number(r, "ggufkit.swiglu_limit", 7, 7, 7);
    read_number(r, "ggufkit.swiglu_alpha", 1.702, 1.70199, 1.70201);
}

/* Files without the sizes of heads before they are absorbed hold the whole product that makes keys
 * and values of a latent row, and heads of these. */
static void read_expanded(key_reader *r, rt_hparams *hp) {
    hp->kv_expand_rank = hp->kv_lora_rank;
    hp->kv_lora_rank = 0;
    hp->n_rot = read_count(r, "rope.dimension_count", NEEDED, 2, RT_MAX_HEAD_DIM);
    if (hp->n_rot >= hp->head_dim_k)
        fail_key(r, GGUF_E_LIMIT, NULL, "leaves nothing of a head that does not rotate");
    else
        hp->qk_nope_head_dim = hp->head_dim_k - hp->n_rot;
    hp->v_head_dim = hp->head_dim_v;
    if (hp->n_head_kv != hp->n_head) {
        find_key(r, "attention.head_count_kv");
        fail_key(r, GGUF_E_LIMIT, NULL, "is not the number of heads");
    }
}

static void read_latent(key_reader *r, rt_hparams *hp) {
    hp->kv_lora_rank = read_count(r, "attention.kv_lora_rank", 0, 0, RT_MAX_HEAD_DIM);
    if (hp->kv_lora_rank == 0) return;
    hp->q_lora_rank = read_count(r, "attention.q_lora_rank", 0, 0, RT_MAX_WIDTH);
    hp->latent_norm_eps = read_number(r, "ggufkit.latent_norm_epsilon", hp->norm_eps, 0, 1);
    if (!find_key(r, "attention.key_length_mla")) {
        read_expanded(r, hp);
        return;
    }
    hp->n_rot = read_count(r, "rope.dimension_count", NEEDED, 0, RT_MAX_HEAD_DIM);
    hp->qk_nope_head_dim = read_count(r, "attention.key_length_mla", NEEDED,
                                      hp->n_rot + UINT64_C(1), RT_MAX_HEAD_DIM) -
                           hp->n_rot;
    hp->v_head_dim = read_count(r, "attention.value_length_mla", NEEDED, 1, RT_MAX_HEAD_DIM);
    hp->head_dim_v = hp->kv_lora_rank; /* whatever the key says that is of no use here */
    if (hp->n_head_kv != 1 || hp->head_dim_k != hp->kv_lora_rank + hp->n_rot) {
        find_key(r, "attention.key_length");
        fail_key(r, GGUF_E_LIMIT, NULL, "does not agree with the latent rank");
    }
}

/* Heads of every layer; a layer of a family with recurrent ones may have none. */
static void read_heads(key_reader *r, rt_hparams *hp) {
    uint64_t least = r->compute->recurrent == RT_MIXER_NONE;
    hp->n_head = read_counts(r, hp, "attention.head_count", NEEDED, least, RT_MAX_HEADS,
                             &hp->layers[0].n_head);
    bool same = !find_key(r, "attention.head_count_kv");
    if (!same)
        hp->n_head_kv = read_counts(r, hp, "attention.head_count_kv", 0, least, hp->n_head,
                                    &hp->layers[0].n_head_kv);
    for (uint32_t i = 0; i < hp->n_layer && !r->code; i++) {
        rt_layer_hparams *l = &hp->layers[i];
        if (same) l->n_head_kv = l->n_head;
        if (l->n_head_kv && l->n_head % l->n_head_kv != 0)
            fail_key(r, GGUF_E_LIMIT, NULL, "does not divide the number of heads");
        if (l->n_head_kv == 0) l->n_head = 0;
    }
    if (same) hp->n_head_kv = hp->n_head;
}

/* A layer without heads is recurrent; in families of single mixers one with a feed-forward block
 * has nothing else. */
static rt_mixer mixer_of(const key_reader *r, const rt_hparams *hp, const rt_layer_hparams *l) {
    if (l->n_head && r->compute->recurrent_all) return RT_MIXER_ATTENTION_MAMBA2;
    if (l->n_head && hp->n_out_group) return RT_MIXER_COMPRESSED;
    if (l->n_head && hp->kv_expand_rank) return RT_MIXER_EXPANDED;
    if (l->n_head) return hp->kv_lora_rank ? RT_MIXER_LATENT : RT_MIXER_ATTENTION;
    return r->compute->single_mixer && l->n_ff ? RT_MIXER_NONE : r->compute->recurrent;
}

enum { OVERLAP = 4 }; /* blocks of so many tokens overlap, and have an indexer */

/* A size of blocks is one of a few, and blocks and pages divide one another. */
static void add_compress(key_reader *r, rt_hparams *hp, uint32_t n) {
    uint32_t i = 0;
    while (i < RT_MAX_COMPRESS && hp->n_compress[i] && hp->n_compress[i] != n) i++;
    if (i == RT_MAX_COMPRESS || (RT_PAGE_TOKENS % n != 0 && n % RT_PAGE_TOKENS != 0)) {
        find_key(r, hp->n_out_group ? "attention.compress_ratios" : "attention.indexer.kpool");
        fail_key(r, GGUF_E_UNSUPPORTED, NULL, "has a size of blocks that is not supported");
        return;
    }
    hp->n_compress[i] = n;
}

/* Attention to a window, and to blocks of tokens, whose sizes differ between layers. */
static void read_compressed(key_reader *r, rt_hparams *hp) {
    if (!find_key(r, "attention.compress_ratios")) return;
    hp->q_lora_rank = read_count(r, "attention.q_lora_rank", NEEDED, 1, RT_MAX_WIDTH);
    hp->latent_norm_eps = hp->norm_eps;
    hp->n_out_group = read_count(r, "attention.output_group_count", NEEDED, 1, hp->n_head);
    hp->out_group_rank = read_count(r, "attention.output_lora_rank", NEEDED, 1, RT_MAX_WIDTH);
    read_counts(r, hp, "attention.compress_ratios", 0, 0, RT_MAX_CONTEXT,
                &hp->layers[0].n_compress);
    for (uint32_t i = 0; i < hp->n_layer && !r->code; i++) {
        rt_layer_hparams *l = &hp->layers[i];
        if (l->n_compress) add_compress(r, hp, l->n_compress);
        l->overlaps = l->n_compress == OVERLAP;
        if (l->n_head_kv != 1 || l->n_head % hp->n_out_group != 0 || !hp->n_window ||
            !rt_layers_has(&hp->windowed, i) || hp->head_dim_k != hp->head_dim_v) {
            find_key(r, "attention.output_group_count");
            fail_key(r, GGUF_E_LIMIT, NULL, "does not fit the heads or windows of all layers");
        }
    }
}

/* Layers without attention, in families that say so by flags or an interval. */
static rt_layers flagged_recurrent(key_reader *r, const rt_hparams *hp) {
    rt_layers none = {{0}};
    if (r->compute->recurrent != RT_MIXER_GATED_DELTA) return none;
    uint32_t interval = read_count(r, "full_attention_interval", 4, 1, RT_MAX_LAYERS);
    return read_layers(r, "attention.recurrent_layers", hp->n_layer,
                       all_but_every(hp->n_layer, interval));
}

/* Heads of layers with a window may have sizes of their own. */
static void fill_layers(key_reader *r, rt_hparams *hp) {
    rt_layers flagged = flagged_recurrent(r, hp);
    uint32_t window_k =
        read_count(r, "attention.key_length_swa", hp->head_dim_k, 1, 2 * RT_MAX_HEAD_DIM);
    uint32_t window_v =
        read_count(r, "attention.value_length_swa", hp->head_dim_v, 1, RT_MAX_HEAD_DIM);
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        rt_layer_hparams *l = &hp->layers[i];
        bool windowed = rt_layers_has(&hp->windowed, i);
        if (rt_layers_has(&flagged, i)) l->n_head = l->n_head_kv = 0;
        l->head_dim_k = !l->n_head ? 0 : windowed ? window_k : hp->head_dim_k;
        l->head_dim_v = !l->n_head ? 0 : windowed ? window_v : hp->head_dim_v;
        l->mixer = mixer_of(r, hp, l);
        hp->n_recurrent += rt_mixer_has_state(l->mixer) || l->n_compress;
    }
    if (window_k > hp->head_dim_k) hp->head_dim_k = window_k;
    if (window_v > hp->head_dim_v) hp->head_dim_v = window_v;
}

/* The layer before `end` of the same kind as layer i; i if there is none. */
static uint32_t last_alike(const rt_hparams *hp, uint32_t i, uint32_t end) {
    bool windowed = rt_layers_has(&hp->windowed, i);
    while (end > 0 && rt_layers_has(&hp->windowed, end - 1) != windowed) end--;
    return end ? end - 1 : i;
}

/* The last layers attend to what the last one of their kind before them keeps. */
static void share_keys(key_reader *r, rt_hparams *hp) {
    uint32_t n_shared = read_count(r, "attention.shared_kv_layers", 0, 0, hp->n_layer - 1);
    uint32_t n_own = hp->n_layer - n_shared;
    for (uint32_t i = 0; i < hp->n_layer; i++) hp->layers[i].kv_layer = i;
    for (uint32_t i = n_own; i < hp->n_layer && !r->code; i++) {
        uint32_t from = last_alike(hp, i, n_own);
        rt_layer_hparams *l = &hp->layers[i], *source = &hp->layers[from];
        if (from == i || l->mixer != RT_MIXER_ATTENTION || source->mixer != l->mixer ||
            l->n_head_kv != source->n_head_kv)
            fail_key(r, GGUF_E_LIMIT, NULL, "names layers that have no layer to share keys with");
        l->kv_layer = from;
        l->kv_shared = source->kv_shared = true;
    }
}

static void read_attention(key_reader *r, rt_hparams *hp) {
    read_heads(r, hp);
    uint32_t usual = hp->n_head ? hp->n_embd / hp->n_head : 1;
    hp->head_dim_k = read_count(r, "attention.key_length", usual, 1, 2 * RT_MAX_HEAD_DIM);
    hp->head_dim_v = read_count(r, "attention.value_length", usual, 1, RT_MAX_HEAD_DIM);
    read_latent(r, hp);
    read_compressed(r, hp);
    fill_layers(r, hp);
    share_keys(r, hp);
    uint32_t width = hp->kv_lora_rank ? hp->qk_nope_head_dim + hp->n_rot : hp->head_dim_k;
    if (r->compute->scores_by_width_layers == hp->n_layer) width = usual;
    double scale = r->compute->plain_scores ? 1 : 1 / sqrt(width);
    hp->score_scale = read_number(r, "attention.scale", scale, -1e6, 1e6);
    if (hp->score_scale == 0) hp->score_scale = (float)scale;
    hp->score_cap = read_number(r, "attn_logit_softcapping", 0, 0, 1e6);
    hp->value_scale = read_number(r, "attention.value_scale", 1, -1e6, 1e6);
    if (r->compute->stacks != RT_STACKS_ONE) {
        hp->n_buckets =
            read_count(r, "attention.relative_buckets_count", NEEDED, 4, RT_MAX_BUCKETS);
        hp->bucket_reach =
            read_count(r, "ggufkit.relative_max_distance", 128, hp->n_buckets, RT_MAX_BUCKETS);
    }
    hp->alibi_bias = read_number(r, "attention.max_alibi_bias", r->compute->alibi ? 8 : 0, 0, 1e3);
    hp->qkv_clamp = read_number(r, "attention.clamp_kqv", 0, 0, 1e30);
    hp->qkv_clamp = read_number(r, "ggufkit.clamp_qkv", hp->qkv_clamp, 0, 1e30);
}

/* Keys of an indexer may be pooled: blocks of tokens are chosen, and a token sees its own block. */
static void read_index_pool(key_reader *r, rt_hparams *hp) {
    hp->index_pool = read_count(r, "attention.indexer.kpool", 0, 0, RT_MAX_CONTEXT);
    if (hp->index_pool == 0) return;
    if (!read_flag(r, "attention.indexer.kpool_select_tail", true))
        fail_key(r, GGUF_E_UNSUPPORTED, NULL,
                 "leaves a token without its own block, which is not supported");
    if (!hp->kv_lora_rank || hp->index_block != 1 || hp->index_top_k < hp->index_pool ||
        hp->n_recurrent == 0) {
        find_key(r, "attention.indexer.kpool");
        fail_key(r, GGUF_E_UNSUPPORTED, NULL, "does not go with this kind of indexer");
    }
    add_compress(r, hp, hp->index_pool);
}

/* With latent attention every layer attends to what its indexer chose, or an earlier one; otherwise
 * those behind the dense layers do. */
static void read_indexer(key_reader *r, rt_hparams *hp) {
    rt_layers all = all_but_every(hp->n_layer, 0);
    hp->index_n_head = read_count(r, "attention.indexer.head_count", 0, 0, RT_MAX_HEADS);
    if (hp->index_n_head == 0) return;
    hp->index_head_dim = read_count(r, "attention.indexer.key_length", NEEDED, 1, RT_MAX_HEAD_DIM);
    hp->index_block = read_count(r, "attention.indexer.block_size", 1, 1, RT_MAX_CONTEXT);
    hp->index_local = read_count(r, "attention.indexer.local_blocks", 0, 0, RT_MAX_CONTEXT);
    hp->index_top_k = read_count(r, "attention.indexer.top_k", NEEDED,
                                 hp->index_local ? hp->index_local : 1, RT_MAX_CONTEXT);
    hp->index_choices = hp->kv_lora_rank || hp->n_out_group ? 1 : hp->index_n_head;
    for (uint32_t i = 0; i < hp->n_layer && hp->n_out_group; i++)
        hp->layers[i].indexes = hp->layers[i].selects = hp->layers[i].overlaps;
    if (hp->n_out_group) return;
    rt_layers own = read_layers(r, "attention.indexer.types", hp->n_layer, all);
    uint32_t first =
        hp->kv_lora_rank ? 0 : read_count(r, "leading_dense_block_count", 0, 0, hp->n_layer);
    read_index_pool(r, hp);
    /* Recurrent layers have nothing to choose. */
    while (first < hp->n_layer && rt_mixer_has_state(hp->layers[first].mixer)) first++;
    if (!hp->causal || (hp->kv_lora_rank && !hp->q_lora_rank) || first == hp->n_layer ||
        !rt_layers_has(&own, first)) {
        find_key(r, "attention.indexer.head_count");
        fail_key(r, GGUF_E_UNSUPPORTED, NULL,
                 "asks for an indexer where it has nothing to choose by");
    }
    for (uint32_t i = first; i < hp->n_layer && !r->code; i++) {
        rt_layer_hparams *l = &hp->layers[i];
        if (rt_mixer_has_state(l->mixer)) continue;
        l->selects = true;
        l->indexes = rt_layers_has(&own, i);
        hp->index_shared |= !l->indexes;
        if (!l->n_head || rt_layers_has(&hp->windowed, i) ||
            (!hp->kv_lora_rank && l->n_head_kv != hp->index_n_head))
            fail_key(r, GGUF_E_LIMIT, NULL, "does not fit the heads of all layers");
    }
}

/* Kimi's delta attention: as many heads as attention has, each with keys of a state's width. */
static void read_kda(key_reader *r, rt_hparams *hp) {
    hp->ssm_d_conv = read_count(r, "ssm.conv_kernel", NEEDED, 2, RT_MAX_KERNEL);
    if (hp->n_head == 0) {
        find_key(r, "attention.head_count");
        fail_key(r, GGUF_E_LIMIT, NULL, "leaves recurrent layers without heads");
        return;
    }
    hp->ssm_dt_rank = hp->n_head;
    hp->ssm_n_group = hp->n_head;
    hp->ssm_d_state = read_count(r, "kda.head_dim", NEEDED, 1, RT_MAX_HEAD_DIM);
    if ((uint64_t)hp->n_head * hp->ssm_d_state > RT_MAX_WIDTH)
        fail_key(r, GGUF_E_LIMIT, NULL, "is too much for so many heads");
    hp->ssm_d_inner = hp->n_head * hp->ssm_d_state;
    bool bound = read_flag(r, "kda.safe_gate", find_key(r, "kda.gate_lower_bound"));
    if (bound) hp->kda_bound = read_number(r, "kda.gate_lower_bound", NAN, -1e6, -1e-6);
    uint64_t rank = r->facts->n_gate_rank;
    hp->kda_gate_rank = rank && rank < hp->ssm_d_inner ? (uint32_t)rank : hp->ssm_d_inner;
}

static void read_recurrent(key_reader *r, rt_hparams *hp) {
    hp->gated_queries = r->compute->gated_queries;
    hp->gated_heads = r->compute->gated_heads;
    if (hp->n_recurrent == 0 || r->compute->recurrent == RT_MIXER_NONE) return;
    hp->recurrent = r->compute->recurrent;
    if (hp->recurrent == RT_MIXER_KDA) {
        read_kda(r, hp);
        return;
    }
    if (hp->recurrent == RT_MIXER_SHORT_CONV) {
        hp->ssm_d_conv = read_count(r, "shortconv.l_cache", NEEDED, 2, RT_MAX_KERNEL);
        hp->ssm_d_inner = hp->n_embd;
        return;
    }
    hp->ssm_d_conv = read_count(r, "ssm.conv_kernel", NEEDED, 2, RT_MAX_KERNEL);
    hp->ssm_d_inner = read_count(r, "ssm.inner_size", NEEDED, 1, RT_MAX_WIDTH);
    hp->ssm_d_state = read_count(r, "ssm.state_size", NEEDED, 1, RT_MAX_STATE);
    hp->ssm_dt_rank = read_count(r, "ssm.time_step_rank", NEEDED, 1, hp->ssm_d_inner);
    if (hp->recurrent == RT_MIXER_MAMBA) {
        hp->ssm_plain_norms = read_flag(r, "ssm.dt_b_c_rms", false);
        hp->ssm_norm_eps = read_number(r, "ggufkit.dt_b_c_epsilon", hp->norm_eps, 0, 1);
        return;
    }
    if (hp->ssm_d_inner % hp->ssm_dt_rank != 0)
        fail_key(r, GGUF_E_LIMIT, NULL, "does not divide the inner size");
    hp->ssm_n_group = read_count(r, "ssm.group_count", 1, 1, hp->ssm_dt_rank);
    if (hp->ssm_dt_rank % hp->ssm_n_group != 0)
        fail_key(r, GGUF_E_LIMIT, NULL, "does not divide the number of heads");
    if (r->compute->recurrent == RT_MIXER_GATED_DELTA &&
        hp->ssm_d_inner != (uint64_t)hp->ssm_dt_rank * hp->ssm_d_state) {
        find_key(r, "ssm.inner_size");
        fail_key(r, GGUF_E_LIMIT, NULL, "is not the heads' states side by side");
    }
}

static void read_windows(key_reader *r, rt_hparams *hp) {
    hp->n_window =
        read_count(r, "attention.sliding_window", r->compute->window_usual, 0, UINT32_MAX - 1);
    hp->chunked = r->compute->chunked;
    rt_layers usual = all_but(hp->n_layer, r->compute->window_period, r->compute->full_first);
    if (hp->n_window == 0) return;
    hp->windowed = read_layers_of(r, "attention.sliding_window_pattern", hp->n_layer, usual,
                                  r->compute->full_first);
}

/* A number of deviations for every layer, -infinity where the gate counts as a whole. */
static void read_sparsity(key_reader *r, rt_hparams *hp) {
    const gguf_kv *kv = find_key(r, "activation_sparsity_scale");
    gguf_kv_iter it = {.kv = kv};
    for (uint32_t i = 0; i < hp->n_layer && !r->code; i++) {
        double value = -INFINITY;
        if (kv && (kv->type != GGUF_VALUE_ARRAY || !gguf_kv_next_f64(&it, &value)))
            fail_key(r, GGUF_E_TYPE, kv, "has no number for every layer");
        else if (!(value <= 1e6))
            fail_key(r, GGUF_E_LIMIT, kv, "has a number that is out of its range");
        hp->layers[i].sparsity = (float)value;
    }
}

static void read_streams(key_reader *r, rt_hparams *hp) {
    hp->n_stream = read_count(r, "altup.num_inputs", 1, 1, RT_MAX_STREAMS);
    uint64_t n_laurel = r->facts->n_laurel;
    hp->n_laurel = (uint32_t)(n_laurel < RT_MAX_WIDTH ? n_laurel : RT_MAX_WIDTH);
    read_count(r, "altup.active_idx", 0, 0, 0); /* the first one is what layers compute on */
    read_sparsity(r, hp);
    hp->n_hyper = read_count(r, "hyper_connection.count", 0, 0, RT_MAX_STREAMS);
    if (hp->n_hyper == 0) return;
    hp->hyper_steps = read_count(r, "hyper_connection.sinkhorn_iterations", NEEDED, 1, 1000);
    hp->hyper_eps = read_number(r, "hyper_connection.epsilon", 1e-6, 0, 1);
    if (hp->n_stream > 1 || hp->parallel || hp->residual_scale != 1) {
        find_key(r, "hyper_connection.count");
        fail_key(r, GGUF_E_UNSUPPORTED, NULL, "does not go with the model's other residuals");
    }
}

static void read_scales(key_reader *r, rt_hparams *hp) {
    const rt_arch_compute *c = r->compute;
    double usual = c->embeddings_by_width ? sqrt(hp->n_embd) : 1, depth = c->residual_depth_usual;
    if (c->embedding_scale_usual) usual = c->embedding_scale_usual;
    hp->embedding_scale = read_number(r, "embedding_scale", usual, -1e6, 1e6);
    usual = depth != 0 ? depth / sqrt(hp->n_layer) : 1;
    hp->residual_scale = read_number(r, "residual_scale", usual, -1e6, 1e6);
    usual = c->logit_width_usual ? (double)hp->n_embd / c->logit_width_usual : 1;
    hp->logit_factor = read_number(r, "logit_scale", usual, -1e6, 1e6);
    if (hp->logit_factor == 0) hp->logit_factor = 1;
    if (!r->compute->multiply_logits) hp->logit_factor = 1 / hp->logit_factor;
    hp->logit_cap = read_number(r, "final_logit_softcapping", 0, 0, 1e6);
    read_streams(r, hp);
    hp->n_embd_layer = read_count(r, "embedding_length_per_layer_input", 0, 0, RT_MAX_HEAD_DIM);
}

static void read_yarn(key_reader *r, rt_hparams *hp) {
    hp->rope_beta_fast = read_number(r, "rope.scaling.yarn_beta_fast", 32, 1e-6, 1e6);
    hp->rope_beta_slow = read_number(r, "rope.scaling.yarn_beta_slow", 1, 1e-6, 1e6);
    hp->rope_truncate = read_flag(r, "ggufkit.yarn_truncate", true);
    hp->rope_log_multiplier = read_number(r, "rope.scaling.yarn_log_multiplier", 0, 0, 1e3);
    if (hp->kv_lora_rank == 0 && hp->kv_expand_rank == 0) return;
    /* Latent models store a tenth of it, and scale scores in place of cosine and sine. */
    hp->rope_log_multiplier *= 10;
    float scale = 0.1f * hp->rope_log_multiplier * logf(hp->rope_factor) + 1;
    if (hp->rope_factor > 1) hp->score_scale *= scale * scale;
}

static void read_scaling(key_reader *r, rt_hparams *hp) {
    hp->rope_factor = read_number(r, "rope.scaling.factor", 1, 1e-6, 1e6);
    hp->rope_attn_factor = read_number(r, "rope.scaling.attn_factor", 1, 0, 1e6);
    hp->n_ctx_orig =
        read_count(r, "rope.scaling.original_context_length", hp->n_ctx_train, 1, RT_MAX_CONTEXT);
    const gguf_kv *kv = find_key(r, "rope.scaling.type");
    gguf_str type = gguf_str_of("linear"); /* what a factor without a type means */
    if (kv && !gguf_kv_str(kv, &type)) fail_key(r, GGUF_E_TYPE, kv, "is not a string");
    if (gguf_str_eq(type, "none") || gguf_str_eq(type, "longrope")) {
        hp->rope_factor = 1;
    } else if (gguf_str_eq(type, "linear")) {
        if (hp->rope_factor != 1) hp->rope_scaling = RT_ROPE_SCALING_LINEAR;
    } else if (gguf_str_eq(type, "yarn")) {
        hp->rope_scaling = RT_ROPE_SCALING_YARN;
        read_yarn(r, hp);
    } else {
        fail_key(r, GGUF_E_UNSUPPORTED, kv, "names a scaling that is not supported");
    }
}

/* No layer rotates more than its heads have. */
static void check_rotated(key_reader *r, const rt_hparams *hp) {
    if (hp->index_n_head && hp->n_rot > hp->index_head_dim) {
        find_key(r, "attention.indexer.key_length");
        fail_key(r, GGUF_E_LIMIT, NULL, "is smaller than what rotates");
    }
    for (uint32_t i = 0; i < hp->n_layer && !hp->kv_lora_rank; i++) {
        bool windowed = rt_layers_has(&hp->windowed, i);
        uint32_t n_rot = windowed ? hp->n_rot_window : hp->n_rot;
        find_key(r, windowed ? "rope.dimension_count_swa" : "rope.dimension_count");
        uint32_t head_dim = hp->layers[i].head_dim_k;
        if (hp->layers[i].indexes && hp->index_head_dim < head_dim) head_dim = hp->index_head_dim;
        if (hp->layers[i].n_head && n_rot > head_dim)
            fail_key(r, GGUF_E_LIMIT, NULL, "is larger than a head");
    }
}

/* Llama 4's numbers are built in where other programs read its files. */
static void read_growth(key_reader *r, rt_hparams *hp) {
    bool unrotated = r->compute->grow_unrotated;
    hp->grow_unrotated = unrotated;
    hp->query_offset = unrotated;
    hp->query_growth = read_number(r, "attention.temperature_scale", unrotated ? 0.1 : 0, 0, 1e3);
    hp->query_period = read_count(r, "attention.temperature_length",
                                  unrotated ? 8192 : hp->n_ctx_orig, 1, RT_MAX_CONTEXT);
}

static void read_rope(key_reader *r, rt_hparams *hp) {
    bool windowed_only = r->compute->rope_windowed && rt_layers_count(&hp->windowed, hp->n_layer);
    if (r->compute->rope == RT_ROPE_NONE) return;
    bool latent = hp->kv_lora_rank || hp->kv_expand_rank;
    uint32_t max = latent ? hp->n_rot : hp->head_dim_k;
    uint32_t n_rot = read_count(r, "rope.dimension_count", max, 0, max);
    hp->n_rot = r->compute->full_rope_share ? n_rot / r->compute->full_rope_share : n_rot;
    if (hp->n_rot % 2 != 0) fail_key(r, GGUF_E_LIMIT, NULL, "is odd");
    hp->n_rot_window = read_count(r, "rope.dimension_count_swa", n_rot, 0, max);
    if (hp->n_rot_window % 2 != 0) fail_key(r, GGUF_E_LIMIT, NULL, "is odd");
    check_rotated(r, hp);
    hp->rope_base = read_number(r, "rope.freq_base", 10000, 1e-6, 1e12);
    double window_base =
        r->compute->window_rope_base ? r->compute->window_rope_base : hp->rope_base;
    hp->rope_base_window = read_number(r, "rope.freq_base_swa", window_base, 1e-6, 1e12);
    if (hp->n_out_group) { /* layers with blocks turn by a base of their own */
        hp->rope_base_window = hp->rope_base;
        hp->rope_base =
            read_number(r, "attention.compress_rope_freq_base", hp->rope_base, 1e-6, 1e12);
    }
    rt_layers usual =
        windowed_only ? hp->windowed : all_but_every(hp->n_layer, r->compute->rope_period);
    if (r->compute->rope_if_finetuned && !read_flag(r, "rope.scaling.finetuned", true))
        usual = (rt_layers){{0}};
    usual = read_layers(r, "attention.rope_pattern", hp->n_layer, usual);
    hp->rotated = read_layers(r, "ggufkit.rope_layers", hp->n_layer, usual);
    hp->rope_plain_window = r->compute->plain_window_rope || hp->n_out_group;
    read_scaling(r, hp);
    read_growth(r, hp);
}

/* ---- experts ------------------------------------------------------------------------------------
 */

static void read_groups(key_reader *r, rt_hparams *hp) {
    hp->n_expert_group = read_count(r, "expert_group_count", 1, 0, hp->n_expert);
    if (hp->n_expert_group == 0) hp->n_expert_group = 1;
    if (hp->n_expert % hp->n_expert_group != 0)
        fail_key(r, GGUF_E_LIMIT, NULL, "does not divide the number of experts");
    hp->n_expert_group_used =
        read_count(r, "expert_group_used_count", hp->n_expert_group, 0, hp->n_expert_group);
    if (hp->n_expert_group_used == 0) hp->n_expert_group_used = hp->n_expert_group;
    uint32_t in_groups = hp->n_expert_group_used * (hp->n_expert / hp->n_expert_group);
    if (hp->n_expert_used > in_groups)
        fail_key(r, GGUF_E_LIMIT, NULL, "leaves too few experts to choose from");
}

/* A number for every layer, 0 where there is no such key.
 *   of_layer  a field of the first layer's numbers */
static void read_numbers(key_reader *r, rt_hparams *hp, const char *name, double min,
                         float *of_layer) {
    const gguf_kv *kv = find_key(r, name);
    gguf_kv_iter it = {.kv = kv};
    size_t stride = sizeof *hp->layers / sizeof *of_layer;
    for (uint32_t i = 0; i < hp->n_layer && kv && !r->code; i++) {
        double value = 0;
        if (kv->type != GGUF_VALUE_ARRAY || !gguf_kv_next_f64(&it, &value))
            fail_key(r, GGUF_E_TYPE, kv, "has no number for every layer");
        else if (!(value >= min && value <= 1e6))
            fail_key(r, GGUF_E_LIMIT, kv, "has a number that is out of its range");
        of_layer[i * stride] = (float)value;
    }
}

static void read_xielu(key_reader *r, rt_hparams *hp) {
    if (r->compute->activation != RT_ACT_XIELU) return;
    read_numbers(r, hp, ".xielu.alpha_p", -1e6, &hp->layers[0].xielu_p);
    read_numbers(r, hp, ".xielu.alpha_n", -1e6, &hp->layers[0].xielu_n);
    read_numbers(r, hp, ".xielu.beta", -1e6, &hp->layers[0].xielu_beta);
    read_numbers(r, hp, ".xielu.eps", -1e6, &hp->layers[0].xielu_eps);
}

static void read_experts(key_reader *r, rt_hparams *hp) {
    read_numbers(r, hp, "swiglu_clamp_exp", 0, &hp->layers[0].clamp_experts);
    read_numbers(r, hp, "swiglu_clamp_shexp", 0, &hp->layers[0].clamp_dense);
    hp->n_expert = read_count(r, "expert_count", 0, 0, RT_MAX_EXPERTS);
    if (hp->n_expert == 0) return;
    hp->n_expert_used = read_count(r, "expert_used_count", NEEDED, 1, hp->n_expert);
    hp->n_ff_expert = read_count(r, "expert_feed_forward_length", hp->n_ff, 1, RT_MAX_WIDTH);
    hp->n_expert_in = read_count(r, "moe_latent_size", hp->n_embd, 1, hp->n_embd);
    uint32_t n_shared =
        read_count(r, "expert_shared_count", r->compute->n_shared_usual, 0, RT_MAX_EXPERTS);
    uint64_t usual = (uint64_t)n_shared * hp->n_ff_expert;
    hp->n_ff_shared = read_count(r, "expert_shared_feed_forward_length", usual, 0, RT_MAX_WIDTH);
    hp->gating = (rt_gating)read_count(r, "expert_gating_func", r->compute->gating,
                                       RT_GATING_SOFTMAX, RT_GATING_SQRT_SOFTPLUS);
    uint32_t n_hashed = read_count(r, "hash_layer_count", 0, 0, hp->n_layer);
    for (uint32_t i = 0; i < n_hashed; i++) hp->layers[i].hashed = true;
    hp->norm_experts = read_flag(r, "expert_weights_norm", r->compute->norm_experts);
    hp->router_cap = read_number(r, "router_logit_softcapping", 0, 0, 1e6);
    hp->expert_scale = read_number(r, "expert_weights_scale", 1, 0, 1e6);
    if (hp->expert_scale == 0) hp->expert_scale = 1;
    read_groups(r, hp);
}

/* ---- input and output ---------------------------------------------------------------------------
 */

/* The rows of the embedding; the key, where there is one, must agree. */
static void read_ends(key_reader *r, rt_hparams *hp) {
    hp->n_vocab = read_count(r, "vocab_size", r->facts->n_embeddings, 1, RT_MAX_VOCAB);
    uint64_t n_embedded = r->facts->n_layer_embedded;
    hp->n_layer_embedded = (uint32_t)(n_embedded < hp->n_vocab ? n_embedded : hp->n_vocab);
    const uint64_t *n_dense = r->facts->n_dense;
    uint64_t n_types = r->facts->n_token_types, n_classes = r->facts->n_classes;
    hp->n_token_types = (uint32_t)(n_types < RT_MAX_TOKEN_TYPES ? n_types : RT_MAX_TOKEN_TYPES);
    hp->n_classes = (uint32_t)(n_classes < RT_MAX_WIDTH ? n_classes : RT_MAX_WIDTH);
    uint64_t separator;
    const gguf_kv *kv = gguf_meta_find(r->facts->meta, "tokenizer.ggml.seperator_token_id");
    hp->separator_token =
        gguf_kv_u64(kv, &separator) && separator < hp->n_vocab ? (int32_t)separator : -1;
    for (size_t i = 0; i < 2; i++)
        hp->n_dense[i] = (uint32_t)(n_dense[i] < RT_MAX_WIDTH ? n_dense[i] : RT_MAX_WIDTH);
    hp->pooling = (rt_pooling)read_count(r, "pooling_type", RT_POOLING_NONE, RT_POOLING_NONE,
                                         RT_POOLING_RANK);
    if (hp->pooling == RT_POOLING_RANK && hp->n_dense[0]) {
        find_key(r, "pooling_type");
        fail_key(r, GGUF_E_UNSUPPORTED, NULL, "makes scores, which no dense layer follows");
    }
    bool hidden = r->compute->hidden_output || hp->pooling != RT_POOLING_NONE;
    hp->n_out = hidden ? hp->n_embd : hp->n_vocab;
}

void rt_hparams_same_layers(rt_hparams *hp) {
    for (uint32_t i = 0; i < hp->n_layer; i++)
        hp->layers[i] =
            (rt_layer_hparams){.mixer = hp->kv_lora_rank ? RT_MIXER_LATENT : RT_MIXER_ATTENTION,
                               .n_head = hp->n_head,
                               .n_head_kv = hp->n_head_kv,
                               .head_dim_k = hp->head_dim_k,
                               .head_dim_v = hp->head_dim_v,
                               .kv_layer = i,
                               .n_ff = hp->n_ff};
}

gguf_code rt_hparams_read(const rt_model_facts *facts, const rt_arch *arch, rt_hparams *hp,
                          gguf_error *err) {
    key_reader r = {.facts = facts,
                    .compute = rt_arch_compute_of(arch),
                    .architecture = rt_arch_name(arch),
                    .err = err};
    *hp = (rt_hparams){.rope_factor = 1, .rope_attn_factor = 1};
    read_sizes(&r, hp);
    read_windows(&r, hp);
    read_attention(&r, hp);
    read_indexer(&r, hp);
    read_recurrent(&r, hp);
    read_scales(&r, hp);
    read_rope(&r, hp);
    read_xielu(&r, hp);
    read_experts(&r, hp);
    check_swiglu(&r);
    read_ends(&r, hp);
    uint32_t plain = r.compute->plain_qk_experts;
    hp->plain_qk_norm = read_flag(&r, "ggufkit.plain_qk_norm", plain && plain != hp->n_expert);
    return r.code;
}

/* ---- where the keys and tables are --------------------------------------------------------------
 */

static void see_tensor(rt_model_facts *facts, const gguf_tensor *t) {
    if (gguf_str_eq(t->name, "token_embd.weight")) facts->n_embeddings = t->dims[1];
    if (gguf_str_eq(t->name, "token_types.weight")) facts->n_token_types = t->dims[1];
    if (gguf_str_eq(t->name, "per_layer_token_embd.weight")) facts->n_layer_embedded = t->dims[1];
    if (gguf_str_eq(t->name, "blk.0.laurel_l.weight")) facts->n_laurel = t->dims[1];
    bool is_output = gguf_str_eq(t->name, "cls.output.weight");
    if (is_output || (gguf_str_eq(t->name, "cls.weight") && !facts->has_cls_output))
        facts->n_classes = t->dims[1];
    facts->has_cls_output |= is_output;
    if (gguf_str_eq(t->name, "dense_2.weight")) facts->n_dense[0] = t->dims[1];
    if (gguf_str_eq(t->name, "dense_3.weight")) facts->n_dense[1] = t->dims[1];
    if (gguf_str_ends(t->name, ".ssm_f_a.weight")) facts->n_gate_rank = t->dims[1];
}

static rt_model_facts facts_without_tables(const gguf_meta *meta, const char *path) {
    return (rt_model_facts){.meta = meta,
                            .path = path,
                            .n_embeddings = 1,
                            .n_token_types = 1,
                            .n_classes = 1,
                            .n_layer_embedded = 1,
                            .n_laurel = 1};
}

rt_model_facts rt_facts_of_file(const gguf_file *file) {
    rt_model_facts facts = facts_without_tables(gguf_file_meta(file), gguf_file_path(file));
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++)
        see_tensor(&facts, gguf_file_tensor(file, i));
    return facts;
}

gguf_code rt_hparams_of_plan(const quant_plan *plan, const char *architecture, const char *path,
                             rt_hparams *hp, gguf_error *err) {
    rt_model_facts facts = facts_without_tables(plan->meta, path);
    rt_arch *arch = NULL;
    for (size_t i = 0; i < plan->n_tensors; i++) see_tensor(&facts, &plan->tensors[i].out);
    gguf_code code = rt_arch_open(gguf_str_of(architecture), NULL, &arch, err);
    if (!code) code = rt_hparams_read(&facts, arch, hp, err);
    rt_arch_close(arch);
    return code;
}

bool rt_hparams_caches(const rt_hparams *hp) {
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (hp->layers[i].n_head_kv) return true;
    return false;
}
