/* List the tensors of a GGUF file, then write a small file of one's own: libgguf in forty lines.
 *   cc list_tensors.c $(pkg-config --cflags --libs libgguf) */
#include <libgguf/gguf.h>
#include <stdio.h>

static int report(const gguf_error *err) {
    if (*err->file) fprintf(stderr, "%s: ", err->file);
    if (err->offset != GGUF_NO_OFFSET) fprintf(stderr, "byte %lld: ", (long long)err->offset);
    fprintf(stderr, "%s\n", err->message);
    return gguf_code_exit_status(err->code);
}

static gguf_code write_sample(const char *path, gguf_error *err) {
    const float values[4] = {1, 2, 3, 4};
    gguf_tensor tensor = {.name = gguf_str_of("sample.weight"),
                          .type = GGUF_TYPE_F32,
                          .n_dims = 2,
                          .dims = {2, 2, 1, 1}};
    gguf_writer *writer;
    gguf_meta *meta = gguf_meta_new();
    gguf_meta_set_str(meta, "general.architecture", gguf_str_of("sample"));
    gguf_code code = gguf_writer_open(path, meta, &tensor, 1, 32, true, &writer, err);
    if (!code) code = gguf_writer_write(writer, 0, 0, values, sizeof values, err);
    if (!code) code = gguf_writer_commit(writer, err);
    gguf_meta_free(meta);
    return code;
}

int main(int argc, char **argv) {
    gguf_error err = {0};
    gguf_file *file;
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: %s FILE.gguf [SAMPLE.gguf to write]\n", argv[0]);
        return 2;
    }
    if (argc == 3 && write_sample(argv[2], &err)) return report(&err);
    if (gguf_file_open(argv[1], GGUF_OPEN_DEFAULT, &file, &err)) return report(&err);
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_file_tensor(file, i);
        printf("%.*s %s %llu\n", (int)t->name.len, t->name.ptr, gguf_type_name(t->type),
               (unsigned long long)t->n_bytes);
    }
    gguf_file_close(file);
    return 0;
}
