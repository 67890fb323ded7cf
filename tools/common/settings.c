/* The table of settings. */
#include "tools/common/settings.h"
#include "libgguf/near.h"
#include "runtime/chat/answer.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef enum setting_kind { SETTING_REAL, SETTING_COUNT, SETTING_SEED } setting_kind;

#define SAMPLER(field) offsetof(settings, sampler.field)

static const struct {
    const char *name;
    setting_kind kind;
    double min, max;
    size_t off;
    const char *key; /* behind general.sampling.; or NULL */
    const char *help;
} table[] = {
    {"temp", SETTING_REAL, 0, 100, SAMPLER(temp), "temp", "0 takes the most likely token"},
    {"top-k", SETTING_COUNT, 0, UINT32_MAX, SAMPLER(top_k), "top_k", "0 = all"},
    {"top-p", SETTING_REAL, 0, 1, SAMPLER(top_p), "top_p", "1 = all"},
    {"min-p", SETTING_REAL, 0, 1, SAMPLER(min_p), "min_p", "0 = all"},
    {"repeat-penalty", SETTING_REAL, 0.1, 10, SAMPLER(repeat_penalty), "penalty_repeat",
     "1 = none"},
    {"repeat-last-n", SETTING_COUNT, 0, RT_MAX_REPEAT, SAMPLER(repeat_last_n), "penalty_last_n",
     "how many of the last tokens count as recent"},
    {"seed", SETTING_SEED, 0, UINT32_MAX, SAMPLER(seed), NULL, "or random"},
    {"n", SETTING_COUNT, 0, 1u << 30, offsetof(settings, n_predict), NULL,
     "tokens of an answer at most"},
};

#define N_SETTINGS (sizeof table / sizeof table[0])

settings settings_defaults(void) {
    return (settings){.sampler = rt_sampler_defaults(), .n_predict = RT_ANSWER_NO_LIMIT};
}

static void *field(settings *s, size_t i) {
    return (char *)s + table[i].off;
}

static uint32_t random_seed(void) {
    uint32_t seed;
    if (getentropy(&seed, sizeof seed) == 0) return seed;
    return (uint32_t)time(NULL) ^ (uint32_t)getpid() << 16;
}

static void put(settings *s, size_t i, double value) {
    if (table[i].kind == SETTING_REAL)
        *(float *)field(s, i) = (float)value;
    else if (table[i].kind == SETTING_COUNT)
        *(uint32_t *)field(s, i) = (uint32_t)value;
    else
        *(uint64_t *)field(s, i) = (uint64_t)value;
}

static gguf_code parse(size_t i, const char *label, const char *text, double *value,
                       gguf_error *err) {
    uint32_t count = 0;
    if (table[i].kind == SETTING_REAL)
        return tool_parse_real(label, text, table[i].min, table[i].max, value, err);
    if (table[i].kind == SETTING_SEED && strcmp(text, "random") == 0) {
        *value = random_seed();
        return GGUF_OK;
    }
    gguf_code code =
        tool_parse_u32(label, text, (uint32_t)table[i].min, (uint32_t)table[i].max, &count, err);
    *value = count;
    return code;
}

gguf_code settings_set(settings *s, const char *name, const char *label, const char *value,
                       bool *known, gguf_error *err) {
    if (known) *known = false;
    for (size_t i = 0; i < N_SETTINGS; i++) {
        double number = 0;
        if (strcmp(table[i].name, name) != 0) continue;
        if (known) *known = true;
        gguf_code code = parse(i, label, value, &number, err);
        if (code) return code;
        put(s, i, number);
        s->given |= 1u << i;
    }
    return GGUF_OK;
}

gguf_code settings_fail_name(const char *name, gguf_error *err) {
    gguf_near near = {.wanted = name};
    char hint[160];
    for (size_t i = 0; i < N_SETTINGS; i++) gguf_near_add(&near, table[i].name);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "there is no setting '%s'%s (/set alone lists them)", name,
                     gguf_near_hint(&near, hint, sizeof hint));
}

void settings_of_model(settings *s, const gguf_meta *meta) {
    for (size_t i = 0; i < N_SETTINGS; i++) {
        char key[64];
        double value;
        if (!table[i].key || s->given >> i & 1) continue;
        snprintf(key, sizeof key, "general.sampling.%s", table[i].key);
        if (gguf_kv_f64(gguf_meta_find(meta, key), &value) && value >= table[i].min &&
            value <= table[i].max)
            put(s, i, value);
    }
}

/* The most likely token is taken, whatever the others are. */
static bool has_effect(const settings *s, size_t i) {
    static const char *const of_chance[] = {"top-k", "top-p", "min-p", "seed"};
    if (strcmp(table[i].name, "repeat-last-n") == 0) return s->sampler.repeat_penalty != 1;
    for (size_t k = 0; k < sizeof of_chance / sizeof of_chance[0]; k++)
        if (strcmp(table[i].name, of_chance[k]) == 0) return s->sampler.temp != 0;
    return true;
}

void settings_warn_unused(tool *t, const settings *s) {
    for (size_t i = 0; i < N_SETTINGS; i++)
        if ((s->given >> i & 1) && !has_effect(s, i))
            tool_warn(t, "--%s has no effect with %s", table[i].name,
                      strcmp(table[i].name, "repeat-last-n") == 0 ? "--repeat-penalty 1"
                                                                  : "--temp 0");
}

void settings_print(const settings *s) {
    for (size_t i = 0; i < N_SETTINGS; i++) {
        const char *at = (const char *)s + table[i].off;
        char value[32];
        if (table[i].kind == SETTING_REAL)
            snprintf(value, sizeof value, "%g", (double)*(const float *)at);
        else if (table[i].kind == SETTING_SEED)
            snprintf(value, sizeof value, "%" PRIu64, *(const uint64_t *)at);
        else if (*(const uint32_t *)at == RT_ANSWER_NO_LIMIT && at == (const char *)&s->n_predict)
            snprintf(value, sizeof value, "no limit");
        else
            snprintf(value, sizeof value, "%" PRIu32, *(const uint32_t *)at);
        printf("%-15s %-10s %s\n", table[i].name, value, table[i].help);
    }
}
