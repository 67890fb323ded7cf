/* Products with quantised weights, where they happen: against sums in double of the dequantised
 * weights, within what 8-bit activations can be off; and the choice of experts. */
#include "runtime/calibrate/calibrate.h"
#include "runtime/engine/session_internal.h"
#include "unit_model.h"

/* ---- every product of a model -------------------------------------------------------------------
 */

typedef struct products {
    rt_session *session;
    const rt_model *model;
    rt_precision precision;
    size_t n_checked, n_stacked;
} products;

static bool is_named(const rt_weight *w, gguf_str name) {
    return w->name.len == name.len && w->name.len && memcmp(w->name.ptr, name.ptr, name.len) == 0;
}

/* The weight of a layer that has this name; all rt_weight fields of rt_layer are looked at. */
static const rt_weight *find_weight(const rt_model *model, gguf_str name) {
    for (uint32_t i = 0; i < model->hparams.n_layer; i++) {
        const rt_layer *l = &model->layers[i];
        const rt_weight *all[] = {&l->attn_q,    &l->attn_k,      &l->attn_v,      &l->attn_output,
                                  &l->q_a,       &l->q_b,         &l->kv_a,        &l->k_b,
                                  &l->v_b,       &l->ffn_gate,    &l->ffn_up,      &l->ffn_down,
                                  &l->router,    &l->gate_exps,   &l->up_exps,     &l->down_exps,
                                  &l->up_shared, &l->gate_shared, &l->down_shared, &l->shared_gate};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
            if (is_named(all[k], name)) return all[k];
    }
    ck_assert(is_named(&model->output, name));
    return &model->output;
}

/* Half a step of the activations' blocks for every weight, a little for f32 sums. Steps are at most
 * max |x| / 127 of a block of 32 or 256, those of two planes a 254th of that. */
static double bound_of(quant_act act, rt_precision precision, const float *weight, const float *x,
                       size_t n) {
    double step = precision == RT_PRECISION_A16 ? 1.0 / 127 / 254 : 1.0 / 127;
    size_t block = act == QUANT_ACT_Q8_K ? 256 : 32;
    double bound = 0;
    for (size_t from = 0; from < n; from += block) {
        size_t end = from + block < n ? from + block : n;
        double max = 0, sum = 0, size = 0;
        for (size_t c = from; c < end; c++) {
            max = fmax(max, fabs(x[c]));
            sum += fabs(weight[c]);
            size += fabs((double)weight[c] * x[c]);
        }
        bound += (act == QUANT_ACT_NONE ? 0 : sum * max * step * 0.5001) + size * 1e-6;
    }
    return bound + 1e-7;
}

/* One output row: matrix `mat` times x. */
static void check_row(const products *p, const rt_weight *w, uint32_t mat, const float *x,
                      const float *out) {
    float *row = malloc(w->n_cols * sizeof *row);
    for (uint32_t r = 0; r < w->n_rows; r++) {
        gguf_error err = {0};
        const uint8_t *data = (const uint8_t *)w->data + mat * w->mat_bytes + r * w->row_bytes;
        double sum = w->bias ? (double)w->bias[mat * w->bias_stride + r] : 0;
        unit_ok(quant_decode(w->type, data, 1, w->n_cols, row, &err), err);
        for (uint32_t c = 0; c < w->n_cols; c++) sum += (double)row[c] * x[c];
        double bound = bound_of(quant_act_of(w->type), p->precision, row, x, w->n_cols);
        ck_assert_msg(fabs(sum - out[r]) <= bound,
                      "%.*s matrix %u row %u: %.9g, expected %.9g +- %g", (int)w->name.len,
                      w->name.ptr, mat, r, (double)out[r], sum, bound);
    }
    free(row);
}

/* The product once more, in a backend of its own: the input at 0, the output at `out`. */
typedef struct bench {
    rt_backend *backend;
    rt_grouping grouping;
    rt_off out;
    size_t n_out; /* rows */
} bench;

static bench open_bench(const products *p, const rt_weight *w, const rt_product *product,
                        size_t n_out) {
    gguf_error err = {0};
    size_t n_in = product->n_heads ? product->n_rows * product->n_heads : product->n_rows;
    uint64_t in_bytes = (n_in * w->n_cols * sizeof(float) + 63) / 64 * 64;
    uint64_t out_bytes = (n_out * w->n_rows * sizeof(float) + 63) / 64 * 64;
    bench b = {.out = in_bytes, .n_out = n_out};
    b.grouping = (rt_grouping){w->n_mats, in_bytes + out_bytes, 0, product->n_share};
    b.grouping.rows = b.grouping.first + (w->n_mats + UINT64_C(1)) * sizeof(uint32_t);
    const rt_backend_setup setup = {.hparams = &p->model->hparams,
                                    .n_batch = p->session->layout.n_batch,
                                    .arena_bytes =
                                        (b.grouping.rows + n_out * sizeof(uint32_t) + 63) / 64 * 64,
                                    .precision = p->precision,
                                    .pool = p->session->pool};
    unit_ok(rt_backend_cpu.open(&setup, &b.backend, &err), err);
    b.backend->ops->write(b.backend, product->rows, n_in * w->n_cols * sizeof(float), 0);
    b.backend->ops->set_input(b.backend, 0, n_in, w->n_cols);
    return b;
}

/* The output, owned by the caller. */
static float *close_bench(bench *b, const rt_weight *w) {
    gguf_error err = {0};
    uint64_t n_bytes = b->n_out * w->n_rows * sizeof(float);
    float *out = malloc(n_bytes);
    unit_ok(b->backend->ops->sync(b->backend, &err), err);
    b->backend->ops->read(b->backend, b->out, n_bytes, out);
    b->backend->ops->free(b->backend);
    return out;
}

static void check_experts(products *p, const rt_weight *w, const rt_product *product) {
    size_t n = product->first[w->n_mats];
    bench b = open_bench(p, w, product, n);
    const rt_backend_ops *ops = b.backend->ops;
    ops->write(b.backend, product->first, (w->n_mats + UINT64_C(1)) * sizeof(uint32_t),
               b.grouping.first);
    ops->write(b.backend, product->routed, n * sizeof(uint32_t), b.grouping.rows);
    ops->matmul_groups(b.backend, w, &b.grouping, b.out);
    float *out = close_bench(&b, w);
    for (uint32_t e = 0; e < w->n_mats; e++)
        for (uint32_t i = product->first[e]; i < product->first[e + 1]; i++)
            check_row(p, w, e, product->rows + product->routed[i] / product->n_share * w->n_cols,
                      out + (size_t)product->routed[i] * w->n_rows);
    free(out);
    p->n_stacked++;
}

/* A stack of one matrix per head: rows of all heads side by side. */
static void check_heads(products *p, const rt_weight *w, const rt_product *product) {
    size_t n = product->n_rows * w->n_mats;
    bench b = open_bench(p, w, product, n);
    b.backend->ops->matmul_heads(b.backend, w, b.out, w->n_rows);
    float *out = close_bench(&b, w);
    for (size_t i = 0; i < n; i++)
        check_row(p, w, (uint32_t)(i % w->n_mats), product->rows + i * w->n_cols,
                  out + i * w->n_rows);
    free(out);
    p->n_stacked++;
}

static void check_product(void *ctx, const rt_product *product) {
    products *p = ctx;
    const rt_weight *w = find_weight(p->model, product->weight);
    p->n_checked++;
    if (product->n_experts) {
        check_experts(p, w, product);
    } else if (w->n_mats > 1) {
        check_heads(p, w, product);
    } else {
        bench b = open_bench(p, w, product, product->n_rows);
        b.backend->ops->matmul(b.backend, w, b.out);
        float *out = close_bench(&b, w);
        for (size_t t = 0; t < product->n_rows; t++)
            check_row(p, w, 0, product->rows + t * w->n_cols, out + t * w->n_rows);
        free(out);
    }
}

static const struct {
    const char *folder;
    uint32_t type;
    bool stacked;
} quantised[] = {
    {"models/llama", GGUF_TYPE_Q8_0, false},
    {"models/phi3", GGUF_TYPE_Q4_0, false},
    {"models/gpt_oss_mxfp4", GGUF_TYPE_MXFP4, true},
    {"models/deepseek_v3", GGUF_TYPE_Q8_0, true},
    {"models/qwen3_moe_wide", GGUF_TYPE_Q5_1, true},
    {"models/qwen3_moe_wide", GGUF_TYPE_Q4_K, true},
    {"models/qwen3_moe_wide", GGUF_TYPE_Q6_K, true},
    {"models/bert", GGUF_TYPE_IQ4_NL, false},
    {"models/qwen3_moe_wide", GGUF_TYPE_NVFP4, true},
};

START_TEST(quantised_products) {
    gguf_error err = {0};
    unit_reference ref = unit_reference_of(quantised[_i / 2].folder);
    rt_model *model = unit_model(quantised[_i / 2].folder, quantised[_i / 2].type);
    rt_session_opts opts = rt_session_defaults();
    opts.n_threads = 2;
    products p = {.model = model, .precision = _i % 2 ? RT_PRECISION_A16 : RT_PRECISION_DEFAULT};
    float *logits = malloc(ref.n_logits * sizeof *logits);
    unit_ok(rt_session_new(model, &opts, &p.session, &err), err);
    unit_ok(rt_session_set_hook(p.session, check_product, &p, &err), err);
    unit_ok(rt_session_eval(p.session, ref.tokens, 40, RT_LOGITS_LAST, logits, &err), err);
    ck_assert_uint_ge(p.n_checked, 12);
    ck_assert_int_eq(p.n_stacked > 0, quantised[_i / 2].stacked);
    rt_session_free(p.session);
    free(logits);
    rt_model_close(model);
    unit_reference_clear(&ref);
}
END_TEST

/* ---- importance ---------------------------------------------------------------------------------
 */

static quant_imatrix *importance_of(const char *folder, uint32_t n_chunks) {
    gguf_error err = {0};
    unit_reference ref = unit_reference_of(folder);
    rt_model *model = unit_model(folder, GGUF_TYPE_F32);
    quant_imatrix *im = quant_imatrix_new();
    rt_calibrate_opts opts = rt_calibrate_defaults();
    opts.n_ctx = 28;
    opts.n_chunks = n_chunks;
    unit_ok(rt_calibrate_importance(model, ref.tokens, ref.n, &opts, im, NULL, &err), err);
    rt_model_close(model);
    unit_reference_clear(&ref);
    return im;
}

/* Every expert with a count of its own; every token counts once for each of its experts. */
START_TEST(importance_of_experts) {
    quant_imatrix *im = importance_of("models/mixtral", 2);
    const quant_imatrix_entry *up = quant_imatrix_find(im, "blk.1.ffn_up_exps.weight");
    const quant_imatrix_entry *down = quant_imatrix_find(im, "blk.1.ffn_down_exps.weight");
    ck_assert(up && up->n_mats == 8 && up->n_cols == 64);
    ck_assert(down && down->n_mats == 8 && down->n_cols == 128);
    double n = 0, sum = 0;
    for (size_t e = 0; e < 8; e++) n += up->counts[e];
    ck_assert(n == 2 * 2 * 28);
    ck_assert_mem_eq(up->counts, down->counts, 8 * sizeof *up->counts);
    /* What the experts saw is what the router saw, twice. */
    const quant_imatrix_entry *router = quant_imatrix_find(im, "blk.1.ffn_gate_inp.weight");
    ck_assert(router && router->counts[0] == 2 * 28);
    for (size_t e = 0; e < 8; e++) sum += up->sums[e * 64 + 5];
    ck_assert_double_eq_tol(sum, 2 * router->sums[5], 1e-6 * sum);
    rt_expert_samples samples = rt_calibrate_samples(im);
    ck_assert_uint_eq(samples.n_mats, 3 * 3 * 8);
    size_t n_unseen = 0;
    for (size_t e = 0; e < 8; e++) n_unseen += up->counts[e] == 0;
    ck_assert_uint_ge(samples.n_unseen, 3 * n_unseen);
    ck_assert_uint_eq(samples.n_unseen + samples.n_few, 3 * 3 * 8); /* 14 rows each, on average */
    quant_imatrix_free(im);
}
END_TEST

/* Stacks of heads: the columns of all heads, one count. */
START_TEST(importance_of_latent_heads) {
    quant_imatrix *im = importance_of("models/deepseek_v3", 1);
    const quant_imatrix_entry *k_b = quant_imatrix_find(im, "blk.0.attn_k_b.weight");
    const quant_imatrix_entry *v_b = quant_imatrix_find(im, "blk.2.attn_v_b.weight");
    ck_assert(k_b && k_b->n_mats == 1 && k_b->n_cols == 4 * 32 && k_b->counts[0] == 28);
    ck_assert(v_b && v_b->n_mats == 1 && v_b->n_cols == 4 * 48 && v_b->counts[0] == 28);
    ck_assert_ptr_nonnull(quant_imatrix_find(im, "blk.1.attn_q_b.weight"));
    ck_assert_ptr_nonnull(quant_imatrix_find(im, "blk.1.ffn_down_shexp.weight"));
    quant_imatrix_free(im);
}
END_TEST

/* A fused tensor is multiplied in parts, and counts once. */
START_TEST(importance_of_fused_tensors) {
    quant_imatrix *im = importance_of("models/phi3", 1);
    const quant_imatrix_entry *qkv = quant_imatrix_find(im, "blk.0.attn_qkv.weight");
    const quant_imatrix_entry *up = quant_imatrix_find(im, "blk.0.ffn_up.weight");
    ck_assert(qkv && qkv->counts[0] == 28 && qkv->n_cols == 64);
    ck_assert(up && up->counts[0] == 28 && up->n_cols == 64);
    quant_imatrix_free(im);
}
END_TEST

/* ---- routing ------------------------------------------------------------------------------------
 */

#define LOGITS 2, 1, 0, 3, -1, 2.5f, 2.25f, -2

static void check_route(rt_route_rule rule, const uint32_t *experts, const double *weights) {
    float logits[] = {LOGITS}, got[8];
    uint32_t chosen[8];
    rule.n_expert = 8;
    if (rule.n_group == 0) rule.n_group = rule.n_group_used = 1;
    rt_route(&rule, logits, chosen, got);
    for (uint32_t i = 0; i < rule.n_used; i++) {
        ck_assert_uint_eq(chosen[i], experts[i]);
        ck_assert_double_eq_tol(got[i], weights[i], 1e-6);
    }
}

static double share(double logit) {
    const double all[] = {LOGITS};
    double sum = 0;
    for (int i = 0; i < 8; i++) sum += exp(all[i]);
    return exp(logit) / sum;
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

START_TEST(routing_rules) {
    const uint32_t best[] = {3, 5, 6};
    double p[] = {share(3), share(2.5), share(2.25)}, sum = p[0] + p[1] + p[2];
    check_route((rt_route_rule){.n_used = 3, .gating = RT_GATING_SOFTMAX, .scale = 1}, best, p);
    const double normed[] = {2 * p[0] / sum, 2 * p[1] / sum, 2 * p[2] / sum};
    check_route((rt_route_rule){.n_used = 3, .gating = RT_GATING_SOFTMAX, .norm = true, .scale = 2},
                best, normed);
    const double alone[] = {p[0] / sum, p[1] / sum, p[2] / sum};
    check_route((rt_route_rule){.n_used = 3, .gating = RT_GATING_SOFTMAX_SELECTED, .scale = 1},
                best, alone);
    const double s[] = {sigmoid(3), sigmoid(2.5)};
    check_route((rt_route_rule){.n_used = 2, .gating = RT_GATING_SIGMOID, .scale = 1}, best, s);
}
END_TEST

/* The bias decides who is chosen, not the weight. */
START_TEST(selection_bias) {
    const float bias[8] = {0, 0, 0, 0, 0.9f, 0, 0, 0};
    const uint32_t experts[] = {4, 3};
    const double weights[] = {sigmoid(-1), sigmoid(3)};
    check_route((rt_route_rule){.n_used = 2, .gating = RT_GATING_SIGMOID, .scale = 1, .bias = bias},
                experts, weights);
}
END_TEST

/* Four groups of two. By their best: {0 3} 3, {5} 2.5; by the sum of two with a bias: group 0 (2
 * and 1) is behind group 1 (0 and 3) and group 3 (2.25 and -2) as sigmoids, before group 2
 * (-1, 2.5). */
START_TEST(groups_of_experts) {
    const float zero[8] = {0};
    const uint32_t by_best[] = {3, 5, 2}, by_sum[] = {3, 0, 1};
    const double p[] = {share(3), share(2.5), share(0)};
    rt_route_rule rule = {.n_used = 3, .n_group = 4, .n_group_used = 2, .scale = 1};
    rule.gating = RT_GATING_SOFTMAX;
    check_route(rule, by_best, p);
    const double s[] = {sigmoid(3), sigmoid(2), sigmoid(1)};
    rule.gating = RT_GATING_SIGMOID;
    rule.bias = zero;
    check_route(rule, by_sum, s);
}
END_TEST

START_TEST(nan_logits_choose_somebody) {
    float logits[8], weights[3];
    uint32_t experts[3];
    for (int i = 0; i < 8; i++) logits[i] = NAN;
    const rt_route_rule rule = {.n_expert = 8,
                                .n_used = 3,
                                .n_group = 1,
                                .n_group_used = 1,
                                .gating = RT_GATING_SOFTMAX,
                                .scale = 1};
    rt_route(&rule, logits, experts, weights);
    for (int i = 0; i < 3; i++) ck_assert_uint_lt(experts[i], 8);
}
END_TEST

START_TEST(sorted_groups) {
    const uint32_t mats[] = {2, 0, 2, 3, 0, 2};
    const uint32_t expected_first[] = {0, 2, 2, 5, 6}, expected_rows[] = {1, 4, 0, 2, 5, 3};
    uint32_t first[5], rows[6];
    rt_groups_sort(mats, 6, 4, first, rows);
    ck_assert_mem_eq(first, expected_first, sizeof first);
    ck_assert_mem_eq(rows, expected_rows, sizeof rows);
}
END_TEST

/* ---- pooling ------------------------------------------------------------------------------------
 */

static void check_pooled(rt_model *model, rt_pooling pooling, const float *rows, size_t n,
                         const float *expected) {
    gguf_error err = {0};
    float out[8];
    model->hparams.pooling = pooling;
    unit_ok(rt_pool(model, rows, n, out, &err), err);
    for (uint32_t i = 0; i < rt_pooled_size(model); i++)
        ck_assert_double_eq_tol(out[i], expected[i], 1e-6);
}

START_TEST(pooling) {
    gguf_error err = {0};
    const float rows[3][2] = {{1, 2}, {3, 4}, {5, 9}}, mean[] = {3, 5}, bias = 0.5f;
    rt_model model = {.hparams = {.n_embd = 2}};
    check_pooled(&model, RT_POOLING_MEAN, rows[0], 3, mean);
    check_pooled(&model, RT_POOLING_CLS, rows[0], 3, rows[0]);
    check_pooled(&model, RT_POOLING_LAST, rows[0], 3, rows[2]);
    const float dense[2][2] = {{1, 0}, {0, -1}}, output[1][2] = {{2, 3}};
    const float score = 2 * tanhf(1) + 3 * tanhf(-2) + 0.5f;
    model.cls = (rt_weight){.data = dense, .type = GGUF_TYPE_F32, .n_rows = 2, .n_cols = 2};
    model.cls_output =
        (rt_weight){.data = output, .bias = &bias, .type = GGUF_TYPE_F32, .n_rows = 1, .n_cols = 2};
    check_pooled(&model, RT_POOLING_RANK, rows[0], 3, &score);
    ck_assert_uint_eq(rt_pooled_size(&model), 1);
    model.hparams.pooling = RT_POOLING_NONE;
    float out[2];
    ck_assert_int_eq(rt_pool(&model, rows[0], 3, out, &err), GGUF_E_UNSUPPORTED);
}
END_TEST

/* Products behind the pooling, one after the other. */
START_TEST(dense_layers) {
    gguf_error err = {0};
    const float rows[2][2] = {{1, 2}, {3, 4}}; /* mean 2, 3 */
    const float wide[3][2] = {{1, 0}, {0, 2}, {1, -1}}, narrow[1][3] = {{1, 0.5f, 4}};
    float out[3];
    rt_model model = {.hparams = {.n_embd = 2, .pooling = RT_POOLING_MEAN}};
    model.dense[0] = (rt_weight){
        .data = wide, .type = GGUF_TYPE_F32, .n_mats = 1, .n_rows = 3, .n_cols = 2, .row_bytes = 8};
    ck_assert_uint_eq(rt_pooled_size(&model), 3);
    unit_ok(rt_pool(&model, rows[0], 2, out, &err), err);
    ck_assert(out[0] == 2 && out[1] == 6 && out[2] == -1);
    model.dense[1] = (rt_weight){.data = narrow,
                                 .type = GGUF_TYPE_F32,
                                 .n_mats = 1,
                                 .n_rows = 1,
                                 .n_cols = 3,
                                 .row_bytes = 12};
    ck_assert_uint_eq(rt_pooled_size(&model), 1);
    unit_ok(rt_pool(&model, rows[0], 2, out, &err), err);
    ck_assert(out[0] == 2 + 3 - 4);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("runtime_products");
    TCase *tc = tcase_create("products");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, quantised_products, 0,
                        2 * (int)(sizeof quantised / sizeof quantised[0]));
    tcase_add_test(tc, importance_of_experts);
    tcase_add_test(tc, importance_of_latent_heads);
    tcase_add_test(tc, importance_of_fused_tensors);
    tcase_add_test(tc, routing_rules);
    tcase_add_test(tc, selection_bias);
    tcase_add_test(tc, groups_of_experts);
    tcase_add_test(tc, nan_logits_choose_somebody);
    tcase_add_test(tc, sorted_groups);
    tcase_add_test(tc, pooling);
    tcase_add_test(tc, dense_layers);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
