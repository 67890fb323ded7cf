/* test_kernels: compares every kernel that this machine can run with the scalar one.
 * test_kernels --bench [TYPE...] times them instead and prints CSV. */
#include "tests/kernels/kernel_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_setting(void) {
    const char *seed = getenv("TEST_SEED");
    if (seed) test_seed = strtoull(seed, NULL, 10);
    printf("seed %llu, public functions use %s\n", (unsigned long long)test_seed, quant_isa_name());
    for (unsigned i = 0; i < QUANT_N_ISAS; i++)
        if (!quant_isa_supported((quant_isa)i))
            printf("skipped: %s, not supported here\n", quant_isa_text((quant_isa)i));
#if defined(__aarch64__)
    if (!quant_dotprod_supported()) printf("skipped: neon with dotprod, not supported here\n");
    if (!quant_i8mm_supported()) printf("skipped: neon with i8mm, not supported here\n");
#endif
    fflush(stdout);
}

int main(int argc, char **argv) {
    list_types();
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) return bench_main(argc - 2, argv + 2);
    print_setting();
    Suite *suite = suite_create("kernels");
    suite_add_tcase(suite, public_tests());
    suite_add_tcase(suite, encode_tests());
    suite_add_tcase(suite, decode_tests());
    suite_add_tcase(suite, formula_tests());
    suite_add_tcase(suite, dot_tests());
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
