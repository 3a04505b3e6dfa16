#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Matmul without shared memory; operands and shapes in lib/matmul.glsl. An invocation computes TM x
// TN of c in registers: its TM rows are those of the whole workgroup, so that elements of op(a) are
// the same for all invocations. For software devices, where shared memory gains nothing, and for
// few rows. BK elements of K at a time, as it costs more to carry the accumulators from round to
// round than to add to them. The same bits for every tile: an element of c is the sum over its
// k_chunk in order.
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
layout(constant_id = 15) const bool ALIGNED_C = false;   // 16-bit elements of c can be stored by words
#include "lib/activation.glsl"
#include "lib/matmul.glsl"
#include "lib/operands.glsl"

const uint ACCS = TM * TN;
// Columns of an invocation are WIDTH apart or, for whole words of c, neighbours by two.
bool paired() {
    return TYPE_C != F32 && ALIGNED_C && TN % 2 == 0;
}
uint column(uint j) {
    return paired() ? (j / 2 * WIDTH + gl_LocalInvocationID.x) * 2 + j % 2 : j * WIDTH + gl_LocalInvocationID.x;
}
void store_pair(uint row, uint col, vec2 v) {
    if (row >= p.m || col >= p.n) return;
    [[unroll]] for (uint e = 0; e < 2; e++) v[e] = epilogue(row, col + e, v[e]);
    uint at = ((gl_WorkGroupID.z * p.m + row) * p.stride_c + col) / 2;
    if (ACCUMULATE) v = unpack_word(p.c.at[at], TYPE_C) + v;
    p.c.at[at] = pack_word(v, TYPE_C);
}

// acc += op(a) op(b) over [k, k + count) of the chunk.
void accumulate(uint k, uint count, uint at_a[TM], uint at_b[TN], inout float acc[ACCS]) {
    uint step_a = TRANSPOSE_A ? p.stride_a : 1, step_b = TRANSPOSE_B ? 1 : p.stride_b;
    float b_frag[BK * TN];
    [[unroll]] for (uint kk = 0; kk < count; kk++)
        [[unroll]] for (uint j = 0; j < TN; j++) b_frag[kk * TN + j] = round_operand(LOAD(p.b, TYPE_B, at_b[j] + (k + kk) * step_b), TYPE_B);
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint kk = 0; kk < count; kk++) {
            float a_frag = round_operand(LOAD(p.a, TYPE_A, at_a[i] + (k + kk) * step_a), TYPE_A);
            [[unroll]] for (uint j = 0; j < TN; j++) acc[i * TN + j] = fma(a_frag, b_frag[kk * TN + j], acc[i * TN + j]);
        }
}

void main() {
    uint row = gl_WorkGroupID.y * BM, col = gl_WorkGroupID.x * BN;
    uint k_begin = gl_WorkGroupID.z * p.k_chunk, k_end = min(k_begin + p.k_chunk, p.k);
    float acc[ACCS];
    uint at_a[TM], at_b[TN], step_a = TRANSPOSE_A ? p.stride_a : 1, step_b = TRANSPOSE_B ? 1 : p.stride_b;
    [[unroll]] for (uint i = 0; i < TM * TN; i++) acc[i] = 0.0;
    // Beyond the edges the last row or column is read and nothing is stored.
    [[unroll]] for (uint i = 0; i < TM; i++) at_a[i] = min(row + i, p.m - 1) * (TRANSPOSE_A ? 1 : p.stride_a) + k_begin * step_a;
    [[unroll]] for (uint j = 0; j < TN; j++)
        at_b[j] = min(col + column(j), p.n - 1) * (TRANSPOSE_B ? p.stride_b : 1) + k_begin * step_b;
    // Indices are clamped, as Mesa's software rasteriser repeats loads that are the same for all
    // invocations once after a loop has ended.
    uint count = k_end - k_begin, whole = count / BK * BK;
    for (uint k = 0; k < whole; k += BK) accumulate(min(k, count - BK), BK, at_a, at_b, acc);
    for (uint k = whole; k < count; k++) accumulate(min(k, count - 1), 1, at_a, at_b, acc);
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++) {
            if (!paired()) store_sum(row + i, col + column(j), acc[i * TN + j]);
            else if (j % 2 == 0) store_pair(row + i, col + column(j), vec2(acc[i * TN + j], acc[i * TN + j + 1]));
        }
}
