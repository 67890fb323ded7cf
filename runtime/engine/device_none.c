/* Devices in a build without the Vulkan backend: there are none, and that is said. */
#include "runtime/engine/device.h"

gguf_code rt_devices_list(rt_device_info **out, size_t *n, gguf_error *err) {
    *out = NULL;
    *n = 0;
    return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                     "this build has no Vulkan backend (it needs the headers of Vulkan and "
                     "glslangValidator when it is built)");
}

const struct rt_backend_type *rt_device_backend(void) {
    return NULL;
}
