/* Checks of metadata that several files share. */
#ifndef RUNTIME_MODEL_CHECK_INTERNAL_H
#define RUNTIME_MODEL_CHECK_INTERNAL_H

#include "libgguf/verify.h"

/* What a file owes that is a part of something else: an importance matrix, an adapter, the
 * projector of a vision or audio model. False: it is none, and nothing was checked. complete absent
 * keys are findings */
bool rt_check_part(const gguf_meta *meta, bool complete, gguf_findings *findings);

/* Whether a file of an architecture that is not described is a language model: it has a tokenizer,
 * or one of the sizes under its architecture's name. Files of image and video models have neither.
 */
bool rt_check_speaks(const gguf_meta *meta, gguf_str architecture);

#endif
