/* safetensors files and sharded folders: accepted and refused as the reference parser does, and
 * stricter where a mistake would go unseen. */
#include "libgguf/checkpoint.h"
#include "tests/unit/unit.h"

#include <stdint.h>
#include <sys/stat.h>

static void write_st(const char *path, const char *header, size_t n_data) {
    unsigned char bytes[4096];
    uint64_t n = strlen(header);
    ck_assert(8 + n + n_data <= sizeof bytes);
    memcpy(bytes, &n, 8);
    memcpy(bytes + 8, header, n);
    memset(bytes + 8 + n, 1, n_data);
    unit_write(path, bytes, 8 + n + n_data);
}

static gguf_code open_st(const char *header, size_t n_data, gguf_checkpoint **ckpt,
                         gguf_error *err) {
    const char *path = unit_temp("x.safetensors");
    write_st(path, header, n_data);
    *err = (gguf_error){0};
    gguf_code code = gguf_checkpoint_open(path, ckpt, err);
    unlink(path);
    return code;
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define B "\"b\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[8,16]}"

START_TEST(reads_a_file) {
    gguf_checkpoint *c;
    gguf_error err;
    unit_ok(open_st("{" B "," A ",\"__metadata__\":{\"format\":\"pt\"}}  ", 16, &c, &err), err);
    ck_assert_uint_eq(gguf_checkpoint_n_tensors(c), 2);
    const gguf_checkpoint_tensor *b = gguf_checkpoint_find(c, "b");
    ck_assert_ptr_nonnull(b);
    ck_assert_str_eq(b->dtype->name, "BF16");
    ck_assert(b->n_dims == 2 && b->dims[0] == 2 && b->dims[1] == 2 && b->n_bytes == 8);
    ck_assert_str_eq(gguf_checkpoint_tensor_at(c, 0)->name.ptr, "a");
    gguf_checkpoint_close(c);
    unit_ok(open_st("{}", 0, &c, &err), err);
    gguf_checkpoint_close(c);
}
END_TEST

static const struct {
    const char *header;
    size_t n_data;
    gguf_code code;
    int64_t off;
    const char *text;
} refused[] = {
    {"", 0, GGUF_E_FORMAT, 8, "JSON"},
    {"[]", 0, GGUF_E_FORMAT, 8, "not an object"},
    {"{" A "} x", 8, GGUF_E_FORMAT, -2, "JSON"},
    {"{" A "," A "}", 8, GGUF_E_DUPLICATE, -2, "duplicate"},
    {"{" A "," B "}", 15, GGUF_E_TRUNCATED, -2, "134 of 135 bytes"},
    {"{" A "," B "}", 17, GGUF_E_FORMAT, -2, "1 bytes after"},
    {"{" B "}", 16, GGUF_E_FORMAT, 9, "gap"},
    {"{" A ",\"c\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, GGUF_E_FORMAT,
     -2, "overlaps"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, GGUF_E_SHAPE, 9,
     "need 12"},
    {"{\"a\":{\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, GGUF_E_FORMAT, 9,
     "dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, GGUF_E_FORMAT, 9,
     "dimension"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, GGUF_E_FORMAT, 9,
     "dimension"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,9],\"data_offsets\":[0,8]}}", 8,
     GGUF_E_SHAPE, 9, "overflows"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, GGUF_E_FORMAT, 9,
     "ascending"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, GGUF_E_FORMAT, 9, "no shape"},
    {"{\"__metadata__\":{\"n\":1}}", 0, GGUF_E_FORMAT, 8, "__metadata__"},
};

START_TEST(refuses_broken_headers) {
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        gguf_checkpoint *c;
        gguf_error err;
        unit_fails(open_st(refused[i].header, refused[i].n_data, &c, &err), refused[i].code,
                   refused[i].text, err);
        if (refused[i].off >= 0) ck_assert_int_eq(err.offset, refused[i].off);
    }
}
END_TEST

START_TEST(every_prefix_is_refused) {
    static const char header[] = "{" A "," B "}";
    const char *whole = unit_temp("whole.safetensors"), *path = unit_temp("cut.safetensors");
    size_t n_bytes;
    write_st(whole, header, 16);
    unsigned char *bytes = unit_read(whole, &n_bytes);
    for (size_t n = 0; n < n_bytes; n++) {
        gguf_checkpoint *c;
        gguf_error err = {0};
        unit_write(path, bytes, n);
        gguf_code code = gguf_checkpoint_open(path, &c, &err);
        ck_assert_msg(code == GGUF_E_TRUNCATED, "prefix of %zu: %s", n, gguf_code_name(code));
    }
    free(bytes);
    unlink(whole);
    unlink(path);
}
END_TEST

START_TEST(header_length_is_bounded) {
    const char *path = unit_temp("long.safetensors");
    uint64_t n = UINT64_MAX;
    gguf_checkpoint *c;
    gguf_error err = {0};
    unit_write(path, &n, 8);
    unit_fails(gguf_checkpoint_open(path, &c, &err), GGUF_E_LIMIT, "over the limit", err);
    ck_assert_int_eq(err.offset, 0);
    unlink(path);
}
END_TEST

/* ---- shards ------------------------------------------------------------------------------ */

#define B0 "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"

static gguf_code open_shards(const char *second, const char *map, gguf_checkpoint **c,
                             gguf_error *err) {
    char path[600], index[1024];
    const char *folder = unit_temp("shards");
    mkdir(folder, 0700);
    snprintf(path, sizeof path, "%s/1.safetensors", folder);
    write_st(path, "{" A "}", 8);
    snprintf(path, sizeof path, "%s/2.safetensors", folder);
    write_st(path, second, 8);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    snprintf(index, sizeof index, "{\"metadata\":{\"total_size\":16},\"weight_map\":{%s}}", map);
    unit_write(path, index, strlen(index));
    *err = (gguf_error){0};
    return gguf_checkpoint_open(folder, c, err);
}

START_TEST(shards_and_map_must_agree) {
    gguf_checkpoint *c;
    gguf_error err;
    unit_ok(open_shards("{" B0 "}", "\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"", &c, &err),
            err);
    ck_assert_uint_eq(gguf_checkpoint_n_files(c), 2);
    ck_assert_uint_eq(gguf_checkpoint_find(c, "b")->file, 1);
    gguf_checkpoint_close(c);
    /* A shard that the map does not name is not opened at all. */
    unit_ok(open_shards("{" B0 "}", "\"a\":\"1.safetensors\"", &c, &err), err);
    ck_assert_uint_eq(gguf_checkpoint_n_tensors(c), 1);
    gguf_checkpoint_close(c);
}
END_TEST

START_TEST(shard_mistakes_are_named) {
    gguf_checkpoint *c;
    gguf_error err;
    unit_fails(open_shards("{" A "}", "\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"", &c, &err),
               GGUF_E_DUPLICATE, "'a' occurs twice", err);
    unit_fails(
        open_shards("{" B0 "}", "\"a\":\"../1.safetensors\",\"b\":\"2.safetensors\"", &c, &err),
        GGUF_E_FORMAT, "not a file beside", err);
    unit_fails(open_shards("{" B0 "}", "\"a\":\"3.safetensors\"", &c, &err), GGUF_E_MISSING,
               "names files of which none is here", err);
}
END_TEST

/* The files count; what the index says otherwise is a warning. */
static const struct {
    const char *map, *warning;
    size_t n_tensors;
} stale_maps[] = {
    {"\"a\":\"1.safetensors\",\"c\":\"1.safetensors\"",
     "lists 1 tensor that no file has, the first is 'c'", 1},
    {"\"b\":\"1.safetensors\",\"a\":\"2.safetensors\"",
     "puts 2 tensors into another file than the one that has it, the first is 'b'", 2},
    {"\"c\":\"1.safetensors\",\"b\":\"2.safetensors\"", "does not list 1 tensor, the first is 'a'",
     2},
    {"\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"", "names 1 absent file", 1},
};

START_TEST(the_files_count) {
    gguf_checkpoint *c;
    gguf_error err;
    bool said = false;
    unit_ok(open_shards("{" B0 "}", stale_maps[_i].map, &c, &err), err);
    ck_assert_uint_eq(gguf_checkpoint_n_tensors(c), stale_maps[_i].n_tensors);
    for (size_t i = 0; i < gguf_checkpoint_n_warnings(c); i++)
        said = said || strstr(gguf_checkpoint_warning(c, i), stale_maps[_i].warning);
    ck_assert_msg(said, "no warning says '%s'", stale_maps[_i].warning);
    if (_i == 3) ck_assert_str_eq(gguf_checkpoint_absent_file(c, "b"), "3.safetensors");
    gguf_checkpoint_close(c);
}
END_TEST

static void add_shard(const char *folder, const char *name, const char *header) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    write_st(path, header, 8);
}

START_TEST(files_without_an_index) {
    char folder[500];
    gguf_checkpoint *c;
    gguf_error err = {0};
    snprintf(folder, sizeof folder, "%s", unit_temp("unlisted"));
    mkdir(folder, 0700);
    add_shard(folder, "weights.safetensors", "{" A "}");
    unit_fails(gguf_checkpoint_open(folder, &c, &err), GGUF_E_MISSING,
               "('weights.safetensors') has to be given itself", err);
    err = (gguf_error){0};
    add_shard(folder, "other-00001-of-00002.safetensors", "{" A "}");
    unit_fails(gguf_checkpoint_open(folder, &c, &err), GGUF_E_IO, "cannot open", err);
    ck_assert(strstr(err.file, "other-00002-of-00002.safetensors"));
    add_shard(folder, "other-00002-of-00002.safetensors", "{" B0 "}");
    err = (gguf_error){0};
    unit_ok(gguf_checkpoint_open(folder, &c, &err), err);
    ck_assert_uint_eq(gguf_checkpoint_n_tensors(c), 2);
    gguf_checkpoint_close(c);
    add_shard(folder, "model.safetensors", "{" A "}");
    unit_ok(gguf_checkpoint_open(folder, &c, &err), err);
    ck_assert_uint_eq(gguf_checkpoint_n_files(c), 1);
    gguf_checkpoint_close(c);
}
END_TEST

START_TEST(a_folder_without_weights) {
    const char *folder = unit_temp("empty");
    gguf_checkpoint *c;
    gguf_error err = {0};
    mkdir(folder, 0700);
    unit_fails(gguf_checkpoint_open(folder, &c, &err), GGUF_E_MISSING, "no model.safetensors", err);
    rmdir(folder);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("checkpoint");
    TCase *files = tcase_create("files"), *shards = tcase_create("shards");
    tcase_add_test(files, reads_a_file);
    tcase_add_test(files, refuses_broken_headers);
    tcase_add_test(files, every_prefix_is_refused);
    tcase_add_test(files, header_length_is_bounded);
    tcase_add_test(shards, shards_and_map_must_agree);
    tcase_add_test(shards, shard_mistakes_are_named);
    tcase_add_loop_test(shards, the_files_count, 0, 4);
    tcase_add_test(shards, files_without_an_index);
    tcase_add_test(shards, a_folder_without_weights);
    suite_add_tcase(suite, files);
    suite_add_tcase(suite, shards);
    return unit_run(suite);
}
