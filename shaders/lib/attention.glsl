// What the passes of FlashAttention-2 share (Dao 2023): attention.comp is algorithm 1,
// attention_delta, attention_grad_q and attention_grad_kv are algorithm 2. The names are the
// paper's:
//   s, p      scores and probabilities of one tile; dp, ds: their gradients
//   m, l      running maximum and sum of a row of scores; alpha: exp(m_old - m_new)
//   o         output before the division by l; y is the output O, lse the row's logsumexp L
//   delta     rowsum(dy * y), D in the paper; D here is the head size
// A tile of scores is TILE x TILE and belongs to INVOCATIONS invocations: (x, y) of 16 x 8 has its
// rows y + 8 i and its columns x + 16 j, and columns x + 16 j of what is as wide as a head.
//
// The mask: a query sees the keys max(first, last - window + 1) <= key <= last, here as
// [key_begin, key_end).
layout(constant_id = 2) const uint D = 64;         // head size
layout(constant_id = 3) const uint HEADS = 1;      // of queries
layout(constant_id = 4) const uint KV_HEADS = 1;   // of keys and values (grouped-query attention)
layout(constant_id = 5) const uint WINDOW = 0;     // sliding window; 0: none
layout(constant_id = 6) const bool CAPPED = false; // scores have a softcap

const uint TILE = 32;                              // Br = Bc: rows of a tile of queries, of keys
const uint THREADS_X = 16, THREADS_Y = 8, INVOCATIONS = THREADS_X * THREADS_Y;
const uint TM = TILE / THREADS_Y, TN = TILE / THREADS_X;   // scores of an invocation: TM x TN
const uint TD = (D + THREADS_X - 1) / THREADS_X;   // columns of a head of an invocation: TM x TD
const uint BK = D < 16 ? D : 16;                   // columns of a head in shared memory at a time
const uint PITCH = TILE + 1;                       // of rows in shared memory, against bank conflicts
const uint SCORES = TM * TN, SUMS = TM * TD;

shared float staged[2 * BK * PITCH];               // two operands of multiply_abt, transposed
shared float shared_tile[TILE * PITCH];            // s, p or ds: [row][column]
shared int key_begin[TILE], key_end[TILE];         // the mask of each query
shared int any_begin, any_end;                     // the keys that any query of the tile sees
shared int all_begin, all_end;                     // the keys that all of them see

// Rows of one head of one sequence: element (r, d) is at base + r * stride + d.
struct Rows { uint base, stride, count; };

Rows rows_of(uint sequence, uint rows, uint stride, uint head) {
    return Rows(sequence * rows * stride + head * D, stride, rows);
}

// The masks of queries [row, row + TILE) to shared memory, and their union and intersection.
void load_mask(Indices first, Indices last, uint sequence, uint queries, uint row, uint keys) {
    uint tid = gl_LocalInvocationID.x;
    barrier();
    if (tid < TILE) {
        int from = 0, to = 0;
        if (row + tid < queries) {
            uint n = sequence * queries + row + tid;
            from = max(first.at[n], 0);
            to = last.at[n] + 1;
            if (WINDOW > 0) from = max(from, to - int(WINDOW));
            to = min(to, int(keys));
        }
        key_begin[tid] = from;
        key_end[tid] = max(from, to);
    }
    barrier();
    if (tid == 0) {
        int from = int(keys), to = 0, all_from = 0, all_to = int(keys);
        for (uint i = 0; i < TILE && row + i < queries; i++) {
            all_from = max(all_from, key_begin[i]);
            all_to = min(all_to, key_end[i]);
            if (key_begin[i] < key_end[i]) {
                from = min(from, key_begin[i]);
                to = max(to, key_end[i]);
            }
        }
        any_begin = from;
        any_end = to;
        all_begin = all_from;
        all_end = all_to;
    }
    barrier();
}

// tile [r,c] = a[row_a + r] . b[row_b + c], as s = q k^T is; rows beyond the end count as zeros.
void multiply_abt(Inputs a, Rows of_a, uint row_a, Inputs b, Rows of_b, uint row_b, out float tile[SCORES]) {
    uint x = gl_LocalInvocationID.x % THREADS_X, y = gl_LocalInvocationID.x / THREADS_X;
    [[unroll]] for (uint i = 0; i < SCORES; i++) tile[i] = 0.0;
    for (uint d0 = 0; d0 < D; d0 += BK) {
        barrier();
        for (uint i = gl_LocalInvocationID.x; i < TILE * BK; i += INVOCATIONS) {
            uint r = i / BK, d = i % BK;
            bool inside = d0 + d < D;
            bool in_a = inside && row_a + r < of_a.count, in_b = inside && row_b + r < of_b.count;
            staged[d * PITCH + r] = in_a ? a.at[of_a.base + (row_a + r) * of_a.stride + d0 + d] : 0.0;
            staged[(BK + d) * PITCH + r] = in_b ? b.at[of_b.base + (row_b + r) * of_b.stride + d0 + d] : 0.0;
        }
        barrier();
        for (uint d = 0; d < BK; d++) {
            float b_frag[TN];
            [[unroll]] for (uint j = 0; j < TN; j++) b_frag[j] = staged[(BK + d) * PITCH + x + j * THREADS_X];
            [[unroll]] for (uint i = 0; i < TM; i++) {
                float a_frag = staged[d * PITCH + y + i * THREADS_Y];
                [[unroll]] for (uint j = 0; j < TN; j++) tile[i * TN + j] += a_frag * b_frag[j];
            }
        }
    }
}

// Copies the tile to shared memory, where all invocations can read it afterwards.
void share_tile(float tile[SCORES]) {
    uint x = gl_LocalInvocationID.x % THREADS_X, y = gl_LocalInvocationID.x / THREADS_X;
    barrier();
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++)
            shared_tile[(y + i * THREADS_Y) * PITCH + x + j * THREADS_X] = tile[i * TN + j];
    barrier();
}

// sum += shared_tile v, where v is rows [row, row + TILE) of `of`. `masked`: some query does not
// see some key; p = 0 hides that row of v only where it is finite, so others are left out.
void accumulate(Inputs v, Rows of, uint row, bool masked, inout float sum[SUMS]) {
    uint x = gl_LocalInvocationID.x % THREADS_X, y = gl_LocalInvocationID.x / THREADS_X;
    uint count = min(TILE, of.count - row);
    for (uint k = 0; k < count; k++) {
        float p_frag[TM];
        [[unroll]] for (uint i = 0; i < TM; i++) p_frag[i] = shared_tile[(y + i * THREADS_Y) * PITCH + k];
        [[unroll]] for (uint j = 0; j < TD; j++) {
            uint d = x + j * THREADS_X;
            float v_frag = d < D ? v.at[of.base + (row + k) * of.stride + d] : 0.0;
            if (masked && !finite(v_frag)) {
                int key = int(row + k);
                [[unroll]] for (uint i = 0; i < TM; i++) {
                    uint r = y + i * THREADS_Y;
                    if (key >= key_begin[r] && key < key_end[r]) sum[i * TD + j] += p_frag[i] * v_frag;
                }
                continue;
            }
            [[unroll]] for (uint i = 0; i < TM; i++) sum[i * TD + j] += p_frag[i] * v_frag;
        }
    }
}

void store(Floats to, Rows of, uint row, float sum[SUMS]) {
    uint x = gl_LocalInvocationID.x % THREADS_X, y = gl_LocalInvocationID.x / THREADS_X;
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TD; j++) {
            uint r = row + y + i * THREADS_Y, d = x + j * THREADS_X;
            if (r < of.count && d < D) to.at[of.base + r * of.stride + d] = sum[i * TD + j];
        }
}
