/* What the machine reaches: reading memory, and multiplying and adding in registers. */
#include "libgguf/pool.h"
#include "quant/quant.h"
#include "tools/bench/machine.h"
#include "tools/common/tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

#define READ_BYTES ((size_t)256 << 20)

enum { ROUNDS = 4 };

/* ---- memory ------------------------------------------------------------------------------ */

typedef struct read_job {
    const uint64_t *words;
    size_t n_words, n_parts;
    uint64_t *sums;
} read_job;

static void read_part(void *ctx, size_t part, unsigned worker) {
    read_job *job = ctx;
    (void)worker;
    size_t begin = job->n_words / job->n_parts * part, n = job->n_words / job->n_parts;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < n; i += 8)
        for (size_t k = 0; k < 8; k++) sums[k] += job->words[begin + i + k];
    for (size_t k = 0; k < 8; k++) job->sums[part] += sums[k];
}

/* Seconds of the fastest of several rounds. */
static double best_time(gguf_pool *pool, gguf_task_fn fn, void *ctx) {
    double best = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        double start = tool_now_s();
        gguf_pool_run(pool, gguf_pool_threads(pool), fn, ctx);
        best = fmin(best, tool_now_s() - start);
    }
    return best;
}

static gguf_code probe_memory(gguf_pool *pool, double *bytes_per_s, gguf_error *err) {
    size_t n_parts = gguf_pool_threads(pool);
    uint64_t *sums = calloc(n_parts, sizeof *sums), *words = malloc(READ_BYTES);
    gguf_code code = GGUF_OK;
    if (sums && words) {
        memset(words, 1, READ_BYTES);
        read_job job = {words, READ_BYTES / sizeof *words / (8 * n_parts) * (8 * n_parts), n_parts,
                        sums};
        *bytes_per_s = (double)READ_BYTES / best_time(pool, read_part, &job);
    } else {
        code = gguf_fail_memory(err);
    }
    free(words);
    free(sums);
    return code;
}

/* ---- arithmetic --------------------------------------------------------------------------
 *
 * CHAINS sums that do not wait for each other, so that the units are always busy. `opaque` hides a
 * value from the compiler, which would compute what never changes only once. */

enum { CHAINS = 12, STEPS = 1 << 22 };

/* Returns the operations done; `sink` keeps the sums alive. */
typedef double (*spin_fn)(float *sink);

#define opaque(where, x) __asm__ volatile("" : "+" where(x))

static double spin_f32_plain(float *sink) {
    float sums[CHAINS] = {0}, x = 0.5f;
    for (int i = 0; i < STEPS; i++) {
        opaque("m", x);
        for (int k = 0; k < CHAINS; k++) sums[k] = sums[k] * x + x;
    }
    for (int k = 0; k < CHAINS; k++) *sink += sums[k];
    return 2.0 * CHAINS * STEPS;
}

static double spin_i8_plain(float *sink) {
    int32_t sums[CHAINS] = {0};
    int8_t x = 3;
    for (int i = 0; i < STEPS; i++) {
        opaque("m", x);
        for (int k = 0; k < CHAINS; k++) sums[k] += x * (int8_t)(x + k);
    }
    for (int k = 0; k < CHAINS; k++) *sink += (float)sums[k];
    return 2.0 * CHAINS * STEPS;
}

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) static double spin_f32_avx2(float *sink) {
    __m256 sums[CHAINS], x = _mm256_set1_ps(0.5f);
    for (int k = 0; k < CHAINS; k++) sums[k] = x;
    for (int i = 0; i < STEPS; i++) {
        opaque("x", x);
        for (int k = 0; k < CHAINS; k++) sums[k] = _mm256_fmadd_ps(sums[k], x, x);
    }
    for (int k = 0; k < CHAINS; k++) *sink += _mm256_cvtss_f32(sums[k]);
    return 2.0 * 8 * CHAINS * STEPS;
}

__attribute__((target("avx2"))) static double spin_i8_avx2(float *sink) {
    __m256i sums[CHAINS], x = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
    for (int k = 0; k < CHAINS; k++) sums[k] = x;
    for (int i = 0; i < STEPS; i++)
        for (int k = 0; k < CHAINS; k++) {
            opaque("x", x);
            __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(x, x), ones);
            sums[k] = _mm256_add_epi32(sums[k], pairs);
        }
    for (int k = 0; k < CHAINS; k++) *sink += (float)_mm256_extract_epi32(sums[k], 0);
    return 2.0 * 32 * CHAINS * STEPS;
}

__attribute__((target("avx512f"))) static double spin_f32_avx512(float *sink) {
    __m512 sums[CHAINS], x = _mm512_set1_ps(0.5f);
    for (int k = 0; k < CHAINS; k++) sums[k] = x;
    for (int i = 0; i < STEPS; i++) {
        opaque("v", x);
        for (int k = 0; k < CHAINS; k++) sums[k] = _mm512_fmadd_ps(sums[k], x, x);
    }
    for (int k = 0; k < CHAINS; k++) *sink += _mm512_cvtss_f32(sums[k]);
    return 2.0 * 16 * CHAINS * STEPS;
}

__attribute__((target("avx512f,avx512vnni"))) static double spin_i8_avx512(float *sink) {
    __m512i sums[CHAINS], x = _mm512_set1_epi32(0x03030303);
    for (int k = 0; k < CHAINS; k++) sums[k] = x;
    for (int i = 0; i < STEPS; i++) {
        opaque("v", x);
        for (int k = 0; k < CHAINS; k++) sums[k] = _mm512_dpbusd_epi32(sums[k], x, x);
    }
    for (int k = 0; k < CHAINS; k++)
        *sink += (float)_mm_cvtsi128_si32(_mm512_castsi512_si128(sums[k]));
    return 2.0 * 64 * CHAINS * STEPS;
}

#elif defined(__aarch64__)

static double spin_f32_neon(float *sink) {
    float32x4_t sums[CHAINS], x = vdupq_n_f32(0.5f);
    for (int k = 0; k < CHAINS; k++) sums[k] = x;
    for (int i = 0; i < STEPS; i++) {
        opaque("w", x);
        for (int k = 0; k < CHAINS; k++) sums[k] = vfmaq_f32(sums[k], x, x);
    }
    for (int k = 0; k < CHAINS; k++) *sink += vgetq_lane_f32(sums[k], 0);
    return 2.0 * 4 * CHAINS * STEPS;
}

static double spin_i8_neon(float *sink) {
    int32x4_t sums[CHAINS];
    int8x16_t x = vdupq_n_s8(3);
    for (int k = 0; k < CHAINS; k++) sums[k] = vdupq_n_s32(0);
    for (int i = 0; i < STEPS; i++)
        for (int k = 0; k < CHAINS; k++) {
            opaque("w", x);
            int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(x));
            sums[k] = vpadalq_s16(sums[k], vmlal_s8(low, vget_high_s8(x), vget_high_s8(x)));
        }
    for (int k = 0; k < CHAINS; k++) *sink += (float)vgetq_lane_s32(sums[k], 0);
    return 2.0 * 16 * CHAINS * STEPS;
}

__attribute__((target("arch=armv8.2-a+dotprod"))) static double spin_i8_dotprod(float *sink) {
    int32x4_t sums[CHAINS];
    int8x16_t x = vdupq_n_s8(3);
    for (int k = 0; k < CHAINS; k++) sums[k] = vdupq_n_s32(0);
    for (int i = 0; i < STEPS; i++) {
        opaque("w", x);
        for (int k = 0; k < CHAINS; k++) sums[k] = vdotq_s32(sums[k], x, x);
    }
    for (int k = 0; k < CHAINS; k++) *sink += (float)vgetq_lane_s32(sums[k], 0);
    return 2.0 * 16 * CHAINS * STEPS;
}

#endif

typedef struct spinners {
    spin_fn f32, i8;
} spinners;

static spinners choose_spinners(void) {
    const char *isa = quant_isa_name();
    spinners s = {spin_f32_plain, spin_i8_plain};
#if defined(__x86_64__)
    if (strcmp(isa, "avx2") == 0) s = (spinners){spin_f32_avx2, spin_i8_avx2};
    if (strcmp(isa, "avx512") == 0) s = (spinners){spin_f32_avx512, spin_i8_avx512};
#elif defined(__aarch64__)
    bool has_dot = getauxval(AT_HWCAP) & (1ul << 20); /* HWCAP_ASIMDDP */
    if (strcmp(isa, "neon") == 0)
        s = (spinners){spin_f32_neon, has_dot ? spin_i8_dotprod : spin_i8_neon};
#endif
    return strcmp(isa, "scalar") == 0 ? (spinners){spin_f32_plain, spin_i8_plain} : s;
}

typedef struct spin_job {
    spin_fn fn;
    double n_ops; /* of one worker */
    float *sinks; /* [n_threads][16]: a cache line each */
} spin_job;

static void spin_task(void *ctx, size_t i, unsigned worker) {
    spin_job *job = ctx;
    (void)worker;
    double n_ops = job->fn(&job->sinks[16 * i]);
    if (i == 0) job->n_ops = n_ops;
}

static gguf_code probe_arithmetic(gguf_pool *pool, bench_machine *out, gguf_error *err) {
    size_t n = gguf_pool_threads(pool);
    spinners s = choose_spinners();
    spin_job job = {.fn = s.f32, .sinks = calloc(n, 16 * sizeof(float))};
    if (!job.sinks) return gguf_fail_memory(err);
    double seconds = best_time(pool, spin_task, &job);
    out->peak_f32_ops_per_s = (double)n * job.n_ops / seconds;
    job.fn = s.i8;
    seconds = best_time(pool, spin_task, &job);
    out->peak_i8_ops_per_s = (double)n * job.n_ops / seconds;
    free(job.sinks);
    return GGUF_OK;
}

gguf_code bench_bandwidth(unsigned n_threads, double *bytes_per_s, gguf_error *err) {
    gguf_pool *pool;
    gguf_code code = gguf_pool_new(n_threads, &pool, err);
    if (code) return code;
    code = probe_memory(pool, bytes_per_s, err);
    gguf_pool_free(pool);
    return code;
}

gguf_code bench_machine_probe(unsigned n_threads, bench_machine *out, gguf_error *err) {
    gguf_pool *pool;
    gguf_code code = bench_bandwidth(n_threads, &out->bandwidth_bytes_per_s, err);
    if (!code) code = gguf_pool_new(n_threads, &pool, err);
    if (code) return code;
    code = probe_arithmetic(pool, out, err);
    gguf_pool_free(pool);
    return code;
}
