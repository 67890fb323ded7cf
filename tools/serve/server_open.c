/* Opening a model for a server, and fitting the cache into memory. */
#include "tools/serve/server_open.h"
#include "tools/serve/structured.h"

#include "libgguf/hash.h"
#include "libgguf/json.h"
#include "quant/quant.h"
#include "runtime/chat/chat_prompt.h"
#include "runtime/chat/conversation.h"
#include "runtime/engine/memory.h"
#include "runtime/sizing/footprint.h"
#include "tools/common/chat_template.h"
#include "tools/common/settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define USUAL_CTX 8192u
/* What is left of both where memory is short. */
#define FEW_PARKED   4
#define FEW_PARALLEL 8

/* ---- memory ------------------------------------------------------------------------------ */

typedef struct memory_plan {
    rt_footprint footprint;
    uint64_t available, budget; /* of all; for the cache */
} memory_plan;

static gguf_code measure(const server *s, const rt_serve_opts *o, rt_footprint *out,
                         gguf_error *err) {
    rt_session_opts session = rt_serve_session_opts(s->hp, o);
    return rt_footprint_of_model(s->model, &session, true, out, err);
}

/* What a model that drafts takes. */
static gguf_code measure_drafter(const server *s, uint64_t *out, gguf_error *err) {
    rt_footprint f = {0};
    gguf_code code = GGUF_OK;
    if (s->drafts.model)
        code = rt_footprint_of_model(s->drafts.model, &s->drafts.session, true, &f, err);
    *out = f.total_bytes;
    return code;
}

static gguf_code fail_memory(const server *s, const rt_footprint *f, uint64_t available,
                             gguf_error *err) {
    char weights[32], cache[32], compute[32], room[32];
    return gguf_fail(
        err, GGUF_E_NOMEM, s->t->args[0], GGUF_NO_OFFSET,
        "does not fit: weights %s, cache %s at least, buffers %s, but %s are available "
        "(gguf-bench fit says what would; --ctx, --parallel and --kv-type change it)",
        tool_size_text(f->resident_bytes, weights, sizeof weights),
        tool_size_text(f->kv_bytes, cache, sizeof cache),
        tool_size_text(f->compute_bytes + f->overhead_bytes, compute, sizeof compute),
        tool_size_text(available, room, sizeof room));
}

/* Not even one context. */
static gguf_code fail_cache(const server *s, const rt_footprint *f, uint64_t available,
                            gguf_error *err) {
    char cache[32], limit[32];
    if (!s->settings->kv_memory) return fail_memory(s, f, available, err);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "--kv-memory %s: the cache takes %s at least (--ctx, --parallel and --kv-type "
                     "change it)",
                     tool_size_text(s->settings->kv_memory, limit, sizeof limit),
                     tool_size_text(f->kv_bytes, cache, sizeof cache));
}

/* What the cache may take: --kv-memory, or half of what is left beside the weights, on a device
 * where there is one. */
static uint64_t cache_budget(const server *s, const rt_serve_opts *o, const rt_footprint *f,
                             uint64_t available) {
    uint64_t others = f->resident_bytes + f->compute_bytes + f->overhead_bytes;
    if (s->settings->kv_memory) return s->settings->kv_memory;
    if (o->device) return s->device_room;
    return available > others ? (available - others) / 2 : 0;
}

/* Which layers lie on a device, if one is asked for, and what the cache may take there: half of
 * what a cache of one context leaves. */
static gguf_code place_layers(server *s, rt_serve_opts *o, gguf_error *err) {
    rt_session_opts session = rt_serve_session_opts(s->hp, o);
    rt_footprint least;
    device_plan place;
    session.n_kv_tokens = o->n_ctx;
    gguf_code code = device_opts_apply(&s->settings->device, s->model, &session, &place, err);
    if (code || !session.device) return code;
    o->device = session.device;
    o->device_name = session.device_name;
    o->n_device_layers = session.n_device_layers;
    o->repack = false;
    code = rt_footprint_of_model(s->model, &session, true, &least, err);
    if (code) return code;
    uint64_t budget = place.info.budget_bytes, needed = place.needed_bytes;
    s->device_room = least.kv_bytes + (budget > needed ? (budget - needed) / 2 : 0);
    return GGUF_OK;
}

/* The tokens of the cache: as many as the budget holds, at least one context. Layers with a window
 * or a state take memory for each sequence: then fewer are kept. */
static gguf_code plan_cache(const server *s, rt_serve_opts *o, rt_footprint *f, gguf_error *err) {
    uint64_t available = rt_available_bytes(""), drafter;
    gguf_code code = measure_drafter(s, &drafter, err);
    if (code) return code;
    available = available > drafter ? available - drafter : 0;
    o->n_kv_tokens = o->n_ctx;
    for (;;) {
        code = measure(s, o, f, err);
        if (code || f->kv_bytes <= cache_budget(s, o, f, available)) break;
        if (o->n_parked > FEW_PARKED)
            o->n_parked /= 2;
        else if (o->n_parallel > FEW_PARALLEL)
            o->n_parallel /= 2;
        else
            return fail_cache(s, f, available, err);
    }
    if (code) return code;
    uint64_t most = (uint64_t)o->n_ctx * (o->n_parallel + o->n_parked), least = f->kv_bytes;
    uint64_t budget = cache_budget(s, o, f, available);
    rt_footprint twice;
    o->n_kv_tokens = 2 * o->n_ctx;
    code = measure(s, o, &twice, err);
    if (code) return code;
    uint64_t step = twice.kv_bytes - least, n = o->n_ctx;
    if (step) n += (budget - least) / step * o->n_ctx;
    if (s->settings->n_kv_tokens) n = s->settings->n_kv_tokens;
    if (n > most) n = most;
    if (n > 1u << 30) n = 1u << 30;
    o->n_kv_tokens = (uint32_t)(n < o->n_ctx ? o->n_ctx : n);
    code = measure(s, o, f, err);
    if (!code && !o->device && f->total_bytes > available) return fail_memory(s, f, available, err);
    return code;
}

/* ---- the model --------------------------------------------------------------------------- */

static void read_facts(server *s) {
    const gguf_file *file = rt_model_file(s->model);
    const char *path = s->t->args[0], *base = strrchr(path, '/');
    struct stat st = {0};
    gguf_hasher *hasher;
    s->meta = gguf_file_meta(file);
    s->hp = rt_model_hparams(s->model);
    s->file_bytes = gguf_file_bytes(file);
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++)
        s->n_params += gguf_tensor_n_elems(gguf_file_tensor(file, i));
    if (stat(path, &st) == 0) s->modified = st.st_mtime;
    s->started = time(NULL);
    snprintf(s->stem, sizeof s->stem, "%s", base ? base + 1 : path);
    size_t n = strlen(s->stem);
    if (n > 5 && strcmp(s->stem + n - 5, ".gguf") == 0) s->stem[n - 5] = '\0';
    s->name = s->settings->n_aliases ? s->settings->aliases[0] : s->stem;
    /* The header names every tensor and every key: that is what the model is known by. */
    if (gguf_hasher_new(GGUF_HASH_SHA256, &hasher, NULL) == GGUF_OK) {
        gguf_hasher_add(hasher, gguf_file_header(file), gguf_file_data_off(file, 0));
        snprintf(s->digest, sizeof s->digest, "%s", gguf_hasher_end(hasher).hex);
    }
    snprintf(s->fingerprint, sizeof s->fingerprint, "ggufkit-%s-%s-%.8s", GGUFKIT_VERSION,
             quant_isa_name(), s->digest);
}

static gguf_code read_template(server *s, gguf_error *err) {
    const char *path = s->t->args[0];
    gguf_code code = GGUF_OK;
    gguf_str source;
    if (s->settings->template_vars)
        code = gguf_json_parse(s->settings->template_vars, strlen(s->settings->template_vars),
                               GGUF_JSON_EXACT_INTS, NULL, GGUF_NO_OFFSET, &s->template_vars, err);
    else
        s->template_vars = json_object();
    if (!code && !json_is_object(s->template_vars))
        code = gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--template-vars must be a JSON object");
    if (code) return code;
    bool has = gguf_kv_str(gguf_meta_find(s->meta, "tokenizer.chat_template"), &source);
    s->plain = !has && !s->settings->template_file;
    if (s->plain)
        code = rt_template_parse(gguf_str_of(rt_conversation_plain_template), &s->tpl, err);
    else
        code = chat_template_read(s->settings->template_file, s->meta, path, &s->tpl, err);
    if (code) return code;
    s->template_source = rt_template_source(s->tpl);
    if (s->plain && !rt_model_is_embedder(s->model))
        tool_warn(s->t, "the model has no chat template: chats get a plain transcript of User and "
                        "Assistant (--template F.jinja gives one)");
    return GGUF_OK;
}

static gguf_code find_tool_style(server *s, gguf_error *err) {
    json_t *variables = json_deep_copy(s->template_vars);
    gguf_code code = variables ? rt_tool_styles_new(&s->tool_styles, err) : gguf_fail_memory(err);
    if (!code) {
        s->markers = rt_tool_styles_reasoning(s->tool_styles, s->template_source);
        rt_chat_add_tokens(variables, s->tok);
        code = rt_tool_probe(s->tool_styles, s->tpl, variables, &s->tools, err);
    }
    json_decref(variables);
    return code;
}

/* The model's recommendations, then the command line. */
static void read_sampling(server *s) {
    settings of_model = {.sampler = s->settings->sampler, .given = s->settings->sampler_given};
    settings_of_model(&of_model, s->meta);
    s->sampler = of_model.sampler;
}

static rt_serve_opts engine_opts(const server *s) {
    const serve_settings *set = s->settings;
    rt_serve_opts o = rt_serve_defaults();
    uint32_t trained = s->hp->n_ctx_train;
    o.n_ctx = set->n_ctx ? set->n_ctx : trained && trained < USUAL_CTX ? trained : USUAL_CTX;
    o.n_parallel = set->n_parallel;
    o.n_queue = set->n_queue;
    o.n_parked = rt_model_is_embedder(s->model) ? 0 : o.n_parked;
    o.kv_type = set->kv_type;
    o.n_threads = s->t->n_threads;
    o.precision = set->precision;
    o.repack = !set->no_repack;
    o.step_s = set->step_ms / 1e3;
    return o;
}

/* --embed and --pooling have an effect. */
static gguf_code check_vectors(const server *s, gguf_error *err) {
    const rt_hparams *hp = rt_model_hparams(s->model);
    const char *path = s->t->args[0];
    if (s->settings->pooling == RT_POOLING_NONE) return GGUF_OK;
    if (!rt_model_is_embedder(s->model))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, path, GGUF_NO_OFFSET,
                         "--pooling is for models that make vectors, and this one makes answers");
    if (hp->pooling == RT_POOLING_RANK)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, path, GGUF_NO_OFFSET,
                         "--pooling is for models that make vectors, and this one makes scores");
    return GGUF_OK;
}

static gguf_code open_model(server *s, gguf_error *err) {
    const char *path = s->t->args[0];
    gguf_code code = s->settings->embed ? rt_model_open_encoder(path, &s->model, err)
                                        : rt_model_open(path, &s->model, err);
    if (!code) code = check_vectors(s, err);
    if (!code && s->settings->pooling) rt_model_set_pooling(s->model, s->settings->pooling);
    return code;
}

/* --lookup and --draft, where there are answers. */
static gguf_code open_drafts(server *s, rt_serve_opts *o, gguf_error *err) {
    const rt_session_opts session = rt_serve_session_opts(s->hp, o);
    gguf_code code = draft_open(s->t, &s->settings->draft, s->model, s->tok, &session,
                                o->n_parallel, &s->drafts, err);
    o->draft = s->drafts.opts;
    return code;
}

gguf_code server_open(server *s, gguf_error *err) {
    rt_footprint footprint;
    rt_spread_memory(s->t->n_threads);
    gguf_code code = open_model(s, err);
    if (!code) code = model_add_loras(s->model, &s->settings->loras, err);
    if (code) return code;
    read_facts(s);
    code = rt_tokenizer_new(s->meta, &s->tok, err);
    if (code) return code;
    read_sampling(s);
    s->opts = engine_opts(s);
    if (s->hp->n_ctx_train && s->opts.n_ctx > s->hp->n_ctx_train)
        tool_warn(s->t, "a context of %" PRIu32 " tokens: the model was trained with %" PRIu32,
                  s->opts.n_ctx, s->hp->n_ctx_train);
    code = rt_serve_check(s->model, &s->opts, err);
    if (!code) code = open_drafts(s, &s->opts, err);
    if (!code) code = place_layers(s, &s->opts, err);
    if (!code) code = plan_cache(s, &s->opts, &footprint, err);
    if (!code) s->kv_bytes = footprint.kv_bytes;
    return code;
}

static void tell(const server *s) {
    char cache[32];
    if (s->n_parallel < s->settings->n_parallel)
        tool_warn(s->t, "memory suffices for %" PRIu32 " answers at once, not %" PRIu32,
                  s->n_parallel, s->settings->n_parallel);
    if (s->opts.device)
        tool_note(s->t, "%" PRIu32 " of %" PRIu32 " layers on a device", s->opts.n_device_layers,
                  s->hp->n_layer);
    tool_note(s->t,
              "%s: %s, context of %" PRIu32 " tokens, cache of %" PRIu32
              " tokens (%s), calls of tools: %s",
              s->name, server_quantisation(s), s->n_ctx, s->opts.n_kv_tokens,
              tool_size_text(s->kv_bytes, cache, sizeof cache), rt_tool_style_name(s->tools.style));
}

gguf_code server_load(server *s, gguf_error *err) {
    gguf_code code = read_template(s, err);
    if (!code) code = find_tool_style(s, err);
    s->grammars = grammar_cache_new();
    if (!code && !s->grammars) code = gguf_fail_memory(err);
    if (!code) code = draft_start(&s->drafts, s->model, err);
    s->opts.draft_model = s->drafts.drafter;
    if (!code) code = rt_serve_new(s->model, s->tok, &s->opts, &s->engine, err);
    if (code) return code;
    s->n_ctx = rt_serve_n_ctx(s->engine);
    s->n_parallel = s->opts.n_parallel;
    tell(s);
    return GGUF_OK;
}

void server_close(server *s) {
    rt_serve_free(s->engine);
    draft_close(&s->drafts);
    grammar_cache_free(s->grammars);
    rt_template_free(s->tpl);
    rt_tool_styles_free(s->tool_styles);
    json_decref(s->template_vars);
    rt_tokenizer_free(s->tok);
    rt_model_close(s->model);
}
