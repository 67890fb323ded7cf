/* --precision: the form of activations in products. */
#ifndef TOOLS_COMMON_PRECISION_H
#define TOOLS_COMMON_PRECISION_H

#include "runtime/runtime.h"

#define NO_REPACK_HELP "multiply with the weights as they lie in the file: no pause for repacking"
#define PRECISION_HELP "form of activations: default, f32, or for many tokens at once bf16 or q8"

/* "default", "f32", "bf16" or "q8". */
const char *precision_name(rt_precision precision);
/* Errors: GGUF_E_USAGE. */
gguf_code precision_parse(const char *text, rt_precision *out, gguf_error *err);

#endif
