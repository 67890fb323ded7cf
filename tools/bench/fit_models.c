/* gguf-bench fit without a model: which of the known ones run on a device, the best first. */
#include "runtime/pull/model_name.h"
#include "tools/bench/run_fit.h"
#include "tools/common/columns.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Below this many bits for a weight, a smaller model with more bits is the better one as a rule. */
#define FEW_BITS 4.0

typedef struct known_model {
    char name[64], source[200];
    bool pulled; /* gguf-pull knows the name */
    uint64_t n_params;
    double used_params; /* by a token; of experts the ones that are chosen */
    uint32_t trained_ctx, n_layers;
    char type[64]; /* the best that fits, or the smallest */
    double bits;
    uint64_t file_bytes;
    rt_fit fit; /* of this type */
} known_model;

typedef struct survey {
    tool *t;
    const fit_opts *o;
    const rt_device *device;
    known_model *list;
    size_t n;
    size_t n_short; /* that were left out: trained for a shorter context */
    uint32_t n_ctx; /* of the last one */
} survey;

static double bits_of(const fit_type *type) {
    return type->weights.n_elems ? 8 * (double)type->weights.n_bytes / (double)type->weights.n_elems
                                 : 0;
}

static double used_params(const fit_model *m) {
    const rt_weight_sums *of = m->chosen->weights.cost.of;
    const rt_hparams *hp = &m->model.hp;
    double share = hp->n_expert ? (double)hp->n_expert_used / hp->n_expert : 1;
    return of[RT_USE_LAYERS].n_elems + share * of[RT_USE_EXPERTS].n_elems +
           of[RT_USE_OUTPUT].n_elems;
}

/* The first type that fits, or else the last and smallest; the asked one, if one is asked for. */
static const fit_type *choose(const fit_model *m, const fit_row *row, const fit_opts *o,
                              size_t first, const rt_fit **fit) {
    size_t i = first;
    *fit = &row->fit;
    if (o->type) return m->chosen;
    /* A larger type that needs the host's memory is slower than a smaller one that does not. */
    for (size_t n = 0; n < m->n_types; n++) {
        i = row->order[n];
        if (i >= first && row->types[i].fits) break;
        i = m->n_types - 1;
    }
    *fit = &row->types[i];
    return &m->types[i];
}

static void note_pulled(void *ctx, const char *name, const char *model) {
    known_model *k = ctx;
    (void)model;
    k->pulled |= strcmp(name, k->name) == 0;
}

static gguf_code add_model(survey *s, const rt_shape *shape, const fit_model *m, const fit_row *row,
                           size_t first, gguf_error *err) {
    void *grown = realloc(s->list, (s->n + 1) * sizeof *s->list);
    if (!grown) return gguf_fail_memory(err);
    s->list = grown;
    known_model *k = &s->list[s->n++];
    const rt_fit *fit;
    const fit_type *type = choose(m, row, s->o, first, &fit);
    *k = (known_model){.n_params = m->chosen->weights.n_elems,
                       .used_params = used_params(m),
                       .trained_ctx = m->model.hp.n_ctx_train,
                       .n_layers = m->model.hp.n_layer,
                       .bits = bits_of(type),
                       .file_bytes = type->file_bytes,
                       .fit = *fit};
    snprintf(k->name, sizeof k->name, "%s", shape->name);
    snprintf(k->source, sizeof k->source, "%s", shape->source);
    snprintf(k->type, sizeof k->type, "%s", type->name);
    return rt_names_builtin(note_pulled, k, err);
}

/* Weights that were published with few bits are the best there is: nothing larger is offered. */
static gguf_code start_at(const rt_shape *shape, uint64_t max_file, fit_model *m, size_t *first,
                          gguf_error *err) {
    const fit_opts as = {.type = shape->type, .max_file = max_file};
    gguf_code code = fit_model_weigh(m, &as, shape->name, err);
    *first = 0;
    if (code || !shape->type) return code;
    uint64_t n_bytes = m->asked.weights.n_bytes;
    while (*first + 1 < m->n_types && m->types[*first + 1].weights.n_bytes >= n_bytes) ++*first;
    rt_fit_weights_clear(&m->types[*first].weights);
    m->types[*first] = m->asked;
    m->asked = (fit_type){0};
    m->chosen = &m->types[*first];
    return GGUF_OK;
}

static gguf_code size_model(survey *s, const rt_shape *shape, fit_model *m, gguf_error *err) {
    const rt_import_opts opts = {.shapes_suffice = true};
    const gguf_memory_file file = {
        .name = "config.json", .bytes = shape->config, .n_bytes = strlen(shape->config)};
    fit_row row;
    size_t first = 0;
    gguf_code code = rt_import_from_memory(&file, 1, &opts, &m->import, err);
    if (!code)
        code = s->o->type ? fit_model_weigh(m, s->o, shape->name, err)
                          : start_at(shape, s->o->max_file, m, &first, err);
    if (code) return code;
    rt_session_opts session = fit_session_opts(s->t, s->o, &m->model.hp);
    s->n_ctx = session.n_ctx;
    if (session.n_ctx > m->model.hp.n_ctx_train) {
        s->n_short++;
        return GGUF_OK;
    }
    code = fit_row_make(m, &session, s->device, &row, err);
    return code ? code : add_model(s, shape, m, &row, first, err);
}

static gguf_code on_shape(void *ctx, const rt_shape *shape, gguf_error *err) {
    fit_model *m = calloc(1, sizeof *m);
    if (!m) return gguf_fail_memory(err);
    gguf_code code = size_model(ctx, shape, m, err);
    fit_model_close(m);
    free(m);
    return code;
}

/* ---- order ------------------------------------------------------------------------------- */

/* Experts count as a model between all parameters and the used ones. */
static double weight_of(const known_model *k) {
    return sqrt((double)k->n_params * k->used_params);
}

/* 0 fits with enough bits, 1 with layers in the host's memory, which is slow, 2 with few bits, 3
 * not at all. */
static int class_of(const known_model *k) {
    if (!k->fit.fits) return 3;
    return k->bits < FEW_BITS ? 2 : k->fit.place == RT_PLACE_LAYERS ? 1 : 0;
}

static int compare(const void *a, const void *b) {
    const known_model *x = a, *y = b;
    if (class_of(x) != class_of(y)) return class_of(x) - class_of(y);
    double d = weight_of(y) - weight_of(x);
    int order = d < 0 ? -1 : d > 0;
    if (!order) order = strcmp(x->name, y->name);
    return class_of(x) == 3 ? -order : order; /* of those that do not fit, the nearest first */
}

/* ---- output ------------------------------------------------------------------------------ */

static void print_json(const survey *s) {
    json_t *list = json_array();
    for (size_t i = 0; i < s->n; i++) {
        const known_model *k = &s->list[i];
        json_t *object = json_pack(
            "{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:s, s:f}", "name", k->name, "source", k->source,
            "pull", k->pulled, "n_params", (json_int_t)k->n_params, "used_params",
            (json_int_t)k->used_params, "n_layers", (json_int_t)k->n_layers, "trained_ctx",
            (json_int_t)k->trained_ctx, "type", k->type, "bits_per_weight", k->bits);
        json_object_set_new(object, "ctx", json_integer(k->fit.n_ctx));
        json_object_set_new(object, "file_bytes", json_integer((json_int_t)k->file_bytes));
        fit_set_json(object, &k->fit);
        json_array_append_new(list, object);
    }
    const rt_device *d = s->device;
    tool_print_json(json_pack("{s:{s:s, s:I}, s:o}", "device", "name", d->name, "memory_bytes",
                              (json_int_t)d->memory_bytes, "models", list));
}

static const char *params_text(double n, char *out, size_t room) {
    snprintf(out, room,
             n < 0.9995e9 ? "%.0fM"
             : n < 1e11   ? "%.1fB"
                          : "%.0fB",
             n < 0.9995e9 ? n / 1e6 : n / 1e9);
    return out;
}

static void print_model(const known_model *k) {
    char params[32], used[40] = "", needed[32], tg[32];
    if (k->used_params < 0.5 * (double)k->n_params) params_text(k->used_params, used, sizeof used);
    printf("%-15s %6s %5s  %-9s %5.2f %10s %4s %7" PRIu32 " %6s%s\n", k->name,
           params_text((double)k->n_params, params, sizeof params), used, k->type, k->bits,
           tool_size_text(k->fit.footprint.total_bytes, needed, sizeof needed),
           k->fit.fits ? "yes" : "no", k->fit.max_ctx,
           fit_rate_text(k->fit.tg_per_s, tg, sizeof tg), fit_place_note(&k->fit));
}

/* What to do next. */
static void print_pulled(const survey *s) {
    const known_model *best = NULL;
    for (size_t i = 0; i < s->n && !best; i++)
        if (s->list[i].pulled && s->list[i].fit.fits) best = &s->list[i];
    if (best)
        tool_note(s->t, "gguf-run %s fetches the best of those that gguf-pull knows", best->name);
}

static void print_text(const survey *s, size_t n_fit) {
    printf("%s\n\n%-15s %6s %5s  %-9s %5s %10s %4s %7s %6s\n", s->device->name, "model", "params",
           "used", "type", "bits", "needed", "fits", "max ctx", "tg t/s");
    for (size_t i = 0; i < s->n; i++)
        if (s->list[i].fit.fits || s->t->verbose) print_model(&s->list[i]);
    if (n_fit < s->n && !s->t->verbose)
        tool_note(s->t, "%zu of %zu models do not fit (-v lists them too)", s->n - n_fit, s->n);
    print_pulled(s);
}

gguf_code fit_known_models(tool *t, const fit_opts *o, const rt_devices *devices, gguf_error *err) {
    survey s = {.t = t, .o = o, .device = devices->list};
    size_t n_fit = 0;
    if (devices->n != 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "without a MODEL one device is needed, but %zu are meant: '%s', '%s' ...",
                         devices->n, devices->n ? devices->list[0].name : "",
                         devices->n > 1 ? devices->list[1].name : "");
    gguf_code code = rt_shapes_builtin(on_shape, &s, err);
    if (!code && s.n) qsort(s.list, s.n, sizeof *s.list, compare);
    for (size_t i = 0; i < s.n; i++) n_fit += s.list[i].fit.fits;
    if (!code && s.n_short)
        tool_note(t, "%zu model%s trained for fewer than %" PRIu32 " tokens of context %s left out",
                  s.n_short, tool_s(s.n_short), s.n_ctx, s.n_short == 1 ? "is" : "are");
    if (!code && t->json)
        print_json(&s);
    else if (!code)
        print_text(&s, n_fit);
    free(s.list);
    return code ? code : n_fit ? GGUF_OK : GGUF_E_CHECK;
}
