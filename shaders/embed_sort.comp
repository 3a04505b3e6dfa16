#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// One pass of a stable radix sort of n = 0 .. count-1 by rows[n], with digits of four bits, by one
// workgroup. Each invocation has a run of neighbouring items, so that equal rows keep their order.
//   rows [N], from [N] -> to [N]; FIRST: `from` is 0, 1, 2, ... and not read
//   1. the histogram of digits of each invocation
//   2. its exclusive scan, digit by digit and then by invocation: where each one's items go
//   3. the scatter
layout(constant_id = 2) const bool FIRST = false;

layout(push_constant, std430) uniform Push {
    Indices rows;
    Words from, to;
    uint count, shift;
} p;

const uint DIGITS = 16;
shared uint offsets[DIGITS * WIDTH];   // [digit][invocation]: histogram, then offsets
shared uint scan[WIDTH];

uint input_at(uint i) {
    return FIRST ? i : p.from.at[i];
}
uint digit(uint n) {
    return uint(p.rows.at[n]) >> p.shift & (DIGITS - 1);
}

void main() {
    uint tid = gl_LocalInvocationID.x, items = (p.count + WIDTH - 1) / WIDTH;
    uint begin = min(tid * items, p.count), end = min(begin + items, p.count);
    // 1
    for (uint d = 0; d < DIGITS; d++) offsets[d * WIDTH + tid] = 0;
    for (uint i = begin; i < end; i++) offsets[digit(input_at(i)) * WIDTH + tid]++;
    barrier();
    // 2: each invocation sums DIGITS neighbours of the table, then a scan runs over these sums.
    uint sum = 0;
    for (uint k = 0; k < DIGITS; k++) sum += offsets[tid * DIGITS + k];
    scan[tid] = sum;
    barrier();
    for (uint stride = 1; stride < WIDTH; stride *= 2) {
        uint before = tid >= stride ? scan[tid - stride] : 0;
        barrier();
        scan[tid] += before;
        barrier();
    }
    uint at = scan[tid] - sum;
    for (uint k = 0; k < DIGITS; k++) {
        uint count = offsets[tid * DIGITS + k];
        offsets[tid * DIGITS + k] = at;
        at += count;
    }
    barrier();
    // 3
    for (uint i = begin; i < end; i++) {
        uint n = input_at(i);
        p.to.at[offsets[digit(n) * WIDTH + tid]++] = n;
    }
}
