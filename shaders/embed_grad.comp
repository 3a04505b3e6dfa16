#version 450
#extension GL_GOOGLE_include_directive : require
#include "lib/base.glsl"
#include "lib/storage.glsl"
// Gradient of the embedding, after embed_sort.comp: dtable[v] += sum of dy[n] with rows[n] == v, in
// ascending n.
//   dy [N,C], rows [N], order [N] -> dtable [V,C]
// `order` holds the n sorted by rows[n]. The first n of each table row adds up all that follow with
// the same row: no atomics, one order.
layout(constant_id = 2) const uint TYPE = F32;   // of dy
layout(constant_id = 3) const bool PAIRED = false;
#include "lib/pairs.glsl"

layout(push_constant, std430) uniform Push {
    InputWords dy;
    Indices rows;
    Words order;
    Words dtable;
    uint count, cols;
} p;

void main() {
    uint grid_height = gl_NumWorkGroups.y * HEIGHT, grid_width = gl_NumWorkGroups.x * WIDTH;
    for (uint i = gl_GlobalInvocationID.y; i < p.count; i += grid_height) {
        int row = p.rows.at[p.order.at[i]];
        if (i > 0 && p.rows.at[p.order.at[i - 1]] == row) continue;
        uint end = i + 1;
        while (end < p.count && p.rows.at[p.order.at[end]] == row) end++;
        for (uint col = gl_GlobalInvocationID.x * UNIT; col < p.cols; col += grid_width * UNIT) {
            uint to = uint(row) * p.cols + col;
            vec2 sum = LOAD_UNIT(p.dtable, F32, to);
            for (uint k = i; k < end; k++) sum += LOAD_UNIT(p.dy, TYPE, p.order.at[k] * p.cols + col);
            store_unit(p.dtable, F32, to, sum);
        }
    }
}
