#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
// Rotates the first R elements of each head by the angles of its row's position; copies the rest.
// Invocations in x take a pair, or one element of the rest; in y a head of a row.
layout(constant_id = 2) const bool INTERLEAVED = false;
layout(constant_id = 3) const bool INVERSE = false;

layout(push_constant, std430) uniform Push {
    Inputs x, table;
    Indices positions;
    Floats y;
    uint rows, heads, size, rotated, stride_x, stride_table, stride_y;
} p;

void main() {
    uint down = gl_NumWorkGroups.y * HEIGHT, across = gl_NumWorkGroups.x * WIDTH, half_size = p.rotated / 2;
    for (uint at = gl_GlobalInvocationID.y; at < p.rows * p.heads; at += down) {
        uint n = at / p.heads, h = at % p.heads;
        uint x = n * p.stride_x + h * p.size, y = n * p.stride_y + h * p.size;
        uint angle = uint(p.positions.at[n]) * p.stride_table;
        for (uint i = gl_GlobalInvocationID.x; i < p.size - half_size; i += across) {
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
