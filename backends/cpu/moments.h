// Moments in 8 bits (see dapt/backend.h): the code of a number and back, a vector at a time. Included only
// by files of kernels.
#ifndef DAPT_CPU_MOMENTS_H
#define DAPT_CPU_MOMENTS_H
#include "simd.h"

typedef uint8_t codes __attribute__((vector_size(LANES)));

static inline vi load_codes(const uint8_t *p) {
#if defined(__AVX512F__)  // compilers take such conversions apart
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
#elif defined(__AVX2__)
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
#else
    codes c;
    memcpy(&c, p, sizeof c);
    return __builtin_convertvector(c, vi);
#endif
}
static inline void store_codes(uint8_t *p, vi v) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    __m128i low = _mm256_castsi256_si128((__m256i)v),
            words = _mm_packus_epi32(low, _mm256_extracti128_si256((__m256i)v, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(words, words));
#else
    codes c = __builtin_convertvector(v, codes);
    memcpy(p, &c, sizeof c);
#endif
}

// `fraction`: bits of it. The value of a code without a sign, and the code of the nearest value.
static inline vf code_value(vi code, int fraction) {
    vf small = __builtin_convertvector(code, vf) * (2.0f / (float)(1 << fraction)),
       normal = (vf)((code << (23 - fraction)) + (127 << 23));
    return vselect(code < 1 << fraction, small, normal);
}
static inline vi value_code(vf value, int fraction) {
    vi small = __builtin_convertvector(
        vmin(value, splat(2.0f)) * ((float)(1 << fraction) / 2.0f) + 0.5f, vi);
    vi normal = ((vi)value - (127 << 23) + (1 << (22 - fraction))) >> (23 - fraction);
    return (vi)vselect(value < 2.0f, (vf)small, (vf)normal);
}

#define SIGN splat_i(INT32_MIN)
static inline vf first_moment(vi code) {
    return (vf)((vi)code_value(code & 127, 3) | (code << 24 & SIGN));
}
static inline vi first_moment_code(vf value) {
    vi sign = ((vi)value & SIGN) < 0;
    return value_code((vf)((vi)value & splat_i(INT32_MAX)), 3) | (sign & 128);
}
static inline vf second_moment(vi code) {
    return code_value(code, 4);
}
// A root above 0 has a code above 0.
static inline vi second_moment_code(vf value) {
    vi code = value_code(value, 4);
    return code - ((code == 0) & (value > 0.0f));
}
#undef SIGN
#endif
