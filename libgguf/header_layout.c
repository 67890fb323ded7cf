/* Tensor types as stored, and where tensors lie. Sizes: ggml's block structs. */
#include "libgguf/checked.h"
#include "libgguf/gguf.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#define GGUF_MAX_TYPE 159

#define ROW(name, elems, bytes) [GGUF_TYPE_##name] = {#name, GGUF_TYPE_##name, elems, bytes, 0}
#define HEADED(name, elems, bytes, head) \
    [GGUF_TYPE_##name] = {#name, GGUF_TYPE_##name, elems, bytes, head}

static const gguf_type_layout layouts[GGUF_MAX_TYPE] = {
    ROW(F32, 1, 4),
    ROW(F16, 1, 2),
    ROW(BF16, 1, 2),
    ROW(F64, 1, 8),
    ROW(I8, 1, 1),
    ROW(I16, 1, 2),
    ROW(I32, 1, 4),
    ROW(I64, 1, 8),
    ROW(Q4_0, 32, 18),
    ROW(Q4_1, 32, 20),
    ROW(Q5_0, 32, 22),
    ROW(Q5_1, 32, 24),
    ROW(Q8_0, 32, 34),
    ROW(Q8_1, 32, 36),
    ROW(Q2_K, 256, 84),
    ROW(Q3_K, 256, 110),
    ROW(Q4_K, 256, 144),
    ROW(Q5_K, 256, 176),
    ROW(Q6_K, 256, 210),
    ROW(Q8_K, 256, 292),
    ROW(IQ4_NL, 32, 18),
    ROW(IQ4_XS, 256, 136),
    ROW(IQ2_XXS, 256, 66),
    ROW(IQ2_XS, 256, 74),
    ROW(IQ3_XXS, 256, 98),
    ROW(IQ1_S, 256, 50),
    ROW(IQ3_S, 256, 110),
    ROW(IQ2_S, 256, 82),
    ROW(IQ1_M, 256, 56),
    ROW(TQ1_0, 256, 54),
    ROW(TQ2_0, 256, 66),
    ROW(MXFP4, 32, 17),
    ROW(NVFP4, 64, 36),
    ROW(Q1_0, 128, 18),
    ROW(Q2_0, 64, 18),
    ROW(Q6_0, 32, 26),
    HEADED(IQ1_BN, 64, 13, 2),
    HEADED(IQ2_BN, 64, 16, 4),
    ROW(IQ2_K, 256, 76),
    ROW(IQ3_K, 256, 110),
    ROW(IQ4_K, 256, 144),
    ROW(IQ5_K, 256, 176),
    ROW(IQ6_K, 256, 212),
    HEADED(IQ4_KS, 256, 136, 4),
    HEADED(IQ2_KS, 256, 70, 2),
    HEADED(IQ4_KSS, 256, 128, 4),
    HEADED(Q8_KV, 32, 32, 8),
    HEADED(IQ5_KS, 256, 168, 4),
    HEADED(IQ2_KT, 256, 68, 4),
    HEADED(IQ3_KT, 256, 100, 4),
    HEADED(IQ4_KT, 256, 128, 4),
    HEADED(IQ3_KS, 256, 102, 2),
    HEADED(IQ2_KL, 256, 86, 2),
    HEADED(IQ1_KT, 256, 56, 4),
};

/* Types of ik_llama.cpp whose rows are interleaved for its kernels. */
static const struct {
    uint32_t type;
    const char *name;
} interleaved[] = {
    {202, "Q4_0_R8"},    {206, "Q5_0_R4"},   {208, "Q8_0_R8"},    {210, "Q2_K_R4"},
    {211, "Q3_K_R4"},    {212, "Q4_K_R4"},   {213, "Q5_K_R4"},    {214, "Q6_K_R4"},
    {216, "IQ2_XXS_R4"}, {217, "IQ2_XS_R4"}, {218, "IQ3_XXS_R4"}, {219, "IQ1_S_R4"},
    {220, "IQ4_NL_R4"},  {221, "IQ3_S_R4"},  {222, "IQ2_S_R4"},   {223, "IQ4_XS_R8"},
    {229, "IQ1_M_R4"},   {230, "BF16_R16"},  {233, "Q6_0_R4"},    {335, "IQ2_BN_R4"},
    {337, "IQ2_K_R4"},   {338, "IQ3_K_R4"},  {339, "IQ4_K_R4"},   {340, "IQ5_K_R4"},
    {344, "IQ4_KS_R4"},  {352, "IQ5_KS_R4"}, {353, "MXFP4_R8"},   {397, "Q8_K_R16"},
    {398, "Q8_KV_R8"},   {399, "Q8_K_R8"},
};

static const char *interleaved_name(uint32_t type) {
    for (size_t i = 0; i < sizeof interleaved / sizeof interleaved[0]; i++)
        if (interleaved[i].type == type) return interleaved[i].name;
    return NULL;
}

const gguf_type_layout *gguf_type_layout_of(uint32_t type) {
    return type < GGUF_MAX_TYPE && layouts[type].name ? &layouts[type] : NULL;
}

const gguf_type_layout *gguf_type_layout_named(const char *name) {
    for (uint32_t t = 0; t < GGUF_MAX_TYPE; t++)
        if (layouts[t].name && strcasecmp(layouts[t].name, name) == 0) return &layouts[t];
    return NULL;
}

const char *gguf_type_name(uint32_t type) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    const char *name = layout ? layout->name : interleaved_name(type);
    return name ? name : "unknown";
}

uint64_t gguf_type_row_bytes(uint32_t type, uint64_t n_cols) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    uint64_t n_bytes;
    if (!layout || !n_cols || n_cols % layout->block_elems) return 0;
    if (!gguf_mul_u64(n_cols / layout->block_elems, layout->block_bytes, &n_bytes) ||
        !gguf_add_u64(n_bytes, layout->head_bytes, &n_bytes))
        return 0;
    return n_bytes;
}

static gguf_code fail_unknown(uint32_t type, gguf_error *err) {
    const char *name = interleaved_name(type);
    if (!name)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "tensor type %" PRIu32 " is not known", type);
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "tensor type %s (%" PRIu32 ") has rows that ik_llama.cpp interleaved for its "
                     "kernels: make the file again as %.*s, which it can interleave at load",
                     name, type, (int)(strrchr(name, '_') - name), name);
}

gguf_code gguf_tensor_bytes(uint32_t type, uint32_t n_dims, const uint64_t *dims, uint64_t *n_bytes,
                            gguf_error *err) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    if (!layout) return fail_unknown(type, err);
    uint64_t n_cols = n_dims ? dims[0] : 1;
    if (n_cols % layout->block_elems)
        return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                         "%" PRIu64 " columns are not a whole number of %s blocks of %" PRIu32,
                         n_cols, layout->name, layout->block_elems);
    /* Elements stay within int64 as every reader of the format asks; a block has at least a bit
     * each. */
    uint64_t n_elems = n_cols, n_rows = 1, bytes = gguf_type_row_bytes(type, n_cols);
    bool fits = bytes || !n_cols;
    for (uint32_t i = 1; i < n_dims && fits; i++)
        fits = gguf_mul_u64(n_elems, dims[i], &n_elems) && gguf_mul_u64(n_rows, dims[i], &n_rows);
    fits =
        fits && n_elems <= INT64_MAX && gguf_mul_u64(n_rows, bytes, &bytes) && bytes <= INT64_MAX;
    if (!fits)
        return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET, "the tensor's size overflows");
    *n_bytes = bytes;
    return GGUF_OK;
}

uint64_t gguf_tensor_n_rows(const gguf_tensor *tensor) {
    uint64_t n = 1;
    for (uint32_t i = 1; i < tensor->n_dims; i++) n *= tensor->dims[i];
    return n;
}

uint64_t gguf_tensor_n_elems(const gguf_tensor *tensor) {
    return (tensor->n_dims ? tensor->dims[0] : 1) * gguf_tensor_n_rows(tensor);
}

gguf_code gguf_layout(gguf_tensor *tensors, size_t n_tensors, uint32_t alignment,
                      uint64_t *data_bytes, gguf_error *err) {
    uint64_t end = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        gguf_tensor *t = &tensors[i];
        gguf_code code = gguf_tensor_bytes(t->type, t->n_dims, t->dims, &t->n_bytes, err);
        if (code) return code;
        t->data_off = end;
        if (!gguf_add_u64(end, t->n_bytes, &end) || !gguf_align_u64(end, alignment, &end) ||
            end > INT64_MAX)
            return gguf_fail(err, GGUF_E_SHAPE, NULL, GGUF_NO_OFFSET,
                             "the data section's size overflows at tensor '%.*s'", (int)t->name.len,
                             t->name.ptr);
    }
    *data_bytes = end;
    return GGUF_OK;
}
