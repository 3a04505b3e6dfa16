#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Element by element: a, b, c [N,C] -> y, z [N,C]. The table in meson.build defines INPUTS, how
// many operands are read, and the outputs Y and Z as expressions of their elements a, b, c, of
// p.value and of p.limit.
#include "lib/storage.glsl"
layout(constant_id = 2) const uint ACTIVATION = 0;
layout(constant_id = 3) const uint UNIT = 1;       // elements at a time: 1, 4 or, with a 16-bit operand, 8 of aligned rows
layout(constant_id = 4) const uint TYPE = F32;     // of a and c
layout(constant_id = 5) const uint TYPE_B = F32;
layout(constant_id = 6) const uint TYPE_Y = F32;   // of y and z
#include "lib/activation.glsl"

layout(push_constant, std430) uniform Push {
    InputWords a, b, c;
    Words y, z;
    InputWords4 a4, b4, c4;   // the same addresses again: not every driver casts them
    Words4 y4, z4;
    uint rows, cols;
    uint stride_a, stride_b, stride_c, stride_y, stride_z;   // 0: the same row for all (a bias)
    float value, limit;
} p;

void load_unit(InputWords x, InputWords4 x4, uint type, uint at, out float v[8]) {
    if (UNIT == 1) {
        v[0] = LOAD(x, type, at);
    } else if (type == F32) {
        [[unroll]] for (uint i = 0; i < UNIT; i += 4) {
            uvec4 words = x4.at[(at + i) / 4];
            [[unroll]] for (uint j = 0; j < 4; j++) v[i + j] = uintBitsToFloat(words[j]);
        }
    } else {
        uvec4 words = x4.at[at / 8];
        [[unroll]] for (uint j = 0; j < 4; j++) {
            vec2 pair = unpack_word(words[j], type);
            v[2 * j] = pair.x;
            v[2 * j + 1] = pair.y;
        }
    }
}

void store_unit(Words x, Words4 x4, uint type, uint at, float v[8]) {
    if (UNIT == 1) {
        store(x, type, at, v[0]);
    } else if (type == F32) {
        [[unroll]] for (uint i = 0; i < UNIT; i += 4)
            x4.at[(at + i) / 4] = floatBitsToUint(vec4(v[i], v[i + 1], v[i + 2], v[i + 3]));
    } else {
        uvec4 words;
        [[unroll]] for (uint j = 0; j < 4; j++) words[j] = pack_word(vec2(v[2 * j], v[2 * j + 1]), type);
        x4.at[at / 8] = words;
    }
}

float y_of(float a, float b, float c) {
    return Y;
}
#ifdef Z
float z_of(float a, float b, float c) {
    return Z;
}
#endif

void elements(uint row, uint col) {
    float a[8], b[8], c[8], y[8], z[8];
    [[unroll]] for (uint j = 0; j < UNIT; j++) a[j] = b[j] = c[j] = 0.0;
#if INPUTS > 0
    load_unit(p.a, p.a4, TYPE, row * p.stride_a + col, a);
#endif
#if INPUTS > 1
    load_unit(p.b, p.b4, TYPE_B, row * p.stride_b + col, b);
#endif
#if INPUTS > 2
    load_unit(p.c, p.c4, TYPE, row * p.stride_c + col, c);
#endif
    [[unroll]] for (uint j = 0; j < UNIT; j++) y[j] = y_of(a[j], b[j], c[j]);
    store_unit(p.y, p.y4, TYPE_Y, row * p.stride_y + col, y);
#ifdef Z
    [[unroll]] for (uint j = 0; j < UNIT; j++) z[j] = z_of(a[j], b[j], c[j]);
    store_unit(p.z, p.z4, TYPE_Y, row * p.stride_z + col, z);
#endif
}

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT;
    uvec2 range = range_of(p.cols / UNIT);
    for (uint row = gl_GlobalInvocationID.y; row < p.rows; row += grid_height)
        for (uint unit = range.x + gl_LocalInvocationID.x; unit < range.y; unit += WIDTH) elements(row, unit * UNIT);
}
