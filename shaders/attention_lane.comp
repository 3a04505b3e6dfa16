#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention_lane.glsl"
// Attention with one query an invocation: keys and values are the same for all, no memory is
// shared, nobody waits.
layout(push_constant, std430) uniform Push {
    Inputs q, k, v;
    Indices first, last;
    Floats y, lse;
    uint queries, keys, stride_q, stride_k, stride_v, stride_y;
    float scale, softcap;
} p;

void main() {
    uint row = gl_GlobalInvocationID.x, head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint group = head / (HEADS / GROUPS), n = sequence * p.queries + min(row, p.queries - 1);
    uint k = sequence * p.keys * p.stride_k + group * SIZE, v = sequence * p.keys * p.stride_v + group * SIZE;
    ivec2 all = span(p.first, p.last, sequence, p.queries, p.keys), own = range(p.first, p.last, n, p.keys);
    float q[SIZE], sum[SIZE], top = MINUS_INFINITY, total = 0.0;
    [[unroll]] for (uint d = 0; d < SIZE; d++) {
        q[d] = p.q.at[n * p.stride_q + head * SIZE + d] * p.scale;
        sum[d] = 0.0;
    }
    for (int at = all.x; at < all.y; at += int(KEYS)) {
        float score[KEYS], most = top;
        [[unroll]] for (uint j = 0; j < KEYS; j++) {
            int key = at + int(j);
            uint from = k + uint(min(key, all.y - 1)) * p.stride_k;
            float s = 0.0;
            [[unroll]] for (uint d = 0; d < SIZE; d++) s = fma(q[d], p.k.at[from + d], s);
            if (CAPPED) s = cap(s, p.softcap);
            score[j] = key >= own.x && key < own.y ? s : MINUS_INFINITY;
            most = score[j] > most ? score[j] : most;
        }
        float base = most == MINUS_INFINITY ? 0.0 : most, fade = safe_exp(top - base);
        top = most;
        total *= fade;
        [[unroll]] for (uint d = 0; d < SIZE; d++) sum[d] *= fade;
        [[unroll]] for (uint j = 0; j < KEYS; j++) {
            uint from = v + uint(min(at + int(j), all.y - 1)) * p.stride_v;
            float w = safe_exp(score[j] - base);
            total += w;
            // What is not seen counts nothing even where it is no number.
            bool sees = at + int(j) >= own.x && at + int(j) < own.y;
            [[unroll]] for (uint d = 0; d < SIZE; d++) {
                float value = p.v.at[from + d];
                sum[d] = fma(w, sees ? value : 0.0, sum[d]);
            }
        }
    }
    if (row >= p.queries) return;
    bool sees = own.x < own.y;
    float over = 1.0 / total;
    [[unroll]] for (uint d = 0; d < SIZE; d++)
        p.y.at[n * p.stride_y + head * SIZE + d] = sees ? sum[d] * over : 0.0;
    p.lse.at[n * HEADS + head] = sees ? top + safe_log(total) : MINUS_INFINITY;
}
