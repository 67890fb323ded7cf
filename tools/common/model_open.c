/* Opening models, and what is said of them. */
#include "tools/common/model_open.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void model_note_draft(tool *t, const char *path, uint32_t n_draft_layer) {
    if (n_draft_layer)
        tool_note(t, "%s: %" PRIu32 " layer%s for multi-token prediction %s not used", path,
                  n_draft_layer, tool_s(n_draft_layer), n_draft_layer == 1 ? "is" : "are");
}

/* The number behind the last colon, unless the whole is a file's name. */
static bool split_scale(const char *arg, size_t *n_path, float *scale) {
    const char *colon = strrchr(arg, ':');
    char *end;
    *n_path = strlen(arg);
    *scale = 1;
    if (!colon || access(arg, F_OK) == 0) return true;
    *n_path = (size_t)(colon - arg);
    *scale = strtof(colon + 1, &end);
    return end != colon + 1 && *end == 0 && isfinite(*scale) && *n_path > 0;
}

gguf_code model_loras_add(model_loras *l, const char *arg, gguf_error *err) {
    size_t n_path;
    if (l->n == MODEL_MAX_LORAS)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "--lora can be given %d times",
                         MODEL_MAX_LORAS);
    if (!split_scale(arg, &n_path, &l->scales[l->n]))
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "an adapter is named as FILE or FILE:SCALE, not '%s'", arg);
    l->args[l->n] = arg;
    l->paths[l->n] = strndup(arg, n_path);
    return l->paths[l->n++] ? GGUF_OK : gguf_fail_memory(err);
}

const char *model_loras_text(const model_loras *l, char *out, size_t room) {
    size_t at = 0;
    *out = 0;
    for (size_t i = 0; i < l->n && at < room; i++)
        at += (size_t)snprintf(out + at, room - at, "%s%s", i ? "," : "", l->args[i]);
    return out;
}

void model_loras_clear(model_loras *l) {
    for (size_t i = 0; i < l->n; i++) free(l->paths[i]);
    l->n = 0;
}

gguf_code model_add_loras(rt_model *model, const model_loras *l, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; l && i < l->n && !code; i++)
        code = rt_model_add_lora(model, l->paths[i], l->scales[i], err);
    return code;
}

gguf_code model_open(tool *t, const char *path, const model_loras *loras, rt_model **out,
                     gguf_error *err) {
    gguf_code code = rt_model_open(path, out, err);
    if (code) return code;
    model_note_draft(t, path, rt_model_hparams(*out)->n_draft_layer);
    code = model_add_loras(*out, loras, err);
    if (code) {
        rt_model_close(*out);
        *out = NULL;
    }
    return code;
}

gguf_code model_parse_pooling(const char *word, rt_pooling *out, gguf_error *err) {
    static const struct {
        const char *word;
        rt_pooling is;
    } words[] = {{"mean", RT_POOLING_MEAN}, {"cls", RT_POOLING_CLS}, {"last", RT_POOLING_LAST}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].word, word) != 0) continue;
        *out = words[i].is;
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "--pooling is mean, cls or last, not '%s'", word);
}
