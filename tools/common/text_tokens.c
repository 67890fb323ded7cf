/* Tokenizing whole files. */
#include "tools/common/text_tokens.h"
#include "libgguf/map.h"
#include "libgguf/placeholder.h"

#include <stdlib.h>

gguf_code text_tokens(const rt_model *model, const char *path, rt_ids *ids, int32_t *bos,
                      gguf_error *err) {
    char *text = NULL;
    size_t n_bytes = 0;
    rt_tokenizer *tokenizer = NULL;
    *ids = (rt_ids){0};
    gguf_code code = gguf_read_text(path, &text, &n_bytes, err);
    if (!code) code = gguf_placeholder_check(text, n_bytes, GGUF_EXPECTED_BINARY, path, err);
    if (!code) code = rt_tokenizer_new(gguf_file_meta(rt_model_file(model)), &tokenizer, err);
    if (!code) code = rt_tokenize(tokenizer, text, n_bytes, RT_TOKENIZE_ADD_SPECIAL, ids, err);
    if (!code)
        *bos =
            rt_tokenizer_adds_bos(tokenizer) ? rt_tokenizer_special(tokenizer, RT_SPECIAL_BOS) : -1;
    if (code) rt_ids_clear(ids);
    rt_tokenizer_free(tokenizer);
    free(text);
    return code;
}
