#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention.glsl"
// y = softmax(score) v, lse = log sum exp of scores, tile by tile of keys with a running maximum
// (Milakov and Gimelshein 2018; Dao et al. 2022). One workgroup: SIDE queries of one head of one
// sequence.
layout(push_constant, std430) uniform Push {
    Inputs q, k, v;
    Indices first, last;
    Floats y, lse;
    uint queries, keys, stride_q, stride_k, stride_v, stride_y;
    float scale, softcap;
} p;

shared float top[SIDE], total[SIDE], fade[SIDE];   // of each query: maximum, sum; what earlier sums are multiplied by

void main() {
    uint lane = gl_LocalInvocationID.x, x = lane % ACROSS, y = lane / ACROSS;
    uint row = gl_WorkGroupID.x * SIDE, head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z;
    uint group = head / (HEADS / GROUPS);
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), k = rows_of(sequence, p.keys, p.stride_k, group);
    Rows v = rows_of(sequence, p.keys, p.stride_v, group), to = rows_of(sequence, p.queries, p.stride_y, head);
    float sum[SUMS], tile[SCORES];
    [[unroll]] for (uint i = 0; i < SUMS; i++) sum[i] = 0.0;
    if (lane < SIDE) {
        top[lane] = MINUS_INFINITY;
        total[lane] = 0.0;
    }
    load_ranges(p.first, p.last, sequence, p.queries, row, p.keys);
    int begin = tile_from / int(SIDE) * int(SIDE), end = tile_to;
    for (int at = begin; at < end; at += int(SIDE)) {
        multiply(p.q, q, row, p.k, k, uint(at), tile);
        [[unroll]] for (uint i = 0; i < SCORES; i++) {
            tile[i] *= p.scale;
            if (CAPPED) tile[i] = cap(tile[i], p.softcap);
        }
        share(tile);
        if (lane < SIDE) {
            float old = top[lane], most = old;
            int from = max(range_from[lane] - at, 0), to = min(range_to[lane] - at, int(SIDE));
            for (int j = from; j < to; j++) {
                float score = weights[lane * ROW + uint(j)];
                most = score > most ? score : most;
            }
            top[lane] = most;
            fade[lane] = old == MINUS_INFINITY ? 0.0 : safe_exp(old - most);
        }
        barrier();
        [[unroll]] for (uint i = 0; i < TILE_ROWS; i++)
            [[unroll]] for (uint j = 0; j < TILE_COLS; j++) {
                uint r = y + i * DOWN;
                int key = at + int(x + j * ACROSS);
                bool sees = key >= range_from[r] && key < range_to[r];
                tile[i * TILE_COLS + j] = sees ? safe_exp(tile[i * TILE_COLS + j] - top[r]) : 0.0;
                [[unroll]] for (uint w = 0; j == 0 && w < WIDE; w++) sum[i * WIDE + w] *= fade[r];
            }
        share(tile);
        if (lane < SIDE) {
            float more = 0.0;
            for (uint j = 0; j < SIDE; j++) more += weights[lane * ROW + j];
            total[lane] = total[lane] * fade[lane] + more;
        }
        accumulate(p.v, v, uint(at), at < every_from || at + int(SIDE) > every_to, sum);
    }
    barrier();
    [[unroll]] for (uint i = 0; i < TILE_ROWS; i++) {
        uint r = y + i * DOWN;
        float over = range_from[r] < range_to[r] ? 1.0 / total[r] : 0.0;
        [[unroll]] for (uint w = 0; w < WIDE; w++) sum[i * WIDE + w] *= over;
    }
    store(p.y, to, row, sum);
    if (lane < SIDE && row + lane < p.queries) {
        bool sees = range_from[lane] < range_to[lane];
        p.lse.at[(sequence * p.queries + row + lane) * HEADS + head] = sees ? top[lane] + safe_log(total[lane]) : MINUS_INFINITY;
    }
}
