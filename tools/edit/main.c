/* gguf-edit: change metadata, split, merge, change the byte order. */
#include "libgguf/edit.h"
#include "libgguf/map.h"
#include "libgguf/split.h"
#include "libgguf/swap.h"
#include "tools/common/keyvalue.h"
#include "tools/common/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEMPLATE_BYTES ((size_t)16 << 20)

enum { OPT_DRY_RUN = TOOL_LONG_ONLY, OPT_MAX_SIZE, OPT_MAX_TENSORS };

static const tool_option options[] = {
    {'o', "output", "OUT.gguf", "write a copy; without it the file itself is changed"},
    {OPT_DRY_RUN, "dry-run", NULL, "say what would be done"},
    {OPT_MAX_SIZE, "max-size", "SIZE", "split: largest size of a shard's tensors"},
    {OPT_MAX_TENSORS, "max-tensors", "N", "split: most tensors in a shard"},
    {0},
};

typedef struct edit_opts {
    const char *output;
    bool dry_run;
    gguf_split_opts split;
} edit_opts;

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    edit_opts *o = ctx;
    switch (id) {
    case 'o':
        o->output = arg;
        break;
    case OPT_DRY_RUN:
        o->dry_run = true;
        break;
    case OPT_MAX_SIZE:
        return tool_parse_size("--max-size", arg, &o->split.max_bytes, err);
    case OPT_MAX_TENSORS:
        return tool_parse_u32("--max-tensors", arg, 1, INT32_MAX, &o->split.max_tensors, err);
    default:
        break;
    }
    return GGUF_OK;
}

static gguf_code missing_key(const char *file, const char *key, gguf_error *err) {
    return gguf_fail(err, GGUF_E_MISSING, file, GGUF_NO_OFFSET, "there is no key '%s'", key);
}

/* ---- changes of the metadata: apply the arguments behind the file ------------------------ */

typedef gguf_code (*change_fn)(gguf_meta *meta, const char *file, char **args, int n,
                               gguf_error *err);

static gguf_code change_set(gguf_meta *meta, const char *file, char **args, int n,
                            gguf_error *err) {
    gguf_code code = GGUF_OK;
    (void)file;
    for (int i = 0; i < n && !code; i++) code = keyvalue_set(meta, args[i], err);
    return code;
}

static gguf_code change_unset(gguf_meta *meta, const char *file, char **args, int n,
                              gguf_error *err) {
    for (int i = 0; i < n; i++) {
        if (!gguf_meta_find(meta, args[i])) return missing_key(file, args[i], err);
        gguf_meta_unset(meta, args[i]);
    }
    return GGUF_OK;
}

static gguf_code change_rename(gguf_meta *meta, const char *file, char **args, int n,
                               gguf_error *err) {
    if (n != 2)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "expected rename FILE OLD NEW");
    const gguf_kv *old = gguf_meta_find(meta, args[0]);
    if (!old) return missing_key(file, args[0], err);
    if (gguf_meta_find(meta, args[1]))
        return gguf_fail(err, GGUF_E_DUPLICATE, file, GGUF_NO_OFFSET, "key '%s' exists", args[1]);
    gguf_kv renamed = *old;
    renamed.key = gguf_str_of(args[1]);
    gguf_meta_set_kv(meta, &renamed);
    gguf_meta_unset(meta, args[0]);
    return GGUF_OK;
}

static gguf_code change_template(gguf_meta *meta, const char *file, char **args, int n,
                                 gguf_error *err) {
    char *text;
    size_t len;
    (void)file;
    if (n != 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected set-template FILE TEMPLATE.jinja");
    gguf_code code = gguf_read_file(args[0], MAX_TEMPLATE_BYTES, &text, &len, err);
    if (code) return code;
    gguf_meta_set_str(meta, "tokenizer.chat_template", (gguf_str){text, len});
    free(text);
    return GGUF_OK;
}

static gguf_meta *copy_meta(const gguf_meta *from) {
    gguf_meta *meta = gguf_meta_new();
    for (size_t i = 0; meta && i < gguf_meta_count(from); i++)
        gguf_meta_set_kv(meta, gguf_meta_at(from, i));
    return meta;
}

static void print_edit(tool *t, const char *path, const gguf_edit_result *r, bool dry_run) {
    if (t->json) {
        tool_print_json(json_pack(
            "{s:o, s:b, s:b, s:I, s:I}", "output", tool_json_bytes(path, strlen(path)), "in_place",
            r->in_place, "dry_run", dry_run, "old_header_bytes", (json_int_t)r->old_header_bytes,
            "new_header_bytes", (json_int_t)r->new_header_bytes));
        return;
    }
    tool_note(t, "%s: header of %llu bytes, before %llu, %s%s", path,
              (unsigned long long)r->new_header_bytes, (unsigned long long)r->old_header_bytes,
              r->in_place ? "in place" : "a new file", dry_run ? " (not written)" : "");
}

static gguf_code change(tool *t, const edit_opts *o, change_fn fn, gguf_error *err) {
    const char *path = t->args[1];
    gguf_file *file;
    gguf_edit_result result;
    if (t->n_args < 3)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%s: nothing to change (see --help)", t->args[0]);
    gguf_code code = o->dry_run ? GGUF_OK : gguf_edit_recover(path, err);
    if (!code) code = gguf_file_open(path, GGUF_OPEN_ANY_TYPE | GGUF_OPEN_SINGLE, &file, err);
    if (code) return code;
    gguf_meta *meta = copy_meta(gguf_file_meta(file));
    code = meta ? fn(meta, path, t->args + 2, t->n_args - 2, err)
                : gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    if (!code) code = gguf_meta_status(meta, err);
    if (!code) code = gguf_edit_save(file, meta, o->output, t->force, o->dry_run, &result, err);
    if (!code) print_edit(t, o->output ? o->output : path, &result, o->dry_run);
    gguf_meta_free(meta);
    gguf_file_close(file);
    return code;
}

static gguf_code run_set(tool *t, const edit_opts *o, gguf_error *err) {
    return change(t, o, change_set, err);
}

static gguf_code run_unset(tool *t, const edit_opts *o, gguf_error *err) {
    return change(t, o, change_unset, err);
}

static gguf_code run_rename(tool *t, const edit_opts *o, gguf_error *err) {
    return change(t, o, change_rename, err);
}

static gguf_code run_set_template(tool *t, const edit_opts *o, gguf_error *err) {
    return change(t, o, change_template, err);
}

/* ---- whole files ------------------------------------------------------------------------- */

static void print_shard(void *ctx, const char *path, size_t n_tensors, uint64_t n_bytes) {
    char size[32];
    tool *t = ctx;
    if (!t->quiet)
        printf("%s: %zu tensors, %s\n", path, n_tensors,
               tool_size_text(n_bytes, size, sizeof size));
}

static gguf_code run_split(tool *t, const edit_opts *o, gguf_error *err) {
    gguf_file *file;
    if (t->n_args != 3)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected split FILE PREFIX --max-size SIZE or --max-tensors N");
    gguf_code code = gguf_file_open(t->args[1], GGUF_OPEN_DEFAULT, &file, err);
    if (code) return code;
    gguf_split_opts opts = o->split;
    opts.replace = t->force;
    opts.dry_run = o->dry_run;
    opts.cancel = &tool_cancelled;
    opts.on_shard = print_shard;
    opts.ctx = t;
    code = gguf_split(file, t->args[2], &opts, err);
    gguf_file_close(file);
    return code;
}

/* Open args[1] and write a new file to -o. */
static gguf_code rewrite(tool *t, const edit_opts *o, gguf_open_flags flags,
                         gguf_code (*write)(const gguf_file *file, const char *path, bool replace,
                                            const atomic_bool *cancel, gguf_error *err),
                         gguf_error *err) {
    gguf_file *file;
    if (t->n_args != 2 || !o->output)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "expected %s FILE -o OUT.gguf",
                         t->args[0]);
    gguf_code code = gguf_file_open(t->args[1], flags, &file, err);
    if (code) return code;
    if (o->dry_run)
        tool_note(t, "%s: %llu bytes (not written)", o->output,
                  (unsigned long long)gguf_file_bytes(file));
    else
        code = write(file, o->output, t->force, &tool_cancelled, err);
    gguf_file_close(file);
    return code;
}

static gguf_code run_merge(tool *t, const edit_opts *o, gguf_error *err) {
    return rewrite(t, o, GGUF_OPEN_DEFAULT, gguf_merge, err);
}

static gguf_code run_swap(tool *t, const edit_opts *o, gguf_error *err) {
    return rewrite(t, o, GGUF_OPEN_BIG_ENDIAN, gguf_file_swap, err);
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    const edit_opts *o = ctx;
    static const struct {
        const char *verb;
        gguf_code (*fn)(tool *t, const edit_opts *o, gguf_error *err);
    } verbs[] = {{"set", run_set},         {"unset", run_unset},
                 {"rename", run_rename},   {"set-template", run_set_template},
                 {"split", run_split},     {"merge", run_merge},
                 {"swap-endian", run_swap}};
    if (t->n_args < 2)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "expected VERB FILE (see --help)");
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].verb, t->args[0]) == 0) return verbs[i].fn(t, o, err);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "unknown verb '%s' (see --help)",
                     t->args[0]);
}

static const char *const verb_names[] = {"set",   "unset", "rename",      "set-template",
                                         "split", "merge", "swap-endian", NULL};

int main(int argc, char **argv) {
    edit_opts o = {0};
    const tool_spec spec = {
        .name = "gguf-edit",
        .usage = "set FILE KEY=TYPE:VALUE...\nunset FILE KEY...\nrename FILE OLD NEW\n"
                 "set-template FILE TEMPLATE.jinja\nsplit FILE PREFIX --max-size SIZE\n"
                 "merge FIRST-SHARD -o OUT.gguf\nswap-endian FILE -o OUT.gguf",
        .summary =
            "Change a GGUF file: metadata in place where the header has room, split, merge, byte "
            "order.",
        .options = options,
        .set = set_option,
        .run = run,
        .ctx = &o,
        .verbs = verb_names};
    return tool_main(&spec, argc, argv);
}
