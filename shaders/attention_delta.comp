#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
#define TYPE_ID 2
#include "lib/attention_rows.glsl"
// FlashAttention-2, backward (Dao 2023, algorithm 2), pass 1 of 3: delta = rowsum(dy * y).
//   dy, y [N,H,D] -> delta [N,H]
// WIDTH invocations a row of a head, HEIGHT of these a workgroup.
layout(push_constant, std430) uniform Push {
    InputRows4 dy, y;
    Floats delta;
    uint rows, heads, size, stride_dy, stride_y;
} p;

void main() {
    uint all = p.rows * p.heads;
    for (uint base = gl_WorkGroupID.x * HEIGHT; base < all; base += gl_NumWorkGroups.x * HEIGHT) {
        uint i = base + gl_LocalInvocationID.y, n = i / p.heads, h = i % p.heads;
        uint dy = (n * p.stride_dy + h * p.size) / 4, y = (n * p.stride_y + h * p.size) / 4;
        float sum = 0.0;
        for (uint d = gl_LocalInvocationID.x; i < all && d < p.size / 4; d += WIDTH)
            sum += dot(AT4(p.dy, dy + d), AT4(p.y, y + d));
        sum = sum_width(sum);
        if (gl_LocalInvocationID.x == 0 && i < all) p.delta.at[i] = sum;
    }
}
