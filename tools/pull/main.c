/* gguf-pull: fetch a model by its name; list, show and remove what was fetched. */
#include "libgguf/inputs.h"
#include "runtime/engine/memory.h"
#include "runtime/pull/pull.h"
#include "tools/common/tool.h"
#include "tools/pull/convert_pulled.h"
#include "tools/pull/store_lists.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_LIST = TOOL_LONG_ONLY,
    OPT_SHOW,
    OPT_RM,
    OPT_IF_MISSING,
    OPT_HEADERS,
    OPT_DRY_RUN,
    OPT_AT_ONCE,
    OPT_TIMEOUT,
    OPT_TRIES
};

static const tool_option options[] = {
    {OPT_LIST, "list", NULL, "list the models that are here, those of other programs too"},
    {OPT_SHOW, "show", NULL, "say what a model consists of and where it lies"},
    {OPT_RM, "rm", NULL, "remove a model from the store"},
    {OPT_IF_MISSING, "if-missing", NULL, "take what is here without asking for a newer one"},
    {OPT_HEADERS, "headers", NULL, "fetch headers or config.json only, as gguf-bench fit does"},
    {OPT_DRY_RUN, "dry-run", NULL, "say what would be fetched"},
    {OPT_AT_ONCE, "at-once", "N", "files fetched at once, up to 16 (4)"},
    {OPT_TIMEOUT, "timeout", "S", "seconds without a byte after which an attempt has failed (30)"},
    {OPT_TRIES, "tries", "N", "attempts that bring nothing before it is given up (6)"},
    {0},
};

typedef struct pull_opts {
    rt_pull_opts pull;
    bool list, show, rm, headers, if_missing;
} pull_opts;

static gguf_code set_option(void *ctx, int id, const char *arg, gguf_error *err) {
    pull_opts *o = ctx;
    uint32_t n = 0;
    gguf_code code;
    switch (id) {
    case OPT_LIST:
        o->list = true;
        break;
    case OPT_SHOW:
        o->show = true;
        break;
    case OPT_RM:
        o->rm = true;
        break;
    case OPT_IF_MISSING:
        o->if_missing = true;
        break;
    case OPT_HEADERS:
        o->headers = true;
        break;
    case OPT_DRY_RUN:
        o->pull.dry_run = true;
        break;
    case OPT_AT_ONCE:
        code = tool_parse_u32("--at-once", arg, 1, 16, &n, err);
        o->pull.n_at_once = n;
        return code;
    case OPT_TIMEOUT:
        return tool_parse_real("--timeout", arg, 1, 86400, &o->pull.http.stall_s, err);
    case OPT_TRIES:
        code = tool_parse_u32("--tries", arg, 1, 1000, &n, err);
        o->pull.http.n_tries = n;
        return code;
    default:
        break;
    }
    return GGUF_OK;
}

/* ---- fetching ---------------------------------------------------------------------------------
 */

static void note(void *ctx, bool warning, const char *text) {
    tool *t = ctx;
    if (warning)
        tool_warn(t, "%s", text);
    else
        tool_note(t, "%s", text);
}

static void print_pulled(tool *t, const rt_pulled *p) {
    json_t *files = json_array();
    char name[RT_NAME_ROOM];
    for (size_t i = 0; i < p->stored.files.n; i++)
        json_array_append_new(files, store_file_json(&p->stored.files.files[i]));
    const char *type = p->stored.type, *revision = p->stored.revision;
    tool_print_json(json_pack(
        "{s:s, s:o, s:o, s:o, s:b, s:I, s:I, s:o, s:o}", "name",
        rt_name_text(&p->stored.name, name, sizeof name), "path",
        p->path[0] ? tool_json_bytes(p->path, strlen(p->path)) : json_null(), "type",
        *type ? json_string(type) : json_null(), "revision",
        *revision ? tool_json_bytes(revision, strlen(revision)) : json_null(), "converted",
        p->stored.converted, "fetched_bytes", (json_int_t)p->fetched_bytes, "needed_bytes",
        (json_int_t)p->needed_bytes, "seconds", tool_json_real(tool_elapsed_s(t)), "files", files));
}

static void print_plan(tool *t, const rt_pulled *p) {
    char name[RT_NAME_ROOM], size[32];
    printf("%s: %s to fetch\n", rt_name_text(&p->stored.name, name, sizeof name),
           tool_size_text(p->needed_bytes, size, sizeof size));
    for (size_t i = 0; i < p->stored.files.n; i++) {
        const rt_hub_file *f = &p->stored.files.files[i];
        printf("  %10s  %s%s\n",
               f->n_bytes == RT_NO_SIZE ? "?" : tool_size_text(f->n_bytes, size, sizeof size),
               f->path, f->at ? "  (is here)" : "");
    }
    (void)t;
}

static bool is_set(const char *name) {
    const char *value = getenv(name);
    return value && *value && strcmp(value, "0") != 0 && strcmp(value, "false") != 0;
}

static gguf_code pull(tool *t, const pull_opts *o, rt_store *store, const rt_name *name,
                      gguf_error *err) {
    rt_pull_opts opts = o->pull;
    rt_pulled pulled;
    if (name->kind == RT_NAME_PATH)
        return gguf_fail(err, GGUF_E_USAGE, t->args[0], GGUF_NO_OFFSET,
                         "this is a path: names are hf://ORG/REPO[:TYPE], ollama://MODEL[:TAG], "
                         "https://HOST/FILE.gguf or a short one of --list");
    opts.mode = o->headers ? RT_PULL_HEADERS : o->if_missing ? RT_PULL_IF_MISSING : RT_PULL_LATEST;
    opts.offline = is_set("HF_HUB_OFFLINE");
    opts.again = t->force;
    opts.memory_bytes = rt_available_bytes("");
    opts.http.cancel = &tool_cancelled;
    opts.note = note;
    opts.progress = tool_progress;
    opts.convert = convert_pulled;
    opts.ctx = t;
    t->started_s = tool_now_s();
    gguf_code code = rt_pull(store, name, &opts, &pulled, err);
    if (!code && t->json)
        print_pulled(t, &pulled);
    else if (!code && opts.dry_run && !pulled.path[0])
        print_plan(t, &pulled);
    else if (!code)
        printf("%s\n", pulled.path);
    rt_pulled_clear(&pulled);
    return code;
}

/* ---- the command ------------------------------------------------------------------------------
 */

static gguf_code check_usage(const tool *t, const pull_opts *o, gguf_error *err) {
    const char *what = NULL;
    if (o->list + o->show + o->rm + (o->headers || o->if_missing) > 1 &&
        (o->list || o->show || o->rm))
        what = "--list, --show and --rm are for themselves";
    else if (o->list && t->n_args)
        what = "--list takes no NAME";
    else if (!o->list && t->n_args != 1)
        return tool_fail_usage(t, "one NAME, such as hf://ORG/REPO or one of --list", err);
    if (what) return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s", what);
    const char *verb = o->list ? "list" : o->show ? "show" : o->rm ? "rm" : NULL;
    return verb ? tool_takes_only(t,
                                  o->list   ? "--list"
                                  : o->show ? "--show"
                                            : "--rm",
                                  verb, err)
                : GGUF_OK;
}

/* Errors name what was asked for. */
static gguf_code with_name(const tool *t, gguf_code code, const gguf_error *why, gguf_error *err) {
    if (!code) return code;
    return gguf_fail(err, code, why->file[0] || t->n_args == 0 ? why->file : t->args[0],
                     why->file[0] ? why->offset : GGUF_NO_OFFSET, "%s", why->message);
}

static gguf_code run(tool *t, void *ctx, gguf_error *err) {
    const pull_opts *o = ctx;
    rt_store store;
    rt_name name = {0};
    gguf_error why = {0};
    gguf_code code = check_usage(t, o, err);
    if (!code) code = rt_store_open(&store, err);
    if (!code && t->n_args) code = rt_name_parse(t->args[0], &name, err);
    if (code) return code;
    if (o->list) return store_list(t, &store, err);
    if (o->show)
        code = store_show(t, &store, &name, &why);
    else if (o->rm)
        code = store_rm(t, &store, &name, &why);
    else
        code = pull(t, o, &store, &name, &why);
    return with_name(t, code, &why, err);
}

int main(int argc, char **argv) {
    pull_opts o = {.pull = rt_pull_defaults()};
    const tool_spec spec = {
        .name = "gguf-pull",
        .usage = "NAME [options]\n--list\n--show NAME\n--rm NAME",
        .summary =
            "Fetch a model by its name and print the path of its file. NAME is "
            "hf://ORG/REPO[:TYPE|FILE][@REVISION], ollama://MODEL[:TAG], https://HOST/FILE.gguf, "
            "or a short name.",
        .options = options,
        .examples = "gemma3-1b\nhf://ggml-org/gemma-3-4b-it-GGUF:Q4_K_M\n"
                    "--list                # what is here, and the short names",
        .set = set_option,
        .run = run,
        .ctx = &o};
    return tool_main(&spec, argc, argv);
}
