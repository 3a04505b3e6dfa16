#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// One output element from one element of each operand. The row in meson.build says which: Y, and Z
// for a second output, are expressions of a, b and c, elements of the operands (INPUTS of them),
// of p.value and p.limit.
layout(constant_id = 2) const uint ACTIVATION = 0;
layout(constant_id = 3) const uint AT_ONCE = 1;   // columns that an invocation takes in a round
#include "lib/activation.glsl"

layout(push_constant, std430) uniform Push {
    Inputs a, b, c;
    Floats y, z;
    uint rows, cols;
    uint stride_a, stride_b, stride_c, stride_y, stride_z;   // 0: the same row each time
    float value, limit;
} p;

void one(uint row, uint col) {
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
    uint down = gl_NumWorkGroups.y * HEIGHT, across = gl_NumWorkGroups.x * WIDTH;
    for (uint row = gl_GlobalInvocationID.y; row < p.rows; row += down)
        for (uint first = gl_GlobalInvocationID.x; first < p.cols; first += across * AT_ONCE)
            [[unroll]] for (uint i = 0; i < AT_ONCE; i++)
                if (first + i * across < p.cols) one(row, first + i * across);
}
