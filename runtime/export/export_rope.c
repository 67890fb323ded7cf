/* RoPE scaling of config.json from keys and from divisors of frequencies. */
#include "runtime/export/export_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_FACTORS 4096
#define STILL       1e29f /* pairs with such a divisor do not turn */

/* The object that a scaling goes to. */
typedef struct scaling {
    const rt_export *e;
    json_t *config;
    char path[96]; /* of the object in config.json */
} scaling;

static void put(const scaling *s, const char *name, json_t *value) {
    char path[160];
    snprintf(path, sizeof path, "%s.%s", s->path, name);
    rt_export_put(s->config, path, value);
}

static void put_real(const scaling *s, const char *name, double value) {
    put(s, name, rt_export_real((float)value));
}

static bool scaling_key(const scaling *s, const char *name, double *out) {
    char key[96];
    snprintf(key, sizeof key, "rope.scaling.%s", name);
    return gguf_kv_f64(rt_export_key(s->e, key), out);
}

/* Beside the base of the rotation, or in an object of its own. */
static void find_object(scaling *s) {
    snprintf(s->path, sizeof s->path, "rope_scaling");
    for (const rt_arch_key *k = rt_arch_first_key(s->e->arch); k; k = rt_arch_next_key(k)) {
        const char *dot = k->from ? strrchr(k->from[0], '.') : NULL;
        if (dot && strcmp(k->entry.name, "rope.freq_base") == 0)
            snprintf(s->path, sizeof s->path, "%.*s", (int)(dot - k->from[0]), k->from[0]);
    }
}

/* ---- kinds with keys --------------------------------------------------------------------- */

static void put_original(const scaling *s) {
    double original;
    if (scaling_key(s, "original_context_length", &original))
        put(s, "original_max_position_embeddings", json_integer((json_int_t)original));
}

static void put_yarn(const scaling *s, double factor) {
    double number;
    uint64_t rank;
    bool truncate, latent = gguf_kv_u64(rt_export_key(s->e, "attention.kv_lora_rank"), &rank);
    put(s, "rope_type", json_string("yarn"));
    put_real(s, "factor", factor);
    put_original(s);
    if (scaling_key(s, "yarn_beta_fast", &number)) put_real(s, "beta_fast", number);
    if (scaling_key(s, "yarn_beta_slow", &number)) put_real(s, "beta_slow", number);
    if (scaling_key(s, "attn_factor", &number))
        put(s, "attention_factor", json_real(number * (factor > 1 ? 0.1 * log(factor) + 1 : 1)));
    if (scaling_key(s, "yarn_log_multiplier", &number)) {
        put_real(s, "mscale_all_dim", latent ? 10 * number : number);
        put_real(s, "mscale", latent ? 10 * number : number);
    }
    if (gguf_kv_bool(rt_export_key(s->e, "ggufkit.yarn_truncate"), &truncate))
        put(s, "truncate", json_boolean(truncate));
}

/* ---- kinds with tensors ------------------------------------------------------------------ */

static json_t *list_of(const float *values, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, rt_export_real(values[i]));
    return list;
}

static void put_longrope(const scaling *s, const float *longer, size_t n) {
    float shorter[MAX_FACTORS];
    double number;
    put(s, "rope_type", json_string("longrope"));
    put(s, "long_factor", list_of(longer, n));
    n = rt_export_floats(s->e, "rope_factors_short.weight", shorter, MAX_FACTORS);
    put(s, "short_factor", list_of(shorter, n));
    if (scaling_key(s, "attn_factor", &number)) put_real(s, "attention_factor", number);
    put_original(s);
    if (scaling_key(s, "original_context_length", &number))
        rt_export_put(s->config, "original_max_position_embeddings",
                      json_integer((json_int_t)number));
}

/* The first pairs turn, the others stand still. */
static void put_proportional(const scaling *s, const float *factors, size_t n) {
    size_t n_turning = 0;
    while (n_turning < n && factors[n_turning] < STILL) n_turning++;
    put(s, "rope_type", json_string("proportional"));
    put(s, "partial_rotary_factor", json_real((double)n_turning / (double)n));
    if (n_turning && factors[0] != 1) put_real(s, "factor", factors[0]);
}

typedef struct llama3 {
    float factor, low, high, original;
} llama3;

static double frequency(const scaling *s, size_t i, size_t n) {
    double base = 10000;
    gguf_kv_f64(rt_export_key(s->e, "rope.freq_base"), &base);
    float exponent = (float)(2 * i) / (float)(2 * n);
    return (double)(1.0f / powf((float)base, exponent));
}

static bool explains(const scaling *s, const llama3 *l, const float *factors, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float made = rt_import_llama3_factor((float)frequency(s, i, n), l->factor, l->low, l->high,
                                             l->original);
        if (fabsf(made - factors[i]) > 1e-5f * factors[i]) return false;
    }
    return true;
}

/* Between the two bounds the blend (original / wavelength - low) / (high - low) is a straight line
 * in 1 / wavelength: two pairs give it, with low = 1. */
static bool fit_line(const scaling *s, const float *factors, size_t n, llama3 *out) {
    double x[2], blend[2];
    size_t found = 0;
    for (size_t i = 0; i < n && found < 2; i++) {
        if (factors[i] <= 1 || factors[i] >= out->factor) continue;
        x[found] = frequency(s, i, n) / (2 * M_PI);
        blend[found++] =
            (1 / (double)factors[i] - 1 / (double)out->factor) / (1 - 1 / (double)out->factor);
    }
    if (found < 2) return false;
    double slope = (blend[0] - blend[1]) / (x[0] - x[1]), at_zero = blend[0] - slope * x[0];
    out->low = 1;
    out->high = (float)(1 - 1 / at_zero);
    out->original = (float)(slope * ((double)out->high - 1));
    out->high = roundf(out->high * 1000) / 1000;
    out->original = roundf(out->original);
    return at_zero < 0;
}

/* With no pair or one between the bounds, any bounds of the usual kind that explain the others. */
static bool try_usual(const scaling *s, const float *factors, size_t n, llama3 *l) {
    l->low = 1;
    l->high = 4;
    for (l->original = 16; l->original <= 1 << 20; l->original *= 2)
        if (explains(s, l, factors, n)) return true;
    return false;
}

static gguf_code put_llama3(const scaling *s, const float *factors, size_t n, gguf_error *err) {
    llama3 l = {.factor = 1};
    for (size_t i = 0; i < n; i++)
        if (factors[i] > l.factor) l.factor = factors[i];
    bool found = try_usual(s, factors, n, &l);
    if (!found) found = fit_line(s, factors, n, &l) && explains(s, &l, factors, n);
    if (!found)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, gguf_file_path(s->e->source->gguf),
                         GGUF_NO_OFFSET,
                         "tensor 'rope_freqs.weight' cannot be inverted: no RoPE scaling of the "
                         "original library gives its divisors");
    put(s, "rope_type", json_string("llama3"));
    put_real(s, "factor", l.factor);
    put_real(s, "low_freq_factor", l.low);
    put_real(s, "high_freq_factor", l.high);
    put(s, "original_max_position_embeddings", json_integer((json_int_t)l.original));
    return GGUF_OK;
}

static gguf_code put_by_tensors(const scaling *s, gguf_error *err) {
    float factors[MAX_FACTORS];
    size_t n = rt_export_floats(s->e, "rope_factors_long.weight", factors, MAX_FACTORS);
    if (n) put_longrope(s, factors, n);
    n = n ? 0 : rt_export_floats(s->e, "rope_freqs.weight", factors, MAX_FACTORS);
    if (!n) return GGUF_OK;
    if (factors[n - 1] >= STILL) {
        put_proportional(s, factors, n);
        return GGUF_OK;
    }
    return put_llama3(s, factors, n, err);
}

/* Objects with a base and without a kind. */
static void name_plain(json_t *object) {
    const char *name;
    json_t *inner;
    if (!json_is_object(object)) return;
    if (json_object_get(object, "rope_theta") && !json_object_get(object, "rope_type"))
        json_object_set_new(object, "rope_type", json_string("default"));
    json_object_foreach(object, name, inner) name_plain(inner);
}

gguf_code rt_export_rope(const rt_export *e, json_t *config, gguf_error *err) {
    scaling s = {.e = e, .config = config};
    gguf_str type = {"", 0};
    double factor = 1;
    find_object(&s);
    gguf_kv_str(rt_export_key(e, "rope.scaling.type"), &type);
    scaling_key(&s, "factor", &factor);
    if (gguf_str_eq(type, "yarn")) put_yarn(&s, factor);
    if (gguf_str_eq(type, "linear")) {
        put(&s, "rope_type", json_string("linear"));
        put_real(&s, "factor", factor);
    }
    /* A fixed alpha raised the base for good. */
    if (gguf_str_eq(type, "none") && rt_texts_have(e->arch->rope_scaling, "dynamic")) {
        put(&s, "rope_type", json_string("dynamic"));
        put_real(&s, "alpha", 1);
        put_real(&s, "factor", 1);
    }
    gguf_code code = put_by_tensors(&s, err);
    name_plain(json_object_get(config, "rope_parameters"));
    return code;
}
