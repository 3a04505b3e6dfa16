#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention.glsl"
// FlashAttention-2, backward (Dao 2023, algorithm 2; names in lib/attention.glsl), pass 3: dk, dv.
//   dy, q [N,H,D], k, v [M,G,D], lse, delta [N,H], first, last [N] -> dk, dv [M,G,D]; G = KV_HEADS
// One workgroup: TILE keys of one key head of one sequence. For each tile of queries, and each
// query head that shares the key head, in order:
//   1. s^T = k q^T, dp^T = v dy^T: tiles are [key][query] here
//   2. p = exp(softcap(scale s) - lse); ds = p (dp - delta) scale, times the derivative of the cap
//   3. dv = dv + p^T dy
//   4. dk = dk + ds^T q
layout(push_constant, std430) uniform Push {
    Inputs dy, q, k, v, lse, delta;
    Indices first, last;
    Floats dk, dv;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_dk, stride_dv;
    float scale, softcap;
} p;

shared float row_lse[TILE], row_delta[TILE];

// Steps 1 to 4 for queries [row, row + TILE) of one head and keys [key0, key0 + TILE).
void add_queries(uint sequence, uint head, uint row, uint key0, Rows k, Rows v, inout float dk_sum[SUMS],
                 inout float dv_sum[SUMS]) {
    uint tid = gl_LocalInvocationID.x, x = tid % THREADS_X, y = tid / THREADS_X;
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), dy = rows_of(sequence, p.queries, p.stride_dy, head);
    float s[SCORES], ds[SCORES];   // s, then p; dp, then ds
    if (tid < TILE && row + tid < p.queries) {
        uint n = (sequence * p.queries + row + tid) * HEADS + head;
        row_lse[tid] = p.lse.at[n];
        row_delta[tid] = p.delta.at[n];
    }
    multiply_abt(p.k, k, key0, p.q, q, row, s);   // 1
    multiply_abt(p.v, v, key0, p.dy, dy, row, ds);
    [[unroll]] for (uint i = 0; i < TM; i++)   // 2
        [[unroll]] for (uint j = 0; j < TN; j++) {
            uint c = x + j * THREADS_X, e = i * TN + j;
            int key = int(key0 + y + i * THREADS_Y);
            bool seen = key >= key_begin[c] && key < key_end[c];
            float s_ij = s[e] * p.scale, factor = p.scale;
            if (CAPPED) {
                s_ij = softcap(s_ij, p.softcap);
                factor *= softcap_grad(s_ij, p.softcap);
            }
            s[e] = seen ? safe_exp(s_ij - row_lse[c]) : 0.0;
            ds[e] = seen ? s[e] * (ds[e] - row_delta[c]) * factor : 0.0;
        }
    share_tile(s);
    accumulate(p.dy, dy, row, false, dv_sum);   // 3
    share_tile(ds);
    accumulate(p.q, q, row, false, dk_sum);   // 4
}

void main() {
    uint key0 = gl_WorkGroupID.x * TILE, kv_head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    Rows k = rows_of(sequence, p.keys, p.stride_k, kv_head), v = rows_of(sequence, p.keys, p.stride_v, kv_head);
    Rows dk = rows_of(sequence, p.keys, p.stride_dk, kv_head), dv = rows_of(sequence, p.keys, p.stride_dv, kv_head);
    float dk_sum[SUMS], dv_sum[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++) dk_sum[i] = dv_sum[i] = 0.0;
    for (uint row = 0; row < p.queries; row += TILE) {
        load_mask(p.first, p.last, sequence, p.queries, row, p.keys);
        if (any_end <= int(key0) || any_begin >= int(key0 + TILE)) continue;
        for (uint head = kv_head * (HEADS / KV_HEADS); head < (kv_head + 1) * (HEADS / KV_HEADS); head++)
            add_queries(sequence, head, row, key0, k, v, dk_sum, dv_sum);
    }
    store(p.dk, dk, key0, dk_sum);
    store(p.dv, dv, key0, dv_sum);
}
