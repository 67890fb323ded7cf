/* hash: the hashes of all tensors, printed as a manifest or compared with one. */
#include "libgguf/map.h"
#include "tools/common/pager.h"
#include "tools/inspect/manifest.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_MANIFEST_BYTES ((size_t)256 << 20)

/* ---- computing --------------------------------------------------------------------------- */

typedef struct hash_set {
    gguf_hash_algo algo;
    gguf_hash *tensors, whole;
} hash_set;

static gguf_code compute(const inspect_call *c, const gguf_file *file, hash_set *set) {
    gguf_pool *pool = NULL;
    set->tensors = calloc(gguf_file_n_tensors(file) + 1, sizeof *set->tensors);
    if (!set->tensors) return gguf_fail_memory(c->err);
    gguf_code code = gguf_pool_new(c->t->n_threads, &pool, c->err);
    if (!code)
        code = gguf_hash_tensors(file, set->algo, pool, &tool_cancelled, set->tensors, &set->whole,
                                 c->err);
    gguf_pool_free(pool);
    return code;
}

/* ---- comparing with a manifest ----------------------------------------------------------- */

/* Lines "ALGO  HEX  FILE:TENSOR"; the last of an algorithm is "ALGO  HEX  FILE". */
typedef struct manifest_line {
    char algo[16], hex[80];
    const char *name;
} manifest_line;

static bool parse_line(char *text, manifest_line *line) {
    int at = 0;
    if (sscanf(text, "%15s %79s %n", line->algo, line->hex, &at) != 2 || !at) return false;
    line->name = text + at;
    return *line->name != '\0';
}

static size_t split_lines(char *text, manifest_line *lines, size_t room) {
    size_t n = 0;
    char *save = NULL;
    for (char *l = strtok_r(text, "\r\n", &save); l && n < room; l = strtok_r(NULL, "\r\n", &save))
        if (*l != '#' && parse_line(l, &lines[n])) n++;
    return n;
}

typedef struct check_job {
    const gguf_file *file;
    const hash_set *set;
    const manifest_line *lines;
    size_t n_lines;
    bool *seen; /* [n_tensors] */
    manifest_report_fn report;
    void *ctx;
    size_t n_differences;
} check_job;

static void differ(check_job *k, const char *what, const char *name, const char *expected,
                   const char *found) {
    k->n_differences++;
    k->report(k->ctx, what, name, expected, found);
}

static void check_line(check_job *k, const manifest_line *line, const char *whole_name) {
    size_t n = strlen(whole_name);
    const char *found = k->set->whole.hex, *name = "(all data)";
    if (strncmp(line->name, whole_name, n) == 0 && line->name[n] == ':') {
        name = line->name + n + 1;
        const gguf_tensor *t = gguf_file_find_tensor(k->file, name);
        if (!t) {
            differ(k, "missing", name, line->hex, "");
            return;
        }
        size_t i = (size_t)(t - gguf_file_tensor(k->file, 0));
        k->seen[i] = true;
        found = k->set->tensors[i].hex;
    }
    if (strcasecmp(found, line->hex) != 0) differ(k, "differs", name, line->hex, found);
}

static void check_algo(check_job *k, const char *algo) {
    const char *whole_name = "";
    bool by_tensor = false;
    for (size_t i = 0; i < k->n_lines; i++)
        if (strcmp(k->lines[i].algo, algo) == 0) whole_name = k->lines[i].name;
    for (size_t i = 0; i < k->n_lines; i++) {
        if (strcmp(k->lines[i].algo, algo) != 0) continue;
        by_tensor = by_tensor || k->lines[i].name != whole_name;
        check_line(k, &k->lines[i], whole_name);
    }
    for (size_t i = 0; by_tensor && i < gguf_file_n_tensors(k->file); i++) {
        const gguf_tensor *t = gguf_file_tensor(k->file, i);
        char name[128];
        if (k->seen[i]) continue;
        snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.ptr);
        differ(k, "extra", name, "", k->set->tensors[i].hex);
    }
}

static gguf_code check_with(const inspect_call *c, check_job *k, gguf_hash_algo algo) {
    hash_set set = {.algo = algo};
    gguf_code code = compute(c, k->file, &set);
    k->set = &set;
    if (!code) memset(k->seen, 0, gguf_file_n_tensors(k->file));
    if (!code) check_algo(k, gguf_hash_algo_name(algo));
    free(set.tensors);
    return code;
}

static gguf_code check_lines(const inspect_call *c, check_job *k, const char *path) {
    gguf_code code = GGUF_OK;
    bool any = false;
    for (int a = GGUF_HASH_XXH3; a <= GGUF_HASH_SHA256 && !code; a++) {
        bool used = false;
        for (size_t i = 0; i < k->n_lines; i++)
            used |= strcmp(k->lines[i].algo, gguf_hash_algo_name((gguf_hash_algo)a)) == 0;
        if (used) code = check_with(c, k, (gguf_hash_algo)a);
        any |= used;
    }
    if (!code && !any)
        code = gguf_fail(c->err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET,
                         "no line with a hash of xxh3, xxh64 or sha256");
    return code;
}

gguf_code manifest_check(const inspect_call *c, const gguf_file *file, const char *path,
                         manifest_report_fn report, void *ctx) {
    char *text = NULL;
    size_t n_bytes, room = 1;
    check_job k = {.file = file, .report = report, .ctx = ctx};
    gguf_code code = gguf_read_file(path, MAX_MANIFEST_BYTES, &text, &n_bytes, c->err);
    if (code) return code;
    for (size_t i = 0; i < n_bytes; i++) room += text[i] == '\n';
    manifest_line *lines = calloc(room, sizeof *lines);
    k.seen = calloc(gguf_file_n_tensors(file) + 1, sizeof *k.seen);
    if (lines && k.seen) {
        k.lines = lines;
        k.n_lines = split_lines(text, lines, room);
        code = check_lines(c, &k, path);
    } else {
        code = gguf_fail_memory(c->err);
    }
    free(lines);
    free(k.seen);
    free(text);
    return !code && k.n_differences ? GGUF_E_CHECK : code;
}

/* ---- output ------------------------------------------------------------------------------ */

static void print_hashes(const gguf_file *file, const inspect_opts *o, const hash_set *set) {
    const char *algo = gguf_hash_algo_name(set->algo), *path = gguf_file_path(file);
    char name[300];
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        if (inspect_takes_tensor(o, t->name))
            printf("%s  %s  %s:%s\n", algo, set->tensors[i].hex, path,
                   tool_escape(t->name.ptr, t->name.len, name, sizeof name));
    }
    printf("%s  %s  %s\n", algo, set->whole.hex, path);
}

static void json_hashes(const gguf_file *file, const inspect_opts *o, const hash_set *set) {
    json_out j = {.file = stdout};
    json_out_object(&j, NULL, false);
    json_out_bytes(&j, "file", gguf_file_path(file), strlen(gguf_file_path(file)));
    json_out_text(&j, "algo", gguf_hash_algo_name(set->algo));
    json_out_text(&j, "hash", set->whole.hex);
    json_out_array(&j, "tensors", false);
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        if (!inspect_takes_tensor(o, t->name)) continue;
        json_out_object(&j, NULL, true);
        json_out_bytes(&j, "name", t->name.ptr, t->name.len);
        json_out_text(&j, "hash", set->tensors[i].hex);
        json_out_end_object(&j);
    }
    json_out_end_array(&j);
    json_out_end_object(&j);
    json_out_document_end(&j);
}

static void print_difference(void *ctx, const char *what, const char *name, const char *expected,
                             const char *found) {
    char safe[600];
    (void)ctx;
    printf("%s%-8s%s %s", tool_style_text(TOOL_RED), what, tool_style_text(TOOL_PLAIN),
           tool_escape(name, strlen(name), safe, sizeof safe));
    if (*expected) printf("  expected %.64s", expected);
    printf(*found ? "  found %s\n" : "\n", found);
}

/* Opens the document when it is first needed, so that an error stays the only output. */
static void open_check(json_out *j) {
    if (j->depth > 0) return;
    json_out_object(j, NULL, false);
    json_out_array(j, "differences", false);
}

static void json_difference(void *ctx, const char *what, const char *name, const char *expected,
                            const char *found) {
    json_out *j = ctx;
    open_check(j);
    json_out_object(j, NULL, true);
    json_out_text(j, "difference", what);
    json_out_text(j, "name", name);
    json_out_text(j, "expected", expected);
    json_out_text(j, "found", found);
    json_out_end_object(j);
}

static gguf_code check(const inspect_call *c, const gguf_file *file) {
    json_out j = {.file = stdout};
    if (!c->t->json) {
        gguf_code code = manifest_check(c, file, c->o->check, print_difference, NULL);
        if (!code) printf("all hashes agree\n");
        return code;
    }
    gguf_code code = manifest_check(c, file, c->o->check, json_difference, &j);
    if (code && code != GGUF_E_CHECK) return code;
    open_check(&j);
    json_out_end_array(&j);
    json_out_bytes(&j, "file", gguf_file_path(file), strlen(gguf_file_path(file)));
    json_out_bool(&j, "equal", code == GGUF_OK);
    json_out_end_object(&j);
    json_out_document_end(&j);
    return code;
}

gguf_code inspect_hash(const inspect_call *c) {
    gguf_file *file;
    hash_set set = {.algo = c->o->algo};
    gguf_code code = inspect_open(c, 0, &file);
    if (code) return code;
    if (c->o->check) {
        code = check(c, file);
    } else {
        code = inspect_check_filters(c, file, NULL, false, true);
        if (!code) code = compute(c, file, &set);
        if (!code) c->t->json ? json_hashes(file, c->o, &set) : print_hashes(file, c->o, &set);
    }
    free(set.tensors);
    gguf_file_close(file);
    return code;
}
