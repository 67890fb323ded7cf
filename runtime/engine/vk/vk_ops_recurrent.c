/* Layers with a state. */
#include "runtime/engine/vk/vk_internal.h"

/* As kernels have it. */
typedef struct device_run {
    uint32_t from, to, row, n;
} device_run;

/* The runs of a batch in the staging buffer; returns their address, or 0. */
static uint64_t stage_runs(vk_backend *vk, const rt_batch *batch) {
    uint64_t off = vk_stage(vk, batch->n_runs * sizeof(device_run));
    if (off == RT_NO_OFF) return 0;
    device_run *runs = (device_run *)(void *)(vk->staging.host + off);
    for (size_t i = 0; i < batch->n_runs; i++) {
        const rt_run *r = &batch->runs[i];
        runs[i] = (device_run){r->from, r->to, r->row, r->n};
    }
    return vk->staging.address + off;
}

static vk_access access_of(const rt_state_layer *state) {
    return (vk_access){VK_CACHE, true, state->off, state->off + 1};
}

/* Elements from the first row to the end of n columns of the last. */
static uint64_t extent(const rt_batch *batch, uint64_t stride, uint64_t n_cols) {
    return (batch->n - 1) * stride + n_cols;
}

void vk_op_conv(rt_backend *backend, const rt_conv *conv, const rt_state_layer *state,
                const rt_batch *batch, rt_off x, size_t x_stride, rt_off before, rt_off after) {
    vk_backend *vk = vk_of(backend);
    uint64_t n = extent(batch, x_stride, conv->n_channels);
    struct {
        vk_at at;
        uint64_t runs, state, slot_bytes, weight, bias;
        uint32_t n_runs, n_channels, n_kernel, stride, flags;
    } p = {.runs = stage_runs(vk, batch),
           .state = vk->cache.address + state->off,
           .slot_bytes = state->slot_bytes,
           .weight = vk_address(vk, conv->weight),
           .bias = vk_address(vk, conv->bias),
           .n_runs = (uint32_t)batch->n_runs,
           .n_channels = conv->n_channels,
           .n_kernel = conv->n_kernel,
           .stride = (uint32_t)x_stride,
           .flags = (conv->plain ? 1 : 0) | (before != RT_NO_OFF ? 2 : 0) |
                    (after != RT_NO_OFF ? 4 : 0)};
    vk_job job = {.shader = VK_CONV,
                  .push = &p,
                  .push_bytes = sizeof p,
                  .operands = {{x, n, true}, {before, n, false}, {after, n, false}},
                  .n_operands = 3,
                  .cache = access_of(state),
                  .groups = {(conv->n_channels + 63) / 64, 1, 1}};
    vk_dispatch(vk, &job);
}

typedef struct scan_push {
    vk_at at;
    uint64_t runs, state, slot_bytes, a, d, dt_bias;
    uint32_t n_runs, n_rows, n_state, head_dim, group_heads, x_stride, bc_stride, dt_stride, c_off;
} scan_push;

static void scan(vk_backend *vk, scan_push *p, const rt_state_layer *state, const rt_batch *batch,
                 const vk_operand operands[4]) {
    p->runs = stage_runs(vk, batch);
    p->state = vk->cache.address + state->off;
    p->slot_bytes = state->slot_bytes;
    p->n_runs = (uint32_t)batch->n_runs;
    vk_job job = {.shader = VK_SCAN,
                  .push = p,
                  .push_bytes = sizeof *p,
                  .operands = {operands[0], operands[1], operands[2], operands[3]},
                  .n_operands = 4,
                  .cache = access_of(state),
                  .groups = {(p->n_rows + 63) / 64, 1, 1}};
    vk_dispatch(vk, &job);
}

void vk_op_mamba(rt_backend *backend, const rt_mamba *mamba, const rt_state_layer *state,
                 const rt_batch *batch, rt_off x, size_t x_stride, rt_off bc, size_t bc_stride,
                 rt_off dt, rt_off y) {
    vk_backend *vk = vk_of(backend);
    uint32_t n = mamba->n_channels;
    scan_push p = {.a = vk_address(vk, mamba->a),
                   .d = vk_address(vk, mamba->d),
                   .n_rows = n,
                   .n_state = mamba->n_state,
                   .head_dim = 1,
                   .group_heads = n,
                   .x_stride = (uint32_t)x_stride,
                   .bc_stride = (uint32_t)bc_stride,
                   .dt_stride = n,
                   .c_off = mamba->n_state};
    const vk_operand operands[4] = {
        {x, extent(batch, x_stride, n), false},
        {bc, extent(batch, bc_stride, UINT64_C(2) * mamba->n_state), false},
        {dt, (uint64_t)batch->n * n, false},
        {y, (uint64_t)batch->n * n, true}};
    scan(vk, &p, state, batch, operands);
}

void vk_op_mamba2(rt_backend *backend, const rt_mamba2 *m, const rt_state_layer *state,
                  const rt_batch *batch, rt_off x, size_t x_stride, rt_off dt, size_t dt_stride,
                  rt_off y) {
    vk_backend *vk = vk_of(backend);
    uint32_t inner = m->n_head * m->head_dim;
    scan_push p = {.a = vk_address(vk, m->a),
                   .d = vk_address(vk, m->d),
                   .dt_bias = vk_address(vk, m->dt_bias),
                   .n_rows = inner,
                   .n_state = m->n_state,
                   .head_dim = m->head_dim,
                   .group_heads = m->n_head / m->n_group,
                   .x_stride = (uint32_t)x_stride,
                   .bc_stride = (uint32_t)x_stride,
                   .dt_stride = (uint32_t)dt_stride,
                   .c_off = m->n_group * m->n_state};
    const vk_operand operands[4] = {{x, extent(batch, x_stride, inner), false},
                                    {x + inner * sizeof(float),
                                     extent(batch, x_stride, UINT64_C(2) * m->n_group * m->n_state),
                                     false},
                                    {dt, extent(batch, dt_stride, m->n_head), false},
                                    {y, (uint64_t)batch->n * inner, true}};
    scan(vk, &p, state, batch, operands);
}

typedef struct delta_push {
    vk_at at;
    uint64_t runs, state, slot_bytes, a, dt_bias;
    uint32_t n_runs, n_head, n_head_k, n_state, stride, tiled;
    float bound;
} delta_push;

static void delta(vk_backend *vk, bool kda, delta_push *p, const rt_state_layer *state,
                  const rt_batch *batch, const vk_operand operands[6]) {
    p->runs = stage_runs(vk, batch);
    p->state = vk->cache.address + state->off;
    p->slot_bytes = state->slot_bytes;
    p->n_runs = (uint32_t)batch->n_runs;
    vk_job job = {
        .shader = VK_DELTA,
        .variant = kda,
        .push = p,
        .push_bytes = sizeof *p,
        .operands = {operands[0], operands[1], operands[2], operands[3], operands[4], operands[5]},
        .n_operands = 6,
        .cache = access_of(state),
        .groups = {p->n_head, 1, 1}};
    vk_dispatch(vk, &job);
}

void vk_op_gated_delta(rt_backend *backend, const rt_gated_delta *d, const rt_state_layer *state,
                       const rt_batch *batch, rt_off x, size_t x_stride, rt_off ba, rt_off y) {
    vk_backend *vk = vk_of(backend);
    uint64_t keys = (uint64_t)d->n_head_k * d->n_state, values = (uint64_t)d->n_head * d->n_state;
    delta_push p = {.a = vk_address(vk, d->a),
                    .dt_bias = vk_address(vk, d->dt_bias),
                    .n_head = d->n_head,
                    .n_head_k = d->n_head_k,
                    .n_state = d->n_state,
                    .stride = (uint32_t)x_stride,
                    .tiled = d->tiled};
    const vk_operand operands[6] = {
        {x, extent(batch, x_stride, keys), false},
        {x + keys * sizeof(float), extent(batch, x_stride, keys), false},
        {x + 2 * keys * sizeof(float), extent(batch, x_stride, values), false},
        {ba, UINT64_C(2) * batch->n * d->n_head, false},
        {RT_NO_OFF, 0, false},
        {y, batch->n * values, true}};
    delta(vk, false, &p, state, batch, operands);
}

void vk_op_kda(rt_backend *backend, const rt_kda *m, const rt_state_layer *state,
               const rt_batch *batch, rt_off q, rt_off k, rt_off v, rt_off f, rt_off beta,
               rt_off y) {
    vk_backend *vk = vk_of(backend);
    uint64_t inner = (uint64_t)m->n_head * m->n_state, n = batch->n * inner;
    delta_push p = {.a = vk_address(vk, m->a),
                    .dt_bias = vk_address(vk, m->dt_bias),
                    .n_head = m->n_head,
                    .n_head_k = m->n_head,
                    .n_state = m->n_state,
                    .stride = (uint32_t)inner,
                    .bound = m->bound};
    const vk_operand operands[6] = {{q, n, false}, {k, n, false},
                                    {v, n, false}, {beta, (uint64_t)batch->n * m->n_head, false},
                                    {f, n, false}, {y, n, true}};
    delta(vk, true, &p, state, batch, operands);
}
