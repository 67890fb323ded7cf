/* verify: each kind of damage gives its finding at its byte, several give several, and no damage
 * whatever makes the walk fail. */
#include "libgguf/verify.h"
#include "runtime/check.h"
#include "tests/unit/unit.h"

typedef struct bytes {
    uint8_t data[4096];
    size_t n;
} bytes;

static void put(bytes *b, const void *p, size_t n) {
    memcpy(b->data + b->n, p, n);
    b->n += n;
}

static void put_u32(bytes *b, uint32_t v) {
    put(b, &v, 4);
}

static void put_u64(bytes *b, uint64_t v) {
    put(b, &v, 8);
}

static void put_text(bytes *b, const char *text) {
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

static void put_str_key(bytes *b, const char *key, const char *value) {
    put_text(b, key);
    put_u32(b, GGUF_VALUE_STRING);
    put_text(b, value);
}

static void put_u32_key(bytes *b, const char *key, uint32_t value) {
    put_text(b, key);
    put_u32(b, GGUF_VALUE_U32);
    put_u32(b, value);
}

static void put_array(bytes *b, const char *key, gguf_value_type type, uint64_t n) {
    put_text(b, key);
    put_u32(b, GGUF_VALUE_ARRAY);
    put_u32(b, type);
    put_u64(b, n);
    for (uint64_t i = 0; i < n; i++) type == GGUF_VALUE_STRING ? put_text(b, "t") : put_u32(b, 1);
}

static void put_info(bytes *b, const char *name, uint64_t n_cols, uint32_t type, uint64_t off) {
    put_text(b, name);
    put_u32(b, 1);
    put_u64(b, n_cols);
    put_u32(b, type);
    put_u64(b, off);
}

/* What a test changes in an otherwise sound file. */
typedef struct damage {
    const char *arch, *key, *template_text, *second_name;
    uint32_t eos, second_off, second_type, alignment;
    uint64_t n_types, n_more_kv, n_more_tensors;
    gguf_value_type types_type;
    size_t n_extra, n_cut;
} damage;

static const damage sound = {.arch = "odd",
                             .key = "odd.embedding_length",
                             .template_text = "{{ a }}",
                             .second_name = "y",
                             .eos = 1,
                             .second_off = 32,
                             .alignment = 32,
                             .n_types = 2,
                             .types_type = GGUF_VALUE_I32};

static bytes build(const damage *d) {
    bytes b = {.n = 0};
    put(&b, "GGUF", 4);
    put_u32(&b, 3);
    put_u64(&b, 2 + d->n_more_tensors);
    put_u64(&b, 10 + d->n_more_kv);
    put_str_key(&b, "general.architecture", d->arch);
    put_u32_key(&b, "general.alignment", d->alignment);
    put_u32_key(&b, "odd.block_count", 1);
    put_u32_key(&b, "odd.context_length", 8);
    put_u32_key(&b, d->key, 8);
    put_str_key(&b, "tokenizer.ggml.model", "gpt2");
    put_array(&b, "tokenizer.ggml.tokens", GGUF_VALUE_STRING, 2);
    put_array(&b, "tokenizer.ggml.token_type", d->types_type, d->n_types);
    put_u32_key(&b, "tokenizer.ggml.eos_token_id", d->eos);
    put_str_key(&b, "tokenizer.chat_template", d->template_text);
    put_info(&b, "x", 4, GGUF_TYPE_F32, 0);
    put_info(&b, d->second_name, 8, d->second_type, d->second_off);
    while (b.n % 32) b.data[b.n++] = 0;
    for (size_t i = 0; i < 64 + d->n_extra; i++) b.data[b.n++] = 0;
    b.n -= d->n_cut;
    return b;
}

/* All findings, one a line, without those bytes. */
static void findings_of(const bytes *b, char *out, size_t room) {
    const char *path = unit_temp("verify.gguf");
    gguf_findings found = {0};
    gguf_scan *scan;
    gguf_error err = {0};
    unit_write(path, b->data, b->n);
    unit_ok(gguf_scan_open(path, &found, &scan, &err), err);
    unit_ok(rt_check_meta(gguf_scan_meta(scan), gguf_scan_has_all_keys(scan), &found, &err), err);
    gguf_findings_sort(&found);
    out[0] = '\0';
    for (size_t i = 0; i < found.n; i++) {
        size_t n = strlen(out);
        ck_assert_int_le(found.items[i].off, (int64_t)b->n);
        snprintf(out + n, room - n, "%s\n", found.items[i].text);
    }
    gguf_findings_clear(&found);
    gguf_scan_close(scan);
    unlink(path);
}

static void expect(const damage *d, const char *text) {
    char all[4000];
    bytes b = build(d);
    findings_of(&b, all, sizeof all);
    ck_assert_msg(strstr(all, text) && (*text || !*all), "'%s' is not in:\n%s", text, all);
}

START_TEST(a_sound_file_has_no_findings) {
    expect(&sound, "");
}
END_TEST

START_TEST(each_damage_is_found) {
    damage d = sound;
    d.arch = "llama";
    expect(&d, "the key 'llama.block_count' is missing");
    expect(&d, "the key 'llama.context_length' is missing");
    d = sound, d.key = "odd.block_count";
    expect(&d, "key 'odd.block_count' occurs twice");
    expect(&d, "the key 'odd.embedding_length' is missing");
    d = sound, d.key = "odd.\xFF";
    expect(&d, "is not UTF-8");
    d = sound, d.alignment = 48;
    expect(&d, "general.alignment is 48, not a power of two");
    d = sound, d.eos = 2;
    expect(&d, "'tokenizer.ggml.eos_token_id' is 2, but there are 2 tokens");
    d = sound, d.n_types = 3;
    expect(&d, "'tokenizer.ggml.token_type' has 3 elements for 2 tokens");
    d = sound, d.types_type = GGUF_VALUE_F32;
    expect(&d, "'tokenizer.ggml.token_type' is an array of f32, not an array of i32");
    d = sound, d.template_text = "{% if %}";
    expect(&d, "'tokenizer.chat_template' does not parse: line 1, column 7");
    d = sound, d.template_text = "{{ a.__class__ }}";
    expect(&d, "line 1, column 6: the attribute '__class__' reaches behind the template");
    d = sound, d.second_name = "x";
    expect(&d, "tensor 'x' occurs twice");
    d = sound, d.second_off = 0;
    expect(&d, "tensors 'x' and 'y' overlap by 16 bytes");
    d = sound, d.second_off = 40;
    expect(&d, "'y' has the offset 40, no multiple of the alignment 32");
    d = sound, d.second_off = 64, d.n_extra = 32;
    expect(&d, "a gap of 32 bytes before tensor 'y'");
    d = sound, d.second_off = 1024;
    expect(&d, "'y' needs 32 bytes at offset 1024 of the data section, beyond the end");
    d = sound, d.second_type = 77;
    expect(&d, "tensor 'y': tensor type 77 is not known");
    d = sound, d.n_extra = 5;
    expect(&d, "5 bytes behind the last tensor");
    d = sound, d.n_more_kv = 1000000;
    expect(&d, "the metadata count of 1000010 cannot fit");
    d = sound, d.n_more_tensors = 1000000;
    expect(&d, "the tensor count of 1000002 cannot fit");
}
END_TEST

START_TEST(padding_is_checked) {
    char all[4000];
    bytes b = build(&sound);
    b.data[b.n - 64 + 20] = 9; /* between x and y */
    findings_of(&b, all, sizeof all);
    ck_assert_ptr_nonnull(strstr(all, "the padding before tensor 'y' is not zero"));
    b = build(&sound);
    damage d = sound;
    d.second_type = GGUF_TYPE_F16, d.n_cut = 8;
    b = build(&d);
    findings_of(&b, all, sizeof all);
    ck_assert_ptr_nonnull(strstr(all, "8 bytes of padding are missing behind the last tensor"));
}
END_TEST

START_TEST(several_findings_are_all_listed) {
    damage d = sound;
    d.eos = 9, d.n_types = 1, d.second_off = 0, d.template_text = "{{", d.n_extra = 3;
    char all[4000];
    bytes b = build(&d);
    findings_of(&b, all, sizeof all);
    size_t n = 0;
    for (const char *p = all; *p; p++) n += *p == '\n';
    ck_assert_uint_eq(n, 5);
}
END_TEST

START_TEST(any_damage_is_survived) {
    char all[60000];
    bytes b = build(&sound);
    for (size_t n = 0; n < b.n; n += 3) {
        bytes cut = b;
        cut.n = n;
        findings_of(&cut, all, sizeof all);
        ck_assert_msg(*all, "a prefix of %zu bytes has no finding", n);
    }
    for (size_t i = 0; i < b.n; i++) {
        bytes bad = b;
        bad.data[i] ^= (uint8_t)(i % 3 ? 0xFF : 0x01);
        findings_of(&bad, all, sizeof all);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("verify");
    TCase *tc = tcase_create("verify");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_sound_file_has_no_findings);
    tcase_add_test(tc, each_damage_is_found);
    tcase_add_test(tc, padding_is_checked);
    tcase_add_test(tc, several_findings_are_all_listed);
    tcase_add_test(tc, any_damage_is_survived);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
