/* The Vulkan backend: its table, its memory, and the model's constants on their way there. */
#include "runtime/engine/vk/vk_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the host and the arena --------------------------------------------------------------------
 */

static uint64_t piece_of(uint64_t n_bytes) {
    return n_bytes < VK_STAGING_BYTES / 4 ? n_bytes : VK_STAGING_BYTES / 4;
}

/* Through the staging buffer, in pieces. */
static void send(vk_backend *vk, const uint8_t *src, uint64_t n_bytes, const vk_buffer *to,
                 uint64_t off, vk_memory memory) {
    for (uint64_t done = 0, n; done < n_bytes; done += n) {
        n = piece_of(n_bytes - done);
        uint64_t from = vk_stage(vk, n);
        if (from == RT_NO_OFF) return;
        memcpy(vk->staging.host + from, src + done, n);
        vk_copy(vk, &vk->staging, (vk_access){VK_STAGING, false, from, from + n}, to,
                (vk_access){memory, true, off + done, off + done + n});
    }
}

static void vk_write(rt_backend *backend, const void *src, uint64_t n_bytes, rt_off dst) {
    vk_backend *vk = vk_of(backend);
    send(vk, src, n_bytes, &vk->arena, dst, VK_ARENA);
}

static void vk_read(rt_backend *backend, rt_off src, uint64_t n_bytes, void *dst) {
    vk_backend *vk = vk_of(backend);
    for (uint64_t done = 0, n; done < n_bytes; done += n) {
        n = piece_of(n_bytes - done);
        uint64_t to = vk_stage(vk, n);
        if (to == RT_NO_OFF) return;
        vk_copy(vk, &vk->arena, (vk_access){VK_ARENA, false, src + done, src + done + n},
                &vk->staging, (vk_access){VK_STAGING, true, to, to + n});
        vk_wait(vk);
        if (backend->failure.code) return;
        memcpy((uint8_t *)dst + done, vk->staging.host + to, n);
    }
}

static const void *vk_look(rt_backend *backend, rt_off src, uint64_t n_bytes, void *room) {
    vk_read(backend, src, n_bytes, room);
    return room;
}

/* Constants are looked at before they are sent. */
static const uint8_t *vk_take_fault(rt_backend *backend) {
    (void)backend;
    return NULL;
}

/* The position whose keys or values did not fit the cache, which kernels leave in the status. */
static void take_status(vk_backend *vk) {
    uint32_t failed;
    memcpy(&failed, vk->staging.host, sizeof failed);
    if (!failed) return;
    memset(vk->staging.host, 0, sizeof failed);
    gguf_fail(&vk->base.failure, GGUF_E_NONFINITE, NULL, GGUF_NO_OFFSET,
              "the keys or values of position %" PRIu32 " do not fit the KV cache's type",
              failed - 1);
}

static gguf_code vk_sync(rt_backend *backend, gguf_error *err) {
    vk_backend *vk = vk_of(backend);
    vk_wait(vk);
    take_status(vk);
    gguf_error failure = backend->failure;
    backend->failure = (gguf_error){0};
    if (failure.code && err && !err->code) *err = failure;
    return failure.code;
}

static void vk_copy_cache(rt_backend *backend, uint64_t from, uint64_t to, uint64_t n_bytes) {
    vk_backend *vk = vk_of(backend);
    /* Layers are told apart by names, not by places: a copy waits for all. */
    vk_access all = {VK_CACHE, true, 0, UINT64_MAX};
    if (vk_hazards_conflict(&vk->hazards, &all, 1)) vk_wait(vk);
    vk_copy(vk, &vk->cache, (vk_access){VK_CACHE, false, from, from + n_bytes}, &vk->cache,
            (vk_access){VK_CACHE, true, to, to + n_bytes});
    vk_wait(vk);
}

/* ---- constants ---------------------------------------------------------------------------------
 */

uint64_t vk_address(vk_backend *vk, const void *constant) {
    const uint8_t *at = constant;
    size_t low = 0, high = vk->n_constants;
    if (!constant) return 0;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (vk->constants[middle].first <= at)
            low = middle;
        else
            high = middle;
    }
    const vk_constant *c = &vk->constants[low];
    if (high > low && at >= c->first && at < c->end) return c->address + (uint64_t)(at - c->first);
    gguf_fail(&vk->base.failure, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
              "a part of this model was not brought to the device; --device none computes it");
    return 0;
}

static uint64_t vk_constant_bytes(uint64_t n_bytes) {
    return (n_bytes + VK_ALIGNMENT - 1) / VK_ALIGNMENT * VK_ALIGNMENT;
}

/* Constants first .. end go into one block. */
static gguf_code send_block(vk_backend *vk, const rt_constant *constants, size_t first, size_t end,
                            uint64_t n_bytes, gguf_error *err) {
    vk_buffer *block = &vk->blocks[vk->n_blocks];
    gguf_code code = vk_buffer_new(&vk->device, n_bytes, false, block, err);
    if (code) return code;
    vk->n_blocks++;
    for (size_t i = first, off = 0; i < end; off += vk_constant_bytes(constants[i].n_bytes), i++) {
        const uint8_t *data = constants[i].data;
        vk->constants[vk->n_constants++] =
            (vk_constant){data, data + constants[i].n_bytes, block->address + off};
        send(vk, data, constants[i].n_bytes, block, off, VK_ARENA);
        /* Nothing else touches the arena yet: its list of accesses serves. */
        vk_hazards_clear(&vk->hazards);
    }
    vk_wait(vk);
    return vk_sync(&vk->base, err);
}

/* In blocks that the device allows, each as large as what lies in it. */
static gguf_code send_constants(vk_backend *vk, const rt_backend_setup *setup, gguf_error *err) {
    const uint64_t most =
        vk->device.max_bytes < UINT64_C(1) << 30 ? vk->device.max_bytes : UINT64_C(1) << 30;
    size_t n = setup->n_constants;
    gguf_code code = GGUF_OK;
    vk->blocks = calloc(n + 1, sizeof *vk->blocks);
    vk->constants = calloc(n + 1, sizeof *vk->constants);
    if (!vk->blocks || !vk->constants) return gguf_fail_memory(err);
    for (size_t first = 0, end; first < n && !code; first = end) {
        uint64_t n_bytes = vk_constant_bytes(setup->constants[first].n_bytes);
        for (end = first + 1; end < n; end++) {
            uint64_t more = vk_constant_bytes(setup->constants[end].n_bytes);
            if (n_bytes + more > most) break;
            n_bytes += more;
        }
        code = send_block(vk, setup->constants, first, end, n_bytes, err);
    }
    return code;
}

/* ---- opening -----------------------------------------------------------------------------------
 */

static uint64_t vk_work_bytes(const rt_hparams *hp, uint32_t n_batch, unsigned n_threads,
                              rt_precision precision) {
    (void)hp;
    (void)precision;
    (void)n_batch;
    (void)n_threads;
    return VK_STAGING_BYTES;
}

static uint64_t predicted(const rt_backend_setup *setup) {
    uint64_t n_bytes = setup->arena_bytes + setup->cache_bytes + VK_STAGING_BYTES;
    for (size_t i = 0; i < setup->n_constants; i++)
        n_bytes += vk_constant_bytes(setup->constants[i].n_bytes);
    return n_bytes;
}

static gguf_code check_budget(const vk_device *device, const rt_backend_setup *setup,
                              gguf_error *err) {
    const double mib = 1024 * 1024;
    uint64_t needed = predicted(setup), free_bytes = device->info.budget_bytes;
    if (needed <= free_bytes) return GGUF_OK;
    return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET,
                     "this needs %.1f MiB on the device '%s' (%.1f of it for the cache, %.1f for "
                     "activations), of which %.1f MiB are free: fewer layers there (-ngl), a "
                     "smaller context, batch or KV type need less",
                     (double)needed / mib, device->info.name, (double)setup->cache_bytes / mib,
                     (double)setup->arena_bytes / mib, (double)free_bytes / mib);
}

/* Where kernels have rows in shared memory, or in registers. */
static gguf_code check_shapes(const rt_hparams *hp, gguf_error *err) {
    const char *what = NULL;
    if (hp->head_dim_k > 1024 || hp->head_dim_v > 1024) what = "heads of more than 1024 dimensions";
    if (hp->n_recurrent && hp->ssm_d_conv > 64) what = "convolutions of more than 64 taps";
    if ((hp->recurrent == RT_MIXER_GATED_DELTA || hp->recurrent == RT_MIXER_KDA) &&
        hp->ssm_d_state > 1024)
        what = "delta rules with more than 1024 columns";
    if (hp->n_buckets) what = "biases by relative position";
    if (hp->n_hyper) what = "hyper-connections";
    if (hp->n_compress[0]) what = "blocks of tokens that become one key";
    for (uint32_t i = 0; i < hp->n_layer; i++)
        if (hp->layers[i].hashed) what = "experts by a token's id";
    if (hp->n_expert && hp->gating == RT_GATING_SQRT_SOFTPLUS)
        what = "experts by the root of softplus";
    if (!what) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "this model has %s, which the device does not compute: run it with --device "
                     "none",
                     what);
}

static void vk_free(rt_backend *backend) {
    vk_backend *vk = vk_of(backend);
    vk_record_close(vk);
    for (size_t i = 0; i < vk->n_blocks; i++) vk_buffer_free(&vk->device, &vk->blocks[i]);
    vk_buffer_free(&vk->device, &vk->arena);
    vk_buffer_free(&vk->device, &vk->cache);
    vk_buffer_free(&vk->device, &vk->staging);
    vk_device_close(&vk->device);
    free(vk->blocks);
    free(vk->constants);
    free(vk);
}

static const rt_backend_ops vk_ops = {
    .free = vk_free,
    .write = vk_write,
    .read = vk_read,
    .look = vk_look,
    .take_fault = vk_take_fault,
    .sync = vk_sync,
    .embed = vk_op_embed,
    .gather = vk_op_gather,
    .copy = vk_op_copy,
    .norm = vk_op_norm,
    .rope = vk_op_rope,
    .activate = vk_op_activate,
    .xielu = vk_op_xielu,
    .add = vk_op_add,
    .combine = vk_op_combine,
    .scale_softcap = vk_op_scale_softcap,
    .clamp = vk_op_clamp,
    .mix = vk_op_mix,
    .match_rows = vk_op_match_rows,
    .cut_rows = vk_op_cut_rows,
    .scale_rows = vk_op_scale_rows,
    .set_input = vk_op_set_input,
    .matmul = vk_op_matmul,
    .matmul_heads = vk_op_matmul_heads,
    .matmul_groups = vk_op_matmul_groups,
    .route = vk_op_route,
    .group = vk_op_group,
    .copy_cache = vk_copy_cache,
    .kv_store = vk_op_kv_store,
    .kv_load = vk_op_kv_load,
    .attention = vk_op_attention,
    .select = vk_op_select,
    .conv = vk_op_conv,
    .mamba = vk_op_mamba,
    .mamba2 = vk_op_mamba2,
    .gated_delta = vk_op_gated_delta,
    .kda = vk_op_kda,
};

static gguf_code make_buffers(vk_backend *vk, const rt_backend_setup *setup, gguf_error *err) {
    gguf_code code = vk_buffer_new(&vk->device, VK_STAGING_BYTES, true, &vk->staging, err);
    if (!code) code = vk_buffer_new(&vk->device, setup->arena_bytes, false, &vk->arena, err);
    if (!code && setup->cache_bytes)
        code = vk_buffer_new(&vk->device, setup->cache_bytes, false, &vk->cache, err);
    if (!code) memset(vk->staging.host, 0, VK_STATUS_BYTES);
    return code;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void fill_use(vk_backend *vk, double start, uint64_t used_before) {
    rt_device_use *use = &vk->base.use;
    memcpy(use->name, vk->device.info.name, sizeof use->name);
    memcpy(use->driver, vk->device.info.driver, sizeof use->driver);
    use->allocated_bytes = vk->arena.n_bytes + vk->cache.n_bytes + vk->staging.n_bytes;
    for (size_t i = 0; i < vk->n_blocks; i++) use->allocated_bytes += vk->blocks[i].n_bytes;
    use->upload_s = seconds() - start;
    vk_device_refresh(&vk->device);
    if (vk->device.info.budget_known && vk->device.info.used_bytes > used_before)
        use->used_bytes = vk->device.info.used_bytes - used_before;
}

static gguf_code vk_open(const rt_backend_setup *setup, rt_backend **out, gguf_error *err) {
    double start = seconds();
    vk_backend *vk = calloc(1, sizeof *vk);
    *out = NULL;
    if (!vk) return gguf_fail_memory(err);
    vk->base.ops = &vk_ops;
    vk->n_slots = gguf_pool_threads(setup->pool);
    gguf_code code = check_shapes(setup->hparams, err);
    if (!code) code = vk_device_open(setup->device, &vk->device, err);
    uint64_t used = vk->device.info.used_bytes;
    if (!code) code = check_budget(&vk->device, setup, err);
    if (!code) code = vk_record_open(vk, err);
    if (!code) code = make_buffers(vk, setup, err);
    if (!code) code = send_constants(vk, setup, err);
    if (code) {
        vk_free(&vk->base);
        return code;
    }
    fill_use(vk, start, used);
    *out = &vk->base;
    return GGUF_OK;
}

static const rt_backend_type vulkan = {"vulkan", vk_work_bytes, vk_open, vk_constant_bytes};

const rt_backend_type *rt_device_backend(void) {
    return &vulkan;
}
