// Operands in float32, float16 or bfloat16: a specialization constant says which, so that one module
// serves all of them. Memory is words of 32 bits, of which a 16-bit element is one half: that every
// device can read and write. Arithmetic is in float32; stores round as lib/half.glsl does.
#include "half.glsl"

layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer InputWords { uint at[]; };
// Two or four words at once, where address and stride are multiples of 8 or 16 bytes.
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer InputWords2 { uvec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer InputWords4 { uvec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Words2 { uvec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Words4 { uvec4 at[]; };

// The two 16-bit elements of a word, and back.
vec2 unpack_word(uint word, uint type) {
    uint high = type == F16 ? from_f16(word >> 16) : word & 0xffff0000u;
    return vec2(uintBitsToFloat(from_half(word & 0xffffu, type)), uintBitsToFloat(high));
}
uint pack_word(vec2 v, uint type) {
    return to_half(floatBitsToUint(v.x), type) | to_half(floatBitsToUint(v.y), type) << 16;
}
vec4 unpack_words(uvec2 words, uint type) {
    return vec4(unpack_word(words.x, type), unpack_word(words.y, type));
}
uvec2 pack_words(vec4 v, uint type) {
    return uvec2(pack_word(v.xy, type), pack_word(v.zw, type));
}

// Element `index` of x.
#define LOAD(x, type, index) (type == F32 ? uintBitsToFloat(x.at[index]) : half_of(x.at[(index) / 2], index, type))
float half_of(uint word, uint index, uint type) {
    return uintBitsToFloat(from_half(word >> index % 2 * 16 & 0xffffu, type));
}

// The other half of the word may be another invocation's: two atomics leave it alone. WHOLE_WORDS is
// defined where 16-bit elements are stored by words alone.
void store(Words x, uint type, uint index, float value) {
    if (type == F32) {
        x.at[index] = floatBitsToUint(value);
    } else {
#ifndef WHOLE_WORDS
        uint shift = index % 2 * 16;
        atomicAnd(x.at[index / 2], ~(0xffffu << shift));
        atomicOr(x.at[index / 2], to_half(floatBitsToUint(value), type) << shift);
#endif
    }
}
