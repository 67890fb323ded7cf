/* SentencePiece's compiled character map: a double-array trie (darts-clone) from strings to offsets
 * of their replacements, behind the byte length of the trie. */
#include "runtime/tokenizer/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

static uint32_t read_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

gguf_code rt_charsmap_read(const uint8_t *data, size_t n, rt_charsmap *map, gguf_error *err) {
    size_t trie_bytes = n >= 4 ? read_u32(data) : 0;
    if (n < 4 || trie_bytes % 4 || trie_bytes > n - 4 || !trie_bytes ||
        (n > 4 + trie_bytes && data[n - 1]))
        return gguf_fail(err, GGUF_E_FORMAT, NULL, GGUF_NO_OFFSET,
                         "the precompiled character map of %zu bytes is malformed", n);
    map->n_units = trie_bytes / 4;
    map->texts_bytes = n - 4 - trie_bytes;
    map->units = malloc(trie_bytes);
    map->texts = malloc(map->texts_bytes + 1);
    if (!map->units || !map->texts) return gguf_fail_memory(err);
    for (size_t i = 0; i < map->n_units; i++) map->units[i] = read_u32(data + 4 + 4 * i);
    memcpy(map->texts, data + 4 + trie_bytes, map->texts_bytes);
    map->texts[map->texts_bytes] = 0;
    return GGUF_OK;
}

void rt_charsmap_clear(rt_charsmap *map) {
    free(map->units);
    free(map->texts);
    *map = (rt_charsmap){0};
}

/* A unit: offset to its children in bits 10-30 (bit 9: shifted by 8), label in bits 0-7, bit 8 set
 * if a key ends here; its value is then in the first child, marked by bit 31. */
static size_t children_of(size_t at, uint32_t unit) {
    return at ^ ((unit >> 10) << ((unit & (1u << 9)) >> 6));
}

/* shortest: stop at the first key that is a prefix of the text, not at the last */
static gguf_str find(const rt_charsmap *map, const char *s, size_t n, bool shortest, size_t *used) {
    gguf_str found = {NULL, 0};
    *used = 0;
    if (!map->n_units) return found;
    size_t at = children_of(0, map->units[0]);
    for (size_t i = 0; i < n && !(shortest && *used); i++) {
        at ^= (uint8_t)s[i];
        if (at >= map->n_units || (map->units[at] & 0x800000FFu) != (uint8_t)s[i]) break;
        uint32_t unit = map->units[at];
        at = children_of(at, unit);
        if (!(unit >> 8 & 1) || at >= map->n_units) continue;
        size_t text = map->units[at] & 0x7FFFFFFFu;
        if (text >= map->texts_bytes) continue;
        found = gguf_str_of(map->texts + text);
        *used = i + 1;
    }
    return found;
}

gguf_str rt_charsmap_find(const rt_charsmap *map, const char *s, size_t n, size_t *used) {
    return find(map, s, n, false, used);
}

gguf_str rt_charsmap_first(const rt_charsmap *map, const char *s, size_t n) {
    size_t used;
    return find(map, s, n, true, &used);
}
