/* Opening models, and what is said of them. */
#include "tools/common/model_open.h"

#include <inttypes.h>

void model_note_draft(tool *t, const char *path, uint32_t n_draft_layer) {
    if (n_draft_layer)
        tool_note(t, "%s: %" PRIu32 " layer%s for multi-token prediction %s not used", path,
                  n_draft_layer, tool_s(n_draft_layer), n_draft_layer == 1 ? "is" : "are");
}

gguf_code model_open(tool *t, const char *path, rt_model **out, gguf_error *err) {
    gguf_code code = rt_model_open(path, out, err);
    if (!code) model_note_draft(t, path, rt_model_hparams(*out)->n_draft_layer);
    return code;
}
