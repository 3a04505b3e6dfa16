#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Matmul (GEMM) with tiles in shared memory; operands and shapes in lib/matmul.glsl.
//
// A workgroup computes a BM x BN tile of c, an invocation TM x TN of it in registers. BM x BK of op(a)
// and BK x BN of op(b) lie in shared memory. For each step of BK along K:
//   1. the next step's are loaded into registers (prefetch)
//   2. every invocation adds BK outer products to its accumulators
//   3. the next step's go from registers to shared memory
// Then the epilogue. All loads, stores and sums are of vec4: an invocation has vec4s of
// neighbouring rows and columns, spaced by the height and width of the workgroup, so that
// neighbouring invocations access neighbouring memory.
//
// The same bits for every tile: an element of c is the sum over its k_chunk in order, by fma, then
// of zeros up to a multiple of 16, which every BK divides.
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
layout(constant_id = 13) const bool ALIGNED_A = false;   // a can be loaded by vec4
layout(constant_id = 14) const bool ALIGNED_B = false;
layout(constant_id = 15) const bool ALIGNED_C = false;   // c can be stored by vec4
layout(constant_id = 16) const bool WHOLE = false;       // M, N and K are multiples of BM, BN and 16
#include "lib/activation.glsl"
#include "lib/matmul.glsl"
#include "lib/operands.glsl"
#include "lib/tiles.glsl"
#include "lib/store.glsl"

const uint THREADS_Y = BM / TM, THREADS_X = BN / TN;
const uint PITCH_A = BM / 4 + 1, PITCH_B = BN / 4 + 1;   // vec4s of one k in shared memory; one more, against bank conflicts
const uint LOADS_A = BM * BK / 4 / WIDTH, LOADS_B = BN * BK / 4 / WIDTH;   // vec4s of a step that an invocation loads
const uint TM4 = TM / 4, TN4 = TN / 4;

// [k][row of op(a) or column of op(b)]
shared vec4 tile_a[BK * PITCH_A];
shared vec4 tile_b[BK * PITCH_B];

// (mn, k) of the i-th vec4 of a tile; mn: a row of op(a) or a column of op(b). `mn_major`: memory
// is contiguous along mn, and so is a vec4; else along k.
uvec2 tile_position(uint i, uint mn_size, bool mn_major) {
    return mn_major ? uvec2(i % (mn_size / 4) * 4, i / (mn_size / 4)) : uvec2(i / (BK / 4), i % (BK / 4) * 4);
}
// Without branches, as a compiler may wait for a load before it leaves a branch: beyond the edges the
// last row or column is read, and what is beyond along K becomes 0.
uvec4 load(InputWords x, InputWords2 x2, InputWords4 x4, uint type, bool aligned, bool mn_major, uint stride, uint mn,
           uint mn_size, uint k, uint k_end) {
    uvec4 v;
    if (aligned) {
        // Of four the last that begin within the operand: those of a padded one may end beyond it.
        uint mn_last = mn_major ? (mn_size - 1) / 4 * 4 : mn_size - 1, k_last = mn_major ? k_end - 1 : (k_end - 1) / 4 * 4;
        uint mn_at = WHOLE ? mn : min(mn, mn_last), k_at = WHOLE ? k : min(k, k_last);
        uint at = (mn_major ? k_at * stride + mn_at : mn_at * stride + k_at) / 4;
        if (type == F32) v = x4.at[at];
        else v = uvec4(x2.at[at], 0u, 0u);
    } else {
        [[unroll]] for (uint j = 0; j < 4; j++) {
            uint mn_j = mn_major ? mn + j : mn, k_j = mn_major ? k : k + j;
            uint mn_at = WHOLE ? mn_j : min(mn_j, mn_size - 1), k_at = WHOLE ? k_j : min(k_j, k_end - 1);
            uint at = mn_major ? k_at * stride + mn_at : mn_at * stride + k_at;
            if (type == F32) v[j] = x.at[at];
            else v[j] = x.at[at / 2] >> at % 2 * 16 & 0xffffu;
        }
        if (type != F32) v = join_halves(v);
    }
    uvec4 k_of = mn_major ? uvec4(k) : uvec4(k, k + 1, k + 2, k + 3);
    return WHOLE ? v : mask_of(v, type, lessThan(k_of, uvec4(k_end)));
}
uvec4 load_a(uint i, uint row, uint k, uint k_end) {
    uvec2 at = tile_position(i, BM, TRANSPOSE_A);
    return load(p.a, p.a2, p.a4, TYPE_A, ALIGNED_A, TRANSPOSE_A, p.stride_a, row + at.x, p.m, k + at.y, k_end);
}
uvec4 load_b(uint i, uint col, uint k, uint k_end) {
    uvec2 at = tile_position(i, BN, !TRANSPOSE_B);
    return load(p.b, p.b2, p.b4, TYPE_B, ALIGNED_B, !TRANSPOSE_B, p.stride_b, col + at.x, p.n, k + at.y, k_end);
}
void stage_a(uint i, uvec4 raw) {
    vec4 v = round_operand(values_of(raw, TYPE_A), TYPE_A);
    uvec2 at = tile_position(i, BM, TRANSPOSE_A);
    if (TRANSPOSE_A) tile_a[at.y * PITCH_A + at.x / 4] = v;
    else [[unroll]] for (uint j = 0; j < 4; j++) tile_a[(at.y + j) * PITCH_A + at.x / 4][at.x % 4] = v[j];
}
void stage_b(uint i, uvec4 raw) {
    vec4 v = round_operand(values_of(raw, TYPE_B), TYPE_B);
    uvec2 at = tile_position(i, BN, !TRANSPOSE_B);
    if (!TRANSPOSE_B) tile_b[at.y * PITCH_B + at.x / 4] = v;
    else [[unroll]] for (uint j = 0; j < 4; j++) tile_b[(at.y + j) * PITCH_B + at.x / 4][at.x % 4] = v[j];
}

void main() {
    uint tid = gl_LocalInvocationID.x, x = tid % THREADS_X, y = tid / THREADS_X;
    uint row = gl_WorkGroupID.y * BM, col = gl_WorkGroupID.x * BN;
    uint k_begin = gl_WorkGroupID.z * p.k_chunk, k_end = min(k_begin + p.k_chunk, p.k);
    uint k_stop = k_begin + (k_end - k_begin + 15) / 16 * 16;
    vec4 acc[TM * TN4], a_frag[TM4], b_frag[TN4];
    uvec4 prefetch_a[LOADS_A], prefetch_b[LOADS_B];
    vec4 sums = vec4(0.0);   // of four rows of op(a), or columns of op(b)
    bool adds = makes_sums() && tid < (SUMS == 1 ? BM : BN) / 4;
    [[unroll]] for (uint i = 0; i < TM * TN4; i++) acc[i] = vec4(0.0);
    [[unroll]] for (uint i = 0; i < LOADS_A; i++) prefetch_a[i] = load_a(tid + i * WIDTH, row, k_begin, k_end);
    [[unroll]] for (uint i = 0; i < LOADS_B; i++) prefetch_b[i] = load_b(tid + i * WIDTH, col, k_begin, k_end);
    [[unroll]] for (uint i = 0; i < LOADS_A; i++) stage_a(tid + i * WIDTH, prefetch_a[i]);
    [[unroll]] for (uint i = 0; i < LOADS_B; i++) stage_b(tid + i * WIDTH, prefetch_b[i]);
    barrier();
    for (uint k = k_begin; k < k_stop; k += BK) {
        uint next = min(k + BK, k_stop - BK);
        [[unroll]] for (uint i = 0; i < LOADS_A; i++) prefetch_a[i] = load_a(tid + i * WIDTH, row, next, k_end);   // 1
        [[unroll]] for (uint i = 0; i < LOADS_B; i++) prefetch_b[i] = load_b(tid + i * WIDTH, col, next, k_end);
        [[unroll]] for (uint kk = 0; kk < BK; kk++) {   // 2
            [[unroll]] for (uint i = 0; i < TM4; i++) a_frag[i] = tile_a[kk * PITCH_A + y + i * THREADS_Y];
            [[unroll]] for (uint j = 0; j < TN4; j++) b_frag[j] = tile_b[kk * PITCH_B + x + j * THREADS_X];
            [[unroll]] for (uint i = 0; i < TM; i++)
                [[unroll]] for (uint j = 0; j < TN4; j++)
                    acc[i * TN4 + j] = fma(vec4(a_frag[i / 4][i % 4]), b_frag[j], acc[i * TN4 + j]);
        }
        if (adds)
            [[unroll]] for (uint kk = 0; kk < BK; kk++) sums += SUMS == 1 ? tile_a[kk * PITCH_A + tid] : tile_b[kk * PITCH_B + tid];
        barrier();
        [[unroll]] for (uint i = 0; i < LOADS_A; i++) stage_a(tid + i * WIDTH, prefetch_a[i]);   // 3
        [[unroll]] for (uint i = 0; i < LOADS_B; i++) stage_b(tid + i * WIDTH, prefetch_b[i]);
        barrier();
    }
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN4; j++)
            store4(row + (y + i / 4 * THREADS_Y) * 4 + i % 4, col + (x + j * THREADS_X) * 4, acc[i * TN4 + j]);
    if (adds)
        [[unroll]] for (uint j = 0; j < 4; j++) store_factor_sum((SUMS == 1 ? row : col) + 4 * tid + j, sums[j]);
}
