#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Dropout: x [N,C], keys [N] -> y [N,C]: x times p.factor where the element's word of Philox4x32-10 is
// at least p.least, else 0. An invocation has the four columns of one counter. ACCUMULATE: y is added to.
layout(constant_id = 2) const bool ACCUMULATE = false;

layout(push_constant, std430) uniform Push {
    Inputs x;
    Indices keys;
    Floats y;
    uint rows, cols, stride_x, stride_y, stream, least;
    float factor;
} p;

uvec4 philox(uvec2 key, uint counter) {
    uvec4 c = uvec4(counter, 0, 0, 0);
    for (uint round = 0; round < 10; round++) {
        uint high0, low0, high1, low1;
        umulExtended(0xD2511F53u, c.x, high0, low0);
        umulExtended(0xCD9E8D57u, c.z, high1, low1);
        c = uvec4(high1 ^ c.y ^ key.x, low1, high0 ^ c.w ^ key.y, low0);
        key += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT;
    uvec2 range = range_of((p.cols + 3) / 4);
    for (uint row = gl_GlobalInvocationID.y; row < p.rows; row += grid_height)
        for (uint i = range.x + gl_LocalInvocationID.x; i < range.y; i += WIDTH) {
            uvec4 words = philox(uvec2(p.keys.at[row], p.stream), i);
            for (uint w = 0, col = 4 * i; w < 4 && col < p.cols; w++, col++) {
                uint at = row * p.stride_y + col;
                float value = words[w] >= p.least ? p.factor * p.x.at[row * p.stride_x + col] : 0.0;
                p.y.at[at] = ACCUMULATE ? p.y.at[at] + value : value;
            }
        }
}
