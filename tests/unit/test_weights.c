/* Weights whose own numbers are not finite: every type, wherever they are read first. */
#include "runtime/measure/quality.h"
#include "runtime/model/model_internal.h"
#include "unit_model.h"

#include "quant/kernels/kernels.h"

/* A converted fixture one block of which has been spoiled. */
typedef struct broken {
    const char *path;
    char expected[160]; /* what the error says */
} broken;

/* Write an infinite or NaN scale, or number, to a block of a tensor. */
static void spoil(const char *path, const char *name, uint64_t block, bool infinite, broken *out) {
    gguf_error err = {0};
    gguf_file *file;
    size_t n;
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
    const gguf_tensor *t = gguf_file_find_tensor(file, name);
    ck_assert_ptr_nonnull(t);
    const gguf_type_layout *layout = gguf_type_layout_of(t->type);
    const quant_traits *traits = quant_traits_of(t->type);
    uint64_t at = t->file_off + block * layout->block_bytes;
    static const float f32[2] = {NAN, INFINITY};
    static const uint16_t f16[2] = {0x7E01, 0xFC00}, bf16[2] = {0x7FC1, 0xFF80};
    unsigned char *bytes = unit_read(path, &n);
    if (t->type == GGUF_TYPE_F32)
        memcpy(bytes + at, &f32[infinite], 4);
    else if (t->type == GGUF_TYPE_BF16)
        memcpy(bytes + at, &bf16[infinite], 2);
    else if (t->type == GGUF_TYPE_MXFP4)
        bytes[at] = 255;
    else
        memcpy(bytes + at + (traits->n_f16 ? traits->f16_off[traits->n_f16 - 1] : 0),
               &f16[infinite], 2);
    unit_write(path, bytes, n);
    free(bytes);
    out->path = path;
    snprintf(out->expected, sizeof out->expected, "tensor '%s': %s %llu (", name,
             layout->block_elems > 1 ? "block" : "element", (unsigned long long)block);
    gguf_file_close(file);
}

static gguf_code eval(const broken *b, unsigned n_threads, size_t n_tokens, bool repack,
                      rt_precision precision, gguf_error *err) {
    int32_t tokens[40];
    rt_model *model;
    rt_session *session = NULL;
    rt_session_opts opts = rt_session_defaults();
    for (int i = 0; i < 40; i++) tokens[i] = i + 3;
    opts.n_threads = n_threads;
    opts.precision = precision;
    *err = (gguf_error){0};
    gguf_code code = rt_model_open(b->path, &model, err);
    if (code) return code;
    float *logits = malloc(rt_model_hparams(model)->n_out * sizeof *logits);
    if (repack) code = rt_model_repack(model, n_threads, NULL, err);
    if (!code) code = rt_session_new(model, &opts, &session, err);
    if (!code) code = rt_session_eval(session, tokens, n_tokens, RT_LOGITS_LAST, logits, err);
    rt_session_free(session);
    rt_model_close(model);
    free(logits);
    return code;
}

static const uint32_t types[] = {
    GGUF_TYPE_F32,  GGUF_TYPE_F16,    GGUF_TYPE_BF16,   GGUF_TYPE_Q4_0,
    GGUF_TYPE_Q4_1, GGUF_TYPE_Q5_0,   GGUF_TYPE_Q5_1,   GGUF_TYPE_Q8_0,
    GGUF_TYPE_Q2_K, GGUF_TYPE_Q3_K,   GGUF_TYPE_Q4_K,   GGUF_TYPE_Q5_K,
    GGUF_TYPE_Q6_K, GGUF_TYPE_IQ4_NL, GGUF_TYPE_IQ4_XS, GGUF_TYPE_MXFP4};
enum { N_TYPES = sizeof types / sizeof types[0] };

/* With one token and a whole prompt, one and two threads, in all forms of activations: the same
 * words. */
START_TEST(every_type_is_looked_at) {
    static const rt_precision forms[] = {RT_PRECISION_DEFAULT, RT_PRECISION_F32, RT_PRECISION_BF16,
                                         RT_PRECISION_Q8, RT_PRECISION_A16};
    gguf_error err;
    broken b;
    const char *path = unit_convert("models/gemma2_wide", types[_i]);
    spoil(path, "blk.0.ffn_down.weight", 5, _i % 2, &b);
    for (size_t form = 0; form < 5; form++)
        for (unsigned n_threads = 1; n_threads <= 2; n_threads++)
            for (size_t n = 1; n <= 40; n += 39)
                unit_fails(eval(&b, n_threads, n, false, forms[form], &err), GGUF_E_NONFINITE,
                           b.expected, err);
    ck_assert_str_eq(err.file, path);
    ck_assert_int_gt(err.offset, 0);
    unlink(path);
}
END_TEST

/* The first of two in memory is named, whichever worker finds one first. */
START_TEST(the_first_fault_is_named) {
    gguf_error err;
    broken b, first;
    const char *path = unit_convert("models/gemma2_wide", GGUF_TYPE_Q4_K);
    spoil(path, "blk.0.ffn_down.weight", 200, true, &b);
    spoil(path, "blk.0.ffn_down.weight", 3, false, &first);
    for (unsigned n_threads = 1; n_threads <= 4; n_threads++)
        unit_fails(eval(&first, n_threads, 1, false, RT_PRECISION_DEFAULT, &err), GGUF_E_NONFINITE,
                   first.expected, err);
    unit_fails(eval(&first, 2, 1, true, RT_PRECISION_DEFAULT, &err), GGUF_E_NONFINITE,
               first.expected, err);
    unlink(path);
}
END_TEST

/* The row of a token that is not asked for does no harm; of one that is, it does. Of a norm all
 * numbers count. */
START_TEST(rows_that_are_looked_up_and_norms) {
    gguf_error err;
    broken b;
    const char *path = unit_convert("models/llama", GGUF_TYPE_F16);
    spoil(path, "token_embd.weight", 64 * 4, true, &b); /* of token 4, with rows of 64 */
    unit_fails(eval(&b, 2, 2, false, RT_PRECISION_DEFAULT, &err), GGUF_E_NONFINITE, b.expected,
               err);
    unit_ok(eval(&b, 2, 1, false, RT_PRECISION_DEFAULT, &err), err);
    spoil(path, "blk.0.ffn_norm.weight", 7, false, &b);
    unit_fails(eval(&b, 2, 1, false, RT_PRECISION_DEFAULT, &err), GGUF_E_NONFINITE,
               "tensor 'blk.0.ffn_norm.weight': element 7 is not finite", err);
    unlink(path);
}
END_TEST

/* Experts are looked at when a token is first routed to them; a prompt meets all of a few. */
START_TEST(experts_are_looked_at_when_they_are_met) {
    gguf_error err;
    broken b;
    const char *path = unit_convert("models/qwen3_moe_wide", GGUF_TYPE_Q4_K);
    spoil(path, "blk.0.ffn_up_exps.weight", 1, true, &b);
    gguf_code code = GGUF_OK;
    for (size_t n = 1; n <= 40 && !code; n++)
        code = eval(&b, 2, n, false, RT_PRECISION_DEFAULT, &err);
    unit_fails(code, GGUF_E_NONFINITE, b.expected, err);
    unlink(path);
}
END_TEST

START_TEST(quality_says_so_too) {
    gguf_error err = {0};
    broken b;
    rt_model *model;
    rt_quality quality;
    int32_t tokens[64];
    for (int i = 0; i < 64; i++) tokens[i] = i + 3;
    rt_quality_opts opts = rt_quality_defaults();
    opts.session.n_ctx = 32;
    opts.session.n_threads = 2;
    const char *path = unit_convert("models/gemma2_wide", GGUF_TYPE_Q6_K);
    spoil(path, "blk.0.attn_k.weight", 2, false, &b);
    unit_ok(rt_model_open(path, &model, &err), err);
    unit_fails(rt_quality_measure(model, NULL, tokens, 64, &opts, &quality, &err), GGUF_E_NONFINITE,
               b.expected, err);
    rt_model_close(model);
    unlink(path);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("weights");
    TCase *tc = tcase_create("weights");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, every_type_is_looked_at, 0, N_TYPES);
    tcase_add_test(tc, the_first_fault_is_named);
    tcase_add_test(tc, rows_that_are_looked_up_and_norms);
    tcase_add_test(tc, experts_are_looked_at_when_they_are_met);
    tcase_add_test(tc, quality_says_so_too);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
