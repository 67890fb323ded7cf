/* Operations on rows of the arena. */
#include "runtime/engine/vk/vk_internal.h"

#include <math.h>

static uint32_t least(uint64_t a, uint64_t b) {
    return (uint32_t)(a < b ? a : b);
}

enum { MAX_GROUPS = 65535 }; /* of one dimension, on every device */

/* Kernels that go through n elements. */
static void run_each(vk_backend *vk, vk_job *job, uint64_t n) {
    job->groups[0] = least((n + 63) / 64, MAX_GROUPS);
    job->groups[1] = job->groups[2] = 1;
    if (n) vk_dispatch(vk, job);
}

/* Kernels that have a workgroup for each row. */
static void run_rows(vk_backend *vk, vk_job *job, uint64_t n) {
    job->groups[0] = least(n, MAX_GROUPS);
    job->groups[1] = job->groups[2] = 1;
    if (n) vk_dispatch(vk, job);
}

#define JOB(shader_name, ...)                                                                      \
    {                                                                                              \
        .shader = VK_##shader_name, .push = &p, .push_bytes = sizeof p, .operands = {__VA_ARGS__}, \
        .n_operands = sizeof((vk_operand[]){__VA_ARGS__}) / sizeof(vk_operand)                     \
    }

void vk_op_gather(rt_backend *backend, rt_off x, const uint32_t *rows, size_t n, size_t n_cols,
                  rt_off out) {
    vk_backend *vk = vk_of(backend);
    uint32_t last = 0;
    for (size_t i = 0; i < n; i++) last = rows[i] > last ? rows[i] : last;
    struct {
        vk_at at;
        uint64_t rows;
        uint32_t n, n_cols;
    } p = {.n = (uint32_t)n, .n_cols = (uint32_t)n_cols};
    vk_job job = JOB(GATHER, {x, (last + UINT64_C(1)) * n_cols, false}, {out, n * n_cols, true});
    p.rows = vk_stage_data(vk, rows, n * sizeof *rows);
    run_each(vk, &job, n * n_cols);
}

void vk_op_copy(rt_backend *backend, rt_off x, size_t x_stride, size_t n, size_t n_cols, rt_off out,
                size_t out_stride) {
    struct {
        vk_at at;
        uint32_t n, n_cols, x_stride, y_stride;
    } p = {{{0}}, (uint32_t)n, (uint32_t)n_cols, (uint32_t)x_stride, (uint32_t)out_stride};
    vk_job job = JOB(COPY, {x, (n - 1) * x_stride + n_cols, false},
                     {out, (n - 1) * out_stride + n_cols, true});
    run_each(vk_of(backend), &job, n * n_cols);
}

void vk_op_norm(rt_backend *backend, rt_norm kind, const rt_norm_weights *norm, float eps, rt_off x,
                size_t n, size_t stride, rt_off out) {
    vk_backend *vk = vk_of(backend);
    uint64_t n_elems = (n - 1) * stride + norm->n_cols;
    struct {
        vk_at at;
        uint64_t weight, bias;
        uint32_t n, n_cols, stride, n_weights, centred, in_place;
        float eps;
    } p = {.weight = vk_address(vk, norm->weight),
           .bias = vk_address(vk, norm->bias),
           .n = (uint32_t)n,
           .n_cols = norm->n_cols,
           .stride = (uint32_t)stride,
           .n_weights = norm->n_rows,
           .centred = kind == RT_NORM_LAYER,
           .in_place = x == out,
           .eps = eps};
    vk_job job = JOB(NORM, {x, n_elems, false}, {out, n_elems, true});
    run_rows(vk, &job, n);
}

void vk_op_rope(rt_backend *backend, rt_rope kind, rt_off table, uint32_t n_rot, rt_off x, size_t n,
                uint32_t n_head, uint32_t head_dim) {
    struct {
        vk_at at;
        uint32_t n, n_head, head_dim, n_rot, apart;
    } p = {{{0}}, (uint32_t)n, n_head, head_dim, n_rot, kind == RT_ROPE_ADJACENT ? 1 : n_rot / 2};
    /* The first dimensions of every head, of the last one too. */
    vk_job job = JOB(ROPE, {x, (n * n_head - 1) * head_dim + n_rot, true},
                     {table, (uint64_t)n * n_rot, false});
    if (kind != RT_ROPE_NONE && n_rot) run_each(vk_of(backend), &job, n * n_head * (n_rot / 2));
}

typedef struct activate_push {
    vk_at at;
    uint32_t n, has_y;
    float p, m, beta, eps;
} activate_push;

static void run_activate(rt_backend *backend, rt_activation kind, activate_push p, rt_off x,
                         rt_off y) {
    vk_job job = JOB(ACTIVATE, {x, p.n, true}, {y, p.n, false});
    job.variant = (uint32_t)kind;
    run_each(vk_of(backend), &job, p.n);
}

void vk_op_activate(rt_backend *backend, rt_activation activation, rt_off gate, rt_off up, size_t n,
                    size_t n_cols) {
    run_activate(backend, activation,
                 (activate_push){.n = (uint32_t)(n * n_cols), .has_y = up != RT_NO_OFF}, gate, up);
}

void vk_op_xielu(rt_backend *backend, const rt_xielu *xielu, rt_off x, size_t n, size_t n_cols) {
    run_activate(backend, RT_ACT_XIELU,
                 (activate_push){.n = (uint32_t)(n * n_cols),
                                 .p = xielu->p,
                                 .m = xielu->n,
                                 .beta = xielu->beta,
                                 .eps = xielu->eps},
                 x, RT_NO_OFF);
}

void vk_op_add(rt_backend *backend, rt_off x, rt_off y, float factor, rt_off gates, size_t n,
               size_t n_cols) {
    struct {
        vk_at at;
        uint32_t n, n_cols, has_gates;
        float factor;
    } p = {{{0}}, (uint32_t)n, (uint32_t)n_cols, gates != RT_NO_OFF, factor};
    vk_job job = JOB(ADD, {x, n * n_cols, true}, {y, n * n_cols, false}, {gates, n, false});
    run_each(vk_of(backend), &job, n * n_cols);
}

void vk_op_combine(rt_backend *backend, rt_off x, rt_off weights, uint32_t k, size_t n,
                   size_t n_cols, rt_off out) {
    struct {
        vk_at at;
        uint32_t n, n_cols, k;
    } p = {{{0}}, (uint32_t)n, (uint32_t)n_cols, k};
    vk_job job = JOB(COMBINE, {x, n * k * n_cols, false}, {weights, (uint64_t)n * k, false},
                     {out, n * n_cols, true});
    run_each(vk_of(backend), &job, n * n_cols);
}

typedef struct scale_push {
    vk_at at;
    uint32_t n;
    float factor, cap, low, high;
} scale_push;

static void run_scale(rt_backend *backend, scale_push p, rt_off x) {
    vk_job job = JOB(SCALE, {x, p.n, true});
    run_each(vk_of(backend), &job, p.n);
}

void vk_op_scale_softcap(rt_backend *backend, rt_off x, float factor, float cap, float limit,
                         size_t n, size_t n_cols) {
    float high = limit != 0 ? limit : INFINITY;
    run_scale(backend, (scale_push){{{0}}, (uint32_t)(n * n_cols), factor, cap, -high, high}, x);
}

void vk_op_clamp(rt_backend *backend, rt_off x, float low, float high, size_t n, size_t n_cols) {
    run_scale(backend, (scale_push){{{0}}, (uint32_t)(n * n_cols), 1, 0, low, high}, x);
}

void vk_op_mix(rt_backend *backend, rt_off x, uint64_t x_stride, uint32_t n_in, rt_off weights,
               uint32_t n_out, size_t n, size_t n_cols, rt_off out, uint64_t out_stride) {
    struct {
        vk_at at;
        uint32_t n, n_cols, n_in, n_out, x_stride, y_stride;
    } p = {{{0}}, (uint32_t)n,        (uint32_t)n_cols,    n_in,
           n_out, (uint32_t)x_stride, (uint32_t)out_stride};
    vk_job job = JOB(MIX, {x, (n_in - 1) * x_stride + n * n_cols, false},
                     {weights, (uint64_t)n * n_out * n_in, false},
                     {out, (n_out - 1) * out_stride + n * n_cols, true});
    run_each(vk_of(backend), &job, n * n_cols);
}

void vk_op_match_rows(rt_backend *backend, rt_off x, rt_off y, size_t n, size_t n_cols) {
    struct {
        vk_at at;
        uint32_t n, n_cols;
    } p = {{{0}}, (uint32_t)n, (uint32_t)n_cols};
    vk_job job = JOB(MATCH_ROWS, {x, n * n_cols, true}, {y, n * n_cols, false});
    run_rows(vk_of(backend), &job, n);
}

void vk_op_cut_rows(rt_backend *backend, rt_off x, float factor, size_t n, size_t n_cols) {
    struct {
        vk_at at;
        uint32_t n, n_cols;
        float factor;
    } p = {{{0}}, (uint32_t)n, (uint32_t)n_cols, factor};
    vk_job job = JOB(CUT_ROWS, {x, n * n_cols, true});
    run_rows(vk_of(backend), &job, n);
}

void vk_op_scale_rows(rt_backend *backend, rt_off x, rt_off factors, size_t n, size_t n_cols) {
    struct {
        vk_at at;
        uint32_t n, n_cols;
    } p = {{{0}}, (uint32_t)n, (uint32_t)n_cols};
    vk_job job = JOB(SCALE_ROWS, {x, n * n_cols, true}, {factors, n, false});
    run_each(vk_of(backend), &job, n * n_cols);
}

/* ---- experts ----------------------------------------------------------------------------------
 */

void vk_op_route(rt_backend *backend, const rt_route_rule *rule, rt_off logits, size_t n,
                 rt_off experts, rt_off weights) {
    vk_backend *vk = vk_of(backend);
    uint64_t n_chosen = (uint64_t)n * rule->n_used;
    struct {
        vk_at at;
        uint64_t bias, scales;
        uint32_t n, n_expert, n_used, n_group, n_group_used, gating, normed;
        float scale;
    } p = {.bias = vk_address(vk, rule->bias),
           .scales = vk_address(vk, rule->scales),
           .n = (uint32_t)n,
           .n_expert = rule->n_expert,
           .n_used = rule->n_used,
           .n_group = rule->n_group,
           .n_group_used = rule->n_group_used,
           .gating = (uint32_t)rule->gating,
           .normed = rule->norm,
           .scale = rule->scale};
    vk_job job = JOB(ROUTE, {logits, (uint64_t)n * rule->n_expert, true}, {experts, n_chosen, true},
                     {weights, n_chosen, true});
    run_rows(vk, &job, n);
}

void vk_op_group(rt_backend *backend, rt_off mats, size_t n, const rt_grouping *grouping) {
    struct {
        vk_at at;
        uint32_t n, n_mats;
    } p = {{{0}}, (uint32_t)n, grouping->n_mats};
    vk_job job =
        JOB(GROUP, {mats, n, false}, {grouping->first, grouping->n_mats + UINT64_C(1), true},
            {grouping->rows, n, true});
    run_rows(vk_of(backend), &job, 1);
}
