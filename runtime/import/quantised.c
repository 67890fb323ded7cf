/* Quantised checkpoints: what the quantisation config and the names beside a weight say of its
 * packed integers. Layouts: GPTQ (AutoGPTQ, GPTQModel), AWQ (AutoAWQ, version gemm) and
 * compressed-tensors. */
#include "libgguf/ends.h"
#include "quant/affine.h"
#include "quant/quant.h"
#include "runtime/import/import_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MAX_NAME 512

typedef const gguf_checkpoint_tensor tensor;

static const json_t *config_of(const rt_import *import) {
    const json_t *config = rt_config_get(import, "quantization_config");
    if (!config) config = rt_config_get(import, "compression_config");
    return config ? config : import->quantisation;
}

/* Older GPTQ and AWQ checkpoints have their configuration in a file of its own. */
static gguf_code load_own_file(rt_import *import, gguf_error *err) {
    static const char *const files[][2] = {{"quantize_config.json", "gptq"},
                                           {"quant_config.json", "awq"}};
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < 2 && !code && import->folder && !config_of(import); i++) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s", import->folder, files[i][0]) < 0) return gguf_fail_memory(err);
        if (access(path, F_OK) == 0)
            code = gguf_json_load(path, GGUF_JSON_WIDE_INTS, &import->quantisation, err);
        free(path);
        json_t *config = import->quantisation;
        if (json_is_object(config) && !json_object_get(config, "quant_method"))
            json_object_set_new(config, "quant_method", json_string(files[i][1]));
    }
    return code;
}

static const char *text_of(const json_t *object, const char *name, const char *absent) {
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : absent;
}

/* ---- methods ----------------------------------------------------------------------------- */

static bool one_of(const char *text, const char *const *list) {
    for (; *list; list++)
        if (strcmp(*list, text) == 0) return true;
    return false;
}

static gguf_code refuse(const rt_import *import, const char *method, const char *what,
                        gguf_error *err) {
    return gguf_fail(err, GGUF_E_UNSUPPORTED, import->config_path, GGUF_NO_OFFSET,
                     "weights quantised by '%s'%s%s are not supported", method,
                     *what ? " in the form " : "", what);
}

bool rt_quantised_says_so(const rt_import *import) {
    return *text_of(config_of(import), "quant_method", "") != '\0';
}

/* The checkpoint decides: a method that its names tell, and whether there are codes at all. */
static gguf_code check_tensors(rt_import *import, bool *are_floats, gguf_error *err) {
    const char *name, *said = text_of(config_of(import), "quant_method", "");
    const char *method = rt_foreign_method(import, &name);
    if (method)
        return gguf_fail(err, GGUF_E_UNSUPPORTED, import->folder, GGUF_NO_OFFSET,
                         "weights quantised by %s ('%s' tells) are not supported", method, name);
    *are_floats = !rt_foreign_has_codes(import);
    if (*said && *are_floats)
        rt_import_add_warning(import,
                              "config.json says that the weights are quantised by '%s', but all "
                              "are floats: they are taken as they are",
                              said);
    return GGUF_OK;
}

/* Which methods are read, and in which forms. */
static gguf_code check_method(const rt_import *import, const char *method, gguf_error *err) {
    static const char *const methods[] = {"fp8", "fbgemm_fp8",         "mxfp4", "gptq",
                                          "awq", "compressed-tensors", NULL};
    static const char *const compressed[] = {"pack-quantized",  "int-quantized", "float-quantized",
                                             "naive-quantized", "dense",         NULL};
    static const char *const gptq[] = {"gptq", "gptq_v2", NULL};
    const json_t *config = config_of(import);
    const char *format = text_of(config, "format", "dense");
    if (!one_of(method, methods)) return refuse(import, method, "", err);
    if (strcmp(method, "compressed-tensors") == 0 && !one_of(format, compressed))
        return refuse(import, method, format, err);
    if (strcmp(method, "gptq") == 0) {
        const char *form = text_of(config, "checkpoint_format", "gptq");
        if (!one_of(form, gptq)) return refuse(import, method, form, err);
    }
    if (strcmp(method, "awq") != 0) return GGUF_OK;
    const char *version = text_of(config, "version", "gemm");
    return strcasecmp(version, "gemm") == 0 ? GGUF_OK : refuse(import, method, version, err);
}

gguf_code rt_quantised_check(rt_import *import, gguf_error *err) {
    bool are_floats = false;
    gguf_code code = load_own_file(import, err);
    const char *method = text_of(config_of(import), "quant_method", "");
    if (!code && import->ckpt) code = check_tensors(import, &are_floats, err);
    return code || are_floats || !*method ? code : check_method(import, method, err);
}

bool rt_quantised_ignores(const char *name) {
    static const char *const suffixes[] = {".input_scale",     ".output_scale", ".k_scale",
                                           ".v_scale",         ".q_scale",      ".activation_scale",
                                           ".input_zero_point"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (gguf_text_ends(name, suffixes[i])) return true;
    return false;
}

/* The weights' part of the first group of a compressed-tensors config. */
static const json_t *group_weights(const rt_import *import) {
    const json_t *groups = json_object_get(config_of(import), "config_groups");
    void *first = json_object_iter((json_t *)(uintptr_t)groups);
    return json_object_get(json_object_iter_value(first), "weights");
}

bool rt_quantised_block(const rt_import *import, uint64_t *n_rows, uint64_t *n_cols) {
    const json_t *size = json_object_get(config_of(import), "weight_block_size");
    if (!size) size = json_object_get(group_weights(import), "block_structure");
    return json_array_size(size) == 2 && gguf_json_u64(json_array_get(size, 0), n_rows) &&
           gguf_json_u64(json_array_get(size, 1), n_cols);
}

/* ---- the tensors of one weight ------------------------------------------------------------ */

/* What is beside a weight: STEM and a suffix. */
typedef struct parts {
    rt_import *import;
    const char *path;
    tensor *codes;
    char stem[MAX_NAME];
} parts;

static tensor *beside(const parts *p, const char *suffix) {
    char name[MAX_NAME + 32];
    snprintf(name, sizeof name, "%s%s", p->stem, suffix);
    return rt_import_find(p->import, name);
}

static gguf_code fail(const parts *p, gguf_code code, const char *what, gguf_error *err) {
    return gguf_fail(err, code, p->path, (int64_t)p->codes->off, "tensor '%s': %s",
                     p->codes->name.ptr, what);
}

static quant_bytes bytes_of(const rt_import *import, tensor *t) {
    quant_source s = rt_import_source(import, t);
    return (quant_bytes){s.fd, s.off, s.memory, s.n_bytes, s.path};
}

static bool has_form(tensor *t, const char *dtype, uint32_t n_dims) {
    return strcmp(t->dtype->name, dtype) == 0 && t->n_dims == n_dims;
}

static quant_grid grid_of(const rt_import *import, tensor *t) {
    return (quant_grid){bytes_of(import, t), t->n_dims ? t->dims[t->n_dims - 1] : 1};
}

/* Scales [n_rows][n_groups] or [n_groups][n_rows], of whole rows, or one alone. */
static gguf_code set_scales(const parts *p, quant_affine *a, tensor *scales, bool groups_inner,
                            gguf_error *err) {
    if (!scales) return fail(p, GGUF_E_MISSING, "its scales are missing", err);
    if (scales->dtype->gguf_type < 0 || !quant_can_decode((uint32_t)scales->dtype->gguf_type) ||
        scales->n_dims > 2)
        return fail(p, GGUF_E_UNSUPPORTED, "its scales have a type that is not supported", err);
    a->scales = grid_of(p->import, scales);
    a->scale_type = (uint32_t)scales->dtype->gguf_type;
    a->groups_inner = groups_inner;
    uint64_t n = 1, outer = scales->n_dims > 1 ? scales->dims[0] : 1;
    for (uint32_t i = 0; i < scales->n_dims; i++) n *= scales->dims[i];
    a->one_scale = n == 1;
    a->n_groups = 1;
    if (scales->n_dims == 2) a->n_groups = groups_inner ? scales->dims[1] : outer;
    if (scales->n_dims == 1 && groups_inner) a->scales.n_inner = 1;
    if (!a->n_groups || !a->n_cols) return fail(p, GGUF_E_SHAPE, "it has no columns", err);
    a->group_cols = (a->n_cols + a->n_groups - 1) / a->n_groups;
    return GGUF_OK;
}

static gguf_code set_groups(const parts *p, quant_affine *a, tensor *groups, gguf_error *err) {
    if (!groups || (groups->n_dims == 1 && groups->dims[0] == 0)) return GGUF_OK;
    if (!has_form(groups, "I32", 1))
        return fail(p, GGUF_E_UNSUPPORTED, "its groups are not a list of I32", err);
    a->group_of = bytes_of(p->import, groups);
    return GGUF_OK;
}

/* ---- GPTQ and AWQ -------------------------------------------------------------------------- */

/* qweight [n_in bits / 32][n_out], qzeros [n_groups][n_out bits / 32], scales [n_groups][n_out];
 * the first format stores zeros less one. */
static gguf_code read_gptq(const parts *p, quant_affine *a, gguf_error *err) {
    const json_t *config = config_of(p->import);
    uint64_t bits = 0;
    tensor *zeros = beside(p, ".qzeros"), *groups = beside(p, ".g_idx");
    gguf_json_u64(json_object_get(config, "bits"), &bits);
    /* Single layers may have another number of bits than the config. */
    if (groups && groups->n_dims == 1 && groups->dims[0])
        bits = 32 * p->codes->dims[0] / groups->dims[0];
    /* Its zeros are stored in two ways, and only the config says in which. */
    if (!rt_quantised_says_so(p->import))
        return fail(
            p, GGUF_E_UNSUPPORTED,
            "packed integers, as of GPTQ or AWQ, but config.json has no quantization_config", err);
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
        return fail(p, GGUF_E_UNSUPPORTED, "GPTQ with other than 2, 3, 4 or 8 bits", err);
    a->n_rows = p->codes->dims[1];
    a->n_cols = 32 * p->codes->dims[0] / bits;
    a->codes = (quant_packed){
        .grid = grid_of(p->import, p->codes), .n_bits = (unsigned)bits, .unit_bytes = 4};
    bool shifted = strcmp(text_of(config, "checkpoint_format", "gptq"), "gptq") == 0;
    a->zero = zeros ? shifted : 1U << (bits - 1);
    if (zeros && !has_form(zeros, "I32", 2))
        return fail(p, GGUF_E_UNSUPPORTED, "its zeros are not a matrix of I32", err);
    if (zeros)
        a->zeros = (quant_packed){.grid = grid_of(p->import, zeros),
                                  .n_bits = (unsigned)bits,
                                  .unit_bytes = 4,
                                  .along_rows = true,
                                  .stream_is_inner = true};
    gguf_code code = set_scales(p, a, beside(p, ".scales"), false, err);
    return code ? code : set_groups(p, a, groups, err);
}

/* qweight [n_in][n_out / 8], qzeros [n_groups][n_out / 8], scales [n_groups][n_out]. */
static gguf_code read_awq(const parts *p, quant_affine *a, gguf_error *err) {
    uint64_t bits = 4;
    tensor *zeros = beside(p, ".qzeros");
    const json_t *config = config_of(p->import);
    gguf_json_u64(json_object_get(config, json_object_get(config, "bits") ? "bits" : "w_bit"),
                  &bits);
    if (bits != 4) return fail(p, GGUF_E_UNSUPPORTED, "AWQ with other than 4 bits", err);
    if (!zeros || !has_form(zeros, "I32", 2))
        return fail(p, GGUF_E_MISSING, "its zeros are missing or not a matrix of I32", err);
    a->n_rows = 8 * p->codes->dims[1];
    a->n_cols = p->codes->dims[0];
    a->codes = (quant_packed){.grid = grid_of(p->import, p->codes),
                              .n_bits = 4,
                              .unit_bytes = 4,
                              .along_rows = true,
                              .stream_is_inner = true,
                              .pairs_interleaved = true};
    a->zeros = a->codes;
    a->zeros.grid = grid_of(p->import, zeros);
    return set_scales(p, a, beside(p, ".scales"), false, err);
}

/* ---- compressed-tensors ------------------------------------------------------------------- */

/* The two numbers of weight_shape, I64 or I32. */
static gguf_code read_shape(const parts *p, quant_affine *a, gguf_error *err) {
    tensor *shape = beside(p, "_shape");
    uint8_t raw[16] = {0};
    if (!shape || shape->n_dims != 1 || shape->dims[0] != 2 ||
        (shape->n_bytes != 16 && shape->n_bytes != 8))
        return fail(p, GGUF_E_MISSING, "its weight_shape is missing or not two numbers", err);
    quant_bytes b = bytes_of(p->import, shape);
    gguf_code code = GGUF_OK;
    if (b.memory)
        memcpy(raw, b.memory, b.n_bytes);
    else
        code = gguf_read_at(b.fd, b.path, raw, b.n_bytes, b.off, err);
    size_t size = shape->n_bytes / 2;
    for (size_t i = 0; i < size; i++) {
        a->n_rows |= (uint64_t)raw[i] << 8 * i;
        a->n_cols |= (uint64_t)raw[size + i] << 8 * i;
    }
    return code;
}

/* The number of bits for which rows of n_cols have that many words. */
static unsigned packed_bits(const parts *p, uint64_t n_cols, uint64_t n_words) {
    uint64_t bits = 0;
    gguf_json_u64(json_object_get(group_weights(p->import), "num_bits"), &bits);
    const unsigned tried[] = {(unsigned)bits, 4, 8, 2, 1};
    for (size_t i = 0; i < 5; i++)
        if (tried[i] && tried[i] <= 8 && 32 % tried[i] == 0 &&
            (n_cols - 1) / (32 / tried[i]) + 1 == n_words)
            return tried[i];
    return 0;
}

static gguf_code read_packed(const parts *p, quant_affine *a, gguf_error *err) {
    tensor *zeros = beside(p, "_zero_point");
    gguf_code code = read_shape(p, a, err);
    if (code) return code;
    unsigned bits = a->n_cols ? packed_bits(p, a->n_cols, p->codes->dims[1]) : 0;
    if (!bits || p->codes->dims[0] != a->n_rows)
        return fail(p, GGUF_E_SHAPE, "its packed words do not fit its weight_shape", err);
    a->codes = (quant_packed){.grid = grid_of(p->import, p->codes),
                              .n_bits = bits,
                              .unit_bytes = 4,
                              .stream_is_inner = true};
    a->zero = zeros ? 0 : 1U << (bits - 1);
    if (zeros && !has_form(zeros, "I32", 2))
        return fail(p, GGUF_E_UNSUPPORTED, "its zero points are not a matrix of I32", err);
    if (zeros)
        a->zeros = (quant_packed){
            .grid = grid_of(p->import, zeros), .n_bits = bits, .unit_bytes = 4, .along_rows = true};
    code = set_scales(p, a, beside(p, "_scale"), true, err);
    return code ? code : set_groups(p, a, beside(p, "_g_idx"), err);
}

static gguf_code read_bytes(const parts *p, quant_affine *a, gguf_error *err) {
    tensor *zeros = beside(p, "_zero_point");
    a->n_rows = p->codes->dims[0];
    a->n_cols = p->codes->dims[1];
    a->codes = (quant_packed){.grid = grid_of(p->import, p->codes),
                              .n_bits = 8,
                              .unit_bytes = 1,
                              .stream_is_inner = true,
                              .flip = 0x80};
    gguf_code code = set_scales(p, a, beside(p, "_scale"), true, err);
    a->zero = zeros ? 0 : 128;
    if (code || !zeros) return code;
    if (strcmp(zeros->dtype->name, "I8") != 0 || zeros->n_bytes != a->n_rows * a->n_groups)
        return fail(p, GGUF_E_UNSUPPORTED, "its zero points are not I8, one per scale", err);
    a->zeros = a->codes;
    a->zeros.grid = (quant_grid){bytes_of(p->import, zeros), a->n_groups};
    return code ? code : set_groups(p, a, beside(p, "_g_idx"), err);
}

/* ---- one weight --------------------------------------------------------------------------- */

const gguf_checkpoint_tensor *rt_quantised_find(rt_import *import, const char *name) {
    char packed[MAX_NAME + 32];
    size_t n = strlen(name);
    if (!gguf_text_ends(name, ".weight") || n >= MAX_NAME) return NULL;
    snprintf(packed, sizeof packed, "%.*sqweight", (int)(n - 6), name);
    tensor *found = rt_import_find(import, packed);
    snprintf(packed, sizeof packed, "%s_packed", name);
    return found ? found : rt_import_find(import, packed);
}

typedef gguf_code (*layout_reader)(const parts *p, quant_affine *a, gguf_error *err);

/* The reader of the layout that holds the weight, and how much of its name is the stem. */
static layout_reader find_reader(const rt_import *import, tensor *t, size_t *n_stem) {
    const char *name = t->name.ptr;
    size_t n = strlen(name);
    *n_stem = n;
    if (gguf_text_ends(name, ".qweight") && has_form(t, "I32", 2)) {
        *n_stem = n - strlen(".qweight");
        bool awq = strcmp(text_of(config_of(import), "quant_method", ""), "awq") == 0;
        return awq ? read_awq : read_gptq;
    }
    if (gguf_text_ends(name, "_packed") && has_form(t, "I32", 2)) {
        *n_stem = n - strlen("_packed");
        return read_packed;
    }
    return has_form(t, "I8", 2) && config_of(import) ? read_bytes : NULL;
}

gguf_code rt_quantised_describe(rt_import *import, const gguf_checkpoint_tensor *t, rt_stored *out,
                                bool *found, gguf_error *err) {
    size_t n_stem;
    layout_reader read = find_reader(import, t, &n_stem);
    *found = read && n_stem < MAX_NAME;
    if (!*found) return GGUF_OK;
    parts p = {import, out->path, t, ""};
    snprintf(p.stem, sizeof p.stem, "%.*s", (int)n_stem, t->name.ptr);
    quant_affine *a = quant_plan_alloc(&import->plan, sizeof *a);
    if (!a) return gguf_fail_memory(err);
    *a = (quant_affine){0};
    gguf_code code = read(&p, a, err);
    if (code) return code;
    out->n_dims = 2;
    out->dims[0] = a->n_rows;
    out->dims[1] = a->n_cols;
    out->coding = QUANT_CODING_AFFINE;
    out->type = GGUF_TYPE_F32;
    out->natural_type = a->scale_type == GGUF_TYPE_F16 ? GGUF_TYPE_F16 : GGUF_TYPE_BF16;
    out->affine = a;
    return quant_affine_check(a, t->name.ptr, out->path, err);
}
