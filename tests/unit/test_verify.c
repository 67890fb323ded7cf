/* verify: each kind of damage gives its finding at its byte, several give several, and no damage
 * whatever makes the walk fail. */
#include "libgguf/swap.h"
#include "libgguf/verify.h"
#include "runtime/model/check_model.h"
#include "tests/unit/unit_gguf.h"

static void put_array(unit_bytes *b, const char *key, gguf_value_type type, uint64_t n) {
    unit_put_array_key(b, key, type, n);
    for (uint64_t i = 0; i < n; i++)
        type == GGUF_VALUE_STRING ? unit_put_text(b, "t") : unit_put_u32(b, 1);
}

static void put_info(unit_bytes *b, const char *name, uint64_t n_cols, uint32_t type,
                     uint64_t off) {
    unit_put_info(b, name, 1, &n_cols, type, off);
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

static unit_bytes build(const damage *d) {
    unit_bytes b = {.n = 0};
    unit_put_head(&b, 3, 2 + d->n_more_tensors, 10 + d->n_more_kv);
    unit_put_text_key(&b, "general.architecture", d->arch);
    unit_put_u32_key(&b, "general.alignment", d->alignment);
    unit_put_u32_key(&b, "odd.block_count", 1);
    unit_put_u32_key(&b, "odd.context_length", 8);
    unit_put_u32_key(&b, d->key, 8);
    unit_put_text_key(&b, "tokenizer.ggml.model", "gpt2");
    put_array(&b, "tokenizer.ggml.tokens", GGUF_VALUE_STRING, 2);
    put_array(&b, "tokenizer.ggml.token_type", d->types_type, d->n_types);
    unit_put_u32_key(&b, "tokenizer.ggml.eos_token_id", d->eos);
    unit_put_text_key(&b, "tokenizer.chat_template", d->template_text);
    put_info(&b, "x", 4, GGUF_TYPE_F32, 0);
    put_info(&b, d->second_name, 8, d->second_type, d->second_off);
    while (b.n % 32) b.data[b.n++] = 0;
    for (size_t i = 0; i < 64 + d->n_extra; i++) b.data[b.n++] = 0;
    b.n -= d->n_cut;
    return b;
}

/* All findings, one a line, without those bytes. */
static void findings_of(const unit_bytes *b, char *out, size_t room) {
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
    unit_bytes b = build(d);
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
    unit_bytes b = build(&sound);
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
    unit_bytes b = build(&d);
    findings_of(&b, all, sizeof all);
    size_t n = 0;
    for (const char *p = all; *p; p++) n += *p == '\n';
    ck_assert_uint_eq(n, 5);
}
END_TEST

START_TEST(any_damage_is_survived) {
    char all[60000];
    unit_bytes b = build(&sound);
    for (size_t n = 0; n < b.n; n += 3) {
        unit_bytes cut = b;
        cut.n = n;
        findings_of(&cut, all, sizeof all);
        ck_assert_msg(*all, "a prefix of %zu bytes has no finding", n);
    }
    for (size_t i = 0; i < b.n; i++) {
        unit_bytes bad = b;
        bad.data[i] ^= (uint8_t)(i % 3 ? 0xFF : 0x01);
        findings_of(&bad, all, sizeof all);
    }
}
END_TEST

/* ---- several files, tensors of an architecture, the other byte order ---------------------- */

/* All findings of all files, one a line. */
static void set_findings(const char *path, char *out, size_t room) {
    gguf_scan_set set = {0};
    gguf_error err = {0};
    size_t len = 0;
    unit_ok(gguf_scan_set_open(path, &set, &err), err);
    unit_ok(rt_check_tensors(&set, &err), err);
    out[0] = '\0';
    for (size_t p = 0; p < set.n_parts; p++)
        for (size_t i = 0; i < set.parts[p].findings.n; i++)
            len += (size_t)snprintf(out + len, room - len, "%s\n",
                                    set.parts[p].findings.items[i].text);
    gguf_scan_set_close(&set);
}

typedef struct shard_keys {
    uint32_t no, count, total;
    const char *tensor;
} shard_keys;

static void write_shard(const char *path, const shard_keys *s) {
    unit_bytes b = {.n = 0};
    unit_put_head(&b, 3, 1, 3);
    unit_put_u32_key(&b, "split.no", s->no);
    unit_put_u32_key(&b, "split.count", s->count);
    unit_put_u32_key(&b, "split.tensors.count", s->total);
    put_info(&b, s->tensor, 8, GGUF_TYPE_F32, 0);
    unit_put_data(&b, 32);
    unit_write(path, b.data, b.n);
}

static void expect_of_shards(const shard_keys *a, const shard_keys *b, const char *text) {
    char all[4000];
    const char *first = unit_temp("s-00001-of-00002.gguf"),
               *second = unit_temp("s-00002-of-00002.gguf");
    write_shard(first, a);
    if (b) write_shard(second, b);
    set_findings(first, all, sizeof all);
    ck_assert_msg(strstr(all, text) && (*text || !*all), "'%s' is not in:\n%s", text, all);
    unlink(first);
    unlink(second);
}

START_TEST(shards_are_checked_together) {
    const shard_keys a = {0, 2, 2, "a"}, b = {1, 2, 2, "b"};
    expect_of_shards(&a, &b, "");
    expect_of_shards(&a, NULL, "shard 2 of 2 is missing: ");
    expect_of_shards(&a, &(shard_keys){0, 2, 2, "b"}, "'split.no' is 0, not 1");
    expect_of_shards(&a, &(shard_keys){1, 3, 2, "b"}, "'split.count' is 3, not 2");
    expect_of_shards(&a, &(shard_keys){1, 2, 2, "a"}, "tensor 'a' is also in ");
    expect_of_shards(&(shard_keys){0, 2, 7, "a"}, &b, "'split.tensors.count' is 7, not 2");
    expect_of_shards(&(shard_keys){0, 20000, 2, "a"}, NULL, "'split.count' is 20000, more than");
}
END_TEST

/* A Llama of one layer whose keys are changed behind its tensors. */
static void expect_of_tensors(const char *key, uint32_t value, const char *without,
                              const char *text) {
    static const struct {
        const char *name;
        uint64_t n_cols, n_rows;
    } tensors[] = {{"token_embd.weight", 8, 3},        {"output_norm.weight", 8, 1},
                   {"blk.0.attn_norm.weight", 8, 1},   {"blk.0.attn_q.weight", 8, 8},
                   {"blk.0.attn_k.weight", 8, 4},      {"blk.0.attn_v.weight", 8, 4},
                   {"blk.0.attn_output.weight", 8, 8}, {"blk.0.ffn_norm.weight", 8, 1},
                   {"blk.0.ffn_gate.weight", 8, 16},   {"blk.0.ffn_up.weight", 8, 16},
                   {"blk.0.ffn_down.weight", 16, 8}};
    static const struct {
        const char *key;
        uint32_t value;
    } keys[] = {{"llama.block_count", 1},
                {"llama.embedding_length", 8},
                {"llama.feed_forward_length", 16},
                {"llama.attention.head_count", 2},
                {"llama.attention.head_count_kv", 1}};
    unit_bytes b = {.n = 0};
    char all[4000];
    const char *path = unit_temp("tensors.gguf");
    unit_put_head(&b, 3, without ? 10 : 11, 7);
    unit_put_text_key(&b, "general.architecture", "llama");
    for (size_t i = 0; i < 5; i++)
        unit_put_u32_key(&b, keys[i].key, strcmp(keys[i].key, key) ? keys[i].value : value);
    put_array(&b, "tokenizer.ggml.tokens", GGUF_VALUE_STRING, 3);
    uint64_t off = 0;
    for (size_t i = 0; i < 11; i++) {
        const uint64_t dims[2] = {tensors[i].n_cols, tensors[i].n_rows};
        if (without && strcmp(tensors[i].name, without) == 0) continue;
        unit_put_info(&b, tensors[i].name, 2, dims, GGUF_TYPE_F16, off);
        off += (dims[0] * dims[1] * 2 + 31) / 32 * 32;
    }
    unit_put_data(&b, off);
    memset(b.data + b.n - off, 0, off);
    unit_write(path, b.data, b.n);
    set_findings(path, all, sizeof all);
    const char *found = strstr(all, text);
    ck_assert_msg(found && (*text || !strstr(all, "tensor '")), "'%s' is not in:\n%s", text, all);
    unlink(path);
}

START_TEST(tensors_are_those_of_the_architecture) {
    expect_of_tensors("", 0, NULL, "");
    expect_of_tensors("", 0, "blk.0.attn_q.weight", "the tensor 'blk.0.attn_q.weight' is missing");
    expect_of_tensors("", 0, "output_norm.weight", "the tensor 'output_norm.weight' is missing");
    expect_of_tensors("llama.block_count", 2, NULL, "the tensor 'blk.1.ffn_up.weight' is missing");
    expect_of_tensors("llama.feed_forward_length", 17, NULL,
                      "tensor 'blk.0.ffn_down.weight' is 16 x 8, but the keys say 17 x 8");
    expect_of_tensors("llama.attention.head_count_kv", 2, NULL,
                      "tensor 'blk.0.attn_k.weight' is 8 x 4, but the keys say 8 x 8");
}
END_TEST

START_TEST(the_other_byte_order_is_checked_too) {
    char all[4000];
    damage d = sound;
    d.second_off = 0, d.eos = 7;
    unit_bytes b = build(&d);
    gguf_error err = {0};
    uint8_t *swapped;
    size_t n;
    unit_ok(gguf_header_swap(b.data, b.n, "b", &swapped, &n, &err), err);
    memcpy(b.data, swapped, n);
    free(swapped);
    findings_of(&b, all, sizeof all);
    ck_assert_ptr_nonnull(strstr(all, "the file is big-endian"));
    ck_assert_ptr_nonnull(strstr(all, "tensors 'x' and 'y' overlap"));
    ck_assert_ptr_nonnull(strstr(all, "eos_token_id' is 7, but there are 2 tokens"));
    b.data[8] = 1; /* the first byte of the tensor count */
    findings_of(&b, all, sizeof all);
    ck_assert_msg(strstr(all, "byte") || strstr(all, "ends"), "%s", all);
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
    tcase_add_test(tc, shards_are_checked_together);
    tcase_add_test(tc, tensors_are_those_of_the_architecture);
    tcase_add_test(tc, the_other_byte_order_is_checked_too);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
