/* Files that lie: every single-byte corruption and every prefix of small files, and large files
 * made to take long. No crash, no second without an answer, no more memory than docs/limits.md
 * states. */
#include "tests/unit/unit.h"
#include "tests/unit/unit_alloc.h"

#include "libgguf/checkpoint.h"
#include "libgguf/yaml.h"
#include "runtime/tokenizer/tokenizer.h"

#include <time.h>

typedef gguf_code (*reader)(const unsigned char *bytes, size_t n, gguf_error *err);

/* Stated in docs/limits.md: memory in use at once, as a multiple of the file. */
typedef struct format {
    const char *name;
    reader read;
    long long base, per_byte;
    size_t n_accepted; /* of the last run */
} format;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void read_one(format *f, const unsigned char *bytes, size_t n, const char *what, size_t at) {
    /* A block of exactly this size, so that sanitizers see reads beyond it. */
    unsigned char *copy = malloc(n ? n : 1);
    ck_assert_ptr_nonnull(copy);
    if (n) memcpy(copy, bytes, n);
    gguf_error err = {0};
    unit_alloc_start(0, false);
    double start = now();
    gguf_code code = f->read(copy, n, &err);
    double took = now() - start;
    ck_assert_msg(took < 1, "%s, %s %zu: took %.2f s", f->name, what, at, took);
    ck_assert_msg(unit_alloc.peak <= f->base + f->per_byte * (long long)n,
                  "%s, %s %zu: %lld bytes in use for a file of %zu", f->name, what, at,
                  unit_alloc.peak, n);
    ck_assert_msg(code != GGUF_E_NOMEM && code == err.code, "%s, %s %zu: %s", f->name, what, at,
                  err.message);
    f->n_accepted += code == GGUF_OK;
    free(copy);
}

static void corrupt(format *f, unsigned char *bytes, size_t n) {
    read_one(f, bytes, n, "whole", n);
    ck_assert_msg(f->n_accepted == 1, "%s: the whole file is refused", f->name);
    for (size_t len = 0; len < n; len++) read_one(f, bytes, len, "prefix", len);
    for (size_t i = 0; i < n; i++) {
        unsigned char saved = bytes[i];
        for (unsigned flip = 1; flip < 256; flip++) {
            bytes[i] = (unsigned char)(saved ^ flip);
            read_one(f, bytes, n, "byte", i);
        }
        bytes[i] = saved;
    }
}

static void corrupt_seed(format *f, const char *seed) {
    char path[512];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", TEST_CORPUS, seed);
    unsigned char *bytes = unit_read(path, &n);
    corrupt(f, bytes, n);
    free(bytes);
}

static gguf_code read_gguf(const unsigned char *bytes, size_t n, gguf_error *err) {
    gguf_file *f;
    gguf_code code = gguf_file_from_memory(bytes, n, "x", GGUF_OPEN_DEFAULT, &f, err);
    if (!code) gguf_file_close(f);
    return code;
}

static gguf_code read_safetensors(const unsigned char *bytes, size_t n, gguf_error *err) {
    gguf_memory_file f = {"model.safetensors", bytes, n};
    gguf_checkpoint *c;
    gguf_code code = gguf_checkpoint_from_memory(&f, 1, &c, err);
    if (!code) gguf_checkpoint_close(c);
    return code;
}

static gguf_code read_vocab(const char *name, const unsigned char *bytes, size_t n,
                            gguf_error *err) {
    gguf_memory_file f = {name, bytes, n};
    rt_vocab_report report = {0};
    rt_tokenizer *tok;
    gguf_meta *meta = gguf_meta_new();
    ck_assert_ptr_nonnull(meta);
    gguf_code code = rt_vocab_import_memory(&f, 1, 0, meta, &report, err);
    if (!code && !(code = rt_tokenizer_new(meta, &tok, err))) rt_tokenizer_free(tok);
    rt_vocab_report_clear(&report);
    gguf_meta_free(meta);
    return code;
}

static gguf_code read_tokenizer_model(const unsigned char *bytes, size_t n, gguf_error *err) {
    return read_vocab("tokenizer.model", bytes, n, err);
}

static gguf_code read_tokenizer_json(const unsigned char *bytes, size_t n, gguf_error *err) {
    return read_vocab("tokenizer.json", bytes, n, err);
}

static gguf_code read_yaml(const unsigned char *bytes, size_t n, gguf_error *err) {
    gguf_yaml_doc *doc;
    gguf_code code = gguf_yaml_parse((const char *)bytes, n, "x", &doc, err);
    if (!code) gguf_yaml_free(doc);
    return code;
}

static const format gguf_format = {"gguf", read_gguf, 64 << 10, 24, 0};
static const format tensors_format = {"gguf of tensors", read_gguf, 64 << 10, 2, 0};
static const format safetensors_format = {"safetensors", read_safetensors, 64 << 10, 128, 0};
static const format model_format = {"tokenizer.model", read_tokenizer_model, 1 << 20, 128, 0};
static const format json_format = {"tokenizer.json", read_tokenizer_json, 1 << 20, 256, 0};
static const format yaml_format = {"yaml", read_yaml, 64 << 10, 128, 0};

START_TEST(corrupted) {
    static const struct {
        const format *format;
        const char *seed;
    } seeds[] = {{&gguf_format, "gguf/seeds/tensors"},
                 {&gguf_format, "gguf/seeds/scalars"},
                 {&safetensors_format, "safetensors/seeds/two"},
                 {&model_format, "tokenizer_model/seeds/bpe"},
                 {&yaml_format, "yaml/seeds/recipe"}};
    format f = *seeds[_i].format;
    corrupt_seed(&f, seeds[_i].seed);
}
END_TEST

/* ---- large files made to take long ------------------------------------------------------- */

typedef struct text {
    unsigned char *bytes;
    size_t n, room;
} text;

static void put(text *t, const void *bytes, size_t n) {
    if (t->n + n > t->room) {
        t->room = 2 * (t->n + n);
        t->bytes = realloc(t->bytes, t->room);
        ck_assert_ptr_nonnull(t->bytes);
    }
    memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
}

static void put_text(text *t, const char *s) {
    put(t, s, strlen(s));
}

static void repeat(text *t, const char *s, size_t n) {
    while (n--) put_text(t, s);
}

/* Twice the size may take at most three times as long, and the larger file less than five seconds
 * under sanitizers. */
static void check_growth(const format *model, text (*make)(size_t n), size_t n, bool accepted) {
    double took[2];
    for (size_t i = 0; i < 2; i++) {
        text t = make(n << i);
        gguf_error err = {0};
        unit_alloc_start(0, false);
        double start = now();
        gguf_code code = model->read(t.bytes, t.n, &err);
        took[i] = now() - start;
        ck_assert_msg(accepted == !code, "%s: %s %s", model->name, gguf_code_name(code),
                      err.message);
        ck_assert_msg(unit_alloc.peak <= model->base + model->per_byte * (long long)t.n,
                      "%s: %lld bytes in use for %zu", model->name, unit_alloc.peak, t.n);
        free(t.bytes);
    }
    ck_assert_msg(took[1] < 5 && (took[1] < 0.2 || took[1] < 3.5 * took[0]),
                  "%s: %.3f s, twice as large %.3f s", model->name, took[0], took[1]);
}

/* Keys that an unseeded XXH3 cannot tell apart: bytes 0 to 7 cancel the default secret, and then
 * bytes 8 to 15 do not matter. */
static text colliding_keys(size_t n) {
    static const unsigned char secret[8] = {0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe};
    text t = {0};
    uint32_t version = 3, type = GGUF_VALUE_U8;
    uint64_t none = 0, count = n, len = 64;
    put(&t, "GGUF", 4);
    put(&t, &version, 4);
    put(&t, &none, 8);
    put(&t, &count, 8);
    for (size_t i = 0; i < n; i++) {
        unsigned char key[64];
        memset(key, 'k', sizeof key);
        memcpy(key, secret, 8);
        snprintf((char *)key + 8, 9, "%08x", (unsigned)i);
        key[16] = 'k';
        put(&t, &len, 8);
        put(&t, key, 64);
        put(&t, &type, 4);
        put(&t, "x", 1);
    }
    return t;
}

/* Many, but as they are named in models: with the mapped header three times its size. */
static text many_tensors(size_t n) {
    text t = {0};
    uint32_t version = 3, n_dims = 2, type = GGUF_TYPE_F16;
    uint64_t count = n, none = 0, dims[2] = {32, 1};
    char name[64];
    put(&t, "GGUF", 4);
    put(&t, &version, 4);
    put(&t, &count, 8);
    put(&t, &none, 8);
    for (size_t i = 0; i < n; i++) {
        uint64_t len = (uint64_t)snprintf(name, sizeof name, "blk.%zu.attn_q.weight", i);
        put(&t, &len, 8);
        put(&t, name, len);
        put(&t, &n_dims, 4);
        put(&t, dims, sizeof dims);
        put(&t, &type, 4);
        put(&t, &none, 8);
    }
    repeat(&t, "0123456789abcdef", 6); /* all have the same data */
    return t;
}

static text yaml_keys(size_t n) {
    text t = {0};
    char line[32];
    for (size_t i = 0; i < n; i++) {
        snprintf(line, sizeof line, "k%zu: 1\n", i);
        put_text(&t, line);
    }
    return t;
}

static text yaml_brackets(size_t n) {
    text t = {0};
    repeat(&t, "[", n);
    return t;
}

static text yaml_questions(size_t n) {
    text t = {0};
    repeat(&t, "- ", n);
    return t;
}

/* A broken header whose tensor name matches it almost everywhere. */
static text safetensors_name(size_t n) {
    text t = {0};
    put(&t, "........", 8);
    put_text(&t, "{\"");
    repeat(&t, "a", n);
    put_text(&t, "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9]},\"b\":\"");
    repeat(&t, "a", 2 * n);
    put_text(&t, "\"}");
    uint64_t len = t.n - 8;
    memcpy(t.bytes, &len, 8);
    return t;
}

static text safetensors_many(size_t n) {
    text t = {0};
    char line[96];
    put(&t, "........", 8);
    put_text(&t, "{");
    for (size_t i = 0; i < n; i++) {
        snprintf(line, sizeof line,
                 "%s\"t%zu\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "",
                 i);
        put_text(&t, line);
    }
    put_text(&t, "}");
    uint64_t len = t.n - 8;
    memcpy(t.bytes, &len, 8);
    return t;
}

/* BPE with n tokens and n merges. */
static text many_merges(size_t n) {
    text t = {0};
    char line[64];
    put_text(&t,
             "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":"
             "{\"a\":0,\"aa\":1");
    for (size_t i = 2; i < n; i++) {
        snprintf(line, sizeof line, ",\"b%zx\":%zu,\"aab%zx\":%zu", i, 2 * i - 2, i, 2 * i - 1);
        put_text(&t, line);
    }
    put_text(&t, "},\"merges\":[\"a a\"");
    for (size_t i = 2; i < n; i++) {
        snprintf(line, sizeof line, ",\"aa b%zx\"", i);
        put_text(&t, line);
    }
    put_text(&t, "]}}");
    return t;
}

START_TEST(made_to_take_long) {
    static const struct {
        const format *format;
        text (*make)(size_t n);
        size_t n;
        bool accepted;
    } cases[] = {{&gguf_format, colliding_keys, 50000, true},
                 {&tensors_format, many_tensors, 50000, true},
                 {&yaml_format, yaml_keys, 20000, true},
                 {&yaml_format, yaml_brackets, 100000, false},
                 {&yaml_format, yaml_questions, 100000, false},
                 {&safetensors_format, safetensors_name, 400000, false},
                 {&safetensors_format, safetensors_many, 10000, true},
                 {&json_format, many_merges, 5000, true}};
    check_growth(cases[_i].format, cases[_i].make, cases[_i].n, cases[_i].accepted);
}
END_TEST

int main(void) {
    unit_alloc_hook_json();
    Suite *suite = suite_create("hostile files");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, corrupted, 0, 5);
    tcase_add_loop_test(c, made_to_take_long, 0, 8);
    suite_add_tcase(suite, c);
    return unit_run(suite);
}
