#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention_cm.glsl"
// FlashAttention-2, backward, on matrix units, pass 2: dq; shapes and steps as in attention_grad_q.comp.
layout(push_constant, std430) uniform Push {
    InputRows8 dy, q, k, v;
    Inputs lse, delta;
    Indices first, last;
    Words2 dq;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_dq;
    float scale, softcap;
} p;

#define Q_LEFT(to, i, step) ROWS_LEFT(p.q, q, to, i, step)
#define DY_LEFT(to, i, step) ROWS_LEFT(p.dy, dy, to, i, step)
void main() {
    uint begin_row = gl_WorkGroupID.x * BR, row = tile_row(gl_WorkGroupID.x, p.queries);
    uint head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z, kv_head = head / (HEADS / KV_HEADS);
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), k = rows_of(sequence, p.keys, p.stride_k, kv_head);
    Rows v = rows_of(sequence, p.keys, p.stride_v, kv_head), dy = rows_of(sequence, p.queries, p.stride_dy, head);
    Rows to = rows_of(sequence, p.queries, p.stride_dq, head);
    SUMS dq[TILES_M * TILES_D], sums[TILES_M * TILES_S];
    vec4 s[SCORES], dp[SCORES];
    float lse[VECS], delta[VECS], scale[VECS];
    CLEAR(dq, TILES_M * TILES_D);
    [[unroll]] for (uint n = 0; n < VECS; n++) {
        uint at = (sequence * p.queries + row + own_row() + lane_row(n)) * HEADS + head;
        lse[n] = p.lse.at[at];
        delta[n] = p.delta.at[at];
        scale[n] = p.scale;
    }
    load_mask(p.first, p.last, sequence, p.queries, row, p.keys);
    uint begin = uint(any_begin) / BC * BC, end = uint(any_end);
    for (uint key0 = begin; key0 < end; key0 += BC) {
        stage_rows(p.v, v, key0);
        SCORES_OF(sums, DY, dy, row)
        SPREAD(sums, dp)
        stage_rows(p.k, k, key0);
        SCORES_OF(sums, Q, q, row)
        SPREAD(sums, s)
        scale_scores(p.scale, p.softcap, s);
        [[unroll]] for (uint i = 0; i < SCORES; i++) {
            dp[i] = exp4(s[i] - lse[i % VECS]) * (dp[i] - delta[i % VECS]);
            if (CAPPED) dp[i] *= softcap_grad4(s[i], p.softcap);
        }
        if (is_masked(key0)) hide(key0, 0.0, dp);
        share_tile(dp);   // ds / scale
        stage_columns(p.k, k, key0, false);
        ADD_PRODUCT(dq)
    }
    STORE_ROWS(dq, p.dq, to, row, begin_row, scale)
}
