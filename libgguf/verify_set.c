/* verify: the shards of a split model together. */
#include "libgguf/index.h"
#include "libgguf/split.h"
#include "libgguf/verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME(s) (int)((s).len < 100 ? (s).len : 100), (s).ptr

static gguf_code add_part(gguf_scan_set *set, const char *path, gguf_error *err) {
    gguf_scan_part *grown = realloc(set->parts, (set->n_parts + 1) * sizeof *grown);
    if (grown) set->parts = grown;
    char *copy = grown ? strdup(path) : NULL;
    if (!copy) return gguf_fail_memory_of(err, path);
    gguf_scan_part *part = &set->parts[set->n_parts++];
    *part = (gguf_scan_part){.path = copy};
    gguf_code code = gguf_scan_open(copy, &part->findings, &part->scan, err);
    if (code) return code;
    set->complete = set->complete && gguf_scan_has_all_keys(part->scan) &&
                    gguf_scan_has_all_tensors(part->scan);
    return GGUF_OK;
}

static const gguf_kv *split_key(const gguf_scan_part *part, const char *key, uint64_t *value) {
    const gguf_kv *kv = gguf_meta_find(gguf_scan_meta(part->scan), key);
    return gguf_kv_u64(kv, value) ? kv : NULL;
}

/* A number that each shard repeats. */
static void check_number(gguf_scan_part *part, const char *key, uint64_t wanted) {
    uint64_t value;
    const gguf_kv *kv = split_key(part, key, &value);
    if (!kv && gguf_scan_has_all_keys(part->scan))
        gguf_findings_add(&part->findings, GGUF_NO_OFFSET, "the key '%s' is missing", key);
    if (kv && value != wanted)
        gguf_findings_add(&part->findings, kv->off, "'%s' is %" PRIu64 ", not %" PRIu64, key, value,
                          wanted);
}

static gguf_code add_shards(gguf_scan_set *set, uint64_t count, gguf_error *err) {
    char path[4096];
    for (uint64_t no = 1; no < count; no++) {
        gguf_scan_part *first = &set->parts[0];
        if (!gguf_shard_sibling(first->path, (uint32_t)count, (uint32_t)no, path, sizeof path)) {
            gguf_findings_add(&first->findings, GGUF_NO_OFFSET,
                              "the name does not end with -00001-of-%05" PRIu64
                              ".gguf, so the other shards cannot be found",
                              count);
            set->complete = false;
            return GGUF_OK;
        }
        if (access(path, F_OK) != 0) {
            gguf_findings_add(&first->findings, GGUF_NO_OFFSET,
                              "shard %" PRIu64 " of %" PRIu64 " is missing: %s", no + 1, count,
                              path);
            set->complete = false;
            continue;
        }
        gguf_code code = add_part(set, path, err);
        if (code) return code;
        check_number(&set->parts[set->n_parts - 1], "split.no", no);
        check_number(&set->parts[set->n_parts - 1], "split.count", count);
    }
    return GGUF_OK;
}

/* The number of tensors that each shard repeats is that of all. */
static void check_total(gguf_scan_set *set) {
    uint64_t total = 0;
    for (size_t i = 0; i < set->n_parts; i++) total += gguf_scan_n_tensors(set->parts[i].scan);
    for (size_t i = 0; set->complete && i < set->n_parts; i++)
        check_number(&set->parts[i], "split.tensors.count", total);
}

static gguf_code check_duplicates(gguf_scan_set *set, gguf_error *err) {
    gguf_index owners = {0};
    gguf_code code = GGUF_OK;
    for (size_t p = 0; p < set->n_parts && !code; p++) {
        gguf_scan_part *part = &set->parts[p];
        for (size_t i = 0; i < gguf_scan_n_tensors(part->scan) && !code; i++) {
            uint32_t owner = (uint32_t)p;
            gguf_str name = gguf_scan_tensor(part->scan, i)->name;
            gguf_index_put_result put = gguf_index_put(&owners, name, (uint32_t)p, &owner);
            if (put == GGUF_INDEX_NOMEM) code = gguf_fail_memory(err);
            if (put == GGUF_INDEX_PRESENT && owner != p)
                gguf_findings_add(&part->findings, gguf_scan_info_off(part->scan, i),
                                  "tensor '%.*s' is also in %s", NAME(name),
                                  set->parts[owner].path);
        }
    }
    gguf_index_clear(&owners);
    return code;
}

gguf_code gguf_scan_set_open(const char *path, gguf_scan_set *set, gguf_error *err) {
    uint64_t no = 0, count = 0;
    *set = (gguf_scan_set){.complete = true};
    gguf_code code = add_part(set, path, err);
    if (code) return code;
    split_key(&set->parts[0], "split.no", &no);
    const gguf_kv *kv = split_key(&set->parts[0], "split.count", &count);
    if (count > GGUF_MAX_SHARDS)
        gguf_findings_add(&set->parts[0].findings, kv->off,
                          "'split.count' is %" PRIu64 ", more than %d", count, GGUF_MAX_SHARDS);
    if (no > 0 || count > GGUF_MAX_SHARDS) set->complete = false;
    if (count <= 1 || !set->complete) return GGUF_OK;
    code = add_shards(set, count, err);
    if (code) return code;
    check_total(set);
    return check_duplicates(set, err);
}

void gguf_scan_set_close(gguf_scan_set *set) {
    for (size_t i = 0; i < set->n_parts; i++) {
        gguf_scan_close(set->parts[i].scan);
        gguf_findings_clear(&set->parts[i].findings);
        free(set->parts[i].path);
    }
    free(set->parts);
    *set = (gguf_scan_set){0};
}
