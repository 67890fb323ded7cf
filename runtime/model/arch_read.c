/* From YAML to the structs of a description: what it states itself, on top of what it is like. */
#include "runtime/model/arch_read.h"
#include "runtime/model/transforms.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LIKE 8 /* descriptions that are like one another */

/* Documents, in which texts live, and blocks of memory. */
typedef struct block {
    struct block *next;
    union {
        max_align_t align;
        char bytes[1];
    } u;
} block;

typedef struct rt_arch_memory {
    gguf_yaml_doc *docs[MAX_LIKE];
    size_t n_docs;
    block *blocks;
} rt_arch_memory;

void *rt_arch_alloc(rt_arch *arch, size_t n_bytes) {
    block *b = calloc(1, sizeof *b + n_bytes);
    if (!b) return NULL;
    b->next = arch->memory->blocks;
    arch->memory->blocks = b;
    return b->u.bytes;
}

void rt_arch_close(rt_arch *arch) {
    if (!arch) return;
    for (size_t i = 0; i < arch->memory->n_docs; i++) gguf_yaml_free(arch->memory->docs[i]);
    for (block *b = arch->memory->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(arch->memory);
    free(arch);
}

/* ---- places and values ------------------------------------------------------------------- */

rt_place rt_place_of(const gguf_yaml_doc *doc, const gguf_yaml *node) {
    return (rt_place){gguf_yaml_file(doc), node->off, node->line, node->column};
}

gguf_code rt_place_fail(const rt_place *at, gguf_error *err, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return gguf_fail(err, GGUF_E_FORMAT, at->file, at->off, "line %u, column %u: %s", at->line,
                     at->column, text);
}

bool rt_texts_have(rt_texts list, const char *text) {
    for (; list && *list; list++)
        if (strcmp(*list, text) == 0) return true;
    return false;
}

static rt_scalar scalar_of(const gguf_yaml_doc *doc, const gguf_yaml *node) {
    rt_scalar s = {0};
    if (!node) return s;
    s = (rt_scalar){.name = node->key, .text = node->text, .at = rt_place_of(doc, node)};
    if (gguf_yaml_bool(node, &s.flag))
        s.kind = RT_SCALAR_FLAG;
    else if (gguf_yaml_f64(node, &s.number))
        s.kind = RT_SCALAR_NUMBER;
    return s;
}

/* The children of a node, or a scalar as a list of one. */
static const gguf_yaml *first_of(const gguf_yaml *node) {
    return node && node->kind != GGUF_YAML_SCALAR ? node->first : node;
}

static const gguf_yaml *next_of(const gguf_yaml *node, const gguf_yaml *of) {
    return of->kind != GGUF_YAML_SCALAR ? node->next : NULL;
}

static size_t count_of(const gguf_yaml *node) {
    return !node ? 0 : node->kind == GGUF_YAML_SCALAR ? 1 : node->n_children;
}

rt_texts rt_arch_texts(rt_arch *arch, const gguf_yaml *node) {
    size_t n = 0;
    const char **texts = node ? rt_arch_alloc(arch, (count_of(node) + 1) * sizeof *texts) : NULL;
    if (!texts) return NULL;
    for (const gguf_yaml *item = first_of(node); item; item = next_of(item, node))
        texts[n++] = item->text;
    return texts;
}

/* What a description is made of on its way. */
typedef struct reader {
    rt_arch *arch;
    const gguf_yaml_doc *doc;
    bool out_of_memory;
} reader;

static void *take(reader *r, size_t n_bytes) {
    void *memory = rt_arch_alloc(r->arch, n_bytes ? n_bytes : 1);
    r->out_of_memory = r->out_of_memory || !memory;
    return memory;
}

static rt_texts read_texts(reader *r, const gguf_yaml *map, const char *field) {
    const gguf_yaml *node = gguf_yaml_get(map, field);
    rt_texts texts = rt_arch_texts(r->arch, node);
    r->out_of_memory = r->out_of_memory || (node && !texts);
    return texts;
}

static rt_scalars read_scalars(reader *r, const gguf_yaml *map, const char *field) {
    const gguf_yaml *node = gguf_yaml_get(map, field);
    rt_scalar *list = node ? take(r, count_of(node) * sizeof *list) : NULL;
    rt_scalars out = {list, 0};
    if (!list) return out;
    for (const gguf_yaml *item = first_of(node); item; item = next_of(item, node))
        list[out.n++] = scalar_of(r->doc, item);
    return out;
}

static bool read_switch(const gguf_yaml *map, const char *field) {
    bool flag = false;
    gguf_yaml_bool(gguf_yaml_get(map, field), &flag);
    return flag;
}

/* ---- entries ----------------------------------------------------------------------------- */

static void read_entry(reader *r, const gguf_yaml *node, const char *name, rt_arch_entry *out) {
    *out = (rt_arch_entry){.name = gguf_yaml_text(node, name, ""),
                           .when = gguf_yaml_text(node, "when", NULL),
                           .unless = gguf_yaml_text(node, "unless", NULL),
                           .kind_names = read_scalars(r, node, "kinds"),
                           .optional = read_switch(node, "optional"),
                           .at = rt_place_of(r->doc, node)};
}

static rt_key_type key_type(const gguf_yaml *node) {
    const char *text = gguf_yaml_text(node, "type", "");
    size_t i = 0;
    while (i < RT_KEY_LENGTH && strcmp(rt_key_type_names[i], text) != 0) i++;
    return (rt_key_type)i;
}

static uint32_t read_size(const gguf_yaml *node) {
    int64_t size = 0;
    return gguf_yaml_i64(gguf_yaml_get(node, "size"), &size) ? (uint32_t)size : 0;
}

static void read_key_parts(reader *r, const gguf_yaml *nodes, rt_arch_key *key) {
    key->parts = nodes ? take(r, nodes->n_children * sizeof *key->parts) : NULL;
    if (!key->parts) return;
    for (const gguf_yaml *node = nodes->first; node; node = node->next)
        key->parts[key->n_parts++] =
            (rt_key_part){.kind_names = read_scalars(r, node, "kinds"),
                          .layers = read_scalars(r, node, "layers"),
                          .when = gguf_yaml_text(node, "when", NULL),
                          .from = read_texts(r, node, "from"),
                          .otherwise = scalar_of(r->doc, gguf_yaml_get(node, "default"))};
}

static rt_arch_entry *read_key(reader *r, const gguf_yaml *node) {
    rt_arch_key *key = take(r, sizeof *key);
    if (!key) return NULL;
    read_entry(r, node, "key", &key->entry);
    key->type = key_type(node);
    key->from = read_texts(r, node, "from");
    key->scale_by = read_texts(r, node, "scale_by");
    key->otherwise = scalar_of(r->doc, gguf_yaml_get(node, "default"));
    key->map = read_scalars(r, node, "map");
    key->power = 1;
    gguf_yaml_f64(gguf_yaml_get(node, "power"), &key->power);
    key->over = scalar_of(r->doc, gguf_yaml_get(node, "over"));
    key->over_root = scalar_of(r->doc, gguf_yaml_get(node, "over_root"));
    key->normal_quantile = read_switch(node, "normal_quantile");
    key->is = gguf_yaml_text(node, "is", "");
    key->tensor = gguf_yaml_text(node, "tensor", NULL);
    key->scalar = read_switch(node, "scalar");
    key->automatic = scalar_of(r->doc, gguf_yaml_get(node, "auto"));
    key->then = scalar_of(r->doc, gguf_yaml_get(node, "then"));
    key->size = read_size(node);
    read_key_parts(r, gguf_yaml_get(node, "except"), key);
    return &key->entry;
}

/* A transform that is a flag may be stated as false. */
static bool is_off(const gguf_yaml *node) {
    bool flag = true;
    return gguf_yaml_bool(node, &flag) && !flag;
}

static rt_arch_entry *read_tensor(reader *r, const gguf_yaml *node) {
    rt_arch_tensor *t = take(r, sizeof *t);
    if (!t) return NULL;
    read_entry(r, node, "gguf", &t->entry);
    t->fill = gguf_yaml_text(node, "fill", NULL);
    t->hf = gguf_yaml_text(node, "hf", t->fill ? t->entry.name : "");
    t->count = scalar_of(r->doc, gguf_yaml_get(node, "count"));
    t->shape = read_scalars(r, node, "shape");
    t->layers = read_scalars(r, node, "layers");
    t->except = read_scalars(r, node, "except_layers");
    t->integers = read_switch(node, "integers");
    t->tied_to = gguf_yaml_text(node, "tied_to", NULL);
    for (int kind = 0; kind < RT_N_TRANSFORMS; kind++) {
        const char *name = rt_transform_name((rt_transform_kind)kind);
        const gguf_yaml *stated = gguf_yaml_get(node, name);
        if (!stated || is_off(stated)) continue;
        t->transforms[t->n_transforms++] = (rt_transform){kind, read_scalars(r, node, name)};
    }
    return &t->entry;
}

/* An entry of the description that this one is like. */
static bool is_inherited(const reader *r, const rt_arch_entry *e) {
    return e->at.file != gguf_yaml_file(r->doc);
}

/* Remove what is inherited under a name; the place of the first, or NULL. */
static rt_arch_entry **remove_inherited(const reader *r, rt_arch_entry **list, const char *name) {
    rt_arch_entry **place = NULL;
    while (*list) {
        if (is_inherited(r, *list) && strcmp((*list)->name, name) == 0) {
            if (!place) place = list;
            *list = (*list)->next;
        } else {
            list = &(*list)->next;
        }
    }
    return place;
}

/* An entry takes the place of those of its name. A new one stands behind the one that is stated
 * before it, the first one at the end. */
static void read_entries(reader *r, const gguf_yaml *nodes, rt_arch_entry **list,
                         rt_arch_entry *(*read)(reader *r, const gguf_yaml *node)) {
    rt_arch_entry **at = list;
    while (*at) at = &(*at)->next;
    for (const gguf_yaml *node = nodes ? nodes->first : NULL; node; node = node->next) {
        rt_arch_entry *entry = read(r, node);
        if (!entry) return;
        rt_arch_entry **place = remove_inherited(r, list, entry->name);
        if (place) at = place;
        entry->next = *at;
        *at = entry;
        at = &entry->next;
    }
}

/* ---- the rest ---------------------------------------------------------------------------- */

static rt_arch_rules read_rules(reader *r, const gguf_yaml *nodes, const char *becomes) {
    rt_arch_rule *list = nodes ? take(r, nodes->n_children * sizeof *list) : NULL;
    rt_arch_rules out = {list, 0};
    for (const gguf_yaml *node = list ? nodes->first : NULL; node; node = node->next)
        list[out.n++] =
            (rt_arch_rule){gguf_yaml_text(node, "prefix", NULL),
                           gguf_yaml_text(node, "suffix", NULL), gguf_yaml_text(node, becomes, "")};
    return out;
}

static void read_classes(reader *r, const gguf_yaml *nodes) {
    rt_arch_class *list = take(r, count_of(nodes) * sizeof *list);
    r->arch->classes = list;
    r->arch->n_classes = 0;
    for (const gguf_yaml *node = list && nodes ? nodes->first : NULL; node; node = node->next)
        list[r->arch->n_classes++] =
            (rt_arch_class){gguf_yaml_text(node, "class", ""),
                            gguf_yaml_text(node, "model_type", ""),
                            gguf_yaml_text(node, "config", NULL),
                            read_scalars(r, node, "defaults"),
                            read_scalars(r, node, "variants"),
                            read_texts(r, node, "told_by"),
                            read_scalars(r, node, "writes"),
                            read_rules(r, gguf_yaml_get(node, "names"), "becomes"),
                            read_switch(node, "fused_experts")};
}

/* The kind of a name; kinds->n if there is none. */
static size_t kind_named(const rt_layer_kinds *kinds, const char *name) {
    size_t i = 0;
    while (i < kinds->n && strcmp(kinds->names[i], name) != 0) i++;
    return i;
}

/* The texts of a list from `first` on are kinds. */
static gguf_code name_kinds(rt_layer_kinds *kinds, const rt_scalars *list, size_t first,
                            gguf_error *err) {
    for (size_t i = first; i < list->n; i++) {
        const rt_scalar *word = &list->list[i];
        if (kind_named(kinds, word->text) < kinds->n) continue;
        if (kinds->n == sizeof kinds->names / sizeof kinds->names[0])
            return rt_place_fail(&word->at, err, "more than %zu kinds of layers", kinds->n);
        kinds->names[kinds->n++] = word->text;
    }
    return GGUF_OK;
}

static gguf_code read_kinds(reader *r, const gguf_yaml *node, gguf_error *err) {
    rt_layer_kinds *kinds = &r->arch->kinds;
    *kinds = (rt_layer_kinds){.at = rt_place_of(r->doc, node),
                              .from = read_texts(r, node, "from"),
                              .words = read_scalars(r, node, "words"),
                              .periodic = read_scalars(r, node, "every"),
                              .listed = read_scalars(r, node, "listed")};
    const gguf_yaml *period = gguf_yaml_get(node, "otherwise");
    kinds->count = read_texts(r, period, "count");
    kinds->every = read_texts(r, period, "every");
    kinds->is = gguf_yaml_text(period, "is", NULL);
    kinds->others = gguf_yaml_text(period, "others", NULL);
    if (r->out_of_memory) return GGUF_OK; /* which is said at the end */
    if ((kinds->from != NULL) + (kinds->periodic.n > 0) + (kinds->listed.n > 0) != 1 ||
        !kinds->from != !kinds->words.n)
        return rt_place_fail(&kinds->at, err,
                             "'layer_kinds' takes 'from' with 'words', 'every', or 'listed'");
    gguf_code code = name_kinds(kinds, &kinds->words, 0, err);
    if (!code) code = name_kinds(kinds, &kinds->periodic, 2, err);
    const rt_scalars listed = {kinds->listed.list, kinds->listed.n > 3 ? 3 : kinds->listed.n};
    return code ? code : name_kinds(kinds, &listed, 1, err);
}

static gguf_code drop_entries(const reader *r, const gguf_yaml *without, gguf_error *err) {
    for (const gguf_yaml *item = first_of(without); item; item = next_of(item, without)) {
        bool found = remove_inherited(r, &r->arch->keys, item->text) != NULL;
        found = remove_inherited(r, &r->arch->tensors, item->text) || found;
        rt_place at = rt_place_of(r->doc, item);
        if (!found)
            return rt_place_fail(&at, err, "there is no key and no tensor '%s' to leave out",
                                 item->text);
    }
    return GGUF_OK;
}

/* Names of kinds become sets, once all kinds are known. */
static gguf_code resolve(const rt_arch *arch, const rt_scalars *names, uint32_t *kinds,
                         gguf_error *err) {
    *kinds = 0;
    for (size_t i = 0; i < names->n; i++) {
        const rt_scalar *name = &names->list[i];
        size_t kind = kind_named(&arch->kinds, name->text);
        if (kind == arch->kinds.n)
            return rt_place_fail(&name->at, err, "'layer_kinds' has no kind '%s'", name->text);
        *kinds |= 1U << kind;
    }
    return GGUF_OK;
}

static gguf_code resolve_kinds(const rt_arch *arch, rt_arch_entry *list, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (rt_arch_entry *e = list; e && !code; e = e->next)
        code = resolve(arch, &e->kind_names, &e->kinds, err);
    return code;
}

static gguf_code resolve_parts(const rt_arch *arch, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (const rt_arch_key *k = rt_arch_first_key(arch); k; k = rt_arch_next_key(k))
        for (size_t i = 0; i < k->n_parts && !code; i++)
            code = resolve(arch, &k->parts[i].kind_names, &k->parts[i].kinds, err);
    return code;
}

/* Kinds and sizes that would have no effect. */
static gguf_code check_kinds(const rt_arch *arch, gguf_error *err) {
    for (const rt_arch_key *k = rt_arch_first_key(arch); k; k = rt_arch_next_key(k))
        if (k->entry.kinds && k->type != RT_KEY_U32)
            return rt_place_fail(&k->entry.at, err, "the key '%s' has 'kinds', but is not a u32",
                                 k->entry.name);
        else if (k->n_parts && (k->entry.kinds || k->type != RT_KEY_U32))
            return rt_place_fail(&k->entry.at, err,
                                 "the key '%s' has 'except', but is no plain u32", k->entry.name);
        else if (k->normal_quantile && k->type != RT_KEY_NUMBERS)
            return rt_place_fail(&k->entry.at, err,
                                 "the key '%s' has 'normal_quantile', but is no numbers",
                                 k->entry.name);
        else if (k->size && k->type != RT_KEY_COUNTS)
            return rt_place_fail(&k->entry.at, err, "the key '%s' has a 'size', but is no counts",
                                 k->entry.name);
    for (const rt_arch_tensor *t = rt_arch_first_tensor(arch); t; t = rt_arch_next_tensor(t))
        if (!*t->hf || (t->fill && strcmp(t->hf, t->entry.name) != 0))
            return rt_place_fail(&t->entry.at, err, "the tensor '%s' needs either 'hf' or 'fill'",
                                 t->entry.name);
        else if (t->entry.kinds && !strstr(t->hf, "{layer}"))
            return rt_place_fail(&t->entry.at, err,
                                 "the tensor '%s' has 'kinds', but is in no {layer}",
                                 t->entry.name);
    return GGUF_OK;
}

static gguf_code read_own(rt_arch *arch, const gguf_yaml_doc *doc, gguf_error *err) {
    const gguf_yaml *root = gguf_yaml_root(doc), *node;
    reader r = {arch, doc, false};
    gguf_code code = drop_entries(&r, gguf_yaml_get(root, "without"), err);
    /* What a family is called and how its checkpoints spell names is its own. */
    arch->name = gguf_yaml_text(root, "architecture", "");
    read_classes(&r, gguf_yaml_get(root, "huggingface"));
    arch->names = read_rules(&r, gguf_yaml_get(root, "names"), "becomes");
    arch->leave_out = read_rules(&r, gguf_yaml_get(root, "leave_out"), "part");
    if (gguf_yaml_get(root, "rope_scaling"))
        arch->rope_scaling = read_texts(&r, root, "rope_scaling");
    if (gguf_yaml_get(root, "ignore")) arch->ignore = read_texts(&r, root, "ignore");
    if (!code && (node = gguf_yaml_get(root, "layer_kinds"))) code = read_kinds(&r, node, err);
    read_entries(&r, gguf_yaml_get(root, "keys"), &arch->keys, read_key);
    read_entries(&r, gguf_yaml_get(root, "tensors"), &arch->tensors, read_tensor);
    if (!code && r.out_of_memory) code = gguf_fail_memory(err);
    return code ? code : rt_arch_read_compute(arch, doc, err);
}

/* ---- descriptions that are like others ----------------------------------------------------- */

gguf_code rt_arch_parse_embedded(const gguf_embedded *entry, gguf_yaml_doc **out, gguf_error *err) {
    char file[128];
    snprintf(file, sizeof file, "configs/arch/%s.yaml", entry->name);
    return gguf_yaml_parse(entry->text, entry->n_bytes, file, out, err);
}

static gguf_code open_like(const gguf_yaml_doc *doc, const gguf_yaml *like,
                           const gguf_embedded *library, gguf_yaml_doc **out, gguf_error *err) {
    rt_place at = rt_place_of(doc, like);
    while (library->name && strcmp(library->name, like->text) != 0) library++;
    if (!library->name)
        return rt_place_fail(&at, err, "there is no description '%s' to be like", like->text);
    return rt_arch_parse_embedded(library, out, err);
}

/* Read what each is like into arch->memory->docs, the description itself first. */
static gguf_code collect(rt_arch *arch, const gguf_embedded *library, gguf_error *err) {
    rt_arch_memory *m = arch->memory;
    for (;;) {
        const gguf_yaml_doc *doc = m->docs[m->n_docs - 1];
        const gguf_yaml *root = gguf_yaml_root(doc), *like = gguf_yaml_get(root, "like");
        gguf_code code = gguf_yaml_check(doc, root, rt_arch_fields, "the description", err);
        if (code || !like) return code;
        rt_place at = rt_place_of(doc, like);
        for (size_t i = 1; i < m->n_docs; i++)
            if (strcmp(gguf_yaml_text(gguf_yaml_root(m->docs[i]), "architecture", ""),
                       like->text) == 0)
                return rt_place_fail(&at, err, "'%s' is like itself", like->text);
        if (m->n_docs == MAX_LIKE)
            return rt_place_fail(&at, err, "more than %d descriptions are like one another",
                                 MAX_LIKE);
        code = open_like(doc, like, library, &m->docs[m->n_docs], err);
        if (code) return code;
        m->n_docs++;
    }
}

static gguf_code read_all(rt_arch *arch, const gguf_embedded *library, gguf_error *err) {
    gguf_code code = collect(arch, library, err);
    for (size_t i = arch->memory->n_docs; i > 0 && !code; i--)
        code = read_own(arch, arch->memory->docs[i - 1], err);
    if (!code) code = resolve_kinds(arch, arch->keys, err);
    if (!code) code = resolve_kinds(arch, arch->tensors, err);
    if (!code) code = resolve_parts(arch, err);
    return code ? code : check_kinds(arch, err);
}

gguf_code rt_arch_read(gguf_yaml_doc *doc, const gguf_embedded *library, rt_arch **out,
                       gguf_error *err) {
    rt_arch *arch = calloc(1, sizeof *arch);
    rt_arch_memory *memory = calloc(1, sizeof *memory);
    *out = NULL;
    if (!arch || !memory) {
        free(arch);
        free(memory);
        gguf_yaml_free(doc);
        return gguf_fail_memory(err);
    }
    arch->memory = memory;
    memory->docs[memory->n_docs++] = doc;
    gguf_code code = read_all(arch, library, err);
    if (code)
        rt_arch_close(arch);
    else
        *out = arch;
    return code;
}
