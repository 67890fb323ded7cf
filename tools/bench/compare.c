/* compare: two files of records, paired by configuration, and whether the second is slower. */
#include "libgguf/json.h"
#include "libgguf/map.h"
#include "tools/bench/bench.h"
#include "tools/bench/statistics.h"
#include "tools/common/columns.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RECORD_BYTES ((size_t)64 << 20)
#define MAX_SETTINGS     10000

/* What a measurement was set to. Records of one file that agree in all of it are one sample. */
typedef struct setting {
    char model[256], type_k[32], precision[16];
    uint64_t n_prompt, n_gen, n_depth, n_threads, n_batch;
} setting;

typedef struct sample {
    setting set;
    double *rates; /* tokens per second */
    size_t n;
    bool paired;
} sample;

typedef struct sample_list {
    const char *path;
    sample *samples;
    size_t n;
} sample_list;

typedef struct pair {
    const sample *a, *b;
    bench_comparison result;
} pair;

typedef struct comparison {
    sample_list a, b;
    pair *pairs;
    size_t n_pairs, n_slower;
    double significance;
} comparison;

/* ---- reading ----------------------------------------------------------------------------- */

static void copy_text(const json_t *object, const char *name, char *out, size_t room) {
    const char *text = json_string_value(json_object_get(object, name));
    const char *slash = text ? strrchr(text, '/') : NULL;
    snprintf(out, room, "%s", slash ? slash + 1 : text ? text : "");
}

static setting setting_of(const json_t *object) {
    setting set = {0};
    copy_text(object, "model_filename", set.model, sizeof set.model);
    copy_text(object, "type_k", set.type_k, sizeof set.type_k);
    for (char *c = set.type_k; *c; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    /* Records of other programs, and of versions that had no choice, say nothing. */
    copy_text(object, "precision", set.precision, sizeof set.precision);
    if (!*set.precision) snprintf(set.precision, sizeof set.precision, "default");
    gguf_json_u64(json_object_get(object, "n_prompt"), &set.n_prompt);
    gguf_json_u64(json_object_get(object, "n_gen"), &set.n_gen);
    gguf_json_u64(json_object_get(object, "n_depth"), &set.n_depth);
    gguf_json_u64(json_object_get(object, "n_threads"), &set.n_threads);
    gguf_json_u64(json_object_get(object, "n_batch"), &set.n_batch);
    return set;
}

static bool same_test(const setting *a, const setting *b) {
    return a->n_prompt == b->n_prompt && a->n_gen == b->n_gen && a->n_depth == b->n_depth;
}

static bool same_setting(const setting *a, const setting *b) {
    return same_test(a, b) && strcmp(a->model, b->model) == 0 &&
           strcmp(a->type_k, b->type_k) == 0 && strcmp(a->precision, b->precision) == 0 &&
           a->n_threads == b->n_threads && a->n_batch == b->n_batch;
}

static sample *sample_of(sample_list *list, const setting *set) {
    for (size_t i = 0; i < list->n; i++)
        if (same_setting(&list->samples[i].set, set)) return &list->samples[i];
    void *grown = realloc(list->samples, (list->n + 1) * sizeof *list->samples);
    if (!grown) return NULL;
    list->samples = grown;
    list->samples[list->n] = (sample){.set = *set};
    return &list->samples[list->n++];
}

static gguf_code add_record(sample_list *list, const json_t *object, gguf_error *err) {
    const json_t *rates = json_object_get(object, "samples_ts");
    size_t n = json_array_size(rates);
    if (!json_is_object(object) || !n)
        return gguf_fail(err, GGUF_E_FORMAT, list->path, GGUF_NO_OFFSET,
                         "not a record of gguf-bench: it has no samples_ts");
    setting set = setting_of(object);
    sample *s = sample_of(list, &set);
    if (list->n > MAX_SETTINGS)
        return gguf_fail(err, GGUF_E_LIMIT, list->path, GGUF_NO_OFFSET,
                         "more than %d different settings", MAX_SETTINGS);
    void *grown = s ? realloc(s->rates, (s->n + n) * sizeof *s->rates) : NULL;
    if (!grown) return gguf_fail_memory(err);
    s->rates = grown;
    for (size_t i = 0; i < n; i++) {
        double rate = json_number_value(json_array_get(rates, i));
        if (!(rate > 0) || !isfinite(rate))
            return gguf_fail(err, GGUF_E_FORMAT, list->path, GGUF_NO_OFFSET,
                             "samples_ts[%zu] is not a positive number", i);
        s->rates[s->n++] = rate;
    }
    return GGUF_OK;
}

/* One document: an array of records, or one record. */
static gguf_code add_document(sample_list *list, const char *text, size_t n, int64_t off,
                              gguf_error *err) {
    json_t *root = NULL;
    gguf_code code = gguf_json_parse(text, n, GGUF_JSON_WIDE_INTS, list->path, off, &root, err);
    if (code) return code;
    if (json_is_array(root))
        for (size_t i = 0; i < json_array_size(root) && !code; i++)
            code = add_record(list, json_array_get(root, i), err);
    else
        code = add_record(list, root, err);
    json_decref(root);
    return code;
}

/* -o json starts with a bracket; -o jsonl has one record a line. */
static gguf_code load_samples(const char *path, sample_list *list, gguf_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    *list = (sample_list){.path = path};
    gguf_code code = gguf_read_file(path, MAX_RECORD_BYTES, &text, &n_bytes, err);
    if (code) return code;
    size_t at = strspn(text, " \t\r\n");
    if (text[at] == '[')
        code = add_document(list, text, n_bytes, 0, err);
    else
        while (at < n_bytes && !code) {
            size_t len = strcspn(text + at, "\n");
            if (strspn(text + at, " \t\r") < len)
                code = add_document(list, text + at, len, (int64_t)at, err);
            at += len + 1;
        }
    free(text);
    if (!code && !list->n)
        code = gguf_fail(err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET, "there is no record");
    return code;
}

static void clear_samples(sample_list *list) {
    for (size_t i = 0; i < list->n; i++) free(list->samples[i].rates);
    free(list->samples);
}

/* ---- pairing ----------------------------------------------------------------------------- */

/* Parts of a setting that may differ between the files, because each file has one value of it:
 * another model, cache type, precision, number of threads or batch is then what is compared. */
typedef struct freedom {
    bool model, type_k, precision, n_threads, n_batch;
} freedom;

static freedom freedom_of(const sample_list *list) {
    const setting *first = &list->samples[0].set;
    freedom f = {true, true, true, true, true};
    for (size_t i = 1; i < list->n; i++) {
        const setting *set = &list->samples[i].set;
        f.model = f.model && strcmp(set->model, first->model) == 0;
        f.type_k = f.type_k && strcmp(set->type_k, first->type_k) == 0;
        f.precision = f.precision && strcmp(set->precision, first->precision) == 0;
        f.n_threads = f.n_threads && set->n_threads == first->n_threads;
        f.n_batch = f.n_batch && set->n_batch == first->n_batch;
    }
    return f;
}

static bool matches(const setting *a, const setting *b, const freedom *fa, const freedom *fb) {
    return same_test(a, b) && ((fa->model && fb->model) || strcmp(a->model, b->model) == 0) &&
           ((fa->type_k && fb->type_k) || strcmp(a->type_k, b->type_k) == 0) &&
           ((fa->precision && fb->precision) || strcmp(a->precision, b->precision) == 0) &&
           ((fa->n_threads && fb->n_threads) || a->n_threads == b->n_threads) &&
           ((fa->n_batch && fb->n_batch) || a->n_batch == b->n_batch);
}

static bool is_slower(const comparison *c, const pair *p) {
    return p->result.ratio < 1 && p->result.p < c->significance;
}

static void make_pair(comparison *c, sample *a, sample *b) {
    a->paired = b->paired = true;
    pair *p = &c->pairs[c->n_pairs++];
    *p = (pair){a, b, bench_compare_samples(a->rates, a->n, b->rates, b->n)};
    c->n_slower += is_slower(c, p);
}

static gguf_code make_pairs(comparison *c, gguf_error *err) {
    freedom fa = freedom_of(&c->a), fb = freedom_of(&c->b);
    c->pairs = calloc(c->a.n, sizeof *c->pairs);
    if (!c->pairs) return gguf_fail_memory(err);
    for (size_t i = 0; i < c->a.n; i++)
        for (size_t k = 0; k < c->b.n && !c->a.samples[i].paired; k++)
            if (!c->b.samples[k].paired &&
                matches(&c->a.samples[i].set, &c->b.samples[k].set, &fa, &fb))
                make_pair(c, &c->a.samples[i], &c->b.samples[k]);
    if (c->n_pairs) return GGUF_OK;
    return gguf_fail(err, GGUF_E_MISSING, c->b.path, GGUF_NO_OFFSET,
                     "no measurement has the settings of one in %s", c->a.path);
}

/* ---- output ------------------------------------------------------------------------------ */

static char *test_name(const setting *set, char *out, size_t room) {
    bench_record r = {.n_prompt = (uint32_t)set->n_prompt,
                      .n_gen = (uint32_t)set->n_gen,
                      .n_depth = (uint32_t)set->n_depth};
    snprintf(r.precision, sizeof r.precision, "%s", set->precision);
    return bench_test_name(&r, out, room);
}

static const char *verdict(const comparison *c, const pair *p) {
    if (isnan(p->result.p)) return "unknown";
    if (!(p->result.p < c->significance)) return "same";
    return p->result.ratio < 1 ? "slower" : "faster";
}

enum { WIDE_TABLE = 116 };

/* On a narrow terminal the model has a line of its own. */
static void print_row(const char *model, const char *const cells[7]) {
    unsigned columns = tool_columns();
    bool narrow = columns && columns < WIDE_TABLE;
    printf(narrow ? "%s\n" : "%-28s ", model);
    printf(narrow ? "  %-12s %9s %9s %6s %16s %7s %s\n" : "%-14s %12s %12s %7s %17s %9s  %s\n",
           cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6]);
}

static void print_pair(const comparison *c, const pair *p) {
    const bench_comparison *r = &p->result;
    char model[1100], test[96], a[32], b[32], ratio[32], interval[40] = "-", chance[24] = "-";
    if (!isnan(r->p)) {
        snprintf(interval, sizeof interval, "%.3f to %.3f", r->ratio_lo, r->ratio_hi);
        snprintf(chance, sizeof chance, "%.2g", r->p);
    }
    snprintf(a, sizeof a, "%.2f", r->mean_a);
    snprintf(b, sizeof b, "%.2f", r->mean_b);
    snprintf(ratio, sizeof ratio, "%.3f", r->ratio);
    print_row(tool_escape(p->b->set.model, strlen(p->b->set.model), model, sizeof model),
              (const char *const[]){test_name(&p->b->set, test, sizeof test), a, b, ratio, interval,
                                    chance, verdict(c, p)});
}

static void print_table(const comparison *c) {
    static const char *const headings[] = {"test", "A t/s", "B t/s", "B/A", "95 %", "p", "B is"};
    print_row("model", headings);
    for (size_t i = 0; i < c->n_pairs; i++) print_pair(c, &c->pairs[i]);
}

static json_t *real_or_null(double value) {
    return isnan(value) ? json_null() : tool_json_real(value);
}

static json_t *pair_json(const comparison *c, const pair *p) {
    const setting *a = &p->a->set, *b = &p->b->set;
    json_t *object = json_object();
    json_object_set_new(object, "model_a", tool_json_bytes(a->model, strlen(a->model)));
    json_object_set_new(object, "model_b", tool_json_bytes(b->model, strlen(b->model)));
    json_object_set_new(object, "precision_a", tool_json_bytes(a->precision, strlen(a->precision)));
    json_object_set_new(object, "precision_b", tool_json_bytes(b->precision, strlen(b->precision)));
    json_object_set_new(object, "n_prompt", json_integer((json_int_t)a->n_prompt));
    json_object_set_new(object, "n_gen", json_integer((json_int_t)a->n_gen));
    json_object_set_new(object, "n_depth", json_integer((json_int_t)a->n_depth));
    json_object_set_new(object, "n_samples_a", json_integer((json_int_t)p->a->n));
    json_object_set_new(object, "n_samples_b", json_integer((json_int_t)p->b->n));
    json_object_set_new(object, "avg_ts_a",
                        tool_json_real(bench_moments_of(p->a->rates, p->a->n).mean));
    json_object_set_new(object, "avg_ts_b",
                        tool_json_real(bench_moments_of(p->b->rates, p->b->n).mean));
    json_object_set_new(object, "geomean_ts_a", tool_json_real(p->result.mean_a));
    json_object_set_new(object, "geomean_ts_b", tool_json_real(p->result.mean_b));
    json_object_set_new(object, "ratio", tool_json_real(p->result.ratio));
    json_object_set_new(object, "ratio_lo", real_or_null(p->result.ratio_lo));
    json_object_set_new(object, "ratio_hi", real_or_null(p->result.ratio_hi));
    json_object_set_new(object, "p_value", real_or_null(p->result.p));
    json_object_set_new(object, "verdict", json_string(verdict(c, p)));
    return object;
}

static size_t count_unpaired(const sample_list *list) {
    size_t n = 0;
    for (size_t i = 0; i < list->n; i++) n += !list->samples[i].paired;
    return n;
}

static void print_json(const comparison *c) {
    json_t *root = json_object(), *pairs = json_array();
    for (size_t i = 0; i < c->n_pairs; i++)
        json_array_append_new(pairs, pair_json(c, &c->pairs[i]));
    json_object_set_new(root, "a", tool_json_bytes(c->a.path, strlen(c->a.path)));
    json_object_set_new(root, "b", tool_json_bytes(c->b.path, strlen(c->b.path)));
    json_object_set_new(root, "significance", tool_json_real(c->significance));
    json_object_set_new(root, "pairs", pairs);
    json_object_set_new(root, "n_unpaired_a", json_integer((json_int_t)count_unpaired(&c->a)));
    json_object_set_new(root, "n_unpaired_b", json_integer((json_int_t)count_unpaired(&c->b)));
    json_object_set_new(root, "n_slower", json_integer((json_int_t)c->n_slower));
    tool_print_json(root);
}

static void note_unpaired(tool *t, const sample_list *list) {
    char test[96];
    for (size_t i = 0; i < list->n; i++)
        if (!list->samples[i].paired)
            tool_warn(t, "only in %s: %s %s", list->path, list->samples[i].set.model,
                      test_name(&list->samples[i].set, test, sizeof test));
}

/* Products in another form are another computation: who compares them must know. The freedom of the
 * setting leaves one value in each file. */
static void warn_of_precision(tool *t, const comparison *c) {
    const setting *a = &c->pairs[0].a->set, *b = &c->pairs[0].b->set;
    if (strcmp(a->precision, b->precision) != 0)
        tool_warn(t, "%s was measured with --precision %s, %s with %s", c->a.path, a->precision,
                  c->b.path, b->precision);
}

gguf_code bench_compare(tool *t, const bench_opts *o, const char *path_a, const char *path_b,
                        gguf_error *err) {
    comparison c = {.significance = o->significance};
    gguf_code code = load_samples(path_a, &c.a, err);
    if (!code) code = load_samples(path_b, &c.b, err);
    if (!code) code = make_pairs(&c, err);
    if (!code) {
        warn_of_precision(t, &c);
        note_unpaired(t, &c.a);
        note_unpaired(t, &c.b);
        t->json ? print_json(&c) : print_table(&c);
        if (o->fail_on_regression && c.n_slower) code = GGUF_E_CHECK;
    }
    free(c.pairs);
    clear_samples(&c.a);
    clear_samples(&c.b);
    return code;
}
