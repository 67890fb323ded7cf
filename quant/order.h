/* Rows and columns that stand elsewhere in a source: reordered groups, interleaved parts. */
#ifndef QUANT_ORDER_H
#define QUANT_ORDER_H

#include "quant/plan.h"

uint64_t quant_order_count(const quant_order *order); /* of rows or columns that it yields */
uint64_t quant_order_end(const quant_order *order);   /* behind the last one of the source */

/* Where number `at` of the output stands in the source, and how many from there stand together;
 * at < quant_order_count. */
uint64_t quant_order_find(const quant_order *order, uint64_t at, uint64_t *n);

/* Move the columns of rows; all of them, so src and dst are [n_rows][quant_order_count]. */
void quant_order_move(const quant_order *order, uint64_t n_rows, size_t elem_bytes,
                      const uint8_t *src, uint8_t *dst);

#endif
