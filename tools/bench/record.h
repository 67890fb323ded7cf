/* What one measurement of speed says. One list of fields (fields.c) serves every output format. */
#ifndef TOOLS_BENCH_RECORD_H
#define TOOLS_BENCH_RECORD_H

#include "tools/bench/machine.h"

#include <jansson.h>

enum { BENCH_MAX_REPETITIONS = 1000 };

/* A prompt of n_prompt tokens and then n_gen generated tokens, behind n_depth tokens. Reals are NaN
 * where they have no meaning or were not measured. */
typedef struct bench_record {
    char model_filename[256], model_type[64], type_k[16], type_v[16], isa[16], test_time[32];
    char lora[256];     /* adapters as --lora says them, commas between */
    char precision[16]; /* of activations, as --precision says it */
    char sweep[64];     /* what of threads, batch and cache differs among the records; no field */
    bench_machine machine;
    uint64_t model_size, model_n_params; /* bytes of tensors, elements */
    uint64_t repacked_bytes;             /* of weights that were repacked for this processor */
    uint32_t n_threads, n_batch, n_prompt, n_gen, n_depth, repetitions;
    double avg_ns, stddev_ns, avg_ts, stddev_ts; /* of one repetition; tokens per second */
    double ci95_ts; /* half the width of the mean's 95 % confidence interval (Student's t) */
    double load_s;  /* opening the model, repacking and making the session */
    double ttft_s, itl_p50_s, itl_p99_s;
    uint64_t peak_rss_bytes, predicted_rss_bytes;
    char device[256], driver[512]; /* "none" */
    uint32_t n_gpu_layers;         /* that lie on it */
    uint64_t vram_predicted_bytes, vram_allocated_bytes;
    double vram_used_bytes; /* as the driver counts; NaN: it does not tell */
    double upload_s;        /* opening the device and bringing the weights there */
    double bandwidth_share, arithmetic_share;          /* of what the probes measured */
    double energy_j, energy_per_token_j;               /* of one repetition */
    double other_load_cores, freq_min_hz, freq_max_hz; /* while measuring */
    double samples_ns[BENCH_MAX_REPETITIONS];          /* [repetitions] */
} bench_record;

typedef enum bench_field_kind { FIELD_TEXT, FIELD_U32, FIELD_U64, FIELD_REAL } bench_field_kind;

typedef struct bench_field {
    const char *name;
    bench_field_kind kind;
    size_t off;  /* in bench_record */
    size_t room; /* of a text */
} bench_field;

extern const bench_field bench_fields[];
extern const size_t bench_n_fields;

json_t *bench_field_json(const bench_record *r, const bench_field *f);
/* All fields, and samples_ns and samples_ts. */
json_t *bench_record_json(const bench_record *r);

/* "pp512", "tg128", "pp512+tg128", "tg128@4096", "pp512 bf16" where precision is not the default,
 * "tg128 t2 b256 q8_0" where several of these were measured.
 * Returns out. */
char *bench_test_name(const bench_record *r, char *out, size_t room);
/* Tokens of one repetition. */
double bench_n_tokens(const bench_record *r);
/* Tokens per second of a repetition. */
double bench_sample_ts(const bench_record *r, size_t i);

#endif
