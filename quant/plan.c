/* Building plans. */
#include "quant/plan.h"
#include "libgguf/checked.h"
#include "libgguf/checkpoint.h"
#include "libgguf/split.h"
#include "quant/quant.h"
#include "quant/source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

gguf_code quant_plan_init(quant_plan *plan, gguf_error *err) {
    *plan = (quant_plan){.alignment = GGUF_DEFAULT_ALIGNMENT, .meta = gguf_meta_new()};
    return plan->meta ? GGUF_OK : gguf_fail_memory(err);
}

static void free_shards(quant_plan *plan) {
    for (uint32_t i = 0; i < plan->n_shards; i++) free(plan->shards[i].header);
    free(plan->shards);
    plan->shards = NULL;
    plan->n_shards = 0;
}

void quant_plan_clear(quant_plan *plan) {
    gguf_meta_free(plan->meta);
    for (size_t i = 0; i < plan->n_owned; i++) free(plan->owned[i]);
    free(plan->owned);
    free(plan->tensors);
    free_shards(plan);
    *plan = (quant_plan){0};
}

void *quant_plan_alloc(quant_plan *plan, size_t n_bytes) {
    void **grown = realloc(plan->owned, (plan->n_owned + 1) * sizeof *grown);
    if (!grown) return NULL;
    plan->owned = grown;
    void *p = malloc(n_bytes ? n_bytes : 1);
    if (p) plan->owned[plan->n_owned++] = p;
    return p;
}

gguf_code quant_plan_add(quant_plan *plan, const quant_plan_tensor *tensor, gguf_error *err) {
    if (plan->n_tensors == plan->room) {
        size_t room = plan->room ? plan->room * 2 : 256;
        void *grown = realloc(plan->tensors, room * sizeof *plan->tensors);
        if (!grown) return gguf_fail_memory(err);
        plan->tensors = grown;
        plan->room = room;
    }
    char *name = quant_plan_alloc(plan, tensor->out.name.len + 1);
    if (!name) return gguf_fail_memory(err);
    memcpy(name, tensor->out.name.ptr, tensor->out.name.len);
    name[tensor->out.name.len] = '\0';
    quant_plan_tensor *slot = &plan->tensors[plan->n_tensors++];
    *slot = *tensor;
    slot->out.name.ptr = name;
    return GGUF_OK;
}

static int compare_tensors(const void *a, const void *b) {
    const quant_plan_tensor *x = a, *y = b;
    if (x->tags.layer != y->tags.layer) return x->tags.layer < y->tags.layer ? -1 : 1;
    return strcmp(x->out.name.ptr, y->out.name.ptr);
}

void quant_plan_sort(quant_plan *plan) {
    if (plan->n_tensors)
        qsort(plan->tensors, plan->n_tensors, sizeof *plan->tensors, compare_tensors);
}

/* ---- scales beside tensors --------------------------------------------------------------- */

/* Whether the tensor is NAME.scale or NAME.input_scale of the weight NAME.weight. */
static bool is_scale_of(const quant_plan_tensor *scale, const quant_plan_tensor *weight) {
    static const char *const endings[] = {".scale", ".input_scale"};
    size_t n = weight->out.name.len - strlen(".weight");
    const char *name = scale->out.name.ptr;
    for (size_t i = 0; i < 2; i++)
        if (strncmp(name, weight->out.name.ptr, n) == 0 && strcmp(name + n, endings[i]) == 0)
            return true;
    return false;
}

static void remove_scales(quant_plan *plan, const quant_plan_tensor *weight) {
    size_t n = 0;
    const quant_plan_tensor own = *weight;
    for (size_t i = 0; i < plan->n_tensors; i++)
        if (!is_scale_of(&plan->tensors[i], &own)) plan->tensors[n++] = plan->tensors[i];
    plan->n_tensors = n;
}

void quant_plan_settle_scales(quant_plan *plan) {
    for (size_t i = 0; i < plan->n_tensors; i++) {
        quant_plan_tensor *t = &plan->tensors[i];
        if (!t->has_scale) continue;
        t->has_scale = false;
        if (t->out.type != t->source_type || t->added) {
            remove_scales(plan, t);
            i = (size_t)-1; /* tensors have moved */
            continue;
        }
        t->row_factors = NULL;
    }
}

static gguf_code check_tensor(quant_format format, const quant_plan_tensor *t, gguf_error *err) {
    const char *name = t->out.name.ptr;
    if (format == QUANT_FORMAT_GGUF &&
        (t->out.name.len == 0 || t->out.name.len > GGUF_MAX_TENSOR_NAME))
        return gguf_fail(err, GGUF_E_LIMIT, t->source.path, GGUF_NO_OFFSET,
                         "tensor name '%s' has %zu bytes, the format allows 1 to %d", name,
                         t->out.name.len, GGUF_MAX_TENSOR_NAME);
    uint64_t n_elems = gguf_tensor_n_elems(&t->out);
    if (t->n_rows * t->n_cols != n_elems)
        return gguf_fail(err, GGUF_E_SHAPE, t->source.path, GGUF_NO_OFFSET,
                         "tensor '%s' has %" PRIu64 " x %" PRIu64 " elements, the output %" PRIu64,
                         name, t->n_rows, t->n_cols, n_elems);
    gguf_code code = quant_source_check(t, err);
    if (code) return code;
    if (t->source_type == t->out.type) return GGUF_OK;
    if (!quant_can_decode(t->source_type) || !quant_can_encode(t->out.type))
        return gguf_fail(err, GGUF_E_UNSUPPORTED, t->source.path, GGUF_NO_OFFSET,
                         "tensor '%s': %s to %s is not supported", name,
                         gguf_type_name(t->source_type), gguf_type_name(t->out.type));
    return GGUF_OK;
}

/* ---- spreading over files ---------------------------------------------------------------- */

static int compare_shards(const void *a, const void *b) {
    const quant_plan_tensor *x = a, *y = b;
    if (x->out.shard != y->out.shard) return x->out.shard < y->out.shard ? -1 : 1;
    return compare_tensors(a, b);
}

/* Give each tensor the number of its file; files hold consecutive tensors. */
static void number_shards(quant_plan *plan) {
    const gguf_split_opts limits = {.max_bytes = plan->split.max_bytes,
                                    .max_tensors = plan->split.max_tensors};
    uint64_t n_bytes = 0;
    uint32_t shard = 0;
    size_t n = 0;
    if (plan->split.as_source) {
        qsort(plan->tensors, plan->n_tensors, sizeof *plan->tensors, compare_shards);
        return;
    }
    for (size_t i = 0; i < plan->n_tensors; i++) {
        gguf_tensor *t = &plan->tensors[i].out;
        uint64_t size = gguf_tensor_n_rows(t) * quant_row_bytes(t->type, t->dims[0]);
        if (gguf_align_u64(size, plan->alignment, &size) &&
            gguf_shard_is_full(&limits, n, n_bytes, size)) {
            n_bytes = n = 0;
            shard++;
        }
        t->shard = shard;
        n_bytes += size;
        n++;
    }
}

static gguf_code make_shards(quant_plan *plan, gguf_error *err) {
    free_shards(plan);
    if (plan->n_tensors) number_shards(plan);
    uint32_t n = plan->n_tensors ? plan->tensors[plan->n_tensors - 1].out.shard + 1 : 1;
    plan->shards = calloc(n, sizeof *plan->shards);
    if (!plan->shards) return gguf_fail_memory(err);
    plan->n_shards = n;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        quant_shard *shard = &plan->shards[plan->tensors[i].out.shard];
        if (shard->n_tensors++ == 0) shard->first = i;
    }
    return GGUF_OK;
}

static gguf_code encode_shard(quant_plan *plan, uint32_t no, gguf_tensor *infos, gguf_error *err) {
    quant_shard *shard = &plan->shards[no];
    gguf_meta *own = NULL;
    uint8_t *header = NULL;
    size_t n = 0;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < shard->n_tensors; i++) infos[i] = plan->tensors[shard->first + i].out;
    code = gguf_layout(infos, shard->n_tensors, plan->alignment, &shard->data_bytes, err);
    for (size_t i = 0; i < shard->n_tensors; i++) plan->tensors[shard->first + i].out = infos[i];
    if (!code && plan->n_shards > 1)
        code = gguf_shard_meta(plan->meta, plan->alignment, plan->n_tensors, plan->n_shards, no,
                               &own, err);
    if (!code)
        code = gguf_header_encode(own ? own : plan->meta, infos, shard->n_tensors, plan->alignment,
                                  &header, &n, err);
    gguf_meta_free(own);
    free(shard->header);
    shard->header = header;
    shard->header_bytes = n;
    return code;
}

/* Tensors follow one another without gaps. */
static gguf_code encode_checkpoint(quant_plan *plan, uint32_t no, gguf_tensor *infos,
                                   gguf_error *err) {
    quant_shard *shard = &plan->shards[no];
    uint8_t *header = NULL;
    size_t n = 0;
    shard->data_bytes = 0;
    for (size_t i = 0; i < shard->n_tensors; i++) {
        gguf_tensor *t = &plan->tensors[shard->first + i].out;
        t->data_off = shard->data_bytes;
        t->n_bytes = gguf_tensor_n_rows(t) * quant_row_bytes(t->type, t->dims[0]);
        shard->data_bytes += t->n_bytes;
        infos[i] = *t;
    }
    gguf_code code = gguf_safetensors_header(infos, shard->n_tensors, &header, &n, err);
    free(shard->header);
    shard->header = header;
    shard->header_bytes = n;
    return code;
}

static gguf_code encode_shards(quant_plan *plan, gguf_error *err) {
    bool gguf = plan->format == QUANT_FORMAT_GGUF;
    gguf_tensor *infos = calloc(plan->n_tensors + 1, sizeof *infos);
    gguf_code code = infos ? GGUF_OK : gguf_fail_memory(err);
    for (uint32_t no = 0; no < plan->n_shards && !code; no++)
        code = gguf ? encode_shard(plan, no, infos, err) : encode_checkpoint(plan, no, infos, err);
    free(infos);
    return code;
}

gguf_code quant_plan_finish(quant_plan *plan, gguf_error *err) {
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < plan->n_tensors && !code; i++)
        code = check_tensor(plan->format, &plan->tensors[i], err);
    if (!code) code = make_shards(plan, err);
    return code ? code : encode_shards(plan, err);
}

gguf_code quant_plan_reencode(quant_plan *plan, gguf_error *err) {
    uint64_t before = quant_plan_file_bytes(plan);
    gguf_code code = encode_shards(plan, err);
    if (!code && quant_plan_file_bytes(plan) != before)
        code = gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "the header changed its length");
    return code;
}

uint64_t quant_plan_data_bytes(const quant_plan *plan) {
    uint64_t n_bytes = 0;
    for (uint32_t i = 0; i < plan->n_shards; i++) n_bytes += plan->shards[i].data_bytes;
    return n_bytes;
}

uint64_t quant_plan_file_bytes(const quant_plan *plan) {
    uint64_t n_bytes = quant_plan_data_bytes(plan);
    for (uint32_t i = 0; i < plan->n_shards; i++) n_bytes += plan->shards[i].header_bytes;
    return n_bytes;
}

double quant_plan_bpw(const quant_plan *plan) {
    double n_bytes = 0, n_elems = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        n_bytes += (double)plan->tensors[i].out.n_bytes;
        n_elems += (double)gguf_tensor_n_elems(&plan->tensors[i].out);
    }
    return n_elems > 0 ? 8 * n_bytes / n_elems : 0;
}
