#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#define BY_KEY
#include "lib/attention.glsl"
// FlashAttention-2, backward (Dao 2023, algorithm 2; names in lib/attention.glsl), pass 3: dk, dv.
//   dy, q [N,H,D], k, v [M,G,D], lse, delta [N,H], first, last [N] -> dk, dv [M,G,D]; G = KV_HEADS
// One workgroup: Br keys of one key head of one sequence. For each tile of Bc queries of which any
// sees one of them, and each query head that shares the key head, in order:
//   1. s^T = k q^T; tiles are [key][query] here
//   2. p = exp(softcap(scale s) - lse); dv = dv + p^T dy
//   3. dp^T = v dy^T; ds = p (dp - delta) scale, times the derivative of the cap
//   4. dk = dk + ds^T q
layout(push_constant, std430) uniform Push {
    InputRows4 dy, q, k, v;
    Inputs lse, delta;
    Indices first, last;
    Rows4Out dk, dv;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_dk, stride_dv;
    float scale, softcap;
} p;

shared vec4 query_lse[THREADS_X], query_delta[THREADS_X];   // of the columns of the tile

// Steps 1 to 4 for queries [query0, query0 + Bc) of one head and keys [key0, key0 + Br).
void add_queries(uint sequence, uint head, uint query0, uint key0, Rows k, Rows v, inout vec4 dk[SUMS],
                 inout vec4 dv[SUMS]) {
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), dy = rows_of(sequence, p.queries, p.stride_dy, head);
    vec4 s[TM], t[TM];   // t: p, then dp, then ds
    bool masked = is_masked(key0);
    for (uint i = gl_LocalInvocationID.x; i < BC; i += WIDTH) {
        uint n = (sequence * p.queries + min(query0 + i, p.queries - 1)) * HEADS + head;
        query_lse[i / 4][i % 4] = p.lse.at[n];
        query_delta[i / 4][i % 4] = p.delta.at[n];
    }
    multiply_abt(p.k, k, key0, p.q, q, query0, s);   // 1
    scale_scores(p.scale, p.softcap, s);
    vec4 lse = query_lse[thread_x()], delta = query_delta[thread_x()];
    [[unroll]] for (uint i = 0; i < TM; i++) t[i] = probabilities(s[i], lse);   // 2
    if (masked) hide(key0, 0.0, t);
    share_tile(t);
    accumulate(p.dy, dy, query0, false, dv);
    multiply_abt(p.v, v, key0, p.dy, dy, query0, t);   // 3
    [[unroll]] for (uint i = 0; i < TM; i++) t[i] = score_gradients(s[i], t[i], lse, delta, p.scale, p.softcap);
    if (masked) hide(key0, 0.0, t);
    share_tile(t);
    accumulate(p.q, q, query0, false, dk);   // 4
}

void main() {
    uint key0 = gl_WorkGroupID.x * BR, kv_head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    Rows k = rows_of(sequence, p.keys, p.stride_k, kv_head), v = rows_of(sequence, p.keys, p.stride_v, kv_head);
    Rows to_k = rows_of(sequence, p.keys, p.stride_dk, kv_head), to_v = rows_of(sequence, p.keys, p.stride_dv, kv_head);
    vec4 dk[SUMS], dv[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++) dk[i] = dv[i] = vec4(0.0);
    for (uint query0 = 0; query0 < p.queries; query0 += BC) {
        load_mask(p.first, p.last, sequence, p.queries, query0, p.keys);
        if (any_end <= int(key0) || any_begin >= int(key0 + BR)) continue;
        for (uint head = kv_head * (HEADS / KV_HEADS); head < (kv_head + 1) * (HEADS / KV_HEADS); head++)
            add_queries(sequence, head, query0, key0, k, v, dk, dv);
    }
    store_tile(p.dk, to_k, key0, dk);
    store_tile(p.dv, to_v, key0, dv);
}
