/* Writing a Hugging Face folder from a GGUF file. All of it is made in FOLDER.part, which gets its
 * name when everything is there. */
#include "tools/convert/to_folder.h"

#include "libgguf/outfile.h"
#include "quant/quant.h"
#include "runtime/export/export.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PATH_BYTES 4096
#define WEIGHTS        "model.safetensors"
#define USUAL_FILE     ((uint64_t)5 << 30) /* of tensors in a file, as the original library splits */

/* The name without slashes at its end. */
static void trim(const char *output, char out[MAX_PATH_BYTES]) {
    size_t n = strlen(output);
    while (n > 1 && output[n - 1] == '/') n--;
    snprintf(out, MAX_PATH_BYTES, "%.*s", (int)(n < 3900 ? n : 3900), output);
}

static bool is_empty_folder(const char *path) {
    DIR *d = opendir(path);
    bool empty = d;
    for (const struct dirent *entry; d && empty && (entry = readdir(d));)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    if (d) closedir(d);
    return empty;
}

static gguf_code check_output(const char *output, gguf_error *err) {
    struct stat st;
    if (lstat(output, &st) != 0 || is_empty_folder(output)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_EXISTS, output, GGUF_NO_OFFSET,
                     S_ISDIR(st.st_mode) ? "the folder is there and not empty"
                                         : "there is something that is no folder");
}

/* F32 and BF16 are what the original libraries compute in. */
static gguf_code choose_type(const write_opts *o, uint32_t *type, gguf_error *err) {
    *type = GGUF_TYPE_BF16;
    if (!o->type || strcasecmp(o->type, "bf16") == 0) return GGUF_OK;
    *type = GGUF_TYPE_F32;
    if (strcasecmp(o->type, "f32") == 0) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "--outtype of a folder is bf16 or f32, not '%s'", o->type);
}

/* ---- writing ----------------------------------------------------------------------------- */

static gguf_code save_files(const rt_export *export, const char *folder, gguf_error *err) {
    char path[MAX_PATH_BYTES + 64];
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < rt_export_n_files(export) && !code; i++) {
        const gguf_memory_file *f = rt_export_file(export, i);
        snprintf(path, sizeof path, "%s/%s", folder, f->name);
        code = gguf_outfile_save(path, f->bytes, f->n_bytes, GGUF_OUT_REPLACE, err);
    }
    return code;
}

/* The files that a run made, and the folder if it holds nothing else. */
static void remove_folder(rt_export *export, const char *folder) {
    char path[MAX_PATH_BYTES + 128], name[64];
    const quant_plan *plan = rt_export_plan(export);
    for (size_t i = 0; i < rt_export_n_files(export); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, rt_export_file(export, i)->name);
        unlink(path);
    }
    for (uint32_t no = 0; no < plan->n_shards; no++) {
        if (quant_shard_path(WEIGHTS, plan->n_shards, no, name, sizeof name, NULL)) continue;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        unlink(path);
    }
    rmdir(folder);
}

static gguf_code make_folder(const char *folder, bool resume, gguf_error *err) {
    struct stat st;
    if (mkdir(folder, 0777) == 0) return GGUF_OK;
    int why = errno;
    bool is_there = lstat(folder, &st) == 0 && S_ISDIR(st.st_mode);
    if (is_there && (resume || is_empty_folder(folder))) return GGUF_OK;
    if (is_there)
        return gguf_fail(err, GGUF_E_EXISTS, folder, GGUF_NO_OFFSET,
                         "an interrupted run left it: go on with --resume, or remove it");
    return gguf_fail(err, GGUF_E_IO, folder, GGUF_NO_OFFSET, "cannot make the folder: %s",
                     strerror(why));
}

static gguf_code name_folder(const char *part, const char *output, gguf_error *err) {
    if (rename(part, output) == 0) return GGUF_OK;
    return gguf_fail(err, GGUF_E_IO, output, GGUF_NO_OFFSET, "cannot be given its name: %s",
                     strerror(errno));
}

static gguf_code execute(tool *t, rt_export *export, const char *folder, const write_opts *o,
                         uint64_t *resumed_bytes, gguf_error *err) {
    char path[MAX_PATH_BYTES + 64];
    quant_execute_opts opts = quant_execute_defaults();
    gguf_pool *pool = NULL;
    opts.max_memory_bytes = o->max_memory_bytes;
    opts.resume = o->resume;
    opts.replace = true; /* in a folder of our own */
    opts.resumed_bytes = resumed_bytes;
    opts.cancel = &tool_cancelled;
    opts.progress = tool_progress;
    opts.progress_ctx = t;
    snprintf(path, sizeof path, "%s/%s", folder, WEIGHTS);
    gguf_code code = gguf_pool_new(t->n_threads, &pool, err);
    if (!code) code = quant_execute(rt_export_plan(export), path, pool, &opts, err);
    gguf_pool_free(pool);
    return code;
}

static gguf_code write_folder(tool *t, rt_export *export, const char *output, const write_opts *o,
                              uint64_t *resumed_bytes, gguf_error *err) {
    char part[MAX_PATH_BYTES + 8];
    snprintf(part, sizeof part, "%s.part", output);
    gguf_code code = make_folder(part, o->resume, err);
    if (code) return code;
    code = execute(t, export, part, o, resumed_bytes, err);
    if (!code) code = save_files(export, part, err);
    if (!code) code = name_folder(part, output, err);
    if (code && !o->resume) remove_folder(export, part);
    return code;
}

/* ---- the result -------------------------------------------------------------------------- */

static void print_plan(rt_export *export) {
    const quant_plan *plan = rt_export_plan(export);
    char size[32];
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const gguf_tensor *out = &plan->tensors[i].out;
        printf("%-64s %-5s", out->name.ptr, gguf_type_name(out->type));
        for (uint32_t d = out->n_dims; d-- > 0;)
            printf(" %" PRIu64 "%s", out->dims[d], d ? " x" : "\n");
    }
    printf("%s, %zu tensor%s, %s\n", rt_export_class(export), plan->n_tensors,
           tool_s(plan->n_tensors), tool_size_text(quant_plan_file_bytes(plan), size, sizeof size));
}

static json_t *outputs_of(rt_export *export) {
    const quant_plan *plan = rt_export_plan(export);
    json_t *list = json_array();
    char name[64];
    for (size_t i = 0; i < rt_export_n_files(export); i++)
        json_array_append_new(list, json_string(rt_export_file(export, i)->name));
    for (uint32_t no = 0; no < plan->n_shards; no++)
        if (!quant_shard_path(WEIGHTS, plan->n_shards, no, name, sizeof name, NULL))
            json_array_append_new(list, json_string(name));
    return list;
}

static void print_json(tool *t, rt_export *export, const char *output, const write_opts *o,
                       uint64_t resumed_bytes) {
    const quant_plan *plan = rt_export_plan(export);
    json_t *root = json_object(), *warnings = json_array();
    for (size_t i = 0; i < rt_export_n_warnings(export); i++) {
        const char *text = rt_export_warning(export, i);
        json_array_append_new(warnings, tool_json_bytes(text, strlen(text)));
    }
    json_object_set_new(root, "output",
                        output ? tool_json_bytes(output, strlen(output)) : json_null());
    json_object_set_new(root, "outputs", outputs_of(export));
    json_object_set_new(root, "class", json_string(rt_export_class(export)));
    json_object_set_new(root, "n_tensors", json_integer((json_int_t)plan->n_tensors));
    json_object_set_new(root, "size_bytes", json_integer((json_int_t)quant_plan_file_bytes(plan)));
    json_object_set_new(root, "seconds", tool_json_real(tool_elapsed_s(t)));
    if (o->resume && !o->dry_run)
        json_object_set_new(root, "resumed_bytes", json_integer((json_int_t)resumed_bytes));
    json_object_set_new(root, "warnings", warnings);
    tool_print_json(root);
}

static void report(tool *t, rt_export *export, const char *output, const write_opts *o,
                   uint64_t resumed_bytes) {
    const quant_plan *plan = rt_export_plan(export);
    char size[32];
    if (t->json)
        print_json(t, export, output, o, resumed_bytes);
    else if (o->dry_run)
        print_plan(export);
    else
        tool_note(t, "%s: %s, %zu tensor%s, %s, %.1f s", output, rt_export_class(export),
                  plan->n_tensors, tool_s(plan->n_tensors),
                  tool_size_text(quant_plan_file_bytes(plan), size, sizeof size),
                  tool_elapsed_s(t));
}

gguf_code to_folder(tool *t, const char *path, const char *output, const char *arch_file,
                    const write_opts *o, gguf_error *err) {
    rt_export_opts opts = {.arch_file = arch_file,
                           .max_file_bytes = o->split.max_bytes ? o->split.max_bytes : USUAL_FILE};
    rt_export *export = NULL;
    char folder[MAX_PATH_BYTES] = "";
    uint64_t resumed_bytes = 0;
    if (output) trim(output, folder);
    gguf_code code = choose_type(o, &opts.type, err);
    if (!code && !o->dry_run) code = check_output(folder, err);
    if (!code) code = rt_export_open(path, &opts, &export, err);
    for (size_t i = 0; !code && i < rt_export_n_warnings(export); i++)
        tool_warn(t, "%s", rt_export_warning(export, i));
    if (!code && !o->dry_run) code = write_folder(t, export, folder, o, &resumed_bytes, err);
    if (!code) report(t, export, output ? folder : NULL, o, resumed_bytes);
    rt_export_close(export);
    return code;
}
