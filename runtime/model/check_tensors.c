/* Checks of a model's tensors against the description of its architecture. The description speaks
 * of the original checkpoint; what was fused, cut or turned on the way is only looked for. */
#include "libgguf/index.h"
#include "runtime/model/arch.h"
#include "runtime/model/check_model.h"
#include "runtime/model/expression.h"
#include "runtime/model/transforms.h"

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
    const rt_arch *arch;
} checker;

/* ---- numbers from keys ------------------------------------------------------------------- */

static const gguf_kv *find_key(const checker *k, const char *name) {
    char full[256];
    rt_full_key(rt_arch_name(k->arch), name, full, sizeof full);
    return gguf_meta_find(k->meta, full);
}

static const rt_arch_key *described_key(const checker *k, const char *name) {
    const rt_arch_key *key = rt_arch_first_key(k->arch);
    while (key && strcmp(key->entry.name, name) != 0) key = rt_arch_next_key(key);
    return key;
}

/* Whose values names in an expression have. */
typedef struct operands {
    const checker *k;
    uint64_t layer;
    unsigned depth; /* defaults that are made of defaults */
} operands;

static bool find_operand(void *ctx, const char *name, uint64_t *out) {
    const operands *o = ctx;
    const gguf_kv *kv = find_key(o->k, name);
    if (kv) return rt_kv_number(kv, o->layer, out);
    if (strcmp(name, "vocab_size") == 0) {
        const gguf_kv *tokens = gguf_meta_find(o->k->meta, "tokenizer.ggml.tokens");
        if (tokens) *out = tokens->count;
        return tokens != NULL;
    }
    const rt_arch_key *key = described_key(o->k, name);
    operands inner = {o->k, o->layer, o->depth + 1};
    return key && key->otherwise.text && o->depth < MAX_DEFAULT &&
           rt_expression_eval(key->otherwise.text, find_operand, &inner, out, NULL) ==
               RT_EXPRESSION_OK;
}

/* False: a key does not say. */
static bool eval(const checker *k, const char *expression, uint64_t layer, uint64_t *out) {
    operands o = {k, layer, 0};
    return rt_expression_eval(expression, find_operand, &o, out, NULL) == RT_EXPRESSION_OK;
}

/* ---- conditions -------------------------------------------------------------------------- */

typedef enum truth { NO, YES, UNKNOWN } truth;

/* Whether config.json had a value, told by the key that was made of it. */
static truth config_said(const checker *k, const char *path) {
    for (const rt_arch_key *key = rt_arch_first_key(k->arch); key; key = rt_arch_next_key(key)) {
        uint64_t value;
        if (!rt_texts_have(key->from, path) || key->otherwise.text) continue;
        const gguf_kv *kv = find_key(k, key->entry.name);
        if (!kv) return NO;
        return rt_kv_number(kv, 0, &value) ? (value ? YES : NO) : UNKNOWN;
    }
    return UNKNOWN;
}

static truth applies(const checker *k, const rt_arch_entry *entry) {
    truth is = entry->when ? config_said(k, entry->when) : YES;
    truth is_not = entry->unless ? config_said(k, entry->unless) : NO;
    if (is == NO || is_not == YES) return NO;
    return is == YES && is_not == NO ? YES : UNKNOWN;
}

/* The kind whose layers a key flags, told by the word that it looks for; 0: none. */
static uint32_t flagged_kind(const checker *k, const rt_arch_key *key) {
    const rt_layer_kinds *kinds = &k->arch->kinds;
    if (key->type != RT_KEY_LAYERS) return 0;
    for (size_t w = 0; w < kinds->words.n; w++)
        for (size_t i = 0; i < kinds->n && strcmp(kinds->words.list[w].name, key->is) == 0; i++)
            if (strcmp(kinds->names[i], kinds->words.list[w].text) == 0) return 1U << i;
    return 0;
}

/* The kinds that a layer may have, told by keys with a number or a flag in layers of some kinds
 * only. */
static uint32_t possible_kinds(const checker *k, uint64_t layer) {
    uint32_t kinds = UINT32_MAX;
    for (const rt_arch_key *key = rt_arch_first_key(k->arch); key; key = rt_arch_next_key(key)) {
        uint64_t value;
        uint32_t of = key->entry.kinds ? key->entry.kinds : flagged_kind(k, key);
        const gguf_kv *kv = of ? find_key(k, key->entry.name) : NULL;
        if (!kv || kv->type != GGUF_VALUE_ARRAY || !rt_kv_number(kv, layer, &value)) continue;
        kinds &= value ? of : ~of;
    }
    return kinds;
}

static truth is_of_kind(const checker *k, const rt_arch_entry *entry, uint64_t layer) {
    uint32_t all = k->arch->kinds.n ? UINT32_MAX >> (32 - k->arch->kinds.n) : 0;
    uint32_t kinds = entry->kinds ? possible_kinds(k, layer) & all : 0;
    if (!entry->kinds || !(kinds & ~entry->kinds)) return YES;
    return kinds & entry->kinds ? UNKNOWN : NO;
}

/* ---- shapes ------------------------------------------------------------------------------ */

static gguf_code evaluate(void *ctx, const rt_scalar *expression, uint64_t *out, gguf_error *err) {
    operands *o = ctx;
    (void)err;
    return rt_expression_eval(expression->text, find_operand, o, out, NULL) ? GGUF_E_MISSING
                                                                            : GGUF_OK;
}

/* Dimensions columns first. False if the description does not tell those of the GGUF tensor. */
static bool wanted_shape(const checker *k, const rt_arch_tensor *entry, uint64_t layer,
                         uint64_t dims[GGUF_MAX_DIMS]) {
    operands o = {k, layer, 0};
    uint64_t stored[GGUF_MAX_DIMS], n_stacked;
    size_t n = entry->shape.n;
    if (n == 0 || n >= GGUF_MAX_DIMS) return false;
    for (size_t i = 0; i < n; i++)
        if (!eval(k, entry->shape.list[i].text, layer, &stored[i])) return false;
    rt_tensor_layout l = rt_tensor_layout_of(stored, (uint32_t)n);
    l.name = entry->hf;
    const rt_transform_values values = {.count = evaluate, .ctx = &o};
    if (rt_tensor_layout_transform(&l, entry, &values, NULL)) return false;
    if (strstr(entry->hf, "{expert}")) {
        const char *count = entry->count.text ? entry->count.text : "expert_count";
        if (!eval(k, count, layer, &n_stacked)) return false;
        rt_tensor_layout_stack(&l, n_stacked);
    }
    rt_tensor_layout_dims(&l, dims);
    return true;
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

/* Layers first, first + step, ... below end. */
typedef struct layer_range {
    uint64_t first, end, step;
} layer_range;

/* False: a key does not say. */
static bool read_range(const checker *k, const rt_scalars *range, layer_range *out) {
    out->step = 1;
    return eval(k, range->list[0].text, 0, &out->first) &&
           eval(k, range->list[1].text, 0, &out->end) &&
           (range->n < 3 || eval(k, range->list[2].text, 0, &out->step)) && out->step;
}

static bool is_in(const layer_range *range, uint64_t layer) {
    return layer >= range->first && layer < range->end && (layer - range->first) % range->step == 0;
}

/* Whether an entry speaks of a layer, of all n; never if a key does not say. */
static bool speaks_of(const checker *k, const rt_arch_tensor *entry, uint64_t layer,
                      uint64_t n_layers) {
    layer_range layers = {0, strstr(entry->entry.name, "{layer}") ? n_layers : 1, 1},
                except = {0, 0, 1};
    if (entry->layers.n && !read_range(k, &entry->layers, &layers)) return false;
    if (entry->except.n && !read_range(k, &entry->except, &except)) return false;
    return is_in(&layers, layer) && !is_in(&except, layer);
}

static bool covers(const checker *k, const rt_arch_tensor *entry, uint64_t layer,
                   uint64_t n_layers) {
    return speaks_of(k, entry, layer, n_layers) && applies(k, &entry->entry) != NO &&
           is_of_kind(k, &entry->entry, layer) != NO;
}

static bool is_optional(const checker *k, const rt_arch_tensor *entry, uint64_t layer) {
    return entry->entry.optional || entry->tied_to || applies(k, &entry->entry) == UNKNOWN ||
           is_of_kind(k, &entry->entry, layer) == UNKNOWN;
}

/* Entries of one GGUF name are alternatives: it is needed if one needs it, and any shape will do.
 */
static void check_tensor(const checker *k, const rt_arch_tensor *entry, uint64_t layer,
                         uint64_t n_layers) {
    uint64_t wanted[GGUF_MAX_DIMS] = {0}, dims[GGUF_MAX_DIMS];
    bool needed = false, wrong = true;
    char name[256];
    rt_expand_name(entry->entry.name, layer, 0, name, sizeof name);
    place at = find_tensor(k, name);
    for (const rt_arch_tensor *other = entry; other; other = rt_arch_next_tensor(other)) {
        if (strcmp(other->entry.name, entry->entry.name) != 0 || !covers(k, other, layer, n_layers))
            continue;
        needed |= !is_optional(k, other, layer);
        bool known = wanted_shape(k, other, layer, dims);
        wrong = wrong && at.tensor && known && memcmp(dims, at.tensor->dims, sizeof dims) != 0;
        if (wrong) memcpy(wanted, dims, sizeof wanted);
    }
    if (at.tensor && wrong && at.tensor->n_dims <= GGUF_MAX_DIMS) report_shape(&at, wanted);
    if (!at.tensor && needed)
        gguf_findings_add(k->found, GGUF_NO_OFFSET, "the tensor '%s' is missing", name);
}

/* Whether an entry before this one already spoke of the layer's tensor. */
static bool spoken_of(const checker *k, const rt_arch_tensor *entry, uint64_t layer,
                      uint64_t n_layers) {
    for (const rt_arch_tensor *other = rt_arch_first_tensor(k->arch); other != entry;
         other = rt_arch_next_tensor(other))
        if (strcmp(other->entry.name, entry->entry.name) == 0 && covers(k, other, layer, n_layers))
            return true;
    return false;
}

/* A decoder may have more layers than its encoder. */
static uint64_t most_layers(const checker *k, const rt_arch_tensor *entry, uint64_t n_layers) {
    layer_range range;
    bool both = rt_arch_compute_of(k->arch)->stacks == RT_STACKS_BOTH;
    if (!both || !entry->layers.n || !read_range(k, &entry->layers, &range)) return n_layers;
    return range.end < MAX_LAYERS ? range.end : MAX_LAYERS;
}

static void check_all(const checker *k, uint64_t n_layers) {
    for (const rt_arch_tensor *entry = rt_arch_first_tensor(k->arch); entry;
         entry = rt_arch_next_tensor(entry)) {
        uint64_t n = strstr(entry->entry.name, "{layer}") ? most_layers(k, entry, n_layers) : 1;
        for (uint64_t layer = 0; layer < n; layer++)
            if (covers(k, entry, layer, n_layers) && !spoken_of(k, entry, layer, n_layers))
                check_tensor(k, entry, layer, n_layers);
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
    uint64_t n_layers, n_draft = 0;
    bool is_model =
        !gguf_kv_str(gguf_meta_find(k->meta, "general.type"), &type) || gguf_str_eq(type, "model");
    if (!is_model || !gguf_kv_str(gguf_meta_find(k->meta, "general.architecture"), &name))
        return GGUF_OK;
    rt_arch *arch = NULL;
    gguf_error ignored = {0};
    gguf_code code = rt_arch_open(name, NULL, &arch, &ignored);
    if (code == GGUF_E_NOMEM) return gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "out of memory");
    if (code) return GGUF_OK;
    k->arch = arch;
    gguf_kv_u64(find_key(k, "nextn_predict_layers"), &n_draft);
    if (gguf_kv_u64(find_key(k, "block_count"), &n_layers) && n_layers <= MAX_LAYERS &&
        n_draft < n_layers)
        check_all(k, n_layers - n_draft);
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

/* A file's tensors, read with other keys than its own. */
typedef struct edited {
    const gguf_file *file;
    gguf_findings *found;
} edited;

static place find_in_file(const void *source, const char *name) {
    const edited *e = source;
    return (place){e->found, GGUF_NO_OFFSET, gguf_file_find_tensor(e->file, name)};
}

gguf_code rt_check_with_meta(const gguf_file *file, const gguf_meta *meta, gguf_findings *findings,
                             gguf_error *err) {
    edited e = {file, findings};
    checker k = {.find = find_in_file, .source = &e, .found = findings, .meta = meta};
    uint64_t n_files = 1;
    gguf_kv_u64(gguf_meta_find(meta, "split.count"), &n_files);
    gguf_code code = rt_check_meta(meta, true, findings, err);
    bool whole = n_files <= 1 && gguf_file_n_tensors(file) > 0;
    return code || !whole ? code : check_model(&k, err);
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
        if (put == GGUF_INDEX_NOMEM) return gguf_fail_memory(err);
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
    if (!code && findings->out_of_memory) code = gguf_fail_memory(err);
    return code;
}
