// What the passes of FlashAttention-2 without shared memory have in common: one query (or key) an
// invocation, all of its row in registers; the loops are the same for all invocations. Names as in
// lib/attention.glsl. Indices of loads are clamped, as Mesa's software rasteriser repeats such
// loads once after a loop has ended.
#include "attention_mask.glsl"
layout(constant_id = 7) const uint BC = 8;         // Bc: keys (or queries) of one round of the loop

// The keys that any query of this workgroup sees: [x, y).
ivec2 visible_to_any(Indices first, Indices last, uint sequence, uint queries, uint keys) {
    ivec2 all = ivec2(int(keys), 0);
    uint begin = gl_WorkGroupID.x * WIDTH, end = min(begin + WIDTH, queries);
    for (uint i = begin; i < end; i++) {
        ivec2 r = visible_keys(first, last, sequence * queries + min(i, end - 1), keys);
        if (r.x < r.y) all = ivec2(min(all.x, r.x), max(all.y, r.y));
    }
    return all;
}
