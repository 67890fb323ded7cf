/* Kinds of layers: which of them each layer has, and how config.json says so. */
#include "runtime/export/export_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAME 512

static size_t kind_named(const rt_layer_kinds *kinds, const char *name) {
    size_t i = 0;
    while (i < kinds->n && strcmp(kinds->names[i], name) != 0) i++;
    return i;
}

/* The kind that a word of config.json means; kinds->n if none. */
static size_t kind_of_word(const rt_layer_kinds *kinds, const char *word) {
    for (size_t i = 0; i < kinds->words.n; i++)
        if (strcmp(kinds->words.list[i].name, word) == 0) word = kinds->words.list[i].text;
    return kind_named(kinds, word);
}

/* What a layer may still be: the kinds of a set, or all others. */
static void narrow(uint32_t *possible, uint32_t set, bool is_in) {
    uint32_t left = *possible & (is_in ? set : ~set);
    if (left) *possible = left;
}

/* Numbers that are themselves the words of the kinds. */
static void narrow_by_words(const rt_export *e, const gguf_kv *kv, uint64_t n_layers,
                            uint32_t *possible) {
    for (uint64_t i = 0; i < n_layers; i++) {
        char word[24];
        uint64_t number = 0;
        rt_kv_number(kv, i, &number);
        snprintf(word, sizeof word, "%" PRIu64, number);
        size_t kind = kind_of_word(&e->arch->kinds, word);
        if (kind < e->arch->kinds.n) narrow(&possible[i], 1U << kind, true);
    }
}

/* Counts that are 0 in layers of other kinds, and flags that are told by the same words. */
static void narrow_by_key(const rt_export *e, const rt_arch_key *key, uint64_t n_layers,
                          uint32_t *possible) {
    const rt_layer_kinds *kinds = &e->arch->kinds;
    const gguf_kv *kv = rt_export_key(e, key->entry.name);
    uint32_t set = key->entry.kinds;
    bool same_words = key->type == RT_KEY_LAYERS && key->is && *key->is && kinds->from &&
                      rt_texts_have(key->from, kinds->from[0]);
    size_t kind = same_words ? kind_of_word(kinds, key->is) : kinds->n;
    if (kind < kinds->n) set = 1U << kind;
    if (!kv || kv->type != GGUF_VALUE_ARRAY || kv->count != n_layers) return;
    if (key->type == RT_KEY_COUNTS && kinds->from && rt_texts_have(key->from, kinds->from[0]))
        narrow_by_words(e, kv, n_layers, possible);
    if (!set) return;
    for (uint64_t i = 0; i < n_layers; i++) {
        uint64_t number = 0;
        rt_kv_number(kv, i, &number);
        narrow(&possible[i], set, number != 0);
    }
}

static void narrow_by_tensor(const rt_export *e, const rt_arch_tensor *entry, uint64_t n_layers,
                             uint32_t *possible) {
    char name[MAX_NAME];
    uint32_t set = entry->entry.kinds;
    bool needed = !entry->entry.optional && !entry->entry.when && !entry->entry.unless &&
                  !entry->layers.n && !entry->except.n;
    if (!set || entry->fill) return;
    for (const rt_arch_tensor *other = rt_arch_first_tensor(e->arch); other;
         other = rt_arch_next_tensor(other))
        if (strcmp(other->entry.name, entry->entry.name) == 0) set |= other->entry.kinds;
    for (uint64_t i = 0; i < n_layers; i++) {
        rt_expand_name(entry->entry.name, i, 0, name, sizeof name);
        if (rt_export_tensor(e, name))
            narrow(&possible[i], set, true);
        else if (needed)
            narrow(&possible[i], entry->entry.kinds, false);
    }
}

void rt_export_layer_kinds(const rt_export *e, uint64_t n_layers, uint8_t *out) {
    uint32_t possible[RT_IMPORT_MAX_LAYERS];
    for (uint64_t i = 0; i < n_layers; i++)
        possible[i] = (uint32_t)((1ULL << e->arch->kinds.n) - 1);
    for (const rt_arch_key *key = rt_arch_first_key(e->arch); key; key = rt_arch_next_key(key))
        narrow_by_key(e, key, n_layers, possible);
    for (const rt_arch_tensor *t = rt_arch_first_tensor(e->arch); t; t = rt_arch_next_tensor(t))
        narrow_by_tensor(e, t, n_layers, possible);
    for (uint64_t i = 0; i < n_layers; i++)
        out[i] = possible[i] ? (uint8_t)__builtin_ctz(possible[i]) : 0;
}

/* ---- config.json's words ----------------------------------------------------------------- */

/* Whether a key asks for this word in the list. */
static bool is_asked_for(const rt_arch *arch, const char *path, const char *word) {
    for (const rt_arch_key *key = rt_arch_first_key(arch); key; key = rt_arch_next_key(key))
        if (key->type == RT_KEY_LAYERS && strcmp(key->is, word) == 0 &&
            rt_texts_have(key->from, path))
            return true;
    return false;
}

/* The word of a kind in a list: its own name in lists of the family's own, else one of `words`. */
static const char *word_of(const rt_arch *arch, const char *path, size_t kind) {
    const rt_layer_kinds *kinds = &arch->kinds;
    const char *word = kinds->names[kind];
    for (size_t i = 0; i < kinds->words.n; i++) {
        const rt_scalar *w = &kinds->words.list[i];
        if (strcmp(w->text, kinds->names[kind]) != 0 || strcmp(w->name, word) == 0) continue;
        if (is_asked_for(arch, path, w->name)) word = w->name;
        if (strlen(w->name) > 1 && strcmp(path, "layer_types") == 0) word = w->name;
        if (*w->name >= '0' && *w->name <= '9') word = w->name;
    }
    return word;
}

static json_t *json_of_word(const char *word) {
    if (*word < '0' || *word > '9') return json_string(word);
    return json_integer(*word - '0');
}

/* Every so many layers, one of a kind. */
static void put_period(const rt_layer_kinds *kinds, uint64_t n_layers, const uint8_t *list,
                       json_t *config) {
    const rt_scalar *every = kinds->periodic.list;
    size_t kind = kind_named(kinds, every[2].text);
    uint64_t first = 0, next;
    while (first < n_layers && list[first] != kind) first++;
    for (next = first + 1; next < n_layers && list[next] != kind;) next++;
    uint64_t period = next < n_layers ? next - first : n_layers;
    rt_export_put(config, every[0].text, json_integer((json_int_t)period));
    rt_export_put(config, every[1].text, json_integer((json_int_t)first));
}

/* The layers of one kind, and, if there is a path for them, the others. */
static void put_listed(const rt_layer_kinds *kinds, uint64_t n_layers, const uint8_t *list,
                       json_t *config) {
    const rt_scalar *listed = kinds->listed.list;
    json_t *layers = json_array(), *others = json_array();
    size_t kind = kind_named(kinds, listed[1].text);
    for (uint64_t i = 0; i < n_layers; i++)
        json_array_append_new(list[i] == kind ? layers : others, json_integer((json_int_t)i + 1));
    rt_export_put(config, listed[0].text, layers);
    if (kinds->listed.n > 3)
        rt_export_put(config, listed[3].text, others);
    else
        json_decref(others);
}

void rt_export_put_kinds(const rt_export *e, uint64_t n_layers, const uint8_t *list,
                         json_t *config) {
    const rt_layer_kinds *kinds = &e->arch->kinds;
    if (!kinds->n) return;
    if (kinds->periodic.n) {
        put_period(kinds, n_layers, list, config);
        return;
    }
    if (kinds->listed.n) {
        put_listed(kinds, n_layers, list, config);
        return;
    }
    json_t *words = json_array();
    for (uint64_t i = 0; i < n_layers; i++)
        json_array_append_new(words, json_of_word(word_of(e->arch, kinds->from[0], list[i])));
    rt_export_put(config, kinds->from[0], words);
}
