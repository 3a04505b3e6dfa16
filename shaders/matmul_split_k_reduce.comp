#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Split-K, pass 2 of 2 (pass 1: lib/matmul.glsl): adds the slices in order, then the epilogue.
//   parts [splits,M,N], bias [N], residual [M,N] -> c [M,N] = act(sum of parts + bias) + residual,
//     or +=
layout(constant_id = 2) const bool HAS_BIAS = false;
layout(constant_id = 3) const bool HAS_RESIDUAL = false;
layout(constant_id = 4) const bool ACCUMULATE = false;
layout(constant_id = 5) const uint ACTIVATION = 0;
#include "lib/activation.glsl"

layout(push_constant, std430) uniform Push {
    Inputs parts, bias, residual;
    Floats c;
    uint m, n, splits, stride_residual, stride_c;
} p;

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT, grid_width = gl_NumWorkGroups.x * WIDTH;
    for (uint row = gl_GlobalInvocationID.y; row < p.m; row += grid_height)
        for (uint col = gl_GlobalInvocationID.x; col < p.n; col += grid_width) {
            float value = 0.0;
            for (uint i = 0; i < p.splits; i++) value += p.parts.at[(i * p.m + row) * p.n + col];
            if (HAS_BIAS) value += p.bias.at[col];
            value = act(value);
            if (HAS_RESIDUAL) value += p.residual.at[row * p.stride_residual + col];
            uint at = row * p.stride_c + col;
            p.c.at[at] = ACCUMULATE ? p.c.at[at] + value : value;
        }
}
