/* What a calibration depends on, as one number. */
#include "libgguf/hash.h"
#include "quant/quant.h"
#include "runtime/calibrate/calibrate.h"
#include "runtime/model/model_hash.h"

#include <string.h>

uint64_t rt_calibrate_hash(const rt_model *model, const int32_t *tokens, size_t n_tokens,
                           const rt_calibrate_opts *opts) {
    const char *isa = quant_isa_name();
    uint64_t h = gguf_xxh3(tokens, n_tokens * sizeof *tokens, gguf_xxh3(isa, strlen(isa), 0));
    h = gguf_mix(gguf_mix(h, opts->n_ctx), opts->n_chunks);
    h = gguf_mix(gguf_mix(h, (uint64_t)opts->bos), (uint64_t)opts->precision);
    h = rt_model_hash(h, model);
    return h ? h : 1; /* 0 stands for "not known" */
}
