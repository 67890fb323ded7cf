/* verify: placeholder */
#include "tools/inspect/inspect.h"
gguf_code inspect_verify(const inspect_call *c) {
    (void)c;
    return GGUF_OK;
}
