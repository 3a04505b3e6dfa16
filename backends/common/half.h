// Sixteen-bit floats as bits: binary16 and bfloat16 (the upper half of a binary32). Conversion from
// float32 rounds to the nearest, ties to even; what is too large becomes infinite, a NaN stays one.
#ifndef DAPT_BACKENDS_HALF_H
#define DAPT_BACKENDS_HALF_H
#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float float_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float bf16_to_float(uint16_t half) {
    return float_of_bits((uint32_t)half << 16);
}
static inline uint16_t float_to_bf16(float x) {
    uint32_t bits = float_bits(x), rounded = bits + 0x7fff + (bits >> 16 & 1);
    return (uint16_t)(((bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : rounded) >> 16);
}

// Magnitudes as float32 bits: 65520 is the first that rounds to infinity, 2^-14 the least normal
// one.
#define F16_INFINITE 0x477ff000u
#define F16_NORMAL 0x38800000u

static inline uint16_t float_to_f16(float x) {
    uint32_t bits = float_bits(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    uint32_t rebased = size - 0x38000000;  // the exponent's bias is 15 instead of 127
    uint32_t normal = (rebased + 0xfff + (rebased >> 13 & 1)) >> 13;
    // Below, the sum with 0.5 has its last bit at 2^-24 and rounds by itself.
    uint32_t small = float_bits(float_of_bits(size) + 0.5f) - 0x3f000000;
    uint32_t result = size < F16_NORMAL ? small : size < F16_INFINITE ? normal : 0x7c00;
    if (size > 0x7f800000) result = 0x7e00 | (size >> 13 & 0x1ff);
    return (uint16_t)(sign | result);
}
static inline float f16_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, size = half & 0x7fff;
    uint32_t normal = (size << 13) + 0x38000000;
    uint32_t small = float_bits((float)size * 0x1p-24f);
    uint32_t result = size < 0x400 ? small : size < 0x7c00 ? normal : 0x7f800000 | size << 13;
    return float_of_bits(sign | result);
}
#endif
