#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// c = act(op(a) op(b) + bias) + residual, or c += ...: a tile of BM x BN a workgroup, TM x TN of it
// an invocation, BK terms at a time through shared memory. Rows and columns of an invocation lie
// apart, so that neighbours read and write neighbours. With more than one workgroup in z each sums
// `chunk` terms into its own slice of c.
layout(constant_id = 2) const uint BM = 64;
layout(constant_id = 3) const uint BN = 64;
layout(constant_id = 4) const uint BK = 16;
layout(constant_id = 5) const uint TM = 4;
layout(constant_id = 6) const uint TN = 4;
layout(constant_id = 7) const bool TRANSPOSE_A = false;
layout(constant_id = 8) const bool TRANSPOSE_B = false;
layout(constant_id = 9) const bool HAS_BIAS = false;
layout(constant_id = 10) const bool HAS_RESIDUAL = false;
layout(constant_id = 11) const bool ACCUMULATE = false;
layout(constant_id = 12) const uint ACTIVATION = 0;
#include "lib/activation.glsl"
#include "lib/matmul.glsl"

const uint ROWS = BM / TM, COLS = BN / TN, PAD = 1;   // invocations down and across
shared float tile_a[BK * (BM + PAD)];
shared float tile_b[BK * (BN + PAD)];

// Both tiles lie in shared memory as [term][row or column].
void load_a(uint row, uint term, uint end) {
    for (uint i = gl_LocalInvocationID.x; i < BM * BK; i += WIDTH) {
        uint r = TRANSPOSE_A ? i % BM : i / BK, t = TRANSPOSE_A ? i / BM : i % BK;
        bool inside = row + r < p.m && term + t < end;
        uint at = TRANSPOSE_A ? (term + t) * p.stride_a + row + r : (row + r) * p.stride_a + term + t;
        tile_a[t * (BM + PAD) + r] = inside ? p.a.at[at] : 0.0;
    }
}
void load_b(uint col, uint term, uint end) {
    for (uint i = gl_LocalInvocationID.x; i < BN * BK; i += WIDTH) {
        uint c = TRANSPOSE_B ? i / BK : i % BN, t = TRANSPOSE_B ? i % BK : i / BN;
        bool inside = col + c < p.n && term + t < end;
        uint at = TRANSPOSE_B ? (col + c) * p.stride_b + term + t : (term + t) * p.stride_b + col + c;
        tile_b[t * (BN + PAD) + c] = inside ? p.b.at[at] : 0.0;
    }
}

void main() {
    uint x = gl_LocalInvocationID.x % COLS, y = gl_LocalInvocationID.x / COLS;
    uint row = gl_WorkGroupID.y * BM, col = gl_WorkGroupID.x * BN;
    uint begin = gl_WorkGroupID.z * p.chunk, end = min(begin + p.chunk, p.k);
    float sum[TM * TN], left[TM], right[TN];
    [[unroll]] for (uint i = 0; i < TM * TN; i++) sum[i] = 0.0;
    for (uint term = begin; term < end; term += BK) {
        load_a(row, term, end);
        load_b(col, term, end);
        barrier();
        for (uint t = 0; t < BK; t++) {
            [[unroll]] for (uint i = 0; i < TM; i++) left[i] = tile_a[t * (BM + PAD) + y + i * ROWS];
            [[unroll]] for (uint j = 0; j < TN; j++) right[j] = tile_b[t * (BN + PAD) + x + j * COLS];
            [[unroll]] for (uint i = 0; i < TM; i++)
                [[unroll]] for (uint j = 0; j < TN; j++) sum[i * TN + j] += left[i] * right[j];
        }
        barrier();
    }
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++) store(row + y + i * ROWS, col + x + j * COLS, sum[i * TN + j]);
}
