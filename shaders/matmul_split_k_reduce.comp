#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/storage.glsl"
// Split-K, pass 2 of 2 (pass 1: lib/matmul.glsl): adds the slices in order, then the epilogue.
//   parts [splits,M,N], bias [N], residual [M,N] -> c [M,N] = act(sum of parts + bias) + residual,
//     or +=, or DERIVATIVE, (sum of parts + bias) * act'(residual)
layout(constant_id = 2) const bool HAS_BIAS = false;
layout(constant_id = 3) const bool HAS_RESIDUAL = false;
layout(constant_id = 4) const bool ACCUMULATE = false;
layout(constant_id = 5) const uint ACTIVATION = 0;
layout(constant_id = 6) const uint TYPE_RESIDUAL = F32;
layout(constant_id = 7) const uint TYPE_C = F32;
layout(constant_id = 8) const bool PAIRED = false;
layout(constant_id = 9) const bool DERIVATIVE = false;
#include "lib/pairs.glsl"
#include "lib/activation.glsl"

layout(push_constant, std430) uniform Push {
    Inputs parts, bias;
    InputWords residual;
    Words c;
    uint m, n, splits, stride_residual, stride_c;
} p;

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT, grid_width = gl_NumWorkGroups.x * WIDTH;
    for (uint row = gl_GlobalInvocationID.y; row < p.m; row += grid_height)
        for (uint col = gl_GlobalInvocationID.x * UNIT; col < p.n; col += grid_width * UNIT) {
            vec2 value = vec2(0.0);
            for (uint i = 0; i < p.splits; i++)
                [[unroll]] for (uint e = 0; e < UNIT; e++) value[e] += p.parts.at[(i * p.m + row) * p.n + col + e];
            [[unroll]] for (uint e = 0; e < UNIT; e++) {
                if (HAS_BIAS) value[e] += p.bias.at[col + e];
                if (!DERIVATIVE) value[e] = act(value[e]);
            }
            if (HAS_RESIDUAL) {
                vec2 residual = LOAD_UNIT(p.residual, TYPE_RESIDUAL, row * p.stride_residual + col);
                if (DERIVATIVE) value *= vec2(act_grad(residual.x), act_grad(residual.y));
                else value += residual;
            }
            uint at = row * p.stride_c + col;
            if (ACCUMULATE) value = LOAD_UNIT(p.c, TYPE_C, at) + value;
            store_unit(p.c, TYPE_C, at, value);
        }
}
