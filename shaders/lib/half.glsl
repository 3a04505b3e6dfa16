// Conversions of float16 and bfloat16, with integers alone: the built-in ones may round
// differently, and flush denormals. The same functions as in backends/common/half.h.
#define F32 0u
#define F16 1u
#define BF16 2u

uint from_f16(uint h) {
    uint sign = (h & 0x8000u) << 16, size = h & 0x7fffu;
    uint normal = (size << 13) + 0x38000000u;
    uint small = floatBitsToUint(float(size) * 5.9604644775390625e-8);
    return sign | (size < 0x400u ? small : size < 0x7c00u ? normal : 0x7f800000u | size << 13);
}

uint to_f16(uint bits) {
    uint sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    uint rebased = size - 0x38000000u, normal = (rebased + 0xfffu + (rebased >> 13 & 1u)) >> 13;
    // Below 2^-14 in units of 2^-24; a quarter of one and less becomes 0.
    uint shift = min(126u - min(size >> 23, 126u), 25u), digits = (size & 0x7fffffu) | 0x800000u;
    uint whole = digits >> shift, rest = digits - (whole << shift), middle = 1u << shift >> 1;
    uint small = whole + uint(rest > middle || (rest == middle && (whole & 1u) != 0u));
    uint result = size < 0x38800000u ? small : size < 0x477ff000u ? normal : 0x7c00u;
    return sign | (size > 0x7f800000u ? 0x7e00u | size >> 13 & 0x1ffu : result);
}

uint from_half(uint h, uint dtype) {
    return dtype == F16 ? from_f16(h) : h << 16;
}

uint to_half(uint bits, uint dtype) {
    if (dtype == F16) return to_f16(bits);
    uint rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    return ((bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x400000u : rounded) >> 16;
}
