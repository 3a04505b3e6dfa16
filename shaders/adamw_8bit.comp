#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// AdamW as in adamw.comp with moments in 8 bits, whose blocks dapt/backend.h describes.
//   grad [count], step [16], norm2 [1]; param [count], m and v [blocks, 65 words] in place
// WIDTH invocations have a block: each decodes and updates four numbers a word, the largest of the block
// gives its new unit, then the words are coded again. WIDTH is a power of two, at most 64.
layout(constant_id = 2) const bool DECAY = false;
layout(constant_id = 3) const bool VEC4 = false;
const uint LEARNING_RATE = 0, WEIGHT_DECAY = 1, CORRECTION1 = 2, CORRECTION2 = 3, CLIP = 4, UNSCALE = 6;   // enum dapt_step_slot
const uint BLOCK = 256, WORDS = 64, STRIDE = 65;
const float LARGEST_M = 61440.0, LARGEST_V = 63488.0, LEAST = 1e-30;
const uint EACH = WORDS / WIDTH;   // words of an invocation

layout(push_constant, std430) uniform Push {
    Inputs grad, step, norm2;
    Floats param;
    Words m, v;
    Inputs4 grad4;   // the same addresses again: not every driver casts them
    Floats4 param4;
    uint count;
    float beta1, beta2, eps, rate;
} p;

shared vec2 largest[WIDTH * HEIGHT];

// The largest over x, of both; to be called by all of the workgroup.
vec2 largest_of(vec2 value) {
    if (WIDTH == 1) return value;
    uint x = gl_LocalInvocationID.x, at = gl_LocalInvocationID.y * WIDTH + x;
    largest[at] = value;
    barrier();
    for (uint step = WIDTH / 2; step > 0; step /= 2) {
        if (x < step) largest[at] = max(largest[at], largest[at + step]);
        barrier();
    }
    vec2 most = largest[at - x];
    barrier();
    return most;
}

// `bits` of fraction. The value of a code without a sign, and the code of the nearest value.
float code_value(uint code, uint bits) {
    float small = float(code) * (2.0 / float(1u << bits));
    return code < 1u << bits ? small : uintBitsToFloat((code << (23 - bits)) + (127u << 23));
}
uint value_code(float value, uint bits) {
    uint small = uint(min(value, 2.0) * (float(1u << bits) * 0.5) + 0.5);
    return value < 2.0 ? small : (floatBitsToUint(value) - (127u << 23) + (1u << (22 - bits))) >> (23 - bits);
}
vec4 first_moments(uint word) {
    vec4 v;
    for (uint j = 0; j < 4; j++) {
        uint code = word >> 8 * j & 255u;
        v[j] = uintBitsToFloat(floatBitsToUint(code_value(code & 127u, 3)) | (code & 128u) << 24);
    }
    return v;
}
vec4 roots(uint word) {
    vec4 v;
    for (uint j = 0; j < 4; j++) v[j] = code_value(word >> 8 * j & 255u, 4);
    return v;
}
uint first_moments_word(vec4 v) {
    uint word = 0;
    for (uint j = 0; j < 4; j++) word |= (value_code(abs(v[j]), 3) | floatBitsToUint(v[j]) >> 31 << 7) << 8 * j;
    return word;
}
uint roots_word(vec4 v) {   // a root above 0 has a code above 0
    uint word = 0;
    for (uint j = 0; j < 4; j++) word |= max(value_code(v[j], 4), v[j] > 0.0 ? 1u : 0u) << 8 * j;
    return word;
}

vec4 load4(bool param, uint at) {   // zeros behind the end
    if (VEC4 && at + 4 <= p.count) return param ? p.param4.at[at / 4] : p.grad4.at[at / 4];
    vec4 v = vec4(0.0);
    for (uint j = 0; j < 4; j++)
        if (at + j < p.count) v[j] = param ? p.param.at[at + j] : p.grad.at[at + j];
    return v;
}
void store4(uint at, vec4 v) {
    if (VEC4 && at + 4 <= p.count) {
        p.param4.at[at / 4] = v;
        return;
    }
    for (uint j = 0; j < 4; j++)
        if (at + j < p.count) p.param.at[at + j] = v[j];
}

void main() {
    float norm2 = p.norm2.at[0], clip = p.step.at[CLIP], rate = p.rate * p.step.at[LEARNING_RATE];
    if (!finite(norm2)) return;
    float factor = p.step.at[UNSCALE];
    if (clip > 0.0) factor *= min(1.0, clip / (factor * sqrt(norm2) + 1e-6));
    float shrink = DECAY ? rate * p.step.at[WEIGHT_DECAY] : 0.0;
    float rate1 = rate / p.step.at[CORRECTION1], over2 = 1.0 / p.step.at[CORRECTION2];
    uint blocks = (p.count + BLOCK - 1) / BLOCK, x = gl_LocalInvocationID.x;
    for (uint first = gl_WorkGroupID.x * HEIGHT; first < blocks; first += gl_NumWorkGroups.x * HEIGHT) {
        uint block = first + gl_LocalInvocationID.y, base = block * STRIDE;
        bool mine = block < blocks;
        vec4 m[EACH], root[EACH];
        vec2 most = vec2(0.0);
        float unit1 = mine ? uintBitsToFloat(p.m.at[base + WORDS]) : 0.0;
        float unit2 = mine ? uintBitsToFloat(p.v.at[base + WORDS]) : 0.0;
        for (uint k = 0; mine && k < EACH; k++) {
            uint word = k * WIDTH + x, at = block * BLOCK + 4 * word;
            vec4 g = load4(false, at) * factor, w = load4(true, at), old = roots(p.v.at[base + word]) * unit2;
            m[k] = p.beta1 * (first_moments(p.m.at[base + word]) * unit1) + (1.0 - p.beta1) * g;
            vec4 v = p.beta2 * old * old + (1.0 - p.beta2) * g * g;
            store4(at, w - shrink * w - rate1 * m[k] / (sqrt(v * over2) + p.eps));
            root[k] = sqrt(v);
            vec4 size = abs(m[k]);
            most = max(most, vec2(max(max(size.x, size.y), max(size.z, size.w)),
                                  max(max(root[k].x, root[k].y), max(root[k].z, root[k].w))));
        }
        most = largest_of(most);
        vec2 lost = vec2(lessThan(most, vec2(LEAST)));
        vec2 over = mix(vec2(LARGEST_M, LARGEST_V) / max(most, vec2(LEAST)), vec2(0.0), lost);
        for (uint k = 0; mine && k < EACH; k++) {
            uint word = k * WIDTH + x;
            p.m.at[base + word] = first_moments_word(m[k] * over.x);
            p.v.at[base + word] = roots_word(root[k] * over.y);
        }
        if (mine && x == 0) {
            vec2 unit = mix(most / vec2(LARGEST_M, LARGEST_V), vec2(0.0), lost);
            p.m.at[base + WORDS] = floatBitsToUint(unit.x);
            p.v.at[base + WORDS] = floatBitsToUint(unit.y);
        }
    }
}
