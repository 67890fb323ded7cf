/* The verbs of gguf-inspect. */
#ifndef TOOLS_INSPECT_INSPECT_H
#define TOOLS_INSPECT_INSPECT_H

#include "libgguf/gguf.h"
#include "libgguf/hash.h"
#include "libgguf/pattern.h"
#include "libgguf/verify.h"
#include "quant/stats.h"
#include "tools/common/json_out.h"
#include "tools/common/tool.h"

typedef struct inspect_opts {
    uint32_t max_array;
    const char *filter;    /* glob, or NULL */
    const char *tensor;    /* the regular expression of --tensor, or NULL */
    gguf_pattern *pattern; /* the same, compiled */
    gguf_hash_algo algo;
    const char *check, *output, *plot;
    bool values;
} inspect_opts;

/* A verb: its files are t->args from `files` on. A failed check is GGUF_E_CHECK without an error.
 */
typedef struct inspect_call {
    tool *t;
    const inspect_opts *o;
    char **files;
    gguf_error *err;
} inspect_call;

gguf_code inspect_all(const inspect_call *c); /* no verb: a summary, or with --json everything */
gguf_code inspect_summary(const inspect_call *c);
gguf_code inspect_meta(const inspect_call *c);
gguf_code inspect_get(const inspect_call *c); /* one value as it is; the key is files[1] */
gguf_code inspect_tensors(const inspect_call *c);
gguf_code inspect_tokens(const inspect_call *c);
gguf_code inspect_stats(const inspect_call *c);
gguf_code inspect_verify(const inspect_call *c);
gguf_code inspect_hash(const inspect_call *c);
gguf_code inspect_diff(const inspect_call *c);
gguf_code inspect_report(const inspect_call *c);

/* Everything that verify finds wrong with files[0], sorted. Close the set in every case.
 * Errors: those of reading; a broken file is none. */
gguf_code inspect_find_all(const inspect_call *c, gguf_scan_set *set);
uint64_t inspect_count_findings(const gguf_scan_set *set);

/* Whether a name is a checkpoint's: a folder, or a file with such an ending that is no GGUF file.
 */
bool inspect_is_checkpoint(const char *path);
/* What a verb does with checkpoints (summary, tensors, diff); NULL: no verb. */
gguf_code inspect_checkpoint(const inspect_call *c, const char *verb);

/* ---- shared by verbs --------------------------------------------------------------------- */

gguf_code inspect_open(const inspect_call *c, size_t i, gguf_file **out);
/* The same for verbs that read numbers: a big-endian file is refused. */
gguf_code inspect_open_values(const inspect_call *c, size_t i, gguf_file **out);

/* Whether --filter takes a name; --tensor too where tensors are named. */
bool inspect_takes(const inspect_opts *o, gguf_str name);
bool inspect_takes_tensor(const inspect_opts *o, gguf_str name);

/* The tensors as people list them: in the order of the file, but neighbours that differ in their
 * first number (blk.10, blk.2) in the order of the numbers.
 *   *out  [n_tensors], malloc'ed; its entries are the file's
 * Errors: GGUF_E_NOMEM (*out is NULL). */
gguf_code inspect_order_tensors(const gguf_file *file, const gguf_tensor ***out, gguf_error *err);
/* A misspelt filter must not look like an empty file: each filter has to take a name of one of the
 * files. Before any other use of the filters, since --tensor may take too long on a name.
 *   b  the second file, or NULL
 * Errors: GGUF_E_USAGE. */
gguf_code inspect_check_filters(const inspect_call *c, const gguf_file *a, const gguf_file *b,
                                bool keys, bool tensors);
/* No `what` fits the filters: GGUF_E_USAGE. */
gguf_code inspect_fail_filter(const inspect_call *c, const char *what);

void inspect_print_str(FILE *out, gguf_str s, size_t max_bytes); /* quoted, escaped, cut */
/* One value of an entry as text; the iterator moves on. */
void inspect_print_value(FILE *out, gguf_kv_iter *it);
void inspect_print_kv_value(FILE *out, const gguf_kv *kv, uint32_t max_array);
/* Members "type", "value", ... of an open JSON object. */
void inspect_json_kv(json_out *j, const gguf_kv *kv, uint32_t max_array);
/* A tensor's type and shape; type NULL: the file does not have it. */
typedef struct inspect_form {
    const char *type;
    uint32_t n_dims;
    const uint64_t *dims;
} inspect_form;

inspect_form inspect_form_of(const gguf_tensor *t); /* accepts NULL */
/* Members "type" and "shape" of an open JSON object. */
void inspect_json_form(json_out *j, const inspect_form *form);

/* A tensor of two files that is not the same in both. */
typedef struct inspect_change {
    gguf_str name;
    inspect_form a, b;
    bool type, shape, data; /* which of them differ, where both files have it */
    bool has_values;
    quant_difference values;
} inspect_change;

/* A line, or with --json an object of the open array. Errors: GGUF_E_NOMEM. */
gguf_code inspect_write_change(const inspect_call *c, json_out *j, const inspect_change *x);

char *inspect_dims(const uint64_t *dims, uint32_t n_dims, char *out, size_t room);
char *inspect_shape(const gguf_tensor *t, char *out, size_t room); /* "64 x 32"; returns out */

/* Which part of a model a tensor belongs to, by its name. */
typedef enum inspect_part {
    PART_EMBEDDING,
    PART_ATTENTION,
    PART_FFN,
    PART_EXPERTS,
    PART_NORMS,
    PART_OUTPUT,
    PART_OTHER,
    N_PARTS
} inspect_part;

extern const char *const inspect_part_names[N_PARTS];
inspect_part inspect_part_of(gguf_str name);
int inspect_layer_of(gguf_str name); /* blk.N. -> N; otherwise -1 */

/* One row of a table of sizes. */
typedef struct inspect_share {
    const char *name;
    uint32_t type; /* by type only */
    size_t n_tensors;
    uint64_t n_bytes, n_elems;
} inspect_share;

#define INSPECT_MAX_TYPES 64

typedef struct inspect_facts {
    const gguf_file *file;
    uint64_t n_elems, n_bytes;
    inspect_share types[INSPECT_MAX_TYPES], parts[N_PARTS];
    size_t n_types;
    double bpw; /* bits per weight; 0 without tensors */
} inspect_facts;

inspect_facts inspect_facts_of(const gguf_file *file);
/* An entry {arch}.name, or NULL. */
const gguf_kv *inspect_arch_key(const gguf_file *file, const char *name);
/* Call fn for every line of the summary: what gguf-inspect FILE and the report show. */
typedef void (*inspect_line_fn)(void *ctx, const char *label, const char *text);
void inspect_each_line(const inspect_facts *facts, inspect_line_fn fn, void *ctx);

#endif
