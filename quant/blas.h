/* OpenBLAS as this project uses it: one thread per call, and the kernels of quant_isa_choose. */
#ifndef QUANT_BLAS_H
#define QUANT_BLAS_H

/* Call before the first product of the process; further calls do nothing. OpenBLAS would start
 * threads of its own, and choose its kernels by the model of the processor: one that is newer than
 * the library gets those of SSE3, at a third of the speed, and two machines with the same
 * instructions may get different sums. OPENBLAS_CORETYPE in the environment stays in force.
 * Threads: any, though none may be inside of OpenBLAS or read the environment. */
void quant_blas_prepare(void);

/* What OpenBLAS calls its kernels, as in OPENBLAS_CORETYPE; static storage. */
const char *quant_blas_kernels(void);

#endif
