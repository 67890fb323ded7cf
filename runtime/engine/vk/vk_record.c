/* Recording: dispatches and copies go into command buffers, which are submitted when they are long
 * enough. A barrier is recorded only where accesses collide. */
#include "runtime/engine/vk/vk_internal.h"

#include <string.h>

/* ---- waiting and submitting -------------------------------------------------------------------
 */

static bool failed(const vk_backend *vk) {
    return vk->base.failure.code != GGUF_OK;
}

static void check(vk_backend *vk, VkResult result, const char *what) {
    if (result) vk_fail(result, what, &vk->base.failure);
}

static void wait_for(vk_backend *vk, vk_command *command) {
    const vk_functions *fn = &vk->device.vk.fn;
    if (!command->runs) return;
    check(vk, fn->WaitForFences(vk->device.device, 1, &command->fence, VK_TRUE, UINT64_MAX),
          "waiting for the device");
    check(vk, fn->ResetFences(vk->device.device, 1, &command->fence), "waiting for the device");
    command->runs = false;
}

static void barrier(vk_backend *vk, VkPipelineStageFlags to, VkAccessFlags access) {
    const VkMemoryBarrier all = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                 .srcAccessMask =
                                     VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                                 .dstAccessMask = access};
    vk->device.vk.fn.CmdPipelineBarrier(vk->commands[vk->current].buffer,
                                        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT |
                                            VK_PIPELINE_STAGE_TRANSFER_BIT,
                                        to, 0, 1, &all, 0, NULL, 0, NULL);
    vk_hazards_clear(&vk->hazards);
}

static bool begin(vk_backend *vk) {
    const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                           .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    vk_command *command = &vk->commands[vk->current];
    if (failed(vk)) return false;
    if (vk->begun) return true;
    wait_for(vk, command);
    check(vk, vk->device.vk.fn.BeginCommandBuffer(command->buffer, &info), "recording");
    vk->begun = !failed(vk);
    vk->n_recorded = 0;
    return vk->begun;
}

static void submit(vk_backend *vk) {
    const vk_functions *fn = &vk->device.vk.fn;
    vk_command *command = &vk->commands[vk->current];
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                               .commandBufferCount = 1,
                               .pCommandBuffers = &command->buffer};
    if (!vk->begun) return;
    vk->begun = false;
    VkResult result = fn->EndCommandBuffer(command->buffer);
    if (!result) result = fn->QueueSubmit(vk->device.queue, 1, &info, command->fence);
    check(vk, result, "submitting work");
    command->runs = !result;
    vk->current = (vk->current + 1) % VK_N_COMMANDS;
}

void vk_wait(vk_backend *vk) {
    if (vk->begun) barrier(vk, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    submit(vk);
    for (uint32_t i = 0; i < VK_N_COMMANDS; i++) wait_for(vk, &vk->commands[i]);
    vk->staged = VK_STATUS_BYTES;
}

/* ---- staging ----------------------------------------------------------------------------------
 */

uint64_t vk_stage(vk_backend *vk, uint64_t n_bytes) {
    uint64_t size = (n_bytes + 63) / 64 * 64;
    if (size > VK_STAGING_BYTES - VK_STATUS_BYTES)
        gguf_fail(&vk->base.failure, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                  "a batch's tables do not fit what is set aside on the device");
    if (failed(vk)) return RT_NO_OFF;
    if (size > VK_STAGING_BYTES - vk->staged) vk_wait(vk);
    uint64_t off = vk->staged;
    vk->staged += size;
    return failed(vk) ? RT_NO_OFF : off;
}

uint64_t vk_stage_data(vk_backend *vk, const void *data, uint64_t n_bytes) {
    uint64_t off = vk_stage(vk, n_bytes);
    if (off == RT_NO_OFF) return 0;
    memcpy(vk->staging.host + off, data, n_bytes);
    return vk->staging.address + off;
}

/* ---- commands ---------------------------------------------------------------------------------
 */

static void order(vk_backend *vk, const vk_access *accesses, size_t n) {
    if (vk_hazards_conflict(&vk->hazards, accesses, n))
        barrier(vk, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                    VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
    vk_hazards_note(&vk->hazards, accesses, n);
}

static void count(vk_backend *vk) {
    if (++vk->n_recorded >= VK_SUBMIT_DISPATCHES) submit(vk);
}

void vk_copy(vk_backend *vk, const vk_buffer *from, vk_access src, const vk_buffer *to,
             vk_access dst) {
    const vk_access both[2] = {src, dst};
    const VkBufferCopy region = {src.first, dst.first, src.end - src.first};
    if (region.size == 0 || !begin(vk)) return;
    order(vk, both, 2);
    vk->device.vk.fn.CmdCopyBuffer(vk->commands[vk->current].buffer, from->buffer, to->buffer, 1,
                                   &region);
    count(vk);
}

static VkPipeline pipeline_of(vk_backend *vk, vk_shader shader, uint32_t variant) {
    const vk_functions *fn = &vk->device.vk.fn;
    VkPipeline *pipeline = &vk->pipelines[shader][variant];
    const VkSpecializationMapEntry entry = {0, 0, sizeof variant};
    const VkSpecializationInfo constants = {1, &entry, sizeof variant, &variant};
    const VkShaderModuleCreateInfo code = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                           .codeSize = vk_shaders[shader].n_bytes,
                                           .pCode = vk_shaders[shader].words};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .pName = "main",
                  .pSpecializationInfo = &constants},
        .layout = vk->layout};
    if (*pipeline) return *pipeline;
    VkResult result = fn->CreateShaderModule(vk->device.device, &code, NULL, &info.stage.module);
    if (!result) {
        result =
            fn->CreateComputePipelines(vk->device.device, VK_NULL_HANDLE, 1, &info, NULL, pipeline);
        fn->DestroyShaderModule(vk->device.device, info.stage.module, NULL);
    }
    check(vk, result, vk_shaders[shader].name);
    return *pipeline;
}

/* Operands begin where the device allows, and the kernel gets what is left as a number of elements.
 * Ones that are left out are the first one's first elements, which the kernel does not touch. */
static bool push_operands(vk_backend *vk, const vk_job *job, vk_access *accesses) {
    VkDescriptorBufferInfo buffers[VK_MAX_OPERANDS];
    VkWriteDescriptorSet writes[VK_MAX_OPERANDS];
    vk_at *at = job->push;
    uint64_t alignment = vk->device.offset_alignment;
    for (uint32_t i = 0; i < job->n_operands; i++) {
        const vk_operand *o = &job->operands[i];
        uint64_t first = o->off / alignment * alignment;
        uint64_t end = o->off + o->n_elems * sizeof(float);
        if (o->off == RT_NO_OFF) {
            first = accesses[0].first;
            end = first + sizeof(float);
        }
        if (end - first > vk->device.max_range) {
            gguf_fail(&vk->base.failure, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                      "a batch too large for the device (%s): take a smaller one",
                      vk_shaders[job->shader].name);
            return false;
        }
        at->at[i] = o->off == RT_NO_OFF ? 0 : (uint32_t)((o->off - first) / sizeof(float));
        accesses[i] = (vk_access){VK_ARENA, o->writes, first, end};
        buffers[i] = (VkDescriptorBufferInfo){vk->arena.buffer, first, end - first};
        writes[i] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                           .dstBinding = i,
                                           .descriptorCount = 1,
                                           .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                           .pBufferInfo = &buffers[i]};
    }
    vk->device.vk.fn.CmdPushDescriptorSetKHR(vk->commands[vk->current].buffer,
                                             VK_PIPELINE_BIND_POINT_COMPUTE, vk->layout, 0,
                                             job->n_operands, writes);
    return true;
}

void vk_dispatch(vk_backend *vk, vk_job *job) {
    const vk_functions *fn = &vk->device.vk.fn;
    vk_access accesses[VK_MAX_OPERANDS + 1];
    size_t n = job->n_operands;
    if (!begin(vk)) return;
    VkPipeline pipeline = pipeline_of(vk, job->shader, job->variant);
    if (!pipeline || !push_operands(vk, job, accesses)) return;
    if (job->cache.first < job->cache.end) accesses[n++] = job->cache;
    order(vk, accesses, n);
    VkCommandBuffer buffer = vk->commands[vk->current].buffer;
    fn->CmdBindPipeline(buffer, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    fn->CmdPushConstants(buffer, vk->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, job->push_bytes,
                         job->push);
    fn->CmdDispatch(buffer, job->groups[0], job->groups[1], job->groups[2]);
    count(vk);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static VkResult make_layouts(vk_backend *vk) {
    VkDescriptorSetLayoutBinding bindings[VK_MAX_OPERANDS];
    const VkPushConstantRange constants = {VK_SHADER_STAGE_COMPUTE_BIT, 0, 128};
    const VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .flags = VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR,
        .bindingCount = VK_MAX_OPERANDS,
        .pBindings = bindings};
    for (uint32_t i = 0; i < VK_MAX_OPERANDS; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){i, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1,
                                                     VK_SHADER_STAGE_COMPUTE_BIT, NULL};
    VkResult result =
        vk->device.vk.fn.CreateDescriptorSetLayout(vk->device.device, &set, NULL, &vk->set_layout);
    const VkPipelineLayoutCreateInfo layout = {.sType =
                                                   VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                               .setLayoutCount = 1,
                                               .pSetLayouts = &vk->set_layout,
                                               .pushConstantRangeCount = 1,
                                               .pPushConstantRanges = &constants};
    if (result) return result;
    return vk->device.vk.fn.CreatePipelineLayout(vk->device.device, &layout, NULL, &vk->layout);
}

static VkResult make_commands(vk_backend *vk) {
    const vk_functions *fn = &vk->device.vk.fn;
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                          .queueFamilyIndex = vk->device.queue_family};
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VkResult result = fn->CreateCommandPool(vk->device.device, &pool, NULL, &vk->pool);
    const VkCommandBufferAllocateInfo buffer = {.sType =
                                                    VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                                .commandPool = vk->pool,
                                                .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                                .commandBufferCount = 1};
    for (uint32_t i = 0; i < VK_N_COMMANDS && !result; i++) {
        vk_command *command = &vk->commands[i];
        result = fn->AllocateCommandBuffers(vk->device.device, &buffer, &command->buffer);
        if (!result) result = fn->CreateFence(vk->device.device, &fence, NULL, &command->fence);
    }
    return result;
}

gguf_code vk_record_open(vk_backend *vk, gguf_error *err) {
    VkResult result = make_layouts(vk);
    if (!result) result = make_commands(vk);
    vk->staged = VK_STATUS_BYTES;
    return result ? vk_fail(result, "opening the device", err) : GGUF_OK;
}

void vk_record_close(vk_backend *vk) {
    const vk_functions *fn = &vk->device.vk.fn;
    VkDevice device = vk->device.device;
    if (!device) return;
    fn->DeviceWaitIdle(device);
    for (int s = 0; s < VK_N_SHADERS; s++)
        for (int i = 0; i < VK_N_VARIANTS; i++)
            if (vk->pipelines[s][i]) fn->DestroyPipeline(device, vk->pipelines[s][i], NULL);
    for (uint32_t i = 0; i < VK_N_COMMANDS; i++)
        if (vk->commands[i].fence) fn->DestroyFence(device, vk->commands[i].fence, NULL);
    if (vk->pool) fn->DestroyCommandPool(device, vk->pool, NULL);
    if (vk->layout) fn->DestroyPipelineLayout(device, vk->layout, NULL);
    if (vk->set_layout) fn->DestroyDescriptorSetLayout(device, vk->set_layout, NULL);
}
