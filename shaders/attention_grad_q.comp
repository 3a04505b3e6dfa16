#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention.glsl"
// dq = scale * sum over keys of ds k, ds = p * (dy . v - delta) * slope of the cap, p = exp(score -
// lse). One workgroup: SIDE queries of one head of one sequence.
layout(push_constant, std430) uniform Push {
    Inputs dy, q, k, v, lse, delta;
    Indices first, last;
    Floats dq;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_dq;
    float scale, softcap;
} p;

shared float row_lse[SIDE], row_delta[SIDE];

void main() {
    uint lane = gl_LocalInvocationID.x, x = lane % ACROSS, y = lane / ACROSS;
    uint row = gl_WorkGroupID.x * SIDE, head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint group = head / (HEADS / GROUPS);
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), k = rows_of(sequence, p.keys, p.stride_k, group);
    Rows v = rows_of(sequence, p.keys, p.stride_v, group), dy = rows_of(sequence, p.queries, p.stride_dy, head);
    Rows to = rows_of(sequence, p.queries, p.stride_dq, head);
    float sum[SUMS], tile[SCORES], slope[SCORES];
    [[unroll]] for (uint i = 0; i < SUMS; i++) sum[i] = 0.0;
    if (lane < SIDE && row + lane < p.queries) {
        uint n = (sequence * p.queries + row + lane) * HEADS + head;
        row_lse[lane] = p.lse.at[n];
        row_delta[lane] = p.delta.at[n];
    }
    load_ranges(p.first, p.last, sequence, p.queries, row, p.keys);
    int begin = tile_from / int(SIDE) * int(SIDE), end = tile_to;
    for (int at = begin; at < end; at += int(SIDE)) {
        multiply(p.q, q, row, p.k, k, uint(at), tile);
        multiply(p.dy, dy, row, p.v, v, uint(at), slope);
        [[unroll]] for (uint i = 0; i < TILE_ROWS; i++)
            [[unroll]] for (uint j = 0; j < TILE_COLS; j++) {
                uint r = y + i * DOWN, e = i * TILE_COLS + j;
                int key = at + int(x + j * ACROSS);
                bool sees = key >= range_from[r] && key < range_to[r];
                float score = tile[e] * p.scale, factor = p.scale;
                if (CAPPED) {
                    score = cap(score, p.softcap);
                    factor *= cap_slope(score, p.softcap);
                }
                tile[e] = sees ? safe_exp(score - row_lse[r]) * (slope[e] - row_delta[r]) * factor : 0.0;
            }
        share(tile);
        accumulate(p.k, k, uint(at), false, sum);
    }
    store(p.dq, to, row, sum);
}
