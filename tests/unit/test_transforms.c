/* Every transform of a tensor against plain C. */
#include "libgguf/map.h"
#include "runtime/import/import.h"
#include "tests/unit/unit.h"

#include <math.h>

#define COMPUTE "compute: {norm: rms, rope: halves, activation: silu}\n"

typedef struct shape {
    uint64_t rows, cols; /* stored; rows 0: a vector of cols */
    uint64_t a, b, c;    /* what the transform is given */
} shape;

/* A transform: its fields with a, b, c of the config in them, and what it does in plain C. */
typedef struct transform_case {
    const char *fields;
    shape (*pick)(void);
    /* element (row, col) of an output of rows x cols */
    float (*value)(const shape *s, const float *x, uint64_t row, uint64_t col);
    uint64_t (*rows)(const shape *s);
    uint64_t (*cols)(const shape *s);
} transform_case;

static uint64_t random_state = 1;

/* 1 to n */
static uint64_t pick(uint64_t n) {
    random_state = random_state * 6364136223846793005U + 1442695040888963407U;
    return (random_state >> 33) % n + 1;
}

static uint64_t rows_of(const shape *s) {
    return s->rows ? s->rows : 1;
}
static uint64_t cols_of(const shape *s) {
    return s->cols;
}

static shape pick_heads(void) {
    uint64_t heads = pick(4), half = pick(4);
    return (shape){heads * half * 2, pick(9), heads, half, 0};
}
static float permuted(const shape *s, const float *x, uint64_t row, uint64_t col) {
    uint64_t head = row / (2 * s->b), at = row % (2 * s->b);
    return x[(head * 2 * s->b + at % 2 * s->b + at / 2) * s->cols + col];
}

static shape pick_any(void) {
    return (shape){pick(9) + 1, pick(9) + 1, pick(5), 0, 0};
}
static float added(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return x[row * s->cols + col] + (float)s->a;
}
static float neg_exp(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return -(float)exp((double)x[row * s->cols + col]);
}
static float transposed(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return x[col * s->cols + row];
}
static uint64_t transposed_cols(const shape *s) {
    return s->rows;
}

static shape pick_rows(void) {
    uint64_t first = pick(4) - 1, n = pick(5), step = pick(3);
    return (shape){first + n * step + pick(3), pick(7), first, n, step};
}
static float taken(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return x[(s->a + row * s->c) * s->cols + col];
}
static uint64_t count_b(const shape *s) {
    return s->b;
}
static shape pick_columns(void) {
    shape s = pick_rows();
    return (shape){pick(5) + 1, s.rows, s.a, s.b, s.c};
}
static float taken_columns(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return x[row * s->cols + s->a + col * s->c];
}

static shape pick_reshape(void) {
    uint64_t a = pick(6), b = pick(6);
    return (shape){0, a * b, a, b, 0};
}
static float reshaped(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return x[row * s->b + col];
}
static uint64_t count_a(const shape *s) {
    return s->a;
}

/* a groups of b members of c rows */
static shape pick_groups(void) {
    uint64_t a = pick(4), b = pick(4), c = pick(3);
    return (shape){a * b * c, pick(7), a, b, c};
}
static uint64_t regrouped(const shape *s, uint64_t at) {
    uint64_t member = at / s->c / s->a, group = at / s->c % s->a;
    return (group * s->b + member) * s->c + at % s->c;
}
static float reordered(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return x[regrouped(s, row) * s->cols + col];
}
static shape pick_column_groups(void) {
    shape s = pick_groups();
    return (shape){pick(5), s.rows, s.a, s.b, s.c};
}
static float reordered_columns(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return x[row * s->cols + regrouped(s, col)];
}
static shape pick_vector_groups(void) {
    shape s = pick_groups();
    return (shape){0, s.rows, s.a, s.b, s.c};
}
static float reordered_vector(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return x[regrouped(s, row + col)];
}
/* the first c rows stay; then a groups of b rows */
static shape pick_tail(void) {
    uint64_t a = pick(4), b = pick(4), c = pick(5);
    return (shape){c + a * b, pick(7), a, b, c};
}
static float reordered_tail(const shape *s, const float *x, uint64_t row, uint64_t col) {
    uint64_t at = row < s->c ? row : s->c + (row - s->c) % s->a * s->b + (row - s->c) / s->a;
    return x[at * s->cols + col];
}

/* a groups of b rows for one output and c for another, and the other way round */
static shape pick_interleaved(void) {
    uint64_t a = pick(4), b = pick(4), c = pick(4);
    return (shape){a * (b + c), pick(7), a, b, c};
}
static float second_first(const shape *s, const float *x, uint64_t row, uint64_t col) {
    uint64_t n = s->a * s->c, group = s->b + s->c, at = row - n;
    if (row < n) return x[(row / s->c * group + s->b + row % s->c) * s->cols + col];
    return x[(at / s->b * group + at % s->b) * s->cols + col];
}

static shape pick_padded(void) {
    return (shape){pick(20), pick(7), pick(6) + 1, 0, 0};
}
static float padded(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return row < s->rows ? x[row * s->cols + col] : 0;
}
static uint64_t padded_rows(const shape *s) {
    return (s->rows + s->a - 1) / s->a * s->a;
}

/* a matrices of b rows on top of one another, the last c + 1 rows of each turned */
static shape pick_matrices(void) {
    uint64_t a = pick(4), b = pick(4) + 1;
    return (shape){a * b, pick(7), a, b, 1};
}
static float turned(const shape *s, const float *x, uint64_t row, uint64_t col) {
    uint64_t matrix = row / s->cols, from = row % s->cols;
    return x[(matrix * s->b + s->c + col) * s->cols + from];
}
static uint64_t turned_rows(const shape *s) {
    return s->a * s->cols;
}
static uint64_t turned_cols(const shape *s) {
    return s->b - s->c;
}

static float scaled(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return x[row * s->cols + col] * (float)s->a * (float)s->c;
}
/* b rows with the factor a, then c with the factor b */
static shape pick_scaled(void) {
    uint64_t b = pick(4), c = pick(4);
    return (shape){b + c, pick(7), pick(9), b, c};
}
static float scaled_rows(const shape *s, const float *x, uint64_t row, uint64_t col) {
    return x[row * s->cols + col] * (float)(row < s->b ? s->a : s->b);
}

static const transform_case transforms[] = {
    {"permute_heads: a", pick_heads, permuted, rows_of, cols_of},
    {"add: a", pick_any, added, rows_of, cols_of},
    {"neg_exp: true", pick_any, neg_exp, rows_of, cols_of},
    {"transpose: true", pick_any, transposed, cols_of, transposed_cols},
    {"rows: [a, b, c]", pick_rows, taken, count_b, cols_of},
    {"columns: [a, b, c]", pick_columns, taken_columns, rows_of, count_b},
    {"reshape: [a, b]", pick_reshape, reshaped, count_a, count_b},
    {"reorder: [a, b]", pick_groups, reordered, rows_of, cols_of},
    {"reorder: [a, b, c]", pick_tail, reordered_tail, rows_of, cols_of},
    {"reorder: [a, b]", pick_vector_groups, reordered_vector, rows_of, cols_of},
    {"reorder_columns: [a, b]", pick_column_groups, reordered_columns, rows_of, cols_of},
    {"interleaved: [a, b, c, 0, b]", pick_interleaved, second_first, rows_of, cols_of},
    {"pad_rows: a", pick_padded, padded, padded_rows, cols_of},
    {"matrices: a, rows: [c, b - c], transpose: true", pick_matrices, turned, turned_rows,
     turned_cols},
    {"scale: [a, c]", pick_scaled, scaled, rows_of, cols_of},
    {"scale_rows: [b, a, c, b]", pick_scaled, scaled_rows, rows_of, cols_of},
};
#define N_TRANSFORMS (int)(sizeof transforms / sizeof transforms[0])

/* A model of one tensor x, opened with a description of its own. */
typedef struct tiny_model {
    char config[256], description[512], header[256];
    uint8_t *weights;
    size_t n_weights;
    const char *arch_file;
    rt_import *import;
} tiny_model;

static gguf_code open_tiny(tiny_model *m, const char *fields, const char *dims, const char *dtype,
                           const shape *s, const void *x, size_t n_bytes, gguf_error *err) {
    int n_config =
        snprintf(m->config, sizeof m->config,
                 "{\"architectures\":[\"T\"],\"num_hidden_layers\":1,\"a\":%llu,"
                 "\"b\":%llu,\"c\":%llu}",
                 (unsigned long long)s->a, (unsigned long long)s->b, (unsigned long long)s->c);
    int n_text = snprintf(m->description, sizeof m->description,
                          "architecture: test\nhuggingface: [{class: T, model_type: t}]\n"
                          "keys: [{key: block_count, type: u32, from: num_hidden_layers}]\n"
                          "tensors: [{hf: x.weight, gguf: x.weight, %s}]\n" COMPUTE,
                          fields);
    uint64_t n_header = (uint64_t)snprintf(
        m->header, sizeof m->header,
        "{\"x.weight\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[0,%zu]}}", dtype, dims,
        n_bytes);
    m->n_weights = 8 + n_header + n_bytes;
    m->weights = malloc(m->n_weights);
    ck_assert_ptr_nonnull(m->weights);
    memcpy(m->weights, &n_header, 8);
    memcpy(m->weights + 8, m->header, n_header);
    memcpy(m->weights + 8 + n_header, x, n_bytes);
    m->arch_file = unit_temp("test_transforms.yaml");
    unit_write(m->arch_file, m->description, (size_t)n_text);
    const gguf_memory_file files[] = {{"config.json", m->config, (size_t)n_config},
                                      {"model.safetensors", m->weights, m->n_weights}};
    const rt_import_opts opts = {.arch_file = m->arch_file, .shapes_suffice = true};
    *err = (gguf_error){0};
    return rt_import_from_memory(files, 2, &opts, &m->import, err);
}

static void close_tiny(tiny_model *m) {
    rt_import_close(m->import);
    unlink(m->arch_file);
    free(m->weights);
}

/* The output as F32, with buffers of so many bytes; malloc'ed. */
static float *execute_tiny(tiny_model *m, uint64_t max_memory, gguf_tensor *out) {
    gguf_error err = {0};
    gguf_pool *pool;
    gguf_file *file;
    quant_plan *plan = rt_import_plan(m->import);
    quant_execute_opts opts = quant_execute_defaults();
    opts.max_memory_bytes = max_memory;
    opts.replace = true;
    const char *path = unit_temp("test_transforms.gguf");
    ck_assert_uint_eq(plan->n_tensors, 1);
    plan->tensors[0].out.type = GGUF_TYPE_F32;
    unit_ok(quant_plan_finish(plan, &err), err);
    unit_ok(gguf_pool_new(2, &pool, &err), err);
    unit_ok(quant_execute(plan, path, pool, &opts, &err), err);
    gguf_pool_free(pool);
    unit_ok(gguf_file_open(path, GGUF_OPEN_DEFAULT, &file, &err), err);
    *out = *gguf_file_tensor(file, 0);
    size_t n = (size_t)gguf_tensor_n_elems(out) * sizeof(float);
    float *values = malloc(n);
    ck_assert_ptr_nonnull(values);
    memcpy(values, gguf_file_data(file, gguf_file_tensor(file, 0)), n);
    gguf_file_close(file);
    unlink(path);
    return values;
}

static void check_transform(const transform_case *c, bool bf16) {
    shape s = c->pick();
    size_t n = (size_t)(rows_of(&s) * s.cols);
    float *x = malloc(n * sizeof *x);
    uint16_t *halves = malloc(n * sizeof *halves);
    ck_assert(x && halves);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)pick(1 << 7) / 16 - 4;
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        halves[i] = (uint16_t)(bits >> 16);
    }
    char dims[64];
    snprintf(dims, sizeof dims, s.rows ? "%llu,%llu" : "%llu",
             (unsigned long long)(s.rows ? s.rows : s.cols), (unsigned long long)s.cols);
    for (uint64_t memory = 1; memory < 1 << 20; memory *= 64) {
        gguf_error err;
        gguf_tensor out;
        tiny_model m;
        unit_ok(open_tiny(&m, c->fields, dims, bf16 ? "BF16" : "F32", &s,
                          bf16 ? (void *)halves : (void *)x, n * (bf16 ? 2 : 4), &err),
                err);
        float *got = execute_tiny(&m, memory, &out);
        uint64_t rows = c->rows(&s), cols = c->cols(&s);
        ck_assert_uint_eq(gguf_tensor_n_elems(&out), rows * cols);
        ck_assert_uint_eq(out.dims[0], cols);
        for (uint64_t i = 0; i < rows * cols; i++) {
            float wanted = c->value(&s, x, i / cols, i % cols);
            ck_assert_msg(memcmp(&got[i], &wanted, sizeof wanted) == 0,
                          "%s: element %llu of %llu x %llu is %g, not %g (a %llu b %llu c %llu)",
                          c->fields, (unsigned long long)i, (unsigned long long)rows,
                          (unsigned long long)cols, got[i], wanted, (unsigned long long)s.a,
                          (unsigned long long)s.b, (unsigned long long)s.c);
        }
        free(got);
        close_tiny(&m);
    }
    free(x);
    free(halves);
}

START_TEST(transforms_are_as_in_plain_c) {
    random_state = (uint64_t)_i + 1;
    for (int i = 0; i < 12; i++) check_transform(&transforms[_i], i % 2);
}
END_TEST

static const struct {
    const char *fields, *message;
} unfit[] = {
    {"permute_heads: 4", "6 rows are not 4 heads of even size"},
    {"matrices: 4", "6 rows are not 4 matrices"},
    {"rows: [3, 4]", "6 rows or columns have no such part from 3 on"},
    {"columns: [0, 4, 2]", "5 rows or columns have no such part from 0 on"},
    {"reshape: [5, 7]", "30 elements do not fit a shape of 35"},
    {"reorder: [4, 2]", "6 rows or columns are not 8 members of groups"},
    {"reorder: [2, 3, 6]", "6 rows or columns are not 6 members of groups"},
    {"interleaved: [4, 0, 1]", "6 rows are not 4 groups with whole parts"},
    {"interleaved: [3, 1, 2]", "2 rows of a group have no such part from 1 on"},
    {"interleaved: [3, 0, 1, 1]", "6 rows are not 3 groups with whole parts"},
    {"interleaved: [3, 0, 1], rows: [0, 1]", "not taken once more"},
    {"interleaved: [3, 0, 1], transpose: true", "not taken once more"},
    {"scale_rows: [1, a, 4, a]", "6 rows are not all that have a factor"},
    {"scale_rows: [1, a, 5, a], reshape: [5, 6]", "5 rows are not all"},
    {"pad_rows: 0", "6 rows cannot be filled up to a multiple of 0"},
};

START_TEST(transforms_that_do_not_fit_are_refused) {
    static const float x[30];
    const shape s = {6, 5, 0, 0, 0};
    gguf_error err;
    tiny_model m;
    gguf_code code = open_tiny(&m, unfit[_i].fields, "6,5", "F32", &s, x, sizeof x, &err);
    unit_fails(code, GGUF_E_SHAPE, unfit[_i].message, err);
    close_tiny(&m);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("transforms");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, transforms_are_as_in_plain_c, 0, N_TRANSFORMS);
    tcase_add_loop_test(tc, transforms_that_do_not_fit_are_refused, 0,
                        (int)(sizeof unfit / sizeof unfit[0]));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
