#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// AdamW (Loshchilov and Hutter 2019, algorithm 2): one step over one range. Nothing changes where
// norm2, the squared norm of the whole gradient, is not finite.
//   grad [count], step [16], norm2 [1]; param, m, v [count] in place
//   g = unscale grad * min(1, clip / (unscale sqrt(norm2) + 1e-6));
//   m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2
//   lr = rate * learning rate; param -= lr * decay * param;
//   param -= lr * (m / correction1) / (sqrt(v / correction2) + eps)
// A vec4 an invocation where addresses are aligned for it, and what is left one by one.
layout(constant_id = 2) const bool DECAY = false;
layout(constant_id = 3) const bool VEC4 = false;
const uint LEARNING_RATE = 0, WEIGHT_DECAY = 1, CORRECTION1 = 2, CORRECTION2 = 3, CLIP = 4, UNSCALE = 6;   // enum dapt_step_slot

layout(push_constant, std430) uniform Push {
    Inputs grad, step, norm2;
    Floats param, m, v;
    Inputs4 grad4;   // the same addresses again: not every driver casts them
    Floats4 param4, m4, v4;
    uint count;
    float beta1, beta2, eps, rate;
} p;

void main() {
    float norm2 = p.norm2.at[0], clip = p.step.at[CLIP], rate = p.rate * p.step.at[LEARNING_RATE];
    if (!finite(norm2)) return;
    float factor = p.step.at[UNSCALE];
    if (clip > 0.0) factor *= min(1.0, clip / (factor * sqrt(norm2) + 1e-6));
    float shrink = DECAY ? rate * p.step.at[WEIGHT_DECAY] : 0.0;
    float rate1 = rate / p.step.at[CORRECTION1], over2 = 1.0 / p.step.at[CORRECTION2];
    uint vecs = VEC4 ? p.count / 4 : 0;
    uvec2 range = range_of(vecs);
    for (uint i = range.x + gl_LocalInvocationID.x; i < range.y; i += WIDTH) {
        vec4 g = p.grad4.at[i] * factor, x = p.param4.at[i];
        vec4 m = p.beta1 * p.m4.at[i] + (1.0 - p.beta1) * g;
        vec4 v = p.beta2 * p.v4.at[i] + (1.0 - p.beta2) * g * g;
        p.m4.at[i] = m;
        p.v4.at[i] = v;
        p.param4.at[i] = x - shrink * x - rate1 * m / (sqrt(v * over2) + p.eps);
    }
    range = range_of(p.count - 4 * vecs) + 4 * vecs;
    for (uint i = range.x + gl_LocalInvocationID.x; i < range.y; i += WIDTH) {
        float g = p.grad.at[i] * factor, x = p.param.at[i];
        float m = p.beta1 * p.m.at[i] + (1.0 - p.beta1) * g;
        float v = p.beta2 * p.v.at[i] + (1.0 - p.beta2) * g * g;
        p.m.at[i] = m;
        p.v.at[i] = v;
        p.param.at[i] = x - shrink * x - rate1 * m / (sqrt(v * over2) + p.eps);
    }
}
