/* Rotary positions: frequencies with every kind of scaling, and their cosines and sines. */
#include "runtime/model/rope_freqs.h"
#include "unit_model.h"

enum { N_ROT = 64, N_PAIRS = N_ROT / 2 };

static rt_model model_with(rt_rope_scaling scaling, float factor) {
    gguf_error err = {0};
    rt_model model = {.hparams = {.n_rot = N_ROT,
                                  .n_rot_window = N_ROT,
                                  .rope_base = 10000,
                                  .rope_base_window = 10000,
                                  .rope_scaling = scaling,
                                  .rope_factor = factor,
                                  .rope_attn_factor = 1,
                                  .rope_beta_fast = 32,
                                  .rope_beta_slow = 1,
                                  .rope_truncate = true,
                                  .n_ctx_orig = 2048}};
    unit_ok(rt_model_rope(&model, &err), err);
    return model;
}

static double plain_frequency(int pair) {
    return pow(10000, -2.0 * pair / N_ROT);
}

static void check_ratio(const rt_model *model, int pair, double expected) {
    double ratio = (double)model->rope_freqs[RT_ROPE_USUAL][pair] / plain_frequency(pair);
    ck_assert_msg(fabs(ratio / expected - 1) < 1e-6, "pair %d turns %.9g as fast, expected %g",
                  pair, ratio, expected);
}

START_TEST(plain_and_linear) {
    rt_model plain = model_with(RT_ROPE_SCALING_NONE, 1);
    rt_model linear = model_with(RT_ROPE_SCALING_LINEAR, 4);
    for (int pair = 0; pair < N_PAIRS; pair++) {
        check_ratio(&plain, pair, 1);
        check_ratio(&linear, pair, 0.25);
    }
    ck_assert(linear.rope_magnitude[RT_ROPE_USUAL] == 1);
    free(plain.rope_freqs[0]);
    free(linear.rope_freqs[0]);
}
END_TEST

/* 32 turns in 2048 positions: pair 8.06, so 8; one turn: pair 20.10, so 21. Between them a ramp. */
START_TEST(yarn) {
    rt_model model = model_with(RT_ROPE_SCALING_YARN, 4);
    for (int pair = 0; pair < N_PAIRS; pair++) {
        double ramp = pair <= 8 ? 0 : pair >= 21 ? 1 : (pair - 8) / 13.0;
        check_ratio(&model, pair, 1 - ramp + ramp / 4);
    }
    ck_assert_double_eq_tol(model.rope_magnitude[RT_ROPE_USUAL], 0.1 * log(4) + 1, 1e-6);
    free(model.rope_freqs[0]);
}
END_TEST

START_TEST(factors_divide) {
    rt_model model = {0};
    float factors[N_PAIRS];
    for (int pair = 0; pair < N_PAIRS; pair++) factors[pair] = 1 + (float)pair;
    model.hparams = (rt_hparams){.n_rot = N_ROT,
                                 .n_rot_window = N_ROT,
                                 .rope_base = 10000,
                                 .rope_base_window = 10000,
                                 .rope_factor = 1};
    model.rope_factors = factors;
    gguf_error err = {0};
    unit_ok(rt_model_rope(&model, &err), err);
    for (int pair = 0; pair < N_PAIRS; pair++) check_ratio(&model, pair, 1.0 / (pair + 1));
    free(model.rope_freqs[0]);
}
END_TEST

/* The ramp between fractions of pairs, as gpt-oss has it. */
START_TEST(yarn_without_truncation) {
    gguf_error err = {0};
    rt_model model = model_with(RT_ROPE_SCALING_YARN, 4);
    free(model.rope_freqs[0]);
    model.hparams.rope_truncate = false;
    unit_ok(rt_model_rope(&model, &err), err);
    double low = 64 * log(2048 / (32 * 2 * M_PI)) / (2 * log(10000));
    double high = 64 * log(2048 / (2 * M_PI)) / (2 * log(10000));
    for (int pair = 0; pair < N_PAIRS; pair++) {
        double ramp = fmin(fmax((pair - low) / (high - low), 0), 1);
        check_ratio(&model, pair, 1 - ramp + ramp / 4);
    }
    free(model.rope_freqs[0]);
}
END_TEST

/* A log multiplier takes the magnitude back; with latent attention the scores have it. */
START_TEST(yarn_magnitudes) {
    gguf_error err = {0};
    rt_model model = model_with(RT_ROPE_SCALING_YARN, 4);
    double usual = 0.1 * log(4) + 1;
    model.hparams.rope_log_multiplier = 0.5f;
    free(model.rope_freqs[0]);
    unit_ok(rt_model_rope(&model, &err), err);
    ck_assert_double_eq_tol(model.rope_magnitude[RT_ROPE_USUAL], usual / (0.05 * log(4) + 1), 1e-6);
    model.hparams.kv_lora_rank = 16;
    free(model.rope_freqs[0]);
    unit_ok(rt_model_rope(&model, &err), err);
    ck_assert(model.rope_magnitude[RT_ROPE_USUAL] == 1);
    free(model.rope_freqs[0]);
}
END_TEST

/* Layers with a window: their own base, and scaling only if the family says so. */
START_TEST(window_layers_turn_differently) {
    gguf_error err = {0};
    rt_model model = model_with(RT_ROPE_SCALING_LINEAR, 8);
    model.hparams.rope_base_window = 500;
    model.hparams.rope_plain_window = true;
    free(model.rope_freqs[0]);
    unit_ok(rt_model_rope(&model, &err), err);
    for (int pair = 0; pair < N_PAIRS; pair++) {
        check_ratio(&model, pair, 0.125);
        ck_assert_double_eq_tol(model.rope_freqs[RT_ROPE_WINDOW][pair],
                                pow(500, -2.0 * pair / N_ROT), 1e-6);
    }
    free(model.rope_freqs[0]);
}
END_TEST

START_TEST(long_and_short_factors) {
    gguf_error err = {0};
    rt_model model = {0};
    float longer[N_PAIRS], shorter[N_PAIRS];
    for (int pair = 0; pair < N_PAIRS; pair++) {
        longer[pair] = 4;
        shorter[pair] = 2;
    }
    model.hparams = (rt_hparams){.n_rot = N_ROT,
                                 .n_rot_window = N_ROT,
                                 .rope_base = 10000,
                                 .rope_base_window = 10000,
                                 .rope_factor = 1,
                                 .rope_attn_factor = 1.5f};
    model.rope_factors_long = longer;
    model.rope_factors_short = shorter;
    unit_ok(rt_model_rope(&model, &err), err);
    for (int pair = 0; pair < N_PAIRS; pair++) {
        check_ratio(&model, pair, 0.5);
        ck_assert(model.rope_freqs[RT_ROPE_LONG][pair] * 2 == model.rope_freqs[0][pair]);
    }
    ck_assert(model.rope_magnitude[RT_ROPE_LONG] == 1.5f);
    free(model.rope_freqs[0]);
}
END_TEST

START_TEST(cosines_and_sines) {
    rt_model model = model_with(RT_ROPE_SCALING_YARN, 8);
    float table[3][N_PAIRS][2];
    rt_rope_table(&model, RT_ROPE_USUAL, 1000, 3, &table[0][0][0]);
    for (int t = 0; t < 3; t++) {
        for (int pair = 0; pair < N_PAIRS; pair++) {
            double angle = (1000 + t) * (double)model.rope_freqs[RT_ROPE_USUAL][pair];
            double magnitude = (double)model.rope_magnitude[RT_ROPE_USUAL];
            ck_assert_double_eq_tol(table[t][pair][0], magnitude * cos(angle), 1e-4);
            ck_assert_double_eq_tol(table[t][pair][1], magnitude * sin(angle), 1e-4);
        }
    }
    free(model.rope_freqs[0]);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_rope");
    TCase *tc = tcase_create("rope");
    tcase_add_test(tc, plain_and_linear);
    tcase_add_test(tc, yarn);
    tcase_add_test(tc, yarn_without_truncation);
    tcase_add_test(tc, yarn_magnitudes);
    tcase_add_test(tc, window_layers_turn_differently);
    tcase_add_test(tc, long_and_short_factors);
    tcase_add_test(tc, factors_divide);
    tcase_add_test(tc, cosines_and_sines);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
