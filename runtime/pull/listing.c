/* Choosing among the files of a repository. */
#include "runtime/pull/listing.h"

#include "libgguf/ends.h"
#include "libgguf/near.h"
#include "libgguf/split.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_FILES 100000u

void rt_listing_clear(rt_listing *l) {
    for (size_t i = 0; i < l->n; i++) {
        free(l->files[i].path);
        free(l->files[i].url);
        free(l->files[i].at);
    }
    for (size_t i = 0; i < l->n_notes; i++) free(l->notes[i]);
    free(l->files);
    free(l->bearer);
    *l = (rt_listing){0};
}

void rt_listing_note(rt_listing *l, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (size_t i = 0; i < l->n_notes; i++)
        if (strcmp(l->notes[i], text) == 0) return;
    char *kept = l->n_notes < sizeof l->notes / sizeof l->notes[0] ? strdup(text) : NULL;
    if (kept) l->notes[l->n_notes++] = kept;
}

bool rt_is_sha256(const char *text) {
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

/* Relative, and of parts that are no dots and have no control characters. */
static bool is_safe(const char *path) {
    if (!*path || strlen(path) > 255) return false;
    for (const char *part = path;; part++) {
        size_t n = strcspn(part, "/");
        if (n == 0 || *part == '.' || *part == '-') return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)part[i] < ' ' || part[i] == '\\' || part[i] == 127) return false;
        part += n;
        if (!*part) return true;
    }
}

gguf_code rt_listing_add(rt_listing *l, const char *path, const char *url, const char *sha256,
                         uint64_t n_bytes, const char *at, gguf_error *err) {
    if (!is_safe(path)) {
        if (*path != '.') rt_listing_note(l, "the file '%.200s' is passed over: its name", path);
        return GGUF_OK;
    }
    if (l->n == MAX_FILES)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "more than %u files", MAX_FILES);
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 16;
        rt_hub_file *grown = realloc(l->files, room * sizeof *grown);
        if (!grown) return gguf_fail_memory(err);
        l->files = grown;
        l->room = room;
    }
    rt_hub_file *f = &l->files[l->n++];
    *f = (rt_hub_file){.path = strdup(path),
                       .url = url ? strdup(url) : NULL,
                       .n_bytes = n_bytes,
                       .at = at ? strdup(at) : NULL};
    if (sha256) snprintf(f->sha256, sizeof f->sha256, "%s", sha256);
    return f->path && !f->url == !url && !f->at == !at ? GGUF_OK : gguf_fail_memory(err);
}

/* A copy of one of a listing's files under another name. */
static gguf_code add_copy(rt_listing *out, const rt_hub_file *f, const char *path,
                          gguf_error *err) {
    gguf_code code = rt_listing_add(out, path, f->url, f->sha256, f->n_bytes, f->at, err);
    if (!code && out->n) out->files[out->n - 1].foreign = f->foreign;
    return code;
}

static gguf_code copy_facts(const rt_listing *l, rt_listing *out, gguf_error *err) {
    memcpy(out->revision, l->revision, sizeof out->revision);
    if (l->bearer && !(out->bearer = strdup(l->bearer))) return gguf_fail_memory(err);
    return GGUF_OK;
}

/* ---- types by names ---------------------------------------------------------------------------
 */

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_type_word(const char *word) {
    static const char *const whole[] = {"F16", "F32", "BF16", "FP16", "FP32"};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        if (strcasecmp(word, whole[i]) == 0) return true;
    if (strncasecmp(word, "MXFP4", 5) == 0 || strncasecmp(word, "NVFP4", 5) == 0) return true;
    if (strchr("iItT", *word)) word++;
    return toupper((unsigned char)*word) == 'Q' && isdigit((unsigned char)word[1]);
}

/* MODEL-Q4_K_M.gguf, MODEL.Q4_K_M-00001-of-00002.gguf, MODEL-UD-Q4_K_XL.gguf */
static void type_of_name(const char *path, char out[72]) {
    char stem[260];
    snprintf(stem, sizeof stem, "%s", base_of(path));
    size_t n = gguf_shard_count(stem) ? strlen(stem) - strlen("-00001-of-00001.gguf")
                                      : strlen(stem) - strlen(".gguf");
    stem[n] = '\0';
    char *word = stem + n;
    while (word > stem && !strchr("-.", word[-1])) word--;
    *out = '\0';
    if (!is_type_word(word)) return;
    if (word - stem > 3 && strncasecmp(word - 4, "-UD-", 4) == 0) word -= 3;
    snprintf(out, 72, "%.71s", word);
}

static bool is_wide(const char *type) {
    return strcasecmp(type, "F32") == 0 || strcasecmp(type, "F16") == 0 ||
           strcasecmp(type, "BF16") == 0 || strncasecmp(type, "FP", 2) == 0;
}

/* ---- variants ---------------------------------------------------------------------------------
 */

uint64_t rt_memory_needed(uint64_t n_bytes) {
    return n_bytes + n_bytes / 10 + (UINT64_C(512) << 20);
}

static const rt_hub_file *file_named(const rt_listing *l, const char *path, size_t *at) {
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->files[i].path, path) != 0) continue;
        *at = i;
        return &l->files[i];
    }
    return NULL;
}

/* Parts of other models, and what is no model. */
static bool is_model(const char *path) {
    const char *base = base_of(path);
    return gguf_text_ends(path, ".gguf") && strncasecmp(base, "mmproj", 6) != 0 &&
           !strcasestr(base, "imatrix");
}

/* The first shard, or a file of its own; all shards must be there. */
static bool read_variant(const rt_listing *l, size_t i, rt_variant *v) {
    const char *path = l->files[i].path;
    char sibling[300];
    if (!is_model(path)) return false;
    *v = (rt_variant){.first = i, .n = 1, .n_bytes = l->files[i].n_bytes};
    uint32_t count = gguf_shard_count(path);
    if (!count &&
        fnmatch("*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].gguf", path, 0) == 0)
        return false;
    for (uint32_t no = 1; no < count; no++) {
        size_t at;
        if (!gguf_shard_sibling(path, count, no, sibling, sizeof sibling)) return false;
        const rt_hub_file *f = file_named(l, sibling, &at);
        if (!f) return false;
        v->n_bytes = v->n_bytes == RT_NO_SIZE || f->n_bytes == RT_NO_SIZE ? RT_NO_SIZE
                                                                          : v->n_bytes + f->n_bytes;
        v->n++;
    }
    type_of_name(path, v->type);
    return true;
}

static int larger_first(const void *a, const void *b) {
    const rt_variant *x = a, *y = b;
    if (x->n_bytes != y->n_bytes) return x->n_bytes < y->n_bytes ? 1 : -1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* The largest quantised one that fits, or one of 16 bits, or the smallest. */
static size_t choose_fitting(const rt_variants *v) {
    for (size_t i = 0; i < v->n; i++)
        if (v->list[i].fits && !is_wide(v->list[i].type)) return i;
    for (size_t i = 0; i < v->n; i++)
        if (v->list[i].fits && strcasecmp(v->list[i].type, "F32") != 0) return i;
    return v->n - 1;
}

static gguf_code choose_named(const rt_listing *l, const char *choice, rt_variants *v,
                              gguf_error *err) {
    gguf_near near = {.wanted = choice};
    char hint[200];
    size_t n_found = 0;
    bool file = gguf_text_ends(choice, ".gguf");
    for (size_t i = 0; i < v->n; i++) {
        const char *path = l->files[v->list[i].first].path;
        bool same = file ? strcmp(path, choice) == 0 || strcmp(base_of(path), choice) == 0
                         : strcasecmp(v->list[i].type, choice) == 0;
        if (same) v->chosen = i, n_found++;
        gguf_near_add(&near, file ? path : v->list[i].type);
    }
    if (n_found == 1) return GGUF_OK;
    if (n_found > 1)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "%zu models there are of type %s: name the file, such as ORG/REPO:%s",
                         n_found, choice, l->files[v->list[v->chosen].first].path);
    gguf_near_hint(&near, hint, sizeof hint);
    char all[300] = "";
    size_t at = 0;
    for (size_t i = 0; i < v->n && !*hint && at < sizeof all - 80; i++)
        at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", i ? ", " : "; there are ",
                               file ? l->files[v->list[i].first].path : v->list[i].type);
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "there is no %s '%s'%s%s",
                     file ? "file" : "type", choice, hint, all);
}

gguf_code rt_variants_choose(const rt_listing *l, const char *choice, uint64_t memory_bytes,
                             rt_variants *out, gguf_error *err) {
    *out = (rt_variants){.list = calloc(l->n + 1, sizeof *out->list)};
    if (!out->list) return gguf_fail_memory(err);
    for (size_t i = 0; i < l->n; i++) {
        rt_variant *v = &out->list[out->n];
        if (!read_variant(l, i, v)) continue;
        v->fits = v->n_bytes == RT_NO_SIZE || rt_memory_needed(v->n_bytes) <= memory_bytes;
        out->n++;
    }
    qsort(out->list, out->n, sizeof *out->list, larger_first);
    if (out->n && !*choice) out->chosen = choose_fitting(out);
    gguf_code code = out->n && *choice ? choose_named(l, choice, out, err) : GGUF_OK;
    if (code) {
        free(out->list);
        *out = (rt_variants){0};
    }
    return code;
}

gguf_code rt_variant_files(const rt_listing *l, const rt_variant *v, rt_listing *out,
                           gguf_error *err) {
    gguf_code code = copy_facts(l, out, err);
    for (uint32_t no = 0; no < v->n && !code; no++) {
        size_t at = v->first;
        char sibling[300];
        if (no && gguf_shard_sibling(l->files[v->first].path, v->n, no, sibling, sizeof sibling))
            file_named(l, sibling, &at);
        code = add_copy(out, &l->files[at], base_of(l->files[at].path), err);
    }
    return code;
}

/* ---- sources ----------------------------------------------------------------------------------
 */

static bool has(const rt_listing *l, const char *pattern) {
    for (size_t i = 0; i < l->n; i++)
        if (fnmatch(pattern, l->files[i].path, FNM_PATHNAME) == 0) return true;
    return false;
}

/* Weights under the usual names; any others only where there are none. */
static const char *weights_pattern(const rt_listing *l) {
    static const char *const patterns[] = {"model*.safetensors", "*.safetensors",
                                           "pytorch_model*.bin"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        if (has(l, patterns[i])) return patterns[i];
    return NULL;
}

gguf_code rt_listing_sources(const rt_listing *l, rt_listing *out, uint64_t *weights_bytes,
                             gguf_error *err) {
    static const char *const others[] = {"*.json",     "*.jinja",
                                         "*.model",    "*.txt",
                                         "*.tiktoken", "additional_chat_templates/*",
                                         "README.md",  "1_Pooling/config.json"};
    const char *weights = weights_pattern(l);
    gguf_code code = copy_facts(l, out, err);
    *weights_bytes = 0;
    for (size_t i = 0; i < l->n && !code; i++) {
        const rt_hub_file *f = &l->files[i];
        bool wanted = weights && fnmatch(weights, f->path, FNM_PATHNAME) == 0;
        if (wanted) *weights_bytes += f->n_bytes == RT_NO_SIZE ? 0 : f->n_bytes;
        for (size_t k = 0; k < sizeof others / sizeof others[0]; k++)
            wanted |= fnmatch(others[k], f->path, FNM_PATHNAME) == 0;
        if (wanted) code = add_copy(out, f, f->path, err);
    }
    return code;
}
