/* The transforms of a description: what each makes of a layout. */
#include "runtime/model/transforms.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A transform on its way. */
typedef struct change {
    rt_tensor_layout *l;
    const uint64_t *args;
    const double *numbers; /* of those arguments that are numbers of config.json */
    size_t n_args;
    gguf_error *err;
} change;

/* The format has the form of printf. */
static gguf_code fail(const change *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static gguf_code fail(const change *c, const char *format, ...) {
    const rt_tensor_layout *l = c->l;
    char text[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return gguf_fail(c->err, GGUF_E_SHAPE, l->file, l->off, "tensor '%.150s': %s", l->name, text);
}

/* ---- parts of matrices ------------------------------------------------------------------- */

/* What the tensor has is laid out by the view from here on. */
static void lay_out(rt_tensor_layout *l) {
    if (l->is_part) return;
    l->is_part = true;
    l->view = (quant_view){l->stored_cols, 1};
}

static gguf_code apply_mxfp4(const change *c) {
    (void)c; /* says how the numbers are stored, not what is made of them */
    return GGUF_OK;
}

static gguf_code apply_matrices(const change *c) {
    rt_tensor_layout *l = c->l;
    uint64_t n = c->args[0];
    if (n == 0 || l->rows % n || l->n_dims != 2)
        return fail(c, "%" PRIu64 " rows are not %" PRIu64 " matrices", l->rows, n);
    l->is_split = true;
    l->n_dims = 3;
    l->mats = n;
    l->stored_rows = l->rows /= n;
    lay_out(l);
    return GGUF_OK;
}

/* Part [first, count, step] of `whole` rows or columns. */
static gguf_code take_range(const change *c, uint64_t *whole, uint64_t *first, uint64_t *step) {
    uint64_t last, n = c->args[1], every = c->n_args > 2 ? c->args[2] : 1;
    *first = c->args[0];
    *step = every;
    if (!n || !every || __builtin_mul_overflow(n - 1, every, &last) || *first >= *whole ||
        last >= *whole - *first)
        return fail(c, "%" PRIu64 " rows or columns have no such part from %" PRIu64 " on", *whole,
                    *first);
    *whole = n;
    return GGUF_OK;
}

/* Interleaved parts are those of the rows as they are stored. */
static gguf_code refuse_interleaved(const change *c) {
    if (!c->l->row_order.n_parts) return GGUF_OK;
    return fail(c, "parts of interleaved rows are not taken once more");
}

static gguf_code apply_rows(const change *c) {
    rt_tensor_layout *l = c->l;
    uint64_t first, step;
    lay_out(l);
    gguf_code code = refuse_interleaved(c);
    if (!code) code = take_range(c, &l->rows, &first, &step);
    if (code) return code;
    l->first += first * l->stored_cols;
    l->view.row_stride *= step;
    return GGUF_OK;
}

static gguf_code apply_columns(const change *c) {
    rt_tensor_layout *l = c->l;
    uint64_t first, step;
    lay_out(l);
    gguf_code code = take_range(c, &l->cols, &first, &step);
    if (code) return code;
    l->first += first;
    l->view.col_stride *= step;
    return GGUF_OK;
}

static gguf_code apply_transpose(const change *c) {
    rt_tensor_layout *l = c->l;
    uint64_t rows = l->rows;
    lay_out(l);
    l->rows = l->cols;
    l->cols = rows;
    l->view = (quant_view){l->view.col_stride, l->view.row_stride};
    return refuse_interleaved(c);
}

/* ---- other dimensions -------------------------------------------------------------------- */

static gguf_code apply_reshape(const change *c) {
    rt_tensor_layout *l = c->l;
    uint64_t n = 1, has = l->mats * l->rows * l->cols;
    bool fits = !l->is_part && !l->row_order.n_parts;
    for (size_t i = 0; i < c->n_args; i++)
        fits = fits && !__builtin_mul_overflow(n, c->args[i], &n);
    if (!fits || n != has)
        return fail(c, "%" PRIu64 " elements do not fit a shape of %" PRIu64, has, n);
    uint32_t n_outer = c->n_args > 3;
    if (n_outer && c->args[0] != 1)
        return fail(c, "the first of four dimensions is %" PRIu64 ", not 1", c->args[0]);
    rt_tensor_layout shaped = rt_tensor_layout_of(c->args + n_outer, (uint32_t)c->n_args - n_outer);
    shaped.n_outer = n_outer;
    shaped.name = l->name;
    shaped.file = l->file;
    shaped.off = l->off;
    *l = shaped;
    return GGUF_OK;
}

/* ---- rows that move ---------------------------------------------------------------------- */

/* The values of a vector are rows of one. */
static void stand_up(rt_tensor_layout *l) {
    if (l->n_dims != 1 || l->rows != 1) return;
    l->rows = l->cols;
    l->cols = 1;
    l->stored_rows = l->stored_cols;
    l->stored_cols = 1;
    if (l->is_part) l->view = (quant_view){l->view.col_stride, 1};
}

static gguf_code add_step(const change *c, quant_step_op op, uint64_t arg) {
    rt_tensor_layout *l = c->l;
    if (l->n_steps == QUANT_MAX_STEPS) return fail(c, "more than %d steps", QUANT_MAX_STEPS);
    l->steps[l->n_steps++] = (quant_step){op, arg};
    return GGUF_OK;
}

static gguf_code apply_permute_heads(const change *c) {
    uint64_t n_heads = c->args[0], n_rows = c->l->rows * c->l->mats;
    stand_up(c->l);
    if (c->l->n_dims == 1) n_rows = c->l->rows;
    if (n_heads == 0 || n_heads > n_rows / 2 || n_rows % (2 * n_heads))
        return fail(c, "%" PRIu64 " rows are not %" PRIu64 " heads of even size", n_rows, n_heads);
    return add_step(c, QUANT_STEP_PERMUTE_HEADS, n_heads);
}

/* [n_groups, first, count ...]: of each group the rows from first on, part behind part. */
static gguf_code apply_interleaved(const change *c) {
    rt_tensor_layout *l = c->l;
    uint64_t n_groups = c->args[0], n_rows = 0, n_parts = c->n_args / 2;
    stand_up(l);
    if (n_groups == 0 || l->rows % n_groups || c->n_args % 2 == 0)
        return fail(c, "%" PRIu64 " rows are not %" PRIu64 " groups with whole parts", l->rows,
                    n_groups);
    uint64_t group = l->rows / n_groups;
    for (size_t i = 0; i < n_parts; i++) {
        uint64_t first = c->args[1 + 2 * i], n = c->args[2 + 2 * i];
        if (n == 0 || first >= group || n > group - first)
            return fail(c, "%" PRIu64 " rows of a group have no such part from %" PRIu64 " on",
                        group, first);
        l->row_order.parts[i] = (quant_order_part){first, 1, n_groups, 0, group, n};
        n_rows += n_groups * n;
    }
    lay_out(l);
    l->row_order.n_parts = (uint32_t)n_parts;
    l->rows = n_rows;
    return GGUF_OK;
}

/* n groups of m members become m groups of n; what is before `first` stays. */
static gguf_code regroup(const change *c, uint64_t whole, quant_order *order) {
    uint64_t n = c->args[0], m = c->args[1], first = c->n_args > 2 ? c->args[2] : 0, both;
    if (order->n_parts || first >= whole || __builtin_mul_overflow(n, m, &both) || !both ||
        (whole - first) % both)
        return fail(c, "%" PRIu64 " rows or columns are not %" PRIu64 " members of groups", whole,
                    n * m);
    uint64_t run = (whole - first) / both;
    if (first) order->parts[order->n_parts++] = (quant_order_part){0, 1, 1, 0, 0, first};
    order->parts[order->n_parts++] = (quant_order_part){first, m, n, run, m * run, run};
    return GGUF_OK;
}

static gguf_code apply_reorder(const change *c) {
    stand_up(c->l);
    lay_out(c->l);
    return regroup(c, c->l->rows, &c->l->row_order);
}

static gguf_code apply_reorder_columns(const change *c) {
    return regroup(c, c->l->cols, &c->l->col_order);
}

static gguf_code apply_pad_rows(const change *c) {
    rt_tensor_layout *l = c->l;
    uint64_t unit = c->args[0], rest;
    stand_up(l);
    if (unit == 0 || l->n_dims > 2 || l->is_part || l->rows > UINT64_MAX - unit)
        return fail(c, "%" PRIu64 " rows cannot be filled up to a multiple of %" PRIu64, l->rows,
                    unit);
    rest = l->rows % unit;
    if (!rest) return GGUF_OK;
    l->n_stored_rows = l->rows;
    l->rows += unit - rest;
    return GGUF_OK;
}

/* ---- values ------------------------------------------------------------------------------ */

static gguf_code apply_neg_exp(const change *c) {
    return add_step(c, QUANT_STEP_NEG_EXP, 0);
}

static gguf_code apply_exp(const change *c) {
    return add_step(c, QUANT_STEP_EXP, 0);
}

static gguf_code apply_add(const change *c) {
    return add_step(c, QUANT_STEP_ADD, c->args[0]);
}

static gguf_code apply_scale(const change *c) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < c->n_args && !code; i++) {
        float factor = (float)c->numbers[i];
        uint32_t bits;
        memcpy(&bits, &factor, sizeof bits);
        code = add_step(c, QUANT_STEP_SCALE, bits);
    }
    return code;
}

/* [n_rows, factor, n_rows, factor ...], for all rows of a matrix. */
static gguf_code apply_scale_rows(const change *c) {
    rt_tensor_layout *l = c->l;
    uint64_t n_rows = 0;
    for (size_t i = 0; i + 1 < c->n_args; i += 2) {
        l->row_scales[i / 2].n_rows = c->args[i];
        l->row_scales[i / 2].factor = (float)c->numbers[i + 1];
        if (__builtin_add_overflow(n_rows, c->args[i], &n_rows)) n_rows = UINT64_MAX;
    }
    l->n_row_scales = (uint32_t)c->n_args / 2;
    if (c->n_args % 2 || l->n_dims != 2 || n_rows != l->rows)
        return fail(c, "%" PRIu64 " rows are not all that have a factor", l->rows);
    return GGUF_OK;
}

/* ---- the table --------------------------------------------------------------------------- */

static const struct {
    const char *name;
    gguf_code (*apply)(const change *c);
} transforms[] = {
#define RT_TRANSFORM_ROW(name, form, least, most) {#name, apply_##name},
    RT_TRANSFORMS(RT_TRANSFORM_ROW)
#undef RT_TRANSFORM_ROW
};

const char *rt_transform_name(rt_transform_kind kind) {
    return transforms[kind].name;
}

bool rt_tensor_has(const rt_arch_tensor *tensor, rt_transform_kind kind) {
    for (size_t i = 0; i < tensor->n_transforms; i++)
        if (tensor->transforms[i].kind == (int)kind) return true;
    return false;
}

bool rt_tensor_takes_parts(const rt_arch_tensor *tensor) {
    for (size_t i = 0; i < tensor->n_transforms; i++) {
        rt_transform_kind kind = (rt_transform_kind)tensor->transforms[i].kind;
        if (kind >= RT_TRANSFORM_matrices && kind <= RT_TRANSFORM_transpose) return true;
    }
    return false;
}

rt_tensor_layout rt_tensor_layout_of(const uint64_t *dims, uint32_t n_dims) {
    rt_tensor_layout l = {.n_dims = n_dims, .mats = 1, .rows = 1, .cols = 1};
    if (n_dims) l.cols = dims[n_dims - 1];
    if (n_dims > 1) l.rows = dims[n_dims - 2];
    for (uint32_t i = 0; i + 2 < n_dims; i++) l.mats *= dims[i];
    l.stored_rows = l.rows;
    l.stored_cols = l.cols;
    return l;
}

/* Whether argument i is a number of config.json and no expression. */
static bool is_number(const rt_transform *t, size_t i) {
    return t->kind == RT_TRANSFORM_scale || (t->kind == RT_TRANSFORM_scale_rows && i % 2);
}

static gguf_code transform(rt_tensor_layout *layout, const rt_transform *t,
                           const rt_transform_values *values, gguf_error *err) {
    enum { MAX_ARGS = 2 * RT_MAX_ROW_SCALES };
    uint64_t args[MAX_ARGS] = {0};
    double numbers[MAX_ARGS];
    gguf_code code = GGUF_OK;
    size_t n = t->args.n < MAX_ARGS ? t->args.n : MAX_ARGS;
    for (size_t i = 0; i < n && !code; i++) {
        const rt_scalar *arg = &t->args.list[i];
        numbers[i] = 1;
        if (is_number(t, i))
            code = values->number ? values->number(values->ctx, arg, &numbers[i], err) : GGUF_OK;
        else if (arg->kind != RT_SCALAR_FLAG)
            code = values->count(values->ctx, arg, &args[i], err);
    }
    const change c = {layout, args, numbers, n, err};
    return code ? code : transforms[t->kind].apply(&c);
}

gguf_code rt_tensor_layout_transform(rt_tensor_layout *layout, const rt_arch_tensor *tensor,
                                     const rt_transform_values *values, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < tensor->n_transforms && !code; i++)
        code = transform(layout, &tensor->transforms[i], values, err);
    const change c = {.l = layout, .err = err};
    return !code && tensor->n_transforms && layout->n_dims > 3
               ? fail(&c, "%u dimensions are more than transforms know", layout->n_dims)
               : code;
}

void rt_tensor_layout_factors(const rt_tensor_layout *l, float *factors) {
    for (uint32_t i = 0; i < l->n_row_scales; i++)
        for (uint64_t r = 0; r < l->row_scales[i].n_rows; r++) *factors++ = l->row_scales[i].factor;
}

void rt_tensor_layout_dims(const rt_tensor_layout *layout, uint64_t dims[GGUF_MAX_DIMS]) {
    dims[0] = layout->n_dims == 1 ? layout->rows * layout->cols : layout->cols;
    dims[1] = layout->n_dims == 1 ? 1 : layout->rows;
    dims[2] = layout->mats;
    dims[3] = 1;
}

void rt_tensor_layout_stack(rt_tensor_layout *layout, uint64_t n) {
    if (layout->n_dims == 1)
        layout->rows = n;
    else
        layout->mats = n;
    layout->n_dims++;
}
