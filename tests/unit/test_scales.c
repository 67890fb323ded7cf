/* Scales beside weights, as NVFP4 has them: products, copies and new types. */
#include "quant/plan.h"
#include "unit_model.h"

#include <string.h>

enum { MAX_TENSORS = 256 };

/* A weight, its scale, and what it is divided by: powers of two, so that nothing rounds. */
typedef struct scaled {
    const char *name; /* without .weight */
    uint64_t n;       /* scales: one, or one for each matrix */
} scaled;

static float scale_at(uint64_t i) {
    return i % 2 ? 0.5f : 4.0f;
}

static void divide(float *values, const gguf_tensor *t, uint64_t n_scales) {
    uint64_t n = gguf_tensor_n_elems(t);
    for (uint64_t i = 0; i < n; i++) values[i] /= scale_at(i / (n / n_scales));
}

/* A copy of a file of F32 where some weights are divided by scales that stand beside them. */
static const char *add_scales(const char *path, const scaled *list, size_t n_list) {
    static gguf_tensor tensors[MAX_TENSORS];
    static char names[2 * 16][96];
    gguf_error err = {0};
    gguf_file *file;
    gguf_writer *writer;
    const char *out = unit_temp("scaled.gguf");
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
    size_t n = gguf_file_n_tensors(file), n_all = n;
    for (size_t i = 0; i < n; i++) tensors[i] = *gguf_file_tensor(file, i);
    for (size_t k = 0; k < 2 * n_list; k++) {
        snprintf(names[k], sizeof names[k], "%s.%s", list[k / 2].name,
                 k % 2 ? "input_scale" : "scale");
        tensors[n_all++] = (gguf_tensor){.name = gguf_str_of(names[k]),
                                         .type = GGUF_TYPE_F32,
                                         .n_dims = 1,
                                         .dims = {list[k / 2].n, 1, 1, 1}};
    }
    unit_ok(gguf_writer_open(out, gguf_file_meta(file), tensors, n_all, gguf_file_alignment(file),
                             GGUF_WRITE_REPLACE, &writer, &err),
            err);
    for (size_t i = 0; i < n_all; i++) {
        float *values = malloc(tensors[i].n_bytes);
        ck_assert_ptr_nonnull(values);
        if (i < n)
            memcpy(values, gguf_file_data(file, gguf_file_tensor(file, i)), tensors[i].n_bytes);
        for (uint64_t j = 0; i >= n && j < tensors[i].dims[0]; j++) values[j] = scale_at(j);
        for (size_t k = 0; k < n_list && i < n; k++) {
            char weight[128];
            snprintf(weight, sizeof weight, "%s.weight", list[k].name);
            if (gguf_str_eq(tensors[i].name, weight)) divide(values, &tensors[i], list[k].n);
        }
        unit_ok(gguf_writer_write(writer, i, 0, values, tensors[i].n_bytes, &err), err);
        free(values);
    }
    unit_ok(gguf_writer_commit(writer, &err), err);
    gguf_file_close(file);
    return out;
}

static void eval(const char *path, float *logits) {
    static const int32_t tokens[] = {3, 14, 15, 9, 26, 5};
    gguf_error err = {0};
    rt_model *model;
    rt_session *session;
    rt_session_opts opts = rt_session_defaults();
    opts.n_threads = 2;
    unit_ok(rt_model_open(path, &model, &err), err);
    unit_ok(rt_session_new(model, &opts, &session, &err), err);
    unit_ok(rt_session_eval(session, tokens, 6, RT_LOGITS_LAST, logits, &err), err);
    rt_session_free(session);
    rt_model_close(model);
}

/* The file again, all matrices as `type`. */
static const char *write_as(const char *path, uint32_t type, const char *name) {
    gguf_error err = {0};
    rt_import *import;
    const char *out = unit_temp(name);
    unit_ok(rt_import_open(path, NULL, &import, &err), err);
    quant_plan *plan = rt_import_plan(import);
    for (size_t i = 0; i < plan->n_tensors; i++)
        if (!plan->tensors[i].tags.keep) plan->tensors[i].out.type = type;
    quant_plan_settle_scales(plan);
    unit_execute(plan, out);
    rt_import_close(import);
    return out;
}

static void check_same(const char *a, const char *b) {
    size_t n_a, n_b;
    unsigned char *x = unit_read(a, &n_a), *y = unit_read(b, &n_b);
    ck_assert_uint_eq(n_a, n_b);
    ck_assert_mem_eq(x, y, n_a);
    free(x);
    free(y);
}

static const struct {
    const char *folder;
    scaled list[4];
    size_t n;
} models[] = {
    {"models/llama",
     {{"blk.0.attn_q", 1}, {"blk.1.attn_output", 1}, {"blk.0.ffn_down", 1}, {"blk.1.ffn_up", 1}},
     4},
    {"models/qwen3_moe_wide",
     {{"blk.0.ffn_up_exps", 4}, {"blk.0.attn_v", 1}, {"blk.0.ffn_gate_exps", 1}},
     3},
};

START_TEST(scales_multiply_products) {
    static float expected[65536], found[65536];
    const char *plain = unit_convert(models[_i].folder, GGUF_TYPE_F32);
    gguf_error err = {0};
    gguf_file *file;
    scaled list[4];
    memcpy(list, models[_i].list, sizeof list);
    unit_ok(gguf_file_open(plain, GGUF_OPEN_DEFAULT, &file, &err), err);
    const gguf_tensor *stack = gguf_file_find_tensor(file, "blk.0.ffn_up_exps.weight");
    if (stack) list[0].n = stack->dims[2];
    gguf_file_close(file);
    const char *path = add_scales(plain, list, models[_i].n);
    eval(plain, expected);
    eval(path, found);
    ck_assert_mem_eq(expected, found, sizeof found);
    /* A type of their own: the scales are in the numbers, and are gone. */
    check_same(write_as(plain, GGUF_TYPE_F16, "a.gguf"), write_as(path, GGUF_TYPE_F16, "b.gguf"));
    /* The same type: numbers and scales as they are. */
    const char *copy = write_as(path, GGUF_TYPE_F32, "c.gguf");
    eval(copy, found);
    ck_assert_mem_eq(expected, found, sizeof found);
    unit_ok(gguf_file_open(copy, GGUF_OPEN_DEFAULT, &file, &err), err);
    char name[96];
    snprintf(name, sizeof name, "%s.scale", list[0].name);
    ck_assert_ptr_nonnull(gguf_file_find_tensor(file, name));
    gguf_file_close(file);
    unlink(plain);
    unlink(path);
    unlink(copy);
    unlink(unit_temp("a.gguf"));
    unlink(unit_temp("b.gguf"));
}
END_TEST

/* As many scales as matrices, or one. */
START_TEST(other_numbers_of_scales_are_refused) {
    gguf_error err = {0};
    rt_model *model;
    const scaled two = {"blk.0.attn_q", 2};
    const char *plain = unit_convert("models/llama", GGUF_TYPE_F32);
    const char *path = add_scales(plain, &two, 1);
    unit_fails(rt_model_open(path, &model, &err), GGUF_E_SHAPE, "tensor 'blk.0.attn_q.scale' has 2",
               err);
    unlink(plain);
    unlink(path);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("scales");
    TCase *tests = tcase_create("scales");
    tcase_set_timeout(tests, 0);
    tcase_add_loop_test(tests, scales_multiply_products, 0, 2);
    tcase_add_test(tests, other_numbers_of_scales_are_refused);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
