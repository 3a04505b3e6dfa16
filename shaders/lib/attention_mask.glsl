// What all shaders of attention share: the constants that describe it, and its mask. A query sees the
// keys max(first, last - window + 1) <= key <= last.
layout(constant_id = 2) const uint D = 64;         // head size
layout(constant_id = 3) const uint HEADS = 1;      // of queries
layout(constant_id = 4) const uint KV_HEADS = 1;   // of keys and values (grouped-query attention)
layout(constant_id = 5) const uint WINDOW = 0;     // sliding window; 0: none
layout(constant_id = 6) const bool CAPPED = false; // scores have a softcap
#include "attention_rows.glsl"

// The keys that query row n sees: [x, y).
ivec2 visible_keys(Indices first, Indices last, uint n, uint keys) {
    int from = max(first.at[n], 0), to = last.at[n] + 1;
    if (WINDOW > 0) from = max(from, to - int(WINDOW));
    return ivec2(from, max(from, min(to, int(keys))));
}
