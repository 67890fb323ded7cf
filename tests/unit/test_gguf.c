/* GGUF files: what is written is read back; what is broken is refused at the right byte. */
#include "libgguf/edit.h"
#include "libgguf/gguf.h"
#include "libgguf/outfile.h"
#include "tests/unit/unit_gguf.h"

#include <stdint.h>
#include <sys/stat.h>

static void put_info(unit_bytes *b, const char *name, uint64_t n_cols, uint64_t n_rows,
                     uint32_t type, uint64_t off) {
    unit_put_info(b, name, 2, (const uint64_t[]){n_cols, n_rows}, type, off);
}

static unit_bytes small_file(uint32_t version) {
    unit_bytes b = {.n = 0};
    unit_put_head(&b, version, 2, 3);
    unit_put_text(&b, "general.architecture");
    unit_put_u32(&b, GGUF_VALUE_STRING);
    unit_put_text(&b, "llama");
    unit_put_u32_key(&b, "llama.block_count", 7);
    unit_put_text(&b, "tokenizer.ggml.tokens");
    unit_put_u32(&b, GGUF_VALUE_ARRAY);
    unit_put_u32(&b, GGUF_VALUE_STRING);
    unit_put_u64(&b, 2);
    unit_put_text(&b, "a");
    unit_put_text(&b, "bc");
    put_info(&b, "x.weight", 4, 2, GGUF_TYPE_F32, 0);
    put_info(&b, "y.weight", 32, 2, GGUF_TYPE_Q8_0, 32);
    unit_put_data(&b, 32 + 68 + 28);
    return b;
}

static gguf_code open_bytes(const unit_bytes *b, size_t n, gguf_file **file, gguf_error *err) {
    const char *path = unit_temp("small.gguf");
    unit_write(path, b->data, n);
    *err = (gguf_error){0};
    gguf_code code = gguf_file_open(path, GGUF_OPEN_DEFAULT, file, err);
    unlink(path);
    return code;
}

static void check_small(uint32_t version) {
    unit_bytes b = small_file(version);
    gguf_file *f;
    gguf_error err;
    unit_ok(open_bytes(&b, b.n, &f, &err), err);
    uint64_t n = 0;
    gguf_str s;
    const gguf_meta *meta = gguf_file_meta(f);
    ck_assert_uint_eq(gguf_file_version(f), version);
    ck_assert(gguf_kv_u64(gguf_meta_find(meta, "llama.block_count"), &n));
    ck_assert_uint_eq(n, 7);
    gguf_kv_iter it = {.kv = gguf_meta_find(meta, "tokenizer.ggml.tokens")};
    ck_assert(gguf_kv_next_str(&it, &s) && gguf_str_eq(s, "a"));
    ck_assert(gguf_kv_next_str(&it, &s) && gguf_str_eq(s, "bc"));
    ck_assert(!gguf_kv_next_str(&it, &s));
    const gguf_tensor *y = gguf_file_find_tensor(f, "y.weight");
    ck_assert_ptr_nonnull(y);
    ck_assert_uint_eq(y->n_bytes, 68);
    ck_assert_uint_eq(*(const uint8_t *)gguf_file_data(f, y), 32);
    ck_assert_ptr_null(gguf_file_find_tensor(f, "z.weight"));
    gguf_file_close(f);
}

START_TEST(reads_versions_2_and_3) {
    check_small(2);
    check_small(3);
}
END_TEST

START_TEST(every_prefix_is_refused) {
    unit_bytes b = small_file(3);
    size_t end_of_data = b.n - 28; /* the padding behind the last tensor may be absent */
    for (size_t n = 0; n < end_of_data; n++) {
        gguf_file *f;
        gguf_error err;
        gguf_code code = open_bytes(&b, n, &f, &err);
        ck_assert_msg(code == GGUF_E_TRUNCATED, "prefix of %zu bytes: %s", n, gguf_code_name(code));
        ck_assert_int_ge(err.offset, 0);
        ck_assert_int_le(err.offset, (int64_t)n);
    }
}
END_TEST

START_TEST(every_changed_byte_is_survived) {
    unit_bytes b = small_file(3);
    for (size_t i = 0; i < b.n; i++)
        for (unsigned flip = 1; flip < 256; flip <<= 1) {
            gguf_file *f;
            gguf_error err;
            b.data[i] ^= (uint8_t)flip;
            if (open_bytes(&b, b.n, &f, &err) == GGUF_OK) gguf_file_close(f);
            b.data[i] ^= (uint8_t)flip;
        }
}
END_TEST

/* ---- each kind of damage: code, byte and words ------------------------------------------- */

#define REFUSED(b, expected, at, text)                                                   \
    do {                                                                                 \
        gguf_file *refused_file;                                                         \
        gguf_error refused_err;                                                          \
        unit_fails(open_bytes(&(b), (b).n, &refused_file, &refused_err), expected, text, \
                   refused_err);                                                         \
        ck_assert_int_eq(refused_err.offset, at);                                        \
    } while (0)

START_TEST(wrong_magic_and_versions) {
    unit_bytes b = small_file(3);
    b.data[0] = 'X';
    REFUSED(b, GGUF_E_FORMAT, 0, "not a GGUF file");
    b = small_file(1);
    REFUSED(b, GGUF_E_UNSUPPORTED, 4, "version 1");
    b = small_file(9);
    REFUSED(b, GGUF_E_UNSUPPORTED, 4, "version 9");
    b = small_file(0x03000000);
    REFUSED(b, GGUF_E_UNSUPPORTED, 4, "big-endian");
}
END_TEST

START_TEST(counts_that_cannot_fit) {
    unit_bytes b = {.n = 0};
    unit_put_head(&b, 3, 0, UINT64_MAX);
    REFUSED(b, GGUF_E_TRUNCATED, 16, "metadata count");
    b.n = 0;
    unit_put_head(&b, 3, UINT64_MAX, 0);
    REFUSED(b, GGUF_E_TRUNCATED, 8, "tensors cannot fit");
    b.n = 0;
    unit_put_head(&b, 3, 0, 1);
    unit_put_u64(&b, UINT64_MAX - 3);
    unit_put_data(&b, 32);
    REFUSED(b, GGUF_E_TRUNCATED, 24, "a key claims");
}
END_TEST

START_TEST(broken_metadata) {
    unit_bytes b = {.n = 0};
    unit_put_head(&b, 3, 0, 2);
    unit_put_u32_key(&b, "k", 1);
    size_t second = b.n;
    unit_put_u32_key(&b, "k", 2);
    REFUSED(b, GGUF_E_DUPLICATE, (int64_t)second, "'k' occurs twice");
    b.n = 0;
    unit_put_head(&b, 3, 0, 1);
    unit_put_text(&b, "k");
    size_t type_at = b.n;
    unit_put_u32(&b, 13);
    unit_put_data(&b, 32);
    REFUSED(b, GGUF_E_FORMAT, (int64_t)type_at, "unknown value type 13");
    b.n = 0;
    unit_put_head(&b, 3, 0, 1);
    unit_put_text(&b, "k");
    unit_put_u32(&b, GGUF_VALUE_ARRAY);
    type_at = b.n;
    unit_put_u32(&b, GGUF_VALUE_ARRAY);
    unit_put_u64(&b, 1);
    unit_put_data(&b, 32);
    REFUSED(b, GGUF_E_UNSUPPORTED, (int64_t)type_at, "nested arrays");
}
END_TEST

START_TEST(broken_alignment) {
    const uint32_t bad[] = {0, 24, 1u << 30};
    for (size_t i = 0; i < 3; i++) {
        unit_bytes b = {.n = 0};
        unit_put_head(&b, 3, 0, 1);
        unit_put_u32_key(&b, "general.alignment", bad[i]);
        REFUSED(b, GGUF_E_FORMAT, 24, "general.alignment");
    }
}
END_TEST

static unit_bytes one_tensor(const char *name, uint64_t n_cols, uint64_t n_rows, uint32_t type,
                             uint64_t off) {
    unit_bytes b = {.n = 0};
    unit_put_head(&b, 3, 1, 0);
    put_info(&b, name, n_cols, n_rows, type, off);
    unit_put_data(&b, 64);
    return b;
}

START_TEST(broken_tensors) {
    unit_bytes b = one_tensor("x", 31, 1, GGUF_TYPE_Q8_0, 0);
    REFUSED(b, GGUF_E_SHAPE, 24, "31 columns");
    b = one_tensor("x", UINT64_MAX / 2, 8, GGUF_TYPE_F32, 0);
    REFUSED(b, GGUF_E_SHAPE, 24, "overflows");
    b = one_tensor("x", 4, 1, 4, 0);
    REFUSED(b, GGUF_E_UNSUPPORTED, 24, "type 4");
    b = one_tensor("x", 4, 1, GGUF_TYPE_F32, 8);
    REFUSED(b, GGUF_E_FORMAT, 57, "no multiple of the alignment");
    b = one_tensor("x", 4, 1, GGUF_TYPE_F32, 64);
    REFUSED(b, GGUF_E_TRUNCATED, (int64_t)b.n, "beyond the end");
    b = one_tensor("x", 4, 1, GGUF_TYPE_F32, UINT64_MAX - 31);
    REFUSED(b, GGUF_E_TRUNCATED, (int64_t)b.n, "beyond the end");
    char name[80];
    memset(name, 'n', 64);
    name[64] = '\0';
    b = one_tensor(name, 4, 1, GGUF_TYPE_F32, 0);
    REFUSED(b, GGUF_E_LIMIT, 24, "64 bytes");
}
END_TEST

/* Types with interleaved rows are known by name only. */
START_TEST(interleaved_types_are_named) {
    const uint64_t dims[] = {256, 4};
    uint64_t n_bytes;
    gguf_error err = {0};
    ck_assert_str_eq(gguf_type_name(339), "IQ4_K_R4");
    unit_fails(gguf_tensor_bytes(339, 2, dims, &n_bytes, &err), GGUF_E_UNSUPPORTED,
               "make the file again as IQ4_K,", err);
    err = (gguf_error){0};
    unit_fails(gguf_tensor_bytes(338, 2, dims, &n_bytes, &err), GGUF_E_UNSUPPORTED, "IQ3_K_R4",
               err);
    err = (gguf_error){0};
    unit_fails(gguf_tensor_bytes(160, 2, dims, &n_bytes, &err), GGUF_E_UNSUPPORTED,
               "tensor type 160 is not known", err);
    unit_ok(gguf_tensor_bytes(GGUF_TYPE_IQ4_KS, 2, dims, &n_bytes, &err), err);
    ck_assert_uint_eq(n_bytes, 4 * (4 + 136));
}
END_TEST

START_TEST(duplicate_tensor) {
    unit_bytes b = {.n = 0};
    unit_put_head(&b, 3, 2, 0);
    put_info(&b, "x", 4, 1, GGUF_TYPE_F32, 0);
    size_t second = b.n;
    put_info(&b, "x", 4, 1, GGUF_TYPE_F32, 32);
    unit_put_data(&b, 64);
    REFUSED(b, GGUF_E_DUPLICATE, (int64_t)second, "'x' occurs twice");
}
END_TEST

/* ---- writing ----------------------------------------------------------------------------- */

static gguf_meta *sample_meta(void) {
    gguf_meta *meta = gguf_meta_new();
    gguf_str words[2] = {gguf_str_of("one"), gguf_str_of("")};
    int32_t numbers[3] = {-1, 0, 1};
    gguf_meta_set_str(meta, "s", gguf_str_of("text"));
    gguf_meta_set_u32(meta, "n", 1);
    gguf_meta_set_f32(meta, "f", 0.5f);
    gguf_meta_set_bool(meta, "b", true);
    gguf_meta_set_str_array(meta, "words", 2, words);
    gguf_meta_set_array(meta, "numbers", GGUF_VALUE_I32, 3, numbers);
    gguf_meta_set_u32(meta, "n", 2); /* replaced in its place */
    gguf_meta_set_u32(meta, "gone", 3);
    gguf_meta_unset(meta, "gone");
    return meta;
}

START_TEST(written_header_is_read_back) {
    gguf_error err = {0};
    gguf_meta *meta = sample_meta();
    gguf_tensor tensors[2] = {
        {.name = gguf_str_of("a"), .type = GGUF_TYPE_F16, .n_dims = 1, .dims = {5, 1, 1, 1}},
        {.name = gguf_str_of("b"), .type = GGUF_TYPE_Q4_K, .n_dims = 2, .dims = {256, 3, 1, 1}}};
    uint64_t data_bytes;
    uint8_t *header;
    size_t header_bytes;
    unit_ok(gguf_layout(tensors, 2, 32, &data_bytes, &err), err);
    ck_assert_uint_eq(data_bytes, 32 + 448);
    unit_ok(gguf_header_encode(meta, tensors, 2, 32, &header, &header_bytes, &err), err);
    ck_assert_uint_eq(header_bytes % 32, 0);
    const char *path = unit_temp("written.gguf");
    gguf_outfile *out;
    unit_ok(gguf_outfile_open(path, header_bytes + data_bytes, false, &out, &err), err);
    unit_ok(gguf_outfile_write(out, header, header_bytes, 0, &err), err);
    unit_ok(gguf_outfile_commit(out, &err), err);
    gguf_file *f;
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &f, &err), err);
    const gguf_meta *read = gguf_file_meta(f);
    ck_assert_uint_eq(gguf_meta_count(read), gguf_meta_count(meta));
    for (size_t i = 0; i < gguf_meta_count(meta); i++) {
        const gguf_kv *a = gguf_meta_at(meta, i), *b = gguf_meta_at(read, i);
        ck_assert_uint_eq(a->key.len, b->key.len);
        ck_assert_mem_eq(a->key.ptr, b->key.ptr, a->key.len);
        ck_assert_uint_eq(a->n_bytes, b->n_bytes);
        ck_assert_mem_eq(a->data, b->data, a->n_bytes);
    }
    uint64_t n = 0;
    ck_assert(gguf_kv_u64(gguf_meta_at(read, 1), &n) && n == 2);
    ck_assert_uint_eq(gguf_file_find_tensor(f, "b")->data_off, 32);
    gguf_file_close(f);
    gguf_meta_free(meta);
    free(header);
    unlink(path);
}
END_TEST

START_TEST(outputs_are_not_replaced_unasked) {
    gguf_error err = {0};
    const char *path = unit_temp("kept");
    unit_write(path, "old", 3);
    unit_fails(gguf_outfile_save(path, "new", 3, false, &err), GGUF_E_EXISTS, "--force", err);
    size_t n;
    unsigned char *kept = unit_read(path, &n);
    ck_assert(n == 3 && memcmp(kept, "old", 3) == 0);
    free(kept);
    err = (gguf_error){0};
    unit_ok(gguf_outfile_save(path, "new", 3, true, &err), err);
    kept = unit_read(path, &n);
    ck_assert(n == 3 && memcmp(kept, "new", 3) == 0);
    free(kept);
    unlink(path);
}
END_TEST

START_TEST(discarded_outputs_leave_nothing) {
    gguf_error err = {0};
    gguf_outfile *out;
    const char *path = unit_temp("discarded");
    char part[600];
    snprintf(part, sizeof part, "%s.part", path);
    unit_ok(gguf_outfile_open(path, 100, false, &out, &err), err);
    ck_assert_int_eq(access(part, F_OK), 0);
    gguf_outfile *second;
    unit_fails(gguf_outfile_open(path, 100, false, &second, &err), GGUF_E_IO, "another process",
               err);
    gguf_outfile_discard(out);
    ck_assert_int_ne(access(part, F_OK), 0);
    ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(replaced_files_keep_their_place) {
    gguf_error err = {0};
    struct stat st;
    const char *path = unit_temp("target"), *link = unit_temp("link");
    unit_write(path, "old", 3);
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(symlink(path, link), 0);
    unit_ok(gguf_outfile_save(link, "newer", 5, true, &err), err);
    ck_assert_int_eq(lstat(link, &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 5);
    ck_assert_int_eq(st.st_mode & 0777, 0640);
    unlink(link);
    unlink(path);
}
END_TEST

/* A copy of a large model must not be deaf to Ctrl-C. */
START_TEST(cancelled_copies_leave_nothing) {
    gguf_error err = {0};
    gguf_file *f;
    gguf_edit_result result;
    unit_bytes b = one_tensor("x", 32, 1, GGUF_TYPE_Q8_0, 0);
    const char *path = unit_temp("original.gguf"), *copy = unit_temp("copy.gguf");
    const atomic_bool cancel = true;
    const gguf_edit_opts opts = {.out_path = copy, .cancel = &cancel};
    char part[600];
    snprintf(part, sizeof part, "%s.part", copy);
    unit_write(path, b.data, b.n);
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &f, &err), err);
    gguf_meta *meta = sample_meta();
    unit_fails(gguf_edit_save(f, meta, &opts, &result, &err), GGUF_E_CANCELLED, "interrupted", err);
    ck_assert_int_ne(access(copy, F_OK), 0);
    ck_assert_int_ne(access(part, F_OK), 0);
    gguf_meta_free(meta);
    gguf_file_close(f);
    unlink(path);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("gguf");
    TCase *reading = tcase_create("reading"), *writing = tcase_create("writing");
    tcase_add_test(reading, reads_versions_2_and_3);
    tcase_add_test(reading, every_prefix_is_refused);
    tcase_add_test(reading, every_changed_byte_is_survived);
    tcase_add_test(reading, wrong_magic_and_versions);
    tcase_add_test(reading, counts_that_cannot_fit);
    tcase_add_test(reading, broken_metadata);
    tcase_add_test(reading, broken_alignment);
    tcase_add_test(reading, broken_tensors);
    tcase_add_test(reading, interleaved_types_are_named);
    tcase_add_test(reading, duplicate_tensor);
    tcase_add_test(writing, written_header_is_read_back);
    tcase_add_test(writing, outputs_are_not_replaced_unasked);
    tcase_add_test(writing, discarded_outputs_leave_nothing);
    tcase_add_test(writing, replaced_files_keep_their_place);
    tcase_add_test(writing, cancelled_copies_leave_nothing);
    suite_add_tcase(suite, reading);
    suite_add_tcase(suite, writing);
    return unit_run(suite);
}
