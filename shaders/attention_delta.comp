#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// FlashAttention-2, backward (Dao 2023, algorithm 2), pass 1 of 3: delta = rowsum(dy * y).
//   dy, y [N,H,D] -> delta [N,H]
layout(push_constant, std430) uniform Push {
    Inputs dy, y;
    Floats delta;
    uint rows, heads, size, stride_dy, stride_y;
} p;

void main() {
    uint grid_width = gl_NumWorkGroups.x * WIDTH;
    for (uint i = gl_GlobalInvocationID.x; i < p.rows * p.heads; i += grid_width) {
        uint n = i / p.heads, h = i % p.heads;
        float sum = 0.0;
        for (uint d = 0; d < p.size; d++)
            sum += p.dy.at[n * p.stride_dy + h * p.size + d] * p.y.at[n * p.stride_y + h * p.size + d];
        p.delta.at[i] = sum;
    }
}
