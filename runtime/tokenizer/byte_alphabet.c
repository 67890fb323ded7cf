/* The alphabet in which byte-level BPE writes bytes: printable Latin-1 characters stand for
 * themselves, the other 68 bytes, in order, for U+0100 and on. */
#include "runtime/tokenizer/tokenizer_internal.h"

static bool is_plain(uint32_t byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) ||
           (byte >= 174 && byte <= 255);
}

uint32_t rt_alphabet_char(uint8_t byte) {
    if (is_plain(byte)) return byte;
    uint32_t n_before = 0;
    for (uint32_t b = 0; b < byte; b++) n_before += !is_plain(b);
    return 0x100 + n_before;
}

int rt_alphabet_byte(uint32_t c) {
    if (c < 0x100) return is_plain(c) ? (int)c : -1;
    for (uint32_t b = 0, next = 0x100; b < 0x100 && c < 0x100 + 68; b++)
        if (!is_plain(b) && next++ == c) return (int)b;
    return -1;
}
