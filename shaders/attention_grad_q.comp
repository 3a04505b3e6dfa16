#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention.glsl"
// FlashAttention-2, backward (Dao 2023, algorithm 2; names in lib/attention.glsl), pass 2: dq.
//   dy, q [N,H,D], k, v [M,G,D], lse, delta [N,H], first, last [N] -> dq [N,H,D]; G = KV_HEADS
// One workgroup: Br queries of one head of one sequence. For each tile of Bc keys that any sees:
//   1. s = q k^T, dp = dy v^T
//   2. p = exp(softcap(scale s) - lse); ds = p (dp - delta) scale, times the derivative of the cap
//   3. dq = dq + ds k
layout(push_constant, std430) uniform Push {
    InputRows4 dy, q, k, v;
    Inputs lse, delta;
    Indices first, last;
    Rows4Out dq;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_dq;
    float scale, softcap;
} p;

shared float query_lse[BR], query_delta[BR];

void main() {
    uint row = gl_WorkGroupID.x * BR, head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint kv_head = head / (HEADS / KV_HEADS);
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), k = rows_of(sequence, p.keys, p.stride_k, kv_head);
    Rows v = rows_of(sequence, p.keys, p.stride_v, kv_head), dy = rows_of(sequence, p.queries, p.stride_dy, head);
    Rows to = rows_of(sequence, p.queries, p.stride_dq, head);
    vec4 dq[SUMS], s[TM], dp[TM];
    [[unroll]] for (uint i = 0; i < SUMS; i++) dq[i] = vec4(0.0);
    for (uint i = gl_LocalInvocationID.x; i < BR; i += WIDTH) {
        uint n = (sequence * p.queries + min(row + i, p.queries - 1)) * HEADS + head;
        query_lse[i] = p.lse.at[n];
        query_delta[i] = p.delta.at[n];
    }
    load_mask(p.first, p.last, sequence, p.queries, row, p.keys);
    uint begin = uint(any_begin) / BC * BC, end = uint(any_end);
    for (uint key0 = begin; key0 < end; key0 += BC) {
        multiply_abt(p.q, q, row, p.k, k, key0, s);   // 1
        multiply_abt(p.dy, dy, row, p.v, v, key0, dp);
        scale_scores(p.scale, p.softcap, s);   // 2
        [[unroll]] for (uint i = 0; i < TM; i++) {
            uint r = thread_y() + i * THREADS_Y;
            dp[i] = score_gradients(s[i], dp[i], vec4(query_lse[r]), vec4(query_delta[r]), p.scale, p.softcap);
        }
        if (is_masked(key0)) hide(key0, 0.0, dp);
        share_tile(dp);   // ds
        accumulate(p.k, k, key0, false, dq);   // 3
    }
    store_tile(p.dq, to, row, dq);
}
