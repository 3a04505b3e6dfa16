#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/attention_cm.glsl"
// FlashAttention-2, forward, on matrix units: formula, shapes and steps as in attention.comp.
layout(push_constant, std430) uniform Push {
    InputRows8 q, k, v;
    Indices first, last;
    Words2 y;
    Floats lse;
    uint queries, keys, stride_q, stride_k, stride_v, stride_y;
    float scale, softcap;
} p;

shared float alpha[BR];   // by which a step multiplies each row of o

// A float of each row and invocation, over the invocations of the row: the largest, or the sum.
void share_parts(float parts[VECS]) {
    subgroup_wait();
    [[unroll]] for (uint n = 0; n < VECS; n++)
        own[own_at() + lane_row(n) * (ACROSS / 4) + lane_x() / 4][lane_x() % 4] = floatBitsToUint(parts[n]);
    subgroup_wait();
}
vec4 row_parts(uint n, uint part) {
    return uintBitsToFloat(own[own_at() + lane_row(n) * (ACROSS / 4) + part]);
}

// s becomes p.
void online_softmax(inout vec4 s[SCORES], inout float m[VECS], inout float l[VECS]) {
    float maxima[VECS];
    [[unroll]] for (uint n = 0; n < VECS; n++) {
        vec4 v = s[n];
        [[unroll]] for (uint t = 1; t < STRIPES; t++) v = max(v, s[t * VECS + n]);
        maxima[n] = max(max(v.x, v.y), max(v.z, v.w));
    }
    share_parts(maxima);
    [[unroll]] for (uint n = 0; n < VECS; n++) {
        float m_old = m[n];
        [[unroll]] for (uint part = 0; part < ACROSS / 4; part++) {
            vec4 v = row_parts(n, part);
            m[n] = max(m[n], max(max(v.x, v.y), max(v.z, v.w)));
        }
        float shift = m[n] == MINUS_INFINITY ? 0.0 : m[n], factor = safe_exp(m_old - shift);
        l[n] *= factor;
        [[unroll]] for (uint t = 0; t < STRIPES; t++) {
            vec4 v = exp4(s[t * VECS + n] - shift);
            l[n] += (v.x + v.y) + (v.z + v.w);
            s[t * VECS + n] = v;
        }
        if (lane_x() == 0) alpha[own_row() + lane_row(n)] = factor;
    }
}

// Rows that see a key whose v is not finite are not finite either.
void spoil(uint key0, inout float l[VECS]) {
    [[unroll]] for (uint i = 0; i < SCORES; i++)
        [[unroll]] for (uint e = 0; e < 4; e++) {
            uint r = tile_row_of(i), c = tile_column_of(i, e);
            if ((bad_keys[c / 32] >> c % 32 & 1u) != 0 && sees(r, c, key0)) l[i % VECS] = uintBitsToFloat(0x7fc00000u);
        }
}

#define Q_LEFT(to, i, step) ROWS_LEFT(p.q, q, to, i, step)
void main() {
    uint begin_row = gl_WorkGroupID.x * BR, row = tile_row(gl_WorkGroupID.x, p.queries);
    uint head = gl_WorkGroupID.y, sequence = gl_WorkGroupID.z, kv_head = head / (HEADS / KV_HEADS);
    Rows q = rows_of(sequence, p.queries, p.stride_q, head), k = rows_of(sequence, p.keys, p.stride_k, kv_head);
    Rows v = rows_of(sequence, p.keys, p.stride_v, kv_head), to = rows_of(sequence, p.queries, p.stride_y, head);
    SUMS o[TILES_M * TILES_D], sums[TILES_M * TILES_S], factor;
    vec4 s[SCORES];
    float m[VECS], l[VECS];
    CLEAR(o, TILES_M * TILES_D);
    [[unroll]] for (uint n = 0; n < VECS; n++) {
        m[n] = MINUS_INFINITY;
        l[n] = 0.0;
    }
    load_mask(p.first, p.last, sequence, p.queries, row, p.keys);
    uint begin = uint(any_begin) / BC * BC, end = uint(any_end);
    for (uint key0 = begin; key0 < end; key0 += BC) {
        bool masked = is_masked(key0);
        stage_rows(p.k, k, key0);
        SCORES_OF(sums, Q, q, row)
        SPREAD(sums, s)
        scale_scores(p.scale, p.softcap, s);
        if (masked) hide(key0, MINUS_INFINITY, s);
        online_softmax(s, m, l);
        share_tile(s);
        [[unroll]] for (uint i = 0; i < TILES_M; i++) {
            coopMatLoad(factor, alpha, own_row() + i * MM, 0, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint j = 0; j < TILES_D; j++) o[i * TILES_D + j] *= factor;
        }
        stage_columns(p.v, v, key0, masked);
        if (masked && poisoned) spoil(key0, l);
        ADD_PRODUCT(o)
    }
    float over_l[VECS];
    share_parts(l);
    [[unroll]] for (uint n = 0; n < VECS; n++) {
        uint r = own_row() + lane_row(n), at = row + r;
        bool seen = key_begin[r] < key_end[r];
        float sum = 0.0;
        [[unroll]] for (uint part = 0; part < ACROSS / 4; part++) {
            vec4 x = row_parts(n, part);
            sum += (x.x + x.y) + (x.z + x.w);
        }
        over_l[n] = seen ? 1.0 / sum : 0.0;
        if (lane_x() == 0 && at >= begin_row)
            p.lse.at[(sequence * p.queries + at) * HEADS + head] = seen ? m[n] + safe_log(sum) : MINUS_INFINITY;
    }
    STORE_ROWS(o, p.y, to, row, begin_row, over_l)
}
