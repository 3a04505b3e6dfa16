#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention_no_shared.glsl"
// FlashAttention-2, backward, without shared memory, pass 2 of 2: dk and dv with one key an
// invocation (steps as in attention_grad_kv.comp). Sums run over the queries that see any key of
// the workgroup and over the query heads that share the key head, in order.
//   dy, q [N,H,D], k, v [M,G,D], lse, delta [N,H], first, last [N] -> dk, dv [M,G,D]; G = KV_HEADS
layout(push_constant, std430) uniform Push {
    InputRows dy, q, k, v;
    Inputs lse, delta;
    Indices first, last;
    RowsOut dk, dv;
    uint queries, keys, stride_dy, stride_q, stride_k, stride_v, stride_dk, stride_dv;
    float scale, softcap;
} p;

// Whether any of the queries query0 .. query0 + BC - 1 sees a key of [begin, end).
bool any_sees(uint sequence, uint query0, int begin, int end) {
    bool any = false;
    [[unroll]] for (uint j = 0; j < BC; j++) {
        ivec2 mask = visible_keys(p.first, p.last, sequence * p.queries + min(query0 + j, p.queries - 1), p.keys);
        any = any || (mask.y > begin && mask.x < end);
    }
    return any;
}

void main() {
    uint row = gl_GlobalInvocationID.x, kv_head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint m = sequence * p.keys + min(row, p.keys - 1);
    int begin = int(gl_WorkGroupID.x * WIDTH), end = begin + int(WIDTH);
    float k[D], v[D], dk[D], dv[D];
    [[unroll]] for (uint d = 0; d < D; d++) {
        k[d] = AT(p.k, m * p.stride_k + kv_head * D, d) * p.scale;
        v[d] = AT(p.v, m * p.stride_v + kv_head * D, d);
        dk[d] = dv[d] = 0.0;
    }
    // From the first to the last query that sees a key of this workgroup, BC at a time.
    uint from = 0, to = (p.queries + BC - 1) / BC * BC;
    while (from < to && !any_sees(sequence, from, begin, end)) from += BC;
    while (to > from && !any_sees(sequence, to - BC, begin, end)) to -= BC;
    for (uint query0 = from; query0 < to; query0 += BC)
        [[unroll]] for (uint j = 0; j < BC; j++) {
            uint i = min(query0 + j, p.queries - 1), n = sequence * p.queries + i;
            ivec2 mask = visible_keys(p.first, p.last, n, p.keys);
            bool seen = int(row) >= mask.x && int(row) < mask.y && query0 + j < p.queries;
            [[unroll]] for (uint h = 0; h < HEADS / KV_HEADS; h++) {
                uint head = kv_head * (HEADS / KV_HEADS) + h;
                uint q = n * p.stride_q + head * D, dy = n * p.stride_dy + head * D;
                float s_ij = 0.0, dp = 0.0, factor = p.scale;
                [[unroll]] for (uint d = 0; d < D; d++) {
                    s_ij = fma(k[d], AT(p.q, q, d), s_ij);
                    dp = fma(v[d], AT(p.dy, dy, d), dp);
                }
                if (CAPPED) {
                    s_ij = softcap(s_ij, p.softcap);
                    factor *= softcap_grad(s_ij, p.softcap);
                }
                float p_ij = seen ? safe_exp(s_ij - p.lse.at[n * HEADS + head]) : 0.0;
                float ds = seen ? p_ij * (dp - p.delta.at[n * HEADS + head]) * factor : 0.0;
                [[unroll]] for (uint d = 0; d < D; d++) {
                    dk[d] = fma(ds, AT(p.q, q, d), dk[d]);
                    dv[d] = fma(p_ij, AT(p.dy, dy, d), dv[d]);
                }
            }
        }
    if (row >= p.keys) return;
    PUT_ROW(p.dk, m * p.stride_dk + kv_head * D, dk);
    PUT_ROW(p.dv, m * p.stride_dv + kv_head * D, dv);
}
