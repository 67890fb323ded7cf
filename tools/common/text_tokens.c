/* Tokenizing whole files. */
#include "tools/common/text_tokens.h"
#include "libgguf/map.h"
#include "libgguf/placeholder.h"
#include "runtime/chat/corpus.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A tokenizer may know more tokens than the model has rows. */
static gguf_code check_rows(const rt_model *model, const rt_ids *ids, gguf_error *err) {
    gguf_error why = {0};
    if (!rt_check_tokens(model, ids->data, ids->n, &why)) return GGUF_OK;
    return gguf_fail(err, GGUF_E_SHAPE, gguf_file_path(rt_model_file(model)), GGUF_NO_OFFSET,
                     "the tokenizer gives what the model has no row for: %s", why.message);
}

/* A model, an archive or a picture that was named by mistake. */
static gguf_code check_is_text(const char *path, const char *text, size_t n, gguf_error *err) {
    gguf_code code = gguf_placeholder_check(text, n, GGUF_EXPECTED_BINARY, path, err);
    const char *zero = code ? NULL : memchr(text, '\0', n);
    return zero ? gguf_fail(err, GGUF_E_FORMAT, path, zero - text,
                            "a byte of value zero: this is no text")
                : code;
}

gguf_code text_read(const char *path, char **out, size_t *n_bytes, gguf_error *err) {
    gguf_code code = gguf_read_text(path, out, n_bytes, &tool_cancelled, err);
    if (!code) code = check_is_text(path, *out, *n_bytes, err);
    if (!code) return GGUF_OK;
    free(*out);
    *out = NULL;
    return code;
}

gguf_code text_check(const char *path, gguf_error *err) {
    char *text = NULL;
    size_t n_bytes;
    if (rt_corpus_is_name(path)) return rt_corpus_check(path, err);
    gguf_code code = text_read(path, &text, &n_bytes, err);
    free(text);
    return code;
}

gguf_code text_tokens(const rt_model *model, const char *path, rt_ids *ids, int32_t *bos,
                      gguf_error *err) {
    const gguf_meta *meta = gguf_file_meta(rt_model_file(model));
    char *text = NULL;
    size_t n_bytes = 0;
    rt_tokenizer *tokenizer = NULL;
    bool own = rt_corpus_is_name(path);
    *ids = (rt_ids){0};
    gguf_code code = own ? rt_corpus_check(path, err) : text_read(path, &text, &n_bytes, err);
    if (!code) code = rt_tokenizer_new(meta, &tokenizer, err);
    if (!code)
        code = own ? rt_corpus_ids(path, meta, tokenizer, ids, err)
                   : rt_tokenize(tokenizer, text, n_bytes, RT_TOKENIZE_ADD_SPECIAL, ids, err);
    if (!code)
        *bos =
            rt_tokenizer_adds_bos(tokenizer) ? rt_tokenizer_special(tokenizer, RT_SPECIAL_BOS) : -1;
    if (!code) code = check_rows(model, ids, err);
    if (code) rt_ids_clear(ids);
    rt_tokenizer_free(tokenizer);
    free(text);
    return code;
}

gguf_code text_check_calibration(const char *path, size_t n_tokens, const rt_calibrate_opts *opts,
                                 uint32_t *n_chunks, gguf_error *err) {
    gguf_error why = {0};
    gguf_code code = rt_calibrate_n_chunks(n_tokens, opts, n_chunks, &why);
    return code ? gguf_fail(err, code, path, GGUF_NO_OFFSET, "%s", why.message) : GGUF_OK;
}

void text_warn_context(tool *t, uint32_t n_ctx_train, uint64_t n_tokens) {
    if (n_ctx_train && n_tokens > n_ctx_train)
        tool_warn(t,
                  "%" PRIu64 " tokens in a row are more than the %" PRIu32
                  " that the model was trained with; what it computes beyond them may mean nothing",
                  n_tokens, n_ctx_train);
}
