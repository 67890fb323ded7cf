/* Biases of scores by relative position (arXiv 1910.10683): distances are put into buckets, exact
 * ones where they are small, and ever wider ones up to where the last begins. */
#include "runtime/model/model_internal.h"

#include <math.h>
#include <stdlib.h>

/* In f32, as the original computes it: a distance may lie on the edge of two buckets. */
static uint32_t bucket_of(uint32_t distance, uint32_t n_buckets, uint32_t reach) {
    uint32_t n_exact = n_buckets / 2;
    if (distance < n_exact) return distance;
    float share = logf((float)distance / (float)n_exact) /
                  (float)log((double)reach / (double)n_exact) * (float)(n_buckets - n_exact);
    uint32_t bucket = n_exact + (uint32_t)share;
    return bucket < n_buckets ? bucket : n_buckets - 1;
}

/* Of both directions the second half of the buckets is for what comes behind the query. */
static uint32_t signed_bucket(const rt_hparams *hp, int64_t distance, bool both) {
    if (!both)
        return bucket_of(distance < 0 ? (uint32_t)-distance : 0, hp->n_buckets, hp->bucket_reach);
    uint32_t half = hp->n_buckets / 2;
    uint32_t size = (uint32_t)(distance < 0 ? -distance : distance);
    return (distance > 0 ? half : 0) + bucket_of(size, half, hp->bucket_reach);
}

static void expand(const rt_hparams *hp, const float *rel_b, uint32_t n_head, bool both,
                   float *out) {
    int64_t reach = rt_bias_reach(hp);
    for (uint32_t h = 0; h < n_head; h++)
        for (int64_t d = -reach; d <= reach; d++)
            *out++ = rel_b[(size_t)signed_bucket(hp, d, both) * n_head + h];
}

static gguf_code fail_missing(const rt_model *model, uint32_t layer, gguf_error *err) {
    char prefix[32];
    rt_layer_prefix(model, layer, prefix);
    return gguf_fail(err, GGUF_E_MISSING, gguf_file_path(model->file), GGUF_NO_OFFSET,
                     "tensor '%sattn_rel_b.weight' is missing", prefix);
}

gguf_code rt_model_biases(rt_model *model, gguf_error *err) {
    const rt_hparams *hp = &model->hparams;
    size_t n_tables = 0, n = (2 * (size_t)rt_bias_reach(hp) + 1) * hp->n_head;
    if (hp->n_buckets == 0) return GGUF_OK;
    for (uint32_t i = 0; i < hp->n_layer; i++) n_tables += model->layers[i].rel_b != NULL;
    model->biases = malloc(n_tables * n * sizeof *model->biases + 1);
    if (!model->biases) return gguf_fail_memory(err);
    float *next = model->biases;
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        rt_layer *layer = &model->layers[i];
        bool first = i == 0 || i == hp->n_encoder_layer;
        if (first && !layer->rel_b) return fail_missing(model, i, err);
        layer->bias = first ? NULL : model->layers[i - 1].bias;
        if (!layer->rel_b) continue;
        expand(hp, layer->rel_b, hp->layers[i].n_head, !hp->causal || i < hp->n_encoder_layer,
               next);
        layer->bias = next;
        next += n;
    }
    return GGUF_OK;
}
