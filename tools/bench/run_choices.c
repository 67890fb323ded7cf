/* quality --choices: multiple-choice questions, one JSON object a line. */
#include "libgguf/json.h"
#include "libgguf/map.h"
#include "libgguf/placeholder.h"
#include "runtime/measure/choices.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tools/bench/bench.h"
#include "tools/common/text_tokens.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CHOICES = 64 };

typedef struct question {
    json_t *object; /* owns the texts */
    const char *context;
    const json_t *choices;
    size_t label;
    uint64_t line;
} question;

typedef struct exam {
    const char *path;
    question *questions;
    size_t n;
    rt_tokenizer *tokenizer;
    rt_session *session;
    size_t n_right, n_right_norm;
    gguf_error *err;
} exam;

/* ---- reading ----------------------------------------------------------------------------- */

static const json_t *first_of(const json_t *object, const char *a, const char *b, const char *c) {
    const json_t *value = json_object_get(object, a);
    if (!value) value = json_object_get(object, b);
    return value || !c ? value : json_object_get(object, c);
}

/* A number, or as in HellaSwag a string of digits. */
static bool read_label(const json_t *value, size_t n_choices, size_t *out) {
    uint64_t label;
    if (json_is_string(value)) {
        char *end;
        const char *text = json_string_value(value);
        label = strtoull(text, &end, 10);
        if (!isdigit((unsigned char)text[0]) || *end) return false;
    } else if (!gguf_json_u64(value, &label)) {
        return false;
    }
    *out = (size_t)label;
    return label < n_choices;
}

static gguf_code fail_line(const exam *e, uint64_t line, const char *what) {
    return gguf_fail(e->err, GGUF_E_FORMAT, e->path, GGUF_NO_OFFSET, "line %" PRIu64 ": %s", line,
                     what);
}

/* Not empty, and without NUL, which no text has. */
static bool is_text(const json_t *value) {
    const char *text = json_string_value(value);
    return text && text[0] && strlen(text) == json_string_length(value);
}

static gguf_code fill_question(const exam *e, question *q) {
    const json_t *context = first_of(q->object, "context", "query", "ctx");
    const json_t *label = first_of(q->object, "label", "gold", NULL);
    q->choices = first_of(q->object, "choices", "endings", NULL);
    q->context = json_string_value(context);
    size_t n = json_array_size(q->choices);
    if (!q->context || strlen(q->context) != json_string_length(context))
        return fail_line(e, q->line, "no text \"context\" (or \"query\", \"ctx\")");
    if (n < 2 || n > MAX_CHOICES)
        return fail_line(e, q->line, "\"choices\" (or \"endings\") has to be 2 to 64 texts");
    for (size_t i = 0; i < n; i++)
        if (!is_text(json_array_get(q->choices, i)))
            return fail_line(e, q->line, "a choice is empty or not a text");
    if (!read_label(label, n, &q->label))
        return fail_line(e, q->line, "\"label\" (or \"gold\") is not the number of a choice");
    return GGUF_OK;
}

static gguf_code add_question(exam *e, const char *text, size_t len, int64_t off, uint64_t line) {
    void *grown = realloc(e->questions, (e->n + 1) * sizeof *e->questions);
    if (!grown) return gguf_fail_memory(e->err);
    e->questions = grown;
    question *q = &e->questions[e->n];
    *q = (question){.line = line};
    gguf_code code =
        gguf_json_parse(text, len, GGUF_JSON_WIDE_INTS, e->path, off, &q->object, e->err);
    if (code) return code;
    e->n++;
    return fill_question(e, q);
}

static gguf_code read_questions(exam *e) {
    char *text = NULL;
    size_t n_bytes = 0;
    uint64_t line = 0;
    gguf_code code = gguf_read_text(e->path, &text, &n_bytes, &tool_cancelled, e->err);
    if (!code) code = gguf_placeholder_check(text, n_bytes, GGUF_EXPECTED_CONTENT, e->path, e->err);
    for (size_t at = 0; at < n_bytes && !code;) {
        const char *newline = memchr(text + at, '\n', n_bytes - at);
        size_t len = newline ? (size_t)(newline - text) - at : n_bytes - at;
        line++;
        if (strspn(text + at, " \t\r") < len)
            code = add_question(e, text + at, len, (int64_t)at, line);
        at += len + 1;
    }
    free(text);
    if (!code && !e->n)
        code = gguf_fail(e->err, GGUF_E_FORMAT, e->path, GGUF_NO_OFFSET, "there is no question");
    return code;
}

/* ---- tokens ------------------------------------------------------------------------------ */

/* Context and choice as one text, with a space between unless one of them brings it. */
static char *join(const char *context, const char *choice) {
    size_t n = strlen(context), room = n + strlen(choice) + 2;
    bool space = n && !isspace((unsigned char)context[n - 1]) && !isspace((unsigned char)choice[0]);
    char *text = malloc(room);
    if (text) snprintf(text, room, "%s%s%s", context, space ? " " : "", choice);
    return text;
}

/* The begin token, where the tokenizer adds one, and the text. */
static gguf_code tokenize(const exam *e, const char *text, rt_ids *out) {
    int32_t bos = rt_tokenizer_special(e->tokenizer, RT_SPECIAL_BOS);
    *out = (rt_ids){0};
    if (bos >= 0 && rt_tokenizer_adds_bos(e->tokenizer)) {
        out->data = malloc(sizeof *out->data);
        if (!out->data) return gguf_fail_memory(e->err);
        out->data[0] = bos;
        out->n = out->room = 1;
    }
    return rt_tokenize(e->tokenizer, text, strlen(text), 0, out, e->err);
}

/* The continuation starts where its tokens leave those of the context alone: the end of the context
 * may be part of a longer token. */
static gguf_code tokenize_choice(const exam *e, const question *q, size_t number,
                                 const rt_ids *context, rt_ids *ids, rt_choice *choice) {
    char *text = join(q->context, json_string_value(json_array_get(q->choices, number)));
    size_t same = 0;
    if (!text) return gguf_fail_memory(e->err);
    gguf_code code = tokenize(e, text, ids);
    free(text);
    if (code) return code;
    while (same + 1 < ids->n && same < context->n && ids->data[same] == context->data[same]) same++;
    if (same == 0)
        return fail_line(e, q->line,
                         "nothing is before the choice: no context, and no begin token either");
    *choice = (rt_choice){ids->data, ids->n, same};
    return GGUF_OK;
}

/* ---- scoring ----------------------------------------------------------------------------- */

static size_t n_characters(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += (*text & 0xC0) != 0x80;
    return n;
}

static void mark(exam *e, const question *q, const double *ln_p) {
    size_t best = 0, best_norm = 0, n = json_array_size(q->choices);
    double norm[MAX_CHOICES];
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(q->choices, i));
        norm[i] = ln_p[i] / (double)n_characters(text);
        if (ln_p[i] > ln_p[best]) best = i;
        if (norm[i] > norm[best_norm]) best_norm = i;
    }
    e->n_right += best == q->label;
    e->n_right_norm += best_norm == q->label;
}

/* A session that holds the longest text so far; a longer one makes a new one. */
static gguf_code make_room(exam *e, tool *t, const bench_opts *o, const rt_model *model,
                           const rt_choice *choices, size_t n) {
    size_t longest = 0;
    for (size_t i = 0; i < n; i++) longest = choices[i].n > longest ? choices[i].n : longest;
    if (e->session && rt_session_n_ctx(e->session) >= longest) return GGUF_OK;
    text_warn_context(t, rt_model_hparams(model)->n_ctx_train, longest);
    rt_session_opts opts = rt_session_defaults();
    opts.n_ctx = longest < o->n_ctx ? o->n_ctx : (uint32_t)longest * 2;
    opts.n_seqs = 2;
    opts.kv_type = o->kv_type;
    opts.precision = o->precision;
    opts.n_threads = t->n_threads;
    rt_session_free(e->session);
    e->session = NULL;
    gguf_code code = device_opts_apply(&o->device, model, &opts, NULL, e->err);
    return code ? code : rt_session_new(model, &opts, &e->session, e->err);
}

static gguf_code answer(exam *e, tool *t, const bench_opts *o, const rt_model *model,
                        const question *q) {
    rt_ids context, ids[MAX_CHOICES] = {{0}};
    rt_choice choices[MAX_CHOICES];
    double ln_p[MAX_CHOICES] = {0};
    size_t n = json_array_size(q->choices);
    gguf_code code = tokenize(e, q->context, &context);
    for (size_t i = 0; i < n && !code; i++)
        code = tokenize_choice(e, q, i, &context, &ids[i], &choices[i]);
    if (!code) code = make_room(e, t, o, model, choices, n);
    if (!code) code = rt_choices_score(e->session, choices, n, ln_p, e->err);
    if (!code) mark(e, q, ln_p);
    for (size_t i = 0; i < n; i++) rt_ids_clear(&ids[i]);
    rt_ids_clear(&context);
    return code;
}

static gguf_code answer_all(exam *e, tool *t, const bench_opts *o, const rt_model *model) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < e->n && !code; i++) {
        if (atomic_load(&tool_cancelled))
            return gguf_fail(e->err, GGUF_E_CANCELLED, NULL, GGUF_NO_OFFSET, "interrupted");
        code = answer(e, t, o, model, &e->questions[i]);
        if (code) break;
        char what[32];
        snprintf(what, sizeof what, "%.1f %% right",
                 100.0 * (double)e->n_right_norm / (double)(i + 1));
        tool_show_step(t, &(tool_step){.unit = "questions",
                                       .what = what,
                                       .done = (double)i + 1,
                                       .total = (double)e->n,
                                       .started_s = t->started_s});
    }
    return code;
}

/* ---- output ------------------------------------------------------------------------------ */

/* Of the mean of n zeros and ones, by the sample's deviation. */
static double share_stderr(double share, size_t n) {
    return n > 1 ? sqrt(share * (1 - share) / (double)(n - 1)) : 0;
}

static void report(const exam *e, const tool *t, json_t *json) {
    double plain = (double)e->n_right / (double)e->n, norm = (double)e->n_right_norm / (double)e->n;
    double plain_stderr = share_stderr(plain, e->n), norm_stderr = share_stderr(norm, e->n);
    if (t->json) {
        json_object_set_new(json, "n_questions", json_integer((json_int_t)e->n));
        json_object_set_new(json, "accuracy", tool_json_real(plain));
        json_object_set_new(json, "accuracy_stderr", tool_json_real(plain_stderr));
        json_object_set_new(json, "accuracy_norm", tool_json_real(norm));
        json_object_set_new(json, "accuracy_norm_stderr", tool_json_real(norm_stderr));
        return;
    }
    printf("questions        %zu\n", e->n);
    printf("accuracy         %.2f ± %.2f %%\n", 100 * plain, 100 * plain_stderr);
    printf("per character    %.2f ± %.2f %%\n", 100 * norm, 100 * norm_stderr);
}

gguf_code bench_choices(tool *t, const bench_opts *o, const rt_model *model, json_t *json,
                        gguf_error *err) {
    exam e = {.path = o->choices, .err = err};
    gguf_code code = read_questions(&e);
    if (!code) code = rt_tokenizer_new(gguf_file_meta(rt_model_file(model)), &e.tokenizer, err);
    if (!code) code = answer_all(&e, t, o, model);
    if (!code) report(&e, t, json);
    for (size_t i = 0; i < e.n; i++) json_decref(e.questions[i].object);
    free(e.questions);
    rt_session_free(e.session);
    rt_tokenizer_free(e.tokenizer);
    return code;
}
