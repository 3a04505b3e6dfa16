#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention.glsl"
// FlashAttention-2, forward (Dao 2023, algorithm 1; names in lib/attention.glsl), with an online
// softmax (Milakov and Gimelshein 2018):
//   y = softmax(scale q k^T) v, lse = log sum exp of the scores
//   q [N,H,D], k, v [M,G,D], first, last [N] -> y [N,H,D], lse [N,H]; G = KV_HEADS
// One workgroup: TILE queries of one head of one sequence. For each tile of keys:
//   1. s = scale q k^T, capped
//   2. m_new = max(m, rowmax(s)); alpha = exp(m - m_new)
//   3. p = exp(s - m_new), 0 where masked; o = alpha o
//   4. l = alpha l + rowsum(p)
//   5. o = o + p v
// At the end y = o / l, lse = m + log(l).
layout(push_constant, std430) uniform Push {
    Inputs q, k, v;
    Indices first, last;
    Floats y, lse;
    uint queries, keys, stride_q, stride_k, stride_v, stride_y;
    float scale, softcap;
} p;

shared float m[TILE], l[TILE], alpha[TILE];   // of each query

void main() {
    uint tid = gl_LocalInvocationID.x, x = tid % THREADS_X, y = tid / THREADS_X;
    uint row = gl_WorkGroupID.x * TILE, head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint kv_head = head / (HEADS / KV_HEADS);
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), k = rows_of(sequence, p.keys, p.stride_k, kv_head);
    Rows v = rows_of(sequence, p.keys, p.stride_v, kv_head), to = rows_of(sequence, p.queries, p.stride_y, head);
    float o[SUMS], s[SCORES];
    [[unroll]] for (uint i = 0; i < SUMS; i++) o[i] = 0.0;
    if (tid < TILE) {
        m[tid] = MINUS_INFINITY;
        l[tid] = 0.0;
    }
    load_mask(p.first, p.last, sequence, p.queries, row, p.keys);
    int begin = any_begin / int(TILE) * int(TILE), end = any_end;
    for (int key0 = begin; key0 < end; key0 += int(TILE)) {
        multiply_abt(p.q, q, row, p.k, k, uint(key0), s);   // 1
        [[unroll]] for (uint i = 0; i < SCORES; i++) {
            s[i] *= p.scale;
            if (CAPPED) s[i] = softcap(s[i], p.softcap);
        }
        share_tile(s);
        if (tid < TILE) {   // 2
            float m_old = m[tid], m_new = m_old;
            int from = max(key_begin[tid] - key0, 0), to = min(key_end[tid] - key0, int(TILE));
            for (int j = from; j < to; j++) {
                float s_j = shared_tile[tid * PITCH + uint(j)];
                m_new = s_j > m_new ? s_j : m_new;
            }
            m[tid] = m_new;
            alpha[tid] = m_old == MINUS_INFINITY ? 0.0 : safe_exp(m_old - m_new);
        }
        barrier();
        [[unroll]] for (uint i = 0; i < TM; i++)   // 3
            [[unroll]] for (uint j = 0; j < TN; j++) {
                uint r = y + i * THREADS_Y;
                int key = key0 + int(x + j * THREADS_X);
                bool seen = key >= key_begin[r] && key < key_end[r];
                s[i * TN + j] = seen ? safe_exp(s[i * TN + j] - m[r]) : 0.0;
                [[unroll]] for (uint w = 0; j == 0 && w < TD; w++) o[i * TD + w] *= alpha[r];
            }
        share_tile(s);
        if (tid < TILE) {   // 4
            float row_sum = 0.0;
            for (uint j = 0; j < TILE; j++) row_sum += shared_tile[tid * PITCH + j];
            l[tid] = l[tid] * alpha[tid] + row_sum;
        }
        accumulate(p.v, v, uint(key0), key0 < all_begin || key0 + int(TILE) > all_end, o);   // 5
    }
    barrier();
    [[unroll]] for (uint i = 0; i < TM; i++) {
        uint r = y + i * THREADS_Y;
        float over_l = key_begin[r] < key_end[r] ? 1.0 / l[r] : 0.0;
        [[unroll]] for (uint w = 0; w < TD; w++) o[i * TD + w] *= over_l;
    }
    store(p.y, to, row, o);
    if (tid < TILE && row + tid < p.queries) {
        bool seen = key_begin[tid] < key_end[tid];
        p.lse.at[(sequence * p.queries + row + tid) * HEADS + head] = seen ? m[tid] + safe_log(l[tid]) : MINUS_INFINITY;
    }
}
