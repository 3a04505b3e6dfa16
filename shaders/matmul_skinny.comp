#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
// Matmul with few rows (skinny GEMM, GEMV), as in generation; operands and shapes in
// lib/matmul.glsl. What counts is that b is read once, by neighbouring invocations from
// neighbouring memory. Every invocation has all BM rows of its workgroup. TRANSPOSE_B (b is
// contiguous along K): WIDTH invocations share the K of a column, and there are HEIGHT columns;
// else there are WIDTH columns, and HEIGHT invocations share the K. Each invocation sums its
// elements in order; then the partial sums are added, in an order that the shape of the workgroup
// decides.
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
#include "lib/operands.glsl"

float load_a(uint row, uint k, uint k_end) {
    if (row >= p.m || k >= k_end) return 0.0;
    return round_operand(LOAD(p.a, TYPE_A, TRANSPOSE_A ? k * p.stride_a + row : row * p.stride_a + k), TYPE_A);
}
vec4 load4_a(uint row, uint k, uint k_end) {
    if (!TRANSPOSE_A)
        return round_operand(load4(p.a, p.a2, p.a4, TYPE_A, ALIGNED_A, row * p.stride_a + k,
                                   row < p.m && k < k_end ? k_end - k : 0), TYPE_A);
    return vec4(load_a(row, k, k_end), load_a(row, k + 1, k_end), load_a(row, k + 2, k_end), load_a(row, k + 3, k_end));
}

void columns(uint col0, uint row, uint k_begin, uint k_end) {
    uint x = gl_LocalInvocationID.x, y = gl_LocalInvocationID.y, col = col0 + (TRANSPOSE_B ? y : x);
    float acc[BM];
    [[unroll]] for (uint i = 0; i < BM; i++) acc[i] = 0.0;
    if (TRANSPOSE_B) {
        for (uint k = k_begin + 4 * x; k < k_end; k += 4 * WIDTH) {
            vec4 b_frag = round_operand(load4(p.b, p.b2, p.b4, TYPE_B, ALIGNED_B, col * p.stride_b + k,
                                              col < p.n ? k_end - k : 0), TYPE_B);
            [[unroll]] for (uint i = 0; i < BM; i++) {
                vec4 a_frag = load4_a(row + i, k, k_end);
                [[unroll]] for (uint j = 0; j < 4; j++) acc[i] = fma(a_frag[j], b_frag[j], acc[i]);
            }
        }
    } else {
        for (uint k = k_begin + y; k < k_end; k += HEIGHT) {
            float b_frag = col < p.n ? round_operand(LOAD(p.b, TYPE_B, k * p.stride_b + col), TYPE_B) : 0.0;
            [[unroll]] for (uint i = 0; i < BM; i++) acc[i] = fma(load_a(row + i, k, k_end), b_frag, acc[i]);
        }
    }
    [[unroll]] for (uint i = 0; i < BM; i++) {
        float total = TRANSPOSE_B ? sum_width(acc[i]) : sum_height(acc[i]);
        if ((TRANSPOSE_B ? x : y) == 0) store_sum(row + i, col, total);
    }
}

void main() {
    uint k_begin = gl_WorkGroupID.z * p.k_chunk, k_end = min(k_begin + p.k_chunk, p.k);
    for (uint col0 = gl_WorkGroupID.x * BN; col0 < p.n; col0 += gl_NumWorkGroups.x * BN)
        columns(col0, gl_WorkGroupID.y * BM, k_begin, k_end);
}
