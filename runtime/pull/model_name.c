/* Reading names of models. */
#include "runtime/pull/model_name.h"

#include "libgguf/embed.h"
#include "libgguf/ends.h"
#include "libgguf/near.h"
#include "libgguf/yaml.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

extern const gguf_embedded rt_builtin_models[];

/* ---- parts of a name ------------------------------------------------------------------------- */

/* Letters, digits, and dots, dashes and underscores inside: no part can leave its folder. */
static bool is_part(const char *text, size_t n) {
    if (n == 0 || n > 96 || !isalnum((unsigned char)text[0])) return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i])) return false;
    return true;
}

/* What files of a repository are called: anything that can be shown and stays in its folder. */
static bool is_file_part(const char *text, size_t n) {
    if (n == 0 || text[0] == '.' || text[0] == '-') return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f || text[i] == '\\') return false;
    return true;
}

/* A type, or a file of a repository: parts with slashes between; short enough for the name of a
 * file in the store. */
static bool is_file(const char *text, size_t n) {
    for (size_t at = 0; at <= n;) {
        size_t len = 0;
        while (at + len < n && text[at + len] != '/') len++;
        if (!is_file_part(text + at, len)) return false;
        at += len + 1;
    }
    return n < 200;
}

static bool is_host(const char *text, size_t n) {
    if (n == 0 || n > 255) return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr(".-:[]", text[i])) return false;
    return true;
}

static void copy(char *out, size_t room, const char *text, size_t n) {
    snprintf(out, room, "%.*s", (int)n, text);
}

static bool begins(const char *text, const char *with, const char **rest) {
    size_t n = strlen(with);
    if (strncasecmp(text, with, n) != 0) return false;
    *rest = text + n;
    return true;
}

bool rt_host_is_loopback(const char *host, size_t n_host) {
    char name[264], *port;
    copy(name, sizeof name, host, n_host);
    if (strncmp(name, "[::1]", 5) == 0) return true;
    if ((port = strchr(name, ':'))) *port = '\0';
    if (strcasecmp(name, "localhost") == 0) return true;
    if (strncmp(name, "127.", 4) != 0) return false;
    return strspn(name, "0123456789.") == strlen(name);
}

size_t rt_url_host(const char *url, const char **host) {
    if (!begins(url, "https://", host) && !begins(url, "http://", host)) return 0;
    size_t n = strcspn(*host, "/?#");
    return is_host(*host, n) ? n : 0;
}

/* ---- kinds ------------------------------------------------------------------------------------
 */

static gguf_code fail_form(const char *text, const char *form, gguf_error *err) {
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "'%s' is no name of the form %s",
                     text, form);
}

/* ORG/REPO[:TYPE|FILE][@REV] */
static bool read_hf(const char *rest, rt_name *out) {
    const char *slash = strchr(rest, '/');
    size_t n_space = slash ? (size_t)(slash - rest) : 0;
    if (!slash) return false;
    const char *at = strrchr(slash, '@'), *colon = strchr(slash, ':');
    if (at && colon && at > colon && gguf_text_ends(at, ".gguf")) at = NULL; /* of a file's name */
    const char *end = at ? at : rest + strlen(rest);
    if (colon && colon > end) return false;
    const char *model_end = colon ? colon : end;
    size_t n_model = (size_t)(model_end - slash - 1);
    if (!is_part(rest, n_space) || !is_part(slash + 1, n_model)) return false;
    if (colon && !is_file(colon + 1, (size_t)(end - colon - 1))) return false;
    if (at && !is_part(at + 1, strlen(at + 1))) return false;
    *out = (rt_name){.kind = RT_NAME_HF, .host = "huggingface.co"};
    copy(out->space, sizeof out->space, rest, n_space);
    copy(out->model, sizeof out->model, slash + 1, n_model);
    if (colon) copy(out->choice, sizeof out->choice, colon + 1, (size_t)(end - colon - 1));
    if (at && strcmp(at + 1, "main") != 0) copy(out->rev, sizeof out->rev, at + 1, strlen(at + 1));
    return true;
}

/* [HOST/][SPACE/]MODEL[:TAG]; a host is the first of three. */
static bool read_ollama(const char *rest, rt_name *out) {
    const char *last = strrchr(rest, '/'), *model = last ? last + 1 : rest;
    const char *colon = strchr(model, ':');
    size_t n_model = colon ? (size_t)(colon - model) : strlen(model);
    *out = (rt_name){.kind = RT_NAME_OLLAMA,
                     .host = "registry.ollama.ai",
                     .space = "library",
                     .choice = "latest"};
    if (last) {
        const char *space = last;
        while (space > rest && space[-1] != '/') space--;
        if (!is_part(space, (size_t)(last - space))) return false;
        copy(out->space, sizeof out->space, space, (size_t)(last - space));
        if (space > rest) {
            size_t n_host = (size_t)(space - rest - 1);
            if (!is_host(rest, n_host)) return false;
            copy(out->host, sizeof out->host, rest, n_host);
        }
    }
    if (!is_part(model, n_model) || (colon && !is_part(colon + 1, strlen(colon + 1)))) return false;
    copy(out->model, sizeof out->model, model, n_model);
    if (colon) copy(out->choice, sizeof out->choice, colon + 1, strlen(colon + 1));
    return true;
}

/* A page of a repository, or a file of one: /ORG/REPO[/(resolve|blob)/REV/FILE] */
static bool read_hf_url(const char *path, rt_name *out) {
    char text[RT_NAME_ROOM], *part[5] = {0};
    size_t n = 0;
    copy(text, sizeof text, path, strcspn(path, "?#"));
    for (char *at = text; at && n < 5; n++) {
        part[n] = at;
        if (n < 4 && (at = strchr(at, '/'))) *at++ = '\0';
        if (n == 4) at = NULL;
    }
    char name[RT_NAME_ROOM + 8];
    if (n == 2 || (n == 3 && !*part[2])) {
        snprintf(name, sizeof name, "%s/%s", part[0], part[1]);
        return read_hf(name, out);
    }
    bool file = n == 5 && (strcmp(part[2], "resolve") == 0 || strcmp(part[2], "blob") == 0);
    if (!file) return false;
    snprintf(name, sizeof name, "%s/%s:%s@%s", part[0], part[1], part[4], part[3]);
    return read_hf(name, out);
}

static bool read_url(const char *text, rt_name *out) {
    const char *host, *path;
    size_t n_host = rt_url_host(text, &host);
    if (begins(text, "https://huggingface.co/", &path) || begins(text, "https://hf.co/", &path))
        if (read_hf_url(path, out)) return true;
    if (!n_host || strlen(text) >= sizeof out->url) return false;
    *out = (rt_name){.kind = RT_NAME_URL, .space = "-"};
    copy(out->host, sizeof out->host, host, n_host);
    snprintf(out->url, sizeof out->url, "%s", text);
    size_t n_url = strcspn(text, "?#");
    const char *base = host + n_host;
    for (const char *at = base; at < text + n_url; at++)
        if (*at == '/') base = at + 1;
    size_t n_base = (size_t)(text + n_url - base);
    if (!gguf_str_ends((gguf_str){base, n_base}, ".gguf") || !is_part(base, n_base)) return false;
    copy(out->model, sizeof out->model, base, n_base - 5);
    return true;
}

/* Words that end as files do, or begin as paths do. */
static bool looks_like_path(const char *text) {
    static const char *const endings[] = {".gguf", ".safetensors", ".json", ".bin", ".part"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0] && !strchr(text, ':'); i++)
        if (gguf_text_ends(text, endings[i])) return true;
    return !*text || strchr("./~-", *text) || gguf_text_ends(text, "/");
}

/* FOLDER/NAME of a folder that is here: a file is meant, and nobody is asked for a repository. */
static bool is_in_folder(const char *text) {
    char folder[104];
    const char *slash = strchr(text, '/');
    struct stat st;
    if (!slash || (size_t)(slash - text) >= sizeof folder) return false;
    copy(folder, sizeof folder, text, (size_t)(slash - text));
    return stat(folder, &st) == 0;
}

/* MODEL[:TAG] */
static bool read_bare(const char *text, rt_name *out) {
    const char *colon = strchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : strlen(text);
    if (!is_part(text, n) || (colon && !is_part(colon + 1, strlen(colon + 1)))) return false;
    *out = (rt_name){.kind = RT_NAME_BARE};
    copy(out->model, sizeof out->model, text, n);
    if (colon) copy(out->choice, sizeof out->choice, colon + 1, strlen(colon + 1));
    return true;
}

gguf_code rt_name_parse(const char *text, rt_name *out, gguf_error *err) {
    const char *rest;
    *out = (rt_name){.kind = RT_NAME_PATH};
    if (access(text, F_OK) == 0) return GGUF_OK;
    if (begins(text, "hf://", &rest) || begins(text, "hf.co/", &rest) ||
        begins(text, "huggingface.co/", &rest))
        return read_hf(rest, out) ? GGUF_OK
                                  : fail_form(text, "hf://ORG/REPO[:TYPE|FILE][@REV]", err);
    if (begins(text, "ollama://", &rest))
        return read_ollama(rest, out) ? GGUF_OK
                                      : fail_form(text, "ollama://[SPACE/]MODEL[:TAG]", err);
    if (begins(text, "https://", &rest) || begins(text, "http://", &rest))
        return read_url(text, out) ? GGUF_OK : fail_form(text, "https://HOST/PATH/FILE.gguf", err);
    if (strstr(text, "://")) return fail_form(text, "hf://, ollama:// or https://", err);
    if (looks_like_path(text) || is_in_folder(text) || read_bare(text, out) || read_hf(text, out))
        return GGUF_OK;
    *out = (rt_name){.kind = RT_NAME_PATH};
    return GGUF_OK;
}

bool rt_name_is_remote(const char *text) {
    rt_name name, entry;
    if (rt_name_parse(text, &name, NULL)) return false;
    if (name.kind == RT_NAME_BARE) return rt_name_builtin(&name, &entry);
    return name.kind != RT_NAME_PATH;
}

const char *rt_name_text(const rt_name *name, char *out, size_t room) {
    const char *colon = name->choice[0] ? ":" : "", *at = name->rev[0] ? "@" : "";
    switch (name->kind) {
    case RT_NAME_HF:
        snprintf(out, room, "hf://%s/%s%s%s%s%s", name->space, name->model, colon, name->choice, at,
                 name->rev);
        break;
    case RT_NAME_OLLAMA: {
        bool other = strcmp(name->host, "registry.ollama.ai") != 0;
        bool spaced = other || strcmp(name->space, "library") != 0;
        snprintf(out, room, "ollama://%s%s%s%s%s:%s", other ? name->host : "", other ? "/" : "",
                 spaced ? name->space : "", spaced ? "/" : "", name->model, name->choice);
        break;
    }
    case RT_NAME_URL:
        snprintf(out, room, "%s", name->url);
        break;
    case RT_NAME_BARE:
    case RT_NAME_PATH:
        snprintf(out, room, "%s%s%s", name->model, colon, name->choice);
        break;
    }
    return out;
}

/* ---- configs/models.yaml ----------------------------------------------------------------------
 */

static const gguf_yaml_field entry_fields[] = {{"name", .form = GGUF_YAML_TEXT, .needed = true},
                                               {"model", .form = GGUF_YAML_TEXT, .needed = true},
                                               {"source", .form = GGUF_YAML_TEXT, .needed = true},
                                               {0}};
static const gguf_yaml_field shape_fields[] = {{"name", .form = GGUF_YAML_TEXT, .needed = true},
                                               {"type", .form = GGUF_YAML_TEXT},
                                               {"source", .form = GGUF_YAML_TEXT, .needed = true},
                                               {"config", .form = GGUF_YAML_TEXT, .needed = true},
                                               {0}};
static const gguf_yaml_field file_fields[] = {{"models", .form = GGUF_YAML_RECORDS, .needed = true,
                                               .fields = entry_fields, .what = "a model"},
                                              {"shapes", .form = GGUF_YAML_RECORDS, .needed = true,
                                               .fields = shape_fields, .what = "a shape"},
                                              {0}};

static gguf_code open_names(gguf_yaml_doc **doc, gguf_error *err) {
    const gguf_embedded *file = rt_builtin_models;
    gguf_code code = gguf_yaml_parse(file->text, file->n_bytes, "configs/models.yaml", doc, err);
    if (code) return code;
    code = gguf_yaml_check(*doc, gguf_yaml_root(*doc), file_fields, "the file", err);
    if (code) gguf_yaml_free(*doc);
    return code;
}

gguf_code rt_names_builtin(void (*on_name)(void *ctx, const char *name, const char *model),
                           void *ctx, gguf_error *err) {
    gguf_yaml_doc *doc;
    gguf_code code = open_names(&doc, err);
    if (code) return code;
    const gguf_yaml *list = gguf_yaml_get(gguf_yaml_root(doc), "models");
    for (const gguf_yaml *m = list->first; m; m = m->next)
        on_name(ctx, gguf_yaml_text(m, "name", ""), gguf_yaml_text(m, "model", ""));
    gguf_yaml_free(doc);
    return GGUF_OK;
}

gguf_code rt_shapes_builtin(gguf_code (*on_shape)(void *ctx, const rt_shape *shape,
                                                  gguf_error *err),
                            void *ctx, gguf_error *err) {
    gguf_yaml_doc *doc;
    gguf_code code = open_names(&doc, err);
    if (code) return code;
    const gguf_yaml *list = gguf_yaml_get(gguf_yaml_root(doc), "shapes");
    for (const gguf_yaml *m = list->first; m && !code; m = m->next) {
        const rt_shape shape = {.name = gguf_yaml_text(m, "name", ""),
                                .type = gguf_yaml_text(m, "type", NULL),
                                .source = gguf_yaml_text(m, "source", ""),
                                .config = gguf_yaml_text(m, "config", "")};
        code = on_shape(ctx, &shape, err);
    }
    gguf_yaml_free(doc);
    return code;
}

typedef struct lookup {
    const char *wanted;
    char model[RT_NAME_ROOM];
    char hint[160];
    char names[64][64]; /* the hint's words */
    size_t n_names;
} lookup;

static void compare_entry(void *ctx, const char *name, const char *model) {
    lookup *l = ctx;
    if (strcasecmp(name, l->wanted) == 0) snprintf(l->model, sizeof l->model, "%s", model);
    if (l->n_names < 64) snprintf(l->names[l->n_names++], sizeof l->names[0], "%s", name);
}

/* NAME:TAG may be an entry of its own; otherwise the tag is a type of NAME's repository. */
bool rt_name_builtin(const rt_name *bare, rt_name *out) {
    char full[RT_NAME_ROOM];
    lookup l = {.wanted = rt_name_text(bare, full, sizeof full)};
    if (rt_names_builtin(compare_entry, &l, NULL)) return false;
    bool whole = l.model[0];
    l.wanted = bare->model;
    if (!whole) rt_names_builtin(compare_entry, &l, NULL);
    if (!l.model[0] || rt_name_parse(l.model, out, NULL)) return false;
    if (!whole && bare->choice[0]) memcpy(out->choice, bare->choice, sizeof out->choice);
    return true;
}

const char *rt_name_hint(const char *bare, char *out, size_t room) {
    lookup l = {.wanted = ""};
    gguf_near near = {.wanted = bare};
    rt_names_builtin(compare_entry, &l, NULL);
    for (size_t i = 0; i < l.n_names; i++) gguf_near_add(&near, l.names[i]);
    return gguf_near_hint(&near, out, room);
}
