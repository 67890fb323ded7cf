/* The choice of OpenBLAS' kernels. */
#include "quant/blas.h"

#include "quant/kernels/cpu.h"

#include <cblas.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Exported by builds with DYNAMIC_ARCH, as Debian's: forget the kernels, and choose anew by the
 * environment. */
void gotoblas_dynamic_quit(void) __attribute__((weak));
void gotoblas_dynamic_init(void) __attribute__((weak));

static const char *wanted_kernels(void) {
    switch (quant_isa_choose()) {
    case QUANT_ISA_AVX512:
        return "SkylakeX";
    case QUANT_ISA_AVX2:
        return "Haswell";
    default:
        return NULL; /* Its own choice. */
    }
}

static void prepare(void) {
    const char *variable = "OPENBLAS_CORETYPE", *wanted = wanted_kernels();
    openblas_set_num_threads(1);
    if (!wanted || getenv(variable) || !gotoblas_dynamic_quit || !gotoblas_dynamic_init) return;
    if (strcmp(quant_blas_kernels(), wanted) == 0 || setenv(variable, wanted, 1)) return;
    gotoblas_dynamic_quit();
    gotoblas_dynamic_init();
    unsetenv(variable);
}

void quant_blas_prepare(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
}

const char *quant_blas_kernels(void) {
    return openblas_get_corename();
}
