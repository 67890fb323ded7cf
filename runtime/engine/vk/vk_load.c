/* Loading libvulkan, and its errors in words. */
#include "runtime/engine/vk/vk_load.h"

#include <dlfcn.h>
#include <string.h>

gguf_code vk_fail(VkResult result, const char *what, gguf_error *err) {
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return gguf_fail(err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET,
                         "the device is out of memory (%s)", what);
    if (result == VK_ERROR_OUT_OF_HOST_MEMORY) return gguf_fail_memory(err);
    if (result == VK_ERROR_DEVICE_LOST)
        return gguf_fail(err, GGUF_E_IO, NULL, GGUF_NO_OFFSET,
                         "the device was lost (%s): its driver ended the work; --device none "
                         "computes on the CPU",
                         what);
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "the device's driver reports error %d (%s)", (int)result, what);
}

static gguf_code no_driver(gguf_error *err) {
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "there is no Vulkan driver (the library libvulkan.so.1 and the driver of the "
                     "device are needed; in a container, the device has to be passed on)");
}

/* A pointer from dlsym is no pointer to a function by the letter of C. */
static PFN_vkGetInstanceProcAddr entry_of(void *library) {
    PFN_vkGetInstanceProcAddr entry = NULL;
    void *symbol = dlsym(library, "vkGetInstanceProcAddr");
    memcpy(&entry, &symbol, sizeof entry);
    return entry;
}

static gguf_code create(vk_instance *vk, PFN_vkGetInstanceProcAddr get, gguf_error *err) {
    const VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                   .pApplicationName = "ggufkit",
                                   .apiVersion = VK_API_VERSION_1_2};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pApplicationInfo = &app};
    PFN_vkCreateInstance create_instance =
        (PFN_vkCreateInstance)get(VK_NULL_HANDLE, "vkCreateInstance");
    VkResult result = create_instance ? create_instance(&info, NULL, &vk->instance)
                                      : VK_ERROR_INCOMPATIBLE_DRIVER;
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) return no_driver(err);
    if (result) return vk_fail(result, "opening Vulkan", err);
#define F(name) vk->fn.name = (PFN_vk##name)get(vk->instance, "vk" #name);
    VK_FUNCTIONS(F)
#undef F
    return GGUF_OK;
}

gguf_code vk_instance_open(vk_instance *out, gguf_error *err) {
    *out = (vk_instance){.library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL)};
    PFN_vkGetInstanceProcAddr get = out->library ? entry_of(out->library) : NULL;
    gguf_code code = get ? create(out, get, err) : no_driver(err);
    if (code) vk_instance_close(out);
    return code;
}

/* The library stays loaded: drivers leave threads and handlers behind. */
void vk_instance_close(vk_instance *vk) {
    if (vk->instance) vk->fn.DestroyInstance(vk->instance, NULL);
    *vk = (vk_instance){0};
}
