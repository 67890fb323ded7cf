/* What outputs may take the place of, and models of more files than there are descriptors. */
#include "libgguf/checkpoint.h"
#include "libgguf/inputs.h"
#include "libgguf/map.h"
#include "libgguf/outfile.h"
#include "libgguf/split.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define N_FILES       340
#define N_DESCRIPTORS 300 /* the limit; fewer than the files */
#define N_COLS        32

static void limit_descriptors(rlim_t n) {
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = n;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void fill(float *row, size_t i) {
    for (size_t k = 0; k < N_COLS; k++) row[k] = (float)(i * N_COLS + k);
}

static void write_model(const char *path) {
    static char names[N_FILES][16];
    static gguf_tensor tensors[N_FILES];
    float row[N_COLS];
    gguf_error err = {0};
    gguf_writer *w;
    gguf_meta *meta = gguf_meta_new();
    for (size_t i = 0; i < N_FILES; i++) {
        snprintf(names[i], sizeof names[i], "t%zu", i);
        tensors[i] = (gguf_tensor){.name = gguf_str_of(names[i]),
                                   .type = GGUF_TYPE_F32,
                                   .n_dims = 1,
                                   .dims = {N_COLS, 1, 1, 1}};
    }
    unit_ok(gguf_writer_open(path, meta, tensors, N_FILES, 32, GGUF_WRITE_REPLACE, &w, &err), err);
    for (size_t i = 0; i < N_FILES; i++) {
        fill(row, i);
        unit_ok(gguf_writer_write(w, i, 0, row, sizeof row, &err), err);
    }
    unit_ok(gguf_writer_commit(w, &err), err);
    gguf_meta_free(meta);
}

static void count_shard(void *ctx, const char *path, size_t n_tensors, uint64_t n_bytes) {
    (void)path, (void)n_tensors, (void)n_bytes;
    ++*(size_t *)ctx;
}

START_TEST(shards_are_reported_once_all_are_there) {
    const char *path = unit_temp("model.gguf"), *prefix = unit_temp("part");
    size_t n_reported = 0;
    atomic_bool cancel = true;
    gguf_error err = {0};
    gguf_file *file;
    gguf_split_opts opts = {
        .max_tensors = N_FILES / 3, .cancel = &cancel, .on_shard = count_shard, .ctx = &n_reported};
    write_model(path);
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
    ck_assert_int_eq(gguf_split(file, prefix, &opts, &err), GGUF_E_CANCELLED);
    ck_assert_uint_eq(n_reported, 0);
    opts.cancel = NULL;
    err = (gguf_error){0};
    unit_ok(gguf_split(file, prefix, &opts, &err), err);
    ck_assert_uint_ge(n_reported, 3);
    gguf_file_close(file);
}
END_TEST

START_TEST(more_than_the_disk_has) {
    const char *path = unit_temp("large.gguf");
    gguf_error err = {0};
    ck_assert_int_eq(gguf_outfile_check_space(path, UINT64_MAX / 2, &err), GGUF_E_NOSPACE);
    ck_assert_ptr_nonnull(strstr(err.message, "are free on the disk"));
    err = (gguf_error){0};
    unit_ok(gguf_outfile_check_space(path, 1, &err), err);
}
END_TEST

START_TEST(more_shards_than_descriptors) {
    const char *path = unit_temp("many.gguf"), *back = unit_temp("back.gguf");
    char shard[600], prefix[600];
    gguf_error err = {0};
    gguf_file *file;
    size_t n, n_back;
    write_model(path);
    snprintf(prefix, sizeof prefix, "%.*s", (int)gguf_shard_prefix_bytes(path), path);
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
    unit_ok(gguf_split(file, path, &(gguf_split_opts){.max_tensors = 1, .replace = true}, &err),
            err);
    gguf_file_close(file);

    limit_descriptors(N_DESCRIPTORS);
    ck_assert(gguf_shard_name(prefix, N_FILES, 0, shard, sizeof shard));
    unit_ok(gguf_file_open(shard, GGUF_OPEN_DEFAULT, &file, &err), err);
    ck_assert_uint_eq(gguf_file_n_shards(file), N_FILES);
    ck_assert_int_lt(gguf_file_fd(file, N_FILES - 1), 0);
    float row[N_COLS], wanted[N_COLS];
    const gguf_tensor *last = gguf_file_tensor(file, N_FILES - 1);
    unit_ok(gguf_read_at(-1, gguf_file_shard_path(file, last->shard), row, sizeof row,
                         last->file_off, &err),
            err);
    fill(wanted, N_FILES - 1);
    ck_assert_mem_eq(row, wanted, sizeof row);
    ck_assert_mem_eq(gguf_file_data(file, last), wanted, sizeof row);
    unit_ok(gguf_merge(file, back, true, NULL, &err), err);
    gguf_file_close(file);

    unsigned char *a = unit_read(path, &n), *b = unit_read(back, &n_back);
    ck_assert_uint_eq(n, n_back);
    ck_assert_mem_eq(a, b, n);
    free(a);
    free(b);
    for (uint32_t no = 0; no < N_FILES; no++)
        if (gguf_shard_name(prefix, N_FILES, no, shard, sizeof shard)) unlink(shard);
    unlink(path);
    unlink(back);
}
END_TEST

/* A folder of safetensors files with an index, each with one tensor. */
static void write_checkpoint(const char *folder) {
    char path[700];
    float row[N_COLS];
    gguf_error err = {0};
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f, "{\"weight_map\": {");
    for (size_t i = 0; i < N_FILES; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%zu", i);
        snprintf(path, sizeof path, "%s/s%05zu.safetensors", folder, i);
        fill(row, i);
        unit_ok(gguf_safetensors_save_f32(path, name, (uint64_t[]){N_COLS}, 1, row, true, &err),
                err);
        fprintf(f, "%s\"%s\": \"s%05zu.safetensors\"", i ? "," : "", name, i);
    }
    fprintf(f, "}}");
    fclose(f);
}

START_TEST(more_checkpoint_files_than_descriptors) {
    const char *folder = unit_temp("checkpoint");
    char path[700];
    gguf_error err = {0};
    gguf_checkpoint *ckpt;
    mkdir(folder, 0777);
    write_checkpoint(folder);
    limit_descriptors(N_DESCRIPTORS);
    unit_ok(gguf_checkpoint_open(folder, &ckpt, &err), err);
    ck_assert_uint_eq(gguf_checkpoint_n_tensors(ckpt), N_FILES);
    for (size_t i = 0; i < N_FILES; i += 113) {
        char name[16];
        float row[N_COLS], wanted[N_COLS];
        snprintf(name, sizeof name, "t%zu", i);
        const gguf_checkpoint_tensor *t = gguf_checkpoint_find(ckpt, name);
        ck_assert_ptr_nonnull(t);
        unit_ok(gguf_read_at(gguf_checkpoint_file_fd(ckpt, t->file),
                             gguf_checkpoint_file_path(ckpt, t->file), row, sizeof row, t->off,
                             &err),
                err);
        fill(wanted, i);
        ck_assert_mem_eq(row, wanted, sizeof row);
    }
    gguf_checkpoint_close(ckpt);
    for (size_t i = 0; i < N_FILES; i++) {
        snprintf(path, sizeof path, "%s/s%05zu.safetensors", folder, i);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    unlink(path);
    rmdir(folder);
}
END_TEST

START_TEST(a_parked_output_is_written_and_committed) {
    const char *path = unit_temp("parked");
    gguf_error err = {0};
    gguf_outfile *out;
    size_t n;
    unit_ok(gguf_outfile_open(path, 6, GGUF_OUT_REPLACE, &out, &err), err);
    unit_ok(gguf_outfile_write(out, "abc", 3, 3, &err), err);
    gguf_outfile_park(out);
    unit_ok(gguf_outfile_write(out, "xyz", 3, 0, &err), err);
    char back[6];
    unit_ok(gguf_outfile_read(out, back, 6, 0, &err), err);
    ck_assert_mem_eq(back, "xyzabc", 6);
    unit_ok(gguf_outfile_commit(out, &err), err);
    unsigned char *bytes = unit_read(path, &n);
    ck_assert_uint_eq(n, 6);
    ck_assert_mem_eq(bytes, "xyzabc", 6);
    free(bytes);
    unlink(path);
}
END_TEST

/* Only once a program watches; a shard stands for its set. */
START_TEST(inputs_are_not_replaced) {
    const char *path = unit_temp("input"), *link = unit_temp("link");
    gguf_error err = {0};
    char *text;
    size_t n;
    unit_write(path, "old", 3);
    unit_ok(gguf_read_file(path, 10, &text, &n, &err), err);
    free(text);
    unit_ok(gguf_outfile_save(path, "new", 3, GGUF_OUT_REPLACE, &err), err);
    gguf_inputs_watch();
    unit_ok(gguf_read_file(path, 10, &text, &n, &err), err);
    free(text);
    unit_fails(gguf_outfile_save(path, "newer", 5, GGUF_OUT_REPLACE, &err), GGUF_E_USAGE, "reads",
               err);
    unlink(link);
    err = (gguf_error){0};
    ck_assert_int_eq(symlink(path, link), 0);
    unit_fails(gguf_outfile_check(link, GGUF_OUT_REPLACE, &err), GGUF_E_USAGE, "reads", err);
    unlink(link);
    err = (gguf_error){0};
    ck_assert_int_eq(symlink("nowhere", link), 0);
    unit_fails(gguf_outfile_check(link, GGUF_OUT_REPLACE, &err), GGUF_E_IO, "nowhere", err);
    unlink(link);
    err = (gguf_error){0};
    unit_ok(gguf_outfile_save(path, "it", 2, GGUF_OUT_REPLACE | GGUF_OUT_OVER_INPUT, &err), err);
    gguf_inputs_add(path);
    gguf_inputs_forget(path);
    unit_ok(gguf_outfile_save(path, "newer", 5, GGUF_OUT_REPLACE, &err), err);
    unlink(path);
}
END_TEST

/* An input that takes the output's name while the work goes on stays. */
START_TEST(what_comes_meanwhile_counts) {
    const char *path = unit_temp("meanwhile"), *other = unit_temp("other");
    gguf_error err = {0};
    gguf_outfile *out;
    size_t n;
    gguf_inputs_watch();
    unlink(path);
    unit_write(other, "input", 5);
    gguf_inputs_add(other);
    unit_ok(gguf_outfile_open(path, 3, GGUF_OUT_REPLACE, &out, &err), err);
    unit_ok(gguf_outfile_write(out, "new", 3, 0, &err), err);
    ck_assert_int_eq(rename(other, path), 0);
    unit_fails(gguf_outfile_commit(out, &err), GGUF_E_USAGE, "reads", err);
    unsigned char *bytes = unit_read(path, &n);
    ck_assert_uint_eq(n, 5);
    free(bytes);
    unlink(path);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("outputs");
    TCase *tc = tcase_create("outputs");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, a_parked_output_is_written_and_committed);
    tcase_add_test(tc, shards_are_reported_once_all_are_there);
    tcase_add_test(tc, more_than_the_disk_has);
    tcase_add_test(tc, more_shards_than_descriptors);
    tcase_add_test(tc, more_checkpoint_files_than_descriptors);
    tcase_add_test(tc, inputs_are_not_replaced);
    tcase_add_test(tc, what_comes_meanwhile_counts);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
