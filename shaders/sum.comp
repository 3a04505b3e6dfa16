#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
// Sums, or sums of squares, of flat ranges: x [count] -> y [workgroups], each the sum of its chunk;
// a second pass with one workgroup adds these. Compensated (Neumaier 1974), so that long sums lose
// nothing.
layout(constant_id = 2) const bool SQUARES = false;
layout(constant_id = 3) const bool ACCUMULATE = false;

layout(push_constant, std430) uniform Push {
    Inputs x;
    Floats y;
    uint count, chunk;
} p;

void main() {
    uint begin = gl_WorkGroupID.x * p.chunk, end = min(begin + p.chunk, p.count);
    precise float sum = 0.0, compensation = 0.0;
    for (uint i = begin + gl_LocalInvocationID.x; i < end; i += WIDTH) {
        precise float x = p.x.at[i];
        if (SQUARES) x = x * x;
        precise float next = sum + x;
        precise float error = abs(sum) >= abs(x) ? (sum - next) + x : (x - next) + sum;
        compensation += error;
        sum = next;
    }
    // A sum that is not finite has no compensation.
    float total = sum_width(finite(sum) ? sum + compensation : sum);
    if (gl_LocalInvocationID.x == 0)
        p.y.at[gl_WorkGroupID.x] = ACCUMULATE ? p.y.at[gl_WorkGroupID.x] + total : total;
}
