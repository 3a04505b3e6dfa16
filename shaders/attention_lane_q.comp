#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention_lane.glsl"
// dq with one query an invocation (see attention_grad_q.comp); and delta = dy . y for the pass that
// follows.
layout(push_constant, std430) uniform Push {
    Inputs dy, q, k, v, y, lse;
    Indices first, last;
    Floats dq, delta;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_y, stride_dq;
    float scale, softcap;
} p;

void main() {
    uint row = gl_GlobalInvocationID.x, head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint group = head / (HEADS / GROUPS), n = sequence * p.queries + min(row, p.queries - 1);
    uint k = sequence * p.keys * p.stride_k + group * SIZE, v = sequence * p.keys * p.stride_v + group * SIZE;
    ivec2 all = span(p.first, p.last, sequence, p.queries, p.keys), own = range(p.first, p.last, n, p.keys);
    float q[SIZE], dy[SIZE], sum[SIZE], delta = 0.0, lse = p.lse.at[n * HEADS + head];
    [[unroll]] for (uint d = 0; d < SIZE; d++) {
        q[d] = p.q.at[n * p.stride_q + head * SIZE + d] * p.scale;
        dy[d] = p.dy.at[n * p.stride_dy + head * SIZE + d];
        delta += dy[d] * p.y.at[n * p.stride_y + head * SIZE + d];
        sum[d] = 0.0;
    }
    for (int at = all.x; at < all.y; at += int(KEYS))
        [[unroll]] for (int j = 0; j < int(KEYS); j++) {
            int key = at + j;
            uint here = uint(min(key, all.y - 1)), from_k = k + here * p.stride_k, from_v = v + here * p.stride_v;
            float score = 0.0, slope = 0.0, factor = p.scale;
            [[unroll]] for (uint d = 0; d < SIZE; d++) {
                score = fma(q[d], p.k.at[from_k + d], score);
                slope = fma(dy[d], p.v.at[from_v + d], slope);
            }
            if (CAPPED) {
                score = cap(score, p.softcap);
                factor *= cap_slope(score, p.softcap);
            }
            bool sees = key >= own.x && key < own.y;
            float ds = sees ? safe_exp(score - lse) * (slope - delta) * factor : 0.0;
            [[unroll]] for (uint d = 0; d < SIZE; d++) sum[d] = fma(ds, p.k.at[from_k + d], sum[d]);
        }
    if (row >= p.queries) return;
    [[unroll]] for (uint d = 0; d < SIZE; d++) p.dq.at[n * p.stride_dq + head * SIZE + d] = sum[d];
    p.delta.at[n * HEADS + head] = delta;
}
