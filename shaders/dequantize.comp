#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Weights in blocks of 64 become float32: x -> y [n]. A block is its factor, then the codes: of NF4 eight a
// word (16 values, Dettmers et al. 2023, appendix E), else signed bytes, four a word. An invocation has four
// neighbours of y, which are half a word of NF4. VEC4: y is aligned for it.
layout(constant_id = 2) const bool NF4 = false;
layout(constant_id = 3) const bool VEC4 = false;

layout(push_constant, std430) uniform Push {
    Words x;
    Floats y;
    Floats4 y4;   // the same address again: not every driver casts them
    uint count;   // of four neighbours each
} p;

const float values[16] = float[](-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
    0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0);
// Where it can be indexed by what is no constant: some compilers would lay the array above in memory.
shared float table[16];

vec4 four(uint at) {
    uint block = at / 16, part = at % 16, first = block * (NF4 ? 9 : 17);
    uint word = p.x.at[first + 1 + (NF4 ? part / 2 : part)];
    if (NF4) word >>= part % 2 * 16;
    vec4 v;
    [[unroll]] for (int j = 0; j < 4; j++)
        v[j] = NF4 ? table[bitfieldExtract(word, 4 * j, 4)] : float(bitfieldExtract(int(word), 8 * j, 8));
    return uintBitsToFloat(p.x.at[first]) * v;
}

void main() {
    uvec2 range = range_of(p.count);
    if (NF4) {
        if (gl_LocalInvocationIndex == 0) [[unroll]] for (uint i = 0; i < 16; i++) table[i] = values[i];
        barrier();
    }
    if (gl_GlobalInvocationID.y > 0) return;
    for (uint i = range.x + gl_LocalInvocationID.x; i < range.y; i += WIDTH) {
        vec4 v = four(i);
        if (VEC4) p.y4.at[i] = v;
        else [[unroll]] for (uint j = 0; j < 4; j++) p.y.at[4 * i + j] = v[j];
    }
}
