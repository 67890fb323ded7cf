/* libvulkan, loaded when it is asked for: programs run where there is none. */
#ifndef RUNTIME_ENGINE_VK_VK_LOAD_H
#define RUNTIME_ENGINE_VK_VK_LOAD_H

#define VK_NO_PROTOTYPES
#include "libgguf/error.h"

#include <vulkan/vulkan.h>

#define VK_FUNCTIONS(F)                       \
    F(DestroyInstance)                        \
    F(EnumeratePhysicalDevices)               \
    F(EnumerateDeviceExtensionProperties)     \
    F(GetPhysicalDeviceProperties2)           \
    F(GetPhysicalDeviceFeatures2)             \
    F(GetPhysicalDeviceMemoryProperties2)     \
    F(GetPhysicalDeviceQueueFamilyProperties) \
    F(CreateDevice)                           \
    F(DestroyDevice)                          \
    F(GetDeviceQueue)                         \
    F(CreateBuffer)                           \
    F(DestroyBuffer)                          \
    F(GetBufferMemoryRequirements)            \
    F(GetBufferDeviceAddress)                 \
    F(AllocateMemory)                         \
    F(FreeMemory)                             \
    F(BindBufferMemory)                       \
    F(MapMemory)                              \
    F(CreateCommandPool)                      \
    F(DestroyCommandPool)                     \
    F(AllocateCommandBuffers)                 \
    F(BeginCommandBuffer)                     \
    F(EndCommandBuffer)                       \
    F(QueueSubmit)                            \
    F(CreateFence)                            \
    F(DestroyFence)                           \
    F(WaitForFences)                          \
    F(ResetFences)                            \
    F(DeviceWaitIdle)                         \
    F(CreateShaderModule)                     \
    F(DestroyShaderModule)                    \
    F(CreateDescriptorSetLayout)              \
    F(DestroyDescriptorSetLayout)             \
    F(CreatePipelineLayout)                   \
    F(DestroyPipelineLayout)                  \
    F(CreateComputePipelines)                 \
    F(DestroyPipeline)                        \
    F(CmdBindPipeline)                        \
    F(CmdPushDescriptorSetKHR)                \
    F(CmdPushConstants)                       \
    F(CmdDispatch)                            \
    F(CmdPipelineBarrier)                     \
    F(CmdCopyBuffer)

typedef struct vk_functions {
#define F(name) PFN_vk##name name;
    VK_FUNCTIONS(F)
#undef F
} vk_functions;

/* An instance and its functions. */
typedef struct vk_instance {
    void *library;
    VkInstance instance;
    vk_functions fn;
} vk_instance;

/* Errors: GGUF_E_UNSUPPORTED there is no libvulkan, or no driver that it finds; GGUF_E_NOMEM. */
gguf_code vk_instance_open(vk_instance *out, gguf_error *err);
void vk_instance_close(vk_instance *instance);

/* What a result means, as an error that names what was tried. */
gguf_code vk_fail(VkResult result, const char *what, gguf_error *err);

#endif
