/* Sizing: published facts of known models from their config.json alone, shapes against the weights
 * of every fixture, caches of layers that differ, devices and their names. */
#include "runtime/sizing/fit.h"

#include "libgguf/map.h"
#include "quant/recipe.h"
#include "unit_gguf.h"
#include "unit_model.h"

#include <dirent.h>

#define COMMON "\"rms_norm_eps\": 1e-6, \"dtype\": \"bfloat16\", \"tie_word_embeddings\": false"

/* ---- known models -------------------------------------------------------------------------------
 */

typedef struct known_model {
    const char *name, *config;
    uint64_t n_params;
    uint32_t n_full, n_window, kv_lora_rank;
    uint64_t layer_token_bytes; /* of an F16 cache */
} known_model;

/* Parameters as the makers and the safetensors headers on Hugging Face give them (without vision
 * and without the layer for multi-token prediction). */
static const known_model known[] = {
    {"Llama 3.1 8B",
     "{\"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": 128256, \"hidden_size\": 4096,"
     "\"intermediate_size\": 14336, \"num_hidden_layers\": 32, \"num_attention_heads\": 32,"
     "\"num_key_value_heads\": 8, \"max_position_embeddings\": 131072, " COMMON "}",
     UINT64_C(8030261248), 32, 0, 0, 4096},
    {"Qwen3 30B-A3B",
     "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"vocab_size\": 151936, \"hidden_size\": 2048,"
     "\"intermediate_size\": 6144, \"moe_intermediate_size\": 768, \"num_hidden_layers\": 48,"
     "\"num_attention_heads\": 32, \"num_key_value_heads\": 4, \"head_dim\": 128,"
     "\"num_experts\": 128, \"num_experts_per_tok\": 8, \"norm_topk_prob\": true,"
     "\"max_position_embeddings\": 40960, " COMMON "}",
     UINT64_C(30532122624), 48, 0, 0, 2048},
    {"DeepSeek V3",
     "{\"architectures\": [\"DeepseekV3ForCausalLM\"], \"vocab_size\": 129280,"
     "\"hidden_size\": 7168, \"intermediate_size\": 18432, \"moe_intermediate_size\": 2048,"
     "\"num_hidden_layers\": 61, \"num_attention_heads\": 128, \"num_key_value_heads\": 128,"
     "\"n_routed_experts\": 256, \"n_shared_experts\": 1, \"num_experts_per_tok\": 8,"
     "\"n_group\": 8, \"topk_group\": 4, \"first_k_dense_replace\": 3, \"q_lora_rank\": 1536,"
     "\"kv_lora_rank\": 512, \"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64,"
     "\"v_head_dim\": 128, \"norm_topk_prob\": true, \"routed_scaling_factor\": 2.5,"
     "\"scoring_func\": \"sigmoid\", \"topk_method\": \"noaux_tc\","
     "\"max_position_embeddings\": 163840, " COMMON "}",
     UINT64_C(671026419200), 0, 0, 61, 1152},
    {"gpt-oss 20B",
     "{\"architectures\": [\"GptOssForCausalLM\"], \"vocab_size\": 201088, \"hidden_size\": 2880,"
     "\"intermediate_size\": 2880, \"num_hidden_layers\": 24, \"num_attention_heads\": 64,"
     "\"num_key_value_heads\": 8, \"head_dim\": 64, \"num_local_experts\": 32,"
     "\"num_experts_per_tok\": 4, \"sliding_window\": 128, \"attention_bias\": true,"
     "\"max_position_embeddings\": 131072, \"quantization_config\": {\"quant_method\": \"mxfp4\"},"
     "\"layer_types\": [\"sliding_attention\", \"full_attention\", \"sliding_attention\","
     "\"full_attention\", \"sliding_attention\", \"full_attention\", \"sliding_attention\","
     "\"full_attention\", \"sliding_attention\", \"full_attention\", \"sliding_attention\","
     "\"full_attention\", \"sliding_attention\", \"full_attention\", \"sliding_attention\","
     "\"full_attention\", \"sliding_attention\", \"full_attention\", \"sliding_attention\","
     "\"full_attention\", \"sliding_attention\", \"full_attention\", \"sliding_attention\","
     "\"full_attention\"], " COMMON "}",
     UINT64_C(20914757184), 12, 12, 0, 2048},
};

/* A model and its weights as they are. */
typedef struct sized {
    rt_import *import;
    rt_fit_model model;
    rt_fit_weights weights;
} sized;

static void size_import(sized *s, const char *path) {
    gguf_error err = {0};
    unit_ok(rt_fit_describe(s->import, path, &s->model, &err), err);
    unit_ok(rt_fit_weigh(rt_import_plan(s->import), s->model.hp.n_layer, &s->weights, &err), err);
}

static sized size_path(const char *path) {
    const rt_import_opts opts = {.shapes_suffice = true};
    gguf_error err = {0};
    sized s;
    unit_ok(rt_import_open(path, &opts, &s.import, &err), err);
    size_import(&s, path);
    return s;
}

static sized size_config(const char *config) {
    const rt_import_opts opts = {.shapes_suffice = true};
    const gguf_memory_file file = {"config.json", config, strlen(config)};
    gguf_error err = {0};
    sized s;
    unit_ok(rt_import_from_memory(&file, 1, &opts, &s.import, &err), err);
    size_import(&s, "config.json");
    return s;
}

static void clear(sized *s) {
    rt_fit_weights_clear(&s->weights);
    rt_fit_model_clear(&s->model);
    rt_import_close(s->import);
}

static rt_session_opts opts_of(uint32_t n_ctx) {
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = n_ctx;
    opts.n_threads = 1;
    return opts;
}

static rt_fit fit_of(const sized *s, const rt_device *device, const rt_session_opts *opts) {
    gguf_error err = {0};
    rt_fit fit;
    unit_ok(rt_fit_on(device, &s->model, &s->weights, opts, &fit, &err), err);
    return fit;
}

static uint32_t count_layers(const rt_fit_model *model, rt_cache_kind kind) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < model->hp.n_layer; i++) n += model->layers[i].cache == kind;
    return n;
}

START_TEST(known_models_have_known_sizes) {
    const known_model *k = &known[_i];
    sized s = size_config(k->config);
    rt_device device = rt_device_usual(RT_DEVICE_GPU, UINT64_C(1) << 42);
    rt_session_opts opts = opts_of(8192);
    rt_fit fit = fit_of(&s, &device, &opts);
    ck_assert_msg(s.weights.n_elems == k->n_params, "%s: %llu", k->name,
                  (unsigned long long)s.weights.n_elems);
    ck_assert(s.model.runs_here && s.model.meta_estimated && fit.fits);
    ck_assert_uint_eq(count_layers(&s.model, RT_CACHE_FULL), k->n_full);
    ck_assert_uint_eq(count_layers(&s.model, RT_CACHE_WINDOW), k->n_window);
    ck_assert_uint_eq(count_layers(&s.model, RT_CACHE_LATENT), k->kv_lora_rank);
    /* A window of 128 tokens and a batch of 512: (128 / 64 + 3) + (512 / 64 + 1) pages of 64. */
    uint64_t n_tokens = (k->n_full + k->kv_lora_rank) * 8192 + k->n_window * 14 * 64;
    ck_assert_uint_eq(fit.footprint.kv_bytes, n_tokens * k->layer_token_bytes);
    ck_assert_uint_eq(fit.footprint.total_bytes,
                      fit.footprint.weights_bytes + fit.footprint.kv_bytes +
                          fit.footprint.compute_bytes + fit.footprint.overhead_bytes);
    clear(&s);
}
END_TEST

/* ---- shapes -------------------------------------------------------------------------------------
 */

static bool is_fixture(const char *name) {
    /* an adapter; weights of another type than the config says */
    return name[0] != '.' && strcmp(name, "llama_lora") != 0 && strcmp(name, "ernie4_5") != 0;
}

static void compare_plans(const quant_plan *a, const quant_plan *b, const char *name) {
    ck_assert_msg(a->n_tensors == b->n_tensors, "%s: %zu and %zu tensors", name, a->n_tensors,
                  b->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const gguf_tensor *x = &a->tensors[i].out, *y = &b->tensors[i].out;
        ck_assert_msg(strcmp(x->name.ptr, y->name.ptr) == 0, "%s: %s, %s", name, x->name.ptr,
                      y->name.ptr);
        /* scales may be F16 where the config says BF16 */
        bool half = (x->type == GGUF_TYPE_F16 && y->type == GGUF_TYPE_BF16);
        bool same = (x->type == y->type || half) && x->n_dims == y->n_dims &&
                    memcmp(x->dims, y->dims, sizeof x->dims) == 0;
        ck_assert_msg(same, "%s: %s differs", name, x->name.ptr);
    }
}

START_TEST(shapes_are_those_of_the_weights) {
    DIR *folder = opendir(TEST_DATA "/models");
    size_t n = 0;
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char path[512];
        if (!is_fixture(entry->d_name)) continue;
        snprintf(path, sizeof path, "%s/models/%s", TEST_DATA, entry->d_name);
        sized weights = size_path(path);
        snprintf(path, sizeof path, "%s/models/%s/config.json", TEST_DATA, entry->d_name);
        sized shapes = size_path(path);
        ck_assert(rt_import_is_shapes(shapes.import) && !rt_import_is_shapes(weights.import));
        compare_plans(rt_import_plan(weights.import), rt_import_plan(shapes.import), entry->d_name);
        clear(&weights);
        clear(&shapes);
        n++;
    }
    closedir(folder);
    ck_assert_uint_gt(n, 40);
}
END_TEST

/* What is summed up layer by layer is what a session allocates. */
START_TEST(caches_are_those_of_sessions) {
    static const char *const names[] = {"mistral", "gemma3", "deepseek_v3", "gpt_oss", "qwen3"};
    rt_device device = rt_device_usual(RT_DEVICE_CPU, UINT64_C(1) << 40);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/models/%s", TEST_DATA, names[i]);
        sized s = size_path(path);
        rt_session_opts opts = opts_of(400);
        opts.n_seqs = 3;
        opts.kv_type = GGUF_TYPE_F32;
        gguf_error err = {0};
        rt_footprint own;
        unit_ok(rt_footprint_of(&s.model.hp, &opts, 0, 0, &own, &err), err);
        rt_fit fit = fit_of(&s, &device, &opts);
        ck_assert_uint_eq(fit.footprint.kv_bytes, own.kv_bytes);
        ck_assert_uint_eq(fit.footprint.compute_bytes, own.compute_bytes);
        clear(&s);
    }
}
END_TEST

/* ---- architectures that the runtime does not know -----------------------------------------------
 */

static void put_matrix(unit_bytes *b, const char *name, uint64_t n_rows, uint64_t *off) {
    const uint64_t dims[2] = {4, n_rows};
    unit_put_info(b, name, 2, dims, GGUF_TYPE_F32, *off);
    *off += (4 * n_rows * 4 + 31) / 32 * 32;
}

/* Six layers: a gated delta net, an attention, one with a window, one with fused weights, one that
 * is only a feed-forward block, and one that shares the cache of another. */
static void put_hybrid(unit_bytes *b) {
    static const uint32_t heads[6] = {0, 2, 2, 2, 0, 2};
    uint64_t off = 0;
    unit_put_head(b, 3, 9, 14);
    unit_put_text_key(b, "general.architecture", "newhybrid");
    unit_put_u32_key(b, "newhybrid.block_count", 6);
    unit_put_u32_key(b, "newhybrid.context_length", 4096);
    unit_put_u32_key(b, "newhybrid.embedding_length", 4);
    unit_put_u32_key(b, "newhybrid.attention.head_count", 4);
    unit_put_u32_key(b, "newhybrid.attention.key_length", 3);
    unit_put_u32_key(b, "newhybrid.attention.value_length", 2);
    unit_put_u32_key(b, "newhybrid.attention.sliding_window", 64);
    unit_put_u32_key(b, "newhybrid.attention.shared_kv_layers", 1);
    unit_put_u32_key(b, "newhybrid.ssm.inner_size", 8);
    unit_put_u32_key(b, "newhybrid.ssm.state_size", 16);
    unit_put_u32_key(b, "newhybrid.ssm.conv_kernel", 4);
    unit_put_array_key(b, "newhybrid.attention.head_count_kv", GGUF_VALUE_U32, 6);
    for (size_t i = 0; i < 6; i++) unit_put_u32(b, heads[i]);
    unit_put_array_key(b, "newhybrid.attention.sliding_window_pattern", GGUF_VALUE_BOOL, 6);
    for (size_t i = 0; i < 6; i++) unit_put(b, &(uint8_t){i == 2}, 1);
    put_matrix(b, "token_embd.weight", 10, &off);
    put_matrix(b, "blk.0.attn_qkv.weight", 12, &off);
    put_matrix(b, "blk.0.ssm_conv1d.weight", 8, &off);
    put_matrix(b, "blk.1.attn_k.weight", 6, &off);
    put_matrix(b, "blk.1.attn_v.weight", 4, &off);
    put_matrix(b, "blk.2.attn_k.weight", 6, &off);
    put_matrix(b, "blk.3.attn_qkv.weight", 22, &off);
    put_matrix(b, "blk.4.ffn_up.weight", 8, &off);
    put_matrix(b, "blk.5.attn_k.weight", 6, &off);
    unit_put_data(b, off);
}

START_TEST(other_architectures_are_read_from_their_tensors) {
    static const rt_layer_memory expected[6] = {
        {RT_CACHE_NONE, 0, 0, (3 * 8 + 16 * 8) * 4, 0, 0, 0},
        {RT_CACHE_FULL, 6, 4, 0, 0, 0, 0},
        {RT_CACHE_WINDOW, 6, 6, 0, 0, 0, 0},
        {RT_CACHE_FULL, 6, 4, 0, 0, 0, 0},
        {RT_CACHE_NONE, 0, 0, 0, 0, 0, 0},
        {RT_CACHE_NONE, 0, 0, 0, 0, 0, 0}};
    static unit_bytes b;
    put_hybrid(&b);
    const char *path = unit_temp("hybrid.gguf");
    unit_write(path, b.data, b.n);
    sized s = size_path(path);
    ck_assert(!s.model.runs_here);
    for (size_t i = 0; i < 6; i++) {
        const rt_layer_memory *x = &s.model.layers[i], *y = &expected[i];
        ck_assert_msg(x->cache == y->cache && x->k_cols == y->k_cols && x->v_cols == y->v_cols &&
                          x->state_bytes == y->state_bytes,
                      "layer %zu: %s %u %u %llu", i, rt_cache_kind_name(x->cache), x->k_cols,
                      x->v_cols, (unsigned long long)x->state_bytes);
    }
    rt_device device = rt_device_usual(RT_DEVICE_GPU, UINT64_C(1) << 32);
    rt_session_opts opts = opts_of(1024);
    opts.n_batch = 64;
    rt_fit fit = fit_of(&s, &device, &opts);
    uint64_t window_tokens = (64 / 64 + 3 + 64 / 64 + 1) * 64;
    ck_assert_uint_eq(fit.footprint.kv_bytes,
                      2 * 1024 * 10 * 2 + window_tokens * 12 * 2 + expected[0].state_bytes);
    clear(&s);
    unlink(path);
}
END_TEST

/* ---- what fits ----------------------------------------------------------------------------------
 */

static rt_device card(uint64_t memory_bytes) {
    rt_device device = rt_device_usual(RT_DEVICE_GPU, memory_bytes);
    device.bytes_per_s = 1e12;
    device.flop_per_s = 1e14;
    return device;
}

START_TEST(the_largest_context_just_fits) {
    sized s = size_config(known[0].config);
    rt_device device = card(UINT64_C(24) << 30);
    rt_session_opts opts = opts_of(8192);
    rt_fit fit = fit_of(&s, &device, &opts);
    ck_assert(fit.fits && fit.device_layers == 32 && fit.max_ctx > 8192);
    opts.n_ctx = fit.max_ctx;
    ck_assert(fit_of(&s, &device, &opts).fits);
    opts.n_ctx = fit.max_ctx + 64;
    ck_assert(!fit_of(&s, &device, &opts).fits);
    clear(&s);
}
END_TEST

START_TEST(rows_of_the_embedding_come_as_tokens_ask) {
    sized s = size_config(known[0].config);
    rt_device cpu = rt_device_usual(RT_DEVICE_CPU, UINT64_C(1) << 42);
    rt_device gpu = rt_device_usual(RT_DEVICE_GPU, UINT64_C(1) << 42);
    rt_session_opts few = opts_of(16), many = opts_of(8192);
    rt_fit a = fit_of(&s, &cpu, &few), b = fit_of(&s, &cpu, &many);
    uint64_t table_bytes = s.weights.table_bytes;
    ck_assert_uint_gt(a.lookup_bytes, 0);
    ck_assert_uint_le(a.lookup_bytes, 16 * 65536);
    ck_assert_uint_gt(b.lookup_bytes, a.lookup_bytes);
    ck_assert_uint_le(b.lookup_bytes, table_bytes);
    ck_assert_uint_eq(a.rss_bytes - a.lookup_bytes, a.footprint.total_bytes - table_bytes);
    rt_fit on_gpu = fit_of(&s, &gpu, &many);
    ck_assert_uint_eq(on_gpu.lookup_bytes, 0);
    clear(&s);
}
END_TEST

START_TEST(layers_that_do_not_fit_slow_it_down) {
    sized s = size_config(known[0].config);
    rt_session_opts opts = opts_of(8192);
    rt_device all = card(UINT64_C(24) << 30), half = card(UINT64_C(9) << 30), none = card(1 << 20);
    rt_fit a = fit_of(&s, &all, &opts), b = fit_of(&s, &half, &opts), c = fit_of(&s, &none, &opts);
    ck_assert(a.fits && !b.fits && !c.fits);
    ck_assert(b.device_layers > 10 && b.device_layers < 25);
    ck_assert_uint_eq(c.device_layers, 0);
    ck_assert_uint_eq(c.max_ctx, 0);
    ck_assert(a.tg_per_s > 2 * b.tg_per_s && b.tg_per_s > c.tg_per_s && c.tg_per_s > 0);
    ck_assert(a.pp_per_s > 1000 && isnan(b.pp_per_s));
    clear(&s);
}
END_TEST

/* Half of the layers beside a card; their memory has to be there. */
START_TEST(layers_lie_in_the_memory_of_the_host) {
    sized s = size_config(known[0].config);
    rt_session_opts opts = opts_of(8192);
    rt_device device = card(UINT64_C(9) << 30);
    double unstated = fit_of(&s, &device, &opts).tg_per_s;
    device.host_bytes = UINT64_C(64) << 30;
    rt_fit fit = fit_of(&s, &device, &opts);
    const rt_fit_placement *p = &fit.places[RT_PLACE_LAYERS];
    ck_assert_str_eq(rt_fit_place_name(fit.place), "layers_in_ram");
    ck_assert(fit.fits && p->offered && p->fits && !fit.places[RT_PLACE_DEVICE].fits);
    ck_assert(!fit.places[RT_PLACE_EXPERTS].offered);
    ck_assert(fit.device_layers > 10 && fit.device_layers < 25);
    ck_assert_uint_le(p->device_bytes, fit.room_bytes);
    ck_assert_uint_gt(p->device_bytes + p->host_bytes, s.weights.n_bytes);
    ck_assert(fabs(fit.tg_per_s / unstated - 1) < 1e-9);
    device.host_bytes = UINT64_C(4) << 30;
    fit = fit_of(&s, &device, &opts);
    ck_assert(!fit.fits && fit.places[RT_PLACE_LAYERS].offered);
    clear(&s);
}
END_TEST

/* Few experts are read for a token: better they lie in the host's memory than whole layers. */
START_TEST(experts_lie_in_the_memory_of_the_host) {
    sized s = size_config(known[1].config);
    rt_session_opts opts = opts_of(8192);
    rt_device device = card(UINT64_C(12) << 30);
    ck_assert(!fit_of(&s, &device, &opts).fits);
    device.host_bytes = UINT64_C(96) << 30;
    rt_fit fit = fit_of(&s, &device, &opts);
    const rt_fit_placement experts = fit.places[RT_PLACE_EXPERTS];
    ck_assert_str_eq(rt_fit_place_name(fit.place), "experts_in_ram");
    ck_assert(fit.fits && experts.fits && fit.device_layers == 48);
    ck_assert_uint_gt(experts.host_bytes, s.weights.n_bytes * 9 / 10);
    ck_assert_uint_lt(experts.device_bytes, s.weights.n_bytes / 5);
    ck_assert(experts.tg_per_s > fit.places[RT_PLACE_LAYERS].tg_per_s);
    rt_device large = card(UINT64_C(80) << 30);
    large.host_bytes = device.host_bytes;
    fit = fit_of(&s, &large, &opts);
    ck_assert_str_eq(rt_fit_place_name(fit.place), "device");
    ck_assert(fit.tg_per_s > 2 * experts.tg_per_s);
    clear(&s);
}
END_TEST

/* Cards work one after the other: two are as fast as one with the memory of both. */
START_TEST(several_cards_share_the_layers) {
    sized s = size_config(known[0].config);
    rt_session_opts opts = opts_of(8192);
    rt_device one = card(UINT64_C(24) << 30), two = one, lone = card(UINT64_C(12) << 30);
    two.n_cards = 2;
    two.card_bytes[0] = two.card_bytes[1] = UINT64_C(12) << 30;
    rt_fit a = fit_of(&s, &one, &opts), b = fit_of(&s, &two, &opts), c = fit_of(&s, &lone, &opts);
    ck_assert(a.fits && b.fits && !c.fits);
    ck_assert(a.n_cards == 1 && b.n_cards == 2);
    ck_assert(b.cards[0].n_layers > 0 && b.cards[1].n_layers > b.cards[0].n_layers);
    ck_assert_uint_eq(b.cards[0].n_layers + b.cards[1].n_layers, 32);
    for (int i = 0; i < 2; i++) ck_assert_uint_le(b.cards[i].used_bytes, b.cards[i].room_bytes);
    ck_assert(fabs(b.tg_per_s / a.tg_per_s - 1) < 1e-9 && b.tg_per_s > 1.5 * c.tg_per_s);
    ck_assert(fabs(b.pp_per_s / a.pp_per_s - 1) < 1e-9);
    clear(&s);
}
END_TEST

/* One token in 32 experts of 128 reads what is active; many tokens read nearly all. */
START_TEST(experts_are_read_as_they_are_used) {
    sized s = size_config(known[1].config);
    rt_device device = card(UINT64_C(80) << 30);
    rt_session_opts opts = opts_of(64), many = opts_of(64);
    many.n_seqs = 64;
    rt_fit one = fit_of(&s, &device, &opts), all = fit_of(&s, &device, &many);
    double active = one.step_bytes / 2; /* parameters, in BF16 */
    ck_assert(active > 2.9e9 && active < 3.4e9);
    ck_assert(all.step_bytes > 0.9 * (double)s.weights.n_bytes);
    ck_assert(all.tg_per_s > 5 * one.tg_per_s);
    clear(&s);
}
END_TEST

/* Where the products with one vector are slower than the memory, they set the pace of one sequence.
 */
START_TEST(slow_kernels_set_the_pace) {
    sized s = size_config(known[0].config);
    rt_device device = card(UINT64_C(24) << 30);
    rt_session_opts one = opts_of(8192), two = opts_of(8192);
    two.n_seqs = 2;
    double before = fit_of(&s, &device, &one).tg_per_s;
    double two_before = fit_of(&s, &device, &two).tg_per_s;
    device.vector_flop_per_s = 1e11;
    rt_fit fit = fit_of(&s, &device, &one);
    double expected = device.arithmetic_share * 1e11 / fit.token_ops;
    ck_assert(fit.tg_per_s < before / 2 && fabs(fit.tg_per_s / expected - 1) < 0.01);
    ck_assert(fit_of(&s, &device, &two).tg_per_s == two_before);
    clear(&s);
}
END_TEST

/* ---- devices ------------------------------------------------------------------------------------
 */

START_TEST(the_catalogue_is_sound) {
    gguf_error err = {0};
    rt_devices devices = {0};
    unit_ok(rt_devices_builtin(&devices, &err), err);
    ck_assert_uint_gt(devices.n, 150);
    for (size_t i = 0; i < devices.n; i++) {
        const rt_device *d = &devices.list[i];
        ck_assert(d->bytes_per_s >= 1e10 && d->bytes_per_s <= 1e13);
        ck_assert(d->memory_bytes >= UINT64_C(4) << 30 && d->usable > 0.5 && d->usable <= 1);
        for (size_t j = 0; j < i; j++) ck_assert_str_ne(d->name, devices.list[j].name);
    }
    rt_devices_clear(&devices);
}
END_TEST

static size_t select_named(const char *name, const char *first) {
    gguf_error err = {0};
    rt_devices devices = {0};
    unit_ok(rt_devices_builtin(&devices, &err), err);
    size_t n = rt_devices_select(&devices, name);
    if (first) ck_assert_str_eq(devices.list[0].name, first);
    rt_devices_clear(&devices);
    return n;
}

START_TEST(devices_answer_to_parts_of_their_names) {
    ck_assert_uint_eq(select_named("4090", "GeForce RTX 4090"), 1);
    ck_assert_uint_eq(select_named("geforce rtx 4090", "GeForce RTX 4090"), 1);
    ck_assert_uint_eq(select_named("RTX-4070", "GeForce RTX 4070"), 1); /* not the Ti */
    ck_assert_uint_eq(select_named("l4", "L4"), 1);                     /* not the L40S */
    ck_assert_uint_gt(select_named("m4 max", "Apple M4 Max 36 GB"), 2);
    ck_assert_uint_eq(select_named("abacus", NULL), 0);
    ck_assert_uint_eq(select_named("", NULL), 0);
    ck_assert_uint_eq(select_named("--", NULL), 0);
}
END_TEST

START_TEST(a_miss_has_a_nearest_name) {
    gguf_error err = {0};
    rt_devices devices = {0};
    unit_ok(rt_devices_builtin(&devices, &err), err);
    ck_assert_str_eq(rt_devices_nearest(&devices, "rtx 4990")->name, "GeForce RTX 4090");
    ck_assert_str_eq(rt_devices_nearest(&devices, "H10O PCIe")->name, "H100 PCIe");
    ck_assert_ptr_null(rt_devices_nearest(&devices, "abacus"));
    rt_devices_clear(&devices);
}
END_TEST

static const struct {
    const char *text, *message;
} broken[] = {
    {"kind: gpu\nsource: s\ndevices: []\n", "no list of 'devices'"},
    {"kind: tpu\nsource: s\ndevices:\n  - {name: a, memory_gib: 1, bandwidth_gb_per_s: 1}\n",
     "'tpu' is not gpu"},
    {"kind: gpu\ndevices:\n  - {name: a, memory_gib: 1, bandwidth_gb_per_s: 1}\n",
     "names a 'source'"},
    {"kind: gpu\nsource: s\ndevices:\n  - {memory_gib: 1, bandwidth_gb_per_s: 1}\n",
     "needs a name"},
    {"kind: gpu\nsource: s\ndevices:\n  - {name: a, bandwidth_gb_per_s: 1}\n",
     "'memory_gib' is missing"},
    {"kind: gpu\nsource: s\ndevices:\n  - {name: a, memory_gib: 24 GB, bandwidth_gb_per_s: 1}\n",
     "'24 GB', not a number"},
    {"kind: gpu\nsource: s\ndevices:\n  - {name: a, memory_gib: -1, bandwidth_gb_per_s: 1}\n",
     "not a number above 0"},
    {"kind: gpu\nsource: s\nusable: 2\ndevices:\n  - {name: a, memory_gib: 1}\n", "up to 1"},
    {"kind: gpu\nsource: s\ndevices:\n  - {name: a, memory: 1}\n", "has no field 'memory'"},
    {"kind: gpu\nsource: s\nefficiency: 1\ndevices:\n  - {name: a}\n", "must be a map"},
    {"- 1\n", "must be a map"},
    {"", ""},
};

START_TEST(a_bad_file_says_where) {
    gguf_error err = {0};
    rt_devices devices = {0};
    const char *text = broken[_i].text;
    gguf_code code = rt_devices_parse(&devices, text, strlen(text), "mine.yaml", &err);
    ck_assert_int_eq(code, GGUF_E_FORMAT);
    ck_assert_msg(strstr(err.message, broken[_i].message), "%s", err.message);
    ck_assert_str_eq(err.file, "mine.yaml");
    rt_devices_clear(&devices);
}
END_TEST

START_TEST(a_file_of_ones_own) {
    static const char text[] =
        "kind: unified\nsource: label\nusable: 0.5\nefficiency: {bandwidth: 0.9}\ndevices:\n"
        "  - {name: box, memory_gib: 96, bandwidth_gb_per_s: 500, fp16_tflops: 40, usable: 0.8}\n";
    gguf_error err = {0};
    rt_devices devices = {0};
    unit_ok(rt_devices_parse(&devices, text, sizeof text - 1, "mine.yaml", &err), err);
    const rt_device *d = &devices.list[0];
    ck_assert(devices.n == 1 && d->kind == RT_DEVICE_UNIFIED && d->usable == 0.8);
    ck_assert(d->memory_bytes == UINT64_C(96) << 30 && d->bytes_per_s == 500e9);
    ck_assert(d->flop_per_s == 40e12 && d->bandwidth_share == 0.9);
    rt_devices_clear(&devices);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fit");
    TCase *tcase = tcase_create("fit");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, known_models_have_known_sizes, 0, sizeof known / sizeof known[0]);
    tcase_add_test(tcase, shapes_are_those_of_the_weights);
    tcase_add_test(tcase, caches_are_those_of_sessions);
    tcase_add_test(tcase, other_architectures_are_read_from_their_tensors);
    tcase_add_test(tcase, the_largest_context_just_fits);
    tcase_add_test(tcase, rows_of_the_embedding_come_as_tokens_ask);
    tcase_add_test(tcase, layers_that_do_not_fit_slow_it_down);
    tcase_add_test(tcase, layers_lie_in_the_memory_of_the_host);
    tcase_add_test(tcase, experts_lie_in_the_memory_of_the_host);
    tcase_add_test(tcase, several_cards_share_the_layers);
    tcase_add_test(tcase, experts_are_read_as_they_are_used);
    tcase_add_test(tcase, slow_kernels_set_the_pace);
    tcase_add_test(tcase, the_catalogue_is_sound);
    tcase_add_test(tcase, devices_answer_to_parts_of_their_names);
    tcase_add_test(tcase, a_miss_has_a_nearest_name);
    tcase_add_loop_test(tcase, a_bad_file_says_where, 0, sizeof broken / sizeof broken[0]);
    tcase_add_test(tcase, a_file_of_ones_own);
    suite_add_tcase(suite, tcase);
    return unit_run(suite);
}
