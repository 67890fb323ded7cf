/* What fits on a device and how fast it runs, from sizes and published rates. */
#include "runtime/sizing/fit.h"

#include "libgguf/checked.h"
#include "quant/quant.h"
#include "runtime/sizing/mapped.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- weights ------------------------------------------------------------------------------------
 */

static bool is_table(const quant_plan_tensor *t) {
    const char *role = t->tags.role ? t->tags.role : "";
    return (strcmp(role, "token_embd") == 0 && !t->tags.is_output) ||
           strcmp(role, "per_layer_token_embd") == 0;
}

gguf_code rt_fit_weigh(const quant_plan *plan, uint32_t n_layer, rt_fit_weights *out,
                       gguf_error *err) {
    *out = (rt_fit_weights){.layer_bytes = calloc(n_layer, sizeof *out->layer_bytes)};
    if (!out->layer_bytes) return gguf_fail_memory(err);
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < plan->n_tensors && !code; i++) {
        const quant_plan_tensor *t = &plan->tensors[i];
        uint64_t n_bytes = 0;
        if (t->tags.is_draft) continue;
        code = gguf_tensor_bytes(t->out.type, t->out.n_dims, t->out.dims, &n_bytes, err);
        if (!code && !gguf_add_u64(out->n_bytes, n_bytes, &out->n_bytes))
            code = gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "the weights are too large");
        if (code) break;
        out->n_elems += gguf_tensor_n_elems(&t->out);
        rt_cost_add_weight(&out->cost, &t->out, n_bytes, t->tags.is_output);
        if (is_table(t)) out->table_bytes += n_bytes;
        if (t->tags.layer >= 0 && (uint32_t)t->tags.layer < n_layer)
            out->layer_bytes[t->tags.layer] += n_bytes;
    }
    if (code) rt_fit_weights_clear(out);
    return code;
}

void rt_fit_weights_clear(rt_fit_weights *weights) {
    free(weights->layer_bytes);
    *weights = (rt_fit_weights){0};
}

/* ---- memory -------------------------------------------------------------------------------------
 */

/* Context, kernels and libraries that a driver keeps in a GPU's memory, and a little for a desktop.
 * An assumption: drivers differ between 250 and 600 MiB. */
static const uint64_t gpu_context_bytes = UINT64_C(500) << 20;

static uint32_t n_seqs_of(const rt_session_opts *opts) {
    return opts->n_seqs ? opts->n_seqs : 1;
}

/* A session of ours holds two states of a sequence, and snapshots. */
static uint32_t n_states_of(const rt_fit_model *model, const rt_session_opts *opts) {
    return model->runs_here ? 2 * n_seqs_of(opts) + opts->n_snapshots : n_seqs_of(opts);
}

uint64_t rt_fit_layer_bytes(const rt_fit_model *model, const rt_session_opts *opts,
                            const rt_footprint *footprint, uint32_t layer) {
    const rt_layer_memory *l = &model->layers[layer];
    uint64_t n_tokens =
        l->cache == RT_CACHE_WINDOW ? footprint->window_tokens : footprint->full_tokens;
    uint64_t kv = l->cache == RT_CACHE_NONE ? 0 : n_tokens * rt_layer_row_bytes(l, opts->kv_type);
    kv += rt_layer_block_bytes(l, opts->kv_type, footprint->full_tokens);
    return kv + l->state_bytes * n_states_of(model, opts);
}

static gguf_code too_large(gguf_error *err) {
    return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "the sum of all sizes overflows");
}

/* A GPU needs no work space of processor threads, but makes the logits of a whole batch; code,
 * tokenizer and stacks are on the other side. */
static void adapt_to_device(const rt_device *device, const rt_fit_model *model, rt_footprint *f) {
    if (device->kind == RT_DEVICE_CPU) return;
    f->compute_bytes = f->activation_bytes + (uint64_t)f->n_batch * model->hp.n_out * 4;
    if (device->kind == RT_DEVICE_GPU) f->overhead_bytes = gpu_context_bytes;
}

static gguf_code footprint_on(const rt_device *device, const rt_fit_model *model,
                              const rt_fit_weights *weights, const rt_session_opts *opts,
                              rt_footprint *f, gguf_error *err) {
    gguf_code code =
        rt_footprint_of(&model->hp, opts, weights->n_bytes, model->n_meta_bytes, f, err);
    if (code) return code;
    adapt_to_device(device, model, f);
    f->kv_bytes = 0;
    f->total_bytes = f->weights_bytes;
    for (uint32_t i = 0; i < model->hp.n_layer; i++)
        if (!gguf_add_u64(f->kv_bytes, rt_fit_layer_bytes(model, opts, f, i), &f->kv_bytes))
            return too_large(err);
    if (gguf_add_u64(f->total_bytes, f->kv_bytes, &f->total_bytes) &&
        gguf_add_u64(f->total_bytes, f->compute_bytes, &f->total_bytes) &&
        gguf_add_u64(f->total_bytes, f->overhead_bytes, &f->total_bytes))
        return GGUF_OK;
    return too_large(err);
}

static uint64_t room_of(const rt_device *device) {
    return (uint64_t)((double)device->memory_bytes * device->usable);
}

/* Sizes grow with the context, in pages of the cache. */
static uint32_t max_ctx_on(const rt_device *device, const rt_fit_model *model,
                           const rt_fit_weights *weights, const rt_session_opts *opts) {
    uint32_t n_train = model->hp.n_ctx_train, low = 0, high = (n_train - 1) / RT_PAGE_TOKENS + 1;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        uint64_t n_ctx = (uint64_t)middle * RT_PAGE_TOKENS;
        rt_session_opts with = *opts;
        rt_footprint f;
        gguf_error ignored = {0};
        with.n_ctx = n_ctx < n_train ? (uint32_t)n_ctx : n_train;
        bool fits = !footprint_on(device, model, weights, &with, &f, &ignored) &&
                    f.total_bytes <= room_of(device);
        if (fits)
            low = middle;
        else
            high = middle - 1;
    }
    uint64_t n_ctx = (uint64_t)low * RT_PAGE_TOKENS;
    return n_ctx < n_train ? (uint32_t)n_ctx : n_train;
}

/* The last layers, as many as the room beside buffers and overhead holds.
 *   held_share  of all weights and caches, what they take */
static uint32_t layers_on(const rt_fit_model *model, const rt_fit_weights *weights,
                          const rt_session_opts *opts, const rt_fit *fit, double *held_share) {
    const rt_footprint *f = &fit->footprint;
    uint64_t fixed = f->compute_bytes + f->overhead_bytes, used = 0, held = 0;
    uint32_t n = 0;
    for (; n < model->hp.n_layer; n++) {
        uint32_t layer = model->hp.n_layer - 1 - n;
        used += weights->layer_bytes[layer] + rt_fit_layer_bytes(model, opts, f, layer);
        if (fixed > fit->room_bytes || used > fit->room_bytes - fixed) break;
        held = used;
    }
    *held_share = (double)held / ((double)f->weights_bytes + (double)f->kv_bytes);
    return n;
}

/* ---- speed --------------------------------------------------------------------------------------
 */

/* Where layers run that a GPU has no room for: two channels of DDR5-5600, and the share of it that
 * processors reach (configs/hardware/cpu.yaml). */
double rt_fit_host_rate(void) {
    return 0.65 * 89.6e9;
}

/* A multiplication and an addition for each weight; the experts that n tokens read. */
typedef struct weights_cost {
    double n_bytes, n_ops;
} weights_cost;

static weights_cost weights_read(const rt_hparams *hp, const rt_fit_weights *weights, double n) {
    const rt_weight_sums *of = weights->cost.of, *experts = &of[RT_USE_EXPERTS];
    double share = rt_cost_experts_read(hp, n);
    return (weights_cost){
        of[RT_USE_LAYERS].n_bytes + of[RT_USE_OUTPUT].n_bytes + share * experts->n_bytes,
        2 * (of[RT_USE_LAYERS].n_elems + of[RT_USE_OUTPUT].n_elems + share * experts->n_elems)};
}

/* What starting the kernels of a layer costs on anything but a processor: an RTX 4090 generates 762
 * tokens per second with a model of 22 layers (geerlingguy/ai-benchmarks #43), not the 1000 of its
 * bandwidth. Routing to experts costs more: an RTX 5090 makes 273 tokens per second with Gemma 4
 * 26B-A4B (ggml-org/llama.cpp #29152), not 440. */
static const double layer_start_s = 15e-6, routing_start_s = 50e-6;
/* The products of a batch with experts are many and small: an RTX 3090 reaches half of its usual
 * arithmetic with DeepSeek V2 Lite (ggml-org/llama.cpp #15525). */
static const double expert_arithmetic = 0.5;

/* Arithmetic that a step of n tokens reaches. */
static double flop_rate(const rt_device *device, const rt_hparams *hp, double n_tokens) {
    bool vector = n_tokens < 2 && device->vector_flop_per_s > 0;
    double share = device->arithmetic_share * (hp->n_expert && !vector ? expert_arithmetic : 1);
    return share * (vector ? device->vector_flop_per_s : device->flop_per_s);
}

/* Seconds of a step that reads so many bytes and computes so much, whatever takes longer. NaN: the
 * bandwidth is unknown. */
static double step_seconds(const rt_device *device, const rt_hparams *hp, double n_bytes,
                           double n_tokens, double token_ops, double n_layers) {
    double rate = flop_rate(device, hp, n_tokens);
    double reading = n_bytes / (device->bytes_per_s * device->bandwidth_share);
    double computing = rate > 0 ? n_tokens * token_ops / rate : 0;
    double starting = n_layers * (layer_start_s + (hp->n_expert ? routing_start_s : 0));
    if (device->kind == RT_DEVICE_CPU) starting = 0;
    return device->bytes_per_s > 0 ? fmax(reading, computing) + starting : NAN;
}

static void expect_rates(const rt_device *device, const rt_fit_model *model,
                         const rt_fit_weights *weights, const rt_session_opts *opts,
                         double held_share, rt_fit *fit) {
    const rt_hparams *hp = &model->hp;
    double n_seqs = n_seqs_of(opts), n_batch = fit->footprint.n_batch;
    double held = fit->fits ? 1 : held_share;
    rt_memory_cost memory =
        rt_memory_cost_of(hp, model->layers, opts->kv_type, fit->n_ctx / 2.0); /* half full */
    fit->token_ops = weights_read(hp, weights, 1).n_ops + memory.n_ops;
    fit->step_bytes = weights_read(hp, weights, n_seqs).n_bytes + memory.n_bytes * n_seqs;
    fit->tg_per_s = fit->pp_per_s = NAN;
    bool beside = device->kind == RT_DEVICE_GPU; /* the rest can run on the processor */
    if (hp->causal && (fit->fits || beside))
        fit->tg_per_s = n_seqs / (step_seconds(device, hp, held * fit->step_bytes, n_seqs,
                                               fit->token_ops, fit->device_layers) +
                                  (1 - held) * fit->step_bytes / rt_fit_host_rate());
    if (!fit->fits || device->flop_per_s <= 0) return;
    double batch_bytes = weights_read(hp, weights, n_batch).n_bytes;
    fit->pp_per_s =
        n_batch / step_seconds(device, hp, batch_bytes, n_batch, fit->token_ops, hp->n_layer);
}

gguf_code rt_fit_on(const rt_device *device, const rt_fit_model *model,
                    const rt_fit_weights *weights, const rt_session_opts *opts, rt_fit *out,
                    gguf_error *err) {
    double held_share = 1;
    *out = (rt_fit){.room_bytes = room_of(device),
                    .n_ctx = opts->n_ctx ? opts->n_ctx : model->hp.n_ctx_train};
    gguf_code code = footprint_on(device, model, weights, opts, &out->footprint, err);
    if (code) return code;
    if (device->kind == RT_DEVICE_CPU) {
        out->lookup_bytes =
            rt_footprint_looked_up(weights->table_bytes, RT_MAPPED_USUALLY, out->n_ctx);
        out->rss_bytes = out->footprint.total_bytes - weights->table_bytes + out->lookup_bytes;
    }
    out->fits = out->footprint.total_bytes <= out->room_bytes;
    out->max_ctx = max_ctx_on(device, model, weights, opts);
    out->device_layers =
        out->fits ? model->hp.n_layer : layers_on(model, weights, opts, out, &held_share);
    expect_rates(device, model, weights, opts, held_share, out);
    return GGUF_OK;
}
