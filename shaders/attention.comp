#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention.glsl"
// FlashAttention-2, forward (Dao 2023, algorithm 1; names in lib/attention.glsl), with an online
// softmax (Milakov and Gimelshein 2018):
//   y = softmax(scale q k^T) v, lse = log sum exp of the scores
//   q [N,H,D], k, v [M,G,D], first, last [N] -> y [N,H,D], lse [N,H]; G = KV_HEADS
// One workgroup: Br queries of one head of one sequence. For each tile of Bc keys that any sees:
//   1. s = scale q k^T, capped; -inf where masked
//   2. m_new = max(m, rowmax(s)); alpha = exp(m - m_new)
//   3. p = exp(s - m_new); l = alpha l + rowsum(p); o = alpha o
//   4. o = o + p v
// At the end y = o / l, lse = m + log(l). The THREADS_X invocations of a row all know its m; each
// has the part of l that its columns add, and the parts are added at the end.
layout(push_constant, std430) uniform Push {
    InputRows4 q, k, v;
    Indices first, last;
    Rows4Out y;
    Floats lse;
    uint queries, keys, stride_q, stride_k, stride_v, stride_y;
    float scale, softcap;
} p;

// Four values of each row, one an invocation, to shared memory, where row_parts() finds them.
const uint PARTS = THREADS_X / 4;
void share_parts(float parts[TM]) {
    barrier();
    [[unroll]] for (uint i = 0; i < TM; i++)
        staged[AT_V + (thread_y() + i * THREADS_Y) * PARTS + thread_x() / 4][thread_x() % 4] = parts[i];
    barrier();
}
vec4 row_parts(uint i, uint part) {
    return staged[AT_V + (thread_y() + i * THREADS_Y) * PARTS + part];
}

// Steps 2 and 3; s becomes p.
void online_softmax(inout vec4 s[TM], inout float m[TM], inout float l[TM], inout vec4 o[SUMS]) {
    float maxima[TM];
    [[unroll]] for (uint i = 0; i < TM; i++) maxima[i] = max(max(s[i].x, s[i].y), max(s[i].z, s[i].w));
    share_parts(maxima);
    [[unroll]] for (uint i = 0; i < TM; i++) {
        float m_old = m[i];
        [[unroll]] for (uint part = 0; part < PARTS; part++) {
            vec4 v = row_parts(i, part);
            m[i] = max(m[i], max(max(v.x, v.y), max(v.z, v.w)));
        }
        float shift = m[i] == MINUS_INFINITY ? 0.0 : m[i], alpha = safe_exp(m_old - shift);
        s[i] = probabilities(s[i], vec4(shift));
        l[i] = l[i] * alpha + ((s[i].x + s[i].y) + (s[i].z + s[i].w));
        [[unroll]] for (uint w = 0; w < TD4; w++) o[i * TD4 + w] *= alpha;
    }
}

void main() {
    uint row = gl_WorkGroupID.x * BR, head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint kv_head = head / (HEADS / KV_HEADS);
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), k = rows_of(sequence, p.keys, p.stride_k, kv_head);
    Rows v = rows_of(sequence, p.keys, p.stride_v, kv_head), to = rows_of(sequence, p.queries, p.stride_y, head);
    vec4 o[SUMS], s[TM];
    float m[TM], l[TM];
    [[unroll]] for (uint i = 0; i < SUMS; i++) o[i] = vec4(0.0);
    [[unroll]] for (uint i = 0; i < TM; i++) {
        m[i] = MINUS_INFINITY;
        l[i] = 0.0;
    }
    load_mask(p.first, p.last, sequence, p.queries, row, p.keys);
    uint begin = uint(any_begin) / BC * BC, end = uint(any_end);
    for (uint key0 = begin; key0 < end; key0 += BC) {
        bool masked = is_masked(key0);
        multiply_abt(p.q, q, row, p.k, k, key0, s);   // 1
        scale_scores(p.scale, p.softcap, s);
        if (masked) hide(key0, MINUS_INFINITY, s);
        online_softmax(s, m, l, o);   // 2, 3
        share_tile(s);
        accumulate(p.v, v, key0, masked, o);   // 4
    }
    share_parts(l);
    [[unroll]] for (uint i = 0; i < TM; i++) {
        uint r = thread_y() + i * THREADS_Y;
        bool seen = key_begin[r] < key_end[r];
        float sum = 0.0;
        [[unroll]] for (uint part = 0; part < PARTS; part++) {
            vec4 v = row_parts(i, part);
            sum += (v.x + v.y) + (v.z + v.w);
        }
        float over_l = 1.0 / sum;
        [[unroll]] for (uint w = 0; w < TD4; w++) o[i * TD4 + w] = seen ? o[i * TD4 + w] * over_l : vec4(0.0);
        if (thread_x() == 0 && row + r < p.queries)
            p.lse.at[(sequence * p.queries + row + r) * HEADS + head] = seen ? m[i] + safe_log(sum) : MINUS_INFINITY;
    }
    store_tile(p.y, to, row, o);
}
