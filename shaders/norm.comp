#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
#include "lib/storage.glsl"
// RMS norm (Zhang and Sennrich 2019): y = x * rstd * (offset + weight), rstd = 1 / sqrt(mean(x^2) + eps).
//   x [N,C] or [N,H,C], weight [C] -> y like x, rstd [N * H]
// LAYER, layer norm (Ba et al. 2016): y = (x - mean) * rstd * weight + bias, rstd from the
// variance.
//   x [N,C], weight, bias [C] -> y [N,C], mean, rstd [N]
// WIDTH invocations a row, HEIGHT rows a workgroup; the second pass over a row takes the variance
// about the mean of the first, so that nothing cancels.
layout(constant_id = 2) const bool HAS_BIAS = false;
layout(constant_id = 3) const uint UNROLL = 1;   // units of an invocation in a round; divides its share of a row
layout(constant_id = 4) const bool HAS_OFFSET = false;
layout(constant_id = 5) const uint TYPE = F32;      // of x and y
layout(constant_id = 6) const bool PAIRED = false;
#include "lib/pairs.glsl"

layout(push_constant, std430) uniform Push {
    InputWords x;
    Inputs weight, bias;
    Words y;
    Floats mean, rstd;
    uint rows, cols, inner, stride_x, stride_y;
    float eps, offset;
} p;

float weight(uint c) {
    return HAS_OFFSET ? p.offset + p.weight.at[c] : p.weight.at[c];
}

void main() {
    uint tid = gl_LocalInvocationID.x;
    for (uint base = gl_WorkGroupID.x * HEIGHT; base < p.rows; base += gl_NumWorkGroups.x * HEIGHT) {
        uint row = base + gl_LocalInvocationID.y, n = row / p.inner, i = row % p.inner;
        uint from = n * p.stride_x + i * p.cols, to = n * p.stride_y + i * p.cols;
        uint units = row < p.rows ? p.cols / UNIT : 0;
        float mean = 0.0, squares = 0.0;
#ifdef LAYER
        for (uint next = tid; next < units; next += UNROLL * WIDTH)
            [[unroll]] for (uint j = 0; j < UNROLL; j++) {
                vec2 x = LOAD_UNIT(p.x, TYPE, from + (next + j * WIDTH) * UNIT);
                [[unroll]] for (uint e = 0; e < UNIT; e++) mean += x[e];
            }
        mean = sum_width(mean) / float(p.cols);
#endif
        for (uint next = tid; next < units; next += UNROLL * WIDTH)
            [[unroll]] for (uint j = 0; j < UNROLL; j++) {
                vec2 x = LOAD_UNIT(p.x, TYPE, from + (next + j * WIDTH) * UNIT) - mean;
                [[unroll]] for (uint e = 0; e < UNIT; e++) squares += x[e] * x[e];
            }
        float rstd = 1.0 / sqrt(sum_width(squares) / float(p.cols) + p.eps);
        for (uint next = tid; next < units; next += UNROLL * WIDTH)
            [[unroll]] for (uint j = 0; j < UNROLL; j++) {
                uint c = (next + j * WIDTH) * UNIT;
                vec2 x = LOAD_UNIT(p.x, TYPE, from + c), y;
                [[unroll]] for (uint e = 0; e < UNIT; e++) {
                    y[e] = (x[e] - mean) * rstd * weight(c + e);
                    if (HAS_BIAS) y[e] += p.bias.at[c + e];
                }
                store_unit(p.y, TYPE, to + c, y);
            }
        if (tid == 0 && row < p.rows) {
            p.rstd.at[row] = rstd;
#ifdef LAYER
            p.mean.at[row] = mean;
#endif
        }
    }
}
