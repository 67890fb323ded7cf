/* Import of a model folder: config.json from the input, or both config.json and a description (the
 * second part of fuzz_split); the weights and the tokenizer are fixed. */
#include "tests/fuzz/fuzz.h"

#include "runtime/sizing/fit.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define N_EMBD 8
#define N_FF   16

static const char tokenizer[] =
    "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[UNK]\":0,\"a\":1,"
    "\"##b\":2,\"b\":3}},\"normalizer\":{\"type\":\"BertNormalizer\"},\"pre_tokenizer\":{\"type\":"
    "\"BertPreTokenizer\"}}";

static size_t add_tensor(char *out, size_t room, const char *name, unsigned rows, unsigned cols,
                         unsigned *end) {
    unsigned begin = *end;
    char shape[32];
    *end += 2 * (rows ? rows : 1) * cols;
    snprintf(shape, sizeof shape, rows ? "%u,%u" : "%.0u%u", rows, cols);
    return (size_t)snprintf(
        out, room, ",\"model.%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%u,%u]}",
        name, shape, begin, *end);
}

/* A Llama of one layer with weights that are all zero. */
static gguf_memory_file weights(void) {
    static char file[16384];
    static size_t n;
    static const struct {
        const char *name;
        unsigned rows, cols;
    } tensors[] = {{"embed_tokens.weight", 4, N_EMBD},
                   {"norm.weight", 0, N_EMBD},
                   {"layers.0.input_layernorm.weight", 0, N_EMBD},
                   {"layers.0.post_attention_layernorm.weight", 0, N_EMBD},
                   {"layers.0.self_attn.q_proj.weight", N_EMBD, N_EMBD},
                   {"layers.0.self_attn.k_proj.weight", N_EMBD / 2, N_EMBD},
                   {"layers.0.self_attn.v_proj.weight", N_EMBD / 2, N_EMBD},
                   {"layers.0.self_attn.o_proj.weight", N_EMBD, N_EMBD},
                   {"layers.0.mlp.gate_proj.weight", N_FF, N_EMBD},
                   {"layers.0.mlp.up_proj.weight", N_FF, N_EMBD},
                   {"layers.0.mlp.down_proj.weight", N_EMBD, N_FF}};
    if (!n) {
        unsigned end = 0;
        char *text = file + 8;
        size_t room = sizeof file - 8, len = 0;
        for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
            len += add_tensor(text + len, room - len, tensors[i].name, tensors[i].rows,
                              tensors[i].cols, &end);
        text[0] = '{';
        text[len++] = '}';
        uint64_t header = len;
        memcpy(file, &header, 8);
        memset(text + len, 0, end);
        n = 8 + len + end;
        fuzz_check(n <= sizeof file);
    }
    return (gguf_memory_file){"model.safetensors", file, n};
}

/* The description as a file that exists only in memory; NULL if that cannot be had. */
static const char *description(const uint8_t *text, size_t n) {
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("description", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    bool written = fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, text, n, 0) == (ssize_t)n;
    return written ? path : NULL;
}

/* The config alone: shapes, and what they need. */
static void size_config(const gguf_memory_file *config, rt_import_opts opts) {
    gguf_error err = {0};
    rt_import *import;
    rt_fit_model model = {0};
    rt_fit_weights weights = {0};
    rt_session_opts session = rt_session_defaults();
    rt_device device = rt_device_usual(RT_DEVICE_GPU, UINT64_C(1) << 34);
    rt_fit fit;
    opts.shapes_suffice = true;
    gguf_code code = rt_import_from_memory(config, 1, &opts, &import, &err);
    fuzz_check_error(code, &err);
    if (code) return;
    code = rt_fit_describe(import, "config.json", &model, &err);
    if (!code) code = rt_fit_weigh(rt_import_plan(import), model.hp.n_layer, &weights, &err);
    if (!code) code = rt_fit_on(&device, &model, &weights, &session, &fit, &err);
    fuzz_check_error(code, &err);
    rt_fit_weights_clear(&weights);
    rt_fit_model_clear(&model);
    rt_import_close(import);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *parts[2];
    size_t sizes[2];
    size_t n = fuzz_split(data, size, parts, sizes, 2);
    gguf_memory_file files[] = {{"config.json", parts[0], sizes[0]},
                                weights(),
                                {"tokenizer.json", tokenizer, sizeof tokenizer - 1}};
    rt_import_opts opts = {.arch_file = n > 1 ? description(parts[1], sizes[1]) : NULL};
    gguf_error err = {0};
    rt_import *import;
    size_config(files, opts);
    gguf_code code = rt_import_from_memory(files, 3, &opts, &import, &err);
    fuzz_check_error(code, &err);
    if (code) return 0;
    quant_plan *plan = rt_import_plan(import);
    fuzz_walk_meta(plan->meta);
    code = quant_plan_finish(plan, &err);
    fuzz_check_error(code, &err);
    for (size_t i = 0; i < rt_import_n_warnings(import); i++)
        fuzz_read(rt_import_warning(import, i), strlen(rt_import_warning(import, i)));
    rt_import_close(import);
    return 0;
}
