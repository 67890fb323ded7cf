#version 460
#extension GL_GOOGLE_include_directive : require
// Rows of f32 into the cache: an invocation for each number, or for each block. The position of one
// that is not finite there is kept.
#include "common.glsl"
layout(local_size_x = 64) in;
#include "cache.glsl"
OPERAND(0, readonly, float, x)
layout(push_constant, scalar) uniform P {
    uint at[6];
    uint64_t tiles, base, page_bytes, failed;
    uint n_tiles, row_bytes, n_cols;
};
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Failed { uint v; };

void store_f16(uint64_t to, float v) { U16(to).v[0] = uint16_t(f16_bits(v)); }

void store_q8_0(uint64_t to, uint from) {
    float top = 0.0;
    for (uint i = 0u; i < 32u; i++) top = max(top, abs(x[from + i]));
    uint d = min(f16_bits(top / 127.0), 0x7BFFu);
    float step = f16_of(d), inverse = step > 0.0 ? 1.0 / step : 0.0;
    U16(to).v[0] = uint16_t(d);
    for (uint i = 0u; i < 32u; i++)
        U8(to).v[2u + i] = uint8_t(int(clamp(roundEven(x[from + i] * inverse), -127.0, 127.0)) & 255);
}

float code_of(float v, float inverse) { return clamp(roundEven(v * inverse), -8.0, 7.0); }

// Of some steps around that of the largest number the one with the least squares of errors.
void store_q4_0(uint64_t to, uint from) {
    float most = 0.0, best = 0.0, step = 0.0;
    for (uint i = 0u; i < 32u; i++)
        if (abs(x[from + i]) > abs(most)) most = x[from + i];
    for (uint k = 0u; k < 5u && most != 0.0; k++) {
        float inverse = -(7.0 + 0.5 * float(k)) / most, product = 0.0, squares = 0.0;
        for (uint i = 0u; i < 32u; i++) {
            float q = code_of(x[from + i], inverse);
            product += q * x[from + i];
            squares += q * q;
        }
        if (squares > 0.0 && product * product > best * squares) {
            best = product * product / squares;
            step = product / squares;
        }
    }
    uint d = f16_bits(clamp(step, -65504.0, 65504.0));
    step = f16_of(d);
    float inverse = step != 0.0 ? 1.0 / step : 0.0;
    U16(to).v[0] = uint16_t(d);
    for (uint i = 0u; i < 16u; i++) {
        uint low = uint(code_of(x[from + i], inverse) + 8.0), high = uint(code_of(x[from + 16u + i], inverse) + 8.0);
        U8(to).v[2u + i] = uint8_t(low | high << 4);
    }
}

void main() {
    uint width = KV_TYPE > 1u ? 32u : 1u;
    for (uint k = gl_WorkGroupID.x; k < n_tiles * 16u; k += gl_NumWorkGroups.x) {
        Tile tile = Tiles(tiles).v[k / 16u];
        uint t = k % 16u;
        if (t >= tile.n) continue;
        uint64_t row = row_at(base, tile.pages, page_bytes, tile.pos + t, row_bytes);
        for (uint i = gl_LocalInvocationIndex; i < n_cols / width; i += 64u) {
            uint from = at[0] + (tile.row + t) * n_cols + i * width;
            bool fits = true;
            for (uint e = from; e < from + width; e++) fits = fits && is_finite(x[e]);
            if (KV_TYPE == 0u) F32(row).v[i] = x[from];
            if (KV_TYPE == 1u) {
                store_f16(row + 2u * i, x[from]);
                fits = fits && (f16_bits(x[from]) & 0x7C00u) != 0x7C00u;
            }
            if (KV_TYPE == 8u) store_q8_0(row + 34u * i, from);
            if (KV_TYPE == 2u) store_q4_0(row + 18u * i, from);
            if (!fits && KV_TYPE != 0u) Failed(failed).v = tile.pos + t + 1u;
        }
    }
}
