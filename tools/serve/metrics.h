/* Counters of requests, and everything in Prometheus' text format. */
#ifndef TOOLS_SERVE_METRICS_H
#define TOOLS_SERVE_METRICS_H

#include "tools/serve/exchange.h"

gguf_code metrics_new(server *s, metrics **out, gguf_error *err);
void metrics_free(metrics *m); /* accepts NULL */

/* An exchange is completed: count it and, unless -q, log it. */
void metrics_count(metrics *m, exchange *x);

/* GET /metrics and /slots */
void handle_metrics(exchange *x);
void handle_slots(exchange *x);

#endif
