/* The fields of a record, in the order of output; llama-bench's names where the meaning is the
 * same. */
#include "tools/bench/record.h"
#include "tools/common/tool.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define PART(kind, name, member) \
    { #name, kind, offsetof(bench_record, member), sizeof(((bench_record *)0)->member) }
#define FIELD(kind, name)   PART(kind, name, name)
#define MACHINE(kind, name) PART(kind, name, machine.name)

const bench_field bench_fields[] = {
    FIELD(FIELD_TEXT, test_time),
    MACHINE(FIELD_TEXT, cpu_info),
    MACHINE(FIELD_TEXT, cpu_flags),
    MACHINE(FIELD_TEXT, microcode),
    MACHINE(FIELD_TEXT, governor),
    MACHINE(FIELD_TEXT, kernel),
    MACHINE(FIELD_U32, n_cores),
    MACHINE(FIELD_U32, n_cpus),
    MACHINE(FIELD_U32, n_numa_nodes),
    MACHINE(FIELD_U64, l1d_bytes),
    MACHINE(FIELD_U64, l2_bytes),
    MACHINE(FIELD_U64, l3_bytes),
    MACHINE(FIELD_U64, memory_bytes),
    MACHINE(FIELD_REAL, cpu_max_hz),
    MACHINE(FIELD_REAL, bandwidth_bytes_per_s),
    MACHINE(FIELD_U32, bandwidth_streams),
    MACHINE(FIELD_U32, bandwidth_prefetch),
    MACHINE(FIELD_REAL, peak_f32_ops_per_s),
    MACHINE(FIELD_REAL, peak_i8_ops_per_s),
    FIELD(FIELD_TEXT, model_filename),
    FIELD(FIELD_TEXT, model_type),
    FIELD(FIELD_U64, model_size),
    FIELD(FIELD_U64, model_n_params),
    FIELD(FIELD_TEXT, isa),
    FIELD(FIELD_U32, n_threads),
    FIELD(FIELD_U32, n_batch),
    FIELD(FIELD_TEXT, type_k),
    FIELD(FIELD_TEXT, type_v),
    FIELD(FIELD_TEXT, precision),
    FIELD(FIELD_TEXT, lora),
    FIELD(FIELD_U64, repacked_bytes),
    FIELD(FIELD_U32, n_prompt),
    FIELD(FIELD_U32, n_gen),
    FIELD(FIELD_U32, n_depth),
    FIELD(FIELD_U32, repetitions),
    FIELD(FIELD_REAL, avg_ns),
    FIELD(FIELD_REAL, stddev_ns),
    FIELD(FIELD_REAL, avg_ts),
    FIELD(FIELD_REAL, stddev_ts),
    FIELD(FIELD_REAL, ci95_ts),
    FIELD(FIELD_REAL, load_s),
    FIELD(FIELD_REAL, ttft_s),
    FIELD(FIELD_REAL, itl_p50_s),
    FIELD(FIELD_REAL, itl_p99_s),
    FIELD(FIELD_U64, peak_rss_bytes),
    FIELD(FIELD_U64, predicted_rss_bytes),
    FIELD(FIELD_TEXT, device),
    FIELD(FIELD_TEXT, driver),
    FIELD(FIELD_U32, n_gpu_layers),
    FIELD(FIELD_U64, vram_predicted_bytes),
    FIELD(FIELD_U64, vram_allocated_bytes),
    FIELD(FIELD_REAL, vram_used_bytes),
    FIELD(FIELD_REAL, upload_s),
    FIELD(FIELD_REAL, bandwidth_share),
    FIELD(FIELD_REAL, arithmetic_share),
    FIELD(FIELD_REAL, energy_j),
    FIELD(FIELD_REAL, energy_per_token_j),
    FIELD(FIELD_REAL, other_load_cores),
    FIELD(FIELD_REAL, freq_min_hz),
    FIELD(FIELD_REAL, freq_max_hz),
};

const size_t bench_n_fields = sizeof bench_fields / sizeof bench_fields[0];

json_t *bench_field_json(const bench_record *r, const bench_field *f) {
    const char *at = (const char *)r + f->off;
    uint32_t u32;
    uint64_t u64;
    double real;
    switch (f->kind) {
    case FIELD_TEXT:
        return tool_json_bytes(at, strlen(at));
    case FIELD_U32:
        memcpy(&u32, at, sizeof u32);
        return json_integer(u32);
    case FIELD_U64:
        memcpy(&u64, at, sizeof u64);
        return json_integer((json_int_t)u64);
    case FIELD_REAL:
        break;
    }
    memcpy(&real, at, sizeof real);
    return isnan(real) ? json_null() : tool_json_real(real);
}

double bench_n_tokens(const bench_record *r) {
    return (double)r->n_prompt + r->n_gen;
}

double bench_sample_ts(const bench_record *r, size_t i) {
    return bench_n_tokens(r) / r->samples_ns[i] * 1e9;
}

json_t *bench_record_json(const bench_record *r) {
    json_t *object = json_object(), *times = json_array(), *rates = json_array();
    for (size_t i = 0; i < bench_n_fields; i++)
        json_object_set_new(object, bench_fields[i].name, bench_field_json(r, &bench_fields[i]));
    for (size_t i = 0; i < r->repetitions; i++) {
        json_array_append_new(times, tool_json_real(r->samples_ns[i]));
        json_array_append_new(rates, tool_json_real(bench_sample_ts(r, i)));
    }
    json_object_set_new(object, "samples_ns", times);
    json_object_set_new(object, "samples_ts", rates);
    return object;
}

char *bench_test_name(const bench_record *r, char *out, size_t room) {
    char prompt[24] = "", gen[24] = "", depth[24] = "";
    bool usual = !*r->precision || strcmp(r->precision, "default") == 0;
    if (r->n_prompt) snprintf(prompt, sizeof prompt, "pp%" PRIu32, r->n_prompt);
    if (r->n_gen) snprintf(gen, sizeof gen, "tg%" PRIu32, r->n_gen);
    if (r->n_depth) snprintf(depth, sizeof depth, "@%" PRIu32, r->n_depth);
    snprintf(out, room, "%s%s%s%s%s%s%s", prompt, r->n_prompt && r->n_gen ? "+" : "", gen, depth,
             usual ? "" : " ", usual ? "" : r->precision, r->sweep);
    return out;
}
