/* Rotary positions: how fast each pair of dimensions turns. Frequencies and angles are f32, rounded
 * where the original implementations round them. */
#include "runtime/rope.h"

#include <math.h>
#include <stdlib.h>

/* The pair of dimensions that makes `turns` full turns within the original context (YaRN, arXiv
 * 2309.00071). */
static double yarn_pair(const rt_hparams *hp, double turns) {
    return hp->n_rot * log(hp->n_ctx_orig / (turns * 2 * M_PI)) / (2 * log(hp->rope_base));
}

/* Share of the unscaled frequency: 1 for pairs that turn often, 0 for those that turn rarely. */
static double yarn_share(const rt_hparams *hp, double pair) {
    double low = floor(yarn_pair(hp, hp->rope_beta_fast));
    double high = ceil(yarn_pair(hp, hp->rope_beta_slow));
    low = fmax(low, 0);
    high = fmin(high, hp->n_rot - 1.0);
    double ramp = (pair - low) / fmax(0.001, high - low);
    return 1 - fmin(fmax(ramp, 0), 1);
}

static float pair_frequency(const rt_model *model, uint32_t pair) {
    const rt_hparams *hp = &model->hparams;
    float freq = 1.0f / powf(hp->rope_base, (float)(2 * pair) / (float)hp->n_rot);
    if (model->rope_factors) freq /= model->rope_factors[pair];
    if (hp->rope_scaling == RT_ROPE_SCALING_NONE) return freq;
    float slow = freq / hp->rope_factor;
    if (hp->rope_scaling == RT_ROPE_SCALING_LINEAR) return slow;
    float share = (float)yarn_share(hp, pair);
    return slow * (1 - share) + freq * share;
}

gguf_code rt_model_rope(rt_model *model, gguf_error *err) {
    const rt_hparams *hp = &model->hparams;
    model->rope_freqs = calloc(hp->n_rot / 2 + 1, sizeof *model->rope_freqs);
    if (!model->rope_freqs)
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    for (uint32_t pair = 0; pair < hp->n_rot / 2; pair++) {
        model->rope_freqs[pair] = pair_frequency(model, pair);
        if (!isfinite(model->rope_freqs[pair]))
            return gguf_fail(err, GGUF_E_NONFINITE, gguf_file_path(model->file), GGUF_NO_OFFSET,
                             "the RoPE frequency of dimension %u is not finite", 2 * pair);
    }
    model->rope_magnitude = 1;
    if (hp->rope_scaling == RT_ROPE_SCALING_YARN) {
        float usual = hp->rope_factor > 1 ? 0.1f * logf(hp->rope_factor) + 1 : 1;
        model->rope_magnitude = usual * hp->rope_attn_factor;
    }
    return GGUF_OK;
}

void rt_rope_table(const rt_model *model, uint32_t pos, size_t n, float *table) {
    for (size_t t = 0; t < n; t++) {
        for (uint32_t pair = 0; pair < model->hparams.n_rot / 2; pair++) {
            float angle = (float)(pos + t) * model->rope_freqs[pair];
            *table++ = (float)cos((double)angle) * model->rope_magnitude;
            *table++ = (float)sin((double)angle) * model->rope_magnitude;
        }
    }
}
