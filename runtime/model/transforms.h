/* What a description makes of stored tensors: one table of transforms, which knows for each what it
 * does to a shape and how the rows are read. */
#ifndef RUNTIME_MODEL_TRANSFORMS_H
#define RUNTIME_MODEL_TRANSFORMS_H

#include "quant/plan.h"
#include "runtime/model/arch.h"

/* Name, form of its arguments, fewest and most of a list; in the order in which they are made. */
#define RT_TRANSFORMS(X)                      \
    X(mxfp4, GGUF_YAML_FLAG, 0, 0)            \
    X(matrices, GGUF_YAML_TEXT, 0, 0)         \
    X(interleaved, GGUF_YAML_TEXTS, 3, 7)     \
    X(rows, GGUF_YAML_TEXTS, 2, 3)            \
    X(columns, GGUF_YAML_TEXTS, 2, 3)         \
    X(transpose, GGUF_YAML_FLAG, 0, 0)        \
    X(reshape, GGUF_YAML_TEXTS, 1, 4)         \
    X(permute_heads, GGUF_YAML_TEXT, 0, 0)    \
    X(reorder, GGUF_YAML_TEXTS, 2, 3)         \
    X(reorder_columns, GGUF_YAML_TEXTS, 2, 2) \
    X(pad_rows, GGUF_YAML_TEXT, 0, 0)         \
    X(neg_exp, GGUF_YAML_FLAG, 0, 0)          \
    X(exp, GGUF_YAML_FLAG, 0, 0)              \
    X(add, GGUF_YAML_TEXT, 0, 0)              \
    X(scale, GGUF_YAML_TEXTS, 1, 2)           \
    X(scale_rows, GGUF_YAML_TEXTS, 4, 10)

typedef enum rt_transform_kind {
#define RT_TRANSFORM_ENUM(name, form, least, most) RT_TRANSFORM_##name,
    RT_TRANSFORMS(RT_TRANSFORM_ENUM)
#undef RT_TRANSFORM_ENUM
        RT_N_TRANSFORMS
} rt_transform_kind;

const char *rt_transform_name(rt_transform_kind kind);
bool rt_tensor_has(const rt_arch_tensor *tensor, rt_transform_kind kind);
/* Whether any transform takes parts of the stored tensor, or moves them. */
bool rt_tensor_takes_parts(const rt_arch_tensor *tensor);

#define RT_MAX_ROW_SCALES 5

/* A tensor's shape, and where its elements are in what is stored. */
typedef struct rt_tensor_layout {
    const char *name, *file; /* for errors; the file may be NULL */
    int64_t off;

    uint32_t n_dims;  /* of the output */
    uint32_t n_outer; /* dimensions of 1 around these */
    uint64_t mats, rows, cols;

    uint64_t stored_rows, stored_cols; /* of one stored matrix */
    bool is_split; /* the matrices lie on top of one another, they are no dimension */
    bool is_part;  /* rows and columns lie as `view` says from `first` on */
    uint64_t first;
    quant_view view;
    quant_order row_order, col_order;
    uint64_t n_stored_rows; /* rows from here on are zeros; 0: none are */
    quant_step steps[QUANT_MAX_STEPS];
    uint32_t n_steps;
    struct {
        uint64_t n_rows;
        float factor;
    } row_scales[RT_MAX_ROW_SCALES]; /* of neighbouring rows, from the first on */
    uint32_t n_row_scales;
} rt_tensor_layout;

/* A stored tensor as it is; dims rows first, 1 to 4 of them. */
rt_tensor_layout rt_tensor_layout_of(const uint64_t *dims, uint32_t n_dims);

/* What the arguments of transforms are worth: expressions, and numbers at paths of config.json
 * (NULL: they are not known and do not matter). */
typedef struct rt_transform_values {
    gguf_code (*count)(void *ctx, const rt_scalar *expression, uint64_t *out, gguf_error *err);
    gguf_code (*number)(void *ctx, const rt_scalar *path, double *out, gguf_error *err);
    void *ctx;
} rt_transform_values;

/* Make the transforms of an entry. Errors: those of values; GGUF_E_SHAPE if one does not fit. */
gguf_code rt_tensor_layout_transform(rt_tensor_layout *layout, const rt_arch_tensor *tensor,
                                     const rt_transform_values *values, gguf_error *err);
/* The factor of each row, of those that n_row_scales parts of it have. */
void rt_tensor_layout_factors(const rt_tensor_layout *l, float *factors);

/* Columns first, 1 beyond n_dims. */
void rt_tensor_layout_dims(const rt_tensor_layout *layout, uint64_t dims[GGUF_MAX_DIMS]);
/* n of these tensors on top of one another: a stack of matrices, or rows from vectors. */
void rt_tensor_layout_stack(rt_tensor_layout *layout, uint64_t n);

#endif
