/* YAML reading: libyaml's events become a tree in one arena. */
#include "libgguf/yaml.h"
#include "libgguf/index.h"
#include "libgguf/map.h"
#include "libgguf/placeholder.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

/* Limits: docs/limits.md. */
#define MAX_BYTES ((size_t)16 << 20)
#define MAX_DEPTH 64
#define MAX_NODES 1000000

#define INDEX_FROM 16

typedef struct arena_block {
    struct arena_block *next;
    char bytes[];
} arena_block;

struct gguf_yaml_doc {
    char *file;
    gguf_yaml *root;
    arena_block *blocks;
    size_t n_nodes;
};

typedef struct builder {
    yaml_parser_t parser;
    gguf_yaml_doc *doc;
    gguf_error *err;
} builder;

static void *arena_alloc(gguf_yaml_doc *doc, size_t n) {
    arena_block *block = calloc(1, sizeof *block + n);
    if (!block) return NULL;
    block->next = doc->blocks;
    doc->blocks = block;
    return block->bytes;
}

static gguf_code out_of_memory(builder *b) {
    return gguf_fail(b->err, GGUF_E_NOMEM, b->doc->file, GGUF_NO_OFFSET, "out of memory");
}

static gguf_code next_event(builder *b, yaml_event_t *event) {
    if (yaml_parser_parse(&b->parser, event)) return GGUF_OK;
    const yaml_parser_t *p = &b->parser;
    if (p->error == YAML_MEMORY_ERROR) return out_of_memory(b);
    size_t at = p->error == YAML_READER_ERROR ? p->problem_offset : p->problem_mark.index;
    return gguf_fail(b->err, GGUF_E_FORMAT, b->doc->file, (int64_t)at, "YAML, line %zu: %s",
                     p->problem_mark.line + 1, p->problem ? p->problem : "not valid");
}

static gguf_code build_node(builder *b, const yaml_event_t *event, unsigned depth, gguf_yaml **out);

/* Note the key of a map's new child. The index is used from the 16th child on, so that time does
 * not grow with the square of a large map. */
static gguf_code note_key(builder *b, const gguf_yaml *parent, gguf_index *keys,
                          const gguf_yaml *child) {
    gguf_index_put_result put = GGUF_INDEX_ADDED;
    if (parent->n_children < INDEX_FROM) {
        if (gguf_yaml_get(parent, child->key)) put = GGUF_INDEX_PRESENT;
    } else {
        if (parent->n_children == INDEX_FROM)
            for (const gguf_yaml *c = parent->first; c && put != GGUF_INDEX_NOMEM; c = c->next)
                put = gguf_index_put(keys, gguf_str_of(c->key), 0, NULL);
        if (put != GGUF_INDEX_NOMEM) put = gguf_index_put(keys, gguf_str_of(child->key), 0, NULL);
    }
    if (put == GGUF_INDEX_NOMEM) return out_of_memory(b);
    if (put == GGUF_INDEX_PRESENT)
        return gguf_fail(b->err, GGUF_E_DUPLICATE, b->doc->file, child->off,
                         "key '%s' occurs twice", child->key);
    return GGUF_OK;
}

static gguf_code append_child(builder *b, gguf_yaml *parent, gguf_yaml **tail, gguf_index *keys,
                              gguf_yaml *child) {
    gguf_code code = child->key ? note_key(b, parent, keys, child) : GGUF_OK;
    if (code) return code;
    if (*tail)
        (*tail)->next = child;
    else
        parent->first = child;
    *tail = child;
    parent->n_children++;
    return GGUF_OK;
}

/* The next child of a list or map; *out is NULL at its end. */
static gguf_code build_child(builder *b, const gguf_yaml *parent, unsigned depth, gguf_yaml **out) {
    yaml_event_t event;
    gguf_yaml *key = NULL;
    *out = NULL;
    gguf_code code = next_event(b, &event);
    if (code) return code;
    if (event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT) goto done;
    if (parent->kind == GGUF_YAML_MAP) {
        code = build_node(b, &event, depth, &key);
        if (!code && key->kind != GGUF_YAML_SCALAR)
            code =
                gguf_fail(b->err, GGUF_E_FORMAT, b->doc->file, key->off, "a key must be a scalar");
        yaml_event_delete(&event);
        if (!code) code = next_event(b, &event);
        if (code) return code;
    }
    code = build_node(b, &event, depth, out);
    if (!code && key) {
        (*out)->key = key->text;
        (*out)->line = key->line;
        (*out)->column = key->column;
    }
done:
    yaml_event_delete(&event);
    return code;
}

static gguf_code build_children(builder *b, gguf_yaml *node, unsigned depth) {
    gguf_yaml *child, *tail = NULL;
    gguf_index keys = {0};
    gguf_code code;
    do {
        code = build_child(b, node, depth + 1, &child);
        if (!code && child) code = append_child(b, node, &tail, &keys, child);
    } while (!code && child);
    gguf_index_clear(&keys);
    return code;
}

static gguf_code new_node(builder *b, const yaml_event_t *event, unsigned depth, gguf_yaml **out) {
    int64_t off = (int64_t)event->start_mark.index;
    if (depth > MAX_DEPTH)
        return gguf_fail(b->err, GGUF_E_LIMIT, b->doc->file, off, "nested deeper than %d",
                         MAX_DEPTH);
    if (++b->doc->n_nodes > MAX_NODES)
        return gguf_fail(b->err, GGUF_E_LIMIT, b->doc->file, off, "more than %d nodes", MAX_NODES);
    gguf_yaml *node = arena_alloc(b->doc, sizeof *node);
    if (!node) return out_of_memory(b);
    *node = (gguf_yaml){.text = "",
                        .off = off,
                        .line = (uint32_t)event->start_mark.line + 1,
                        .column = (uint32_t)event->start_mark.column + 1};
    *out = node;
    return GGUF_OK;
}

static gguf_code build_node(builder *b, const yaml_event_t *event, unsigned depth,
                            gguf_yaml **out) {
    gguf_code code = new_node(b, event, depth, out);
    if (code) return code;
    gguf_yaml *node = *out;
    switch (event->type) {
    case YAML_SCALAR_EVENT: {
        size_t len = event->data.scalar.length;
        char *text = arena_alloc(b->doc, len + 1);
        if (!text) return out_of_memory(b);
        memcpy(text, event->data.scalar.value, len);
        node->text = text;
        node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        return GGUF_OK;
    }
    case YAML_SEQUENCE_START_EVENT:
        node->kind = GGUF_YAML_LIST;
        return build_children(b, node, depth);
    case YAML_MAPPING_START_EVENT:
        node->kind = GGUF_YAML_MAP;
        return build_children(b, node, depth);
    default:
        return gguf_fail(b->err, GGUF_E_UNSUPPORTED, b->doc->file, node->off,
                         "aliases are not supported");
    }
}

static gguf_code build_document(builder *b) {
    for (;;) {
        yaml_event_t event;
        gguf_code code = next_event(b, &event);
        if (code) return code;
        bool end = event.type == YAML_STREAM_END_EVENT;
        bool content = event.type == YAML_SCALAR_EVENT || event.type == YAML_SEQUENCE_START_EVENT ||
                       event.type == YAML_MAPPING_START_EVENT || event.type == YAML_ALIAS_EVENT;
        if (content && b->doc->root)
            code = gguf_fail(b->err, GGUF_E_FORMAT, b->doc->file, (int64_t)event.start_mark.index,
                             "more than one document");
        else if (content)
            code = build_node(b, &event, 0, &b->doc->root);
        yaml_event_delete(&event);
        if (code || end) return code;
    }
}

gguf_code gguf_yaml_parse(const char *text, size_t len, const char *file, gguf_yaml_doc **out,
                          gguf_error *err) {
    *out = NULL;
    gguf_yaml_doc *doc = calloc(1, sizeof *doc);
    if (!doc || !(doc->file = strdup(file))) {
        free(doc);
        return gguf_fail_memory_of(err, file);
    }
    builder b = {.doc = doc, .err = err};
    gguf_code code = len > MAX_BYTES
                         ? gguf_fail(err, GGUF_E_LIMIT, file, GGUF_NO_OFFSET,
                                     "%zu bytes are over the limit of %zu", len, MAX_BYTES)
                         : GGUF_OK;
    if (!code && !yaml_parser_initialize(&b.parser)) code = out_of_memory(&b);
    if (!code) {
        yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len);
        code = build_document(&b);
        yaml_parser_delete(&b.parser);
    }
    if (!code && !doc->root) code = gguf_fail(err, GGUF_E_FORMAT, file, 0, "the file is empty");
    if (code)
        gguf_yaml_free(doc);
    else
        *out = doc;
    return code;
}

gguf_code gguf_yaml_load(const char *path, gguf_yaml_doc **out, gguf_error *err) {
    char *text;
    size_t len;
    *out = NULL;
    gguf_code code = gguf_read_file(path, MAX_BYTES, &text, &len, err);
    if (code) return code;
    code = gguf_placeholder_check(text, len, GGUF_EXPECTED_BINARY, path, err);
    if (!code) code = gguf_yaml_parse(text, len, path, out, err);
    free(text);
    return code;
}

void gguf_yaml_free(gguf_yaml_doc *doc) {
    if (!doc) return;
    for (arena_block *block = doc->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    free(doc->file);
    free(doc);
}

const gguf_yaml *gguf_yaml_root(const gguf_yaml_doc *doc) {
    return doc->root;
}

const char *gguf_yaml_file(const gguf_yaml_doc *doc) {
    return doc->file;
}

const gguf_yaml *gguf_yaml_get(const gguf_yaml *node, const char *key) {
    if (!node || node->kind != GGUF_YAML_MAP) return NULL;
    for (const gguf_yaml *child = node->first; child; child = child->next)
        if (strcmp(child->key, key) == 0) return child;
    return NULL;
}

const char *gguf_yaml_text(const gguf_yaml *node, const char *key, const char *absent) {
    const gguf_yaml *child = gguf_yaml_get(node, key);
    return child && child->kind == GGUF_YAML_SCALAR ? child->text : absent;
}

bool gguf_yaml_i64(const gguf_yaml *node, int64_t *out) {
    if (!node || node->kind != GGUF_YAML_SCALAR || node->quoted || !*node->text) return false;
    char *end;
    errno = 0;
    long long value = strtoll(node->text, &end, 10);
    if (errno || *end) return false;
    *out = value;
    return true;
}

bool gguf_yaml_f64(const gguf_yaml *node, double *out) {
    if (!node || node->kind != GGUF_YAML_SCALAR || node->quoted || !*node->text) return false;
    char *end;
    double value = strtod(node->text, &end);
    if (*end) return false;
    *out = value;
    return true;
}

bool gguf_yaml_bool(const gguf_yaml *node, bool *out) {
    if (!node || node->kind != GGUF_YAML_SCALAR || node->quoted) return false;
    bool yes = strcasecmp(node->text, "true") == 0 || strcasecmp(node->text, "yes") == 0;
    bool no = strcasecmp(node->text, "false") == 0 || strcasecmp(node->text, "no") == 0;
    if (yes || no) *out = yes;
    return yes || no;
}

gguf_code gguf_yaml_fail(const gguf_yaml_doc *doc, const gguf_yaml *node, gguf_error *err,
                         const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return gguf_fail(err, GGUF_E_FORMAT, doc->file, node ? node->off : GGUF_NO_OFFSET, "%s", text);
}
