#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#define BY_KEY
#include "lib/attention_cm.glsl"
// FlashAttention-2, backward, on matrix units, pass 3: dk and dv; shapes and steps as in
// attention_grad_kv.comp. Tiles are [key][query].
layout(push_constant, std430) uniform Push {
    InputRows8 dy, q, k, v;
    Inputs lse, delta;
    Indices first, last;
    Words2 dk, dv;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_dk, stride_dv;
    float scale, softcap;
} p;

shared vec4 query_lse[BC / 4], query_delta[BC / 4];   // of the columns of the tile

#define K_LEFT(to, i, step) ROWS_LEFT(p.k, k, to, i, step)
#define V_LEFT(to, i, step) ROWS_LEFT(p.v, v, to, i, step)
void main() {
    uint begin_row = gl_WorkGroupID.x * BR, key0 = tile_row(gl_WorkGroupID.x, p.keys);
    uint kv_head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    Rows k = rows_of(sequence, p.keys, p.stride_k, kv_head), v = rows_of(sequence, p.keys, p.stride_v, kv_head);
    Rows to_k = rows_of(sequence, p.keys, p.stride_dk, kv_head), to_v = rows_of(sequence, p.keys, p.stride_dv, kv_head);
    SUMS dk[TILES_M * TILES_D], dv[TILES_M * TILES_D], sums[TILES_M * TILES_S];
    vec4 s[SCORES], prob[SCORES], ds[SCORES];
    float scale[VECS], one[VECS];
    CLEAR(dk, TILES_M * TILES_D);
    CLEAR(dv, TILES_M * TILES_D);
    [[unroll]] for (uint n = 0; n < VECS; n++) {
        scale[n] = p.scale;
        one[n] = 1.0;
    }
    for (uint query0 = 0; query0 < p.queries; query0 += BC) {
        load_mask(p.first, p.last, sequence, p.queries, query0, p.keys);
        if (any_end <= int(key0) || any_begin >= int(key0 + BR)) continue;
        bool masked = is_masked(key0);
        for (uint head = kv_head * (HEADS / KV_HEADS); head < (kv_head + 1) * (HEADS / KV_HEADS); head++) {
            Rows q = rows_of(sequence, p.queries, p.stride_q, head), dy = rows_of(sequence, p.queries, p.stride_dy, head);
            barrier();
            for (uint i = gl_LocalInvocationID.x; i < BC; i += WIDTH) {
                uint n = (sequence * p.queries + min(query0 + i, p.queries - 1)) * HEADS + head;
                query_lse[i / 4][i % 4] = p.lse.at[n];
                query_delta[i / 4][i % 4] = p.delta.at[n];
            }
            stage_rows(p.q, q, query0);
            SCORES_OF(sums, K, k, key0)   // 1
            SPREAD(sums, s)
            scale_scores(p.scale, p.softcap, s);
            [[unroll]] for (uint i = 0; i < SCORES; i++) prob[i] = exp4(s[i] - query_lse[tile_column_of(i, 0) / 4]);   // 2
            if (masked) hide(key0, 0.0, prob);
            share_tile(prob);
            stage_columns(p.dy, dy, query0, false);
            ADD_PRODUCT(dv)
            stage_rows(p.dy, dy, query0);
            SCORES_OF(sums, V, v, key0)   // 3
            SPREAD(sums, ds)
            [[unroll]] for (uint i = 0; i < SCORES; i++) {
                ds[i] = prob[i] * (ds[i] - query_delta[tile_column_of(i, 0) / 4]);
                if (CAPPED) ds[i] *= softcap_grad4(s[i], p.softcap);
            }
            if (masked) hide(key0, 0.0, ds);
            share_tile(ds);   // ds / scale
            stage_columns(p.q, q, query0, false);
            ADD_PRODUCT(dk)   // 4
        }
    }
    STORE_ROWS(dk, p.dk, to_k, key0, begin_row, scale)
    STORE_ROWS(dv, p.dv, to_v, key0, begin_row, one)
}
