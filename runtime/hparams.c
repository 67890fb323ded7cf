/* The numbers of a model, read from its keys. Files are untrusted: everything is range-checked, so
 * that later code may divide and multiply. */
#include "runtime/model_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NEEDED UINT64_MAX /* in place of a default */

enum {
    MAX_LAYERS = 1024,
    MAX_WIDTH = 1 << 20,
    MAX_HEADS = 1 << 12,
    MAX_HEAD_DIM = 1 << 12,
    MAX_VOCAB = 1 << 24,
    MAX_CONTEXT = 1 << 28
};

/* Reads one key after another; the first failure sticks. */
typedef struct key_reader {
    const gguf_file *file;
    const char *architecture;
    gguf_code code;
    gguf_error *err;
    char key[128];
} key_reader;

static const gguf_kv *find_key(key_reader *r, const char *name) {
    snprintf(r->key, sizeof r->key, "%s.%s", r->architecture, name);
    return r->code ? NULL : gguf_meta_find(gguf_file_meta(r->file), r->key);
}

static void fail_key(key_reader *r, gguf_code code, const gguf_kv *kv, const char *what) {
    if (r->code) return;
    r->code = gguf_fail(r->err, code, gguf_file_path(r->file), kv ? kv->off : GGUF_NO_OFFSET,
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
        fail_key(r, GGUF_E_TYPE, kv, "is no count, or differs between layers");
    else if (value < min || value > max)
        fail_key(r, GGUF_E_LIMIT, kv, range);
    return r->code ? (uint32_t)min : (uint32_t)value;
}

/* A finite number within [min, max]; NaN as default means that the key is needed. */
static float read_number(key_reader *r, const char *name, double absent, double min, double max) {
    const gguf_kv *kv = find_key(r, name);
    double value = absent;
    if (!kv && isnan(absent))
        fail_key(r, GGUF_E_MISSING, NULL, "is missing");
    else if (kv && !gguf_kv_f64(kv, &value))
        fail_key(r, GGUF_E_TYPE, kv, "is no number");
    else if (!(value >= min && value <= max))
        fail_key(r, GGUF_E_LIMIT, kv, "is out of its range");
    return (float)value;
}

static void read_sizes(key_reader *r, rt_hparams *hp) {
    hp->n_layer = read_count(r, "block_count", NEEDED, 1, MAX_LAYERS);
    hp->n_ctx_train = read_count(r, "context_length", NEEDED, 1, MAX_CONTEXT);
    hp->n_embd = read_count(r, "embedding_length", NEEDED, 1, MAX_WIDTH);
    hp->n_ff = read_count(r, "feed_forward_length", NEEDED, 1, MAX_WIDTH);
    if (read_count(r, "expert_count", 0, 0, UINT32_MAX) != 0)
        fail_key(r, GGUF_E_UNSUPPORTED, find_key(r, "expert_count"), "asks for experts");
    hp->norm_eps = read_number(r, "attention.layer_norm_rms_epsilon", NAN, 0, 1);
}

static void read_attention(key_reader *r, rt_hparams *hp) {
    hp->n_head = read_count(r, "attention.head_count", NEEDED, 1, MAX_HEADS);
    hp->n_head_kv = read_count(r, "attention.head_count_kv", hp->n_head, 1, hp->n_head);
    if (hp->n_head % hp->n_head_kv != 0)
        fail_key(r, GGUF_E_LIMIT, NULL, "does not divide the number of heads");
    uint32_t usual = hp->n_embd / hp->n_head;
    hp->head_dim_k = read_count(r, "attention.key_length", usual, 1, MAX_HEAD_DIM);
    hp->head_dim_v = read_count(r, "attention.value_length", usual, 1, MAX_HEAD_DIM);
    hp->n_window = read_count(r, "attention.sliding_window", 0, 0, UINT32_MAX - 1);
}

static void read_yarn(key_reader *r, rt_hparams *hp) {
    hp->n_ctx_orig =
        read_count(r, "rope.scaling.original_context_length", hp->n_ctx_train, 1, MAX_CONTEXT);
    hp->rope_attn_factor = read_number(r, "rope.scaling.attn_factor", 1, 0, 1e6);
    hp->rope_beta_fast = read_number(r, "rope.scaling.yarn_beta_fast", 32, 1e-6, 1e6);
    hp->rope_beta_slow = read_number(r, "rope.scaling.yarn_beta_slow", 1, 1e-6, 1e6);
}

static void read_scaling(key_reader *r, rt_hparams *hp) {
    hp->rope_factor = read_number(r, "rope.scaling.factor", 1, 1e-6, 1e6);
    const gguf_kv *kv = find_key(r, "rope.scaling.type");
    gguf_str type = gguf_str_of("linear"); /* what a factor without a type means */
    if (kv && !gguf_kv_str(kv, &type)) fail_key(r, GGUF_E_TYPE, kv, "is no string");
    if (gguf_str_eq(type, "none")) {
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

static void read_rope(key_reader *r, rt_hparams *hp) {
    hp->n_rot = read_count(r, "rope.dimension_count", hp->head_dim_k, 0, hp->head_dim_k);
    if (hp->n_rot % 2 != 0) fail_key(r, GGUF_E_LIMIT, NULL, "is odd");
    hp->rope_base = read_number(r, "rope.freq_base", 10000, 1e-6, 1e12);
    read_scaling(r, hp);
}

/* The rows of the embedding; the key, where there is one, must agree. */
static void read_vocab(key_reader *r, rt_hparams *hp) {
    const gguf_tensor *embd = gguf_file_find_tensor(r->file, "token_embd.weight");
    uint64_t n_rows = embd ? embd->dims[1] : 1; /* its absence is reported later */
    hp->n_vocab = read_count(r, "vocab_size", n_rows, 1, MAX_VOCAB);
}

gguf_code rt_hparams_read(const gguf_file *file, const char *architecture, rt_hparams *hp,
                          gguf_error *err) {
    key_reader r = {.file = file, .architecture = architecture, .err = err};
    *hp = (rt_hparams){.rope_factor = 1, .rope_attn_factor = 1};
    read_sizes(&r, hp);
    read_attention(&r, hp);
    read_rope(&r, hp);
    read_vocab(&r, hp);
    return r.code;
}
