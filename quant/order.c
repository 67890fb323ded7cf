/* Orders of rows and columns. */
#include "quant/order.h"

#include <string.h>

static uint64_t part_count(const quant_order_part *p) {
    return p->n_outer * p->n_inner * p->run;
}

uint64_t quant_order_count(const quant_order *order) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < order->n_parts; i++) n += part_count(&order->parts[i]);
    return n;
}

uint64_t quant_order_end(const quant_order *order) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < order->n_parts; i++) {
        const quant_order_part *p = &order->parts[i];
        if (!part_count(p)) continue;
        uint64_t last = p->first + (p->n_outer - 1) * p->outer_stride +
                        (p->n_inner - 1) * p->inner_stride + p->run;
        if (last > end) end = last;
    }
    return end;
}

uint64_t quant_order_find(const quant_order *order, uint64_t at, uint64_t *n) {
    const quant_order_part *p = order->parts;
    for (; at >= part_count(p); p++) at -= part_count(p);
    uint64_t number = at / p->run, rest = at % p->run;
    *n = p->run - rest;
    return p->first + number / p->n_inner * p->outer_stride +
           number % p->n_inner * p->inner_stride + rest;
}

void quant_order_move(const quant_order *order, uint64_t n_rows, size_t elem_bytes,
                      const uint8_t *src, uint8_t *dst) {
    uint64_t n_cols = quant_order_count(order), n;
    for (uint64_t row = 0; row < n_rows; row++, src += n_cols * elem_bytes)
        for (uint64_t col = 0; col < n_cols; col += n, dst += n * elem_bytes) {
            uint64_t from = quant_order_find(order, col, &n);
            memcpy(dst, src + from * elem_bytes, n * elem_bytes);
        }
}
