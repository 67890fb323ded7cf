/* Hashing the header and samples of the data. */
#include "runtime/model/model_hash.h"

#include "libgguf/hash.h"

/* Of each tensor so many stretches are read, spread evenly: enough to tell one model from another
 * without reading all of it. */
#define N_SAMPLES    16
#define SAMPLE_BYTES ((uint64_t)4096)

static uint64_t mix_tensor(uint64_t h, const gguf_file *file, const gguf_tensor *t) {
    const uint8_t *data = gguf_file_data(file, t);
    if (t->n_bytes <= N_SAMPLES * SAMPLE_BYTES) return gguf_xxh3(data, (size_t)t->n_bytes, h);
    for (uint64_t i = 0; i < N_SAMPLES; i++) {
        uint64_t off = (t->n_bytes - SAMPLE_BYTES) / (N_SAMPLES - 1) * i;
        h = gguf_xxh3(data + off, SAMPLE_BYTES, h);
    }
    return h;
}

/* The header holds all keys, and the tensors' names, types and shapes of the first file. */
static uint64_t mix_model(uint64_t h, const gguf_file *file) {
    h = gguf_xxh3(gguf_file_header(file), (size_t)gguf_file_data_off(file, 0), h);
    for (size_t i = 0; i < gguf_file_n_tensors(file); i++)
        h = mix_tensor(h, file, gguf_file_tensor(file, i));
    return h;
}

uint64_t rt_model_hash(uint64_t h, const rt_model *model) {
    h = mix_model(h, rt_model_file(model));
    const gguf_file *adapter;
    float scale = 0;
    for (size_t i = 0; (adapter = rt_model_lora(model, i, &scale)); i++)
        h = gguf_xxh3(&scale, sizeof scale, mix_model(h, adapter));
    return h;
}
