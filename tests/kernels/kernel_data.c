/* Seeded inputs and guarded memory of the kernel tests. */
#include "tests/kernels/kernel_data.h"
#include "quant/kernels/numeric.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Alignas(64) uint8_t matmul_scratch[QUANT_MATMUL_SCRATCH_BYTES];

uint32_t all_types[QUANT_N_TYPES];
size_t n_all_types, n_read_types;
uint64_t test_seed = 1;

static void add_types(bool written) {
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++)
        if (quant_can_decode(type) && quant_can_encode(type) == written)
            all_types[n_read_types++] = type;
}

void list_types(void) {
    add_types(true);
    n_all_types = n_read_types;
    add_types(false);
}

/* ---- numbers ----------------------------------------------------------------------------- */

uint64_t rng_next(rng *r) { /* splitmix64 */
    uint64_t z = r->state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

float rng_uniform(rng *r) {
    return (float)(rng_next(r) >> 40) * 0x1p-24f;
}

float rng_normal(rng *r) {
    float sum = -6.0f;
    for (int i = 0; i < 12; i++) sum += rng_uniform(r);
    return sum;
}

/* Without the fraction; the detour keeps compilers from rounding in floats, which gives -0. */
static float whole_number(float x) {
    volatile int whole = (int)x;
    return (float)whole;
}

static float pattern_number(rng *r, pattern p, float most) {
    float x = rng_normal(r);
    switch (p) {
    case PATTERN_ZEROS:
        return 0.0f;
    case PATTERN_CONSTANT:
        return -0.73f;
    case PATTERN_HEAVY:
        return x * x * x;
    case PATTERN_POSITIVE:
        return fabsf(x) + 0.5f;
    case PATTERN_NEGATIVE:
        return -fabsf(x) - 0.5f;
    case PATTERN_INTEGERS:
        return whole_number(x * 4);
    case PATTERN_TINY:
        return x * 1e-7f;
    case PATTERN_DENORMALS:
        return x * 1e-40f;
    case PATTERN_EXTREMES:
        return x > 1 ? most : x < -1 ? -most : x * 0.5f * most;
    default:
        return x;
    }
}

void fill_pattern(rng *r, pattern p, float most, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = pattern_number(r, p, most);
    if (p == PATTERN_OUTLIER) x[rng_next(r) % n] *= 1000.0f;
}

static float importance_number(rng *r, int kind, size_t i) {
    switch (kind) {
    case 2:
        return rng_next(r) % 3 == 0 ? 0.0f : rng_uniform(r);
    case 3:
        return i / 32 % 2 == 0 ? 0.0f : rng_uniform(r);
    case 4:
        return expf(20 * rng_normal(r)) * 1e-3f;
    default:
        return expf(rng_normal(r));
    }
}

const float *fill_importance(rng *r, int kind, float *buf, size_t n) {
    if (kind == 0) return NULL;
    for (size_t i = 0; i < n; i++) buf[i] = quant_clamp(importance_number(r, kind, i), 0.0f, 1e30f);
    return buf;
}

/* The head of a row: an f16 or an f32. */
static void fill_head(rng *r, uint32_t head_bytes, uint8_t *row) {
    float d = rng_normal(r);
    uint16_t h = quant_f32_to_f16(d);
    if (head_bytes == sizeof h)
        memcpy(row, &h, sizeof h);
    else
        memcpy(row, &d, sizeof d);
}

void fill_blocks(rng *r, uint32_t type, uint8_t *rows, size_t n_rows, size_t n_cols) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    const quant_traits *traits = quant_traits_of(type);
    size_t n_bytes = n_rows * quant_row_bytes(type, n_cols);
    for (size_t i = 0; i < n_bytes; i++) rows[i] = (uint8_t)rng_next(r);
    for (size_t row = 0; row < n_rows && layout->head_bytes; row++)
        fill_head(r, layout->head_bytes, rows + row * quant_row_bytes(type, n_cols));
    for (size_t at = 0; at < n_bytes; at += layout->block_bytes) {
        for (unsigned i = 0; i < traits->n_f16; i++) {
            uint16_t h = quant_f32_to_f16(rng_normal(r));
            memcpy(rows + at + traits->f16_off[i], &h, sizeof h);
        }
        if (traits->has_e8m0) rows[at] = (uint8_t)(120 + rng_next(r) % 16);
    }
}

/* ---- guarded memory ---------------------------------------------------------------------- */

#define CANARY 0xA5

guarded guarded_new(size_t n_bytes, bool at_end) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (n_bytes + page - 1) / page * page;
    guarded g = {.n_bytes = n_bytes, .map_bytes = inner + 2 * page};
    g.map = mmap(NULL, g.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(g.map != MAP_FAILED);
    ck_assert_int_eq(mprotect(g.map + page, inner, PROT_READ | PROT_WRITE), 0);
    memset(g.map + page, CANARY, inner);
    g.data = g.map + page + (at_end ? inner - n_bytes : 0);
    return g;
}

static size_t count_changed(const uint8_t *from, const uint8_t *to) {
    size_t n = 0;
    for (const uint8_t *p = from; p < to; p++) n += *p != CANARY;
    return n;
}

void guarded_check(const guarded *g) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    ck_assert_uint_eq(count_changed(g->map + page, g->data), 0);
    ck_assert_uint_eq(count_changed(g->data + g->n_bytes, g->map + g->map_bytes - page), 0);
}

void guarded_free(guarded *g) {
    munmap(g->map, g->map_bytes);
}

/* ---- instruction sets -------------------------------------------------------------------- */

bool next_kernels(quant_isa *isa, quant_kernels *table) {
    while (*isa < QUANT_N_ISAS && !quant_isa_supported(*isa)) (*isa)++;
    if (*isa >= QUANT_N_ISAS) return false;
    quant_kernels_fill(*isa, table);
    return true;
}
