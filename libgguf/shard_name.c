/* Names of the files of a split model. */
#include "libgguf/split.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_PATH_BYTES 4096

bool gguf_shard_name(const char *prefix, uint32_t count, uint32_t no, char *out, size_t room) {
    int n = snprintf(out, room, "%s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", prefix, no + 1, count);
    return n > 0 && (size_t)n < room;
}

bool gguf_shard_sibling(const char *first, uint32_t count, uint32_t no, char *out, size_t room) {
    char ending[64];
    snprintf(ending, sizeof ending, "-%05d-of-%05" PRIu32 ".gguf", 1, count);
    size_t n = strlen(first), m = strlen(ending);
    if (n < m || strcmp(first + n - m, ending) != 0) return false;
    char prefix[MAX_PATH_BYTES];
    if (n - m >= sizeof prefix) return false;
    memcpy(prefix, first, n - m);
    prefix[n - m] = '\0';
    return gguf_shard_name(prefix, count, no, out, room);
}

uint32_t gguf_shard_count(const char *first) {
    uint32_t count = 0;
    size_t n = strlen(first), m = strlen("-00001-of-00001.gguf");
    char wanted[32];
    if (n <= m || sscanf(first + n - m, "-00001-of-%5" SCNu32 ".gguf", &count) != 1) return 0;
    snprintf(wanted, sizeof wanted, "-00001-of-%05" PRIu32 ".gguf", count);
    return strcmp(first + n - m, wanted) == 0 && count <= GGUF_MAX_SHARDS ? count : 0;
}

size_t gguf_shard_prefix_bytes(const char *path) {
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".gguf") == 0 ? n - 5 : n;
}
