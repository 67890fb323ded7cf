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
    bool quoted;           /* a scalar in quotes is text even if it looks like a number */
    const char *key;       /* inside a map; otherwise NULL */
    const char *text;      /* of a scalar, NUL-terminated; otherwise "" */
    int64_t off;           /* byte in the file */
    uint32_t line, column; /* of the key inside a map, otherwise of the node; from 1 */
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

/* ---- fields ------------------------------------------------------------------------------ */

typedef enum gguf_yaml_form {
    GGUF_YAML_TEXT,      /* a scalar */
    GGUF_YAML_FLAG,      /* true or false */
    GGUF_YAML_NUMBER,    /* a number */
    GGUF_YAML_COUNT,     /* a whole number from 0 on */
    GGUF_YAML_TEXTS,     /* a list of scalars */
    GGUF_YAML_ANY_TEXTS, /* a scalar or a list of scalars */
    GGUF_YAML_VALUES,    /* a map of scalars under any names */
    GGUF_YAML_RECORD,    /* a map with the fields of a table of its own */
    GGUF_YAML_RECORDS    /* a list of such maps */
} gguf_yaml_form;

/* A row of a table of the fields that a map may have; a row without a name ends the table. */
typedef struct gguf_yaml_field {
    const char *name;
    gguf_yaml_form form;
    bool needed;
    uint32_t least, most;                 /* children of a list; most 0: any number */
    const char *const *words;             /* what a scalar may be, ends with NULL; NULL: anything */
    const struct gguf_yaml_field *fields; /* of a record */
    const char *what;                     /* a record is called so in errors, e.g. "a tensor" */
} gguf_yaml_field;

/* Check that a map, and all below it, has the fields of a table and no others.
 *   what  what the map is called in errors, e.g. "the file"
 * Errors: GGUF_E_FORMAT with line and column: a field that is not known (with a near name or all
 * that there are), one that is missing, a value of another form. */
gguf_code gguf_yaml_check(const gguf_yaml_doc *doc, const gguf_yaml *map,
                          const gguf_yaml_field *fields, const char *what, gguf_error *err);

/* Record a failure at a node of the document. */
gguf_code gguf_yaml_fail(const gguf_yaml_doc *doc, const gguf_yaml *node, gguf_error *err,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
