#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Element by element: a, b, c [N,C] -> y, z [N,C]. The table in meson.build defines INPUTS, how
// many operands are read, and the outputs Y and Z as expressions of their elements a, b, c, of
// p.value and of p.limit.
layout(constant_id = 2) const uint ACTIVATION = 0;
layout(constant_id = 3) const uint UNROLL = 1;   // columns of an invocation in a round of the loop
#include "lib/activation.glsl"

layout(push_constant, std430) uniform Push {
    Inputs a, b, c;
    Floats y, z;
    uint rows, cols;
    uint stride_a, stride_b, stride_c, stride_y, stride_z;   // 0: the same row for all (a bias)
    float value, limit;
} p;

void element(uint row, uint col) {
#if INPUTS > 0
    float a = p.a.at[row * p.stride_a + col];
#endif
#if INPUTS > 1
    float b = p.b.at[row * p.stride_b + col];
#endif
#if INPUTS > 2
    float c = p.c.at[row * p.stride_c + col];
#endif
    p.y.at[row * p.stride_y + col] = Y;
#ifdef Z
    p.z.at[row * p.stride_z + col] = Z;
#endif
}

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT, grid_width = gl_NumWorkGroups.x * WIDTH;
    for (uint row = gl_GlobalInvocationID.y; row < p.rows; row += grid_height)
        for (uint first = gl_GlobalInvocationID.x; first < p.cols; first += grid_width * UNROLL)
            [[unroll]] for (uint i = 0; i < UNROLL; i++)
                if (first + i * grid_width < p.cols) element(row, first + i * grid_width);
}
