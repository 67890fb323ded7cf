/* Descriptions that are like others, kinds of layers, and every transform against plain C. */
#include "libgguf/map.h"
#include "runtime/import/import.h"
#include "runtime/model/arch_read.h"
#include "runtime/model/expression.h"
#include "tests/unit/unit.h"

#include <math.h>

/* ---- like ---------------------------------------------------------------------------------- */

#define COMPUTE "compute: {norm: rms, rope: halves, activation: silu}\n"

static const char base[] = "architecture: base\n"
                           "names: [{prefix: a., becomes: b.}]\n"
                           "keys:\n"
                           "  - {key: one, type: u32, default: 1}\n"
                           "  - {key: two, type: u32, default: 2}\n"
                           "  - {key: three, type: u32, default: 3}\n"
                           "tensors:\n"
                           "  - {hf: x, gguf: x.weight, add: 1}\n"
                           "  - {hf: y, gguf: y.weight}\n"
                           "  - {hf: other_y, gguf: y.weight}\n"
                           "  - {hf: z, gguf: z.weight}\n"
                           "ignore: [q]\n" COMPUTE;
static const char round_a[] = "architecture: round_a\nlike: round_b\n";
static const char round_b[] = "architecture: round_b\n\nlike: round_a\n";

static const gguf_embedded library[] = {{"base", base, sizeof base - 1},
                                        {"round_a", round_a, sizeof round_a - 1},
                                        {"round_b", round_b, sizeof round_b - 1},
                                        {0}};

static gguf_code read_arch(const char *text, rt_arch **out, gguf_error *err) {
    gguf_yaml_doc *doc;
    *err = (gguf_error){0};
    *out = NULL;
    gguf_code code = gguf_yaml_parse(text, strlen(text), "test.yaml", &doc, err);
    return code ? code : rt_arch_read(doc, library, out, err);
}

/* "one=1 two=2 ...", then the tensors as "x.weight<x". */
static void summary(const rt_arch *arch, char *out, size_t room) {
    size_t len = 0;
    for (const rt_arch_key *k = rt_arch_first_key(arch); k; k = rt_arch_next_key(k))
        len += (size_t)snprintf(out + len, room - len, "%s=%s ", k->entry.name, k->otherwise.text);
    for (const rt_arch_tensor *t = rt_arch_first_tensor(arch); t; t = rt_arch_next_tensor(t))
        len += (size_t)snprintf(out + len, room - len, "%s<%s%s ", t->entry.name, t->hf,
                                t->n_transforms ? "!" : "");
}

static const struct {
    const char *text, *summary;
} likes[] = {
    {"", "one=1 two=2 three=3 x.weight<x! y.weight<y y.weight<other_y z.weight<z "},
    /* what is stated stands where the inherited entry stood, whole */
    {"keys: [{key: two, type: u32, default: 22}]\ntensors: [{hf: xx, gguf: x.weight}]\n",
     "one=1 two=22 three=3 x.weight<xx y.weight<y y.weight<other_y z.weight<z "},
    /* new ones at the end, or behind the one before */
    {"keys: [{key: n, type: u32, default: 0}, {key: two, type: u32, default: 2}, "
     "{key: m, type: u32, default: 9}]\n",
     "one=1 two=2 m=9 three=3 n=0 x.weight<x! y.weight<y y.weight<other_y z.weight<z "},
    /* alternatives are replaced together */
    {"tensors: [{hf: y1, gguf: y.weight}, {hf: y2, gguf: y.weight}, {hf: y3, gguf: y.weight}]\n",
     "one=1 two=2 three=3 x.weight<x! y.weight<y1 y.weight<y2 y.weight<y3 z.weight<z "},
    {"without: [one, three, y.weight]\n", "two=2 x.weight<x! z.weight<z "},
};

START_TEST(entries_are_inherited) {
    gguf_error err;
    rt_arch *arch;
    char text[512], got[512];
    snprintf(text, sizeof text, "architecture: test\nlike: base\n%s", likes[_i].text);
    unit_ok(read_arch(text, &arch, &err), err);
    summary(arch, got, sizeof got);
    ck_assert_str_eq(got, likes[_i].summary);
    ck_assert_str_eq(arch->name, "test");
    ck_assert_uint_eq(arch->names.n, 0);
    ck_assert(rt_texts_have(arch->ignore, "q"));
    ck_assert_int_eq(arch->compute.rope, RT_ROPE_HALVES);
    rt_arch_close(arch);
}
END_TEST

START_TEST(flags_and_lists_are_inherited_one_by_one) {
    gguf_error err;
    rt_arch *arch;
    unit_ok(read_arch(
                "architecture: test\nlike: base\nnames: [{prefix: c., becomes: d.}]\nignore: [r]\n"
                "compute: {rope: none, needs: [a part]}\n",
                &arch, &err),
            err);
    ck_assert_uint_eq(arch->names.n, 1);
    ck_assert_str_eq(arch->names.list[0].prefix, "c.");
    ck_assert(rt_texts_have(arch->ignore, "r") && !rt_texts_have(arch->ignore, "q"));
    ck_assert_int_eq(arch->compute.rope, RT_ROPE_NONE);
    ck_assert_int_eq(arch->compute.norm, RT_NORM_RMS);
    ck_assert(rt_texts_have(arch->compute.needs, "a part"));
    rt_arch_close(arch);
}
END_TEST

static const struct {
    const char *text, *message;
} wrong[] = {
    {"architecture: t\nlike: bsae\n",
     "line 2, column 1: there is no description 'bsae' to be like"},
    {"architecture: t\nlike: round_a\n", "line 3, column 1: 'round_a' is like itself"},
    {"architecture: t\nlike: base\nwithout: [one, four]\n",
     "line 3, column 16: there is no key and no tensor 'four' to leave out"},
    {"architecture: t\nlike: base\nkeys: [{key: one, type: u32, kinds: dense}]\n",
     "line 3, column 30: 'layer_kinds' has no kind 'dense'"},
    {"architecture: t\nlike: base\ntensors: [{hf: a, gguf: b, reshape: 3}]\n",
     "'reshape' must be a list"},
    {"architecture: t\nlike: base\ntensors: [{hf: a, gguf: b, reorder: [1]}]\n", "'reorder'"},
    {"architecture: t\nlike: base\nlayer_kinds: {from: a, words: {d: dense}}\n"
     "keys: [{key: one, type: f32, kinds: dense}]\n",
     "line 4, column 8: the key 'one' has 'kinds', but is not a u32"},
    {"architecture: t\nlike: base\nlayer_kinds: {from: a, words: {d: dense}}\n"
     "tensors: [{hf: a, gguf: b, kinds: dense}]\n",
     "line 4, column 11: the tensor 'b' has 'kinds', but is in no {layer}"},
    {"architecture: t\nlike: base\nkeys: [{key: one, type: f32, except: [{default: 4}]}]\n",
     "line 3, column 8: the key 'one' has 'except', but is no plain u32"},
    {"architecture: t\nlike: base\nkeys: [{key: one, type: u32, except: [{kinds: dense}]}]\n",
     "line 3, column 40: 'layer_kinds' has no kind 'dense'"},
    {"architecture: t\nlike: base\ntensors: [{hf: a, gguf: b, fill: 1}]\n",
     "line 3, column 11: the tensor 'b' needs either 'hf' or 'fill'"},
    {"architecture: t\nlike: base\ntensors: [{gguf: b}]\n", "needs either 'hf' or 'fill'"},
    {"architecture: t\nlike: base\nkeys: [{key: one, type: u32, size: 4}]\n",
     "line 3, column 8: the key 'one' has a 'size', but is no counts"},
    {"architecture: t\ncompute: {norm: rms, rope: none}\n", "compute.activation is ''"},
};

START_TEST(wrong_descriptions_say_where) {
    gguf_error err;
    rt_arch *arch;
    unit_fails(read_arch(wrong[_i].text, &arch, &err), GGUF_E_FORMAT, wrong[_i].message, err);
    ck_assert_ptr_null(arch);
}
END_TEST

/* ---- expressions ----------------------------------------------------------------------------- */

static bool find_seven(void *ctx, const char *name, uint64_t *out) {
    (void)ctx;
    *out = 7;
    return strcmp(name, "seven") == 0;
}

START_TEST(expressions_are_read_from_left_to_right) {
    static const struct {
        const char *text;
        rt_expression_result result;
        uint64_t value;
    } rows[] = {{"3", RT_EXPRESSION_OK, 3},
                {"seven", RT_EXPRESSION_OK, 7},
                {"1 + seven * 2", RT_EXPRESSION_OK, 16},
                {"seven - 1 / 3", RT_EXPRESSION_OK, 2},
                {"seven up 4", RT_EXPRESSION_OK, 8},
                {"8 up 4", RT_EXPRESSION_OK, 8},
                {"seven * 2 // 3 up 5", RT_EXPRESSION_OK, 5},
                {"seven // 0", RT_EXPRESSION_NO_COUNT, 0},
                {"eight", RT_EXPRESSION_UNKNOWN, 0},
                {"", RT_EXPRESSION_UNKNOWN, 0},
                {"3 +", RT_EXPRESSION_UNKNOWN, 0},
                {"seven / 2", RT_EXPRESSION_NO_COUNT, 0},
                {"3 - 4", RT_EXPRESSION_NO_COUNT, 0},
                {"3 up 0", RT_EXPRESSION_NO_COUNT, 0},
                {"3 / 0", RT_EXPRESSION_NO_COUNT, 0},
                {"3 % 2", RT_EXPRESSION_NO_COUNT, 0},
                {"18446744073709551615 up 2", RT_EXPRESSION_NO_COUNT, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t value = 0;
        rt_expression_failure why;
        ck_assert_int_eq(rt_expression_eval(rows[i].text, find_seven, NULL, &value, &why),
                         rows[i].result);
        if (!rows[i].result) ck_assert_uint_eq(value, rows[i].value);
    }
}
END_TEST

/* ---- transforms ------------------------------------------------------------------------------ */

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
    m->arch_file = unit_temp("test_arch.yaml");
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
    const char *path = unit_temp("test_arch.gguf");
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

/* ---- kinds of layers ------------------------------------------------------------------------- */

static const char kinds[] =
    "architecture: test\n"
    "huggingface: [{class: T, model_type: t}]\n"
    "layer_kinds: {from: [kinds, pattern], words: {M: mixer, \"*\": wide, w: wide}}\n"
    "keys:\n"
    "  - {key: block_count, type: u32, from: num_hidden_layers}\n"
    "  - {key: width, type: u32, from: width, kinds: wide}\n"
    "tensors:\n"
    "  - {hf: \"{layer}.w\", gguf: \"blk.{layer}.w.weight\", shape: [width, 2], kinds: [wide]}\n"
    "  - {hf: \"{layer}.m\", gguf: \"blk.{layer}.m.weight\", shape: [3], kinds: [mixer]}\n" COMPUTE;

/* A config of class T with these fields, under a description. */
static gguf_code open_with(const char *description, const char *config, rt_import **out,
                           gguf_error *err) {
    const char *path = unit_temp("test_arch.yaml");
    char json[256];
    int n = snprintf(json, sizeof json, "{\"architectures\":[\"T\"],\"width\":5,%s}", config);
    unit_write(path, description, strlen(description));
    const gguf_memory_file file = {"config.json", json, (size_t)n};
    const rt_import_opts opts = {.arch_file = path, .shapes_suffice = true};
    *err = (gguf_error){0};
    gguf_code code = rt_import_from_memory(&file, 1, &opts, out, err);
    unlink(path);
    return code;
}

static gguf_code open_kinds(const char *config, rt_import **out, gguf_error *err) {
    return open_with(kinds, config, out, err);
}

START_TEST(layers_have_kinds) {
    static const char *const configs[] = {
        "\"num_hidden_layers\":3,\"pattern\":\"*M*\"",
        "\"num_hidden_layers\":3,\"kinds\":[\"w\",\"mixer\",\"wide\"],\"pattern\":\"M\""};
    static const char *const names[] = {"blk.0.w.weight", "blk.1.m.weight", "blk.2.w.weight"};
    for (size_t i = 0; i < 2; i++) {
        gguf_error err;
        rt_import *import;
        unit_ok(open_kinds(configs[i], &import, &err), err);
        const quant_plan *plan = rt_import_plan(import);
        const gguf_kv *width = gguf_meta_find(plan->meta, "test.width");
        ck_assert(width && width->elem_type == GGUF_VALUE_I32 && width->count == 3);
        ck_assert_uint_eq(plan->n_tensors, 3);
        for (uint64_t layer = 0; layer < 3; layer++) {
            uint64_t value;
            ck_assert(rt_kv_number(width, layer, &value));
            ck_assert_uint_eq(value, layer == 1 ? 0 : 5);
            ck_assert_str_eq(plan->tensors[layer].out.name.ptr, names[layer]);
            ck_assert_uint_eq(plan->tensors[layer].out.dims[0], layer == 1 ? 3 : 2);
        }
        rt_import_close(import);
    }
}
END_TEST

/* The same kinds, by other means. */
#define OTHER_KINDS(how)                                                                        \
    "architecture: test\n"                                                                      \
    "huggingface: [{class: T, model_type: t}]\n"                                                \
    "layer_kinds: {" how "}\n"                                                                  \
    "keys:\n"                                                                                   \
    "  - {key: block_count, type: u32, from: num_hidden_layers}\n"                              \
    "  - {key: width, type: u32, from: width, then: \"* 7 // 2 up 4\", kinds: wide}\n"          \
    "tensors:\n"                                                                                \
    "  - {hf: \"{layer}.w\", gguf: \"blk.{layer}.w.weight\", shape: [width, 2], kinds: wide}\n" \
    "  - {hf: \"{layer}.m\", gguf: \"blk.{layer}.m.weight\", shape: [3], kinds: mixer}\n" COMPUTE
static const char every[] = OTHER_KINDS("every: [period, offset, mixer, wide]");
static const char listed[] = OTHER_KINDS("listed: [some.wide, wide, mixer]");

START_TEST(kinds_by_period_and_by_list) {
    static const char *const configs[][2] = {
        {every, "\"num_hidden_layers\":3,\"period\":2,\"offset\":1"},
        {listed, "\"num_hidden_layers\":3,\"some\":{\"wide\":[1,3]}"}};
    for (size_t i = 0; i < 2; i++) {
        gguf_error err;
        rt_import *import;
        unit_ok(open_with(configs[i][0], configs[i][1], &import, &err), err);
        const gguf_kv *width = gguf_meta_find(rt_import_plan(import)->meta, "test.width");
        for (uint64_t layer = 0; layer < 3; layer++) {
            uint64_t value;
            ck_assert(rt_kv_number(width, layer, &value));
            ck_assert_uint_eq(value, layer == 1 ? 0 : 20);
        }
        rt_import_close(import);
    }
}
END_TEST

START_TEST(bad_periods_and_lists_are_refused) {
    static const struct {
        const char *description, *config;
        gguf_code code;
        const char *message;
    } rows[] = {
        {every, "\"num_hidden_layers\":3,\"period\":2,\"offset\":2", GGUF_E_SHAPE,
         "no layer of the period"},
        {every, "\"num_hidden_layers\":3,\"period\":2", GGUF_E_FORMAT, "'offset' is not"},
        {every, "\"period\":2,\"offset\":1", GGUF_E_TYPE, "'num_hidden_layers' is not"},
        {listed, "\"num_hidden_layers\":3", GGUF_E_MISSING, "'some.wide' is no list"},
        {listed, "\"num_hidden_layers\":3,\"some\":{\"wide\":[4]}", GGUF_E_SHAPE,
         "'some.wide' has what is no layer from 1 to 3"},
        {OTHER_KINDS("from: a, words: {a: wide, b: mixer}, listed: [a, wide, mixer]"),
         "\"num_hidden_layers\":3", GGUF_E_FORMAT, "'layer_kinds' takes"},
        {OTHER_KINDS("words: {a: wide, b: mixer}"), "\"num_hidden_layers\":3", GGUF_E_FORMAT,
         "'layer_kinds' takes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gguf_error err;
        rt_import *import;
        unit_fails(open_with(rows[i].description, rows[i].config, &import, &err), rows[i].code,
                   rows[i].message, err);
    }
}
END_TEST

static const struct {
    const char *config;
    gguf_code code;
    const char *message;
} bad_kinds[] = {
    {"\"num_hidden_layers\":3", GGUF_E_MISSING, "'kinds' is missing"},
    {"\"num_hidden_layers\":3,\"pattern\":\"*M\"", GGUF_E_SHAPE,
     "is for 2 layers, but there are 3"},
    {"\"num_hidden_layers\":3,\"pattern\":\"*MX\"", GGUF_E_UNSUPPORTED,
     "'pattern': layer 2 is 'X', which is not a known kind of layer"},
    {"\"num_hidden_layers\":3,\"kinds\":[\"wide\",5,\"wide\"]", GGUF_E_UNSUPPORTED,
     "'kinds': layer 1 is '5'"},
    {"\"num_hidden_layers\":3,\"kinds\":true", GGUF_E_TYPE, "not a list with a kind per layer"},
};

START_TEST(bad_kinds_are_refused) {
    gguf_error err;
    rt_import *import;
    unit_fails(open_kinds(bad_kinds[_i].config, &import, &err), bad_kinds[_i].code,
               bad_kinds[_i].message, err);
}
END_TEST

/* ---- layers that differ ------------------------------------------------------------------ */

static const char differing[] =
    "architecture: test\n"
    "huggingface: [{class: T, model_type: t}]\n"
    "layer_kinds: {from: kinds, words: {0: wide, 1: mixer}}\n"
    "keys:\n"
    "  - {key: block_count, type: u32, default: 3}\n"
    "  - key: heads\n"
    "    type: u32\n"
    "    from: heads\n"
    "    except:\n"
    "      - {kinds: wide, from: 'by_layer.{wide}.heads'}\n"
    "      - {layers: [block_count - 1, block_count], when: twice, default: heads * 2}\n"
    "  - {key: rest, type: first, from: rest, default: 9}\n"
    "  - {key: limits, type: numbers, from: limits, optional: true}\n"
    "tensors:\n"
    "  - {hf: a, gguf: a.weight, shape: [2]}\n"
    "  - {fill: factor, gguf: 'blk.{layer}.f.weight', shape: [3], kinds: mixer}\n" COMPUTE;

static const struct {
    const char *config;
    uint64_t heads[3], rest;
} good_layers[] = {
    {"\"kinds\":[0,1,0],\"heads\":2,\"factor\":5", {2, 2, 2}, 9},
    {"\"kinds\":[1,1,0],\"heads\":2,\"factor\":5,\"by_layer\":{\"2\":{\"heads\":7}},"
     "\"rest\":\"3,4\"",
     {2, 2, 7},
     3},
    {"\"kinds\":[0,1,0],\"heads\":2,\"factor\":5,\"by_layer\":[{\"heads\":7}],\"twice\":true,"
     "\"rest\":[4,5],\"limits\":[0.5,null,7]",
     {7, 2, 4},
     4},
    {"\"kinds\":[0,1,0],\"heads\":[3,4,5],\"factor\":5,\"rest\":6", {3, 4, 5}, 6},
};

static uint64_t number_of(const gguf_meta *meta, const char *key, uint64_t i) {
    uint64_t value = 0;
    const gguf_kv *kv = gguf_meta_find(meta, key);
    ck_assert(!kv || rt_kv_number(kv, i, &value));
    return value;
}

START_TEST(layers_differ) {
    gguf_error err;
    rt_import *import;
    unit_ok(open_with(differing, good_layers[_i].config, &import, &err), err);
    const quant_plan *plan = rt_import_plan(import);
    for (uint64_t i = 0; i < 3; i++)
        ck_assert_uint_eq(number_of(plan->meta, "test.heads", i), good_layers[_i].heads[i]);
    ck_assert_uint_eq(number_of(plan->meta, "test.rest", 0), good_layers[_i].rest);
    const gguf_kv *limits = gguf_meta_find(plan->meta, "test.limits");
    ck_assert(!limits || (limits->elem_type == GGUF_VALUE_F32 && limits->count == 3));
    const quant_plan_tensor *filled = &plan->tensors[plan->n_tensors - 1];
    ck_assert_str_eq(filled->out.name.ptr, "blk.1.f.weight");
    ck_assert_uint_eq(filled->out.dims[0], 3);
    ck_assert_float_eq(((const float *)filled->source.memory)[2], 5);
    rt_import_close(import);
}
END_TEST

static const struct {
    const char *config, *message;
} bad_layers[] = {
    {"\"kinds\":[0,1,0],\"heads\":2", "there is no number 'factor'"},
    {"\"kinds\":[0,1,0],\"heads\":2,\"factor\":5,\"rest\":\"x\"", "'rest' does not begin with a"},
    {"\"kinds\":[0,1,0],\"heads\":2,\"factor\":5,\"limits\":[true]", "'limits' is not a list of n"},
    {"\"kinds\":[0,1,0],\"heads\":2,\"factor\":5,\"by_layer\":{\"0\":{\"heads\":-1}}",
     "'by_layer.{wide}.heads' is not a count"},
};

START_TEST(bad_layers_are_refused) {
    gguf_error err;
    rt_import *import;
    gguf_code code = open_with(differing, bad_layers[_i].config, &import, &err);
    unit_fails(code, code, bad_layers[_i].message, err);
    ck_assert_int_ne(code, GGUF_OK);
}
END_TEST

/* ---- keys that are lists, and lengths of lists ----------------------------------------------- */

static const char lists[] =
    "architecture: test\n"
    "huggingface: [{class: T, model_type: t}]\n"
    "keys:\n"
    "  - {key: block_count, type: u32, default: 1}\n"
    "  - {key: sections, type: counts, from: sections, size: 4}\n"
    "  - {key: dense, type: length, from: layers, is: dense, default: 7}\n"
    "  - {key: all, type: length, from: all, optional: true}\n"
    "  - {key: labels, type: labels, from: labels, optional: true}\n"
    "  - {key: same, type: u32, from: same, default: 1}\n"
    "  - {key: turns, type: bool, from: turns, map: {no: 0, yes: 1}, default: false}\n"
    "tensors: [{hf: a, gguf: a.weight, shape: [2]}]\n" COMPUTE;

static const struct {
    const char *config;
    uint64_t sections[4], dense, all, same;
    bool turns;
} good_lists[] = {
    {"\"sections\":[3,2,1]", {3, 2, 1, 0}, 7, 0, 1, false},
    {"\"sections\":[1,2,3,4],\"layers\":[\"dense\",\"sparse\",\"dense\"],\"all\":[5,6],"
     "\"same\":[4,4],\"turns\":\"yes\"",
     {1, 2, 3, 4},
     2,
     2,
     4,
     true},
    {"\"sections\":[9],\"layers\":3,\"all\":\"M*M\",\"same\":6,\"turns\":\"no\"",
     {9, 0, 0, 0},
     3,
     3,
     6,
     false},
};

START_TEST(lists_become_keys) {
    gguf_error err;
    rt_import *import;
    bool turns;
    unit_ok(open_with(lists, good_lists[_i].config, &import, &err), err);
    const gguf_meta *meta = rt_import_plan(import)->meta;
    ck_assert_uint_eq(gguf_meta_find(meta, "test.sections")->count, 4);
    for (uint64_t i = 0; i < 4; i++)
        ck_assert_uint_eq(number_of(meta, "test.sections", i), good_lists[_i].sections[i]);
    ck_assert_uint_eq(number_of(meta, "test.dense", 0), good_lists[_i].dense);
    ck_assert_uint_eq(number_of(meta, "test.all", 0), good_lists[_i].all);
    ck_assert_uint_eq(number_of(meta, "test.same", 0), good_lists[_i].same);
    ck_assert(gguf_kv_bool(gguf_meta_find(meta, "test.turns"), &turns));
    ck_assert_int_eq(turns, good_lists[_i].turns);
    rt_import_close(import);
}
END_TEST

START_TEST(labels_come_in_order) {
    gguf_error err;
    rt_import *import;
    gguf_str label;
    unit_ok(
        open_with(lists, "\"sections\":[1],\"labels\":{\"1\":\"yes\",\"0\":\"no\"}", &import, &err),
        err);
    const gguf_kv *labels = gguf_meta_find(rt_import_plan(import)->meta, "test.labels");
    ck_assert(labels && labels->elem_type == GGUF_VALUE_STRING && labels->count == 2);
    gguf_kv_iter it = {.kv = labels};
    ck_assert(gguf_kv_next_str(&it, &label) && gguf_str_eq(label, "no"));
    ck_assert(gguf_kv_next_str(&it, &label) && gguf_str_eq(label, "yes"));
    rt_import_close(import);
}
END_TEST

static const struct {
    const char *config, *message;
} bad_lists[] = {
    {"\"sections\":[]", "'sections' is not a short list of counts"},
    {"\"sections\":5", "'sections' is not a short list of counts"},
    {"\"sections\":[1,-2]", "'sections' is not a short list of counts"},
    {"\"sections\":[1,4294967296]", "'sections' is not a short list of counts"},
    {"\"sections\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "'sections' is not a short"},
    {"\"sections\":[1],\"layers\":[]", "'layers' is neither a list nor a count"},
    {"\"sections\":[1],\"layers\":true", "'layers' is neither a list nor a count"},
    {"\"sections\":[1],\"same\":[4,5]", "'same' is not a 32-bit number"},
    {"\"sections\":[1],\"same\":[]", "'same' is not a 32-bit number"},
    {"\"sections\":[1],\"labels\":{}", "'labels' is not a map of 0, 1, ... to texts"},
    {"\"sections\":[1],\"labels\":{\"0\":\"no\",\"2\":\"yes\"}", "'labels' is not a map"},
    {"\"sections\":[1],\"labels\":{\"0\":5}", "'labels' is not a map"},
    {"\"sections\":[1],\"turns\":\"maybe\"", "'turns' has a value that is not known"},
};

START_TEST(bad_lists_are_refused) {
    gguf_error err;
    rt_import *import;
    unit_fails(open_with(lists, bad_lists[_i].config, &import, &err), GGUF_E_TYPE,
               bad_lists[_i].message, err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("descriptions");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, entries_are_inherited, 0, (int)(sizeof likes / sizeof likes[0]));
    tcase_add_test(tc, flags_and_lists_are_inherited_one_by_one);
    tcase_add_loop_test(tc, wrong_descriptions_say_where, 0, (int)(sizeof wrong / sizeof wrong[0]));
    tcase_add_test(tc, expressions_are_read_from_left_to_right);
    tcase_add_loop_test(tc, transforms_are_as_in_plain_c, 0, N_TRANSFORMS);
    tcase_add_loop_test(tc, transforms_that_do_not_fit_are_refused, 0,
                        (int)(sizeof unfit / sizeof unfit[0]));
    tcase_add_test(tc, layers_have_kinds);
    tcase_add_test(tc, kinds_by_period_and_by_list);
    tcase_add_test(tc, bad_periods_and_lists_are_refused);
    tcase_add_loop_test(tc, bad_kinds_are_refused, 0,
                        (int)(sizeof bad_kinds / sizeof bad_kinds[0]));
    tcase_add_loop_test(tc, lists_become_keys, 0, (int)(sizeof good_lists / sizeof good_lists[0]));
    tcase_add_test(tc, labels_come_in_order);
    tcase_add_loop_test(tc, layers_differ, 0, (int)(sizeof good_layers / sizeof good_layers[0]));
    tcase_add_loop_test(tc, bad_layers_are_refused, 0,
                        (int)(sizeof bad_layers / sizeof bad_layers[0]));
    tcase_add_loop_test(tc, bad_lists_are_refused, 0,
                        (int)(sizeof bad_lists / sizeof bad_lists[0]));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
