#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention_lane.glsl"
// dk and dv with one key an invocation (see attention_grad_kv.comp): over the query heads that
// share it, in order, and the queries that see any key of this workgroup.
layout(push_constant, std430) uniform Push {
    Inputs dy, q, k, v, lse, delta;
    Indices first, last;
    Floats dk, dv;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_dk, stride_dv;
    float scale, softcap;
} p;

// Whether one of the queries at .. at + KEYS - 1 sees a key of [begin, end).
bool any_sees(uint sequence, uint at, int begin, int end) {
    bool any = false;
    [[unroll]] for (uint j = 0; j < KEYS; j++) {
        ivec2 seen = range(p.first, p.last, sequence * p.queries + min(at + j, p.queries - 1), p.keys);
        any = any || (seen.y > begin && seen.x < end);
    }
    return any;
}

void main() {
    uint row = gl_GlobalInvocationID.x, group = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint m = sequence * p.keys + min(row, p.keys - 1);
    int begin = int(gl_WorkGroupID.x * WIDTH), end = begin + int(WIDTH);
    float k[SIZE], v[SIZE], sum_k[SIZE], sum_v[SIZE];
    [[unroll]] for (uint d = 0; d < SIZE; d++) {
        k[d] = p.k.at[m * p.stride_k + group * SIZE + d] * p.scale;
        v[d] = p.v.at[m * p.stride_v + group * SIZE + d];
        sum_k[d] = sum_v[d] = 0.0;
    }
    // From the first to the last query that sees a key of this workgroup, KEYS at a time.
    uint from = 0, to = (p.queries + KEYS - 1) / KEYS * KEYS;
    while (from < to && !any_sees(sequence, from, begin, end)) from += KEYS;
    while (to > from && !any_sees(sequence, to - KEYS, begin, end)) to -= KEYS;
    for (uint at = from; at < to; at += KEYS)
        [[unroll]] for (uint j = 0; j < KEYS; j++) {
            uint i = min(at + j, p.queries - 1), n = sequence * p.queries + i;
            ivec2 seen = range(p.first, p.last, n, p.keys);
            bool sees = int(row) >= seen.x && int(row) < seen.y && at + j < p.queries;
            [[unroll]] for (uint h = 0; h < HEADS / GROUPS; h++) {
                uint head = group * (HEADS / GROUPS) + h;
                uint q = n * p.stride_q + head * SIZE, dy = n * p.stride_dy + head * SIZE;
                float score = 0.0, slope = 0.0, factor = p.scale;
                [[unroll]] for (uint d = 0; d < SIZE; d++) {
                    score = fma(k[d], p.q.at[q + d], score);
                    slope = fma(v[d], p.dy.at[dy + d], slope);
                }
                if (CAPPED) {
                    score = cap(score, p.softcap);
                    factor *= cap_slope(score, p.softcap);
                }
                float w = sees ? safe_exp(score - p.lse.at[n * HEADS + head]) : 0.0;
                float ds = sees ? w * (slope - p.delta.at[n * HEADS + head]) * factor : 0.0;
                [[unroll]] for (uint d = 0; d < SIZE; d++) {
                    sum_k[d] = fma(ds, p.q.at[q + d], sum_k[d]);
                    sum_v[d] = fma(w, p.dy.at[dy + d], sum_v[d]);
                }
            }
        }
    if (row >= p.keys) return;
    [[unroll]] for (uint d = 0; d < SIZE; d++) {
        p.dk.at[m * p.stride_dk + group * SIZE + d] = sum_k[d];
        p.dv.at[m * p.stride_dv + group * SIZE + d] = sum_v[d];
    }
}
