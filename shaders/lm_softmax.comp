#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
// Cross-entropy of rows of logits, one workgroup a row. With z = softcap(scale * logit):
//   loss = logsumexp(z) - z[target], 0 where target < 0
// GRADIENT: logits become d(seed * loss) / d(logit), zeros where not scored.
layout(constant_id = 2) const bool GRADIENT = false;

layout(push_constant, std430) uniform Push {
    Floats logits;
    Indices targets;
    Inputs seed;
    Floats loss;
    uint rows, cols, stride;
    float scale, softcap;
} p;

shared float tops[WIDTH];
shared float hit;   // z[target]

float max_width(float value) {
    uint tid = gl_LocalInvocationID.x;
    tops[tid] = value;
    barrier();
    for (uint step = WIDTH / 2; step > 0; step /= 2) {
        if (tid < step && tops[tid + step] > tops[tid]) tops[tid] = tops[tid + step];
        barrier();
    }
    float top = tops[0];
    barrier();
    return top;
}

void score_row(uint row, int target) {
    uint tid = gl_LocalInvocationID.x, base = row * p.stride;
    float top = MINUS_INFINITY, sum = 0.0;
    for (uint c = tid; c < p.cols; c += WIDTH) {
        float z = softcap(p.scale * p.logits.at[base + c], p.softcap);
        top = z > top ? z : top;
        if (c == uint(target)) hit = z;
        if (GRADIENT) p.logits.at[base + c] = z;
    }
    top = max_width(top);
    float scored = hit;   // before the next row's is written
    if (!finite(top)) top = 0.0;
    for (uint c = tid; c < p.cols; c += WIDTH) {
        float z = p.logits.at[base + c];
        if (!GRADIENT) z = softcap(p.scale * z, p.softcap);
        sum += safe_exp(z - top);
    }
    sum = sum_width(sum);
    if (tid == 0) p.loss.at[row] = (top - scored) + safe_log(sum);
    if (!GRADIENT) return;
    float factor = p.seed.at[0] * p.scale, over = 1.0 / sum;
    for (uint c = tid; c < p.cols; c += WIDTH) {
        float z = p.logits.at[base + c], d = safe_exp(z - top) * over;
        if (c == uint(target)) d -= 1.0;
        p.logits.at[base + c] = factor * d * softcap_grad(z, p.softcap);
    }
}

void main() {
    for (uint row = gl_WorkGroupID.x; row < p.rows; row += gl_NumWorkGroups.x) {
        int target = p.targets.at[min(row, p.rows - 1)];
        if (target >= 0) {
            score_row(row, target);
        } else {
            if (gl_LocalInvocationID.x == 0) p.loss.at[row] = 0.0;
            if (GRADIENT)
                for (uint c = gl_LocalInvocationID.x; c < p.cols; c += WIDTH) p.logits.at[row * p.stride + c] = 0.0;
        }
    }
}
