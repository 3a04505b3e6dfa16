#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/storage.glsl"
// Gather and scatter of rows.
//   embed: table x [V,C], rows [N] -> y [N,C] = x[rows[n]]
//   SCATTER: x [N,C], rows [N] -> table y [P,C]: y[rows[n]] = x[n]
layout(constant_id = 2) const uint TYPE_X = F32;
layout(constant_id = 3) const uint TYPE_Y = F32;
layout(constant_id = 4) const bool PAIRED = false;
#include "lib/pairs.glsl"

layout(push_constant, std430) uniform Push {
    InputWords x;
    Indices rows;
    Words y;
    uint count, cols, stride_x, stride_y;
} p;

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT, grid_width = gl_NumWorkGroups.x * WIDTH;
    for (uint n = gl_GlobalInvocationID.y; n < p.count; n += grid_height) {
        uint row = uint(p.rows.at[n]);
#ifdef SCATTER
        uint from = n * p.stride_x, to = row * p.stride_y;
#else
        uint from = row * p.stride_x, to = n * p.stride_y;
#endif
        for (uint col = gl_GlobalInvocationID.x * UNIT; col < p.cols; col += grid_width * UNIT)
            store_unit(p.y, TYPE_Y, to + col, LOAD_UNIT(p.x, TYPE_X, from + col));
    }
}
