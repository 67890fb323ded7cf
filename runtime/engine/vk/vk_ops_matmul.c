/* Products with weights, and rows of tables. */
#include "quant/quant.h"
#include "runtime/engine/vk/vk_internal.h"

enum { TILE = 8, MAX_GROUPS = 65535, GROUPED_ROWS = 64 };

/* The kernel of a weight's type; false leaves a failure. */
static bool kernel_of(vk_backend *vk, const vk_typed *kernels, uint32_t type, vk_shader *out) {
    for (; kernels->type != UINT32_MAX; kernels++)
        if (kernels->type == type) {
            *out = kernels->shader;
            return true;
        }
    gguf_fail(&vk->base.failure, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
              "the device does not compute with weights of type %s: run this model with --device "
              "none",
              gguf_type_name(type));
    return false;
}

void vk_op_set_input(rt_backend *backend, rt_off x, size_t n, size_t n_cols) {
    vk_backend *vk = vk_of(backend);
    vk->input = x;
    vk->n_inputs = n;
    vk->n_input_cols = n_cols;
}

typedef struct matmul_push {
    vk_at at;
    uint64_t weight, bias, book;
    uint32_t n_rows, n_cols, row_bytes, stride;
    uint64_t mat_bytes;
    uint32_t n_mats, bias_stride, n, n_share, n_tiles;
} matmul_push;

static matmul_push push_of(vk_backend *vk, const rt_weight *w, size_t stride) {
    size_t n_bytes;
    return (matmul_push){.weight = vk_address(vk, w->data),
                         .bias = vk_address(vk, w->bias),
                         .book = vk_address(vk, quant_codebook(w->type, &n_bytes)),
                         .n_rows = w->n_rows,
                         .n_cols = w->n_cols,
                         .row_bytes = (uint32_t)w->row_bytes,
                         .stride = (uint32_t)stride,
                         .mat_bytes = w->mat_bytes,
                         .n_mats = 1,
                         .bias_stride = w->bias_stride};
}

static uint32_t tiles_of(uint64_t n, uint32_t tile) {
    return (uint32_t)((n + tile - 1) / tile);
}

/* Tiles of 1 row or of TILE, a workgroup for each of them and each row of the weight. */
static void run(vk_backend *vk, const rt_weight *w, matmul_push *p, uint32_t tile, vk_job *job) {
    if (w->scale)
        gguf_fail(&vk->base.failure, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                  "the device does not compute with scales beside weights: run this model with "
                  "--device none");
    if (w->scale || !kernel_of(vk, vk_matmul_kernels, w->type, &job->shader)) return;
    job->variant = tile;
    job->push = p;
    job->push_bytes = sizeof *p;
    job->n_operands = 4;
    job->groups[0] = w->n_rows < MAX_GROUPS ? w->n_rows : MAX_GROUPS;
    job->groups[1] = p->n_tiles < MAX_GROUPS ? p->n_tiles : MAX_GROUPS;
    job->groups[2] = tiles_of(p->n_tiles, MAX_GROUPS);
    if (p->n_tiles) vk_dispatch(vk, job);
}

static void multiply(vk_backend *vk, const rt_weight *w, rt_off out, size_t stride,
                     uint32_t n_mats) {
    matmul_push p = push_of(vk, w, stride);
    p.n_mats = n_mats;
    p.n = (uint32_t)(vk->n_inputs / n_mats);
    uint32_t tile = p.n > 1 ? TILE : 1;
    p.n_tiles = n_mats * tiles_of(p.n, tile);
    vk_job job = {.operands = {{vk->input, vk->n_inputs * vk->n_input_cols, false},
                               {out, (vk->n_inputs - 1) * stride + w->n_rows, true},
                               {RT_NO_OFF, 0, false},
                               {RT_NO_OFF, 0, false}}};
    if (vk->n_inputs) run(vk, w, &p, tile, &job);
}

void vk_op_matmul(rt_backend *backend, const rt_weight *weight, rt_off out) {
    multiply(vk_of(backend), weight, out, weight->n_rows, 1);
}

void vk_op_matmul_heads(rt_backend *backend, const rt_weight *weight, rt_off out, size_t stride) {
    multiply(vk_of(backend), weight, out, stride, weight->n_mats);
}

/* Few rows have workgroups of their own; of many, those of a matrix share what is decoded. */
void vk_op_matmul_groups(rt_backend *backend, const rt_weight *weight, const rt_grouping *grouping,
                         rt_off out) {
    vk_backend *vk = vk_of(backend);
    uint64_t n = vk->n_inputs * grouping->n_share;
    uint32_t tile = n > GROUPED_ROWS ? TILE : 1;
    matmul_push p = push_of(vk, weight, weight->n_rows);
    p.n_mats = grouping->n_mats;
    p.n = (uint32_t)n;
    p.n_share = grouping->n_share;
    p.n_tiles = tiles_of(n, tile) + (tile > 1 ? grouping->n_mats : 0);
    vk_job job = {.operands = {{vk->input, vk->n_inputs * vk->n_input_cols, false},
                               {out, n * weight->n_rows, true},
                               {grouping->first, grouping->n_mats + UINT64_C(1), false},
                               {grouping->rows, n, false}}};
    if (n) run(vk, weight, &p, tile, &job);
}

void vk_op_embed(rt_backend *backend, const rt_weight *table, const int32_t *ids, size_t n,
                 rt_off out) {
    vk_backend *vk = vk_of(backend);
    size_t n_bytes;
    struct {
        vk_at at;
        uint64_t table, book, ids;
        uint32_t n, n_cols, row_bytes;
    } p = {.table = vk_address(vk, table->data),
           .book = vk_address(vk, quant_codebook(table->type, &n_bytes)),
           .ids = vk_stage_data(vk, ids, n * sizeof *ids),
           .n = (uint32_t)n,
           .n_cols = table->n_cols,
           .row_bytes = (uint32_t)table->row_bytes};
    vk_job job = {.push = &p,
                  .push_bytes = sizeof p,
                  .operands = {{out, n * table->n_cols, true}},
                  .n_operands = 1,
                  .groups = {n < MAX_GROUPS ? (uint32_t)n : MAX_GROUPS, 1, 1}};
    if (n && kernel_of(vk, vk_embed_kernels, table->type, &job.shader)) vk_dispatch(vk, &job);
}
