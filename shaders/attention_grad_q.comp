#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention.glsl"
// FlashAttention-2, backward (Dao 2023, algorithm 2; names in lib/attention.glsl), pass 2: dq.
//   dy, q [N,H,D], k, v [M,G,D], lse, delta [N,H], first, last [N] -> dq [N,H,D]; G = KV_HEADS
// One workgroup: TILE queries of one head of one sequence. For each tile of keys:
//   1. s = q k^T, dp = dy v^T
//   2. p = exp(softcap(scale s) - lse); ds = p (dp - delta) scale, times the derivative of the cap
//   3. dq = dq + ds k
layout(push_constant, std430) uniform Push {
    Inputs dy, q, k, v, lse, delta;
    Indices first, last;
    Floats dq;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_dq;
    float scale, softcap;
} p;

shared float row_lse[TILE], row_delta[TILE];

void main() {
    uint tid = gl_LocalInvocationID.x, x = tid % THREADS_X, y = tid / THREADS_X;
    uint row = gl_WorkGroupID.x * TILE, head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint kv_head = head / (HEADS / KV_HEADS);
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), k = rows_of(sequence, p.keys, p.stride_k, kv_head);
    Rows v = rows_of(sequence, p.keys, p.stride_v, kv_head), dy = rows_of(sequence, p.queries, p.stride_dy, head);
    Rows to = rows_of(sequence, p.queries, p.stride_dq, head);
    float dq_sum[SUMS], s[SCORES], dp[SCORES];
    [[unroll]] for (uint i = 0; i < SUMS; i++) dq_sum[i] = 0.0;
    if (tid < TILE && row + tid < p.queries) {
        uint n = (sequence * p.queries + row + tid) * HEADS + head;
        row_lse[tid] = p.lse.at[n];
        row_delta[tid] = p.delta.at[n];
    }
    load_mask(p.first, p.last, sequence, p.queries, row, p.keys);
    int begin = any_begin / int(TILE) * int(TILE), end = any_end;
    for (int key0 = begin; key0 < end; key0 += int(TILE)) {
        multiply_abt(p.q, q, row, p.k, k, uint(key0), s);   // 1
        multiply_abt(p.dy, dy, row, p.v, v, uint(key0), dp);
        [[unroll]] for (uint i = 0; i < TM; i++)   // 2
            [[unroll]] for (uint j = 0; j < TN; j++) {
                uint r = y + i * THREADS_Y, e = i * TN + j;
                int key = key0 + int(x + j * THREADS_X);
                bool seen = key >= key_begin[r] && key < key_end[r];
                float s_ij = s[e] * p.scale, factor = p.scale;
                if (CAPPED) {
                    s_ij = softcap(s_ij, p.softcap);
                    factor *= softcap_grad(s_ij, p.softcap);
                }
                s[e] = seen ? safe_exp(s_ij - row_lse[r]) * (dp[e] - row_delta[r]) * factor : 0.0;   // ds
            }
        share_tile(s);
        accumulate(p.k, k, uint(key0), false, dq_sum);   // 3
    }
    store(p.dq, to, row, dq_sum);
}
