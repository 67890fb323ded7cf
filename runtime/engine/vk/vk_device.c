/* Devices: the list, the choice, and opening one. */
#include "runtime/engine/vk/vk_device.h"

#include "libgguf/near.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- what a device has ------------------------------------------------------------------------
 */

#define MAX_DEVICES 64

static const char *kind_of(VkPhysicalDeviceType type) {
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return "discrete";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return "integrated";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return "virtual";
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return "cpu";
    default:
        return "other";
    }
}

static bool has_extension(const vk_functions *fn, VkPhysicalDevice physical, const char *name) {
    uint32_t n = 0;
    bool found = false;
    fn->EnumerateDeviceExtensionProperties(physical, NULL, &n, NULL);
    VkExtensionProperties *all = calloc(n + (size_t)1, sizeof *all);
    if (!all) return false;
    fn->EnumerateDeviceExtensionProperties(physical, NULL, &n, all);
    for (uint32_t i = 0; i < n; i++) found |= strcmp(all[i].extensionName, name) == 0;
    free(all);
    return found;
}

/* The features that the kernels need, as a chain. */
typedef struct features {
    VkPhysicalDeviceFeatures2 all;
    VkPhysicalDeviceVulkan11Features v11;
    VkPhysicalDeviceVulkan12Features v12;
} features;

static void chain(features *f) {
    *f = (features){.all.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    f->v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
    f->v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    f->all.pNext = &f->v11;
    f->v11.pNext = &f->v12;
}

static const char *missing_of(const vk_functions *fn, VkPhysicalDevice physical, uint32_t api) {
    features f;
    if (api < VK_API_VERSION_1_2) return "Vulkan 1.2";
    chain(&f);
    fn->GetPhysicalDeviceFeatures2(physical, &f.all);
    if (!f.all.features.shaderInt64 || !f.all.features.shaderInt16 || !f.v12.shaderInt8)
        return "integers of 8, 16 and 64 bits";
    if (!f.v11.storageBuffer16BitAccess || !f.v12.storageBuffer8BitAccess)
        return "storage of 8 and 16 bits";
    if (!f.v12.bufferDeviceAddress) return "addresses of buffers";
    if (!f.v12.scalarBlockLayout) return "scalar layouts";
    if (!has_extension(fn, physical, VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME))
        return "VK_KHR_push_descriptor";
    return NULL;
}

/* The largest heap of the device's own. */
static uint32_t heap_of(const VkPhysicalDeviceMemoryProperties *memory) {
    uint32_t best = 0;
    for (uint32_t i = 0; i < memory->memoryHeapCount; i++) {
        bool local = memory->memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
        if (local && memory->memoryHeaps[i].size > memory->memoryHeaps[best].size) best = i;
    }
    return best;
}

/* A number of bytes with K, M, G or T after it. A budget is only ever lowered. */
static uint64_t limited(uint64_t budget) {
    static const char units[] = "KMGT";
    const char *text = getenv("GGUFKIT_VRAM_LIMIT");
    char *end;
    if (!text || !*text) return budget;
    uint64_t limit = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end & ~32) : NULL;
    if (unit) limit <<= 10 * (unit - units + 1);
    return limit < budget ? limit : budget;
}

static void read_memory(const vk_functions *fn, VkPhysicalDevice physical, rt_device_info *info,
                        uint32_t *heap) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    info->budget_known = has_extension(fn, physical, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    if (info->budget_known) memory.pNext = &budget;
    fn->GetPhysicalDeviceMemoryProperties2(physical, &memory);
    *heap = heap_of(&memory.memoryProperties);
    info->memory_bytes = info->budget_bytes = memory.memoryProperties.memoryHeaps[*heap].size;
    if (info->budget_known) {
        uint64_t granted = budget.heapBudget[*heap];
        info->used_bytes = budget.heapUsage[*heap];
        if (granted > info->memory_bytes) granted = info->memory_bytes;
        info->budget_bytes = granted > info->used_bytes ? granted - info->used_bytes : 0;
    }
    info->budget_bytes = limited(info->budget_bytes);
}

static void describe(const vk_functions *fn, VkPhysicalDevice physical, vk_device *out) {
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES, .pNext = &subgroup};
    VkPhysicalDeviceMaintenance3Properties limits = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES, .pNext = &driver};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                       .pNext = &limits};
    rt_device_info *info = &out->info;
    fn->GetPhysicalDeviceProperties2(physical, &all);
    *info = (rt_device_info){.kind = kind_of(all.properties.deviceType),
                             .subgroup = subgroup.subgroupSize,
                             .missing = missing_of(fn, physical, all.properties.apiVersion)};
    snprintf(info->name, sizeof info->name, "%s", all.properties.deviceName);
    snprintf(info->driver, sizeof info->driver, "%s %s", driver.driverName, driver.driverInfo);
    out->physical = physical;
    out->max_bytes = limits.maxMemoryAllocationSize;
    out->max_range = all.properties.limits.maxStorageBufferRange;
    out->offset_alignment = all.properties.limits.minStorageBufferOffsetAlignment;
    read_memory(fn, physical, info, &out->heap);
}

void vk_device_refresh(vk_device *device) {
    read_memory(&device->vk.fn, device->physical, &device->info, &device->heap);
}

/* ---- the list ---------------------------------------------------------------------------------
 */

static gguf_code find_all(const vk_instance *vk, VkPhysicalDevice *found, uint32_t *n,
                          gguf_error *err) {
    *n = MAX_DEVICES;
    VkResult result = vk->fn.EnumeratePhysicalDevices(vk->instance, n, found);
    if (result < 0) return vk_fail(result, "listing devices", err);
    return GGUF_OK;
}

gguf_code rt_devices_list(rt_device_info **out, size_t *n, gguf_error *err) {
    VkPhysicalDevice found[MAX_DEVICES];
    vk_instance vk;
    uint32_t n_found = 0;
    *out = NULL;
    *n = 0;
    gguf_code code = vk_instance_open(&vk, err);
    if (code) return code;
    code = find_all(&vk, found, &n_found, err);
    if (!code) *out = calloc(n_found + (size_t)1, sizeof **out);
    if (!code && !*out) code = gguf_fail_memory(err);
    for (uint32_t i = 0; i < n_found && !code; i++) {
        vk_device device;
        describe(&vk.fn, found[i], &device);
        (*out)[(*n)++] = device.info;
    }
    vk_instance_close(&vk);
    return code;
}

/* ---- the choice -------------------------------------------------------------------------------
 */

static bool contains(const char *text, const char *part) {
    for (; *text; text++)
        if (strncasecmp(text, part, strlen(part)) == 0) return true;
    return false;
}

/* The words of the devices' names that are near to one that none has. */
static const char *near_words(const vk_device *all, uint32_t n, const char *name, char *out,
                              size_t room) {
    char words[64][32];
    size_t n_words = 0;
    gguf_near near = {.wanted = name};
    for (uint32_t i = 0; i < n; i++)
        for (const char *at = all[i].info.name; *at && n_words < 64;) {
            size_t len = strcspn(at, " ()");
            if (len > 2 && len < sizeof words[0]) {
                snprintf(words[n_words], sizeof words[0], "%.*s", (int)len, at);
                gguf_near_add(&near, words[n_words++]);
            }
            at += len;
            at += strspn(at, " ()");
        }
    return gguf_near_hint(&near, out, room);
}

/* The only one whose name has `name` in it. */
static gguf_code match(const vk_device *all, uint32_t n, const char *name, uint32_t *which,
                       gguf_error *err) {
    char *end;
    unsigned long number = strtoul(name, &end, 10);
    uint32_t n_fitting = 0;
    if (*name && !*end && number < n) {
        *which = (uint32_t)number;
        return GGUF_OK;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (strcasecmp(all[i].info.name, name) == 0) {
            *which = i;
            return GGUF_OK;
        }
        if (!contains(all[i].info.name, name)) continue;
        *which = i;
        n_fitting++;
    }
    if (n_fitting == 1) return GGUF_OK;
    if (n_fitting)
        return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                         "the device name '%s' fits several devices; gguf-bench devices lists them "
                         "with their numbers",
                         name);
    char hint[160];
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET,
                     "there is no device '%s'%s (gguf-bench devices lists what there is)", name,
                     near_words(all, n, name, hint, sizeof hint));
}

static gguf_code choose(const vk_device *all, uint32_t n, const char *name, uint32_t *which,
                        gguf_error *err) {
    *which = 0;
    if (n == 0)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "Vulkan finds no device; --device none computes on the CPU");
    if (name) {
        gguf_code code = match(all, n, name, which, err);
        if (code) return code;
    } else {
        for (uint32_t i = n; i-- > 0;)
            if (!all[i].info.missing && strcmp(all[i].info.kind, "cpu") != 0) *which = i;
    }
    if (!all[*which].info.missing) return GGUF_OK;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "the device '%s' cannot be used: it does not have %s", all[*which].info.name,
                     all[*which].info.missing);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static gguf_code find_queue(vk_device *device, gguf_error *err) {
    VkQueueFamilyProperties families[16];
    uint32_t n = sizeof families / sizeof families[0];
    device->vk.fn.GetPhysicalDeviceQueueFamilyProperties(device->physical, &n, families);
    for (uint32_t i = 0; i < n; i++)
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            device->queue_family = i;
            return GGUF_OK;
        }
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "the device '%s' does not compute", device->info.name);
}

static gguf_code create_device(vk_device *device, gguf_error *err) {
    static const char *const extensions[] = {VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME,
                                             VK_EXT_MEMORY_BUDGET_EXTENSION_NAME};
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = device->queue_family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    features f;
    chain(&f);
    f.all.features.shaderInt64 = f.all.features.shaderInt16 = VK_TRUE;
    f.v11.storageBuffer16BitAccess = VK_TRUE;
    f.v12.shaderInt8 = f.v12.storageBuffer8BitAccess = VK_TRUE;
    f.v12.bufferDeviceAddress = f.v12.scalarBlockLayout = VK_TRUE;
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = &f.all,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue,
                                     .enabledExtensionCount = device->info.budget_known ? 2 : 1,
                                     .ppEnabledExtensionNames = extensions};
    VkResult result = device->vk.fn.CreateDevice(device->physical, &info, NULL, &device->device);
    if (result) return vk_fail(result, "opening the device", err);
    device->vk.fn.GetDeviceQueue(device->device, device->queue_family, 0, &device->queue);
    return GGUF_OK;
}

static gguf_code find_device(const char *name, vk_device *out, gguf_error *err) {
    VkPhysicalDevice found[MAX_DEVICES];
    vk_device all[MAX_DEVICES];
    vk_instance vk;
    uint32_t n = 0, which;
    *out = (vk_device){0};
    gguf_code code = vk_instance_open(&vk, err);
    if (code) return code;
    code = find_all(&vk, found, &n, err);
    for (uint32_t i = 0; i < n && !code; i++) {
        all[i] = (vk_device){0};
        describe(&vk.fn, found[i], &all[i]);
    }
    if (!code) code = choose(all, n, name, &which, err);
    if (code) {
        vk_instance_close(&vk);
        return code;
    }
    *out = all[which];
    out->vk = vk;
    return GGUF_OK;
}

gguf_code rt_device_find(const char *name, rt_device_info *out, gguf_error *err) {
    vk_device device;
    gguf_code code = find_device(name, &device, err);
    if (code) return code;
    *out = device.info;
    vk_device_close(&device);
    return GGUF_OK;
}

gguf_code vk_device_open(const char *name, vk_device *out, gguf_error *err) {
    gguf_code code = find_device(name, out, err);
    if (code) return code;
    code = find_queue(out, err);
    if (!code) code = create_device(out, err);
    if (code) vk_device_close(out);
    return code;
}

void vk_device_close(vk_device *device) {
    if (device->device) device->vk.fn.DestroyDevice(device->device, NULL);
    vk_instance_close(&device->vk);
    device->device = VK_NULL_HANDLE;
}

/* ---- buffers ----------------------------------------------------------------------------------
 */

/* Of the kinds that the buffer may have, the first with all flags wanted, or with those needed. */
static bool find_kind(const vk_device *device, uint32_t allowed, VkMemoryPropertyFlags wanted,
                      VkMemoryPropertyFlags needed, uint32_t *kind) {
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    device->vk.fn.GetPhysicalDeviceMemoryProperties2(device->physical, &memory);
    for (int pass = 0; pass < 2; pass++) {
        VkMemoryPropertyFlags flags = pass ? needed : wanted;
        for (*kind = 0; *kind < memory.memoryProperties.memoryTypeCount; ++*kind) {
            bool fits = allowed >> *kind & 1;
            VkMemoryPropertyFlags has = memory.memoryProperties.memoryTypes[*kind].propertyFlags;
            if (fits && (has & flags) == flags) return true;
        }
    }
    return false;
}

static gguf_code allocate(const vk_device *device, bool on_host, vk_buffer *out, gguf_error *err) {
    const VkMemoryPropertyFlags shared =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const vk_functions *fn = &device->vk.fn;
    VkMemoryRequirements needs;
    const VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                             .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, .pNext = &flags};
    fn->GetBufferMemoryRequirements(device->device, out->buffer, &needs);
    info.allocationSize = needs.size;
    bool found = on_host ? find_kind(device, needs.memoryTypeBits,
                                     shared | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, shared,
                                     &info.memoryTypeIndex)
                         : find_kind(device, needs.memoryTypeBits,
                                     VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0, &info.memoryTypeIndex);
    if (!found) return vk_fail(VK_ERROR_OUT_OF_DEVICE_MEMORY, "no memory of the kind needed", err);
    VkResult result = fn->AllocateMemory(device->device, &info, NULL, &out->memory);
    if (!result) result = fn->BindBufferMemory(device->device, out->buffer, out->memory, 0);
    if (!result && on_host)
        result =
            fn->MapMemory(device->device, out->memory, 0, VK_WHOLE_SIZE, 0, (void **)&out->host);
    return result ? vk_fail(result, "allocating memory", err) : GGUF_OK;
}

gguf_code vk_buffer_new(const vk_device *device, uint64_t n_bytes, bool on_host, vk_buffer *out,
                        gguf_error *err) {
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = n_bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT};
    *out = (vk_buffer){.n_bytes = n_bytes};
    if (n_bytes > device->max_bytes)
        return gguf_fail(err, GGUF_E_LIMIT, NULL, GGUF_NO_OFFSET,
                         "%" PRIu64 " bytes in one piece: the device '%s' allows %" PRIu64, n_bytes,
                         device->info.name, device->max_bytes);
    VkResult result = device->vk.fn.CreateBuffer(device->device, &info, NULL, &out->buffer);
    if (result) return vk_fail(result, "making a buffer", err);
    gguf_code code = allocate(device, on_host, out, err);
    if (code) {
        vk_buffer_free(device, out);
        return code;
    }
    const VkBufferDeviceAddressInfo address = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = out->buffer};
    out->address = device->vk.fn.GetBufferDeviceAddress(device->device, &address);
    return GGUF_OK;
}

void vk_buffer_free(const vk_device *device, vk_buffer *buffer) {
    if (buffer->buffer) device->vk.fn.DestroyBuffer(device->device, buffer->buffer, NULL);
    if (buffer->memory) device->vk.fn.FreeMemory(device->device, buffer->memory, NULL);
    *buffer = (vk_buffer){0};
}
