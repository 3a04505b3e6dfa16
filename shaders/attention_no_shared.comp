#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention_no_shared.glsl"
// FlashAttention-2, forward, without shared memory (names and steps as in attention.comp): one
// query an invocation. All read the same keys and values, and never wait for each other.
//   q [N,H,D], k, v [M,G,D], first, last [N] -> y [N,H,D], lse [N,H]; G = KV_HEADS
layout(push_constant, std430) uniform Push {
    InputRows q, k, v;
    Indices first, last;
    RowsOut y;
    Floats lse;
    uint queries, keys, stride_q, stride_k, stride_v, stride_y;
    float scale, softcap;
} p;

void main() {
    uint row = gl_GlobalInvocationID.x, head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint kv_head = head / (HEADS / KV_HEADS), n = sequence * p.queries + min(row, p.queries - 1);
    uint k = sequence * p.keys * p.stride_k + kv_head * D, v = sequence * p.keys * p.stride_v + kv_head * D;
    ivec2 any = visible_to_any(p.first, p.last, sequence, p.queries, p.keys), mask = visible_keys(p.first, p.last, n, p.keys);
    float q[D], o[D], m = MINUS_INFINITY, l = 0.0;
    [[unroll]] for (uint d = 0; d < D; d++) {
        q[d] = AT(p.q, n * p.stride_q + head * D, d) * p.scale;
        o[d] = 0.0;
    }
    for (int key0 = any.x; key0 < any.y; key0 += int(BC)) {
        float s[BC], m_new = m;
        [[unroll]] for (uint j = 0; j < BC; j++) {
            int key = key0 + int(j);
            uint from = k + uint(min(key, any.y - 1)) * p.stride_k;
            float s_j = 0.0;
            [[unroll]] for (uint d = 0; d < D; d++) s_j = fma(q[d], AT(p.k, from, d), s_j);
            if (CAPPED) s_j = softcap(s_j, p.softcap);
            s[j] = key >= mask.x && key < mask.y ? s_j : MINUS_INFINITY;
            m_new = s[j] > m_new ? s[j] : m_new;
        }
        float shift = m_new == MINUS_INFINITY ? 0.0 : m_new, alpha = safe_exp(m - shift);
        m = m_new;
        l *= alpha;
        [[unroll]] for (uint d = 0; d < D; d++) o[d] *= alpha;
        [[unroll]] for (uint j = 0; j < BC; j++) {
            uint from = v + uint(min(key0 + int(j), any.y - 1)) * p.stride_v;
            float p_j = safe_exp(s[j] - shift);
            l += p_j;
            // p = 0 would hide only what is finite.
            bool seen = key0 + int(j) >= mask.x && key0 + int(j) < mask.y;
            [[unroll]] for (uint d = 0; d < D; d++) {
                float value = AT(p.v, from, d);
                o[d] = fma(p_j, seen ? value : 0.0, o[d]);
            }
        }
    }
    if (row >= p.queries) return;
    bool seen = mask.x < mask.y;
    float over_l = 1.0 / l;
    [[unroll]] for (uint d = 0; d < D; d++) o[d] = seen ? o[d] * over_l : 0.0;
    PUT_ROW(p.y, n * p.stride_y + head * D, o);
    p.lse.at[n * HEADS + head] = seen ? m + safe_log(l) : MINUS_INFINITY;
}
