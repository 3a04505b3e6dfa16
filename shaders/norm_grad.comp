#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
// With xh = (x - mean) * rstd and g = dy * (offset + weight): dx = rstd * (g - mean(g) - xh * mean(g *
// xh)); without LAYER the mean of x and the term mean(g) are left out. WIDTH invocations a row,
// HEIGHT rows a workgroup.
layout(constant_id = 2) const bool ACCUMULATE = false;
layout(constant_id = 3) const uint AT_ONCE = 1;   // columns of a round, of which cols has a whole number per invocation
layout(constant_id = 4) const bool HAS_OFFSET = false;

layout(push_constant, std430) uniform Push {
    Inputs dy, x, weight, mean, rstd;
    Floats dx;
    uint rows, cols, inner, stride_dy, stride_x, stride_dx;
    float offset;
} p;

float weight(uint c) {
    return HAS_OFFSET ? p.offset + p.weight.at[c] : p.weight.at[c];
}

void main() {
    uint lane = gl_LocalInvocationID.x;
    for (uint base = gl_WorkGroupID.x * HEIGHT; base < p.rows; base += gl_NumWorkGroups.x * HEIGHT) {
        uint row = base + gl_LocalInvocationID.y, n = row / p.inner, i = row % p.inner;
        uint dy = n * p.stride_dy + i * p.cols, x = n * p.stride_x + i * p.cols, dx = n * p.stride_dx + i * p.cols;
        uint cols = row < p.rows ? p.cols : 0;
        float rstd = row < p.rows ? p.rstd.at[row] : 0.0, mean = 0.0, slope = 0.0, plain = 0.0;
#ifdef LAYER
        mean = row < p.rows ? p.mean.at[row] : 0.0;
#endif
        for (uint next = lane; next < cols; next += AT_ONCE * WIDTH)
            [[unroll]] for (uint j = 0; j < AT_ONCE; j++) {
                uint c = next + j * WIDTH;
                float g = p.dy.at[dy + c] * weight(c);
                plain += g;
                slope += g * (p.x.at[x + c] - mean) * rstd;
            }
        slope = sum_width(slope) / float(p.cols);
#ifdef LAYER
        plain = sum_width(plain) / float(p.cols);
#else
        plain = 0.0;
#endif
        for (uint next = lane; next < cols; next += AT_ONCE * WIDTH)
            [[unroll]] for (uint j = 0; j < AT_ONCE; j++) {
                uint c = next + j * WIDTH;
                float g = p.dy.at[dy + c] * weight(c), xh = (p.x.at[x + c] - mean) * rstd;
                float d = rstd * (g - plain - xh * slope);
                p.dx.at[dx + c] = ACCUMULATE ? p.dx.at[dx + c] + d : d;
            }
    }
}
