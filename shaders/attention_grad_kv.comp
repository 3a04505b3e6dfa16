#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention.glsl"
// dv = sum over queries of p dy; dk = sum of ds q, with p and ds as for dq. One workgroup: SIDE
// keys of one key head of one sequence, over all the query heads that share it, in order.
layout(push_constant, std430) uniform Push {
    Inputs dy, q, k, v, lse, delta;
    Indices first, last;
    Floats dk, dv;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_dk, stride_dv;
    float scale, softcap;
} p;

shared float row_lse[SIDE], row_delta[SIDE];

// Queries [row, row + SIDE) of one head: adds what they give to keys [at, at + SIDE).
void add_queries(uint sequence, uint head, uint row, uint at, Rows k, Rows v, inout float sum_k[SUMS],
                 inout float sum_v[SUMS]) {
    uint lane = gl_LocalInvocationID.x, x = lane % ACROSS, y = lane / ACROSS;
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), dy = rows_of(sequence, p.queries, p.stride_dy, head);
    float tile[SCORES], slope[SCORES];
    if (lane < SIDE && row + lane < p.queries) {
        uint n = (sequence * p.queries + row + lane) * HEADS + head;
        row_lse[lane] = p.lse.at[n];
        row_delta[lane] = p.delta.at[n];
    }
    multiply(p.k, k, at, p.q, q, row, tile);
    multiply(p.v, v, at, p.dy, dy, row, slope);
    [[unroll]] for (uint i = 0; i < TILE_ROWS; i++)
        [[unroll]] for (uint j = 0; j < TILE_COLS; j++) {
            uint c = x + j * ACROSS, e = i * TILE_COLS + j;
            int key = int(at + y + i * DOWN);
            bool sees = key >= range_from[c] && key < range_to[c];
            float score = tile[e] * p.scale, factor = p.scale;
            if (CAPPED) {
                score = cap(score, p.softcap);
                factor *= cap_slope(score, p.softcap);
            }
            tile[e] = sees ? safe_exp(score - row_lse[c]) : 0.0;
            slope[e] = sees ? tile[e] * (slope[e] - row_delta[c]) * factor : 0.0;
        }
    share(tile);
    accumulate(p.dy, dy, row, false, sum_v);
    share(slope);
    accumulate(p.q, q, row, false, sum_k);
}

void main() {
    uint at = gl_WorkGroupID.x * SIDE, group = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    Rows k = rows_of(sequence, p.keys, p.stride_k, group), v = rows_of(sequence, p.keys, p.stride_v, group);
    Rows dk = rows_of(sequence, p.keys, p.stride_dk, group), dv = rows_of(sequence, p.keys, p.stride_dv, group);
    float sum_k[SUMS], sum_v[SUMS];
    [[unroll]] for (uint i = 0; i < SUMS; i++) sum_k[i] = sum_v[i] = 0.0;
    for (uint row = 0; row < p.queries; row += SIDE) {
        load_ranges(p.first, p.last, sequence, p.queries, row, p.keys);
        if (tile_to <= int(at) || tile_from >= int(at + SIDE)) continue;
        for (uint head = group * (HEADS / GROUPS); head < (group + 1) * (HEADS / GROUPS); head++)
            add_queries(sequence, head, row, at, k, v, sum_k, sum_v);
    }
    store(p.dk, dk, at, sum_k);
    store(p.dv, dv, at, sum_v);
}
