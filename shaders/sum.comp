#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/reduce.glsl"
// y[workgroup] (+)= sum of x, or of its squares, over the workgroup's chunk. Each invocation sums
// with a correction term (Neumaier 1974), so that long sums lose nothing.
layout(constant_id = 2) const bool SQUARES = false;
layout(constant_id = 3) const bool ACCUMULATE = false;

layout(push_constant, std430) uniform Push {
    Inputs x;
    Floats y;
    uint count, chunk;
} p;

void main() {
    uint from = gl_WorkGroupID.x * p.chunk, to = min(from + p.chunk, p.count);
    precise float sum = 0.0, lost = 0.0;
    for (uint i = from + gl_LocalInvocationID.x; i < to; i += WIDTH) {
        precise float x = p.x.at[i];
        if (SQUARES) x = x * x;
        precise float next = sum + x;
        precise float error = abs(sum) >= abs(x) ? (sum - next) + x : (x - next) + sum;
        lost += error;
        sum = next;
    }
    // A sum that is not finite has no correction.
    float all = sum_width(finite(sum) ? sum + lost : sum);
    if (gl_LocalInvocationID.x == 0)
        p.y.at[gl_WorkGroupID.x] = ACCUMULATE ? p.y.at[gl_WorkGroupID.x] + all : all;
}
