/* One file per published class of vulnerability in readers of GGUF files, built by code. Each must
 * be refused with the right code at the right byte, or read without harm where the file is valid.
 *
 * CVE-2024-25664 to CVE-2024-25668 are second numbers of the first five below.
 *
 * Classes that have no counterpart here, and why:
 *   CVE-2024-32878 (uninitialised pointers freed after an early failure) and CVE-2024-41130,
 *   CVE-2025-0312 (NULL used after a failure): tests/unit/test_alloc.c and every prefix in
 *   tests/unit/test_hostile.c take all early ways out under AddressSanitizer.
 *   CVE-2025-53630, CVE-2026-27940 (sum of tensor sizes, memory pool too small): tensors are
 * mapped, no pool is sized from the file; the sum is checked in gguf_layout, see "sum of sizes".
 *   CVE-2026-21869 (n_discard of a server's request), CVE-2024-34359 and CVE-2026-5760 (chat
 * templates evaluated as Python): there is no server and no evaluator of templates yet.
 *   CVE-2026-53923 (size cut to int while dequantising): sizes are 64 bits; a tensor of that size
 * is refused unless the file is as large, see "tensor of 2^32 elements". */
#include "libgguf/gguf.h"
#include "quant/imatrix.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/unit/unit_gguf.h"

#include <inttypes.h>

/* ---- building files ---------------------------------------------------------------------- */

static void here(unit_bytes *b) {
    b->mark = (int64_t)b->n;
}

/* ---- one builder per class --------------------------------------------------------------- */

static void tensor_count(unit_bytes *b) {
    b->mark = 8;
    unit_put_head(b, 3, UINT64_MAX / 8, 0);
}

static void key_count(unit_bytes *b) {
    b->mark = 16;
    unit_put_head(b, 3, 0, (UINT64_C(1) << 61) + 1);
    unit_put_u32_key(b, "a", 1);
}

static void string_length(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    unit_put_key(b, "a", GGUF_VALUE_STRING);
    here(b);
    unit_put_u64(b, UINT64_MAX);
    unit_put(b, "text", 4);
}

static void key_length(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    here(b);
    unit_put_u64(b, UINT64_MAX - 7);
    unit_put(b, "key key key key", 15);
}

static void array_length(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    unit_put_key(b, "a", GGUF_VALUE_ARRAY);
    unit_put_u32(b, GGUF_VALUE_U64);
    here(b);
    unit_put_u64(b, (UINT64_C(1) << 61) + 1);
    unit_put_u64(b, 0);
}

static void array_of_strings(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    unit_put_array_key(b, "a", GGUF_VALUE_STRING, 2);
    unit_put_text(b, "one");
    here(b);
    unit_put_u64(b, UINT64_C(1) << 63);
    unit_put(b, "two", 3);
}

static void nested_array(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    unit_put_key(b, "a", GGUF_VALUE_ARRAY);
    here(b);
    for (int i = 0; i < 100; i++) {
        unit_put_u32(b, GGUF_VALUE_ARRAY);
        unit_put_u64(b, 1);
    }
}

static void dimension_product(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    here(b);
    unit_put_info(b, "t", 4, (uint64_t[]){UINT64_C(1) << 32, UINT64_C(1) << 32, 1, 1},
                  GGUF_TYPE_F32, 0);
    unit_put_data(b, 64);
}

static void byte_product(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    here(b);
    unit_put_info(b, "t", 1, (uint64_t[]){(UINT64_C(1) << 62) + 8}, GGUF_TYPE_F64, 0);
    unit_put_data(b, 64);
}

static void sum_of_sizes(unit_bytes *b) {
    uint64_t dims[] = {(UINT64_C(1) << 60)};
    unit_put_head(b, 3, 3, 0);
    for (int i = 0; i < 3; i++)
        unit_put_info(b,
                      i == 0   ? "a"
                      : i == 1 ? "b"
                               : "c",
                      1, dims, GGUF_TYPE_F32, (uint64_t)i * (UINT64_C(1) << 62));
    unit_put_data(b, 64);
    here(b);
}

static void more_than_int(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    unit_put_info(b, "t", 2, (uint64_t[]){UINT64_C(1) << 31, 2}, GGUF_TYPE_Q8_0, 0);
    unit_put_data(b, 64);
    here(b);
}

static void past_the_end(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    unit_put_info(b, "t", 1, (uint64_t[]){64}, GGUF_TYPE_F32, 0);
    unit_put_data(b, 255);
    here(b);
}

static void offset_past_the_end(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    unit_put_info(b, "t", 1, (uint64_t[]){8}, GGUF_TYPE_F32, UINT64_MAX - 31);
    unit_put_data(b, 64);
    here(b);
}

static void unaligned_offset(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    unit_put_text(b, "t");
    unit_put_u32(b, 1);
    unit_put_u64(b, 8);
    unit_put_u32(b, GGUF_TYPE_F32);
    here(b);
    unit_put_u64(b, 4);
    unit_put_data(b, 64);
}

static void dimensions(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    unit_put_text(b, "t");
    here(b);
    unit_put_u32(b, 0x40000000);
    for (int i = 0; i < 8; i++) unit_put_u64(b, 1);
}

static void no_columns(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    unit_put_info(b, "t", 2, (uint64_t[]){0, 4}, GGUF_TYPE_Q4_0, 0);
    unit_put_data(b, 64);
}

static void part_of_a_block(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    here(b);
    unit_put_info(b, "t", 1, (uint64_t[]){33}, GGUF_TYPE_Q4_0, 0);
    unit_put_data(b, 64);
}

static void unknown_tensor_type(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    here(b);
    unit_put_info(b, "t", 1, (uint64_t[]){32}, UINT32_MAX, 0);
    unit_put_data(b, 64);
}

static void unknown_value_type(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    unit_put_text(b, "a");
    here(b);
    unit_put_u32(b, 13);
    unit_put_u64(b, 0);
}

static void alignment_zero(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    here(b);
    unit_put_u32_key(b, "general.alignment", 0);
}

static void alignment_odd(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    here(b);
    unit_put_u32_key(b, "general.alignment", 48);
}

static void alignment_large(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    here(b);
    unit_put_u32_key(b, "general.alignment", UINT32_C(1) << 31);
}

static void alignment_type(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    here(b);
    unit_put_text_key(b, "general.alignment", "32");
}

static void duplicate_tensor(unit_bytes *b) {
    unit_put_head(b, 3, 2, 0);
    unit_put_info(b, "t", 1, (uint64_t[]){8}, GGUF_TYPE_F32, 0);
    here(b);
    unit_put_info(b, "t", 1, (uint64_t[]){8}, GGUF_TYPE_F32, 32);
    unit_put_data(b, 64);
}

static void duplicate_key(unit_bytes *b) {
    unit_put_head(b, 3, 0, 2);
    unit_put_u32_key(b, "a", 1);
    here(b);
    unit_put_u32_key(b, "a", 2);
}

static void long_name(unit_bytes *b) {
    char name[65];
    memset(name, 'n', 64);
    name[64] = '\0';
    unit_put_head(b, 3, 1, 0);
    here(b);
    unit_put_info(b, name, 1, (uint64_t[]){8}, GGUF_TYPE_F32, 0);
    unit_put_data(b, 64);
}

static void name_with_nul(unit_bytes *b) {
    unit_put_head(b, 3, 1, 0);
    here(b);
    unit_put_u64(b, 3);
    unit_put(b, "a\0b", 3);
    unit_put_u32(b, 0);
    unit_put_u32(b, GGUF_TYPE_F32);
    unit_put_u64(b, 0);
    unit_put_data(b, 64);
}

static void version_1_string(unit_bytes *b) {
    b->mark = 4;
    unit_put(b, "GGUF", 4);
    unit_put_u32(b, 1);
    unit_put_u32(b, 0);
    unit_put_u32(b, 1);
    unit_put_u32(b, UINT32_MAX);
}

static void four_bytes(unit_bytes *b) {
    unit_put(b, "GGUF", 4);
    here(b);
}

static void other_magic(unit_bytes *b) {
    here(b);
    unit_put(b, "ggml", 4);
    unit_put_u64(b, 0);
}

static const struct {
    const char *class;
    void (*build)(unit_bytes *b);
    gguf_code code;
} refused[] = {
    {"CVE-2024-21836: number of tensors", tensor_count, GGUF_E_TRUNCATED},
    {"CVE-2024-23605, CVE-2025-0315: number of keys", key_count, GGUF_E_TRUNCATED},
    {"CVE-2024-23496: length of a string", string_length, GGUF_E_TRUNCATED},
    {"CVE-2024-23496: length of a key", key_length, GGUF_E_TRUNCATED},
    {"CVE-2024-21825: length of an array", array_length, GGUF_E_TRUNCATED},
    {"CVE-2024-21825: array of strings", array_of_strings, GGUF_E_TRUNCATED},
    {"CVE-2024-21802: product of dimensions", dimension_product, GGUF_E_SHAPE},
    {"CVE-2026-33298: bytes of a tensor", byte_product, GGUF_E_SHAPE},
    {"CVE-2025-53630, CVE-2026-27940: sum of sizes", sum_of_sizes, GGUF_E_TRUNCATED},
    {"CVE-2026-53923: tensor of 2^32 elements", more_than_int, GGUF_E_TRUNCATED},
    {"CVE-2026-7482: tensor past the end", past_the_end, GGUF_E_TRUNCATED},
    {"CVE-2024-12055, CVE-2026-7482: offset past the end", offset_past_the_end, GGUF_E_TRUNCATED},
    {"CVE-2024-39720: file of four bytes", four_bytes, GGUF_E_TRUNCATED},
    {"CVE-2025-66960: string of version 1", version_1_string, GGUF_E_UNSUPPORTED},
    {"CVE-2025-0317: alignment 0", alignment_zero, GGUF_E_FORMAT},
    {"unbounded alignment", alignment_large, GGUF_E_FORMAT},
    {"alignment that is not a power of two", alignment_odd, GGUF_E_FORMAT},
    {"alignment of another type", alignment_type, GGUF_E_TYPE},
    {"arrays in arrays", nested_array, GGUF_E_UNSUPPORTED},
    {"number of dimensions", dimensions, GGUF_E_LIMIT},
    {"duplicate tensor", duplicate_tensor, GGUF_E_DUPLICATE},
    {"duplicate key", duplicate_key, GGUF_E_DUPLICATE},
    {"long name", long_name, GGUF_E_LIMIT},
    {"name with a NUL byte", name_with_nul, GGUF_E_FORMAT},
    {"offset against the alignment", unaligned_offset, GGUF_E_FORMAT},
    {"part of a block", part_of_a_block, GGUF_E_SHAPE},
    {"unknown type of a tensor", unknown_tensor_type, GGUF_E_UNSUPPORTED},
    {"unknown type of a value", unknown_value_type, GGUF_E_FORMAT},
    {"other magic", other_magic, GGUF_E_FORMAT},
};

START_TEST(refused_at_the_right_byte) {
    unit_bytes b = {.mark = -2};
    gguf_error err = {0};
    gguf_file *f;
    refused[_i].build(&b);
    uint8_t *exact = malloc(b.n); /* sanitizers see what is read beyond it */
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, b.data, b.n);
    gguf_code code = gguf_file_from_memory(exact, b.n, "x", GGUF_OPEN_DEFAULT, &f, &err);
    ck_assert_msg(code == refused[_i].code, "%s: got %s: %s", refused[_i].class,
                  gguf_code_name(code), err.message);
    ck_assert_msg(err.offset == b.mark, "%s: at %" PRId64 ", expected %" PRId64 ": %s",
                  refused[_i].class, err.offset, b.mark, err.message);
    free(exact);
}
END_TEST

/* Zero dimensions are valid; nothing may divide by them or read data that is not there. */
START_TEST(zero_dimensions_are_harmless) {
    unit_bytes b = {.mark = -2};
    gguf_error err = {0};
    gguf_file *f;
    no_columns(&b);
    unit_ok(gguf_file_from_memory(b.data, b.n, "x", GGUF_OPEN_DEFAULT, &f, &err), err);
    ck_assert_uint_eq(gguf_tensor_n_elems(gguf_file_tensor(f, 0)), 0);
    ck_assert_uint_eq(gguf_file_tensor(f, 0)->n_bytes, 0);
    gguf_file_close(f);
}
END_TEST

/* ---- what is valid as a file but not as a model ------------------------------------------ */

static void tokens(unit_bytes *b, uint32_t elem_type, uint64_t n) {
    unit_put_array_key(b, "tokenizer.ggml.tokens", elem_type, n);
    for (uint64_t i = 0; i < n; i++) {
        if (elem_type == GGUF_VALUE_STRING)
            unit_put_text(b, i == 0 ? "<unk>" : i == 1 ? "a" : "b");
        else
            unit_put_u32(b, (uint32_t)i);
    }
}

static void numbers(unit_bytes *b, const char *name, uint32_t type, uint32_t n) {
    unit_put_array_key(b, name, type, n);
    for (uint32_t i = 0; i < n; i++) unit_put_u32(b, 1);
}

static void tokens_no_strings(unit_bytes *b) {
    unit_put_head(b, 3, 0, 2);
    unit_put_text_key(b, "tokenizer.ggml.model", "llama");
    tokens(b, GGUF_VALUE_U32, 3);
}

static void scores_no_numbers(unit_bytes *b) {
    unit_put_head(b, 3, 0, 3);
    unit_put_text_key(b, "tokenizer.ggml.model", "llama");
    tokens(b, GGUF_VALUE_STRING, 3);
    unit_put_array_key(b, "tokenizer.ggml.scores", GGUF_VALUE_STRING, 3);
    for (int i = 0; i < 3; i++) unit_put_text(b, "s");
}

static void few_scores(unit_bytes *b) {
    unit_put_head(b, 3, 0, 3);
    unit_put_text_key(b, "tokenizer.ggml.model", "llama");
    tokens(b, GGUF_VALUE_STRING, 3);
    numbers(b, "tokenizer.ggml.scores", GGUF_VALUE_F32, 1);
}

static void few_types(unit_bytes *b) {
    unit_put_head(b, 3, 0, 3);
    unit_put_text_key(b, "tokenizer.ggml.model", "llama");
    tokens(b, GGUF_VALUE_STRING, 3);
    numbers(b, "tokenizer.ggml.token_type", GGUF_VALUE_I32, 2);
}

static void model_as_number(unit_bytes *b) {
    unit_put_head(b, 3, 0, 1);
    unit_put_u32_key(b, "tokenizer.ggml.model", 1);
}

static const struct {
    const char *class;
    void (*build)(unit_bytes *b);
    gguf_code codes[2];
} bad_tokenizers[] = {
    {"tokens that are no strings", tokens_no_strings, {GGUF_E_TYPE, GGUF_E_MISSING}},
    {"scores that are no numbers", scores_no_numbers, {GGUF_E_TYPE, GGUF_E_FORMAT}},
    {"fewer scores than tokens", few_scores, {GGUF_E_FORMAT, GGUF_E_SHAPE}},
    {"fewer types than tokens", few_types, {GGUF_E_FORMAT, GGUF_E_SHAPE}},
    {"the model as a number", model_as_number, {GGUF_E_TYPE, GGUF_E_MISSING}},
};

START_TEST(confused_tokenizer_arrays) {
    unit_bytes b = {.mark = -2};
    gguf_error err = {0};
    gguf_file *f;
    rt_tokenizer *tok;
    bad_tokenizers[_i].build(&b);
    unit_ok(gguf_file_from_memory(b.data, b.n, "x", GGUF_OPEN_DEFAULT, &f, &err), err);
    gguf_code code = rt_tokenizer_new(gguf_file_meta(f), &tok, &err);
    ck_assert_msg(code == bad_tokenizers[_i].codes[0] || code == bad_tokenizers[_i].codes[1],
                  "%s: got %s: %s", bad_tokenizers[_i].class, gguf_code_name(code), err.message);
    gguf_file_close(f);
}
END_TEST

/* CVE-2025-49847 (a piece longer than the buffer it is copied to) and CVE-2025-52566 (more tokens
 * than an int counts): pieces and ids have sizes of their own. */
START_TEST(long_pieces_are_copied_whole) {
    enum { LEN = 100000 };
    gguf_error err = {0};
    rt_tokenizer *tok;
    rt_ids ids = {0};
    char *piece = malloc(LEN);
    ck_assert_ptr_nonnull(piece);
    memset(piece, 'a', LEN);
    gguf_str texts[] = {gguf_str_of("<unk>"), {piece, LEN}, gguf_str_of("a")};
    float scores[] = {0, -1, -2};
    int32_t types[] = {2, 4, 1};
    gguf_meta *meta = gguf_meta_new();
    gguf_meta_set_str(meta, "tokenizer.ggml.model", gguf_str_of("llama"));
    gguf_meta_set_str_array(meta, "tokenizer.ggml.tokens", 3, texts);
    gguf_meta_set_array(meta, "tokenizer.ggml.scores", GGUF_VALUE_F32, 3, scores);
    gguf_meta_set_array(meta, "tokenizer.ggml.token_type", GGUF_VALUE_I32, 3, types);
    unit_ok(rt_tokenizer_new(meta, &tok, &err), err);
    ck_assert_uint_eq(rt_token_text(tok, 1).len, LEN);
    ck_assert_uint_eq(rt_token_text(tok, INT32_MAX).len, 0);
    ck_assert_uint_eq(rt_token_text(tok, -1).len, 0);
    unit_ok(rt_tokenize(tok, piece, LEN, 0, &ids, &err), err);
    for (size_t i = 0; i < ids.n; i++) ck_assert(ids.data[i] >= 0 && ids.data[i] < 3);
    rt_ids_clear(&ids);
    rt_tokenizer_free(tok);
    gguf_meta_free(meta);
    free(piece);
}
END_TEST

/* CVE-2024-8063: a block count of another type, then a division by it. */
START_TEST(model_keys_of_another_type) {
    unit_bytes b = {.mark = -2};
    gguf_error err = {0};
    gguf_file *f;
    uint64_t n = 7;
    unit_put_head(&b, 3, 0, 2);
    unit_put_text_key(&b, "llama.block_count", "0");
    unit_put_key(&b, "llama.embedding_length", GGUF_VALUE_F32);
    unit_put_u32(&b, 0);
    unit_ok(gguf_file_from_memory(b.data, b.n, "x", GGUF_OPEN_DEFAULT, &f, &err), err);
    const gguf_meta *meta = gguf_file_meta(f);
    ck_assert(!gguf_kv_u64(gguf_meta_find(meta, "llama.block_count"), &n));
    ck_assert(!gguf_kv_u64(gguf_meta_find(meta, "llama.embedding_length"), &n));
    ck_assert_uint_eq(n, 7);
    gguf_file_close(f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("published vulnerabilities");
    TCase *c = tcase_create("all");
    tcase_add_loop_test(c, refused_at_the_right_byte, 0, sizeof refused / sizeof refused[0]);
    tcase_add_test(c, zero_dimensions_are_harmless);
    tcase_add_loop_test(c, confused_tokenizer_arrays, 0,
                        sizeof bad_tokenizers / sizeof bad_tokenizers[0]);
    tcase_add_test(c, long_pieces_are_copied_whole);
    tcase_add_test(c, model_keys_of_another_type);
    suite_add_tcase(suite, c);
    return unit_run(suite);
}
