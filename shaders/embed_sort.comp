#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// One pass of a stable radix sort of the numbers 0 .. count-1 by rows[n], four bits at a time, by
// one workgroup: each invocation owns a run of neighbours, so that equal rows keep their order.
// FIRST: the input is 0, 1, 2, ...
layout(constant_id = 2) const bool FIRST = false;

layout(push_constant, std430) uniform Push {
    Indices rows;
    Words from, to;
    uint count, shift;
} p;

const uint DIGITS = 16;
shared uint place[DIGITS * WIDTH];   // [digit][invocation]: how many, then where they go
shared uint total[WIDTH];

uint item(uint i) {
    return FIRST ? i : p.from.at[i];
}
uint digit(uint n) {
    return uint(p.rows.at[n]) >> p.shift & (DIGITS - 1);
}

void main() {
    uint lane = gl_LocalInvocationID.x, run = (p.count + WIDTH - 1) / WIDTH;
    uint begin = min(lane * run, p.count), end = min(begin + run, p.count);
    for (uint d = 0; d < DIGITS; d++) place[d * WIDTH + lane] = 0;
    for (uint i = begin; i < end; i++) place[digit(item(i)) * WIDTH + lane]++;
    barrier();
    // Exclusive sums over the whole table: of DIGITS neighbours by each invocation, then over
    // invocations.
    uint sum = 0;
    for (uint k = 0; k < DIGITS; k++) sum += place[lane * DIGITS + k];
    total[lane] = sum;
    barrier();
    for (uint step = 1; step < WIDTH; step *= 2) {
        uint before = lane >= step ? total[lane - step] : 0;
        barrier();
        total[lane] += before;
        barrier();
    }
    uint at = total[lane] - sum;
    for (uint k = 0; k < DIGITS; k++) {
        uint here = place[lane * DIGITS + k];
        place[lane * DIGITS + k] = at;
        at += here;
    }
    barrier();
    for (uint i = begin; i < end; i++) {
        uint n = item(i);
        p.to.at[place[digit(n) * WIDTH + lane]++] = n;
    }
}
