/* UNROLL(n) before a loop: unroll it n times. Not under sanitizers: their checks are as many as
 * there are copies, and such files took the compiler minutes. Sums are the same either way. */
#ifndef QUANT_KERNELS_UNROLL_H
#define QUANT_KERNELS_UNROLL_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define QUANT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define QUANT_SANITIZED 1
#endif
#endif

#define UNROLL_TEXT(text) _Pragma(#text)
#ifdef QUANT_SANITIZED
#define UNROLL(n)
#else
#define UNROLL(n) UNROLL_TEXT(GCC unroll n)
#endif

#endif
