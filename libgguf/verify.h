/* Reading a GGUF file that may be broken: a walk over its header that goes on behind an error where
 * it can, and a list of everything that is wrong with it. */
#ifndef LIBGGUF_VERIFY_H
#define LIBGGUF_VERIFY_H

#include "libgguf/gguf.h"

#define GGUF_MAX_FINDINGS 10000 /* further ones are counted only */

typedef struct gguf_finding {
    int64_t off; /* byte in the file, or GGUF_NO_OFFSET */
    char text[512];
} gguf_finding;

typedef struct gguf_findings {
    gguf_finding *items;
    size_t n, room;
    uint64_t n_dropped;
    bool out_of_memory;
} gguf_findings;

/* Start as {0}; clear frees. */
void gguf_findings_clear(gguf_findings *f);
void gguf_findings_add(gguf_findings *f, int64_t off, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void gguf_findings_sort(gguf_findings *f); /* by offset; equal ones keep their order */

/* A file as far as it could be read. */
typedef struct gguf_scan gguf_scan;

/* How long a file has to be whose tensors stand in its data section from data_off on; 0 if they do
 * not follow each other, so that an end beyond the file is an error of an offset and no loss. */
uint64_t gguf_wanted_bytes(const gguf_tensor *tensors, size_t n, uint64_t data_off,
                           uint32_t alignment);

/* Map a file, walk over it and add what is wrong with its structure: counts, lengths, types, names,
 * alignment, extents, gaps, padding, bytes behind the last tensor.
 * Errors: GGUF_E_IO, GGUF_E_NOMEM; a broken file is none. */
gguf_code gguf_scan_open(const char *path, gguf_findings *findings, gguf_scan **out,
                         gguf_error *err);
/* The same for one file's bytes in memory, which must outlive the handle. */
gguf_code gguf_scan_from_memory(const void *bytes, uint64_t n_bytes, const char *name,
                                gguf_findings *findings, gguf_scan **out, gguf_error *err);
void gguf_scan_close(gguf_scan *scan); /* accepts NULL */

const gguf_meta *gguf_scan_meta(const gguf_scan *scan); /* of a key that occurs twice the first */
/* Whether all metadata could be read; if not, absent keys mean nothing. */
bool gguf_scan_has_all_keys(const gguf_scan *scan);
size_t gguf_scan_n_tensors(const gguf_scan *scan);
const gguf_tensor *gguf_scan_tensor(const gguf_scan *scan, size_t i);
const gguf_tensor *gguf_scan_find_tensor(const gguf_scan *scan, gguf_str name); /* or NULL */
/* Whether all tensors could be listed; if not, absent ones mean nothing. */
bool gguf_scan_has_all_tensors(const gguf_scan *scan);
int64_t gguf_scan_info_off(const gguf_scan *scan, size_t i); /* byte of the tensor's entry */
bool gguf_scan_big_endian(const gguf_scan *scan);
/* The tensor's data, or NULL if its type is unknown or it does not lie inside the file. */
const void *gguf_scan_data(const gguf_scan *scan, size_t i);
/* As gguf_file_release. */
void gguf_scan_release(const gguf_scan *scan, size_t i, uint64_t off, uint64_t n_bytes);

/* ---- all files of a model ---------------------------------------------------------------- */

/* One file, or the shards of a split model that are there. Each has findings of its own. */
typedef struct gguf_scan_part {
    char *path;
    gguf_scan *scan;
    gguf_findings findings;
} gguf_scan_part;

typedef struct gguf_scan_set {
    gguf_scan_part *parts;
    size_t n_parts;
    bool complete; /* no shard is missing, and all keys and tensors could be read */
} gguf_scan_set;

/* Walk over a file and, if it is the first shard of a split model, over all of them; besides what
 * gguf_scan_open finds: missing shards, split.* keys that do not fit, tensors that two shards hold.
 * Errors: as gguf_scan_open. Close in every case; start as {0}. */
gguf_code gguf_scan_set_open(const char *path, gguf_scan_set *set, gguf_error *err);
void gguf_scan_set_close(gguf_scan_set *set);

/* Whether all bytes are well-formed UTF-8; otherwise *at is the first that is not. */
bool gguf_utf8_valid(const char *bytes, size_t n, size_t *at);

#endif
