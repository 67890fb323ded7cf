/* Whether the metadata of a file make sense as a model: keys of its architecture, tokenizer, chat
 * templates. Works on metadata of broken files too. */
#ifndef RUNTIME_MODEL_CHECK_MODEL_H
#define RUNTIME_MODEL_CHECK_MODEL_H

#include "libgguf/verify.h"
#include "quant/plan.h"

/* Add everything that is wrong. In a set that is not `complete`, because its file is broken, absent
 * keys are no findings. A set without general.architecture that is an imatrix or adapter is
 * checked as such. Errors: GGUF_E_NOMEM. */
gguf_code rt_check_meta(const gguf_meta *meta, bool complete, gguf_findings *findings,
                        gguf_error *err);

/* Its parts: keys and tokenizer; chat templates. */
gguf_code rt_check_keys(const gguf_meta *meta, bool complete, gguf_findings *findings,
                        gguf_error *err);
gguf_code rt_check_templates(const gguf_meta *meta, gguf_findings *findings, gguf_error *err);

/* Add what is wrong with the tensors of a model whose architecture is described: those that are
 * missing, and those whose shape is not what its keys say. Sets that are not complete or hold no
 * tensors, and what depends on facts that no key tells, are left alone. Errors: GGUF_E_NOMEM. */
gguf_code rt_check_tensors(gguf_scan_set *set, gguf_error *err);

/* Both checks, of a file whose metadata are to become `meta`. One file of several is judged by its
 * keys alone. Errors: GGUF_E_NOMEM. */
gguf_code rt_check_with_meta(const gguf_file *file, const gguf_meta *meta, gguf_findings *findings,
                             gguf_error *err);

/* Both checks, and that of the keys' form, for a file that is yet to be written: what would be
 * found in it. A chat template is left alone: another engine may read what this one does not.
 * Errors: GGUF_E_NOMEM, those of gguf_header_encode. */
gguf_code rt_check_plan(const quant_plan *plan, gguf_findings *findings, gguf_error *err);

#endif
