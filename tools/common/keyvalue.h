/* KEY=TYPE:VALUE on command lines. */
#ifndef TOOLS_COMMON_KEYVALUE_H
#define TOOLS_COMMON_KEYVALUE_H

#include "libgguf/gguf.h"

/* Set a key from "KEY=TYPE:VALUE". TYPE is u8 to i64, f32, f64, bool, str, or one of these with []
 * for values separated by commas; or int or float, as llama.cpp writes them: the width is that of
 * the key. Without "TYPE:" the key keeps the type that it has. Errors: GGUF_E_USAGE. */
gguf_code keyvalue_set(gguf_meta *meta, const char *text, gguf_error *err);

#endif
