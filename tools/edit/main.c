/* gguf-edit: change metadata, split, merge, change the byte order. */
#include "libgguf/edit.h"
#include "libgguf/map.h"
#include "libgguf/placeholder.h"
#include "libgguf/split.h"
#include "libgguf/swap.h"
#include "libgguf/verify.h"
#include "runtime/model/check_model.h"
#include "runtime/template/template_ast.h"
#include "tools/common/keyvalue.h"
#include "tools/common/model_open.h"
#include "tools/common/output_files.h"
#include "tools/common/write_model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEMPLATE_BYTES ((size_t)16 << 20)

enum { OPT_DRY_RUN = TOOL_LONG_ONLY, OPT_MAX_SIZE, OPT_MAX_TENSORS, OPT_TYPE };

static const tool_option options[] = {
    {'o', "output", "OUT.gguf", "write a copy; without it the file itself is changed"},
    {OPT_DRY_RUN, "dry-run", NULL, "say what would be done"},
    {OPT_MAX_SIZE, "max-size", "SIZE", "split: largest size of a shard's tensors"},
    {OPT_MAX_TENSORS, "max-tensors", "N", "split: most tensors in a shard"},
    {OPT_TYPE, "type", "TYPE", "merge-lora: of the weights (those of the model)"},
    {OPT_MAX_SIZE, "split-max-size", "SIZE", NULL},
    {OPT_MAX_TENSORS, "split-max-tensors", "N", NULL},
    {0},
};

typedef struct edit_opts {
    const char *output, *type;
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
    case OPT_TYPE:
        o->type = arg;
        break;
    case OPT_MAX_TENSORS:
        return tool_parse_u32("--max-tensors", arg, 1, INT32_MAX, &o->split.max_tensors, err);
    default:
        break;
    }
    return GGUF_OK;
}

/* ---- changes of the metadata: args are VERB FILE and what to change ---------------------- */

typedef gguf_code (*change_fn)(tool *t, gguf_meta *meta, gguf_error *err);

static gguf_code missing_key(const tool *t, const char *key, gguf_error *err) {
    return gguf_fail(err, GGUF_E_MISSING, t->args[1], GGUF_NO_OFFSET, "there is no key '%s'", key);
}

static gguf_code change_set(tool *t, gguf_meta *meta, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (int i = 2; i < t->n_args && !code; i++) code = keyvalue_set(meta, t->args[i], err);
    return code;
}

static gguf_code change_unset(tool *t, gguf_meta *meta, gguf_error *err) {
    for (int i = 2; i < t->n_args; i++) {
        if (!gguf_meta_find(meta, t->args[i])) return missing_key(t, t->args[i], err);
        gguf_meta_unset(meta, t->args[i]);
    }
    return GGUF_OK;
}

static gguf_code change_rename(tool *t, gguf_meta *meta, gguf_error *err) {
    const char *from = t->args[2], *to = t->args[3];
    const gguf_kv *old = gguf_meta_find(meta, from);
    if (!old) return missing_key(t, from, err);
    if (gguf_meta_find(meta, to))
        return gguf_fail(err, GGUF_E_DUPLICATE, t->args[1], GGUF_NO_OFFSET, "key '%s' exists", to);
    gguf_kv renamed = *old;
    renamed.key = gguf_str_of(to);
    gguf_meta_set_kv(meta, &renamed);
    gguf_meta_unset(meta, from);
    return GGUF_OK;
}

/* Text it must be; another engine may understand what ours does not. */
static gguf_code check_template(tool *t, const char *path, gguf_str text, gguf_error *err) {
    rt_template *parsed = NULL;
    gguf_error why = {0};
    size_t at = 0;
    if (!gguf_utf8_valid(text.ptr, text.len, &at))
        return gguf_fail(err, GGUF_E_FORMAT, path, (int64_t)at, "not UTF-8");
    if (rt_template_parse(text, &parsed, &why))
        tool_warn(t, "%s: the template does not parse: %s", path, why.message);
    rt_template_free(parsed);
    return GGUF_OK;
}

static gguf_code change_template(tool *t, gguf_meta *meta, gguf_error *err) {
    const char *path = t->args[2];
    char *text;
    size_t len;
    gguf_code code = gguf_read_file(path, MAX_TEMPLATE_BYTES, &text, &len, err);
    if (code) return code;
    code = gguf_placeholder_check(text, len, GGUF_EXPECTED_BINARY, path, err);
    if (!code) code = check_template(t, path, (gguf_str){text, len}, err);
    if (!code) gguf_meta_set_str(meta, "tokenizer.chat_template", (gguf_str){text, len});
    free(text);
    return code;
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

/* ---- what a change must not break -------------------------------------------------------- */

static bool has_finding(const gguf_findings *list, const char *text) {
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i].text, text) == 0) return true;
    return false;
}

/* What verify would find after the change and did not before it. */
static gguf_code report_new(tool *t, const gguf_findings *before, const gguf_findings *after,
                            gguf_error *err) {
    for (size_t i = 0; i < after->n; i++) {
        const char *text = after->items[i].text;
        if (has_finding(before, text)) continue;
        if (!t->force)
            return gguf_fail(err, GGUF_E_USAGE, t->args[1], GGUF_NO_OFFSET,
                             "after this change %s (--force makes it all the same)", text);
        tool_warn(t, "%s: after this change %s", t->args[1], text);
    }
    return GGUF_OK;
}

static gguf_code check_change(tool *t, const gguf_file *file, const gguf_meta *new,
                              gguf_error *err) {
    gguf_findings before = {0}, after = {0};
    gguf_code code = rt_check_with_meta(file, gguf_file_meta(file), &before, err);
    if (!code) code = rt_check_with_meta(file, new, &after, err);
    if (!code) code = report_new(t, &before, &after, err);
    gguf_findings_clear(&before);
    gguf_findings_clear(&after);
    return code;
}

static gguf_code change(tool *t, const edit_opts *o, change_fn fn, gguf_error *err) {
    const char *path = t->args[1];
    gguf_file *file;
    gguf_edit_result result;
    gguf_code code = o->dry_run ? GGUF_OK : gguf_edit_recover(path, err);
    if (!code) code = gguf_file_open(path, GGUF_OPEN_ANY_TYPE | GGUF_OPEN_SINGLE, &file, err);
    if (code) return code;
    gguf_meta *meta = copy_meta(gguf_file_meta(file));
    code = meta ? fn(t, meta, err) : gguf_fail_memory(err);
    if (!code) code = gguf_meta_status(meta, err);
    if (!code && fn != change_template) code = check_change(t, file, meta, err);
    const gguf_edit_opts opts = {o->output, t->force, o->dry_run, &tool_cancelled};
    if (!code) code = gguf_edit_save(file, meta, &opts, &result, err);
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

typedef struct shard_list {
    const tool *t;
    json_t *rows; /* NULL without --json */
} shard_list;

static void report_shard(void *ctx, const char *path, size_t n_tensors, uint64_t n_bytes) {
    const shard_list *list = ctx;
    char size[32];
    if (list->rows)
        json_array_append_new(list->rows, json_pack("{s:o, s:I, s:I}", "output",
                                                    tool_json_bytes(path, strlen(path)),
                                                    "n_tensors", (json_int_t)n_tensors,
                                                    "tensor_bytes", (json_int_t)n_bytes));
    else if (!list->t->quiet)
        printf("%s: %zu tensor%s, %s\n", path, n_tensors, tool_s(n_tensors),
               tool_size_text(n_bytes, size, sizeof size));
}

static gguf_code run_split(tool *t, const edit_opts *o, gguf_error *err) {
    gguf_file *file;
    const char *path = t->args[1];
    gguf_code code = gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, err);
    if (code) return code;
    shard_list list = {t, t->json ? json_array() : NULL};
    gguf_split_opts opts = o->split;
    opts.replace = t->force;
    opts.dry_run = o->dry_run;
    opts.cancel = &tool_cancelled;
    opts.on_shard = report_shard;
    opts.ctx = &list;
    code = gguf_split(file, t->args[2], &opts, err);
    if (!code && t->json)
        tool_print_json(json_pack("{s:o, s:b, s:O}", "input", tool_json_bytes(path, strlen(path)),
                                  "dry_run", o->dry_run, "shards", list.rows));
    json_decref(list.rows);
    gguf_file_close(file);
    return code;
}

static void print_rewrite(tool *t, const edit_opts *o, const gguf_file *file) {
    const char *in = t->args[1], *out = o->output;
    size_t n = gguf_file_n_tensors(file);
    if (t->json)
        tool_print_json(json_pack("{s:o, s:o, s:b, s:I}", "input", tool_json_bytes(in, strlen(in)),
                                  "output", tool_json_bytes(out, strlen(out)), "dry_run",
                                  o->dry_run, "n_tensors", (json_int_t)n));
    else
        tool_note(t, "%s: %zu tensor%s%s", out, n, tool_s(n), o->dry_run ? " (not written)" : "");
}

/* Open args[1] and write a new file to -o. */
static gguf_code rewrite(tool *t, const edit_opts *o, gguf_open_flags flags,
                         gguf_code (*write)(const gguf_file *file, const char *path, bool replace,
                                            const atomic_bool *cancel, gguf_error *err),
                         gguf_error *err) {
    gguf_file *file;
    if (!o->output)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "-o OUT.gguf is missing");
    gguf_code code = gguf_file_open(t->args[1], flags, &file, err);
    if (code) return code;
    if (!o->dry_run) code = write(file, o->output, t->force, &tool_cancelled, err);
    if (!code) print_rewrite(t, o, file);
    gguf_file_close(file);
    return code;
}

static gguf_code run_merge(tool *t, const edit_opts *o, gguf_error *err) {
    return rewrite(t, o, GGUF_OPEN_DEFAULT, gguf_merge, err);
}

static gguf_code run_swap(tool *t, const edit_opts *o, gguf_error *err) {
    return rewrite(t, o, GGUF_OPEN_BIG_ENDIAN, gguf_file_swap, err);
}

/* ---- adapters ---------------------------------------------------------------------------- */

static void print_merged(tool *t, const edit_opts *o, const quant_plan *plan, const char *type) {
    char size[32];
    uint64_t n_bytes = quant_plan_file_bytes(plan);
    if (t->json)
        tool_print_json(json_pack("{s:o, s:o, s:o, s:b, s:I, s:s, s:I}", "input",
                                  tool_json_bytes(t->args[1], strlen(t->args[1])), "adapter",
                                  tool_json_bytes(t->args[2], strlen(t->args[2])), "output",
                                  tool_json_bytes(o->output, strlen(o->output)), "dry_run",
                                  o->dry_run, "n_tensors", (json_int_t)plan->n_tensors, "type",
                                  type, "size_bytes", (json_int_t)n_bytes));
    else
        tool_note(t, "%s: %zu tensor%s, %s, %s%s", o->output, plan->n_tensors,
                  tool_s(plan->n_tensors), type, tool_size_text(n_bytes, size, sizeof size),
                  o->dry_run ? " (not written)" : "");
}

static gguf_code run_merge_lora(tool *t, const edit_opts *o, gguf_error *err) {
    rt_import *import = NULL;
    gguf_file *adapter = NULL; /* open to the end: it is no output */
    model_loras lora = {0};
    write_opts opts = write_opts_defaults();
    write_result result = {0};
    if (!o->output)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "-o OUT.gguf is missing");
    opts.type = o->type;
    gguf_code code = model_loras_add(&lora, t->args[2], err);
    if (!code) code = rt_import_open(t->args[1], NULL, &import, err);
    if (!code) code = gguf_file_open(lora.paths[0], GGUF_OPEN_ANY_TYPE, &adapter, err);
    if (!code) code = rt_import_merge_lora(import, adapter, lora.scales[0], err);
    if (!code) code = write_prepare(t, import, t->args[1], o->output, &opts, &result, err);
    if (!code && !o->dry_run) code = write_run(t, import, o->output, &opts, &result, err);
    if (!code) print_merged(t, o, rt_import_plan(import), result.type_name);
    write_result_clear(&result);
    write_opts_clear(&opts);
    model_loras_clear(&lora);
    gguf_file_close(adapter);
    rt_import_close(import);
    return code;
}

static const tool_verb verbs[] = {
    {"set", "FILE KEY=TYPE:VALUE...", "output dry-run", "Set keys, new ones too."},
    {"unset", "FILE KEY...", "output dry-run", "Remove keys."},
    {"rename", "FILE OLD NEW", "output dry-run", "Give a key another name."},
    {"set-template", "FILE TEMPLATE.jinja", "output dry-run", "Replace the chat template."},
    {"split", "FILE PREFIX --max-size SIZE | --max-tensors N", "max-size max-tensors dry-run",
     "Write several files, PREFIX-00001-of-00003.gguf and so on."},
    {"merge", "FIRST-SHARD -o OUT.gguf", "output dry-run", "Make one file of several."},
    {"merge-lora", "MODEL ADAPTER[:SCALE] -o OUT.gguf [--type TYPE]", "output type dry-run",
     "Add an adapter to the weights, for good."},
    {"swap-endian", "FILE -o OUT.gguf", "output dry-run",
     "Write a file for machines of the other byte order."},
    {0},
};

#define N_VERBS (sizeof verbs / sizeof verbs[0] - 1)

/* What verbs do, in the same order, and how many words they take, with the verb. */
static const struct {
    gguf_code (*fn)(tool *t, const edit_opts *o, gguf_error *err);
    int n_min, n_max;
} actions[] = {{run_set, 3, INT_MAX},    {run_unset, 3, INT_MAX}, {run_rename, 4, 4},
               {run_set_template, 3, 3}, {run_split, 3, 3},       {run_merge, 2, 2},
               {run_merge_lora, 3, 3},   {run_swap, 2, 2}};
_Static_assert(sizeof actions / sizeof actions[0] == N_VERBS, "a row for every verb");

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    const edit_opts *o = ctx;
    if (t->n_args == 0) return tool_fail_usage(t, "VERB FILE", err);
    size_t i = tool_find_verb(verbs, t->args[0]);
    if (i == N_VERBS) return tool_fail_verb(t, "verb", err);
    gguf_code code = tool_takes_only(t, verbs[i].name, verbs[i].takes, err);
    bool asked_later = actions[i].fn == run_merge_lora; /* by what writes models */
    if (!code && o->output && !o->dry_run && !asked_later)
        code = tool_check_output(t, o->output, TOOL_OUTPUT_STREAM, err);
    if (code) return code;
    if (t->n_args < actions[i].n_min || t->n_args > actions[i].n_max)
        return tool_fail_verb_args(t, &verbs[i], err);
    return actions[i].fn(t, o, err);
}

int main(int argc, char **argv) {
    edit_opts o = {0};
    const tool_spec spec = {
        .name = "gguf-edit",
        .usage = "",
        .summary = "Change a GGUF file: metadata in place where the header has room, split, merge, "
                   "adapters, byte order.",
        .options = options,
        .set = set_option,
        .run = run,
        .ctx = &o,
        .verbs = verbs,
        .examples = "set model.gguf general.name=str:Ada\n"
                    "set-template model.gguf F.jinja\n"
                    "split model.gguf part --max-size 4G\n"
                    "merge part-00001-of-00003.gguf -o merged.gguf"};
    return tool_main(&spec, argc, argv);
}
