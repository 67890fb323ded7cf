/* Metrics in the text format of Prometheus, version 0.0.4. */
#include "tools/serve/metrics.h"

#include "tools/serve/http.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ROUTES 64

static const int statuses[] = {200, 204, 400, 401, 403, 404, 405, 413, 429, 500, 503, 529};
#define N_STATUSES (sizeof statuses / sizeof statuses[0])

struct metrics {
    server *s;
    atomic_ullong counts[MAX_ROUTES + 1][N_STATUSES + 1]; /* the last ones: any other */
};

gguf_code metrics_new(server *s, metrics **out, gguf_error *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) return gguf_fail_memory(err);
    (*out)->s = s;
    return GGUF_OK;
}

void metrics_free(metrics *m) {
    free(m);
}

/* ---- requests ---------------------------------------------------------------------------- */

static size_t status_index(int status) {
    size_t i = 0;
    while (i < N_STATUSES && statuses[i] != status) i++;
    return i;
}

/* One line, whatever the bytes; the caller's. */
static char *line_of(const gguf_dynbuf *bytes) {
    size_t room = 4 * bytes->len + 6;
    char *out = malloc(room);
    return out ? tool_escape((const char *)bytes->data, bytes->len, out, room) : NULL;
}

static void add_text(json_t *line, const char *name, const gguf_dynbuf *bytes) {
    json_t *text = json_stringn(bytes->len ? (const char *)bytes->data : "", bytes->len);
    char *escaped = text ? NULL : line_of(bytes); /* no UTF-8 */
    json_object_set_new(line, name, text ? text : escaped ? json_string(escaped) : json_null());
    free(escaped);
}

static void print_text(char sign, const gguf_dynbuf *bytes) {
    char *text = line_of(bytes);
    fprintf(stderr, "%c %s\n", sign, text ? text : "(out of memory)");
    free(text);
}

/* The exchange is closed. The engine may still write what nobody reads. */
static void log_exchange(const server *s, exchange *x) {
    char when[40];
    double seconds = tool_now_s() - x->started_s;
    if (s->t->quiet) return;
    server_time_text(time(NULL), 0, when, sizeof when);
    if (s->settings->log_json || s->t->log_json) {
        json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:i, s:f, s:s}", "time", when, "request",
                                 x->request_id, "method", x->method, "path", x->path, "status",
                                 x->status, "seconds", seconds, "peer", x->peer);
        pthread_mutex_lock(&x->lock);
        if (line && exchange_logs_text(x)) {
            add_text(line, "body", &x->body);
            add_text(line, "answer", &x->said);
        }
        pthread_mutex_unlock(&x->lock);
        char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
        if (text) fprintf(stderr, "%s\n", text);
        free(text);
        json_decref(line);
        return;
    }
    char path[3 * sizeof x->path];
    fprintf(stderr, "%s %s %s %d %.3f s %s\n", when, x->method,
            tool_escape(x->path, strlen(x->path), path, sizeof path), x->status, seconds,
            x->request_id);
    if (!exchange_logs_text(x)) return;
    pthread_mutex_lock(&x->lock);
    print_text('>', &x->body);
    print_text('<', &x->said);
    pthread_mutex_unlock(&x->lock);
}

void metrics_count(metrics *m, exchange *x) {
    size_t which = x->route ? (size_t)(x->route - serve_routes) : MAX_ROUTES;
    if (which > MAX_ROUTES) which = MAX_ROUTES;
    atomic_fetch_add(&m->counts[which][status_index(x->status)], 1);
    log_exchange(m->s, x);
}

/* ---- the text ---------------------------------------------------------------------------- */

static void line(gguf_dynbuf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line(gguf_dynbuf *out, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    gguf_dynbuf_put_text(out, text);
    gguf_dynbuf_put_text(out, "\n");
}

static void head(gguf_dynbuf *out, const char *name, const char *type, const char *help) {
    line(out, "# HELP ggufkit_%s %s", name, help);
    line(out, "# TYPE ggufkit_%s %s", name, type);
}

/* Under the name that llama-server has for it. */
static void other_name(gguf_dynbuf *out, const char *name, const char *type, const char *help,
                       double value) {
    line(out, "# HELP llamacpp:%s %s", name, help);
    line(out, "# TYPE llamacpp:%s %s", name, type);
    line(out, "llamacpp:%s %.17g", name, value);
}

static void number(gguf_dynbuf *out, const char *name, const char *type, const char *help,
                   double value) {
    head(out, name, type, help);
    line(out, "ggufkit_%s %.17g", name, value);
}

static void histogram(gguf_dynbuf *out, const char *name, const char *help, const double *bounds,
                      const rt_serve_histogram *h) {
    uint64_t n = 0;
    head(out, name, "histogram", help);
    for (size_t i = 0; i < RT_SERVE_N_BUCKETS; i++) {
        n += h->counts[i];
        line(out, "ggufkit_%s_bucket{le=\"%g\"} %" PRIu64, name, bounds[i], n);
    }
    line(out, "ggufkit_%s_bucket{le=\"+Inf\"} %" PRIu64, name, h->n);
    line(out, "ggufkit_%s_sum %.9g", name, h->sum);
    line(out, "ggufkit_%s_count %" PRIu64, name, h->n);
}

static void put_requests(const metrics *m, gguf_dynbuf *out) {
    head(out, "requests_total", "counter", "Requests that were answered, by path and status.");
    for (size_t r = 0; r <= MAX_ROUTES; r++)
        for (size_t i = 0; i <= N_STATUSES; i++) {
            unsigned long long n = atomic_load(&m->counts[r][i]);
            char status[16] = "other";
            if (n == 0) continue;
            if (i < N_STATUSES) snprintf(status, sizeof status, "%d", statuses[i]);
            line(out, "ggufkit_requests_total{path=\"%s\",status=\"%s\"} %llu",
                 r < MAX_ROUTES ? serve_routes[r].path : "other", status, n);
        }
    head(out, "rejected_total", "counter", "Requests that were refused, by reason.");
    static const struct {
        const char *reason;
        int status;
    } reasons[] = {{"invalid", 400},    {"key", 401},       {"origin_or_host", 403},
                   {"too_large", 413},  {"key_queue", 429}, {"unavailable", 503},
                   {"unavailable", 529}};
    unsigned long long n = 0;
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        for (size_t r = 0; r <= MAX_ROUTES; r++)
            n += atomic_load(&m->counts[r][status_index(reasons[i].status)]);
        if (reasons[i].status == 503) continue; /* counted with the next one */
        line(out, "ggufkit_rejected_total{reason=\"%s\"} %llu", reasons[i].reason, n);
        n = 0;
    }
}

static void put_counters(gguf_dynbuf *out, const rt_serve_stats *s) {
    const struct {
        const char *name, *help;
        double value;
    } counters[] = {
        {"prompt_tokens_total", "Tokens of prompts.", (double)s->n_prompt_tokens},
        {"prompt_tokens_cached_total", "Tokens of prompts that were in the cache.",
         (double)s->n_cached_tokens},
        {"generation_tokens_total", "Tokens that were generated.", (double)s->n_generated_tokens},
        {"preemptions_total", "Requests that gave way and came back.", (double)s->n_preempted},
        {"cancelled_total", "Requests whose client went away.", (double)s->n_cancelled},
        {"spec_drafted_total", "Drafted tokens that were checked.", (double)s->n_drafted},
        {"spec_accepted_total", "Drafted tokens that came true.", (double)s->n_accepted},
        {"steps_total", "Steps of the engine.", (double)s->n_steps},
        {"step_seconds_total", "Time of these steps.", s->step_seconds},
        {"mask_seconds_total", "Of it, for the tokens that grammars admit.", s->mask_seconds},
    };
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
        number(out, counters[i].name, "counter", counters[i].help, counters[i].value);
}

static double resident_bytes(void) {
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2) resident = 0;
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void put_gauges(const server *of, gguf_dynbuf *out, const rt_serve_stats *s) {
    const struct {
        const char *name, *help;
        double value;
    } gauges[] = {
        {"requests_running", "Answers that are being computed.", s->n_running},
        {"requests_waiting", "Answers that wait.", s->n_waiting},
        {"kv_pages_used", "Pages of the cache that hold something.", s->n_pages_used},
        {"kv_pages_total", "Pages of the cache.", s->n_pages},
        {"kv_bytes", "Size of the cache.", (double)of->kv_bytes},
        {"prefix_cache_pages", "Pages that only ended requests hold.", s->n_pages_parked},
    };
    for (size_t i = 0; i < sizeof gauges / sizeof gauges[0]; i++)
        number(out, gauges[i].name, "gauge", gauges[i].help, gauges[i].value);
    gguf_dynbuf_put_text(out, "# HELP process_resident_memory_bytes Resident memory.\n"
                              "# TYPE process_resident_memory_bytes gauge\n");
    line(out, "process_resident_memory_bytes %.0f", resident_bytes());
    gguf_dynbuf_put_text(out, "# HELP process_start_time_seconds Start, in seconds since 1970.\n"
                              "# TYPE process_start_time_seconds gauge\n");
    line(out, "process_start_time_seconds %lld", (long long)of->started);
}

static double per(double a, double b) {
    return b > 0 ? a / b : 0;
}

/* For boards that were made for llama-server. Times are sums over requests, as there. */
static void put_other_names(gguf_dynbuf *out, const rt_serve_stats *s) {
    double n_read = (double)(s->n_prompt_tokens - s->n_cached_tokens);
    double n_made = (double)s->n_generated_tokens;
    double read_s = s->first_token.sum - s->queue.sum, made_s = s->inter_token.sum;
    const struct {
        const char *name, *type, *help;
        double value;
    } all[] = {
        {"prompt_tokens_total", "counter", "Tokens of prompts that were computed.", n_read},
        {"prompt_tokens_cached_total", "counter", "Tokens of prompts that were in the cache.",
         (double)s->n_cached_tokens},
        {"prompt_seconds_total", "counter", "Time of prompts.", read_s > 0 ? read_s : 0},
        {"tokens_predicted_total", "counter", "Tokens that were generated.", n_made},
        {"tokens_predicted_seconds_total", "counter", "Time of these tokens.", made_s},
        {"n_decode_total", "counter", "Steps of the engine.", (double)s->n_steps},
        {"n_busy_slots_per_decode", "gauge", "Tokens of a step.",
         per(s->step_tokens.sum, (double)s->step_tokens.n)},
        {"prompt_tokens_seconds", "gauge", "Tokens of prompts a second.", per(n_read, read_s)},
        {"predicted_tokens_seconds", "gauge", "Generated tokens a second.", per(n_made, made_s)},
        {"requests_processing", "gauge", "Answers that are being computed.", s->n_running},
        {"requests_deferred", "gauge", "Answers that wait.", s->n_waiting},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        other_name(out, all[i].name, all[i].type, all[i].help, all[i].value);
}

void handle_metrics(exchange *x) {
    rt_serve_stats s;
    gguf_dynbuf out;
    gguf_dynbuf_init(&out, 1u << 20);
    rt_serve_stats_get(x->s->engine, &s);
    put_requests(x->s->metrics, &out);
    put_counters(&out, &s);
    put_gauges(x->s, &out, &s);
    histogram(&out, "time_to_first_token_seconds", "From a request to its first token.",
              rt_serve_time_bounds, &s.first_token);
    histogram(&out, "inter_token_seconds", "Between two tokens of an answer.", rt_serve_time_bounds,
              &s.inter_token);
    histogram(&out, "queue_seconds", "Time in the queue.", rt_serve_time_bounds, &s.queue);
    histogram(&out, "request_seconds", "From a request to the end of an answer.",
              rt_serve_time_bounds, &s.request);
    histogram(&out, "step_tokens", "Tokens of a step.", rt_serve_count_bounds, &s.step_tokens);
    put_other_names(&out, &s);
    exchange_reply_bytes(x, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
    gguf_dynbuf_clear(&out);
}

void handle_slots(exchange *x) {
    rt_serve_slot slots[1100];
    json_t *list = json_array();
    size_t n = rt_serve_slots(x->s->engine, slots, sizeof slots / sizeof slots[0]);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            list, json_pack("{s:I, s:i, s:s, s:b, s:i, s:i, s:i, s:i, s:f}", "id",
                            (json_int_t)slots[i].id, "index", (int)slots[i].index, "state",
                            slots[i].running ? "running" : "waiting", "is_processing",
                            slots[i].running, "n_prompt", (int)slots[i].n_prompt, "n_cached",
                            (int)slots[i].n_cached, "n_decoded", (int)slots[i].n_decoded, "n_ctx",
                            (int)slots[i].n_ctx, "seconds", slots[i].seconds));
    exchange_reply(x, 200, list);
}
