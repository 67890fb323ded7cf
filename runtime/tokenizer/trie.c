/* A trie over bytes with sibling lists: small, and quick for the few keys that it holds. */
#include "runtime/tokenizer/tokenizer_internal.h"

#include <stdlib.h>

void rt_trie_clear(rt_trie *trie) {
    free(trie->nodes);
    *trie = (rt_trie){0};
}

static int32_t add_node(rt_trie *trie, uint8_t byte, int32_t sibling) {
    if (trie->n == trie->room) {
        size_t room = trie->room ? trie->room * 2 : 64;
        rt_trie_node *nodes = room < INT32_MAX ? realloc(trie->nodes, room * sizeof *nodes) : NULL;
        trie->failed = !nodes;
        if (!nodes) return -1;
        trie->nodes = nodes;
        trie->room = room;
    }
    trie->nodes[trie->n] = (rt_trie_node){-1, sibling, -1, byte};
    return (int32_t)trie->n++;
}

int32_t rt_trie_step(const rt_trie *trie, int32_t node, uint8_t byte) {
    if (node < 0) return trie->first[byte] - 1;
    int32_t next = trie->nodes[node].child;
    while (next >= 0 && trie->nodes[next].byte != byte) next = trie->nodes[next].sibling;
    return next;
}

void rt_trie_add(rt_trie *trie, gguf_str key, int32_t value) {
    int32_t node = -1;
    for (size_t i = 0; i < key.len && !trie->failed; i++) {
        uint8_t byte = (uint8_t)key.ptr[i];
        int32_t next = rt_trie_step(trie, node, byte);
        if (next < 0) {
            next = add_node(trie, byte, node < 0 ? -1 : trie->nodes[node].child);
            if (next < 0) return;
            if (node < 0)
                trie->first[byte] = next + 1;
            else
                trie->nodes[node].child = next;
        }
        node = next;
    }
    if (node >= 0) trie->nodes[node].value = value;
}

int32_t rt_trie_longest(const rt_trie *trie, const char *s, size_t n, size_t *used) {
    int32_t node = -1, value = -1;
    for (size_t i = 0; i < n; i++) {
        node = rt_trie_step(trie, node, (uint8_t)s[i]);
        if (node < 0) break;
        if (trie->nodes[node].value < 0) continue;
        value = trie->nodes[node].value;
        *used = i + 1;
    }
    return value;
}
