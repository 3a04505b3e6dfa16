#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
// Products with few rows, as in generation: what counts is that b is read once, by neighbours side by
// side. BM rows a workgroup, all of them every invocation's. Where terms are neighbours (TRANSPOSE_B)
// WIDTH invocations share a column's terms and HEIGHT is columns; else WIDTH is columns and HEIGHT
// shares the terms. Sums of one invocation go through its terms in order, then come those of the
// others, in an order that the workgroup's shape decides.
layout(constant_id = 2) const uint BM = 1;
layout(constant_id = 3) const uint BN = 1;   // columns of a workgroup
layout(constant_id = 7) const bool TRANSPOSE_A = false;
layout(constant_id = 8) const bool TRANSPOSE_B = false;
layout(constant_id = 9) const bool HAS_BIAS = false;
layout(constant_id = 10) const bool HAS_RESIDUAL = false;
layout(constant_id = 11) const bool ACCUMULATE = false;
layout(constant_id = 12) const uint ACTIVATION = 0;
layout(constant_id = 13) const bool ALIGNED_A = false;
layout(constant_id = 14) const bool ALIGNED_B = false;
#include "lib/activation.glsl"
#include "lib/matmul.glsl"

float element_a(uint row, uint term, uint end) {
    if (row >= p.m || term >= end) return 0.0;
    return p.a.at[TRANSPOSE_A ? term * p.stride_a + row : row * p.stride_a + term];
}
vec4 terms_a(uint row, uint term, uint end) {
    if (!TRANSPOSE_A) return fetch(p.a, p.a_fours, ALIGNED_A, row * p.stride_a + term, row < p.m && term < end ? end - term : 0);
    return vec4(element_a(row, term, end), element_a(row, term + 1, end), element_a(row, term + 2, end), element_a(row, term + 3, end));
}

void columns(uint from, uint row, uint begin, uint end) {
    uint x = gl_LocalInvocationID.x, y = gl_LocalInvocationID.y, col = from + (TRANSPOSE_B ? y : x);
    float sum[BM];
    [[unroll]] for (uint i = 0; i < BM; i++) sum[i] = 0.0;
    if (TRANSPOSE_B) {
        for (uint term = begin + 4 * x; term < end; term += 4 * WIDTH) {
            vec4 right = fetch(p.b, p.b_fours, ALIGNED_B, col * p.stride_b + term, col < p.n ? end - term : 0);
            [[unroll]] for (uint i = 0; i < BM; i++) {
                vec4 left = terms_a(row + i, term, end);
                [[unroll]] for (uint j = 0; j < 4; j++) sum[i] = fma(left[j], right[j], sum[i]);
            }
        }
    } else {
        for (uint term = begin + y; term < end; term += HEIGHT) {
            float right = col < p.n ? p.b.at[term * p.stride_b + col] : 0.0;
            [[unroll]] for (uint i = 0; i < BM; i++) sum[i] = fma(element_a(row + i, term, end), right, sum[i]);
        }
    }
    [[unroll]] for (uint i = 0; i < BM; i++) {
        float all = TRANSPOSE_B ? sum_width(sum[i]) : sum_height(sum[i]);
        if ((TRANSPOSE_B ? x : y) == 0) store(row + i, col, all);
    }
}

void main() {
    uint begin = gl_WorkGroupID.z * p.chunk, end = min(begin + p.chunk, p.k);
    for (uint from = gl_WorkGroupID.x * BN; from < p.n; from += gl_NumWorkGroups.x * BN)
        columns(from, gl_WorkGroupID.y * BM, begin, end);
}
