/* A tokenizer from metadata, used on texts that reach all of its steps. */
#ifndef TESTS_FUZZ_FUZZ_TOKENIZER_H
#define TESTS_FUZZ_FUZZ_TOKENIZER_H

#include "runtime/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static inline void fuzz_tokenize(const rt_tokenizer *tok, const char *text, size_t len) {
    gguf_error err = {0};
    rt_ids ids = {0};
    char *back;
    size_t n;
    unsigned flags = RT_TOKENIZE_ADD_SPECIAL | RT_TOKENIZE_PARSE_SPECIAL;
    if (!rt_tokenize(tok, text, len, flags, &ids, &err)) {
        for (size_t i = 0; i < ids.n; i++)
            fuzz_check(ids.data[i] >= 0 && (size_t)ids.data[i] < rt_tokenizer_n_tokens(tok));
        if (!rt_detokenize(tok, ids.data, ids.n, false, &back, &n, &err)) free(back);
    }
    rt_ids_clear(&ids);
}

static inline void fuzz_use_tokenizer(const gguf_meta *meta) {
    static const char text[] =
        " Hello, w\xC3\xB6rld\xE2\x80\x99s  12345\r\n\t<s>\xFF\xF0\x9F\x98\x80"
        "\xEF\xBC\xA1 it's DON'T \xE4\xBD\xA0\xE5\xA5\xBD aaaa abab</s>";
    rt_tokenizer *tok;
    gguf_error err = {0};
    gguf_code code = rt_tokenizer_new(meta, &tok, &err);
    fuzz_check_error(code, &err);
    if (code) return;
    fuzz_tokenize(tok, text, sizeof text - 1);
    fuzz_tokenize(tok, "", 0);
    size_t n = rt_tokenizer_n_tokens(tok);
    for (size_t i = 0; i < n && i < 64; i++) {
        gguf_str piece = rt_token_piece(tok, (int32_t)i), shown = rt_token_text(tok, (int32_t)i);
        fuzz_read(piece.ptr, piece.len);
        fuzz_read(shown.ptr, shown.len);
        fuzz_tokenize(tok, piece.ptr, piece.len);
    }
    for (int which = 0; which < RT_N_SPECIAL; which++)
        fuzz_check(rt_tokenizer_special(tok, (rt_special)which) < (int64_t)n);
    rt_tokenizer_free(tok);
}

/* Import the files, build what they describe and use it. */
static inline void fuzz_import_vocab(const gguf_memory_file *files, size_t n_files) {
    gguf_error err = {0};
    rt_vocab_report report = {0};
    gguf_meta *meta = gguf_meta_new();
    if (!meta) return;
    gguf_code code = rt_vocab_import_memory(files, n_files, 0, meta, &report, &err);
    fuzz_check_error(code, &err);
    if (!code) fuzz_use_tokenizer(meta);
    rt_vocab_report_clear(&report);
    gguf_meta_free(meta);
}

#endif
