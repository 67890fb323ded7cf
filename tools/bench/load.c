/* A generator of load, on one thread with libcurl's multi interface. */
#include "tools/bench/load.h"

#include "runtime/pull/curl_versions.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A prompt's ids lie behind the first ones, where special tokens are. */
#define FIRST_ID 256u

typedef struct bytes {
    char *data;
    size_t n, room;
} bytes;

static bool bytes_add(bytes *b, const char *data, size_t n) {
    if (b->n + n + 1 > b->room) {
        size_t room = 2 * (b->n + n + 1);
        char *grown = realloc(b->data, room);
        if (!grown) return false;
        b->data = grown;
        b->room = room;
    }
    if (n > 0) memcpy(b->data + b->n, data, n);
    b->n += n;
    b->data[b->n] = 0;
    return true;
}

/* A place for a request in flight. */
typedef struct flight {
    struct load *load;
    CURL *curl;
    load_request *request; /* NULL: the place is free */
    bytes held;            /* of the answer, not yet a whole line */
    char *body;
    double begun_s; /* when it became due */
    double part_s;  /* when the last part came */
    size_t n_parts, n_counted;
    bool ended; /* [DONE] came */
} flight;

typedef struct load {
    tool *t;
    const load_opts *opts;
    load_result *out;
    CURLM *multi;
    struct curl_slist *headers;
    flight *flights; /* [n_users] */
    char url[1024];
    uint64_t random;
    double started_s, next_due_s;
    size_t n_begun, n_ended, gaps_room;
    bool no_memory;
} load;

/* ---- numbers -------------------------------------------------------------------------------- */

/* SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators",
 * 2014). */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Between arrivals of a Poisson process. */
static double next_wait(load *l) {
    double u = (double)(next_random(&l->random) >> 11) * 0x1p-53;
    return -log(1 - u) / l->opts->rate;
}

/* ---- the answer ----------------------------------------------------------------------------- */

static void note_fault(load *l, flight *f, const char *what, size_t n) {
    f->request->failed = true;
    if (!l->out->fault[0])
        snprintf(l->out->fault, sizeof l->out->fault, "%.*s", n < 200 ? (int)n : 200, what);
}

static void add_gap(load *l, double gap) {
    load_result *r = l->out;
    if (r->n_gaps == l->gaps_room) {
        size_t room = l->gaps_room ? 2 * l->gaps_room : 1024;
        double *grown = realloc(r->gaps, room * sizeof *grown);
        if (!grown) {
            l->no_memory = true;
            return;
        }
        r->gaps = grown;
        l->gaps_room = room;
    }
    r->gaps[r->n_gaps++] = gap;
}

static void take_part(load *l, flight *f) {
    double now = tool_now_s();
    if (f->n_parts++ == 0)
        f->request->first_s = now - f->begun_s;
    else
        add_gap(l, now - f->part_s);
    f->part_s = now;
}

static void take_event(load *l, flight *f, const char *text, size_t n) {
    if (n == 6 && memcmp(text, "[DONE]", 6) == 0) {
        f->ended = true;
        return;
    }
    json_t *event = json_loadb(text, n, 0, NULL);
    json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    const char *part = json_string_value(json_object_get(choice, "text"));
    json_t *count = json_object_get(json_object_get(event, "usage"), "completion_tokens");
    if (!event || json_object_get(event, "error")) note_fault(l, f, text, n);
    if (part && *part) take_part(l, f);
    if (json_is_integer(count)) f->n_counted = (size_t)json_integer_value(count);
    json_decref(event);
}

static size_t take_bytes(char *data, size_t size, size_t n, void *ctx) {
    flight *f = ctx;
    bytes *held = &f->held;
    if (!bytes_add(held, data, size * n)) {
        f->load->no_memory = true;
        return 0;
    }
    char *from = held->data, *end;
    while ((end = memchr(from, '\n', held->n - (size_t)(from - held->data))) != NULL) {
        size_t len = (size_t)(end - from);
        if (len > 0 && from[len - 1] == '\r') len--;
        if (len > 6 && memcmp(from, "data: ", 6) == 0) take_event(f->load, f, from + 6, len - 6);
        from = end + 1;
    }
    held->n -= (size_t)(from - held->data);
    memmove(held->data, from, held->n + 1);
    return size * n;
}

/* ---- requests ------------------------------------------------------------------------------- */

static char *body_of(load *l) {
    const load_opts *o = l->opts;
    uint32_t first = o->n_vocab > 2 * FIRST_ID ? FIRST_ID : 0;
    json_t *ids = json_array();
    for (uint32_t i = 0; i < o->n_prompt; i++) {
        uint32_t id = first + (uint32_t)(next_random(&l->random) % (o->n_vocab - first));
        json_array_append_new(ids, json_integer(id));
    }
    json_t *body = json_pack("{s:o, s:i, s:b, s:{s:b}, s:i, s:b}", "prompt", ids, "max_tokens",
                             (int)o->n_tokens, "stream", 1, "stream_options", "include_usage", 1,
                             "temperature", 0, "ignore_eos", 1);
    if (o->model) json_object_set_new(body, "model", json_string(o->model));
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

static CURL *new_curl(const load_opts *o, struct curl_slist *headers, const char *url) {
    CURL *curl = curl_easy_init();
    if (!curl) return NULL;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    rt_curl_set_protocols(curl, false);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
    if (o->api_key) {
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, o->api_key);
    }
    return curl;
}

static bool begin(load *l, flight *f) {
    load_request *r = &l->out->requests[l->n_begun];
    f->body = body_of(l);
    if (!f->body) return false;
    r->due_s = l->next_due_s;
    f->request = r;
    f->begun_s = l->started_s + r->due_s;
    f->n_parts = f->n_counted = f->held.n = 0;
    f->ended = false;
    curl_easy_setopt(f->curl, CURLOPT_POSTFIELDS, f->body);
    curl_easy_setopt(f->curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(f->curl, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(f->curl, CURLOPT_PRIVATE, f);
    l->n_begun++;
    return curl_multi_add_handle(l->multi, f->curl) == CURLM_OK;
}

static void end(load *l, flight *f, CURLcode result) {
    load_request *r = f->request;
    long status = 0;
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    char text[64];
    snprintf(text, sizeof text, "status %ld", status);
    if (result != CURLE_OK)
        note_fault(l, f, curl_easy_strerror(result), 200);
    else if (status != 200)
        note_fault(l, f, f->held.n ? f->held.data : text, f->held.n ? f->held.n : strlen(text));
    else if (!f->ended)
        note_fault(l, f, "the answer ended without [DONE]", 200);
    else if (f->n_parts == 0)
        note_fault(l, f, "an answer without text", 200);
    r->last_s = f->part_s - f->begun_s;
    r->n_generated = f->n_counted ? f->n_counted : f->n_parts;
    if (r->failed) l->out->n_failed++;
    curl_multi_remove_handle(l->multi, f->curl);
    free(f->body);
    f->body = NULL;
    f->request = NULL;
    l->n_ended++;
}

/* Whether the next request is due; one that finds no place waits, and its time runs. */
static bool is_due(load *l) {
    if (l->n_begun == l->opts->n_requests) return false;
    double now = tool_now_s() - l->started_s;
    if (l->opts->rate == 0) l->next_due_s = now;
    return now >= l->next_due_s;
}

static bool begin_due(load *l) {
    for (uint32_t i = 0; i < l->opts->n_users && is_due(l); i++) {
        if (l->flights[i].request) continue;
        if (!begin(l, &l->flights[i])) return false;
        if (l->opts->rate > 0) l->next_due_s += next_wait(l);
    }
    return true;
}

static void end_done(load *l) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(l->multi, &left)) != NULL) {
        char *of_flight;
        if (message->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &of_flight);
        end(l, (flight *)(void *)of_flight, message->data.result);
    }
}

static gguf_code run_all(load *l, gguf_error *err) {
    int running;
    l->started_s = tool_now_s();
    while (l->n_ended < l->opts->n_requests) {
        if (atomic_load(&tool_cancelled))
            return gguf_fail(err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        if (!begin_due(l) || l->no_memory) return gguf_fail_memory(err);
        curl_multi_perform(l->multi, &running);
        end_done(l);
        tool_progress_share(l->t, "requests", (double)l->n_ended / l->opts->n_requests,
                            l->started_s);
        if (l->n_ended < l->n_begun || l->opts->rate > 0)
            curl_multi_poll(l->multi, NULL, 0, l->opts->rate > 0 ? 2 : 100, NULL);
    }
    l->out->wall_s = tool_now_s() - l->started_s;
    return GGUF_OK;
}

static void count_good(const load_opts *o, load_result *r) {
    for (size_t i = 0; i < r->n; i++) {
        const load_request *q = &r->requests[i];
        double itl =
            q->n_generated > 1 ? (q->last_s - q->first_s) / (double)(q->n_generated - 1) : 0;
        bool in_time = o->ttft_limit_s == 0 || q->first_s <= o->ttft_limit_s;
        r->n_good += !q->failed && in_time && (o->itl_limit_s == 0 || itl <= o->itl_limit_s);
    }
}

static bool prepare(load *l) {
    const load_opts *o = l->opts;
    snprintf(l->url, sizeof l->url, "%s/v1/completions", o->url);
    l->multi = curl_multi_init();
    l->headers = curl_slist_append(NULL, "Content-Type: application/json");
    l->flights = calloc(o->n_users, sizeof *l->flights);
    l->out->requests = calloc(o->n_requests, sizeof *l->out->requests);
    bool ok = l->multi && l->headers && l->flights && l->out->requests;
    for (uint32_t i = 0; ok && i < o->n_users; i++) {
        l->flights[i] = (flight){.load = l, .curl = new_curl(o, l->headers, l->url)};
        ok = l->flights[i].curl != NULL;
    }
    l->out->n = ok ? o->n_requests : 0;
    return ok;
}

gguf_code load_run(tool *t, const load_opts *opts, load_result *out, gguf_error *err) {
    load l = {.t = t, .opts = opts, .out = out, .random = opts->seed};
    *out = (load_result){0};
    gguf_code code = prepare(&l) ? run_all(&l, err) : gguf_fail_memory(err);
    if (!code) count_good(opts, out);
    for (uint32_t i = 0; l.flights && i < opts->n_users; i++) {
        flight *f = &l.flights[i];
        if (f->request) curl_multi_remove_handle(l.multi, f->curl);
        curl_easy_cleanup(f->curl);
        free(f->body);
        free(f->held.data);
    }
    free(l.flights);
    curl_slist_free_all(l.headers);
    curl_multi_cleanup(l.multi);
    return code;
}

void load_clear(load_result *result) {
    free(result->requests);
    free(result->gaps);
}

/* ---- the model ------------------------------------------------------------------------------ */

static size_t keep_bytes(char *data, size_t size, size_t n, void *ctx) {
    return bytes_add(ctx, data, size * n) ? size * n : 0;
}

gguf_code load_ask_model(const load_opts *opts, char **model, uint32_t *n_vocab, gguf_error *err) {
    char url[1024];
    bytes answer = {0};
    long status = 0;
    snprintf(url, sizeof url, "%s/v1/models", opts->url);
    *model = NULL;
    CURL *curl = new_curl(opts, NULL, url);
    if (!curl) return gguf_fail_memory(err);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
    CURLcode result = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    json_t *list = answer.data ? json_loadb(answer.data, answer.n, 0, NULL) : NULL;
    json_t *first = json_array_get(json_object_get(list, "data"), 0);
    const char *id = json_string_value(json_object_get(first, "id"));
    json_t *size = json_object_get(json_object_get(first, "meta"), "n_vocab");
    gguf_code code = GGUF_OK;
    if (result != CURLE_OK)
        code = gguf_fail(err, GGUF_E_IO, opts->url, GGUF_NO_OFFSET, "no server answers: %s",
                         curl_easy_strerror(result));
    else if (!id)
        code = gguf_fail(err, GGUF_E_FORMAT, opts->url, GGUF_NO_OFFSET,
                         "no list of models at /v1/models (status %ld)", status);
    else if ((*model = strdup(id)) == NULL)
        code = gguf_fail_memory(err);
    if (!code && json_integer_value(size) > 0) *n_vocab = (uint32_t)json_integer_value(size);
    json_decref(list);
    free(answer.data);
    return code;
}
