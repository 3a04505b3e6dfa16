#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/storage.glsl"
// Cross-entropy of rows of logits, one workgroup a row. With z = softcap(scale * logit):
//   loss = logsumexp(z) - z[target], 0 where target < 0
//   logits [N,V] (rows aligned for vec4), targets [N], seed [1] -> loss [N]
// GRADIENT: dlogits [N,V] = d(seed * loss) / d(logit) in the place of the logits, 0 where target < 0. For
// each row:
//   1. m = max(z), l = sum of exp(z - m) in one pass (Milakov and Gimelshein 2018), a part of each an
//      invocation; loss = m - z[target] + log(l)
//   2. GRADIENT: softmax(z) - one_hot(target), times the derivatives of cap and scale
// Where m is not finite, 0 takes its place in exponents.
layout(constant_id = 2) const bool GRADIENT = false;
layout(constant_id = 3) const uint TYPE = F32;   // of logits
layout(constant_id = 4) const uint TYPE_D = F32;   // of dlogits, as many bits
const uint ROUND = 4;   // vec4s of an invocation for which l is rescaled once

layout(push_constant, std430) uniform Push {
    Words4 logits4;
    Words2 logits2;   // the same address again
    Indices targets;
    Inputs seed;
    Floats loss;
    uint rows, cols, stride;
    float scale, softcap;
} p;

shared float part_m[WIDTH], part_l[WIDTH];

vec4 scores(uint at) {
    vec4 z = p.scale * (TYPE == F32 ? uintBitsToFloat(p.logits4.at[at]) : unpack_words(p.logits2.at[at], TYPE));
    if (p.softcap > 0.0) [[unroll]] for (uint j = 0; j < 4; j++) z[j] = softcap(z[j], p.softcap);
    return z;
}
void store_gradient(uint at, vec4 dz) {
    if (TYPE_D == F32) p.logits4.at[at] = floatBitsToUint(dz);
    else p.logits2.at[at] = pack_words(dz, TYPE_D);
}
float larger(float m, float z) {   // m where z is not a number
    return z > m ? z : m;
}
float shift_of(float m) {
    return finite(m) ? m : 0.0;
}

// The m and l of an invocation's columns.
void sum_columns(uint base, out float m, out float l) {
    m = MINUS_INFINITY;
    l = 0.0;
    for (uint first = gl_LocalInvocationID.x; first * 4 < p.cols; first += ROUND * WIDTH) {
        vec4 z[ROUND];
        float m_old = m;
        [[unroll]] for (uint i = 0; i < ROUND; i++) {
            uint c = (first + i * WIDTH) * 4;
            z[i] = scores(base + min(c, p.cols - 1) / 4);
            [[unroll]] for (uint j = 0; j < 4; j++) {
                if (c + j >= p.cols) z[i][j] = MINUS_INFINITY;
                m = larger(m, z[i][j]);
            }
        }
        float shift = shift_of(m);
        l *= safe_exp(m_old - shift);
        [[unroll]] for (uint i = 0; i < ROUND; i++)
            [[unroll]] for (uint j = 0; j < 4; j++) l += safe_exp(z[i][j] - shift);
    }
}

// The m and l of the row, from those of all invocations, as a tree.
void reduce(inout float m, inout float l) {
    uint tid = gl_LocalInvocationID.x;
    part_m[tid] = m;
    part_l[tid] = l;
    barrier();
    for (uint step = WIDTH / 2; step > 0; step /= 2) {
        if (tid < step) {
            float m_both = larger(part_m[tid], part_m[tid + step]), shift = shift_of(m_both);
            part_l[tid] = part_l[tid] * safe_exp(part_m[tid] - shift) + part_l[tid + step] * safe_exp(part_m[tid + step] - shift);
            part_m[tid] = m_both;
        }
        barrier();
    }
    m = part_m[0];
    l = part_l[0];
    barrier();
}

void scored_row(uint row, uint target) {
    uint tid = gl_LocalInvocationID.x, base = row * p.stride / 4;
    float z_target = scores(base + target / 4)[target % 4], m, l;
    sum_columns(base, m, l);   // 1
    reduce(m, l);
    m = shift_of(m);
    if (tid == 0) p.loss.at[row] = (m - z_target) + safe_log(l);
    if (!GRADIENT) return;
    float factor = p.seed.at[0] * p.scale, over_l = 1.0 / l;   // 2
    for (uint v = tid; v * 4 < p.cols; v += WIDTH) {
        vec4 z = scores(base + v), dz;
        [[unroll]] for (uint j = 0; j < 4; j++) {
            dz[j] = safe_exp(z[j] - m) * over_l - (v * 4 + j == target ? 1.0 : 0.0);
            if (p.softcap > 0.0) dz[j] *= softcap_grad(z[j], p.softcap);
        }
        store_gradient(base + v, factor * dz);
    }
}

void main() {
    for (uint row = gl_WorkGroupID.x; row < p.rows; row += gl_NumWorkGroups.x) {
        int target = p.targets.at[min(row, p.rows - 1)];
        if (target >= 0) {
            scored_row(row, uint(target));
        } else {
            if (gl_LocalInvocationID.x == 0) p.loss.at[row] = 0.0;
            if (GRADIENT)
                for (uint v = gl_LocalInvocationID.x; v * 4 < p.cols; v += WIDTH)
                    store_gradient(row * p.stride / 4 + v, vec4(0.0));
        }
    }
}
