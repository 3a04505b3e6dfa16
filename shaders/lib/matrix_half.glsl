// The 16-bit floats that a matrix unit multiplies: float16 or, BFLOAT16, bfloat16.
#ifdef BFLOAT16
#define HALF bfloat16_t
#define HALF_TYPE BF16   // as lib/half.glsl counts types
// By integers, as compilers may round a conversion to zero. A NaN may round to something else and is put
// back; its neighbours along K are of the same sums as it.
uvec2 pack(vec4 v) {
    uvec4 bits = floatBitsToUint(v);
    bits += 0x7fffu + (bits >> 16 & 1u);
    u16vec4 high = u16vec4(unpack16(bits.x).y, unpack16(bits.y).y, unpack16(bits.z).y, unpack16(bits.w).y);
    bool low_nan = any(isnan(v.xy)), high_nan = any(isnan(v.zw));
    return uvec2(low_nan || high_nan ? 0x7fc07fc0u : pack32(high.xy), pack32(high.zw));
}
vec4 unpack(uvec2 words) {
    return uintBitsToFloat(uvec4(words.x << 16, words.x & 0xffff0000u, words.y << 16, words.y & 0xffff0000u));
}
#else
#define HALF float16_t
#define HALF_TYPE F16
uvec2 pack(vec4 v) {
    f16vec4 h = f16vec4(v);
    return uvec2(packFloat2x16(h.xy), packFloat2x16(h.zw));
}
vec4 unpack(uvec2 words) {
    return vec4(unpackFloat2x16(words.x), unpackFloat2x16(words.y));
}
#endif
