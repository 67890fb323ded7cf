/* Names of precisions, and where a type of cache has an effect. */
#include "tools/common/precision.h"

#include <string.h>

static const char *const names[] = {[RT_PRECISION_DEFAULT] = "default",
                                    [RT_PRECISION_F32] = "f32",
                                    [RT_PRECISION_BF16] = "bf16",
                                    [RT_PRECISION_Q8] = "q8",
                                    [RT_PRECISION_A16] = "a16"};

const char *precision_name(rt_precision precision) {
    return names[precision];
}

gguf_code precision_parse(const char *text, rt_precision *out, gguf_error *err) {
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        *out = (rt_precision)i;
        return GGUF_OK;
    }
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "--precision takes default, a16, f32, bf16 or q8, not '%s'", text);
}

gguf_code kv_type_check(const tool *t, const rt_hparams *hp, gguf_error *err) {
    if (rt_hparams_caches(hp)) return GGUF_OK;
    return tool_refuse(t, "kv-type", "has no effect: this model keeps no keys and values", err);
}
