/* Byte order of headers and blocks. */
#include "libgguf/swap.h"
#include "libgguf/cursor.h"
#include "libgguf/dynbuf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool gguf_is_big_endian(const uint8_t bytes[8]) {
    return memcmp(bytes, "GGUF", 4) == 0 && bytes[4] == 0 && bytes[5] == 0 &&
           (bytes[6] || bytes[7]);
}

/* ---- headers ------------------------------------------------------------------------------------
 */

typedef struct swapper {
    gguf_cursor c; /* over the source */
    gguf_dynbuf out;
    bool from_big;
} swapper;

static void reverse(uint8_t *p, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        uint8_t t = p[i];
        p[i] = p[n - 1 - i];
        p[n - 1 - i] = t;
    }
}

/* Copy a number reversed; its value in native order. */
static uint64_t swap_number(swapper *s, size_t n, const char *what) {
    uint8_t bytes[8] = {0};
    uint64_t value = 0;
    const uint8_t *p = gguf_cursor_take(&s->c, n, what);
    if (!p) return 0;
    memcpy(bytes, p, n);
    if (!s->from_big) memcpy(&value, bytes, n);
    reverse(bytes, n);
    if (s->from_big) memcpy(&value, bytes, n);
    gguf_dynbuf_put(&s->out, bytes, n);
    return value;
}

static void swap_string(swapper *s, const char *what) {
    uint64_t len = swap_number(s, 8, what);
    const uint8_t *p = gguf_cursor_take(&s->c, len, what);
    if (p) gguf_dynbuf_put(&s->out, p, len);
}

static void swap_values(swapper *s, uint64_t type, uint64_t count) {
    size_t n = type <= GGUF_VALUE_F64 ? gguf_value_bytes((gguf_value_type)type) : 0;
    if (type != GGUF_VALUE_STRING && n == 0)
        gguf_cursor_fail(&s->c, GGUF_E_FORMAT, s->c.pos, "value type %" PRIu64 " is not known",
                         type);
    if (count > gguf_cursor_left(&s->c))
        gguf_cursor_fail(&s->c, GGUF_E_TRUNCATED, s->c.pos, "%" PRIu64 " values cannot fit", count);
    for (uint64_t i = 0; i < count && !s->c.code; i++) {
        if (type == GGUF_VALUE_STRING)
            swap_string(s, "a string value");
        else
            swap_number(s, n, "a value");
    }
}

static void swap_kv(swapper *s) {
    swap_string(s, "a key");
    uint64_t type = swap_number(s, 4, "a value's type"), count = 1;
    if (type == GGUF_VALUE_ARRAY) {
        type = swap_number(s, 4, "an array's type");
        count = swap_number(s, 8, "an array's length");
    }
    if (!s->c.code) swap_values(s, type, count);
}

static void swap_info(swapper *s) {
    swap_string(s, "a tensor's name");
    uint64_t n_dims = swap_number(s, 4, "a tensor's number of dimensions");
    if (n_dims > GGUF_MAX_DIMS)
        gguf_cursor_fail(&s->c, GGUF_E_LIMIT, s->c.pos, "%" PRIu64 " dimensions", n_dims);
    for (uint64_t i = 0; i < n_dims && !s->c.code; i++) swap_number(s, 8, "a dimension");
    swap_number(s, 4, "a tensor's type");
    swap_number(s, 8, "a tensor's offset");
}

static void swap_header(swapper *s) {
    const uint8_t *magic = gguf_cursor_take(&s->c, 4, "the magic");
    if (magic) gguf_dynbuf_put(&s->out, magic, 4);
    uint64_t version = swap_number(s, 4, "the version");
    if (!s->c.code && version != 2 && version != 3)
        gguf_cursor_fail(&s->c, GGUF_E_UNSUPPORTED, 4, "GGUF version %" PRIu64 " is not known",
                         version);
    uint64_t n_tensors = swap_number(s, 8, "the tensor count");
    uint64_t n_kv = swap_number(s, 8, "the metadata count");
    for (uint64_t i = 0; i < n_kv && !s->c.code; i++) swap_kv(s);
    for (uint64_t i = 0; i < n_tensors && !s->c.code; i++) swap_info(s);
}

gguf_code gguf_header_swap(const uint8_t *bytes, uint64_t n_bytes, const char *file, uint8_t **out,
                           size_t *n_out, gguf_error *err) {
    swapper s = {.c = {.base = bytes, .len = n_bytes, .file = file, .err = err}};
    gguf_dynbuf_init(&s.out, (size_t)n_bytes);
    s.from_big = n_bytes >= 8 && bytes[4] == 0 && bytes[5] == 0;
    swap_header(&s);
    gguf_code code = s.c.code;
    if (!code && s.out.code)
        code = gguf_fail(err, s.out.code, file, GGUF_NO_OFFSET, "out of memory");
    if (code) {
        gguf_dynbuf_clear(&s.out);
        return code;
    }
    *out = s.out.data;
    *n_out = s.out.len;
    return GGUF_OK;
}

/* ---- blocks -------------------------------------------------------------------------------------
 */

/* Numbers of more than one byte in a block: count of them, their size, where they start. */
typedef struct number_run {
    uint16_t off, n_bytes, count;
} number_run;

typedef struct block_numbers {
    number_run runs[3];
    bool known;
} block_numbers;

#define PLAIN(n) \
    { {{0, n, 1}}, true }
#define HALVES(off, n) \
    { {{off, 2, n}}, true }
#define BYTES \
    { {{0, 1, 1}}, true }

static const block_numbers numbers_of[] = {
    [GGUF_TYPE_F32] = PLAIN(4),
    [GGUF_TYPE_F16] = PLAIN(2),
    [GGUF_TYPE_BF16] = PLAIN(2),
    [GGUF_TYPE_F64] = PLAIN(8),
    [GGUF_TYPE_I8] = BYTES,
    [GGUF_TYPE_I16] = PLAIN(2),
    [GGUF_TYPE_I32] = PLAIN(4),
    [GGUF_TYPE_I64] = PLAIN(8),
    [GGUF_TYPE_Q4_0] = HALVES(0, 1),
    [GGUF_TYPE_Q4_1] = HALVES(0, 2),
    [GGUF_TYPE_Q5_0] = {{{0, 2, 1}, {2, 4, 1}}, true},
    [GGUF_TYPE_Q5_1] = {{{0, 2, 2}, {4, 4, 1}}, true},
    [GGUF_TYPE_Q8_0] = HALVES(0, 1),
    [GGUF_TYPE_Q8_1] = HALVES(0, 2),
    [GGUF_TYPE_Q2_K] = HALVES(80, 2),
    [GGUF_TYPE_Q3_K] = HALVES(108, 1),
    [GGUF_TYPE_Q4_K] = HALVES(0, 2),
    [GGUF_TYPE_Q5_K] = HALVES(0, 2),
    [GGUF_TYPE_Q6_K] = HALVES(208, 1),
    [GGUF_TYPE_Q8_K] = {{{0, 4, 1}, {260, 2, 16}}, true},
    [GGUF_TYPE_IQ2_XXS] = HALVES(0, 33),
    [GGUF_TYPE_IQ2_XS] = HALVES(0, 33),
    [GGUF_TYPE_IQ3_XXS] = HALVES(0, 1),
    [GGUF_TYPE_IQ1_S] = {{{0, 2, 1}, {34, 2, 8}}, true},
    [GGUF_TYPE_IQ4_NL] = HALVES(0, 1),
    [GGUF_TYPE_IQ3_S] = HALVES(0, 1),
    [GGUF_TYPE_IQ2_S] = HALVES(0, 1),
    [GGUF_TYPE_IQ4_XS] = HALVES(0, 2),
    [GGUF_TYPE_IQ1_M] = BYTES,
    [GGUF_TYPE_TQ1_0] = HALVES(52, 1),
    [GGUF_TYPE_TQ2_0] = HALVES(64, 1),
    [GGUF_TYPE_MXFP4] = BYTES,
    [GGUF_TYPE_NVFP4] = BYTES,
    [GGUF_TYPE_Q1_0] = HALVES(0, 1),
    [GGUF_TYPE_Q2_0] = HALVES(0, 1),
};

gguf_code gguf_blocks_swap(uint32_t type, uint8_t *blocks, size_t n_bytes, gguf_error *err) {
    const gguf_type_layout *layout = gguf_type_layout_of(type);
    if (!layout || type >= sizeof numbers_of / sizeof numbers_of[0] || !numbers_of[type].known)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, NULL, GGUF_NO_OFFSET,
                         "the byte order of tensor type %" PRIu32 " is not known", type);
    for (uint8_t *block = blocks; block + layout->block_bytes <= blocks + n_bytes;
         block += layout->block_bytes)
        for (size_t r = 0; r < 3; r++) {
            const number_run *run = &numbers_of[type].runs[r];
            for (size_t i = 0; i < run->count; i++)
                reverse(block + run->off + i * run->n_bytes, run->n_bytes);
        }
    return GGUF_OK;
}
