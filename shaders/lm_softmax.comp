#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
// Cross-entropy of rows of logits, one workgroup a row. With z = softcap(scale * logit):
//   loss = logsumexp(z) - z[target], 0 where target < 0
//   logits [N,V], targets [N], seed [1] -> loss [N]
// GRADIENT: logits become d(seed * loss) / d(logit) in place, 0 where target < 0. For each row:
//   1. m = max(z)
//   2. l = sum of exp(z - m); loss = m - z[target] + log(l)
//   3. GRADIENT: softmax(z) - one_hot(target), times the derivatives of cap and scale
layout(constant_id = 2) const bool GRADIENT = false;

layout(push_constant, std430) uniform Push {
    Floats logits;
    Indices targets;
    Inputs seed;
    Floats loss;
    uint rows, cols, stride;
    float scale, softcap;
} p;

shared float maxima[WIDTH];
shared float target_logit;   // z[target]

float max_width(float value) {
    uint tid = gl_LocalInvocationID.x;
    maxima[tid] = value;
    barrier();
    for (uint step = WIDTH / 2; step > 0; step /= 2) {
        if (tid < step && maxima[tid + step] > maxima[tid]) maxima[tid] = maxima[tid + step];
        barrier();
    }
    float m = maxima[0];
    barrier();
    return m;
}

void scored_row(uint row, int target) {
    uint tid = gl_LocalInvocationID.x, base = row * p.stride;
    float m = MINUS_INFINITY, l = 0.0;
    // 1
    for (uint c = tid; c < p.cols; c += WIDTH) {
        float z = softcap(p.scale * p.logits.at[base + c], p.softcap);
        m = z > m ? z : m;
        if (c == uint(target)) target_logit = z;
        if (GRADIENT) p.logits.at[base + c] = z;
    }
    m = max_width(m);
    float z_target = target_logit;   // before the next row's is written
    if (!finite(m)) m = 0.0;
    // 2
    for (uint c = tid; c < p.cols; c += WIDTH) {
        float z = p.logits.at[base + c];
        if (!GRADIENT) z = softcap(p.scale * z, p.softcap);
        l += safe_exp(z - m);
    }
    l = sum_width(l);
    if (tid == 0) p.loss.at[row] = (m - z_target) + safe_log(l);
    if (!GRADIENT) return;
    // 3
    float factor = p.seed.at[0] * p.scale, over_l = 1.0 / l;
    for (uint c = tid; c < p.cols; c += WIDTH) {
        float z = p.logits.at[base + c], dz = safe_exp(z - m) * over_l;
        if (c == uint(target)) dz -= 1.0;
        p.logits.at[base + c] = factor * dz * softcap_grad(z, p.softcap);
    }
}

void main() {
    for (uint row = gl_WorkGroupID.x; row < p.rows; row += gl_NumWorkGroups.x) {
        int target = p.targets.at[min(row, p.rows - 1)];
        if (target >= 0) {
            scored_row(row, target);
        } else {
            if (gl_LocalInvocationID.x == 0) p.loss.at[row] = 0.0;
            if (GRADIENT)
                for (uint c = gl_LocalInvocationID.x; c < p.cols; c += WIDTH) p.logits.at[row * p.stride + c] = 0.0;
        }
    }
}
