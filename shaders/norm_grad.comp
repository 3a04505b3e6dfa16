#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
#include "lib/storage.glsl"
// Gradient of RMS norm and, with LAYER, of layer norm, with respect to x. With xh = (x - mean) *
// rstd and g = dy * (offset + weight):
//   dx = rstd * (g - mean(g) - xh * mean(g * xh)); RMS norm: mean = 0, and without mean(g)
//   dy, x [N,C] or [N,H,C], weight [C], mean, rstd [N * H] -> dx like x, or +=
// dweight and dbias: column_sum.comp. WIDTH invocations a row, HEIGHT rows a workgroup.
layout(constant_id = 2) const bool ACCUMULATE = false;
layout(constant_id = 3) const uint UNROLL = 1;   // units of an invocation in a round; divides its share of a row
layout(constant_id = 4) const bool HAS_OFFSET = false;
layout(constant_id = 5) const uint TYPE = F32;      // of dy, x and dx
layout(constant_id = 6) const bool PAIRED = false;
#include "lib/pairs.glsl"

layout(push_constant, std430) uniform Push {
    InputWords dy, x;
    Inputs weight, mean, rstd;
    Words dx;
    uint rows, cols, inner, stride_dy, stride_x, stride_dx;
    float offset;
} p;

float weight(uint c) {
    return HAS_OFFSET ? p.offset + p.weight.at[c] : p.weight.at[c];
}

void main() {
    uint tid = gl_LocalInvocationID.x;
    for (uint base = gl_WorkGroupID.x * HEIGHT; base < p.rows; base += gl_NumWorkGroups.x * HEIGHT) {
        uint row = base + gl_LocalInvocationID.y, n = row / p.inner, i = row % p.inner;
        uint dy = n * p.stride_dy + i * p.cols, x = n * p.stride_x + i * p.cols, dx = n * p.stride_dx + i * p.cols;
        uint units = row < p.rows ? p.cols / UNIT : 0;
        float rstd = row < p.rows ? p.rstd.at[row] : 0.0, mean = 0.0, mean_gx = 0.0, mean_g = 0.0;
#ifdef LAYER
        mean = row < p.rows ? p.mean.at[row] : 0.0;
#endif
        for (uint next = tid; next < units; next += UNROLL * WIDTH)
            [[unroll]] for (uint j = 0; j < UNROLL; j++) {
                uint c = (next + j * WIDTH) * UNIT;
                vec2 dy_c = LOAD_UNIT(p.dy, TYPE, dy + c), x_c = LOAD_UNIT(p.x, TYPE, x + c);
                [[unroll]] for (uint e = 0; e < UNIT; e++) {
                    float g = dy_c[e] * weight(c + e);
                    mean_g += g;
                    mean_gx += g * (x_c[e] - mean) * rstd;
                }
            }
        mean_gx = sum_width(mean_gx) / float(p.cols);
#ifdef LAYER
        mean_g = sum_width(mean_g) / float(p.cols);
#else
        mean_g = 0.0;
#endif
        for (uint next = tid; next < units; next += UNROLL * WIDTH)
            [[unroll]] for (uint j = 0; j < UNROLL; j++) {
                uint c = (next + j * WIDTH) * UNIT;
                vec2 dy_c = LOAD_UNIT(p.dy, TYPE, dy + c), x_c = LOAD_UNIT(p.x, TYPE, x + c), value;
                [[unroll]] for (uint e = 0; e < UNIT; e++) {
                    float g = dy_c[e] * weight(c + e), xh = (x_c[e] - mean) * rstd;
                    value[e] = rstd * (g - mean_g - xh * mean_gx);
                }
                if (ACCUMULATE) value = LOAD_UNIT(p.dx, TYPE, dx + c) + value;
                store_unit(p.dx, TYPE, dx + c, value);
            }
    }
}
