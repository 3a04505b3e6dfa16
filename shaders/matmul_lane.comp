#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Products without shared memory: an invocation has TM rows, which are those of all the workgroup,
// so that elements of a are the same for all, and TN columns. For processors that pose as GPUs, and
// for few rows. BK terms at a time, as sums cost more to keep from round to round than to add to; an
// element is the sum of its chunk's terms one after another, whatever the tile.
layout(constant_id = 2) const uint BM = 8;
layout(constant_id = 3) const uint BN = 16;
layout(constant_id = 4) const uint BK = 1;
layout(constant_id = 5) const uint TM = 8;
layout(constant_id = 6) const uint TN = 2;
layout(constant_id = 7) const bool TRANSPOSE_A = false;
layout(constant_id = 8) const bool TRANSPOSE_B = false;
layout(constant_id = 9) const bool HAS_BIAS = false;
layout(constant_id = 10) const bool HAS_RESIDUAL = false;
layout(constant_id = 11) const bool ACCUMULATE = false;
layout(constant_id = 12) const uint ACTIVATION = 0;
#include "lib/activation.glsl"
#include "lib/matmul.glsl"

const uint SUMS = TM * TN;

// Terms [first, first + terms) of all sums.
void add(uint first, uint terms, uint at_a[TM], uint at_b[TN], inout float sum[SUMS]) {
    uint step_a = TRANSPOSE_A ? p.stride_a : 1, step_b = TRANSPOSE_B ? 1 : p.stride_b;
    float right[BK * TN];
    [[unroll]] for (uint t = 0; t < terms; t++)
        [[unroll]] for (uint j = 0; j < TN; j++) right[t * TN + j] = p.b.at[at_b[j] + (first + t) * step_b];
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint t = 0; t < terms; t++) {
            float left = p.a.at[at_a[i] + (first + t) * step_a];
            [[unroll]] for (uint j = 0; j < TN; j++) sum[i * TN + j] = fma(left, right[t * TN + j], sum[i * TN + j]);
        }
}

void main() {
    uint row = gl_WorkGroupID.y * BM, col = gl_WorkGroupID.x * BN + gl_LocalInvocationID.x;
    uint begin = gl_WorkGroupID.z * p.chunk, end = min(begin + p.chunk, p.k);
    float sum[SUMS];
    uint at_a[TM], at_b[TN], step_a = TRANSPOSE_A ? p.stride_a : 1, step_b = TRANSPOSE_B ? 1 : p.stride_b;
    [[unroll]] for (uint i = 0; i < TM * TN; i++) sum[i] = 0.0;
    // Beyond the edges the last row or column is read and nothing is stored.
    [[unroll]] for (uint i = 0; i < TM; i++) at_a[i] = min(row + i, p.m - 1) * (TRANSPOSE_A ? 1 : p.stride_a) + begin * step_a;
    [[unroll]] for (uint j = 0; j < TN; j++)
        at_b[j] = min(col + j * WIDTH, p.n - 1) * (TRANSPOSE_B ? p.stride_b : 1) + begin * step_b;
    // Mesa's rasteriser makes loads that are the same for all once more, when a loop is over.
    uint count = end - begin, whole = count / BK * BK;
    for (uint next = 0; next < whole; next += BK) add(min(next, count - BK), BK, at_a, at_b, sum);
    for (uint next = whole; next < count; next++) add(min(next, count - 1), 1, at_a, at_b, sum);
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++) store(row + i, col + j * WIDTH, sum[i * TN + j]);
}
