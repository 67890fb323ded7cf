/* gguf-bench fit: what a model needs on a device, and how fast it can be expected to run. */
#include "tools/bench/run_fit.h"

#include "libgguf/checked.h"
#include "libgguf/pool.h"
#include "quant/recipe.h"
#include "runtime/chat/answer.h"
#include "tools/bench/bench.h"
#include "tools/common/model_locate.h"
#include "tools/common/precision.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    OPT_VRAM = TOOL_LONG_ONLY,
    OPT_RAM,
    OPT_DEVICE,
    OPT_HARDWARE,
    OPT_TYPE,
    OPT_CTX,
    OPT_KV_TYPE,
    OPT_PARALLEL,
    OPT_EXPLAIN,
    OPT_SIZE
};

static const tool_option options[] = {
    {OPT_VRAM, "vram", "SIZE[,SIZE]", "a graphics card with this much memory, or several cards"},
    {OPT_RAM, "ram", "SIZE",
     "a processor with this much memory; with a card, the host's beside it"},
    {OPT_SIZE, "size", "SIZE", "only types whose file is smaller"},
    {OPT_DEVICE, "device", "NAME", "a device of the catalogue, e.g. 4090 or m4-max; default: all"},
    {OPT_HARDWARE, "hardware", "FILE.yaml", "devices of your own instead of the catalogue"},
    {OPT_TYPE, "type", "TYPE", "as if quantised to it: a type, a recipe or a recipe's file"},
    {OPT_CTX, "ctx", "N", "tokens of each sequence (8192, or what the model was trained for)"},
    {OPT_KV_TYPE, "kv-type", "TYPE", "f32, f16, q8_0 or q4_0 (f16)"},
    {OPT_PARALLEL, "parallel", "N", "sequences at once (1)"},
    {'b', "batch", "N", "tokens computed at once (512)"},
    {OPT_EXPLAIN, "explain", NULL, "say where each number comes from"},
    {0},
};

/* 24G,24G; a repeated option adds cards. */
static gguf_code add_cards(fit_opts *o, const char *arg, gguf_error *err) {
    for (const char *at = arg;; at++) {
        char size[64];
        size_t n = strcspn(at, ",");
        snprintf(size, sizeof size, "%.*s", (int)n, at);
        if (o->n_cards == RT_MAX_CARDS || n >= sizeof size)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "--vram: '%s': %s", arg,
                             n >= sizeof size ? "expected sizes such as 24G,24G"
                                              : "at most 16 cards");
        gguf_code code = tool_parse_size("--vram", size, &o->cards[o->n_cards++], err);
        at += n;
        if (code || !*at) return code;
    }
}

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    fit_opts *o = ctx;
    switch (id) {
    case OPT_VRAM:
        return add_cards(o, arg, err);
    case OPT_RAM:
        return tool_parse_size("--ram", arg, &o->ram, err);
    case OPT_SIZE:
        return tool_parse_size("--size", arg, &o->max_file, err);
    case OPT_DEVICE:
        o->device = arg;
        break;
    case OPT_HARDWARE:
        o->hardware = arg;
        break;
    case OPT_TYPE:
        o->type = arg;
        break;
    case OPT_CTX:
        return tool_parse_u32("--ctx", arg, 1, 1u << 28, &o->session.n_ctx, err);
    case OPT_KV_TYPE:
        return tool_parse_kv_type(arg, &o->session.kv_type, err);
    case OPT_PARALLEL:
        return tool_parse_u32("--parallel", arg, 1, 1u << 16, &o->session.n_seqs, err);
    case 'b':
        return tool_parse_u32("-b", arg, 1, 1u << 16, &o->session.n_batch, err);
    case OPT_EXPLAIN:
        o->explain = true;
        break;
    default:
        break;
    }
    return GGUF_OK;
}

/* ---- the model ----------------------------------------------------------------------------------
 */

/* From the best down; "what should I run?" answers with the first that fits. */
static const char *const ladder[] = {"BF16",   "Q8_0",   "Q6_K",   "Q5_K_M", "Q5_K_S", "Q4_K_M",
                                     "Q4_K_S", "IQ4_XS", "Q3_K_M", "Q3_K_S", "Q2_K"};

/* A recipe by name or file, or a type for all tensors. */
static gguf_code open_recipe(const char *name, quant_recipe **out, gguf_error *err) {
    const gguf_type_layout *layout = gguf_type_layout_named(name);
    gguf_error why = {0};
    size_t n = strlen(name);
    if (n > 5 && strcmp(name + n - 5, ".yaml") == 0) return quant_recipe_load(name, out, err);
    gguf_code code = quant_recipe_named(name, out, &why);
    if (code && layout) return quant_recipe_pure(layout->type, out, err);
    return code ? gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "--type: %s", why.message) : GGUF_OK;
}

static gguf_code weigh_as(fit_model *m, const char *name, fit_type *out, gguf_error *err) {
    quant_recipe *recipe = NULL;
    gguf_code code = open_recipe(name, &recipe, err);
    if (!code) code = quant_recipe_apply(recipe, m->plan, false, NULL, err);
    if (!code) code = rt_fit_weigh(m->plan, m->model.hp.n_layer, &out->weights, err);
    if (!code) snprintf(out->name, sizeof out->name, "%s", quant_recipe_name(recipe));
    out->file_bytes = out->weights.file_bytes + m->model.n_meta_bytes;
    quant_recipe_free(recipe);
    return code;
}

/* The type of most of the weights; "as it is" if they are quantised already. */
static void name_source(fit_model *m, fit_type *out) {
    const gguf_type_layout *layout = NULL;
    uint64_t most = 0;
    for (size_t i = 0; i < m->plan->n_tensors; i++) {
        const gguf_tensor *t = &m->plan->tensors[i].out;
        if (gguf_tensor_n_elems(t) <= most) continue;
        most = gguf_tensor_n_elems(t);
        layout = gguf_type_layout_of(t->type);
        snprintf(out->name, sizeof out->name, "%s", gguf_type_name(t->type));
    }
    if (layout && layout->block_elems > 1) snprintf(out->name, sizeof out->name, "as it is");
}

/* Every smaller type of the ladder, behind the model as it is. */
static gguf_code weigh_all(fit_model *m, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < sizeof ladder / sizeof ladder[0] && !code; i++) {
        fit_type *next = &m->types[m->n_types];
        code = weigh_as(m, ladder[i], next, err);
        if (!code && next->weights.n_bytes < m->types[0].weights.n_bytes)
            m->n_types++;
        else
            rt_fit_weights_clear(&next->weights);
    }
    return code;
}

/* Files that are parts of a model have no layers of their own to size. */
static gguf_code check_whole(const fit_model *m, const char *path, gguf_error *err) {
    gguf_str type = gguf_str_of("model");
    gguf_kv_str(gguf_meta_find(m->plan->meta, "general.type"), &type);
    if (gguf_str_eq(type, "model")) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, path, GGUF_NO_OFFSET,
                     "this is of type '%.*s', not a whole model", (int)type.len, type.ptr);
}

/* What was found out about a model that is not all there. */
static void tell_source(tool *t, const fit_model *m, const char *path) {
    bool shapes = rt_import_is_shapes(m->import);
    if (shapes) tool_note(t, "%s: there are no weights: sizes are what config.json implies", path);
    for (size_t i = 0; shapes && i < rt_import_n_warnings(m->import); i++)
        tool_warn(t, "%s", rt_import_warning(m->import, i));
    if (!m->model.runs_here)
        tool_warn(t,
                  "the architecture '%s' is not one of this runtime: its layers are read from "
                  "usual keys and tensors",
                  rt_import_architecture(m->import));
}

gguf_code fit_model_weigh(fit_model *m, const fit_opts *o, const char *path, gguf_error *err) {
    m->plan = rt_import_plan(m->import);
    gguf_code code = check_whole(m, path, err);
    if (!code) code = rt_fit_describe(m->import, path, &m->model, err);
    if (code) return code;
    name_source(m, &m->types[0]);
    m->n_types = 1;
    m->max_file = o->max_file;
    code = rt_fit_weigh(m->plan, m->model.hp.n_layer, &m->types[0].weights, err);
    m->types[0].file_bytes = m->types[0].weights.file_bytes + m->model.n_meta_bytes;
    if (!code) code = weigh_all(m, err);
    if (!code && o->type) code = weigh_as(m, o->type, &m->asked, err);
    m->chosen = o->type ? &m->asked : &m->types[0];
    return code;
}

static gguf_code open_model(tool *t, fit_model *m, const fit_opts *o, const char *path,
                            gguf_error *err) {
    const rt_import_opts opts = {.shapes_suffice = true};
    gguf_code code = rt_import_open(path, &opts, &m->import, err);
    if (!code) code = fit_model_weigh(m, o, path, err);
    if (!code) tell_source(t, m, path);
    return code;
}

void fit_model_close(fit_model *m) {
    for (size_t i = 0; i < FIT_MAX_TYPES; i++) rt_fit_weights_clear(&m->types[i].weights);
    rt_fit_weights_clear(&m->asked.weights);
    rt_fit_model_clear(&m->model);
    rt_import_close(m->import);
}

/* ---- devices ------------------------------------------------------------------------------------
 */

static gguf_code add_memory(rt_devices *devices, rt_device_kind kind, uint64_t n_bytes,
                            gguf_error *err) {
    rt_device device = rt_device_usual(kind, n_bytes);
    char size[32];
    snprintf(device.name, sizeof device.name, "%s %s", tool_size_text(n_bytes, size, sizeof size),
             kind == RT_DEVICE_GPU ? "GPU" : "RAM");
    return rt_devices_add(devices, &device, err);
}

static gguf_code add_graphics(rt_devices *devices, const fit_opts *o, gguf_error *err) {
    uint64_t n_bytes = 0;
    for (uint32_t i = 0; i < o->n_cards; i++)
        if (!gguf_add_u64(n_bytes, o->cards[i], &n_bytes) || n_bytes > UINT64_C(1) << 60)
            return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "--vram: too much memory");
    rt_device device = rt_device_usual(RT_DEVICE_GPU, n_bytes);
    size_t n = 0;
    device.n_cards = o->n_cards;
    memcpy(device.card_bytes, o->cards, o->n_cards * sizeof *o->cards);
    for (uint32_t i = 0; i < o->n_cards && n < sizeof device.name; i++) {
        char size[32];
        n += (size_t)snprintf(device.name + n, sizeof device.name - n, "%s%s", i ? " + " : "",
                              tool_size_text(o->cards[i], size, sizeof size));
    }
    if (n < sizeof device.name)
        snprintf(device.name + n, sizeof device.name - n, " GPU%s", o->n_cards > 1 ? "s" : "");
    if (n + 5 >= sizeof device.name)
        snprintf(device.name, sizeof device.name, "%" PRIu32 " GPUs", o->n_cards);
    return rt_devices_add(devices, &device, err);
}

/* The host's memory beside each card. */
static gguf_code add_host(rt_devices *devices, uint64_t n_bytes, gguf_error *err) {
    for (size_t i = 0; i < devices->n; i++) {
        rt_device *device = &devices->list[i];
        if (device->kind != RT_DEVICE_GPU)
            return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                             "--ram is memory beside a graphics card, and '%s' is none",
                             device->name);
        device->host_bytes = n_bytes;
    }
    return GGUF_OK;
}

static gguf_code select_device(rt_devices *devices, const char *name, gguf_error *err) {
    const rt_device *near = rt_devices_nearest(devices, name);
    char hint[128] = "";
    if (near) snprintf(hint, sizeof hint, "; did you mean '%s'?", near->name);
    if (rt_devices_select(devices, name)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "--device: '%s' is not in the catalogue%s (without --device all are listed)",
                     name, hint);
}

static gguf_code find_devices(tool *t, const fit_opts *o, rt_devices *devices, gguf_error *err) {
    gguf_code code =
        o->hardware ? rt_devices_load(devices, o->hardware, err) : rt_devices_builtin(devices, err);
    bool machine = !o->hardware && (!o->device || strcasecmp(o->device, "this machine") == 0);
    if (!code && machine)
        code = fit_add_machine(devices, t->n_threads ? t->n_threads : gguf_usable_cores(), err);
    return !code && o->device ? select_device(devices, o->device, err) : code;
}

static gguf_code choose_devices(tool *t, const fit_opts *o, rt_devices *devices, gguf_error *err) {
    bool named = o->n_cards || o->device || o->hardware;
    if (o->ram && !named) return add_memory(devices, RT_DEVICE_CPU, o->ram, err);
    gguf_code code = o->n_cards ? add_graphics(devices, o, err) : find_devices(t, o, devices, err);
    return !code && o->ram ? add_host(devices, o->ram, err) : code;
}

/* ---- fit ----------------------------------------------------------------------------------------
 */

static bool is_small_enough(const fit_model *m, const fit_type *type) {
    return !m->max_file || type->file_bytes < m->max_file;
}

/* What a person would choose first: what fits on the device alone, then with the host's memory,
 * there without 16 bits, which take twice the time of 8 for the same answers; then what fits
 * nowhere. */
static int group_of(const fit_type *type, const rt_fit *fit) {
    if (!fit->fits) return 3;
    if (fit->place == RT_PLACE_DEVICE) return 0;
    return 8 * (double)type->weights.n_bytes > 12 * (double)type->weights.n_elems ? 2 : 1;
}

/* The best type first in each group. */
static void sort_types(const fit_model *m, fit_row *row) {
    size_t n = 0;
    for (int group = 0; group < 4; group++)
        for (size_t i = 0; i < m->n_types; i++)
            if (group == group_of(&m->types[i], &row->types[i])) row->order[n++] = i;
    if (row->types[row->order[0]].fits) row->best = m->types[row->order[0]].name;
}

gguf_code fit_row_make(const fit_model *m, const rt_session_opts *opts, const rt_device *device,
                       fit_row *row, gguf_error *err) {
    *row = (fit_row){.device = device};
    gguf_code code = rt_fit_on(device, &m->model, &m->chosen->weights, opts, &row->fit, err);
    row->fit.fits &= is_small_enough(m, m->chosen);
    for (size_t i = 0; i < m->n_types && !code; i++) {
        rt_fit *fit = &row->types[i];
        code = rt_fit_on(device, &m->model, &m->types[i].weights, opts, fit, err);
        fit->fits &= is_small_enough(m, &m->types[i]);
    }
    if (!code) sort_types(m, row);
    return code;
}

rt_session_opts fit_session_opts(const tool *t, const fit_opts *o, const rt_hparams *hp) {
    enum { USUAL_CTX = 8192, USUAL_THREADS = 8 };
    rt_session_opts opts = o->session;
    uint32_t usual = hp->n_ctx_train < USUAL_CTX ? hp->n_ctx_train : USUAL_CTX;
    if (!opts.n_ctx) opts.n_ctx = usual;
    opts.n_threads = t->n_threads ? t->n_threads : USUAL_THREADS;
    rt_answer_session_opts(hp, &opts, hp->n_recurrent ? 0 : RT_USUAL_DRAFT);
    return opts;
}

static gguf_code fit_all(tool *t, const fit_model *m, const fit_opts *o, const rt_devices *devices,
                         gguf_error *err) {
    fit_report report = {.model = m,
                         .opts = fit_session_opts(t, o, &m->model.hp),
                         .rows = calloc(devices->n, sizeof *report.rows),
                         .n = devices->n,
                         .explain = o->explain};
    bool any = false;
    if (!report.rows) return gguf_fail_memory(err);
    if (report.opts.n_ctx > m->model.hp.n_ctx_train)
        tool_warn(t, "the model was trained for %" PRIu32 " tokens of context",
                  m->model.hp.n_ctx_train);
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < devices->n && !code; i++) {
        code = fit_row_make(m, &report.opts, &devices->list[i], &report.rows[i], err);
        any |= report.rows[i].fit.fits;
    }
    if (!code && t->json)
        fit_print_json(&report);
    else if (!code)
        fit_print_text(&report);
    free(report.rows);
    return code ? code : any ? GGUF_OK : GGUF_E_CHECK;
}

/* A question for one device: where none is named, it is this machine. */
static void use_this_machine(fit_opts *o) {
    if (!o->n_cards && !o->ram && !o->device && !o->hardware) o->device = "this machine";
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    fit_opts *o = ctx;
    fit_model m = {0};
    rt_devices devices = {0};
    if (t->n_args > 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected fit MODEL, or none for the table of known models (see "
                         "gguf-bench fit --help)");
    if (o->n_cards && (o->device || o->hardware))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--vram is a device of its own: use it without --device and --hardware");
    if (o->max_file && o->type && t->n_args == 0)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "--size chooses the type: use it without --type where there is no MODEL");
    gguf_code code = GGUF_OK;
    if (t->json) code = tool_refuse(t, "explain", "has no effect with --json", err);
    if (!code && t->n_args == 0) code = tool_refuse(t, "explain", "needs a MODEL", err);
    if (t->n_args == 0 || o->max_file) use_this_machine(o);
    if (!code) code = choose_devices(t, o, &devices, err);
    if (!code && t->n_args == 0) {
        code = fit_known_models(t, o, &devices, err);
        rt_devices_clear(&devices);
        return code;
    }
    if (!code) code = model_locate(t, &t->args[0], true, err);
    if (!code) code = open_model(t, &m, o, t->args[0], err);
    if (!code) code = kv_type_check(t, &m.model.hp, err);
    if (!code) code = fit_all(t, &m, o, &devices, err);
    fit_model_close(&m);
    rt_devices_clear(&devices);
    return code;
}

const tool_spec *bench_fit_spec(void) {
    static const tool_spec spec = {
        .name = "gguf-bench",
        .verb = "fit",
        .usage =
            "fit MODEL [--vram SIZE[,SIZE] | --device NAME] [--ram SIZE] [--size SIZE] [options]\n"
            "fit [--vram SIZE[,SIZE] | --device NAME] [--ram SIZE] [--size SIZE] [options]",
        .summary =
            "Say what memory a model needs, where it fits and how fast it will run. MODEL is "
            "a GGUF file, a model folder, a config.json, or a name as gguf-pull takes it: then nothing "
            "but headers is fetched. Without a MODEL: which of the known models run there, the "
            "best first.",
        .options = options,
        .examples = "fit model.gguf --vram 8G      # which type fits?\n"
                    "fit --vram 24G,24G            # what runs on two cards?\n"
                    "fit --ram 32G --vram 8G       # and beside a card, the host's?\n"
                    "fit gemma3-4b --device 4090",
        .set = set_option,
        .run = run};
    return &spec;
}

int bench_fit_main(int argc, char **argv) {
    fit_opts o = {.session = rt_session_defaults()};
    tool_spec spec = *bench_fit_spec();
    spec.ctx = &o;
    return tool_main(&spec, argc, argv);
}
