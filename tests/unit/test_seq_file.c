/* Prompt caches on disk: what was read goes on bit for bit, and what is not whole is refused. */
#include "libgguf/map.h"
#include "runtime/engine/seq_file.h"
#include "runtime/runtime.h"
#include "unit_model.h"

#include <sys/stat.h>

typedef struct fixture {
    unit_reference ref;
    rt_model *model;
    rt_session *session;
    rt_session_opts opts;
    float *alone; /* logits of ref.tokens in a session that reads them at once */
    size_t n_row;
    const char *path; /* of the cache */
} fixture;

static rt_session *new_session(const fixture *f) {
    gguf_error err = {0};
    rt_session *session;
    unit_ok(rt_session_new(f->model, &f->opts, &session, &err), err);
    return session;
}

static fixture open_fixture(const char *folder) {
    fixture f = {.ref = unit_reference_of(folder), .model = unit_model(folder, GGUF_TYPE_Q8_0)};
    f.opts = rt_session_defaults();
    f.opts.n_threads = 1;
    f.alone = unit_logits(f.model, &f.opts, f.ref.tokens, f.ref.n);
    f.n_row = rt_model_hparams(f.model)->n_out;
    f.opts.n_seqs = 2;
    f.session = new_session(&f);
    f.path = unit_temp("prompt.cache");
    return f;
}

static void close_fixture(fixture *f) {
    rt_session_free(f->session);
    rt_model_close(f->model);
    unit_reference_clear(&f->ref);
    free(f->alone);
    unlink(f->path);
}

/* Append tokens of the reference; each row is that of the whole text. */
static void extend(const fixture *f, rt_session *session, uint32_t seq, size_t n) {
    gguf_error err = {0};
    uint32_t pos = rt_seq_n_past(session, seq);
    float *logits = malloc(n * f->n_row * sizeof *logits);
    const rt_span span = {seq, f->ref.tokens + pos, n, RT_LOGITS_ALL};
    unit_ok(rt_session_eval_spans(session, &span, 1, logits, &err), err);
    ck_assert_mem_eq(logits, f->alone + pos * f->n_row, n * f->n_row * sizeof *logits);
    free(logits);
}

/* The first n tokens of the reference, saved from sequence 1. */
static void save(const fixture *f, size_t n) {
    gguf_error err = {0};
    extend(f, f->session, 1, n);
    unit_ok(rt_seq_save(f->session, 1, f->ref.tokens, f->path, &err), err);
}

/* ---- round trips ------------------------------------------------------------------------- */

static const char *const families[] = {"models/llama",   "models/gemma3",     "models/deepseek_v3",
                                       "models/gpt_oss", "models/qwen3_next", "models/nemotron_h",
                                       "models/mamba2"};

/* In the same session and in another one; the file is only read. */
START_TEST(goes_on_bit_for_bit) {
    gguf_error err = {0};
    fixture f = open_fixture(families[_i]);
    size_t n_saved = f.ref.n - 5;
    uint32_t held;
    save(&f, n_saved);
    rt_session *other = new_session(&f);
    unit_ok(rt_seq_load(other, 0, f.path, f.ref.tokens, f.ref.n, &held, &err), err);
    ck_assert_uint_eq(held, n_saved);
    ck_assert_uint_eq(rt_seq_n_past(other, 0), n_saved);
    extend(&f, other, 0, 5);
    unit_ok(rt_seq_load(f.session, 0, f.path, f.ref.tokens, n_saved, &held, &err), err);
    ck_assert_uint_eq(held, n_saved);
    extend(&f, f.session, 0, 5);
    extend(&f, f.session, 1, 5);
    rt_session_free(other);
    close_fixture(&f);
}
END_TEST

/* A text that parts from the saved one: keys are held up to there, states only where one was kept.
 */
START_TEST(holds_the_common_beginning) {
    gguf_error err = {0};
    bool recurrent = _i > 0;
    fixture f = open_fixture(recurrent ? "models/mamba2" : "models/llama");
    size_t n_saved = f.ref.n - 5, parts = 9;
    int32_t *tokens = malloc(f.ref.n * sizeof *tokens);
    uint32_t held;
    save(&f, n_saved);
    memcpy(tokens, f.ref.tokens, f.ref.n * sizeof *tokens);
    tokens[parts]++;
    unit_ok(rt_seq_load(f.session, 0, f.path, tokens, f.ref.n, &held, &err), err);
    ck_assert_uint_eq(held, recurrent ? 0 : parts);
    ck_assert_uint_eq(rt_seq_n_past(f.session, 0), held);
    extend(&f, f.session, 0, 20);
    free(tokens);
    close_fixture(&f);
}
END_TEST

/* ---- what is refused --------------------------------------------------------------------- */

static uint8_t *read_file(const char *path, size_t *n) {
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    uint8_t *bytes = malloc((size_t)st.st_size + 1);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    *n = fread(bytes, 1, (size_t)st.st_size, file);
    ck_assert_uint_eq(*n, (size_t)st.st_size);
    fclose(file);
    return bytes;
}

static void check_refused(const fixture *f, gguf_code code, const char *text) {
    gguf_error err = {0};
    uint32_t held = 7;
    unit_fails(rt_seq_load(f->session, 0, f->path, f->ref.tokens, f->ref.n, &held, &err), code,
               text, err);
    ck_assert_str_eq(err.file, f->path);
    ck_assert_uint_eq(held, 0);
    ck_assert_uint_eq(rt_seq_n_past(f->session, 0), 0);
}

/* Bytes of the header: the magic, the model, the hash of the rest, counts and ranges of pages. */
enum { MODEL_OFF = 8, CONTENT_OFF = 16 };

/* Every byte of the header, and one of every few behind it. Afterwards the whole file is read as
 * before: no page or state was lost to a refused one. */
START_TEST(damage_is_refused) {
    gguf_error err = {0};
    fixture f = open_fixture(_i ? "models/nemotron_h" : "models/llama");
    size_t n;
    uint32_t held;
    save(&f, f.ref.n - 5);
    uint8_t *bytes = read_file(f.path, &n);
    for (size_t at = 0; at < n; at += at < 512 ? 1 : 1 + n / 256) {
        bytes[at] ^= 0x81;
        unit_write(f.path, bytes, n);
        if (at < MODEL_OFF)
            check_refused(&f, GGUF_E_FORMAT, "this is no prompt cache");
        else if (at < CONTENT_OFF)
            check_refused(&f, GGUF_E_USAGE, "made with another model");
        else
            check_refused(&f, GGUF_E_FORMAT, "damaged");
        bytes[at] ^= 0x81;
    }
    for (size_t length = 0; length < n; length += length < 512 ? 1 : 1 + n / 128) {
        unit_write(f.path, bytes, length);
        gguf_code code = rt_seq_load(f.session, 0, f.path, f.ref.tokens, f.ref.n, &held, &err);
        ck_assert_msg(code == GGUF_E_FORMAT, "%zu bytes: %s", length, err.message);
        ck_assert_uint_eq(rt_seq_n_past(f.session, 0), 0);
        err = (gguf_error){0};
    }
    bytes[n] = 0;
    unit_write(f.path, bytes, n + 1);
    check_refused(&f, GGUF_E_FORMAT, "damaged");
    unit_write(f.path, bytes, n);
    unit_ok(rt_seq_load(f.session, 0, f.path, f.ref.tokens, f.ref.n, &held, &err), err);
    extend(&f, f.session, 0, 5);
    free(bytes);
    close_fixture(&f);
}
END_TEST

START_TEST(others_are_refused) {
    gguf_error err = {0};
    uint32_t held;
    fixture f = open_fixture("models/llama"), other = open_fixture("models/gemma3");
    check_refused(&f, GGUF_E_IO, "No such file");
    save(&f, 20);
    const char *own = other.path;
    other.path = f.path;
    check_refused(&other, GGUF_E_USAGE, "made with another model");
    other.path = own;
    f.opts.kv_type = GGUF_TYPE_Q8_0;
    rt_session *changed = new_session(&f);
    unit_fails(rt_seq_load(changed, 0, f.path, f.ref.tokens, f.ref.n, &held, &err), GGUF_E_USAGE,
               "--kv-type", err);
    rt_session_free(changed);
    close_fixture(&other);
    close_fixture(&f);
}
END_TEST

/* Where another sequence has the pages, the file's are not taken; once it has gone, they are. */
START_TEST(needs_room) {
    gguf_error err = {0};
    uint32_t held, kept;
    fixture f = open_fixture("models/llama");
    save(&f, 20);
    f.opts.n_kv_tokens = 1; /* one page */
    rt_session *small = new_session(&f);
    extend(&f, small, 1, 3);
    unit_fails(rt_seq_load(small, 0, f.path, f.ref.tokens, f.ref.n, &held, &err), GGUF_E_LIMIT, "",
               err);
    ck_assert_uint_eq(rt_seq_n_past(small, 0), 0);
    err = (gguf_error){0};
    unit_ok(rt_seq_truncate(small, 1, 0, &kept, &err), err);
    unit_ok(rt_seq_load(small, 0, f.path, f.ref.tokens, f.ref.n, &held, &err), err);
    ck_assert_uint_eq(held, 20);
    extend(&f, small, 0, 5);
    rt_session_free(small);
    close_fixture(&f);
}
END_TEST

/* Leaves n_bytes of a value where the next blocks of the process lie. */
static void soil(size_t n_bytes, int value) {
    void *volatile block = malloc(n_bytes);
    ck_assert_ptr_nonnull(block);
    memset(block, value, n_bytes);
    free(block);
}

static char *read_cache(const fixture *f, size_t *n) {
    gguf_map map;
    gguf_error err = {0};
    unit_ok(gguf_map_open(f->path, &map, &err), err);
    char *copy = malloc(map.n_bytes);
    memcpy(copy, map.data, map.n_bytes);
    *n = map.n_bytes;
    gguf_map_close(&map);
    return copy;
}

/* A file has nothing of what the memory held before. */
START_TEST(the_same_state_gives_the_same_file) {
    fixture f = open_fixture(families[_i]);
    char *files[2];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        rt_session_free(f.session);
        for (size_t k = 64; k < (16u << 20); k *= 2) soil(k, 0xA5 + i);
        f.session = new_session(&f);
        save(&f, 20);
        files[i] = read_cache(&f, &n[i]);
        unlink(f.path);
    }
    ck_assert_uint_eq(n[0], n[1]);
    ck_assert_mem_eq(files[0], files[1], n[0]);
    free(files[0]);
    free(files[1]);
    close_fixture(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("seq_file");
    TCase *tc = tcase_create("files");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, goes_on_bit_for_bit, 0, sizeof families / sizeof families[0]);
    tcase_add_loop_test(tc, the_same_state_gives_the_same_file, 0,
                        sizeof families / sizeof families[0]);
    tcase_add_loop_test(tc, holds_the_common_beginning, 0, 2);
    tcase_add_loop_test(tc, damage_is_refused, 0, 2);
    tcase_add_test(tc, others_are_refused);
    tcase_add_test(tc, needs_room);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
