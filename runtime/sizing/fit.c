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

/* Of a file: the data up to the next tensor's, and the entry in the header. */
static uint64_t file_share(const quant_plan *plan, const gguf_tensor *t, uint64_t n_bytes) {
    uint64_t padding =
        plan->alignment ? (plan->alignment - n_bytes % plan->alignment) % plan->alignment : 0;
    return n_bytes + padding + 8 + t->name.len + 4 + 8 * (uint64_t)t->n_dims + 4 + 8;
}

gguf_code rt_fit_weigh(const quant_plan *plan, uint32_t n_layer, rt_fit_weights *out,
                       gguf_error *err) {
    *out = (rt_fit_weights){.layer_bytes = calloc(2 * (size_t)n_layer, sizeof *out->layer_bytes)};
    if (!out->layer_bytes) return gguf_fail_memory(err);
    out->expert_bytes = out->layer_bytes + n_layer;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < plan->n_tensors && !code; i++) {
        const quant_plan_tensor *t = &plan->tensors[i];
        uint64_t n_bytes = 0;
        code = gguf_tensor_bytes(t->out.type, t->out.n_dims, t->out.dims, &n_bytes, err);
        if (!code) out->file_bytes += file_share(plan, &t->out, n_bytes);
        if (t->tags.is_draft) continue;
        if (!code && !gguf_add_u64(out->n_bytes, n_bytes, &out->n_bytes))
            code = gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "the weights are too large");
        if (code) break;
        out->n_elems += gguf_tensor_n_elems(&t->out);
        rt_cost_add_weight(&out->cost, &t->out, n_bytes, t->tags.is_output);
        if (is_table(t)) out->table_bytes += n_bytes;
        if (t->tags.layer < 0 || (uint32_t)t->tags.layer >= n_layer) continue;
        out->layer_bytes[t->tags.layer] += n_bytes;
        if (rt_cost_is_expert(&t->out)) out->expert_bytes[t->tags.layer] += n_bytes;
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

static uint32_t n_cards_of(const rt_device *device) {
    return device->n_cards ? device->n_cards : 1;
}

/* A GPU needs no work space of processor threads, but makes the logits of a whole batch; code,
 * tokenizer and stacks are on the other side. Each card has its buffers and its driver's context.
 */
static void adapt_to_device(const rt_device *device, const rt_fit_model *model, rt_footprint *f) {
    if (device->kind == RT_DEVICE_CPU) return;
    f->compute_bytes = f->activation_bytes + (uint64_t)f->n_batch * model->hp.n_out * 4;
    f->compute_bytes *= n_cards_of(device);
    if (device->kind == RT_DEVICE_GPU) f->overhead_bytes = gpu_context_bytes * n_cards_of(device);
}

static gguf_code footprint_on(const rt_device *device, const rt_fit_model *model,
                              const rt_fit_weights *weights, const rt_session_opts *opts,
                              rt_footprint *f, uint64_t *host_fixed, gguf_error *err) {
    gguf_code code =
        rt_footprint_of(&model->hp, opts, weights->n_bytes, model->n_meta_bytes, f, err);
    if (code) return code;
    *host_fixed = f->compute_bytes + f->overhead_bytes;
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

static uint64_t host_room_of(const rt_device *device) {
    return (uint64_t)((double)device->host_bytes * rt_device_usual(RT_DEVICE_CPU, 0).usable);
}

/* ---- places -------------------------------------------------------------------------------------
 */

const char *rt_fit_place_name(rt_fit_place place) {
    static const char *const names[] = {"device", "experts_in_ram", "layers_in_ram"};
    return names[place];
}

/* What is laid out, and what it needs. */
typedef struct layout {
    const rt_device *device;
    const rt_fit_model *model;
    const rt_fit_weights *weights;
    const rt_session_opts *opts;
    rt_footprint f;
    uint64_t host_fixed; /* buffers and overhead of the part in the host's memory */
} layout;

static uint64_t sum_of(const uint64_t *list, uint32_t n) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += list[i];
    return sum;
}

static uint64_t room_of_card(const rt_device *device, uint32_t card) {
    if (!device->n_cards) return room_of(device);
    return (uint64_t)((double)device->card_bytes[card] * device->usable);
}

/* Fill the cards from the last layer to the first, the last card first: each with its buffers and
 * overhead, the last also with `rest`. Returns how many layers they hold. */
static uint32_t fill_cards(const layout *l, uint64_t rest, bool experts, rt_fit_card *cards) {
    uint32_t n_cards = n_cards_of(l->device), n_layer = l->model->hp.n_layer, n = 0;
    uint64_t fixed = (l->f.compute_bytes + l->f.overhead_bytes) / n_cards;
    for (uint32_t no = n_cards; no-- > 0;) {
        uint64_t room = room_of_card(l->device, no), used = fixed + (no + 1 == n_cards ? rest : 0);
        rt_fit_card *card = &cards[no];
        *card = (rt_fit_card){.room_bytes = room};
        if (used > room) {
            if (rest && no + 1 == n_cards)
                n_layer = 0; /* no place for the output: nothing is laid out */
            continue;
        }
        for (; n < n_layer; n++, card->n_layers++) {
            uint32_t layer = l->model->hp.n_layer - 1 - n;
            uint64_t n_bytes = l->weights->layer_bytes[layer] +
                               rt_fit_layer_bytes(l->model, l->opts, &l->f, layer);
            if (!experts) n_bytes -= l->weights->expert_bytes[layer];
            if (n_bytes > room - used) break;
            used += n_bytes;
        }
        card->used_bytes = card->n_layers || (rest && no + 1 == n_cards) ? used : 0;
    }
    return n;
}

/* What the cards hold of the layers alone: weights and caches. */
static uint64_t held_by(const layout *l, uint32_t n_layers) {
    uint64_t held = 0;
    for (uint32_t i = l->model->hp.n_layer - n_layers; i < l->model->hp.n_layer; i++)
        held += l->weights->layer_bytes[i] + rt_fit_layer_bytes(l->model, l->opts, &l->f, i);
    return held;
}

static void place_as(const layout *l, rt_fit_place place, rt_fit_placement *p, rt_fit_card *cards) {
    uint32_t n_layer = l->model->hp.n_layer;
    uint64_t all = l->f.weights_bytes + l->f.kv_bytes;
    uint64_t experts = sum_of(l->weights->expert_bytes, n_layer);
    *p = (rt_fit_placement){.tg_per_s = NAN, .offered = place == RT_PLACE_DEVICE};
    if (place != RT_PLACE_LAYERS) {
        uint64_t rest = l->weights->n_bytes - sum_of(l->weights->layer_bytes, n_layer);
        bool with = place == RT_PLACE_DEVICE;
        p->device_layers = fill_cards(l, rest, with, cards);
        p->device_bytes = l->f.total_bytes - (with ? 0 : experts);
        p->host_bytes = with ? 0 : experts + l->host_fixed;
        p->fits =
            p->device_layers == n_layer && p->host_bytes <= (with ? 0 : host_room_of(l->device));
        if (!with) p->offered = l->device->host_bytes && experts;
        return;
    }
    p->offered = l->device->host_bytes > 0;
    p->device_layers = fill_cards(l, 0, true, cards);
    for (uint32_t i = 0; i < n_cards_of(l->device); i++) p->device_bytes += cards[i].used_bytes;
    p->host_bytes = all - held_by(l, p->device_layers) + l->host_fixed;
    p->fits = p->host_bytes <= host_room_of(l->device);
}

/* Sizes grow with the context, in pages of the cache. */
static uint32_t max_ctx_in(const layout *asked, rt_fit_place place) {
    uint32_t n_train = asked->model->hp.n_ctx_train, low = 0;
    uint32_t high = (n_train - 1) / RT_PAGE_TOKENS + 1;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        uint64_t n_ctx = (uint64_t)middle * RT_PAGE_TOKENS;
        rt_session_opts with = *asked->opts;
        layout l = *asked;
        rt_fit_placement p;
        rt_fit_card cards[RT_MAX_CARDS];
        gguf_error ignored = {0};
        with.n_ctx = n_ctx < n_train ? (uint32_t)n_ctx : n_train;
        l.opts = &with;
        bool fits =
            !footprint_on(l.device, l.model, l.weights, &with, &l.f, &l.host_fixed, &ignored);
        if (fits) place_as(&l, place, &p, cards);
        if (fits && p.fits)
            low = middle;
        else
            high = middle - 1;
    }
    uint64_t n_ctx = (uint64_t)low * RT_PAGE_TOKENS;
    return n_ctx < n_train ? (uint32_t)n_ctx : n_train;
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

/* Seconds of a step of generation that reads host_bytes from the host's memory. */
static double generation_seconds(const layout *l, const rt_fit *fit, double host_bytes,
                                 uint32_t n_layers) {
    double n_seqs = n_seqs_of(l->opts);
    return step_seconds(l->device, &l->model->hp, fit->step_bytes - host_bytes, n_seqs,
                        fit->token_ops, n_layers) +
           host_bytes / rt_fit_host_rate();
}

static void expect_generation(const layout *l, rt_fit *fit) {
    const rt_hparams *hp = &l->model->hp;
    double n_seqs = n_seqs_of(l->opts);
    double all = (double)l->f.weights_bytes + (double)l->f.kv_bytes;
    for (int place = 0; place < RT_N_PLACES; place++) {
        rt_fit_placement *p = &fit->places[place];
        double host = 0;
        if (!p->offered || !hp->causal) continue;
        if (place == RT_PLACE_DEVICE && !p->fits) continue;
        if (place == RT_PLACE_EXPERTS)
            host = rt_cost_experts_read(hp, n_seqs) * l->weights->cost.of[RT_USE_EXPERTS].n_bytes;
        if (place == RT_PLACE_LAYERS)
            host = fit->step_bytes * (1 - (double)held_by(l, p->device_layers) / all);
        p->tg_per_s = n_seqs / generation_seconds(l, fit, host, p->device_layers);
    }
}

static void expect_costs(const layout *l, rt_fit *fit) {
    const rt_hparams *hp = &l->model->hp;
    double n_seqs = n_seqs_of(l->opts);
    rt_memory_cost memory =
        rt_memory_cost_of(hp, l->model->layers, l->opts->kv_type, fit->n_ctx / 2.0); /* half full */
    fit->token_ops = weights_read(hp, l->weights, 1).n_ops + memory.n_ops;
    fit->step_bytes = weights_read(hp, l->weights, n_seqs).n_bytes + memory.n_bytes * n_seqs;
}

static void expect_prompt(const layout *l, rt_fit *fit) {
    const rt_device *device = l->device;
    const rt_hparams *hp = &l->model->hp;
    double n_batch = fit->footprint.n_batch;
    fit->pp_per_s = NAN;
    if (!fit->places[RT_PLACE_DEVICE].fits || device->flop_per_s <= 0) return;
    double batch_bytes = weights_read(hp, l->weights, n_batch).n_bytes;
    fit->pp_per_s =
        n_batch / step_seconds(device, hp, batch_bytes, n_batch, fit->token_ops, hp->n_layer);
}

/* All on the device if that fits, otherwise what is faster; of what fits not at all, the place that
 * needs the least of the cards. */
static rt_fit_place choose_place(const rt_fit_placement *places) {
    const rt_fit_placement *experts = &places[RT_PLACE_EXPERTS], *layers = &places[RT_PLACE_LAYERS];
    if (places[RT_PLACE_DEVICE].fits) return RT_PLACE_DEVICE;
    bool first = experts->offered && experts->fits, second = layers->offered && layers->fits;
    if (first && second)
        return layers->tg_per_s > experts->tg_per_s ? RT_PLACE_LAYERS : RT_PLACE_EXPERTS;
    return first ? RT_PLACE_EXPERTS : layers->offered ? RT_PLACE_LAYERS : RT_PLACE_DEVICE;
}

gguf_code rt_fit_on(const rt_device *device, const rt_fit_model *model,
                    const rt_fit_weights *weights, const rt_session_opts *opts, rt_fit *out,
                    gguf_error *err) {
    layout l = {.device = device, .model = model, .weights = weights, .opts = opts};
    *out = (rt_fit){.room_bytes = room_of(device),
                    .n_ctx = opts->n_ctx ? opts->n_ctx : model->hp.n_ctx_train,
                    .n_cards = n_cards_of(device)};
    gguf_code code = footprint_on(device, model, weights, opts, &l.f, &l.host_fixed, err);
    if (code) return code;
    out->footprint = l.f;
    if (device->kind == RT_DEVICE_CPU) {
        out->lookup_bytes =
            rt_footprint_looked_up(weights->table_bytes, RT_MAPPED_USUALLY, out->n_ctx);
        out->rss_bytes = out->footprint.total_bytes - weights->table_bytes + out->lookup_bytes;
    }
    expect_costs(&l, out);
    for (int place = 0; place < RT_N_PLACES; place++)
        place_as(&l, (rt_fit_place)place, &out->places[place], out->cards);
    expect_generation(&l, out);
    expect_prompt(&l, out);
    out->place = choose_place(out->places);
    rt_fit_placement chosen = out->places[out->place];
    /* Layers that do not fit run on the processor, whose memory is not counted unless stated. */
    rt_fit_place filled = chosen.fits ? out->place : RT_PLACE_LAYERS;
    rt_fit_placement cards;
    place_as(&l, filled, &cards, out->cards);
    out->fits = chosen.fits;
    out->device_layers = cards.device_layers;
    out->max_ctx = max_ctx_in(&l, out->place);
    out->tg_per_s = chosen.tg_per_s;
    if (!out->fits && device->kind == RT_DEVICE_GPU && model->hp.causal) {
        double all = (double)l.f.weights_bytes + (double)l.f.kv_bytes;
        double host = out->step_bytes * (1 - (double)held_by(&l, cards.device_layers) / all);
        out->tg_per_s = n_seqs_of(opts) / generation_seconds(&l, out, host, cards.device_layers);
    }
    return GGUF_OK;
}
