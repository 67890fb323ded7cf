// The cache: pages of 64 tokens, found by the table of a tile's sequence. TYPE is spec constant 0.
layout(constant_id = 0) const uint KV_TYPE = 0;

struct Tile {
    uint64_t pages;
    uint row, n, pos, n_seen;
};
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer Tiles { Tile v[]; };

#define PAGE 64u

// Row of a position, in pages that begin at `base`.
uint64_t row_at(uint64_t base, uint64_t pages, uint64_t page_bytes, uint pos, uint row_bytes) {
    return base + uint64_t(U32(pages).v[pos / PAGE]) * page_bytes + pos % PAGE * row_bytes;
}

float kv_at(uint64_t row, uint i) {
    if (KV_TYPE == 0u) return f32_at(row, i);
    if (KV_TYPE == 1u) return f16_at(row + 2u * i);
    if (KV_TYPE == 8u) return f16_at(row + i / 32u * 34u) * float(i8_at(row + i / 32u * 34u + 2u + i % 32u));
    uint64_t b = row + i / 32u * 18u;
    return f16_at(b) * (float(u8_at(b + 2u + i % 16u) >> i % 32u / 16u * 4u & 15u) - 8.0);
}
