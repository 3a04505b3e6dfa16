#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Rotary positions (RoPE, Su et al. 2021): rotates pairs of the first R elements of each head by
// the angles of the row's position; copies the rest.
//   x [N,H,D], table [P,R] (R/2 cosines, then R/2 sines), positions [N] -> y [N,H,D]; R = p.rotated
// Pairs are (i, i + R/2) or, INTERLEAVED, (2i, 2i + 1). INVERSE: the angles negated, for the
// gradient. An invocation in x has a pair, or one element of the rest; in y a head of a row.
layout(constant_id = 2) const bool INTERLEAVED = false;
layout(constant_id = 3) const bool INVERSE = false;

layout(push_constant, std430) uniform Push {
    Inputs x, table;
    Indices positions;
    Floats y;
    uint rows, heads, size, rotated, stride_x, stride_table, stride_y;
} p;

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT, grid_width = gl_NumWorkGroups.x * WIDTH, half_size = p.rotated / 2;
    for (uint at = gl_GlobalInvocationID.y; at < p.rows * p.heads; at += grid_height) {
        uint n = at / p.heads, h = at % p.heads;
        uint x = n * p.stride_x + h * p.size, y = n * p.stride_y + h * p.size;
        uint angle = uint(p.positions.at[n]) * p.stride_table;
        for (uint i = gl_GlobalInvocationID.x; i < p.size - half_size; i += grid_width) {
            if (i < half_size) {
                uint first = INTERLEAVED ? 2 * i : i, second = INTERLEAVED ? first + 1 : first + half_size;
                float a = p.x.at[x + first], b = p.x.at[x + second];
                float c = p.table.at[angle + i], s = p.table.at[angle + half_size + i];
                if (INVERSE) s = -s;
                p.y.at[y + first] = a * c - b * s;
                p.y.at[y + second] = a * s + b * c;
            } else {
                p.y.at[y + i + half_size] = p.x.at[x + i + half_size];
            }
        }
    }
}
