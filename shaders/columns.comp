#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
// Sums over rows, one chunk of rows a workgroup in y. column_sum: y[chunk][c] (+)= sum of x[r][c].
// With NORM: y = sum of dy * xh, z = sum of dy, where xh = (x - mean) * rstd; NORM 1: RMS, without
// mean and z.
layout(constant_id = 2) const bool ACCUMULATE = false;

layout(push_constant, std430) uniform Push {
    Inputs x;
#ifdef NORM
    Inputs dy, rstd, mean;
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
    uint from = gl_WorkGroupID.y * p.chunk, to = min(from + p.chunk, p.rows);
    uint across = gl_NumWorkGroups.x * WIDTH;
    for (uint base = gl_WorkGroupID.x * WIDTH; base < p.cols; base += across) {
        uint col = base + gl_LocalInvocationID.x, out_at = gl_WorkGroupID.y * p.cols + col;
        bool here = col < p.cols;
        float sum = 0.0, plain = 0.0;
        for (uint row = from + gl_LocalInvocationID.y; here && row < to; row += HEIGHT) {
#ifdef NORM
            uint n = row / p.inner, i = row % p.inner;
            float x = p.x.at[n * p.stride_x + i * p.cols + col], dy = p.dy.at[n * p.stride_dy + i * p.cols + col];
#if NORM == 2
            x -= p.mean.at[row];
            plain += dy;
#endif
            sum += dy * x * p.rstd.at[row];
#else
            sum += p.x.at[row * p.stride_x + col];
#endif
        }
        sum = sum_height(sum);
        bool writes = here && gl_LocalInvocationID.y == 0;
        if (writes) p.y.at[out_at] = ACCUMULATE ? p.y.at[out_at] + sum : sum;
#if defined(NORM) && NORM == 2
        plain = sum_height(plain);
        if (writes) p.z.at[out_at] = plain;
#endif
    }
}
