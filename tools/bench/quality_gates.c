/* Comparing a quality with what was asked for. */
#include "tools/bench/quality_gates.h"

#include "libgguf/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define STDERRS 2.0 /* by which a figure may be worse than its record */

static double number_of(const json_t *root, const char *key) {
    const json_t *value = json_object_get(root, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

gguf_code quality_record_read(const char *path, bool has_base, quality_record *out,
                              gguf_error *err) {
    json_t *root;
    gguf_code code = gguf_json_load(path, GGUF_JSON_WIDE_INTS, &root, err);
    if (code) return code;
    *out = (quality_record){.ppl = number_of(root, "ppl"),
                            .ppl_stderr = number_of(root, "ppl_stderr"),
                            .kld = number_of(root, "kld_mean"),
                            .kld_stderr = number_of(root, "kld_stderr"),
                            .top1 = number_of(root, "top1_agreement"),
                            .top1_stderr = number_of(root, "top1_stderr")};
    gguf_json_u64(json_object_get(root, "n_tokens"), &out->n_tokens);
    json_decref(root);
    bool whole = out->n_tokens && !isnan(out->ppl) && !isnan(out->ppl_stderr);
    if (whole && !has_base && !isnan(out->kld))
        return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET,
                         "the record has a divergence: --base is needed to compare it");
    if (whole) return GGUF_OK;
    return gguf_fail(err, GGUF_E_FORMAT, path, GGUF_NO_OFFSET,
                     "this is no record of gguf-bench quality --json with a text");
}

static bool miss(tool *t, const char *what, double value, const char *relation, double limit,
                 const char *why) {
    tool_missed(t, "%s %.6g, %s than %.6g%s", what, value, relation, limit, why);
    return true;
}

gguf_code quality_check(tool *t, const quality_gates *gates, const quality_record *record,
                        const rt_quality *q, bool has_base, bool *missed, gguf_error *err) {
    if (!(q->ppl <= gates->max_ppl))
        *missed = miss(t, "perplexity", q->ppl, "more", gates->max_ppl, "");
    if (has_base && !(q->kld_mean <= gates->max_kld))
        *missed = miss(t, "mean divergence", q->kld_mean, "more", gates->max_kld, "");
    if (has_base && !(q->top1_agreement >= gates->min_top1))
        *missed =
            miss(t, "share of same top tokens", q->top1_agreement, "less", gates->min_top1, "");
    if (!gates->against) return GGUF_OK;
    if (record->n_tokens != q->n_tokens)
        return gguf_fail(err, GGUF_E_USAGE, gates->against, GGUF_NO_OFFSET,
                         "the record is of %" PRIu64 " tokens, not of %" PRIu64
                         ": of another text, or with another --ctx or --chunks",
                         record->n_tokens, q->n_tokens);
    static const char why[] = ", what the record allows";
    double most = record->ppl + STDERRS * record->ppl_stderr;
    if (!(q->ppl <= most)) *missed = miss(t, "perplexity", q->ppl, "more", most, why);
    if (!has_base || isnan(record->kld)) return GGUF_OK;
    most = record->kld + STDERRS * record->kld_stderr;
    if (!(q->kld_mean <= most))
        *missed = miss(t, "mean divergence", q->kld_mean, "more", most, why);
    double least = record->top1 - STDERRS * record->top1_stderr;
    if (!(q->top1_agreement >= least))
        *missed = miss(t, "share of same top tokens", q->top1_agreement, "less", least, why);
    return GGUF_OK;
}
