// What all kernels share. Activations are operands of their own (bindings), weights, constants and
// the cache are addressed.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

layout(buffer_reference, scalar, buffer_reference_align = 1) buffer U8 { uint8_t v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 2) buffer U16 { uint16_t v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U32 { uint v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer F32 { float v[]; };

#define OPERAND(i, access, type, name) \
    layout(set = 0, binding = i, std430) access buffer B##i { type name[]; };

#define INFINITE uintBitsToFloat(0x7F800000u)

uint u8_at(uint64_t a) { return uint(U8(a).v[0]); }
uint u16_at(uint64_t a) { return uint(U16(a).v[0]); }
int i8_at(uint64_t a) { return bitfieldExtract(int(u8_at(a)), 0, 8); }
// Where addresses are only even.
uint u32_at(uint64_t a) { return u16_at(a) | u16_at(a + 2) << 16; }
float f32_at(uint64_t a, uint i) { return F32(a).v[i]; }

// From its bits, so that small ones are right where a device flushes them.
float f16_of(uint h) {
    uint e = h >> 10 & 31u, m = h & 1023u;
    float size = e == 0u ? float(m) * 5.9604644775390625e-8
                         : uintBitsToFloat((e == 31u ? 255u : e + 112u) << 23 | m << 13);
    return (h & 0x8000u) != 0u ? -size : size;
}
float f16_at(uint64_t a) { return f16_of(u16_at(a)); }

// To the nearest, ties to even.
uint f16_bits(float x) {
    uint bits = floatBitsToUint(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7FFFFFFFu;
    if (size >= 0x7F800000u) return sign | (size > 0x7F800000u ? 0x7E00u : 0x7C00u);
    if (size >= 0x477FF000u) return sign | 0x7C00u;
    if (size < 0x38800000u) {
        float scaled = uintBitsToFloat(size) * 16777216.0;
        return sign | uint(roundEven(scaled));
    }
    uint rounded = size + 0xFFFu + (size >> 13 & 1u);
    return sign | ((rounded >> 13) - (112u << 10));
}

bool is_finite(float x) { return (floatBitsToUint(x) & 0x7F800000u) != 0x7F800000u; }

// Large numbers would overflow.
float exp_of(float x) { return exp(min(x, 88.0)); }
float sigmoid(float x) { return 1.0 / (1.0 + exp_of(-x)); }
float tanh_of(float x) { return 1.0 - 2.0 / (exp_of(x + x) + 1.0); }
// ln(1 + e^x) = max(x, 0) + 2 artanh(y / (2 + y)) with y = e^-|x|
float softplus(float x) {
    float y = exp(-abs(x)), s = y / (2.0 + y), q = s * s, sum = 1.0 / 15.0;
    sum = sum * q + 1.0 / 13.0;
    sum = sum * q + 1.0 / 11.0;
    sum = sum * q + 1.0 / 9.0;
    sum = sum * q + 1.0 / 7.0;
    sum = sum * q + 1.0 / 5.0;
    sum = sum * q + 1.0 / 3.0;
    sum = sum * q + 1.0;
    return max(x, 0.0) + 2.0 * s * sum;
}
