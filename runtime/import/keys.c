/* Metadata keys from config.json, as the description lists them. */
#include "libgguf/map.h"
#include "quant/quant.h"
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY    160
#define MAX_LAYERS RT_IMPORT_MAX_LAYERS
#define MAX_COUNTS 16
#define MAX_LABELS 1024

/* Present and neither false, nor zero, nor empty. */
static bool config_says(const rt_import *import, const char *path) {
    const json_t *value = rt_config_get(import, path);
    if (json_is_number(value)) return json_number_value(value) != 0;
    if (json_is_array(value)) return json_array_size(value) != 0;
    return value && !json_is_false(value);
}

bool rt_import_applies(const rt_import *import, const rt_arch_entry *entry) {
    return (!entry->when || config_says(import, entry->when)) &&
           (!entry->unless || !config_says(import, entry->unless));
}

static void full_key(const rt_import *import, const char *key, char *out) {
    rt_full_key(import->architecture, key, out, MAX_KEY);
}

bool rt_import_key_u64(const rt_import *import, const char *key, uint64_t *out) {
    char full[MAX_KEY];
    full_key(import, key, full);
    return gguf_kv_u64(gguf_meta_find(import->plan.meta, full), out);
}

/* ---- expressions ------------------------------------------------------------------------- */

typedef struct operands {
    const rt_import *import;
    uint64_t layer;
} operands;

/* A key above, which may have a number for each layer, or a path of the config. */
static bool find_operand(void *ctx, const char *name, uint64_t *out) {
    const operands *o = ctx;
    char full[MAX_KEY];
    full_key(o->import, name, full);
    return rt_kv_number(gguf_meta_find(o->import->plan.meta, full), o->layer, out) ||
           gguf_json_u64(rt_config_get(o->import, name), out);
}

gguf_code rt_import_eval(const rt_import *import, const rt_scalar *expression, uint64_t layer,
                         uint64_t *out, gguf_error *err) {
    operands o = {import, layer};
    rt_expression_failure why;
    switch (rt_expression_eval(expression->text, find_operand, &o, out, &why)) {
    case RT_EXPRESSION_OK:
        return GGUF_OK;
    case RT_EXPRESSION_UNKNOWN:
        return rt_place_fail(&expression->at, err,
                             "'%s' is not a number, a key above or a number of the config",
                             why.name);
    default:
        return gguf_fail(err, GGUF_E_SHAPE, import->config_path, GGUF_NO_OFFSET,
                         "'%s' is not a count: %" PRIu64 " %s %" PRIu64, expression->text, why.left,
                         why.op, why.right);
    }
}

/* ---- one key ----------------------------------------------------------------------------- */

/* The first config key of `from` that is present; others that say something else are named. */
static const json_t *find_source(rt_import *import, rt_texts from, const char **name) {
    const json_t *value = NULL;
    if (!from) return NULL;
    for (; *from && !value; from++) {
        *name = *from;
        value = rt_config_get(import, *from);
        if (value) rt_import_compare_inner(import, *from);
    }
    for (; value && *from; from++)
        rt_import_compare(import, *name, value, *from, rt_config_get(import, *from));
    return value;
}

/* `what` says what a value has to be and is not. */
static gguf_code fail_config(const rt_import *import, const char *name, const char *what,
                             gguf_error *err) {
    return gguf_fail(err, GGUF_E_TYPE, import->config_path, GGUF_NO_OFFSET, "'%s' %s", name, what);
}

static gguf_code fail_number(const rt_import *import, const char *name, const json_t *value,
                             const char *what, gguf_error *err) {
    const char *word = gguf_json_nonfinite(value);
    if (!word) return fail_config(import, name, what, err);
    return gguf_fail(err, GGUF_E_TYPE, import->config_path, GGUF_NO_OFFSET,
                     "'%s' is %s, which is not a finite number", name, word);
}

/* A key on its way: what it is called in the file, and what in the config. */
typedef struct setting {
    rt_import *import;
    const rt_arch_key *key;
    char full[MAX_KEY];
    const char *source;
} setting;

/* A number in layers of the key's kinds, 0 in the others. */
static gguf_code set_per_layer(const setting *s, uint32_t number, gguf_error *err) {
    rt_import *import = s->import;
    int32_t values[MAX_LAYERS];
    if (number > INT32_MAX) return fail_config(import, s->source, "is over 31 bits", err);
    for (uint64_t i = 0; i < import->n_layer_kinds; i++)
        values[i] = s->key->entry.kinds >> import->layer_kinds[i] & 1 ? (int32_t)number : 0;
    gguf_meta_set_array(import->plan.meta, s->full, GGUF_VALUE_I32, import->n_layer_kinds, values);
    return GGUF_OK;
}

/* Numbers of the layers; one for all of them where they are equal. */
static gguf_code set_numbers(const setting *s, const uint64_t *numbers, uint64_t n,
                             gguf_error *err) {
    int32_t values[MAX_LAYERS];
    bool same = true;
    for (uint64_t i = 0; i < n; i++) {
        if (numbers[i] > INT32_MAX)
            return fail_config(s->import, s->source, "is over 31 bits", err);
        values[i] = (int32_t)numbers[i];
        same = same && values[i] == values[0];
    }
    if (same)
        gguf_meta_set_u32(s->import->plan.meta, s->full, (uint32_t)values[0]);
    else
        gguf_meta_set_array(s->import->plan.meta, s->full, GGUF_VALUE_I32, n, values);
    return GGUF_OK;
}

/* Give the layers that an exception speaks of its number, if the config says one. */
static gguf_code apply_part(setting *s, const rt_key_part *part, uint64_t *numbers, uint64_t n,
                            gguf_error *err) {
    rt_import *import = s->import;
    uint64_t number = 0, first = 0, end = n;
    gguf_code code = GGUF_OK;
    if (part->when && !config_says(import, part->when)) return GGUF_OK;
    const json_t *value = find_source(import, part->from, &s->source);
    if (!value && !part->otherwise.text) return GGUF_OK;
    if (!value) code = rt_import_eval(import, &part->otherwise, 0, &number, err);
    if (value && !gguf_json_u64(value, &number))
        return fail_number(import, s->source, value, "is not a count", err);
    if (!code && part->layers.n)
        code = rt_import_eval(import, &part->layers.list[0], 0, &first, err);
    if (!code && part->layers.n) code = rt_import_eval(import, &part->layers.list[1], 0, &end, err);
    for (uint64_t i = first; i < end && i < n && !code; i++)
        if (rt_import_layer_is(import, i, part->kinds)) numbers[i] = number;
    return code;
}

static gguf_code set_parts(setting *s, uint64_t number, gguf_error *err) {
    uint64_t numbers[MAX_LAYERS], n_layers = 0;
    gguf_code code = GGUF_OK;
    if (!rt_import_key_u64(s->import, "block_count", &n_layers) || n_layers == 0 ||
        n_layers > MAX_LAYERS)
        return fail_config(s->import, s->source, "stands before the number of layers", err);
    for (uint64_t i = 0; i < n_layers; i++) numbers[i] = number;
    for (size_t i = 0; i < s->key->n_parts && !code; i++)
        code = apply_part(s, &s->key->parts[i], numbers, n_layers, err);
    return code ? code : set_numbers(s, numbers, n_layers, err);
}

static gguf_code set_u32(setting *s, uint64_t number, gguf_error *err) {
    if (number > UINT32_MAX) return fail_config(s->import, s->source, "is over 32 bits", err);
    if (s->key->entry.kinds) return set_per_layer(s, (uint32_t)number, err);
    if (s->key->n_parts) return set_parts(s, number, err);
    gguf_meta_set_u32(s->import->plan.meta, s->full, (uint32_t)number);
    return GGUF_OK;
}

/* `map` gives a number for each text that the config may hold; of a flag, whether it is not 0. */
static gguf_code set_mapped(setting *s, const json_t *value, gguf_error *err) {
    const char *text = json_string_value(value);
    for (size_t i = 0; i < s->key->map.n && text; i++) {
        const rt_scalar *entry = &s->key->map.list[i];
        bool counts = entry->kind == RT_SCALAR_NUMBER && entry->number >= 0 &&
                      entry->number <= UINT32_MAX && entry->number == floor(entry->number);
        if (!counts || strcmp(entry->name, text) != 0) continue;
        if (s->key->type != RT_KEY_BOOL) return set_u32(s, (uint64_t)entry->number, err);
        gguf_meta_set_bool(s->import->plan.meta, s->full, entry->number != 0);
        return GGUF_OK;
    }
    return fail_config(s->import, s->source, "has a value that is not known", err);
}

static bool layer_flag(const json_t *element, const char *is) {
    if (json_is_string(element)) return strcmp(json_string_value(element), is) == 0;
    return json_is_true(element) || json_number_value(element) != 0;
}

/* One flag per layer: an element that is true, not zero, or the text of `is`. A single number is
 * kept as it is: a period. */
static gguf_code set_layers(setting *s, const json_t *value, gguf_error *err) {
    bool flags[MAX_LAYERS];
    uint64_t n_layers = 0, period;
    double other = 0;
    if (gguf_json_u64(value, &period)) return set_u32(s, period, err);
    rt_import_key_u64(s->import, "block_count", &n_layers);
    size_t n = json_array_size(value);
    if (n == 0 || n != n_layers || n > MAX_LAYERS)
        return fail_config(s->import, s->source, "is not an array with one element per layer", err);
    for (size_t i = 0; i < n; i++) {
        const json_t *element = json_array_get(value, i);
        double number = json_number_value(element);
        flags[i] = layer_flag(element, s->key->is);
        /* Such as bases of rotations: where all that counts is which are 0. */
        if (number != 0 && other != 0 && number != other)
            return fail_config(s->import, s->source, "has numbers that differ between layers", err);
        if (number != 0) other = number;
    }
    gguf_meta_set_array(s->import->plan.meta, s->full, GGUF_VALUE_BOOL, n, flags);
    return GGUF_OK;
}

/* A list of counts, with zeros behind them up to the key's size: a few, or one for each layer. */
static gguf_code set_counts(const setting *s, const json_t *value, gguf_error *err) {
    int32_t counts[MAX_LAYERS] = {0};
    size_t n = json_array_size(value), size = n > s->key->size ? n : s->key->size;
    uint64_t number = 0, n_layers = 0;
    rt_import_key_u64(s->import, "block_count", &n_layers);
    bool fits = n > 0 && (size <= MAX_COUNTS || (n == n_layers && size <= MAX_LAYERS));
    for (size_t i = 0; i < n && fits; i++) {
        fits = gguf_json_u64(json_array_get(value, i), &number) && number <= INT32_MAX;
        counts[i] = (int32_t)number;
    }
    if (!fits) return fail_config(s->import, s->source, "is not a short list of counts", err);
    gguf_meta_set_array(s->import->plan.meta, s->full, GGUF_VALUE_I32, size, counts);
    return GGUF_OK;
}

/* The number that a normal variable stays below with probability p, by halving. */
static double normal_quantile(double p) {
    double low = -40, high = 40;
    if (p <= 0) return -INFINITY;
    if (p >= 1) return INFINITY;
    for (int i = 0; i < 100; i++) {
        double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2)) < p)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* A list of numbers, or one for every layer. */
static gguf_code set_numbers_f32(const setting *s, const json_t *value, gguf_error *err) {
    float numbers[MAX_LAYERS];
    uint64_t n_layers = 0;
    size_t n = json_array_size(value);
    if (json_is_number(value) && rt_import_key_u64(s->import, "block_count", &n_layers)) {
        n = n_layers;
        for (size_t i = 0; i < n && n <= MAX_LAYERS; i++)
            numbers[i] = (float)json_number_value(value);
    }
    if (n == 0 || n > MAX_LAYERS)
        return fail_config(s->import, s->source, "is not a list of numbers", err);
    for (size_t i = 0; i < n && json_is_array(value); i++) {
        const json_t *element = json_array_get(value, i);
        bool absent = json_is_null(element);
        if (!absent && !json_is_number(element))
            return fail_number(s->import, s->source, element, "is not a list of numbers", err);
        double number = absent ? 0 : json_number_value(element);
        numbers[i] = (float)(s->key->normal_quantile ? normal_quantile(number) : number);
    }
    gguf_meta_set_array(s->import->plan.meta, s->full, GGUF_VALUE_F32, n, numbers);
    return GGUF_OK;
}

/* The first number of a list, or of a text such as "3,4,5". */
static gguf_code set_first(setting *s, const json_t *value, gguf_error *err) {
    uint64_t number;
    const char *text = json_string_value(value);
    char *end = NULL;
    if (gguf_json_u64(json_is_array(value) ? json_array_get(value, 0) : value, &number))
        return set_u32(s, number, err);
    if (text && *text >= '0' && *text <= '9') number = strtoull(text, &end, 10);
    if (!end) return fail_config(s->import, s->source, "does not begin with a count", err);
    return set_u32(s, number, err);
}

/* Whether an element is the word, or the number that the word spells. */
static bool is_word(const json_t *element, const char *word) {
    char digits[24] = "";
    const char *text = json_string_value(element);
    uint64_t number;
    if (gguf_json_u64(element, &number)) snprintf(digits, sizeof digits, "%" PRIu64, number);
    return strcmp(text ? text : digits, word) == 0;
}

/* How many elements a list has, or how many that are the word of `is`; letters of a text count as
 * elements, and a number as itself. */
static gguf_code set_length(setting *s, const json_t *value, gguf_error *err) {
    const char *is = s->key->is;
    uint64_t n = json_is_string(value) ? json_string_length(value) : json_array_size(value);
    uint64_t length = *is ? 0 : n;
    if (gguf_json_u64(value, &length)) return set_u32(s, length, err);
    if (n == 0) return fail_config(s->import, s->source, "is neither a list nor a count", err);
    for (size_t i = 0; i < n && *is; i++) length += is_word(json_array_get(value, i), is);
    return set_u32(s, length, err);
}

/* An object whose names are 0, 1, ...: its texts in that order. */
static gguf_code set_labels(const setting *s, const json_t *value, gguf_error *err) {
    gguf_str labels[MAX_LABELS];
    size_t n = json_object_size(value);
    bool fits = n > 0 && n <= MAX_LABELS;
    for (size_t i = 0; i < n && fits; i++) {
        char name[24];
        snprintf(name, sizeof name, "%zu", i);
        const char *label = json_string_value(json_object_get(value, name));
        fits = label != NULL;
        if (fits) labels[i] = gguf_str_of(label);
    }
    if (!fits) return fail_config(s->import, s->source, "is not a map of 0, 1, ... to texts", err);
    gguf_meta_set_str_array(s->import->plan.meta, s->full, n, labels);
    return GGUF_OK;
}

/* The value of an expression that a number is divided by; 1 where there is none. */
static gguf_code read_divisor(const setting *s, const rt_scalar *expression, double *out,
                              gguf_error *err) {
    uint64_t number = 1;
    gguf_code code = GGUF_OK;
    if (expression->text) code = rt_import_eval(s->import, expression, 0, &number, err);
    if (!code && number == 0)
        code = rt_place_fail(&expression->at, err, "'%s' is 0, and divides", expression->text);
    *out = (double)number;
    return code;
}

static gguf_code set_f32(const setting *s, const json_t *value, gguf_error *err) {
    double over = 1, over_root = 1;
    if (!json_is_number(value))
        return fail_number(s->import, s->source, value, "is not a number", err);
    gguf_code code = read_divisor(s, &s->key->over, &over, err);
    if (!code) code = read_divisor(s, &s->key->over_root, &over_root, err);
    if (code) return code;
    double number = pow(json_number_value(value), s->key->power) / over / sqrt(over_root);
    gguf_meta_set_f32(s->import->plan.meta, s->full, (float)number);
    return GGUF_OK;
}

/* A count, or a list in which it stands for every layer alike. */
static bool one_count(const json_t *value, uint64_t *out) {
    uint64_t next;
    if (!json_is_array(value)) return gguf_json_u64(value, out);
    if (!gguf_json_u64(json_array_get(value, 0), out)) return false;
    for (size_t i = 1; i < json_array_size(value); i++)
        if (!gguf_json_u64(json_array_get(value, i), &next) || next != *out) return false;
    return true;
}

/* A list with a count for each layer. */
static bool is_per_layer(const setting *s, const json_t *value) {
    uint64_t n_layers = 0, number;
    size_t n = json_array_size(value);
    rt_import_key_u64(s->import, "block_count", &n_layers);
    bool fits = n > 0 && n == n_layers && n <= MAX_LAYERS;
    for (size_t i = 0; i < n && fits; i++) fits = gguf_json_u64(json_array_get(value, i), &number);
    return fits;
}

static gguf_code set_list(const setting *s, const json_t *value, gguf_error *err) {
    uint64_t numbers[MAX_LAYERS];
    size_t n = json_array_size(value);
    for (size_t i = 0; i < n; i++) gguf_json_u64(json_array_get(value, i), &numbers[i]);
    return set_numbers(s, numbers, n, err);
}

/* The number that was found, or what `then` makes of it. */
static gguf_code set_number(setting *s, uint64_t number, gguf_error *err) {
    const rt_scalar *then = &s->key->then;
    char text[256];
    if (!then->text) return set_u32(s, number, err);
    snprintf(text, sizeof text, "%" PRIu64 " %s", number, then->text);
    rt_scalar whole = *then;
    whole.text = text;
    gguf_code code = rt_import_eval(s->import, &whole, 0, &number, err);
    return code ? code : set_u32(s, number, err);
}

static gguf_code set_value(setting *s, const json_t *value, gguf_error *err) {
    gguf_meta *meta = s->import->plan.meta;
    uint64_t number = 0;
    if (s->key->map.n) return set_mapped(s, value, err);
    switch (s->key->type) {
    case RT_KEY_STR:
        if (!json_is_string(value)) return fail_config(s->import, s->source, "is not a text", err);
        gguf_meta_set_str(meta, s->full, gguf_str_of(json_string_value(value)));
        return GGUF_OK;
    case RT_KEY_F32:
        return set_f32(s, value, err);
    case RT_KEY_LAYERS:
        return set_layers(s, value, err);
    case RT_KEY_COUNTS:
        return set_counts(s, value, err);
    case RT_KEY_LABELS:
        return set_labels(s, value, err);
    case RT_KEY_NUMBERS:
        return set_numbers_f32(s, value, err);
    case RT_KEY_FIRST:
        return set_first(s, value, err);
    case RT_KEY_LENGTH:
        return set_length(s, value, err);
    case RT_KEY_U32:
        if (s->key->automatic.text && json_is_string(value) &&
            strcmp(json_string_value(value), "auto") == 0) {
            gguf_code code = rt_import_eval(s->import, &s->key->automatic, 0, &number, err);
            return code ? code : set_u32(s, number, err);
        }
        if (one_count(value, &number)) return set_number(s, number, err);
        if (is_per_layer(s, value)) return set_list(s, value, err);
        return fail_number(s->import, s->source, value, "is not a 32-bit number", err);
    case RT_KEY_BOOL:
    default:
        if (!json_is_boolean(value))
            return fail_config(s->import, s->source, "is not true or false", err);
        gguf_meta_set_bool(meta, s->full, json_is_true(value));
        return GGUF_OK;
    }
}

/* A default that counts, which the config may scale by a fraction (`scale_by`). */
static gguf_code set_default_count(setting *s, gguf_error *err) {
    uint64_t number = 0;
    gguf_code code = rt_import_eval(s->import, &s->key->otherwise, 0, &number, err);
    s->source = s->full;
    const json_t *factor = find_source(s->import, s->key->scale_by, &s->source);
    if (json_is_number(factor)) number = (uint64_t)((double)number * json_number_value(factor));
    return code ? code : set_u32(s, number, err);
}

static gguf_code set_default(setting *s, gguf_error *err) {
    const rt_scalar *value = &s->key->otherwise;
    gguf_meta *meta = s->import->plan.meta;
    if (s->key->type == RT_KEY_U32 || s->key->type == RT_KEY_LENGTH || s->key->type == RT_KEY_FIRST)
        return set_default_count(s, err);
    if (s->key->type == RT_KEY_F32 && value->kind == RT_SCALAR_NUMBER)
        gguf_meta_set_f32(meta, s->full, (float)value->number);
    else if (s->key->type == RT_KEY_BOOL && value->kind == RT_SCALAR_FLAG)
        gguf_meta_set_bool(meta, s->full, value->flag);
    else if (s->key->type == RT_KEY_STR)
        gguf_meta_set_str(meta, s->full, gguf_str_of(value->text));
    else
        return rt_place_fail(&value->at, err, "the default is no %s",
                             rt_key_type_names[s->key->type]);
    return GGUF_OK;
}

static gguf_code import_key(rt_import *import, const rt_arch_key *key, gguf_error *err) {
    setting s = {.import = import, .key = key, .source = key->entry.name};
    if (key->tensor || !rt_import_applies(import, &key->entry)) return GGUF_OK;
    full_key(import, key->entry.name, s.full);
    const json_t *value = find_source(import, key->from, &s.source);
    if (value) return set_value(&s, value, err);
    if (key->otherwise.text) return set_default(&s, err);
    if (key->entry.optional) return GGUF_OK;
    return gguf_fail(err, GGUF_E_MISSING, import->config_path, GGUF_NO_OFFSET, "'%s' is missing",
                     s.source);
}

gguf_code rt_import_keys(rt_import *import, gguf_error *err) {
    gguf_code code = rt_import_layer_kinds(import, err);
    for (const rt_arch_key *key = rt_arch_first_key(import->arch); key && !code;
         key = rt_arch_next_key(key)) {
        code = import_key(import, key, err);
        if (!code) code = gguf_meta_status(import->plan.meta, err);
    }
    return code ? code : rt_import_check_layer_kinds(import, err);
}

/* ---- numbers that a checkpoint holds as tensors ---------------------------------------------- */

static gguf_code read_number(rt_import *import, const char *name, float *out, gguf_error *err) {
    char raw[sizeof(double)];
    const gguf_checkpoint_tensor *t = rt_import_find(import, name);
    if (!t)
        return gguf_fail(err, GGUF_E_MISSING, import->folder, GGUF_NO_OFFSET,
                         "tensor '%s' is missing from the checkpoint", name);
    quant_source s = rt_import_source(import, t);
    size_t n_bytes = t->dtype->n_bits / 8;
    if (t->dtype->gguf_type < 0 || t->n_bytes != n_bytes || n_bytes > sizeof raw)
        return gguf_fail(err, GGUF_E_SHAPE, s.path, (int64_t)s.off, "tensor '%s' is not one number",
                         name);
    gguf_code code = GGUF_OK;
    if (s.memory)
        memcpy(raw, s.memory, n_bytes);
    else
        code = gguf_read_at(s.fd, s.path, raw, n_bytes, s.off, err);
    return code ? code : quant_decode((uint32_t)t->dtype->gguf_type, raw, 1, 1, out, err);
}

static gguf_code import_tensor_key(rt_import *import, const rt_arch_key *key, gguf_error *err) {
    char full[MAX_KEY], name[512];
    float numbers[MAX_LAYERS];
    uint64_t n_layers = 0;
    gguf_code code = GGUF_OK;
    if (!key->tensor || !rt_import_applies(import, &key->entry)) return GGUF_OK;
    rt_import_key_u64(import, "block_count", &n_layers);
    for (uint64_t i = 0; i < n_layers && i < MAX_LAYERS && !code; i++) {
        rt_expand_name(key->tensor, i, 0, name, sizeof name);
        code = read_number(import, name, &numbers[i], err);
    }
    full_key(import, key->entry.name, full);
    if (!code) gguf_meta_set_array(import->plan.meta, full, GGUF_VALUE_F32, n_layers, numbers);
    return code;
}

gguf_code rt_import_tensor_keys(rt_import *import, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (const rt_arch_key *key = rt_arch_first_key(import->arch); key && !code;
         key = rt_arch_next_key(key))
        code = import_tensor_key(import, key, err);
    return code ? code : gguf_meta_status(import->plan.meta, err);
}
