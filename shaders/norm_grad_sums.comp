#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
#include "lib/storage.glsl"
// All gradients of RMS norm and, with LAYER, of layer norm, from one reading of dy and x. With xh = (x - mean) *
// rstd and g = dy * (offset + weight), as in norm_grad.comp:
//   dx = rstd * (g - mean(g) - xh * mean(g * xh)); RMS norm: mean = 0, and without mean(g)
//   dy, x [N,C] or [N,H,C], weight [C], mean, rstd [N * H] -> dx like x, or +=,
//     weight_parts [workgroups,C] = sum of dy * xh over the rows of a workgroup, bias_parts likewise of dy
// column_sum.comp adds the parts. WIDTH invocations a row, HEIGHT rows at a time, `chunk` rows a workgroup: an
// invocation has the same columns of each of its rows, and keeps their sums in registers.
layout(constant_id = 2) const bool ACCUMULATE = false;
layout(constant_id = 3) const uint SHARE = 1;    // units of a row that an invocation has
layout(constant_id = 4) const bool HAS_OFFSET = false;
layout(constant_id = 5) const uint TYPE = F32;   // of dy, x and dx
layout(constant_id = 6) const bool PAIRED = false;
#include "lib/pairs.glsl"

layout(push_constant, std430) uniform Push {
    InputWords dy, x;
    Inputs weight, mean, rstd;
    Words dx;
    Floats weight_parts, bias_parts;
    uint rows, cols, inner, stride_dy, stride_x, stride_dx;
    float offset;
    uint chunk;
} p;

float weight(uint c) {
    return HAS_OFFSET ? p.offset + p.weight.at[c] : p.weight.at[c];
}
// Of the j-th unit of this invocation, its first column.
uint column(uint j) {
    return (gl_LocalInvocationID.x + j * WIDTH) * UNIT;
}

void main() {
    uint begin = gl_WorkGroupID.x * p.chunk, end = min(begin + p.chunk, p.rows);
    vec2 dy[SHARE], xh[SHARE], weight_sum[SHARE], bias_sum[SHARE];
    [[unroll]] for (uint j = 0; j < SHARE; j++) weight_sum[j] = bias_sum[j] = vec2(0.0);
    for (uint base = begin; base < end; base += HEIGHT) {
        uint row = base + gl_LocalInvocationID.y, n = row / p.inner, i = row % p.inner;
        uint cols = row < end ? p.cols : 0;
        float rstd = row < end ? p.rstd.at[row] : 0.0, mean = 0.0, mean_gx = 0.0, mean_g = 0.0;
#ifdef LAYER
        mean = row < end ? p.mean.at[row] : 0.0;
#endif
        [[unroll]] for (uint j = 0; j < SHARE; j++) {
            uint c = column(j);
            dy[j] = xh[j] = vec2(0.0);
            if (c >= cols) continue;
            dy[j] = LOAD_UNIT(p.dy, TYPE, n * p.stride_dy + i * p.cols + c);
            xh[j] = LOAD_UNIT(p.x, TYPE, n * p.stride_x + i * p.cols + c);
            [[unroll]] for (uint e = 0; e < UNIT; e++) {
                float g = dy[j][e] * weight(c + e);
                xh[j][e] = (xh[j][e] - mean) * rstd;
                mean_g += g;
                mean_gx += g * xh[j][e];
            }
        }
        mean_gx = sum_width(mean_gx) / float(p.cols);
#ifdef LAYER
        mean_g = sum_width(mean_g) / float(p.cols);
#else
        mean_g = 0.0;
#endif
        [[unroll]] for (uint j = 0; j < SHARE; j++) {
            uint c = column(j), at = n * p.stride_dx + i * p.cols + c;
            if (c >= cols) continue;
            vec2 value;
            [[unroll]] for (uint e = 0; e < UNIT; e++)
                value[e] = rstd * (dy[j][e] * weight(c + e) - mean_g - xh[j][e] * mean_gx);
            if (ACCUMULATE) value = LOAD_UNIT(p.dx, TYPE, at) + value;
            store_unit(p.dx, TYPE, at, value);
            weight_sum[j] += dy[j] * xh[j];
            bias_sum[j] += dy[j];
        }
    }
    [[unroll]] for (uint j = 0; j < SHARE; j++)
        [[unroll]] for (uint e = 0; e < UNIT; e++) {
            uint c = column(j) + e, at = gl_WorkGroupID.x * p.cols + c;
            bool writes = c < p.cols && gl_LocalInvocationID.y == 0;
            float total = sum_height(weight_sum[j][e]);
            if (writes) p.weight_parts.at[at] = total;
#ifdef LAYER
            total = sum_height(bias_sum[j][e]);
            if (writes) p.bias_parts.at[at] = total;
#endif
        }
}
