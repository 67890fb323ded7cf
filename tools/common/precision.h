/* --precision: the form of activations in products; --kv-type: that of the cache. */
#ifndef TOOLS_COMMON_PRECISION_H
#define TOOLS_COMMON_PRECISION_H

#include "runtime/runtime.h"
#include "tools/common/tool.h"

#define NO_REPACK_HELP "multiply with the weights as they lie in the file: no pause for repacking"
#define PRECISION_HELP \
    "form of activations: default, a16, f32, or for many tokens at once bf16 or q8"

/* "default", "f32", "bf16", "q8" or "a16". */
const char *precision_name(rt_precision precision);
/* Errors: GGUF_E_USAGE. */
gguf_code precision_parse(const char *text, rt_precision *out, gguf_error *err);

/* Refuse --kv-type for a model whose layers keep no keys and values. Errors: GGUF_E_USAGE. */
gguf_code kv_type_check(const tool *t, const rt_hparams *hp, gguf_error *err);

#endif
