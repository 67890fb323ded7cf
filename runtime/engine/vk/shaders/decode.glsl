// decode4: elements i .. i + 3 of a row of weights, i % 4 == 0. TYPE is the type's number in GGUF;
// the formats stand in quant/kernels/blocks.h.

uvec4 bytes_of(uint x) { return uvec4(x, x >> 8, x >> 16, x >> 24) & 255u; }
// Four bytes at an even address.
uvec4 bytes4(uint64_t a) { return bytes_of(u32_at(a)); }

#if TYPE == 16 || TYPE == 17 || TYPE == 18 || TYPE == 19 || TYPE == 21 || TYPE == 22 || TYPE == 29
#define HAS_BOOK
uint word_at(uint64_t book, uint i) { return uint(U16(book).v[i]); }
// Four of the eight elements of a word of two bits each.
uvec4 two_bits(uint word, uint e) { return uvec4(word >> 2u * e, word >> 2u * e + 2u, word >> 2u * e + 4u, word >> 2u * e + 6u) & 3u; }
uvec4 three_bits(uint word) { return uvec4(word, word >> 3, word >> 6, word >> 9) & 7u; }
uint even_signs(uint bits) {
    bits &= 127u;
    return bits | ((0x6996u >> (bits >> 4 ^ (bits & 15u))) & 1u) << 7;
}
vec4 signed_by(uint signs, uint e, vec4 x) {
    uvec4 s = uvec4(signs >> e, signs >> e + 1u, signs >> e + 2u, signs >> e + 3u) & 1u;
    return mix(x, -x, notEqual(s, uvec4(0)));
}
vec4 iq2_levels(uvec4 q) { return vec4(8.0) + vec4(17.0) * vec4(min(q, 1u)) + vec4(18.0) * vec4(max(q, 1u) - 1u); }
uint nibble_at(uint64_t a, uint i) { return u8_at(a + i / 2u) >> 4u * (i % 2u) & 15u; }
#endif

#if TYPE == 12 || TYPE == 13
// Scale and minimum of sub-block j.
vec2 scales_k(uint64_t p, uint j) {
    if (j < 4u) return vec2(u8_at(p + j) & 63u, u8_at(p + j + 4u) & 63u);
    uint both = u8_at(p + j + 4u);
    return vec2((both & 15u) | u8_at(p + j - 4u) >> 6 << 4, both >> 4 | u8_at(p + j) >> 6 << 4);
}
#endif

#if TYPE == 20 || TYPE == 23
const float levels[16] = float[](-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
vec4 levels_of(uvec4 q) { return vec4(levels[q.x], levels[q.y], levels[q.z], levels[q.w]); }
#elif TYPE == 39
const float levels[16] = float[](0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
vec4 levels_of(uvec4 q) { return vec4(levels[q.x], levels[q.y], levels[q.z], levels[q.w]); }
#endif

#if TYPE == 34
vec4 ternary(uvec4 bytes, uint digit) {
    for (uint k = 0u; k < digit; k++) bytes = bytes * 3u & 255u;
    return vec4(bytes * 3u >> 8) - 1.0;
}
#endif

#if TYPE == 0 || TYPE == 1 || TYPE == 30
#define ANY_COLS // rows need not be whole fours
float decode1(uint64_t row, uint i) {
#if TYPE == 0
    return f32_at(row, i);
#elif TYPE == 1
    return f16_at(row + 2u * i);
#else
    return uintBitsToFloat(u16_at(row + 2u * i) << 16);
#endif
}
#endif

vec4 decode4(uint64_t row, uint64_t book, uint i) {
#if defined(ANY_COLS)
    return vec4(decode1(row, i), decode1(row, i + 1u), decode1(row, i + 2u), decode1(row, i + 3u));
#elif TYPE == 2
    uint64_t b = row + i / 32u * 18u;
    uint j = i % 32u;
    return f16_at(b) * (vec4(bytes4(b + 2u + j % 16u) >> j / 16u * 4u & 15u) - 8.0);
#elif TYPE == 3
    uint64_t b = row + i / 32u * 20u;
    uint j = i % 32u;
    return f16_at(b) * vec4(bytes4(b + 4u + j % 16u) >> j / 16u * 4u & 15u) + f16_at(b + 2u);
#elif TYPE == 6 || TYPE == 7
    const uint head = TYPE == 6 ? 2u : 4u;
    uint64_t b = row + i / 32u * (head + 20u);
    uint j = i % 32u, qh = u32_at(b + head) >> j;
    uvec4 q = bytes4(b + head + 4u + j % 16u) >> j / 16u * 4u & 15u;
    q |= (uvec4(qh, qh >> 1, qh >> 2, qh >> 3) & 1u) << 4;
#if TYPE == 6
    return f16_at(b) * (vec4(q) - 16.0);
#else
    return f16_at(b) * vec4(q) + f16_at(b + 2u);
#endif
#elif TYPE == 8
    uint64_t b = row + i / 32u * 34u;
    ivec4 q = ivec4(bytes4(b + 2u + i % 32u));
    return f16_at(b) * vec4(bitfieldExtract(q, 0, 8));
#elif TYPE == 10
    uint64_t b = row + i / 256u * 84u;
    uint j = i % 256u, s = u8_at(b + j / 16u);
    uvec4 q = bytes4(b + 16u + j / 128u * 32u + j % 32u) >> j % 128u / 32u * 2u & 3u;
    return f16_at(b + 80u) * float(s & 15u) * vec4(q) - f16_at(b + 82u) * float(s >> 4);
#elif TYPE == 11
    uint64_t b = row + i / 256u * 110u;
    uint j = i % 256u, k = j / 16u;
    uvec4 q = bytes4(b + 32u + j / 128u * 32u + j % 32u) >> j % 128u / 32u * 2u & 3u;
    q |= (bytes4(b + j % 32u) >> j / 32u & 1u) << 2;
    uint s = (u8_at(b + 96u + k % 8u) >> k / 8u * 4u & 15u) | (u8_at(b + 104u + k % 4u) >> k / 4u * 2u & 3u) << 4;
    return f16_at(b + 108u) * (float(s) - 32.0) * (vec4(q) - 4.0);
#elif TYPE == 12
    uint64_t b = row + i / 256u * 144u;
    uint j = i % 256u;
    vec2 s = scales_k(b + 4u, j / 32u);
    uvec4 q = bytes4(b + 16u + j / 64u * 32u + j % 32u) >> j % 64u / 32u * 4u & 15u;
    return f16_at(b) * s.x * vec4(q) - f16_at(b + 2u) * s.y;
#elif TYPE == 13
    uint64_t b = row + i / 256u * 176u;
    uint j = i % 256u;
    vec2 s = scales_k(b + 4u, j / 32u);
    uvec4 q = bytes4(b + 48u + j / 64u * 32u + j % 32u) >> j % 64u / 32u * 4u & 15u;
    q |= (bytes4(b + 16u + j % 32u) >> j / 32u & 1u) << 4;
    return f16_at(b) * s.x * vec4(q) - f16_at(b + 2u) * s.y;
#elif TYPE == 14
    uint64_t b = row + i / 256u * 210u;
    uint j = i % 256u, k = j % 128u;
    uvec4 q = bytes4(b + j / 128u * 64u + k % 64u) >> k / 64u * 4u & 15u;
    q |= (bytes4(b + 128u + j / 128u * 32u + k % 32u) >> k / 32u * 2u & 3u) << 4;
    return f16_at(b + 208u) * float(i8_at(b + 192u + j / 16u)) * (vec4(q) - 32.0);
#elif TYPE == 20
    uint64_t b = row + i / 32u * 18u;
    uint j = i % 32u;
    return f16_at(b) * levels_of(bytes4(b + 2u + j % 16u) >> j / 16u * 4u & 15u);
#elif TYPE == 23
    uint64_t b = row + i / 256u * 136u;
    uint j = i % 256u, k = j / 32u;
    uint s = (u8_at(b + 4u + k / 2u) >> 4u * (k % 2u) & 15u) | (u16_at(b + 2u) >> 2u * k & 3u) << 4;
    uvec4 q = bytes4(b + 8u + 16u * k + j % 16u) >> j % 32u / 16u * 4u & 15u;
    return f16_at(b) * (float(s) - 32.0) * levels_of(q);
#elif TYPE == 39
    uint64_t b = row + i / 32u * 17u;
    uint j = i % 32u, e = u8_at(b);
    uint64_t p = b + 1u + j % 16u;
    uvec4 q = uvec4(u8_at(p), u8_at(p + 1u), u8_at(p + 2u), u8_at(p + 3u)) >> j / 16u * 4u & 15u;
    return uintBitsToFloat(e > 1u ? e - 1u << 23 : 0x200000u << e) * levels_of(q);
#elif TYPE == 16
    uint64_t b = row + i / 256u * 66u;
    uint j = i % 256u, g = j % 32u / 8u, signs = u32_at(b + 6u + j / 32u * 8u);
    uint word = word_at(book, u8_at(b + 2u + j / 32u * 8u + g));
    float d = f16_at(b) * (float(signs >> 28) + 0.5) * 0.25;
    return d * signed_by(even_signs(signs >> 7u * g), j % 8u, iq2_levels(two_bits(word, j % 8u)));
#elif TYPE == 17
    uint64_t b = row + i / 256u * 74u;
    uint j = i % 256u, q = u16_at(b + 2u + j / 8u * 2u);
    float d = f16_at(b) * (float(nibble_at(b + 66u, j / 16u)) + 0.5) * 0.25;
    return d * signed_by(even_signs(q >> 9), j % 8u, iq2_levels(two_bits(word_at(book, q & 511u), j % 8u)));
#elif TYPE == 22
    uint64_t b = row + i / 256u * 82u;
    uint j = i % 256u, g = j / 8u;
    uint word = word_at(book, u8_at(b + 2u + g) | (u8_at(b + 66u + g / 4u) >> g % 4u * 2u & 3u) << 8);
    float d = f16_at(b) * (float(nibble_at(b + 74u, g / 2u)) + 0.5) * 0.25;
    return d * signed_by(u8_at(b + 34u + g), j % 8u, iq2_levels(two_bits(word, j % 8u)));
#elif TYPE == 18
    uint64_t b = row + i / 256u * 98u;
    uint j = i % 256u, signs = u32_at(b + 66u + j / 32u * 4u);
    vec4 q = vec4(three_bits(word_at(book, u8_at(b + 2u + j / 4u))));
    q = 8.0 * q + 4.0 + 2.0 * vec4(equal(q, vec4(7.0))) ;
    float d = f16_at(b) * (float(signs >> 28) + 0.5) * 0.5;
    return d * signed_by(even_signs(signs >> j % 32u / 8u * 7u), j % 8u, q);
#elif TYPE == 21
    uint64_t b = row + i / 256u * 110u;
    uint j = i % 256u, g = j / 8u;
    uint word = u8_at(b + 2u + j / 4u) | (u8_at(b + 66u + g / 4u) >> (g % 4u * 2u + j % 8u / 4u) & 1u) << 8;
    vec4 q = 2.0 * vec4(three_bits(word_at(book, word))) + 1.0;
    float d = f16_at(b) * (2.0 * float(nibble_at(b + 106u, g / 4u)) + 1.0);
    return d * signed_by(u8_at(b + 74u + g), j % 8u, q);
#elif TYPE == 19
    uint64_t b = row + i / 256u * 50u;
    uint j = i % 256u, g = j / 8u, qh = u16_at(b + 34u + g / 4u * 2u);
    uint word = word_at(book, u8_at(b + 2u + g) | (qh >> g % 4u * 3u & 7u) << 8);
    vec4 q = 8.0 * vec4(two_bits(word, j % 8u)) - 8.0 + (qh >> 15 != 0u ? -1.0 : 1.0);
    return f16_at(b) * float(2u * (qh >> 12 & 7u) + 1u) * 0.125 * q;
#elif TYPE == 29
    uint64_t b = row + i / 256u * 56u;
    uint j = i % 256u, g = j / 8u, upper = u8_at(b + 32u + g / 2u) >> 4u * (g % 2u);
    uint word = word_at(book, u8_at(b + g) | (upper & 7u) << 8), d16 = 0u;
    for (uint k = 0u; k < 4u; k++) d16 |= u16_at(b + 48u + 2u * k) >> 12 << 4u * k;
    uint s = u16_at(b + 48u + g / 8u * 2u) >> g % 8u / 2u * 3u & 7u;
    vec4 q = 8.0 * vec4(two_bits(word, j % 8u)) - 8.0 + ((upper & 8u) != 0u ? -1.0 : 1.0);
    return f16_of(d16) * float(2u * s + 1u) * 0.125 * q;
#elif TYPE == 34
    uint64_t b = row + i / 256u * 54u;
    uint j = i % 256u;
    vec4 q = j < 160u   ? ternary(bytes4(b + j % 32u), j / 32u)
             : j < 240u ? ternary(bytes4(b + 32u + (j - 160u) % 16u), (j - 160u) / 16u)
                        : ternary(bytes4(b + 48u), (j - 240u) / 4u);
    return f16_at(b + 52u) * q;
#elif TYPE == 35
    uint64_t b = row + i / 256u * 66u;
    uint j = i % 256u;
    return f16_at(b + 64u) * (vec4(bytes4(b + j / 128u * 32u + j % 32u) >> j % 128u / 32u * 2u & 3u) - 1.0);
#endif
}
