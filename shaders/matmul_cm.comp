#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#ifdef BFLOAT16
#extension GL_EXT_bfloat16 : require
#endif
#include "lib/base.glsl"
// Matmul (GEMM) by matrix units (cooperative matrices) that multiply 16-bit floats and add in float32;
// operands and shapes in lib/matmul.glsl.
//
// A workgroup computes a BM x BN tile of c, a subgroup TM x TN of it in accumulators of MM x MN. BM x BK
// of op(a) and BK x BN of op(b) lie in shared memory as 16-bit floats, K contiguous in both. For each
// step of BK along K:
//   1. the next step's are loaded into registers (prefetch), as memory holds them
//   2. every subgroup adds products of MM x MK by MK x MN to its accumulators
//   3. the next step's go from registers to shared memory, rounded
// Then, MM rows of a subgroup at a time, the sums go to shared memory, and from there through the
// epilogue to c.
//
// An invocation stages blocks of 4 x 4, transposed in registers where memory is not contiguous along
// K. Neighbouring invocations have neighbouring blocks along K: with rows of BK + 8 they write to
// different banks. load_block() alone knows how memory holds operands. Its addresses are 64-bit
// integers: a base that the workgroup shares and 32 bits of an invocation's own.
//
// The same bits for every tile of one shape MM x MN x MK: an element of c is the sum over its k_chunk
// in steps of MK, then of zeros.
layout(constant_id = 2) const uint BM = 64;
layout(constant_id = 3) const uint BN = 64;
layout(constant_id = 4) const uint BK = 32;
layout(constant_id = 5) const uint TM = 32;
layout(constant_id = 6) const uint TN = 32;
layout(constant_id = 7) const bool TRANSPOSE_A = false;
layout(constant_id = 8) const bool TRANSPOSE_B = false;
layout(constant_id = 9) const bool HAS_BIAS = false;
layout(constant_id = 10) const bool HAS_RESIDUAL = false;
layout(constant_id = 11) const bool ACCUMULATE = false;
layout(constant_id = 12) const uint ACTIVATION = 0;
layout(constant_id = 13) const bool ALIGNED_A = false;   // a can be loaded by vec4
layout(constant_id = 14) const bool ALIGNED_B = false;
layout(constant_id = 15) const bool ALIGNED_C = false;   // c can be stored by vec4
layout(constant_id = 16) const bool WHOLE = false;       // M, N and K are multiples of BM, BN and BK
layout(constant_id = 18) const uint MM = 16;
layout(constant_id = 19) const uint MN = 16;
layout(constant_id = 20) const uint MK = 16;
#define WHOLE_WORDS   // where c is of 16-bit elements ALIGNED_C holds
#include "lib/activation.glsl"
#include "lib/matmul.glsl"
#include "lib/tiles.glsl"
#include "lib/store.glsl"
#include "lib/matrix_half.glsl"

const uint QUADS = BK / 4;                                             // blocks of a step along K
const uint BLOCKS_A = BM / 4 * QUADS / WIDTH, BLOCKS_B = BN / 4 * QUADS / WIDTH;   // an invocation's
const uint LINE = BK / 4 + 2;                                          // uvec2s of a row of halves
const uint TILES_M = TM / MM, TILES_N = TN / MN;                       // accumulators of a subgroup
const uint ACROSS = BN / TN, SUBGROUPS = BM / TM * ACROSS;
const uint SUM_LINE = TN / 2 + 2;                                      // uvec2s of a row of sums
const uint STAGED = (BM + BN) * LINE, RESULTS = SUBGROUPS * MM * SUM_LINE;
const uint LINES = WIDTH / SUBGROUPS / (TN / 4);                       // rows of sums that a subgroup stores at once
const uint SUMMED = SUMS == 1 ? BM : BN, SUMS_EACH = (SUMMED + WIDTH - 1) / WIDTH;   // of a factor; an invocation's

// Rows of op(a), then columns of op(b); at the end sums.
shared uvec2 tile[STAGED > RESULTS ? STAGED : RESULTS];

struct operand {
    uint64_t base;   // of the workgroup's first row, or column, and of K
    uint size;       // bytes of an element
    uint step;       // bytes between rows in memory
    uint mn_left;    // from the workgroup's first row, or column, to the last
};
// 4 x 4 of an operand from (mn, k) on, relative to base and to k0; without branches, as in matmul.comp.
void load_block(out uvec4 v[4], operand x, uint type, bool aligned, bool mn_major, uint mn, uint k0, uint k, uint k_left) {
    uint64_t base = x.base + uint64_t(mn_major ? k0 : x.size) * uint64_t(mn_major ? x.step : k0);
    [[unroll]] for (uint j = 0; j < 4; j++) {
        uint mn_j = mn_major ? mn : mn + j, k_j = mn_major ? k + j : k;
        uvec4 k_of = mn_major ? uvec4(k_j) : uvec4(k, k + 1, k + 2, k + 3);
        if (aligned) {
            if (!WHOLE) {
                mn_j = min(mn_j, mn_major ? x.mn_left / 4 * 4 : x.mn_left);
                k_j = min(k_j, mn_major ? k_left - 1 : (k_left - 1) / 4 * 4);
            }
            uint64_t at = base + uint64_t(mn_major ? k_j * x.step + mn_j * x.size : mn_j * x.step + k_j * x.size);
            if (type == F32) v[j] = InputWords4(at).at[0];
            else v[j] = uvec4(InputWords2(at).at[0], 0u, 0u);
        } else {
            [[unroll]] for (uint e = 0; e < 4; e++) {
                uint mn_e = mn_major ? mn_j + e : mn_j, k_e = mn_major ? k_j : k_j + e;
                if (!WHOLE) mn_e = min(mn_e, x.mn_left), k_e = min(k_e, k_left - 1);
                uint64_t at = base + uint64_t(mn_major ? k_e * x.step + mn_e * x.size : mn_e * x.step + k_e * x.size);
                if (type == F32) v[j][e] = InputWords(at).at[0];
                else v[j][e] = InputWords(at & ~3ul).at[0] >> (uint(at) & 2u) * 8u & 0xffffu;
            }
            if (type != F32) v[j] = join_halves(v[j]);
        }
        if (!WHOLE) v[j] = mask_of(v[j], type, lessThan(k_of, uvec4(k_left)));
    }
}
// What is of the units' own type goes as it is.
void stage_block(uvec4 raw[4], uint type, bool mn_major, uint at) {
    if (type == HALF_TYPE) {
        [[unroll]] for (uint j = 0; j < 4; j++) {
            uint word = j / 2, shift = j % 2 * 16;
            uvec4 column = uvec4(raw[0][word], raw[1][word], raw[2][word], raw[3][word]) >> shift & 0xffffu;
            tile[at + j * LINE] = mn_major ? join_halves(column).xy : raw[j].xy;
        }
    } else {
        vec4 v[4];
        [[unroll]] for (uint j = 0; j < 4; j++) v[j] = values_of(raw[j], type);
        [[unroll]] for (uint j = 0; j < 4; j++)
            tile[at + j * LINE] = pack(mn_major ? vec4(v[0][j], v[1][j], v[2][j], v[3][j]) : v[j]);
    }
}

// sum += what a step has of a row of op(a), or a column of op(b), in order.
void add_line(inout float sum, uint i) {
    [[unroll]] for (uint q = 0; q < QUADS; q++) {
        vec4 v = unpack(tile[((SUMS == 1 ? 0 : BM) + i) * LINE + q]);
        sum = sum + v.x + v.y + v.z + v.w;
    }
}

void main() {
    uint tid = gl_LocalInvocationID.x, quad = tid % QUADS, first = tid / QUADS * 4;
    uint row = gl_WorkGroupID.y * BM, col = gl_WorkGroupID.x * BN;
    uint row_s = gl_SubgroupID / ACROSS * TM, col_s = gl_SubgroupID % ACROSS * TN;
    uint k_begin = gl_WorkGroupID.z * p.k_chunk, k_end = min(k_begin + p.k_chunk, p.k);
    uint k_stop = k_begin + (k_end - k_begin + BK - 1) / BK * BK;
    const uint PITCH = WIDTH / QUADS * 4;   // rows between blocks of an invocation
    uvec4 next_a[BLOCKS_A][4], next_b[BLOCKS_B][4];
    float sums_of_factor[SUMS_EACH];
    [[unroll]] for (uint i = 0; i < SUMS_EACH; i++) sums_of_factor[i] = 0.0;
    coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator> acc[TILES_M * TILES_N];
    [[unroll]] for (uint i = 0; i < TILES_M * TILES_N; i++)
        acc[i] = coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator>(0.0);
    const uint SIZE_A = TYPE_A == F32 ? 4 : 2, SIZE_B = TYPE_B == F32 ? 4 : 2;
    operand a = operand(uint64_t(p.a) + SIZE_A * uint64_t(row) * (TRANSPOSE_A ? 1 : p.stride_a), SIZE_A, SIZE_A * p.stride_a,
                        p.m - row - 1);
    operand b = operand(uint64_t(p.b) + SIZE_B * uint64_t(col) * (TRANSPOSE_B ? p.stride_b : 1), SIZE_B, SIZE_B * p.stride_b,
                        p.n - col - 1);
#define LOAD_NEXT(k)                                                                                               \
    [[unroll]] for (uint i = 0; i < BLOCKS_A; i++)                                                                 \
        load_block(next_a[i], a, TYPE_A, ALIGNED_A, TRANSPOSE_A, first + i * PITCH, k, quad * 4, k_end - (k));     \
    [[unroll]] for (uint i = 0; i < BLOCKS_B; i++)                                                                 \
        load_block(next_b[i], b, TYPE_B, ALIGNED_B, !TRANSPOSE_B, first + i * PITCH, k, quad * 4, k_end - (k))
#define STAGE                                                                                                      \
    [[unroll]] for (uint i = 0; i < BLOCKS_A; i++)                                                                 \
        stage_block(next_a[i], TYPE_A, TRANSPOSE_A, (first + i * PITCH) * LINE + quad);                            \
    [[unroll]] for (uint i = 0; i < BLOCKS_B; i++)                                                                 \
        stage_block(next_b[i], TYPE_B, !TRANSPOSE_B, (BM + first + i * PITCH) * LINE + quad)
    LOAD_NEXT(k_begin);
    STAGE;
    barrier();
    for (uint k = k_begin; k < k_stop; k += BK) {
        uint next = min(k + BK, k_stop - BK);
        LOAD_NEXT(next);   // 1
        [[unroll]] for (uint kk = 0; kk < BK; kk += MK) {   // 2
            coopmat<HALF, gl_ScopeSubgroup, MM, MK, gl_MatrixUseA> a_frag[TILES_M];
            coopmat<HALF, gl_ScopeSubgroup, MK, MN, gl_MatrixUseB> b_frag;
            [[unroll]] for (uint i = 0; i < TILES_M; i++)
                coopMatLoad(a_frag[i], tile, (row_s + i * MM) * LINE + kk / 4, LINE, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint j = 0; j < TILES_N; j++) {
                coopMatLoad(b_frag, tile, (BM + col_s + j * MN) * LINE + kk / 4, LINE, gl_CooperativeMatrixLayoutColumnMajor);
                [[unroll]] for (uint i = 0; i < TILES_M; i++)
                    acc[i * TILES_N + j] = coopMatMulAdd(a_frag[i], b_frag, acc[i * TILES_N + j]);
            }
        }
        if (makes_sums()) {
            [[unroll]] for (uint i = 0; i < SUMS_EACH; i++)
                if (tid + i * WIDTH < SUMMED) add_line(sums_of_factor[i], tid + i * WIDTH);
        }
        barrier();
        STAGE;   // 3
        barrier();
    }
    uint sums = gl_SubgroupID * MM * SUM_LINE, x = gl_SubgroupInvocationID % (TN / 4), y = gl_SubgroupInvocationID / (TN / 4);
    [[unroll]] for (uint i = 0; i < TILES_M; i++) {
        [[unroll]] for (uint j = 0; j < TILES_N; j++)
            coopMatStore(acc[i * TILES_N + j], tile, sums + j * MN / 2, SUM_LINE, gl_CooperativeMatrixLayoutRowMajor);
        subgroupMemoryBarrierShared();
        subgroupBarrier();
        [[unroll]] for (uint v = 0; v < MM; v += LINES) {
            uint at = sums + (v + y) * SUM_LINE + 2 * x;
            store4(row + row_s + i * MM + v + y, col + col_s + 4 * x, uintBitsToFloat(uvec4(tile[at], tile[at + 1])));
        }
        subgroupMemoryBarrierShared();
        subgroupBarrier();
    }
    if (makes_sums()) {
        [[unroll]] for (uint i = 0; i < SUMS_EACH; i++)
            if (tid + i * WIDTH < SUMMED) store_factor_sum((SUMS == 1 ? row : col) + tid + i * WIDTH, sums_of_factor[i]);
    }
}
