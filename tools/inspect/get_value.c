/* get: one value of the metadata, as it is. */
#include "libgguf/near.h"
#include "tools/inspect/inspect.h"

#include <stdlib.h>
#include <string.h>

/* The nearest keys. Those of the file do not end with a NUL. */
static gguf_code fail_missing(const inspect_call *c, const gguf_meta *meta, const char *key) {
    size_t n = gguf_meta_count(meta);
    char hint[300], **names = calloc(n + 1, sizeof *names);
    gguf_near near = {.wanted = key};
    if (!names) return gguf_fail_memory(c->err);
    for (size_t i = 0; i < n; i++) {
        gguf_str own = gguf_meta_at(meta, i)->key;
        names[i] = strndup(own.ptr, own.len);
        if (names[i]) gguf_near_add(&near, names[i]);
    }
    gguf_code code =
        gguf_fail(c->err, GGUF_E_MISSING, c->files[0], GGUF_NO_OFFSET, "there is no key '%s'%s",
                  key, gguf_near_hint(&near, hint, sizeof hint));
    for (size_t i = 0; i < n; i++) free(names[i]);
    free(names);
    return code;
}

/* Texts whole, with every byte; elements of an array one a line. */
static void print_value(const gguf_kv *kv) {
    gguf_kv_iter it = {.kv = kv};
    for (uint64_t i = 0; i < kv->count; i++) {
        gguf_str text;
        if (kv->elem_type != GGUF_VALUE_STRING)
            inspect_print_value(stdout, &it);
        else if (gguf_kv_next_str(&it, &text))
            fwrite(text.ptr, 1, text.len, stdout);
        putchar('\n');
    }
}

gguf_code inspect_get(const inspect_call *c) {
    gguf_file *file;
    gguf_code code = inspect_open(c, 0, &file);
    if (code) return code;
    const gguf_kv *kv = gguf_meta_find(gguf_file_meta(file), c->files[1]);
    if (!kv) {
        code = fail_missing(c, gguf_file_meta(file), c->files[1]);
    } else if (c->t->json) {
        json_out j = {.file = stdout};
        json_out_object(&j, NULL, false);
        json_out_text(&j, "key", c->files[1]);
        inspect_json_kv(&j, kv, UINT32_MAX);
        json_out_end_object(&j);
        json_out_document_end(&j);
    } else {
        print_value(kv);
    }
    gguf_file_close(file);
    return code;
}
