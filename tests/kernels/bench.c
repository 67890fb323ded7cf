/* Times every kernel on one thread and prints CSV: operation, type, set, ns per weight, GB/s of
 * encoded weights. The best of several rounds counts. */
#include "tests/kernels/kernel_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

enum { N_ROWS = 512, N_COLS = 4096, N_ROUNDS = 5 };

typedef struct bench {
    float *x, *imp, *y;
    uint8_t *blocks, *acts;
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void print_line(const char *op, uint32_t type, quant_isa isa, size_t n_rows,
                       double n_products, double seconds) {
    double weights = (double)n_rows * N_COLS,
           bytes = (double)n_rows * (double)quant_row_bytes(type, N_COLS);
    printf("%s,%s,%s,%.4f,%.2f\n", op, gguf_type_name(type), quant_isa_text(isa),
           seconds * 1e9 / weights / n_products, bytes / seconds * 1e-9);
    fflush(stdout);
}

/* Scalar encoders are slow; fewer rows do. */
static void bench_encode(const bench *b, const quant_kernels *k, uint32_t type, const float *imp,
                         quant_effort effort, const char *op) {
    size_t row_bytes = quant_row_bytes(type, N_COLS);
    size_t n_rows = k->isa == QUANT_ISA_SCALAR ? N_ROWS / 16 : N_ROWS;
    double best = 1e9;
    for (int round = 0; round < N_ROUNDS; round++) {
        double start = now();
        for (size_t r = 0; r < n_rows; r++)
            k->encode[type](b->x + r * N_COLS, N_COLS, imp, effort, b->blocks + r * row_bytes);
        double seconds = now() - start;
        best = seconds < best ? seconds : best;
    }
    print_line(op, type, k->isa, n_rows, 1, best);
}

static void bench_decode(const bench *b, const quant_kernels *k, uint32_t type) {
    size_t row_bytes = quant_row_bytes(type, N_COLS);
    double best = 1e9;
    for (int round = 0; round < N_ROUNDS; round++) {
        double start = now();
        for (size_t r = 0; r < N_ROWS; r++)
            k->decode[type](b->blocks + r * row_bytes, N_COLS, b->y);
        double seconds = now() - start;
        best = seconds < best ? seconds : best;
    }
    print_line("decode", type, k->isa, N_ROWS, 1, best);
}

/* n_acts activations: 1 as in generation, more as in a prompt. */
static void bench_dot(const bench *b, const quant_kernels *k, uint32_t type, size_t n_acts,
                      const char *op) {
    size_t row_bytes = quant_row_bytes(type, N_COLS);
    size_t act_bytes = quant_act_row_bytes(quant_act_of(type), N_COLS);
    double best = 1e9;
    for (int round = 0; round < N_ROUNDS; round++) {
        double start = now();
        for (size_t r = 0; r < N_ROWS; r++)
            k->dot[type](b->blocks + r * row_bytes, N_COLS, b->acts, act_bytes, n_acts, b->y);
        double seconds = now() - start;
        best = seconds < best ? seconds : best;
    }
    print_line(op, type, k->isa, N_ROWS, (double)n_acts, best);
}

static void bench_type(const bench *b, uint32_t type) {
    quant_kernels k;
    FOR_EACH_ISA(isa, k) {
        if (k.encode[type]) {
            bench_encode(b, &k, type, NULL, QUANT_EFFORT_NORMAL, "encode");
            bench_encode(b, &k, type, b->imp, QUANT_EFFORT_NORMAL, "encode_weighted");
            bench_encode(b, &k, type, b->imp, QUANT_EFFORT_FAST, "encode_fast");
            bench_encode(b, &k, type, b->imp, QUANT_EFFORT_BEST, "encode_best");
        }
        bench_decode(b, &k, type);
        if (!k.dot[type]) continue;
        rng r = {test_seed};
        fill_pattern(&r, PATTERN_NORMAL, 0, b->y, N_COLS);
        quant_act act = quant_act_of(type);
        for (size_t t = 0; t < QUANT_DOT_ACTS; t++) {
            uint8_t *row = b->acts + t * quant_act_row_bytes(act, N_COLS);
            if (act == QUANT_ACT_NONE)
                k.encode[GGUF_TYPE_F32](b->y, N_COLS, NULL, QUANT_EFFORT_NORMAL, row);
            else
                k.act[act](b->y, N_COLS, row);
        }
        bench_dot(b, &k, type, 1, "dot_1");
        bench_dot(b, &k, type, QUANT_DOT_ACTS, "dot_4");
    }
}

static bool wanted(uint32_t type, int argc, char **argv) {
    for (int i = 0; i < argc; i++)
        if (strcasecmp(argv[i], gguf_type_name(type)) == 0) return true;
    return argc == 0;
}

int bench_main(int argc, char **argv) {
    size_t n = (size_t)N_ROWS * N_COLS;
    bench b = {malloc(n * 4), malloc(N_COLS * 4), malloc(N_COLS * 4), malloc(n * 4),
               malloc(QUANT_DOT_ACTS * N_COLS * 4)};
    if (!b.x || !b.imp || !b.y || !b.blocks || !b.acts) return EXIT_FAILURE;
    rng r = {test_seed};
    fill_pattern(&r, PATTERN_NORMAL, 0, b.x, n);
    fill_importance(&r, 1, b.imp, N_COLS);
    printf("operation,type,isa,ns_per_weight,gb_per_s\n");
    for (size_t i = 0; i < n_all_types; i++)
        if (wanted(all_types[i], argc, argv)) bench_type(&b, all_types[i]);
    free(b.x);
    free(b.imp);
    free(b.y);
    free(b.blocks);
    free(b.acts);
    return EXIT_SUCCESS;
}
