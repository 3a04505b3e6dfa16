// What the passes of FlashAttention-2 share (Dao 2023): attention.comp is algorithm 1,
// attention_delta, attention_grad_q and attention_grad_kv are algorithm 2. The names are the
// paper's:
//   s, p      scores and probabilities of one tile; dp, ds: their gradients
//   m, l      running maximum and sum of a row of scores; alpha: exp(m_old - m_new)
//   o         output before the division by l; y is the output O, lse the row's logsumexp L
//   delta     rowsum(dy * y), D in the paper; D here is the head size
//   Br x Bc   rows and columns of a tile of scores
//
// A tile belongs to WIDTH = THREADS_X x THREADS_Y invocations (x, y). Each has TM x 4 of its
// scores: rows y + i THREADS_Y, columns 4 x + j; and of what is as wide as a head TM x TD4 vec4s:
// the same rows, columns x + w THREADS_X. Operands are read by vec4: D, addresses and strides are
// multiples of 4 floats; `Rows`, positions and pitches count vec4s.
//
// The mask of a query (lib/attention_mask.glsl) is here [key_begin, key_end). Where all queries of a
// tile see all its keys, nothing is masked.
#include "attention_mask.glsl"
layout(constant_id = 7) const uint THREADS_X = 8;  // 8, 16 or 32

const uint THREADS_Y = WIDTH / THREADS_X, TM = 8, TN = 4;
const uint BR = TM * THREADS_Y, BC = TN * THREADS_X;
const uint D4 = D / 4;                                       // vec4s of a row of a head
const uint TD4 = (D4 + THREADS_X - 1) / THREADS_X, SUMS = TM * TD4;
// Operands of s = a b^T are in shared memory in chunks of columns: BK vec4s of each row of a and b.
const uint MAX_BK = THREADS_X > 16 ? 4 : 8, CHUNKS = (D4 + MAX_BK - 1) / MAX_BK;
const uint BK = (D4 + CHUNKS - 1) / CHUNKS, PITCH = BK | 1;  // odd, against bank conflicts
// Operands of o += p v: all of p, and v in chunks of BV rows.
const uint PITCH_P = THREADS_X + 1, BV = D4 > 32 ? 4 : D4 > 16 ? 8 : 16;
const uint AT_B = BR * PITCH, AT_V = BR * PITCH_P, END_B = AT_B + BC * PITCH, END_V = AT_V + 256;

shared vec4 staged[END_B > END_V ? END_B : END_V];   // [a | b], then [p | v] of the same tile
#include "attention_tile_mask.glsl"

// Rows of one head of one sequence: vec4 (r, c) is at base + r * stride + c.
struct Rows { uint base, stride, count; };

Rows rows_of(uint sequence, uint rows, uint stride, uint head) {
    return Rows(sequence * rows * (stride / 4) + head * D4, stride / 4, rows);
}
uint thread_x() { return gl_LocalInvocationID.x % THREADS_X; }
uint thread_y() { return gl_LocalInvocationID.x / THREADS_X; }

// Rows [row, row + rows) of x, columns [col, col + BK), to shared memory from `at` on. Beyond the
// last row it is repeated: no score of such rows is used. `by_column`: row r is column r of the
// tile; those of one invocation are THREADS_X apart, so that neighbours read neighbouring rows.
void stage_chunk(InputRows4 x, Rows of, uint row, uint rows, uint col, uint at, bool by_column) {
    const uint count = rows * BK;
    [[unroll]] for (uint first = 0; first < count; first += WIDTH) {
        uint i = first + gl_LocalInvocationID.x, r = i / BK, c = i % BK;
        if (count % WIDTH != 0 && i >= count) break;
        vec4 v = AT4(x, of.base + min(row + r, of.count - 1) * of.stride + min(col + c, D4 - 1));
        if (D4 % BK != 0 && col + c >= D4) v = vec4(0.0);
        staged[at + (by_column ? r % TN * THREADS_X + r / TN : r) * PITCH + c] = v;
    }
}

// s [r,c] = a[row_a + r] . b[row_b + c]; an invocation's rows of s.
void multiply_abt(InputRows4 a, Rows of_a, uint row_a, InputRows4 b, Rows of_b, uint row_b, out vec4 s[TM]) {
    uint at_a = thread_y() * PITCH, at_b = AT_B + thread_x() * PITCH;
    [[unroll]] for (uint i = 0; i < TM; i++) s[i] = vec4(0.0);
    for (uint col = 0; col < D4; col += BK) {
        barrier();
        stage_chunk(a, of_a, row_a, BR, col, 0, false);
        stage_chunk(b, of_b, row_b, BC, col, AT_B, true);
        barrier();
        [[unroll]] for (uint k = 0; k < BK; k++) {
            vec4 b_frag[TN];
            [[unroll]] for (uint j = 0; j < TN; j++) b_frag[j] = staged[at_b + j * THREADS_X * PITCH + k];
            [[unroll]] for (uint i = 0; i < TM; i++) {
                vec4 a_frag = staged[at_a + i * THREADS_Y * PITCH + k];
                [[unroll]] for (uint e = 0; e < 4; e++)
                    [[unroll]] for (uint j = 0; j < TN; j++) s[i][j] = fma(a_frag[e], b_frag[j][e], s[i][j]);
            }
        }
    }
    barrier();
}

void scale_scores(float scale, float cap, inout vec4 s[TM]) {
    [[unroll]] for (uint i = 0; i < TM; i++) {
        s[i] *= scale;
        if (CAPPED) [[unroll]] for (uint j = 0; j < TN; j++) s[i][j] = softcap(s[i][j], cap);
    }
}

// What is masked becomes `value`.
void hide(uint key0, float value, inout vec4 tile[TM]) {
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++) {
            uint r = thread_y() + i * THREADS_Y, c = 4 * thread_x() + j;
            if (!sees(r, c, key0)) tile[i][j] = value;
        }
}

vec4 probabilities(vec4 s, vec4 lse) {
    s -= lse;
    return vec4(safe_exp(s.x), safe_exp(s.y), safe_exp(s.z), safe_exp(s.w));
}

// ds = p (dp - delta) scale, times the derivative of the cap.
vec4 score_gradients(vec4 s, vec4 dp, vec4 lse, vec4 delta, float scale, float cap) {
    vec4 ds = probabilities(s, lse) * (dp - delta) * scale;
    if (CAPPED) [[unroll]] for (uint j = 0; j < TN; j++) ds[j] *= softcap_grad(s[j], cap);
    return ds;
}

// The tile to shared memory, as p of accumulate().
void share_tile(vec4 s[TM]) {
    [[unroll]] for (uint i = 0; i < TM; i++) staged[(thread_y() + i * THREADS_Y) * PITCH_P + thread_x()] = s[i];
}

// Rows [row, row + BV) of v to shared memory. `masked`: whether all of them are finite is noted.
void stage_rows(InputRows4 v, Rows of, uint row, bool masked) {
    const uint count = BV * D4, loads = (count + WIDTH - 1) / WIDTH;
    vec4 loaded[loads];
    [[unroll]] for (uint n = 0; n < loads; n++) {
        uint i = min(n * WIDTH + gl_LocalInvocationID.x, count - 1);
        loaded[n] = AT4(v, of.base + min(row + i / D4, of.count - 1) * of.stride + i % D4);
    }
    [[unroll]] for (uint n = 0; n < loads; n++)
        if (count % WIDTH == 0 || n * WIDTH + gl_LocalInvocationID.x < count)
            staged[AT_V + n * WIDTH + gl_LocalInvocationID.x] = loaded[n];
    if (!masked) return;
    [[unroll]] for (uint n = 0; n < loads; n++)
        [[unroll]] for (uint e = 0; e < 4; e++)
            if (!finite(loaded[n][e])) poisoned = true;
}

// sum += p v for the rows k .. k + 3 of v; row k is in shared memory at `at`.
void add_rows(uint k, uint at, inout vec4 sum[SUMS]) {
    vec4 p_frag[TM];
    [[unroll]] for (uint i = 0; i < TM; i++) p_frag[i] = staged[(thread_y() + i * THREADS_Y) * PITCH_P + k / 4];
    [[unroll]] for (uint e = 0; e < 4; e++)
        [[unroll]] for (uint w = 0; w < TD4; w++) {
            vec4 v_frag = staged[at + e * D4 + min(thread_x() + w * THREADS_X, D4 - 1)];
            [[unroll]] for (uint i = 0; i < TM; i++)
                sum[i * TD4 + w] = fma(vec4(p_frag[i][e]), v_frag, sum[i * TD4 + w]);
        }
}

// The same for BV rows, key0 + k0 on, some of them masked and not finite, which p = 0 would not hide.
void add_seen_rows(uint key0, uint k0, inout vec4 sum[SUMS]) {
    for (uint k = k0; k < k0 + BV; k++)
        [[unroll]] for (uint i = 0; i < TM; i++) {
            uint r = thread_y() + i * THREADS_Y;
            float p_ik = staged[r * PITCH_P + k / 4][k % 4];
            [[unroll]] for (uint w = 0; w < TD4; w++) {
                vec4 v_frag = staged[AT_V + (k - k0) * D4 + min(thread_x() + w * THREADS_X, D4 - 1)];
                if (sees(r, k, key0)) sum[i * TD4 + w] = fma(vec4(p_ik), v_frag, sum[i * TD4 + w]);
            }
        }
}

// sum += p v, where p is the shared tile and v rows [row, row + BC) of `of`. `masked`: what a row
// does not see does not reach it, whatever it is.
void accumulate(InputRows4 v, Rows of, uint row, bool masked, inout vec4 sum[SUMS]) {
    for (uint k0 = 0; k0 < BC; k0 += BV) {
        barrier();
        stage_rows(v, of, row + k0, masked);
        barrier();
        if (masked && poisoned) {
            add_seen_rows(row, k0, sum);
            continue;
        }
        [[unroll]] for (uint k = 0; k < BV; k += 4) add_rows(k0 + k, AT_V + k * D4, sum);
    }
}

void store_tile(Rows4Out to, Rows of, uint row, vec4 sum[SUMS]) {
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint w = 0; w < TD4; w++) {
            uint r = row + thread_y() + i * THREADS_Y, c = thread_x() + w * THREADS_X;
            if (r < of.count && c < D4) PUT4(to, of.base + r * of.stride + c, sum[i * TD4 + w]);
        }
}
