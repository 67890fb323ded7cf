/* Rotary positions: how fast each pair of dimensions turns. Frequencies and angles are f32, rounded
 * where the original implementations round them. */
#include "runtime/model/rope_freqs.h"

#include <math.h>
#include <stdlib.h>

uint32_t rt_rope_dims(const rt_hparams *hp, rt_rope_kind turn) {
    if (hp->rope_base == 0) return 0; /* a family without rotation */
    return turn == RT_ROPE_WINDOW ? hp->n_rot_window : hp->n_rot;
}

/* The pair of dimensions that makes `turns` full turns within the original context (YaRN, arXiv
 * 2309.00071). */
static double yarn_pair(const rt_hparams *hp, double turns) {
    return hp->n_rot * log(hp->n_ctx_orig / (turns * 2 * M_PI)) / (2 * log(hp->rope_base));
}

/* Share of the unscaled frequency: 1 for pairs that turn often, 0 for those that turn rarely. */
static double yarn_share(const rt_hparams *hp, double pair) {
    double low = yarn_pair(hp, hp->rope_beta_fast), high = yarn_pair(hp, hp->rope_beta_slow);
    if (hp->rope_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, hp->n_rot - 1.0);
    double ramp = (pair - low) / fmax(0.001, high - low);
    return 1 - fmin(fmax(ramp, 0), 1);
}

static const float *factors_of(const rt_model *model, rt_rope_kind turn) {
    if (turn == RT_ROPE_LONG) return model->rope_factors_long;
    if (turn == RT_ROPE_WINDOW && model->hparams.rope_plain_window) return NULL;
    return model->rope_factors ? model->rope_factors : model->rope_factors_short;
}

static bool is_scaled(const rt_model *model, rt_rope_kind turn) {
    if (model->hparams.rope_scaling == RT_ROPE_SCALING_NONE) return false;
    return turn != RT_ROPE_WINDOW || !model->hparams.rope_plain_window;
}

static float pair_frequency(const rt_model *model, rt_rope_kind turn, uint32_t pair) {
    const rt_hparams *hp = &model->hparams;
    const float *factors = factors_of(model, turn);
    float base = turn == RT_ROPE_WINDOW ? hp->rope_base_window : hp->rope_base;
    float freq = 1.0f / powf(base, (float)(2 * pair) / (float)rt_rope_dims(hp, turn));
    if (factors) freq /= factors[pair];
    if (!is_scaled(model, turn)) return freq;
    float slow = freq / hp->rope_factor;
    if (hp->rope_scaling == RT_ROPE_SCALING_LINEAR) return slow;
    float share = (float)yarn_share(hp, pair);
    return slow * (1 - share) + freq * share;
}

/* Of cosine and sine. */
static float magnitude_of(const rt_model *model, rt_rope_kind turn) {
    const rt_hparams *hp = &model->hparams;
    if (hp->rope_scaling != RT_ROPE_SCALING_YARN)
        return model->rope_factors_long ? hp->rope_attn_factor : 1;
    if (!is_scaled(model, turn) || hp->n_out_group) return 1;
    float usual = hp->rope_factor > 1 ? 0.1f * logf(hp->rope_factor) + 1 : 1;
    if (hp->rope_log_multiplier == 0) return usual * hp->rope_attn_factor;
    if (hp->kv_lora_rank || hp->kv_expand_rank)
        return hp->rope_attn_factor; /* the scores are scaled instead */
    float all =
        hp->rope_factor > 1 ? 0.1f * hp->rope_log_multiplier * logf(hp->rope_factor) + 1 : 1;
    return usual / all * hp->rope_attn_factor;
}

static uint32_t most_dims(const rt_hparams *hp) {
    return hp->n_rot > hp->n_rot_window ? hp->n_rot : hp->n_rot_window;
}

static gguf_code fill_turn(rt_model *model, rt_rope_kind turn, gguf_error *err) {
    const rt_hparams *hp = &model->hparams;
    uint32_t n_pairs = rt_rope_dims(hp, turn) / 2;
    float *freqs = model->rope_freqs[0] + (size_t)turn * (most_dims(hp) / 2);
    model->rope_freqs[turn] = freqs;
    model->rope_magnitude[turn] = magnitude_of(model, turn);
    for (uint32_t pair = 0; pair < n_pairs; pair++) {
        freqs[pair] = pair_frequency(model, turn, pair);
        if (!isfinite(freqs[pair]))
            return gguf_fail(err, GGUF_E_NONFINITE, gguf_file_path(model->file), GGUF_NO_OFFSET,
                             "the RoPE frequency of dimension %u is not finite", 2 * pair);
    }
    return GGUF_OK;
}

gguf_code rt_model_rope(rt_model *model, gguf_error *err) {
    model->rope_freqs[0] =
        calloc(RT_N_ROPE_KINDS * (most_dims(&model->hparams) / 2) + 1, sizeof(float));
    if (!model->rope_freqs[0]) return gguf_fail_memory(err);
    gguf_code code = fill_turn(model, RT_ROPE_USUAL, err);
    if (!code) code = fill_turn(model, RT_ROPE_WINDOW, err);
    if (!code && model->rope_factors_long) code = fill_turn(model, RT_ROPE_LONG, err);
    return code;
}

void rt_rope_table(const rt_model *model, rt_rope_kind turn, uint32_t pos, size_t n, float *table) {
    const float *freqs = model->rope_freqs[turn];
    float magnitude = model->rope_magnitude[turn];
    for (size_t t = 0; t < n; t++) {
        for (uint32_t pair = 0; pair < rt_rope_dims(&model->hparams, turn) / 2; pair++) {
            float angle = (float)(pos + t) * freqs[pair];
            *table++ = (float)cos((double)angle) * magnitude;
            *table++ = (float)sin((double)angle) * magnitude;
        }
    }
}

void rt_rope_back(const rt_model *model, rt_rope_kind turn, uint32_t n, size_t n_rows,
                  float *table) {
    for (size_t t = 0; t < n_rows; t++) {
        for (uint32_t pair = 0; pair < rt_rope_dims(&model->hparams, turn) / 2; pair++) {
            float angle = (float)n * model->rope_freqs[turn][pair];
            *table++ = (float)cos((double)angle);
            *table++ = (float)-sin((double)angle);
        }
    }
}

rt_rope_kind rt_rope_usual(const rt_model *model, uint32_t n_ctx) {
    bool is_long = model->rope_factors_long && n_ctx > model->hparams.n_ctx_orig;
    return is_long ? RT_ROPE_LONG : RT_ROPE_USUAL;
}
