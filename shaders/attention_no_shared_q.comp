#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention_no_shared.glsl"
// FlashAttention-2, backward, without shared memory, pass 1 of 2: dq with one query an invocation
// (steps as in attention_grad_q.comp), and delta = rowsum(dy * y), which pass 2 reads.
//   dy, q [N,H,D], k, v [M,G,D], y [N,H,D], lse [N,H], first, last [N] -> dq [N,H,D], delta [N,H]
layout(push_constant, std430) uniform Push {
    InputRows dy, q, k, v, y;
    Inputs lse;
    Indices first, last;
    RowsOut dq;
    Floats delta;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_y, stride_dq;
    float scale, softcap;
} p;

void main() {
    uint row = gl_GlobalInvocationID.x, head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint kv_head = head / (HEADS / KV_HEADS), n = sequence * p.queries + min(row, p.queries - 1);
    uint k = sequence * p.keys * p.stride_k + kv_head * D, v = sequence * p.keys * p.stride_v + kv_head * D;
    ivec2 any = visible_to_any(p.first, p.last, sequence, p.queries, p.keys), mask = visible_keys(p.first, p.last, n, p.keys);
    float q[D], dy[D], dq[D], delta = 0.0, lse = p.lse.at[n * HEADS + head];
    [[unroll]] for (uint d = 0; d < D; d++) {
        q[d] = AT(p.q, n * p.stride_q + head * D, d) * p.scale;
        dy[d] = AT(p.dy, n * p.stride_dy + head * D, d);
        delta += dy[d] * AT(p.y, n * p.stride_y + head * D, d);
        dq[d] = 0.0;
    }
    for (int key0 = any.x; key0 < any.y; key0 += int(BC))
        [[unroll]] for (int j = 0; j < int(BC); j++) {
            int key = key0 + j;
            uint here = uint(min(key, any.y - 1)), from_k = k + here * p.stride_k, from_v = v + here * p.stride_v;
            float s_ij = 0.0, dp = 0.0, factor = p.scale;
            [[unroll]] for (uint d = 0; d < D; d++) {
                s_ij = fma(q[d], AT(p.k, from_k, d), s_ij);
                dp = fma(dy[d], AT(p.v, from_v, d), dp);
            }
            if (CAPPED) {
                s_ij = softcap(s_ij, p.softcap);
                factor *= softcap_grad(s_ij, p.softcap);
            }
            bool seen = key >= mask.x && key < mask.y;
            float ds = seen ? safe_exp(s_ij - lse) * (dp - delta) * factor : 0.0;
            [[unroll]] for (uint d = 0; d < D; d++) dq[d] = fma(ds, AT(p.k, from_k, d), dq[d]);
        }
    if (row >= p.queries) return;
    PUT_ROW(p.dq, n * p.stride_dq + head * D, dq);
    p.delta.at[n * HEADS + head] = delta;
}
