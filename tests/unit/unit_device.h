/* What tests on a device share: they are skipped where there is none, or fail if
 * GGUFKIT_TEST_DEVICE is set. */
#ifndef TESTS_UNIT_UNIT_DEVICE_H
#define TESTS_UNIT_UNIT_DEVICE_H

#include "runtime/engine/backend.h"
#include "unit.h"

#define UNIT_SKIPPED 77

/* As unit_run. */
static inline int unit_run_on_device(Suite *suite) {
    gguf_error err = {0};
    rt_device_info *devices;
    size_t n;
    gguf_code code = rt_devices_list(&devices, &n, &err);
    free(devices);
    if (code == GGUF_OK && n > 0) return unit_run(suite);
    printf("skipped: %s\n", code ? err.message : "no device");
    return getenv("GGUFKIT_TEST_DEVICE") ? EXIT_FAILURE : UNIT_SKIPPED;
}

#endif
