#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/storage.glsl"
// Rotary positions (RoPE, Su et al. 2021): rotates pairs of the first R elements of each head by
// the angles of the row's position; copies the rest.
//   x [N,H,D], table [P,R] (R/2 cosines, then R/2 sines), positions [N] -> y [N,H,D]; R = p.rotated
// Pairs are (i, i + R/2) or, INTERLEAVED, (2i, 2i + 1). INVERSE: the angles negated, for the
// gradient. An invocation in x has a pair, or one element of the rest, PAIRED two of them; in y a head
// of a row.
layout(constant_id = 2) const bool INTERLEAVED = false;
layout(constant_id = 3) const bool INVERSE = false;
layout(constant_id = 4) const uint TYPE = F32;      // of x and y
layout(constant_id = 5) const bool PAIRED = false;  // and so are their halves
#include "lib/pairs.glsl"

layout(push_constant, std430) uniform Push {
    InputWords x;
    Inputs table;
    Indices positions;
    Words y;
    uint rows, heads, size, rotated, stride_x, stride_table, stride_y;
} p;

// The pairs i .. i + UNIT - 1. Interleaved, they lie one behind the other.
void rotate(uint x, uint y, uint angle, uint i, uint half_size) {
    uint first = INTERLEAVED ? 2 * i : i, second = INTERLEAVED ? first + UNIT : first + half_size;
    vec2 a = LOAD_UNIT(p.x, TYPE, x + first), b = LOAD_UNIT(p.x, TYPE, x + second), to_a = vec2(0.0), to_b = vec2(0.0);
    if (INTERLEAVED && PAIRED) {
        vec2 swap = vec2(a.y, b.x);
        a.y = swap.y;
        b.x = swap.x;
    }
    [[unroll]] for (uint e = 0; e < UNIT; e++) {
        float c = p.table.at[angle + i + e], s = p.table.at[angle + half_size + i + e];
        if (INVERSE) s = -s;
        to_a[e] = a[e] * c - b[e] * s;
        to_b[e] = a[e] * s + b[e] * c;
    }
    if (INTERLEAVED && PAIRED) {
        vec2 swap = vec2(to_a.y, to_b.x);
        to_a.y = swap.y;
        to_b.x = swap.x;
    }
    store_unit(p.y, TYPE, y + first, to_a);
    store_unit(p.y, TYPE, y + second, to_b);
}

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT, grid_width = gl_NumWorkGroups.x * WIDTH, half_size = p.rotated / 2;
    for (uint at = gl_GlobalInvocationID.y; at < p.rows * p.heads; at += grid_height) {
        uint n = at / p.heads, h = at % p.heads;
        uint x = n * p.stride_x + h * p.size, y = n * p.stride_y + h * p.size;
        uint angle = uint(p.positions.at[n]) * p.stride_table;
        for (uint i = gl_GlobalInvocationID.x * UNIT; i < p.size - half_size; i += grid_width * UNIT) {
            if (i < half_size) rotate(x, y, angle, i, half_size);
            else store_unit(p.y, TYPE, y + i + half_size, LOAD_UNIT(p.x, TYPE, x + i + half_size));
        }
    }
}
