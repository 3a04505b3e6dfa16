#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Gather and scatter of rows.
//   embed: table x [V,C], rows [N] -> y [N,C] = x[rows[n]]
//   SCATTER: x [N,C], rows [N] -> table y [P,C]: y[rows[n]] = x[n]
layout(push_constant, std430) uniform Push {
    Inputs x;
    Indices rows;
    Floats y;
    uint count, cols, stride_x, stride_y;
} p;

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT, grid_width = gl_NumWorkGroups.x * WIDTH;
    for (uint n = gl_GlobalInvocationID.y; n < p.count; n += grid_height) {
        uint row = uint(p.rows.at[n]);
        for (uint col = gl_GlobalInvocationID.x; col < p.cols; col += grid_width)
#ifdef SCATTER
            p.y.at[row * p.stride_y + col] = p.x.at[n * p.stride_x + col];
#else
            p.y.at[n * p.stride_y + col] = p.x.at[row * p.stride_x + col];
#endif
    }
}
