/* What the machine reaches: reading memory, and multiplying and adding in registers. */
#include "libgguf/pool.h"
#include "quant/quant.h"
#include "tools/bench/machine.h"
#include "tools/common/tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

#define READ_BYTES ((size_t)256 << 20)
#define HUGE_PAGE  ((size_t)2 << 20)

enum { ROUNDS = 4 };

/* Seconds of the fastest of several rounds. */
static double best_time(gguf_pool *pool, int n_rounds, gguf_task_fn fn, void *ctx) {
    double best = INFINITY;
    for (int round = 0; round < n_rounds; round++) {
        double start = tool_now_s();
        gguf_pool_run(pool, gguf_pool_threads(pool), fn, ctx);
        best = fmin(best, tool_now_s() - start);
    }
    return best;
}

/* ---- memory ------------------------------------------------------------------------------ */

enum { LINE = 64, PIECE = LINE * 16 };

/* A way to read: so many places at once by each thread, each line asked for so many bytes before
 * its turn; 0: not. */
typedef struct pattern {
    size_t n_streams, ahead;
} pattern;

typedef struct read_job {
    const uint8_t *bytes;
    size_t n_parts;
    pattern how;
    uint64_t *sums; /* [n_parts][8]: a cache line each */
} read_job;

static uint64_t read_line(const uint8_t *line) {
    uint64_t words[LINE / 8], sum = 0;
    memcpy(words, line, sizeof words);
    for (size_t k = 0; k < LINE / 8; k++) sum += words[k];
    return sum;
}

/* A part has the streams one behind the other; they are read in turn, a piece of each. */
static void read_part(void *ctx, size_t part, unsigned worker) {
    read_job *job = ctx;
    (void)worker;
    size_t n = READ_BYTES / job->n_parts / job->how.n_streams / PIECE * PIECE;
    const uint8_t *begin = job->bytes + part * (READ_BYTES / job->n_parts);
    uint64_t sum = 0;
    for (size_t at = 0; at < n; at += PIECE)
        for (size_t s = 0; s < job->how.n_streams; s++)
            for (size_t line = 0; line < PIECE; line += LINE) {
                const uint8_t *p = begin + s * n + at + line;
                if (job->how.ahead) __builtin_prefetch(p + job->how.ahead);
                sum += read_line(p);
            }
    job->sums[8 * part] += sum;
}

static gguf_code probe_memory(gguf_pool *pool, bench_bandwidth *out, gguf_error *err) {
    static const size_t n_streams[] = {1, 2, 4}, ahead[] = {0, 512, 1024, 2048, 4096};
    size_t n_parts = gguf_pool_threads(pool);
    uint64_t *sums = calloc(n_parts * 8, sizeof *sums);
    uint8_t *bytes = aligned_alloc(HUGE_PAGE, READ_BYTES + HUGE_PAGE); /* prefetched beyond */
    gguf_code code = GGUF_OK;
    *out = (bench_bandwidth){0};
    if (sums && bytes) {
        (void)madvise(bytes, READ_BYTES + HUGE_PAGE, MADV_HUGEPAGE);
        memset(bytes, 1, READ_BYTES + HUGE_PAGE);
        for (size_t i = 0; i < sizeof n_streams / sizeof n_streams[0]; i++)
            for (size_t k = 0; k < sizeof ahead / sizeof ahead[0]; k++) {
                read_job job = {bytes, n_parts, {n_streams[i], ahead[k]}, sums};
                double rate = (double)READ_BYTES / best_time(pool, 2, read_part, &job);
                if (rate > out->bytes_per_s)
                    *out = (bench_bandwidth){rate, job.how.n_streams, job.how.ahead};
            }
    } else {
        code = gguf_fail_memory(err);
    }
    free(bytes);
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
    double seconds = best_time(pool, ROUNDS, spin_task, &job);
    out->peak_f32_ops_per_s = (double)n * job.n_ops / seconds;
    job.fn = s.i8;
    seconds = best_time(pool, ROUNDS, spin_task, &job);
    out->peak_i8_ops_per_s = (double)n * job.n_ops / seconds;
    free(job.sinks);
    return GGUF_OK;
}

gguf_code bench_probe_bandwidth(unsigned n_threads, bench_bandwidth *out, gguf_error *err) {
    gguf_pool *pool;
    gguf_code code = gguf_pool_new(n_threads, &pool, err);
    if (code) return code;
    code = probe_memory(pool, out, err);
    gguf_pool_free(pool);
    return code;
}

gguf_code bench_machine_probe(unsigned n_threads, bench_machine *out, gguf_error *err) {
    gguf_pool *pool;
    bench_bandwidth read;
    gguf_code code = bench_probe_bandwidth(n_threads, &read, err);
    if (code) return code;
    out->bandwidth_bytes_per_s = read.bytes_per_s;
    out->bandwidth_streams = (uint32_t)read.n_streams;
    out->bandwidth_prefetch = (uint32_t)read.ahead;
    code = gguf_pool_new(n_threads, &pool, err);
    if (code) return code;
    code = probe_arithmetic(pool, out, err);
    gguf_pool_free(pool);
    return code;
}
