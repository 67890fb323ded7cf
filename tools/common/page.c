/* Escaping and writing of pages. */
#include "tools/common/page.h"

#include "libgguf/outfile.h"

#include <stdlib.h>

void tool_xml_text(FILE *f, const char *bytes, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t step = tool_utf8_len(bytes + i, n - i);
        unsigned char c = (unsigned char)bytes[i];
        if (c == '&' || c == '<' || c == '>' || c == '"')
            fprintf(f, "&#%d;", c);
        else if (step == 0 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F)
            fputs("\xEF\xBF\xBD", f);
        else
            fwrite(bytes + i, 1, step, f);
        i += step ? step : 1;
    }
}

gguf_code tool_save_page(const tool *t, const char *path, tool_page_fn fn, const void *ctx,
                         gguf_error *err) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f) return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    fn(f, ctx);
    bool failed = ferror(f) != 0;
    failed = fclose(f) != 0 || failed;
    gguf_code code = failed ? gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory")
                            : gguf_outfile_save(path, text, n, t->force, err);
    free(text);
    return code;
}
