#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/half.glsl"
// Cast to another float type: x [N,C] -> y [N,C]. An invocation has two neighbouring columns, which
// are one word of a 16-bit tensor.
layout(constant_id = 2) const uint FROM = F32;
layout(constant_id = 3) const uint TO = F32;

layout(push_constant, std430) uniform Push {
    Words x, y;
    uint rows, cols;
    uint stride_x, stride_y;   // elements
} p;

uvec2 load(uint row, uint col, bool both) {   // as float32 bits
    uint at = row * p.stride_x + col;
    if (FROM == F32) return uvec2(p.x.at[at], both ? p.x.at[at + 1] : 0u);
    uint word = p.x.at[at / 2];
    return uvec2(from_half(word & 0xffffu, FROM), from_half(word >> 16, FROM));
}

void save(uint row, uint col, bool both, uvec2 bits) {
    uint at = row * p.stride_y + col;
    if (TO == F32) {
        p.y.at[at] = bits.x;
        if (both) p.y.at[at + 1] = bits.y;
    } else {
        p.y.at[at / 2] = to_half(bits.x, TO) | to_half(bits.y, TO) << 16;
    }
}

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT;
    uvec2 range = range_of((p.cols + 1) / 2);
    for (uint row = gl_GlobalInvocationID.y; row < p.rows; row += grid_height)
        for (uint i = range.x + gl_LocalInvocationID.x; i < range.y; i += WIDTH) {
            uint col = 2 * i;
            bool both = col + 1 < p.cols;
            save(row, col, both, load(row, col, both));
        }
}
