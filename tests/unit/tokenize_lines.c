/* Tokenize JSON strings, one a line, and print their ids as JSON arrays: the counterpart of
 * scripts/check_tokenizers.py.
 *
 * usage: tokenize_lines FOLDER|FILE.gguf [add] [parse] [text] < LINES
 *   add, parse  the flags of rt_tokenize; text prints the text made of the ids instead */
#include "libgguf/json.h"
#include "runtime/tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static gguf_code open_tokenizer(const char *path, rt_tokenizer **tok, gguf_error *err) {
    struct stat st;
    rt_vocab_report report = {0};
    gguf_file *file = NULL;
    gguf_code code;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        gguf_meta *meta = gguf_meta_new();
        code = rt_vocab_import(path, 0, meta, &report, err);
        if (!code) code = rt_tokenizer_new(meta, tok, err);
        gguf_meta_free(meta);
        rt_vocab_report_clear(&report);
        return code;
    }
    code = gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, err);
    if (!code) code = rt_tokenizer_new(gguf_file_meta(file), tok, err);
    gguf_file_close(file);
    return code;
}

static void print_ids(const rt_ids *ids) {
    printf("[");
    for (size_t i = 0; i < ids->n; i++) printf("%s%d", i ? "," : "", ids->data[i]);
    printf("]\n");
}

static gguf_code print_text(const rt_tokenizer *tok, const rt_ids *ids, gguf_error *err) {
    char *text;
    size_t len;
    gguf_code code = rt_detokenize(tok, ids->data, ids->n, true, &text, &len, err);
    if (code) return code;
    json_t *value = json_stringn(text, len);
    json_dumpf(value, stdout, JSON_ENCODE_ANY);
    printf("\n");
    json_decref(value);
    free(text);
    return GGUF_OK;
}

static gguf_code one_line(const rt_tokenizer *tok, const char *line, size_t n, unsigned flags,
                          bool as_text, gguf_error *err) {
    json_t *list;
    char *wrapped = malloc(n + 3);
    if (!wrapped) return gguf_fail_memory(err);
    int len = snprintf(wrapped, n + 3, "[%s]", line);
    rt_ids ids = {0};
    gguf_code code =
        gguf_json_parse(wrapped, (size_t)len, GGUF_JSON_EXACT_INTS, "line", 0, &list, err);
    free(wrapped);
    if (code) return code;
    const json_t *text = json_array_get(list, 0);
    code = rt_tokenize(tok, json_string_value(text), json_string_length(text), flags, &ids, err);
    if (!code && as_text)
        code = print_text(tok, &ids, err);
    else if (!code)
        print_ids(&ids);
    rt_ids_clear(&ids);
    json_decref(list);
    return code;
}

int main(int argc, char **argv) {
    gguf_error err = {0};
    rt_tokenizer *tok = NULL;
    unsigned flags = 0;
    bool as_text = false;
    char *line = NULL;
    size_t room = 0;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "add") == 0) flags |= RT_TOKENIZE_ADD_SPECIAL;
        if (strcmp(argv[i], "parse") == 0) flags |= RT_TOKENIZE_PARSE_SPECIAL;
        as_text |= strcmp(argv[i], "text") == 0;
    }
    gguf_code code = argc > 1 ? open_tokenizer(argv[1], &tok, &err) : GGUF_E_USAGE;
    for (ssize_t n; !code && (n = getline(&line, &room, stdin)) > 0;) {
        if (line[n - 1] == '\n') line[--n] = 0;
        code = one_line(tok, line, (size_t)n, flags, as_text, &err);
    }
    if (code) fprintf(stderr, "tokenize_lines: %s: %s\n", err.file, err.message);
    free(line);
    rt_tokenizer_free(tok);
    return gguf_code_exit_status(code);
}
