#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Element by element: a, b, c [N,C] -> y, z [N,C]. The table in meson.build defines INPUTS, how
// many operands are read, and the outputs Y and Z as expressions of their elements a, b, c, of
// p.value and of p.limit. VEC4: columns are counted by four, of rows that are aligned for it.
layout(constant_id = 2) const uint ACTIVATION = 0;
layout(constant_id = 3) const bool VEC4 = false;
#include "lib/activation.glsl"

layout(push_constant, std430) uniform Push {
    Inputs a, b, c;
    Floats y, z;
    Inputs4 a4, b4, c4;   // the same addresses again: not every driver casts them
    Floats4 y4, z4;
    uint rows, cols;
    uint stride_a, stride_b, stride_c, stride_y, stride_z;   // 0: the same row for all (a bias)
    float value, limit;
} p;

float y_of(float a, float b, float c) {
    return Y;
}
#ifdef Z
float z_of(float a, float b, float c) {
    return Z;
}
#endif

void element(uint row, uint col) {
    float a = 0.0, b = 0.0, c = 0.0;
#if INPUTS > 0
    a = p.a.at[row * p.stride_a + col];
#endif
#if INPUTS > 1
    b = p.b.at[row * p.stride_b + col];
#endif
#if INPUTS > 2
    c = p.c.at[row * p.stride_c + col];
#endif
    p.y.at[row * p.stride_y + col] = y_of(a, b, c);
#ifdef Z
    p.z.at[row * p.stride_z + col] = z_of(a, b, c);
#endif
}

// The same for columns 4 col .. 4 col + 3.
void element4(uint row, uint col) {
    vec4 a = vec4(0.0), b = vec4(0.0), c = vec4(0.0), y, z;
#if INPUTS > 0
    a = p.a4.at[row * p.stride_a / 4 + col];
#endif
#if INPUTS > 1
    b = p.b4.at[row * p.stride_b / 4 + col];
#endif
#if INPUTS > 2
    c = p.c4.at[row * p.stride_c / 4 + col];
#endif
    [[unroll]] for (uint j = 0; j < 4; j++) y[j] = y_of(a[j], b[j], c[j]);
    p.y4.at[row * p.stride_y / 4 + col] = y;
#ifdef Z
    [[unroll]] for (uint j = 0; j < 4; j++) z[j] = z_of(a[j], b[j], c[j]);
    p.z4.at[row * p.stride_z / 4 + col] = z;
#endif
}

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT;
    uvec2 range = range_of(VEC4 ? p.cols / 4 : p.cols);
    for (uint row = gl_GlobalInvocationID.y; row < p.rows; row += grid_height)
        for (uint col = range.x + gl_LocalInvocationID.x; col < range.y; col += WIDTH) {
            if (VEC4) element4(row, col);
            else element(row, col);
        }
}
