/* config.json from the keys of a file: the description's keys read backwards. */
#include "libgguf/ends.h"
#include "runtime/export/export_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS   RT_IMPORT_MAX_LAYERS
#define MAX_PATH     256
#define MAX_OPERANDS 16

/* A config on its way. */
typedef struct making {
    const rt_export *e;
    const rt_arch_class *c;
    json_t *root, *config; /* the second: of the text model in a larger one, or the same */
    uint64_t n_layers;
    uint8_t kinds[MAX_LAYERS];
    bool with_defaults; /* expressions know the class's defaults */
} making;

/* ---- values at paths --------------------------------------------------------------------- */

static json_t *step_into(json_t *object, const char *name, bool is_list) {
    bool is_number = *name >= '0' && *name <= '9';
    size_t index = is_number ? strtoul(name, NULL, 10) : 0;
    json_t *next =
        json_is_array(object) ? json_array_get(object, index) : json_object_get(object, name);
    if (next || json_is_array(object)) return next;
    next = is_list ? json_array() : json_object();
    json_object_set_new(object, name, next);
    return next;
}

static void put_element(json_t *list, size_t index, json_t *value) {
    while (json_array_size(list) <= index) json_array_append_new(list, json_null());
    if (json_is_null(json_array_get(list, index)))
        json_array_set_new(list, index, value);
    else
        json_decref(value);
}

void rt_export_put(json_t *object, const char *path, json_t *value) {
    char name[MAX_PATH];
    const char *dot;
    while (object && (dot = strchr(path, '.'))) {
        snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
        path = dot + 1;
        object = step_into(object, name, *path >= '0' && *path <= '9' && !strchr(path, '.'));
    }
    if (json_is_array(object))
        put_element(object, strtoul(path, NULL, 10), value);
    else if (json_is_object(object) && !json_object_get(object, path))
        json_object_set_new(object, path, value);
    else
        json_decref(value);
}

static const json_t *value_at(const json_t *object, const char *path) {
    char name[MAX_PATH];
    const char *dot;
    while (object && (dot = strchr(path, '.'))) {
        snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
        object = json_object_get(object, name);
        path = dot + 1;
    }
    return json_is_array(object) ? json_array_get(object, strtoul(path, NULL, 10))
                                 : json_object_get(object, path);
}

/* What config.json says so far, or its class takes for granted. */
static const json_t *config_get(const making *m, const char *path, json_t **owned) {
    const json_t *value = value_at(m->config, path);
    *owned = NULL;
    for (size_t i = 0; i < m->c->defaults.n && !value; i++) {
        const rt_scalar *d = &m->c->defaults.list[i];
        if (strcmp(d->name, path) != 0) continue;
        value = *owned = d->kind == RT_SCALAR_FLAG     ? json_boolean(d->flag)
                         : d->kind == RT_SCALAR_NUMBER ? json_real(d->number)
                                                       : json_string(d->text);
    }
    return value;
}

static bool config_says(const making *m, const char *path) {
    json_t *owned;
    const json_t *value = config_get(m, path, &owned);
    bool says = json_is_number(value) ? json_number_value(value) != 0
                                      : value && !json_is_false(value) && !json_is_null(value);
    json_decref(owned);
    return says;
}

json_t *rt_export_real(float value) {
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    return json_real(strtod(text, NULL));
}

/* The path with the numbers of the layers of a kind in place of {KIND}: *layer is where to look
 * from; false behind the last one. */
static bool expand_path(const making *m, const char *path, uint64_t *layer, char *out) {
    const rt_layer_kinds *kinds = &m->e->arch->kinds;
    const char *open = strchr(path, '{'), *close = open ? strchr(open, '}') : NULL;
    snprintf(out, MAX_PATH, "%s", path);
    if (!close) return (*layer)++ == 0;
    for (; *layer < m->n_layers; (*layer)++) {
        const char *kind = kinds->names[m->kinds[*layer]];
        if (strlen(kind) != (size_t)(close - open - 1) ||
            strncmp(kind, open + 1, strlen(kind)) != 0)
            continue;
        snprintf(out, MAX_PATH, "%.*s%" PRIu64 "%s", (int)(open - path), path, (*layer)++,
                 close + 1);
        return true;
    }
    return false;
}

/* Takes the value. */
static void put(const making *m, const char *path, json_t *value) {
    char expanded[MAX_PATH];
    for (uint64_t layer = 0; expand_path(m, path, &layer, expanded);)
        rt_export_put(m->config, expanded, json_incref(value));
    json_decref(value);
}

/* ---- expressions, for the one operand that is not known ----------------------------------- */

/* Keys and what config.json says so far; of defaults, what a class takes for granted too. */
static bool find_operand(void *ctx, const char *name, uint64_t *out) {
    const making *m = ctx;
    json_t *owned = NULL;
    bool granted = m->with_defaults && gguf_json_u64(config_get(m, name, &owned), out);
    json_decref(owned);
    return granted || rt_kv_number(rt_export_key(m->e, name), 0, out) ||
           gguf_json_u64(value_at(m->config, name), out);
}

typedef struct expression {
    char text[MAX_PATH];
    const char *operands[MAX_OPERANDS], *ops[MAX_OPERANDS]; /* ops[i] stands before operands[i] */
    size_t n;
} expression;

static void split(const char *text, expression *out) {
    char *save = NULL;
    snprintf(out->text, sizeof out->text, "%s", text);
    out->n = 0;
    out->ops[0] = "";
    for (char *word = strtok_r(out->text, " ", &save); word && out->n < MAX_OPERANDS;
         word = strtok_r(NULL, " ", &save)) {
        out->operands[out->n++] = word;
        char *op = strtok_r(NULL, " ", &save);
        if (out->n < MAX_OPERANDS) out->ops[out->n] = op;
    }
}

static bool operand_value(const making *m, const char *text, uint64_t *out) {
    return rt_expression_eval(text, find_operand, (void *)(uintptr_t)m, out, NULL) ==
           RT_EXPRESSION_OK;
}

/* x where `x op b` is v. */
static uint64_t undo_right(const char *op, uint64_t b, uint64_t v) {
    if (strcmp(op, "+") == 0) return v - b;
    if (strcmp(op, "-") == 0) return v + b;
    if (strcmp(op, "*") == 0) return b ? v / b : 0;
    if (strcmp(op, "/") == 0 || strcmp(op, "//") == 0) return v * b;
    return v; /* up */
}

/* x where `a op x` is v. */
static uint64_t undo_left(const char *op, uint64_t a, uint64_t v) {
    if (strcmp(op, "+") == 0) return v - a;
    if (strcmp(op, "-") == 0) return a - v;
    if (strcmp(op, "*") == 0) return a ? v / a : 0;
    return v ? a / v : 0;
}

/* The name of the one operand without a value, and what it has to be for the expression to be v. */
static bool solve_knowing(const making *m, const char *text, uint64_t v, char *name, uint64_t *x) {
    expression ex;
    uint64_t values[MAX_OPERANDS], left;
    size_t unknown = MAX_OPERANDS;
    split(text, &ex);
    for (size_t i = 0; i < ex.n; i++) {
        if (operand_value(m, ex.operands[i], &values[i])) continue;
        if (unknown < MAX_OPERANDS) return false;
        unknown = i;
    }
    if (unknown == MAX_OPERANDS) return false;
    for (size_t i = ex.n; i-- > unknown + 1;) v = undo_right(ex.ops[i], values[i], v);
    if (unknown > 0) {
        char prefix[MAX_PATH];
        snprintf(prefix, sizeof prefix, "%.*s", (int)(ex.ops[unknown] - ex.text - 1), text);
        if (!operand_value(m, prefix, &left)) return false;
        v = undo_left(ex.ops[unknown], left, v);
    }
    snprintf(name, MAX_PATH, "%s", ex.operands[unknown]);
    *x = v;
    return true;
}

/* What the class takes for granted is known only if it has to be: a file may differ from it. */
static bool solve(const making *m, const char *text, uint64_t v, char *name, uint64_t *x) {
    making knowing = *m;
    knowing.with_defaults = true;
    return solve_knowing(m, text, v, name, x) || solve_knowing(&knowing, text, v, name, x);
}

/* ---- one key ----------------------------------------------------------------------------- */

/* The word that `map` gives a number for. */
static const char *word_of(const rt_arch_key *key, double number) {
    for (size_t i = 0; i < key->map.n; i++)
        if (key->map.list[i].number == number) return key->map.list[i].name;
    return NULL;
}

/* The number before it was divided. What divides may be what config.json has to say: then that is
 * put there, and the number stands already. */
static bool undivided(const making *m, const rt_arch_key *key, double *number) {
    uint64_t over = 1, over_root = 1;
    const json_t *stated = value_at(m->config, key->from[0]);
    if (key->over.text && !operand_value(m, key->over.text, &over)) {
        if (json_is_number(stated) && *number != 0)
            put(m, key->over.text,
                json_integer((json_int_t)llround(json_number_value(stated) / *number)));
        return false;
    }
    if (key->over_root.text && !operand_value(m, key->over_root.text, &over_root)) return false;
    *number *= (double)over * sqrt((double)over_root);
    return true;
}

/* x where x to the key's power, divided, is the number; NULL if it stands already. */
static json_t *real_of(const making *m, const rt_arch_key *key, double number) {
    bool divides = key->over.text || key->over_root.text;
    if (divides && !undivided(m, key, &number)) return NULL;
    if (key->power == 1) return rt_export_real((float)number);
    double x = pow(number, 1 / key->power), whole = round(x);
    return (float)pow(whole, key->power) == (float)number ? json_integer((json_int_t)whole)
                                                          : json_real(x);
}

static json_t *list_of_counts(const gguf_kv *kv) {
    json_t *list = json_array();
    gguf_kv_iter it = {.kv = kv};
    for (int64_t number; gguf_kv_next_i64(&it, &number);)
        json_array_append_new(list, json_integer(number));
    return list;
}

/* Without the zeros that fill it up to the key's size. */
static json_t *short_list(const rt_arch_key *key, const gguf_kv *kv) {
    json_t *list = list_of_counts(kv);
    for (size_t n = json_array_size(list);
         key->size && n > 1 && json_integer_value(json_array_get(list, n - 1)) == 0; n--)
        json_array_remove(list, n - 1);
    return list;
}

static json_t *list_of_numbers(const rt_arch_key *key, const gguf_kv *kv) {
    json_t *list = json_array();
    gguf_kv_iter it = {.kv = kv};
    for (double number; gguf_kv_next_f64(&it, &number);)
        json_array_append_new(list, key->normal_quantile
                                        ? rt_export_real((float)(0.5 * erfc(-number / sqrt(2))))
                                        : rt_export_real((float)number));
    return list;
}

static json_t *labels_of(const gguf_kv *kv) {
    json_t *labels = json_object();
    gguf_kv_iter it = {.kv = kv};
    gguf_str text;
    for (unsigned i = 0; gguf_kv_next_str(&it, &text); i++) {
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        json_object_set_new(labels, name, gguf_json_bytes(text.ptr, text.len));
    }
    return labels;
}

/* The word of layers whose flag is not set. */
static const char *other_word(const char *is) {
    return strcmp(is, "full_attention") == 0 ? "sliding_attention"
           : strcmp(is, "full") == 0         ? "shared"
                                             : "full_attention";
}

/* Of a list of bases, which are 0 in layers that do not rotate. */
static json_t *base_of(const making *m, int64_t flag) {
    double base = 10000;
    gguf_kv_f64(rt_export_key(m->e, "rope.freq_base"), &base);
    return rt_export_real(flag ? (float)base : 0);
}

static json_t *flags_of(const making *m, const rt_arch_key *key, const gguf_kv *kv) {
    json_t *list = json_array();
    gguf_kv_iter it = {.kv = kv};
    bool bases = strstr(key->from[0], "theta");
    for (int64_t flag; gguf_kv_next_i64(&it, &flag);)
        json_array_append_new(list, *key->is ? json_string(flag ? key->is : other_word(key->is))
                                    : bases  ? base_of(m, flag)
                                             : json_integer(flag));
    return list;
}

/* So many words, then others, as lists that begin with dense layers have them. */
static json_t *leading_words(const making *m, const char *is, uint64_t n) {
    json_t *list = json_array();
    bool digits = *is >= '0' && *is <= '9';
    for (uint64_t i = 0; i < m->n_layers; i++)
        json_array_append_new(list, digits ? json_integer(i < n ? 0 : 1)
                                           : json_string(i < n ? is : "sparse"));
    return list;
}

/* A list at the last of the paths, the number at those before it. */
static json_t *length_of(const making *m, const rt_arch_key *key, const gguf_kv *kv) {
    uint64_t n = 0;
    gguf_kv_u64(kv, &n);
    if (!*key->is) return json_integer((json_int_t)n);
    for (rt_texts from = key->from; from[1]; from++) put(m, *from, json_integer((json_int_t)n));
    return leading_words(m, key->is, n);
}

static json_t *text_of(const gguf_kv *kv) {
    gguf_str text = {"", 0};
    gguf_kv_str(kv, &text);
    return gguf_json_bytes(text.ptr, text.len);
}

/* Undo what `then` makes of a number. */
static json_t *count_of(const making *m, const rt_arch_key *key, uint64_t number) {
    char text[MAX_PATH], name[MAX_PATH];
    uint64_t x;
    if (!key->then.text) return json_integer((json_int_t)number);
    snprintf(text, sizeof text, "_ %s", key->then.text);
    return solve(m, text, number, name, &x) ? json_integer((json_int_t)x)
                                            : json_integer((json_int_t)number);
}

/* The layers that an exception speaks of. */
static bool part_has(const making *m, const rt_key_part *part, uint64_t layer) {
    uint64_t first = 0, end = m->n_layers;
    if (part->layers.n && (!operand_value(m, part->layers.list[0].text, &first) ||
                           !operand_value(m, part->layers.list[1].text, &end)))
        return false;
    return layer >= first && layer < end && (!part->kinds || part->kinds >> m->kinds[layer] & 1);
}

/* Whether an exception that depends on the config holds: its layers have a number of their own. */
static bool is_used(const making *m, const rt_arch_key *key, size_t p, const gguf_kv *kv) {
    uint64_t number = 0, other = 0;
    bool found = false, found_other = false;
    for (uint64_t i = 0; i < m->n_layers; i++) {
        bool inside = part_has(m, &key->parts[p], i);
        rt_kv_number(kv, i, inside ? &number : &other);
        found |= inside;
        found_other |= !inside;
    }
    return found && found_other && number != other;
}

/* A number of its own in layers of some kinds: the last exception that has the layer counts. */
static void put_parts(const making *m, const rt_arch_key *key, const gguf_kv *kv) {
    for (uint64_t i = 0; i < m->n_layers; i++) {
        uint64_t number = 0;
        size_t p = key->n_parts;
        while (p > 0 && !part_has(m, &key->parts[p - 1], i)) p--;
        rt_kv_number(kv, i, &number);
        const rt_texts from = p ? key->parts[p - 1].from : key->from;
        if (from) put(m, from[0], json_integer((json_int_t)number));
    }
    for (size_t p = 0; p < key->n_parts; p++)
        if (key->parts[p].when) put(m, key->parts[p].when, json_boolean(is_used(m, key, p, kv)));
}

/* The number of the layers that the key speaks of; those of the others are 0. */
static bool first_number(const gguf_kv *kv, uint64_t *out) {
    for (uint64_t i = 0; i < kv->count; i++)
        if (rt_kv_number(kv, i, out) && *out) return true;
    *out = 0;
    return true;
}

static bool all_equal(const gguf_kv *kv) {
    uint64_t first = 0, number = 0;
    rt_kv_number(kv, 0, &first);
    for (uint64_t i = 1; i < kv->count; i++)
        if (!rt_kv_number(kv, i, &number) || number != first) return false;
    return true;
}

static json_t *whole_number(const making *m, const rt_arch_key *key, const gguf_kv *kv) {
    uint64_t number = 0;
    if (kv->type == GGUF_VALUE_ARRAY && !key->entry.kinds && !all_equal(kv))
        return list_of_counts(kv);
    if (kv->type == GGUF_VALUE_ARRAY)
        first_number(kv, &number);
    else if (!gguf_kv_u64(kv, &number))
        return NULL;
    /* No window at all is no window of 0. */
    if (number == 0 && strcmp(key->entry.name, "attention.sliding_window") == 0) return json_null();
    return count_of(m, key, number);
}

static json_t *mapped(const rt_arch_key *key, const gguf_kv *kv) {
    double number = 0;
    bool flag;
    if (gguf_kv_bool(kv, &flag))
        number = flag;
    else if (!gguf_kv_f64(kv, &number))
        return NULL;
    const char *word = word_of(key, number);
    return word ? json_string(word) : NULL;
}

static json_t *value_of(const making *m, const rt_arch_key *key, const gguf_kv *kv) {
    double number;
    bool flag = false;
    if (key->map.n) return mapped(key, kv);
    switch (key->type) {
    case RT_KEY_STR:
        return text_of(kv);
    case RT_KEY_F32:
        return gguf_kv_f64(kv, &number) ? real_of(m, key, number) : NULL;
    case RT_KEY_LAYERS:
        return kv->type == GGUF_VALUE_ARRAY ? flags_of(m, key, kv) : whole_number(m, key, kv);
    case RT_KEY_COUNTS:
        return short_list(key, kv);
    case RT_KEY_NUMBERS:
        return list_of_numbers(key, kv);
    case RT_KEY_LABELS:
        return labels_of(kv);
    case RT_KEY_LENGTH:
        return length_of(m, key, kv);
    case RT_KEY_BOOL:
        return gguf_kv_bool(kv, &flag) ? json_boolean(flag) : NULL;
    default:
        return whole_number(m, key, kv);
    }
}

/* The shortest decimal of which the whole part of so much of `whole` is the number. */
static double share_of(uint64_t number, uint64_t whole) {
    for (double unit = 10; unit < 1e9; unit *= 10)
        for (int up = 0; up < 2; up++) {
            double share = (floor((double)number / (double)whole * unit) + up) / unit;
            if ((uint64_t)((double)whole * share) == number) return share;
        }
    return (double)number / (double)whole;
}

/* The share of the default that the number is. */
static void put_scale(const making *m, const rt_arch_key *key, uint64_t number) {
    uint64_t whole = 0;
    if (key->scale_by && operand_value(m, key->otherwise.text, &whole) && whole)
        put(m, key->scale_by[0], json_real(share_of(number, whole)));
}

/* A default that names a path of config.json which nothing else says. */
static void put_default(const making *m, const rt_arch_key *key, const gguf_kv *kv) {
    char name[MAX_PATH];
    uint64_t number = 0, x;
    if (key->type != RT_KEY_U32 || !key->otherwise.text || !rt_kv_number(kv, 0, &number)) return;
    if (key->scale_by)
        put_scale(m, key, number);
    else if (solve(m, key->otherwise.text, number, name, &x))
        put(m, name, json_integer((json_int_t)x));
}

/* A single path may take another kind of value than the one that a list is told by. */
static const char *path_for(const rt_arch_key *key, const json_t *value) {
    const char *path = key->from[0];
    bool by_layer = key->type == RT_KEY_LENGTH && *key->is;
    if (!by_layer && (key->type != RT_KEY_LAYERS || json_is_array(value))) return path;
    for (rt_texts from = key->from; *from; from++) path = *from;
    return path;
}

/* Of two keys of one name the one counts that states the number as it is. */
static bool is_roundabout(const making *m, const rt_arch_key *key) {
    if (key->type == RT_KEY_LENGTH && key->entry.unless) return true;
    for (const rt_arch_key *k = rt_arch_first_key(m->e->arch); k; k = rt_arch_next_key(k))
        if (k != key && key->then.text && strcmp(k->entry.name, key->entry.name) == 0) return true;
    return false;
}

/* Classes of a family may call a number differently: it is said under all its names that mean
 * nothing else. */
static void put_names(const making *m, const rt_arch_key *key) {
    const json_t *value = key->from ? value_at(m->config, key->from[0]) : NULL;
    bool is_number = key->type != RT_KEY_LAYERS && key->type != RT_KEY_LENGTH && !key->tensor;
    if (!value || !is_number || !rt_export_key(m->e, key->entry.name)) return;
    for (rt_texts from = key->from; *from; from++)
        if (!strpbrk(*from, ".{") && (json_is_number(value) || json_is_boolean(value)))
            put(m, *from, json_copy((json_t *)(uintptr_t)value));
}

static void put_key(const making *m, const rt_arch_key *key) {
    const gguf_kv *kv = rt_export_key(m->e, key->entry.name);
    if (!kv || key->tensor) return;
    if (is_roundabout(m, key)) {
        if (key->then.text && key->entry.when) put(m, key->entry.when, json_false());
        return;
    }
    if (key->n_parts) return;
    json_t *value = key->from ? value_of(m, key, kv) : NULL;
    if (!value) return;
    put(m, path_for(key, value), value);
}

/* Once all numbers are there that stand for themselves. */
static void put_derived(const making *m, const rt_arch_key *key) {
    const gguf_kv *kv = rt_export_key(m->e, key->entry.name);
    if (!kv || key->tensor || is_roundabout(m, key)) return;
    if (key->n_parts)
        put_parts(m, key, kv);
    else
        put_default(m, key, kv);
}

/* ---- what shapes and conditions say -------------------------------------------------------- */

/* A path that is nothing but a dimension of a tensor which the file has. */
static void put_dimensions(const making *m, const rt_arch_tensor *entry) {
    char name[512];
    uint64_t known;
    rt_expand_name(entry->entry.name, 0, 0, name, sizeof name);
    const gguf_tensor *t = rt_export_tensor(m->e, name);
    if (!t || strstr(entry->hf, "{expert}") || entry->shape.n != t->n_dims) return;
    for (size_t i = 0; i < entry->shape.n; i++) {
        const char *text = entry->shape.list[i].text;
        if (!strchr(text, ' ') && !operand_value(m, text, &known) && !entry->n_transforms)
            put(m, text, json_integer((json_int_t)t->dims[t->n_dims - 1 - i]));
    }
}

/* Factors that the file's weights hold already, and a vector of one number. */
static void put_factors(const making *m) {
    for (const rt_arch_tensor *t = rt_arch_first_tensor(m->e->arch); t;
         t = rt_arch_next_tensor(t)) {
        char name[512];
        rt_expand_name(t->entry.name, 0, 0, name, sizeof name);
        for (size_t i = 0; i < t->n_transforms; i++) {
            const rt_transform *change = &t->transforms[i];
            bool by_rows = change->kind == RT_TRANSFORM_scale_rows;
            if (change->kind != RT_TRANSFORM_scale && !by_rows) continue;
            for (size_t k = by_rows; k < change->args.n; k += by_rows ? 2 : 1)
                put(m, change->args.list[k].text, json_real(1));
        }
        float value;
        if (t->fill && (*t->fill < '0' || *t->fill > '9') &&
            rt_export_floats(m->e, name, &value, 1))
            put(m, t->fill, rt_export_real(value));
    }
}

/* What the class needs beside what the description reads. */
static void put_written(const making *m) {
    for (size_t i = 0; i < m->c->writes.n; i++) {
        const rt_scalar *s = &m->c->writes.list[i];
        uint64_t number;
        double real;
        const gguf_kv *kv = rt_export_key(m->e, s->text);
        if (s->kind == RT_SCALAR_FLAG)
            put(m, s->name, json_boolean(s->flag));
        else if (kv && kv->type == GGUF_VALUE_F32 && gguf_kv_f64(kv, &real))
            put(m, s->name, rt_export_real((float)real));
        else if (s->kind == RT_SCALAR_NUMBER && s->number != floor(s->number))
            put(m, s->name, json_real(s->number));
        else if (operand_value(m, s->text, &number))
            put(m, s->name, json_integer((json_int_t)number));
        else
            put(m, s->name, json_string(s->text));
    }
}

/* Whether the file has what an entry makes, in any layer of its kinds. */
static bool has_tensor(const making *m, const rt_arch_tensor *entry) {
    char name[512];
    uint64_t n = strstr(entry->entry.name, "{layer}") ? m->n_layers : 1;
    for (uint64_t i = 0; i < n; i++) {
        if (entry->entry.kinds && !(entry->entry.kinds >> m->kinds[i] & 1)) continue;
        rt_expand_name(entry->entry.name, i, 0, name, sizeof name);
        if (rt_export_tensor(m->e, name)) return true;
    }
    return false;
}

/* Whether another entry of the same name makes it under other conditions. */
static bool is_alternative(const rt_arch_entry *first, const rt_arch_entry *entry) {
    for (; first; first = first->next)
        if (first != entry && strcmp(first->name, entry->name) == 0 &&
            (!first->kinds || !entry->kinds || first->kinds & entry->kinds))
            return true;
    return false;
}

/* A flag of config.json that decides what is there. */
static void put_conditions(const making *m, const rt_arch_entry *entry, bool is_there,
                           const rt_arch_entry *first) {
    json_t *owned;
    if (is_alternative(first, entry)) return;
    bool known = entry->when && config_get(m, entry->when, &owned);
    if (entry->when && known) json_decref(owned);
    if (entry->when && is_there && !config_says(m, entry->when)) {
        if (known && value_at(m->config, entry->when)) return;
        put(m, entry->when, json_true());
    }
    if (entry->when && !is_there && !entry->optional && config_says(m, entry->when))
        put(m, entry->when, json_false());
    if (entry->unless && !is_there && !entry->optional) put(m, entry->unless, json_true());
    if (entry->unless && is_there && config_says(m, entry->unless))
        put(m, entry->unless, json_false());
}

static void put_all_conditions(const making *m) {
    const rt_arch *arch = m->e->arch;
    for (const rt_arch_tensor *t = rt_arch_first_tensor(arch); t; t = rt_arch_next_tensor(t))
        put_conditions(m, &t->entry, has_tensor(m, t), arch->tensors);
    for (const rt_arch_key *k = rt_arch_first_key(arch); k; k = rt_arch_next_key(k))
        put_conditions(m, &k->entry, rt_export_key(m->e, k->entry.name), arch->keys);
}

/* Flags by which the original library makes room for tensors that the description finds by
 * themselves. */
static const struct {
    const char *tensor, *flag;
} rooms[] = {
    {".attn_q.bias", "attention_bias"},
    {".attn_qkv.bias", "attention_bias"},
    {".attn_q.bias", "qkv_bias"},
    {".attn_q.bias", "use_qkv_bias"},
    {".ffn_up.bias", "mlp_bias"},
    {".ffn_up.bias", "use_bias"},
    {".attn_q_norm.weight", "use_qk_norm"},
    {".attn_q_norm.weight", "qk_layernorm"},
    {".attn_sinks.weight", "add_swa_attention_sink_bias"},
};

static bool has_in_any_layer(const making *m, const char *pattern) {
    char name[64];
    for (uint64_t layer = 0; layer < m->n_layers; layer++) {
        snprintf(name, sizeof name, "blk.%" PRIu64 "%s", layer, pattern);
        if (rt_export_tensor(m->e, name)) return true;
    }
    return false;
}

/* Whether the family's description has a place for such a tensor. */
static bool may_have(const making *m, const char *pattern) {
    for (const rt_arch_tensor *t = rt_arch_first_tensor(m->e->arch); t; t = rt_arch_next_tensor(t))
        if (gguf_text_ends(t->entry.name, pattern)) return true;
    return false;
}

static void put_rooms(const making *m) {
    const size_t n = sizeof rooms / sizeof *rooms;
    for (size_t i = 0; i < n; i++)
        if (has_in_any_layer(m, rooms[i].tensor)) put(m, rooms[i].flag, json_true());
    for (size_t i = 0; i < n; i++)
        if (may_have(m, rooms[i].tensor)) put(m, rooms[i].flag, json_false());
}

/* ---- the rest ---------------------------------------------------------------------------- */

static void put_tied(const making *m) {
    for (const rt_arch_tensor *t = rt_arch_first_tensor(m->e->arch); t; t = rt_arch_next_tensor(t))
        if (t->tied_to)
            put(m, "tie_word_embeddings", json_boolean(!rt_export_tensor(m->e, t->entry.name)));
}

static void put_ids(const making *m) {
    static const char *const names[] = {"bos", "eos", "padding", "pad"};
    for (size_t i = 0; i < 3; i++) {
        char key[64], path[32];
        uint64_t id;
        snprintf(key, sizeof key, ".tokenizer.ggml.%s_token_id", names[i]);
        snprintf(path, sizeof path, "%s_token_id", names[i == 2 ? 3 : i]);
        bool known = gguf_kv_u64(rt_export_key(m->e, key), &id);
        /* The class's own padding may be beyond the vocabulary. */
        if (known || i == 2) put(m, path, known ? json_integer((json_int_t)id) : json_null());
    }
}

/* What a family may have and this file has not: the class's own default would be something else. */
static void put_absent(const making *m) {
    const rt_arch_key *k = rt_arch_first_key(m->e->arch);
    for (; k; k = rt_arch_next_key(k))
        if (k->entry.optional && k->from && (k->type == RT_KEY_U32 || k->type == RT_KEY_F32) &&
            !strpbrk(k->from[0], ".{") && !rt_export_key(m->e, k->entry.name))
            put(m, k->from[0], json_null());
}

/* The library's own list of layers with a window, beside a family's. */
static void put_layer_types(const making *m) {
    const gguf_kv *kv = rt_export_key(m->e, "attention.sliding_window_pattern");
    gguf_kv_iter it = {.kv = kv};
    if (!kv || kv->type != GGUF_VALUE_ARRAY) return;
    json_t *list = json_array();
    for (int64_t flag; gguf_kv_next_i64(&it, &flag);)
        json_array_append_new(list, json_string(flag ? "sliding_attention" : "full_attention"));
    put(m, "layer_types", list);
}

static void put_vocab_size(const making *m) {
    const gguf_tensor *t = rt_export_tensor(m->e, "token_embd.weight");
    if (t && t->n_dims == 2) put(m, "vocab_size", json_integer((json_int_t)t->dims[1]));
}

static json_t *new_root(const making *m) {
    return json_pack("{s:[s], s:s, s:s}", "architectures", m->c->name, "model_type",
                     m->c->model_type, "dtype",
                     m->e->opts.type == GGUF_TYPE_F32 ? "float32" : "bfloat16");
}

gguf_code rt_export_config(const rt_export *e, const rt_arch_class *c, json_t **out,
                           gguf_error *err) {
    making m = {.e = e, .c = c};
    m.root = m.config = new_root(&m);
    if (!m.root) return gguf_fail_memory(err);
    if (c->config) json_object_set_new(m.root, c->config, m.config = json_object());
    gguf_kv_u64(rt_export_key(e, "block_count"), &m.n_layers);
    if (m.n_layers > MAX_LAYERS) m.n_layers = MAX_LAYERS;
    rt_export_layer_kinds(e, m.n_layers, m.kinds);
    for (const rt_arch_key *k = rt_arch_first_key(e->arch); k; k = rt_arch_next_key(k))
        if (k->entry.name && strcmp(k->entry.name, "block_count") == 0) put_key(&m, k);
    rt_export_put_kinds(e, m.n_layers, m.kinds, m.config);
    for (const rt_arch_key *k = rt_arch_first_key(e->arch); k; k = rt_arch_next_key(k))
        put_key(&m, k);
    for (const rt_arch_tensor *t = rt_arch_first_tensor(e->arch); t; t = rt_arch_next_tensor(t))
        put_dimensions(&m, t);
    for (const rt_arch_key *k = rt_arch_first_key(e->arch); k; k = rt_arch_next_key(k))
        put_derived(&m, k);
    for (const rt_arch_key *k = rt_arch_first_key(e->arch); k; k = rt_arch_next_key(k))
        put_names(&m, k);
    put_factors(&m);
    put_written(&m);
    gguf_code code = rt_export_rope(e, m.config, err);
    put_all_conditions(&m);
    put_rooms(&m);
    put_tied(&m);
    put_vocab_size(&m);
    put_ids(&m);
    put_layer_types(&m);
    put_absent(&m);
    if (code) {
        json_decref(m.root);
        return code;
    }
    *out = m.root;
    return GGUF_OK;
}
