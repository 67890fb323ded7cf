/* Model cards: fields to keys. */
#include "runtime/import/card.h"

#include "libgguf/dynbuf.h"
#include "runtime/import/model_id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ITEMS 1024
#define MAX_TEXT  ((size_t)1 << 20)

static const struct {
    const char *field, *readme_key, *user_key; /* NULL: unknown there */
} texts[] = {
    {"name", "general.name", "general.name"},
    {"model_name", "general.name", NULL},
    {"author", "general.author", "general.author"},
    {"model_author", "general.author", NULL},
    {"model_creator", "general.author", NULL},
    {"version", "general.version", "general.version"},
    {"model_version", "general.version", NULL},
    {"organization", "general.organization", "general.organization"},
    {"model_organization", "general.organization", NULL},
    {"description", "general.description", "general.description"},
    {"model_description", "general.description", NULL},
    {"finetune", "general.finetune", "general.finetune"},
    {"model_finetune", "general.finetune", NULL},
    {"basename", "general.basename", "general.basename"},
    {"model_basename", "general.basename", NULL},
    {"model_type", "general.basename", NULL},
    {"size_label", "general.size_label", "general.size_label"},
    {"model_size_label", "general.size_label", NULL},
    {"quantized_by", NULL, "general.quantized_by"},
    {"license", "general.license", "general.license"},
    {"license_name", "general.license.name", "general.license.name"},
    {"license_link", "general.license.link", "general.license.link"},
    {"url", "general.source.url", "general.url"},
    {"model_url", "general.source.url", NULL},
    {"doi", "general.source.doi", "general.doi"},
    {"model_doi", "general.source.doi", NULL},
    {"uuid", "general.source.uuid", "general.uuid"},
    {"model_uuid", "general.source.uuid", NULL},
    {"repo_url", "general.source.repo_url", "general.repo_url"},
    {"model_repo_url", "general.source.repo_url", NULL},
    {"source_url", NULL, "general.source.url"},
    {"source_doi", NULL, "general.source.doi"},
    {"source_uuid", NULL, "general.source.uuid"},
    {"source_repo_url", NULL, "general.source.repo_url"},
};

static const struct {
    const char *field, *key;
} lists[] = {{"tags", "general.tags"},
             {"pipeline_tag", "general.tags"},
             {"languages", "general.languages"},
             {"language", "general.languages"}};

static const struct {
    const char *field, *prefix;
} sources[] = {{"base_model", "general.base_model"},
               {"base_models", "general.base_model"},
               {"datasets", "general.dataset"},
               {"dataset", "general.dataset"},
               {"base_model_sources", "general.base_model"},
               {"dataset_sources", "general.dataset"}};

/* ---- texts and lists --------------------------------------------------------------------- */

/* A scalar, or the scalars of a list joined by commas. */
static void set_text(gguf_meta *meta, const char *key, const gguf_yaml *node) {
    gguf_dynbuf text;
    gguf_dynbuf_init(&text, MAX_TEXT);
    gguf_dynbuf_put_text(&text, node->text);
    for (const gguf_yaml *item = node->first; item; item = item->next) {
        gguf_dynbuf_put_text(&text, item->text);
        if (item->next) gguf_dynbuf_put_text(&text, ",");
    }
    if (text.len && !text.code)
        gguf_meta_set_str(meta, key, (gguf_str){(char *)text.data, text.len});
    gguf_dynbuf_clear(&text);
}

static void add_items(const gguf_yaml *node, gguf_str *items, uint64_t *n) {
    if (node->kind == GGUF_YAML_SCALAR && *node->text && *n < MAX_ITEMS)
        items[(*n)++] = gguf_str_of(node->text);
    for (const gguf_yaml *item = node->first; item; item = item->next)
        if (item->kind == GGUF_YAML_SCALAR && *item->text && *n < MAX_ITEMS)
            items[(*n)++] = gguf_str_of(item->text);
}

/* Fields of one key are joined in the order of the table. */
static void set_list(gguf_meta *meta, const char *key, const gguf_yaml *map) {
    gguf_str items[MAX_ITEMS];
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const gguf_yaml *node = gguf_yaml_get(map, lists[i].field);
        if (node && strcmp(lists[i].key, key) == 0) add_items(node, items, &n);
    }
    if (n) gguf_meta_set_str_array(meta, key, n, items);
}

/* ---- base models and data sets ----------------------------------------------------------- */

static void set_part(gguf_meta *meta, const char *prefix, unsigned i, const char *part,
                     const char *text) {
    char key[128];
    snprintf(key, sizeof key, "%s.%u.%s", prefix, i, part);
    if (*text) gguf_meta_set_str(meta, key, gguf_str_of(text));
}

static void set_id(gguf_meta *meta, const char *prefix, unsigned i, const char *id,
                   double n_params) {
    rt_model_id parts;
    char title[RT_MODEL_ID_MAX];
    rt_model_id_parse(id, n_params, &parts);
    rt_model_title(parts.name, title, sizeof title);
    set_part(meta, prefix, i, "name", title);
    rt_model_title(parts.organization, title, sizeof title);
    set_part(meta, prefix, i, "organization", title);
    set_part(meta, prefix, i, "version", parts.version);
}

/* "org/name", the address of one, or a map of parts. */
static void set_source(gguf_meta *meta, const char *prefix, unsigned i, const gguf_yaml *node,
                       double n_params) {
    static const char hub[] = "https://huggingface.co/";
    char url[1024];
    if (node->kind == GGUF_YAML_MAP) {
        for (const gguf_yaml *part = node->first; part; part = part->next)
            set_part(meta, prefix, i, part->key, part->text);
        return;
    }
    const char *id = node->text, *slash;
    bool is_url = strstr(id, "://") != NULL;
    if (is_url) {
        set_part(meta, prefix, i, "repo_url", id);
        if (strncmp(id, hub, sizeof hub - 1) != 0) return;
        id += sizeof hub - 1;
        slash = strchr(id, '/');
        if (!slash || strchr(slash + 1, '/')) return;
    }
    set_id(meta, prefix, i, id, n_params);
    if (is_url || !strchr(id, '/')) return;
    snprintf(url, sizeof url, "%s%s", hub, id);
    set_part(meta, prefix, i, "repo_url", url);
}

static void set_sources(gguf_meta *meta, const char *prefix, const gguf_yaml *node,
                        double n_params) {
    char key[64];
    unsigned n = 0;
    bool one = node->kind != GGUF_YAML_LIST;
    for (const gguf_yaml *item = one ? node : node->first; item && n < MAX_ITEMS;
         item = one ? NULL : item->next)
        if (item->kind == GGUF_YAML_MAP || *item->text)
            set_source(meta, prefix, n++, item, n_params);
    snprintf(key, sizeof key, "%s.count", prefix);
    if (n) gguf_meta_set_u32(meta, key, n);
}

/* ---- all fields -------------------------------------------------------------------------- */

static const char *text_key(size_t i, rt_card_kind kind) {
    return kind == RT_CARD_README ? texts[i].readme_key : texts[i].user_key;
}

/* Of several fields with the same key the first of the table counts. */
static bool set_texts(const gguf_yaml *map, const gguf_yaml *field, rt_card_kind kind,
                      gguf_meta *meta) {
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *key = text_key(i, kind);
        bool earlier = false;
        if (!key || strcmp(texts[i].field, field->key) != 0) continue;
        for (size_t k = 0; k < i; k++)
            earlier = earlier || (text_key(k, kind) && strcmp(text_key(k, kind), key) == 0 &&
                                  gguf_yaml_get(map, texts[k].field));
        if (!earlier) set_text(meta, key, field);
        return true;
    }
    return false;
}

void rt_card_apply(const gguf_yaml *map, rt_card_kind kind, double n_params, gguf_meta *meta,
                   void (*unknown)(void *ctx, const gguf_yaml *field), void *ctx) {
    for (const gguf_yaml *field = map->first; field && map->kind == GGUF_YAML_MAP;
         field = field->next) {
        bool known = set_texts(map, field, kind, meta);
        for (size_t i = 0; i < sizeof lists / sizeof *lists && !known; i++)
            if ((known = strcmp(lists[i].field, field->key) == 0))
                set_list(meta, lists[i].key, map);
        for (size_t i = 0; i < sizeof sources / sizeof *sources && !known; i++)
            if ((known = strcmp(sources[i].field, field->key) == 0))
                set_sources(meta, sources[i].prefix, field, n_params);
        if (!known && unknown) unknown(ctx, field);
    }
}

bool rt_card_front_matter(const char *text, size_t len, const char **start, size_t *n_bytes) {
    static const char mark[] = "---";
    if (len < 4 || memcmp(text, mark, 3) != 0 || (text[3] != '\n' && text[3] != '\r')) return false;
    const char *line = memchr(text, '\n', len), *end = text + len;
    *start = line ? line + 1 : end;
    for (line = *start; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((stop ? stop : end) - line);
        if (n >= 3 && memcmp(line, mark, 3) == 0 && (n == 3 || line[3] == '\r')) break;
        line = stop ? stop + 1 : end;
    }
    *n_bytes = (size_t)(line - *start);
    return true;
}

/* ---- sampling ---------------------------------------------------------------------------- */

static const struct {
    const char *field, *key;
    bool is_integer;
} sampling[] = {{"sequence", "sequence", false},
                {"top_k", "top_k", true},
                {"top_p", "top_p", false},
                {"min_p", "min_p", false},
                {"xtc_probability", "xtc_probability", false},
                {"xtc_threshold", "xtc_threshold", false},
                {"temperature", "temp", false},
                {"penalty_last_n", "penalty_last_n", true},
                {"repetition_penalty", "penalty_repeat", false},
                {"penalty_repeat", "penalty_repeat", false},
                {"mirostat", "mirostat", true},
                {"mirostat_tau", "mirostat_tau", false},
                {"mirostat_eta", "mirostat_eta", false}};

void rt_card_sampling(const json_t *config, gguf_meta *meta) {
    for (size_t i = 0; i < sizeof sampling / sizeof *sampling; i++) {
        const json_t *value = json_object_get(config, sampling[i].field);
        char key[64];
        snprintf(key, sizeof key, "general.sampling.%s", sampling[i].key);
        double number = json_number_value(value);
        if (json_is_string(value))
            gguf_meta_set_str(meta, key, gguf_str_of(json_string_value(value)));
        else if (json_is_number(value) && !sampling[i].is_integer)
            gguf_meta_set_f32(meta, key, (float)number);
        else if (json_is_number(value) && number > INT32_MIN && number < INT32_MAX)
            gguf_meta_set_i32(meta, key, (int32_t)number);
    }
}
