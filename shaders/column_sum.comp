#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
#include "lib/storage.glsl"
// Sums over rows; each workgroup in y sums one chunk of rows, a second pass adds up the chunks.
//   column_sum: x [N,C] -> y [chunks,C] = sum of x, or +=
//   NORM 1, weight of rms_norm: x, dy [N,C], rstd [N] -> y [chunks,C] = sum of dy * x * rstd
//   NORM 2, weight and bias of layer_norm: x, dy [N,C], rstd, mean [N] ->
//     y [chunks,C] = sum of dy * (x - mean) * rstd, z [chunks,C] = sum of dy
layout(constant_id = 2) const bool ACCUMULATE = false;
layout(constant_id = 3) const uint TYPE = F32;   // of x and dy
layout(constant_id = 4) const bool PAIRED = false;
#include "lib/pairs.glsl"

layout(push_constant, std430) uniform Push {
    InputWords x;
#ifdef NORM
    InputWords dy;
    Inputs rstd, mean;
#endif
    Floats y;
#ifdef NORM
    Floats z;
#endif
    uint rows, cols, chunk, stride_x;
#ifdef NORM
    uint stride_dy, inner;
#endif
} p;

void main() {
    uint begin = gl_WorkGroupID.y * p.chunk, end = min(begin + p.chunk, p.rows);
    uint grid_width = gl_NumWorkGroups.x * WIDTH;
    for (uint base = gl_WorkGroupID.x * WIDTH; base * UNIT < p.cols; base += grid_width) {
        uint col = (base + gl_LocalInvocationID.x) * UNIT, out_at = gl_WorkGroupID.y * p.cols + col;
        bool inside = col < p.cols;
        vec2 sum = vec2(0.0), dy_sum = vec2(0.0);
        for (uint row = begin + gl_LocalInvocationID.y; inside && row < end; row += HEIGHT) {
#ifdef NORM
            uint n = row / p.inner, i = row % p.inner;
            vec2 x = LOAD_UNIT(p.x, TYPE, n * p.stride_x + i * p.cols + col);
            vec2 dy = LOAD_UNIT(p.dy, TYPE, n * p.stride_dy + i * p.cols + col);
#if NORM == 2
            x -= p.mean.at[row];
            dy_sum += dy;
#endif
            sum += dy * x * p.rstd.at[row];
#else
            sum += LOAD_UNIT(p.x, TYPE, row * p.stride_x + col);
#endif
        }
        bool writes = inside && gl_LocalInvocationID.y == 0;
        [[unroll]] for (uint e = 0; e < UNIT; e++) {
            float total = sum_height(sum[e]);
            if (writes) p.y.at[out_at + e] = ACCUMULATE ? p.y.at[out_at + e] + total : total;
#if defined(NORM) && NORM == 2
            total = sum_height(dy_sum[e]);
            if (writes) p.z.at[out_at + e] = total;
#endif
        }
    }
}
