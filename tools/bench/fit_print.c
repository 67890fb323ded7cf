/* What gguf-bench fit prints: a table, the account of one device, JSON. */
#include "tools/bench/run_fit.h"
#include "tools/common/columns.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Layers that remember alike. */
typedef struct cache_group {
    uint32_t n_layers;
    uint64_t n_bytes;
} cache_group;

static void group_layers(const fit_report *r, const rt_footprint *f,
                         cache_group groups[RT_N_CACHE_KINDS]) {
    const rt_fit_model *model = &r->model->model;
    for (uint32_t i = 0; i < model->hp.n_layer; i++) {
        cache_group *group = &groups[model->layers[i].cache];
        group->n_layers++;
        group->n_bytes += rt_fit_layer_bytes(model, &r->opts, f, i);
    }
}

static double bits_per_weight(const rt_fit_weights *weights) {
    return weights->n_elems ? 8 * (double)weights->n_bytes / (double)weights->n_elems : 0;
}

/* ---- JSON ---------------------------------------------------------------------------------------
 */

static void set_size(json_t *object, const char *name, uint64_t value) {
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static void set_text(json_t *object, const char *name, const char *text) {
    json_object_set_new(object, name, text ? tool_json_bytes(text, strlen(text)) : json_null());
}

static void set_size_or_null(json_t *object, const char *name, uint64_t value) {
    json_object_set_new(object, name, value ? json_integer((json_int_t)value) : json_null());
}

static void set_rate(json_t *object, const char *name, double rate) {
    json_object_set_new(object, name, isfinite(rate) ? tool_json_real(rate) : json_null());
}

/* The fields of the contract. */
void fit_set_json(json_t *object, const rt_fit *fit) {
    const rt_footprint *f = &fit->footprint;
    set_size(object, "weights_bytes", f->weights_bytes);
    set_size(object, "kv_bytes", f->kv_bytes);
    set_size(object, "compute_bytes", f->compute_bytes);
    set_size(object, "overhead_bytes", f->overhead_bytes);
    set_size(object, "total_bytes", f->total_bytes);
    json_object_set_new(object, "fits", json_boolean(fit->fits));
    set_size(object, "max_ctx", fit->max_ctx);
    set_size(object, "device_layers", fit->device_layers);
    set_rate(object, "expected_tg_per_s", fit->tg_per_s);
    set_rate(object, "expected_pp_per_s", fit->pp_per_s);
    set_text(object, "place", fit->fits ? rt_fit_place_name(fit->place) : NULL);
}

const char *fit_place_note(const rt_fit *fit) {
    static const char *const notes[] = {"", "  experts in RAM", "  layers in RAM"};
    return fit->fits ? notes[fit->place] : "";
}

static json_t *placements_json(const rt_fit *fit) {
    json_t *list = json_array();
    for (int place = 0; place < RT_N_PLACES; place++) {
        const rt_fit_placement *p = &fit->places[place];
        if (!p->offered) continue;
        json_t *object = json_object();
        set_text(object, "place", rt_fit_place_name((rt_fit_place)place));
        set_size(object, "device_bytes", p->device_bytes);
        set_size(object, "host_bytes", p->host_bytes);
        json_object_set_new(object, "fits", json_boolean(p->fits));
        set_size(object, "device_layers", p->device_layers);
        set_rate(object, "expected_tg_per_s", p->tg_per_s);
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *cards_json(const rt_fit *fit) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < fit->n_cards; i++) {
        json_t *object = json_object();
        set_size(object, "usable_bytes", fit->cards[i].room_bytes);
        set_size(object, "used_bytes", fit->cards[i].used_bytes);
        set_size(object, "n_layers", fit->cards[i].n_layers);
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *caches_json(const fit_report *r, const rt_footprint *f) {
    cache_group groups[RT_N_CACHE_KINDS] = {{0}};
    json_t *list = json_array();
    group_layers(r, f, groups);
    for (int kind = 0; kind < RT_N_CACHE_KINDS; kind++) {
        if (!groups[kind].n_layers) continue;
        json_t *object = json_object();
        set_text(object, "kind", rt_cache_kind_name((rt_cache_kind)kind));
        set_size(object, "n_layers", groups[kind].n_layers);
        set_size(object, "kv_bytes", groups[kind].n_bytes);
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *model_json(const fit_report *r) {
    const fit_model *m = r->model;
    json_t *object = json_object();
    set_text(object, "architecture", rt_import_architecture(m->import));
    json_object_set_new(object, "runs_here", json_boolean(m->model.runs_here));
    set_text(object, "type", m->chosen->name);
    set_size(object, "n_params", m->chosen->weights.n_elems);
    set_size(object, "n_layers", m->model.hp.n_layer);
    set_size(object, "trained_ctx", m->model.hp.n_ctx_train);
    set_size(object, "ctx", r->opts.n_ctx);
    set_text(object, "kv_type", gguf_type_name(r->opts.kv_type));
    set_size(object, "parallel", r->opts.n_seqs ? r->opts.n_seqs : 1);
    set_size(object, "batch", r->opts.n_batch);
    return object;
}

static json_t *types_json(const fit_report *r, const fit_row *row) {
    json_t *list = json_array();
    for (size_t n = 0; n < r->model->n_types; n++) {
        json_t *object = json_object();
        size_t i = row->order[n];
        set_text(object, "type", r->model->types[i].name);
        set_size(object, "file_bytes", r->model->types[i].file_bytes);
        json_object_set_new(object, "bits_per_weight",
                            tool_json_real(bits_per_weight(&r->model->types[i].weights)));
        fit_set_json(object, &row->types[i]);
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *row_json(const fit_report *r, const fit_row *row) {
    json_t *object = json_object();
    const rt_device *d = row->device;
    set_text(object, "device", d->name);
    set_size(object, "memory_bytes", d->memory_bytes);
    set_size(object, "usable_bytes", row->fit.room_bytes);
    set_rate(object, "memory_bytes_per_s", d->bytes_per_s > 0 ? d->bytes_per_s : NAN);
    set_rate(object, "flop_per_s", d->flop_per_s > 0 ? d->flop_per_s : NAN);
    set_rate(object, "int8_op_per_s", d->int_op_per_s > 0 ? d->int_op_per_s : NAN);
    fit_set_json(object, &row->fit);
    set_size_or_null(object, "predicted_rss_bytes", row->fit.rss_bytes);
    set_size(object, "lookup_rss_bytes", row->fit.lookup_bytes);
    set_text(object, "best_type", row->best);
    set_size(object, "file_bytes", r->model->chosen->file_bytes);
    set_size_or_null(object, "host_memory_bytes", d->host_bytes);
    json_object_set_new(object, "placements", placements_json(&row->fit));
    json_object_set_new(object, "cards", cards_json(&row->fit));
    json_object_set_new(object, "caches", caches_json(r, &row->fit.footprint));
    if (r->n == 1) json_object_set_new(object, "types", types_json(r, row));
    return object;
}

void fit_print_json(const fit_report *r) {
    json_t *root = json_object(), *list = json_array();
    for (size_t i = 0; i < r->n; i++) json_array_append_new(list, row_json(r, &r->rows[i]));
    json_object_set_new(root, "model", model_json(r));
    json_object_set_new(root, "devices", list);
    tool_print_json(root);
}

/* ---- tables -------------------------------------------------------------------------------------
 */

const char *fit_rate_text(double rate, char *out, size_t room) {
    if (isfinite(rate))
        snprintf(out, room, rate < 100 ? "%.1f" : "%.0f", rate);
    else
        snprintf(out, room, "-");
    return out;
}

/* GiB or MiB in at most 7 characters. */
static const char *short_size(uint64_t bytes, char *out, size_t room) {
    double gib = (double)bytes / (1 << 30), n = gib < 1 ? gib * 1024 : gib;
    snprintf(out, room, n < 10 ? "%.1f %s" : "%.0f %s", n, gib < 1 ? "MiB" : "GiB");
    return out;
}

/* Where a terminal has no room for the usual widths, sizes are rounded. */
#define WIDE_TABLE 106
static bool is_narrow(void) {
    unsigned columns = tool_columns();
    return columns && columns < WIDE_TABLE;
}

/* The name first; in the narrow table of devices it is cut, and the layers have no place. */
static void print_cells(int width, const char *const cells[8], const char *last) {
    enum { LAYERS = 4, NARROW_NAME = 27 };
    static const int wide[] = {10, 10, 5, 9, 8, 8, 8}, narrow[] = {7, 7, 4, 7, 7, 6, 7};
    bool tight = is_narrow() && width > NARROW_NAME;
    const int *widths = is_narrow() ? narrow : wide;
    int name = (int)tool_width(cells[0]);
    if (tight && name > NARROW_NAME)
        printf("%.*s...", NARROW_NAME - 3, cells[0]);
    else
        printf("%-*s", tight ? NARROW_NAME : width, cells[0]);
    for (int i = 0; i < 7; i++)
        if (!tight || i != LAYERS) printf(" %*s", widths[i], cells[i + 1]);
    printf("%s%s\n", !*last ? "" : is_narrow() ? " " : "  ", last);
}

static void print_row(const char *name, int width, const char *first, const rt_fit *fit,
                      uint32_t n_layers, const char *last) {
    char needed[32], layers[32], tg[32], pp[32], max_ctx[32];
    uint64_t total = fit->footprint.total_bytes;
    snprintf(layers, sizeof layers, "%" PRIu32 "/%" PRIu32, fit->device_layers, n_layers);
    snprintf(max_ctx, sizeof max_ctx, "%" PRIu32, fit->max_ctx);
    if (is_narrow())
        short_size(total, needed, sizeof needed);
    else
        tool_size_text(total, needed, sizeof needed);
    print_cells(width,
                (const char *const[]){name, first, needed, fit->fits ? "yes" : "no", max_ctx,
                                      layers, fit_rate_text(fit->tg_per_s, tg, sizeof tg),
                                      fit_rate_text(fit->pp_per_s, pp, sizeof pp)},
                last);
}

static void print_devices(const fit_report *r) {
    print_cells(30,
                (const char *const[]){"device", "memory", "needed", "fits", "max ctx", "layers",
                                      "tg t/s", "pp t/s"},
                is_narrow() ? "best" : "best type");
    for (size_t i = 0; i < r->n; i++) {
        const fit_row *row = &r->rows[i];
        char memory[32];
        uint64_t bytes = row->device->memory_bytes;
        if (is_narrow())
            short_size(bytes, memory, sizeof memory);
        else
            tool_size_text(bytes, memory, sizeof memory);
        print_row(row->device->name, 30, memory, &row->fit, r->model->model.hp.n_layer,
                  row->best ? row->best : "-");
    }
}

static void print_best(const fit_report *r, const fit_row *row) {
    if (row->best) {
        printf("best that fits: %s%s\n", row->best, fit_place_note(&row->types[row->order[0]]));
        return;
    }
    printf(r->model->max_file ? "nothing fits with this context and file size"
                              : "nothing fits with this context");
    for (size_t i = 0; i < r->model->n_types; i++)
        if (row->types[i].max_ctx && !r->model->max_file) {
            printf("; %s does with up to %" PRIu32 " tokens", r->model->types[i].name,
                   row->types[i].max_ctx);
            break;
        }
    printf("\n");
}

static void print_types(const fit_report *r, const fit_row *row) {
    bool sized = r->model->max_file != 0;
    printf("\n");
    print_cells(10,
                (const char *const[]){"type", "bits", "needed", "fits", "max ctx", "layers",
                                      "tg t/s", "pp t/s"},
                sized ? "file" : "");
    for (size_t n = 0; n < r->model->n_types; n++) {
        size_t i = row->order[n];
        const fit_type *type = &r->model->types[i];
        char bits[32], file[32], last[64];
        snprintf(bits, sizeof bits, "%.2f", bits_per_weight(&type->weights));
        snprintf(last, sizeof last, "%s%s",
                 sized ? tool_size_text(type->file_bytes, file, sizeof file) : "",
                 fit_place_note(&row->types[i]) +
                     (sized ? 0 : 2 * !!*fit_place_note(&row->types[i])));
        print_row(type->name, 10, bits, &row->types[i], r->model->model.hp.n_layer, last);
    }
    print_best(r, row);
}

/* ---- the account of one device ------------------------------------------------------------------
 */

static void print_size(const char *name, uint64_t bytes, const char *why) {
    char size[32];
    printf("  %-10s %10s  ", name, tool_size_text(bytes, size, sizeof size));
    tool_print_words(stdout, why, 25, 25, tool_columns());
    printf("\n");
}

static void print_caches(const fit_report *r, const rt_footprint *f) {
    cache_group groups[RT_N_CACHE_KINDS] = {{0}};
    static const char *const what[] = {"without a cache", "of the whole context", "with a window",
                                       "with a latent cache"};
    group_layers(r, f, groups);
    for (int kind = 0; kind < RT_N_CACHE_KINDS; kind++) {
        char each[32], why[160];
        const cache_group *g = &groups[kind];
        if (!g->n_layers) continue;
        uint64_t n_tokens = kind == RT_CACHE_WINDOW ? f->window_tokens : f->full_tokens;
        tool_size_text(g->n_bytes / g->n_layers, each, sizeof each);
        if (kind == RT_CACHE_NONE)
            snprintf(why, sizeof why, "%" PRIu32 " layer%s %s%s", g->n_layers, tool_s(g->n_layers),
                     what[kind], g->n_bytes ? ": their recurrent state" : "");
        else
            snprintf(why, sizeof why, "%" PRIu32 " layer%s %s: %s each for %" PRIu64 " tokens",
                     g->n_layers, tool_s(g->n_layers), what[kind], each, n_tokens);
        print_size("  of which", g->n_bytes, why);
    }
}

static const char *overhead_text(const fit_report *r, const rt_device *device) {
    if (device->kind == RT_DEVICE_GPU) return "the driver's context and kernels, an assumption";
    return r->model->model.meta_estimated
               ? "code, stacks, a tokenizer of usual size (there is none here)"
               : "code, libraries, tokenizer, stacks";
}

/* Whether it fits, and what hinders it where memory does not. Returns out. */
static const char *verdict(const fit_report *r, const fit_row *row, char *out, size_t room) {
    char file[32], most[32];
    bool held = row->fit.places[row->fit.place].fits;
    snprintf(out, room, "%s", row->fit.fits ? "fits" : "does not fit");
    if (held && !row->fit.fits)
        snprintf(out, room, "fits, but the file of %s is not below --size %s",
                 tool_size_text(r->model->chosen->file_bytes, file, sizeof file),
                 tool_size_text(r->model->max_file, most, sizeof most));
    return out;
}

/* Rows of an embedding lie in the mapped file until a token asks for them. */
static void print_resident(const rt_fit *fit) {
    char why[160];
    if (!fit->lookup_bytes) return;
    snprintf(why, sizeof why, "of it, if all %" PRIu32 " tokens differ", fit->n_ctx);
    print_size("resident", fit->rss_bytes, why);
    print_size("  of which", fit->lookup_bytes,
               "rows of the embedding: less for a text that repeats its words");
}

static void print_memory(const fit_report *r, const fit_row *row) {
    const rt_footprint *f = &row->fit.footprint;
    char why[200];
    snprintf(why, sizeof why, "%s, %.2f bits per weight", r->model->chosen->name,
             bits_per_weight(&r->model->chosen->weights));
    print_size("weights", f->weights_bytes, why);
    snprintf(why, sizeof why, "%" PRIu32 " x %" PRIu32 " tokens in %s, whole pages of %d",
             r->opts.n_seqs ? r->opts.n_seqs : 1, row->fit.n_ctx, gguf_type_name(r->opts.kv_type),
             RT_PAGE_TOKENS);
    print_size("KV cache", f->kv_bytes, why);
    print_caches(r, f);
    snprintf(why, sizeof why, "activations of a batch of %" PRIu32 " tokens%s", f->n_batch,
             row->device->kind == RT_DEVICE_CPU ? " and work space of the threads"
                                                : " and their logits");
    print_size("compute", f->compute_bytes, why);
    print_size("overhead", f->overhead_bytes, overhead_text(r, row->device));
    print_size("total", f->total_bytes, verdict(r, row, why, sizeof why));
    print_resident(&row->fit);
    snprintf(why, sizeof why, "%.0f %% of the memory", 100 * row->device->usable);
    print_size("room", row->fit.room_bytes, why);
}

/* What each place needs, and where the layers lie. */
static void print_places(const fit_report *r, const fit_row *row) {
    static const char *const names[] = {"all on the device", "experts in RAM", "layers in RAM"};
    const rt_fit *fit = &row->fit;
    uint32_t n_layer = r->model->model.hp.n_layer;
    char a[32], b[32], tg[32];
    for (uint32_t i = 0; i < fit->n_cards && fit->n_cards > 1; i++)
        printf("  card %-5" PRIu32 " %10s  of %s, %" PRIu32 " layer%s\n", i + 1,
               tool_size_text(fit->cards[i].used_bytes, a, sizeof a),
               tool_size_text(fit->cards[i].room_bytes, b, sizeof b), fit->cards[i].n_layers,
               tool_s(fit->cards[i].n_layers));
    if (!row->device->host_bytes) return;
    printf("  place                 device        RAM  fits  layers   tg t/s\n");
    for (int place = 0; place < RT_N_PLACES; place++) {
        const rt_fit_placement *p = &fit->places[place];
        char layers[32];
        if (!p->offered) continue;
        snprintf(layers, sizeof layers, "%" PRIu32 "/%" PRIu32, p->device_layers, n_layer);
        printf("  %-17s %10s %10s %5s %7s %8s\n", names[place],
               tool_size_text(p->device_bytes, a, sizeof a),
               p->host_bytes ? tool_size_text(p->host_bytes, b, sizeof b) : "-",
               p->fits ? "yes" : "no", layers, fit_rate_text(p->tg_per_s, tg, sizeof tg));
    }
}

static void explain_rates(const fit_report *r, const fit_row *row) {
    const rt_device *d = row->device;
    const rt_fit *fit = &row->fit;
    const rt_hparams *hp = &r->model->model.hp;
    if (hp->n_expert)
        printf("  a token uses %" PRIu32 " of %" PRIu32
               " experts: prompts reach half of the arithmetic\n",
               hp->n_expert_used, hp->n_expert);
    if (d->bytes_per_s > 0)
        printf("  generation reads %.3f GB per step, caches half full, at %.0f %% of %.0f GB/s\n",
               fit->step_bytes / 1e9, 100 * d->bandwidth_share, d->bytes_per_s / 1e9);
    if (!fit->fits && d->kind == RT_DEVICE_GPU)
        printf("  layers that do not fit run from the host's memory at %.0f GB/s\n",
               rt_fit_host_rate() / 1e9);
    if (d->flop_per_s > 0)
        printf("  a prompt costs %.2f GFLOP per token, at %.0f %% of %.2f TFLOPS\n",
               fit->token_ops / 1e9, 100 * d->arithmetic_share, d->flop_per_s / 1e12);
    if (d->vector_flop_per_s > 0)
        printf("  generation computes as much, at %.0f %% of %.3f TFLOPS; the slower counts\n",
               100 * d->arithmetic_share, d->vector_flop_per_s / 1e12);
    if (d->bytes_per_s <= 0) printf("  no rates are known, so no speed is expected\n");
}

static void print_speed(const fit_report *r, const fit_row *row) {
    const rt_fit *fit = &row->fit;
    char tg[32], pp[32];
    printf("  layers on the device %" PRIu32 " of %" PRIu32 ", largest context %" PRIu32
           " (trained for %" PRIu32 ")\n",
           fit->device_layers, r->model->model.hp.n_layer, fit->max_ctx,
           r->model->model.hp.n_ctx_train);
    if (isfinite(fit->tg_per_s) || isfinite(fit->pp_per_s))
        printf("  expected tokens per second: generation %s, prompt %s\n",
               fit_rate_text(fit->tg_per_s, tg, sizeof tg),
               fit_rate_text(fit->pp_per_s, pp, sizeof pp));
}

static void print_account(const fit_report *r, const fit_row *row) {
    printf("%s\n", row->device->name);
    print_memory(r, row);
    print_places(r, row);
    print_speed(r, row);
    if (r->explain) explain_rates(r, row);
}

void fit_print_text(const fit_report *r) {
    if (r->n == 1) {
        print_account(r, &r->rows[0]);
        print_types(r, &r->rows[0]);
        return;
    }
    print_devices(r);
    for (size_t i = 0; i < r->n && r->explain; i++) {
        printf("\n");
        print_account(r, &r->rows[i]);
    }
}
