/* The Vulkan backend's state, shared by its files. */
#ifndef RUNTIME_ENGINE_VK_VK_INTERNAL_H
#define RUNTIME_ENGINE_VK_VK_INTERNAL_H

#include "runtime/engine/backend.h"
#include "runtime/engine/vk/vk_device.h"
#include "runtime/engine/vk/vk_hazards.h"
#include "vk_shaders.h" /* made by CMake from shaders/ */

enum {
    VK_N_COMMANDS = 4,         /* command buffers that wait or run at the same time */
    VK_SUBMIT_DISPATCHES = 64, /* of one; few, so that recording and running overlap */
    VK_MAX_OPERANDS = 6,
    VK_N_VARIANTS = 10, /* values of a kernel's constant, see vk_job */
    VK_STATUS_BYTES = 256
};
#define VK_STAGING_BYTES (UINT64_C(16) << 20)
#define VK_ALIGNMENT     256 /* of what lies in a block of weights */

/* Memories that accesses are told apart by. */
typedef enum vk_memory { VK_ARENA, VK_CACHE, VK_STAGING } vk_memory;

/* A stretch of the arena that a kernel takes as an operand of its own. */
typedef struct vk_operand {
    rt_off off; /* RT_NO_OFF: left out */
    uint64_t n_elems;
    bool writes;
} vk_operand;

/* Kernels find their operands at these numbers of elements: the first member of all constants. */
typedef struct vk_at {
    uint32_t at[VK_MAX_OPERANDS];
} vk_at;

/* One dispatch. */
typedef struct vk_job {
    vk_shader shader;
    uint32_t variant; /* the kernel's constant 0 */
    void *push;       /* begins with vk_at */
    uint32_t push_bytes;
    vk_operand operands[VK_MAX_OPERANDS];
    uint32_t n_operands;
    vk_access cache; /* first < end: what it touches there */
    uint32_t groups[3];
} vk_job;

/* Where constants of the host lie on the device. */
typedef struct vk_constant {
    const uint8_t *first, *end;
    uint64_t address;
} vk_constant;

typedef struct vk_command {
    VkCommandBuffer buffer;
    VkFence fence;
    bool runs;
} vk_command;

typedef struct vk_backend {
    rt_backend base;
    vk_device device;
    vk_buffer arena, cache, staging;
    vk_buffer *blocks; /* [n_blocks] of constants */
    size_t n_blocks;
    vk_constant *constants; /* [n_constants] in order */
    size_t n_constants;
    uint32_t n_slots; /* of scores of indexers */
    VkCommandPool pool;
    vk_command commands[VK_N_COMMANDS];
    uint32_t current;    /* that is recorded */
    uint32_t n_recorded; /* in it; 0: it was not begun */
    bool begun;
    uint64_t staged; /* bytes of the staging buffer that are in use until all is done */
    vk_hazards hazards;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipelines[VK_N_SHADERS][VK_N_VARIANTS];
    rt_off input;
    size_t n_inputs, n_input_cols;
} vk_backend;

static inline vk_backend *vk_of(rt_backend *backend) {
    return (vk_backend *)(void *)backend;
}

/* ---- vk_record.c: all failures stay in base.failure, and nothing is recorded after one ---- */

gguf_code vk_record_open(vk_backend *vk, gguf_error *err);
void vk_record_close(vk_backend *vk);
void vk_dispatch(vk_backend *vk, vk_job *job);
/* Between two of arena, cache, staging and blocks. */
void vk_copy(vk_backend *vk, const vk_buffer *from, vk_access src, const vk_buffer *to,
             vk_access dst);
/* Room in the staging buffer until all is done; waits for that where it is full. Returns the
 * offset, or RT_NO_OFF after a failure. */
uint64_t vk_stage(vk_backend *vk, uint64_t n_bytes);
/* The same, filled; returns the address on the device, or 0. */
uint64_t vk_stage_data(vk_backend *vk, const void *data, uint64_t n_bytes);
/* Submit what is recorded and wait. */
void vk_wait(vk_backend *vk);
/* Where constants of the model lie; 0 for NULL. */
uint64_t vk_address(vk_backend *vk, const void *constant);

/* ---- operations ---- */

void vk_op_embed(rt_backend *backend, const rt_weight *table, const int32_t *ids, size_t n,
                 rt_off out);
void vk_op_gather(rt_backend *backend, rt_off x, const uint32_t *rows, size_t n, size_t n_cols,
                  rt_off out);
void vk_op_copy(rt_backend *backend, rt_off x, size_t x_stride, size_t n, size_t n_cols, rt_off out,
                size_t out_stride);
void vk_op_norm(rt_backend *backend, rt_norm kind, const rt_norm_weights *norm, float eps, rt_off x,
                size_t n, size_t stride, rt_off out);
void vk_op_rope(rt_backend *backend, rt_rope kind, rt_off table, uint32_t n_rot, rt_off x, size_t n,
                uint32_t n_head, uint32_t head_dim);
void vk_op_activate(rt_backend *backend, rt_activation activation, rt_off gate, rt_off up, size_t n,
                    size_t n_cols);
void vk_op_xielu(rt_backend *backend, const rt_xielu *xielu, rt_off x, size_t n, size_t n_cols);
void vk_op_add(rt_backend *backend, rt_off x, rt_off y, float factor, rt_off gates, size_t n,
               size_t n_cols);
void vk_op_combine(rt_backend *backend, rt_off x, rt_off weights, uint32_t k, size_t n,
                   size_t n_cols, rt_off out);
void vk_op_scale_softcap(rt_backend *backend, rt_off x, float factor, float cap, float limit,
                         size_t n, size_t n_cols);
void vk_op_clamp(rt_backend *backend, rt_off x, float low, float high, size_t n, size_t n_cols);
void vk_op_mix(rt_backend *backend, rt_off x, uint64_t x_stride, uint32_t n_in, rt_off weights,
               uint32_t n_out, size_t n, size_t n_cols, rt_off out, uint64_t out_stride);
void vk_op_match_rows(rt_backend *backend, rt_off x, rt_off y, size_t n, size_t n_cols);
void vk_op_cut_rows(rt_backend *backend, rt_off x, float factor, size_t n, size_t n_cols);
void vk_op_scale_rows(rt_backend *backend, rt_off x, rt_off factors, size_t n, size_t n_cols);
void vk_op_set_input(rt_backend *backend, rt_off x, size_t n, size_t n_cols);
void vk_op_matmul(rt_backend *backend, const rt_weight *weight, rt_off out);
void vk_op_matmul_heads(rt_backend *backend, const rt_weight *weight, rt_off out, size_t stride);
void vk_op_matmul_groups(rt_backend *backend, const rt_weight *weight, const rt_grouping *grouping,
                         rt_off out);
void vk_op_route(rt_backend *backend, const rt_route_rule *rule, rt_off logits, size_t n,
                 rt_off experts, rt_off weights);
void vk_op_group(rt_backend *backend, rt_off mats, size_t n, const rt_grouping *grouping);
void vk_op_kv_store(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k,
                    rt_off v);
void vk_op_kv_load(rt_backend *backend, const rt_kv_layer *kv, const rt_batch *batch, rt_off k);
void vk_op_attention(rt_backend *backend, const rt_attention *attention, const rt_kv_layer *kv,
                     const rt_batch *batch, rt_off q, rt_off out);
void vk_op_select(rt_backend *backend, const rt_indexer *indexer, const rt_kv_layer *kv,
                  const rt_batch *batch, rt_off q, rt_off weights, rt_off selection);
void vk_op_conv(rt_backend *backend, const rt_conv *conv, const rt_state_layer *state,
                const rt_batch *batch, rt_off x, size_t x_stride, rt_off before, rt_off after);
void vk_op_mamba(rt_backend *backend, const rt_mamba *mamba, const rt_state_layer *state,
                 const rt_batch *batch, rt_off x, size_t x_stride, rt_off bc, size_t bc_stride,
                 rt_off dt, rt_off y);
void vk_op_mamba2(rt_backend *backend, const rt_mamba2 *mamba2, const rt_state_layer *state,
                  const rt_batch *batch, rt_off x, size_t x_stride, rt_off dt, size_t dt_stride,
                  rt_off y);
void vk_op_gated_delta(rt_backend *backend, const rt_gated_delta *delta,
                       const rt_state_layer *state, const rt_batch *batch, rt_off x,
                       size_t x_stride, rt_off ba, rt_off y);
void vk_op_kda(rt_backend *backend, const rt_kda *kda, const rt_state_layer *state,
               const rt_batch *batch, rt_off q, rt_off k, rt_off v, rt_off f, rt_off beta,
               rt_off y);

#endif
