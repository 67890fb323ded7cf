/* A Vulkan device that can compute: selection, properties, and its memory. */
#ifndef RUNTIME_ENGINE_VK_VK_DEVICE_H
#define RUNTIME_ENGINE_VK_VK_DEVICE_H

#include "runtime/engine/device.h"
#include "runtime/engine/vk/vk_load.h"

typedef struct vk_device {
    vk_instance vk;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t queue_family;
    uint32_t heap;      /* whose budget counts */
    uint64_t max_bytes; /* of an allocation, and of a buffer */
    uint64_t max_range; /* of an operand */
    uint64_t offset_alignment;
    rt_device_info info;
} vk_device;

/* Open the device of a name: its number in the list, its name, or a part of it in any case that no
 * other has; NULL: the first one that is no CPU, or the first.
 * Errors: GGUF_E_UNSUPPORTED there is none, or it lacks something; GGUF_E_USAGE the name fits none,
 * or several. */
gguf_code vk_device_open(const char *name, vk_device *out, gguf_error *err);
void vk_device_close(vk_device *device);

/* Budget and use as they are now. */
void vk_device_refresh(vk_device *device);

/* A buffer with memory of its own. */
typedef struct vk_buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t address;
    uint8_t *host; /* where the host sees it, or NULL */
    uint64_t n_bytes;
} vk_buffer;

/* n_bytes > 0; on_host: where both sides see it.
 * Errors: GGUF_E_NOMEM, GGUF_E_LIMIT more than the device allows at once. */
gguf_code vk_buffer_new(const vk_device *device, uint64_t n_bytes, bool on_host, vk_buffer *out,
                        gguf_error *err);
void vk_buffer_free(const vk_device *device, vk_buffer *buffer);

#endif
