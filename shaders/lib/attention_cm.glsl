// What the passes of FlashAttention-2 on matrix units (cooperative matrices) share; names as in
// lib/attention.glsl. Operands in memory are of the unit's 16-bit type, rows aligned to 16 bytes, and
// are counted by eight elements; statistics and arithmetic are float32.
//
// A tile has 64 x 64 scores, of SUBGROUPS subgroups, which have ROWS of its rows each, and ROWS rows of
// what is as wide as a head, in accumulators. There are two kinds of product:
//   SCORES   s = a b^T: rows of a are loaded from memory as matrices, rows of b are staged
//   ADD      o += p v: p is in shared memory as 16-bit floats, rows of v are staged as columns
// so that the summed dimension is contiguous in both factors. The workgroup stages 64 rows at a time.
// Between the two, scores go through shared memory to invocations, which know the place of theirs
// there: vec4 t * VECS + v of an invocation is in row lane_row(v), columns STRIPE t + 4 lane_x() .. + 3.
// What one subgroup writes it alone reads: it waits for nobody else.
//
// The last tile of rows begins so that it ends with them: its first rows are of two workgroups, and
// the earlier one stores them.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#ifdef BFLOAT16
#extension GL_EXT_bfloat16 : require
#endif
#define WHOLE_WORDS
#include "storage.glsl"
#include "attention_mask.glsl"
layout(constant_id = 7) const uint SUBGROUP = 32;   // its size
layout(constant_id = 8) const uint MM = 16;         // products of the unit: MM x MK by MK x MN
layout(constant_id = 9) const uint MN = 16;
layout(constant_id = 10) const uint MK = 16;
layout(constant_id = 11) const uint STEPS = 1;      // along the summed dimension that are unrolled

#include "matrix_half.glsl"
#define SUMS coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator>
#define LEFT coopmat<HALF, gl_ScopeSubgroup, MM, MK, gl_MatrixUseA>
#define RIGHT coopmat<HALF, gl_ScopeSubgroup, MK, MN, gl_MatrixUseB>
#define InputRows8 InputWords4

const uint BR = 64, BC = 64, SUBGROUPS = WIDTH / SUBGROUP, ROWS = BR / SUBGROUPS;
const uint D8 = D / 8, TILES_M = ROWS / MM, TILES_S = BC / MN, TILES_D = D / MN;
// Lines of what is staged: rows, or columns of it; 16 bytes more against bank conflicts.
const uint LINE = D8 + 1, LINE_C = BC / 8 + 1;
// A subgroup's own: p in 16 bits, or a stripe of scores in float32.
const uint STRIPE = 32, STRIPES = BC / STRIPE, LINE_P = BC / 8 + 1, LINE_S = STRIPE / 4 + 1;
const uint OWN = ROWS * (LINE_P > LINE_S ? LINE_P : LINE_S);
const uint ACROSS = STRIPE / 4, STEP = SUBGROUP / ACROSS, VECS = ROWS / STEP, SCORES = STRIPES * VECS;

shared uvec4 staged[BC * LINE > D * LINE_C ? BC * LINE : D * LINE_C];
shared uvec4 own[SUBGROUPS * OWN];
#include "attention_tile_mask.glsl"

// Rows of one head of one sequence: elements 8 c .. 8 c + 7 of row r are at base + r * stride + c.
struct Rows { uint base, stride, count; };

Rows rows_of(uint sequence, uint rows, uint stride, uint head) {
    return Rows(sequence * rows * (stride / 8) + head * D8, stride / 8, rows);
}
// The first row of a tile.
uint tile_row(uint tile, uint count) { return min(tile * BR, count - BR); }

uint own_at() { return gl_SubgroupID * OWN; }
uint own_row() { return gl_SubgroupID * ROWS; }   // of the tile
uint lane_x() { return gl_SubgroupInvocationID % ACROSS; }
uint lane_row(uint v) { return gl_SubgroupInvocationID / ACROSS + v * STEP; }   // of the subgroup's
void subgroup_wait() {
    subgroupMemoryBarrierShared();
    subgroupBarrier();
}

// Rows [row, row + BC) as they are. Beyond the last row it is repeated: no score of such rows is used.
void stage_rows(InputRows8 x, Rows of, uint row) {
    const uint count = BC * D8;
    barrier();
    [[unroll]] for (uint first = 0; first < count; first += WIDTH) {
        uint i = first + gl_LocalInvocationID.x, r = i / D8, c = i % D8;
        if (count % WIDTH != 0 && i >= count) break;
        staged[r * LINE + c] = x.at[of.base + min(row + r, of.count - 1) * of.stride + c];
    }
    barrier();
}

// The words of elements 2 e and 2 e + 1 of two rows: a column's two, for both columns.
uvec2 columns_of(uint upper, uint lower) {
    return uvec2(upper & 0xffffu | lower << 16, upper >> 16 | lower & 0xffff0000u);
}

#ifdef BFLOAT16
const uint EXPONENT = 0x7f80u;
#else
const uint EXPONENT = 0x7c00u;
#endif
shared uint bad_keys[BC / 32];   // bit r: row r of v holds what is not finite

// What is not finite becomes 0, which keeps it from rows that do not see it, and is noted.
void clean(inout uvec4 words, uint r) {
    bool bad = false;
    [[unroll]] for (uint e = 0; e < 4; e++) {
        bool low = (words[e] & EXPONENT) == EXPONENT, high = (words[e] >> 16 & EXPONENT) == EXPONENT;
        words[e] &= (low ? 0u : 0xffffu) | (high ? 0u : 0xffff0000u);
        bad = bad || low || high;
    }
    if (!bad) return;
    poisoned = true;
    atomicOr(bad_keys[r / 32], 1u << r % 32, IN_WORKGROUP);
}

// Rows 2 r and 2 r + 1, eight columns of them, as columns; r and c as i says.
const uint PAIRS = BC / 2, BLOCKS = PAIRS * D8;
void stage_block(InputRows8 x, Rows of, uint row, bool masked, uint i) {
    uint r = i % PAIRS, c = i / PAIRS;
    if (BLOCKS % WIDTH != 0 && i >= BLOCKS) return;
    uvec4 upper = x.at[of.base + min(row + 2 * r, of.count - 1) * of.stride + c];
    uvec4 lower = x.at[of.base + min(row + 2 * r + 1, of.count - 1) * of.stride + c];
    if (masked) {
        clean(upper, 2 * r);
        clean(lower, 2 * r + 1);
    }
    [[unroll]] for (uint e = 0; e < 4; e++) {
        uvec2 columns = columns_of(upper[e], lower[e]);
        staged[(8 * c + 2 * e) * LINE_C + r / 4][r % 4] = columns.x;
        staged[(8 * c + 2 * e + 1) * LINE_C + r / 4][r % 4] = columns.y;
    }
}

// Rows [row, row + BC) as columns. `masked`: see clean(). At most two blocks are loaded at once: more
// would push accumulators out of the registers.
void stage_columns(InputRows8 x, Rows of, uint row, bool masked) {
    barrier();
    if (masked) {
        if (gl_LocalInvocationID.x < BC / 32) bad_keys[gl_LocalInvocationID.x] = 0;
        poisoned = false;
        barrier();
    }
    uint i = gl_LocalInvocationID.x;
    if (BLOCKS <= 2 * WIDTH) {
        [[unroll]] for (uint first = 0; first < BLOCKS; first += WIDTH) stage_block(x, of, row, masked, i + first);
    } else {
        [[dont_unroll]] for (uint first = 0; first < BLOCKS; first += WIDTH) stage_block(x, of, row, masked, i + first);
    }
    barrier();
}

#define CLEAR(sums, count) [[unroll]] for (uint i_ = 0; i_ < count; i_++) sums[i_] = SUMS(0.0)

// sums [ROWS x N] += left [ROWS x K] staged; `load` sets matrix `to` of rows i MM on and steps k on.
#define PRODUCT(sums, N, K, line, load)                                                                       \
    for (uint outer_ = 0; outer_ < K; outer_ += STEPS * MK)                                                   \
        [[unroll]] for (uint step_ = 0; step_ < STEPS; step_++) {                                             \
            uint k_ = outer_ + step_ * MK;                                                                    \
            LEFT left_[TILES_M];                                                                              \
            RIGHT right_;                                                                                     \
            [[unroll]] for (uint i = 0; i < TILES_M; i++) load(left_[i], i, k_);                              \
            [[unroll]] for (uint j = 0; j < N / MN; j++) {                                                    \
                coopMatLoad(right_, staged, j * MN * line + k_ / 8, line, gl_CooperativeMatrixLayoutColumnMajor); \
                [[unroll]] for (uint i = 0; i < TILES_M; i++)                                                 \
                    sums[i * (N / MN) + j] = coopMatMulAdd(left_[i], right_, sums[i * (N / MN) + j]);         \
            }                                                                                                 \
        }
// s = the subgroup's rows of x, from `row` of the tile on, by the staged rows.
#define SCORES_OF(s, x, of, row)                                                                             \
    CLEAR(s, TILES_M * TILES_S);                                                                             \
    {                                                                                                        \
        uint left_at_ = of.base + (row + own_row()) * of.stride;                                             \
        PRODUCT(s, BC, D, LINE, x##_LEFT)                                                                    \
    }
#define ROWS_LEFT(x, of, to, i, k) \
    coopMatLoad(to, x.at, left_at_ + i * MM * of.stride + k / 8, of.stride, gl_CooperativeMatrixLayoutRowMajor)
// o += p v: p is the subgroup's own, v the staged columns.
#define OWN_LEFT(to, i, k) coopMatLoad(to, own, own_at() + i * MM * LINE_P + k / 8, LINE_P, gl_CooperativeMatrixLayoutRowMajor)
#define ADD_PRODUCT(o) PRODUCT(o, D, BC, LINE_C, OWN_LEFT)

// Stripe t of sums [ROWS x N] to the invocations that v is of.
#define SPREAD_STRIPE(sums, N, t, v, from)                                                                   \
    subgroup_wait();                                                                                         \
    [[unroll]] for (uint i = 0; i < TILES_M; i++)                                                            \
        [[unroll]] for (uint j = 0; j < STRIPE / MN; j++)                                                    \
            coopMatStore(sums[i * (N / MN) + t * (STRIPE / MN) + j], own, own_at() + i * MM * LINE_S + j * MN / 4, \
                         LINE_S, gl_CooperativeMatrixLayoutRowMajor);                                        \
    subgroup_wait();                                                                                         \
    [[unroll]] for (uint n = 0; n < VECS; n++)                                                               \
        v[from + n] = uintBitsToFloat(own[own_at() + lane_row(n) * LINE_S + lane_x()]);
#define SPREAD(s, v) [[unroll]] for (uint t_ = 0; t_ < STRIPES; t_++) { SPREAD_STRIPE(s, BC, t_, v, t_ * VECS) }

// Rows of sums times a factor of each to memory, those from `begin` on.
#define STORE_ROWS(sums, to, of, row, begin, factors)                                                        \
    [[unroll]] for (uint t_ = 0; t_ < D / STRIPE; t_++) {                                                    \
        vec4 v_[VECS];                                                                                       \
        SPREAD_STRIPE(sums, D, t_, v_, 0)                                                                    \
        [[unroll]] for (uint n = 0; n < VECS; n++) {                                                         \
            uint r_ = row + own_row() + lane_row(n);                                                         \
            if (r_ >= begin) to.at[2 * (of.base + r_ * of.stride) + t_ * ACROSS + lane_x()] = pack(v_[n] * factors[n]); \
        }                                                                                                    \
    }

// p to the subgroup's own memory, in 16 bits.
void share_tile(vec4 p[SCORES]) {
    subgroup_wait();
    [[unroll]] for (uint t = 0; t < STRIPES; t++)
        [[unroll]] for (uint n = 0; n < VECS; n++) {
            uint word = t * STRIPE / 2 + 2 * lane_x(), at = own_at() + lane_row(n) * LINE_P + word / 4;
            uvec2 words = pack(p[t * VECS + n]);
            own[at][word % 4] = words.x;
            own[at][word % 4 + 1] = words.y;
        }
    subgroup_wait();
}

// The place in the tile of an invocation's value e of vec4 i.
uint tile_row_of(uint i) { return own_row() + lane_row(i % VECS); }
uint tile_column_of(uint i, uint e) { return i / VECS * STRIPE + 4 * lane_x() + e; }

void scale_scores(float scale, float cap, inout vec4 s[SCORES]) {
    [[unroll]] for (uint i = 0; i < SCORES; i++) {
        s[i] *= scale;
        if (CAPPED) [[unroll]] for (uint e = 0; e < 4; e++) s[i][e] = softcap(s[i][e], cap);
    }
}

// What is masked becomes `value`.
void hide(uint key0, float value, inout vec4 tile[SCORES]) {
    [[unroll]] for (uint i = 0; i < SCORES; i++)
        [[unroll]] for (uint e = 0; e < 4; e++)
            if (!sees(tile_row_of(i), tile_column_of(i, e), key0)) tile[i][e] = value;
}

vec4 exp4(vec4 v) { return vec4(safe_exp(v.x), safe_exp(v.y), safe_exp(v.z), safe_exp(v.w)); }
vec4 softcap_grad4(vec4 s, float cap) {
    return vec4(softcap_grad(s.x, cap), softcap_grad(s.y, cap), softcap_grad(s.z, cap), softcap_grad(s.w, cap));
}
