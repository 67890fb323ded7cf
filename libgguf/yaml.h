/* Bounded YAML reading on top of libyaml: one document, no aliases, duplicate keys refused. */
#ifndef LIBGGUF_YAML_H
#define LIBGGUF_YAML_H

#include "libgguf/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum gguf_yaml_kind { GGUF_YAML_SCALAR, GGUF_YAML_LIST, GGUF_YAML_MAP } gguf_yaml_kind;

/* A node of the tree; children are linked in file order. */
typedef struct gguf_yaml {
    gguf_yaml_kind kind;
    bool quoted;      /* a scalar in quotes is text even if it looks like a number */
    const char *key;  /* inside a map; otherwise NULL */
    const char *text; /* of a scalar, NUL-terminated; otherwise "" */
    int64_t off;      /* byte in the file */
    size_t line;      /* the same as a line, from 1 */
    struct gguf_yaml *first, *next;
    size_t n_children;
} gguf_yaml;

typedef struct gguf_yaml_doc gguf_yaml_doc;

/* file: for errors only. Limits: 16 MiB, 64 levels, 1,000,000 nodes. The text is copied. */
gguf_code gguf_yaml_parse(const char *text, size_t len, const char *file, gguf_yaml_doc **out,
                          gguf_error *err);
gguf_code gguf_yaml_load(const char *path, gguf_yaml_doc **out, gguf_error *err);
void gguf_yaml_free(gguf_yaml_doc *doc); /* accepts NULL */

const gguf_yaml *gguf_yaml_root(const gguf_yaml_doc *doc);
const char *gguf_yaml_file(const gguf_yaml_doc *doc);
/* The child of a map, or NULL (also when node is NULL or no map). */
const gguf_yaml *gguf_yaml_get(const gguf_yaml *node, const char *key);
/* The text of a map's scalar child, or `absent`. */
const char *gguf_yaml_text(const gguf_yaml *node, const char *key, const char *absent);
/* Scalars as numbers and flags; false if the text is not one. */
bool gguf_yaml_i64(const gguf_yaml *node, int64_t *out);
bool gguf_yaml_f64(const gguf_yaml *node, double *out);
bool gguf_yaml_bool(const gguf_yaml *node, bool *out); /* true, false, yes, no */

/* Record a failure at a node of the document. */
gguf_code gguf_yaml_fail(const gguf_yaml_doc *doc, const gguf_yaml *node, gguf_error *err,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
