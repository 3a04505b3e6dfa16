#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// c = act(op(a) op(b) + bias) + residual, or c += ...: a tile of BM x BN a workgroup, TM x TN of it
// an invocation, BK terms at a time through shared memory. While one step is summed the next is on
// its way into registers. Numbers move by fours: an invocation has fours of neighbouring rows and
// columns, which lie as far apart as the workgroup is high and wide, so that neighbours read and
// write neighbours. With more than one workgroup in z each sums `chunk` terms into its own slice of
// c.
//
// Same bits whatever the tile: an element is the sum of its chunk's terms one after another, by fma,
// and then of zeros up to a multiple of 16 terms, which every BK divides.
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
layout(constant_id = 13) const bool ALIGNED_A = false;   // a can be read by fours
layout(constant_id = 14) const bool ALIGNED_B = false;
layout(constant_id = 15) const bool ALIGNED_C = false;   // c can be written by fours
#include "lib/activation.glsl"
#include "lib/matmul.glsl"

const uint ROWS = BM / TM, COLS = BN / TN;             // invocations down and across
const uint LINE_A = BM / 4 + 1, LINE_B = BN / 4 + 1;   // fours of a term in shared memory; one more, against bank conflicts
const uint FOURS_A = BM * BK / 4, FOURS_B = BN * BK / 4;
const uint LOADS_A = (FOURS_A + WIDTH - 1) / WIDTH, LOADS_B = (FOURS_B + WIDTH - 1) / WIDTH;   // of an invocation
const uint TM4 = TM / 4, TN4 = TN / 4;

// [term][line]
shared vec4 tile_a[BK * LINE_A];
shared vec4 tile_b[BK * LINE_B];

// Line and term, within the tile, of its i-th four. `along`: fours lie along lines, else along
// terms, as memory does.
uvec2 place(uint i, uint lines, bool along) {
    return along ? uvec2(i % (lines / 4) * 4, i / (lines / 4)) : uvec2(i / (BK / 4), i % (BK / 4) * 4);
}
vec4 load(Inputs x, Vectors fours, bool aligned, bool along, uint stride, uint line, uint lines, uint term, uint end) {
    uint count = line < lines && term < end ? (along ? lines - line : end - term) : 0;
    return fetch(x, fours, aligned, along ? term * stride + line : line * stride + term, count);
}
vec4 load_a(uint i, uint row, uint term, uint end) {
    uvec2 at = place(i, BM, TRANSPOSE_A);
    return load(p.a, p.a_fours, ALIGNED_A, TRANSPOSE_A, p.stride_a, row + at.x, i < FOURS_A ? p.m : 0, term + at.y, end);
}
vec4 load_b(uint i, uint col, uint term, uint end) {
    uvec2 at = place(i, BN, !TRANSPOSE_B);
    return load(p.b, p.b_fours, ALIGNED_B, !TRANSPOSE_B, p.stride_b, col + at.x, i < FOURS_B ? p.n : 0, term + at.y, end);
}
void share_a(uint i, vec4 v) {
    uvec2 at = place(i, BM, TRANSPOSE_A);
    if (i >= FOURS_A) return;
    if (TRANSPOSE_A) tile_a[at.y * LINE_A + at.x / 4] = v;
    else [[unroll]] for (uint j = 0; j < 4; j++) tile_a[(at.y + j) * LINE_A + at.x / 4][at.x % 4] = v[j];
}
void share_b(uint i, vec4 v) {
    uvec2 at = place(i, BN, !TRANSPOSE_B);
    if (i >= FOURS_B) return;
    if (!TRANSPOSE_B) tile_b[at.y * LINE_B + at.x / 4] = v;
    else [[unroll]] for (uint j = 0; j < 4; j++) tile_b[(at.y + j) * LINE_B + at.x / 4][at.x % 4] = v[j];
}

// Four neighbours of a row.
void store4(uint row, uint col, vec4 v) {
    if (ALIGNED_C && row < p.m && col + 4 <= p.n) {
        [[unroll]] for (uint j = 0; j < 4; j++) v[j] = finish(row, col + j, v[j]);
        uint at = ((gl_WorkGroupID.z * p.m + row) * p.stride_c + col) / 4;
        p.c_fours.at[at] = ACCUMULATE ? p.c_fours.at[at] + v : v;
    } else {
        [[unroll]] for (uint j = 0; j < 4; j++) store(row, col + j, v[j]);
    }
}

void main() {
    uint lane = gl_LocalInvocationID.x, x = lane % COLS, y = lane / COLS;
    uint row = gl_WorkGroupID.y * BM, col = gl_WorkGroupID.x * BN;
    uint begin = gl_WorkGroupID.z * p.chunk, end = min(begin + p.chunk, p.k), stop = begin + (end - begin + 15) / 16 * 16;
    vec4 sum[TM * TN4], left[TM4], right[TN4], next_a[LOADS_A], next_b[LOADS_B];
    [[unroll]] for (uint i = 0; i < TM * TN4; i++) sum[i] = vec4(0.0);
    [[unroll]] for (uint i = 0; i < LOADS_A; i++) next_a[i] = load_a(lane + i * WIDTH, row, begin, end);
    [[unroll]] for (uint i = 0; i < LOADS_B; i++) next_b[i] = load_b(lane + i * WIDTH, col, begin, end);
    for (uint term = begin; term < stop; term += BK) {
        [[unroll]] for (uint i = 0; i < LOADS_A; i++) share_a(lane + i * WIDTH, next_a[i]);
        [[unroll]] for (uint i = 0; i < LOADS_B; i++) share_b(lane + i * WIDTH, next_b[i]);
        barrier();
        [[unroll]] for (uint i = 0; i < LOADS_A; i++) next_a[i] = load_a(lane + i * WIDTH, row, term + BK, end);
        [[unroll]] for (uint i = 0; i < LOADS_B; i++) next_b[i] = load_b(lane + i * WIDTH, col, term + BK, end);
        for (uint t = 0; t < BK; t++) {
            [[unroll]] for (uint i = 0; i < TM4; i++) left[i] = tile_a[t * LINE_A + y + i * ROWS];
            [[unroll]] for (uint j = 0; j < TN4; j++) right[j] = tile_b[t * LINE_B + x + j * COLS];
            [[unroll]] for (uint i = 0; i < TM; i++)
                [[unroll]] for (uint j = 0; j < TN4; j++)
                    sum[i * TN4 + j] = fma(vec4(left[i / 4][i % 4]), right[j], sum[i * TN4 + j]);
        }
        barrier();
    }
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN4; j++)
            store4(row + (y + i / 4 * ROWS) * 4 + i % 4, col + (x + j * COLS) * 4, sum[i * TN4 + j]);
}
