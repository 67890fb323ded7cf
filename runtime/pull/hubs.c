/* Asking hubs. */
#include "runtime/pull/hubs.h"

#include "libgguf/ends.h"
#include "libgguf/json.h"
#include "libgguf/split.h"
#include "runtime/pull/model_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_ANSWER_BYTES (64u << 20)
#define MODEL_LAYER      "application/vnd.ollama.image.model"

/* Everything but unreserved characters and slashes as %XX. */
static void encode(const char *text, char *out, size_t room) {
    size_t at = 0;
    for (; *text && at + 4 < room; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     strchr("-._~/", c);
        at += (size_t)snprintf(out + at, room - at, plain ? "%c" : "%%%02X", c);
    }
    out[at] = '\0';
}

static const char *text_in(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* ---- Hugging Face -----------------------------------------------------------------------------
 */

static void endpoint(char *out, size_t room) {
    const char *own = getenv("HF_ENDPOINT");
    snprintf(out, room, "%s", own && *own ? own : "https://huggingface.co");
    for (size_t n = strlen(out); n && out[n - 1] == '/'; n--) out[n - 1] = '\0';
}

static gguf_code fail_hf(const rt_name *name, const rt_http_head *head, const char *host,
                         const char *url, bool has_token, gguf_error *err) {
    const char *rev = name->rev[0] ? name->rev : "main";
    if (strcasecmp(head->error_code, "GatedRepo") == 0)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                         "access to %s/%s has to be granted: accept its terms at %s/%s/%s, then "
                         "%s",
                         name->space, name->model, host, name->space, name->model,
                         has_token ? "try again" : "set HF_TOKEN to a token of yours");
    if (strcasecmp(head->error_code, "RevisionNotFound") == 0)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "%s/%s has no revision '%s' at %s",
                         name->space, name->model, rev, host);
    if (head->status == 401 || head->status == 404)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                         "there is no %s/%s at %s, or it is private%s", name->space, name->model,
                         host,
                         has_token ? " and HF_TOKEN has no access" : " (HF_TOKEN gives access)");
    return rt_http_fail_status(head, url, err);
}

static gguf_code read_siblings(const json_t *root, const char *host, const rt_name *name,
                               rt_listing *out, gguf_error *err) {
    const json_t *files = json_object_get(root, "siblings"), *f;
    const char *commit = text_in(root, "sha");
    gguf_code code = GGUF_OK;
    size_t i;
    if (!json_is_array(files) || !*commit || strlen(commit) > 64 ||
        strspn(commit, "0123456789abcdef") != strlen(commit))
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "%s: the answer has no commit or no files", host);
    snprintf(out->revision, sizeof out->revision, "%s", commit);
    json_array_foreach(files, i, f) {
        char path[1024], url[RT_NAME_ROOM + 1200];
        const json_t *lfs = json_object_get(f, "lfs");
        const char *sha256 = text_in(lfs, "sha256");
        uint64_t size = RT_NO_SIZE;
        if (!gguf_json_u64(json_object_get(lfs, "size"), &size))
            gguf_json_u64(json_object_get(f, "size"), &size);
        encode(text_in(f, "rfilename"), path, sizeof path);
        snprintf(url, sizeof url, "%s/%s/%s/resolve/%s/%s", host, name->space, name->model, commit,
                 path);
        code = rt_listing_add(out, text_in(f, "rfilename"), url,
                              rt_is_sha256(sha256) ? sha256 : NULL, size, NULL, err);
        if (code) break;
    }
    return code;
}

gguf_code rt_hf_list(const rt_http *http, const rt_name *name, rt_listing *out, gguf_error *err) {
    char host[512], url[1200], *text, *token = rt_hf_token();
    rt_http_head head;
    size_t n;
    json_t *root = NULL;
    endpoint(host, sizeof host);
    snprintf(url, sizeof url, "%s/api/models/%s/%s/revision/%s?blobs=true", host, name->space,
             name->model, name->rev[0] ? name->rev : "main");
    const rt_http_request request = {.url = url, .bearer = token, .accept = "application/json"};
    gguf_code code = rt_http_get(http, &request, MAX_ANSWER_BYTES, &text, &n, &head, err);
    if (!code && head.status != 200) code = fail_hf(name, &head, host, url, token != NULL, err);
    if (!code) code = gguf_json_parse(text, n, GGUF_JSON_WIDE_INTS, url, 0, &root, err);
    if (!code) code = read_siblings(root, host, name, out, err);
    json_decref(root);
    free(text);
    out->bearer = token;
    return code;
}

/* ---- registries -------------------------------------------------------------------------------
 */

static gguf_code read_layer(const rt_name *name, const json_t *layer, const char *file,
                            rt_listing *out, gguf_error *err) {
    const char *media = text_in(layer, "mediaType"), *digest = text_in(layer, "digest");
    char path[600];
    uint64_t size = 0;
    if (strncmp(digest, "sha256:", 7) != 0 || !rt_is_sha256(digest + 7) ||
        !gguf_json_u64(json_object_get(layer, "size"), &size))
        return gguf_fail(err, GGUF_E_FORMAT, file, GGUF_NO_OFFSET,
                         "a layer of the manifest has no size or digest: '%.100s'", digest);
    if (strcmp(media, MODEL_LAYER) == 0) {
        if (out->n)
            return gguf_fail(err, GGUF_E_UNSUPPORTED, file, GGUF_NO_OFFSET,
                             "a model of several files");
        snprintf(path, sizeof path, "%s-%s.gguf", name->model, name->choice);
        snprintf(out->revision, sizeof out->revision, "%s", digest);
        return rt_listing_add(out, path, NULL, digest + 7, size, NULL, err);
    }
    if (gguf_text_ends(media, ".tensor"))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, file, GGUF_NO_OFFSET,
                         "the model is stored as single tensors, not as a GGUF file");
    if (gguf_text_ends(media, ".adapter"))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, file, GGUF_NO_OFFSET,
                         "the model is an adapter on another one");
    if (gguf_text_ends(media, ".projector"))
        rt_listing_note(out, "the part for pictures is not fetched: it is not used here");
    if (gguf_text_ends(media, ".system") || gguf_text_ends(media, ".params"))
        rt_listing_note(out, "the system message and parameters beside the model are not used");
    return GGUF_OK;
}

gguf_code rt_ollama_manifest(const rt_name *name, const char *text, size_t n, const char *file,
                             rt_listing *out, gguf_error *err) {
    json_t *root = NULL;
    const json_t *layer;
    size_t i;
    gguf_code code = gguf_json_parse(text, n, GGUF_JSON_EXACT_INTS, file, 0, &root, err);
    if (code) return code;
    json_array_foreach(json_object_get(root, "layers"), i, layer) {
        code = read_layer(name, layer, file, out, err);
        if (code) break;
    }
    json_decref(root);
    if (!code && !out->n)
        code =
            gguf_fail(err, GGUF_E_UNSUPPORTED, file, GGUF_NO_OFFSET, "the manifest has no model");
    return code;
}

/* A value of WWW-Authenticate: name="value" */
static bool challenge_part(const char *header, const char *name, char *out, size_t room) {
    char key[32];
    snprintf(key, sizeof key, "%s=\"", name);
    const char *at = strstr(header, key);
    if (!at) return false;
    at += strlen(key);
    size_t n = strcspn(at, "\"");
    if (at[n] != '"' || n >= room) return false;
    snprintf(out, room, "%.*s", (int)n, at);
    return true;
}

/* A token for reading, from the registry's own host. */
static gguf_code registry_token(const rt_http *http, const char *host, const rt_http_head *refused,
                                char **out, gguf_error *err) {
    char realm[400], service[200] = "", scope[200] = "", parts[800], url[1300], *text;
    const char *realm_host;
    rt_http_head head;
    json_t *root = NULL;
    size_t n;
    bool asked = strncasecmp(refused->authenticate, "Bearer ", 7) == 0 &&
                 challenge_part(refused->authenticate, "realm", realm, sizeof realm);
    size_t n_host = asked ? rt_url_host(realm, &realm_host) : 0;
    if (!n_host || n_host != strlen(host) || strncasecmp(realm_host, host, n_host) != 0)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                         "%s wants a login, and names no place of its own for it", host);
    if (challenge_part(refused->authenticate, "service", parts, sizeof parts))
        encode(parts, service, sizeof service);
    if (challenge_part(refused->authenticate, "scope", parts, sizeof parts))
        encode(parts, scope, sizeof scope);
    snprintf(url, sizeof url, "%s%sservice=%s&scope=%s", realm, strchr(realm, '?') ? "&" : "?",
             service, scope);
    const rt_http_request request = {.url = url, .accept = "application/json"};
    gguf_code code = rt_http_get(http, &request, 1u << 20, &text, &n, &head, err);
    if (!code && head.status != 200) code = rt_http_fail_status(&head, url, err);
    if (!code) code = gguf_json_parse(text, n, GGUF_JSON_WIDE_INTS, url, 0, &root, err);
    const char *token = text_in(root, "token");
    if (!*token) token = text_in(root, "access_token");
    if (!code && !*token)
        code = gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET, "%s: there is no token", url);
    if (!code && !(*out = strdup(token))) code = gguf_fail_memory(err);
    json_decref(root);
    free(text);
    return code;
}

gguf_code rt_ollama_list(const rt_http *http, const rt_name *name, rt_listing *out,
                         gguf_error *err) {
    char base[700], url[1200], *text;
    rt_http_head head;
    size_t n;
    bool local = rt_host_is_loopback(name->host, strlen(name->host));
    snprintf(base, sizeof base, "http%s://%s/v2/%s/%s", local ? "" : "s", name->host, name->space,
             name->model);
    snprintf(url, sizeof url, "%s/manifests/%s", base, name->choice);
    rt_http_request request = {.url = url,
                               .accept = "application/vnd.docker.distribution.manifest.v2+json"};
    gguf_code code = rt_http_get(http, &request, MAX_ANSWER_BYTES, &text, &n, &head, err);
    if (!code && head.status == 401) {
        code = registry_token(http, name->host, &head, &out->bearer, err);
        request.bearer = out->bearer;
        if (!code) code = rt_http_get(http, &request, MAX_ANSWER_BYTES, &text, &n, &head, err);
    }
    if (!code && head.status == 404)
        code = gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET, "there is no %s/%s:%s at %s",
                         name->space, name->model, name->choice, name->host);
    else if (!code && head.status != 200)
        code = rt_http_fail_status(&head, url, err);
    if (!code) code = rt_ollama_manifest(name, text, n, url, out, err);
    free(text);
    for (size_t i = 0; i < out->n && !code; i++) {
        snprintf(url, sizeof url, "%s/blobs/sha256:%s", base, out->files[i].sha256);
        out->files[i].url = strdup(url);
        if (!out->files[i].url) code = gguf_fail_memory(err);
    }
    return code;
}

/* ---- addresses --------------------------------------------------------------------------------
 */

gguf_code rt_url_list(const rt_name *name, rt_listing *out, gguf_error *err) {
    char first[RT_NAME_ROOM], url[RT_PATH_ROOM];
    size_t n = strcspn(name->url, "?#");
    snprintf(first, sizeof first, "%.*s", (int)n, name->url);
    uint32_t count = gguf_shard_count(first);
    gguf_code code = GGUF_OK;
    for (uint32_t no = 0; no < (count ? count : 1) && !code; no++) {
        char shard[RT_NAME_ROOM];
        snprintf(shard, sizeof shard, "%s", first);
        if (no && !gguf_shard_sibling(first, count, no, shard, sizeof shard))
            return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET, "the address is too long");
        code = rt_path(url, err, "%s%s", shard, name->url + n);
        if (code) break;
        code = rt_listing_add(out, strrchr(shard, '/') + 1, url, NULL, RT_NO_SIZE, NULL, err);
    }
    return code;
}
