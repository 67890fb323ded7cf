/* Checks of a model's tensors against the description of its architecture. The description speaks
 * of the original checkpoint; what was fused, cut or turned on the way is only looked for. */
#include "libgguf/index.h"
#include "runtime/model/arch.h"
#include "runtime/model/check_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS  1024
#define MAX_DEFAULT 8 /* defaults that are made of defaults */

/* A tensor and where to write what is wrong with it. */
typedef struct place {
    gguf_findings *found;
    int64_t off;
    const gguf_tensor *tensor; /* NULL: there is none of the name */
} place;

typedef struct checker {
    place (*find)(const void *source, const char *name);
    const void *source;
    gguf_findings *found; /* for what concerns no tensor that is there */
    const gguf_meta *meta;
    const gguf_yaml *keys, *tensors; /* of the description */
    const char *arch;
} checker;

/* ---- numbers from keys ------------------------------------------------------------------- */

static const gguf_kv *find_key(const checker *k, const char *name) {
    char full[256];
    snprintf(full, sizeof full, "%s.%s", k->arch, name);
    return gguf_meta_find(k->meta, full);
}

/* A number, or that of a layer if there is one for each. */
static bool number_of(const gguf_kv *kv, uint64_t layer, uint64_t *out) {
    gguf_kv_iter it = {.kv = kv};
    int64_t value = -1;
    if (!kv || kv->type != GGUF_VALUE_ARRAY) return gguf_kv_u64(kv, out);
    for (uint64_t i = 0; i <= layer; i++)
        if (!gguf_kv_next_i64(&it, &value)) return false;
    *out = (uint64_t)value;
    return value >= 0;
}

static const gguf_yaml *described_key(const checker *k, const char *name) {
    for (const gguf_yaml *key = k->keys ? k->keys->first : NULL; key; key = key->next)
        if (strcmp(gguf_yaml_text(key, "key", ""), name) == 0) return key;
    return NULL;
}

static bool eval(const checker *k, const char *expression, uint64_t layer, unsigned depth,
                 uint64_t *out);

static bool operand(const checker *k, const char *text, uint64_t layer, unsigned depth,
                    uint64_t *out) {
    char *end;
    *out = strtoull(text, &end, 10);
    if (end != text && !*end) return true;
    const gguf_kv *kv = find_key(k, text);
    if (kv) return number_of(kv, layer, out);
    if (strcmp(text, "vocab_size") == 0) {
        const gguf_kv *tokens = gguf_meta_find(k->meta, "tokenizer.ggml.tokens");
        if (tokens) *out = tokens->count;
        return tokens != NULL;
    }
    const gguf_yaml *key = described_key(k, text);
    const char *otherwise = key ? gguf_yaml_text(key, "default", NULL) : NULL;
    return otherwise && depth < MAX_DEFAULT && eval(k, otherwise, layer, depth + 1, out);
}

static bool apply(char op, uint64_t right, uint64_t *value) {
    if (op == '*') return !__builtin_mul_overflow(*value, right, value);
    if (op == '+') return !__builtin_add_overflow(*value, right, value);
    if (op == '-') return !__builtin_sub_overflow(*value, right, value);
    if (op != '/' || !right || *value % right) return false;
    *value /= right;
    return true;
}

/* OPERAND {operator OPERAND}, left to right, as rt_import_eval. False: a key does not say. */
static bool eval(const checker *k, const char *expression, uint64_t layer, unsigned depth,
                 uint64_t *out) {
    char text[256], *save = NULL;
    snprintf(text, sizeof text, "%s", expression);
    const char *word = strtok_r(text, " ", &save);
    bool known = word && operand(k, word, layer, depth, out);
    while (known && (word = strtok_r(NULL, " ", &save))) {
        uint64_t right;
        const char *next = strtok_r(NULL, " ", &save);
        known = next && operand(k, next, layer, depth, &right) && apply(*word, right, out);
    }
    return known;
}

/* ---- conditions -------------------------------------------------------------------------- */

static bool lists(const gguf_yaml *from, const char *path) {
    if (!from) return false;
    if (!from->first) return strcmp(from->text, path) == 0;
    for (const gguf_yaml *item = from->first; item; item = item->next)
        if (strcmp(item->text, path) == 0) return true;
    return false;
}

typedef enum truth { NO, YES, UNKNOWN } truth;

/* Whether config.json had a value, told by the key that was made of it. */
static truth config_said(const checker *k, const char *path) {
    for (const gguf_yaml *key = k->keys ? k->keys->first : NULL; key; key = key->next) {
        uint64_t value;
        if (!lists(gguf_yaml_get(key, "from"), path) || gguf_yaml_get(key, "default")) continue;
        const gguf_kv *kv = find_key(k, gguf_yaml_text(key, "key", ""));
        if (!kv) return NO;
        return number_of(kv, 0, &value) ? (value ? YES : NO) : UNKNOWN;
    }
    return UNKNOWN;
}

static truth applies(const checker *k, const gguf_yaml *node) {
    const char *when = gguf_yaml_text(node, "when", NULL);
    const char *unless = gguf_yaml_text(node, "unless", NULL);
    truth is = when ? config_said(k, when) : YES, is_not = unless ? config_said(k, unless) : NO;
    if (is == NO || is_not == YES) return NO;
    return is == YES && is_not == NO ? YES : UNKNOWN;
}

/* ---- shapes ------------------------------------------------------------------------------ */

/* Of [first, count] the count, if there is such a part. */
static bool take_count(const checker *k, const gguf_yaml *part, uint64_t layer, uint64_t *n) {
    const gguf_yaml *count = part && part->first ? part->first->next : NULL;
    return !part || (count && eval(k, count->text, layer, 0, n));
}

/* Dimensions columns first. False if the description does not tell those of the GGUF tensor. */
static bool wanted_shape(const checker *k, const gguf_yaml *node, uint64_t layer,
                         uint64_t dims[GGUF_MAX_DIMS]) {
    static const char *const changes[] = {"matrices", "transpose"};
    const gguf_yaml *shape = gguf_yaml_get(node, "shape");
    uint64_t rows_first[GGUF_MAX_DIMS];
    size_t n = 0;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
        if (gguf_yaml_get(node, changes[i])) return false;
    if (!shape || !shape->n_children || shape->n_children >= GGUF_MAX_DIMS) return false;
    for (const gguf_yaml *dim = shape->first; dim; dim = dim->next)
        if (!eval(k, dim->text, layer, 0, &rows_first[n++])) return false;
    if (!take_count(k, gguf_yaml_get(node, "columns"), layer, &rows_first[n - 1]) ||
        (n > 1 && !take_count(k, gguf_yaml_get(node, "rows"), layer, &rows_first[n - 2])))
        return false;
    for (size_t i = 0; i < GGUF_MAX_DIMS; i++) dims[i] = i < n ? rows_first[n - 1 - i] : 1;
    bool stacked = strstr(gguf_yaml_text(node, "hf", ""), "{expert}") != NULL;
    return !stacked || eval(k, "expert_count", layer, 0, &dims[n]);
}

static place find_tensor(const checker *k, const char *name) {
    return k->find(k->source, name);
}

static void shape_text(const uint64_t dims[GGUF_MAX_DIMS], char *out, size_t room) {
    size_t len = 0, n = GGUF_MAX_DIMS;
    while (n > 1 && dims[n - 1] == 1) n--;
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(out + len, room - len, i ? " x %" PRIu64 : "%" PRIu64, dims[i]);
}

static void report_shape(const place *at, const uint64_t wanted[GGUF_MAX_DIMS]) {
    char has[100], should[100];
    shape_text(at->tensor->dims, has, sizeof has);
    shape_text(wanted, should, sizeof should);
    gguf_findings_add(at->found, at->off, "tensor '%.*s' is %s, but the keys say %s",
                      (int)at->tensor->name.len, at->tensor->name.ptr, has, should);
}

/* ---- one tensor -------------------------------------------------------------------------- */

static void expand(const char *pattern, uint64_t layer, char *out, size_t room) {
    const char *mark = strstr(pattern, "{layer}");
    if (mark)
        snprintf(out, room, "%.*s%" PRIu64 "%s", (int)(mark - pattern), pattern, layer, mark + 7);
    else
        snprintf(out, room, "%s", pattern);
}

/* Layers that an entry speaks of; none if a key does not say. */
static void layers_of(const checker *k, const gguf_yaml *node, uint64_t n_layers, uint64_t *first,
                      uint64_t *end) {
    const gguf_yaml *range = gguf_yaml_get(node, "layers");
    uint64_t limit;
    *first = 0;
    *end = strstr(gguf_yaml_text(node, "gguf", ""), "{layer}") ? n_layers : 1;
    if (!range || range->n_children != 2) return;
    bool known =
        eval(k, range->first->text, 0, 0, first) && eval(k, range->first->next->text, 0, 0, &limit);
    if (!known || *first > *end)
        *end = *first = 0;
    else if (limit < *end)
        *end = limit;
}

static bool covers(const checker *k, const gguf_yaml *node, uint64_t layer, uint64_t n_layers) {
    uint64_t first, end;
    layers_of(k, node, n_layers, &first, &end);
    return layer >= first && layer < end && applies(k, node) != NO;
}

static bool is_optional(const checker *k, const gguf_yaml *node) {
    bool optional = false;
    gguf_yaml_bool(gguf_yaml_get(node, "optional"), &optional);
    return optional || gguf_yaml_get(node, "tied_to") || applies(k, node) == UNKNOWN;
}

/* Entries of one GGUF name are alternatives: it is needed if one needs it, and any shape will do.
 */
static void check_tensor(const checker *k, const gguf_yaml *node, uint64_t layer,
                         uint64_t n_layers) {
    const char *pattern = gguf_yaml_text(node, "gguf", "");
    uint64_t wanted[GGUF_MAX_DIMS] = {0}, dims[GGUF_MAX_DIMS];
    bool needed = false, wrong = true;
    char name[256];
    expand(pattern, layer, name, sizeof name);
    place at = find_tensor(k, name);
    for (const gguf_yaml *other = node; other; other = other->next) {
        if (strcmp(gguf_yaml_text(other, "gguf", ""), pattern) != 0 ||
            !covers(k, other, layer, n_layers))
            continue;
        needed |= !is_optional(k, other);
        bool known = wanted_shape(k, other, layer, dims);
        wrong = wrong && at.tensor && known && memcmp(dims, at.tensor->dims, sizeof dims) != 0;
        if (wrong) memcpy(wanted, dims, sizeof wanted);
    }
    if (at.tensor && wrong && at.tensor->n_dims <= GGUF_MAX_DIMS) report_shape(&at, wanted);
    if (!at.tensor && needed)
        gguf_findings_add(k->found, GGUF_NO_OFFSET, "the tensor '%s' is missing", name);
}

/* Whether an entry before this one already spoke of the layer's tensor. */
static bool spoken_of(const checker *k, const gguf_yaml *node, uint64_t layer, uint64_t n_layers) {
    const char *pattern = gguf_yaml_text(node, "gguf", "");
    for (const gguf_yaml *other = k->tensors->first; other != node; other = other->next)
        if (strcmp(gguf_yaml_text(other, "gguf", ""), pattern) == 0 &&
            covers(k, other, layer, n_layers))
            return true;
    return false;
}

static void check_all(const checker *k, uint64_t n_layers) {
    for (const gguf_yaml *node = k->tensors ? k->tensors->first : NULL; node; node = node->next) {
        uint64_t first, end;
        layers_of(k, node, n_layers, &first, &end);
        if (applies(k, node) == NO) continue;
        for (uint64_t layer = first; layer < end; layer++)
            if (!spoken_of(k, node, layer, n_layers)) check_tensor(k, node, layer, n_layers);
    }
}

/* Rows of token types, which other readers take from the tokenizer's keys. */
static void check_token_types(const checker *k) {
    place at = find_tensor(k, "token_types.weight");
    const gguf_kv *kv = gguf_meta_find(k->meta, "tokenizer.ggml.token_type_count");
    uint64_t n = 0;
    if (!at.tensor || !gguf_meta_find(k->meta, "tokenizer.ggml.model")) return;
    if (!kv)
        gguf_findings_add(k->found, GGUF_NO_OFFSET,
                          "the key 'tokenizer.ggml.token_type_count' is missing");
    else if (!gguf_kv_u64(kv, &n) || n != at.tensor->dims[1])
        gguf_findings_add(at.found, at.off,
                          "tensor 'token_types.weight' has %" PRIu64
                          " rows, but 'tokenizer.ggml.token_type_count' is %" PRIu64,
                          at.tensor->dims[1], n);
}

/* k: all but what the description gives. */
static gguf_code check_model(checker *k, gguf_error *err) {
    gguf_str name, type;
    uint64_t n_layers;
    bool is_model =
        !gguf_kv_str(gguf_meta_find(k->meta, "general.type"), &type) || gguf_str_eq(type, "model");
    if (!is_model || !gguf_kv_str(gguf_meta_find(k->meta, "general.architecture"), &name))
        return GGUF_OK;
    rt_arch *arch = NULL;
    gguf_error ignored = {0};
    gguf_code code = rt_arch_open(name, NULL, &arch, &ignored);
    if (code == GGUF_E_NOMEM) return gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "out of memory");
    if (code) return GGUF_OK;
    const gguf_yaml *root = gguf_yaml_root(rt_arch_doc(arch));
    k->keys = gguf_yaml_get(root, "keys");
    k->tensors = gguf_yaml_get(root, "tensors");
    k->arch = rt_arch_name(arch);
    if (gguf_kv_u64(find_key(k, "block_count"), &n_layers) && n_layers <= MAX_LAYERS)
        check_all(k, n_layers);
    check_token_types(k);
    rt_arch_close(arch);
    return GGUF_OK;
}

/* ---- files ------------------------------------------------------------------------------- */

static place find_in_set(const void *source, const char *name) {
    const gguf_scan_set *set = source;
    for (size_t p = 0; p < set->n_parts; p++) {
        gguf_scan_part *part = &set->parts[p];
        const gguf_tensor *t = gguf_scan_find_tensor(part->scan, gguf_str_of(name));
        if (!t) continue;
        size_t i = (size_t)(t - gguf_scan_tensor(part->scan, 0));
        return (place){&part->findings, gguf_scan_info_off(part->scan, i), t};
    }
    return (place){0};
}

gguf_code rt_check_tensors(gguf_scan_set *set, gguf_error *err) {
    size_t n_tensors = 0;
    for (size_t i = 0; i < set->n_parts; i++) n_tensors += gguf_scan_n_tensors(set->parts[i].scan);
    if (!set->complete || !n_tensors) return GGUF_OK;
    checker k = {.find = find_in_set,
                 .source = set,
                 .found = &set->parts[0].findings,
                 .meta = gguf_scan_meta(set->parts[0].scan)};
    return check_model(&k, err);
}

/* ---- plans ------------------------------------------------------------------------------- */

typedef struct planned {
    const quant_plan *plan;
    gguf_index names;
    gguf_findings *found;
} planned;

static place find_in_plan(const void *source, const char *name) {
    const planned *p = source;
    uint32_t i;
    if (!gguf_index_get(&p->names, gguf_str_of(name), &i)) return (place){0};
    return (place){p->found, GGUF_NO_OFFSET, &p->plan->tensors[i].out};
}

static gguf_code index_plan(planned *p, gguf_error *err) {
    for (size_t i = 0; i < p->plan->n_tensors; i++) {
        const gguf_tensor *t = &p->plan->tensors[i].out;
        gguf_index_put_result put = gguf_index_put(&p->names, t->name, (uint32_t)i, NULL);
        if (put == GGUF_INDEX_NOMEM)
            return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
        if (put == GGUF_INDEX_PRESENT)
            gguf_findings_add(p->found, GGUF_NO_OFFSET, "tensor '%s' occurs twice", t->name.ptr);
        if (t->name.len > GGUF_MAX_TENSOR_NAME)
            gguf_findings_add(p->found, GGUF_NO_OFFSET,
                              "tensor '%s' has a name of %zu bytes, more than %d", t->name.ptr,
                              t->name.len, GGUF_MAX_TENSOR_NAME);
    }
    return GGUF_OK;
}

/* The keys as a reader of the file would see them. */
static gguf_code check_keys(const quant_plan *plan, gguf_findings *found, gguf_error *err) {
    uint8_t *header = NULL;
    size_t n = 0;
    gguf_scan *scan = NULL;
    gguf_code code = gguf_header_encode(plan->meta, NULL, 0, plan->alignment, &header, &n, err);
    if (!code) code = gguf_scan_from_memory(header, n, "the output", found, &scan, err);
    if (!code) code = rt_check_keys(gguf_scan_meta(scan), true, found, err);
    gguf_scan_close(scan);
    free(header);
    return code;
}

gguf_code rt_check_plan(const quant_plan *plan, gguf_findings *findings, gguf_error *err) {
    planned p = {.plan = plan, .found = findings};
    checker k = {.find = find_in_plan, .source = &p, .found = findings, .meta = plan->meta};
    gguf_code code = check_keys(plan, findings, err);
    if (!code) code = index_plan(&p, err);
    if (!code && plan->n_tensors) code = check_model(&k, err);
    gguf_index_clear(&p.names);
    if (!code && findings->out_of_memory)
        code = gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    return code;
}
